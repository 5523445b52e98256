"""Structures and dose from a user's files onto a CT's grid: RTSTRUCT, SEG, RTDOSE or a folder of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import intake, rt
from hnvlm.imaging.dose import fractions_of, of_one_plan, part_of_plan, tags_of
from hnvlm.imaging.dvh import OUTSIDE_SHARE
from hnvlm.imaging.masks import PackedMasks, part_of, parts
from hnvlm.imaging.overlay import frames_in, series_in
from hnvlm.imaging.persons import is_replaced
from hnvlm.imaging.target_names import ptv_gy
from hnvlm.imaging.volume import Volume
from hnvlm.services.context import App
from hnvlm.services.identity import map_uid
from hnvlm.services.target_levels import off_level


def read_structures(
    source: Path | Sequence[Path], volume: Volume, source_frame_uid: str = "", *, beside: Sequence[Path] = ()
) -> tuple[PackedMasks, list[str]]:
    """Read structures onto the grid of a CT; of several structure sets one is taken.

    Args:
        source: RTSTRUCT or SEG file, or a folder of ``<Name>.nii.gz`` masks (OpenKBP or TG-263 names).
        source_frame_uid: The CT's original frame of reference, where ``volume`` carries a replaced one.
        beside: RTDOSE and RTPLAN that came with a list of files; they say which structure set was planned on.

    Returns:
        Name -> bool mask (z, y, x), packed, TG-263 names where the name is surely one of them, and warnings. A name
        of the clinic's own that holds a person's is replaced (``imaging.persons``).

    Raises:
        FrameOfReferenceError: The structures belong to another frame of reference.
        InputRefusedError: Several structure sets, and nothing says which one is meant.
        UnreadableFileError: A file is damaged, or none holds structures.
    """
    found = rt.read_structures(source, volume, source_frame_uid, keep_unmapped=True, beside=beside)
    warnings = list(found.warnings)
    own = [name for name in found.unmapped if not is_replaced(name)]
    if own:
        warnings.append(f"structures kept under their own names: {', '.join(own)}")
    return found.masks, warnings


def read_dose(files: Sequence[Path], volume: Volume, source_frame_uid: str = "") -> tuple[Volume, list[str]]:
    """Read RTDOSE onto the grid of a CT; the files of one plan (beams) are added up.

    Returns:
        Gy float32, not-a-number where the grid of a file does not reach, and warnings.

    Raises:
        FrameOfReferenceError: The dose belongs to another frame of reference.
        GeometryError: The grids of the beams have no voxel in common.
        InputRefusedError: The files are doses of several plans, or hold no dose: every limit of an organ would be met.
        UnreadableFileError: A file cannot be read.
    """
    total: Volume | None = None
    chosen, warnings = of_one_plan(files)
    for path in chosen:
        dose = rt.read_dose(path, volume, source_frame_uid, beyond=np.nan, warn=warnings.append)
        total = dose if total is None else total.with_array(total.array + dose.array)
    if total is None:
        raise UnreadableFileError("No dose file was given.")
    if not np.isfinite(total.array).any():
        raise GeometryError(f"The dose grids of {', '.join(p.name for p in chosen)} have no voxel in common.")
    if not np.nanmax(total.array) > 0:
        raise InputRefusedError(
            f"{', '.join(p.name for p in chosen)}: the dose is 0 Gy everywhere on this CT. Calculate the plan's dose, "
            "then export it again."
        )
    return total, warnings


def dose_result(
    dose: Volume, files: Sequence[Path] = (), notes: Sequence[str] = (), plans: Sequence[Path] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return payload and arrays that the store keeps of a dose of ``read_dose``.

    ``dose`` is 0 where no grid reaches, as the viewer shows it; ``covered`` (only where something is not covered)
    keeps that apart from 0 Gy.

    Args:
        files: The files that were given to ``read_dose``.
        notes: What it warned of. It stays with the dose, without the names of files, which often name the patient.
        plans: RTPLAN files that came with them: they know the number of fractions.
    """
    known = np.isfinite(dose.array)
    array = np.where(known, dose.array, np.float32(0))
    arrays: dict[str, Any] = {"dose": array} | ({} if known.all() else {"covered": {"covered": known}})
    payload: dict[str, Any] = {"source": "upload", "unit": "Gy", "max_gy": float(array.max())}
    if notes:
        payload["notes"] = [_nameless(text, files) for text in notes]
    if part := part_of_plan(files):
        payload["part"] = part
    chosen = of_one_plan(files)[0] if files else []
    if fractions := fractions_of(chosen, plans):
        payload["fractions"] = fractions
    if tags := tags_of(chosen):
        payload["tags"] = tags
    return payload, arrays


def _nameless(text: str, files: Sequence[Path]) -> str:
    for file in sorted(files, key=lambda f: len(f.name), reverse=True):
        text = text.removeprefix(f"{file.name}: ").replace(file.name, "the dose file")
    return text


def prescription_notes(dose: Volume, masks: Mapping[str, np.ndarray]) -> list[str]:
    """Say which targets a dose does not give what their names say; nothing of targets that its grid does not cover.

    A dose in percent, of one beam or phase, or of another plan looks like any other, and meets the limits of organs.
    """
    levels = {name: gy for name in masks if (gy := ptv_gy(name)) is not None}
    odd = []
    for name, gy in levels.items():
        part = part_of(masks, name)
        values = dose.array[part.place][part.inside] if part is not None else np.zeros(0)
        if not values.size or np.isnan(values).any():
            continue
        median = float(np.median(values))
        if off_level(median, gy, highest=gy == max(levels.values())):
            odd.append(f"{name} gets {median:.1f} Gy (median)")
    if not odd:
        return []
    return [
        f"{', '.join(odd)}: is it the dose of one beam or phase, of another plan, or in percent? If so, its limits are "
        "not this treatment's; export the dose of the whole plan in Gy"
    ]


def coverage_notes(dose: Volume, masks: Mapping[str, np.ndarray]) -> list[str]:
    """Say which structures the grid of a dose of ``read_dose`` does not cover; nothing where it covers all."""
    beyond = np.isnan(dose.array)
    if not beyond.any():
        return []
    shares = {
        name: float(np.count_nonzero(part.inside & beyond[part.place])) / np.count_nonzero(part.inside)
        for name, part in parts(masks)
        if part is not None
    }
    named = [f"{name} ({100 * share:.0f} % outside)" for name, share in shares.items() if share > OUTSIDE_SHARE]
    if not named:
        return []
    return [f"the dose grid does not cover all of {', '.join(named)}; limits of these structures are not judged"]


def original_frame_uid(app: App, case_frame_uid: str, source: Path) -> str:
    """Return the frame of reference of a file if it is the one a stored case was made from, else "".

    A stored case carries only a keyed hash of it, so the file's own UID is hashed and compared.
    """
    for series in intake.scan(source):
        for uid in frames_of(series):
            if map_uid(app, uid) == case_frame_uid:
                return uid
    return ""


def frames_of(series: intake.SeriesInfo) -> set[str]:
    """Return the frames of reference of a series; a structure set may hold structures of several."""
    found = {series.frame_of_reference_uid} - {""}
    for file in series.files if series.modality == "RTSTRUCT" else ():
        with suppress(UnreadableFileError):  # said, with its name, by whoever reads its structures
            found |= frames_in(file)
    return found


def drawn_on(series: Sequence[intake.SeriesInfo]) -> intake.SeriesInfo | None:
    """Of the accepted CTs among ``series`` the one that all structures (without any: doses) there were made on.

    None where they do not say, or were made on several of them. The series that is named counts; its frame of reference
    may be that of other reconstructions, too.
    """
    cts = [s for s in series if s.accepted and s.kind == "dicom"]
    for kinds in (("RTSTRUCT", "SEG"), ("RTDOSE",)):
        objects = [s for s in series if s.modality in kinds]
        named: set[str] = set()
        for file in (f for s in objects for f in s.files):
            with suppress(UnreadableFileError):  # said, with its name, by whoever reads its structures
                named |= series_in(file)
        frames = {frame for s in objects for frame in frames_of(s)}
        for found in (
            [s for s in cts if s.series_uid.partition("#")[0] in named],
            [s for s in cts if s.frame_of_reference_uid in frames],
        ):
            if found:
                return found[0] if len(found) == 1 else None
    return None
