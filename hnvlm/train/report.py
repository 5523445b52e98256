"""Train the report model on the frozen CT encoder's tokens and what was measured: both to report text.

It is told the measured facts and repeats them; of most samples these are not the patient's own but drawn at random, so
that they are read and not remembered. Lesions it has to see: those inserted into the CT and, where the clinic's own
report of the patient is there, those it names. Of those that the encoder's maps may show it is told place, size and
texture as measured, and a lesion that is there has the size and texture that were measured of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.own_reports import OwnReport, own_reports
from hnvlm.models.checkpoint import load_weights, read_config, save_model
from hnvlm.models.clip import ClipNetwork
from hnvlm.models.detect import MOST_TOLD
from hnvlm.models.facts import measured_findings
from hnvlm.models.precision import mixed_precision
from hnvlm.models.report_model import EOS, PAD, PROMPTS, SPECIAL, ReportModel, load_tokenizer, model_config, prompt_ids
from hnvlm.report.flip import flip_finding
from hnvlm.report.measured import measured_lines
from hnvlm.report.render import render
from hnvlm.report.vocabulary import load
from hnvlm.train.ahead import AUTO, training_device
from hnvlm.train.bank import BankPatient, anatomy_of, load_bank
from hnvlm.train.clip import PER_PATIENT, POOL
from hnvlm.train.data import CHANNELS, training_folders
from hnvlm.train.loop import LoopOptions, Numbers, length, log, train_loop
from hnvlm.train.pool import POOL_SEED, Encoded, build_pool, holds, pool_folder
from hnvlm.train.segmenter import WIDTHS
from hnvlm.train.text import random_finding
from hnvlm.types import Finding

VOCABULARY = 1200
WIDTH, LAYERS = 256, 5
TOKEN_NOISE = 0.1
# Share of the samples whose measured facts are drawn at random.
RANDOM_FACTS = 0.9
# Share of the lesions shown by the maps whose size and texture are drawn at random.
RANDOM_SEEN = 0.5
# Of the samples, those told of more lesions than the maps show: up to ``MOST_TOLD``, as of a neck full of false alarms.
CROWDED = 0.5
POLISH_SHARE = 0.5
LESION_WEIGHT = 4.0
LESION_LINES = ("mass", "node_right", "node_left", "airway", "impression")
LANDMARKS = (
    "vertex",
    "skull base",
    "nasopharynx",
    "hard palate",
    "oropharynx",
    "hyoid",
    "larynx",
    "cricoid",
    "clavicle",
    "upper mediastinum",
)


def findings_of(facts: list[Finding], inserted: list[Finding]) -> list[Finding]:
    """What the report of a sample says: measured facts and the inserted lesions."""
    facts = list(facts)
    if any(f.kind == "airway" for f in inserted):
        facts = [f for f in facts if f.kind != "airway"]
    if any(f.kind == "mass" for f in inserted):
        # A mass at the pharyngeal wall changes the lumen, so the area measured without it no longer holds.
        facts = [Finding("airway", "absent") if f.kind == "airway" else f for f in facts]
    return facts + inserted


def with_own_reports(pool: list[Encoded], banks: list[BankPatient], reports: dict[str, OwnReport]) -> list[Encoded]:
    """The samples with what the clinic's own report names beside the inserted lesions, mirrored with the CT.

    Samples of a patient whose report leaves open what is there are left out: "no mass" might be wrong of them. A
    patient without a report counts as without a lesion of its own, as nothing else is known.

    Raises:
        InputRefusedError: No sample is left.
    """
    out = []
    for sample in pool:
        report = reports.get(banks[sample.patient].patient.patient_id, OwnReport())
        if not report.unclear:
            own = [flip_finding(f) for f in report.lesions] if sample.flipped else list(report.lesions)
            seen = [(f, None if of is None else of + len(own)) for f, of in sample.seen]
            out.append(replace(sample, findings=own + sample.findings, seen=seen))
    if not out:
        raise InputRefusedError(
            "No patient's own report (report.txt) says clearly which masses and nodes are there, so there is nothing "
            "to learn reports from. The log names the reasons; patients without a report.txt are learned from, too."
        )
    return out


def lesions_told(encoded: Encoded, rng: random.Random) -> tuple[list[Finding], list[Finding]]:
    """The lesions of a sample as its report names them, and those the model is told may be there.

    What is there has the size and texture it is told with, so these are read and not guessed from the CT; and what is
    told first is named first, so that the next to copy is known.
    """
    findings, told = list(encoded.findings), []
    for lesion, of in encoded.seen:
        if rng.random() < RANDOM_SEEN:
            lesion = _resized(lesion, random_finding(rng, ("node", "mass")))
        if of is not None:
            findings[of] = _resized(findings[of], lesion)
        told.append(lesion)
    place = {of: k for k, (_, of) in enumerate(encoded.seen) if of is not None}
    findings = [findings[i] for i in sorted(range(len(findings)), key=lambda i: place.get(i, MOST_TOLD))]
    if rng.random() < CROWDED:
        told = crowded(told, findings, rng)
    return findings, told


def _resized(lesion: Finding, like: Finding) -> Finding:
    """The lesion with the size and texture of another."""
    texture = {"texture": like.attributes["texture"]}
    return replace(lesion, size_mm=like.size_mm, attributes=lesion.attributes | texture)


def crowded(told: list[Finding], there: list[Finding], rng: random.Random) -> list[Finding]:
    """What is told, among up to ``MOST_TOLD`` lesions with some that are nowhere: none in the place of one that is."""
    out, wanted = list(told), rng.randint(len(told), max(MOST_TOLD, len(told)))
    where = attrgetter("kind", "side", "level", "site")
    places = {where(f) for f in (*told, *there)}
    while len(out) < wanted:
        lesion = random_finding(rng, ("node", "mass"))
        if where(lesion) not in places:
            out.insert(rng.randint(0, len(out)), lesion)
    return out


def random_facts(rng: random.Random) -> list[Finding]:
    """Measured facts of nobody: coverage, target, dental artefact and the airway's area."""

    def extent() -> dict[str, Any]:
        upper, lower = sorted(rng.sample(range(len(LANDMARKS)), 2))
        return {"superior": LANDMARKS[upper], "inferior": LANDMARKS[lower]}

    facts = [Finding("coverage", attributes=extent())]
    if rng.random() < 0.95:
        side = rng.choice(("left", "right", "midline", "bilateral"))
        volume = float(rng.randrange(20, 500 if rng.random() < 0.7 else 1000, 20))
        facts.append(Finding("target", side=side, attributes={**extent(), "volume_ml": volume}))
    if rng.random() < 0.6:
        facts.append(Finding("artefact", attributes={"extent": rng.choice(("mild", "moderate", "severe"))}))
    if rng.random() < 0.95:
        area = float(rng.randrange(20, 500 if rng.random() < 0.7 else 1000, 20))
        facts.append(Finding("airway", "absent", attributes={"min_area_mm2": area}))
    return facts


def told_and_written(encoded: Encoded, measured: list[Finding], language: str, rng: random.Random) -> tuple[str, str]:
    """The lines a model is told of a sample, and the report it is to write.

    Args:
        measured: Facts of the patient, not mirrored.
    """
    facts = measured
    if rng.random() < RANDOM_FACTS:
        facts = random_facts(rng)
    elif encoded.flipped:
        facts = [flip_finding(f) for f in facts]
    lesions, seen = lesions_told(encoded, rng)
    return measured_lines(facts, language, seen=seen), render(findings_of(facts, lesions), language=language)


def random_report(rng: random.Random, language: str) -> str:
    """A report about nothing in particular: only its words matter (tokenizer)."""
    findings = []
    for _ in range(rng.randrange(4)):
        candidate = random_finding(rng)
        if not any(f.kind == candidate.kind == "airway" for f in findings):
            findings.append(candidate)
    facts = [f for f in random_facts(rng) if f.kind != "airway" or not any(x.kind == "airway" for x in findings)]
    return render(findings + facts, language=language)


def train_tokenizer(folder: Path) -> Tokenizer:
    """Byte-level BPE over sampled reports; every digit is its own token, so that sizes are read digit by digit."""
    rng = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [random_report(rng, "pl" if k % 3 == 0 else "en") for k in range(2500)]
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def tokenizer_of_run(out: Path, kept: Path, *, resume: bool, from_pack: bool) -> Tokenizer:
    """The tokenizer of a training: of the checkpoint, of the weights it begins with, or a new one; noted in ``kept``.

    Weights know tokens by their number, so weights never meet another tokenizer than their own; that of the model
    folder ``out`` stays as it is until its weights are written.
    """
    if resume and (kept / "tokenizer.json").exists():
        return load_tokenizer(kept)
    if not from_pack:
        return train_tokenizer(kept)
    tokenizer = load_tokenizer(out)
    kept.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(kept / "tokenizer.json"))
    return tokenizer


@dataclass(frozen=True)
class Target:
    """A report as the decoder learns it: token ids with the end, and the weight of each."""

    ids: list[int]
    weights: list[float]


@cache
def lesion_headings() -> tuple[str, ...]:
    """How the lines start that name or deny a lesion, in every language."""
    return tuple(f"{load(f'report_{language}')['headings'][name]}:" for language in PROMPTS for name in LESION_LINES)


def target_of(tokenizer: Tokenizer, text: str, end: int) -> Target:
    """Token ids of a report; the lines that name or deny a lesion weigh ``LESION_WEIGHT`` times as much.

    Most of a report is the same for everybody; whether there is a lesion, and what it is like, is a few words.
    """
    spans, at = [], 0
    for line in text.split("\n"):
        if line.startswith(lesion_headings()):
            spans.append((at, at + len(line)))
        at += len(line) + 1
    encoded = tokenizer.encode(text)
    weights = [LESION_WEIGHT if any(a <= lo < b for a, b in spans) else 1.0 for lo, _ in encoded.offsets]
    return Target([*encoded.ids, end], [*weights, 1.0])


def padded_in_front(prompts: list[list[int]], pad: int) -> Tensor:
    """Prompts as one tensor (B, P); the ends lie side by side, next to the text."""
    longest = max(map(len, prompts))
    return torch.tensor([[pad] * (longest - len(ids)) + ids for ids in prompts])


def report_loss(
    model: ReportModel, tokens: Tensor, targets: list[Target], prompts: list[list[int]], pad: int
) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy over report tokens (padding left out) and the share predicted right, one number each.

    Args:
        tokens: CT tokens (B, 512, W).
        targets, prompts: One of each for every CT.
    """
    length = max(len(t.ids) for t in targets)
    ids, weight = torch.full((len(targets), length), pad), torch.zeros(len(targets), length)
    for k, target in enumerate(targets):
        ids[k, : len(target.ids)] = torch.tensor(target.ids)
        weight[k, : len(target.ids)] = torch.tensor(target.weights)
    ids, weight = ids.to(tokens.device), weight.to(tokens.device)
    with mixed_precision(tokens.device):
        logits = model(tokens, padded_in_front(prompts, pad).to(tokens.device), ids)
    logits = logits.float()
    loss = (F.cross_entropy(logits.transpose(1, 2), ids, reduction="none") * weight).sum() / weight.sum()
    real = weight > 0
    return loss, ((logits.argmax(-1) == ids) & real).sum() / real.sum()


def go_on(model: ReportModel, folder: Path, steps: int) -> None:
    """Take the weights of the model in ``folder`` that fit; ``steps`` lie behind them.

    The decoder knows how reports are written, whatever the encoder; the projector of another encoder does not fit.
    """
    state, own = load_file(folder / "model.safetensors"), model.state_dict()
    fits = {k: v.float() for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fits, strict=False)
    log(f"report: goes on from {steps} steps with {len(fits)} of {len(own)} tensors")


def train(
    data: Path,
    out: Path,
    work: Path,
    *,
    resume: bool = False,
    steps: int = 3000,
    batch: int = 16,
    pool_size: int = POOL,
    threads: int = 2,
    device: str = AUTO,
    workers: int = 0,
    minutes: float = 0.0,
    per_patient: int = PER_PATIENT,
    from_pack: bool = False,
    learning_rate: float = 8e-4,
    polish_share: float = POLISH_SHARE,
) -> dict[str, Any]:
    """Train on the tokens of the encoder in ``out``'s sibling ``clip`` and write the model folder ``out``.

    The encoder is frozen: its tokens come from the pool that the alignment with text was trained on. A ``report.txt``
    in a case folder, English or Polish, tells which lesions the patient's own CT shows.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    folders = training_folders(data)
    reports = own_reports(folders)
    tokenizer = tokenizer_of_run(out, work / "report-tokenizer", resume=resume, from_pack=from_pack)
    pad, end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(EOS)
    network: ClipNetwork = load_weights(out.parent / "clip", ClipNetwork(len(CHANNELS), WIDTHS))  # type: ignore[assignment]
    banks: list[BankPatient] = load_bank(folders, work / "cache", per_patient=per_patient, workers=threads)
    base = [measured_findings(a) for a in (anatomy_of(b.patient) for b in banks) if a is not None]
    where = training_device(device)
    network.encoder.to(where)
    before = int(read_config(out)["steps"]) if from_pack else 0
    # Where the encoder was trained here, its pool is that of the alignment: no weights have seen its tokens. Else that
    # of the encoder in the pack, of other samples than those the weights know.
    here = holds(work / "encoder", network.encoder)
    known = 0 if here else before
    kept = pool_folder(work, work / "encoder" if here else out.parent / "clip", banks, known)
    pool = build_pool(network.encoder, banks, kept, pool_size, seed=POOL_SEED + known, workers=workers)
    pool = with_own_reports(pool, banks, reports)
    log(
        f"report: {len(banks)} patients, {len(pool)} samples, vocabulary {tokenizer.get_vocab_size()}, "
        f"{length(steps, minutes)} of {batch}"
    )
    model = ReportModel(tokenizer.get_vocab_size(), network.encoder.token_width, WIDTH, LAYERS)
    if from_pack:
        go_on(model, out, before)
    model = model.to(where)

    def sample(encoded: Encoded, language: str, rng: random.Random) -> tuple[list[int], Target]:
        prompt, text = told_and_written(encoded, base[encoded.patient], language, rng)
        return prompt_ids(tokenizer, language, prompt), target_of(tokenizer, text, end)

    def loss_of_step(step: int) -> tuple[Tensor, Numbers]:
        rng = np.random.default_rng([4, before + step])
        chosen = [int(i) for i in rng.integers(len(pool), size=batch)]
        words = random.Random(int(rng.integers(2**31)))
        samples = [sample(pool[i], "pl" if words.random() < polish_share else "en", words) for i in chosen]
        tokens = torch.stack([pool[i].tokens for i in chosen]).to(where).float()
        tokens = tokens + TOKEN_NOISE * tokens.std() * torch.randn_like(tokens)
        prompts, targets = zip(*samples, strict=True)
        loss, right = report_loss(model, tokens, list(targets), list(prompts), pad)
        return loss, {"right": right}

    options = LoopOptions(steps=steps, learning_rate=learning_rate, weight_decay=5e-2, minutes=minutes)
    trained = train_loop(model, loss_of_step, options, work / "report.pt", resume=resume)
    config = {
        "name": "report",
        "version": "1",
        "architecture": "Projector+Gemma2",
        "encoder": "clip",
        "languages": list(PROMPTS),
        "told_facts": True,
        "told_lesions": True,
        **model_config(tokenizer.get_vocab_size(), WIDTH, LAYERS, network.encoder.token_width),
        "train_patients": len(banks),
        "own_reports": sum(not r.unclear for r in reports.values()),
        "steps": before + options.taken,
        "batch": batch,
    }
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    save_model(out, trained, config)
    told = {key: config[key] for key in ("train_patients", "own_reports")}
    return {"checkpoint": str(out), "metrics": told | {"steps": options.taken}}
