"""Retrieval: find the report of a CT among all reports, and the CT of a report (recall at k, chance beside it)."""

from __future__ import annotations

from collections import Counter
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.cases import Tally, lesion_cases, tokens_of
from hnvlm.evaluate.common import log
from hnvlm.evaluate.stats import mean_of, share
from hnvlm.models.facts import lesion_finding
from hnvlm.models.pack import ModelPack
from hnvlm.models.text_tower import token_features
from hnvlm.report.render import render_finding

# A similarity lower than that of any two vectors of length one.
BELOW_ALL = -2.0


def ranks(similarity: np.ndarray, groups: list[str]) -> np.ndarray:
    """Place (from 1) of the first right column of each row: its own, or one with the very same report.

    Infinite where a row holds something that is no number: nothing was found then.
    """
    out = []
    for i, row in enumerate(similarity):
        order = np.argsort(-row, kind="stable")
        right = [groups[j] == groups[i] for j in order]
        out.append(right.index(True) + 1.0 if np.isfinite(row).all() else np.inf)
    return np.array(out)


def chance(groups: list[str], k: int) -> float:
    """Recall at ``k`` of a random order: the same report may stand there several times."""
    n = len(groups)
    same = Counter(groups)
    return 1.0 - sum(comb(n - same[g], k) for g in groups) / (n * comb(n, k)) if k < n else 1.0


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Recall@1/5/10 and mean reciprocal rank both ways over validation CTs with one inserted lesion each.

    The same text is a hit too. Four of the CTs are of one patient, so intervals are those of resampled patients, among
    all reports. A CT that its lesion puts out of scope finds and is found last.
    """
    images, reports, texts, patients, unseen = [], [], [], [], []
    tally = Tally()
    for case in lesion_cases(pack, data, per_patient=4, limit=limit, tally=tally):
        if not case.lesions:
            continue
        tokens = tokens_of(pack, case)
        text = render_finding(lesion_finding(case.lesions[0]), "en", None)
        with torch.inference_mode():
            features, mask = token_features([text])
            reports.append(pack.clip.space.report_embedding([pack.reader(features, mask)])[0].numpy())
            if tokens is not None:
                images.append(pack.clip.space.image_embedding(pack.clip.space.project(tokens))[0].numpy())
        if tokens is None:
            unseen.append(len(images))
            images.append(np.full(len(reports[-1]), np.nan))
        texts.append(text)
        patients.append(case.patient)
        log(f"{case.patient} {len(images)}")
    if not images:
        raise InputRefusedError(f"No lesion could be inserted into any patient in {data}: there is nothing to find.")
    similarity = np.array(images) @ np.array(reports).T
    for_reports = similarity.copy()
    for_reports[unseen] = BELOW_ALL
    metrics: dict[str, Any] = {"n": len(texts), "distinct_reports": len(set(texts)), **tally.told()}
    metrics["ct_with_lesion_not_scored"] = len(unseen)
    both = {"image_to_report": ranks(similarity, texts), "report_to_image": ranks(for_reports.T, texts)}
    for k in (1, 5, 10):
        for way, places in both.items():
            metrics[f"{way}_recall_{k}"] = share(list(places <= k), patients)
        metrics[f"chance_recall_{k}"] = round(chance(texts, k), 4)
    for way, places in both.items():
        metrics[f"{way}_mean_reciprocal_rank"] = mean_of(1.0 / places, patients)
    return {"metrics": metrics, "n_cases": tally.measured, "model": "clip"}
