"""Dose onto the grid of a CT: RTDOSE or NIfTI, always in Gy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from hnvlm.errors import GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import dicom, nifti
from hnvlm.imaging.orient import GridMap
from hnvlm.imaging.overlay import DAMAGED, check_frame, frame_of, like_ct, load
from hnvlm.imaging.volume import Volume

_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
# Not limits of treatment but of belief: above the first the unit is doubtful, above the second it is wrong (a plan of
# 10 Gy already has 1000 cGy).
UNLIKELY_GY, IMPOSSIBLE_GY = 150.0, 1000.0
_ROUNDING_GY = 1e-3
_SAME_PLACE_MM = 0.1


def of_one_plan(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Which of several dose files make up the dose of one treatment, to be added up, and what was left out.

    A planning system exports a plan's dose, that of each beam, or both; and a folder may hold the plans that were
    compared. Adding those up would count a treatment twice. Types: PS3.3 C.8.8.3, Dose Summation Type.

    Raises:
        InputRefusedError: The files hold the doses of several plans and no sum of them, or parts that do not add up.
    """
    files = list(files)
    kinds = [_kind_and_plan(file) for file in files]
    if len(files) == 1 and kinds[0][0] not in (*_WHOLE, ""):
        return files, [f"{files[0].name}: this is the dose of one {kinds[0][0]}, not of the whole plan"]
    if len(files) < 2:
        return files, []
    sums = [f for f, (kind, _) in zip(files, kinds, strict=True) if kind == "MULTI_PLAN"]
    whole = sums or [f for f, (kind, _) in zip(files, kinds, strict=True) if kind in (*_WHOLE, "")]
    if len(whole) == 1:
        what = "a sum of plans" if sums else "a whole plan"
        return whole, [f"{len(files) - 1} other dose file(s) were left out, for one is the dose of {what}"]
    if whole:
        raise InputRefusedError(
            f"{len(whole)} doses of whole plans ({', '.join(f.name for f in whole)}); added up they could count one "
            "treatment twice. Add the one that is to be judged, or the plan sum that the planning system exports."
        )
    if {kind for kind, _ in kinds} != {"BEAM"} or len({plan for _, plan in kinds}) > 1:
        raise InputRefusedError(
            f"{len(files)} dose files that are not the beams of one plan "
            f"({', '.join(sorted({kind for kind, _ in kinds}))}). Export the dose of the whole plan."
        )
    return files, [f"the doses of {len(files)} beams were added up; whether the plan has more is not known"]


def _kind_and_plan(file: Path) -> tuple[str, str]:
    """Dose Summation Type ("" in NIfTI) and UID of the plan."""
    if nifti.is_nifti(file):
        return "", ""
    dataset = load(file)
    plans = dataset.get("ReferencedRTPlanSequence") or []
    return str(dataset.get("DoseSummationType") or "").upper(), str(plans[0].ReferencedSOPInstanceUID) if plans else ""


def read_dose(
    path: Path | str,
    volume: Volume,
    source_frame_uid: str = "",
    *,
    beyond: float = 0.0,
    warn: Callable[[str], None] | None = None,
) -> Volume:
    """Read a dose distribution onto the CT's grid.

    Args:
        path: RTDOSE file (16 or 32 bit, own grid, any order of frames) or NIfTI in Gy.
        volume: The CT.
        source_frame_uid: The CT's original frame of reference where ``volume`` carries a replaced one.
        beyond: Value where the dose grid does not reach; not-a-number keeps it apart from 0 Gy.
        warn: Receives what was odd.

    Returns:
        float32 Gy on the CT's grid, ``beyond`` outside the dose grid.

    Raises:
        FrameOfReferenceError: The dose belongs to another frame of reference.
        GeometryError: The dose grid is irregular or does not overlap the CT.
        InputRefusedError: Relative dose: it has no unit; or values that no dose in Gy has.
        UnreadableFileError: Damaged, or no dose.
    """
    path = Path(path)
    warnings: list[str] = []
    if nifti.is_nifti(path):
        dose = _nifti_volume(path, warnings)
    else:
        if not path.is_file() or not dicom.looks_like_dicom(path):
            raise UnreadableFileError(f"{path.name}: neither an RTDOSE file nor NIfTI.")
        dataset = load(path)
        if dataset.get("Modality") != "RTDOSE":
            raise UnreadableFileError(f"{path.name}: modality {dataset.get('Modality')} is not RTDOSE.")
        check_frame(frame_of(dataset), source_frame_uid or volume.frame_of_reference_uid, path, warnings)
        dose = _dose_volume(path, dataset, warnings)
    known = np.isfinite(dose.array)  # an oblique grid does not fill the corners of the box around it
    dose = dose.with_array(np.where(known, dose.array, np.float32(0)))
    array = like_ct(dose, volume, path, warnings, order=1)
    covered = _covered(dose.with_array(known), volume, path)
    if not covered.any() or float(array.max()) <= 0 < float(dose.array.max()):
        raise GeometryError(f"{path.name}: the dose grid does not overlap this CT.")
    for text in warnings:
        if warn is not None:
            warn(text)
    return volume.with_array(np.where(covered, array, np.float32(beyond)).astype(np.float32, copy=False))


def _covered(known: Volume, volume: Volume, path: Path) -> np.ndarray:
    """Voxels of the CT (bool) whose dose comes from known voxels alone."""
    if known.array.all():
        return like_ct(known, volume, path, [], order=0)
    return like_ct(known.with_array(known.array.astype(np.float32)), volume, path, [], order=1) > 0.999


def _nifti_volume(path: Path, warnings: list[str]) -> Volume:
    """Dose of a NIfTI file as float32, not-a-number in the corners that an oblique grid leaves open."""
    header = nifti.read_header(path)
    if header.grid is None:
        raise UnreadableFileError("; ".join(header.reasons))
    gray = _checked(path, nifti.read_array(path).astype(np.float32), warnings)
    array, spacing, origin = header.grid.apply(gray, fill=np.nan)
    return Volume(array, spacing, origin)


def _checked(path: Path, gray: np.ndarray, warnings: list[str]) -> np.ndarray:
    """A dose as it is stored, when it can be one in Gy; values a rounding below 0 become 0.

    Raises:
        InputRefusedError: Values that are not numbers, below 0, or far above any dose of a treatment.
    """
    broken = int(np.count_nonzero(~np.isfinite(gray)))
    if broken:
        raise InputRefusedError(
            f"{path.name}: {broken} of {gray.size} voxels hold no number. Export the dose again, with 0 where there is "
            "none."
        )
    low, high = float(gray.min()), float(gray.max())
    if low < -_ROUNDING_GY:
        raise InputRefusedError(
            f"{path.name}: the lowest value is {low:g} Gy, and a dose is not negative. A difference of two doses "
            "cannot be judged; export the dose itself."
        )
    if high > IMPOSSIBLE_GY:
        raise InputRefusedError(
            f"{path.name}: the highest value is {high:g}; in Gy no treatment gives that much. Is it cGy? Export the "
            "dose in Gy."
        )
    if high > UNLIKELY_GY:
        warnings.append(f"{path.name}: the highest value is {high:g} Gy; is it another unit than Gy?")
    return np.maximum(gray, 0)


def _dose_volume(path: Path, dataset: Dataset, warnings: list[str]) -> Volume:
    units = str(dataset.get("DoseUnits") or "").upper()
    if units != "GY":
        raise InputRefusedError(f"{path.name}: dose unit '{units or 'missing'}' is not Gy; export absolute dose.")
    kind = str(dataset.get("DoseType") or "")
    if kind and kind.upper() != "PHYSICAL":
        warnings.append(f"{path.name}: dose type is {kind}, not PHYSICAL")
    try:
        scaling = float(dataset.DoseGridScaling)
        orientation = np.array(dataset.ImageOrientationPatient, float)
        position = np.array(dataset.ImagePositionPatient, float)
        row_spacing, column_spacing = (float(v) for v in dataset.PixelSpacing)
        stored = dataset.pixel_array
    except DAMAGED as error:
        raise UnreadableFileError(f"{path.name}: damaged dose file ({error}).") from error
    if not np.isfinite(scaling) or scaling <= 0:
        raise UnreadableFileError(f"{path.name}: dose grid scaling {scaling} is not a positive number.")
    stored = stored[None] if stored.ndim == 2 else stored
    array = _checked(path, (stored * np.float64(scaling)).astype(np.float32), warnings)
    row_dir, col_dir = orientation[:3], orientation[3:]
    normal = np.cross(row_dir, col_dir)
    offsets = _offsets(path, dataset, len(array), float(position[2]), orientation)
    array, start, step = _even_frames(path, array, offsets, warnings)
    steps = np.stack([normal * step, col_dir * row_spacing, row_dir * column_spacing], axis=1)
    grid = GridMap.build(array.shape, steps, position + normal * start)
    turned, spacing, origin = grid.apply(array, fill=np.nan)
    return Volume(turned, spacing, origin, "")


def _offsets(path: Path, dataset: Dataset, frames: int, first_z: float, orientation: np.ndarray) -> np.ndarray:
    """Offsets of the frames along the normal.

    PS3.3 C.8.8.3.2 allows distances from the first frame, which begin with 0, and, for axial images in the usual
    orientation only, positions along z, which begin with that of the first frame.

    Raises:
        GeometryError: They are neither; along a normal that points to the feet, positions would turn the dose over.
    """
    given = dataset.get("GridFrameOffsetVector")
    if frames == 1:
        return np.zeros(1)
    values = None if given is None else dicom.floats(given, frames)
    if values is None:
        raise GeometryError(f"{path.name}: grid frame offsets do not fit the {frames} frames of the dose.")
    offsets = np.array(values)
    if offsets[0] == 0:
        return offsets
    usual = np.allclose(orientation, (1, 0, 0, 0, 1, 0), atol=1e-3)
    if not usual or abs(offsets[0] - first_z) > _SAME_PLACE_MM:
        raise GeometryError(
            f"{path.name}: the grid frame offsets begin with {offsets[0]:g}: neither with 0 nor, in an axial dose that "
            "is not turned, with the position of its first frame. Where the frames lie is not certain; export the dose "
            "again."
        )
    return offsets - first_z


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
