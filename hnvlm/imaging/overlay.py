"""What every object that is laid over a CT shares: loading, the frame-of-reference check, the common grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from hnvlm.errors import FrameOfReferenceError, UnreadableFileError
from hnvlm.imaging.dicom import DAMAGED
from hnvlm.imaging.resample import Order, resample_like
from hnvlm.imaging.volume import Volume

__all__ = [
    "DAMAGED",
    "NO_ORIGIN",
    "check_frame",
    "fault",
    "frame_of",
    "frames_in",
    "like_ct",
    "load",
    "roi_frames",
    "series_in",
]

NO_ORIGIN = "has no origin; it was laid voxel by voxel on the CT of the same shape"


def load(file: Path) -> Dataset:
    """Load a whole DICOM file; UnreadableFileError when it is damaged."""
    try:
        return pydicom.dcmread(file, force=True)
    except DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error


def fault(error: Exception) -> str:
    """What is wrong with a damaged file, in words; of an element that is not there, its name."""
    name = getattr(error, "name", None) if isinstance(error, AttributeError) else None
    return f"{name} is missing" if name and tag_for_keyword(name) is not None else str(error)


def frame_of(dataset: Dataset) -> str:
    """Frame of reference of an RT object as a whole: the one it refers to, else its own; "" for several."""
    named = _referenced(dataset)
    if named:
        return named[0] if len(named) == 1 else ""
    return str(dataset.get("FrameOfReferenceUID") or "")


def _referenced(dataset: Dataset) -> list[str]:
    items = dataset.get("ReferencedFrameOfReferenceSequence") or []
    return list(dict.fromkeys(str(i.FrameOfReferenceUID) for i in items if i.get("FrameOfReferenceUID")))


def roi_frames(dataset: Dataset) -> dict[int, str]:
    """Frame of reference of each structure of an RTSTRUCT by its number: its own, else that of the whole set."""
    whole = frame_of(dataset)
    rois = dataset.get("StructureSetROISequence") or []
    return {int(roi.ROINumber): str(roi.get("ReferencedFrameOfReferenceUID") or whole) for roi in rois}


def frames_in(file: Path) -> set[str]:
    """Every frame of reference that an RTSTRUCT names: one set may hold structures drawn on several images.

    Raises:
        UnreadableFileError: The file is damaged.
    """
    tags = ["FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence"]
    try:
        dataset = pydicom.dcmread(file, force=True, specific_tags=tags)
        found = {str(dataset.get("FrameOfReferenceUID") or ""), *_referenced(dataset), *roi_frames(dataset).values()}
    except DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error
    return found - {""}


def series_in(file: Path) -> set[str]:
    """Series of the images that an RTSTRUCT or SEG says it was drawn on.

    Raises:
        UnreadableFileError: The file is damaged.
    """
    tags = ["ReferencedFrameOfReferenceSequence", "ReferencedSeriesSequence"]
    try:
        dataset = pydicom.dcmread(file, force=True, specific_tags=tags)
        items = list(dataset.get("ReferencedSeriesSequence") or [])
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
            for study in frame.get("RTReferencedStudySequence") or []:
                items += study.get("RTReferencedSeriesSequence") or []
        return {str(item.get("SeriesInstanceUID") or "") for item in items} - {""}
    except DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error


def check_frame(own: str, ct: str, file: Path, warnings: list[str]) -> None:
    """Raise FrameOfReferenceError when both frames are known and differ; note when one is unknown."""
    if own and ct and own != ct:
        raise FrameOfReferenceError(
            f"{file.name} belongs to another frame of reference than the CT, so its positions do not fit this CT. "
            "Export structures and dose together with the CT they were made on."
        )
    if not own or not ct:
        warnings.append(f"{file.name}: frame of reference unknown; that it belongs to this CT was not checked")


def like_ct(
    other: Volume, volume: Volume, file: Path, warnings: list[str], order: Order, *, placed: bool = False
) -> np.ndarray:
    """Array of another volume on the CT's grid (order 1 linear, 0 nearest).

    Args:
        placed: Its file always states a position (DICOM), so that an origin of 0 is one, too.
    """
    if other.shape == volume.shape and np.allclose(other.spacing_mm, volume.spacing_mm, rtol=1e-3):
        if np.allclose(other.origin_mm, volume.origin_mm, atol=0.01):
            return other.array
        if not placed and min(np.abs(other.origin_mm).max(), np.abs(volume.origin_mm).max()) < 1e-3:
            # The public challenge's grids lost their origin; same shape and spacing identify the grid.
            warnings.append(f"{file.name} {NO_ORIGIN}")
            return other.array
    return resample_like(other, volume, order=order).array
