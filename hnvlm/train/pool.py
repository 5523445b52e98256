"""A pool of encoded samples: the frozen encoder's tokens with the facts of each sample, kept on disk.

Encoding costs far more than the small text models that learn from the tokens, so it is done once and shared by the
alignment with text and by the report model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnvlm.models.checkpoint import weights_sha256
from hnvlm.models.ct_encoder import CTEncoder
from hnvlm.models.facts import lesion_finding
from hnvlm.models.precision import device_of, mixed_precision
from hnvlm.report.flip import flip_finding
from hnvlm.train.ahead import Ahead
from hnvlm.train.bank import BankPatient
from hnvlm.train.compose import compose
from hnvlm.train.loop import log
from hnvlm.types import Finding

CHUNK = 96
BATCH = 4


@dataclass(frozen=True, eq=False)
class Encoded:
    """One encoded sample.

    Attributes:
        tokens: (512, C) half precision.
        patient: Index of the patient in the bank list.
        flipped: Whether left and right were swapped.
        findings: The inserted lesions, as seen in the (possibly mirrored) sample.
    """

    tokens: torch.Tensor
    patient: int
    flipped: bool
    findings: list[Finding]


def build_pool(
    encoder: CTEncoder, banks: list[BankPatient], folder: Path, n: int, seed: int = 11, workers: int = 0
) -> list[Encoded]:
    """Encode ``n`` samples, in chunks that survive a kill; returns all of them.

    Half of them are composed, the other half their mirror images, which cost a sixth of encoding another sample.

    Args:
        folder: Directory of the chunks; see ``pool_folder``.
        workers: Processes that compose samples while others are encoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [folder / f"{chunk:04d}.npz" for chunk in range(-(-n // CHUNK))]
    per_chunk = CHUNK // (2 * BATCH)
    missing = [k for k, path in enumerate(chunks) if not path.exists()]

    def composed(index: int) -> tuple[torch.Tensor, list[dict[str, Any]]]:
        return _compose_batch(banks, np.random.default_rng([seed, missing[index // per_chunk], index % per_chunk]))

    batches = Ahead(composed, len(missing) * per_chunk, workers)
    for m, k in enumerate(missing):
        _encode_chunk(encoder, [batches(m * per_chunk + i) for i in range(per_chunk)], chunks[k])
        if m % 5 == 0:
            log(f"pool: {(k + 1) * CHUNK}/{n} samples encoded")
    batches.stop()
    return [encoded for path in chunks for encoded in _read_chunk(path)][:n]


def pool_folder(work: Path, model: Path, banks: list[BankPatient]) -> Path:
    """Where the pool of an encoder and a set of patients lives: neither another encoder nor other data read it."""
    patients = ",".join(f"{b.patient.patient_id}:{len(b.lesions)}{b.source and ':' + b.source}" for b in banks)
    return work / "pool" / (weights_sha256(model)[:12] + hashlib.sha256(patients.encode()).hexdigest()[:8])


def _compose_batch(banks: list[BankPatient], rng: np.random.Generator) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """HU (BATCH, 64, 64, 64) of composed samples and what is known of each."""
    index = [int(i) for i in rng.integers(len(banks), size=BATCH)]
    samples = [compose(banks[i], rng) for i in index]
    meta = [
        {"patient": i, "flipped": s.flipped, "findings": [lesion_finding(x).to_json() for x in s.lesions]}
        for i, s in zip(index, samples, strict=True)
    ]
    return torch.from_numpy(np.stack([s.hu for s in samples])), meta


def mirror_image(known: dict[str, Any]) -> dict[str, Any]:
    """What is known of a sample's mirror image."""
    findings = [flip_finding(Finding.from_json(f)).to_json() for f in known["findings"]]
    return {**known, "flipped": not known["flipped"], "findings": findings}


def _encode_chunk(encoder: CTEncoder, batches: list[tuple[torch.Tensor, list[dict[str, Any]]]], path: Path) -> None:
    tokens, meta = [], []
    device = device_of(encoder)
    for hu, known in batches:
        with torch.inference_mode(), mixed_precision(device):
            views = encoder.both_ways(hu.to(device))
        tokens += [view.float().cpu().numpy().astype(np.float16) for view in views]
        meta += known + [mirror_image(m) for m in known]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, tokens=np.concatenate(tokens), meta=json.dumps(meta))
    temporary.replace(path)


def _read_chunk(path: Path) -> list[Encoded]:
    with np.load(path) as z:
        tokens, meta = torch.from_numpy(z["tokens"]), json.loads(str(z["meta"]))
    return [
        Encoded(t, m["patient"], m["flipped"], [Finding.from_json(f) for f in m["findings"]])
        for t, m in zip(tokens, meta, strict=True)
    ]
