"""What every object that is laid over a CT shares: loading, the frame-of-reference check, the common grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from hnvlm.errors import FrameOfReferenceError, UnreadableFileError
from hnvlm.imaging.dicom import DAMAGED
from hnvlm.imaging.resample import Order, resample_like
from hnvlm.imaging.volume import Volume

__all__ = ["DAMAGED", "NO_ORIGIN", "check_frame", "frame_of", "like_ct", "load"]

NO_ORIGIN = "has no origin; it was laid voxel by voxel on the CT of the same shape"


def load(file: Path) -> Dataset:
    """Load a whole DICOM file; UnreadableFileError when it is damaged."""
    try:
        return pydicom.dcmread(file, force=True)
    except DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error


def frame_of(dataset: Dataset) -> str:
    """Frame of reference of an RT object: its own, or the one its structures refer to."""
    for roi in dataset.get("StructureSetROISequence") or []:
        if roi.get("ReferencedFrameOfReferenceUID"):
            return str(roi.ReferencedFrameOfReferenceUID)
    for item in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        if item.get("FrameOfReferenceUID"):
            return str(item.FrameOfReferenceUID)
    return str(dataset.get("FrameOfReferenceUID") or "")


def check_frame(own: str, ct: str, file: Path, warnings: list[str]) -> None:
    """Raise FrameOfReferenceError when both frames are known and differ; note when one is unknown."""
    if own and ct and own != ct:
        raise FrameOfReferenceError(
            f"{file.name} belongs to another frame of reference than the CT, so its positions do not fit this CT. "
            "Export structures and dose together with the CT they were made on."
        )
    if not own or not ct:
        warnings.append(f"{file.name}: frame of reference unknown; that it belongs to this CT was not checked")


def like_ct(other: Volume, volume: Volume, file: Path, warnings: list[str], order: Order) -> np.ndarray:
    """Array of another volume on the CT's grid (order 1 linear, 0 nearest)."""
    if other.shape == volume.shape and np.allclose(other.spacing_mm, volume.spacing_mm, rtol=1e-3):
        if np.allclose(other.origin_mm, volume.origin_mm, atol=0.01):
            return other.array
        if min(np.abs(other.origin_mm).max(), np.abs(volume.origin_mm).max()) < 1e-3:
            # The public challenge's grids lost their origin; same shape and spacing identify the grid.
            warnings.append(f"{file.name} {NO_ORIGIN}")
            return other.array
    return resample_like(other, volume, order=order).array
