"""Structures and dose onto the grid of a CT: RTSTRUCT, SEG, folders of masks, RTDOSE, dose as NIfTI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from hnvlm.errors import FrameOfReferenceError, GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import archive, dicom, nifti
from hnvlm.imaging.contours import mask_from_contours
from hnvlm.imaging.orient import GridMap
from hnvlm.imaging.resample import resample_like
from hnvlm.imaging.tg263 import NOT_STRUCTURES, to_tg263
from hnvlm.imaging.volume import Volume

_NO_ORIGIN = "has no origin; it was laid voxel by voxel on the CT of the same shape"
CLOSED = ("CLOSED_PLANAR", "CLOSED_PLANAR_XOR", "CLOSEDPLANAR_XOR")
_DAMAGED = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError,
            NotImplementedError, OverflowError)  # fmt: skip


class Structures(NamedTuple):
    """Structures on a CT's grid.

    Attributes:
        masks: TG-263 name -> bool (z, y, x) on the CT's grid; empty structures are left out.
        unmapped: Names that are not surely one of the known structures.
        warnings: What was odd, in words for the user.
    """

    masks: dict[str, np.ndarray]
    unmapped: list[str]
    warnings: list[str]


def read_structures(
    source: Path | str | Sequence[Path], volume: Volume, source_frame_uid: str = "", *, keep_unmapped: bool = False
) -> Structures:
    """Read structures from an RTSTRUCT or SEG file, a folder or a list of files.

    Args:
        source: RTSTRUCT, SEG or NIfTI file, or a folder of ``<Name>.nii.gz`` masks (also a folder that holds an
            RTSTRUCT or SEG), or a list of such files.
        volume: The CT.
        source_frame_uid: The CT's original frame of reference where ``volume`` carries a replaced one.
        keep_unmapped: Also return unmapped structures, under their own names.

    Raises:
        FrameOfReferenceError: The structures belong to another frame of reference.
        GeometryError: No structure lies inside the CT.
        UnreadableFileError: A file is damaged, or none holds structures.
    """
    files = _structure_files(source)
    found: list[tuple[str, np.ndarray]] = []
    warnings: list[str] = []
    for file in files:
        if nifti.is_nifti(file):
            mask = read_mask_file(file, volume, warnings)
            found.append((_stem(file), mask))
            continue
        dataset = _load(file)
        _check_frame(_frame_of(dataset), source_frame_uid or volume.frame_of_reference_uid, file, warnings)
        if dataset.get("Modality") == "SEG":
            found += _seg_masks(file, volume)
        else:
            found += _rtstruct_masks(file, dataset, volume, warnings)
    return _named(found, _joined(warnings), keep_unmapped)


def _joined(warnings: list[str]) -> list[str]:
    """Say a thing once that is true of many mask files."""
    same = [w for w in warnings if w.endswith(_NO_ORIGIN)]
    if len(same) < 2:
        return warnings
    return [f"{len(same)} mask files: each {_NO_ORIGIN}", *(w for w in warnings if w not in same)]


def _stem(file: Path) -> str:
    name = file.name
    for suffix in (".gz", ".nii"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def _structure_files(source: Path | str | Sequence[Path]) -> list[Path]:
    """Files with structures among what was given."""
    if isinstance(source, str | Path):
        root = Path(source)
        if not root.exists():
            raise UnreadableFileError(f"{root}: no such file or folder.")
        given = list(archive.list_files(root)) if root.is_dir() else [root]
        name = root.name
    else:
        given, name = [Path(p) for p in source], "the files"
    out = []
    for file in given:
        if nifti.is_nifti(file):
            if _stem(file).lower() not in NOT_STRUCTURES or len(given) == 1:
                out.append(file)
        elif dicom.looks_like_dicom(file) and dicom.read_headers(file)[0].text("Modality") in ("RTSTRUCT", "SEG"):
            out.append(file)
    if not out:
        raise UnreadableFileError(f"{name}: no structures in it (an RTSTRUCT, a SEG or <Name>.nii.gz masks are read).")
    return out


def _load(file: Path) -> Dataset:
    try:
        return pydicom.dcmread(file, force=True)
    except _DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error


def _frame_of(dataset: Dataset) -> str:
    """Frame of reference of an RT object: its own, or the one its structures refer to."""
    for roi in dataset.get("StructureSetROISequence") or []:
        if roi.get("ReferencedFrameOfReferenceUID"):
            return str(roi.ReferencedFrameOfReferenceUID)
    for item in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        if item.get("FrameOfReferenceUID"):
            return str(item.FrameOfReferenceUID)
    return str(dataset.get("FrameOfReferenceUID") or "")


def _check_frame(own: str, ct: str, file: Path, warnings: list[str]) -> None:
    if own and ct and own != ct:
        raise FrameOfReferenceError(
            f"{file.name} belongs to another frame of reference than the CT, so its positions do not fit this CT. "
            "Export structures and dose together with the CT they were made on."
        )
    if not own or not ct:
        warnings.append(f"{file.name}: frame of reference unknown; that it belongs to this CT was not checked")


def _named(found: list[tuple[str, np.ndarray]], warnings: list[str], keep_unmapped: bool) -> Structures:
    masks: dict[str, np.ndarray] = {}
    unmapped: list[str] = []
    origin: dict[str, str] = {}
    inside = False
    # A name that already is TG-263 goes first, so that a synonym never displaces it.
    for name, mask in sorted(found, key=lambda item: to_tg263(item[0]) != item[0]):
        full = bool(mask.any())
        inside |= full
        mapped = to_tg263(name)
        if mapped is None:
            unmapped.append(name)
            if keep_unmapped and full:
                masks.setdefault(name, mask)
        elif not full:
            warnings.append(f"{name} is empty on this CT")
        elif mapped in masks:
            warnings.append(f"{name} and {origin[mapped]} both mean {mapped}; {origin[mapped]} was taken")
        else:
            masks[mapped], origin[mapped] = mask, name
    if found and not inside:
        raise GeometryError("None of the structures lies inside this CT; they belong to another image.")
    return Structures(masks, unmapped, warnings)


def _rtstruct_masks(
    file: Path, dataset: Dataset, volume: Volume, warnings: list[str]
) -> list[tuple[str, np.ndarray]]:  # fmt: skip
    out = []
    try:
        names = {int(r.ROINumber): str(r.get("ROIName") or "").strip() for r in dataset.StructureSetROISequence}
        drawn: dict[int, DicomSequence] = {
            int(c.ReferencedROINumber): c.get("ContourSequence") or DicomSequence()
            for c in dataset.get("ROIContourSequence") or []
        }
        for number, name in names.items():
            label = name or f"ROI {number}"
            kinds = [str(c.get("ContourGeometricType")) for c in drawn.get(number, [])]
            contours = [_points(c) for c in drawn.get(number, []) if c.get("ContourGeometricType") in CLOSED]
            others = len(kinds) - len(contours)
            if others:
                warnings.append(f"{label}: {others} point or open contour(s) have no area and are not in the mask")
            if not contours:
                if not kinds:
                    warnings.append(f"{label} has no contours")
                continue
            mask, notes = mask_from_contours(contours, volume)
            warnings += [f"{label}: {note}" for note in notes]
            out.append((label, mask))
    except _DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged structure set ({error}).") from error
    if not out:
        raise UnreadableFileError(f"{file.name}: the structure set holds no closed contours.")
    return out


def _points(contour: Dataset) -> np.ndarray:
    item = contour.get_item("ContourData")
    raw = getattr(item, "value", None)
    # Converting every number to pydicom's DS takes minutes for a large structure set; the text itself is enough.
    numbers = raw.decode("ascii").strip(" \0").split("\\") if isinstance(raw, bytes) else contour.ContourData
    points = np.array(numbers, dtype=float).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise ValueError("contour points are not numbers")
    return points


def _seg_masks(file: Path, volume: Volume) -> list[tuple[str, np.ndarray]]:
    import highdicom  # takes a second to import; only SEG needs it

    try:
        seg = highdicom.seg.segread(file)
        names = {int(s.SegmentNumber): str(s.get("SegmentLabel") or "") for s in seg.SegmentSequence}
        out = []
        for number, name in names.items():
            part = seg.get_volume(segment_numbers=[number], combine_segments=True, relabel=True)
            affine = np.asarray(part.affine)
            grid = GridMap.build(part.array.shape[:3], affine[:3, :3], affine[:3, 3])
            array = (np.asarray(part.array) > 0).astype(np.uint8)
            out.append((name or f"segment {number}", _onto(grid, array, volume)))
    except _DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged or irregular segmentation ({error}).") from error
    return out


def _onto(grid: GridMap, array: np.ndarray, volume: Volume) -> np.ndarray:
    return grid.sample(array, volume.shape, volume.spacing_mm, volume.origin_mm, fill=0, order=0) > 0


def read_mask_file(file: Path, volume: Volume, warnings: list[str]) -> np.ndarray:
    """Read one NIfTI mask onto the CT's grid (nearest neighbour); bool (z, y, x)."""
    mask = nifti.read_volume(file, order=0)
    array = mask.array
    values = np.unique(array[:: max(1, array.shape[0] // 16)])
    if len(values) > 2:
        warnings.append(f"{file.name} holds more than two values; everything above 0 was taken as inside")
    return _like_ct(mask.with_array(array > 0), volume, file, warnings, order=0)


def _like_ct(other: Volume, volume: Volume, file: Path, warnings: list[str], order: int) -> np.ndarray:
    if other.shape == volume.shape and np.allclose(other.spacing_mm, volume.spacing_mm, rtol=1e-3):
        if np.allclose(other.origin_mm, volume.origin_mm, atol=0.01):
            return other.array
        if min(np.abs(other.origin_mm).max(), np.abs(volume.origin_mm).max()) < 1e-3:
            # The public challenge's grids lost their origin; same shape and spacing identify the grid.
            warnings.append(f"{file.name} {_NO_ORIGIN}")
            return other.array
    return resample_like(other, volume, order=order).array  # type: ignore[arg-type]


def read_dose(
    path: Path | str, volume: Volume, source_frame_uid: str = "", *, warn: Callable[[str], None] | None = None
) -> Volume:
    """Read a dose distribution onto the CT's grid.

    Args:
        path: RTDOSE file (16 or 32 bit, own grid, any order of frames) or NIfTI in Gy.
        volume: The CT.
        source_frame_uid: The CT's original frame of reference where ``volume`` carries a replaced one.
        warn: Receives what was odd.

    Returns:
        float32 Gy on the CT's grid, 0 outside the dose grid.

    Raises:
        FrameOfReferenceError: The dose belongs to another frame of reference.
        GeometryError: The dose grid is irregular or does not overlap the CT.
        InputRefusedError: Relative dose: it has no unit.
        UnreadableFileError: Damaged, or no dose.
    """
    path = Path(path)
    warnings: list[str] = []
    if nifti.is_nifti(path):
        source = nifti.read_volume(path)
        dose = source.with_array(source.array.astype(np.float32))
    else:
        if not path.is_file() or not dicom.looks_like_dicom(path):
            raise UnreadableFileError(f"{path.name}: neither an RTDOSE file nor NIfTI.")
        dataset = _load(path)
        if dataset.get("Modality") != "RTDOSE":
            raise UnreadableFileError(f"{path.name}: modality {dataset.get('Modality')} is not RTDOSE.")
        _check_frame(_frame_of(dataset), source_frame_uid or volume.frame_of_reference_uid, path, warnings)
        dose = _dose_volume(path, dataset, warnings)
    array = _like_ct(dose, volume, path, warnings, order=1)
    if float(array.max()) <= 0 < float(dose.array.max()):
        raise GeometryError(f"{path.name}: the dose grid does not overlap this CT.")
    for text in warnings:
        if warn is not None:
            warn(text)
    return volume.with_array(np.ascontiguousarray(array, np.float32))


def _dose_volume(path: Path, dataset: Dataset, warnings: list[str]) -> Volume:
    units = str(dataset.get("DoseUnits") or "").upper()
    if units != "GY":
        raise InputRefusedError(f"{path.name}: dose unit '{units or 'missing'}' is not Gy; export absolute dose.")
    kind, summation = str(dataset.get("DoseType") or ""), str(dataset.get("DoseSummationType") or "")
    if kind and kind.upper() != "PHYSICAL":
        warnings.append(f"{path.name}: dose type is {kind}, not PHYSICAL")
    if summation and summation.upper() not in ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW"):
        warnings.append(f"{path.name}: this is the dose of one {summation}, not of the whole plan")
    try:
        scaling = float(dataset.DoseGridScaling)
        orientation = np.array(dataset.ImageOrientationPatient, float)
        position = np.array(dataset.ImagePositionPatient, float)
        row_spacing, column_spacing = (float(v) for v in dataset.PixelSpacing)
        stored = dataset.pixel_array
    except _DAMAGED as error:
        raise UnreadableFileError(f"{path.name}: damaged dose file ({error}).") from error
    if not np.isfinite(scaling) or scaling <= 0:
        raise UnreadableFileError(f"{path.name}: dose grid scaling {scaling} is not a positive number.")
    stored = stored[None] if stored.ndim == 2 else stored
    array = (stored * np.float64(scaling)).astype(np.float32)
    row_dir, col_dir = orientation[:3], orientation[3:]
    normal = np.cross(row_dir, col_dir)
    offsets = _offsets(path, dataset, len(array), position @ normal)
    array, start, step = _even_frames(path, array, offsets, warnings)
    steps = np.stack([normal * step, col_dir * row_spacing, row_dir * column_spacing], axis=1)
    grid = GridMap.build(array.shape, steps, position + normal * start)
    turned, spacing, origin = grid.apply(array, fill=0.0)
    return Volume(turned, spacing, origin, "")


def _offsets(path: Path, dataset: Dataset, frames: int, first_position: float) -> np.ndarray:
    """Offsets of the frames along the normal; PS3.3 C.8.8.3.2 allows relative ones and absolute positions."""
    given = dataset.get("GridFrameOffsetVector")
    if frames == 1:
        return np.zeros(1)
    values = None if given is None else dicom.floats(given, frames)
    if values is None:
        raise GeometryError(f"{path.name}: grid frame offsets do not fit the {frames} frames of the dose.")
    offsets = np.array(values)
    return offsets if offsets[0] == 0 else offsets - first_position


def _even_frames(
    path: Path, array: np.ndarray, offsets: np.ndarray, warnings: list[str]
) -> tuple[np.ndarray, float, float]:
    """Frames in rising order at even distance: (array, first offset, step)."""
    if len(array) < 2:
        raise GeometryError(f"{path.name}: the dose has a single frame; a dose volume is needed.")
    order = np.argsort(offsets, kind="stable")
    array, offsets = array[order], offsets[order]
    gaps = np.diff(offsets)
    if gaps.min() <= 1e-3:
        raise GeometryError(f"{path.name}: two frames of the dose lie at the same position.")
    step = float(gaps.mean())
    if np.abs(gaps - step).max() > 0.02 * step:
        step = float(gaps.min())
        wanted = np.arange(offsets[0], offsets[-1] + 1e-6, step)
        fractional = np.interp(wanted, offsets, np.arange(len(offsets)))
        low = np.minimum(fractional.astype(int), len(offsets) - 2)
        weight = (fractional - low).astype(np.float32)[:, None, None]
        array = array[low] * (1 - weight) + array[low + 1] * weight
        warnings.append(f"{path.name}: dose frames are unevenly spaced; interpolated to {step:.2f} mm")
    return array, float(offsets[0]), step
