"""Lesion maps to findings: size, place, side, and the way to another grid."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.neck_phantom import anatomy, at, phantom

from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import neck_crop
from hnvlm.models.detect import (
    EDGE,
    Detection,
    detect,
    evidence,
    greatest_dimension,
    locate,
    told_lesions,
    within_own_edge,
)

INDEX = np.indices((64, 64, 64)).astype(float)


@pytest.fixture(scope="module")
def neck():
    """Anatomy, crop and start of the phantom."""
    built = anatomy()
    crop, start = neck_crop(built.ct.array, np.array(built.ct.origin_mm), np.array(built.neck_centre_mm()))
    return built, crop.astype(np.float32), start


def ball(centre: np.ndarray, diameter_mm: float) -> np.ndarray:
    """Voxels of the 3 mm grid whose centre lies in a ball around ``centre`` (voxel index)."""
    distance = np.sqrt(((INDEX - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0)) * 3.0
    return distance <= diameter_mm / 2


def in_crop(built, start, w: float, v: float, u: float) -> np.ndarray:
    return built.ct.mm_to_index(at(w, v, u)) - start


def maps(node=None, mass=None, airway=None) -> np.ndarray:
    """Probabilities (3, 64, 64, 64) of (mask, peak) per kind."""
    out = np.full((3, 64, 64, 64), 0.02, np.float32)
    for k, given in enumerate((node, mass, airway)):
        for mask, peak in given or []:
            out[k][mask] = peak
    return out


@pytest.mark.parametrize("diameter", [9.0, 15.0, 24.0, 41.0])
@pytest.mark.parametrize("offset", [(0, 0, 0), (0.3, 0.1, 0.45)])
def test_a_ball_is_as_large_as_it_is(diameter, offset):
    assert greatest_dimension(ball(np.array([30.0, 31, 29]) + offset, diameter)) == pytest.approx(diameter, abs=3.0)


def test_greatest_dimension_by_hand():
    mask = np.zeros((6, 7, 8), bool)
    mask[1, 2, 3] = True
    assert greatest_dimension(mask) == 3.0  # one voxel
    mask[4, 2, 3] = mask[1, 6, 3] = True
    assert greatest_dimension(mask) == pytest.approx(5 * 3 + 1.5)  # 3-4-5 triangle of voxels, half a voxel of width
    assert greatest_dimension(mask, (2.0, 1.0, 1.0)) == pytest.approx(np.hypot(6, 4) + 0.5 * 4 / 3)
    assert greatest_dimension(np.zeros((2, 2, 2), bool)) == 0.0


def test_a_flat_sheet_has_no_hull_but_a_size():
    mask = np.zeros((3, 12, 12), bool)
    mask[1] = True
    assert greatest_dimension(mask) == pytest.approx(np.hypot(33, 33) + 1.5, abs=12.0)


@pytest.mark.parametrize(
    ("kind", "wvu", "place"),
    [
        ("node", (18.0, -20.0, 40.0), "II"),
        ("node", (-15.0, -20.0, 34.0), "III"),
        ("mass", (24.0, -14.0, 50.0), "parotid gland"),
        ("airway", (15.0, -36.0, 6.0), "oropharynx"),
        ("airway", (-40.0, -36.0, 6.0), "larynx"),
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_place_side_and_size_of_a_ball(neck, kind, wvu, place, side):
    built, crop, start = neck
    w, v, u = wvu
    u = u if side == "left" else -u
    mask = ball(in_crop(built, start, w, v, u), 18.0)
    (found,) = detect(maps(**{kind: [(mask, 0.9)]}), crop, start, built)
    assert (found.kind, found.place, found.side) == (kind, place, side)
    assert found.size_mm == pytest.approx(18.0, abs=3.0)
    assert found.score == pytest.approx(0.9)
    np.testing.assert_allclose(found.centre_mm, at(w, v, u), atol=1.0)
    np.testing.assert_array_equal(found.mask, mask)
    if kind != "airway":
        assert locate(kind, found.centre_mm, built) == (place, side)


def test_most_certain_first_and_what_is_too_weak_or_too_small(neck):
    built, crop, start = neck
    a = ball(in_crop(built, start, 18, -20, 40), 18.0)
    b = ball(in_crop(built, start, -15, -20, -34), 18.0)
    faint = ball(in_crop(built, start, -50, -18, 34), 18.0)
    speck = ball(in_crop(built, start, -50, -18, -34), 6.0)  # 7 voxels: 0.19 mL
    p = maps(node=[(a, 0.6), (b, 0.95), (faint, 0.45), (speck, 0.99)])
    assert [round(d.score, 2) for d in detect(p, crop, start, built)] == [0.95, 0.6]
    assert [round(d.score, 2) for d in detect(p, crop, start, built, peak=0.9)] == [0.95]
    assert len(detect(p, crop, start, built, peak=0.4)) == 3
    assert detect(maps(), crop, start, built) == []


def test_a_single_bright_voxel_is_weak_evidence_by_hand():
    p = np.zeros((6, 7, 8), np.float32)
    p[2, 3, 4] = 0.81
    p[2, 3, 5] = 0.27
    got = evidence(p)
    assert got[2, 3, 4] == pytest.approx((0.81 + 0.27) / 27)
    assert got[1, 2, 3] == pytest.approx(0.81 / 27)
    assert got[2, 3, 6] == pytest.approx(0.27 / 27)
    assert got[2, 3, 7] == 0
    np.testing.assert_allclose(evidence(np.full((5, 5, 5), 0.6))[2, 2, 2], 0.6, rtol=1e-6)


@pytest.mark.parametrize(
    ("core_hu", "texture"), [(20.0, "necrotic"), (44.0, "necrotic"), (46.0, "solid"), (90.0, "solid")]
)
def test_texture_is_read_in_the_core_alone(neck, core_hu, texture):
    built, crop, start = neck
    centre = in_crop(built, start, 18, -20, 40)
    mask = ball(centre, 24.0)
    hu = crop.copy()
    hu[mask] = 200.0  # rim
    hu[ball(centre, 8.0)] = core_hu
    (found,) = detect(maps(node=[(mask, 0.9)]), hu, start, built)
    assert found.mean_core_hu == pytest.approx(core_hu)
    assert found.finding(built.ct, start, built.ct).attributes["texture"] == texture


def box_detection(**given) -> Detection:
    """Voxels 10..13 x 20..24 x 30..31 of the crop."""
    mask = np.zeros((64, 64, 64), bool)
    mask[10:14, 20:25, 30:32] = True
    values = {"kind": "node", "score": 0.87, "size_mm": 17.6, "place": "II", "side": "left", "mean_core_hu": 80.0}
    return Detection(mask=mask, centre_mm=np.array([34.5, 66.0, 91.5]), **(values | given))


def test_slice_and_box_on_another_grid_by_hand():
    """Crop starts at index (0, 0, 0) of a 3 mm grid with its first centre at 0.

    z: voxels 10..13 reach from 28.5 to 40.5 mm. Slices of 5 mm centred at 0, 5, ...: index 5.7..8.1 from their
    centres, so slices 6 (27.5..32.5) to 8 (37.5..42.5). y, 0.9 mm: 58.5..73.5 mm are index 65..81.67. x, 1.5 mm from
    -10: 88.5..94.5 mm are index 65.67..69.67.
    """
    ct = Volume(np.zeros((12, 100, 90), np.int16), (5.0, 0.9, 1.5), (0.0, 0.0, -10.0))
    working = Volume(np.zeros((40, 40, 40), np.float32), (3.0, 3.0, 3.0))
    f = box_detection().finding(ct, np.zeros(3, int), working)
    assert f.box == (6, 65, 66, 9, 83, 71)
    assert f.slice_index == 7  # 34.5 / 5 = 6.9
    assert (f.kind, f.level, f.site, f.side) == ("node", "II", None, "left")
    assert f.size_mm == 18.0
    assert (f.score, f.certainty) == (0.87, "probable")
    assert f.attributes == {"volume_ml": round(4 * 5 * 2 * 27 / 1000, 1), "texture": "solid"}


def test_a_box_at_the_border_stays_in_the_ct():
    ct = Volume(np.zeros((8, 30, 40), np.int16), (5.0, 2.0, 2.0), (0.0, 10.0, 0.0))
    working = Volume(np.zeros((40, 40, 40), np.float32), (3.0, 3.0, 3.0))
    f = box_detection(score=0.6).finding(ct, np.array([-12, 4, 3]), working)
    z0, y0, x0, z1, y1, x1 = f.box
    assert 0 <= z0 < z1 <= 8
    assert 0 <= y0 < y1 <= 30
    assert 0 <= x0 < x1 <= 40
    assert 0 <= f.slice_index < 8
    assert f.certainty == "possible"


def test_kinds_have_their_own_fields():
    ct = Volume(np.zeros((40, 100, 100), np.int16), (3.0, 3.0, 3.0))
    mass = box_detection(kind="mass", place="oral tongue", mean_core_hu=12.0).finding(ct, np.zeros(3, int), ct)
    assert (mass.site, mass.level, mass.attributes["texture"]) == ("oral tongue", None, "necrotic")
    airway = box_detection(kind="airway", place="larynx").finding(ct, np.zeros(3, int), ct)
    assert (airway.site, airway.size_mm) == ("larynx", None)
    assert "texture" not in airway.attributes


def test_the_side_of_a_narrowing_follows_the_airway_not_the_cord():
    """A pharynx pushed 12 mm to the left: a point 6 mm left of the cord lies on its right."""
    from hnvlm.imaging.anatomy import build_anatomy

    ct, masks = phantom()
    hu = ct.array.copy()
    shifted = np.roll(hu, 4, axis=2)
    air = (hu < -900) & (np.abs(np.arange(hu.shape[2]) - 29.5) < 6)
    rows = np.arange(hu.shape[1]) * 3 + ct.origin_mm[1]
    air &= ((rows > 12 - 46) & (rows < 12 - 26))[None, :, None]
    moved = np.roll(air, 4, axis=2)
    hu[air] = 55
    hu[moved] = shifted[moved]
    built = build_anatomy(ct.with_array(hu), masks)
    assert locate("airway", at(10.0, -36.0, 6.0), built) == ("oropharynx", "right")
    assert locate("airway", at(10.0, -36.0, 18.0), built) == ("oropharynx", "left")


def test_a_lesion_ends_at_a_share_of_its_own_evidence():
    """Evidence 0.8: the border is at 0.35 x 0.8 = 0.28; a halo of 0.1 belongs to a faint lesion, not to this one."""
    p = np.zeros((30, 24, 20), np.float32)
    p[4:20, 4:18, 4:16] = 0.1
    p[8:14, 7:13, 6:12] = 0.8
    p[16:18, 15:17, 13:15] = 0.5  # a second hill on the same halo: the larger one is the lesion
    component = p > 0.04
    mask = within_own_edge(p, component, score=0.8, peak=0.05)
    np.testing.assert_array_equal(np.argwhere(mask).min(0), (8, 7, 6))
    np.testing.assert_array_equal(np.argwhere(mask).max(0), (13, 12, 11))
    assert mask.sum() == 6 * 6 * 6
    # a faint lesion keeps what the detector's own edge gives it
    np.testing.assert_array_equal(within_own_edge(p, component, score=0.1, peak=0.05), component)
    # never above EDGE, however sure the detector is: a plateau of 0.45 stays whole at evidence 1.0 and peak 0.9
    p[8:14, 7:13, 6:12] = 0.45
    assert EDGE == 0.4
    assert within_own_edge(p, p > 0.2, score=1.2, peak=0.5)[8:14, 7:13, 6:12].all()


def test_what_is_a_finding_is_told_as_it_is_measured_there(neck):
    """A core of 0.9 in a halo of 0.35: the page said 24 mm and the draft beside it 30 mm."""
    built, crop, start = neck
    left, right = in_crop(built, start, 18.0, -20.0, 40.0), in_crop(built, start, 18.0, -20.0, -40.0)
    halo, core, faint = ball(left, 33.0), ball(left, 18.0), ball(right, 15.0)
    given = maps(node=[(halo, 0.35), (core, 0.9), (faint, 0.3)], airway=[(ball(left, 18.0), 0.9)])
    (finding,) = (d for d in detect(given, crop, start, built, peak=0.55) if d.kind == "node")
    sure, perhaps = told_lesions(given, crop, start, built, peak=0.55)
    assert sure.size_mm == finding.size_mm == pytest.approx(18.0, abs=3.0)
    assert (sure.side, perhaps.side, perhaps.kind) == ("left", "right", "node")
    assert perhaps.size_mm == pytest.approx(15.0, abs=3.0) and perhaps.score < 0.55
