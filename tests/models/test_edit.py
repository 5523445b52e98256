"""A drawn difference on its way back into the patient's CT: nothing else may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from hnvlm.imaging.volume import Volume
from hnvlm.models import edit
from hnvlm.models.ct_encoder import cut
from hnvlm.models.diffusion import PATCH
from hnvlm.models.edit import Drawn, apply_differences, box_mm, draw, identity_of, onto_grid
from hnvlm.models.layout import Layout
from hnvlm.models.segmenter import to_working_grid

CT_GRIDS = [
    ((30, 90, 80), (2.5, 1.1, 1.3), (-20.0, -10.0, 5.0)),
    ((14, 60, 50), (5.0, 2.0, 1.7), (-22.0, -14.0, 3.0)),
    ((70, 40, 41), (1.0, 2.7, 2.9), (-18.0, -11.0, 0.0)),
]


def ct(shape=(12, 14, 16), spacing=(2.5, 0.8, 1.2), origin=(-7.0, 3.0, 20.0)) -> Volume:
    hu = np.random.default_rng(0).integers(-120, 200, shape).astype(np.int16)
    hu[:, :, :2] = -1024  # padding beside the patient
    return Volume(hu, spacing, origin)


def drawn(shape=(8, 9, 10), start=(2, 3, 4)) -> Drawn:
    delta = np.random.default_rng(1).uniform(-80, 80, shape).astype(np.float32)
    return Drawn(delta, np.array(start), np.ones(shape, np.float32), delta)


@pytest.mark.parametrize(("shape", "spacing", "origin"), CT_GRIDS)
def test_onto_another_grid_as_an_independent_interpolation(shape, spacing, origin, monkeypatch):
    monkeypatch.setattr(edit, "REFINEMENTS", 0)
    volume = Volume(np.zeros(shape, np.int16), spacing, origin)
    working = Volume(np.zeros((24, 25, 26), np.float32), (3.0, 3.0, 3.0), (-15.0, -9.0, 4.0))
    piece = drawn()
    delta, box = onto_grid(volume, working, piece)
    knots = [
        o + 3.0 * (s + np.arange(n)) for o, s, n in zip(working.origin_mm, piece.start, piece.delta.shape, strict=True)
    ]
    mm = [o + s * np.arange(b.start, b.stop) for o, s, b in zip(origin, spacing, box, strict=True)]
    want = RegularGridInterpolator(knots, piece.delta, bounds_error=False, fill_value=0.0)
    np.testing.assert_allclose(delta, want(np.stack(np.meshgrid(*mm, indexing="ij"), -1)), atol=1e-3)
    for axis in range(3):  # the box holds every voxel of the CT that lies within the patch
        centres = origin[axis] + spacing[axis] * np.arange(shape[axis])
        inside = np.flatnonzero((centres >= knots[axis][0] - 1e-9) & (centres <= knots[axis][-1] + 1e-9))
        assert (box[axis].start, box[axis].stop) == (inside[0], inside[-1] + 1)


@pytest.mark.parametrize(("shape", "spacing", "origin"), CT_GRIDS)
def test_what_was_drawn_is_read_back_from_the_grid_of_the_ct(shape, spacing, origin, monkeypatch):
    """Read back as the networks read a CT, an edit has the contrast it was drawn with; interpolation alone loses it."""
    volume = Volume(np.zeros(shape, np.float32), spacing, origin)
    working = to_working_grid(volume, 3.0)
    z, y, x = np.indices((20, 20, 20)) - 9.5
    ball = np.where(z**2 + y**2 + x**2 < 2.6**2, 80.0, 0.0).astype(np.float32)  # 16 mm across
    near = (z**2 + y**2 + x**2 < 6.0**2).astype(np.float32)
    piece = Drawn(ball, np.array(working.shape) // 2 - 10, near, ball)

    def read_back(refinements: int) -> np.ndarray:
        monkeypatch.setattr(edit, "REFINEMENTS", refinements)
        delta, box = onto_grid(volume, working, piece)
        edited = np.zeros(shape, np.float32)
        edited[box] = delta
        return cut(to_working_grid(volume.with_array(edited), 3.0).array, piece.start, ball.shape, 0.0)

    mended, plain = read_back(edit.REFINEMENTS), read_back(0)
    error = [float(np.abs(ball - r)[ball > 0].mean()) for r in (plain, mended)]
    assert error[1] < 0.6 * error[0], error
    assert mended[ball > 0].mean() == pytest.approx(80.0, abs=8.0)
    assert plain[ball > 0].mean() < mended[ball > 0].mean()


@pytest.mark.parametrize("spacing", [(2.5, 4.7, 4.1), (3.3, 1.3, 0.9), (5.0, 2.1, 3.4)])
def test_a_filled_lumen_gets_no_rim_like_bone(spacing, monkeypatch):
    """A lumen of -1000 HU with a wall of -300 HU is filled with 60 HU: nothing becomes brighter than tissue."""
    shape = tuple(round(90 / s) for s in spacing)
    hu = np.full(shape, 40.0, np.float32)
    at = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    from_middle = np.abs(at[2] - 45.0)
    hu[:, np.abs(at[1] - 45.0) < 12] = np.where(from_middle < 8, -1000.0, np.where(from_middle < 12, -300.0, 40.0))
    volume = Volume(hu, spacing)
    working = to_working_grid(volume, 3.0)
    start = np.array(working.shape) // 2 - 8
    z, y, x = np.indices((16, 16, 16)) - 7.5
    ball = z**2 + y**2 + x**2 < 6.0**2
    source = cut(working.array, start, ball.shape, -1024.0)
    after = np.where(ball & (source < 30), 60.0, source).astype(np.float32)
    piece = Drawn(after - source, start, ball.astype(np.float32), after)

    def brightest() -> float:
        delta, box = onto_grid(volume, working, piece)
        return float((volume.array[box] + delta).max())

    assert brightest() <= 60.0 + 35.0
    monkeypatch.setattr(edit, "GRAIN_HU", np.inf)
    monkeypatch.setattr(edit, "AIR_BELOW_HU", -2000.0)
    assert brightest() > 60.0 + 2 * 50.0


def test_a_piece_beside_the_ct_is_none():
    working = Volume(np.zeros((24, 25, 26), np.float32), (3.0, 3.0, 3.0), (900.0, 0.0, 0.0))
    assert onto_grid(ct(), working, drawn()) is None


def test_a_piece_half_outside_is_cut():
    volume = ct()
    working = Volume(np.zeros((9, 9, 9), np.float32), (3.0, 3.0, 3.0), (-40.0, 0.0, 20.0))
    delta, box = onto_grid(volume, working, drawn(start=(6, 0, 0)))
    # z: patch from -22 to -1 mm, CT slices at -7, -4.5, -2 and further up
    assert (box[0].start, box[0].stop) == (0, 3)
    assert delta.shape == tuple(b.stop - b.start for b in box)


def test_outside_the_box_and_in_the_padding_nothing_changes():
    volume = ct()
    box = (slice(3, 7), slice(0, 14), slice(0, 9))
    delta = np.full((4, 14, 9), 40.0, np.float32)
    delta[0, 0] = 0.4  # less than one HU is no edit
    after, mask = apply_differences(volume, [(delta, box)])
    assert after.array.dtype == np.int16
    assert after.same_grid(volume)
    outside = np.ones(volume.shape, bool)
    outside[box] = False
    np.testing.assert_array_equal(after.array[outside], volume.array[outside])
    np.testing.assert_array_equal(after.array[..., :2], -1024)
    np.testing.assert_array_equal(after.array[3, 0], volume.array[3, 0])
    np.testing.assert_array_equal(after.array[4, :, 2:9], volume.array[4, :, 2:9] + 40)
    np.testing.assert_array_equal(mask, after.array != volume.array)
    assert mask.sum() == 4 * 14 * 7 - 7


def test_two_pieces_add_up_and_values_stay_storable():
    volume = ct()
    hu = volume.array.copy()
    hu[5, 5, 5], hu[5, 5, 6] = 3060, -1000
    volume = volume.with_array(hu)
    one = (np.full((1, 1, 3), 30.0, np.float32), (slice(5, 6), slice(5, 6), slice(4, 7)))
    two = (np.full((1, 1, 1), -70.0, np.float32), (slice(5, 6), slice(5, 6), slice(6, 7)))
    after, _ = apply_differences(volume, [one, two])
    assert after.array[5, 5, 4] == hu[5, 5, 4] + 30
    assert after.array[5, 5, 5] == 3071
    assert after.array[5, 5, 6] == -1024
    np.testing.assert_array_equal(volume.array, hu)  # the patient's own CT is left alone


def test_no_piece_no_change():
    volume = ct()
    after, mask = apply_differences(volume, [])
    np.testing.assert_array_equal(after.array, volume.array)
    assert not mask.any()
    assert box_mm(volume, mask) is None
    assert identity_of(volume, after, mask, []) == {
        "max_abs_change_outside_hu": 0, "changed_voxels": 0, "changed_ml": 0.0, "mean_abs_change_inside_hu": 0.0,
    }  # fmt: skip


def test_box_in_millimetres_by_hand():
    """Voxels z 2..4, y 5, x 7..9: borders half a voxel beyond the centres."""
    volume = ct()
    mask = np.zeros(volume.shape, bool)
    mask[2, 5, 7] = mask[4, 5, 9] = True
    lo, hi = box_mm(volume, mask)
    assert lo == pytest.approx((-7 + 1.5 * 2.5, 3 + 4.5 * 0.8, 20 + 6.5 * 1.2))
    assert hi == pytest.approx((-7 + 4.5 * 2.5, 3 + 5.5 * 0.8, 20 + 9.5 * 1.2))


def test_identity_by_hand():
    before = ct()
    hu = before.array.copy()
    box = (slice(2, 5), slice(2, 5), slice(3, 6))
    hu[3, 3, 3] += 50
    hu[3, 3, 4] -= 20
    hu[9, 9, 9] += 7  # a change that should not be there must be told
    after = before.with_array(hu)
    mask = np.zeros(before.shape, bool)
    mask[3, 3, 3:5] = True
    told = identity_of(before, after, mask, [(np.zeros((3, 3, 3)), box)])
    assert told["max_abs_change_outside_hu"] == 7
    assert told["changed_voxels"] == 2
    assert told["changed_ml"] == round(2 * 2.5 * 0.8 * 1.2 / 1000, 2)
    assert told["mean_abs_change_inside_hu"] == 35.0


class Answer:
    """A denoiser that always knows the same residual (W units)."""

    def __init__(self, residual: np.ndarray) -> None:
        self.residual = torch.from_numpy(residual.astype(np.float32))[None, None]
        self.seen: dict[str, torch.Tensor] = {}

    def __call__(self, x, sigma, source, mask, plain, text, op):
        self.seen = {"source": source, "mask": mask, "plain": plain, "op": op}
        return self.residual.expand_as(x)


def test_a_drawing_stays_in_its_support_and_in_the_patient():
    working = np.full((40, 50, 60), 40.0, np.float32)
    working[:, :, :20] = -1024.0  # outside the patient
    mask = np.ones((4, 5, 6), np.float32)
    layout = Layout("add", "node", mask, np.array([30, 20, 22]), 15.0, None)
    model = Answer(np.full((PATCH,) * 3, 0.6))
    out = draw(model, working, layout, torch.zeros(1, 4), seed=0, steps=6)
    # Middle of the mask: (31.5, 22, 24.5) -> (32, 22, 24), less half a patch.
    assert out.start.tolist() == [16, 6, 8]
    assert model.seen["op"].tolist() == [0]
    assert model.seen["plain"].max() == pytest.approx(0.05)  # tissue of 45 HU where 40 were
    draw(model, working, replace(layout, texture="solid"), torch.zeros(1, 4), seed=0, steps=2)
    assert model.seen["plain"].max() == pytest.approx(0.2)
    assert float(model.seen["mask"].sum()) == mask.sum()
    at = tuple(np.array([31, 22, 24]) - out.start)
    # The plain edit and what the model adds.
    assert out.delta[at] == pytest.approx(5.0 + 60.0, abs=4.0)
    assert np.abs(out.delta[out.support == 0]).max() == 0
    assert (out.support > 0).any()
    assert np.abs(out.delta[..., : 20 - 8]).max() == 0  # air beside the patient
    assert np.abs(out.delta[40 - 16 :]).max() == 0  # above the scan


def test_a_hum_is_no_edit():
    working = np.full((40, 40, 40), 40.0, np.float32)
    layout = Layout("remove", "node", np.ones((4, 4, 4), np.float32), np.array([18, 18, 18]), 12.0, None)
    out = draw(Answer(np.full((PATCH,) * 3, 0.03)), working, layout, torch.zeros(1, 4), seed=0, steps=6)
    assert not out.delta.any()


def layouts(n: int) -> list[Layout]:
    return [Layout("add", "node", np.full((2, 3, 4), k, np.float32), np.array([k, 0, 0]), 10.0, None) for k in range(n)]


@pytest.mark.parametrize(
    ("evidence", "made", "kept"),
    [
        ([0.7, 0.9, 0.2], 1, 0),  # the first shows it
        ([0.1, 0.6, 0.9], 2, 1),  # enough: the third is not drawn
        ([0.1, 0.3, 0.2], 3, 1),  # none shows it: the one that shows it best
        ([0.3, 0.3, 0.3], 3, 0),  # no better, so the first stays
    ],
)
def test_a_lesion_that_is_not_seen_is_drawn_anew(evidence, made, kept):
    asked = []

    def draw_one(layout: Layout, attempt: int) -> Drawn:
        asked.append((int(layout.start[0]), attempt))
        return drawn(start=(attempt, 0, 0))

    best, count = edit.draw_until_seen(layouts(3), draw_one, lambda one, _: evidence[int(one.start[0])], 0.5)
    assert count == made
    assert asked == [(k, k) for k in range(made)]
    assert best.start.tolist() == [kept, 0, 0]


def test_fewer_places_than_tries_are_enough():
    best, count = edit.draw_until_seen(layouts(1), lambda one, k: drawn(start=(7, 0, 0)), lambda *_: 0.0, 0.5)
    assert (count, best.start.tolist()) == (1, [7, 0, 0])


def test_a_patch_is_added_where_it_lies_and_cut_at_the_border():
    working = np.zeros((6, 7, 8), np.float32)
    piece = drawn(shape=(3, 4, 5), start=(4, -2, 5))
    edit.add_patch(working, piece)
    np.testing.assert_array_equal(working[4:6, 0:2, 5:8], piece.delta[:2, 2:, :3])
    assert (working != 0).sum() == 2 * 2 * 3
