"""The OpenKBP challenge's two scores, and reading of its cases.

Definitions: Babier et al., Medical Physics 48 (2021) 5549-5561, doi 10.1002/mp.14845, and the challenge's own
evaluation code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import read_file, require_grid
from hnvlm.imaging.dvh import challenge_metrics
from hnvlm.imaging.nifti import to_int16_hu
from hnvlm.imaging.volume import Volume
from hnvlm.types import OAR_NAMES, OPENKBP_TO_TG263, TARGET_NAMES


@dataclass(frozen=True)
class DoseCase:
    """One patient with the dose of the plan.

    Attributes:
        dose: float32 Gy; its grid is that of everything else.
        masks: TG-263 name -> bool.
        possible: bool, where the dose can be non-zero.
        ct: int16 HU, or None.
    """

    patient_id: str
    dose: Volume
    masks: dict[str, np.ndarray]
    possible: np.ndarray
    ct: Volume | None


def read_dose_case(folder: Path) -> DoseCase:
    """Read a case folder that has a dose.

    Raises:
        InputRefusedError: A file lies on another grid than the dose, the mask of possible dose is missing or empty, or
            the dose is not a number everywhere.
    """
    dose = read_file(folder / "dose.nii.gz")
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.nii.gz")):
        stem = path.name.removesuffix(".nii.gz")
        name = OPENKBP_TO_TG263.get(stem, stem)
        if name in (*OAR_NAMES, *TARGET_NAMES, "possible_dose_mask", "ct"):
            volume = read_file(path, order=0)
            require_grid(path, volume, dose, "dose")
            arrays[name] = to_int16_hu(volume.array) if name == "ct" else volume.array > 0
    if "possible_dose_mask" not in arrays:
        raise InputRefusedError(
            f"{folder} has no possible_dose_mask.nii.gz (0/1, 1 where a plan's dose can be above 0), "
            "so its dose can be neither learned nor scored. Add it, or take dose.nii.gz out."
        )
    if not arrays["possible_dose_mask"].any():
        raise InputRefusedError(f"{folder}/possible_dose_mask.nii.gz is empty, so its dose cannot be scored.")
    if not np.isfinite(dose.array).all():
        raise InputRefusedError(f"{folder}/dose.nii.gz holds values that are no numbers, so it cannot be scored.")
    hu = arrays.pop("ct", None)
    possible = arrays.pop("possible_dose_mask")
    gray = dose.with_array(dose.array.astype(np.float32))
    return DoseCase(folder.name, gray, arrays, possible, None if hu is None else dose.with_array(hu))


def dose_score(truth: np.ndarray, predicted: np.ndarray, possible: np.ndarray) -> float:
    """Absolute dose error of a patient in Gy: summed over all voxels, divided by the voxels of possible dose."""
    return float(np.abs(truth.astype(np.float64) - predicted).sum() / int(possible.sum()))


def dvh_errors(case: DoseCase, predicted: np.ndarray) -> dict[str, float]:
    """Absolute error (Gy) of each DVH metric of each structure that exists: "<structure> <metric>" -> Gy."""
    voxel_mm3 = case.dose.voxel_ml * 1000.0
    out = {}
    for name, mask in case.masks.items():
        target = name in TARGET_NAMES
        true = challenge_metrics(case.dose.array, mask, voxel_mm3, target=target)
        guess = challenge_metrics(predicted, mask, voxel_mm3, target=target)
        out |= {f"{name} {metric}": abs(true[metric] - guess[metric]) for metric in true}
    return out


def dvh_score(errors: Sequence[Mapping[str, float]]) -> float:
    """Mean over every metric of every patient, each of equal weight (not a mean of patients' means)."""
    values = [v for row in errors for v in row.values()]
    return float(np.mean(values)) if values else float("nan")
