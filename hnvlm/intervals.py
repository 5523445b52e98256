"""The interval of a share that every layer tells in the same way."""

from __future__ import annotations

import math

Z_95 = 1.96


def wilson(p: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval (1927) of a share ``p`` of ``n`` independent yes/no values."""
    scale = 1 + Z_95**2 / n
    centre = (p + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n * n)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
