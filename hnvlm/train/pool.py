"""A pool of encoded samples: the frozen encoder's tokens with the facts of each sample, kept on disk.

Encoding costs far more than the small text models that learn from the tokens, so it is done once and shared by the
alignment with text and by the report model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hnvlm.models.checkpoint import weights_sha256
from hnvlm.models.ct_encoder import CTEncoder
from hnvlm.models.facts import lesion_finding
from hnvlm.models.precision import mixed_precision
from hnvlm.train.bank import BankPatient
from hnvlm.train.compose import compose
from hnvlm.train.loop import log
from hnvlm.types import Finding

CHUNK = 100
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


def build_pool(encoder: CTEncoder, banks: list[BankPatient], folder: Path, n: int, seed: int = 11) -> list[Encoded]:
    """Encode ``n`` composed samples, in chunks that survive a kill; returns all of them.

    Args:
        folder: Directory of the chunks; see ``pool_folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out: list[Encoded] = []
    for chunk in range(-(-n // CHUNK)):
        path = folder / f"{chunk:04d}.npz"
        if not path.exists():
            _encode_chunk(encoder, banks, path, np.random.default_rng([seed, chunk]))
            if chunk % 5 == 0:
                log(f"pool: {(chunk + 1) * CHUNK}/{n} samples encoded")
        out += _read_chunk(path)
    return out[:n]


def pool_folder(work: Path, model: Path, banks: list[BankPatient]) -> Path:
    """Where the pool of an encoder and a set of patients lives: neither another encoder nor other data read it."""
    patients = ",".join(f"{b.patient.patient_id}:{len(b.lesions)}" for b in banks)
    return work / "pool" / (weights_sha256(model)[:12] + hashlib.sha256(patients.encode()).hexdigest()[:8])


def _encode_chunk(encoder: CTEncoder, banks: list[BankPatient], path: Path, rng: np.random.Generator) -> None:
    tokens, meta = [], []
    for _ in range(CHUNK // BATCH):
        index = [int(i) for i in rng.integers(len(banks), size=BATCH)]
        samples = [compose(banks[i], rng) for i in index]
        hu = torch.from_numpy(np.stack([s.hu for s in samples]))
        with torch.inference_mode(), mixed_precision():
            _, encoded = encoder(hu)
        tokens.append(encoded.float().numpy().astype(np.float16))
        for i, s in zip(index, samples, strict=True):
            meta.append(
                {"patient": i, "flipped": s.flipped, "findings": [lesion_finding(x).to_json() for x in s.lesions]}
            )
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
