"""DVH figures by hand, by their laws, and on grids that share no axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnvlm.imaging.dvh import (
    Dvh,
    challenge_metrics,
    dose_volume,
    is_metric,
)
from hnvlm.imaging.volume import Volume

# Three different sizes and spacings: 10 x 20 x 30 mm, 0.006 cc a voxel of 1 x 2 x 3 mm.
SHAPE, SPACING = (6, 9, 12), (3.0, 2.0, 1.0)
ORIGIN = (-10.0, 5.0, -7.0)


def grid(array: np.ndarray) -> Volume:
    return Volume(array, SPACING, ORIGIN, "1.2.3")


def ramp(axis: int, slope: float = 1.0, base: float = 10.0) -> Volume:
    """Dose that rises by ``slope`` Gy a millimetre along one axis."""
    place = np.arange(SHAPE[axis]) * SPACING[axis] * slope + base
    return grid(np.broadcast_to(place.reshape([-1 if a == axis else 1 for a in range(3)]), SHAPE).astype(np.float32))


def block() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[1:5, 2:7, 3:11] = True  # 4 x 5 x 8 voxels of 6 mm3: 0.96 cc
    return mask


def test_uniform_dose() -> None:
    found = dose_volume(grid(np.full(SHAPE, 50, np.float32)), block())
    assert found.volume_cc == pytest.approx(0.96)
    names = ("Dmean", "Dmax", "Dmin", "D2pct", "D98pct", "D0.03cc", "D95pct")
    assert found.metrics(names) == pytest.approx(dict.fromkeys(names, 50.0), rel=1e-9)  # sums differ by processor
    assert (found.homogeneity, found.percent_at_gy(50), found.percent_at_gy(50.01)) == (0.0, 100.0, 0.0)
    assert found.volume_at_gy(50) == pytest.approx(0.96)


@pytest.mark.parametrize("level_gy", [70.0, 63.0, 56.0, 59.4, 54.0, 52.9])
def test_a_dose_that_is_just_the_level_reaches_it(level_gy: float) -> None:
    """95 % of 63 Gy everywhere covered nothing of the target: the level was a little more than its own float32."""
    exact = dose_volume(grid(np.full(SHAPE, 0.95 * level_gy, np.float32)), block())
    for found in (exact, exact.compact()):
        assert found.metric("V95pct", prescription_gy=level_gy) == pytest.approx(100)
        assert found.metric("V95.01pct", prescription_gy=level_gy) == 0
    whole = dose_volume(grid(np.full(SHAPE, level_gy, np.float32)), block()).scaled(0.95)
    assert whole.percent_at_gy(0.95 * level_gy) == pytest.approx(100)
    doses, volumes = exact.curve(0.95 * level_gy / 7, 1.2 * level_gy)
    assert volumes[7] == pytest.approx(100) and doses[7] == pytest.approx(0.95 * level_gy)
    assert volumes[8] == 0


def test_counted_by_hand_without_division() -> None:
    """Ten voxels of 0.006 cc with 1..10 Gy."""
    array, mask = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    array[2, 3, 1:11], mask[2, 3, 1:11] = np.arange(1, 11), True
    found = dose_volume(grid(array), mask, max_step_mm=10)
    assert found.dose_gy.tolist() == list(range(10, 0, -1))
    assert [found.dose_at_percent(p) for p in (0, 10, 50, 95, 100)] == [10, 10, 6, 1, 1]
    assert [found.dose_at_cc(v) for v in (0.006, 0.007, 0.06)] == [10, 9, 1]
    assert found.dose_at_cc(0.061) is None and found.metric("D1cc") is None
    assert found.percent_at_gy(6) == 50 and found.percent_at_gy(6.5) == 40 and found.percent_at_gy(0) == 100
    assert found.volume_at_gy(9.5) == pytest.approx(0.006) and found.volume_at_gy(10.5) == 0
    assert found.mean_gy == pytest.approx(5.5)
    assert found.homogeneity == pytest.approx((10 - 1) / 6)
    assert found.metric("V60pct", prescription_gy=10) == 50 and found.metric("V60pct") is None
    assert found.metric("V6Gy_cc") == pytest.approx(0.03)
    doses, volumes = found.curve(2.5)
    assert doses.tolist() == [0, 2.5, 5, 7.5, 10] and volumes.tolist() == pytest.approx([100, 80, 60, 30, 10])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_linear_gradient_is_divided_inside_voxels(axis: int) -> None:
    """A ramp over a box has a straight DVH; voxels as wholes would give steps as wide as a voxel."""
    low, high = np.argwhere(block()).min(0)[axis], np.argwhere(block()).max(0)[axis]
    width = (high - low + 1) * SPACING[axis]
    start = 10 + (low - 0.5) * SPACING[axis]
    found = dose_volume(ramp(axis), block(), max_step_mm=0.25 if axis == 2 else 0.7)
    assert found.mean_gy == pytest.approx(start + width / 2, abs=1e-4)
    for percent in (5, 20, 50, 80, 95):
        assert found.dose_at_percent(percent) == pytest.approx(start + width * (1 - percent / 100), abs=0.36)
        exact = start + width * (1 - percent / 100)
        assert found.percent_at_gy(exact) == pytest.approx(percent, abs=100 * 0.36 / width)
    whole = dose_volume(ramp(axis), block(), max_step_mm=10)
    assert whole.mean_gy == pytest.approx(found.mean_gy, abs=1e-4)
    assert whole.max_gy < found.max_gy


def test_finer_parts_come_closer_to_the_truth() -> None:
    errors = []
    for step in (3.0, 1.0, 0.6):
        found = dose_volume(ramp(0), block(), max_step_mm=step)
        errors.append(abs(found.dose_at_percent(98) - (10 + 1.5 + 12 * 0.02)))
    assert errors[0] > errors[1] > errors[2] or errors[2] < 0.05


def test_structure_on_its_own_grid() -> None:
    """Masks of 0.5 mm on a dose of 3 x 2 x 1 mm: the dose is interpolated at the mask's positions."""
    fine = Volume(np.ones((4, 6, 10), bool), (0.5, 0.5, 0.5), (-6.0, 11.0, -2.0), "1.2.3")
    found = dose_volume(ramp(0), fine)
    assert found.volume_cc == pytest.approx(4 * 6 * 10 * 0.125e-3)
    # z from -6.25 to -4.25: dose = z + 20.
    assert found.mean_gy == pytest.approx(20 - 5.25, abs=1e-4)
    assert (found.max_gy, found.min_gy) == (pytest.approx(15.5, abs=1e-4), pytest.approx(14.0, abs=1e-4))


def test_volume_beyond_the_dose_grid_is_said_and_counts_as_zero() -> None:
    over = Volume(np.ones((2, 3, 4), bool), (3.0, 2.0, 1.0), (-10.0, 5.0, 3.0), "1.2.3")  # 2 of 4 columns outside
    found = dose_volume(grid(np.full(SHAPE, 40, np.float32)), over)
    assert found.outside_cc == pytest.approx(2 * 3 * 2 * 0.006)
    assert found.percent_at_gy(39) == pytest.approx(50) and found.min_gy == 0


def test_shares_of_voxels() -> None:
    share = np.zeros(SHAPE, np.float32)
    share[2, 3, 4], share[2, 3, 5], share[2, 3, 6] = 0.25, 1.0, 0.5
    array = np.zeros(SHAPE, np.float32)
    array[2, 3, 4:7] = 10, 20, 40
    found = dose_volume(grid(array), share, max_step_mm=10)
    assert found.volume_cc == pytest.approx(1.75 * 0.006)
    assert found.mean_gy == pytest.approx((0.25 * 10 + 20 + 0.5 * 40) / 1.75)
    assert found.dose_at_percent(28) == 40 and found.dose_at_percent(29) == 20 and found.dose_at_percent(100) == 10
    with pytest.raises(ValueError, match="between 0 and 1"):
        dose_volume(grid(array), share * 2)


def test_flips_change_nothing() -> None:
    rng = np.random.default_rng(3)
    array, mask = rng.uniform(0, 70, SHAPE).astype(np.float32), rng.random(SHAPE) < 0.3
    before = dose_volume(grid(array), mask)
    for axis in range(3):
        after = dose_volume(grid(np.flip(array, axis).copy()), np.flip(mask, axis).copy())
        np.testing.assert_allclose(after.dose_gy, before.dose_gy, atol=1e-3)
        assert after.mean_gy == pytest.approx(before.mean_gy, abs=1e-4)


def test_dose_and_volume_scale() -> None:
    rng = np.random.default_rng(4)
    array, mask = rng.uniform(0, 70, SHAPE).astype(np.float32), block()
    one = dose_volume(grid(array), mask)
    for factor in (0.5, 66 / 70):
        other = dose_volume(grid(array * np.float32(factor)), mask)
        for name in ("Dmean", "Dmax", "D2pct", "D0.1cc"):
            assert other.metric(name) == pytest.approx(factor * one.metric(name), rel=1e-5)
            assert one.scaled(factor).metric(name) == pytest.approx(other.metric(name), rel=1e-5)
        assert other.percent_at_gy(factor * 35) == pytest.approx(one.percent_at_gy(35), abs=0.2)
    doubled = Volume(array, tuple(2 * s for s in SPACING), ORIGIN, "1.2.3")
    assert dose_volume(doubled, mask, max_step_mm=20).volume_cc == pytest.approx(8 * one.volume_cc)
    with pytest.raises(ValueError, match="positive"):
        one.scaled(0)


def test_eqd2_sample_by_sample() -> None:
    """70 and 35 Gy in 35 fractions, alpha/beta 3: 70 -> 70; 35 -> 35 * (1 + 3) / 5 = 28; the mean is 49, not 49.875."""
    found = Dvh(np.array([70, 35], np.float32), np.array([1.0, 2.0])).mapped_eqd2(35, 3)
    assert found.dose_gy.tolist() == [70, 28] and found.mean_gy == pytest.approx(49)


def test_a_compact_copy_keeps_every_figure_to_its_step() -> None:
    rng = np.random.default_rng(5)
    full = dose_volume(grid(rng.uniform(0, 75, SHAPE).astype(np.float32)), block())
    small = full.compact(0.01)
    assert len(small.dose_gy) < len(full.dose_gy) and (np.diff(small.dose_gy) < 0).all()
    assert small.volume_cc == pytest.approx(full.volume_cc)
    for name in ("Dmean", "Dmax", "Dmin", "D2pct", "D95pct", "D0.03cc"):
        assert small.metric(name) == pytest.approx(full.metric(name), abs=0.0051)
    assert Dvh(np.full(9, 50, np.float32), np.arange(1, 10) / 9).compact().above_cc.tolist() == [1.0]


def test_challenge_definition_by_hand() -> None:
    dose = np.arange(1000, dtype=np.float64).reshape(10, 10, 10) / 10
    everything = np.ones(dose.shape, bool)
    target = challenge_metrics(dose, everything, 10.0, target=True)
    assert target == {"D_99": pytest.approx(0.999), "D_95": pytest.approx(4.995), "D_1": pytest.approx(98.901)}
    # 100 mm3 are 10 voxels of 10 mm3: percentile 99 of 0.0 .. 99.9.
    organ = challenge_metrics(dose, everything, 10.0, target=False)
    assert organ == {"D_0.1_cc": pytest.approx(98.901), "mean": pytest.approx(49.95)}
    one = np.zeros(dose.shape, bool)
    one[3, 4, 5] = True
    assert challenge_metrics(dose, one, 30.0, target=False) == {"D_0.1_cc": 34.5, "mean": 34.5}
    assert challenge_metrics(dose, ~everything, 10.0, target=False) == {}


def test_nothing_to_count() -> None:
    assert dose_volume(ramp(0), np.zeros(SHAPE, bool)) is None
    with pytest.raises(ValueError, match="shape"):
        dose_volume(ramp(0), np.ones((2, 2, 2), bool))
    found = dose_volume(ramp(0), block())
    for name in ("D2", "mean", "V50", "D-1cc", "D0.03cc_pct", "D1-10cc", ""):
        assert not is_metric(name)
        with pytest.raises(ValueError, match="no dose-volume metric"):
            found.metric(name)
    assert all(is_metric(n) for n in ("Dmean", "D0.03cc", "D99pct", "V45Gy", "V60Gy_cc", "V95pct"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 80, width=32), st.floats(0.015625, 1, width=32)), min_size=1, max_size=60),
    st.floats(0.1, 100),
)
def test_dx_and_vx_are_inverse(samples: list[tuple[float, float]], percent: float) -> None:
    samples = sorted(samples, reverse=True)
    found = Dvh(np.array([d for d, _ in samples], np.float32), np.cumsum([w for _, w in samples]))
    dose = found.dose_at_percent(percent)
    assert found.percent_at_gy(dose) >= percent * (1 - 1e-6)
    assert found.percent_at_gy(np.nextafter(np.float32(dose), np.float32(1e9))) <= 100 + 1e-9
    doses, volumes = found.curve(1.0)
    assert volumes[0] == pytest.approx(100) and (np.diff(volumes) <= 1e-9).all() and len(doses) == len(volumes)
    assert found.min_gy - 1e-5 <= found.mean_gy <= found.max_gy + 1e-4
