"""Dice of every structure on the patient's own grid, against the clinic's contours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.evaluate.common import evaluation_folders, log, read_case
from hnvlm.models.pack import ModelPack
from hnvlm.types import OAR_NAMES, TARGET_NAMES

CORE = ("Brainstem", "SpinalCord", "Parotid_R", "Parotid_L", "Bone_Mandible")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """2|A n B| / (|A| + |B|); 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Mean Dice per structure over the patients whose clinic contoured it.

    Only slices that the clinic could contour count for the cord and esophagus: contours stop where the clinic
    stopped, so a prediction beyond their first and last slice is neither right nor wrong. The median stands beside the
    mean because a contour may be wrong (a cord of ten times a cord's volume) and a CT may be cut to pieces.
    """
    rows: dict[str, list[float]] = {name: [] for name in (*OAR_NAMES, *TARGET_NAMES)}
    seconds = []
    folders = evaluation_folders(data, limit)
    for k, folder in enumerate(folders):
        ct, truth = read_case(folder)
        predicted = pack.segment(ct)
        seconds.append(predicted.seconds)
        for name, mask in truth.items():
            guess = predicted.masks.get(name, np.zeros(ct.shape, bool))
            if name in ("SpinalCord", "Esophagus") and mask.any():
                slices = np.flatnonzero(mask.any((1, 2)))
                guess = guess.copy()
                guess[: slices[0]] = False
                guess[slices[-1] + 1 :] = False
            rows[name].append(dice(guess, mask))
        log(f"{folder.name} {k + 1}/{len(folders)}")
    metrics: dict[str, Any] = {
        f"dice_{name}": {
            "mean": round(float(np.mean(v)), 4),
            "sd": round(float(np.std(v)), 4),
            "median": round(float(np.median(v)), 4),
            "n": len(v),
        }
        for name, v in rows.items()
        if v
    }
    metrics["mean_dice_core"] = round(float(np.mean([np.mean(rows[n]) for n in CORE if rows[n]])), 4)
    metrics["median_seconds"] = round(float(np.median(seconds)), 2)
    return {"metrics": metrics, "n_cases": len(folders), "model": "segmenter"}
