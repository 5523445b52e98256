"""Command that makes a patient's folder for training and measuring out of a clinic's own files."""

from __future__ import annotations

import codecs
import filecmp
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hnvlm.cli import inputs, own_beside, own_marks, own_whose
from hnvlm.cli.inputs import Subject, open_subject
from hnvlm.cli.own_beside import Beside
from hnvlm.cli.own_dose import OwnDose, read_own_dose
from hnvlm.cli.reading import POSSIBLE_DOSE, Input, Json, Series, frame_on, structures_on
from hnvlm.cli.runtime import Session, session
from hnvlm.errors import HnvlmError, InputRefusedError, UsageError
from hnvlm.imaging.nifti import to_int16_hu
from hnvlm.imaging.tg263 import gross_kind, is_gross_tumour
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import AI_DRAFT, write_nifti
from hnvlm.services import rt_objects, target_levels
from hnvlm.types import OAR_NAMES, TARGET_NAMES, Finding

# How a file of UTF-16 begins; a code page of one byte a letter reads it without an error, and as nonsense.
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Control characters that stand in no report; a code page that is not the text's makes them of its letters.
CONTROLS = re.compile("[\x80-\x9f]")
SHOWN = 10
# Folders whose patients are learned from, and measured on.
SIDES = ("train", "validation")


def import_case(
    input_: Input,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder; its name must not tell who it is.")],
    structures: Annotated[
        Path | None,
        typer.Option("--structures", help="RTSTRUCT, SEG or folder of masks, where no DICOM set lies with the CT."),
    ] = None,
    dose: Annotated[
        Path | None,
        typer.Option("--dose", help="RTDOSE of the whole plan, or NIfTI in Gy, where no RTDOSE lies with the CT."),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Text file: the report of this CT.")] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="Code page of the report, e.g. cp1250.")] = "utf-8-sig",
    corrected: Annotated[
        bool, typer.Option("--corrected", help="A clinician has corrected the contours that a model drew.")
    ] = False,
    series: Series = None,
    json_: Json = False,
) -> None:
    """Make the folder of one patient that train and evaluate read: CT, contours, dose, report.

    DICOM contours and dose that lie with the CT are taken along.
    """
    wanted = Wanted(input_, folder, structures, dose, report, encoding, corrected, series)
    with session(json_) as out:
        payload, told = make_case(wanted, out)
        out.emit(payload, lambda: _print_case(out, payload, told))


@dataclass(frozen=True)
class Wanted:
    """One patient's folder that is asked for; fields as the options of ``import_case``."""

    input: str
    folder: Path
    structures: Path | None = None
    dose: Path | None = None
    report: Path | None = None
    encoding: str = "utf-8-sig"
    corrected: bool = False
    series: str | None = None


def make_case(wanted: Wanted, out: Session) -> tuple[dict[str, Any], list[str]]:
    """Make the folder; it appears when it is complete.

    Returns:
        What was made, and those of its ``warnings`` that ``out`` has shown.
    """
    folder = wanted.folder
    if folder.exists():
        raise InputRefusedError(f"{folder} is there already; name a new folder.", code="exists")
    inputs.require_place(folder.absolute().parent)
    text = _report_text(wanted.report, wanted.encoding) if wanted.report is not None else None
    with open_subject(wanted.input, out, wanted.series) as subject:
        if subject.synthetic:
            raise InputRefusedError(f"{wanted.input} is marked SYNTHETIC; only CTs of patients are learned from.")
        if wanted.series is None:
            _require_one_patient(wanted.input, subject)
        beside = own_beside.lying_with(subject, wanted.structures, wanted.dose)
        found = _contours(subject, wanted.structures, wanted.dose, wanted.corrected, beside)
        source, planned, notes = _dose(subject, wanted.dose, found, beside)
        taken = [*found.beside, *([source] if source is not None and wanted.dose is None else [])]
        # A killed import leaves nothing that a training would take for a patient.
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _write(part, subject.volume, found, planned, text)
            notes += [*_same_ct(part, folder), *(_other_patient(text, subject) if text is not None else [])]
            payload: dict[str, Any] = {
                "folder": str(folder), "shape": subject.volume.shape, "spacing_mm": subject.volume.spacing_mm,
                "structures": list(found.taken), "left_out": found.left_out,
                "gross_tumour": _gross(found.masks, found.by_model), "by_model": sorted(found.by_model),
                "dose_max_gy": None if planned is None else round(float(planned.gray.array.max()), 2),
                "report": _read(part), "taken_with_ct": [f.name for f in taken],
                "warnings": list(dict.fromkeys([*subject.warnings, *beside.notes, *found.notes, *notes])),
            }  # fmt: skip
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return payload, subject.warnings


def _require_one_patient(given: str, subject: Subject) -> None:
    """Of two patients' CTs neither is taken unasked: the report beside them may be the other's."""
    if subject.upload is not None and subject.upload.patients > 1:
        uids = ", ".join(s.series_uid for s in subject.upload.accepted[:4])
        raise InputRefusedError(
            f"{given} holds CTs of {subject.upload.patients} patients. Name the folder of one, or a CT with --series: "
            f"{uids}.",
            code="several_patients",
        )


def _other_patient(text: str, subject: Subject) -> list[str]:
    headers = subject.series.headers if subject.series is not None else []
    return own_whose.doubts(text, headers[0].dataset) if headers else []


def _same_ct(part: Path, folder: Path) -> list[str]:
    """Say where the same CT is already, under another name: a training would learn it twice, or be measured on it."""
    own = part / "ct.nii.gz"
    places = {folder.parent, *(folder.parent.parent / side for side in SIDES if folder.parent.name in SIDES)}
    others = sorted(f for place in places for f in place.glob("[!.]*/ct.nii.gz"))
    same = [f.parent for f in others if f.stat().st_size == own.stat().st_size and filecmp.cmp(f, own, shallow=False)]
    if not same:
        return []
    why = "learned from twice, or measured on though it was learned from"
    return [f"the same CT is in {', '.join(map(str, same))} already; keep one of them, else it is {why}"]


@dataclass(frozen=True)
class _Contours:
    """What is taken of the clinic's structures.

    Attributes:
        masks: All structures on the CT's grid. taken: Names of those that are written.
        by_model: Names of ``masks`` that a model drew and nobody corrected.
        gross: All gross tumour volumes together, bool (z, y, x): no model draws them; they are no healthy tissue.
        nodes: What of them the clinic calls nodes.
        beside: Files that lie with the CT and were taken.
    """

    masks: Mapping[str, np.ndarray]
    taken: tuple[str, ...]
    by_model: frozenset[str]
    gross: np.ndarray
    nodes: np.ndarray
    notes: list[str]
    beside: tuple[Path, ...] = ()

    @property
    def left_out(self) -> list[str]:
        """Structures that no model knows."""
        known = (*OAR_NAMES, *TARGET_NAMES, *_gross(self.masks, self.by_model))
        return [name for name in self.masks if name not in known]


def _gross(names: Iterable[str], by_model: Collection[str]) -> list[str]:
    return [name for name in names if is_gross_tumour(name) and name not in by_model]


def _contours(
    subject: Subject, structures: Path | None, dose: Path | None, corrected: bool, beside: Beside
) -> _Contours:
    masks: Mapping[str, np.ndarray] = {}
    notes: list[str] = []
    try:
        if structures is not None:
            masks, notes = structures_on(subject, structures, dose)
        elif beside.structures:
            masks, notes = rt_objects.read_structures(beside.structures, subject.volume)
    except HnvlmError as error:
        if structures is not None or dose is not None:
            raise
        notes = [own_beside.not_taken(beside.structures, error.message, "--structures")]
    if not masks:
        return _Contours({}, (), frozenset(), np.zeros(0, bool), np.zeros(0, bool), notes)
    source = beside.structures if structures is None else structures
    drawn = set() if corrected else own_marks.drawn_by_model(source, dose) & set(masks)
    masks, levels = target_levels.known_by_level(masks, TARGET_NAMES)
    drawn |= {level for level, parts in levels.items() if drawn & set(parts)}
    notes = [*notes, *(f"taken as {level}, by the dose in the name: {', '.join(levels[level])}" for level in levels)]
    # A target is what somebody decided to treat: a model's is nobody's decision, and no landmark either.
    taken = [n for n in masks if n in OAR_NAMES or (n in TARGET_NAMES and n not in drawn)]
    gross, nodes = np.zeros(subject.volume.shape, bool), np.zeros(subject.volume.shape, bool)
    for name in _gross(masks, drawn):
        gross |= masks[name]
        if gross_kind(name) == "node":
            nodes |= masks[name]
    return _Contours(masks, tuple(taken), frozenset(drawn), gross, nodes, list(notes), tuple(beside.structures))


def _dose(
    subject: Subject, named: Path | None, found: _Contours, beside: Beside
) -> tuple[Path | None, OwnDose | None, list[str]]:
    """The dose, of which file it is, and what was odd."""
    masks = {name: found.masks[name] for name in found.masks if name not in found.left_out}

    def read(path: Path) -> OwnDose:
        return read_own_dose(path, subject.volume, frame_on(subject, path), masks, found.left_out, found.by_model)

    source, planned, notes = (named, read(named), []) if named is not None else own_beside.dose_beside(beside, read)
    return source, planned, [*notes, *(planned.warnings if planned is not None else [])]


def _write(part: Path, ct: Volume, found: _Contours, planned: OwnDose | None, text: str | None) -> None:
    def put(name: str, array: np.ndarray, note: str = "") -> None:
        write_nifti(ct.with_array(array), part / name, note)

    put("ct.nii.gz", to_int16_hu(ct.array))
    if found.gross.any():
        put("GTV.nii.gz", found.gross)
    if found.nodes.any():
        put("GTVn.nii.gz", found.nodes)
    for name in found.taken:
        put(f"{name}.nii.gz", found.masks[name], AI_DRAFT * (name in found.by_model))
    if planned is not None:
        put("dose.nii.gz", planned.gray.array)
        put(POSSIBLE_DOSE, planned.possible)
    if text is not None:
        (part / "report.txt").write_text(text, encoding="utf-8")


def _report_text(path: Path, encoding: str) -> str:
    try:
        given = path.read_bytes()
        if given.startswith(UTF_16) and "16" not in encoding:
            raise InputRefusedError(f"{path}: UTF-16 text. Say --encoding utf-16.", code="unreadable")
        text = given.decode(encoding)
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig") and _is_utf_8(given):
            raise InputRefusedError(f"{path}: this is UTF-8; leave --encoding {encoding} out.", code="unreadable")
    except LookupError as error:
        raise UsageError(f"--encoding {encoding}: no such code page; for instance utf-8, cp1250, iso8859-2.") from error
    except UnicodeDecodeError as error:
        raise InputRefusedError(
            f"{path}: no {encoding.removesuffix('-sig')} text. Name its code page with --encoding, such as cp1250.",
            code="unreadable",
        ) from error
    except OSError as error:
        raise InputRefusedError(f"{path}: cannot be read ({error.strerror}).", code="unreadable") from error
    if "\0" in text:
        raise InputRefusedError(f"{path}: no text file. Save the report as plain text.", code="unreadable")
    if found := CONTROLS.search(text):
        raise InputRefusedError(
            f"{path}: read as {encoding.removesuffix('-sig')}, letter {found.start() + 1} is a control character, so "
            "this is not its code page and words would be lost. Name the right one with --encoding, such as cp1250.",
            code="unreadable",
        )
    return text


def _is_utf_8(given: bytes) -> bool:
    """Whether these bytes are UTF-8 with other letters than English ones: text of no code page happens to be."""
    try:
        return not given.decode("utf-8").isascii() and b"\0" not in given
    except UnicodeDecodeError:
        return False


def _read(folder: Path) -> dict[str, Any] | None:
    """What a training will take from the report: so that somebody who knows the patient can look."""
    from hnvlm.evaluate.own_reports import own_report
    from hnvlm.evaluate.report_rest import denied_and_unread

    found = own_report(folder)
    if found is None:
        return None
    denied, unread = denied_and_unread(folder)
    return {
        "lesions": found.lesions, "not_taken": found.unclear, "unread": found.unread,
        "denied": denied, "unread_sentences": unread,
    }  # fmt: skip


def _print_case(out: Session, payload: dict[str, Any], told: Collection[str]) -> None:
    """Say what was made; ``told`` are warnings that stand on stderr already."""
    out.line(f"{payload['folder']}: CT, contours of {', '.join(payload['structures']) or 'nothing'}")
    if payload["taken_with_ct"]:
        out.line(f"lay with the CT and was taken: {', '.join(payload['taken_with_ct'])}")
    if payload["left_out"]:
        out.line(f"left out, as no model knows them: {', '.join(payload['left_out'])}")
    if payload["gross_tumour"]:
        out.line(f"gross tumour, taught as lesions: {', '.join(payload['gross_tumour'])}")
    marked = [name for name in payload["by_model"] if name in payload["structures"]]
    if marked:
        out.line(
            f"a model drew these; they serve as landmarks, and no contour is learned from them: {', '.join(marked)}"
        )
    guessed = [name for name in payload["by_model"] if name in TARGET_NAMES]
    if guessed:
        out.line(f"left out, as a model drew them and nobody decided to treat them: {', '.join(guessed)}")
    if marked or guessed:
        out.line("where a clinician has corrected them, say --corrected")
    if payload["dose_max_gy"] is not None:
        out.line(f"dose: up to {payload['dose_max_gy']:g} Gy")
    if payload["report"] is not None:
        _print_report(out, payload["report"])
    for warning in payload["warnings"]:
        if warning not in told:
            out.line(f"warning: {warning}")


def _print_report(out: Session, report: dict[str, Any]) -> None:
    """Say all that is taught of the report, and what is not, in the words it would be corrected in."""
    for f in report["lesions"]:
        out.line(f"report: {f.presence} {_in_words(f)}")
    if not report["lesions"]:
        out.line(f"report: {'not taken, it ' + report['not_taken'] if report['not_taken'] else 'no lesion'}")
    if report["denied"] and not report["not_taken"]:
        out.line(f"report denies: {'; '.join(map(_in_words, report['denied']))}")
    for sentence in report["unread_sentences"][:SHOWN]:
        out.line(f"report, not read: {sentence}")
    if len(report["unread_sentences"]) > SHOWN:
        out.line(f"report, not read: {len(report['unread_sentences']) - SHOWN} more sentences, see --json")


def _in_words(f: Finding) -> str:
    largest, narrowing = f.attributes.get("largest_mm"), f.attributes.get("narrowing_pct")
    words = (f.side, f.place, f.kind, f.size_mm and f"{f.size_mm:g} mm", largest and f"largest {largest:g} mm",
             narrowing and f"narrowed by {narrowing:g} %", f.attributes.get("texture"))  # fmt: skip
    return " ".join(str(word) for word in words if word)
