"""Train the CT encoder and the CT-text space: lesion maps first, then sentences aligned with its tokens.

The encoder takes the segmenter's U-Net as it is and a lesion network trained on patches. Then it is frozen, a pool of
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

from hnvlm.errors import UsageError
from hnvlm.models.checkpoint import load_weights, read_config, save_model
from hnvlm.models.clip import ClipNetwork, CTTextSpace, load_clip
from hnvlm.models.ct_encoder import CROP, LESION_CHANNELS, CTEncoder
from hnvlm.models.precision import device_of
from hnvlm.models.text_tower import TextReader, token_features
from hnvlm.models.unet import FoldedUNet
from hnvlm.report.general import general_sentence
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_spec
from hnvlm.train import text as text_trainer
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.aside import KEPT_PATIENTS, aside_last, kept_aside, names_aside
from hnvlm.train.bank import BankPatient, load_bank
from hnvlm.train.compose import compose
from hnvlm.train.data import CHANNELS, training_folders
from hnvlm.train.lesions import BATCH, LEARNING_RATE, detector_metrics, train_lesion_net
from hnvlm.train.loop import LoopOptions, Numbers, length, log, train_loop
from hnvlm.train.pool import Encoded, build_pool, pool_folder
from hnvlm.train.segmenter import WIDTHS
from hnvlm.train.text import random_finding
from hnvlm.types import Finding

POOL = 3000
PER_PATIENT = 40
SEED = 5
CALIBRATION_CROPS = 60
ALIGN_BATCH = 16
EMBED_BATCH = 128
SIZE_TOLERANCE = 0.3
GENERAL_SHARE = 0.2


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


def embed_sentences(reader: TextReader, texts: list[str]) -> Tensor:
    """Embeddings (n, W) of sentences, batch by batch, where the reader lies."""
    out = []
    for i in range(0, len(texts), EMBED_BATCH):
        features, mask = token_features(texts[i : i + EMBED_BATCH], device_of(reader))
        with torch.inference_mode():
            out.append(reader(features, mask).clone())
    return torch.cat(out)


def align_loss(
    space: CTTextSpace, batch: list[Encoded], sentences: Tensor, labels: list[dict[str, Any]], own: list[list[int]]
) -> tuple[Tensor, Numbers]:
    """Pairwise sentence loss and global contrastive loss of a batch of encoded CTs."""
    device = sentences.device
    keys = space.project(torch.stack([e.tokens for e in batch]).to(device).float())
    truth = torch.tensor([[float(is_true(facts, e.findings)) for facts in labels] for e in batch], device=device)
    scores = space.logits(keys, sentences)
    weight = torch.where(truth > 0, 0.5 / truth.mean().clamp(min=0.02), 0.5 / (1 - truth.mean()).clamp(min=0.02))
    pairs = (F.binary_cross_entropy_with_logits(scores, truth, reduction="none") * weight).mean()
    image, report = space.image_embedding(keys), space.report_embedding([sentences[i] for i in own])
    similarity = image @ report.T * space.log_scale.exp().clamp(max=50)
    target = torch.arange(len(batch), device=device)
    contrast = 0.5 * (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target))
    guess = (scores > 0).float()
    numbers: Numbers = {
        "pairs": pairs.detach(),
        "contrast": contrast.detach(),
        "true_found": (guess * truth).sum() / truth.sum().clamp(min=1),
        "false_refused": ((1 - guess) * (1 - truth)).sum() / (1 - truth).sum().clamp(min=1),
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
    device = device_of(encoder)
    embedded = embed_sentences(reader.to(device), texts)
    space = CTTextSpace(encoder.token_width).to(device)

    def loss_of_step(step: int) -> tuple[Tensor, Numbers]:
        index = np.random.default_rng([8, step]).integers(len(pool), size=ALIGN_BATCH)
        rows: list[int] = []
        own: list[list[int]] = []
        for i in index:
            first, last, mine = per_sample[int(i)]
            own.append([len(rows) + k for k in mine])
            rows += range(first, last)
        sentences = embedded[rows] + 0.03 * torch.randn(len(rows), embedded.shape[1], device=device)
        return align_loss(space, [pool[int(i)] for i in index], sentences, [labels[r] for r in rows], own)

    options = LoopOptions(steps=steps, learning_rate=1e-3, weight_decay=5e-2)
    return train_loop(space, loss_of_step, options, work / "clip-align.pt", resume=resume)  # type: ignore[return-value]


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
    space = train_alignment(encoder, reader, pool, work, resume=resume, steps=align_steps)
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
