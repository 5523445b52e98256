"""Compressed slices: the stream is held against the header, and a damaged one ends no process."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import head, only, write_ct
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from hnvlm.errors import UnreadableFileError
from hnvlm.imaging import dicom, intake
from hnvlm.imaging.codestream import stream_size

STREAMS = [JPEGLSLossless, JPEG2000Lossless]


def compressed(syntax, **values):
    def change(ds, k):
        ds.compress(syntax, generate_instance_uid=False)
        for name, value in values.items():
            setattr(ds, name, value)

    return change


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize(
    "values", [{"Rows": 48, "Columns": 40}, {"Rows": 20}, {"Rows": 80}, {"Rows": 20, "Columns": 96}, {"Columns": 49}]
)
def test_a_stream_of_another_size_is_refused_by_both_sizes(tmp_path, syntax, values):
    """40 x 48 in the stream: 48 x 40 and 20 x 96 came out sheared, 80 rows ended the program."""
    write_ct(tmp_path, head((4, 40, 48)), modify=compressed(syntax, **values))
    said = {"Rows": 40, "Columns": 48} | values
    words = f"has 40 rows and 48 columns, the header says {said['Rows']} and {said['Columns']}"
    with pytest.raises(UnreadableFileError, match=rf"im\d+\.dcm, slice 1 of 4 .*: pixel data cannot be .*{words}"):
        intake.read(only(tmp_path))


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("kept", [0.6, 0.97])
def test_a_stream_without_its_end_is_refused(tmp_path, syntax, kept):
    """The missing rows were filled up with whatever the decoder held."""

    def cut(ds, k):
        ds.compress(syntax, generate_instance_uid=False)
        stream = next(generate_frames(ds.PixelData, number_of_frames=1))
        ds.PixelData = encapsulate([stream[: int(kept * len(stream))]])

    write_ct(tmp_path, head((4, 40, 48)), modify=cut)
    with pytest.raises(UnreadableFileError, match=r"im\d+\.dcm, slice 1 of 4 .*the end of .*export the series again"):
        intake.read(only(tmp_path))


def test_padding_behind_a_stream_is_no_damage(tmp_path):
    stack = head((4, 40, 48))

    def padded(ds, k):
        ds.compress(JPEGLSLossless, generate_instance_uid=False)
        stream = next(generate_frames(ds.PixelData, number_of_frames=1))
        ds.PixelData = encapsulate([stream + b"\0" * 30])

    write_ct(tmp_path, stack, modify=padded)
    np.testing.assert_array_equal(intake.read(only(tmp_path)).volume.array, stack)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEG2000])
def test_decoders_that_end_the_process_are_not_asked(syntax):
    assert dicom.decoder_problem(syntax) is None
    assert not {"gdcm", "pyjpegls"} & set(get_decoder(syntax).available_plugins)


@pytest.mark.parametrize("syntax", STREAMS)
def test_damaged_streams_are_refused_or_read_in_time(tmp_path, syntax):
    """One wrong byte in each of the first 60: gdcm aborted on some of these, pyjpegls never came back from others."""
    rng = np.random.default_rng(4)
    written = {}

    def damage(ds, k):
        ds.compress(syntax, generate_instance_uid=False)
        stream = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
        stream[written.setdefault(k, k)] = int(rng.integers(256))
        ds.PixelData = encapsulate([bytes(stream)])

    files = write_ct(tmp_path, head((61, 36, 40)), modify=damage)
    reader, refused = dicom.PixelReader(), 0
    for file in files:
        (header,) = dicom.read_headers(file)
        try:
            assert reader.read_hu(header).shape == (36, 40)
        except UnreadableFileError as error:
            refused += 1
            assert error.message.startswith(file.name)
    assert refused > 5


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (bytes.fromhex("ffd8 ffe0 0004 0000 ffff c3 000b 10 0028 0030 01011100"), (40, 48)),
        (bytes.fromhex("ffd8 fff7 000b 10 0000 0030 01011100"), None),
        (bytes.fromhex("ff4f ff51 0029 0000 00000050 00000040 00000003 00000001 0000"), (63, 77)),
        (b"no stream at all", None),
        (b"", None),
    ],
)
def test_the_size_a_stream_states(stream, size):
    assert stream_size(stream) == size
