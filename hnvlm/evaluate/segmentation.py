"""Dice of every structure on the patient's own grid, against the clinic's contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import drawn_by_model, evaluation_folders, log, read_case
from hnvlm.evaluate.stats import estimate
from hnvlm.models.pack import ModelPack
from hnvlm.types import OAR_NAMES, OPENKBP_TO_TG263, TARGET_NAMES

# Long organs that a clinic contours as far as it needs to.
CUT_TO_THE_CONTOUR = ("SpinalCord", "Esophagus")
CORE = ("Brainstem", "SpinalCord", "Parotid_R", "Parotid_L", "Bone_Mandible")
# A clinic's contour is unusual beyond this many times (or below this part of) the median volume of the structure in
# the patients measured, or when so much of an organ without air in it is air: then contour and CT do not fit together.
UNUSUAL_TIMES = 3.0
UNUSUAL_AIR = 0.1
AIR_BELOW_HU = -900


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """2|A n B| / (|A| + |B|); 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


@dataclass(frozen=True)
class Scored:
    """Dice of one structure of one patient, with the volume and the share of air of the clinic's contour."""

    patient: str
    dice: float
    volume_ml: float
    air: float


def usual(name: str, rows: Sequence[Scored]) -> list[Scored]:
    """The rows whose clinic's contour is not unusual; what the network drew plays no part in it."""
    median = float(np.median([r.volume_ml for r in rows]))
    return [
        r
        for r in rows
        if median / UNUSUAL_TIMES <= r.volume_ml <= median * UNUSUAL_TIMES
        and (name not in CORE or r.air <= UNUSUAL_AIR)
    ]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, spread, median and number."""
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values)), 4),
        "median": round(float(np.median(values)), 4),
        "n": len(values),
    }


def mean_core(rows: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    """Mean of the structures' mean Dice with the interval of resampled patients; n counts patients.

    In a draw in which nobody has a structure, the mean is over the others.
    """
    names = sorted({r.patient for scored in rows.values() for r in scored})
    table = np.full((len(names), len(rows)), np.nan)
    for k, scored in enumerate(rows.values()):
        for r in scored:
            table[names.index(r.patient), k] = r.dice

    def mean(index: np.ndarray) -> float:
        drawn = table[index]
        there = ~np.isnan(drawn).all(0)
        return float(np.nanmean(drawn[:, there], axis=0).mean()) if there.any() else float("nan")

    return estimate(mean, names)


def contoured(folder: Path) -> set[str]:
    """Structures of a case folder by its file names, TG-263 where they are known."""
    names = {path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz")}
    return {OPENKBP_TO_TG263.get(name, name) for name in names}


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Mean Dice per structure over the patients whose clinic contoured it.

    Only slices that the clinic could contour count for the cord and esophagus: contours stop where the clinic
    stopped, so a prediction beyond their first and last slice is neither right nor wrong. A contour that a model drew
    (``hnvlm segment``) is nobody's truth and counts as not contoured. Nobody else is left out of the mean; the median
    and the mean over usual contours stand beside it because a contour may be wrong (a cord of twenty times a cord's
    volume) and a CT may be cut to pieces. ``dice_not_cut_to_the_contour`` is of the cord and esophagus with all
    slices. Spreads are of these patients (divided by n).
    """
    # Refused before the first patient is contoured.
    folders = evaluation_folders(data, limit)
    drawn = {folder: drawn_by_model(folder) for folder in folders}
    if not any((contoured(folder) - drawn[folder]) & set(CORE) for folder in folders):
        raise InputRefusedError(
            f"No patient in {data} has a clinic's contour of {', '.join(CORE)}: there is nothing to compare."
        )
    rows: dict[str, list[Scored]] = {name: [] for name in (*OAR_NAMES, *TARGET_NAMES)}
    whole: dict[str, list[float]] = {name: [] for name in CUT_TO_THE_CONTOUR}
    seconds, without = [], 0
    for k, folder in enumerate(folders):
        ct, masks = read_case(folder)
        truth = {name: mask for name, mask in masks.items() if name not in drawn[folder]}
        predicted = pack.segment(ct)
        seconds.append(predicted.seconds)
        without += not truth
        for name, mask in truth.items():
            guess = predicted.masks.get(name, np.zeros(ct.shape, bool))
            if name in CUT_TO_THE_CONTOUR and mask.any():
                whole[name].append(dice(guess, mask))
                slices = np.flatnonzero(mask.any((1, 2)))
                guess = guess.copy()
                guess[: slices[0]] = False
                guess[slices[-1] + 1 :] = False
            air = float((ct.array[mask] < AIR_BELOW_HU).mean()) if mask.any() else 0.0
            rows[name].append(Scored(folder.name, dice(guess, mask), float(mask.sum()) * ct.voxel_ml, air))
        log(f"{folder.name} {k + 1}/{len(folders)}")
    metrics: dict[str, Any] = {f"dice_{name}": summary([r.dice for r in v]) for name, v in rows.items() if v}
    kept = {name: usual(name, rows[name]) for name in OAR_NAMES if rows[name]}
    metrics["dice_over_usual_contours"] = {
        name: {"value": round(float(np.mean([r.dice for r in v])), 4), "n": len(v)} for name, v in kept.items() if v
    }
    metrics["unusual_contours"] = {
        name: ", ".join(r.patient for r in rows[name] if r not in v)
        for name, v in kept.items()
        if len(v) < len(rows[name])
    }
    metrics["dice_not_cut_to_the_contour"] = {
        name: {"value": round(float(np.mean(v)), 4), "n": len(v)} for name, v in whole.items() if v
    }
    metrics["mean_dice_core"] = mean_core({name: rows[name] for name in CORE})
    metrics["mean_dice_core_structures"] = sum(bool(rows[name]) for name in CORE)
    metrics["patients_without_contours"] = without
    metrics["median_seconds"] = round(float(np.median(seconds)), 2)
    return {"metrics": metrics, "n_cases": len(folders), "model": "segmenter"}
