"""Counterfactual edits: request, layout, appearance by diffusion, and the difference back on the patient's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from hnvlm.imaging.resample import resample_like
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import cut
from hnvlm.models.diffusion import OPS, PATCH, LesionDenoiser, edited_hu, plain_edit, sample_residual, support_of
from hnvlm.models.layout import Layout

# Changes that stay below this after smoothing are the network's hum, not an edit.
GATE_HU = 12.0
# How far an edited voxel of the CT's own grid may lie outside what was drawn around it: its own grain.
GRAIN_HU = 50.0
# Below this, less than any fat, a voxel of the working grid holds air.
AIR_BELOW_HU = -200.0
# Near air, from the first difference on what was drawn begins to be taken as it is, from the second it is: the CT's own
# detail there is the border of a lumen that has moved.
NEAR_AIR_HU = (20.0, 100.0)
# How often a difference on the CT's own grid is compared with what was drawn and mended.
REFINEMENTS = 3


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn layout on the working grid.

    Attributes:
        delta: float32 HU difference (PATCH^3). start: Its first voxel. support: Above 0 where it may differ.
        after: float32 HU that were drawn (PATCH^3).
    """

    delta: np.ndarray
    start: np.ndarray
    support: np.ndarray
    after: np.ndarray


def draw(
    model: LesionDenoiser,
    working: np.ndarray,
    layout: Layout,
    text: torch.Tensor,
    *,
    seed: int,
    steps: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Drawn:
    """Draw one layout into a CT on the working grid.

    Args:
        working: float32 HU (z, y, x) at 3 mm; not changed.
        text: Embedding (1, W) of the sentence that asks for it.
    """
    hit = np.argwhere(layout.mask > 0.2)
    centre = (hit.mean(0) if len(hit) else np.array(layout.mask.shape) / 2) + layout.start
    start = np.rint(centre).astype(int) - PATCH // 2
    source = cut(working, start, (PATCH,) * 3, -1024.0).astype(np.float32)
    mask = cut(layout.mask.astype(np.float32), start - layout.start, (PATCH,) * 3, 0.0)
    support = support_of(mask, layout.size_mm)
    plain = plain_edit(source, mask, layout.op, layout.texture, layout.size_mm)
    residual = sample_residual(
        model,
        torch.from_numpy(source)[None],
        torch.from_numpy(mask)[None],
        torch.from_numpy(plain)[None],
        text,
        torch.tensor([OPS.index(layout.op)]),
        support=torch.from_numpy(support)[None],
        seed=seed,
        steps=steps,
        on_step=on_step,
    )[0].numpy()
    residual = residual * support
    strong = ndimage.gaussian_filter(np.abs(residual) * 100.0, 0.8) > GATE_HU
    residual = np.where(strong, residual, 0.0)
    delta = edited_hu(source, residual) - source
    # Outside the scan nothing is drawn.
    inside = cut(np.ones(working.shape, np.uint8), start, (PATCH,) * 3, 0) > 0
    delta = np.where(inside & (source > -1010) | (np.abs(delta) < 1.0), delta, 0.0) * inside
    delta = delta.astype(np.float32)
    return Drawn(delta, start, support, source + delta)


def draw_until_seen(
    layouts: Iterable[Layout],
    draw_one: Callable[[Layout, int], Drawn],
    evidence_of: Callable[[Layout, Drawn], float],
    enough: float,
) -> tuple[Drawn, int]:
    """Draw one layout after the other until the result shows what was asked; the one that shows it best.

    What a drawing shows is what the CT encoder's own lesion network sees in it: it is neither the generator nor the
    judge that measures edits.

    Args:
        layouts: Places and shapes to try, in order.
        draw_one: Layout and number of the attempt (from 0) to a drawing.
        evidence_of: How clearly a drawing shows the lesion, 0..1.
        enough: Evidence from which no other is tried.

    Returns:
        The drawing and how many were made.
    """
    best: Drawn | None = None
    most, made = -1.0, 0
    for layout in layouts:
        drawn = draw_one(layout, made)
        made += 1
        seen = evidence_of(layout, drawn)
        if seen > most:
            best, most = drawn, seen
        if seen >= enough:
            break
    assert best is not None, "no layout to draw"
    return best, made


def add_patch(working: np.ndarray, drawn: Drawn) -> None:
    """Add a drawn difference to the working grid in place."""
    lo = np.maximum(drawn.start, 0)
    hi = np.minimum(drawn.start + np.array(drawn.delta.shape), working.shape)
    target = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    part = tuple(slice(a - s, b - s) for a, b, s in zip(lo, hi, drawn.start, strict=True))
    working[target] += drawn.delta[part]


def onto_grid(volume: Volume, working: Volume, drawn: Drawn) -> tuple[np.ndarray, tuple[slice, slice, slice]] | None:
    """Bring a difference from the working grid to the CT's own grid.

    Interpolating alone would flatten it: read back on the working grid, a lesion would have lost a tenth of its
    contrast. So what is missing when it is read back is added again, ``REFINEMENTS`` times.

    Returns:
        float32 HU difference and the box of the CT's grid it belongs to; None when it lies outside.
    """
    lo_mm = working.index_to_mm(drawn.start)
    hi_mm = working.index_to_mm(drawn.start + np.array(drawn.delta.shape) - 1)
    lo = np.maximum(np.ceil(volume.mm_to_index(lo_mm)).astype(int), 0)
    hi = np.minimum(np.floor(volume.mm_to_index(hi_mm)).astype(int) + 1, volume.shape)
    if np.any(hi <= lo):
        return None
    patch = Volume(drawn.delta, working.spacing_mm, tuple(lo_mm))
    own = Volume(np.ones(hi - lo, np.float32), volume.spacing_mm, tuple(volume.index_to_mm(lo)))
    may_differ = (drawn.support > 0) & (resample_like(own, patch).array > 0)
    delta = resample_like(patch, own).array
    for _ in range(REFINEMENTS):
        missing = drawn.delta - resample_like(own.with_array(delta), patch, antialias=True).array
        delta = delta + resample_like(patch.with_array(np.where(may_differ, missing, 0.0)), own).array
    box = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    before = volume.array[box].astype(np.float32)
    edited = _within_what_was_drawn(before, delta, patch, drawn.after, own)
    return edited - before, box  # type: ignore[return-value]


def _within_what_was_drawn(
    before: np.ndarray, delta: np.ndarray, patch: Volume, after: np.ndarray, own: Volume
) -> np.ndarray:
    """Edited HU on the CT's grid: near a lumen as it was drawn, and everywhere within what was drawn or was there.

    Where a lumen is filled the difference is a thousand HU, and a voxel of its wall gets a part of it from its
    neighbours: simply added, there is a rim as bright as bone.

    Args:
        before, delta: HU (z, y, x) on the grid of ``own`` and their difference.
        patch: The difference as drawn on the working grid. after: HU drawn there.
    """
    # A voxel of the CT may be wider than one of the working grid.
    reach = [1 + 2 * int(np.ceil(o / w)) for o, w in zip(own.spacing_mm, patch.spacing_mm, strict=True)]

    def on_own(array: np.ndarray) -> np.ndarray:
        return resample_like(patch.with_array(array.astype(np.float32)), own).array

    air = ndimage.maximum_filter(after - patch.array < AIR_BELOW_HU, reach)
    least, most = NEAR_AIR_HU
    as_drawn = on_own(air) * np.clip((np.abs(on_own(patch.array)) - least) / (most - least), 0.0, 1.0)
    edited = before + delta + as_drawn * (on_own(after) - before - delta)
    highest = on_own(ndimage.maximum_filter(after, reach)) + GRAIN_HU
    lowest = on_own(ndimage.minimum_filter(after, reach)) - GRAIN_HU
    return np.clip(edited, np.minimum(before, lowest), np.maximum(before, highest))


def apply_differences(
    volume: Volume, pieces: list[tuple[np.ndarray, tuple[slice, slice, slice]]]
) -> tuple[Volume, np.ndarray]:
    """Add differences to a CT; returns the edited CT (int16) and the mask of what changed."""
    edited = volume.array.astype(np.float32)
    touched = np.zeros(volume.shape, bool)
    for delta, box in pieces:
        before = volume.array[box]
        # Air around the patient is not tissue: padding stays padding.
        change = np.where((np.abs(delta) >= 1.0) & (before > -1020), delta, 0.0)
        edited[box] += change
        touched[box] |= change != 0
    out = volume.array.copy()
    out[touched] = np.clip(np.rint(edited[touched]), -1024, 3071).astype(out.dtype)
    return volume.with_array(out), touched & (out != volume.array)


def identity_of(
    before: Volume, after: Volume, mask: np.ndarray, pieces: list[tuple[np.ndarray, tuple[slice, slice, slice]]]
) -> dict[str, Any]:
    """What stayed the same: change outside the edit boxes, number of changed voxels, volume of the edit."""
    outside = np.ones(before.shape, bool)
    for _, box in pieces:
        outside[box] = False
    difference = after.array.astype(np.int32) - before.array
    return {
        "max_abs_change_outside_hu": int(np.abs(difference[outside]).max()) if outside.any() else 0,
        "changed_voxels": int(mask.sum()),
        "changed_ml": round(float(mask.sum()) * before.voxel_ml, 2),
        "mean_abs_change_inside_hu": round(float(np.abs(difference[mask]).mean()), 1) if mask.any() else 0.0,
    }


def box_mm(volume: Volume, mask: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """LPS box (z, y, x) in mm around what changed; None when nothing did."""
    if not mask.any():
        return None
    hit = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    lo = volume.index_to_mm(np.array([h[0] for h in hit]) - 0.5)
    hi = volume.index_to_mm(np.array([h[-1] for h in hit]) + 0.5)
    return tuple(float(v) for v in lo), tuple(float(v) for v in hi)  # type: ignore[return-value]
