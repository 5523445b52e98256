"""Structures and dose onto the grid of a CT: RTSTRUCT, SEG, folders of masks, RTDOSE, dose as NIfTI."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from hnvlm.errors import GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import archive, dicom, nifti
from hnvlm.imaging.contours import LEFT_OUT, mask_from_contours
from hnvlm.imaging.dose import read_dose
from hnvlm.imaging.masks import PackedMask, PackedMasks
from hnvlm.imaging.orient import GridMap
from hnvlm.imaging.overlay import DAMAGED, NO_ORIGIN, check_frame, fault, frame_of, like_ct, load, roi_frames
from hnvlm.imaging.persons import persons_in, replaced, without_persons
from hnvlm.imaging.resample import Box, Window
from hnvlm.imaging.structure_set import of_one_set
from hnvlm.imaging.tg263 import NOT_STRUCTURES, to_tg263
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import IMPLEMENTATION_UID

__all__ = ["Structures", "read_dose", "read_mask_file", "read_structures"]

CLOSED = ("CLOSED_PLANAR", "CLOSED_PLANAR_XOR", "CLOSEDPLANAR_XOR")
# Voxel centres that are no further apart than this share of a voxel are the same.
_SAME_VOXEL = 0.01
_SHARES = "holds probabilities or shares of voxels; a half and more was taken as inside"


class Structures(NamedTuple):
    """Structures on a CT's grid.

    Attributes:
        masks: TG-263 name -> bool (z, y, x) on the CT's grid, packed; empty structures are left out.
        unmapped: Names that are not surely one of the known structures; a second structure of such a name has a
            number ("GTVp (2)").
        warnings: What was odd, in words for the user.
    """

    masks: PackedMasks
    unmapped: list[str]
    warnings: list[str]


def read_structures(
    source: Path | str | Sequence[Path], volume: Volume, source_frame_uid: str = "", *, keep_unmapped: bool = False,
    beside: Sequence[Path] = (),
) -> Structures:  # fmt: skip
    """Read structures from an RTSTRUCT or SEG file, a folder or a list of files; of several structure sets, from one.

    Args:
        source: RTSTRUCT, SEG or NIfTI file, or a folder of ``<Name>.nii.gz`` masks (also a folder that holds an
            RTSTRUCT or SEG), or a list of such files.
        volume: The CT.
        source_frame_uid: The CT's original frame of reference where ``volume`` carries a replaced one.
        keep_unmapped: Also return unmapped structures, under their own names, or as "structure 3" where such a name
            holds that of a person whom the file names.
        beside: RTDOSE and RTPLAN that say which of several structure sets was planned on; those of a folder are found.

    Raises:
        FrameOfReferenceError: The structures belong to another frame of reference.
        GeometryError: No structure lies inside the CT.
        InputRefusedError: Several structure sets, and nothing says which one is meant.
        UnreadableFileError: A file is damaged, or none holds structures.
    """
    given, others = structure_files(source)
    files, warnings = of_one_set(given, [*others, *beside])
    found: list[tuple[str, PackedMask]] = []  # a full grid each would be gigabytes for a large planning CT
    for file in files:
        if nifti.is_nifti(file):
            found.append((nifti.stem(file), PackedMask.of(read_mask_file(file, volume, warnings))))
            continue
        dataset = load(file)
        frame = source_frame_uid or volume.frame_of_reference_uid
        if dataset.get("Modality") == "SEG":
            check_frame(frame_of(dataset), frame, file, warnings)
            found += _seg_masks(file, volume, warnings)
        else:
            found += _rtstruct_masks(file, dataset, volume, frame, warnings)
    return _named(found, _joined(warnings), keep_unmapped, ", ".join(dict.fromkeys(f.name for f in files[:3])))


def _joined(warnings: list[str]) -> list[str]:
    """Say a thing once that is true of many mask files."""
    same = [w for w in warnings if w.endswith(NO_ORIGIN)]
    if len(same) < 2:
        return warnings
    return [f"{len(same)} mask files: each {NO_ORIGIN}", *(w for w in warnings if w not in same)]


def structure_files(source: Path | str | Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files with structures among what was given, and the doses and plans among it."""
    if isinstance(source, str | Path):
        root = Path(source)
        if not root.exists():
            raise UnreadableFileError(f"{root}: no such file or folder.")
        given = list(archive.list_files(root)) if root.is_dir() else [root]
        name, links = root.name, archive.passed_over(root)
    else:
        given, name, links = [Path(p) for p in source], "the files", ""
    out, others = [], []
    for file in given:
        if nifti.is_nifti(file):
            if nifti.stem(file).lower() not in NOT_STRUCTURES or len(given) == 1:
                out.append(file)
        else:
            modality = dicom.modality(file)
            if modality in ("RTSTRUCT", "SEG"):
                out.append(file)
            elif modality in ("RTDOSE", "RTPLAN"):
                others.append(file)
    if not out:
        what = "an RTSTRUCT, a SEG or <Name>.nii.gz masks are read"
        raise UnreadableFileError(f"{name}: no structures in it ({what}).{links and f' {links}.'}")
    return out, others


def _named(found: list[tuple[str, PackedMask]], warnings: list[str], keep_unmapped: bool, source: str) -> Structures:
    masks: dict[str, PackedMask] = {}
    unmapped: list[str] = []
    origin: dict[str, str] = {}
    inside = False
    # A name that already is TG-263 goes first, so that a synonym never displaces it; names of the clinic's own go last,
    # for one may read like what another's is translated to.
    for name, mask in sorted(found, key=lambda item: (to_tg263(item[0]) != item[0], to_tg263(item[0]) is None)):
        full = mask.box is not None
        inside |= full
        mapped = to_tg263(name)
        if not full:
            warnings.append(f"{name} is empty on this CT")
        elif mapped is None:
            own = _free(name, {*unmapped, *masks})
            if own != name:
                warnings.append(f"another structure is called {name}, too; here it is called {own}")
            unmapped.append(own)
            if keep_unmapped:
                masks[own] = mask
        elif mapped in masks:
            warnings.append(f"{name} and {origin[mapped]} both mean {mapped}; {origin[mapped]} was taken")
        else:
            masks[mapped], origin[mapped] = mask, name
    if found and not inside:
        left_out = [w for w in warnings if w.endswith(LEFT_OUT)]
        why = f"{'; '.join(left_out[:3])}. Export them again" if left_out else "they belong to another image"
        raise GeometryError(f"{source}: none of the structures lies inside this CT; {why}.")
    return Structures(PackedMasks(masks), unmapped, warnings)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or the name with the first number that makes it one of its own."""
    number = 2
    out = name
    while out in taken:
        out, number = f"{name} ({number})", number + 1
    return out


def _foreign(file: Path, dataset: Dataset, frame: str, warnings: list[str]) -> set[int]:
    """Numbers of the structures that were drawn in another frame of reference than the CT's.

    Raises:
        FrameOfReferenceError: All of them were.
    """
    frames = roi_frames(dataset)
    foreign = {number for number, own in frames.items() if own and frame and own != frame}
    fitting = [own for number, own in frames.items() if number not in foreign]
    # A set without structures is judged as a whole; one unknown frame among known ones is said, too.
    check_frame(min(fitting or frames.values(), default=frame_of(dataset)), frame, file, warnings)
    return foreign


def _rtstruct_masks(
    file: Path, dataset: Dataset, volume: Volume, frame: str, warnings: list[str]
) -> list[tuple[str, PackedMask]]:  # fmt: skip
    out = []
    try:
        foreign = _foreign(file, dataset, frame, warnings)
        names = _names(file, dataset, warnings)
        drawn: dict[int, DicomSequence] = {}
        for item in dataset.get("ROIContourSequence") or []:
            drawn.setdefault(int(item.ReferencedROINumber), DicomSequence()).extend(item.get("ContourSequence") or [])
        for number, name in names.items():
            label = name or f"ROI {number}"
            if number in foreign:
                warnings.append(f"{label} left out: it was drawn in another frame of reference than this CT's")
                continue
            kinds = [str(c.get("ContourGeometricType")) for c in drawn.get(number, [])]
            contours = [_points(c, label) for c in drawn.get(number, []) if c.get("ContourGeometricType") in CLOSED]
            others = len(kinds) - len(contours)
            if others:
                warnings.append(f"{label}: {others} point or open contour(s) have no area and are not in the mask")
            if not contours:
                if not kinds:
                    warnings.append(f"{label} has no contours")
                continue
            if short := _cut_short(drawn[number], contours):
                warnings.append(f"{label}: {short} contour(s) have fewer points than the file says; export them again")
            mask, notes = mask_from_contours(contours, volume, _slab_mm(dataset, drawn[number]))
            warnings += [f"{label}: {note}" for note in notes]
            out.append((label, PackedMask.of(mask)))
    except DAMAGED as error:
        raise UnreadableFileError(
            f"{file.name}: damaged structure set ({fault(error)}). Export the structures again."
        ) from error
    if not out:
        where = " in the frame of reference of this CT" if foreign else ""
        raise UnreadableFileError(f"{file.name}: the structure set holds no closed contours{where}.")
    return out


def _names(file: Path, dataset: Dataset, warnings: list[str]) -> dict[int, str]:
    """Name of each structure by its number, without those of persons.

    Raises:
        UnreadableFileError: Two have one number, so whose contours are whose is not certain.
    """
    names: dict[int, str] = {}
    for roi in dataset.StructureSetROISequence:
        number, name = int(roi.ROINumber), _text(roi.get("ROIName"))
        if number in names:
            persons = persons_in(dataset)
            both = " and ".join(replaced(n, number, persons) for n in (names[number], name))
            raise UnreadableFileError(
                f"{file.name}: {both} have the same number ({number}), so whose contours are whose is not certain. "
                "Export the structures again."
            )
        names[number] = name
    return without_persons(names, dataset, warnings)


def _cut_short(drawn: DicomSequence, contours: list[np.ndarray]) -> int:
    """How many closed contours have fewer points than Number of Contour Points: cut short, they close too early."""
    stated = [dicom.whole(c.get("NumberOfContourPoints")) for c in drawn if c.get("ContourGeometricType") in CLOSED]
    return sum(len(points) < (count or 0) for count, points in zip(stated, contours, strict=True))


def _slab_mm(dataset: Dataset, contours: DicomSequence) -> float | None:
    """How thick the contours of a structure are, as far as that is certain.

    Only of our own files: others state the thickness of the slices there, and draw on every second of them.
    """
    if getattr(dataset, "file_meta", {}).get("ImplementationClassUID") != IMPLEMENTATION_UID:
        return None
    stated = {dicom.number(c.get("ContourSlabThickness")) for c in contours}
    slab = stated.pop() if len(stated) == 1 else None
    return slab if slab and slab > 0 else None


def _text(value: object) -> str:
    """A text that may hold a backslash, at which pydicom takes it apart."""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "").strip()


def _points(contour: Dataset, name: str) -> np.ndarray:
    """Points of a contour (n, 3); none where it was written without any."""
    item = contour.get_item("ContourData")
    raw = getattr(item, "value", None)
    # Converting every number to pydicom's DS takes minutes for a large structure set; the text itself is enough.
    numbers = raw.decode("ascii").strip(" \0").split("\\") if isinstance(raw, bytes) else contour.get("ContourData")
    if numbers is None or list(numbers) == [""]:
        return np.zeros((0, 3))
    points = np.array(numbers, dtype=float)
    if len(points) % 3 or not np.isfinite(points).all():
        raise ValueError(f"a contour of {name} is no list of points x, y, z")
    return points.reshape(-1, 3)


def _seg_masks(file: Path, volume: Volume, warnings: list[str]) -> list[tuple[str, PackedMask]]:
    import highdicom  # takes a second to import; only SEG needs it

    try:
        seg = highdicom.seg.segread(file)
        names = {int(s.SegmentNumber): _text(s.get("SegmentLabel")) for s in seg.SegmentSequence}
        names.pop(0, None)  # what a label map calls its background
        names = without_persons(names, seg, warnings)
        fractional = seg.SegmentationType == "FRACTIONAL"
        if fractional:
            warnings.append(f"{file.name} {_SHARES}")
        out = []
        for number, name in names.items():
            whole = {} if fractional else {"combine_segments": True, "relabel": True}
            part = seg.get_volume(segment_numbers=[number], **whole)
            affine = np.asarray(part.affine)
            grid = GridMap.build(part.array.shape[:3], affine[:3, :3], affine[:3, 3])
            values = np.asarray(part.array)
            array = (values[..., 0] >= 0.5 if fractional else values > 0).astype(np.uint8)
            out.append((name or f"segment {number}", PackedMask.of(_onto(grid, array, volume))))
    except (*DAMAGED, sqlite3.Error) as error:  # highdicom looks frames up in a database of its own
        raise UnreadableFileError(
            f"{file.name}: damaged or irregular segmentation ({fault(error)}). Export it again."
        ) from error
    if not out:
        raise UnreadableFileError(f"{file.name}: the segmentation holds no segments.")
    return out


def _onto(grid: GridMap, array: np.ndarray, volume: Volume) -> np.ndarray:
    box = _voxel_on_voxel(grid, volume)
    if box is not None:  # the usual case: drawn on this very CT; the nearest voxel is the same one
        return Window(box, volume.shape).undo(grid.apply(array, fill=0, order=0)[0] > 0)
    return grid.sample(array, volume.shape, volume.spacing_mm, volume.origin_mm, fill=0, order=0) > 0


def _voxel_on_voxel(grid: GridMap, volume: Volume) -> Box | None:
    """Where a grid lies in a volume, in its voxels, if every voxel centre of it is one of the volume's; else None."""
    if not grid.aligned:
        return None
    spacing, size = np.array(volume.spacing_mm), np.array(grid.shape)
    start = (np.array(grid.origin_mm) - volume.origin_mm) / spacing
    first = np.rint(start)
    stretched_mm = np.abs(np.array(grid.spacing_mm) - spacing) * (size - 1)
    turned_mm = np.radians(grid.angle_deg) * np.linalg.norm(size * spacing)
    if np.any(np.abs(start - first) * spacing + stretched_mm + turned_mm > _SAME_VOXEL * spacing):
        return None
    low = first.astype(int)
    return (*low.tolist(), *(low + size).tolist())


def read_mask_file(file: Path, volume: Volume, warnings: list[str]) -> np.ndarray:
    """Read one NIfTI mask onto the CT's grid (nearest neighbour); bool (z, y, x).

    Values between 0 and 1 are shares or probabilities, as in a fractional SEG: above 0, they reach far too wide.

    Raises:
        InputRefusedError: Its values are those of an image or of a dose.
        UnreadableFileError: It is damaged.
    """
    mask = nifti.read_volume(file, order=0)
    array = mask.array
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    if low < 0 or (high > 1 and (array != np.rint(array)).any()):
        raise InputRefusedError(
            f"{file.name} holds values from {low:g} to {high:g}: an image or a dose, not a mask. A mask holds 0 and 1; "
            "a dose in Gy is called dose.nii.gz."
        )
    if array.dtype.kind == "f" and high <= 1 and ((array > 0) & (array < 1)).any():
        warnings.append(f"{file.name} {_SHARES}")
        return like_ct(mask.with_array(array >= 0.5), volume, file, warnings, order=0)
    values = np.unique(array[:: max(1, array.shape[0] // 16)])
    if len(values) > 2:
        warnings.append(f"{file.name} holds more than two values; everything above 0 was taken as inside")
    return like_ct(mask.with_array(array > 0), volume, file, warnings, order=0)
