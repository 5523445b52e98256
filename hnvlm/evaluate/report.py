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
from hnvlm.imaging.lesions import Lesion
from hnvlm.models.detect import evidence
from hnvlm.models.facts import lesion_finding, measured_findings
from hnvlm.models.neck import Neck
from hnvlm.models.pack import ModelPack
from hnvlm.models.report_model import presence_score
from hnvlm.report.compare import compare
from hnvlm.report.parse import parse
from hnvlm.types import Finding

DENIAL = {"Primary site:": " No", "Nodes right:": " No", "Nodes left:": " No"}
MEASURABLE_MM = 15.0


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


def line_of(lesion: Lesion) -> str:
    """The line of the report that has to name a node or a mass."""
    return "Primary site:" if lesion.spec.kind == "mass" else f"Nodes {lesion.spec.side}:"


class Presence:
    """Scores and truth of the presence of an inserted lesion, collected CT by CT."""

    def __init__(self) -> None:
        self.report: list[float] = []
        self.detector: list[float] = []
        self.truth: list[bool] = []
        self.size_mm: list[float] = []
        self.lines: list[tuple[float, bool]] = []
        self.peak_in_target: list[bool] = []
        self.target_share: list[float] = []

    def add(self, case: Case, denials: list[tuple[str, float]], probability: np.ndarray, neck: Neck) -> None:
        """One CT: denial probabilities of the report's lines and the encoder's lesion maps (3, 64, 64, 64)."""
        self.report.append(presence_score(denials))
        seen = np.maximum(evidence(probability[0]), evidence(probability[1]))
        self.detector.append(float(seen.max()))
        self.truth.append(bool(case.lesions))
        self.size_mm.append(max((x.spec.size_mm for x in case.lesions), default=0.0))
        named = {line_of(x) for x in case.lesions}
        self.lines += [(1.0 - p, line in named) for line, p in denials]
        target = case.masks.get("PTV_7000")
        if not case.lesions and target is not None:
            self._real_target(case, target, seen, neck)

    def _real_target(self, case: Case, target: np.ndarray, seen: np.ndarray, neck: Neck) -> None:
        """Whether the highest peak of the patient's own CT lies in the clinic's high-dose target (real disease)."""
        tissue = np.argwhere((neck.crop > -100) & (neck.crop < 200)) + neck.start
        peak = np.array(np.unravel_index(int(seen.argmax()), neck.crop.shape)) + neck.start

        def inside(index: np.ndarray) -> np.ndarray:
            at = np.rint(case.ct.mm_to_index(neck.working.index_to_mm(index))).astype(int)
            ok = np.all((at >= 0) & (at < target.shape), axis=-1)
            at = np.clip(at, 0, np.array(target.shape) - 1)
            return target[tuple(at.T)] & ok

        self.peak_in_target.append(bool(inside(peak[None])[0]))
        self.target_share.append(float(inside(tissue).mean()))

    def metrics(self) -> dict[str, Any]:
        """AUROC of report and detector, on all CTs and with lesions of 15 mm and more only, and per line."""
        truth, size = np.array(self.truth), np.array(self.size_mm)
        large = ~truth | (size >= MEASURABLE_MM)
        report, detector = np.array(self.report), np.array(self.detector)
        return {
            "presence_auroc": round(auroc(report, truth), 4),
            "presence_auroc_n": {"with_lesion": int(truth.sum()), "without": int((~truth).sum())},
            "presence_auroc_15_mm_and_more": round(auroc(report[large], truth[large]), 4),
            "presence_auroc_15_mm_and_more_n": int((truth & large).sum()),
            "presence_auroc_per_line": round(auroc([s for s, _ in self.lines], [t for _, t in self.lines]), 4),
            "presence_auroc_per_line_n": {
                "with_lesion": sum(t for _, t in self.lines),
                "without": sum(not t for _, t in self.lines),
            },
            "detector_presence_auroc": round(auroc(detector, truth), 4),
            "detector_peak_in_real_high_dose_target": share(self.peak_in_target),
            "share_of_soft_tissue_in_that_target": median(self.target_share),
        }


def majority_report(texts: list[str]) -> str:
    """The most frequent report: what a model that does not look would write."""
    return Counter(texts).most_common(1)[0][0]


def _lesions(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.kind in ("node", "mass") and f.presence == "present"]


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Write a report for every validation CT, lesion-free and with an inserted lesion, and compare with the facts."""
    presence, rows = Presence(), []
    own_reports: list[str] = []
    facts = Counter[str]()
    seconds = []
    _, tokenizer, _ = pack.report_model
    for case in lesion_cases(pack, data, limit=limit):
        # The whole path runs again on the CT with the lesion: contours, landmarks, tokens, text.
        segmentation = pack.segment(case.ct) if case.lesions else case.segmentation
        neck = pack.neck(case.ct, segmentation)
        probability, tokens = pack.encode(neck)
        started = time.perf_counter()
        text, _, steps = pack.write_report(tokens, "en")
        seconds.append(time.perf_counter() - started)
        found = parse(text)
        presence.add(case, denial_probabilities(tokenizer, steps), probability, neck)
        if case.lesions:
            rows.append(_judge(case, found))
        else:
            own_reports.append(text)
            _count_facts(facts, measured_findings(neck.anatomy), found)
        log(f"{case.patient} lesions {len(case.lesions)} score {presence.report[-1]:.3f} {presence.detector[-1]:.3f}")
    named = [r for r in rows if r["found"]]
    sized = [r for r in named if r["size_error_mm"] is not None]
    specificity = [not _lesions(parse(t)) for t in own_reports]
    reference = majority_report(own_reports)
    metrics: dict[str, Any] = {
        **presence.metrics(),
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
