"""The dose of a clinic's plan as trainers and evaluations read it, or why it cannot be learned from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hnvlm.cli import own_marks
from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.imaging import dicom, nifti
from hnvlm.imaging.anatomy import body_mask
from hnvlm.imaging.dvh import OUTSIDE_SHARE
from hnvlm.imaging.overlay import load
from hnvlm.imaging.target_names import is_ptv, level_gy
from hnvlm.imaging.volume import Volume
from hnvlm.services import rt_objects, target_levels
from hnvlm.types import TARGET_NAMES

# Doses of a whole treatment (PS3.3 C.8.8.3, Dose Summation Type).
_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")


@dataclass(frozen=True)
class OwnDose:
    """Dose of a plan on the CT's grid.

    Attributes:
        gray: Gy float32 (z, y, x), 0 where ``possible`` is not.
        possible: bool (z, y, x): patient inside the dose grid, and wherever there is dose.
        warnings: What was odd, in words.
    """

    gray: Volume
    possible: np.ndarray
    warnings: list[str]


def read_own_dose(
    path: Path, ct: Volume, frame_uid: str, masks: Mapping[str, np.ndarray], names: Collection[str],
    by_model: Collection[str],
) -> OwnDose:  # fmt: skip
    """Read the dose of the plan that the targets were planned for.

    Args:
        path: RTDOSE, or NIfTI in Gy.
        frame_uid: The CT's original frame of reference where ``ct`` carries a replaced one.
        masks: Structures on the CT's grid that are taken, TG-263 names.
        names: All structures of the plan, also those that no model knows.
        by_model: Those that a model drew.

    Raises:
        FrameOfReferenceError: The dose belongs to another frame of reference.
        InputRefusedError: It is not the physical dose of a whole plan of targets that the dose network knows.
        UnreadableFileError: The file is damaged, or no dose.
        UsageError: A folder was given.
    """
    if path.is_dir():
        raise UsageError(f"--dose {path} is a folder; name the file that holds the dose of the whole plan.")
    _require_levels(path, masks, names, by_model)
    if not nifti.is_nifti(path) and path.is_file() and dicom.modality(path) == "RTDOSE":
        _require_whole_plan(path)
    mark = own_marks.made_by_model(path) if path.is_file() else ""
    if mark:
        raise InputRefusedError(f"{path}: says '{mark}'. A dose that was predicted or scaled is not learned from.")
    dose, warnings = rt_objects.read_dose([path], ct, frame_uid)
    known = np.isfinite(dose.array)
    gray = np.where(known, dose.array, np.float32(0))
    for name in (n for n in TARGET_NAMES if n in masks):
        beyond = np.count_nonzero(masks[name] & ~known) / np.count_nonzero(masks[name])
        if beyond > OUTSIDE_SHARE:
            raise InputRefusedError(
                f"{path}: {100 * beyond:.0f} % of {name} lies outside the dose grid. Export the dose of all of it."
            )
    _require_prescription(path, gray, masks)
    possible = (body_mask(ct.array) & known) | (gray > 0)
    return OwnDose(ct.with_array(gray), possible, [*warnings, *rt_objects.coverage_notes(dose, masks)])


def _require_levels(
    path: Path, masks: Mapping[str, np.ndarray], names: Collection[str], by_model: Collection[str]
) -> None:
    """Refuse a plan of targets that the network has no input for: their dose would be taught as spilled."""
    levels = ", ".join(TARGET_NAMES)
    other = sorted(n for n in names if is_ptv(n) and level_gy(n) is not None and n not in TARGET_NAMES)
    if other:
        raise InputRefusedError(
            f"{path}: the plan has {', '.join(other)}; the dose network learns plans of {levels} alone. Import this "
            "patient without --dose."
        )
    targets = [name for name in TARGET_NAMES if name in masks]
    if not targets:
        raise InputRefusedError(
            f"{path}: no target of {levels} is among the structures, so the dose says nothing. Give the plan's "
            "--structures with these (PTV70, PTV 63 and the like are read as such), or leave --dose out."
        )
    guessed = sorted(set(targets) & set(by_model))
    if guessed:
        raise InputRefusedError(f"{path}: a model drew {', '.join(guessed)}; the plan was made for other targets.")


def _require_whole_plan(path: Path) -> None:
    dataset = load(path)
    kind, summed = (str(dataset.get(key) or "").upper() for key in ("DoseType", "DoseSummationType"))
    if kind and kind != "PHYSICAL":
        raise InputRefusedError(f"{path}: dose type {kind}; physical dose in Gy is learned from. Export that.")
    if summed and summed not in _WHOLE:
        raise InputRefusedError(
            f"{path}: this is the dose of one {summed} (Dose Summation Type), not of the whole plan. Export the plan's."
        )


def _require_prescription(path: Path, gray: np.ndarray, masks: Mapping[str, np.ndarray]) -> None:
    targets = [name for name in TARGET_NAMES if name in masks]
    for name in targets:
        prescribed, median = int(name[-4:]) / 100, float(np.median(gray[masks[name]]))
        if target_levels.off_level(median, prescribed, highest=name == targets[0]):
            raise InputRefusedError(
                f"{path}: the median dose of {name} is {median:.1f} Gy, while its name says {prescribed:g} Gy. Is it "
                "the dose of a phase, of one fraction, or of another plan? Export the sum of the whole treatment."
            )
