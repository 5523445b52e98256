"""Zero-shot classification from label text: AUROC per label over validation CTs with and without inserted lesions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.evaluate.cases import Tally, lesion_cases
from hnvlm.evaluate.common import log
from hnvlm.evaluate.stats import auroc, estimate
from hnvlm.models.pack import ModelPack
from hnvlm.types import MASS_SITES, NODE_LEVELS, SIDES

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


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """AUROC of every label that at least three CTs show and three do not, and their mean."""
    table = labels_with_truth()
    tally = Tally()
    scores, truth, patients = [], [], []
    for case in lesion_cases(pack, data, per_patient=4, limit=limit, tally=tally):
        _, tokens = pack.encode(pack.neck(case.ct, case.segmentation))
        scores.append(pack.score(tokens, [text for text, _ in table]))
        truth.append([any(test(x.spec) for x in case.lesions) for _, test in table])
        patients.append(case.patient)
        if not case.lesions:
            log(case.patient)
    s, t = np.array(scores), np.array(truth)
    per_label = {
        text: {"auroc": round(auroc(s[:, k], t[:, k]), 3), "n_positive": int(t[:, k].sum())}
        for k, (text, _) in enumerate(table)
    }
    enough = [k for k in range(len(table)) if SMALLEST_GROUP <= t[:, k].sum() <= len(t) - SMALLEST_GROUP]
    metrics = {
        "mean_auroc": mean_auroc(s[:, enough], t[:, enough], patients),
        "labels": len(enough),
        "labels_left_out": len(table) - len(enough),
        "n_cts": len(s),
        **tally.told(),
        "per_label": per_label,
    }
    return {"metrics": metrics, "n_cases": tally.measured, "model": "clip"}


def mean_auroc(scores: np.ndarray, truth: np.ndarray, patients: Sequence[str]) -> dict[str, Any]:
    """Mean AUROC of labels with the interval of resampled patients.

    In a draw in which nobody shows a label, the mean is over the others; a score that is no number makes the mean none.

    Args:
        scores, truth: (CTs, labels). patients: Whose each CT is.
    """

    def mean(index: np.ndarray) -> float:
        areas = [auroc(scores[index, k], truth[index, k]) for k in range(scores.shape[1]) if _both(truth[index, k])]
        return float(np.mean(areas)) if areas else float("nan")

    return estimate(mean, patients)


def _both(labels: np.ndarray) -> bool:
    return bool(labels.any() and not labels.all())
