"""Command that makes a patient's folder for training and measuring out of a clinic's own files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from hnvlm.cli import inputs
from hnvlm.cli.inputs import open_subject
from hnvlm.cli.reading import Input, Json, Series, structures_on
from hnvlm.cli.runtime import Session, session
from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.imaging.nifti import to_int16_hu
from hnvlm.imaging.write import AI_DRAFT, write_nifti
from hnvlm.types import OAR_NAMES, TARGET_NAMES


def import_case(
    input_: Input,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder; its name must not tell who it is.")],
    structures: Annotated[Path | None, typer.Option("--structures", help="RTSTRUCT, SEG or folder of masks.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Text file: the report of this CT.")] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="Code page of the report, e.g. cp1250.")] = "utf-8-sig",
    series: Series = None,
    json_: Json = False,
) -> None:
    """Make the folder of one patient that train and evaluate read: CT, contours, report."""
    with session(json_) as out:
        if folder.exists():
            raise InputRefusedError(f"{folder} is there already; name a new folder.", code="exists")
        inputs.require_place(folder.absolute().parent)
        text = _report_text(report, encoding) if report is not None else None
        with open_subject(input_, out, series) as subject:
            if subject.synthetic:
                raise InputRefusedError(f"{input_} is marked SYNTHETIC; only CTs of patients are learned from.")
            masks, notes = structures_on(subject, structures) if structures is not None else ({}, [])
            drawn = _drawn_by_model(structures)
            # A killed import leaves nothing that a training would take for a patient.
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                ct = subject.volume
                write_nifti(ct.with_array(to_int16_hu(ct.array)), part / "ct.nii.gz")
                taken = [name for name in masks if name in (*OAR_NAMES, *TARGET_NAMES)]
                for name in taken:
                    write_nifti(ct.with_array(masks[name]), part / f"{name}.nii.gz", AI_DRAFT if name in drawn else "")
                if text is not None:
                    (part / "report.txt").write_text(text, encoding="utf-8")
                payload: dict[str, Any] = {
                    "folder": str(folder), "shape": ct.shape, "spacing_mm": ct.spacing_mm, "structures": taken,
                    "left_out": [name for name in masks if name not in taken], "report": _read(part),
                    "warnings": [*subject.warnings, *notes],
                }  # fmt: skip
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        out.emit(payload, lambda: _print_case(out, payload))


def _report_text(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding=encoding)
    except LookupError as error:
        raise UsageError(f"--encoding {encoding}: no such code page; for instance utf-8, cp1250, iso8859-2.") from error
    except UnicodeDecodeError as error:
        raise InputRefusedError(
            f"{path}: no {encoding.removesuffix('-sig')} text. Name its code page with --encoding, such as cp1250.",
            code="unreadable",
        ) from error
    except OSError as error:
        raise InputRefusedError(f"{path}: cannot be read ({error.strerror}).", code="unreadable") from error


def _drawn_by_model(structures: Path | None) -> set[str]:
    """Contours of a folder that say they are a model's: the copy must go on saying so."""
    from hnvlm.evaluate.common import drawn_by_model

    return drawn_by_model(structures) if structures is not None and structures.is_dir() else set()


def _read(folder: Path) -> dict[str, Any] | None:
    """What a training will take from the report: so that somebody who knows the patient can look."""
    from hnvlm.evaluate.own_reports import own_report

    found = own_report(folder)
    return None if found is None else {"lesions": found.lesions, "not_taken": found.unclear, "unread": found.unread}


def _print_case(out: Session, payload: dict[str, Any]) -> None:
    out.line(f"{payload['folder']}: CT, contours of {', '.join(payload['structures']) or 'nothing'}")
    if payload["left_out"]:
        out.line(f"left out, as no model knows them: {', '.join(payload['left_out'])}")
    report = payload["report"]
    if report is not None:
        for f in report["lesions"]:
            words = (f.presence, f.side, f.level or f.site, f.kind, f.size_mm and f"{f.size_mm:g} mm")
            out.line(f"report: {' '.join(str(w) for w in words if w)}")
        if not report["lesions"]:
            out.line(f"report: {'not taken, it ' + report['not_taken'] if report['not_taken'] else 'no lesion'}")
    for warning in payload["warnings"]:
        out.line(f"warning: {warning}")
