"""The report model on validation patients: presence, side, place and size of inserted lesions, and measured facts."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnvlm.evaluate.cases import Case, lesion_cases
from hnvlm.evaluate.common import auroc, log, median, share
from hnvlm.models.facts import lesion_finding, measured_findings
from hnvlm.models.pack import ModelPack
from hnvlm.models.report_model import presence_score
from hnvlm.report.compare import compare
from hnvlm.report.parse import parse
from hnvlm.types import Finding

DENIAL = {"Primary site:": " No", "Nodes right:": " No", "Nodes left:": " No"}


def denial_probabilities(tokenizer: Any, steps: list[tuple[torch.Tensor, int]]) -> list[tuple[str, float]]:
    """For each line that denies or describes a lesion: its name and the probability of the denial's first token."""
    first = {line: tokenizer.encode(word).ids[0] for line, word in DENIAL.items()}
    out = []
    ids: list[int] = []
    for probabilities, choice in steps:
        text = tokenizer.decode(ids[-12:])
        for line, token in first.items():
            if text.endswith(line):
                out.append((line, float(probabilities[token])))
        ids.append(choice)
    return out


def majority_report(texts: list[str]) -> str:
    """The most frequent report: what a model that does not look would write."""
    return Counter(texts).most_common(1)[0][0]


def _lesions(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.kind in ("node", "mass") and f.presence == "present"]


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Write a report for every validation CT, lesion-free and with an inserted lesion, and compare with the facts."""
    scores, labels, rows = [], [], []
    own_reports: list[str] = []
    facts = Counter[str]()
    seconds = []
    _, tokenizer, _ = pack.report_model
    for case in lesion_cases(pack, data, limit=limit):
        # The whole path runs again on the CT with the lesion: contours, landmarks, tokens, text.
        segmentation = pack.segment(case.ct) if case.lesions else case.segmentation
        neck = pack.neck(case.ct, segmentation)
        _, tokens = pack.encode(neck)
        started = time.perf_counter()
        text, _, steps = pack.write_report(tokens, "en")
        seconds.append(time.perf_counter() - started)
        found = parse(text)
        scores.append(presence_score(denial_probabilities(tokenizer, steps)))
        labels.append(bool(case.lesions))
        if case.lesions:
            rows.append(_judge(case, found))
        else:
            own_reports.append(text)
            _count_facts(facts, measured_findings(neck.anatomy), found)
        log(f"{case.patient} lesions {len(case.lesions)} score {scores[-1]:.3f}")
    named = [r for r in rows if r["found"]]
    sized = [r for r in named if r["size_error_mm"] is not None]
    specificity = [not _lesions(parse(t)) for t in own_reports]
    reference = majority_report(own_reports)
    metrics: dict[str, Any] = {
        "presence_auroc": round(auroc(scores, labels), 4),
        "presence_auroc_n": {"with_lesion": int(sum(labels)), "without": int(len(labels) - sum(labels))},
        "sensitivity": share([r["found"] for r in rows]),
        "no_lesion_named_without_one": share(specificity),
        "side_right": share([r["side"] for r in named]),
        "place_right": share([r["place"] for r in named]),
        "texture_right": share([r["texture"] for r in named]),
        "size_mae_mm": round(float(np.mean([r["size_error_mm"] for r in sized])), 2) if sized else None,
        "finding_f1": _f1(rows),
        "distinct_reports": len(set(own_reports)),
        "patients": len(own_reports),
        "median_writing_seconds": median(seconds),
        "target_side_right": _ratio(facts, "target_side"),
        "artefact_right": _ratio(facts, "artefact"),
        "coverage_right": _ratio(facts, "coverage"),
        "baseline_majority_report": {"presence_auroc": 0.5, "sensitivity": float(bool(_lesions(parse(reference))))},
    }
    return {"metrics": metrics, "n_cases": len(own_reports), "model": "report"}


def _judge(case: Case, found: list[Finding]) -> dict[str, Any]:
    truth = lesion_finding(case.lesions[0])
    lesions = _lesions(found)
    same_kind = [f for f in lesions if f.kind == truth.kind]
    pool = same_kind or lesions
    if not pool:
        return {"found": False, "compare": compare([truth], [])}
    best = max(pool, key=lambda f: (f.side == truth.side) + 0.5 * ((f.level or f.site) == (truth.level or truth.site)))
    error = abs(best.size_mm - truth.size_mm) if best.size_mm and truth.size_mm and best.side == truth.side else None
    return {
        "found": True,
        "side": best.side == truth.side,
        "place": best.kind == truth.kind and (best.level or best.site) == (truth.level or truth.site),
        "texture": best.attributes.get("texture") == truth.attributes.get("texture"),
        "size_error_mm": error,
        "compare": compare([truth], lesions),
    }


def _f1(rows: list[dict[str, Any]]) -> float:
    tp = sum(r["compare"]["tp"] for r in rows)
    fp = sum(r["compare"]["fp"] for r in rows)
    fn = sum(r["compare"]["fn"] for r in rows)
    return round(2 * tp / max(1, 2 * tp + fp + fn), 4)


def _count_facts(facts: Counter[str], measured: list[Finding], found: list[Finding]) -> None:
    for kind, key, value in (
        ("target", "target_side", lambda f: f.side),
        ("artefact", "artefact", lambda f: f.presence),
        ("coverage", "coverage", lambda f: (f.attributes.get("superior"), f.attributes.get("inferior"))),
    ):
        truth = next((f for f in measured if f.kind == kind), None)
        guess = next((f for f in found if f.kind == kind), None)
        if truth is None:
            continue
        facts[f"{key}_n"] += 1
        facts[key] += bool(guess is not None and value(guess) == value(truth))


def _ratio(facts: Counter[str], key: str) -> dict[str, float | None]:
    n = facts[f"{key}_n"]
    return {"value": round(facts[key] / n, 4) if n else None, "n": n}
