"""Where a dose grid reaches, and which doses cannot be one: counted by hand on grids smaller than the CT."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from test_rt import CT, rtdose

from hnvlm.errors import GeometryError, InputRefusedError
from hnvlm.imaging import rt
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti


def test_what_the_dose_grid_does_not_reach_can_be_told_from_0_gy(tmp_path):
    """Rows at y 9, 13 ... 29 and columns at x 0, 3 ... 15: half a voxel more is y 7 to 31 and x -1.5 to 16.5."""
    array = np.full((3, 6, 6), 2000)
    array[:, :, :3] = 0
    path = rtdose(tmp_path / "rd.dcm", array, [0, 5, 10], origin=(0.0, 9.0, -8.0), spacing=(4.0, 3.0))
    dose = rt.read_dose(path, CT, beyond=np.nan)
    covered = np.zeros(CT.shape, bool)
    covered[:, 1:14, 6:24] = True  # CT rows at y 5, 7, ..., columns at x -7, -6, ...
    np.testing.assert_array_equal(np.isfinite(dose.array), covered)
    assert dose.array[2, 5, 8] == 0 and dose.array[2, 5, 20] == 20.0, "0 Gy inside the grid stays 0 Gy"
    shown = rt.read_dose(path, CT).array
    np.testing.assert_array_equal(shown, np.nan_to_num(dose.array))


def test_the_corners_around_an_oblique_dose_grid_are_not_covered(tmp_path):
    """A grid of 20 x 20 mm turned by 45 degrees about its middle at x 8, y 24: a rhombus of 14.1 mm half-width."""
    c = float(np.sqrt(0.5))
    turned = [c, c, 0.0, -c, c, 0.0]
    first = (8.0, 24.0 - 2 * 9.5 * c, -10.0)  # 9.5 mm back along each axis from the middle
    path = rtdose(tmp_path / "rd.dcm", np.full((6, 20, 20), 3000), 2.5 * np.arange(6), origin=first, spacing=(1.0, 1.0),
                  ImageOrientationPatient=turned)  # fmt: skip
    dose = rt.read_dose(path, CT, beyond=np.nan).array
    _, y, x = (CT.index_to_mm(np.argwhere(np.ones(CT.shape)))).T
    off = (np.abs(x - 8) + np.abs(y - 24)).reshape(CT.shape)
    assert np.isfinite(dose[off < 12]).all() and np.allclose(dose[off < 12], 30.0)
    assert np.isnan(dose[off > 15]).all()


def test_a_nifti_dose_that_ends_inside_the_ct(tmp_path):
    small = Volume(np.full((3, 20, 30), 40.0, np.float32), CT.spacing_mm, (-7.5, *CT.origin_mm[1:]))
    write_nifti(small, tmp_path / "dose.nii.gz")
    dose = rt.read_dose(tmp_path / "dose.nii.gz", CT, beyond=np.nan).array
    assert np.isfinite(dose).all(axis=(1, 2)).tolist() == [False, True, True, True, False, False]
    assert np.isnan(dose[4]).all() and (dose[1:4] == 40.0).all()


def gray(tmp_path, change):
    """A NIfTI dose of 60 Gy with something changed in it."""
    array = np.full(CT.shape, 60.0, np.float32)
    change(array)
    return write_nifti(CT.with_array(array), tmp_path / "dose.nii.gz")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, ("2 of 3600 voxels hold no number",)),
        (np.inf, ("2 of 3600 voxels hold no number",)),
        (-5.0, ("the lowest value is -5 Gy", "not negative")),
        (6000.0, ("the highest value is 6000", "cGy")),
    ],
)
def test_values_that_no_dose_has_are_refused(tmp_path, value, words):
    def change(array):
        array[3, 7, 11:13] = value

    with pytest.raises(InputRefusedError) as caught:
        rt.read_dose(gray(tmp_path, change), CT)
    assert "dose.nii.gz" in caught.value.message and all(w in caught.value.message for w in words)


def test_a_doubtful_dose_is_said_and_rounding_below_0_is_0(tmp_path):
    def change(array):
        array[3, 7, 11], array[3, 7, 12] = 240.0, -0.0005

    said = []
    dose = rt.read_dose(gray(tmp_path, change), CT, warn=said.append).array
    assert (dose[3, 7, 11], dose[3, 7, 12], dose[0, 0, 0]) == (240.0, 0.0, 60.0)
    assert len([w for w in said if "240 Gy" in w and "another unit" in w]) == 1


def test_an_rtdose_with_a_scaling_of_cgy_is_refused(tmp_path):
    path = rtdose(tmp_path / "rd.dcm", np.full(CT.shape, 6500), 2.5 * np.arange(6), DoseGridScaling="1")
    with pytest.raises(InputRefusedError, match=r"rd\.dcm: the highest value is 6500.*cGy"):
        rt.read_dose(path, CT)


def test_a_slope_that_is_no_number_means_not_scaled(tmp_path):
    """SimpleITK reads it so; every voxel became not-a-number here."""
    path = tmp_path / "dose.nii"
    write_nifti(CT.with_array(np.full(CT.shape, 60.0, np.float32)), path)
    data = bytearray(path.read_bytes())
    data[112:116] = data[116:120] = np.float32(np.nan).tobytes()  # scl_slope, scl_inter
    path.write_bytes(bytes(data))
    assert (rt.read_dose(path, CT).array == 60.0).all()
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 60.0).all()


def test_absolute_frame_positions_are_taken_in_the_usual_orientation_only(tmp_path):
    """Feet first the normal points to the feet: positions along z, taken as offsets along it, turned the dose over."""
    tall = Volume(np.zeros((25, 20, 30), np.int16), (2.5, 2.0, 1.0), (-30.0, 5.0, -7.0), CT.frame_of_reference_uid)
    low = np.zeros(tall.shape, int)
    low[:8] = 5000  # the lowest 8 of 25 slices get 50 Gy
    feet = {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]}
    turned = low[:, :, ::-1]
    path = rtdose(tmp_path / "a.dcm", turned, -30 + 2.5 * np.arange(25), origin=(22.0, 5.0, -30.0), **feet)
    with pytest.raises(GeometryError, match=r"a\.dcm: the grid frame offsets begin with -30"):
        rt.read_dose(path, tall)
    relative = rtdose(tmp_path / "b.dcm", turned, -2.5 * np.arange(25), origin=(22.0, 5.0, -30.0), **feet)
    np.testing.assert_allclose(rt.read_dose(relative, tall).array, low * 0.01, atol=1e-4)
    usual = rtdose(tmp_path / "c.dcm", low, -30 + 2.5 * np.arange(25), origin=(-7.0, 5.0, -30.0))
    np.testing.assert_allclose(rt.read_dose(usual, tall).array, low * 0.01, atol=1e-4)
    neither = rtdose(tmp_path / "d.dcm", low, -20 + 2.5 * np.arange(25), origin=(-7.0, 5.0, -30.0))
    with pytest.raises(GeometryError, match="begin with -20"):
        rt.read_dose(neither, tall)
