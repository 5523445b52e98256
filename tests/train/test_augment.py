"""Augmentation of the segmenter's crops: bounds and laws, on crops of three different sizes an axis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnvlm.train import augment

SHAPE = (20, 12, 16)


def test_a_nod_turns_the_neck_in_the_sagittal_plane(monkeypatch):
    monkeypatch.setattr(augment, "DEGREES", {"nod": 30.0, "turn": 0.0, "tilt": 0.0})
    rng = np.random.default_rng(3)
    for _ in range(5):
        matrix = augment.random_matrix(rng)
        left = matrix @ np.array([0.0, 0.0, 1.0])
        assert left[:2] == pytest.approx([0, 0]) and left[2] > 0
        up = matrix @ np.array([1.0, 0.0, 0.0])
        assert up[2] == pytest.approx(0) and abs(np.degrees(np.arctan2(up[1], up[0]))) <= 30


def test_rotations_keep_right_and_left(monkeypatch):
    """No draw mirrors a neck: the volume of the matrix is positive and within what zoom allows."""
    rng = np.random.default_rng(0)
    volumes = [np.linalg.det(augment.random_matrix(rng)) for _ in range(200)]
    assert min(volumes) >= (1 - augment.ZOOM - 0.05) ** 3 and max(volumes) <= (1 + augment.ZOOM + 0.05) ** 3
    assert np.std(volumes) > 0.1


def test_bending_is_bounded_in_voxels_of_each_axis():
    field = augment.bend(SHAPE, SHAPE, np.random.default_rng(1))
    assert tuple(field.shape) == (1, *SHAPE, 3)
    voxels = field[0] * (torch.tensor(SHAPE[::-1]) - 1) / 2
    largest = voxels.abs().amax((0, 1, 2))
    assert (largest <= augment.BEND + 1e-4).all() and (largest > 0.5 * augment.BEND).all()


def test_a_blur_keeps_the_level_and_spreads_a_point_by_its_sigma():
    assert augment.blurred(torch.full(SHAPE, 70.0), np.array([0.5, 0.8, 1.1])) == pytest.approx(70.0, abs=1e-3)
    point = torch.zeros(SHAPE)
    point[10, 6, 8] = 1.0
    out = augment.blurred(point, np.array([0.4, 0.7, 0.9])).numpy()
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    for axis, sigma in enumerate((0.4, 0.7, 0.9)):
        along = out.sum(tuple(a for a in range(3) if a != axis))
        k = np.arange(len(along)) - (10, 6, 8)[axis]
        weights = np.exp(-0.5 * (k / sigma) ** 2) * (abs(k) <= 2)
        assert along == pytest.approx(weights / weights.sum(), abs=1e-5)


def test_another_scanner_changes_level_and_contrast_within_bounds(monkeypatch):
    monkeypatch.setattr(augment, "NOISE_HU", 0.0)
    hu = torch.zeros(SHAPE)
    hu[:, :6] = 140.0
    seen = []
    for seed in range(40):
        out = augment.other_scanner(hu, np.random.default_rng(seed))
        low, high = float(out[:, 9:].mean()), float(out[:, :3].mean())
        seen.append((high - low) / 140.0)
        assert augment.CONTRAST[0] - 1e-3 <= seen[-1] <= augment.CONTRAST[1] + 1e-3
        tissue = low + 40.0 * seen[-1]
        assert 40 + augment.SHIFT_HU[0] - 0.1 <= tissue <= 40 + augment.SHIFT_HU[1] + 0.1
    assert np.std(seen) > 0.05


def test_noise_has_unit_spread_white_or_grainy():
    big = torch.zeros(40, 30, 35)
    neighbours = []
    for seed in range(12):
        n = augment.noise(big, np.random.default_rng(seed)).numpy()
        assert n.std() == pytest.approx(1.0, abs=0.05)
        neighbours.append(np.corrcoef(n[:, :, 1:].ravel(), n[:, :, :-1].ravel())[0, 1])
    assert min(neighbours) < 0.05 and max(neighbours) > 0.3


def test_a_cut_takes_at_most_a_fifth_and_leaves_the_rest_as_it_is(monkeypatch):
    hu = torch.full(SHAPE, 55.0)
    monkeypatch.setattr(augment, "CUT", 0.0)
    assert augment.partly_cut(hu, np.random.default_rng(0)) is hu
    monkeypatch.setattr(augment, "CUT", 1.0)
    for seed in range(10):
        out = augment.partly_cut(hu, np.random.default_rng(seed))
        gone = out == augment.AIR_HU
        assert ((out == 55.0) | gone).all()
        assert 0.02 < gone.float().mean() < 0.25
