"""Zero-shot classification from label text: AUROC per label over validation CTs with and without inserted lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.evaluate.cases import lesion_cases
from hnvlm.evaluate.common import auroc, log
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
    """AUROC of every label that at least three CTs show, and their mean."""
    table = labels_with_truth()
    scores, truth, patients = [], [], set()
    for case in lesion_cases(pack, data, per_patient=4, limit=limit):
        _, tokens = pack.encode(pack.neck(case.ct, case.segmentation))
        scores.append(pack.score(tokens, [text for text, _ in table]))
        truth.append([any(test(x.spec) for x in case.lesions) for _, test in table])
        patients.add(case.patient)
        if not case.lesions:
            log(case.patient)
    s, t = np.array(scores), np.array(truth)
    per_label = {
        text: {"auroc": round(auroc(s[:, k], t[:, k]), 3), "n_positive": int(t[:, k].sum())}
        for k, (text, _) in enumerate(table)
    }
    enough = [v["auroc"] for v in per_label.values() if v["n_positive"] >= SMALLEST_GROUP]
    metrics = {
        "mean_auroc": round(float(np.mean(enough)), 4),
        "labels": len(enough),
        "n_cts": len(s),
        "per_label": per_label,
    }
    return {"metrics": metrics, "n_cases": len(patients), "model": "clip"}
