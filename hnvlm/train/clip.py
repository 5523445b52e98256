"""Train the CT encoder and the CT-text space: dense lesion maps first, then sentences aligned with its tokens.

The encoder starts from the segmenter and learns lesion masks (dense supervision). Then it is frozen, a pool of
samples is encoded once, and the CT-text space learns which sentences hold: every sentence of a batch is scored
against every CT of it; whether a pair is true follows from the facts of the inserted lesions, so the contrast is
between what is there and what is one word away from it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnvlm.models.checkpoint import load_weights, read_config, save_model
from hnvlm.models.clip import ClipNetwork, CTTextSpace
from hnvlm.models.ct_encoder import CROP, LESION_CHANNELS, CTEncoder, visual_cues
from hnvlm.models.text_tower import TextReader, token_features
from hnvlm.models.unet import FOLD, FoldedUNet
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_spec
from hnvlm.train import text as text_trainer
from hnvlm.train.bank import BankPatient, load_bank
from hnvlm.train.compose import Sample, compose
from hnvlm.train.data import CHANNELS, training_folders
from hnvlm.train.loop import LoopOptions, log, train_loop
from hnvlm.train.pool import Encoded, build_pool, pool_folder
from hnvlm.train.segmenter import WIDTHS, segmentation_loss
from hnvlm.train.text import random_finding
from hnvlm.types import Finding

POOL = 3000
SMALLEST_VOXELS = 60.0
# Most lesion-free necks stay below this, most lesions over 18 mm reach it.
DETECTION_PEAK = 0.95
CUE_CROPS, CUE_STEPS = 700, 4000
VOXELS_INSIDE, VOXELS_OUTSIDE = 300, 1200
ALIGN_BATCH = 16
EMBED_BATCH = 128
SIZE_TOLERANCE = 0.3


def is_true(labels: dict[str, Any], findings: list[Finding]) -> bool:
    """Whether a sentence with these labels holds for a CT with these findings (a fact not stated always holds)."""
    if labels["op"] == "none":
        return not findings
    for finding in findings:
        attributes = finding.attributes
        place = finding.level or finding.site
        size_right = labels.get("size_mm") is None or (
            finding.size_mm is not None
            and abs(finding.size_mm - labels["size_mm"]) <= SIZE_TOLERANCE * labels["size_mm"]
        )
        texture_right = labels.get("texture") is None or attributes.get("texture") == labels["texture"]
        same = all(
            labels.get(k) is None or labels[k] == v
            for k, v in (("kind", finding.kind), ("place", place), ("side", finding.side))
        )
        if same and size_right and texture_right:
            return True
    return False


def changed(finding: Finding, rng: random.Random) -> Finding:
    """The same finding with one fact changed: side most often, else place, texture or a size well apart."""
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

    def put(finding: Finding | None) -> int:
        text, facts = sentence(finding, rng)
        texts.append(text)
        labels.append(facts)
        return len(texts) - 1

    for findings in samples:
        mine = [put(f) for f in findings] or [put(None)]
        own.append(mine)
        for finding in findings:
            put(changed(finding, rng))
            put(changed(finding, rng))
        put(random_finding(rng))
    return texts, labels, own


def start_from_segmenter(encoder: CTEncoder, folder: Path) -> None:
    """Copy the trained segmenter's U-Net: its features already know the neck; lesion rows start at random."""
    config = read_config(folder)
    segmenter = FoldedUNet(2, len(config["channels"]), config["widths"])
    load_weights(folder, segmenter)
    own = encoder.unet.state_dict()
    inputs = config["in_channels"] * FOLD**3
    for name, value in segmenter.state_dict().items():
        if name in ("down.0.conv1.weight", "down.0.skip.weight"):
            # The encoder sees more channels: the segmenter's keep their weights, the others start small and at random.
            own[name].mul_(0.5)
            own[name][:, :inputs] = value
        else:
            own[name][: len(value)] = value
    encoder.unet.load_state_dict(own)


def lesion_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal cross-entropy normalised by lesion size, and soft Dice of the channels that hold a lesion.

    Lesions fill less than a percent of a crop: under a plain mean the best answer is "none anywhere", and the network
    stays there. Here every lesion weighs the same, whatever its size (Lin et al. 2017, focal loss, gamma 2).

    Args:
        logits, targets: (B, C, Z, Y, X), targets 0..1.
    """
    p = logits.sigmoid()
    focal = (p - targets) ** 2 * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    positive = targets.sum((2, 3, 4))
    per_lesion = focal.sum((2, 3, 4)) / positive.clamp(min=SMALLEST_VOXELS)
    overlap, total = (p * targets).sum((2, 3, 4)), p.sum((2, 3, 4)) + positive
    there = (positive > 1).float()
    dice = ((1 - (2 * overlap + 1) / (total + 1)) * there).sum() / there.sum().clamp(min=1)
    return per_lesion.mean() + dice


def twins(banks: list[BankPatient], n: int, rng: np.random.Generator) -> list[Sample]:
    """``n`` samples in pairs: the same crop of the same patient with lesions and without.

    What differs within a pair is the lesion alone, so the step does not learn from the patients' other differences.
    """
    out: list[Sample] = []
    while len(out) < n:
        bank = banks[int(rng.integers(len(banks)))]
        seed = int(rng.integers(2**62))
        lesioned = compose(bank, np.random.default_rng(seed), n_lesions=int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])))
        if not lesioned.lesions:
            continue
        clean = lesioned.hu - lesioned.delta
        empty = lesioned.targets.copy()
        empty[len(CHANNELS) :] = 0.0
        out += [lesioned, replace(lesioned, hu=clean, targets=empty, lesions=[])]
    return out[:n]


def dense_loss(encoder: CTEncoder, samples: list[Sample]) -> tuple[Tensor, dict[str, float]]:
    """Lesion and structure maps of a batch of twins against their masks."""
    hu, targets = (torch.from_numpy(np.stack([getattr(s, k) for s in samples])) for k in ("hu", "targets"))
    known = torch.from_numpy(np.stack([s.known for s in samples]))
    with torch.autocast("cpu", torch.bfloat16):
        logits = encoder(hu)[0]
    logits = logits.float()
    n = encoder.n_structures
    lesions = lesion_loss(logits[:, n:], targets[:, n:])
    structures = segmentation_loss(logits[:, :n], targets[:, :n], known[:, :n])
    with torch.no_grad():
        hit = targets[:, n:].flatten(2).max(2).values > 0.5
        peak = (logits[:, n:].sigmoid() * (targets[:, n:] > 0.5)).flatten(2).max(2).values[hit]
        twin = (logits[1::2, n:].sigmoid() * (targets[::2, n:] > 0.5)).flatten(2).max(2).values[hit[::2]]
    numbers = {"lesions": float(lesions.detach()), "structures": float(structures.detach())}
    if len(peak):
        numbers["peak_on_lesion"] = float(peak.mean())
    if len(twin):
        numbers["peak_in_twin"] = float(twin.mean())
    return lesions + 0.2 * structures, numbers


def dense_options(steps: int) -> LoopOptions:
    """The lesion head starts from zero on trained features, so it learns ten times as fast as they change."""
    return LoopOptions(steps=steps, learning_rate=1e-3, warmup=60, fast=("unet.head",))


def sample_voxels(samples: list[Sample], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cues (n, CUES) and lesion shares (n, 3) of some lesion voxels and some others of each sample."""
    cues, shares = [], []
    for sample in samples:
        with torch.inference_mode():
            maps = visual_cues(torch.from_numpy(sample.hu)[None])[0].flatten(1).T
        lesions = torch.from_numpy(sample.targets[len(CHANNELS) :]).flatten(1).T
        tissue = (sample.hu.ravel() > -300) & (sample.hu.ravel() < 300)
        any_lesion = lesions.amax(1).numpy()
        inside = np.flatnonzero(any_lesion > 0.3)
        outside = np.flatnonzero((any_lesion < 0.02) & tissue)
        chosen = [rng.permutation(inside)[:VOXELS_INSIDE], rng.permutation(outside)[:VOXELS_OUTSIDE]]
        index = torch.from_numpy(np.concatenate(chosen))
        cues.append(maps[index].clone().half())
        shares.append(lesions[index].clone())
    return torch.cat(cues), torch.cat(shares)


def train_cues(encoder: CTEncoder, banks: list[BankPatient], work: Path, *, resume: bool) -> None:
    """Train the voxel-wise cue network in place, on voxels sampled from CUE_CROPS composed crops."""
    folder = work / "cues"
    if resume and (folder / "model.safetensors").exists():
        load_weights(folder, encoder.cue_net)
        return
    log(f"cues: sampling voxels of {CUE_CROPS} crops")
    rng = np.random.default_rng(23)
    samples = (compose(banks[int(rng.integers(len(banks)))], rng, n_lesions=2) for _ in range(CUE_CROPS))
    parts = [sample_voxels([s], rng) for s in samples]
    cues, shares = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    encoder.cue_net.norm.running_mean.copy_(cues.float().mean(0))
    encoder.cue_net.norm.running_var.copy_(cues.float().var(0))
    encoder.cue_net.norm.eval()
    log(f"cues: {len(cues)} voxels, {float((shares > 0.3).any(1).float().mean()):.3f} in a lesion")

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        encoder.cue_net.norm.eval()
        index = torch.from_numpy(np.random.default_rng([9, step]).integers(len(cues), size=4096))
        logits = encoder.cue_net(cues[index].float()[..., None, None, None]).flatten(1)
        return F.binary_cross_entropy_with_logits(logits, shares[index]), {}

    options = LoopOptions(steps=CUE_STEPS, learning_rate=2e-3, ema=0.99)
    trained = train_loop(encoder.cue_net, loss_of_step, options, work / "clip-cues.pt", resume=resume)
    encoder.cue_net.load_state_dict(trained.state_dict())
    save_model(folder, encoder.cue_net, {"name": "cues", "steps": CUE_STEPS}, dtype=torch.float32)


def train_dense(
    banks: list[BankPatient], segmenter: Path, out: Path, work: Path, *, resume: bool, steps: int, batch: int
) -> CTEncoder:
    """First stage: the encoder learns where lesions are. Its weights are kept in ``out`` for the second stage."""
    batch += batch % 2  # twins come in pairs
    encoder = CTEncoder(len(CHANNELS), WIDTHS)
    if resume and (out / "model.safetensors").exists():
        return load_weights(out, encoder).to(memory_format=torch.channels_last_3d)  # type: ignore[return-value]
    start_from_segmenter(encoder, segmenter)
    train_cues(encoder, banks, work, resume=resume)
    for parameter in encoder.cue_net.parameters():
        parameter.requires_grad_(False)
    encoder = encoder.to(memory_format=torch.channels_last_3d)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([3, step])
        return dense_loss(encoder, twins(banks, batch, rng))

    trained = train_loop(encoder, loss_of_step, dense_options(steps), work / "clip-dense.pt", resume=resume)
    save_model(out, trained, {"name": "dense", "steps": steps})
    return trained  # type: ignore[return-value]


def embed_sentences(reader: TextReader, texts: list[str]) -> Tensor:
    """Embeddings (n, W) of sentences, batch by batch."""
    out = []
    for i in range(0, len(texts), EMBED_BATCH):
        features, mask = token_features(texts[i : i + EMBED_BATCH])
        with torch.inference_mode():
            out.append(reader(features, mask).clone())
    return torch.cat(out)


def align_loss(
    space: CTTextSpace, batch: list[Encoded], sentences: Tensor, labels: list[dict[str, Any]], own: list[list[int]]
) -> tuple[Tensor, dict[str, float]]:
    """Pairwise sentence loss and global contrastive loss of a batch of encoded CTs."""
    keys = space.project(torch.stack([e.tokens for e in batch]).float())
    truth = torch.tensor([[float(is_true(facts, e.findings)) for facts in labels] for e in batch])
    scores = space.logits(keys, sentences)
    weight = torch.where(truth > 0, 0.5 / truth.mean().clamp(min=0.02), 0.5 / (1 - truth.mean()).clamp(min=0.02))
    pairs = (F.binary_cross_entropy_with_logits(scores, truth, reduction="none") * weight).mean()
    image, report = space.image_embedding(keys), space.report_embedding([sentences[i] for i in own])
    similarity = image @ report.T * space.log_scale.exp().clamp(max=50)
    target = torch.arange(len(batch))
    contrast = 0.5 * (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target))
    guess = scores > 0
    numbers = {
        "pairs": float(pairs.detach()),
        "contrast": float(contrast.detach()),
        "true_found": float(guess[truth > 0].float().mean()),
        "false_refused": float((~guess)[truth == 0].float().mean()),
    }
    return pairs + 0.2 * contrast, numbers


def train_alignment(
    encoder: CTEncoder, reader: TextReader, pool: list[Encoded], work: Path, *, resume: bool, steps: int
) -> CTTextSpace:
    """Second stage: the CT-text space learns which sentences hold, over the frozen encoder's tokens."""
    rng = random.Random(17)
    per_sample: list[tuple[int, int, list[int]]] = []
    texts: list[str] = []
    labels: list[dict[str, Any]] = []
    for encoded in pool:
        t, facts, own = sentences_for([encoded.findings], rng)
        per_sample.append((len(texts), len(texts) + len(t), own[0]))
        texts += t
        labels += facts
    log(f"alignment: {len(pool)} samples, {len(texts)} sentences, {steps} steps")
    embedded = embed_sentences(reader, texts)
    space = CTTextSpace(encoder.token_width)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        index = np.random.default_rng([8, step]).integers(len(pool), size=ALIGN_BATCH)
        rows: list[int] = []
        own: list[list[int]] = []
        for i in index:
            first, last, mine = per_sample[int(i)]
            own.append([len(rows) + k for k in mine])
            rows += range(first, last)
        sentences = embedded[rows] + 0.03 * torch.randn(len(rows), embedded.shape[1])
        return align_loss(space, [pool[int(i)] for i in index], sentences, [labels[r] for r in rows], own)

    options = LoopOptions(steps=steps, learning_rate=1e-3, weight_decay=5e-2)
    return train_loop(space, loss_of_step, options, work / "clip-align.pt", resume=resume)  # type: ignore[return-value]


def train(
    data: Path,
    out: Path,
    work: Path,
    *,
    resume: bool = False,
    steps: int = 1000,
    batch: int = 4,
    align_steps: int = 4000,
    pool_size: int = POOL,
    threads: int = 2,
) -> dict[str, Any]:
    """Train text reader (if it is not there yet), encoder and CT-text space; write ``out`` and its ``text`` sibling."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    text_folder = out.parent / "text"
    if not (text_folder / "model.safetensors").exists():
        text_trainer.train(text_folder, work, resume=resume, threads=threads)
    reader: TextReader = load_weights(text_folder, TextReader())  # type: ignore[assignment]
    banks: list[BankPatient] = load_bank(training_folders(data), work / "cache", workers=threads)
    log(f"clip: {len(banks)} patients, {sum(len(b.lesions) for b in banks)} lesions, {steps} steps of {batch}")
    dense = work / "dense"
    encoder = train_dense(banks, out.parent / "segmenter", dense, work, resume=resume, steps=steps, batch=batch)
    pool = build_pool(encoder, banks, pool_folder(work, dense, banks), pool_size)
    space = train_alignment(encoder, reader, pool, work, resume=resume, steps=align_steps)
    network = ClipNetwork(len(CHANNELS), WIDTHS)
    network.encoder, network.space = encoder, space
    config = {
        "name": "clip",
        "version": "1",
        "architecture": "CTEncoder+CTTextSpace",
        "widths": list(WIDTHS),
        "structures": list(CHANNELS),
        "lesions": list(LESION_CHANNELS),
        "crop": CROP,
        "grid_mm": 3.0,
        "train_patients": len(banks),
        "steps": steps,
        "batch": batch,
        "align_steps": align_steps,
        "pool": pool_size,
        "detection_peak": DETECTION_PEAK,
    }
    save_model(out, network, config)
    return {"checkpoint": str(out), "metrics": {"train_patients": len(banks), "steps": steps}}
