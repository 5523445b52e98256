"""Rays of coplanar fields: depth, apertures, divergence and deliverable doses, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.dose_phantom import dose_phantom

from hnvlm.imaging.fields import ANGLES_DEG, SOURCE_MM, Fields, field_sums
from hnvlm.imaging.volume import Volume

PHANTOMS = [
    ((5, 14, 18), (3.0, 4.0, 4.0), (-20.0, 11.0, 7.0)),
    ((9, 22, 16), (2.5, 3.9, 2.7), (4.0, -70.0, -33.0)),
    ((12, 11, 25), (1.5, 5.4, 3.1), (0.0, 200.0, 31.0)),
]


def block(shape, spacing, origin) -> tuple[Volume, np.ndarray]:
    """Everything is body; the isocentre is the centre of the middle voxel."""
    body = Volume(np.ones(shape, bool), spacing, origin)
    return body, body.index_to_mm(np.array(shape) // 2)


def on_grid(fields: Fields, values: np.ndarray) -> np.ndarray:
    out = np.zeros(fields.grid.shape, np.float32)
    out[tuple(fields.index.T)] = values
    return out


@pytest.mark.parametrize(("shape", "spacing", "origin"), PHANTOMS)
def test_depth_of_the_field_from_the_front_and_from_the_left(shape, spacing, origin):
    """On the central axis: whole voxels in front of this one, and half of it."""
    body, centre = block(shape, spacing, origin)
    front, left = Fields(body, centre, angles_deg=(0, 90)).fields
    z, y, x = np.array(shape) // 2
    fields = Fields(body, centre, angles_deg=(0,))
    from_front = on_grid(fields, front.depth_mm)
    wanted = (np.arange(shape[1]) + 0.5) * spacing[1]
    np.testing.assert_allclose(from_front[z, :, x], wanted, atol=1.0)
    # The patient's left is the far end of x.
    from_left = on_grid(fields, left.depth_mm)
    wanted = (shape[2] - np.arange(shape[2]) - 0.5) * spacing[2]
    np.testing.assert_allclose(from_left[z, y], wanted, atol=1.0)


def test_depth_is_exact_where_steps_meet_voxels():
    """Voxels of 4 mm and steps of 4 mm: 2, 6, 10, ... mm; bone of density 1.5 counts half more."""
    body, centre = block(*PHANTOMS[0])
    depth = on_grid(f := Fields(body, centre, angles_deg=(0,)), f.fields[0].depth_mm)
    np.testing.assert_allclose(depth[2, :, 9], np.arange(14) * 4.0 + 2.0, atol=1e-3)
    density = np.ones(body.shape)
    density[:, 3] = 1.5
    depth = on_grid(f, Fields(body, centre, density, angles_deg=(0,)).fields[0].depth_mm)
    np.testing.assert_allclose(depth[2, :6, 9], [2, 6, 10, 15, 20, 24], atol=1e-3)


def test_air_outside_the_body_has_no_depth():
    array = np.zeros((5, 14, 18), bool)
    array[:, 4:12] = True
    body = Volume(array, (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    fields = Fields(body, body.index_to_mm(np.array([2, 7, 9])), angles_deg=(0, 180))
    front, back = (on_grid(fields, f.depth_mm)[2, 4:12, 9] for f in fields.fields)
    np.testing.assert_allclose(front, np.arange(8) * 4.0 + 2.0, atol=1e-3)
    np.testing.assert_allclose(back, front[::-1], atol=1e-3)


@pytest.mark.parametrize(("shape", "spacing", "origin"), PHANTOMS)
@pytest.mark.parametrize("angle", [0, 90])
def test_the_shadow_of_a_target_lies_before_and_behind_it(shape, spacing, origin, angle):
    """A small target at the isocentre: its own column is in the aperture, what lies two rays beside it is not."""
    body, centre = block(shape, spacing, origin)
    z, y, x = np.array(shape) // 2
    target = np.zeros(shape, bool)
    target[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = True
    fields = Fields(body, centre, angles_deg=(angle,))
    sums = field_sums(fields, {70.0: target}, {})
    hit = on_grid(fields, sums.aperture["70"])
    along = hit[z, :, x] if angle == 0 else hit[z, y]
    np.testing.assert_allclose(along, 1.0, atol=1e-5)
    beside = hit[z, :, 0] if angle == 0 else hit[z, 0]
    np.testing.assert_allclose(beside, 0.0, atol=1e-5)
    entrance = on_grid(fields, sums.entrance)
    before, behind = (
        ((z, 0, x), (z, shape[1] - 1, x)) if angle == 0 else ((z, y, shape[2] - 1), (z, y, 0))
    )  # the source is in front (small y), or on the left (large x)
    assert entrance[before] == pytest.approx(1.0)
    assert entrance[behind] == pytest.approx(0.0)


def brute_force(body: Volume, target: np.ndarray, centre: np.ndarray, angle: float, voxel: np.ndarray) -> bool:
    """Walk from the source through a voxel in steps of 0.5 mm and look for the target."""
    a = np.deg2rad(angle)
    source = centre + SOURCE_MM * np.array([0.0, -np.cos(a), np.sin(a)])
    here = body.index_to_mm(voxel)
    way = (here - source) / np.linalg.norm(here - source)
    points = source + np.arange(SOURCE_MM - 250, SOURCE_MM + 250, 0.5)[:, None] * way
    index = np.rint(body.mm_to_index(points)).astype(int)
    inside = np.all((index >= 0) & (index < body.shape), axis=1)
    return bool(target[tuple(index[inside].T)].any())


@pytest.mark.parametrize(("shape", "spacing", "origin"), PHANTOMS)
def test_apertures_are_those_of_rays_walked_one_by_one(shape, spacing, origin):
    body, centre = block(shape, spacing, origin)
    z, y, x = np.indices(shape)
    target = (np.abs(z - 2) <= 1) & (np.abs(y - 5) <= 2) & (x > 2) & (x < 9)
    rng = np.random.default_rng(3)
    fields = Fields(body, centre)
    voxels = fields.index[rng.permutation(len(fields.index))[:60]]
    for field in fields.fields:
        one = Fields(body, centre, angles_deg=(field.angle_deg,))
        hit = on_grid(one, field_sums(one, {70.0: target}, {}).aperture["70"])
        sure = [v for v in voxels if not 0.02 < hit[tuple(v)] < 0.98]
        right = [brute_force(body, target, centre, field.angle_deg, v) == (hit[tuple(v)] > 0.5) for v in sure]
        assert len(sure) > 25
        assert np.mean(right) > 0.9, field.angle_deg


def test_shadows_grow_with_the_distance_from_the_source():
    """A target 40 mm wide at the isocentre is 40 * 1.1 = 44 mm wide 100 mm behind it."""
    body = Volume(np.ones((3, 60, 41), bool), (4.0, 4.0, 2.0), (0.0, 0.0, 0.0))
    target = np.zeros(body.shape, bool)
    target[:, 30, 10:31] = True
    fields = Fields(body, body.index_to_mm(np.array([1, 30, 20])), angles_deg=(0,))
    hit = on_grid(fields, field_sums(fields, {70.0: target}, {}).aperture["70"])
    assert hit[1, 55].sum() * 2.0 == pytest.approx(hit[1, 30].sum() * 2.0 * 1.1, rel=0.01)
    assert hit[1, 5].sum() * 2.0 == pytest.approx(hit[1, 30].sum() * 2.0 * 0.9, rel=0.01)


def test_levels_add_up_and_organs_on_the_way_are_counted():
    body, centre = block(*PHANTOMS[0])
    low = np.zeros(body.shape, bool)
    low[1:4, 6:9, 6:13] = True
    high = low.copy()
    high[:, :, :9] = False
    organ = np.zeros(body.shape, bool)
    organ[1:4, 1:3, 10:13] = True
    fields = Fields(body, centre, angles_deg=(0,))
    sums = field_sums(fields, {56.0: low, 70.0: high}, {"cord": organ})
    place = [tuple(v) for v in fields.index].index
    only_low, both = place((2, 7, 7)), place((2, 7, 11))
    weight = fields.fields[0].weight
    assert sums.open_dose[only_low] == pytest.approx(56 * weight[only_low], rel=1e-4)
    assert sums.open_dose[both] == pytest.approx(70 * weight[both], rel=1e-4)
    assert (sums.aperture["70"][only_low], sums.aperture["70"][both]) == pytest.approx((0, 1))
    assert (sums.shared["cord"][only_low], sums.shared["cord"][both]) == pytest.approx((0, 1))


def test_a_mirrored_patient_has_mirrored_sums():
    """Fields at 0, 40, ..., 320 degrees mirror onto themselves."""
    _, _, masks, body = dose_phantom()
    grid = Volume(body, (3.0, 4.5, 4.0), (0.0, 0.0, 0.0))
    centre = grid.index_to_mm(np.array([9.0, 11.0, 19.0]))
    mirrored_centre = grid.index_to_mm(np.array([9.0, 11.0, 31 - 19.0]))
    levels = {56.0: masks["PTV_5600"] | masks["PTV_7000"], 70.0: masks["PTV_7000"]}
    organs = {"cord": masks["SpinalCord"]}
    fields = Fields(grid, centre)
    flipped = Fields(grid.with_array(body[..., ::-1].copy()), mirrored_centre)
    a = field_sums(fields, levels, organs)
    b = field_sums(flipped, {g: m[..., ::-1] for g, m in levels.items()}, {"cord": masks["SpinalCord"][..., ::-1]})
    for one, other in (
        (a.aperture["56"], b.aperture["56"]), (a.aperture["70"], b.aperture["70"]), (a.entrance, b.entrance),
        (a.open_dose, b.open_dose), (a.shared["cord"], b.shared["cord"]), (a.mean_depth_mm, b.mean_depth_mm),
        (a.least_depth_mm, b.least_depth_mm),
    ):  # fmt: skip
        got = on_grid(flipped, other)[..., ::-1]
        differs = np.abs(on_grid(fields, one) - got) > 2e-3
        # A ray that grazes a border may fall on either side of one half.
        assert differs.mean() < 0.01
    assert ANGLES_DEG == (0, 40, 80, 120, 160, 200, 240, 280, 320)


def test_what_fields_can_give_is_given_back():
    *_, body = dose_phantom()
    fields = Fields(Volume(body, (3.0, 4.5, 4.0), (0.0, 0.0, 0.0)), (27.0, 50.0, 80.0))
    fluence = np.abs(np.random.default_rng(0).normal(1.0, 0.3, fields.influence.shape[1])).astype(np.float32)
    wanted = fields.influence @ fluence
    got = fields.nearest_deliverable(wanted, 60)
    assert np.abs(got - wanted).mean() < 0.01 * wanted.mean()
    assert got.min() >= 0


def test_what_no_field_can_give_is_not_given():
    """A single hot voxel in the dark: rays reach it only through its neighbours."""
    body = Volume(np.ones((9, 15, 17), bool), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    fields = Fields(body, body.index_to_mm(np.array([4, 7, 8])))
    wanted = np.zeros(len(fields.index), np.float32)
    hot = [tuple(v) for v in fields.index].index((4, 7, 8))
    wanted[hot] = 70.0
    got = fields.nearest_deliverable(wanted, 30)
    assert got[hot] < 35
    assert got.sum() > got[hot] * 2
    # A voxel that matters more is served better.
    weight = np.ones_like(wanted)
    weight[hot] = 100.0
    assert fields.nearest_deliverable(wanted, 30, weight)[hot] > got[hot] * 1.5


def test_refusals():
    body = Volume(np.ones((3, 4, 5), bool), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="isocentre must lie in the patient"):
        Fields(body, (0.0, 1500.0, 0.0))
    with pytest.raises(ValueError, match="no voxel of a target"):
        field_sums(Fields(body, (3.0, 8.0, 8.0)), {70.0: np.zeros(body.shape, bool)}, {})
