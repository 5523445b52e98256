"""Inserted lesions: what was asked is what is there, on the asked side, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from imaging.neck_phantom import AIRWAY_V, CENTRE_MM, COARSE, SPACINGS, anatomy, at, phantom
from scipy import ndimage
from scipy.spatial.distance import pdist

from hnvlm.imaging.anatomy import AIRWAY_RANGE, LEVEL_BOX, MUCOSAL_SITES, SITE_BOX, build_anatomy
from hnvlm.imaging.lesions import (
    MIN_NECROTIC_MM,
    LesionSpec,
    apply,
    choose_centre,
    insert,
    insert_at,
    random_spec,
    short_axis_mm,
    to_coarse,
)
from hnvlm.imaging.resample import resample_like

NODE = LesionSpec("node", "II", "left", 22.0, "solid")
ROOMY = at(12.0, -18.0, 42.0)  # fat on all sides, 25 mm to the skin


@pytest.fixture(scope="module")
def neck():
    return anatomy(noise_hu=6.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def extent_mm(mask: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Largest distance between two voxel centres, by looking at every pair of the surface."""
    surface = mask & ~ndimage.binary_erosion(mask)
    return float(pdist(np.argwhere(surface) * np.array(spacing)).max())


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    "spec",
    [
        LesionSpec("node", "II", "left", 12.0),
        LesionSpec("node", "II", "left", 27.0, "necrotic"),
        LesionSpec("mass", "parotid gland", "left", 19.0),
    ],
)
def test_greatest_dimension_is_the_asked_size(spacing, spec):
    ct, _ = phantom(spacing)
    lesion = insert_at(ct, spec, ROOMY, rng(4))
    diagonal = float(np.linalg.norm(spacing))
    assert extent_mm(lesion.mask > 0.5, spacing) == pytest.approx(spec.size_mm, abs=diagonal)
    # Where it lies: the middle of its mask is the asked centre, bumps and all.
    middle = ct.index_to_mm(np.argwhere(lesion.mask > 0.5).mean(0) + lesion.start)
    np.testing.assert_allclose(middle, ROOMY, atol=0.15 * spec.size_mm + 0.5)
    assert lesion.centre_mm == tuple(ROOMY)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_nothing_changes_outside_and_subtracting_gives_the_source_back(spacing):
    ct, _ = phantom(spacing, noise_hu=5.0)
    lesion = insert_at(ct, NODE, ROOMY, rng(1))
    edited = apply(ct, [lesion])
    assert edited.array.dtype == np.int16
    outside = np.ones(ct.shape, bool)
    outside[lesion.slices] = False
    np.testing.assert_array_equal(edited.array[outside], ct.array[outside])
    assert np.abs(edited.array.astype(int) - ct.array).max() > 60
    for axis in range(3):  # the difference dies out before the patch ends
        assert np.abs(np.take(lesion.delta, [0, -1], axis)).max() == 0
    back = apply(edited, [replace(lesion, delta=-lesion.delta)])
    assert np.abs(back.array.astype(int) - ct.array).max() <= 1  # rounding to whole HU, twice


def test_solid_enhances_evenly_and_necrotic_is_dark_inside():
    ct, _ = phantom((2.5, 1.2, 1.0))
    for texture in ("solid", "necrotic"):
        spec = replace(NODE, size_mm=28.0, texture=texture)
        lesion = insert_at(ct, spec, ROOMY, rng(2))
        inside = lesion.mask > 0.99
        depth = ndimage.distance_transform_edt(lesion.mask > 0.5, ct.spacing_mm)
        hu = apply(ct, [lesion]).array[lesion.slices]
        core = float(hu[inside & (depth > 9)].mean())
        rim = float(hu[inside & (depth > 1) & (depth < 3)].mean())
        if texture == "solid":
            assert 50 < core < 125
            assert abs(core - rim) < 15
        else:
            assert core < 35
            assert rim > core + 40


@pytest.mark.parametrize(("level", "smallest"), [("II", 11.0), ("III", 10.0), ("V", 10.0)])
def test_a_solid_node_of_15_mm_is_enlarged_by_its_short_axis(level, smallest):
    """Short axis: the least width of the node seen from any direction."""
    assert short_axis_mm(level) == smallest
    spacing = (0.8, 0.7, 0.9)
    ct, _ = phantom(spacing)
    for seed in range(4):
        lesion = insert_at(ct, LesionSpec("node", level, "left", 15.0), ROOMY, rng(seed))
        points = np.argwhere(lesion.mask > 0.5) * np.array(spacing)
        turns = np.random.default_rng(seed).standard_normal((300, 3))
        turns /= np.linalg.norm(turns, axis=1, keepdims=True)
        widths = np.ptp(points @ turns.T, axis=0)
        assert widths.min() > 0.85 * smallest - 1.0  # bumps and whole voxels take a little off
        assert widths.max() == pytest.approx(15.0, abs=1.6)


def test_a_long_solid_node_need_not_be_round():
    ct, _ = phantom((0.8, 0.7, 0.9))
    ratios = []
    for seed in range(8):
        points = np.argwhere(insert_at(ct, replace(NODE, size_mm=26.0), ROOMY, rng(seed)).mask > 0.5) * (0.8, 0.7, 0.9)
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(points.T)))
        ratios.append(spread[2] / spread[0])
    assert max(ratios) > 1.4
    assert min(ratios) < 1.35


def test_solid_tumours_are_as_far_above_the_tissue_as_published():
    """Mean 30 HU above what surrounds them (hnvlm/imaging/data/lesions.yaml), never less than 10 or more than 60."""
    ct, _ = phantom((2.5, 1.6, 1.8))
    ct = ct.with_array(np.where(np.abs(ct.array) < 150, 60, ct.array).astype(np.int16))
    above = []
    for seed in range(40):
        lesion = insert_at(ct, replace(NODE, size_mm=24.0), ROOMY, rng(seed))
        depth = ndimage.distance_transform_edt(lesion.mask > 0.5, ct.spacing_mm)
        above.append(float(np.median(apply(ct, [lesion]).array[lesion.slices][depth > 6])) - 60)
    assert np.mean(above) == pytest.approx(30, abs=6)
    assert 4 < min(above) < max(above) < 66  # the noise moves a median by a few HU


def test_an_airway_is_filled_inside_the_body_only():
    """Open air 20 mm in front of the lumen is not lumen, even where a gap in the skin joins the two."""
    ct, masks = phantom((3.0, 1.8, 1.5))
    x = np.abs(np.arange(ct.shape[2]) * ct.spacing_mm[2] + ct.origin_mm[2] - CENTRE_MM[2]) < 30
    y = np.arange(ct.shape[1]) * ct.spacing_mm[1] + ct.origin_mm[1] - CENTRE_MM[1] < AIRWAY_V - 12
    cut_away = ct.array.copy()
    cut_away[:, y[:, None] & x[None]] = -1000  # the front of the neck is missing
    lesion = insert(
        ct.with_array(cut_away), build_anatomy(ct.with_array(cut_away), masks),
        LesionSpec("airway", "larynx", "left", narrowing_pct=60.0), rng(3),
    )  # fmt: skip
    assert lesion is not None
    front = ct.index_to_mm(np.argwhere(lesion.mask > 0.3) + lesion.start)[:, 1] - CENTRE_MM[1]
    assert front.min() > AIRWAY_V - 12


def test_a_small_necrotic_node_is_made_solid(neck):
    ct, _ = phantom((2.5, 1.2, 1.0))
    lesion = insert(ct, neck, replace(NODE, size_mm=MIN_NECROTIC_MM - 1, texture="necrotic"), rng(5))
    assert lesion.spec.texture == "solid"
    assert insert(ct, neck, replace(NODE, size_mm=MIN_NECROTIC_MM + 1, texture="necrotic"), rng(5)).spec.texture == (
        "necrotic"
    )


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_node_beside_the_spine_changes_no_bone_and_no_air(spacing):
    ct, _ = phantom(spacing)
    lesion = insert_at(ct, replace(NODE, size_mm=17.0), at(10.0, -22.0, 20.0), rng(3))
    local = ct.array[lesion.slices]
    assert (local > 250).any()
    assert (local < -350).any()
    assert np.abs(lesion.delta[(local > 250) | (local < -350)]).max() == 0
    assert lesion.mask[(local > 250) | (local < -350)].max() == 0


def test_tissue_around_it_is_pushed_away():
    """Mass effect: a thin sheet of muscle in fat, 3 mm off the node's border, moves outwards."""
    ct, _ = phantom((2.5, 1.2, 1.0))
    deep = at(-15.0, -18.0, 42.0)  # below the parotid: nothing but fat
    hu = ct.array.copy()
    x = np.arange(ct.shape[2]) * ct.spacing_mm[2] + ct.origin_mm[2]
    sheet = (np.abs(x - (deep[2] + 13)) < 1.6) & np.ones(ct.shape, bool) & (hu == -90)
    hu[sheet] = 60
    with_sheet = ct.with_array(hu)
    lesion = insert_at(with_sheet, replace(NODE, size_mm=20.0), deep, rng(6))
    z, y, _ = (round(float(v)) for v in ct.mm_to_index(deep))
    beyond = slice(int((deep[2] + 10.5 - ct.origin_mm[2]) / 1.0), int((deep[2] + 25 - ct.origin_mm[2]) / 1.0))
    share = [np.clip(v.array[z, y, beyond] + 90.0, 0, 150) for v in (with_sheet, apply(with_sheet, [lesion]))]
    where = [float((s * np.arange(len(s))).sum() / s.sum()) for s in share]
    assert where[1] > where[0] + 0.4


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("kind", "place", "size"), [
    ("node", "IB", 10.0), ("node", "II", 18.0), ("node", "III", 16.0), ("node", "IV", 14.0), ("node", "V", 12.0),
    ("mass", "base of tongue", 16.0), ("mass", "oral tongue", 16.0), ("mass", "palatine tonsil", 14.0),
    ("mass", "supraglottis", 13.0), ("mass", "pyriform sinus", 12.0), ("mass", "parotid gland", 14.0),
])  # fmt: skip
def test_it_lies_at_the_asked_place_on_the_asked_side(kind, place, size, mirrored):
    """The same holds in the mirrored patient, whose left is his left: sides are the patient's, not the picture's."""
    built = anatomy(mirrored=mirrored)
    ct, _ = phantom((3.0, 1.8, 1.5), mirrored=mirrored)
    for side, sign in (("left", 1), ("right", -1)):
        lesion = insert(ct, built, LesionSpec(kind, place, side, size), rng(11))
        assert lesion is not None
        middle = ct.index_to_mm(np.argwhere(lesion.mask > 0.5).mean(0) + lesion.start)
        assert sign * (middle[2] - CENTRE_MM[2]) > 0
        found, found_side = built.place_of(kind, np.array(lesion.centre_mm))
        assert found_side == side
        region = built.candidates(kind, place, side)
        gap = ((np.argwhere(region) - built.ct.mm_to_index(np.array(lesion.centre_mm))) ** 2).sum(1).min()
        assert found == place or gap <= 1.0  # a border shared with a neighbour


def test_equal_seeds_give_equal_lesions(neck):
    ct, _ = phantom((3.0, 1.8, 1.5))
    a, b, c = (insert(ct, neck, NODE, rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(a.delta, b.delta)
    assert (a.start, a.centre_mm) == (b.start, b.centre_mm)
    assert a.centre_mm != c.centre_mm


def test_no_room_is_said_and_not_forced(neck):
    ct, masks = phantom((3.0, 1.8, 1.5))
    assert insert(ct, neck, replace(NODE, size_mm=130.0), rng()) is None
    assert insert_at(ct, NODE, at(0.0, -15.0, 0.0), rng()) is None  # inside the vertebra
    assert insert_at(ct, NODE, at(0.0, -34.0, 82.0), rng()) is None  # half outside the skin
    assert insert_at(ct, NODE, at(500.0, 0.0, 0.0), rng()) is None  # outside the scan
    coarse, masks = phantom(COARSE)
    upper = slice(int((CENTRE_MM[0] - 30 - coarse.origin_mm[0]) / 3), None)
    short = build_anatomy(
        replace(coarse, array=coarse.array[upper], origin_mm=(CENTRE_MM[0] - 28.5, *coarse.origin_mm[1:])),
        {k: m[upper] for k, m in masks.items()},
    )
    assert insert(ct, short, LesionSpec("node", "IV", "left", 12.0), rng()) is None  # below the field of view
    assert insert(ct, short, NODE, rng()) is not None
    no_gland = build_anatomy(coarse, {k: m for k, m in masks.items() if k != "Parotid_L"})
    assert insert(ct, no_gland, LesionSpec("mass", "parotid gland", "left", 12.0), rng()) is None


def air_area_mm2(hu: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Air per slice inside the pharynx, counted by its share of every voxel."""
    return np.clip((-100.0 - hu) / 700.0, 0, 1).sum((1, 2)) * spacing[1] * spacing[2]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("level", "side", "pct"), [("oropharynx", "left", 50.0), ("hypopharynx", "right", 30.0),
                                                    ("larynx", "left", 70.0)])  # fmt: skip
def test_the_airway_narrows_by_the_asked_share_on_the_asked_side(spacing, level, side, pct):
    ct, _ = phantom(spacing)
    built = anatomy()
    lesion = insert(ct, built, LesionSpec("airway", level, side, narrowing_pct=pct), rng(2))
    y, x = (np.arange(ct.shape[a]) * ct.spacing_mm[a] + ct.origin_mm[a] - CENTRE_MM[a] for a in (1, 2))
    window = np.ix_(np.ones(ct.shape[0], bool), np.abs(y - AIRWAY_V) < 12, np.abs(x) < 18)
    before = air_area_mm2(ct.array[window], spacing)
    edited = apply(ct, [lesion]).array
    left = np.divide(air_area_mm2(edited[window], spacing), before, where=before > 0, out=np.ones(len(before)))
    assert 100 * (1 - left.min()) == pytest.approx(pct, abs=9.0)
    worst = ct.origin_mm[0] + int(left.argmin()) * spacing[0] - built.z0_mm
    lo, hi = AIRWAY_RANGE[level]
    assert lo - 4 <= worst <= hi + 4
    assert left[np.abs(np.arange(len(left)) - left.argmin()) * spacing[0] > 30] == pytest.approx(1.0)
    assert lesion.delta.min() >= 0
    filled = ct.index_to_mm(np.argwhere(lesion.mask > 0.5) + lesion.start)[:, 2] - CENTRE_MM[2]
    assert (filled.mean() > 0) == (side == "left")
    new = edited[lesion.slices][(lesion.mask > 0.9) & (lesion.delta > 500)]
    assert 0 < float(np.median(new)) < 130


def test_no_airway_to_narrow():
    coarse, masks = phantom(COARSE)
    hu = np.where(coarse.array > -900, coarse.array, 50)
    hu[:, :2], hu[:, -2:], hu[..., :2], hu[..., -2:] = -1000, -1000, -1000, -1000
    built = build_anatomy(coarse.with_array(hu.astype(np.int16)), masks)
    spec = LesionSpec("airway", "larynx", "left", narrowing_pct=40.0)
    assert insert(coarse.with_array(hu.astype(np.int16)), built, spec, rng()) is None


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("spec", [NODE, LesionSpec("airway", "larynx", "right", narrowing_pct=55.0)])
def test_resampling_a_difference_is_the_difference_of_resampling(neck, spacing, spec):
    """Linear: resample(CT + lesion) = resample(CT) + resample(lesion), up to what is cut off below half a HU."""
    ct, _ = phantom(spacing, noise_hu=5.0)
    lesion = insert(ct, neck, spec, rng(9))
    floating = ct.with_array(ct.array.astype(np.float32))
    edited = floating.array.copy()
    edited[lesion.slices] += lesion.delta
    want = resample_like(floating.with_array(edited), neck.ct).array - resample_like(floating, neck.ct).array
    coarse = to_coarse(lesion, ct, neck.ct)
    got = np.zeros(neck.ct.shape, np.float32)
    got[coarse.slices] = coarse.delta
    np.testing.assert_allclose(got, want, atol=0.51)
    assert np.abs(want).max() > 50
    assert coarse.spec == lesion.spec
    assert coarse.centre_mm == lesion.centre_mm
    # Volume of the mask survives the change of grid.
    fine_ml = float(lesion.mask.sum()) * ct.voxel_ml
    assert float(coarse.mask.sum()) * neck.ct.voxel_ml == pytest.approx(fine_ml, rel=0.06)


def test_nothing_is_left_on_a_grid_elsewhere(neck):
    ct, _ = phantom((3.0, 1.8, 1.5))
    lesion = insert_at(ct, NODE, ROOMY, rng())
    far = replace(neck.ct, origin_mm=(9000.0, 0.0, 0.0))
    assert to_coarse(lesion, ct, far) is None


def test_random_specs_stay_in_their_ranges():
    source = rng(0)
    specs = [random_spec(source) for _ in range(300)]
    assert {s.kind for s in specs} == {"node", "mass", "airway"}
    assert {s.side for s in specs} == {"left", "right"}
    for s in specs:
        if s.kind == "airway":
            assert s.place in AIRWAY_RANGE
            assert 30 <= s.narrowing_pct <= 75
        else:
            assert s.place in (LEVEL_BOX if s.kind == "node" else {*SITE_BOX, "parotid gland"})
            assert (15 if s.kind == "node" else 12) <= s.size_mm <= 42
    assert {s.kind for s in (random_spec(source, kinds=("node",)) for _ in range(10))} == {"node"}


@pytest.mark.parametrize("place", MUCOSAL_SITES)
@pytest.mark.parametrize("size", [12.0, 20.0, 28.0])
def test_a_tumour_of_the_lining_reaches_the_lumen(neck, place, size):
    """Its centre lies within 0.6 of its radius (or 4.5 mm) of the air, so it takes some of the lumen away."""
    reached = 0
    for seed in range(6):
        centre = choose_centre(neck, LesionSpec("mass", place, "left", size), rng(seed))
        if centre is None:
            continue
        reached += 1
        air = np.argwhere(neck.airway) * neck.ct.spacing_mm + neck.ct.origin_mm
        # The centre is drawn inside a voxel of 3 mm, up to half its diagonal away from the voxel's middle.
        assert np.sqrt(((air - centre) ** 2).sum(1).min()) <= max(0.3 * size, 4.5) + 2.6
    assert reached
