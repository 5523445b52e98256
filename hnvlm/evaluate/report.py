"""The report model on validation patients: presence, side, place and size of inserted lesions, and measured facts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnvlm.errors import ScopeError
from hnvlm.evaluate.cases import Case, Tally, lesion_cases
from hnvlm.evaluate.common import TREATED, log
from hnvlm.evaluate.own_disease import OwnDisease
from hnvlm.evaluate.several import Several
from hnvlm.evaluate.stats import area, finding_f1, mean_of, median, share
from hnvlm.imaging.lesions import LesionSpec
from hnvlm.models.detect import evidence
from hnvlm.models.facts import lesion_finding, target_finding
from hnvlm.models.neck import Neck, working_masks
from hnvlm.models.pack import ModelPack
from hnvlm.models.report_model import PROMPTS, presence_score
from hnvlm.report.compare import compare
from hnvlm.report.parse import parse
from hnvlm.types import Finding

DENIAL = {"Primary site:": " No", "Nodes right:": " No", "Nodes left:": " No"}
MEASURABLE_MM = 15.0
NOTHING = "no lesion"


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


def without_lesion(case: Case) -> bool:
    """Whether a patient's own CT counts as one without a lesion: unless its own report names one, or leaves it open."""
    return case.report is None or not (case.report.lesions or case.report.unclear)


def line_of(lesion: LesionSpec | Finding) -> str:
    """The line of the report that has to name a node or a mass."""
    return "Primary site:" if lesion.kind == "mass" else f"Nodes {lesion.side}:"


def may_name(case: Case, line: str) -> bool:
    """Whether a line may name the patient's own disease, by the patient's own report: no false alarm then."""
    if case.report is None:
        return False
    return bool(case.report.unclear) or any(line_of(f) == line for f in _lesions(list(case.report.lesions)))


class Presence:
    """Scores and truth of the presence of an inserted lesion, collected CT by CT.

    Args:
        usual_place: Voxel (z, y, x) of the crop where tumours usually are, where the pack knows one.
    """

    def __init__(self, usual_place: Sequence[int] | None = None) -> None:
        self.usual_place = usual_place
        self.usual_in_target: list[bool] = []
        self.report: list[float] = []
        self.detector: list[float] = []
        self.truth: list[bool] = []
        self.size_mm: list[float] = []
        self.patients: list[str] = []
        self.lines: list[tuple[float, bool, str]] = []
        self.peak_in_target: list[bool] = []
        self.target_share: list[float] = []

    def add(self, case: Case, denials: list[tuple[str, float]], probability: np.ndarray, neck: Neck) -> None:
        """One CT: denial probabilities of the report's lines and the encoder's lesion maps (3, 64, 64, 64)."""
        seen = np.maximum(evidence(probability[0]), evidence(probability[1]))
        target = case.masks.get(TREATED)
        if not case.lesions and target is not None:
            self._real_target(case, target, seen, neck)
        if not case.lesions and not without_lesion(case):
            return  # the patient's own disease: a CT neither with an inserted lesion nor without any
        self.report.append(presence_score(denials))
        self.detector.append(float(seen.max()))
        self.truth.append(bool(case.lesions))
        self.patients.append(case.patient)
        self.size_mm.append(max((x.spec.size_mm for x in case.lesions), default=0.0))
        named = {line_of(x.spec) for x in case.lesions}
        self.lines += [
            (1.0 - p, line in named, case.patient) for line, p in denials if line in named or not may_name(case, line)
        ]

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
        if self.usual_place is not None:
            self.usual_in_target.append(bool(inside((np.array(self.usual_place) + neck.start)[None])[0]))
        self.target_share.append(float(inside(tissue).mean()))

    def metrics(self) -> dict[str, Any]:
        """AUROC of report and detector, on all CTs and with lesions of 15 mm and more only, and per line."""
        truth, size, whose = np.array(self.truth, bool), np.array(self.size_mm), np.array(self.patients, str)
        large = ~truth | (size >= MEASURABLE_MM)
        report, detector = np.array(self.report), np.array(self.detector)
        score, named, owner = zip(*self.lines, strict=True) if self.lines else ((), (), ())
        return {
            "presence_auroc": area(report, truth, whose),
            "presence_auroc_n": {"with_lesion": int(truth.sum()), "without": int((~truth).sum())},
            "presence_auroc_15_mm_and_more": area(report[large], truth[large], whose[large]),
            "presence_auroc_15_mm_and_more_n": int((truth & large).sum()),
            "presence_auroc_per_line": area(score, named, owner),
            "presence_auroc_per_line_n": {"with_lesion": sum(named), "without": sum(not t for t in named)},
            "detector_presence_auroc": area(detector, truth, whose),
            "detector_peak_in_real_high_dose_target": share(self.peak_in_target),
            "usual_place_in_that_target": share(self.usual_in_target),
            "share_of_soft_tissue_in_that_target": median(self.target_share),
        }


def majority_report(texts: list[str]) -> str:
    """The most frequent report: what a model that does not look would write."""
    return Counter(texts).most_common(1)[0][0]


def _lesions(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.kind in ("node", "mass") and f.presence == "present"]


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Write a report for every validation CT, lesion-free and with an inserted lesion, and compare with the facts.

    Where the clinic's own report of a patient is there (``report.txt``), what is drafted on the patient's own CT is
    compared with it, too.
    """
    detector = pack.tumour_detector
    presence = Presence(None if detector is None else detector.usual_place)
    facts, repeated, several, tally = Facts(), Repeated(), Several(), Tally()
    disease = OwnDisease()
    rows: list[dict[str, Any]] = []
    clean: list[dict[str, Any]] = []
    clinics: list[dict[str, Any]] = []
    ill: list[dict[str, Any]] = []
    drafts: list[str] = []
    seconds = []
    _, tokenizer, _ = pack.report_model
    for case in lesion_cases(pack, data, limit=limit, tally=tally):
        # The whole path runs again on the CT with the lesion: contours, landmarks, tokens, text.
        segmentation = pack.segment(case.ct) if case.lesions else case.segmentation
        try:
            neck = pack.neck(case.ct, segmentation)
        except ScopeError as error:
            # No report at all: a lesion that is overlooked.
            log(f"{case.patient} with a lesion: {error.message}")
            rows.append({"patient": case.patient, "drafted": False, **_judge(case, [])})
            continue
        probability, tokens = pack.encode(neck)
        source = pack.to_write_from(neck, probability, tokens)
        measured = source[1]
        started = time.perf_counter()
        text, _, steps = pack.write_report(*source, "en")
        seconds.append(time.perf_counter() - started)
        found, texts = parse(text), {"en": text}
        presence.add(case, denial_probabilities(tokenizer, steps), probability, neck)
        disease.add(case, probability, neck, pack.detection_peak)
        if case.lesions:
            rows.append({"patient": case.patient, "drafted": True, **_judge(case, found)})
        else:
            drafts.append(text)
            named = _lesions(found)
            if without_lesion(case):
                clean.append({"patient": case.patient, "named": bool(named), "compare": compare([], named)})
            clinics += against_own_report(case, named)
            if TREATED in case.masks:
                ill.append({"patient": case.patient, "named": bool(named)})
            facts.add(case.patient, measured, found, clinics_target_side(case, neck))
            texts |= {language: pack.write_report(*source, language)[0] for language in PROMPTS if language != "en"}
            repeated.add(case.patient, pack, measured, texts)
            if without_lesion(case):
                several.add(pack, case, neck.anatomy)
        several.add_form(case.patient, texts)
        log(f"{case.patient} lesions {len(case.lesions)} named {len(_lesions(found))}")
    metrics: dict[str, Any] = {
        **presence.metrics(),
        **lesion_metrics(rows, clean, ill),
        "distinct_reports": len(set(drafts)),
        "patients": len(drafts),
        **tally.told(),
        "ct_with_lesion_not_drafted_on": sum(not r["drafted"] for r in rows),
        "median_writing_seconds": median(seconds),
        **{f"{key}_right": facts.right(key) for key in Facts.KEYS},
        **repeated.metrics(),
        **several.metrics(),
        "baseline_majority_report": majority_baseline(rows, clean) | facts.majority(),
        **own_report_metrics(clinics),
        **disease.metrics(),
    }
    return {"metrics": metrics, "n_cases": tally.measured, "model": "report"}


def against_own_report(case: Case, named: list[Finding]) -> list[dict[str, Any]]:
    """A row of the patient's own CT: what its own report names against what is drafted; none without a clear report."""
    if case.report is None or case.report.unclear:
        return []
    truth = _lesions(list(case.report.lesions))
    return [{"patient": case.patient, "there": bool(truth), "named": bool(named), "compare": compare(truth, named)}]


def own_report_metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Drafts on patients' own CTs against the clinic's own reports; empty where there are none."""
    if not rows:
        return {}
    ill, well = [r for r in rows if r["there"]], [r for r in rows if not r["there"]]
    return {
        "own_report_finding_f1": finding_f1(rows),
        "own_report_lesion_named_where_it_names_one": share([r["named"] for r in ill], [r["patient"] for r in ill]),
        "own_report_none_named_where_it_names_none": share(
            [not r["named"] for r in well], [r["patient"] for r in well]
        ),
    }


def lesion_metrics(
    rows: list[dict[str, Any]], clean: list[dict[str, Any]], ill: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """What the reports say of lesions.

    Side, place, texture and size are judged on the lesion named that is most like the true one, among the CTs in which
    any is named; ``..._of_all`` counts the CTs in which none is as wrong. Where several are named (one on each side,
    say) that choice flatters: ``another_lesion_named_too`` says how often, ``..._where_one_is_named`` leaves no choice.
    A patient's own disease may be named as well, so more than one lesion is not always wrong; what the patient's own
    report (``report.txt``) names counts neither for nor against. ``finding_f1`` is over the CTs with a lesion,
    ``finding_f1_of_all_cts`` counts what is named in CTs without one as well.

    Args:
        rows: As ``_judge``, with ``patient``. clean: ``patient``, ``named`` and ``compare`` of the own CT of each
            patient, but for those whose own report names a lesion or leaves it open. ill: ``patient`` and ``named`` of
            the own CT of each patient who is treated for gross disease: nobody drew it, so a name of any is a hit.
    """

    def told(key: str, chosen: list[dict[str, Any]]) -> dict[str, Any]:
        return share([bool(r.get(key, False)) for r in chosen], [r["patient"] for r in chosen])

    named = [r for r in rows if r["found"]]
    single = [r for r in named if not r["another"]]
    sized = [r for r in named if r["size_error_mm"] is not None]
    return {
        "sensitivity": told("found", rows),
        "lesion_named_in_patients_treated_to_70_gy": share([r["named"] for r in ill], [r["patient"] for r in ill]),
        "no_lesion_named_without_one": share([not r["named"] for r in clean], [r["patient"] for r in clean]),
        "side_right": told("side", named),
        "side_right_of_all": told("side", rows),
        "side_right_where_one_is_named": told("side", single),
        "place_right": told("place", named),
        "place_right_of_all": told("place", rows),
        "place_right_where_one_is_named": told("place", single),
        "texture_right": told("texture", named),
        "another_lesion_named_too": told("another", named),
        "size_mae_mm": mean_of([r["size_error_mm"] for r in sized], [r["patient"] for r in sized], places=2),
        "finding_f1": finding_f1(rows),
        "finding_f1_of_all_cts": finding_f1([*rows, *clean]),
    }


def majority_baseline(rows: list[dict[str, Any]], clean: list[dict[str, Any]]) -> dict[str, Any]:
    """A report that does not look: it names the lesion (or none) that most CTs have."""
    truth = [r["truth"] for r in rows] + [NOTHING] * len(clean)
    always = majority_report(truth) if truth else NOTHING
    tp = sum(t == always != NOTHING for t in truth)
    wrong, missed = (0 if always == NOTHING else len(truth) - tp), len(rows) - tp
    return {
        "presence_auroc": 0.5,
        "sensitivity": float(always != NOTHING),
        "finding_f1_of_all_cts": round(2 * tp / (2 * tp + wrong + missed), 4) if tp + wrong + missed else None,
    }


def _judge(case: Case, found: list[Finding]) -> dict[str, Any]:
    truth = lesion_finding(case.lesions[0])
    # What the patient's own report names is neither the inserted lesion nor made up.
    own = {f.where for f in (case.report.lesions if case.report else ())} - {truth.where}
    lesions = [f for f in _lesions(found) if f.where not in own]
    same_kind = [f for f in lesions if f.kind == truth.kind]
    pool = same_kind or lesions
    if not pool:
        return {"found": False, "truth": _words(truth), "compare": compare([truth], [])}
    best = max(pool, key=lambda f: (f.side == truth.side) + 0.5 * (f.place == truth.place))
    error = abs(best.size_mm - truth.size_mm) if best.size_mm and truth.size_mm and best.side == truth.side else None
    return {
        "found": True,
        "truth": _words(truth),
        "another": len(lesions) > 1,
        "side": best.side == truth.side,
        "place": best.kind == truth.kind and best.place == truth.place,
        "texture": best.attributes.get("texture") == truth.attributes.get("texture"),
        "size_error_mm": error,
        "compare": compare([truth], lesions),
    }


def _words(finding: Finding) -> str:
    return f"{finding.kind} {finding.side} {finding.place}"


def clinics_target_side(case: Case, neck: Neck) -> Finding | None:
    """The target as the clinic contoured it, in the frame of the neck; None where it did not."""
    mask = case.masks.get(TREATED)
    if mask is None:
        return None
    return target_finding(replace(neck.anatomy, masks=neck.anatomy.masks | working_masks(
        case.ct, neck.anatomy.ct, {TREATED: mask}
    )))  # fmt: skip


class Repeated:
    """Whether a model that is told the measured lines repeats them word for word, in each language."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[bool, str]]] = {language: [] for language in PROMPTS}

    def add(self, patient: str, pack: ModelPack, measured: list[Finding], texts: dict[str, str]) -> None:
        """The reports of one CT, by language."""
        if pack.words is None or not pack.report_model[2].get("told_facts"):
            return
        for language, rows in self.rows.items():
            written = texts[language].split("\n")
            rows += [(line in written, patient) for line in pack.words.measured_lines(measured, language).split("\n")]

    def metrics(self) -> dict[str, Any]:
        """Share of the lines that are repeated, by language; empty where nothing is told."""
        if not any(self.rows.values()):
            return {}
        told = {language: share(*map(list, zip(*rows, strict=True))) for language, rows in self.rows.items()}
        return {"measured_lines_repeated": told}


class Facts:
    """What a report says of measured facts, patient by patient.

    The facts are measured on the models' own contours, which is what a report can be held to; for the target's side
    the clinic's contour stands beside it.
    """

    KEYS = ("target_side", "target_side_of_the_clinic", "artefact", "coverage")

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[str, Any, bool]]] = {key: [] for key in self.KEYS}

    def add(self, patient: str, measured: list[Finding], found: list[Finding], clinic: Finding | None) -> None:
        """One CT: facts measured, findings of the report, and the clinic's target."""

        def of(kind: str, findings: list[Finding]) -> Finding | None:
            return next((f for f in findings if f.kind == kind), None)

        for key, truth, value in (
            ("target_side", of("target", measured), lambda f: f.side),
            ("target_side_of_the_clinic", clinic, lambda f: f.side),
            ("artefact", of("artefact", measured), lambda f: f.presence),
            (
                "coverage",
                of("coverage", measured),
                lambda f: (f.attributes.get("superior"), f.attributes.get("inferior")),
            ),
        ):
            if truth is not None:
                guess = of(truth.kind, found)
                self.rows[key].append((patient, value(truth), guess is not None and value(guess) == value(truth)))

    def right(self, key: str) -> dict[str, Any]:
        """Share of the CTs with the fact in which the report has it right."""
        return share([right for _, _, right in self.rows[key]], [patient for patient, _, _ in self.rows[key]])

    def majority(self) -> dict[str, Any]:
        """The same for a report that always says what is true most often."""
        out = {}
        for key, rows in self.rows.items():
            most = Counter(value for _, value, _ in rows).most_common(1)
            out[f"{key}_right"] = {"value": round(most[0][1] / len(rows), 4) if rows else None, "n": len(rows)}
        return out
