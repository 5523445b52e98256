"""Enhanced CT whose frames contradict the file, damaged files of every kind, and what is logged of them."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile

import numpy as np
import phantoms
import pytest
from phantoms import ORIGIN, SHAPE, SPACING, head, only, refused, write_ct
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from hnvlm.errors import HnvlmError, UnreadableFileError
from hnvlm.imaging import intake
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti

# ---- one damaged slice among many ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "given", "place", "advice"),
    [
        (4, {}, "slice 5 of 7 (z = -20.0 mm, instance number 5)", "is no help: a slice would be missing"),
        (6, {}, "slice 7 of 7 (z = -15.0 mm, instance number 7)", "Or leave this file out"),
        # Columns that run backwards turn the normal to the feet; the viewer counts from there all the same.
        (4, {"directions": ((1, 0, 0), (0, -1, 0))}, "slice 5 of 7 (z = -20.0 mm, instance number 5)", "is no help"),
        (1, {"directions": ((1, 0, 0), (0, 0, -1)), "step": (0, 2.5, 0)}, "slice 2 of 7 (y = 14.5 mm, ", "is no help"),
    ],
)
def test_a_slice_that_breaks_off_is_told_by_its_place(tmp_path, index, given, place, advice):
    def cut(ds, k):
        if k == index:
            ds.PixelData = ds.PixelData[:100]

    files = write_ct(tmp_path, modify=cut, origin=(-55.0, 12.0, -30.0), **given)
    with pytest.raises(UnreadableFileError) as caught:
        intake.read(only(tmp_path))
    said = str(caught.value)
    assert said.startswith(f"{files[index].name}, {place}") and "the image breaks off before its end" in said
    assert "export the series again" in said and advice in said
    assert "bytes" not in said and "group 0028" not in said, "the decoder's own words speak to programmers"


def test_a_place_holds_no_number_that_may_be_the_patients(tmp_path):
    def cut(ds, k):
        ds.InstanceNumber = 510203123
        ds.PixelData = ds.PixelData[: 100 if k == 2 else None]

    write_ct(tmp_path, modify=cut)
    with pytest.raises(UnreadableFileError, match=r"slice 3 of 7 \(z = -?[\d.]+ mm\): pixel data") as caught:
        intake.read(only(tmp_path))
    assert "510203123" not in str(caught.value)


# ---- enhanced CT -------------------------------------------------------------------------------


def item(**values):
    out = Dataset()
    for name, value in values.items():
        setattr(out, name, value)
    return out


def enhanced(path, stack, positions, frames=None, change=None):
    ds = phantoms.dataset(stack[0], (0, 0, 0), 1, generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, name)
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.7, 1.1])]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelValueTransformationSequence=Sequence([item(RescaleSlope=1, RescaleIntercept=-1024)]),
    )
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    own = [item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[-55.0, 12.0, z])])) for z in positions]
    for k, frame in enumerate(own):
        for name, value in (frames(k) if frames else {}).items():
            setattr(frame, name, Sequence([value]))
    ds.PerFrameFunctionalGroupsSequence = Sequence(own)
    ds.NumberOfFrames = len(stack)
    ds.PixelData = (stack.astype(np.int32) + 1024).astype("<u2").tobytes()
    if change:
        change(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def heights(count, first=-30.0):
    return [first + SPACING[0] * (k % SHAPE[0]) for k in range(count)]


def test_frames_that_are_not_described_are_not_dropped(tmp_path):
    path = enhanced(tmp_path / "e.dcm", head(), heights(7), change=lambda ds: ds.PerFrameFunctionalGroupsSequence.pop())
    with pytest.raises(UnreadableFileError, match=r"e\.dcm: 7 frames are stated but 6 are described"):
        intake.scan(path)


def test_no_description_of_frames_is_said(tmp_path):
    path = enhanced(
        tmp_path / "e.dcm", head(), heights(7), change=lambda ds: delattr(ds, "PerFrameFunctionalGroupsSequence")
    )
    assert "without positions of its frames" in refused(path)


def test_phases_of_an_enhanced_ct_are_listed_one_by_one(tmp_path):
    stack = np.concatenate([head(), head() + 3])
    path = enhanced(
        tmp_path / "e.dcm", stack, heights(14), lambda k: {"FrameContentSequence": item(TemporalPositionIndex=k // 7)}
    )
    first, second = intake.scan(path)
    np.testing.assert_array_equal(intake.read(first).volume.array, head())
    np.testing.assert_array_equal(intake.read(second).volume.array, head() + 3)


def test_a_localizer_among_frames_is_left_out(tmp_path):
    path = enhanced(
        tmp_path / "e.dcm", head(), heights(7),
        lambda k: {"CTImageFrameTypeSequence": item(FrameType=["ORIGINAL", "PRIMARY", "AXIAL" if k else "LOCALIZER"])},
    )  # fmt: skip
    info = only(path)
    assert "localizer" in info.warnings[0]
    np.testing.assert_array_equal(intake.read(info).volume.array, head()[1:])


# ---- what is logged ----------------------------------------------------------------------------


def test_no_path_and_no_value_of_a_file_is_logged(tmp_path, capfd, recwarn, monkeypatch):
    """pydicom's and ITK's own warnings name paths and values, and patients in them."""
    monkeypatch.setattr(pydicom_config.settings, "_writing_validation_mode", pydicom_config.IGNORE)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        folder = tmp_path / "KOWALSKI_JAN"
        files = write_ct(folder, modify=lambda ds, k: setattr(ds, "FrameOfReferenceUID", "KOWALSKI^JAN"))
        files[0].write_bytes(files[0].read_bytes()[:-100])
        info = only(folder)
        with pytest.raises(UnreadableFileError):
            intake.read(info)
        path = write_nifti(Volume(head(), SPACING, ORIGIN), folder / "KOWALSKI.nii")
        data = bytearray(path.read_bytes())
        data[80:84] = struct.pack("<f", 1.3)
        path.write_bytes(bytes(data))
        only(path)
    said = "".join(capfd.readouterr()) + "".join(str(w.message) for w in recwarn)
    assert "KOWALSKI" not in said


# ---- anything at all ---------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random, upto: int) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 12])):
        at = rng.randrange(upto)
        kind = rng.randrange(4)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at : at + rng.randrange(1, 20)]
        else:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"nan ", b"\xff\xff\xff\x7f"])
        upto = min(upto, len(out))
    return bytes(out)


def sources(folder):
    files = write_ct(folder / "ct")
    nifti = write_nifti(Volume(head(), SPACING, ORIGIN), folder / "a.nii")
    yield "im.dcm", files[3].read_bytes(), files[3].stat().st_size - 292
    yield "e.dcm", enhanced(folder / "e.dcm", head(), heights(7)).read_bytes(), 2000
    yield "a.nii", nifti.read_bytes(), 352
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            for file in files:
                archive.write(file, file.name)
        yield f"{method}.zip", packed.getvalue(), len(packed.getvalue())


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_read_or_refused_by_their_name(tmp_path, seed):
    rng = random.Random(seed)
    for name, data, upto in sources(tmp_path):
        for number in range(20):
            folder = tmp_path / f"{name}-{number}"
            folder.mkdir()
            (folder / name).write_bytes(damaged(data, rng, upto))
            try:
                for info in intake.scan(folder / name, folder / "unpacked"):
                    if info.accepted:
                        assert intake.read(info).volume.array.dtype == np.int16
            except HnvlmError as error:
                assert error.message
