"""NIfTI through SimpleITK: header without pixels, and pixels to an LPS array."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import SimpleITK as sitk

from hnvlm.errors import GeometryError, UnreadableFileError
from hnvlm.imaging.dicom import HU_MAX, HU_MIN
from hnvlm.imaging.orient import VOXEL_MM, GridMap, orientation_word
from hnvlm.imaging.volume import Volume

# NIfTI-1 data type codes -> numpy.
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
SUFFIXES = (".nii", ".nii.gz")
# Where a NIfTI-1 header says what the file is (``descrip``).
_DESCRIPTION = slice(148, 228)
# The two orientations of a header are written with few digits: below this they are the same.
_SAME_PLACE_MM = 1.0
# Voxel sizes stated twice may differ by this share, for the same reason.
_SAME_SIZE = 0.01
# Codes of an sform that goes to an atlas or a template, where the patient's own sizes no longer hold.
_TEMPLATE_CODES = (3, 4, 5)
# Warnings of ITK's readers name the whole path, and with it often the patient; what matters of them is judged here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def is_nifti(path: Path) -> bool:
    """Whether a file name says NIfTI."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """A file's name without .nii or .nii.gz."""
    name = path.name
    for suffix in (".gz", ".nii"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def description(path: Path) -> str:
    """What a file says of itself (``descrip`` of its header); "" where it cannot be read: who reads all of it says so.

    No pixels are read.
    """
    try:
        with _open(path) as stream:
            return stream.read(_DESCRIPTION.stop)[_DESCRIPTION].decode("latin-1")
    except (OSError, EOFError, zlib.error):
        return ""


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says; ``grid`` is None when ``reasons`` refuses the file."""

    uid: str
    grid: GridMap | None
    orientation: str
    reasons: list[str]
    warnings: list[str]


def read_header(path: Path) -> NiftiHeader:
    """Read and judge a NIfTI header; pixels are not read.

    Raises:
        UnreadableFileError: The file is no NIfTI or its header is damaged.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # SimpleITK ends the whole process on such a name
        shown = os.fsencode(path.name).decode(errors="replace")
        raise UnreadableFileError(f"{shown}: the name of this file or its folder is not text; rename it.") from error
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NiftiImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableFileError(f"{path.name}: not a readable NIfTI file ({_short(error, path)}).") from error
    reasons, warnings = [], []
    size = list(reader.GetSize())
    if reader.GetNumberOfComponents() != 1:
        reasons.append(f"{path.name} holds {reader.GetNumberOfComponents()} values a voxel (colour or vector), not HU")
    if len([s for s in size[3:] if s > 1]) or len(size) < 3:
        reasons.append(f"{path.name} has size {' x '.join(map(str, size))}; a 3-D volume is needed")
    grid, orientation = None, ""
    if not reasons:
        dimension = len(size)
        spacing = np.array(reader.GetSpacing()[:3])
        direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
        columns = direction * spacing
        shape = (size[2], size[1], size[0])
        try:
            grid = GridMap.build(shape, columns[:, ::-1], np.array(reader.GetOrigin()[:3]))
            orientation = orientation_word(direction[:, 2])
        except GeometryError as error:
            reasons.append(f"{path.name}: {error.message}")
        problem = _doubtful(path, size[:3], spacing, warnings)
        if problem:
            grid = None
            reasons.insert(0, problem)
        if min(size[:3]) < 3:
            reasons.append(f"{path.name} has size {' x '.join(map(str, size[:3]))}; a volume needs at least 3 slices")
        warnings += _orientation_warnings(reader, path)
        if grid is not None and not grid.aligned:
            warnings.append(f"oblique grid ({grid.angle_deg:.1f} degrees) resampled to patient axes")
    return NiftiHeader(_uid(path), grid, orientation, reasons, warnings)


def _orientation_warnings(reader: sitk.ImageFileReader, path: Path) -> list[str]:
    def code(key: str) -> int:
        text = reader.GetMetaData(key) if reader.HasMetaDataKey(key) else "0"
        try:
            return int(text)
        except ValueError:
            # SimpleITK writes some codes as words; any word but the unknown one is a set code.
            return 0 if "UNKNOWN" in text.upper() else 1

    if code("qform_code") == 0 and code("sform_code") == 0:
        return [
            f"{path.name} states no orientation (qform and sform codes are 0); left and right are not certain. "
            "Compare with the source images"
        ]
    return []


def _doubtful(path: Path, size: list[int], spacing: np.ndarray, warnings: list[str]) -> str | None:
    """Why the place of the voxels is not to be believed, or None; a smaller doubt goes to the warnings."""
    if spacing.min() < VOXEL_MM[0] or spacing.max() > VOXEL_MM[1]:
        voxel = " x ".join(f"{v:.4g}" for v in spacing)
        return f"{path.name} has voxels of {voxel} mm; the unit of length in its header (xyzt_units) is probably wrong"
    try:
        with _open(path) as f:
            header = f.read(348)
        both = _two_affines(header)
        wrong = _wrong_numbers(header)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UnreadableFileError(f"{path.name}: damaged NIfTI header ({error}).") from error
    if wrong:
        return f"{path.name} {wrong}"
    if both is None:
        return None
    qform, sform = both
    unit = [m[:, :3] / np.linalg.norm(m[:, :3], axis=0).clip(1e-9) for m in both]
    corners = np.array([[*(n * (c - 1) for n, c in zip(at, size, strict=True)), 1] for at in np.ndindex(2, 2, 2)])
    apart = float(np.linalg.norm(corners @ (qform - sform).T, axis=1).max())
    if (unit[0] * unit[1]).sum(axis=0).min() < 0.7:  # an axis turned by more than 45 degrees, or the other way round
        return (
            f"{path.name} states two orientations that contradict each other (qform and sform): what is left in one is "
            "not left in the other. Convert the CT from DICOM again, or upload the DICOM files"
        )
    if apart > _SAME_PLACE_MM:
        warnings.append(
            f"{path.name} states two positions up to {apart:.1f} mm apart (qform and sform), and another program may "
            "take the other one; check structures and dose against the images"
        )
    return None


def _wrong_numbers(header: bytes) -> str | None:
    """What makes size or scale of the voxels unbelievable, where other programs would each read something else."""
    order = "<" if header[:4] == (348).to_bytes(4, "little") else ">"
    sizes = np.frombuffer(header[80:92], order + "f4").astype(float)
    slope, inter = (float(v) for v in np.frombuffer(header[112:120], order + "f4"))
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        return f"states voxels of {' x '.join(f'{v:g}' for v in sizes)} mm (pixdim); convert the CT from DICOM again"
    if np.isinf(slope) or slope < 0 or (np.isfinite(slope) and slope != 0 and not np.isfinite(inter)):
        return f"states a scale (scl_slope {slope:g}, scl_inter {inter:g}) of which no HU can come"
    qform, sform = (int(v) for v in np.frombuffer(header[252:256], order + "i2"))
    if sform <= 0 or (qform > 0 and sform in _TEMPLATE_CODES):
        return None
    lengths = np.linalg.norm(np.frombuffer(header[280:328], order + "f4").reshape(3, 4)[:, :3].astype(float), axis=0)
    if not np.allclose(lengths, sizes, rtol=_SAME_SIZE):
        a, b = (" x ".join(f"{v:.4g}" for v in values) for values in (sizes, lengths))
        return f"states two voxel sizes, {a} mm (pixdim) and {b} mm (sform); convert the CT from DICOM again"
    return None


def _two_affines(header: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Qform and sform of a NIfTI-1 header as (3, 4) matrices; None unless both are stated."""
    order = "<" if header[:4] == (348).to_bytes(4, "little") else ">"

    def numbers(start: int, end: int, kind: str = "f4") -> np.ndarray:
        return np.frombuffer(header[start:end], order + kind).astype(float)

    if not numbers(252, 256, "i2").all():
        return None
    b, c, d = numbers(256, 268)
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    turned, *steps = numbers(76, 92)
    steps[2] *= -1 if turned < 0 else 1  # the first of these numbers tells a left-handed grid
    return np.column_stack([rotation * steps, numbers(268, 280)]), numbers(280, 328).reshape(3, 4)


def _uid(path: Path) -> str:
    """A UID that is the same whenever the same content is read (PS3.5 B.2, the 2.25 root)."""
    # The whole file: an edited copy has the same size and the same first megabyte of air.
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256")
    return "2.25." + str(int.from_bytes(digest.digest()[:16], "big"))


def _short(error: Exception, path: Path) -> str:
    lines = [line.strip() for line in str(error).replace(str(path), path.name).splitlines() if line.strip()]
    return re.sub(r"^ITK ERROR: (\w+\(\w+\): )?", "", lines[-1]) if lines else "unknown error"


def read_array(path: Path) -> np.ndarray:
    """Pixels of a 3-D NIfTI as (slice, row, column), scaled as the header says.

    The bytes are read here because the NIfTI library behind SimpleITK fills up a file that is cut off, and
    values that are not numbers, with zeros (water) and says nothing.

    Raises:
        UnreadableFileError: The file is damaged or cut off.
    """
    try:
        with _open(path) as f:
            data = f.read()
        order = "<" if data[:4] == (348).to_bytes(4, "little") else ">"
        if int.from_bytes(data[:4], "little" if order == "<" else "big") != 348:
            raise ValueError("only NIfTI-1 is read")
        header = np.frombuffer(data[:348], np.uint8)
        shape = header[42:56].view(f"{order}i2")[:3]
        code = int(header[70:72].view(f"{order}i2")[0])
        offset, slope, inter = (float(v) for v in header[108:120].view(f"{order}f4"))
        if code not in _TYPES:
            raise ValueError(f"number type {code} is not read")
        if not np.isfinite(slope):
            slope = 1.0  # as SimpleITK takes it; some programs write not-a-number for "not scaled"
        if not np.isfinite(inter):
            inter = 0.0
        count = int(np.prod(shape.astype(np.int64)))
        kind = np.dtype(order + _TYPES[code])
        start = 352 if offset == 0 else int(offset)  # 0: where the voxels of a file in one piece begin
        if start < 348:
            raise ValueError(f"its voxels would begin inside its header, at byte {start}")
        array = np.frombuffer(data, kind, count, start)
        spare = (len(data) - start) // kind.itemsize - count
        if spare >= shape[0]:
            raise ValueError(f"it holds {spare} more voxels than its header says")
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise UnreadableFileError(f"{path.name}: damaged or incomplete NIfTI file ({error}).") from error
    array = array.reshape([int(v) for v in shape[::-1]])
    array = array.astype(array.dtype.newbyteorder("="))
    if slope not in (0.0, 1.0) or (slope == 1.0 and inter != 0.0):
        array = array * np.float32(slope) + np.float32(inter)
    return array


def read_volume(path: Path, *, order: int = 1, fill: float = 0.0) -> Volume:
    """Read any scalar 3-D NIfTI (mask, dose) as an LPS volume in its own number type.

    Raises:
        UnreadableFileError: Damaged, or colour, vector or 4-D.
    """
    header = read_header(path)
    if header.grid is None:
        raise UnreadableFileError("; ".join(header.reasons))
    array, spacing, origin = header.grid.apply(read_array(path), fill, order)
    return Volume(array, spacing, origin)


def to_int16_hu(array: np.ndarray) -> np.ndarray:
    """Round to whole HU and clip to int16; not-a-number becomes air."""
    if array.dtype == np.int16:
        return np.maximum(array, HU_MIN)
    clean = np.nan_to_num(array.astype(np.float32, copy=False), nan=HU_MIN, posinf=HU_MIN, neginf=HU_MIN)
    return np.clip(np.rint(clean), HU_MIN, HU_MAX).astype(np.int16)
