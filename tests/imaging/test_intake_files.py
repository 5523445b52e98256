"""What people upload: folders, zips, odd and hostile files; and pixels in every encoding."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phantoms import SHAPE, head, write_ct
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from hnvlm.errors import CancelledError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import archive, dicom, intake


def make_zip(path, files, prefix="export/one/two/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for file in files:
            z.write(file, prefix + file.name)
    return path


def test_zip_with_nested_folders(tmp_path):
    files = write_ct(tmp_path / "ct", name="IM{:05d}")
    path = make_zip(tmp_path / "a.zip", files)
    work = tmp_path / "work"
    info = intake.scan(path, work)[0]
    np.testing.assert_array_equal(intake.read(info).volume.array, head())
    assert all(work in f.parents for f in info.files)
    folder = next(work.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../../evil.dcm", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_zip_member_outside_is_refused_by_name(tmp_path, name):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(name, b"x")
    with pytest.raises(UnreadableFileError, match="outside the archive") as error:
        intake.scan(path, tmp_path / "work")
    assert "evil" in error.value.message
    assert not list(tmp_path.rglob("evil*"))


def test_a_colon_in_a_folder_of_a_zip_is_no_drive(tmp_path):
    files = write_ct(tmp_path / "ct")
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"Neck 10:35/{file.name}")
    np.testing.assert_array_equal(intake.read_path(path, tmp_path / "work").volume.array, head())


def test_zip_link_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as z:
        member = zipfile.ZipInfo("link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(member, "/etc/passwd")
    with pytest.raises(UnreadableFileError, match="is a link"):
        intake.scan(path, tmp_path / "work")


def test_encrypted_zip_is_refused_by_name(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("secret.dcm", b"abc")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # general purpose flag of the local header ...
    data[data.index(b"PK\x01\x02") + 8] |= 1  # ... and of the central directory
    path.write_bytes(bytes(data))
    with pytest.raises(UnreadableFileError, match=r"secret\.dcm.*encrypted"):
        intake.scan(path, tmp_path / "work")


def test_zip_too_large_leaves_nothing_behind(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("zeros", b"\0" * 5_000_000)
    with pytest.raises(UnreadableFileError, match="unpacks to more than 1 MB"):
        archive.unpack_zip(path, tmp_path / "work", max_bytes=1_000_000)
    # A header that lies about the size is caught by counting.
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(UnreadableFileError):
        archive.unpack_zip(path, tmp_path / "work2", max_bytes=1_000_000)
    assert not (tmp_path / "work").exists() or not list((tmp_path / "work").iterdir())


def test_the_limit_holds_for_all_zips_of_an_upload_together(tmp_path):
    zips = [tmp_path / f"{n}.zip" for n in range(3)]
    for n, path in enumerate(zips):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(f"part{n}", b"\0" * 400_000)
    found = archive.unpack_all(zips[:2], tmp_path / "two", max_bytes=1_000_000)
    assert [f.name for f in found] == ["part0", "part1"] and all(f.stat().st_size == 400_000 for f in found)
    with pytest.raises(UnreadableFileError, match=r"2\.zip"):
        archive.unpack_all(zips, tmp_path / "three", max_bytes=1_000_000)


def test_bomb_ratio_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RATIO_MATTERS_ABOVE_BYTES", 1000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("zeros", b"\0" * 5_000_000)
    with pytest.raises(UnreadableFileError, match="zip bomb"):
        archive.unpack_zip(path, tmp_path / "work")


def test_damaged_empty_and_nested_zip(tmp_path):
    files = write_ct(tmp_path / "ct")
    good = make_zip(tmp_path / "good.zip", files)
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-300])
    with pytest.raises(UnreadableFileError, match=r"cut\.zip.*damaged"):
        intake.scan(tmp_path / "cut.zip", tmp_path / "w")
    broken = bytearray(good.read_bytes())
    broken[200:260] = b"\xff" * 60
    (tmp_path / "broken.zip").write_bytes(bytes(broken))
    with pytest.raises(UnreadableFileError, match=r"broken\.zip"):
        intake.scan(tmp_path / "broken.zip", tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(UnreadableFileError, match="empty"):
        intake.scan(tmp_path / "empty.zip", tmp_path / "w")
    nested = make_zip(tmp_path / "nested.zip", [good])
    with pytest.raises(UnreadableFileError, match="another zip"):
        intake.scan(nested, tmp_path / "w")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), preamble=st.booleans())
def test_any_bytes_are_read_or_refused_with_the_file_name(tmp_path, data, preamble):
    file = tmp_path / "x.dcm"
    file.write_bytes((b"\0" * 128 + b"DICM" if preamble else b"\x08\0\x05\0") + data)
    try:
        found = intake.scan(file)
    except UnreadableFileError as error:
        assert "x.dcm" in error.message
    else:
        assert all(not s.accepted for s in found)


def test_without_preamble_suffix_or_meta(tmp_path):
    files = write_ct(tmp_path / "src")
    out = tmp_path / "bare"
    out.mkdir()
    for n, file in enumerate(files):
        ds = pydicom.dcmread(file)
        buffer = io.BytesIO()
        bare = Dataset()
        bare.update({e.tag: e for e in ds})
        pydicom.dcmwrite(buffer, bare, implicit_vr=n % 2 == 0, little_endian=True, enforce_file_format=False)
        data = buffer.getvalue()
        (out / f"{n}").write_bytes(data[132:] if data[128:132] == b"DICM" else data)
    (out / "notes.txt").write_text("not an image, only a note about this export")
    info = intake.scan(out)[0]
    assert info.accepted, info.reasons
    np.testing.assert_array_equal(intake.read(info).volume.array, head())


def test_dicomdir_is_followed():
    path = get_testdata_file("DICOMDIR")
    found = intake.scan(path)
    assert len(found) > 1
    assert {s.modality for s in found} >= {"CT"}
    assert all(s.reasons for s in found if not s.accepted)


def test_several_series_and_rt_objects_are_all_listed(tmp_path):
    write_ct(tmp_path / "a")
    write_ct(tmp_path / "b", modify=lambda ds, k: setattr(ds, "Modality", "PT"))
    for name in ("rtstruct.dcm", "rtdose.dcm", "rtplan.dcm"):
        (tmp_path / name).write_bytes(pydicom_file(name).read_bytes())
    found = intake.scan(tmp_path)
    assert [s.modality for s in found if s.accepted] == ["CT"]
    refused = {s.modality: s.reasons[0] for s in found if not s.accepted}
    assert set(refused) == {"PT", "RTSTRUCT", "RTDOSE", "RTPLAN"}
    assert "opened together with its CT" in refused["RTSTRUCT"]


def test_two_series_without_a_uid_can_be_told_apart(tmp_path):
    for n, name in enumerate("ab"):
        write_ct(tmp_path / name, head() + np.int16(n), modify=lambda ds, k: delattr(ds, "SeriesInstanceUID"))
    found = intake.scan(tmp_path)
    assert [s.accepted for s in found] == [True, True] and found[0].series_uid != found[1].series_uid
    assert [s.series_uid for s in intake.scan(tmp_path)] == [s.series_uid for s in found]


def test_nothing_readable_is_said_plainly(tmp_path):
    with pytest.raises(UnreadableFileError, match="no such file"):
        intake.scan(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UnreadableFileError, match="no DICOM or NIfTI"):
        intake.scan(tmp_path)
    with pytest.raises(UnreadableFileError, match="neither DICOM nor NIfTI"):
        intake.scan(tmp_path / "a.txt")
    (tmp_path / "fake.zip").write_text("hello")
    with pytest.raises(UnreadableFileError, match=r"fake\.zip.*damaged"):
        intake.scan(tmp_path / "fake.zip")


def test_damaged_file_beside_good_ones_is_named(tmp_path):
    write_ct(tmp_path)
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0\x16\0UI\xff\xff" + b"\1" * 30)
    (tmp_path / "worse.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\x04\0" + b"1.2\0" + b"\xff" * 9)
    found = intake.scan(tmp_path)
    assert found[0].accepted and found[0].shape == SHAPE
    said = " ".join(text for info in found for text in [*info.warnings, *info.reasons])
    assert "bad.dcm" in said and "worse.dcm" in said


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_gives_the_same_hu(tmp_path, syntax):
    stack = head((3, 40, 48))

    def compress(ds, k):
        ds.compress(syntax, generate_instance_uid=False)

    write_ct(tmp_path, stack, modify=compress)
    info = intake.scan(tmp_path)[0]
    assert info.transfer_syntax == syntax.name
    np.testing.assert_array_equal(intake.read(info).volume.array, stack)


def test_implicit_and_deflated_layouts(tmp_path):
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        folder = tmp_path / syntax.name
        write_ct(folder, modify=lambda ds, k, syntax=syntax: setattr(ds.file_meta, "TransferSyntaxUID", syntax))
        info = intake.scan(folder)[0]
        assert info.transfer_syntax == syntax.name
        np.testing.assert_array_equal(intake.read(info).volume.array, head())


def test_big_endian_gives_the_pixels_of_its_little_endian_twin():
    little, big = (dicom.read_headers(pydicom_file(n))[0] for n in ("MR_small.dcm", "MR_small_bigendian.dcm"))
    reader = dicom.PixelReader()
    np.testing.assert_array_equal(reader.read_hu(big), reader.read_hu(little))


def test_a_stream_no_codec_can_read_names_file_and_syntax():
    header = dicom.read_headers(pydicom_file("JPEG-lossy.dcm"))[0]
    with pytest.raises(UnreadableFileError, match=r"JPEG-lossy\.dcm.*JPEG Extended"):
        dicom.PixelReader().read_hu(header)


@pytest.mark.parametrize(
    "name",
    ["JPEG2000.dcm", "JPGExtended.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm",
     "MR_small_jp2klossless.dcm", "693_J2KI.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
     "JPEGLSNearLossless_16.dcm"],
)  # fmt: skip
def test_pydicom_files_decode_like_pydicom(name):
    header = dicom.read_headers(pydicom_file(name))[0]
    raw = dicom.PixelReader._decode(pydicom.dcmread(header.path), header)
    np.testing.assert_array_equal(raw, pydicom.dcmread(header.path).pixel_array)


def pydicom_file(name):
    return Path(get_testdata_file(name))


def test_undecodable_syntax_is_refused_by_file_and_syntax(tmp_path):
    def video(ds, k):
        ds.PixelData = encapsulate([ds.PixelData])
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"

    files = write_ct(tmp_path, modify=video)
    info = intake.scan(tmp_path)[0]
    assert not info.accepted
    assert "MPEG-4" in info.reasons[0] and any(f.name in info.reasons[0] for f in files)
    with pytest.raises(InputRefusedError, match="MPEG-4"):
        intake.read(info)


@pytest.mark.parametrize("compress", [False, True])
def test_cut_pixel_data_names_the_file(tmp_path, compress):
    stack = head((3, 64, 64))
    files = write_ct(tmp_path, stack, modify=lambda ds, k: ds.compress(RLELossless) if compress else None)
    victim = files[1]
    victim.write_bytes(victim.read_bytes()[:-1500])
    info = intake.scan(tmp_path)[0]
    with pytest.raises(UnreadableFileError, match=victim.name):
        intake.read(info)


def test_rescale_signedness_and_padding(tmp_path):
    """Signed storage, slope 2, padding -2000: HU by hand."""
    raw = np.full((3, 4, 5), -500, np.int16)
    raw[1, 2, 3], raw[0, 0, 0], raw[2, 3, 4] = 250, -2000, 31000

    def signed(ds, k):
        ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = 1, 2, -10
        ds.PixelData = raw[k].tobytes()
        ds.add_new("PixelPaddingValue", "SS", -2000)

    write_ct(tmp_path, raw, modify=signed)
    array = intake.read(intake.scan(tmp_path)[0]).volume.array
    assert array[1, 2, 3] == 2 * 250 - 10
    assert array[0, 0, 0] == -1024  # padding
    assert array[0, 1, 1] == -1010
    assert array[2, 3, 4] == 32767  # clipped, not wrapped


def test_padding_inside_tissue_is_not_believed(tmp_path):
    def padded(ds, k):
        ds.add_new("PixelPaddingValue", "US", 1024)  # 0 HU

    stack = head()
    stack[3, 5, 5] = 0
    write_ct(tmp_path, stack, modify=padded)
    result = intake.read(intake.scan(tmp_path)[0])
    assert result.volume.array[3, 5, 5] == 0
    assert any("padding value 1024 means 0 HU" in w for w in result.warnings)


def test_missing_rescale_is_said_and_implausible_hu_too(tmp_path):
    def bare(ds, k):
        del ds.RescaleSlope, ds.RescaleIntercept

    write_ct(tmp_path, modify=bare)
    result = intake.read(intake.scan(tmp_path)[0])
    text = " ".join(result.warnings)
    assert "rescale slope or intercept is missing in 7 of 7" in text and "no air" in text
    np.testing.assert_array_equal(result.volume.array, head().astype(int) + 1024)


@pytest.mark.parametrize(("flag", "doubted"), [("01", True), ("00", False)])
def test_compression_with_loss_is_said(tmp_path, flag, doubted):
    """The flag stays when such an image is stored uncompressed again (PS3.3 C.7.6.1.1.5)."""
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "LossyImageCompression", flag))
    assert any("compressed with loss" in w for w in intake.scan(tmp_path)[0].warnings) == doubted


@pytest.mark.parametrize("word", ["MIP", "MINIP"])
def test_a_projection_is_doubted(tmp_path, word):
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "ImageType", ["DERIVED", "SECONDARY", "AXIAL", word]))
    assert any("intensity projection" in w for w in intake.scan(tmp_path)[0].warnings)


@pytest.mark.parametrize("width", [0, -400, None])
def test_a_window_that_shows_nothing_is_not_taken(tmp_path, width):
    def change(ds, k):
        ds.WindowCenter, ds.WindowWidth = 40, width

    write_ct(tmp_path, modify=change)
    meta = intake.read_path(tmp_path).meta
    assert (meta["window_centre"], meta["window_width"]) == (None, None)


def test_monochrome1_values_are_not_inverted(tmp_path):
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"))
    result = intake.read(intake.scan(tmp_path)[0])
    np.testing.assert_array_equal(result.volume.array, head())
    assert any("MONOCHROME1" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("SamplesPerPixel", 3, "colour"), ("BitsAllocated", 1, "1 bits"), ("NumberOfFrames", 4, "multi-frame")],
)
def test_images_that_are_no_hu_slices_are_refused(tmp_path, name, value, word):
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, name, value))
    info = intake.scan(tmp_path)[0]
    assert not info.accepted and word in info.reasons[0]


def test_enhanced_multiframe_ct(tmp_path):
    stack = head()
    ds = phantoms.dataset(stack[0], (0, 0, 0), 1, generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, name)
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([item(PixelSpacing=[0.7, 1.1], SliceThickness=3)])
    shared.PlaneOrientationSequence = Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])
    shared.PixelValueTransformationSequence = Sequence([item(RescaleSlope=1, RescaleIntercept=-1024)])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(len(stack)):
        frame = Dataset()
        frame.PlanePositionSequence = Sequence([item(ImagePositionPatient=[1.0, 2.0, 30 - 2.5 * k])])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.NumberOfFrames = len(stack)
    ds.PixelData = (stack.astype(np.int32) + 1024).astype("<u2").tobytes()
    ds.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    info = intake.scan(tmp_path / "enhanced.dcm")[0]
    assert info.accepted and info.shape == SHAPE
    result = intake.read(info)
    np.testing.assert_array_equal(result.volume.array, stack[::-1])
    assert result.volume.origin_mm == pytest.approx((15.0, 2.0, 1.0))


def item(**values):
    out = Dataset()
    for name, value in values.items():
        setattr(out, name, value)
    return out


def test_progress_and_stop(tmp_path):
    write_ct(tmp_path)
    info = intake.scan(tmp_path)[0]
    seen = []
    intake.read(info, progress=lambda f, m: seen.append(f))
    assert seen == sorted(seen) and seen[-1] == 1.0

    def stop(fraction, message):
        raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        intake.read(info, progress=stop)


def test_read_path_names_why_nothing_is_read(tmp_path):
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "Modality", "MR"))
    with pytest.raises(InputRefusedError, match="MR is not CT"):
        intake.read_path(tmp_path)
