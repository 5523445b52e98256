"""A pool of encoded samples: the frozen encoder's tokens with the facts of each sample, kept on disk.

Encoding costs far more than the small text models that learn from the tokens, so it is done once and shared by the
alignment with text and by the report model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from hnvlm.imaging.anatomy import Anatomy
from hnvlm.models.checkpoint import weights_sha256
from hnvlm.models.ct_encoder import CTEncoder
from hnvlm.models.detect import told_lesions
from hnvlm.models.facts import lesion_finding
from hnvlm.models.precision import device_of, mixed_precision
from hnvlm.report.flip import flip_finding
from hnvlm.train.ahead import Ahead
from hnvlm.train.bank import BankPatient, anatomy_of
from hnvlm.train.compose import compose
from hnvlm.train.loop import log
from hnvlm.types import Finding

CHUNK = 96
BATCH = 4
POOL_SEED = 11
# What the maps show is an inserted lesion when they share this much of the smaller one's voxels.
SAME_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Encoded:
    """One encoded sample.

    Attributes:
        tokens: (512, C) half precision.
        patient: Index of the patient in the bank list.
        flipped: Whether left and right were swapped.
        findings: The inserted lesions, as seen in the (possibly mirrored) sample.
        seen: Lesions that the encoder's maps may show, most certain first, each with the index in ``findings`` of the
            one it is, or None.
    """

    tokens: torch.Tensor
    patient: int
    flipped: bool
    findings: list[Finding]
    seen: list[tuple[Finding, int | None]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Composed:
    """A batch of composed samples.

    Attributes:
        hu: (BATCH, 64, 64, 64).
        known: Patient, mirroring and inserted lesions of each.
        places: First voxel on the patient's grid, and whose each voxel is, of each (``hnvlm.train.compose.Sample``).
    """

    hu: torch.Tensor
    known: list[dict[str, Any]]
    places: list[tuple[np.ndarray, np.ndarray]]


def build_pool(
    encoder: CTEncoder, banks: list[BankPatient], folder: Path, n: int, seed: int = POOL_SEED, workers: int = 0
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

    def composed(index: int) -> Composed:
        return _compose_batch(banks, np.random.default_rng([seed, missing[index // per_chunk], index % per_chunk]))

    @cache
    def anatomy(patient: int) -> Anatomy | None:
        return anatomy_of(banks[patient].patient)

    batches = Ahead(composed, len(missing) * per_chunk, workers)
    for m, k in enumerate(missing):
        _encode_chunk(encoder, [batches(m * per_chunk + i) for i in range(per_chunk)], anatomy, chunks[k])
        if m % 5 == 0:
            log(f"pool: {(k + 1) * CHUNK}/{n} samples encoded")
    batches.stop()
    return [encoded for path in chunks for encoded in _read_chunk(path)][:n]


def pool_folder(work: Path, model: Path, banks: list[BankPatient], steps: int = 0) -> Path:
    """Where the pool of an encoder and a set of patients lives: neither another encoder nor other data read it.

    Args:
        steps: Of the weights that go on; they learn from other samples than those they know.
    """
    patients = ",".join(f"{b.patient.patient_id}:{len(b.lesions)}{b.source and ':' + b.source}" for b in banks)
    folder = work / "pool-seen" / (weights_sha256(model)[:12] + hashlib.sha256(patients.encode()).hexdigest()[:8])
    return folder / str(steps) if steps else folder


def holds(model: Path, encoder: CTEncoder) -> bool:
    """Whether a folder holds this very encoder."""
    if not (model / "model.safetensors").exists():
        return False
    kept, own = load_file(model / "model.safetensors"), encoder.state_dict()
    return kept.keys() == own.keys() and all(torch.equal(kept[k].float(), own[k].float().cpu()) for k in own)


def _compose_batch(banks: list[BankPatient], rng: np.random.Generator) -> Composed:
    index = [int(i) for i in rng.integers(len(banks), size=BATCH)]
    samples = [compose(banks[i], rng) for i in index]
    meta = [
        {"patient": i, "flipped": s.flipped, "findings": [lesion_finding(x).to_json() for x in s.lesions]}
        for i, s in zip(index, samples, strict=True)
    ]
    hu = torch.from_numpy(np.stack([s.hu for s in samples]))
    return Composed(hu, meta, [(s.start, s.owner) for s in samples])


def seen_in(
    probability: np.ndarray,
    hu: np.ndarray,
    known: dict[str, Any],
    place: tuple[np.ndarray, np.ndarray],
    anatomy: Anatomy | None,
) -> list[tuple[dict[str, Any], int | None]]:
    """What the encoder's lesion maps (3, 64, 64, 64) may show of a sample, and which inserted lesion each of it is.

    Args:
        hu: The sample (64, 64, 64). known, place: As in ``Composed``.
        anatomy: Landmarks of the patient, not mirrored; without them nothing has a place.
    """
    if anatomy is None:
        return []
    start, owner = place
    if known["flipped"]:
        # Places are those of the patient as he lies.
        probability, hu, owner = probability[..., ::-1], hu[..., ::-1], owner[..., ::-1]
    inserted = [f["kind"] for f in known["findings"]]
    voxels = np.bincount(owner.ravel(), minlength=len(inserted) + 1)
    out: list[tuple[dict[str, Any], int | None]] = []
    taken: set[int] = set()
    for lesion in told_lesions(probability, hu, start, anatomy):
        shared = np.bincount(owner[lesion.mask], minlength=len(inserted) + 1)
        of = None
        if inserted:
            k = 1 + int(shared[1:].argmax())
            enough = shared[k] >= SAME_SHARE * min(int(lesion.mask.sum()), int(voxels[k])) > 0
            if enough and inserted[k - 1] == lesion.kind and k not in taken:
                taken.add(k)
                of = k - 1
        told = lesion.described()
        out.append(((flip_finding(told) if known["flipped"] else told).to_json(), of))
    return out


def mirror_image(known: dict[str, Any]) -> dict[str, Any]:
    """What is known of a sample's mirror image."""
    findings = [flip_finding(Finding.from_json(f)).to_json() for f in known["findings"]]
    seen = [(flip_finding(Finding.from_json(f)).to_json(), of) for f, of in known["seen"]]
    return {**known, "flipped": not known["flipped"], "findings": findings, "seen": seen}


def _encode_chunk(
    encoder: CTEncoder, batches: list[Composed], anatomy: Callable[[int], Anatomy | None], path: Path
) -> None:
    tokens, meta = [], []
    device = device_of(encoder)
    for batch in batches:
        with torch.inference_mode(), mixed_precision(device):
            *views, maps = encoder.both_ways(batch.hu.to(device))
        tokens += [view.float().cpu().numpy().astype(np.float16) for view in views]
        known = [
            {**m, "seen": seen_in(p, hu.numpy(), m, place, anatomy(m["patient"]))}
            for p, hu, m, place in zip(maps.float().cpu().numpy(), batch.hu, batch.known, batch.places, strict=True)
        ]
        meta += known + [mirror_image(m) for m in known]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, tokens=np.concatenate(tokens), meta=json.dumps(meta))
    temporary.replace(path)


def _read_chunk(path: Path) -> list[Encoded]:
    with np.load(path) as z:
        tokens, meta = torch.from_numpy(z["tokens"]), json.loads(str(z["meta"]))
    return [
        Encoded(
            t,
            m["patient"],
            m["flipped"],
            [Finding.from_json(f) for f in m["findings"]],
            [(Finding.from_json(f), of) for f, of in m["seen"]],
        )
        for t, m in zip(tokens, meta, strict=True)
    ]
