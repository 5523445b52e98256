"""Structures can be told apart by their colours, also by red-green colour-blind readers."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import hnvlm.ui.viewer

DISPLAY = Path(hnvlm.ui.viewer.__file__).parent / "data" / "display.json"
# Machado, Oliveira, Fernandes 2009 (doi 10.1109/TVCG.2009.113), severity 1.0, on linear RGB.
EYES = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# Thin lines that lie apart need far more than the 2.3 that is just noticeable side by side (Mahy 1994).
APART = 16.0


def cielab(colour: str, eyes: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* (D65) of an sRGB colour ``#rrggbb`` as these eyes see it."""
    coded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    t = TO_XYZ @ np.clip(eyes @ linear, 0, 1) / TO_XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colours: dict[str, str], eyes: np.ndarray) -> tuple[float, tuple[str, str]]:
    """Smallest difference of two colours, and whose they are."""
    return min(
        (float(np.linalg.norm(cielab(colours[a], eyes) - cielab(colours[b], eyes))), (a, b))
        for a, b in combinations(colours, 2)
    )


def test_known_colours_have_their_coordinates() -> None:
    red = cielab("#ff0000", EYES["normal"])
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert cielab("#ffffff", EYES["normal"]) == pytest.approx([100, 0, 0], abs=0.01)


@pytest.mark.parametrize("eyes", list(EYES))
def test_any_two_structures_differ(eyes: str) -> None:
    colours = json.loads(DISPLAY.read_text(encoding="utf-8"))["structures"]["colours"]
    apart, whose = closest(colours, EYES[eyes])
    assert apart >= APART, (eyes, whose, apart)


def test_the_measure_finds_what_red_green_blindness_hides() -> None:
    """Two colours that were cord and left parotid once."""
    colours = {"a": "#00e5ff", "b": "#f0a6ff"}
    assert closest(colours, EYES["normal"])[0] > 50
    assert closest(colours, EYES["deuteranopia"])[0] < 3
