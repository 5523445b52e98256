"""Train the segmenter: organs at risk and planning targets from CT alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnvlm.models.checkpoint import save_model
from hnvlm.models.precision import mixed_precision
from hnvlm.models.unet import FoldedUNet, ct_channels
from hnvlm.train.data import BIT, CHANNELS, GRID_MM, CachedPatient, load_cached, training_folders
from hnvlm.train.loop import LoopOptions, begin, log, train_loop
from hnvlm.types import MIRRORED

# Smaller than what the trained network reads at once: the same time gives two to three times the steps.
CROP = (80, 64, 72)
# Voxels added to a structure's own where its cross-entropy is averaged, so that small organs count as much as large.
SMOOTH_VOXELS = 1000.0
# Few clinics contour these; their patients are drawn twice as often.
RARE = ("Esophagus", "Larynx")
WIDTHS = (32, 64, 128, 192)
# Planning targets are nested when trained: the 56 Gy channel holds every higher level too.
NESTED = {"PTV_6300": ("PTV_7000",), "PTV_5600": ("PTV_7000", "PTV_6300")}


def crop_grid(
    centre: np.ndarray, size: tuple[int, int, int], matrix: np.ndarray, shape: tuple[int, int, int]
) -> Tensor:
    """Sampling grid for ``grid_sample``: crop of ``size`` around ``centre`` (voxel index) under ``matrix``.

    Returns (1, Z, Y, X, 3) in grid_sample's (x, y, z) order, -1..1 over ``shape`` with align_corners=True.
    """
    axes = [np.arange(s) - (s - 1) / 2 for s in size]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ matrix.T
    index = offsets + centre
    scaled = 2.0 * index / (np.array(shape) - 1) - 1.0
    return torch.from_numpy(np.ascontiguousarray(scaled[..., ::-1])).float()[None]


def random_matrix(rng: np.random.Generator, degrees: float = 10.0, zoom: float = 0.15) -> np.ndarray:
    """Small random rotation and zoom, output offsets -> source offsets (z, y, x)."""
    a, b, c = np.deg2rad(rng.uniform(-degrees, degrees, 3))
    rz = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rx = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    scale = np.diag(1.0 + rng.uniform(-zoom, zoom) + rng.uniform(-0.05, 0.05, 3))
    return rz @ ry @ rx @ scale


def sample_crop(patient: CachedPatient, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One augmented crop: HU (Z, Y, X), targets (C, Z, Y, X) bool as float, known (C,)."""
    shape = patient.ct.shape
    anchor = np.argwhere(patient.labels & 0b1111111)
    if len(anchor) and rng.random() < 0.85:
        lo, hi = anchor.min(0), anchor.max(0)
        centre = np.array([rng.uniform(lo[0], hi[0]), *((lo + hi) / 2)[1:]]) + np.append(0, rng.uniform(-10, 10, 2))
    else:
        centre = rng.uniform(0, 1, 3) * shape
    grid = crop_grid(centre, CROP, random_matrix(rng), shape)
    # +1024 so that zero padding outside the volume means air.
    hu = (
        F.grid_sample(torch.from_numpy(patient.ct)[None, None].float() + 1024.0, grid, align_corners=True)[0, 0]
        - 1024.0
    )
    packed = F.grid_sample(
        torch.from_numpy(patient.labels.astype(np.float32))[None, None], grid, mode="nearest", align_corners=True
    )
    packed = packed[0, 0].to(torch.int32)
    targets = torch.stack([(packed >> BIT[name]) & 1 for name in CHANNELS]).float()
    for name, parts in NESTED.items():
        for part in parts:
            targets[BIT[name]] = torch.maximum(targets[BIT[name]], targets[BIT[part]])
    known = torch.from_numpy(patient.known)
    if rng.random() < 0.5:
        swap = [BIT[MIRRORED.get(name, name)] for name in CHANNELS]
        hu, targets, known = hu.flip(2), targets[swap].flip(3), known[swap]
    hu = hu * float(rng.uniform(0.95, 1.05)) + float(rng.uniform(-15, 40))
    hu = hu + torch.from_numpy(rng.standard_normal(CROP, dtype=np.float32)) * float(rng.uniform(0, 15))
    return hu, targets, known


def segmentation_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy + soft Dice over the channels the clinic contoured.

    The cross-entropy of a structure is divided by its size: as a mean over the crop, that of the esophagus was so small
    that the network never drew one.

    Args:
        logits, targets: (B, C, Z, Y, X); known: (B, C) bool.
    """
    weight = known.float()
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=(2, 3, 4))
    bce = bce / (targets.sum(dim=(2, 3, 4)) + SMOOTH_VOXELS)
    p = logits.sigmoid()
    overlap = (p * targets).sum(dim=(2, 3, 4))
    total = p.sum(dim=(2, 3, 4)) + targets.sum(dim=(2, 3, 4))
    dice = 1.0 - (2 * overlap + 10.0) / (total + 10.0)
    return ((bce + dice) * weight).sum() / weight.sum().clamp(min=1)


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 4000, batch: int = 1, threads: int = 2,
    from_pack: bool = False, learning_rate: float = 1e-3,
) -> dict[str, Any]:  # fmt: skip
    """Train on ``data`` (never on a folder named validation) and write the model folder ``out``.

    ``from_pack`` begins with the weights that lie in ``out``.

    Returns:
        ``checkpoint`` (path of the model folder) and ``metrics`` of the last training minutes.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    patients = [load_cached(f, work / "cache") for f in training_folders(data)]
    log(f"segmenter: {len(patients)} patients, {steps} steps")
    network, before = begin(FoldedUNet(2, len(CHANNELS), WIDTHS), out, from_pack)
    network = network.to(memory_format=torch.channels_last_3d)

    often = np.array([1.0 + any(p.known[BIT[name]] for name in RARE) for p in patients])
    often /= often.sum()

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([1, before + step])
        samples = [sample_crop(patients[int(rng.choice(len(patients), p=often))], rng) for _ in range(batch)]
        hu, targets, known = (torch.stack(t) for t in zip(*samples, strict=True))
        with mixed_precision():
            logits = network(ct_channels(hu).contiguous(memory_format=torch.channels_last_3d))
        return segmentation_loss(logits.float(), targets, known), {}

    checkpoint = work / "segmenter.pt"
    trained = train_loop(
        network, loss_of_step, LoopOptions(steps=steps, learning_rate=learning_rate), checkpoint, resume=resume
    )
    config = {
        "name": "segmenter", "version": "1", "architecture": "FoldedUNet", "widths": list(WIDTHS), "in_channels": 2,
        "channels": list(CHANNELS), "nested": {k: list(v) for k, v in NESTED.items()}, "grid_mm": GRID_MM,
        "crop": list(CROP), "train_patients": len(patients), "steps": before + steps, "batch": batch,
    }  # fmt: skip
    save_model(out, trained, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(patients), "steps": steps}}
