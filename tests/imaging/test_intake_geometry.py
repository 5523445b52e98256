"""Geometry is checked, not assumed: each irregular series is named, refused or straightened."""

from __future__ import annotations

import numpy as np
import phantoms
import pytest
from phantoms import ORIGIN, SHAPE, SPACING, head, only, write_ct
from pydicom.uid import generate_uid

from hnvlm.errors import GeometryError, InputRefusedError
from hnvlm.imaging import intake


def test_regular_series_is_read_voxel_by_voxel(tmp_path):
    write_ct(tmp_path)
    info = only(tmp_path)
    assert info.accepted and info.reasons == [] and info.warnings == []
    assert (info.n_slices, info.shape, info.orientation) == (7, SHAPE, "axial")
    assert info.spacing_mm == pytest.approx(SPACING)
    result = intake.read(info)
    assert result.volume.array.dtype == np.int16
    np.testing.assert_array_equal(result.volume.array, head())
    assert result.volume.origin_mm == pytest.approx(ORIGIN)
    assert result.volume.frame_of_reference_uid == phantoms.FRAME
    assert result.warnings == []


def test_order_follows_position_not_instance_number(tmp_path):
    def backwards(ds, k):
        ds.InstanceNumber = 100 - k

    write_ct(tmp_path, modify=backwards)
    np.testing.assert_array_equal(intake.read(only(tmp_path)).volume.array, head())


@pytest.mark.parametrize(
    ("directions", "step", "word", "turn"),
    [
        # feet to head turned round: rows run to the right, columns to the front
        (((-1, 0, 0), (0, -1, 0)), (0, 0, 2.5), "axial", lambda a: a[:, ::-1, ::-1]),
        # positions fall while the file order rises
        (((1, 0, 0), (0, 1, 0)), (0, 0, -2.5), "axial", lambda a: a[::-1]),
        # sagittal: rows to the back, columns to the feet, slices to the left
        (((0, 1, 0), (0, 0, -1)), (2.5, 0, 0), "sagittal", lambda a: a.transpose(1, 2, 0)[::-1]),
        # coronal: rows to the left, columns to the feet, slices to the back
        (((1, 0, 0), (0, 0, -1)), (0, 2.5, 0), "coronal", lambda a: a.transpose(1, 0, 2)[::-1]),
    ],
)
def test_every_body_plane_becomes_lps(tmp_path, directions, step, word, turn):
    stack = head()
    write_ct(tmp_path, stack, directions=directions, step=step, origin=(5.0, 6.0, 7.0))
    info = only(tmp_path)
    result = intake.read(info)
    assert info.orientation == word
    np.testing.assert_array_equal(result.volume.array, turn(stack))
    assert info.shape == result.volume.shape


def test_orientation_matches_an_independent_reader(tmp_path):
    """The voxel at one LPS point must be the same as in SimpleITK's own reading of the series."""
    import SimpleITK as sitk

    write_ct(tmp_path, directions=((0, 1, 0), (0, 0, -1)), step=(2.5, 0, 0), origin=(5.0, 6.0, 7.0))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    volume = intake.read(only(tmp_path)).volume
    for index in [(0, 0, 0), (3, 2, 5), (9, 13, 6), (4, 7, 1)]:
        z, y, x = volume.index_to_mm(np.array(index))
        assert other.GetPixel(other.TransformPhysicalPointToIndex((x, y, z))) == volume.array[index]


def test_missing_slice_is_refused_with_files_gap_and_positions(tmp_path):
    files = write_ct(tmp_path)
    files[3].unlink()
    info = only(tmp_path)
    assert not info.accepted
    text = info.reasons[0]
    assert "1 slice is missing" in text and "5.00 mm" in text and "2.50 mm apart" in text
    assert files[2].name in text and files[4].name in text
    assert "z -25.00" in text and "z -20.00" in text
    with pytest.raises(GeometryError, match="missing"):
        intake.read(info)


def test_two_images_at_one_position_are_refused_by_name(tmp_path):
    files = write_ct(tmp_path)
    extra = phantoms.dataset(head()[0], (ORIGIN[2], ORIGIN[1], ORIGIN[0] + 5.0), 9, _series(files))
    extra.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    info = only(tmp_path)
    assert not info.accepted
    text = info.reasons[0]
    assert "duplicate position" in text and "other.dcm" in text and files[2].name in text


def _series(files):
    import pydicom

    return pydicom.dcmread(files[0]).SeriesInstanceUID


def test_second_copy_of_the_same_file_is_left_out_with_a_warning(tmp_path):
    files = write_ct(tmp_path)
    (tmp_path / "copy.dcm").write_bytes(files[4].read_bytes())
    info = only(tmp_path)
    assert info.accepted and info.shape == SHAPE
    assert any("1 duplicate file(s)" in w for w in info.warnings)
    np.testing.assert_array_equal(intake.read(info).volume.array, head())


def test_uneven_spacing_is_named_and_resampled(tmp_path):
    z = [0.0, 2.0, 4.0, 6.0, 9.0, 12.0, 15.0]
    stack = np.stack([np.full((10, 14), 100 * v) for v in z]).astype(np.int16)
    files = write_ct(tmp_path, stack, positions=[(0.0, 0.0, v) for v in z])
    info = only(tmp_path)
    assert info.accepted
    text = " ".join(info.warnings)
    assert "uneven slice spacing" in text and "2.00 mm (3x)" in text and "3.00 mm (3x)" in text
    assert files[3].name in text and files[4].name in text and "Resampled" in text
    volume = intake.read(info).volume
    assert volume.spacing_mm[0] == pytest.approx(2.0)
    # The values are 100 times the position, so linear interpolation must give exactly that again.
    np.testing.assert_array_equal(volume.array[:, 0, 0], [0, 200, 400, 600, 800, 1000, 1200, 1400])


def test_gap_too_wide_to_fill_is_refused(tmp_path):
    write_ct(tmp_path, positions=[(0.0, 0.0, v) for v in (0, 2, 4, 6, 8, 10, 24.9)])
    info = only(tmp_path)
    assert not info.accepted and "too wide to fill" in info.reasons[0] and "14.90 mm" in info.reasons[0]


def test_position_rounding_is_not_uneven_spacing(tmp_path):
    write_ct(tmp_path, positions=[(0.0, 0.0, round(0.625 * k, 1)) for k in range(7)])
    info = only(tmp_path)
    assert info.accepted and info.warnings == []


def test_gantry_tilt_is_corrected_and_said(tmp_path):
    angle = np.radians(15.0)
    column = (0.0, np.cos(angle), -np.sin(angle))
    stack = np.full((12, 30, 14), -1000, np.int16)
    # A rod along z at y = 10 mm: in tilted slices its row stays the same because the table moves along z.
    rows = 10.0 / np.cos(angle) / 0.7
    stack[:, round(rows), :] = 1000
    write_ct(tmp_path, stack, directions=((1, 0, 0), column), step=(0, 0, 2.5), origin=(0, 0, 0))
    info = only(tmp_path)
    assert info.accepted and any("gantry tilt of 15.0 degrees corrected" in w for w in info.warnings)
    result = intake.read(info)
    assert result.meta["tilt_deg"] == pytest.approx(15.0, abs=0.01)
    assert result.volume.spacing_mm[0] == pytest.approx(2.5)
    middle = result.volume.array[:, :, 7]
    hit = middle.max(axis=1) > -700  # linear interpolation may halve a rod one row wide
    y = result.volume.origin_mm[1] + result.volume.spacing_mm[1] * middle.argmax(axis=1)
    assert hit.sum() >= 10
    np.testing.assert_allclose(y[hit], round(rows) * 0.7 * np.cos(angle), atol=0.7)
    # Along z it covers the slices' span at that row and no more.
    z = result.volume.origin_mm[0] + 2.5 * np.flatnonzero(hit)
    low = -round(rows) * 0.7 * np.sin(angle)
    assert z[0] == pytest.approx(low, abs=2.5) and z[-1] == pytest.approx(low + 11 * 2.5, abs=2.5)


def test_tilt_named_only_in_the_header_is_a_warning(tmp_path):
    def tilted(ds, k):
        ds.GantryDetectorTilt = "-12.5"

    write_ct(tmp_path, modify=tilted)
    info = only(tmp_path)
    assert info.accepted and "gantry tilt of 12.5 degrees" in info.warnings[0]


def test_oblique_series_is_turned_to_patient_axes(tmp_path):
    angle = np.radians(20.0)
    row = np.array([np.cos(angle), np.sin(angle), 0.0])
    column = np.array([-np.sin(angle), np.cos(angle), 0.0])
    stack = np.full((5, 30, 40), -1000, np.int16)
    stack[:, 12:15, 20:23] = 700
    centre = np.array([3.0, 4.0, 0.0]) + 21 * 1.1 * row + 13 * 0.7 * column
    write_ct(tmp_path, stack, directions=(row, column), origin=(3.0, 4.0, 0.0))
    info = only(tmp_path)
    assert any("oblique acquisition (20.0 degrees" in w for w in info.warnings)
    volume = intake.read(info).volume
    weight = np.clip(volume.array.astype(float) + 1000, 0, None)
    weight[volume.array <= -1000] = 0
    index = np.array([(np.indices(volume.shape)[a] * weight).sum() / weight.sum() for a in range(3)])
    np.testing.assert_allclose(volume.index_to_mm(index)[1:], centre[[1, 0]], atol=0.3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda ds: setattr(ds, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]), "mixed orientation"),
        (lambda ds: setattr(ds, "PixelSpacing", [0.7, 1.2]), "mixed pixel spacing"),
        (lambda ds: _resize(ds), "mixed image size"),
        (lambda ds: ds.__delattr__("ImagePositionPatient"), "Image Position (Patient) is missing"),
        (lambda ds: ds.__delattr__("ImageOrientationPatient"), "Image Orientation (Patient) is missing"),
        (lambda ds: ds.__delattr__("PixelSpacing"), "Pixel Spacing is missing"),
        (lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.3"), "frames of reference"),
        (lambda ds: setattr(ds, "ImagePositionPatient", [-50, 12, -20.0]), "shifted sideways"),
    ],
)
def test_one_odd_slice_refuses_the_series_by_name(tmp_path, change, word):
    def odd(ds, k):
        if k == 4:
            change(ds)

    files = write_ct(tmp_path, modify=odd)
    info = only(tmp_path)
    assert not info.accepted and word in info.reasons[0]
    if word != "frames of reference":
        assert files[4].name in info.reasons[0]
    with pytest.raises(InputRefusedError):
        intake.read(info)


def _resize(ds):
    ds.Rows, ds.Columns = 5, 6
    ds.PixelData = b"\0" * 60


def test_two_phases_are_listed_one_by_one(tmp_path):
    series = generate_uid()
    write_ct(tmp_path / "a", series=series, modify=lambda ds, k: setattr(ds, "AcquisitionNumber", 1))
    other = head() + 50
    write_ct(tmp_path / "b", other, series=series, modify=lambda ds, k: setattr(ds, "AcquisitionNumber", 2))
    found = sorted(intake.scan(tmp_path), key=lambda s: s.series_uid)
    assert [s.series_uid for s in found] == [f"{series}#1", f"{series}#2"]
    for info, stack in zip(found, (head(), other), strict=True):
        assert info.accepted and info.n_slices == 7
        assert any("2 phases" in w and "AcquisitionNumber" in w for w in info.warnings)
        np.testing.assert_array_equal(intake.read(info).volume.array, stack)


def test_two_phases_that_nothing_tells_apart_are_refused(tmp_path):
    series = generate_uid()
    write_ct(tmp_path / "a", series=series)
    write_ct(tmp_path / "b", head() + 50, series=series)
    info = only(tmp_path)
    assert not info.accepted and "duplicate position" in info.reasons[0]


def test_localizer_is_left_out_and_said(tmp_path):
    files = write_ct(tmp_path)
    scout = phantoms.dataset(head()[0], (0, 0, 0), 0, _series(files), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(tmp_path / "scout.dcm", enforce_file_format=True)
    info = only(tmp_path)
    assert info.accepted and info.shape == SHAPE
    assert any("localizer" in w and "scout.dcm" in w for w in info.warnings)


def test_one_slice_is_no_volume(tmp_path):
    files = write_ct(tmp_path)
    info = only(files[0])
    assert not info.accepted and "only 1 slice" in info.reasons[0]


def test_other_modalities_are_listed_and_not_accepted(tmp_path):
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "Modality", "MR"))
    info = only(tmp_path)
    assert info.modality == "MR" and not info.accepted and "not CT" in info.reasons[0]
    with pytest.raises(InputRefusedError, match="not CT"):
        intake.read(info)


def test_json_has_the_contract_fields(tmp_path):
    write_ct(tmp_path)
    data = only(tmp_path).to_json()
    assert {"uid", "modality", "n_slices", "shape", "spacing_mm", "accepted", "reasons", "warnings"} <= set(data)
    assert data["shape"] == [7, 10, 14] and data["spacing_mm"] == [2.5, 0.7, 1.1]
