"""Intake: list the series of an upload, then read one as a HU volume on an LPS grid.

``scan`` looks at headers only; ``read`` decodes pixels. File names appear in reasons and warnings so that a
user can find the file; ``ReadResult.meta`` holds nothing that identifies a person.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import archive, dicom, facts, geometry, nifti, series
from hnvlm.imaging.dicom import SliceHeader
from hnvlm.imaging.geometry import StackPlan
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whose import Whose, tell_apart

ADD_FILES = "Masks and dose are added to the case of their CT, with Add files on the page Treatment plan."
Progress = Callable[[float, str], None]
# What ``_place_of`` writes: numbers of ours, so that who takes names of files ("041.dcm") out of a message leaves them.
PLACE = re.compile(r"slice \d{1,5} of \d{1,5} \([xyz] = -?\d{1,6}\.\d mm(?:, instance number \d{1,5})?\)")


def _no_progress(fraction: float, message: str) -> None:
    """Progress callback that ignores everything."""


@dataclass(frozen=True, eq=False)
class SeriesInfo:
    """One series of an upload, accepted or refused with reasons.

    Attributes:
        series_uid: Series Instance UID; ``<uid>#1``, ``<uid>#2`` for the phases of one series; a stable
            synthetic UID for NIfTI.
        modality: As in DICOM; ``CT`` for NIfTI.
        description: The source's own words: for the screen, never stored (it may name a person).
        shape, spacing_mm: Of the volume that ``read`` returns, order (z, y, x); None when refused.
        orientation: axial, coronal, sagittal, or oblique with the nearest of them; "" when unknown.
        reasons: Why the series is not accepted.
        files: Every file of the series.
        headers, plan: What ``read`` needs; not part of the JSON.
        whose: Patient (a letter), study, date and folder: for the screen, never stored, logged or part of the JSON;
            None for NIfTI and for what is refused unseen.
    """

    series_uid: str
    modality: str
    description: str = ""
    n_slices: int = 0
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str = ""
    transfer_syntax: str = ""
    accepted: bool = False
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    study_uid: str = ""
    frame_of_reference_uid: str = ""
    kind: str = "dicom"
    headers: list[SliceHeader] = field(default_factory=list, repr=False)
    plan: StackPlan | None = field(default=None, repr=False)
    whose: Whose | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Fields of ``series[]`` in the output of ``hnvlm inspect``."""
        return {
            "uid": self.series_uid,
            "modality": self.modality,
            "description": self.description,
            "n_slices": self.n_slices,
            "shape": list(self.shape) if self.shape else None,
            "spacing_mm": [round(v, 4) for v in self.spacing_mm] if self.spacing_mm else None,
            "orientation": self.orientation,
            "transfer_syntax": self.transfer_syntax,
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "study_uid": self.study_uid,
            "frame_of_reference_uid": self.frame_of_reference_uid,
        }


@dataclass(frozen=True, eq=False)
class ReadResult:
    """A CT volume with what was noticed on reading it.

    Attributes:
        volume: int16 HU on an LPS grid.
        warnings: What was corrected or looks odd, in words for the user.
        meta: De-identified facts (see ``facts.collect``).
    """

    volume: Volume
    warnings: list[str]
    meta: dict[str, Any]


def scan(path: Path | str, workdir: Path | None = None) -> list[SeriesInfo]:
    """List every series in a folder, file, DICOMDIR, zip or NIfTI file without decoding pixels.

    Args:
        path: What the user gave.
        workdir: Where a zip is unpacked (the caller removes it); None: a temporary folder that lives as
            long as the process.

    Returns:
        Series with accepted CT first, in a stable order; refused ones carry their reasons.

    Raises:
        UnreadableFileError: Nothing there can be read, or a zip is damaged, encrypted or dangerous.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFileError(f"{path}: no such file or folder.")
    root, paths = _candidates(path, workdir)
    found: list[SeriesInfo] = []
    groups: dict[str, list[SliceHeader]] = defaultdict(list)
    damaged: list[str] = []
    for file in paths:
        try:
            if nifti.is_nifti(file):
                found.append(_nifti_info(file))
            elif file.name.upper() != "DICOMDIR" and dicom.looks_like_dicom(file):
                for header in dicom.read_headers(file):
                    groups[series.group_key(header)].append(header)
            elif file.suffix.lower() in (".dcm", ".ima") and not archive.is_zip(file):
                damaged.append(f"{file.name}: not a DICOM file ({file.stat().st_size} bytes)")
        except UnreadableFileError as error:
            damaged.append(error.message)
    for headers in groups.values():
        found.extend(SeriesInfo(**fields) for fields in series.describe(headers))
    links = archive.passed_over(root) if path.is_dir() or path.name.upper() == "DICOMDIR" else ""
    if not found:
        raise UnreadableFileError(_nothing_found(path, root, paths, damaged) + (links and f" {links}."))
    notes = [f"{len(damaged)} damaged file(s) were passed over: " + "; ".join(damaged[:3])] if damaged else []
    unopened = [p.name for p in paths if p.suffix.lower() == ".zip"]
    if unopened:
        notes.append(f"{len(unopened)} zip archive(s) in it were not opened: {', '.join(unopened[:3])}")
    if links:
        notes.append(links)
    for info in found:
        info.warnings.extend(notes)
    found.sort(key=_place)
    whose = tell_apart([(info.headers[0] if info.headers else None, info.files) for info in found], root)
    return [replace(info, whose=own) for info, own in zip(found, whose, strict=True)]


def _place(info: SeriesInfo) -> tuple[bool, bool, bool, bool, int, str]:
    """What a series is sorted by: NIfTI files beside a DICOM CT, or beside ct.nii.gz, are masks of it more often."""
    other = info.kind == "nifti"
    named = other and nifti.stem(info.files[0]).lower() != "ct"
    return not info.accepted, info.modality != "CT", other, named, -info.n_slices, info.series_uid


def _candidates(path: Path, workdir: Path | None) -> tuple[Path, list[Path]]:
    """Folder that was searched and the files in it."""
    if path.is_dir():
        return path, list(archive.list_files(path))
    if path.name.upper() == "DICOMDIR":
        return path.parent, list(archive.list_files(path.parent))
    if not nifti.is_nifti(path) and archive.is_zip(path):
        root = archive.unpack_zip(path, workdir)
        return root, list(archive.list_files(root))
    if path.suffix.lower() == ".zip":
        raise UnreadableFileError(f"{path.name}: the zip archive is damaged. Zip it again.")
    return path.parent, [path]


def _nothing_found(path: Path, root: Path, paths: list[Path], damaged: list[str]) -> str:
    if damaged:
        return "; ".join(damaged[:3])
    if any(archive.is_zip(p) for p in paths):
        return f"{path.name}: holds another zip archive. Unpack it once and give that one."
    if path.is_file() and root == path.parent and path.name.upper() != "DICOMDIR":
        return f"{path.name}: neither DICOM nor NIfTI nor a zip of them."
    return f"{path.name}: no DICOM or NIfTI image in it ({len(paths)} files looked at)."


def _nifti_info(file: Path) -> SeriesInfo:
    header = nifti.read_header(file)
    grid = header.grid
    reasons = list(header.reasons)
    if re.fullmatch(r"dose(-.*)?|possible_dose_mask", nifti.stem(file), re.IGNORECASE):
        reasons.append(f"{file.name} is a dose by its name, not a CT. {ADD_FILES}")
    return SeriesInfo(
        series_uid=header.uid,
        modality="CT",
        description=file.name,
        n_slices=grid.shape[0] if grid else 0,
        shape=grid.shape if grid else None,
        spacing_mm=grid.spacing_mm if grid else None,
        orientation=header.orientation,
        transfer_syntax="NIfTI",
        accepted=not reasons,
        reasons=reasons,
        warnings=list(header.warnings),
        files=[file],
        kind="nifti",
    )


def read(info: SeriesInfo, progress: Progress = _no_progress) -> ReadResult:
    """Decode one accepted series.

    Args:
        info: From ``scan``; its files must still be there.
        progress: Called with (fraction, message); may raise CancelledError.

    Returns:
        int16 HU volume in LPS (z, y, x), warnings and de-identified facts.

    Raises:
        GeometryError: The series was refused because its slices do not form one volume.
        InputRefusedError: It was refused for another reason (modality, decoder), or its values are no HU.
        UnreadableFileError: A file is damaged; the message names it and its place.
    """
    if not info.accepted:
        error = GeometryError if info.modality == "CT" and info.headers else InputRefusedError
        raise error(f"This series cannot be read: {'; '.join(info.reasons)}.")
    warnings = list(info.warnings)
    if info.kind == "nifti":
        volume, extra = _read_nifti(info, progress)
        meta = facts.collect_nifti(volume)
    else:
        volume, extra = _read_dicom(info, progress)
        meta = facts.collect(info.headers, info.plan, volume)
    value = int(volume.array.flat[0])
    if (volume.array == value).all():
        raise InputRefusedError(
            f"{info.files[0].name}: every voxel of the volume is {value} HU. The rescale or the pixel data are lost; "
            "export the CT again."
        )
    warnings += extra + facts.hu_warnings(volume)
    progress(1.0, "read")
    return ReadResult(volume, warnings, meta)


def _read_nifti(info: SeriesInfo, progress: Progress) -> tuple[Volume, list[str]]:
    progress(0.0, "reading")
    file = info.files[0]
    header = nifti.read_header(file)
    assert header.grid is not None
    array = nifti.read_array(file)
    values = np.unique(array[:: max(1, len(array) // 16), ::2, ::2])
    if len(values) <= 2 and values[0] == 0:
        raise InputRefusedError(
            f"{file.name} holds no values but {' and '.join(f'{v:g}' for v in values)}: a mask, not a CT. {ADD_FILES}"
        )
    extra = []
    if array.dtype != np.int16 and not np.isfinite(array).all():
        extra.append(f"{file.name} holds values that are not numbers; they were set to air")
    hu, spacing, origin = header.grid.apply(nifti.to_int16_hu(array), dicom.HU_MIN)
    return Volume(hu, spacing, origin), extra


def _read_dicom(info: SeriesInfo, progress: Progress) -> tuple[Volume, list[str]]:
    plan = info.plan
    assert plan is not None and plan.grid is not None
    rows, columns = info.headers[0].size
    stack = np.empty((len(plan.order), rows, columns), np.int16)
    reader = dicom.PixelReader()
    for k, index in enumerate(plan.order):
        if k % 8 == 0:
            progress(0.9 * k / len(plan.order), f"reading slice {k + 1} of {len(plan.order)}")
        header = info.headers[index]
        try:
            stack[k] = reader.read_hu(header, _place_of(header, k, info))
        except UnreadableFileError as error:
            if header.frame is not None:
                raise
            # Without a slice between others the series would be refused as one with a gap.
            advice = "Or leave this file out, as it is the outermost slice."
            if 0 < k < len(plan.order) - 1:
                advice = "Leaving this file out is no help: a slice would be missing."
            raise UnreadableFileError(f"{error.message} {advice}") from error
    progress(0.9, "turning to patient axes")
    array, spacing, origin = geometry.to_lps(stack, plan)
    return Volume(array, spacing, origin, info.frame_of_reference_uid), []


def _place_of(header: SliceHeader, k: int, info: SeriesInfo) -> str:
    """Where a slice lies, counted along the patient axis as the viewer counts: from the feet, of axial slices."""
    assert info.plan is not None
    first, last = (np.array(info.headers[n].position) for n in (info.plan.order[0], info.plan.order[-1]))
    axis = int(np.abs(last - first).argmax())
    count = len(info.plan.order)
    at = k + 1 if last[axis] >= first[axis] else count - k
    number = dicom.whole(header.dataset.get("InstanceNumber"))
    # A longer number may be one that the patient has.
    told = number is not None and header.frame is None and 0 <= number < 100_000
    instance = f", instance number {number}" if told else ""
    return f"slice {at} of {count} ({'xyz'[axis]} = {(header.position or first)[axis]:.1f} mm{instance})"


def read_path(path: Path | str, workdir: Path | None = None) -> ReadResult:
    """Scan and read the only (or largest) accepted series of a path.

    Raises:
        InputRefusedError: No series is accepted; the message lists why.
    """
    found = scan(path, workdir)
    accepted = [s for s in found if s.accepted]
    if not accepted:
        listed = "; ".join(f"{s.modality} series: {', '.join(s.reasons)}" for s in found[:5])
        geometric = any(s.modality == "CT" for s in found)
        raise (GeometryError if geometric else InputRefusedError)(f"No CT series can be read. {listed}.")
    result = read(accepted[0])
    if len(accepted) > 1:
        others = re.sub(r"\s+", " ", f"{len(accepted)} CT series found; the one with most slices was read")
        result.warnings.append(others)
    return result
