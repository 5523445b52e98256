"""Dose onto the grid of a CT: RTDOSE or NIfTI, always in Gy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from hnvlm.errors import GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import dicom, nifti
from hnvlm.imaging.orient import GridMap
from hnvlm.imaging.overlay import DAMAGED, check_frame, fault, frame_of, like_ct, load
from hnvlm.imaging.volume import Volume

_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
_TAGS = ["DoseSummationType", "DoseType", "SOPInstanceUID", "ReferencedRTPlanSequence"]
# Doses of one session or less: against the limits of a whole treatment they say nothing.
_SESSION = ("FRACTION_SESSION", "BEAM_SESSION", "BRACHY_SESSION", "CONTROL_POINT")
# Not limits of treatment but of belief: above the first the unit is doubtful, above the second it is wrong (a plan of
# 10 Gy already has 1000 cGy).
UNLIKELY_GY, IMPOSSIBLE_GY = 150.0, 1000.0
_ROUNDING_GY = 1e-3
_SAME_PLACE_MM = 0.1
# A CT whose slices lie apart by this factor more than the dose's planes passes over what is between them.
_COARSER = 1.5
# Directions are written with a few digits; off by more, they are no directions.
_SAME_DIRECTION = 1e-2


def of_one_plan(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Which of several dose files make up the dose of one treatment, to be added up, and what was left out.

    A planning system exports a plan's dose, that of each beam, or both; and a folder may hold the plans that were
    compared, or a file twice. Adding those up would count a treatment twice. Types: PS3.3 C.8.8.3, Dose Summation Type.

    Raises:
        InputRefusedError: The files hold the doses of several plans and no sum of them, parts that do not add up, or
            the dose of a single session.
    """
    given = list(files)
    headers = {file: _header(file) for file in given}
    files = list({headers[file].uid or str(file): file for file in reversed(given)}.values())[::-1]
    notes = [f"{len(given) - len(files)} dose file(s) given twice were taken once"] if len(files) < len(given) else []
    kinds = [headers[file].kind for file in files]
    for file, kind in zip(files, kinds, strict=True):
        if kind in _SESSION and not set(kinds) & {*_WHOLE, ""}:
            raise InputRefusedError(
                f"{file.name}: this is the dose of one session ({kind}), and limits hold for the whole treatment. "
                "Export the dose of the whole plan."
            )
    part = part_of_plan(files)
    if part:
        return files, [*notes, f"{files[0].name}: this is the dose {part}"]
    if len(files) < 2:
        return files, notes
    sums = [f for f, kind in zip(files, kinds, strict=True) if kind == "MULTI_PLAN"]
    whole = sums or [f for f, kind in zip(files, kinds, strict=True) if kind in (*_WHOLE, "")]
    if len(whole) == 1:
        what = "a sum of plans" if sums else "a whole plan"
        return whole, [*notes, f"{len(files) - 1} other dose file(s) were left out, for one is the dose of {what}"]
    if whole:
        raise InputRefusedError(
            f"{len(whole)} doses of whole plans ({', '.join(f.name for f in whole)}); added up they could count one "
            "treatment twice. Add the one that is to be judged, or the plan sum that the planning system exports."
        )
    if set(kinds) != {"BEAM"} or len({headers[file].plan for file in files}) > 1:
        raise InputRefusedError(
            f"{len(files)} dose files that are not the beams of one plan "
            f"({', '.join(sorted(set(kinds)))}). Export the dose of the whole plan."
        )
    beams = [beam for file in files for beam in headers[file].beams]
    if len(set(beams)) < len(beams):
        raise InputRefusedError(
            f"{', '.join(f.name for f in files)}: a beam is in two of these doses, and added up it would count twice. "
            "Export the dose of the whole plan."
        )
    return files, [*notes, f"the doses of {len(files)} beams were added up; whether the plan has more is not known"]


def part_of_plan(files: Sequence[Path]) -> str:
    """Say of what part of a plan the only dose there is: a lower bound of the plan's; "" of a whole plan or beams."""
    headers = [_header(file) for file in files]
    if len({header.uid or str(file) for header, file in zip(headers, files, strict=True)}) != 1:
        return ""
    kind = headers[0].kind
    return "" if kind in (*_WHOLE, "") else f"of one {kind}, not of the whole plan"


def tags_of(files: Sequence[Path]) -> dict[str, str]:
    """Dose Summation Type and Dose Type of what was read, where it is not the physical dose of a plan.

    Args:
        files: The files of one treatment (``of_one_plan``).
    """
    headers = [_header(file) for file in files]
    tags = {"DoseSummationType": headers[0].kind} if part_of_plan(files) else {}
    return tags | ({"DoseType": "EFFECTIVE"} if "EFFECTIVE" in {header.type for header in headers} else {})


def fractions_of(doses: Sequence[Path], plans: Iterable[Path]) -> int | None:
    """In how many fractions a dose is given, as the RTPLAN says that it was calculated for; None if none does so.

    Args:
        doses: The files of one treatment (``of_one_plan``).
        plans: RTPLAN files that came with it.

    Raises:
        UnreadableFileError: A file is damaged.
    """
    wanted = {_header(file).plan for file in doses}
    if len(wanted) != 1 or "" in wanted:
        return None
    for file in plans:
        dataset = load(file)
        if str(dataset.get("SOPInstanceUID") or "") in wanted:
            groups = dataset.get("FractionGroupSequence") or []
            planned = [dicom.whole(group.get("NumberOfFractionsPlanned")) for group in groups]
            # Several groups give several doses a fraction, of which no single number tells.
            return planned[0] if len(planned) == 1 and planned[0] and planned[0] > 0 else None
    return None


class _Header(NamedTuple):
    """Dose Summation Type ("" in NIfTI), UID of the object, UID of its plan, numbers of its beams, Dose Type."""

    kind: str = ""
    uid: str = ""
    plan: str = ""
    beams: tuple[str, ...] = ()
    type: str = ""


def _header(file: Path) -> _Header:
    if nifti.is_nifti(file):
        return _Header()
    try:
        dataset = pydicom.dcmread(file, force=True, specific_tags=_TAGS)
        kind = str(dataset.get("DoseSummationType") or "").upper()
        plans = dataset.get("ReferencedRTPlanSequence") or []
        # A plan sum names every plan that is in it, and is none of them.
        plan = str(plans[0].get("ReferencedSOPInstanceUID") or "") if len(plans) == 1 else ""
        groups = [g for p in plans for g in p.get("ReferencedFractionGroupSequence") or []]
        beams = [b for g in groups for b in g.get("ReferencedBeamSequence") or []]
        numbers = tuple(str(b.get("ReferencedBeamNumber")) for b in beams)
        uid, of_what = (str(dataset.get(tag) or "") for tag in ("SOPInstanceUID", "DoseType"))
        return _Header(kind, uid, plan, numbers, of_what.upper())
    except DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error


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
    placed = not nifti.is_nifti(path)
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
    array = like_ct(dose, volume, path, warnings, order=1, placed=placed)
    covered = _covered(dose.with_array(known), volume, path, placed=placed)
    if not covered.any() or float(array.max()) <= 0 < float(dose.array.max()):
        raise GeometryError(f"{path.name}: the dose grid does not overlap this CT.")
    if volume.spacing_mm[0] > _COARSER * dose.spacing_mm[0]:
        warnings.append(
            f"{path.name}: its planes lie {dose.spacing_mm[0]:.1f} mm apart, the slices of this CT "
            f"{volume.spacing_mm[0]:.1f} mm: between them the dose is interpolated, and maxima can be higher"
        )
    for text in warnings:
        if warn is not None:
            warn(text)
    return volume.with_array(np.where(covered, array, np.float32(beyond)).astype(np.float32, copy=False))


def _covered(known: Volume, volume: Volume, path: Path, *, placed: bool) -> np.ndarray:
    """Voxels of the CT (bool) whose dose comes from known voxels alone."""
    if known.array.all():
        return like_ct(known, volume, path, [], order=0, placed=placed)
    share = known.with_array(known.array.astype(np.float32))
    return like_ct(share, volume, path, [], order=1, placed=placed) > 0.999


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
    if kind.upper() == "ERROR":
        raise InputRefusedError(
            f"{path.name}: dose type ERROR: this is the difference of two doses, and no limit holds for that. Export "
            "the dose itself."
        )
    if kind and kind.upper() != "PHYSICAL":
        warnings.append(f"{path.name}: dose type is {kind}, not PHYSICAL")
    try:
        _require_whole_grid(path, dataset)
        scaling = float(dataset.DoseGridScaling)
        stored = dataset.pixel_array
    except DAMAGED as error:
        raise UnreadableFileError(f"{path.name}: damaged dose file ({fault(error)}). Export the dose again.") from error
    if not np.isfinite(scaling) or scaling <= 0:
        raise UnreadableFileError(f"{path.name}: dose grid scaling {scaling} is not a positive number.")
    stored = stored[None] if stored.ndim == 2 else stored
    array = _checked(path, (stored * np.float64(scaling)).astype(np.float32), warnings)
    orientation, position, (row_spacing, column_spacing) = _plane(path, dataset)
    row_dir, col_dir = orientation[:3], orientation[3:]
    normal = np.cross(row_dir, col_dir)
    offsets = _offsets(path, dataset, len(array), float(position[2]), orientation)
    array, start, step = _even_frames(path, array, offsets, warnings)
    steps = np.stack([normal * step, col_dir * row_spacing, row_dir * column_spacing], axis=1)
    try:
        grid = GridMap.build(array.shape, steps, position + normal * start)
    except GeometryError as error:
        raise GeometryError(f"{path.name}: {error.message}") from error
    turned, spacing, origin = grid.apply(array, fill=np.nan)
    return Volume(turned, spacing, origin, "")


def _require_whole_grid(path: Path, dataset: Dataset) -> None:
    """Refuse a dose without voxels, and one with more of them than its header says: rows would be cut elsewhere."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableFileError(
            f"{path.name}: it holds no dose grid, perhaps histograms alone. Export the dose as a volume."
        )
    if "PixelData" not in dataset or dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    frames = dicom.whole(dataset.get("NumberOfFrames")) or len(dataset.get("GridFrameOffsetVector") or [0])
    size = frames * int(dataset.Rows) * int(dataset.Columns)
    spare = len(dataset.PixelData) - size * int(dataset.BitsAllocated) // 8
    if spare > 1:  # one byte makes the length even
        raise UnreadableFileError(
            f"{path.name}: its voxels have {spare} bytes more than the {frames} frames of {dataset.Rows} x "
            f"{dataset.Columns} in its header. Export the dose again."
        )


def _plane(path: Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Row and column direction (6,), position of the first pixel (x, y, z) and distance of (rows, columns).

    Raises:
        GeometryError: One of them is missing, or cannot be what it is called.
    """
    names = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
    found = {name: dicom.floats(dataset.get(name), count) for name, count in names.items()}
    missing = [name for name, values in found.items() if values is None]
    orientation = np.array(found["ImageOrientationPatient"] or np.zeros(6))
    off = orientation.reshape(2, 3) @ orientation.reshape(2, 3).T - np.eye(2)
    if not missing and np.abs(off).max() > _SAME_DIRECTION:
        missing = ["ImageOrientationPatient"]
    if not missing and min(found["PixelSpacing"] or (0.0,)) <= 0:
        missing = ["PixelSpacing"]
    if missing:
        raise GeometryError(
            f"{path.name}: where the dose lies is not certain: {' and '.join(missing)} missing or not valid. Export "
            "the dose again."
        )
    return orientation, np.array(found["ImagePositionPatient"]), found["PixelSpacing"] or ()


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
        raise GeometryError(
            f"{path.name}: grid frame offsets do not fit the {frames} frames of the dose. Export it again."
        )
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
