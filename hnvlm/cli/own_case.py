"""Command that makes a patient's folder for training and measuring out of a clinic's own files."""

from __future__ import annotations

import codecs
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hnvlm.cli import inputs, own_marks
from hnvlm.cli.inputs import Subject, open_subject
from hnvlm.cli.own_dose import OwnDose, read_own_dose
from hnvlm.cli.reading import POSSIBLE_DOSE, Input, Json, Series, frame_on, structures_on
from hnvlm.cli.runtime import Session, session
from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.imaging.nifti import to_int16_hu
from hnvlm.imaging.tg263 import gross_kind, is_gross_tumour
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import AI_DRAFT, write_nifti
from hnvlm.types import OAR_NAMES, TARGET_NAMES

# How a file of UTF-16 begins; a code page of one byte a letter reads it without an error, and as nonsense.
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def import_case(
    input_: Input,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder; its name must not tell who it is.")],
    structures: Annotated[Path | None, typer.Option("--structures", help="RTSTRUCT, SEG or folder of masks.")] = None,
    dose: Annotated[Path | None, typer.Option("--dose", help="RTDOSE of the whole plan, or NIfTI in Gy.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Text file: the report of this CT.")] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="Code page of the report, e.g. cp1250.")] = "utf-8-sig",
    corrected: Annotated[
        bool, typer.Option("--corrected", help="A clinician has corrected the contours that a model drew.")
    ] = False,
    series: Series = None,
    json_: Json = False,
) -> None:
    """Make the folder of one patient that train and evaluate read: CT, contours, dose, report."""
    with session(json_) as out:
        if folder.exists():
            raise InputRefusedError(f"{folder} is there already; name a new folder.", code="exists")
        inputs.require_place(folder.absolute().parent)
        text = _report_text(report, encoding) if report is not None else None
        with open_subject(input_, out, series) as subject:
            if subject.synthetic:
                raise InputRefusedError(f"{input_} is marked SYNTHETIC; only CTs of patients are learned from.")
            found = _contours(subject, structures, dose, corrected)
            planned = None if dose is None else _dose(subject, dose, found)
            # A killed import leaves nothing that a training would take for a patient.
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                _write(part, subject.volume, found, planned, text)
                payload: dict[str, Any] = {
                    "folder": str(folder), "shape": subject.volume.shape, "spacing_mm": subject.volume.spacing_mm,
                    "structures": list(found.taken), "left_out": found.left_out,
                    "gross_tumour": _gross(found.masks, found.by_model), "by_model": sorted(found.by_model),
                    "dose_max_gy": None if planned is None else round(float(planned.gray.array.max()), 2),
                    "report": _read(part),
                    "warnings": [*subject.warnings, *found.notes, *(planned.warnings if planned is not None else [])],
                }  # fmt: skip
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        out.emit(payload, lambda: _print_case(out, payload))


@dataclass(frozen=True)
class _Contours:
    """What is taken of the clinic's structures.

    Attributes:
        masks: All structures on the CT's grid. taken: Names of those that are written.
        by_model: Names of ``masks`` that a model drew and nobody corrected.
        gross: All gross tumour volumes together, bool (z, y, x): no model draws them; they are no healthy tissue.
        nodes: What of them the clinic calls nodes.
    """

    masks: Mapping[str, np.ndarray]
    taken: tuple[str, ...]
    by_model: frozenset[str]
    gross: np.ndarray
    nodes: np.ndarray
    notes: list[str]

    @property
    def left_out(self) -> list[str]:
        """Structures that no model knows."""
        known = (*OAR_NAMES, *TARGET_NAMES, *_gross(self.masks, self.by_model))
        return [name for name in self.masks if name not in known]


def _gross(names: Iterable[str], by_model: Collection[str]) -> list[str]:
    return [name for name in names if is_gross_tumour(name) and name not in by_model]


def _contours(subject: Subject, structures: Path | None, dose: Path | None, corrected: bool) -> _Contours:
    if structures is None:
        return _Contours({}, (), frozenset(), np.zeros(0, bool), np.zeros(0, bool), [])
    masks, notes = structures_on(subject, structures, dose)
    drawn = set() if corrected else own_marks.drawn_by_model(structures, dose) & set(masks)
    # A target is what somebody decided to treat: a model's is nobody's decision, and no landmark either.
    taken = [n for n in masks if n in OAR_NAMES or (n in TARGET_NAMES and n not in drawn)]
    gross, nodes = np.zeros(subject.volume.shape, bool), np.zeros(subject.volume.shape, bool)
    for name in _gross(masks, drawn):
        gross |= masks[name]
        if gross_kind(name) == "node":
            nodes |= masks[name]
    return _Contours(masks, tuple(taken), frozenset(drawn), gross, nodes, list(notes))


def _dose(subject: Subject, path: Path, found: _Contours) -> OwnDose:
    masks = {name: found.masks[name] for name in found.masks if name not in found.left_out}
    return read_own_dose(path, subject.volume, frame_on(subject, path), masks, found.left_out, found.by_model)


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
    return text


def _read(folder: Path) -> dict[str, Any] | None:
    """What a training will take from the report: so that somebody who knows the patient can look."""
    from hnvlm.evaluate.own_reports import own_report

    found = own_report(folder)
    return None if found is None else {"lesions": found.lesions, "not_taken": found.unclear, "unread": found.unread}


def _print_case(out: Session, payload: dict[str, Any]) -> None:
    out.line(f"{payload['folder']}: CT, contours of {', '.join(payload['structures']) or 'nothing'}")
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
    report = payload["report"]
    if report is not None:
        for f in report["lesions"]:
            words = (f.presence, f.side, f.place, f.kind, f.size_mm and f"{f.size_mm:g} mm")
            out.line(f"report: {' '.join(str(w) for w in words if w)}")
        if not report["lesions"]:
            out.line(f"report: {'not taken, it ' + report['not_taken'] if report['not_taken'] else 'no lesion'}")
    for warning in payload["warnings"]:
        out.line(f"warning: {warning}")
