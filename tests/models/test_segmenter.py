"""Parts of the segmenter that have no weights: components, targets, the way back to the CT's grid, uncertainty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hnvlm.imaging.volume import Volume
from hnvlm.models import segmenter as segmenter_module
from hnvlm.models.checkpoint import save_model
from hnvlm.models.segmenter import (
    LARGEST_WINDOW,
    OVERLAP,
    Segmenter,
    border_entropy,
    keep_largest,
    separate_targets,
    to_grid,
    to_working_grid,
    windows_of,
)
from hnvlm.models.unet import FoldedUNet
from hnvlm.train.segmenter import NESTED
from hnvlm.types import OAR_NAMES, TARGET_NAMES, Provenance


def parts() -> np.ndarray:
    """Three boxes of 24, 6 and 2 voxels above one half, and a sure border of 0.4 around nothing."""
    p = np.full((9, 10, 11), 0.1, np.float32)
    p[0:2, 0:3, 0:4] = 0.9
    p[5:7, 5:8, 0:1] = 0.8
    p[8, 9, 9:11] = 0.7
    return p


def test_an_organ_keeps_its_largest_part():
    p = keep_largest(parts(), several=False)
    assert (p > 0.5).sum() == 24
    assert (p[0:2, 0:3, 0:4] == np.float32(0.9)).all()
    assert p[5, 5, 0] == 0
    assert p[4, 4, 4] == np.float32(0.1)  # what is below one half is left as it is


def test_a_target_keeps_parts_of_a_tenth():
    p = keep_largest(parts(), several=True)
    assert (p > 0.5).sum() == 30  # 2 of 24 is less than a tenth
    assert p[8, 9, 10] == 0


def test_two_parts_of_equal_size_leave_one_organ():
    p = np.zeros((4, 4, 8), np.float32)
    p[1:3, 1:3, 0:2] = p[1:3, 1:3, 5:7] = 0.9
    assert (keep_largest(p, several=False) > 0.5).sum() == 8
    assert (keep_largest(p, several=True) > 0.5).sum() == 16


def test_nothing_or_one_part_is_left_alone():
    empty = np.full((2, 3, 4), 0.2, np.float32)
    assert keep_largest(empty, several=False) is empty


def test_a_cord_broken_by_a_cut_of_the_ct_keeps_both_parts_an_organ_one():
    """40 and 24 slices of cord with two missing between them; two parts of a parotid."""
    seen = np.zeros((2, 70, 12, 14), np.float32)
    seen[0, 2:42, 5:8, 6:9] = seen[0, 44:68, 5:8, 6:9] = 0.9
    seen[1, 10:20, 2:9, 1:5] = seen[1, 22:30, 2:9, 1:5] = 0.9
    segmenter = Segmenter.__new__(Segmenter)
    segmenter.config = {"channels": ["SpinalCord", "Parotid_R"], "grid_mm": 3.0, "nested": {}}
    segmenter.provenance = Provenance("segmenter", "1", "", seed=0)
    segmenter.probabilities = lambda working, progress: seen
    found = segmenter(Volume(np.zeros(seen.shape[1:], np.int16), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))).masks
    assert found["SpinalCord"].sum() == (40 + 24) * 9
    assert found["Parotid_R"].sum() == 10 * 7 * 4


def test_targets_do_not_overlap_any_more():
    """Nested as trained: 70 in 63 in 56. Afterwards each voxel has the highest level it was in."""
    x = np.arange(10) * np.ones((2, 3, 1))
    masks = {"PTV_7000": x < 3, "PTV_6300": x < 6, "PTV_5600": x < 9, "Larynx": x < 9}
    separate_targets(masks, {k: list(v) for k, v in NESTED.items()})
    assert masks["PTV_7000"][0, 0].tolist() == [True] * 3 + [False] * 7
    assert masks["PTV_6300"][0, 0].tolist() == [False] * 3 + [True] * 3 + [False] * 4
    assert masks["PTV_5600"][0, 0].tolist() == [False] * 6 + [True] * 3 + [False]
    assert masks["Larynx"].sum() == 54


def test_a_target_with_nothing_left_is_removed():
    x = np.arange(10) * np.ones((2, 3, 1))
    masks = {"PTV_7000": x < 5, "PTV_6300": x < 5, "PTV_5600": x < 8}
    separate_targets(masks, {k: list(v) for k, v in NESTED.items()})
    assert set(masks) == {"PTV_7000", "PTV_5600"}
    assert masks["PTV_5600"][0, 0].sum() == 3
    alone = {"PTV_5600": x < 8}
    separate_targets(alone, {k: list(v) for k, v in NESTED.items()})
    assert alone["PTV_5600"].sum() == 48


def blob(shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth probability of an off-centre ellipsoid."""
    z, y, x = np.indices(shape)
    r = np.sqrt(((z - 9.3) / 5.1) ** 2 + ((y - 7.6) / 4.2) ** 2 + ((x - 12.4) / 6.7) ** 2)
    return (1 / (1 + np.exp(6 * (r - 1)))).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "spacing", "origin"),
    [
        ((23, 50, 70), (2.5, 0.9, 1.1), (-11.0, 4.0, -30.0)),
        ((11, 30, 33), (5.0, 1.7, 2.3), (-13.2, 1.0, -29.0)),
        ((60, 19, 41), (1.0, 3.3, 1.9), (-8.0, 2.2, -27.7)),
    ],
)
def test_back_to_the_grid_of_the_ct(shape, spacing, origin):
    """The same as linear interpolation at every voxel's millimetres by another implementation."""
    working = Volume(np.zeros((20, 18, 26), np.float32), (3.0, 3.0, 3.0), (-12.0, 3.0, -31.0))
    p = blob(working.shape)
    ct = Volume(np.zeros(shape, np.int16), spacing, origin)
    got = to_grid(p, working, ct)
    index = np.stack(
        [
            (g * s + o - wo) / 3.0
            for g, s, o, wo in zip(np.indices(shape), spacing, origin, working.origin_mm, strict=True)
        ]
    )
    want = ndimage.map_coordinates(p.astype(float), index, order=1, mode="nearest")
    differs = got != (want > 0.5)
    assert np.abs(want[differs] - 0.5).max(initial=0) < 1e-4
    assert got.sum() > 50
    assert got.dtype == bool
    ml = got.sum() * ct.voxel_ml
    inside = np.all([(index[a] > 0) & (index[a] < working.shape[a] - 1) for a in range(3)], axis=0)
    if inside[got].all():  # the whole organ lies in the CT: its volume is the ellipsoid's
        assert ml == pytest.approx(4 / 3 * np.pi * 5.1 * 4.2 * 6.7 * 27 / 1000, rel=0.1)


def test_an_organ_outside_the_ct_gives_an_empty_mask():
    working = Volume(np.zeros((20, 18, 26), np.float32), (3.0,) * 3, (0.0, 0.0, 0.0))
    ct = Volume(np.zeros((4, 5, 6), np.int16), (2.0, 2.0, 2.0), (500.0, 0.0, 0.0))
    assert to_grid(np.zeros(working.shape, np.float32), working, ct).sum() == 0
    assert to_grid(blob(working.shape), working, ct).shape == (4, 5, 6)


def test_border_entropy_by_hand():
    """Two voxels of 0.5 (1 bit each) and one of 0.25 (0.8113 bit) over four voxels inside."""
    p = np.array([[[0.99, 0.98, 0.97, 0.96, 0.5, 0.5, 0.25, 0.01]]], np.float32)
    assert border_entropy(p) == pytest.approx((1 + 1 + 0.8113) / 4, abs=1e-4)
    assert border_entropy(np.array([[[0.99, 0.01]]])) == 0.0
    assert border_entropy(np.full((3, 3, 3), 0.4)) == 1.0  # unsure everywhere, inside nowhere: capped


def test_working_grid_is_isotropic_and_covers_the_same_extent():
    ct = Volume(np.full((12, 40, 50), 37, np.int16), (5.0, 1.5, 1.2), (7.0, -3.0, 2.0))
    working = to_working_grid(ct, 3.0)
    assert working.shape == (20, 20, 20)
    assert working.spacing_mm == pytest.approx((3.0, 3.0, 3.0))
    assert working.array.dtype == np.float32
    assert working.array == pytest.approx(37.0)
    # First border: 7 - 2.5 = 4.5, so the first centre is 4.5 + 1.5.
    assert working.origin_mm == pytest.approx((6.0, -3.0 - 0.75 + 1.5, 2.0 - 0.6 + 1.5))


def test_the_two_views_lie_a_voxel_apart_and_are_put_back(tmp_path):
    """A network that says of a voxel only what its HU says gives the same answer in both views."""
    names, shape = [*OAR_NAMES, *TARGET_NAMES], (16, 32, 48)
    config = {"name": "segmenter", "version": "t", "in_channels": 2, "channels": names, "widths": [8, 16]}
    save_model(tmp_path, FoldedUNet(2, len(names), (8, 16)), config)
    segmenter = Segmenter(tmp_path)
    seen = []

    class Voxelwise(torch.nn.Module):
        multiple = 4

        def forward(self, x):
            seen.append(x)
            return x[:, :1].expand(-1, len(names), -1, -1, -1)

    segmenter.network = Voxelwise()
    hu = np.random.default_rng(4).uniform(-100, 200, shape).astype(np.float32)
    p = segmenter.probabilities(Volume(hu, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)))
    np.testing.assert_allclose(p[3], 1 / (1 + np.exp(-(hu - 40) / 200)), atol=1e-5)
    own, mirrored = seen[0]
    torch.testing.assert_close(mirrored[:, 1:, 1:, 1:], own.flip(-1)[:, :-1, :-1, :-1])


def test_a_mirrored_patient_has_mirrored_contours_with_sides_swapped(tmp_path, monkeypatch):
    """What the network says of a neck and of its mirror image is averaged: without the shift the two agree exactly."""
    monkeypatch.setattr(segmenter_module, "VIEW_SHIFT", 0)
    names, crop = [*OAR_NAMES, *TARGET_NAMES], (16, 32, 48)
    torch.manual_seed(3)
    network = FoldedUNet(2, len(names), (8, 16))
    save_model(
        tmp_path,
        network,
        {"name": "segmenter", "version": "t", "in_channels": 2, "channels": names, "widths": [8, 16]},
    )
    segmenter = Segmenter(tmp_path)
    hu = np.random.default_rng(4).uniform(-200, 300, crop).astype(np.float32)
    here = segmenter.probabilities(Volume(hu, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)))
    there = segmenter.probabilities(Volume(hu[..., ::-1].copy(), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)))
    back = dict(zip(names, there[..., ::-1], strict=True))
    for name, probability in zip(names, here, strict=True):
        other = {"Parotid_R": "Parotid_L", "Parotid_L": "Parotid_R"}.get(name, name)
        np.testing.assert_allclose(probability, back[other], atol=1e-4)
    parotids = here[names.index("Parotid_R")] - here[names.index("Parotid_L")]
    assert np.abs(parotids).max() > 1e-3  # the untrained network does tell the two channels apart


def test_windows_fit_the_neck():
    assert windows_of((126, 91, 167), 16) == ((128, 96, 96), 2)  # two of 96 with a quarter shared reach 168
    assert windows_of((83, 74, 62), 16) == ((96, 80, 64), 1)
    assert windows_of((129, 113, 1), 4) == ((76, 68, 4), 4)


@given(st.tuples(*[st.integers(1, 400)] * 3), st.sampled_from([4, 16]))
def test_windows_cover_every_box(shape, multiple):
    size, count = windows_of(shape, multiple)
    here = 1
    for n, w, largest in zip(shape, size, LARGEST_WINDOW, strict=True):
        assert w % multiple == 0 and w <= max(largest, multiple)
        k = 1
        while w * (1 + (k - 1) * (1 - OVERLAP)) < n:
            k += 1
        here *= k
    assert here <= count
