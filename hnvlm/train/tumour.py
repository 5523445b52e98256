"""Train the tumour detector: a lesion network that also learned the disease these patients are treated for.

Of most patients nobody contoured the tumour itself, but what is treated to the highest level holds it: its core is
taught as disease, the rest of the target stays open, and the neck outside it is what disease does not look like.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import TREATED
from hnvlm.models.checkpoint import save_model
from hnvlm.models.clip import load_clip
from hnvlm.models.ct_encoder import CROP
from hnvlm.models.lesion_net import LESION_CHANNELS, WIDTHS, LesionNet
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.aside import KEPT_PATIENTS, aside_last, kept_aside, names_aside
from hnvlm.train.bank import BankPatient, anatomy_of, load_bank
from hnvlm.train.compose import compose
from hnvlm.train.data import BIT, GTV_BIT, training_folders
from hnvlm.train.disease import core_of_target, own_lesions, target_of
from hnvlm.train.lesions import BATCH, train_lesion_net
from hnvlm.train.loop import begin, length, log

SEED = 5
PER_PATIENT = 40
LEARNING_RATE = 8e-4
# Evidence, the product of what two networks say, from which there is a suspicion: more likely than not. Chosen on
# patients kept aside it would be lower, for the segmenter, which has its say, may have learned from them.
THRESHOLD = 0.5


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 1100, batch: int = BATCH, threads: int = 2,
    from_pack: bool = False, learning_rate: float = LEARNING_RATE, device: str = AUTO, workers: int = 0,
    minutes: float = 0.0, per_patient: int = PER_PATIENT,
) -> dict[str, Any]:  # fmt: skip
    """Train on ``data`` and write the model folder ``out``.

    It begins with the lesion network of the pack's CT encoder, with ``from_pack`` with the weights in ``out``.

    Raises:
        InputRefusedError: No patient has a contour of gross disease or of the target of the highest level.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    # Before the lesions are made: a pack without an encoder is refused at once.
    of_encoder = load_clip(out.parent / "clip").encoder.lesion_net
    folders = training_folders(data)
    found = load_bank(folders, work / "cache", per_patient=per_patient, workers=threads)
    banks = [with_disease(b) for b in found]
    ill = sum(b.own is not None for b in banks)
    if not ill:
        raise InputRefusedError(
            f"None of the {len(banks)} patients has a GTV.nii.gz or a PTV_7000, so nothing tells where disease is."
        )
    banks = aside_last(banks, folders, out if from_pack else out.parent / "clip")
    log(f"tumour: {len(banks)} patients, {ill} of them with their own disease, {length(steps, minutes)} of {batch}")
    network, before = begin(LesionNet(), out, from_pack)
    if not from_pack:
        network = of_encoder
    network, taken = train_lesion_net(
        network, banks, work / "tumour.pt", resume=resume, steps=steps, seed=SEED + before, batch=batch,
        learning_rate=learning_rate, device=training_device(device), workers=workers, minutes=minutes,
    )  # fmt: skip
    network = network.cpu()
    train_on, _ = kept_aside(banks)
    config = {
        "name": "tumour", "version": "1", "architecture": "LesionNet", "widths": list(WIDTHS),
        "lesions": list(LESION_CHANNELS), "train_patients": len(train_on),
        "with_own_disease": sum(b.own is not None for b in train_on),
        "steps": before + taken, "lesions_per_patient": per_patient, "batch": batch,
        "threshold": THRESHOLD, "usual_place": usual_place(train_on), KEPT_PATIENTS: names_aside(banks),
    }  # fmt: skip
    save_model(out, network, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(train_on), "steps": taken}}


def with_disease(bank: BankPatient) -> BankPatient:
    """The patient with its own disease: as the clinic contoured it, else the core of what is treated."""
    if bank.own is not None:
        return bank
    core = core_of_target(bank.patient.labels, bank.patient.ct)
    if not core.any():
        return bank
    labels = bank.patient.labels | (core.astype(np.uint16) << GTV_BIT)
    around = ndimage.binary_dilation(target_of(labels))
    return replace(
        bank,
        patient=replace(bank.patient, labels=labels),
        own=own_lesions(labels, anatomy_of(bank.patient)),
        reported=around if bank.reported is None else around | bank.reported,
    )


def usual_place(banks: list[BankPatient]) -> list[int]:
    """The voxel (z, y, x) of the crop that is most often treated to the highest level.

    Whoever knows only where tumours usually are would look there in everybody: the detector is held against it.
    """
    treated = np.zeros((CROP,) * 3)
    for bank in banks:
        sample = compose(bank, np.random.default_rng(0), augment=False, lesions=[])
        treated += sample.targets[BIT[TREATED]] > 0
    return [int(i) for i in np.unravel_index(int(treated.argmax()), treated.shape)]
