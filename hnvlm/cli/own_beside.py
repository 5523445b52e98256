"""Contours and dose that lie with the CT in one folder or zip: what import-case takes of them, and why no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hnvlm.cli.inputs import Subject
from hnvlm.cli.own_dose import OwnDose
from hnvlm.errors import HnvlmError
from hnvlm.imaging.structure_set import of_one_set
from hnvlm.services import rt_objects

_STRUCTURES, _DOSES = ("RTSTRUCT", "SEG"), ("RTDOSE",)
_SHOWN = 3


@dataclass(frozen=True)
class Beside:
    """Files of the CT's own frame of reference.

    Attributes:
        structures: Of several structure sets the one that was planned on, else the newest.
        doses: All of them.
        notes: What is not taken and why, in words.
    """

    structures: list[Path] = field(default_factory=list)
    doses: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def lying_with(subject: Subject, structures: Path | None, dose: Path | None) -> Beside:
    """What lies with the CT of what was not named.

    Args:
        structures, dose: What was named; contours that were named are not mixed with a dose that was not.
    """
    if subject.upload is None:
        return Beside(notes=_stored(subject, structures, dose))
    notes: list[str] = []
    sets = _fitting(subject, _STRUCTURES, "--structures", notes) if structures is None else []
    doses = _fitting(subject, _DOSES, "--dose", notes) if dose is None else []
    if structures is not None and doses:
        notes.append(not_taken(doses, "the contours were named, so the dose is to be named as well", "--dose"))
        doses = []
    plans = [f for s in subject.upload.series if s.modality == "RTPLAN" for f in s.files]
    try:
        sets, said = of_one_set(sets, [*([dose] if dose is not None and dose.is_file() else doses), *plans])
    except HnvlmError as error:
        if dose is not None:
            raise  # without contours the dose would be refused, and for another reason
        sets, said = [], [not_taken(sets, error.message, "--structures")]
    others = sum(s.kind == "nifti" and s is not subject.series for s in subject.upload.series)
    if others and structures is None:
        notes.append(
            f"{others} other NIfTI file(s) lie with the CT and were not taken: --structures names the folder of the "
            "masks, --dose a dose in Gy"
        )
    return Beside(sets, doses, [*notes, *said])


def _fitting(subject: Subject, kinds: tuple[str, ...], option: str, notes: list[str]) -> list[Path]:
    """Files of these kinds in the CT's frame of reference; where all are in another one, that is noted."""
    assert subject.upload is not None
    there = [s for s in subject.upload.series if s.modality in kinds]
    own = [s for s in there if subject.volume.frame_of_reference_uid in rt_objects.frames_of(s)]
    if there and not own:
        notes.append(not_taken([f for s in there for f in s.files], "another frame of reference than the CT's", option))
    return [f for s in own for f in s.files]


def dose_beside(beside: Beside, read: Callable[[Path], OwnDose]) -> tuple[Path | None, OwnDose | None, list[str]]:
    """The one dose that is of a whole plan for these targets; which file it is, and why there is none.

    Args:
        read: Reads a dose, or refuses it.
    """
    fitting: list[tuple[Path, OwnDose]] = []
    reasons: list[str] = []
    for file in beside.doses:
        try:
            fitting.append((file, read(file)))
        except HnvlmError as error:
            reasons.append(error.message.removeprefix(f"{file}: "))
        if len(fitting) > 1:
            return None, None, [not_taken(beside.doses, "more than one fits CT and targets", "--dose")]
    if fitting:
        others = [f for f in beside.doses if f != fitting[0][0]]
        return *fitting[0], [not_taken(others, " ".join(dict.fromkeys(reasons)), "--dose")] if others else []
    why = " ".join(dict.fromkeys(reasons))
    return None, None, [not_taken(beside.doses, why, "--dose")] if beside.doses else []


def not_taken(files: list[Path], why: str, option: str) -> str:
    """Say which files lie with the CT and are not taken."""
    names = ", ".join(f.name for f in files[:_SHOWN]) + (" ..." if len(files) > _SHOWN else "")
    return f"lies with the CT and was not taken: {names} ({why.rstrip('.')}). {option} names what is to be taken"


def _stored(subject: Subject, structures: Path | None, dose: Path | None) -> list[str]:
    """A stored case keeps no file, and so not who drew its contours."""
    if subject.app is None or subject.case_id is None:
        return []
    notes = []
    for kind, named, option in (("structures", structures, "--structures"), ("dose", dose, "--dose")):
        kept = subject.app.store.latest_result(subject.case_id, kind) if named is None else None
        if kept is not None and kept.payload.get("source") == "upload":
            notes.append(f"the {kind} stored with the case were not taken: {option} names the file they came from")
    return notes
