"""Train the judge: an independent lesion detector that measures counterfactuals and never trains the generator.

It shares nothing with the generator but the kind of lesion: its own lesions (another seed), its own network,
started from the segmenter, which saw no lesion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hnvlm.models.checkpoint import save_model
from hnvlm.models.ct_encoder import LESION_CHANNELS, CTEncoder
from hnvlm.train.bank import load_bank
from hnvlm.train.clip import dense_loss, dense_options, start_from_segmenter, twins
from hnvlm.train.data import CHANNELS, training_folders
from hnvlm.train.loop import log, train_loop
from hnvlm.train.segmenter import WIDTHS

BANK_SEED = 101


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 6000, batch: int = 2, threads: int = 2
) -> dict[str, Any]:
    """Train on ``data`` and write the model folder ``out``."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    banks = load_bank(training_folders(data), work / "cache", per_patient=16, seed=BANK_SEED, workers=threads)
    log(f"judge: {len(banks)} patients, {sum(len(b.lesions) for b in banks)} lesions, {steps} steps of {batch}")
    batch += batch % 2  # twins come in pairs
    encoder = CTEncoder(len(CHANNELS), WIDTHS)
    start_from_segmenter(encoder, out.parent / "segmenter")
    network = encoder.to(memory_format=torch.channels_last_3d)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([6, step])
        return dense_loss(network, twins(banks, batch, rng))

    trained = train_loop(network, loss_of_step, dense_options(steps), work / "judge.pt", resume=resume)
    config = {
        "name": "judge",
        "version": "1",
        "architecture": "CTEncoder",
        "widths": list(WIDTHS),
        "structures": list(CHANNELS),
        "lesions": list(LESION_CHANNELS),
        "bank_seed": BANK_SEED,
        "train_patients": len(banks),
        "steps": steps,
        "batch": batch,
    }
    save_model(out, trained, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(banks), "steps": steps}}
