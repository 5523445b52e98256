"""Train the CT encoder and the CT-text space: lesion maps first, then sentences aligned with its tokens.

The encoder takes the segmenter's U-Net as it is and a lesion network trained on patches. Then it is frozen, a pool of
samples is encoded once, and the CT-text space learns over its tokens (``hnvlm.train.align``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnvlm.errors import UsageError
from hnvlm.models.checkpoint import load_weights, read_config, save_model
from hnvlm.models.clip import ClipNetwork, CTTextSpace, load_clip
from hnvlm.models.ct_encoder import CROP, LESION_CHANNELS, CTEncoder
from hnvlm.models.precision import device_of
from hnvlm.models.text_tower import TextReader
from hnvlm.models.unet import FoldedUNet
from hnvlm.train import text as text_trainer
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.align import train_alignment
from hnvlm.train.aside import KEPT_PATIENTS, aside_last, kept_aside, names_aside
from hnvlm.train.bank import BankPatient, load_bank
from hnvlm.train.compose import compose
from hnvlm.train.data import CHANNELS, training_folders
from hnvlm.train.lesions import BATCH, LEARNING_RATE, detector_metrics, train_lesion_net
from hnvlm.train.loop import length, log
from hnvlm.train.pool import build_pool, pool_folder
from hnvlm.train.segmenter import WIDTHS

POOL = 3000
PER_PATIENT = 40
SEED = 5
CALIBRATION_CROPS = 60


def start_from_segmenter(encoder: CTEncoder, folder: Path) -> None:
    """Copy the trained segmenter's U-Net: its features know the neck."""
    config = read_config(folder)
    segmenter = FoldedUNet(config["in_channels"], len(config["channels"]), config["widths"])
    load_weights(folder, segmenter)
    encoder.unet.load_state_dict(segmenter.state_dict())


def train_encoder(
    banks: list[BankPatient], segmenter: Path, out: Path, work: Path, *, resume: bool, steps: int, batch: int,
    device: torch.device, workers: int = 0, minutes: float = 0.0, learning_rate: float = LEARNING_RATE,
    shipped: Path | None = None, as_shipped: bool = False,
) -> CTEncoder:  # fmt: skip
    """First stage: the lesion network learns where lesions are; the encoder is kept in ``out`` for the second stage.

    Args:
        shipped: Model folder whose encoder goes on learning. Its U-Net and the scale of its tokens stay, so that what
            was trained on them need not begin anew.
        as_shipped: It is taken as it is, with what was measured of it.
    """
    encoder = CTEncoder(len(CHANNELS), WIDTHS) if shipped is None else load_clip(shipped).encoder
    before = 0 if shipped is None else int(read_config(shipped)["steps"])
    asked = {"asked_steps": steps, "asked_minutes": minutes, "before": before}
    done = read_config(out) if resume and (out / "model.safetensors").exists() else {}
    if shipped is not None and as_shipped:
        save_model(out, encoder, {"name": "encoder", "steps": before, **read_config(shipped)["kept_aside"]})
    elif not done or {k: done.get(k) for k in asked} != asked:
        encoder.lesion_net, taken = train_lesion_net(
            encoder.lesion_net, banks, work / "lesions.pt", resume=resume, steps=steps, seed=SEED + before, batch=batch,
            learning_rate=learning_rate, device=device, workers=workers, minutes=minutes,
        )  # fmt: skip
        encoder = encoder.eval().to(device, memory_format=torch.channels_last_3d)
        if shipped is None:
            start_from_segmenter(encoder, segmenter)
            rng = np.random.default_rng(SEED)
            encoder.calibrate([compose(banks[int(rng.integers(len(banks)))], rng).hu for _ in range(CALIBRATION_CROPS)])
        metrics = detector_metrics(encoder.lesion_net, banks)
        save_model(out, encoder, {"name": "encoder", "steps": before + taken, **asked, **metrics})
    # As it will be read from the pack, so that what is trained on its tokens sees the very same ones.
    encoder = load_weights(out, CTEncoder(len(CHANNELS), WIDTHS))  # type: ignore[assignment]
    return encoder.to(device, memory_format=torch.channels_last_3d)


def train(
    data: Path,
    out: Path,
    work: Path,
    *,
    resume: bool = False,
    steps: int = 3000,
    batch: int = BATCH,
    align_steps: int = 4000,
    pool_size: int = POOL,
    threads: int = 2,
    device: str = AUTO,
    workers: int = 0,
    minutes: float = 0.0,
    per_patient: int = PER_PATIENT,
    from_pack: bool = False,
    align_only: bool = False,
    learning_rate: float = LEARNING_RATE,
) -> dict[str, Any]:
    """Train text reader (if it is not there yet), encoder and CT-text space; write ``out`` and its ``text`` sibling.

    Args:
        steps, minutes: Of the encoder's lesion network.
        align_steps: Of the CT-text space, over ``pool_size`` encoded samples.
        from_pack: The lesion network goes on from the weights in ``out``; the CT-text space is learned anew.
        align_only: The encoder in ``out`` stays as it is, and with it all that was trained on its tokens.
    """
    if align_only and not from_pack:
        raise UsageError("--align-only keeps the encoder of the pack: give --from-pack, too.")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    text_folder = out.parent / "text"
    if not (text_folder / "model.safetensors").exists():
        text_trainer.train(text_folder, work, resume=resume, threads=threads)
    reader: TextReader = load_weights(text_folder, TextReader())  # type: ignore[assignment]
    folders = training_folders(data)
    banks: list[BankPatient] = load_bank(folders, work / "cache", per_patient=per_patient, workers=threads)
    banks = aside_last(banks, folders, out if from_pack else None)
    lesions = sum(len(b.lesions) for b in banks)
    log(f"clip: {len(banks)} patients, {lesions} lesions, {length(steps, minutes)} of {batch}")
    folder = work / "encoder"
    encoder = train_encoder(
        banks, out.parent / "segmenter", folder, work, resume=resume, steps=steps, batch=batch,
        device=training_device(device), workers=workers, minutes=minutes, learning_rate=learning_rate,
        shipped=out if from_pack else None, as_shipped=align_only,
    )  # fmt: skip
    pool = build_pool(encoder, banks, pool_folder(work, folder, banks), pool_size, workers=workers)
    space = CTTextSpace(encoder.token_width).to(device_of(encoder))
    space = train_alignment(space, reader, pool, work, resume=resume, steps=align_steps)
    network = ClipNetwork(len(CHANNELS), WIDTHS)
    network.encoder, network.space = encoder.cpu(), space.cpu()
    alignment = {"align_patients": len(banks), "align_steps": align_steps, "pool": pool_size}
    if align_only:
        config = {**read_config(out), **alignment}
    else:
        config = {**_config_of(read_config(folder), banks, batch, per_patient), **alignment}
    save_model(out, network, config)
    return {"checkpoint": str(out), "metrics": {k: config[k] for k in ("train_patients", "steps")}}


def _config_of(taken: dict[str, Any], banks: list[BankPatient], batch: int, per_patient: int) -> dict[str, Any]:
    """What the pack is told of an encoder; ``taken``: the config of its work folder."""
    asked = ("name", "steps", "asked_steps", "asked_minutes", "before", "architecture", "weights_sha256")
    return {
        "name": "clip",
        "version": "2",
        "architecture": "CTEncoder+CTTextSpace",
        "widths": list(WIDTHS),
        "structures": list(CHANNELS),
        "lesions": list(LESION_CHANNELS),
        "crop": CROP,
        "grid_mm": 3.0,
        # The lesion network's; the CT-text space learns from those kept aside, too.
        "train_patients": len(kept_aside(banks)[0]),
        "steps": taken["steps"],
        "batch": batch,
        "lesions_per_patient": per_patient,
        "kept_aside": {k: v for k, v in taken.items() if k not in asked},
        KEPT_PATIENTS: names_aside(banks),
    }
