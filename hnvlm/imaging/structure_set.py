"""Which of several structure sets belongs to the treatment that is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from hnvlm.errors import InputRefusedError, UnreadableFileError
from hnvlm.imaging import dicom, nifti
from hnvlm.imaging.overlay import DAMAGED

_TAGS = ["Modality", "SOPInstanceUID", "StructureSetDate", "StructureSetTime", "ReferencedStructureSetSequence",
         "ReferencedRTPlanSequence"]  # fmt: skip


def of_one_set(files: Sequence[Path], beside: Iterable[Path] = ()) -> tuple[list[Path], list[str]]:
    """The files to take structures from when several hold some, and what was left out, in words.

    Two structure sets of one CT are two states of planning: mixing them would join an old target with new organs. Taken
    is the one the plan was made on (PS3.3 C.8.8.3 and C.8.8.9 refer to it from the dose and from the plan), else the
    newest. Segmentations (SEG) and masks, which often hold one structure a file, are taken together where there
    is no structure set.

    Args:
        files: RTSTRUCT, SEG and NIfTI masks.
        beside: RTDOSE and RTPLAN that came with them.

    Raises:
        InputRefusedError: Several structure sets, and nothing says which one is meant.
        UnreadableFileError: A file is damaged.
    """
    files = list(files)
    tags = {file: _read(file) for file in files if not nifti.is_nifti(file)}
    sets: dict[str, Path] = {}
    for file, dataset in tags.items():
        if dataset.get("Modality") == "RTSTRUCT":
            sets.setdefault(str(dataset.get("SOPInstanceUID") or file), file)
    segments = [file for file, dataset in tags.items() if dataset.get("Modality") == "SEG"]
    if not sets or (len(sets) == 1 and not segments):
        return [file for file in files if file not in tags or file in segments or file in sets.values()], []
    notes = []
    if segments:
        notes.append(
            f"{len(segments)} SEG left out, for there is an RTSTRUCT; uploaded by itself afterwards, a SEG is added to "
            "its structures"
        )
    chosen = next(iter(sets.values()))
    if len(sets) > 1:
        chosen, why = _chosen(sets, tags, _planned_on(beside))
        notes.append(
            f"{len(sets)} structure sets of this CT; taken was the one {why}. Another, uploaded by itself, replaces it"
        )
    return [file for file in files if file not in tags or file == chosen], notes


def _chosen(sets: dict[str, Path], tags: dict[Path, Dataset], planned_on: set[str]) -> tuple[Path, str]:
    planned = [file for uid, file in sets.items() if uid in planned_on]
    if len(planned) == 1:
        return planned[0], "the plan was made on"
    stamps = {file: _stamp(tags[file]) for file in (planned or sets.values())}
    newest = max(stamps.values())
    latest = [file for file, stamp in stamps.items() if stamp == newest]
    if all(stamps.values()) and len(latest) == 1:
        return latest[0], "that is newest"
    names = ", ".join(file.name for file in sets.values())
    raise InputRefusedError(
        f"{len(sets)} structure sets ({names}), and neither a plan nor their dates say which one is meant. Add the one "
        "that is to be used."
    )


def _stamp(dataset: Dataset) -> str:
    """Date and time that sort as text; "" without a date."""
    date = str(dataset.get("StructureSetDate") or "")
    return date + str(dataset.get("StructureSetTime") or "").ljust(13, "0") if date else ""


def _planned_on(beside: Iterable[Path]) -> set[str]:
    """UIDs of the structure sets that the dose refers to, by itself or through its plan; without a dose, any plan."""
    doses, plans = [], {}
    for file in beside:
        if nifti.is_nifti(file):
            continue
        dataset = _read(file)
        if dataset.get("Modality") == "RTDOSE":
            doses.append(dataset)
        elif dataset.get("Modality") == "RTPLAN":
            plans[str(dataset.get("SOPInstanceUID"))] = dataset
    wanted = {uid for dose in doses for uid in _referenced(dose, "ReferencedRTPlanSequence")}
    used = [plan for uid, plan in plans.items() if not doses or uid in wanted]
    return {uid for dataset in (*doses, *used) for uid in _referenced(dataset, "ReferencedStructureSetSequence")}


def _referenced(dataset: Dataset, sequence: str) -> list[str]:
    return [str(item.get("ReferencedSOPInstanceUID") or "") for item in dataset.get(sequence) or []]


def _read(file: Path) -> Dataset:
    if not dicom.looks_like_dicom(file):
        raise UnreadableFileError(f"{file.name}: neither DICOM nor NIfTI.")
    try:
        dataset = pydicom.dcmread(file, force=True, specific_tags=_TAGS)
        for tag in _TAGS:
            dataset.get(tag)  # pydicom reads a value when it is asked for; damage shows here
        return dataset
    except DAMAGED as error:
        raise UnreadableFileError(f"{file.name}: damaged DICOM file ({error}).") from error
