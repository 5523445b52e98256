"""Landmarks, regions and sides on a neck whose geometry is known."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.neck_phantom import AIRWAY_V, CENTRE_MM, COARSE, SPACINGS, anatomy, at, frame, phantom
from scipy import ndimage

from hnvlm.imaging.anatomy import (
    AIRWAY_RANGE,
    BRAINSTEM_ABOVE_MANDIBLE_MM,
    LEVEL_BOX,
    SITE_BOX,
    body_mask,
    build_anatomy,
)

LESION_PLACES = [("node", level) for level in LEVEL_BOX] + [("mass", s) for s in (*SITE_BOX, "parotid gland")]


@pytest.fixture(scope="module")
def neck():
    return anatomy()


@pytest.fixture(scope="module")
def mirror():
    return anatomy(mirrored=True)


@pytest.mark.parametrize("spacing", [COARSE, *SPACINGS])
def test_centre_of_the_neck_on_any_grid(spacing):
    """The cord lies at y 12, x 0; the mandible's lower border at z 36 (its lowest voxels' centres, 2nd percentile)."""
    built = build_anatomy(*phantom(spacing))
    z, y, x = built.neck_centre_mm()
    assert z == pytest.approx(CENTRE_MM[0] + spacing[0] / 2, abs=spacing[0])
    assert y == pytest.approx(CENTRE_MM[1], abs=0.5)
    assert x == pytest.approx(CENTRE_MM[2], abs=0.1)


def test_neck_frame_by_hand(neck):
    """z0 is the first mandible slice's centre: z = 36 + 1.5 - the coarse grid has slice borders at 36."""
    assert neck.z0_mm == pytest.approx(37.5)
    point = at(10.0, -20.0, 31.0)  # LPS 46, -8, 31
    w, u, v = neck.neck_frame(point, "left")
    assert (w, u) == pytest.approx((46 - 37.5, 31.0), abs=0.1)
    assert v == pytest.approx(-20.0, abs=0.5)
    assert neck.neck_frame(point, "right")[1] == pytest.approx(-31.0, abs=0.1)


def test_a_leaning_cord_is_followed_and_extrapolated():
    """The cord shifts 6 mm to the left per 60 mm; above and below its contour its last position holds."""
    ct, masks = phantom()
    _, w, v, u = frame(COARSE)
    line = np.clip(w, -30, 30) / 10.0
    masks["SpinalCord"] = (v**2 + (u - line) ** 2 < 36) & (np.abs(w) < 30)
    built = build_anatomy(ct, masks)
    _, cx = built.cord
    z = built.z_mm() - CENTRE_MM[0]
    assert cx[np.argmin(np.abs(z - 15))] == pytest.approx(1.5, abs=0.5)
    assert cx[-1] == pytest.approx(cx[np.argmin(np.abs(z - 28.5))], abs=1e-6)
    assert cx[0] == pytest.approx(-2.7, abs=0.6)
    assert built.neck_frame(at(15.0, 0.0, 20.0), "left")[1] == pytest.approx(18.5, abs=0.5)


def test_brainstem_takes_over_when_the_mandible_is_missing():
    built = anatomy(without=("Bone_Mandible",))
    lowest = CENTRE_MM[0] + 48.0  # the brainstem's first slice [48, 51) has its centre at w 49.5
    assert built.z0_mm == pytest.approx(lowest + 1.5 - BRAINSTEM_ABOVE_MANDIBLE_MM, abs=1.6)


@pytest.mark.parametrize("without", [("SpinalCord",), ("Bone_Mandible", "Brainstem")])
def test_no_anatomy_without_cord_or_height(without):
    ct, masks = phantom()
    assert build_anatomy(ct, {k: m for k, m in masks.items() if k not in without}) is None


def test_a_stump_of_cord_or_a_speck_of_mandible_is_no_landmark():
    ct, masks = phantom()
    short = masks["SpinalCord"].copy()
    short[4:] = False
    assert build_anatomy(ct, masks | {"SpinalCord": short}) is None
    speck = np.zeros(ct.shape, bool)
    speck[30, 5:9, 5:9] = True  # 16 voxels of 27 mm3: 0.4 mL
    assert build_anatomy(ct, masks | {"Bone_Mandible": speck}).z0_mm == anatomy(without=("Bone_Mandible",)).z0_mm


def test_body_holds_the_airway_and_not_the_couch():
    ct, _ = phantom()
    hu = ct.array.copy()
    hu[:, -2:, :] = 100  # a couch behind the patient, apart from him
    body = body_mask(hu)
    _, _, v, u = frame(COARSE)
    inside = np.broadcast_to((v + 34) ** 2 / 72**2 + u**2 / 80**2 < 0.9, ct.shape)
    assert body[inside].all()
    assert not body[:, -2:].any()
    assert not body_mask(np.full((4, 5, 6), -1000, np.int16)).any()


@pytest.mark.parametrize("seed", range(6))
def test_holes_are_filled_slice_by_slice(seed):
    """Against filling every axial slice by itself; a hole that is open above or below counts as inside all the same."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((7, 24, 31)), (0.4, 2.0, 2.0))
    hu = np.where(blobs > -0.05 * blobs.std(), 40, -1000)
    hu[:, 4:20, 5:26] = np.where(blobs[:, 4:20, 5:26] > blobs.std(), -1000, 40)
    soft = hu > -400
    labels, _ = ndimage.label(ndimage.binary_opening(soft))
    biggest = ndimage.binary_dilation(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])) & soft
    want = [ndimage.binary_fill_holes(ndimage.binary_closing(s, iterations=2) | s) for s in biggest]
    assert 0 < biggest.sum() < np.sum(want)
    np.testing.assert_array_equal(body_mask(hu), want)


def test_airway_is_the_pharynx_alone(neck):
    """The lumen is an ellipse of half axes 8 and 12 mm: 302 mm2, its front wall at v -44."""
    area = neck.airway.sum((1, 2)) * 9.0
    middle = (neck.w > -60) & (neck.w < 50)
    assert area[middle] == pytest.approx(np.pi * 8 * 12, rel=0.12)
    assert not neck.airway[neck.w > 75].any()
    assert not neck.airway[neck.w < -92].any()
    lines = neck.airway_lines
    k = int(np.argmin(np.abs(neck.w - 10)))
    assert lines["centre"][k] == pytest.approx(CENTRE_MM[1] + AIRWAY_V, abs=1.5)
    # The 10th percentile of the lumen lies behind its very front (v -44).
    assert CENTRE_MM[1] + AIRWAY_V - 8 < lines["anterior"][k] < CENTRE_MM[1] + AIRWAY_V - 3
    assert lines["x"][k] == pytest.approx(CENTRE_MM[2], abs=0.1)
    assert np.isnan(lines["x"][-1])  # w 91: above the pharynx


@pytest.mark.parametrize(("kind", "place"), LESION_PLACES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_candidates_lie_on_the_asked_side_in_soft_tissue(neck, kind, place, side):
    region = neck.candidates(kind, place, side)
    hit = np.argwhere(region)
    assert len(hit) > 20
    mm = neck.ct.index_to_mm(hit)
    lateral = (mm[:, 2] - CENTRE_MM[2]) * (1 if side == "left" else -1)
    assert lateral.min() > 0
    assert not (region & neck.bone).any()
    assert (region & ~neck.body).sum() == 0


@pytest.mark.parametrize("level", LEVEL_BOX)
def test_candidates_of_a_level_fill_its_box(neck, level):
    (w0, w1), (u0, u1), (v0, v1) = LEVEL_BOX[level]
    mm = neck.ct.index_to_mm(np.argwhere(neck.candidates("node", level, "left")))
    w, v, u = mm[:, 0] - neck.z0_mm, mm[:, 1] - CENTRE_MM[1], mm[:, 2] - CENTRE_MM[2]
    assert w.min() >= w0
    assert w.max() <= w1
    assert u.min() >= u0 - 0.1
    assert u.max() <= u1 + 0.1
    assert v.min() >= v0 - 0.5
    assert v.max() <= v1 + 0.5


def test_candidates_of_the_parotid_are_the_gland_of_that_side(neck):
    left, right = (neck.candidates("mass", "parotid gland", side) for side in ("left", "right"))
    np.testing.assert_array_equal(left, neck.masks["Parotid_L"])
    assert left.sum() > right.sum() > 0
    bare = anatomy(without=("Parotid_L",))
    assert not bare.candidates("mass", "parotid gland", "left").any()


@pytest.mark.parametrize("level", AIRWAY_RANGE)
def test_candidates_of_an_airway_level_are_lumen(neck, level):
    region = neck.candidates("airway", level, "left")
    assert region.any()
    assert (neck.ct.array[region] < -900).all()
    w = neck.w[np.argwhere(region)[:, 0]]
    lo, hi = AIRWAY_RANGE[level]
    assert lo <= w.min() <= lo + 3
    assert hi - 3 <= w.max() <= hi


@pytest.mark.parametrize(("kind", "place"), LESION_PLACES)
def test_the_mirrored_patient_has_mirrored_candidates(neck, mirror, kind, place):
    for side, other in (("left", "right"), ("right", "left")):
        np.testing.assert_array_equal(
            neck.candidates(kind, place, side), mirror.candidates(kind, place, other)[..., ::-1]
        )


@pytest.mark.parametrize(
    ("kind", "wvu", "place"),
    [
        ("node", (18.0, -20.0, 40.0), "II"),
        ("node", (-15.0, -20.0, 34.0), "III"),
        ("node", (-50.0, -18.0, 34.0), "IV"),
        ("node", (-20.0, 22.0, 44.0), "V"),
        ("node", (0.0, -70.0, 24.0), "IB"),
        ("mass", (24.0, -14.0, 50.0), "parotid gland"),
        ("mass", (14.0, -52.0, 9.0), "base of tongue"),
        ("mass", (-26.0, -28.0, 14.0), "pyriform sinus"),
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_place_of_a_point(neck, kind, wvu, place, side):
    w, v, u = wvu
    assert neck.place_of(kind, at(w, v, u if side == "left" else -u)) == (place, side)


@pytest.mark.parametrize(("kind", "place"), LESION_PLACES)
def test_a_candidate_is_read_as_its_own_place(neck, kind, place):
    """A voxel of a region that no other region shares is named after it."""
    others = [p for k, p in LESION_PLACES if k == kind and p != place]
    alone = neck.candidates(kind, place, "right")
    for other in others:
        alone = alone & ~neck.candidates(kind, other, "right")
    hit = np.argwhere(alone)
    for index in hit[:: max(1, len(hit) // 5)]:
        assert neck.place_of(kind, neck.ct.index_to_mm(index)) == (place, "right")
