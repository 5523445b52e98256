"""Necks made of one half and its mirror image.

Everybody in the public data is treated for cancer, so a neck without disease is not among them; but of many patients
one half holds none of it. That half and its mirror image are the nearest thing to a healthy neck.
"""

from __future__ import annotations

import numpy as np


def from_half(array: np.ndarray, *, low: bool) -> np.ndarray:
    """One half of an array along x, its last axis, and its mirror image: same shape and type.

    Args:
        array: (..., X) with an even X, its middle where left and right meet.
        low: Keep the half of lower x, which is the patient's right.

    Raises:
        ValueError: X is odd.
    """
    if array.shape[-1] % 2:
        raise ValueError(f"An array of {array.shape[-1]} voxels along x has no two halves.")
    middle = array.shape[-1] // 2
    half = array[..., :middle] if low else array[..., middle:]
    return np.concatenate([half, half[..., ::-1]] if low else [half[..., ::-1], half], axis=-1)


def share_of_lesser_half(mask: np.ndarray) -> tuple[float, bool]:
    """How much of a mask (..., X) lies in the half that holds less of it, and whether that is the half of lower x.

    Of an empty mask: 0.
    """
    middle = mask.shape[-1] // 2
    low, high = int(np.count_nonzero(mask[..., :middle])), int(np.count_nonzero(mask[..., middle:]))
    return min(low, high) / max(low + high, 1), low <= high
