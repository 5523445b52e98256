"""Headers that contradict each other, damaged elements and mixed exports: refused in words, never a wrong volume."""

from __future__ import annotations

import re

import numpy as np
import pydicom
import pytest
from phantoms import ORIGIN, SHAPE, head, only, refused, write_ct
from pydicom import config as pydicom_config
from pydicom.dataelem import DataElement
from pydicom.uid import (
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)  # fmt: skip

from hnvlm.errors import HnvlmError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import dicom, intake


@pytest.fixture(autouse=True)
def odd_values_may_be_written(monkeypatch):
    monkeypatch.setattr(pydicom_config.settings, "_writing_validation_mode", pydicom_config.IGNORE)


def element(keyword, vr, value):
    """Put an element of another representation than the standard's into a slice."""
    tag = pydicom.datadict.tag_for_keyword(keyword)

    def change(ds, k):
        ds[tag] = DataElement(tag, vr, value)

    return change


def setting(**values):
    def change(ds, k):
        for name, value in values.items():
            setattr(ds, name, value)

    return change


def one(number, change):
    return lambda ds, k: change(ds, k) if k == number else None


# ---- elements that cannot be converted ---------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("Rows", "LO", "abc"), ("BitsAllocated", "LO", "x"), ("PixelRepresentation", "LO", "x"),
        ("NumberOfFrames", "LO", "x"), ("ImageType", "US", 3), ("SamplesPerPixel", "LO", "x"),
        ("PixelPaddingValue", "LO", "x"), ("ReferencedFrameOfReferenceSequence", "LO", "x"),
    ],
)  # fmt: skip
def test_an_element_of_another_kind_ends_no_listing(tmp_path, keyword, vr, value):
    """One such file ended the listing of the whole upload, the good series beside it included."""
    write_ct(tmp_path / "odd", modify=element(keyword, vr, value))
    write_ct(tmp_path / "good")
    found = intake.scan(tmp_path)
    assert len(found) == 2 and found[0].accepted
    for info in found:
        try:
            assert intake.read(info).volume.shape == SHAPE
        except HnvlmError as error:
            assert ".dcm" in error.message or "these CT objects" in error.message


def test_bytes_that_are_no_numbers_are_a_missing_position(tmp_path):
    files = write_ct(tmp_path)
    for file in files:
        file.write_bytes(file.read_bytes().replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x32\x00FD"))
    assert "Image Position (Patient) is missing or not valid" in refused(tmp_path)


# ---- HU ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [{"RescaleSlope": 0}, {"RescaleSlope": -1}, {"RescaleSlope": "1e30"}, {"RescaleIntercept": "1e300"}],
    ids=lambda v: "=".join(map(str, *v.items())),
)
@pytest.mark.parametrize("number", [None, 3], ids=["every slice", "one slice"])
def test_a_rescale_that_makes_no_hu_is_refused(tmp_path, values, number):
    change = setting(**values)
    write_ct(tmp_path, modify=change if number is None else one(number, change))
    assert "of which no HU can come" in refused(tmp_path)


def test_a_rescale_missing_in_one_slice_is_refused_by_its_name(tmp_path):
    """Read with intercept 0 this slice would be 1024 HU too high."""
    files = write_ct(tmp_path, modify=one(3, lambda ds, k: delattr(ds, "RescaleIntercept")))
    assert f"missing in {files[3].name} (1 of 7 slices)" in refused(tmp_path)


def test_a_rescale_of_its_own_in_every_slice_is_applied(tmp_path):
    def own(ds, k):
        stored = np.frombuffer(ds.PixelData, "<u2").astype(int) - 1024  # HU
        ds.RescaleSlope, ds.RescaleIntercept = 0.5, -1100 - k
        ds.PixelData = ((stored + 1100 + k) * 2).astype("<u2").tobytes()

    write_ct(tmp_path, modify=own)
    np.testing.assert_array_equal(intake.read(only(tmp_path)).volume.array, head())


def test_values_shifted_up_in_their_word_are_refused(tmp_path):
    write_ct(tmp_path, modify=setting(BitsStored=12, HighBit=15))
    assert "12 bits up to bit 15" in refused(tmp_path)


def test_the_upper_bits_of_a_word_are_no_part_of_the_value(tmp_path):
    """Twelve bits, signed, the sign in bit 11; old overlays lie above."""

    def twelve(ds, k):
        hu = np.frombuffer(ds.PixelData, "<u2").astype(int) - 1024
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit, ds.RescaleIntercept = 1, 12, 11, 0
        ds.PixelData = ((hu & 0x0FFF) | 0x4000).astype("<u2").tobytes()

    write_ct(tmp_path, modify=twelve)
    np.testing.assert_array_equal(intake.read(only(tmp_path)).volume.array, head())


def test_32_bits_do_not_wrap_around(tmp_path):
    stack = head()

    def wide(ds, k):
        stored = np.frombuffer(ds.PixelData, "<u2").astype("<u4")
        stored[0] = 3_000_000_000
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 32, 32, 31
        ds.PixelData = stored.tobytes()

    write_ct(tmp_path, stack, modify=wide)
    array = intake.read(only(tmp_path)).volume.array
    assert array[0, 0, 0] == 32767
    np.testing.assert_array_equal(array.reshape(7, -1)[:, 1:], stack.reshape(7, -1)[:, 1:])


@pytest.mark.parametrize("values", [{"Rows": 5}, {"Columns": 7}])
def test_more_pixels_than_the_header_says_are_not_cut_off(tmp_path, values):
    """Half of the columns would give a sheared image of the right size."""
    write_ct(tmp_path, modify=setting(**values))
    with pytest.raises(UnreadableFileError, match="140 bytes more than an image of"):
        intake.read(only(tmp_path))


def test_a_compressed_image_of_another_size_is_refused(tmp_path):
    def change(ds, k):
        ds.compress(RLELossless)
        ds.Rows = 5

    write_ct(tmp_path, modify=change)
    with pytest.raises(UnreadableFileError, match=r"\.dcm"):
        intake.read(only(tmp_path))


def test_a_codec_that_panics_is_a_damaged_file(tmp_path, monkeypatch):
    """Codecs in Rust raise PanicException, which passes every ``except Exception`` and would end the app's job."""

    class PanicException(BaseException):
        pass

    def panics(dataset, header):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(dicom.PixelReader, "_decode", staticmethod(panics))
    files = write_ct(tmp_path)
    with pytest.raises(UnreadableFileError, match=rf"{files[0].name}.*damaged"):
        intake.read(only(tmp_path))


def test_a_volume_of_one_value_is_no_ct(tmp_path):
    write_ct(tmp_path / "a", np.full(SHAPE, -1000, np.int16))
    with pytest.raises(InputRefusedError, match="every voxel of the volume is -1000 HU"):
        intake.read(only(tmp_path / "a"))


# ---- geometry ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"modify": setting(PixelSpacing=["0.0007", "0.0011"])}, "voxels of 0.0011 x 0.0007 x 2.5 mm"),
        ({"modify": setting(PixelSpacing=["700", "1100"])}, "a field of 15400 x 7000 x 18 mm"),
        ({"modify": setting(PixelSpacing=["0.7", "240"])}, "a field of 3360 x 7 x 18 mm is larger than any patient"),
        ({"step": (0, 0, 1e4)}, "a field of 15 x 7 x 70000 mm"),
        ({"origin": (1e30, 0, 0)}, "positions are damaged"),
        ({"step": (0, 7, 2.5)}, "no gantry tilts that far"),
        ({"modify": setting(ImageOrientationPatient=[0] * 6)}, "do not span three dimensions"),
    ],
    ids=["micrometres", "metres", "wide", "10 m apart", "far away", "sheared", "no direction"],
)
def test_a_grid_no_patient_has_is_refused_and_the_others_are_listed(tmp_path, given, words):
    write_ct(tmp_path / "odd", **given)
    write_ct(tmp_path / "good")
    good, odd = intake.scan(tmp_path)
    assert good.accepted and not odd.accepted
    assert re.search(words, "; ".join(odd.reasons))


# ---- several things under one series UID -------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 1.25], ids=["same places", "in between"])
def test_two_kernels_under_one_uid_are_listed_by_themselves(tmp_path, shift):
    uid, soft, bone = generate_uid(), head(), head() + 5
    write_ct(tmp_path / "a", soft, series=uid, modify=setting(ConvolutionKernel="B31f"))
    x, y, z = ORIGIN[::-1]
    write_ct(tmp_path / "b", bone, series=uid, origin=(x, y, z + shift), modify=setting(ConvolutionKernel="B70f"))
    first, second = intake.scan(tmp_path)
    assert [i.series_uid for i in (first, second)] == [f"{uid}#1", f"{uid}#2"]
    for info, stack, name in ((first, soft, "B31f"), (second, bone, "B70f")):
        assert (
            info.accepted
            and f"2 reconstruction kernels (B31f, B70f); each is listed by itself, this is {name}" in (info.warnings[0])
        )
        np.testing.assert_array_equal(intake.read(info).volume.array, stack)


def test_a_kernel_that_changes_half_way_is_one_scan_and_said(tmp_path):
    files = write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "ConvolutionKernel", "FC08" if k < 4 else "FC30"))
    info = only(tmp_path)
    assert info.accepted and info.shape == SHAPE
    assert f"(FC08, FC30), at {files[4].name}" in info.warnings[0]


@pytest.mark.parametrize(
    ("tag", "words"), [("PatientID", "images of 2 patients"), ("StudyInstanceUID", "images of 2 studies")]
)
def test_two_patients_under_one_series_uid_are_no_volume(tmp_path, tag, words):
    """Stacked on each other they would look like one scan."""
    uid = generate_uid()
    write_ct(tmp_path / "a", series=uid, modify=setting(**{tag: "1.2.3"}), name="a{}.dcm")
    x, y, z = ORIGIN[::-1]
    write_ct(tmp_path / "b", series=uid, origin=(x, y, z + 17.5), modify=setting(**{tag: "1.2.4"}), name="b{}.dcm")
    said = refused(tmp_path)
    assert words in said and "1.2.3" not in said
    assert any(f"{a} and {b}" in said for a in ("a0.dcm", "a3.dcm") for b in ("b0.dcm", "b3.dcm"))


def test_phases_that_only_the_trigger_time_tells_apart(tmp_path):
    uid = generate_uid()
    for phase in range(3):
        write_ct(tmp_path / str(phase), head() + phase, series=uid, modify=setting(TriggerTime=phase * 100))
    found = intake.scan(tmp_path)
    assert [int(intake.read(i).volume.array[0, 0, 0]) for i in found] == [-1000, -999, -998]


def test_phases_are_told_apart_by_their_time_of_day_without_naming_it(tmp_path):
    """The note is stored with the case, which keeps no date and no time of the patient's."""
    uid = generate_uid()
    for phase, when in enumerate(("093015.5", "101502.25")):
        write_ct(tmp_path / str(phase), head() + phase, series=uid, modify=setting(AcquisitionTime=when))
    found = intake.scan(tmp_path)
    assert [int(intake.read(i).volume.array[0, 0, 0]) for i in found] == [-1000, -999]
    said = " ".join(w for i in found for w in i.warnings)
    assert "AcquisitionTime 1, AcquisitionTime 2" in said and "0930" not in said and "1015" not in said


def test_phases_are_counted_by_number_and_not_by_letter(tmp_path):
    uid = generate_uid()
    for number in (2, 10):
        write_ct(tmp_path / str(number), head() + number, series=uid, modify=setting(AcquisitionNumber=number))
    assert [int(intake.read(i).volume.array[0, 0, 0]) for i in intake.scan(tmp_path)] == [-998, -990]


def test_a_screen_shot_among_the_slices_is_left_out(tmp_path):
    files = write_ct(tmp_path)
    ds = pydicom.dcmread(files[0])
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, name)
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, bytes(192)
    ds.save_as(tmp_path / "dose report.dcm")
    info = only(tmp_path)
    assert info.accepted and any("(screen shot) left out: dose report.dcm" in w for w in info.warnings)
    np.testing.assert_array_equal(intake.read(info).volume.array, head())


def test_what_is_called_ct_and_is_none_is_refused(tmp_path):
    write_ct(tmp_path, modify=setting(SOPClassUID=MRImageStorage))
    assert "is of the kind 'MR Image Storage'" in refused(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ManufacturerModelName": "On-Board Imager"}, "cone-beam"),
        ({"SeriesDescription": "Head CBCT full fan"}, "cone-beam"),
        ({"KVP": "3500"}, "megavoltage CT (3500 kV)"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary captures"),
    ],
)
def test_values_of_other_scanners_are_doubted(tmp_path, values, words):
    write_ct(tmp_path / "a", modify=setting(**values))
    assert any(words in w for w in only(tmp_path / "a").warnings)
    write_ct(tmp_path / "b")
    assert only(tmp_path / "b").warnings == []


def test_a_slice_lost_at_the_end_of_the_series_is_said(tmp_path):
    """The others are regular, so nothing but the empty file tells."""
    files = write_ct(tmp_path)
    files[-1].write_bytes(b"")
    info = only(tmp_path)
    assert info.accepted and f"{files[-1].name}: not a DICOM file (0 bytes)" in info.warnings[0]
