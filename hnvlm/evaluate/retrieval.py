"""Retrieval: find the report of a CT among all reports, and the CT of a report (recall at k, chance beside it)."""

from __future__ import annotations

from collections import Counter
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnvlm.evaluate.cases import lesion_cases
from hnvlm.evaluate.common import log
from hnvlm.models.facts import lesion_finding
from hnvlm.models.pack import ModelPack
from hnvlm.models.text_tower import token_features
from hnvlm.report.render import render_finding


def recall(similarity: np.ndarray, groups: list[str], k: int) -> float:
    """Share of rows whose own column, or one with the very same report, is among the k best."""
    hits = 0
    for i, row in enumerate(similarity):
        best = np.argsort(-row, kind="stable")[:k]
        hits += any(groups[j] == groups[i] for j in best)
    return hits / len(similarity)


def chance(groups: list[str], k: int) -> float:
    """``recall`` of a random order: the same report may stand there several times."""
    n = len(groups)
    same = Counter(groups)
    return 1.0 - sum(comb(n - same[g], k) for g in groups) / (n * comb(n, k)) if k < n else 1.0


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Recall@1/5/10 both ways over validation CTs with one inserted lesion each; the same text is a hit too."""
    images, reports, texts, patients = [], [], [], set()
    for case in lesion_cases(pack, data, per_patient=4, limit=limit):
        if not case.lesions:
            continue
        _, tokens = pack.encode(pack.neck(case.ct, case.segmentation))
        text = render_finding(lesion_finding(case.lesions[0]), "en", None)
        with torch.inference_mode():
            features, mask = token_features([text])
            reports.append(pack.clip.space.report_embedding([pack.reader(features, mask)])[0].numpy())
            images.append(pack.clip.space.image_embedding(pack.clip.space.project(tokens))[0].numpy())
        texts.append(text)
        patients.add(case.patient)
        log(f"{case.patient} {len(images)}")
    similarity = np.array(images) @ np.array(reports).T
    metrics: dict[str, Any] = {"n": len(texts), "distinct_reports": len(set(texts))}
    for k in (1, 5, 10):
        metrics[f"image_to_report_recall_{k}"] = round(recall(similarity, texts, k), 4)
        metrics[f"report_to_image_recall_{k}"] = round(recall(similarity.T, texts, k), 4)
        metrics[f"chance_recall_{k}"] = round(chance(texts, k), 4)
    return {"metrics": metrics, "n_cases": len(patients), "model": "clip"}
