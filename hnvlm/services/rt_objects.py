"""Structures and dose from a user's files onto a CT's grid: RTSTRUCT, SEG, RTDOSE or a folder of masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hnvlm.errors import UnreadableFileError
from hnvlm.imaging import intake, rt
from hnvlm.imaging.dose import of_one_plan
from hnvlm.imaging.volume import Volume
from hnvlm.services.context import App
from hnvlm.services.identity import map_uid


def read_structures(
    source: Path | Sequence[Path], volume: Volume, source_frame_uid: str = "", *, beside: Sequence[Path] = ()
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read structures onto the grid of a CT; of several structure sets one is taken.

    Args:
        source: RTSTRUCT or SEG file, or a folder of ``<Name>.nii.gz`` masks (OpenKBP or TG-263 names).
        source_frame_uid: The CT's original frame of reference, where ``volume`` carries a replaced one.
        beside: RTDOSE and RTPLAN that came with a list of files; they say which structure set was planned on.

    Returns:
        Name -> bool mask (z, y, x), TG-263 names where the name is surely one of them, and warnings.

    Raises:
        FrameOfReferenceError: The structures belong to another frame of reference.
        InputRefusedError: Several structure sets, and nothing says which one is meant.
        UnreadableFileError: A file is damaged, or none holds structures.
    """
    found = rt.read_structures(source, volume, source_frame_uid, keep_unmapped=True, beside=beside)
    warnings = list(found.warnings)
    if found.unmapped:
        warnings.append(f"structures kept under their own names: {', '.join(found.unmapped)}")
    return dict(found.masks), warnings


def read_dose(files: Sequence[Path], volume: Volume, source_frame_uid: str = "") -> tuple[Volume, list[str]]:
    """Read RTDOSE onto the grid of a CT, Gy float32; the files of one plan (beams) are added up.

    Raises:
        FrameOfReferenceError: The dose belongs to another frame of reference.
        InputRefusedError: The files are doses of several plans.
        UnreadableFileError: A file cannot be read.
    """
    total: Volume | None = None
    chosen, warnings = of_one_plan(files)
    for path in chosen:
        dose = rt.read_dose(path, volume, source_frame_uid, warn=warnings.append)
        total = dose if total is None else total.with_array(total.array + dose.array)
    if total is None:
        raise UnreadableFileError("No dose file was given.")
    return total, warnings


def original_frame_uid(app: App, case_frame_uid: str, source: Path) -> str:
    """Return the frame of reference of a file if it is the one a stored case was made from, else "".

    A stored case carries only a keyed hash of it, so the file's own UID is hashed and compared.
    """
    for series in intake.scan(source):
        uid = series.frame_of_reference_uid
        if uid and map_uid(app, uid) == case_frame_uid:
            return uid
    return ""
