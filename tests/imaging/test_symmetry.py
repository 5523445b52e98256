"""Halves and mirror images, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hnvlm.imaging.symmetry import from_half, share_of_lesser_half


def test_a_neck_of_one_half_is_that_half_and_its_mirror_image():
    array = np.arange(2 * 3 * 6).reshape(2, 3, 6)
    low, high = from_half(array, low=True), from_half(array, low=False)
    assert low[0, 0].tolist() == [0, 1, 2, 2, 1, 0] and high[0, 0].tolist() == [5, 4, 3, 3, 4, 5]
    assert low.shape == array.shape and low.dtype == array.dtype
    for made in (low, high):
        assert (made == made[..., ::-1]).all()
        assert (from_half(made, low=True) == made).all()


def test_an_odd_array_has_no_halves():
    with pytest.raises(ValueError, match="5 voxels"):
        from_half(np.zeros((2, 4, 5)), low=True)


def test_the_lesser_half_is_told_with_its_share():
    mask = np.zeros((2, 3, 8), bool)
    assert share_of_lesser_half(mask) == (0.0, True)
    mask[0, 0, 5:8] = mask[0, 1, 0] = True  # three high, one low
    assert share_of_lesser_half(mask) == (0.25, True)
    assert share_of_lesser_half(mask[..., ::-1]) == (0.25, False)
