"""The clinic's structures and dose added to a case that is there already: RTSTRUCT, SEG, RTDOSE or NIfTI."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hnvlm.errors import InputRefusedError
from hnvlm.imaging import archive, dicom, nifti
from hnvlm.imaging.masks import PackedMasks
from hnvlm.imaging.volume import Volume
from hnvlm.services import dose as dose_service
from hnvlm.services import intake, rt_objects
from hnvlm.services.conflicts import again_on_conflict
from hnvlm.services.context import App
from hnvlm.store import FIRST, ResultRecord

_STRUCTURES, _DOSE = ("RTSTRUCT", "SEG"), ("RTDOSE",)


@dataclass
class _Read:
    """What the files of one upload hold; ``whole``: its structures are a set that stands for itself."""

    volume: Volume
    masks: PackedMasks | None = None
    whole: bool = False
    dose: Volume | None = None
    dose_notes: list[str] = field(default_factory=list)
    dose_files: list[Path] = field(default_factory=list)
    plans: list[Path] = field(default_factory=list)


def attach(
    app: App, case_id: str, files: Iterable[tuple[str, BinaryIO]], *, who: str = ""
) -> tuple[list[ResultRecord], list[str]]:
    """Read RT objects of a case's CT and store them as the clinic's; the files themselves are not kept.

    A structure set (RTSTRUCT) replaces the structures that were uploaded before. SEG and masks, which often hold one
    structure a file, are added to them, in the place of those of the same names.

    Args:
        files: (name, open binary file). NIfTI files named ``dose...`` are dose in Gy, others are masks named
            ``<Structure>.nii.gz``; a zip of such files is unpacked.

    Returns:
        What was stored (structures, dose), and what was odd, in words.

    Raises:
        FrameOfReferenceError: They belong to another frame of reference than the CT.
        InputRefusedError: None of the files is an RT object or NIfTI.
        UnreadableFileError: A file is damaged.
    """
    source = intake.spool(app, files)
    folder = intake.upload_folder(app, source)
    try:
        return _read(app, case_id, _listed(source, folder), who)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listed(source: Path, folder: Path) -> list[Path]:
    given = list(archive.list_files(source)) if source.is_dir() else [source]
    zips = [file for file in given if archive.is_zip(file)]
    return [file for file in given if file not in zips] + archive.unpack_all(zips, folder / "unpacked")


def _read(app: App, case_id: str, files: list[Path], who: str) -> tuple[list[ResultRecord], list[str]]:
    structures, doses, plans, other = _sorted(files)
    if not structures and not doses:
        raise InputRefusedError(
            "None of these files holds structures or dose. RTSTRUCT, SEG, RTDOSE and NIfTI (dose.nii.gz, "
            "<Structure>.nii.gz) are read. A CT is uploaded on the page Cases.",
            code="no_rt_object",
        )
    volume = app.store.load_volume(case_id)
    notes = [f"{other} other file(s) were left out"] if other else []
    frames = [rt_objects.original_frame_uid(app, volume.frame_of_reference_uid, f) for f in (*structures, *doses)
              if not nifti.is_nifti(f)]  # fmt: skip
    frame = next((uid for uid in frames if uid), "")
    read = _Read(volume)
    if structures:
        read.masks, said = rt_objects.read_structures(structures, volume, frame, beside=[*doses, *plans])
        read.whole = any(map(_is_structure_set, structures))
        notes += said
    if doses:
        read.dose, read.dose_notes = rt_objects.read_dose(doses, volume, frame)
        read.dose_files, read.plans = doses, plans
    # Somebody else's structures may come meanwhile: they are added to.
    saved, said = again_on_conflict(lambda: _store(app, case_id, read, who))
    return saved, notes + said


def _store(app: App, case_id: str, read: _Read, who: str) -> tuple[list[ResultRecord], list[str]]:
    """Bring what was read together with what the case has, and save it; what is odd is told in words."""
    notes: list[str] = []
    payloads: list[tuple[str, dict[str, Any], dict[str, Any], int | None]] = []
    masks = read.masks
    if masks is not None:
        before = app.store.latest_result(case_id, "structures")
        masks, said = _with_earlier(app, before, masks, whole=read.whole)
        notes += said
        rows = [{"name": n, "volume_ml": round(m.voxels * read.volume.voxel_ml, 3)} for n, m in masks.packed.items()]
        payload = {"structures": rows, "source": "upload"}
        payloads.append(("structures", payload, {"masks": masks}, before.id if before is not None else FIRST))
        earlier = None if read.dose is not None else app.store.latest_result(case_id, "dose")
        if earlier is not None:  # the dose came first, and met no target that it could be held against
            notes += rt_objects.prescription_notes(dose_service.load(app, earlier, beyond=np.nan), masks)
    if read.dose is not None:
        found = dose_service.structures(app, case_id)
        drawn = found.masks if masks is None else masks
        # What a model guessed a target to be says nothing against a dose.
        own = found.masks.only(n for n, by in found.source.items() if by == dose_service.CLINIC)
        own = own if masks is None else masks
        said = [*read.dose_notes, *rt_objects.prescription_notes(read.dose, own)]
        notes += said + rt_objects.coverage_notes(read.dose, drawn)
        payloads.append(("dose", *rt_objects.dose_result(read.dose, read.dose_files, said, read.plans), None))
    # Saved only once everything was read: half an upload would mix two plans.
    saved = [
        app.store.save_result(case_id, kind, payload, arrays=arrays, who=who, based_on=based_on)
        for kind, payload, arrays, based_on in payloads
    ]
    return saved, notes


def _is_structure_set(file: Path) -> bool:
    return not nifti.is_nifti(file) and dicom.modality(file) == "RTSTRUCT"


def _with_earlier(
    app: App, before: ResultRecord | None, masks: PackedMasks, *, whole: bool
) -> tuple[PackedMasks, list[str]]:
    """Bring new structures together with those uploaded before, and say what becomes of the earlier ones.

    Args:
        before: The earlier ones.
        masks: The new structures.
        whole: They are a structure set, which stands for itself.
    """
    earlier = app.store.load_masks(before) if before is not None else PackedMasks()
    same = [name for name in earlier if name in masks]
    others = [name for name in earlier if name not in masks]
    if whole:
        return masks, [f"no longer used, for the structure set does not hold them: {', '.join(others)}"] * bool(others)
    notes = [f"replaced by the new ones: {', '.join(same)}"] if same else []
    if others:
        notes.append(f"added to the structures uploaded before, which stay: {', '.join(others)}")
    return earlier.only(others) | masks, notes


def _sorted(files: list[Path]) -> tuple[list[Path], list[Path], list[Path], int]:
    """Files with structures, files with dose, plans, and how many are none of these."""
    structures, doses, plans, other = [], [], [], 0
    for file in files:
        if nifti.is_nifti(file):
            name = file.name.lower()
            if name.startswith(("ct.", "possible_dose")):
                other += 1
            else:
                (doses if name.startswith("dose") else structures).append(file)
            continue
        modality = dicom.modality(file)
        if modality in _STRUCTURES:
            structures.append(file)
        elif modality in _DOSE:
            doses.append(file)
        elif modality == "RTPLAN":
            plans.append(file)
        else:
            other += 1
    return structures, doses, plans, other
