"""A measured figure beside its limit, with as many decimals as it takes to tell the two apart."""

from __future__ import annotations

_MOST = 3


def decimals(value: float, limit: float) -> int:
    """Return with how many decimals to print a value: one, or more where it would then read like its limit.

    45.04 Gy where 45 Gy are allowed is not 45.0.
    """
    return next((n for n in range(1, _MOST + 1) if f"{value:.{n}f}" != f"{limit:.{n}f}"), 1)


def value_text(value: float, limit: float) -> str:
    """Return the value to print beside its limit."""
    return f"{value:.{decimals(value, limit)}f}"


def margin_text(margin: float, value: float, limit: float) -> str:
    """Return the margin of a value with its sign, as exact as the value beside it."""
    return f"{margin:+.{decimals(value, limit)}f}"
