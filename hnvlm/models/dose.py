"""Dose pipeline: structures (and CT) on the CT's own grid to the achievable dose on the same grid."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.imaging.anatomy import body_mask
from hnvlm.imaging.resample import box_slices, mask_box, resample_like, resample_to
from hnvlm.imaging.volume import Triple, Volume
from hnvlm.models.checkpoint import load_weights, read_config, weights_sha256
from hnvlm.models.dose_inputs import (
    CHANNELS,
    CT_CHANNELS,
    FLIPPED,
    HIGHEST_GY,
    OWN_PRESCRIPTIONS,
    DoseInputs,
    prepare,
    prescription_map,
    treated_targets,
)
from hnvlm.models.precision import computes_half, device_of, mixed_precision
from hnvlm.models.unet import FOLD, VIEW_SHIFT, ConvBlock, ct_channels, unfold
from hnvlm.types import OAR_NAMES, DosePrediction, Progress, Provenance, no_progress

IN_CHANNELS = len(CHANNELS) + CT_CHANNELS
AIR_HU = -1024.0
# Dose above this share of the highest prescription is not in the training plans.
MOST = 1.25
# What counts more than a voxel of other tissue where the nearest deliverable dose is looked for (found on training
# patients: it keeps the histograms of targets and organs).
TARGET_WEIGHT, ORGAN_WEIGHT = 4.0, 3.0
# The grid the network works on: a CT whose voxels are finer is averaged over whole blocks of them.
IN_PLANE_MM, SLICE_MM = 3.9, 2.75
THICKEST_SLICE_MM = 3.7
# Value of each channel where there is no patient: far from everything, not in the body.
OUTSIDE = tuple(-1.0 if name.startswith("distance") else 0.0 for name in CHANNELS)


class DoseNetwork(nn.Module):
    """A U-Net over a folded grid, made to be cheap where the voxels are many and deep where they are few.

    The stem reads each fold of 2x2x2 voxels by itself (3x3x3 over all channels would be half of the cost), and a level
    is mixed with the coarser one voxel by voxel before each block of the way up.

    Args:
        widths: Channels per level; level k works at ``2**(k+1)`` times the input spacing.
        blocks: Blocks per level on the way down.
    """

    def __init__(
        self, in_channels: int = IN_CHANNELS, widths: Sequence[int] = (32, 64, 128, 192),
        blocks: Sequence[int] = (1, 2, 2, 2),
    ) -> None:  # fmt: skip
        super().__init__()
        self.levels = len(widths)
        self.stem = nn.Conv3d(in_channels, widths[0], FOLD, stride=FOLD)
        self.down = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            first = ConvBlock(widths[max(0, level - 1)], width, stride=2 if level else 1)
            self.down.append(nn.Sequential(first, *(ConvBlock(width, width) for _ in range(count - 1))))
        rising = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.mix = nn.ModuleList(nn.Conv3d(fine + coarse, fine, 1) for fine, coarse in rising)
        self.up = nn.ModuleList(ConvBlock(fine, fine) for fine, _ in rising)
        self.head = nn.Conv3d(widths[0], FOLD**3, 1)

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return FOLD * 2 ** (self.levels - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Dose as a share of the highest prescription (B, Z, Y, X) of inputs (B, C, Z, Y, X)."""
        h = self.stem(x)
        skips = []
        for level in self.down:
            h = level(h)
            skips.append(h)
        for mix, block, skip in zip(self.mix, self.up, reversed(skips[:-1]), strict=True):
            h = F.interpolate(h, size=skip.shape[2:], mode="trilinear", align_corners=False)
            h = block(mix(torch.cat([h, skip], dim=1)))
        return unfold(self.head(h))[:, 0]


def network_input(
    channels: np.ndarray | Tensor, hu: np.ndarray | Tensor | None, multiple: int, offset: Sequence[int] = (0, 0, 0)
) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Pad one patient to sizes the network takes, where ``channels`` lie.

    Args:
        channels: (len(CHANNELS), z, y, x).
        hu: CT on the same grid, or None (its channels are 0 then).
        multiple: Sizes become multiples of this.
        offset: Voxels of padding in front (z, y, x).

    Returns:
        (1, IN_CHANNELS, Z, Y, X) float32 and where the patient lies in it.
    """
    channels = torch.as_tensor(channels)
    shape = channels.shape[1:]
    size = [-(-(n + o) // multiple) * multiple for n, o in zip(shape, offset, strict=True)]
    out = torch.zeros(IN_CHANNELS, *size, device=channels.device)
    for k, value in enumerate(OUTSIDE):
        if value:
            out[k] = value
    place = tuple(slice(int(o), int(o) + n) for o, n in zip(offset, shape, strict=True))
    out[(slice(0, len(CHANNELS)), *place)] = channels.float()
    if hu is not None:
        out[len(CHANNELS) :] = -1.0
        windows = ct_channels(torch.as_tensor(hu, device=out.device).float()[None])[0]
        out[(slice(len(CHANNELS), None), *place)] = windows
    return out[None], place  # type: ignore[return-value]


def flip_input(x: Tensor) -> Tensor:
    """The same patient mirrored left to right: (B, IN_CHANNELS, Z, Y, X)."""
    order = [*FLIPPED, *range(len(CHANNELS), IN_CHANNELS)]
    return x[:, order].flip(-1)


def both_views(x: Tensor, shift: int) -> Tensor:
    """A patient moved ``shift`` voxels towards the first, and its mirror image: (2, IN_CHANNELS, Z, Y, X).

    Args:
        x: (1, IN_CHANNELS, Z, Y, X) with at least ``shift`` voxels of padding in front along every axis.

    Returns:
        In the memory order and the precision in which the network computes, so that nothing is copied again.
    """
    kind = torch.bfloat16 if computes_half(x.device) else x.dtype
    x = x.to(kind, memory_format=torch.channels_last_3d)
    views = torch.empty((2, *x.shape[1:]), dtype=kind, device=x.device, memory_format=torch.channels_last_3d)
    views[0].copy_(x[0])
    if shift:
        views[0, :, :-shift, :-shift, :-shift] = x[0, :, shift:, shift:, shift:]
        # What the patient leaves behind at the far end is padding, as what lay in front.
        views[0, :, -shift:] = x[0, :, :shift]
        views[0, :, :, -shift:] = x[0, :, :, :shift]
        views[0, :, :, :, -shift:] = x[0, :, :, :, :shift]
    views[1] = flip_input(x)[0]
    return views


def predict(
    network: nn.Module, inputs: DoseInputs, hu: np.ndarray | None, *, flip: bool, deliverable: float, iterations: int
) -> np.ndarray:
    """Dose of one prepared patient, highest prescription 70 Gy.

    Args:
        hu: CT on the crop, or None.
        flip: Average with the mirrored patient's mirrored dose; the mirrored patient lies a voxel off, so that
            the folds, too, differ between the two views.
        deliverable: Share (0..1) of the nearest dose that nine fields can give; the rest is the network's own.
        iterations: Of the search for that dose.

    Returns:
        float32 Gy (z, y, x) on the crop, 0 outside the body.
    """
    shift = VIEW_SHIFT if flip else 0
    device = device_of(network)
    x, place = network_input(torch.from_numpy(inputs.channels).to(device), hu, network.multiple, (shift,) * 3)  # type: ignore[arg-type]
    # Both views in one batch: PyTorch takes a slower convolution for small batches of one.
    views = both_views(x, shift) if flip else x.contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode(), mixed_precision(device):
        share = network(views).float()
    if flip:
        back = tuple(slice(s.start - shift, s.stop - shift) for s in place)
        mean = (share[0][back] + share[1].flip(-1)[place]) / 2
    else:
        mean = share[0][place]
    gray = mean.cpu().numpy() * HIGHEST_GY
    body = inputs.body.array
    out = np.zeros(body.shape, np.float32)
    out[body] = np.clip(gray[body], 0.0, MOST * HIGHEST_GY)
    if deliverable > 0:
        out += deliverable * (deliverable_dose(inputs, out, iterations) - out)
    return out


def deliverable_dose(inputs: DoseInputs, dose: np.ndarray, iterations: int) -> np.ndarray:
    """Dose of nine fields nearest to ``dose`` (Gy, z, y, x on the crop), 0 outside the body."""
    body = inputs.body.array
    first = CHANNELS.index(f"distance_{OAR_NAMES[0]}")
    organ = (inputs.channels[first : first + len(OAR_NAMES)] >= 0).any(axis=0)
    weight = np.where(inputs.channels[0] > 0, TARGET_WEIGHT, np.where(organ, ORGAN_WEIGHT, 1.0))
    out = np.zeros(body.shape, np.float32)
    out[body] = inputs.fields.nearest_deliverable(dose[body], iterations, weight[body])
    return out


class DosePredictor:
    """Loads once, predicts many.

    Args:
        folder: Model folder of the pack.
    """

    def __init__(self, folder: Path) -> None:
        self.config = read_config(folder)
        network = DoseNetwork(IN_CHANNELS, self.config["widths"], self.config["blocks"])
        self.network = load_weights(folder, network).to(memory_format=torch.channels_last_3d)
        self.sha256 = weights_sha256(folder)

    @property
    def options(self) -> dict[str, Any]:
        """How a dose is made from the network's answer, as ``predict`` takes it."""
        return {k: self.config[k] for k in ("flip", "deliverable", "iterations")}

    def __call__(
        self, volume: Volume, masks: Mapping[str, np.ndarray], *, prescriptions: Mapping[str, float] | None = None,
        possible_dose: np.ndarray | None = None, use_ct: bool = True, progress: Progress = no_progress,
    ) -> DosePrediction:  # fmt: skip
        """Predict the dose of ``masks`` on ``volume``; see ``hnvlm.models.base.Models.dose``."""
        started = time.perf_counter()
        progress(0.0, "Preparing structures and fields")
        used = treated_targets(masks, prescriptions, volume.shape)
        highest = max(used.values())
        working = working_grid(volume)
        scaled = prescription_map({name: mask_to(masks[name], volume, working) for name in used}, used)
        organs = {n: mask_to(masks[n], volume, working) for n in OAR_NAMES if n in masks and np.any(masks[n])}
        hu = ct_to(volume, working)
        body = body_mask(hu) if possible_dose is None else mask_to(possible_dose, volume, working)
        inputs = prepare(working.with_array(scaled), organs, body | (scaled > 0) if possible_dose is None else body)
        progress(0.4, "Predicting the dose")
        cut = box_slices(inputs.window.box)
        dose = predict(self.network, inputs, hu[cut] if use_ct else None, **self.options) * (highest / HIGHEST_GY)
        progress(0.9, "Bringing the dose to the CT's grid")
        array = dose_to_ct(inputs.body.with_array(dose), inputs.body, volume)
        if possible_dose is not None:
            array[~possible_dose] = 0
        provenance = Provenance("dose", self.config["version"], self.sha256, seed=0, settings=dict(self.options))
        progress(1.0, "Dose predicted")
        return DosePrediction(
            volume.with_array(array), used, provenance, time.perf_counter() - started, use_ct,
            notes_of(used, organs),
        )  # fmt: skip


def notes_of(prescriptions: Mapping[str, float], organs: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """What a reader of the dose must know about how it was asked for."""
    notes = []
    missing = [name for name in OAR_NAMES if name not in organs]
    if missing:
        notes.append(f"not contoured, so not spared on purpose: {', '.join(missing)}")
    highest = max(prescriptions.values())
    trained = [HIGHEST_GY * g / max(OWN_PRESCRIPTIONS.values()) for g in OWN_PRESCRIPTIONS.values()]
    odd = [n for n, g in prescriptions.items() if min(abs(g * HIGHEST_GY / highest - t) for t in trained) > 1.5]
    if odd:
        notes.append(f"prescription ratio outside the training plans (70 : 63 : 56): {', '.join(odd)}")
    if abs(highest - HIGHEST_GY) > 0.5:
        notes.append(f"predicted for {HIGHEST_GY:g} Gy and scaled to {highest:g} Gy")
    return tuple(notes)


def working_grid(volume: Volume) -> Volume:
    """Grid of the network for a CT (its array is empty of meaning): blocks of whole CT voxels, thick slices divided."""
    factors = block_factors(volume.spacing_mm)
    shape = [max(1, n // f) for n, f in zip(volume.shape, factors, strict=True)]
    spacing = [s * f for s, f in zip(volume.spacing_mm, factors, strict=True)]
    origin = [o + s * (f - 1) / 2 for o, s, f in zip(volume.origin_mm, volume.spacing_mm, factors, strict=True)]
    grid = Volume(np.zeros(shape, bool), tuple(spacing), tuple(origin), volume.frame_of_reference_uid)
    if grid.spacing_mm[0] > THICKEST_SLICE_MM:
        grid = resample_to(grid, (SLICE_MM, *grid.spacing_mm[1:]), order=0)
    return grid


def block_factors(spacing_mm: Triple) -> tuple[int, int, int]:
    """How many CT voxels along (z, y, x) make one voxel of the network's grid."""
    wanted = (SLICE_MM, IN_PLANE_MM, IN_PLANE_MM)
    return tuple(max(1, round(w / s)) for w, s in zip(wanted, spacing_mm, strict=True))  # type: ignore[return-value]


def block_mean(volume: Volume) -> Volume:
    """Mean of each block of voxels (float32); what does not fill a block at the far end is left out."""
    factors = block_factors(volume.spacing_mm)
    array = volume.array
    for axis, f in enumerate(factors):
        if f > 1 and array.shape[axis] >= f:
            n = array.shape[axis] // f
            array = array[tuple(slice(0, n * f) if a == axis else slice(None) for a in range(3))]
            split = array.reshape(*array.shape[:axis], n, f, *array.shape[axis + 1 :])
            array = split.mean(axis=axis + 1, dtype=np.float32)
    spacing = [s * f for s, f in zip(volume.spacing_mm, factors, strict=True)]
    origin = [o + s * (f - 1) / 2 for o, s, f in zip(volume.origin_mm, volume.spacing_mm, factors, strict=True)]
    return Volume(array.astype(np.float32), tuple(spacing), tuple(origin), volume.frame_of_reference_uid)


def mask_to(mask: np.ndarray, volume: Volume, working: Volume) -> np.ndarray:
    """Mask on the CT's grid -> bool on the working grid: a voxel belongs to it when half of it does."""
    if working.same_grid(volume):
        return np.array(mask, bool)
    box = mask_box(np.asarray(mask, bool), margin=8)
    if box is None:
        return np.zeros(working.shape, bool)
    # Only the mask's own box is averaged; it starts where a block starts.
    low = [b // f * f for b, f in zip(box[:3], block_factors(volume.spacing_mm), strict=True)]
    part = np.asarray(mask[tuple(slice(a, b) for a, b in zip(low, box[3:], strict=True))], bool)
    origin = tuple(volume.index_to_mm(np.array(low)))
    blocks = block_mean(Volume(part, volume.spacing_mm, origin, volume.frame_of_reference_uid))
    return resample_like(blocks, working, fill=0.0).array >= 0.5


def ct_to(volume: Volume, working: Volume) -> np.ndarray:
    """CT -> float32 HU on the working grid."""
    return resample_like(block_mean(volume), working, fill=AIR_HU).array


def dose_to_ct(dose: Volume, body: Volume, volume: Volume) -> np.ndarray:
    """Dose on a crop of the working grid -> float32 Gy on the CT's grid, 0 outside the body.

    Near the skin only voxels of the body are averaged, so that the air beside it does not thin the dose.
    """
    if dose.same_grid(volume):
        return dose.array.copy()
    out = np.zeros(volume.shape, np.float32)
    half = np.array(dose.spacing_mm) / 2
    low = np.maximum(np.ceil(volume.mm_to_index(dose.index_to_mm(np.zeros(3)) - half)).astype(int), 0)
    high = np.minimum(
        np.floor(volume.mm_to_index(dose.index_to_mm(np.array(dose.shape) - 1) + half)).astype(int) + 1, volume.shape
    )
    if np.any(high <= low):
        return out
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = Volume(out[cut], volume.spacing_mm, tuple(volume.index_to_mm(low)), volume.frame_of_reference_uid)
    share = resample_like(body.with_array(body.array.astype(np.float32)), part).array
    gray = resample_like(dose, part).array
    out[cut] = np.where(share >= 0.5, gray / np.maximum(share, 0.5), 0.0)
    return out
