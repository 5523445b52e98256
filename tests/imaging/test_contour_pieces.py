"""Structures of several pieces, with holes and of a single voxel: written, read back, and counted by hand."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from test_rt import BOX, box, rtstruct
from test_rt import CT as OTHER

from hnvlm.errors import UnreadableFileError
from hnvlm.imaging import rt
from hnvlm.imaging.contours import fill_even_odd
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_rtstruct

CT = Volume(np.zeros((24, 30, 34), np.int16), (2.5, 0.7, 1.1), (-30.0, 12.0, -55.0), "1.2.826.0.1.9")
NODE = np.s_[5:10, 6:12]


def mask(*parts):
    out = np.zeros(CT.shape, bool)
    for part in parts:
        out[part] = True
    return out


def holed():
    """A ring of 16 x 21 around 4 x 6, on slices 4 to 7, an island of 1 x 2 in the hole, and a second hole."""
    out = mask(np.s_[3:9, 4:20, 4:25])
    out[4:8, 8:12, 9:15] = False
    out[4:8, 9, 11:13] = True
    out[5, 15, 20:23] = False
    return out


MASKS = {
    "two pieces, a slice between them": mask((np.s_[3:7], *NODE), (np.s_[8:12], *NODE)),
    "every second slice a piece": mask(*((k, *NODE) for k in (3, 5, 7))),
    "two slices, three between them": mask((3, *NODE), (7, *NODE)),
    "two slices far apart": mask((3, *NODE), (20, *NODE)),
    "first and last slice": mask(np.s_[0, 0:3, 0:3], np.s_[23, 28:30, 30:34]),
    "a voxel": mask((3, 5, 6)),
    "voxels on every second slice, by their corners": mask((3, 5, 6), (5, 6, 7), (7, 5, 6)),
    "holes": holed(),
    "anything": np.random.default_rng(0).random(CT.shape) > 0.7,
}


@pytest.mark.parametrize("name", list(MASKS))
def test_what_is_written_is_read_back(tmp_path, name):
    """Single slices became as thick as they lay apart: 60 voxels on two slices were read as 240."""
    path = write_rtstruct({"GTVn": MASKS[name]}, CT, tmp_path / "rs.dcm")
    found = rt.read_structures(path, CT, keep_unmapped=True)
    np.testing.assert_array_equal(found.masks["GTVn"], MASKS[name])
    assert found.warnings == []


def test_what_the_slices_of_other_programs_say_of_their_thickness_is_not_believed(tmp_path):
    """Planes on every second slice, of which each states the thickness of one: one piece of 4 slices, as before."""
    path = write_rtstruct({"GTVn": MASKS["every second slice a piece"]}, CT, tmp_path / "rs.dcm")
    ds = pydicom.dcmread(path)
    ds.file_meta.ImplementationClassUID = "1.2.3.4"
    ds.save_as(path)
    found = rt.read_structures(path, CT, keep_unmapped=True).masks["GTVn"]
    assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [2, 3, 4, 5, 6, 7]


def shoelace(points):
    x, y = points[:, 0], points[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_a_hole_hangs_on_the_contour_around_it(tmp_path):
    """One contour a piece, whose area is that of its voxels less the eighth of a voxel at each corner."""
    ds = pydicom.dcmread(write_rtstruct({"GTVn": holed()}, CT, tmp_path / "rs.dcm"))
    planes: dict[float, list[np.ndarray]] = {}
    for contour in ds.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert contour.NumberOfContourPoints == len(points)
        assert contour.ContourSlabThickness == 2.5
        planes.setdefault(points[0, 2], []).append(points)
    counts = {z: len(plane) for z, plane in planes.items()}
    assert counts == {-22.5: 1, -20.0: 2, -17.5: 2, -15.0: 2, -12.5: 2, -10.0: 1}
    voxel = 0.7 * 1.1
    ring, island = sorted(planes[-17.5], key=len, reverse=True)
    # 16 x 21 less 4 x 6 and 1 x 3; a contour cuts 1/8 of a voxel off its four corners, and off those of a hole as much.
    assert shoelace(ring) == pytest.approx((336 - 24 - 3 - 0.5 + 2 * 0.5) * voxel, abs=1e-3)
    assert shoelace(island) == pytest.approx((2 - 0.5) * voxel, abs=1e-3)


def test_a_slit_of_another_program_leaves_no_trace():
    """The slit runs there and back over pixel centres, in thirds of a pixel: it is crossed twice in every row."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        a, b = rng.integers(2, 8, 2) / 3 + 2, rng.integers(30, 50, 2) / 3 + 12
        hole = b + np.array([(0, 0), (0, 4), (4, 4), (4, 0)])
        ring = np.array([a, (2.0, 40.0), (41.0, 40.0), (41.0, 2.0)])
        slit = np.concatenate([ring[:1], hole, hole[:1], ring])
        apart = fill_even_odd([ring], 44, 44) ^ fill_even_odd([hole], 44, 44)
        np.testing.assert_array_equal(fill_even_odd([slit], 44, 44), apart)


def test_a_contour_that_is_there_twice_is_no_hole_in_itself(tmp_path):
    """Once more from another corner and the other way round: 20 voxels on each of two slices."""
    first = box(*BOX, -7.5)
    path = rtstruct(tmp_path / "rs.dcm", {"Parotid_L": [first, (first[2:] + first[:2])[::-1], box(*BOX, -5.0)]})
    found = rt.read_structures(path, OTHER)
    assert found.masks["Parotid_L"].sum(axis=(1, 2)).tolist() == [0, 20, 20, 0, 0, 0]
    assert found.warnings == ["Parotid_L: 1 contour(s) are in the file twice and were taken once"]


@pytest.mark.parametrize("value", ["missing", None])
def test_a_contour_without_points_spoils_no_other(tmp_path, value):
    path = rtstruct(tmp_path / "rs.dcm", {"Parotid_L": [box(*BOX, z) for z in (-7.5, -5.0)]})
    ds = pydicom.dcmread(path)
    first = ds.ROIContourSequence[0].ContourSequence[0]
    if value is None:
        first.ContourData = None
    else:
        del first.ContourData
    ds.save_as(path)
    assert rt.read_structures(path, OTHER).masks["Parotid_L"].sum(axis=(1, 2)).tolist() == [0, 0, 20, 0, 0, 0]


def test_numbers_that_are_no_points_are_refused_by_file_and_structure(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Parotid_L": [box(*BOX, -7.5)]})
    ds = pydicom.dcmread(path)
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = list(contour.ContourData)[:-1]
    ds.save_as(path)
    with pytest.raises(UnreadableFileError, match=r"rs\.dcm: .*a contour of Parotid_L is no list of points x, y, z"):
        rt.read_structures(path, OTHER)


def test_a_backslash_in_a_name_is_part_of_it(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"GTV\\boost <1>": [box(*BOX, -7.5)]})
    assert rt.read_structures(path, OTHER).unmapped == ["GTV\\boost <1>"]


@pytest.mark.parametrize("left", [0, 2, 3])
def test_a_contour_that_lost_points_is_said(tmp_path, left):
    """Of 4 corners 3 are half of the box: 20 voxels on one slice, and silently fewer on the other."""
    path = rtstruct(tmp_path / "rs.dcm", {"Parotid_L": [box(*BOX, z) for z in (-7.5, -5.0)]})
    ds = pydicom.dcmread(path)
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.NumberOfContourPoints, contour.ContourData = 4, list(contour.ContourData)[: 3 * left]
    ds.save_as(path)
    found = rt.read_structures(path, OTHER)
    first, second = found.masks["Parotid_L"].sum(axis=(1, 2)).tolist()[1:3]
    assert first == (10 if left == 3 else 0) and second == 20
    assert "Parotid_L: 1 contour(s) have fewer points than the file says; export them again" in found.warnings
    assert any("fewer than three points" in w for w in found.warnings) == (left < 3)
