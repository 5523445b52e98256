"""Contours whose z was rounded, that cross each other, or whose structure is not certain: counted by hand."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from test_rt import BOX, CT, box, rtstruct

from hnvlm.errors import GeometryError, UnreadableFileError
from hnvlm.imaging import rt

# Columns 12 to 15 (x 5 to 8) and rows 8 to 10 (y 21 to 25); BOX holds columns 5 to 9 and rows 3 to 6.
ISLAND = (4.5, 8.5, 20.0, 26.0)
LEVELS = (-5.0, -2.5, 0.0)


def per_slice(found, name="Larynx"):
    return found.masks[name].sum(axis=(1, 2)).tolist()


@pytest.mark.parametrize("off_mm", [0.0, 0.02, 0.1, -0.3])
def test_islands_of_one_slice_whose_z_differs_by_rounding_both_stay(tmp_path, off_mm):
    """20 + 12 pixels a slice; a slice took the nearer plane alone, and the island on the other was lost unsaid."""
    contours = [box(*BOX, z) for z in LEVELS] + [box(*ISLAND, z + off_mm) for z in LEVELS]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours}), CT)
    assert per_slice(found) == [0, 0, 32, 32, 32, 0] and found.warnings == []


def test_a_hole_whose_z_differs_by_rounding_stays_a_hole(tmp_path):
    """20 pixels less columns 6 and 7 of rows 4 and 5."""
    hole = (-1.5, 0.5, 12.0, 16.0)
    contours = [box(*BOX, z) for z in LEVELS] + [box(*hole, z + 0.1) for z in LEVELS]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours}), CT)
    assert per_slice(found) == [0, 0, 16, 16, 16, 0] and found.warnings == []


def test_an_outline_that_is_there_again_beside_itself_is_no_hole(tmp_path):
    contours = [box(*BOX, z + off) for z in LEVELS for off in (0.0, 0.2)]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours}), CT)
    assert per_slice(found) == [0, 0, 20, 20, 20, 0]


def test_points_that_wander_a_little_around_their_slice_are_on_it(tmp_path):
    """Up to 0.15 mm either way on slices of 2.5 mm; as oblique planes, one of two islands was lost, slice by slice."""
    rng = np.random.default_rng(3)
    drawn = [box(*BOX, z) for z in LEVELS] + [box(*ISLAND, z) for z in LEVELS]
    contours = [[(x, y, z + rng.uniform(-0.15, 0.15)) for x, y, z in points] for points in drawn]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours}), CT)
    assert per_slice(found) == [0, 0, 32, 32, 32, 0] and found.warnings == []


def test_planes_drawn_finer_than_the_slices_stay_apart(tmp_path):
    """Every 0.3 mm a column wider: a slice takes the plane at its own height, not several of them at once."""
    contours = [box(BOX[0], BOX[0] + 1 + n, *BOX[2:], -5.0 + 0.3 * n) for n in range(9)]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours}), CT)
    assert per_slice(found)[2:4] == [4 * 1, 4 * 9]  # 1 column at -5.0, 9 at -2.6


def test_crossing_contours_are_said(tmp_path):
    """Columns 5 to 9 and 8 to 14, the same rows: 4 x 2 pixels are in both, and even-odd takes them for a hole."""
    other = (0.5, 7.5, 10.0, 18.0)
    contours = [c for z in LEVELS[:2] for c in (box(*BOX, z), box(*other, z))]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours}), CT)
    assert per_slice(found) == [0, 0, 32, 32, 0, 0]
    (said,) = found.warnings
    assert said.startswith("Larynx: on 2 of its planes contours cross") and "8 pixels" in said


def test_two_structures_of_one_number_are_refused(tmp_path):
    """The larynx was drawn as the cord: one name and the other's contours."""
    path = rtstruct(tmp_path / "rs.dcm", {"Larynx": [box(*BOX, -5.0)], "Cord": [box(*ISLAND, -5.0)]})
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[1].ROINumber = dataset.StructureSetROISequence[0].ROINumber
    dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match=r"rs\.dcm: Larynx and Cord have the same number \(11\)"):
        rt.read_structures(path, CT)


def test_contours_of_one_structure_in_two_items_are_all_its_own(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Larynx": [box(*BOX, -5.0)], "Cord": [box(*ISLAND, -5.0)]})
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[1].ReferencedROINumber = dataset.ROIContourSequence[0].ReferencedROINumber
    dataset.save_as(path)
    found = rt.read_structures(path, CT)
    assert per_slice(found) == [0, 0, 32, 0, 0, 0] and found.warnings == ["Cord has no contours"]


def test_a_structure_that_cannot_be_read_is_named_with_its_file(tmp_path):
    twisted = [[(-2.5, 10.0, z), (2.5, 10.0, z + 4), (2.5, 18.0, z - 4), (-2.5, 18.0, z + 2)] for z in LEVELS]
    path = rtstruct(tmp_path / "rs.dcm", {"Larynx": twisted})
    with pytest.raises(GeometryError, match=r"rs\.dcm: none of the structures .*Larynx: .*not drawn on parallel") as e:
        rt.read_structures(path, CT)
    assert "another image" not in e.value.message


def test_a_structure_cut_by_the_field_of_view_is_said(tmp_path):
    """The CT ends at x 22.5: 11 of the 21 columns of 1 mm that were drawn are in it, in 4 rows."""
    edge = CT.origin_mm[2] + (CT.shape[2] - 0.5) * CT.spacing_mm[2]
    inside = 11 * CT.spacing_mm[2]
    contours = [box(edge - inside, edge + 10.0, *BOX[2:], z) for z in LEVELS]
    whole = [box(edge - inside, edge + 0.5 * CT.spacing_mm[2], *BOX[2:], z) for z in LEVELS]
    found = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": contours, "Brain": whole}), CT)
    assert per_slice(found) == per_slice(found, "Brain") == [0, 0, 44, 44, 44, 0]
    assert found.warnings == [
        "Larynx: 3 of its contours leave the field of view of this CT, by up to 10 mm; what lies outside is missing "
        "from its volume"
    ]


def test_what_a_damaged_structure_set_lacks_is_named(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Larynx": [box(*BOX, -5.0)]})
    dataset = pydicom.dcmread(path)
    del dataset.StructureSetROISequence[0].ROINumber
    dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match=r"^rs\.dcm: damaged structure set \(ROINumber is missing\)\. Export"):
        rt.read_structures(path, CT)
