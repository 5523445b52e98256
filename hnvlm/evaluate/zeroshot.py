"""Zero-shot classification from label text: AUROC per label over validation CTs with and without inserted lesions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hnvlm.evaluate.cases import Tally, lesion_cases, tokens_of
from hnvlm.evaluate.common import log
from hnvlm.evaluate.own_reports import OwnReport
from hnvlm.evaluate.stats import auroc, estimate
from hnvlm.models.pack import ModelPack
from hnvlm.types import MASS_SITES, NODE_LEVELS, SIDES, Finding

SMALLEST_GROUP = 3


def labels_with_truth() -> list[tuple[str, Any]]:
    """(label text, test of a lesion specification) for presence, side, level, site and texture."""
    out: list[tuple[str, Any]] = [("a mass or an enlarged lymph node", lambda s: True)]
    out += [
        (f"enlarged lymph node in the {side} neck", lambda s, side=side: s.kind == "node" and s.side == side)
        for side in SIDES
    ]
    out += [
        (f"{side} level {level} node", lambda s, v=level, side=side: (s.kind, s.place, s.side) == ("node", v, side))
        for level in NODE_LEVELS
        for side in SIDES
    ]
    out += [
        (f"mass in the {side} {site}", lambda s, v=site, side=side: (s.kind, s.place, s.side) == ("mass", v, side))
        for site in MASS_SITES
        for side in SIDES
    ]
    out += [("necrotic lymph node", lambda s: s.kind == "node" and s.texture == "necrotic")]
    return out


def may_be_true(test: Any, report: OwnReport | None) -> bool:
    """Whether a label may be true of a patient's own disease, by the patient's own report where there is one.

    What a finding leaves open (level, site, texture) may be anything; a report that is not clear may mean anything.

    Args:
        test: Of a lesion specification, as in ``labels_with_truth``.
    """
    if report is None:
        return False
    return bool(report.unclear) or any(
        test(SimpleNamespace(kind=f.kind, place=place, side=side, texture=texture))
        for f in report.lesions
        if f.kind in ("node", "mass")
        for place, side, texture in product(*_open(f))
    )


def _open(finding: Finding) -> tuple[Sequence[str], ...]:
    """Places, sides and textures that a finding may mean."""
    place, places = (finding.level, NODE_LEVELS) if finding.kind == "node" else (finding.site, MASS_SITES)
    texture = finding.attributes.get("texture")
    return (
        [place] if place else places,
        [finding.side] if finding.side in SIDES else SIDES,
        [texture] if texture else ("solid", "necrotic"),
    )


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """AUROC of every label that at least three CTs show and three do not, and their mean.

    A label that is true of nothing inserted, but may be of what the patient's own report (``report.txt``) names, is
    neither right nor wrong of that patient's CTs. A CT that its lesion puts out of scope shows nothing.
    """
    table = labels_with_truth()
    tally = Tally()
    scores, truth, known, patients, unseen = [], [], [], [], 0
    for case in lesion_cases(pack, data, per_patient=4, limit=limit, tally=tally):
        tokens = tokens_of(pack, case)
        unseen += tokens is None
        scores.append([0.0] * len(table) if tokens is None else pack.score(tokens, [text for text, _ in table]))
        truth.append([any(test(x.spec) for x in case.lesions) for _, test in table])
        own = [may_be_true(test, case.report) for _, test in table]
        known.append([shown or not may for shown, may in zip(truth[-1], own, strict=True)])
        patients.append(case.patient)
        if not case.lesions:
            log(case.patient)
    s, t, sure = np.array(scores), np.array(truth), np.array(known)
    shown, absent = (t & sure).sum(0), (~t & sure).sum(0)
    per_label = {
        text: {"auroc": round(auroc(s[sure[:, k], k], t[sure[:, k], k]), 3), "n_positive": int(shown[k])}
        for k, (text, _) in enumerate(table)
    }
    enough = np.flatnonzero((shown >= SMALLEST_GROUP) & (absent >= SMALLEST_GROUP))
    metrics = {
        "mean_auroc": mean_auroc(s[:, enough], t[:, enough], patients, sure[:, enough]),
        "labels": len(enough),
        "labels_left_out": len(table) - len(enough),
        "n_cts": len(s),
        "ct_with_lesion_not_scored": unseen,
        **tally.told(),
        "per_label": per_label,
    }
    return {"metrics": metrics, "n_cases": tally.measured, "model": "clip"}


def mean_auroc(
    scores: np.ndarray, truth: np.ndarray, patients: Sequence[str], known: np.ndarray | None = None
) -> dict[str, Any]:
    """Mean AUROC of labels with the interval of resampled patients.

    In a draw in which nobody shows a label, the mean is over the others; a score that is no number makes the mean none.

    Args:
        scores, truth: (CTs, labels). patients: Whose each CT is.
        known: (CTs, labels), where the truth is known; default everywhere.
    """
    sure = np.ones(truth.shape, bool) if known is None else known

    def mean(index: np.ndarray) -> float:
        areas = []
        for k in range(scores.shape[1]):
            told = index[sure[index, k]]
            if _both(truth[told, k]):
                areas.append(auroc(scores[told, k], truth[told, k]))
        return float(np.mean(areas)) if areas else float("nan")

    return estimate(mean, patients)


def _both(labels: np.ndarray) -> bool:
    return bool(labels.any() and not labels.all())
