"""How thick a contour plane becomes on the CT: counted by hand, slice by slice."""

from __future__ import annotations

import numpy as np
import pytest
from test_rt import BOX, FRAME, box, rtstruct

from hnvlm.imaging import rt
from hnvlm.imaging.volume import Volume

# 40 slices of 2.5 mm from z = -10 mm.
TALL = Volume(np.zeros((40, 20, 30), np.int16), (2.5, 2.0, 1.0), (-10.0, 5.0, -7.0), FRAME)


def drawn(tmp_path, heights, volume=TALL):
    """Slices of a GTV that was drawn on planes at these heights (mm), and what was said about it."""
    path = rtstruct(tmp_path / "rs.dcm", {"GTV1": [box(*BOX, z) for z in heights]})
    found = rt.read_structures(path, volume, keep_unmapped=True)
    return np.flatnonzero(found.masks["GTV1"].any(axis=(1, 2))).tolist(), found.warnings


@pytest.mark.parametrize(
    ("heights", "slices", "widest"),
    [
        # Two planes 50 mm apart are two pieces, of one slice each; 12.5 mm apart, too.
        ((-10.0, 40.0), [0, 20], 50.0),
        ((0.0, 12.5, 25.0), [4, 9, 14], 12.5),
        # Close planes say how it was drawn: one slice each, whatever else is far.
        ((-10.0, -7.5, 40.0), [0, 1, 20], 47.5),
        ((0.0, 2.5, 30.0), [4, 5, 16], 27.5),
        # Two parts, the smaller of one plane.
        ((-10.0, -7.5, -5.0, 40.0, 42.5, 45.0, 60.0), [0, 1, 2, 20, 21, 22, 28], 45.0),
        # Every second slice is one piece, and the slice midway below its first plane is its own; so with rounding.
        ((0.0, 5.0, 10.0, 15.0), [3, 4, 5, 6, 7, 8, 9, 10], None),
        ((0.0, 5.02, 9.98, 15.0), [3, 4, 5, 6, 7, 8, 9, 10], None),
    ],
)
def test_a_gap_between_planes_is_no_thickness(tmp_path, heights, slices, widest):
    found, warnings = drawn(tmp_path, heights)
    assert found == slices
    assert len(warnings) == (widest is not None)
    if widest is not None:
        assert warnings[0].startswith("GTV1: ") and f"the widest {widest:.1f} mm) were left open" in warnings[0]


def test_thick_slices_are_filled_as_far_as_they_reach(tmp_path):
    """Slices of 12 mm: planes 12 mm apart are neighbours although 10 mm is the widest gap that is filled otherwise."""
    thick = Volume(np.zeros((6, 20, 30), np.int16), (12.0, 2.0, 1.0), (-10.0, 5.0, -7.0), FRAME)
    found, warnings = drawn(tmp_path, (2.0, 14.0, 26.0), thick)
    assert found == [1, 2, 3] and warnings == []
    found, warnings = drawn(tmp_path, (2.0, 38.0), thick)
    assert found == [1, 4] and "the widest 36.0 mm" in warnings[0]


def test_sagittal_planes_far_apart_are_not_joined_either(tmp_path):
    """Planes at x 0, 1, 2 and 18 mm: columns 7 to 9 and 25, one column each."""
    planes = [[(x, 10.0, -6.0), (x, 20.0, -6.0), (x, 20.0, 20.6), (x, 10.0, 20.6)] for x in (0.0, 1.0, 2.0, 18.0)]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": planes}), TALL)
    columns = np.flatnonzero(found.masks["Larynx"].any(axis=(0, 1)))
    assert columns.min() in (6, 7) and columns.max() in (25, 26) and len(columns) <= 6
    assert not found.masks["Larynx"][:, :, 11:24].any()
    assert any("the widest 16.0 mm" in w for w in found.warnings)
