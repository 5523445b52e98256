"""Structures land on their own voxels and keep their names, also where two names or two grids are nearly the same."""

from __future__ import annotations

import numpy as np
import pytest
from test_rt import BOX, CT, box, rtstruct

from hnvlm.imaging import rt
from hnvlm.imaging.orient import GridMap
from hnvlm.imaging.write import write_nifti


def test_a_name_that_reads_like_anothers_translation_keeps_its_own_structure(tmp_path):
    """Without a unit 0150 counts targets; with one the other is 1.5 Gy, which TG-263 writes in the same way."""
    rois = {"PTV_0150": [box(*BOX, -5.0)], "PTV 150 cGy": [box(*BOX, 0.0)]}
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", rois), CT, keep_unmapped=True)
    slices = {name: np.flatnonzero(mask.any(axis=(1, 2))).tolist() for name, mask in found.masks.items()}
    assert slices == {"PTV_0150": [4], "PTV_0150 (2)": [2]} and found.unmapped == ["PTV_0150 (2)"]
    assert any("here it is called PTV_0150 (2)" in w for w in found.warnings)


def test_names_that_differ_by_case_alone_are_two_structures(tmp_path):
    rois = {"GTVp": [box(*BOX, -10.0)], "gtvp": [box(*BOX, 2.5)]}
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", rois), CT, keep_unmapped=True)
    slices = {name: np.flatnonzero(mask.any(axis=(1, 2))).tolist() for name, mask in found.masks.items()}
    assert slices == {"GTVp": [0], "gtvp": [5]}, "the first and the last slice of the CT"


# Steps of one voxel along (slice, row, column), as LPS (x, y, z), and where voxel (0, 0, 0) lies.
_ON_THE_CT = [
    ("the CT itself", (6, 20, 30), [(0, 0, 2.5), (0, 2, 0), (1, 0, 0)], (-7, 5, -10), True),
    ("feet up, columns from the left", (6, 20, 30), [(0, 0, -2.5), (0, 2, 0), (-1, 0, 0)], (22, 5, 2.5), True),
    ("sagittal", (30, 6, 20), [(1, 0, 0), (0, 0, -2.5), (0, 2, 0)], (-7, 5, 2.5), True),
    ("a few slices", (3, 20, 30), [(0, 0, 2.5), (0, 2, 0), (1, 0, 0)], (-7, 5, -5), True),
    ("beyond the CT", (9, 25, 32), [(0, 0, 2.5), (0, 2, 0), (1, 0, 0)], (-10, -1, -15), True),
    ("beside the CT", (4, 20, 30), [(0, 0, 2.5), (0, 2, 0), (1, 0, 0)], (-7, 5, 10), True),
    ("rounded digits", (6, 20, 30), [(0, 0, 2.50001), (0, 2, 0), (1, 0, 0)], (-7.0001, 5, -10), True),
    ("a third of a voxel off", (6, 20, 30), [(0, 0, 2.5), (0, 2, 0), (1, 0, 0)], (-6.7, 5.6, -9.1), False),
    ("another spacing", (6, 20, 30), [(0, 0, 2.4), (0, 2.1, 0), (1.1, 0, 0)], (-7, 5, -10), False),
    ("turned", (6, 20, 30), [(0, 0, 2.5), (-0.2, 1.99, 0), (0.995, 0.0998, 0)], (-7, 5, -10), False),
]


@pytest.mark.parametrize(
    ("shape", "steps", "origin", "direct"), [c[1:] for c in _ON_THE_CT], ids=[c[0] for c in _ON_THE_CT]
)
def test_a_segment_lands_where_sampling_puts_it(shape, steps, origin, direct):
    """Voxels that lie on voxels of the CT are copied; that must be what looking for the nearest one gives."""
    array = (np.random.default_rng(8).random(shape) > 0.6).astype(np.uint8)
    grid = GridMap.build(shape, np.array(steps, float).T, np.array(origin, float))
    sampled = grid.sample(array, CT.shape, CT.spacing_mm, CT.origin_mm, fill=0, order=0) > 0
    np.testing.assert_array_equal(rt._onto(grid, array, CT), sampled)
    assert (rt._voxel_on_voxel(grid, CT) is not None) == direct


def test_a_mask_of_probabilities_ends_at_a_half(tmp_path):
    """2 x 3 x 4 voxels surely inside, one column of a half beside them; all that is above 0 is the whole CT."""
    share = np.full(CT.shape, 0.002, np.float32)
    share[1:3, 4:7, 6:10], share[1:3, 4:7, 10], share[1:3, 4:7, 11] = 1.0, 0.5, 0.49
    write_nifti(CT.with_array(share), tmp_path / "Larynx.nii.gz")
    found = rt.read_structures(tmp_path, CT)
    assert found.masks["Larynx"].sum() == 2 * 3 * 5
    assert found.warnings == [
        "Larynx.nii.gz holds probabilities or shares of voxels; a half and more was taken as inside"
    ]
