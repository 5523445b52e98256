"""Train the dose network: the delivered plans' dose from structures, field geometry and (mostly) the CT."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import drawn_by_model, patient_folders
from hnvlm.evaluate.dose_scores import DoseCase, dose_score, dvh_errors, dvh_score, read_dose_case
from hnvlm.evaluate.dose_trees import inputs_crop, inputs_of
from hnvlm.imaging.nifti import to_int16_hu
from hnvlm.imaging.resample import resample_like
from hnvlm.imaging.whole import whole_file
from hnvlm.models.checkpoint import save_model
from hnvlm.models.dose import (
    IN_CHANNELS,
    DoseNetwork,
    block_mean,
    ct_to,
    deliverable_dose,
    flip_input,
    mask_to,
    network_input,
    predict,
    working_grid,
)
from hnvlm.models.dose_inputs import CHANNELS, HIGHEST_GY
from hnvlm.models.precision import mixed_precision
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.aside import of_few, set_aside
from hnvlm.train.data import BIT, fingerprint, is_current, refuse_validation_folder, tell_unread
from hnvlm.train.loop import LoopOptions, Numbers, begin, length, log, train_loop
from hnvlm.types import MIRRORED, TARGET_NAMES

WIDTHS = (32, 64, 128, 192)
BLOCKS = (1, 2, 2, 2)
# Steps of the stored dose: 0.01 Gy is far below what the scores show.
STEP_GY = 0.01
# Without a CT the network must know what it does, so it often sees none.
CT_DROPOUT = 0.25
# Most slices of a patient in one step: long patients would cost most of the time and teach little more.
SLAB = 48
# Weight of the structures' sorted doses (what a DVH is made of) beside the voxels' own.
DVH_WEIGHT = 0.25
# A dose above all others.
BEYOND_GY = 1000.0
# The search for the nearest deliverable dose takes as long as the network: it must lower dose and DVH score by this.
WORTH_GY = 0.05
# Iterations of the search for the nearest deliverable dose.
ITERATIONS = 20
MIRROR_BIT = [BIT[MIRRORED.get(name, name)] for name in BIT]


@dataclass(frozen=True)
class DosePatient:
    """One patient as the network sees it.

    Attributes:
        channels: float16 (len(CHANNELS), z, y, x).
        dose: float32 Gy (z, y, x).
        labels: int32 (z, y, x), one bit a structure (``BIT``).
        hu: int16 (z, y, x), or None.
    """

    channels: Tensor
    dose: Tensor
    labels: Tensor
    hu: Tensor | None


def dose_folders(data: Path) -> list[Path]:
    """Case folders to train on: ``train/`` and ``without_ct/train/`` of ``data`` (or ``data`` itself), with a dose.

    Raises:
        InputRefusedError: ``data`` is a validation folder, or no patient in it has a dose.
    """
    data = Path(data)
    refuse_validation_folder(data)
    roots = [data / "train", data / "without_ct" / "train"] if (data / "train").is_dir() else [data]
    folders = sorted((f for root in roots for f in patient_folders(root, "dose.nii.gz")), key=lambda f: f.name)
    if not folders:
        raise InputRefusedError(
            f"{data} holds no patient folder with a dose.nii.gz; see the case-folder layout (hnvlm import-case --dose "
            "makes one of an RTDOSE)."
        )
    guessed = {f for f in folders if drawn_by_model(f) & set(TARGET_NAMES)}
    for folder in sorted(guessed):
        log(f"dose: {folder.name} is left out, as a model drew its targets: its plan was made for others")
    if guessed == set(folders):
        raise InputRefusedError(f"{data}: a model drew the targets of all {len(folders)} patients with a dose.")
    tell_unread(folders)
    return [f for f in folders if f not in guessed]


def on_working_grid(case: DoseCase) -> DoseCase:
    """The patient on the grid the network works on; one that is on such a grid stays as it is.

    A clinic plans on voxels a quarter as wide: a network that learned on those would be asked about others in use, and
    one patient would fill the memory.
    """
    working = working_grid(case.dose)
    if working.same_grid(case.dose):
        return case
    gray = resample_like(block_mean(case.dose), working, fill=0.0).array
    return DoseCase(
        case.patient_id,
        working.with_array(np.maximum(gray, 0).astype(np.float32)),
        {name: mask_to(mask, case.dose, working) for name, mask in case.masks.items()},
        mask_to(case.possible, case.dose, working),
        None if case.ct is None else working.with_array(to_int16_hu(ct_to(case.ct, working))),
    )


def cached_file(folder: Path, cache: Path) -> Path:
    """File of a prepared patient; it is computed once, and anew when a file of the patient changed."""
    key = hashlib.sha256(f"v2|{CHANNELS}|{folder.resolve()}".encode()).hexdigest()[:12]
    path = cache / f"dose-{folder.name}-{key}.npz"
    if not is_current(path, folder):
        case = on_working_grid(read_dose_case(folder))
        inputs = inputs_of(case)
        labels = np.zeros(case.possible.shape, np.uint16)
        for name, mask in case.masks.items():
            labels |= mask.astype(np.uint16) << BIT[name]
        arrays = {
            "channels": inputs.channels.astype(np.float16),
            "dose": np.rint(inputs_crop(inputs, case.dose.array) / STEP_GY).astype(np.uint16),
            "labels": inputs_crop(inputs, labels),
            "source": np.array(fingerprint(folder)),
        }
        if case.ct is not None:
            arrays["hu"] = inputs_crop(inputs, case.ct.array)
        with whole_file(path) as partial:
            np.savez(partial, **arrays)
    return path


def load_patient(path: Path, device: torch.device | str = "cpu") -> DosePatient:
    """Read a prepared patient (10 to 40 MB, so on the processor patients are read at each step and not kept)."""
    with np.load(path) as z:
        arrays = {k: torch.from_numpy(z[k]) for k in z.files if k in ("channels", "hu")}
        dose, labels = z["dose"] * np.float32(STEP_GY), z["labels"].astype(np.int32)
    hu = arrays["hu"].to(device) if "hu" in arrays else None
    return DosePatient(
        arrays["channels"].to(device), torch.from_numpy(dose).to(device), torch.from_numpy(labels).to(device), hu
    )


@dataclass(frozen=True)
class Sample:
    """A slab of a patient, padded and perhaps mirrored: (1, C, Z, Y, X), (1, Z, Y, X), (Z, Y, X) bool and labels."""

    x: Tensor
    dose: Tensor
    body: Tensor
    labels: Tensor


def sample(patient: DosePatient, rng: np.random.Generator, multiple: int) -> Sample:
    """Augment: a slab of it, where that lies on the network's folded grid, left-right mirror, no CT at times.

    Sizes and angles stay as they are: the fields' physics does not scale, and they do not turn with the patient.
    """
    first = int(rng.integers(0, max(0, len(patient.dose) - SLAB) + 1))
    slab = slice(first, first + SLAB)
    patient = DosePatient(
        patient.channels[:, slab],
        patient.dose[slab],
        patient.labels[slab],
        None if patient.hu is None else patient.hu[slab],
    )
    # Somewhere in the padding it needs anyway: more padding would cost time and teach nothing.
    offset = [int(rng.integers(0, -n % multiple + 1)) for n in patient.dose.shape]
    hu = None if rng.random() < CT_DROPOUT else patient.hu
    x, place = network_input(patient.channels, hu, multiple, offset)
    dose = torch.zeros(x.shape[2:], device=x.device)
    labels = torch.zeros(x.shape[2:], dtype=torch.int32, device=x.device)
    dose[place] = patient.dose
    labels[place] = patient.labels
    if rng.random() < 0.5:
        x, dose = flip_input(x), dose.flip(-1)
        flipped = labels.flip(-1)
        labels = torch.zeros_like(flipped)
        for bit, mirror in enumerate(MIRROR_BIT):
            labels |= ((flipped >> bit) & 1) << mirror
    body = x[0, CHANNELS.index("body")] > 0.5
    return Sample(x, dose[None], body, labels)


def sorted_errors(guess: Tensor, true: Tensor, masks: Tensor) -> Tensor:
    """Mean difference (n,) of the sorted doses (Z, Y, X) inside each mask (n, Z, Y, X); 0 where a mask is empty.

    Sorted doses are a structure's DVH, so this is how far its two DVHs lie apart, in the unit of the doses.
    """
    return (sorted_one_by_one if guess.device.type == "cpu" else sorted_together)(guess, true, masks)


def sorted_one_by_one(guess: Tensor, true: Tensor, masks: Tensor) -> Tensor:
    """``sorted_errors``, only what is inside each mask sorted."""
    pairs = [(guess[m].sort().values, true[m].sort().values) for m in masks]
    return torch.stack([(a - b).abs().mean() if len(a) else guess.sum() * 0 for a, b in pairs])


def sorted_together(guess: Tensor, true: Tensor, masks: Tensor) -> Tensor:
    """``sorted_errors`` for a GPU, which would have to wait for each mask's count: what is outside sorts to the end."""
    inside = masks.flatten(1)
    first, second = (torch.where(inside, x.flatten(), BEYOND_GY).sort(1).values for x in (guess, true))
    return (first - second).abs().sum(1) / inside.sum(1).clamp(min=1)


def dose_loss(predicted: Tensor, s: Sample) -> tuple[Tensor, Numbers]:
    """Mean absolute error over the body, and of the sorted doses of each structure, in units of 10 Gy.

    Args:
        predicted: (1, Z, Y, X) Gy.
    """
    error = ((predicted - s.dose).abs()[0] * s.body).sum() / s.body.sum()
    masks = torch.stack([((s.labels >> bit) & 1).bool() & s.body for bit in BIT.values()])
    there = masks.flatten(1).any(1)
    dvh = (sorted_errors(predicted[0], s.dose[0], masks) * there).sum() / there.sum().clamp(min=1)
    return (error + DVH_WEIGHT * dvh) / 10.0, {"gray": error.detach(), "dvh": dvh.detach()}


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 20000, batch: int = 1, threads: int = 2,
    learning_rate: float = 1e-3, hold_out: int = 6, evaluate_every: int = 1000,
    from_pack: bool = False, device: str = AUTO, minutes: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Train on ``data`` (never on a folder named validation) and write the model folder ``out``.

    Args:
        steps: Optimiser steps; each sees a slab of ``batch`` patients.
        hold_out: Training patients (of few a quarter) that are not trained on: they show progress and set how much of
            the answer is drawn to the nearest deliverable dose.

    Returns:
        ``checkpoint`` (path of the model folder) and ``metrics``.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    where = training_device(device)
    folders = dose_folders(data)
    with_ct = [f for f in folders if (f / "ct.nii.gz").exists()]
    held = set_aside(with_ct, of_few(hold_out, len(with_ct)), out if from_pack else None)
    log(f"dose: {len(folders)} patients, {len(held)} of them kept aside, {length(steps, minutes)}")
    files = prepare_all(folders, work / "cache", threads)
    learned = [file for folder, file in zip(folders, files, strict=True) if folder not in held]
    network, before = begin(DoseNetwork(IN_CHANNELS, WIDTHS, BLOCKS), out, from_pack)
    network = network.to(where, memory_format=torch.channels_last_3d)
    # A GPU holds all patients; beside the processor they would fill the memory.
    kept = {f: load_patient(f, where) for f in learned} if where.type != "cpu" else {}

    def loss_of_step(step: int) -> tuple[Tensor, Numbers]:
        rng = np.random.default_rng([3, before + step])
        losses, numbers = [], []
        # Patients differ in size, so a batch is a sum of single ones.
        for _ in range(batch):
            file = learned[int(rng.integers(len(learned)))]
            s = sample(kept.get(file) or load_patient(file), rng, network.multiple)
            with mixed_precision(where):
                share = network(s.x.contiguous(memory_format=torch.channels_last_3d))
            loss, told = dose_loss(share.float() * HIGHEST_GY, s)
            losses.append(loss)
            numbers.append(told)
        return torch.stack(losses).mean(), {k: sum(n[k] for n in numbers) / batch for k in numbers[0]}

    def evaluate(trained: nn.Module) -> dict[str, float]:
        return score_held(trained, held, flip=False, deliverable=(0.0, 0.5))

    options = LoopOptions(steps=steps, learning_rate=learning_rate, minutes=minutes)
    trained = train_loop(
        network, loss_of_step, options, work / "dose.pt", resume=resume,
        evaluate=evaluate if held else None, evaluate_every=evaluate_every,
    )  # fmt: skip
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    scores = score_held(trained, held, flip=True, deliverable=shares) if held else {}
    best = best_share(shares, scores) if held else 0.0
    config = {
        "name": "dose", "version": "1", "architecture": "DoseNetwork", "widths": list(WIDTHS), "blocks": list(BLOCKS),
        "channels": list(CHANNELS), "flip": True, "deliverable": best, "iterations": ITERATIONS,
        "train_patients": len(learned),
        "held_out": [f.name for f in held], "held_out_scores": scores, "steps": before + options.taken, "batch": batch,
    }  # fmt: skip
    save_model(out, trained, config)
    return {
        "checkpoint": str(out),
        "metrics": {"train_patients": len(learned), "steps": options.taken, "deliverable": best, **scores},
    }


def best_share(shares: tuple[float, ...], scores: dict[str, float]) -> float:
    """Share of the nearest deliverable dose with the lowest scores; none, unless the search is worth its time."""
    return min(shares, key=lambda s: scores[f"dose_{s:g}"] + scores[f"dvh_{s:g}"] + (WORTH_GY if s else 0.0))


def prepare_all(folders: list[Path], cache: Path, workers: int) -> list[Path]:
    """Prepared files of all folders, those that are missing made by ``workers`` processes."""
    with ProcessPoolExecutor(max(1, workers)) as pool:
        files = []
        for k, file in enumerate(pool.map(cached_file, folders, [cache] * len(folders))):
            files.append(file)
            if (k + 1) % 40 == 0:
                log(f"prepared {k + 1}/{len(folders)}")
    return files


def score_held(
    network: nn.Module, folders: list[Path], *, flip: bool, deliverable: tuple[float, ...]
) -> dict[str, float]:
    """Challenge scores (Gy) of held-out training patients: ``dose_<share>`` and ``dvh_<share>`` of each share."""
    doses: dict[float, list[float]] = {s: [] for s in deliverable}
    errors: dict[float, list[dict[str, float]]] = {s: [] for s in deliverable}
    for folder in folders:
        case = on_working_grid(read_dose_case(folder))
        inputs = inputs_of(case)
        hu = None if case.ct is None else inputs_crop(inputs, case.ct.array)
        own = predict(network, inputs, hu, flip=flip, deliverable=0.0, iterations=0)
        nearest = deliverable_dose(inputs, own, ITERATIONS)
        for share in deliverable:
            dose = inputs.window.undo((1 - share) * own + share * nearest)
            doses[share].append(dose_score(case.dose.array, dose, case.possible))
            errors[share].append(dvh_errors(case, dose))
    scores = {f"dose_{s:g}": round(float(np.mean(doses[s])), 4) for s in deliverable}
    return scores | {f"dvh_{s:g}": round(dvh_score(errors[s]), 4) for s in deliverable}
