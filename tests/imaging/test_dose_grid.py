"""Where a dose grid reaches, and which doses cannot be one: counted by hand on grids smaller than the CT."""

from __future__ import annotations

import numpy as np
from test_rt import CT, rtdose

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
