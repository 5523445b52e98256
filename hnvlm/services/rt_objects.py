"""Structures and dose from a user's files onto a CT's grid: RTSTRUCT, SEG, RTDOSE or a folder of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hnvlm.errors import FrameOfReferenceError, UnreadableFileError
from hnvlm.imaging.nifti import read_volume
from hnvlm.imaging.volume import Volume
from hnvlm.types import OPENKBP_TO_TG263

DOSE_MASK = "possible_dose_mask"
_NOT_MASKS = {"ct", "dose"}


def read_structures_of(path: Path, volume: Volume) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read an RTSTRUCT or SEG file onto the grid of a CT.

    Returns:
        TG-263 name -> bool mask (z, y, x), and warnings in words for the user.

    Raises:
        FrameOfReferenceError: The structures belong to another frame of reference.
        UnreadableFileError: The file cannot be read.
    """
    from hnvlm.imaging import rt

    found = rt.read_structures(path, volume)
    return dict(found.masks), list(found.warnings)


def read_dose_of(files: list[Path], volume: Volume) -> Volume:
    """Read RTDOSE onto the grid of a CT, Gy float32; several files of one plan (beams) are added up.

    Raises:
        FrameOfReferenceError: The dose belongs to another frame of reference.
        UnreadableFileError: A file cannot be read.
    """
    from hnvlm.imaging import rt

    total: Volume | None = None
    for path in files:
        dose = rt.read_dose(path, volume)
        total = dose if total is None else total.with_array(total.array + dose.array)
    if total is None:
        raise UnreadableFileError("No dose file was given.")
    return total


def read_structures_path(path: Path, volume: Volume) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read ``--structures PATH``: an RTSTRUCT or SEG file, or a folder of ``<Name>.nii.gz`` masks.

    Names of the public challenge become TG-263 names; ``possible_dose_mask`` keeps its own.

    Returns:
        Name -> bool mask (z, y, x), and warnings.

    Raises:
        UnreadableFileError: Nothing usable is there.
        FrameOfReferenceError: A mask lies on another grid.
    """
    if not path.exists():
        raise UnreadableFileError(f"{path}: no such file or folder. Give an RTSTRUCT, a SEG or a folder of masks.")
    if path.is_file():
        return read_structures_of(path, volume)
    masks: dict[str, np.ndarray] = {}
    for file in sorted(path.iterdir()):
        name = file.name.removesuffix(".gz").removesuffix(".nii")
        if name == file.name or name in _NOT_MASKS:
            continue
        mask = read_volume(file, order=0)
        if not mask.same_grid(volume):
            raise FrameOfReferenceError(
                f"{file.name} has another grid {mask.shape} than the CT {volume.shape}; give masks on the CT's grid."
            )
        masks[OPENKBP_TO_TG263.get(name, name)] = mask.array > 0
    if not masks:
        raise UnreadableFileError(f"{path}: no <Name>.nii.gz mask in this folder.")
    return masks, []
