"""Train the judge: an independent lesion detector that measures counterfactuals and never trains the generator.

It shares nothing with the generator but the kind of lesion: its own lesions (another seed), its own network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hnvlm.models.checkpoint import save_model
from hnvlm.models.lesion_net import LESION_CHANNELS, WIDTHS, LesionNet
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.aside import KEPT_PATIENTS, aside_last, kept_aside, names_aside
from hnvlm.train.bank import load_bank
from hnvlm.train.data import training_folders
from hnvlm.train.lesions import BATCH, LEARNING_RATE, detector_metrics, train_lesion_net
from hnvlm.train.loop import begin, length, log

BANK_SEED = 101
SEED = 6
PER_PATIENT = 40


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 3000, batch: int = BATCH, threads: int = 2,
    from_pack: bool = False, learning_rate: float = LEARNING_RATE, device: str = AUTO, workers: int = 0,
    minutes: float = 0.0, per_patient: int = PER_PATIENT,
) -> dict[str, Any]:  # fmt: skip
    """Train on ``data`` and write the model folder ``out``; ``from_pack`` begins with the weights that lie there."""
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    folders = training_folders(data)
    banks = load_bank(folders, work / "cache", per_patient=per_patient, seed=BANK_SEED, workers=threads)
    banks = aside_last(banks, folders, out if from_pack else None)
    lesions = sum(len(b.lesions) for b in banks)
    log(f"judge: {len(banks)} patients, {lesions} lesions, {length(steps, minutes)} of {batch}")
    network, before = begin(LesionNet(), out, from_pack)
    network, taken = train_lesion_net(
        network, banks, work / "judge.pt", resume=resume, steps=steps, seed=SEED + before, batch=batch,
        learning_rate=learning_rate, device=training_device(device), workers=workers, minutes=minutes,
    )  # fmt: skip
    config = {
        "name": "judge",
        "version": "2",
        "architecture": "LesionNet",
        "widths": list(WIDTHS),
        "lesions": list(LESION_CHANNELS),
        "bank_seed": BANK_SEED,
        "train_patients": len(kept_aside(banks)[0]),
        "steps": before + taken,
        "lesions_per_patient": per_patient,
        "batch": batch,
        "kept_aside": detector_metrics(network, banks),
        KEPT_PATIENTS: names_aside(banks),
    }
    save_model(out, network, config)
    return {"checkpoint": str(out), "metrics": config["kept_aside"]}
