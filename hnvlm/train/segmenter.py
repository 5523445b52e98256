"""Train the segmenter: organs at risk and planning targets from CT alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import drawn_by_model
from hnvlm.evaluate.segmentation import dice
from hnvlm.imaging.volume import Volume
from hnvlm.models.checkpoint import read_config, save_model
from hnvlm.models.precision import mixed_precision
from hnvlm.models.segmenter import Segmenter
from hnvlm.models.unet import FoldedUNet, ct_channels
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.aside import set_aside
from hnvlm.train.augment import bend, other_scanner, partly_cut, random_matrix
from hnvlm.train.data import BIT, CHANNELS, GRID_MM, NAMED, CachedPatient, load_cached, training_folders
from hnvlm.train.habits import WITHOUT, WithHabits
from hnvlm.train.loop import LoopOptions, begin, length, log, train_loop
from hnvlm.types import MIRRORED, TARGET_NAMES

# Smaller than what the trained network reads at once: the same time gives two to three times the steps.
CROP = (80, 64, 72)
# Crops of a training on a GPU, which has the time.
CROP_ON_GPU = (96, 80, 96)
# Voxels added to a structure's own where its cross-entropy is averaged, so that small organs count as much as large.
SMOOTH_VOXELS = 1000.0
# Few clinics contour these; their patients are drawn twice as often.
RARE = ("Esophagus", "Larynx")
WIDTHS = (32, 64, 128, 192)
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
# A contour of these stops where the clinic stopped, not where the organ does: what lies below it (and a little above,
# where clinics differ) is unknown. Marked in the packed labels above the channels' own bits.
TUBES = ("SpinalCord", "Esophagus")
BEYOND_BIT = {name: len(CHANNELS) + i for i, name in enumerate(TUBES)}
ABOVE_VOXELS = 5
# Weight of a target in the loss: what was treated can only be guessed from a CT and should not crowd out the organs.
TARGET_WEIGHT = 0.5
# Logit that costs nothing where the target is 0.
SURELY_NOT = -20.0
# Planning targets are nested when trained: the 56 Gy channel holds every higher level too.
NESTED = {"PTV_6300": ("PTV_7000",), "PTV_5600": ("PTV_7000", "PTV_6300")}


def crop_grid(
    centre: np.ndarray, size: tuple[int, int, int], matrix: np.ndarray, shape: tuple[int, int, int],
    device: torch.device | str = "cpu",
) -> Tensor:  # fmt: skip
    """Sampling grid for ``grid_sample``: crop of ``size`` around ``centre`` (voxel index) under ``matrix``.

    Returns (1, Z, Y, X, 3) in grid_sample's (x, y, z) order, -1..1 over ``shape`` with align_corners=True.
    """
    axes = [torch.arange(s, device=device) - (s - 1) / 2 for s in size]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    # index = matrix @ offset + centre, scaled = 2 * index / (shape - 1) - 1, axes turned round to x, y, z
    scale = 2.0 / (np.array(shape) - 1)
    turned = torch.as_tensor((matrix * scale[:, None])[::-1].T.copy(), dtype=torch.float32, device=device)
    first = torch.as_tensor((centre * scale - 1.0)[::-1].copy(), dtype=torch.float32, device=device)
    return (offsets @ turned + first)[None]


@dataclass(frozen=True)
class Loaded:
    """A patient where the network trains.

    Attributes:
        ct: int16 HU (z, y, x). labels: int16 (z, y, x), one bit a channel, and ``BEYOND_BIT`` where a tube is unknown.
        known: Weight per channel, 0 where the clinic did not contour it.
        box: First and last voxel (z, y, x) of the organs, or None.
    """

    ct: Tensor
    labels: Tensor
    known: Tensor
    box: tuple[np.ndarray, np.ndarray] | None


def loaded(patient: CachedPatient, device: torch.device | str = "cpu") -> Loaded:
    """Bring a patient to the device."""
    organs = np.argwhere(patient.labels & 0b1111111)
    box = (organs.min(0), organs.max(0)) if len(organs) else None
    arrays = patient.ct, with_ends(patient.labels), patient.known.astype(np.float32)
    return Loaded(*(torch.from_numpy(a).to(device) for a in arrays), box)


def by_the_clinic(folder: Path, cache: Path) -> CachedPatient:
    """A patient without the contours that a model drew: those count as not contoured."""
    patient = load_cached(folder, cache)
    drawn = drawn_by_model(folder)
    if not drawn:
        return patient
    log(f"segmenter: {folder.name}: not learned from, as a model drew them: {', '.join(sorted(drawn))}")
    if drawn & set(TARGET_NAMES):
        drawn |= set(TARGET_NAMES)  # of the levels without a contour nobody but the model said anything
    known, labels = patient.known.copy(), patient.labels.copy()
    for name in drawn:
        known[BIT[name]] = False
        labels &= ~labels.dtype.type(1 << BIT[name])
    return replace(patient, known=known, labels=labels)


def taught(folders: list[Path], cache: Path, device: torch.device) -> list[Loaded]:
    """The patients that teach something, on the device.

    Raises:
        InputRefusedError: Nobody has a contour of the clinic: the weights would only decay.
    """
    found = {f: loaded(by_the_clinic(f, cache), device) for f in folders}
    without = [f.name for f, patient in found.items() if not patient.known.any()]
    if len(without) == len(found):
        raise InputRefusedError(
            f"None of the {len(found)} patients has a contour that the clinic drew ({', '.join(CHANNELS)}), so there "
            "is nothing to learn contours from. hnvlm import-case --structures takes them from an RTSTRUCT or SEG."
        )
    if without:
        more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
        log(f"segmenter: left out, as the clinic contoured nothing: {', '.join(without[:NAMED])}{more}")
    return [patient for patient in found.values() if patient.known.any()]


def with_ends(labels: np.ndarray) -> np.ndarray:
    """Packed labels (int16) with the bit ``BEYOND_BIT`` of each tube below its contour and just above it."""
    out = labels.astype(np.int16)
    for name, bit in BEYOND_BIT.items():
        slices = np.flatnonzero(((labels >> BIT[name]) & 1).any((1, 2)))
        if slices.size:
            out[: slices[0]] |= 1 << bit
            out[slices[-1] + 1 : slices[-1] + 1 + ABOVE_VOXELS] |= 1 << bit
    return out


def sample_crop(
    patient: Loaded, rng: np.random.Generator, crop: tuple[int, int, int] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One augmented crop (default size ``CROP``).

    Returns:
        HU (Z, Y, X), targets (C, Z, Y, X) 0 or 1, weight per channel (C,), and bool (C, Z, Y, X) where nobody knows.
    """
    crop = CROP if crop is None else crop
    shape, device = tuple(patient.ct.shape), patient.ct.device
    if patient.box is not None and rng.random() < 0.85:
        lo, hi = patient.box
        centre = np.array([rng.uniform(lo[0], hi[0]), *((lo + hi) / 2)[1:]]) + np.append(0, rng.uniform(-10, 10, 2))
    else:
        centre = rng.uniform(0, 1, 3) * shape
    grid = crop_grid(centre, crop, random_matrix(rng), shape, device) + bend(crop, shape, rng, device)
    # +1024 so that zero padding outside the volume means air.
    hu = F.grid_sample(patient.ct[None, None].float() + 1024.0, grid, align_corners=True)[0, 0] - 1024.0
    packed = F.grid_sample(patient.labels[None, None].float(), grid, mode="nearest", align_corners=True)
    packed = packed[0, 0].to(torch.int32)
    targets = torch.stack([(packed >> BIT[name]) & 1 for name in CHANNELS]).float()
    beyond = torch.zeros_like(targets, dtype=torch.bool)
    for name, bit in BEYOND_BIT.items():
        # Where the brainstem is, the cord is not.
        beyond[BIT[name]] = ((packed >> bit) & 1).bool() & (targets[BIT["Brainstem"]] == 0)
    for name, parts in NESTED.items():
        for part in parts:
            targets[BIT[name]] = torch.maximum(targets[BIT[name]], targets[BIT[part]])
    known = patient.known
    if rng.random() < 0.5:
        swap = [BIT[MIRRORED.get(name, name)] for name in CHANNELS]
        hu, targets, known = hu.flip(2), targets[swap].flip(3), known[swap]
        beyond = beyond[swap].flip(3)
    return partly_cut(other_scanner(hu, rng), rng), targets, known, beyond


def segmentation_loss(logits: Tensor, targets: Tensor, known: Tensor, beyond: Tensor | None = None) -> Tensor:
    """Cross-entropy + soft Dice over the channels the clinic contoured.

    The cross-entropy of a structure is divided by its size: as a mean over the crop, that of the esophagus was so small
    that the network never drew one.

    Args:
        logits, targets: (B, C, Z, Y, X); known: (B, C) weight, 0 where not contoured; beyond: (B, C, Z, Y, X) bool,
            where an answer is neither right nor wrong.
    """
    if beyond is not None:
        logits = logits.masked_fill(beyond, SURELY_NOT)
    weight = known.float()
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=(2, 3, 4))
    bce = bce / (targets.sum(dim=(2, 3, 4)) + SMOOTH_VOXELS)
    p = logits.sigmoid()
    overlap = (p * targets).sum(dim=(2, 3, 4))
    total = p.sum(dim=(2, 3, 4)) + targets.sum(dim=(2, 3, 4))
    dice = 1.0 - (2 * overlap + 10.0) / (total + 10.0)
    return ((bce + dice) * weight).sum() / weight.sum().clamp(min=1)


def best_thresholds(segmenter: Segmenter, patients: list[CachedPatient]) -> dict[str, float]:
    """Probability from which a voxel belongs to each structure: that of the highest mean Dice in these patients."""
    scores: dict[str, list[list[float]]] = {name: [] for name in CHANNELS}
    for patient in patients:
        ct = patient.ct.astype(np.float32)
        probability = segmenter.probabilities(Volume(ct, (GRID_MM,) * 3, patient.origin_mm))
        for name, bit in BIT.items():
            truth = np.any([(patient.labels >> BIT[n]) & 1 for n in (name, *NESTED.get(name, ()))], axis=0)
            if not truth.any():
                continue
            p = probability[bit]
            if name in TUBES:
                slices = np.flatnonzero(truth.any((1, 2)))
                p, truth = p[slices[0] : slices[-1] + 1], truth[slices[0] : slices[-1] + 1]
            scores[name].append([dice(p > t, truth) for t in THRESHOLDS])
    return {name: THRESHOLDS[int(np.argmax(np.mean(rows, axis=0)))] for name, rows in scores.items() if rows}


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 4000, batch: int = 1, threads: int = 2,
    from_pack: bool = False, learning_rate: float = 1e-3, device: str = AUTO, minutes: float = 0.0, hold_out: int = 8,
) -> dict[str, Any]:  # fmt: skip
    """Train on ``data`` (never on a folder named validation) and write the model folder ``out``.

    ``from_pack`` begins with the weights that lie in ``out``. ``hold_out`` training patients (at most a tenth) are not
    trained on: on them the probability is chosen from which a voxel belongs to a structure.

    Returns:
        ``checkpoint`` (path of the model folder) and ``metrics`` of the last training minutes.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    where = training_device(device)
    crop = CROP if where.type == "cpu" else CROP_ON_GPU
    folders = training_folders(data)
    held = set_aside(folders, min(hold_out, len(folders) // 10), out if from_pack else None)
    patients = taught([f for f in folders if f not in held], work / "cache", where)
    log(f"segmenter: {len(patients)} patients, {length(steps, minutes)}")
    network, before = begin(FoldedUNet(2, len(CHANNELS), WIDTHS), out, from_pack)
    # Those of structures that nobody kept aside has stay the pack's.
    thresholds = dict(read_config(out).get("thresholds", {})) if from_pack else {}
    learner = WithHabits(network, len(patients)).to(where, memory_format=torch.channels_last_3d)

    weights = torch.tensor([TARGET_WEIGHT if name in TARGET_NAMES else 1.0 for name in CHANNELS], device=where)
    often = np.array([1.0 + any(bool(p.known[BIT[name]]) for name in RARE) for p in patients])
    often /= often.sum()

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([1, before + step])
        drawn = [int(rng.choice(len(patients), p=often)) for _ in range(batch)]
        samples = [sample_crop(patients[i], rng, crop) for i in drawn]
        told = torch.tensor(rng.random((batch, 1)) > WITHOUT, dtype=torch.float32, device=where)
        who = torch.tensor(drawn, device=where)
        hu, targets, known, beyond = (torch.stack(t) for t in zip(*samples, strict=True))
        with mixed_precision(where):
            x = ct_channels(hu).contiguous(memory_format=torch.channels_last_3d)
            logits = learner(x, who, told)
        return segmentation_loss(logits.float(), targets, known * weights, beyond) + learner.penalty(who), {}

    options = LoopOptions(steps=steps, learning_rate=learning_rate, minutes=minutes, fast=("habit",))
    trained = train_loop(learner, loss_of_step, options, work / "segmenter.pt", resume=resume).plain
    config = {
        "name": "segmenter", "version": "1", "architecture": "FoldedUNet", "widths": list(WIDTHS), "in_channels": 2,
        "channels": list(CHANNELS), "nested": {k: list(v) for k, v in NESTED.items()}, "grid_mm": GRID_MM,
        "crop": list(crop), "train_patients": len(patients), "steps": before + options.taken, "batch": batch,
        "held_out": [f.name for f in held], "thresholds": thresholds,
    }  # fmt: skip
    save_model(out, trained, config)
    if held:
        config["thresholds"] |= best_thresholds(Segmenter(out), [by_the_clinic(f, work / "cache") for f in held])
        log(f"thresholds {config['thresholds']}, of {len(held)} patient(s) kept aside")
        save_model(out, trained, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(patients), "steps": options.taken}}
