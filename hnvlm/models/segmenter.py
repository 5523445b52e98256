"""Segmenter pipeline: CT on its own grid to structures on the same grid."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from scipy import ndimage
from torch import Tensor

from hnvlm.imaging.resample import box_slices, mask_box, resample_to
from hnvlm.imaging.volume import Volume
from hnvlm.models.checkpoint import load_weights, read_config, weights_sha256
from hnvlm.models.precision import mixed_precision
from hnvlm.models.unet import VIEW_SHIFT, FoldedUNet, ct_channels
from hnvlm.types import MIRRORED, TARGET_NAMES, Progress, Provenance, Segmentation, no_progress

# An organ smaller than this (mL) is a speck of the network, not an organ in the field of view.
SMALLEST_ML = {"Brainstem": 3.0, "SpinalCord": 1.5, "Parotid_R": 2.0, "Parotid_L": 2.0, "Esophagus": 0.5, "Larynx": 2.0,
               "Bone_Mandible": 8.0, "PTV_7000": 3.0, "PTV_6300": 3.0, "PTV_5600": 3.0}  # fmt: skip
# Tubes, which a network breaks where the CT is cut or blurred, and targets may have several parts.
IN_PARTS = ("SpinalCord", "Esophagus", *TARGET_NAMES)
AIR_HU = -1024.0
# Largest window (z, y, x) the network reads at once, and the share by which neighbours overlap.
LARGEST_WINDOW = (128, 112, 112)
OVERLAP = 0.25


def to_working_grid(volume: Volume, grid_mm: float) -> Volume:
    """CT (float32 HU) on the isotropic grid of the networks, smoothed first where it becomes coarser."""
    floating = volume.with_array(volume.array.astype(np.float32))
    return resample_to(floating, (grid_mm,) * 3, antialias=True)


class Segmenter:
    """Loads once, segments many.

    Args:
        folder: Model folder of the pack.
    """

    def __init__(self, folder: Path) -> None:
        self.config = read_config(folder)
        network = FoldedUNet(self.config["in_channels"], len(self.config["channels"]), self.config["widths"])
        self.network = load_weights(folder, network).to(memory_format=torch.channels_last_3d)
        self.provenance = Provenance("segmenter", self.config["version"], weights_sha256(folder), seed=0)

    def probabilities(self, working: Volume, progress: Progress = no_progress) -> np.ndarray:
        """Probability of each channel (C, z, y, x) float32 on the working grid."""
        box = mask_box(working.array > -500, margin=2)
        if box is None:
            return np.zeros((len(self.config["channels"]), *working.shape), np.float32)
        cut = box_slices(box)
        x = torch.from_numpy(np.ascontiguousarray(working.array[cut], np.float32))[None, None]
        windows, count = windows_of(x.shape[2:], self.network.multiple)
        done = [0]

        def predict(patch: Tensor) -> Tensor:
            done[0] += 1
            progress(min(0.95, done[0] / (count + 1)), "Contouring structures")
            return self._look_both_ways(patch[:, 0])

        with torch.inference_mode():
            p = sliding_window_inference(
                x, windows, 1, predict, overlap=OVERLAP, mode="gaussian", padding_mode="constant", cval=AIR_HU
            )
        out = np.zeros((p.shape[1], *working.shape), np.float32)
        out[(slice(None), *cut)] = p[0].numpy()
        return out

    def treated(self, crop: np.ndarray) -> np.ndarray:
        """Probability that a clinic would treat a voxel to the highest level (PTV_7000), of a crop of HU on the grid.

        Returns:
            float32 of the crop's shape (z, y, x).
        """
        side = float(self.config["grid_mm"])
        crop_on_grid = Volume(np.ascontiguousarray(crop, np.float32), (side,) * 3, (0.0,) * 3)
        return self.probabilities(crop_on_grid)[self.config["channels"].index(TARGET_NAMES[0])]

    def _look_both_ways(self, hu: Tensor) -> Tensor:
        """Mean probability (1, C, Z, Y, X) of a patch (1, Z, Y, X) and of its mirror image, in which sides swap.

        The mirror image lies a voxel off, so that the folds, too, differ between the two.
        """
        there, back = (VIEW_SHIFT,) * 3, (-VIEW_SHIFT,) * 3
        both = torch.cat([hu, hu.flip(-1).roll(there, (1, 2, 3))])
        with mixed_precision():
            logits = self.network(ct_channels(both).contiguous(memory_format=torch.channels_last_3d))
        own, mirrored = logits.float().sigmoid().split(1)
        mirrored = mirrored.roll(back, (2, 3, 4))
        names = self.config["channels"]
        return (own + mirrored[:, [names.index(MIRRORED.get(n, n)) for n in names]].flip(-1)) / 2

    def __call__(self, volume: Volume, *, progress: Progress = no_progress) -> Segmentation:
        """Contour ``volume`` (int16 HU on its own grid)."""
        started = time.perf_counter()
        progress(0.0, "Preparing the CT")
        working = to_working_grid(volume, self.config["grid_mm"])
        probability = self.probabilities(working, progress)
        masks: dict[str, np.ndarray] = {}
        uncertainty: dict[str, float] = {}
        thresholds = self.config.get("thresholds", {})
        for channel, name in enumerate(self.config["channels"]):
            p = about(probability[channel], thresholds.get(name, 0.5))
            p = keep_largest(p, several=name in IN_PARTS)
            if (p > 0.5).sum() * working.voxel_ml < SMALLEST_ML[name]:
                continue
            uncertainty[name] = border_entropy(p)
            masks[name] = to_grid(p, working, volume)
        separate_targets(masks, self.config["nested"])
        progress(1.0, "Structures contoured")
        return Segmentation(masks, uncertainty, self.provenance, time.perf_counter() - started)


def windows_of(shape: Sequence[int], multiple: int) -> tuple[tuple[int, int, int], int]:
    """Window (z, y, x) that covers a box of this shape with as little waste as possible, and how many of them it takes.

    Windows of one fixed size would read a neck that is a little wider than one of them twice over.
    """
    size, count = [], 1
    for n, largest in zip(shape, LARGEST_WINDOW, strict=True):
        k = 1
        while n > largest * (1 + (k - 1) * (1 - OVERLAP)):
            k += 1
        wanted = n / (1 + (k - 1) * (1 - OVERLAP))
        size.append(int(-(-wanted // multiple) * multiple))
        count *= k
    return tuple(size), count  # type: ignore[return-value]


def about(p: np.ndarray, threshold: float) -> np.ndarray:
    """Probability with its odds scaled so that ``threshold`` becomes one half."""
    if threshold == 0.5:
        return p
    yes, no = p * (1 - threshold), (1 - p) * threshold
    return yes / (yes + no)


def keep_largest(p: np.ndarray, *, several: bool) -> np.ndarray:
    """Zero all but the largest connected part above 0.5; with ``several`` also parts of at least a tenth of it."""
    labels, n = ndimage.label(p > 0.5)
    if n < 2:
        return p
    sizes = np.bincount(labels.ravel())[1:]
    keep = np.flatnonzero(sizes >= (0.1 * sizes.max() if several else sizes.max())) + 1
    if not several:
        keep = keep[:1]
    return np.where(np.isin(labels, keep) | (labels == 0), p, 0.0)


def border_entropy(p: np.ndarray) -> float:
    """Mean binary entropy (0..1) where the network was neither sure of yes nor of no."""
    q = p[(p > 0.05) & (p < 0.95)].astype(np.float64)
    if not q.size:
        return 0.0
    inside = max(1, int((p > 0.5).sum()))
    entropy = -(q * np.log2(q) + (1 - q) * np.log2(1 - q))
    return float(min(1.0, entropy.sum() / inside))


def to_grid(p: np.ndarray, working: Volume, volume: Volume) -> np.ndarray:
    """Bring a probability to the CT's own grid (linear) and cut it at one half; only its bounding box is resampled."""
    out = np.zeros(volume.shape, bool)
    box = mask_box(p > 0.5, margin=2)
    if box is None:
        return out
    lo_mm, hi_mm = working.index_to_mm(np.array(box[:3])), working.index_to_mm(np.array(box[3:]) - 1)
    lo = np.clip(np.floor(volume.mm_to_index(lo_mm)).astype(int), 0, np.array(volume.shape) - 1)
    hi = np.clip(np.ceil(volume.mm_to_index(hi_mm)).astype(int) + 1, 1, volume.shape)
    part = torch.from_numpy(p[box_slices(box)].copy())
    for axis in range(3):
        mm = np.arange(lo[axis], hi[axis]) * volume.spacing_mm[axis] + volume.origin_mm[axis]
        index = (mm - working.origin_mm[axis]) / working.spacing_mm[axis] - box[axis]
        index = np.clip(index, 0, part.shape[axis] - 1)
        below = np.minimum(np.floor(index).astype(int), part.shape[axis] - 1)
        above = np.minimum(below + 1, part.shape[axis] - 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        share = torch.from_numpy((index - below).astype(np.float32)).reshape(shape)
        part = (
            part.index_select(axis, torch.from_numpy(below)) * (1 - share)
            + part.index_select(axis, torch.from_numpy(above)) * share
        )
    out[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]] = (part > 0.5).numpy()
    return out


def separate_targets(masks: dict[str, np.ndarray], nested: dict[str, list[str]]) -> None:
    """Targets were trained nested; the clinic's do not overlap: take the higher levels out of the lower ones."""
    for name, parts in nested.items():
        if name not in masks:
            continue
        for part in parts:
            if part in masks:
                masks[name] &= ~masks[part]
        if not masks[name].any():
            del masks[name]
