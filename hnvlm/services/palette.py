"""Colours of structures, the same in the viewer, the histogram and the documents."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from typing import Any

_GREY = "#c8c8c8"
# How ``analysis.load_masks`` names the clinic's structures beside the models'.
UPLOADED_PREFIX = "uploaded: "
# Lightness (0..1) above which a line can hardly be seen on white paper.
_PAPER_LIGHTNESS = 0.42


def structure_colours(names: Iterable[str], palette: Mapping[str, Any] | None) -> dict[str, str]:
    """Return name -> "#rrggbb".

    A name without a colour of its own gets one by its place among such names in alphabetical order, so that a list with
    more or fewer of the known structures gives it the same. An uploaded structure has the colour that it has elsewhere
    without that word; beside the model's of the same name it is paler, so that the two outlines can be told apart.

    Args:
        palette: ``structures`` name -> colour, ``fallback`` list of colours; grey without.
    """
    palette = palette or {}
    own, fallback = palette.get("structures", {}), palette.get("fallback") or [_GREY]
    plain = {name: name.removeprefix(UPLOADED_PREFIX) for name in names}
    others = {name: n for n, name in enumerate(sorted(set(plain.values()) - set(own)))}
    colours = {name: own[name] if name in own else fallback[others[name] % len(fallback)] for name in plain.values()}
    return {n: _paler(colours[p]) if p != n and p in plain else colours[p] for n, p in plain.items()}


def _paler(colour: str) -> str:
    """Half-way to white."""
    return "#" + "".join(f"{(int(colour[k : k + 2], 16) + 255) // 2:02x}" for k in (1, 3, 5))


def on_paper(colour: str) -> str:
    """Return a colour of the dark screen as it can be seen on white: the same hue, no lighter than mid-tone."""
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    dark = colorsys.hls_to_rgb(hue, min(lightness, _PAPER_LIGHTNESS), saturation)
    return "#" + "".join(f"{round(255 * v):02x}" for v in dark)
