"""Predicted against delivered dose: the challenge's two scores, beside boosted trees and from predicted contours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import drawn_by_model, evaluation_folders, log
from hnvlm.evaluate.dose_scores import DoseCase, dose_score, dvh_errors, dvh_score, read_dose_case
from hnvlm.evaluate.dose_trees import DoseTrees
from hnvlm.evaluate.patients import training_beside
from hnvlm.evaluate.stats import estimate, mean_of
from hnvlm.models.pack import ModelPack
from hnvlm.types import TARGET_NAMES

TREE_PATIENTS = 40
CACHE = Path("runs") / "cache"
NEEDED = ("dose.nii.gz", "possible_dose_mask.nii.gz")


@dataclass
class Tally:
    """Scores of one way to predict."""

    patients: list[str] = field(default_factory=list)
    doses: list[float] = field(default_factory=list)
    dvhs: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, case: DoseCase, predict: Callable[..., np.ndarray], *args: Any, **options: Any) -> None:
        """Call ``predict`` with the arguments and score its dose against the case."""
        started = time.perf_counter()
        dose = predict(*args, **options)
        self.seconds.append(time.perf_counter() - started)
        self.patients.append(case.patient_id)
        self.doses.append(dose_score(case.dose.array, dose, case.possible))
        self.dvhs.append(dvh_errors(case, dose))

    def summary(self) -> dict[str, Any]:
        """Both scores with the intervals of resampled patients, spread over patients and time; empty without a case."""
        if not self.doses:
            return {}
        metrics = sum(len(row) for row in self.dvhs)
        dvh = estimate(lambda index: dvh_score([self.dvhs[k] for k in index]), self.patients)
        return {
            "dose_score": mean_of(self.doses, self.patients),
            "dvh_score": dvh | {"n": metrics, "patients": len(self.patients)},
            "dose_score_sd": round(float(np.std(self.doses)), 4),
            "n": len(self.doses),
            "median_seconds": round(float(np.median(self.seconds)), 3),
        }

    def per_metric(self) -> dict[str, dict[str, float]]:
        """Mean error (Gy) of each DVH metric over the patients that have it, and their number."""
        out = {}
        for name in sorted({name for row in self.dvhs for name in row}):
            errors = [row[name] for row in self.dvhs if name in row]
            out[name] = {"value": round(float(np.mean(errors)), 3), "n": len(errors)}
        return out


def tree_folders(data: Path) -> list[Path]:
    """Training patients of the baseline: the first of ``train/`` beside the validation folder."""
    return training_beside(data, "dose.nii.gz")[:TREE_PATIENTS]


def with_clinics_targets(folders: list[Path]) -> list[Path]:
    """The patients whose targets no model drew: a plan was made for the clinic's.

    Raises:
        InputRefusedError: There is none.
    """
    guessed = [f for f in folders if drawn_by_model(f) & set(TARGET_NAMES)]
    for folder in guessed:
        log(f"{folder.name} is left out: a model drew its targets, and its plan was made for others")
    if len(guessed) == len(folders):
        raise InputRefusedError(f"A model drew the targets of all {len(folders)} patients, so no dose can be scored.")
    return [f for f in folders if f not in guessed]


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Score the dose network on patients never trained on.

    Metrics: ``dose_score`` and ``dvh_score`` (Gy, with the clinic's contours and CT), the same ``without_ct``,
    ``from_predicted_structures`` (the models' own contours in place of the clinic's, judged on the clinic's) and
    ``boosted_trees`` (a baseline fitted to training patients on distances alone; left out when there are none).
    """
    network, blind, own, trees = Tally(), Tally(), Tally(), Tally()
    folders = evaluation_folders(data, limit)
    for folder in folders:
        # Said before the first patient is measured, not after half an hour.
        absent = [name for name in NEEDED if not (folder / name).is_file()]
        if absent:
            raise InputRefusedError(f"{folder} has no {' and no '.join(absent)}, so its dose cannot be scored.")
    folders = with_clinics_targets(folders)
    for_trees = tree_folders(data)
    baseline = DoseTrees(for_trees, CACHE) if for_trees else None
    without_target = 0
    for k, folder in enumerate(folders):
        case = read_dose_case(folder)
        network.add(case, _dose, pack, case, case.masks)
        blind.add(case, _dose, pack, case, case.masks, use_ct=False)
        predicted = pack.segment(case.ct).masks  # type: ignore[arg-type]  # evaluation folders have a CT
        if any(name in TARGET_NAMES for name in predicted):
            own.add(case, _dose, pack, case, predicted)
        else:
            without_target += 1
        if baseline is not None:
            trees.add(case, baseline.predict, case)
        log(f"{folder.name} {k + 1}/{len(folders)} dose {network.doses[-1]:.3f} Gy")
    metrics: dict[str, Any] = network.summary() | {
        "without_ct": blind.summary(),
        "from_predicted_structures": own.summary() | {"no_target_found": without_target},
        "boosted_trees": trees.summary() | {"train_patients": len(for_trees)},
        "dvh_errors": network.per_metric(),
    }
    return {"metrics": metrics, "n_cases": len(folders), "model": "dose"}


def _dose(pack: ModelPack, case: DoseCase, masks: dict[str, np.ndarray], *, use_ct: bool = True) -> np.ndarray:
    return pack.dose(case.ct, masks, possible_dose=case.possible, use_ct=use_ct).dose_gy.array  # type: ignore[arg-type]
