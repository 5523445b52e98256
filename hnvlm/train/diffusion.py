"""Train the appearance model on pairs of inserted lesions: add, remove and keep, under the text that asks for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from hnvlm.imaging.lesions import Lesion
from hnvlm.models.checkpoint import load_weights, save_model
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import greatest_dimension
from hnvlm.models.diffusion import (
    GRID_MM,
    OPS,
    PATCH,
    SIGMA_DATA,
    SIGMA_MAX,
    SIGMA_MIN,
    LesionDenoiser,
    plain_edit,
    support_of,
    windowed,
)
from hnvlm.models.facts import lesion_finding
from hnvlm.models.precision import mixed_precision
from hnvlm.models.text_tower import TextReader, token_features
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_request
from hnvlm.train.ahead import AUTO, Ahead, training_device
from hnvlm.train.bank import BankPatient, load_bank, outside_disease
from hnvlm.train.compose import mirrored, pick_lesions
from hnvlm.train.data import training_folders
from hnvlm.train.loop import LoopOptions, Numbers, begin, length, log, train_loop

PER_PATIENT = 40
OP_SHARE = {"add": 0.52, "remove": 0.43, "none": 0.05}
# A lesion is a twentieth of the region an edit may change: its own voxels count this much more than those around it.
LESION_WEIGHT = 6.0
# Share of removals that get a mask as a detector draws it instead of the lesion's own.
FOUND_SHARE = 0.8
# Voxels (3 mm) by which such a mask is too small or too large, its border wavers and its place is off.
FOUND_SHRINK, FOUND_GROW, FOUND_WAVER, FOUND_OFF = 1.2, 1.5, 0.8, 1


def request_text(op: str, lesion: Lesion, rng: random.Random) -> str:
    """A sentence that asks for the edit."""
    finding = lesion_finding(lesion)
    if op == "none":
        return sample_request("none", None, rng, "train")
    if op == "add" and rng.random() < 0.35:
        return render_finding(finding, "en", rng)
    return sample_request(op, finding, rng, "train")


def found_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lesion's mask (z, y, x) as a detector would give it: hard-edged, too small or large, wavering, a little off.

    In use the lesion to remove is found by the encoder; a model that only ever saw exact masks leaves a ring.
    """
    inside = mask > 0.5
    if not inside.any():
        return mask
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    waver = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2.0)
    change = rng.uniform(-FOUND_SHRINK, FOUND_GROW) + FOUND_WAVER * waver / waver.std()
    off = tuple(int(v) for v in rng.integers(-FOUND_OFF, FOUND_OFF + 1, 3))
    found = np.roll(depth + change > 0, off, axis=(0, 1, 2))
    return found.astype(np.float32) if found.any() else mask


def make_pair(bank: BankPatient, rng: np.random.Generator, words: random.Random) -> dict[str, Any] | None:
    """One training pair on a patch: source, residual, mask, plain, weight, op and sentence; None: no lesion."""
    if not bank.lesions:
        return None
    op = str(rng.choice(list(OP_SHARE), p=list(OP_SHARE.values())))
    lesion = bank.lesions[int(rng.integers(len(bank.lesions)))]
    size = max(lesion.delta.shape) * GRID_MM if lesion.spec.kind == "airway" else lesion.spec.size_mm
    where = np.argwhere(lesion.mask > 0.2)
    if not len(where):
        return None
    centre = where.mean(0) + lesion.start + rng.uniform(-1.5, 1.5, 3)
    start = np.rint(centre).astype(int) - PATCH // 2
    base = cut(bank.patient.ct, start, (PATCH,) * 3, -1024).astype(np.float32)
    # A second lesion nearby belongs to both twins: it must stay whatever is asked of the first.
    if rng.random() < 0.2:
        for other in pick_lesions([lesion, *bank.lesions[:8]], 2, rng):
            if other is not lesion:
                base += (
                    cut(other.delta, start - np.array(other.start), (PATCH,) * 3, 0.0) if _apart(lesion, other) else 0.0
                )
    mask = cut(lesion.mask, start - np.array(lesion.start), (PATCH,) * 3, 0.0)
    delta = cut(lesion.delta, start - np.array(lesion.start), (PATCH,) * 3, 0.0)
    edited = np.clip(base + delta, -1024, 3071)
    if op == "add":
        source, target = base, edited
    elif op == "remove":
        source, target = edited, base
    else:
        source = target = edited if rng.random() < 0.5 else base
    residual = windowed(target) - windowed(source)
    shown = mask if op != "none" else np.zeros_like(mask)
    if op == "remove" and rng.random() < FOUND_SHARE:
        shown = found_mask(mask, rng)
        size = greatest_dimension(shown > 0.5)
    support = support_of(mask if op == "none" else shown, size)
    plain = plain_edit(source, shown, op, None if lesion.spec.kind == "airway" else lesion.spec.texture, size)
    if rng.random() < 0.5:
        source, residual, support, shown, plain = (
            np.ascontiguousarray(a[..., ::-1]) for a in (source, residual, support, shown, plain)
        )
        lesion = mirrored(lesion)
    return {
        "source": source,
        "residual": residual * (support > 0),
        "mask": shown,
        "weight": support,
        "plain": plain,
        "op": OPS.index(op),
        "text": request_text(op, lesion, words),
    }


def batch_of(
    banks: list[BankPatient], reader: TextReader, batch: int, rng: np.random.Generator, words: random.Random
) -> dict[str, Tensor]:
    """A batch of pairs: source, residual, mask, plain, weight (B, 32, 32, 32), op (B,), text embedding (B, W)."""
    pairs: list[dict[str, Any]] = []
    while len(pairs) < batch:
        pair = make_pair(banks[int(rng.integers(len(banks)))], rng, words)
        if pair is not None:
            pairs.append(pair)
    planes = ("source", "residual", "mask", "plain", "weight")
    stack = {k: torch.from_numpy(np.stack([p[k] for p in pairs])).float() for k in planes}
    features, token_mask = token_features([p["text"] for p in pairs])
    with torch.no_grad():
        text = reader(features, token_mask)
    return {**stack, "op": torch.tensor([p["op"] for p in pairs]), "text": text}


def denoising_loss(model: LesionDenoiser, stack: dict[str, Tensor], noise: torch.Generator) -> tuple[Tensor, Numbers]:
    """EDM's weighted squared error of a batch (``batch_of``) at random noise levels, also as a share of the edit."""
    device = stack["residual"].device
    # Outside the support the edit is zero by construction: there is nothing to denoise there.
    inside = (stack["weight"] > 0)[:, None].float()
    clean = (stack["residual"] - stack["plain"])[:, None] * inside
    # Noise levels are drawn evenly on a log scale: sampling starts at the upper end, which is learned like the rest.
    spread = torch.rand(len(clean), generator=noise, device=device)
    sigma = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** spread
    grain = torch.randn(clean.shape, generator=noise, device=device)
    noisy = (clean + grain * sigma.view(-1, 1, 1, 1, 1)) * inside
    with mixed_precision(device):
        known = (stack[name] for name in ("source", "mask", "plain", "text", "op"))
        denoised = model(noisy, sigma, *known)
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    counts = (stack["weight"] * (1 + (LESION_WEIGHT - 1) * stack["mask"]))[:, None]
    per_sample = ((denoised - clean) ** 2 * counts).sum((1, 2, 3, 4)) / counts.sum((1, 2, 3, 4))
    power = (stack["residual"][:, None] ** 2 * counts).sum((1, 2, 3, 4)) / counts.sum((1, 2, 3, 4))
    numbers: Numbers = {}
    relative = (per_sample / power.clamp(min=1e-3)).detach().clamp(max=2.0)
    for name, lo, hi in (("clean", 0.0, 0.3), ("middle", 0.3, 1.5), ("noise", 1.5, 99.0)):
        here = (sigma >= lo) & (sigma < hi)
        numbers[f"relative_error_{name}"] = (relative * here).sum() / here.sum().clamp(min=1)
    return (weight * per_sample).mean(), numbers


def _apart(a: Lesion, b: Lesion) -> bool:
    lo = np.maximum(a.start, b.start)
    hi = np.minimum(np.add(a.start, a.delta.shape), np.add(b.start, b.delta.shape))
    return bool(np.any(hi <= lo))


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 1500, batch: int = 8, threads: int = 2,
    from_pack: bool = False, learning_rate: float = 1e-3, device: str = AUTO, workers: int = 0, minutes: float = 0.0,
    per_patient: int = PER_PATIENT,
) -> dict[str, Any]:  # fmt: skip
    """Train under the text reader beside ``out`` and write the model folder ``out``.

    ``from_pack`` begins with the weights that lie in ``out``.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    reader = load_weights(out.parent / "text", TextReader())
    banks = outside_disease(load_bank(training_folders(data), work / "cache", per_patient=per_patient, workers=threads))
    lesions = sum(len(b.lesions) for b in banks)
    log(f"diffusion: {len(banks)} patients, {lesions} lesions, {batch} pairs a step, {length(steps, minutes)}")
    model, before = begin(LesionDenoiser(), out, from_pack)
    where = training_device(device)
    model = model.to(where, memory_format=torch.channels_last_3d)
    token_features(["load the text encoder before other processes start"])

    def pairs_of(step: int) -> dict[str, Tensor]:
        rng, words = np.random.default_rng([5, before + step]), random.Random(before + step)
        return batch_of(banks, reader, batch, rng, words)

    batches = Ahead(pairs_of, steps, workers)

    def loss_of_step(step: int) -> tuple[Tensor, Numbers]:
        stack = {k: v.to(where) for k, v in batches(step).items()}
        return denoising_loss(model, stack, torch.Generator(where).manual_seed(before + step))

    options = LoopOptions(steps=steps, learning_rate=learning_rate, minutes=minutes)
    trained = train_loop(model, loss_of_step, options, work / "diffusion.pt", resume=resume)
    batches.stop()
    config = {
        "name": "diffusion",
        "version": "1",
        "architecture": "LesionDenoiser",
        "widths": list(model.widths),
        "patch": PATCH,
        "grid_mm": GRID_MM,
        "sigma_data": SIGMA_DATA,
        "ops": list(OPS),
        "train_patients": len(banks),
        "steps": before + options.taken,
        "batch": batch,
    }
    save_model(out, trained, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(banks), "steps": options.taken}}
