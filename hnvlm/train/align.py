"""Align sentences with CT tokens: which of them hold for a CT, and which report is whose.

A pool of samples is encoded once by the frozen encoder. Every sentence of a batch is scored against every CT of it;
whether a pair is true follows from the facts of the inserted lesions, so the contrast is between what is there and
what is one word away from it. Whole reports are told apart within the batch as well. Larger batches of those (64, at
full weight) were learned by heart: on patients kept aside labels and sentences were judged worse (docs/LAB.md).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnvlm.models.clip import CTTextSpace
from hnvlm.models.precision import device_of
from hnvlm.models.text_tower import TextReader, token_features
from hnvlm.report.general import general_sentence
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_spec
from hnvlm.train.loop import LoopOptions, Numbers, log, train_loop
from hnvlm.train.pool import Encoded
from hnvlm.train.text import random_finding
from hnvlm.types import Finding

BATCH = 16
REPORT_WEIGHT = 0.2
EMBED_BATCH = 128
SIZE_TOLERANCE = 0.3
GENERAL_SHARE = 0.2
# Standard deviation of what is added to each channel of a sentence's embedding.
SENTENCE_NOISE = 0.03
LEARNING_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class Told:
    """Sentences about one sample.

    Attributes:
        embedded: (S, W). facts: What each states. own: Which of them are true of it and make its report.
    """

    embedded: Tensor
    facts: list[dict[str, Any]]
    own: list[int]


def is_true(labels: dict[str, Any], findings: list[Finding]) -> bool:
    """Whether a sentence with these labels holds for a CT with these findings (a fact not stated always holds)."""
    if labels["op"] == "none":
        return not findings
    for finding in findings:
        if labels.get("kind") is None and finding.kind == "airway":
            continue  # "a lesion" is a node or a mass
        attributes = finding.attributes
        size_right = labels.get("size_mm") is None or (
            finding.size_mm is not None
            and abs(finding.size_mm - labels["size_mm"]) <= SIZE_TOLERANCE * labels["size_mm"]
        )
        texture_right = labels.get("texture") is None or attributes.get("texture") == labels["texture"]
        same = all(
            labels.get(k) is None or labels[k] == v
            for k, v in (("kind", finding.kind), ("place", finding.place), ("side", finding.side))
        )
        if same and size_right and texture_right:
            return True
    return False


def changed(finding: Finding, rng: random.Random) -> Finding:
    """The same finding with one fact changed: side most often, else place, texture or a size well apart."""
    draw = rng.random()
    if draw < 0.5:
        return replace(finding, side="left" if finding.side == "right" else "right")
    if draw < 0.8 or finding.kind == "airway":
        other = random_finding(rng, (finding.kind,))
        while (other.level, other.site) == (finding.level, finding.site):
            other = random_finding(rng, (finding.kind,))
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
    if finding.kind != "airway" and rng.random() < GENERAL_SHARE:
        return general_sentence(finding, rng)
    if rng.random() < 0.4:
        facts = {"op": "add", "kind": finding.kind, "side": finding.side, "place": finding.place}
        facts.update(size_mm=finding.size_mm, texture=finding.attributes.get("texture"))
        return render_finding(finding, "en", rng), facts
    spec = sample_spec("add", finding, rng, "train")
    return spec.text, spec.labels()


def sentences_for(
    samples: list[list[Finding]], rng: random.Random
) -> tuple[list[str], list[dict[str, Any]], list[list[int]]]:
    """Sentences about CTs with these findings: true ones, ones with a single wrong fact, unrelated ones.

    Returns:
        Texts, the facts each states, and for every CT the indices of its own true sentences.
    """
    texts: list[str] = []
    labels: list[dict[str, Any]] = []
    own: list[list[int]] = []

    def put(text_and_facts: tuple[str, dict[str, Any]]) -> int:
        texts.append(text_and_facts[0])
        labels.append(text_and_facts[1])
        return len(texts) - 1

    for findings in samples:
        mine = [put(sentence(f, rng)) for f in findings] or [put(sentence(None, rng))]
        own.append(mine)
        for finding in findings:
            put(sentence(changed(finding, rng), rng))
            put(sentence(changed(finding, rng), rng))
        put(sentence(random_finding(rng), rng))
        if not findings:  # "there is one" must be wrong at times
            put(general_sentence(random_finding(rng, ("node", "mass")), rng))
    return texts, labels, own


def embed_sentences(reader: TextReader, texts: list[str]) -> Tensor:
    """Embeddings (n, W) of sentences, batch by batch, where the reader lies."""
    out = []
    for i in range(0, len(texts), EMBED_BATCH):
        features, mask = token_features(texts[i : i + EMBED_BATCH], device_of(reader))
        with torch.inference_mode():
            out.append(reader(features, mask).clone())
    return torch.cat(out)


def pair_loss(space: CTTextSpace, batch: list[Encoded], told: list[Told]) -> tuple[Tensor, Numbers]:
    """How wrong each sentence's score against each CT is; true pairs weigh together as much as false ones."""
    sentences = _noisy(torch.cat([t.embedded for t in told]))
    truth = torch.tensor(
        [[float(is_true(facts, e.findings)) for t in told for facts in t.facts] for e in batch], device=sentences.device
    )
    scores = space.logits(_keys(space, batch), sentences)
    weight = torch.where(truth > 0, 0.5 / truth.mean().clamp(min=0.02), 0.5 / (1 - truth.mean()).clamp(min=0.02))
    loss = (F.binary_cross_entropy_with_logits(scores, truth, reduction="none") * weight).mean()
    guess = (scores > 0).float()
    numbers: Numbers = {
        "pairs": loss.detach(),
        "true_found": (guess * truth).sum() / truth.sum().clamp(min=1),
        "false_refused": ((1 - guess) * (1 - truth)).sum() / (1 - truth).sum().clamp(min=1),
    }
    return loss, numbers


def report_loss(space: CTTextSpace, batch: list[Encoded], told: list[Told]) -> Tensor:
    """Cross-entropy of finding each CT's report among those of the batch, and each report's CT.

    That of CLIP: A. Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021.
    """
    image = space.image_embedding(_keys(space, batch))
    report = space.report_embedding([_noisy(t.embedded[t.own]) for t in told])
    similarity = image @ report.T * space.log_scale.exp().clamp(max=50)
    target = torch.arange(len(batch), device=similarity.device)
    return 0.5 * (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target))


def train_alignment(
    space: CTTextSpace, reader: TextReader, pool: list[Encoded], work: Path, *, resume: bool, steps: int
) -> CTTextSpace:
    """Teach the CT-text space which sentences hold, over the frozen encoder's tokens."""
    device = device_of(space)
    told = _tell(reader.to(device), pool, random.Random(17))
    log(f"alignment: {len(pool)} samples, {sum(len(t.facts) for t in told)} sentences, {steps} steps")

    def loss_of_step(step: int) -> tuple[Tensor, Numbers]:
        index = np.random.default_rng([8, step]).integers(len(pool), size=BATCH)
        batch, sentences = [pool[int(i)] for i in index], [told[int(i)] for i in index]
        pairs, numbers = pair_loss(space, batch, sentences)
        reports = report_loss(space, batch, sentences)
        return pairs + REPORT_WEIGHT * reports, {**numbers, "reports": reports.detach()}

    options = LoopOptions(steps=steps, learning_rate=LEARNING_RATE, weight_decay=5e-2)
    return train_loop(space, loss_of_step, options, work / "clip-align.pt", resume=resume)  # type: ignore[return-value]


def _tell(reader: TextReader, pool: list[Encoded], rng: random.Random) -> list[Told]:
    texts: list[str] = []
    drawn = []
    for encoded in pool:
        said, facts, own = sentences_for([encoded.findings], rng)
        drawn.append((len(texts), facts, own[0]))
        texts += said
    embedded = embed_sentences(reader, texts)
    return [Told(embedded[first : first + len(facts)], facts, own) for first, facts, own in drawn]


def _keys(space: CTTextSpace, batch: list[Encoded]) -> Tensor:
    return space.project(torch.stack([e.tokens for e in batch]).to(device_of(space)).float())


def _noisy(sentences: Tensor) -> Tensor:
    return sentences + SENTENCE_NOISE * torch.randn_like(sentences)
