"""Train the CT encoder and the CT-text space: dense lesion maps first, sentences aligned with them.

Sentences are scored against every CT of the batch; whether a pair is true follows from the facts of the inserted
lesions, so the contrast is between what is there and what is one word away from it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnvlm.models.checkpoint import load_weights, read_config, save_model
from hnvlm.models.clip import ClipNetwork
from hnvlm.models.ct_encoder import CROP, LESION_CHANNELS, CTEncoder
from hnvlm.models.facts import lesion_finding
from hnvlm.models.text_tower import TextReader, token_features
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_spec
from hnvlm.train import text as text_trainer
from hnvlm.train.bank import BankPatient, load_bank
from hnvlm.train.compose import Sample, compose
from hnvlm.train.data import CHANNELS, training_folders
from hnvlm.train.loop import LoopOptions, log, train_loop
from hnvlm.train.segmenter import WIDTHS, segmentation_loss
from hnvlm.train.text import random_finding
from hnvlm.types import Finding

QUEUE = 256
SIZE_TOLERANCE = 0.3


def is_true(labels: dict[str, Any], findings: list[Finding]) -> bool:
    """Whether a sentence with these labels holds for a CT with these findings (a fact not stated always holds)."""
    if labels["op"] == "none":
        return not findings
    for finding in findings:
        attributes = finding.attributes
        place = finding.level or finding.site
        size_right = labels.get("size_mm") is None or (
            finding.size_mm is not None and abs(finding.size_mm - labels["size_mm"]) <= SIZE_TOLERANCE * labels["size_mm"]
        )
        texture_right = labels.get("texture") is None or attributes.get("texture") == labels["texture"]
        same = all(labels.get(k) is None or labels[k] == v for k, v in (("kind", finding.kind), ("place", place), ("side", finding.side)))
        if same and size_right and texture_right:
            return True
    return False


def changed(finding: Finding, rng: random.Random) -> Finding:
    """The same finding with one fact changed: side most often, else place, texture or a size well apart."""
    from dataclasses import replace

    draw = rng.random()
    if draw < 0.5:
        return replace(finding, side="left" if finding.side == "right" else "right")
    other = random_finding(rng, (finding.kind,))
    if draw < 0.8 or finding.kind == "airway":
        return replace(finding, level=other.level, site=other.site)
    if draw < 0.9:
        flipped = "solid" if finding.attributes.get("texture") == "necrotic" else "necrotic"
        return replace(finding, attributes={**finding.attributes, "texture": flipped})
    return replace(finding, size_mm=float(45 if (finding.size_mm or 0) < 20 else 9))


def sentence(finding: Finding | None, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A sentence that asserts a finding (or a clear neck) and the facts it states."""
    if finding is None:
        spec = sample_spec("none", None, rng, "train")
        return spec.text, spec.labels()
    if rng.random() < 0.4:
        facts = {"op": "add", "kind": finding.kind, "side": finding.side, "place": finding.level or finding.site}
        facts.update(size_mm=finding.size_mm, texture=finding.attributes.get("texture"))
        return render_finding(finding, "en", rng), facts
    spec = sample_spec("add", finding, rng, "train")
    return spec.text, spec.labels()


def sentences_for(samples: list[Sample], rng: random.Random) -> tuple[list[str], list[dict[str, Any]], list[list[int]]]:
    """Sentences of a batch: true ones, ones with a single wrong fact, unrelated ones; and which are each CT's own."""
    texts: list[str] = []
    labels: list[dict[str, Any]] = []
    own: list[list[int]] = []

    def put(finding: Finding | None) -> int:
        text, facts = sentence(finding, rng)
        texts.append(text)
        labels.append(facts)
        return len(texts) - 1

    for sample in samples:
        findings = [lesion_finding(x) for x in sample.lesions]
        mine = [put(f) for f in findings] or [put(None)]
        own.append(mine)
        for finding in findings:
            put(changed(finding, rng))
            put(changed(finding, rng))
        put(random_finding(rng))
    return texts, labels, own


def clip_loss(
    network: ClipNetwork, reader: TextReader, samples: list[Sample], rng: random.Random, queue: list[Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Dense lesion and structure loss, pairwise sentence loss and the global contrastive loss of one batch."""
    hu = torch.from_numpy(np.stack([s.hu for s in samples]))
    targets = torch.from_numpy(np.stack([s.targets for s in samples]))
    known = torch.from_numpy(np.stack([s.known for s in samples]))
    with torch.autocast("cpu", torch.bfloat16):
        logits, tokens = network.encoder(hu)
    logits = logits.float()
    n = len(CHANNELS)
    dense = segmentation_loss(logits[:, n:], targets[:, n:], known[:, n:])
    structures = segmentation_loss(logits[:, :n], targets[:, :n], known[:, :n])

    texts, labels, own = sentences_for(samples, rng)
    features, mask = token_features(texts)
    with torch.no_grad():
        sentences = reader(features, mask)
    findings = [[lesion_finding(x) for x in s.lesions] for s in samples]
    truth = torch.tensor([[float(is_true(facts, f)) for facts in labels] for f in findings])
    scores = network.space.logits(tokens.float(), sentences)
    weight = torch.where(truth > 0, 0.5 / truth.mean().clamp(min=0.02), 0.5 / (1 - truth.mean()).clamp(min=0.02))
    pairs = (F.binary_cross_entropy_with_logits(scores, truth, reduction="none") * weight).mean()

    image = network.space.image_embedding(tokens.float())
    report = network.space.report_embedding([sentences[i] for i in own])
    bank = torch.cat([report, *queue]) if queue else report
    contrast = F.cross_entropy(image @ bank.T * network.space.log_scale.exp().clamp(max=50), torch.arange(len(samples)))
    queue.insert(0, report.detach())
    while sum(len(q) for q in queue) > QUEUE:
        queue.pop()
    loss = 2.0 * dense + 0.5 * structures + pairs + 0.1 * contrast
    right = float(((scores > 0) == (truth > 0)).float().mean())
    return loss, {
        "dense": float(dense.detach()), "structures": float(structures.detach()), "pairs": float(pairs.detach()),
        "contrast": float(contrast.detach()), "right": right,
    }  # fmt: skip


def start_from_segmenter(encoder: CTEncoder, folder: Path) -> None:
    """Copy the trained segmenter's U-Net: its features already know the neck; lesion rows start at random."""
    from hnvlm.models.unet import FoldedUNet

    config = read_config(folder)
    segmenter = FoldedUNet(2, len(config["channels"]), config["widths"])
    load_weights(folder, segmenter)
    state = segmenter.state_dict()
    own = encoder.unet.state_dict()
    for name, value in state.items():
        own[name][: len(value)] = value
    encoder.unet.load_state_dict(own)


def train(
    data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 1000, batch: int = 4, threads: int = 2
) -> dict[str, Any]:
    """Train text reader (if it is not there yet), encoder and CT-text space; write ``out`` and its ``text`` sibling."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    text_folder = out.parent / "text"
    if not (text_folder / "model.safetensors").exists():
        text_trainer.train(text_folder, work, resume=resume, threads=threads)
    reader = load_weights(text_folder, TextReader())
    banks: list[BankPatient] = load_bank(training_folders(data), work / "cache", workers=threads)
    log(f"clip: {len(banks)} patients, {sum(len(b.lesions) for b in banks)} lesions, {steps} steps of {batch}")
    network = ClipNetwork(len(CHANNELS), WIDTHS)
    start_from_segmenter(network.encoder, out.parent / "segmenter")
    network = network.to(memory_format=torch.channels_last_3d)
    queue: list[Tensor] = []

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([3, step])
        samples = [compose(banks[int(rng.integers(len(banks)))], rng) for _ in range(batch)]
        return clip_loss(network, reader, samples, random.Random(step), queue)

    options = LoopOptions(steps=steps, learning_rate=8e-4)
    trained = train_loop(network, loss_of_step, options, work / "clip.pt", resume=resume)
    config = {
        "name": "clip", "version": "1", "architecture": "CTEncoder+CTTextSpace", "widths": list(WIDTHS),
        "structures": list(CHANNELS), "lesions": list(LESION_CHANNELS), "crop": CROP, "grid_mm": 3.0,
        "train_patients": len(banks), "steps": steps, "batch": batch,
    }  # fmt: skip
    save_model(out, trained, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(banks), "steps": steps}}
