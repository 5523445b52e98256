"""Commands that read one CT: inspect, segment, report, zeroshot, similar, plan, dose."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from hnvlm.cli import inputs
from hnvlm.cli.inputs import Subject, open_subject
from hnvlm.cli.runtime import Session, session
from hnvlm.errors import UsageError
from hnvlm.imaging.archive import passed_over
from hnvlm.imaging.rt import read_mask_file
from hnvlm.imaging.write import write_nifti
from hnvlm.imaging.write_dose import header_note, write_rtdose
from hnvlm.services import analysis, export, histograms, intake, planning, reporting, rt_objects, similar, zeroshot
from hnvlm.services import dose as dosing
from hnvlm.types import Finding

NOT_KEPT = (
    "Not stored with the case: it was drafted with structures that the case does not hold. Add them to the case on the "
    "page Treatment plan and draft again."
)
POSSIBLE_DOSE = "possible_dose_mask.nii.gz"
Input = Annotated[str, typer.Argument(metavar="INPUT", help="DICOM folder, zip or file, NIfTI file, or case id.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
Series = Annotated[str | None, typer.Option("--series", help="UID of the series to take, see 'inspect'.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the files; made when missing.")]
Structures = Annotated[
    Path | None,
    typer.Option(
        "--structures",
        help="RTSTRUCT, SEG or folder of masks, where they do not lie with the CT. A GTV is reported as a lesion.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="The same seed gives the same result.")]


def inspect(input_: Input, json_: Json = False) -> None:
    """List every series of INPUT: what it is, whether it is accepted, and why (not)."""
    with session(json_) as out, tempfile.TemporaryDirectory(prefix="hnvlm-") as workdir:
        if inputs.is_case_id(input_):
            series = [_stored_series(input_.upper())]
        else:
            series = [s.to_json() for s in inputs.open_upload(input_, Path(workdir)).series]
        out.emit({"input": input_, "series": series}, lambda: _print_series(out, series))


def segment(
    input_: Input,
    out_dir: Out,
    format_: Annotated[str, typer.Option("--format", help="Comma-separated: nifti, seg, rtstruct.")] = "nifti",
    series: Series = None,
    allow_out_of_scope: Annotated[
        bool, typer.Option("--allow-out-of-scope", help="Write structures even if the CT is not head and neck.")
    ] = False,
    json_: Json = False,
) -> None:
    """Contour organs at risk and targets on the CT's own grid (AI draft, research use only)."""
    with session(json_) as out:
        formats = export.parse_formats(format_)
        inputs.require_place(out_dir)
        with open_subject(input_, out, series) as subject:
            started = time.perf_counter()
            found = subject.analyse()
            seconds = time.perf_counter() - started
            if not allow_out_of_scope:
                found.require_scope()
            files = export.write_structures(
                subject.volume, found.segmentation.masks, out_dir, formats,
                version=found.segmentation.provenance.in_words, synthetic=subject.synthetic,
            )  # fmt: skip
            rows = analysis.structure_rows(subject.volume, found.segmentation)
            for row in rows:
                written = {f: files[f].get(row["name"], files[f].get("all")) for f in formats}
                row |= {"file": written[formats[0]], "files": written}
            payload = {
                "structures": rows, "seconds": round(seconds, 3), "model": found.segmentation.provenance.model,
                "in_scope": found.scope.in_scope, "scope_reason": found.scope.reason, "warnings": subject.warnings,
                "notice": analysis.NOTICE,
            }  # fmt: skip
            table = [[r["name"], f"{r['volume_ml']:.1f}", r["file"]] for r in rows]
            out.emit(payload, lambda: out.table(["structure", "ml", "file"], table))


def report(
    input_: Input,
    language: Annotated[str, typer.Option("--language", help="en or pl.")] = "en",
    structures: Structures = None,
    seed: Seed = 0,
    series: Series = None,
    json_: Json = False,
) -> None:
    """Draft the report; its statements are checked against what was measured."""
    with session(json_) as out:
        reporting.require_language(language)
        with open_subject(input_, out, series) as subject:
            started = time.perf_counter()
            masks, notes = clinic_structures(subject, structures)
            found = subject.analyse(masks)
            before_model = time.perf_counter() - started
            written, checked = reporting.draft(
                subject.models, subject.volume, found, language=language, seed=seed, progress=out.progress
            )
            payload = checked.payload() | {
                "model": written.provenance.model, "seed": seed, "warnings": [*subject.warnings, *notes],
                # The user waits for the analysis too, so both times start at the request.
                "seconds": round(before_model + written.seconds, 3),
                "first_token_seconds": round(before_model + written.first_token_seconds, 3),
                "writing_seconds": round(written.seconds, 3), "measured": [f.to_json() for f in found.findings],
                "look_first": None if found.look_first is None else found.look_first.to_json(),
            }  # fmt: skip
            if subject.app is not None and subject.case_id is not None and masks:
                payload["warnings"].append(NOT_KEPT)
            elif subject.app is not None and subject.case_id is not None:
                stored = payload | {"author": "model"}
                result = subject.app.store.save_result(
                    subject.case_id, "report", stored, slot=language, provenance=written.provenance, who="command line"
                )
                payload["version"] = result.version
            out.emit(payload, lambda: _print_report(out, payload))


def zeroshot_(
    input_: Input,
    labels: Annotated[str, typer.Option("--labels", help='Texts separated by semicolons: "a;b;c".')],
    series: Series = None,
    json_: Json = False,
) -> None:
    """Score how well texts fit the CT."""
    with session(json_) as out:
        wanted = zeroshot.parse_labels(labels)
        with open_subject(input_, out, series) as subject:
            scores = zeroshot.score(subject.models, subject.volume, wanted, subject.analyse())
            payload = {
                "scores": scores, "model": zeroshot.model_name(subject.models), "warnings": subject.warnings,
                "notice": analysis.NOTICE,
            }  # fmt: skip
            rows = [[label, f"{p:.3f}"] for label, p in sorted(scores.items(), key=lambda item: -item[1])]
            out.emit(payload, lambda: out.table(["label", "probability"], rows))


def similar_(
    input_: Input,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many cases.")] = 5,
    series: Series = None,
    json_: Json = False,
) -> None:
    """Find the stored cases nearest to INPUT."""
    with session(json_) as out, open_subject(input_, out, series) as subject:
        app = subject.app or inputs.open_app()
        try:
            if subject.case_id is not None:
                vector = similar.index_case(app, subject.case_id, who="command line", progress=out.progress)
            else:
                vector = similar.embed(subject.models, subject.volume, subject.analyse())
            passed_over = similar.index_all(app, progress=out.progress)
            cases = similar.nearest(app, vector, k, exclude=subject.case_id)
        finally:
            if subject.app is None:
                app.close()
        payload = {"cases": cases, "not_indexed": passed_over, "notice": analysis.NOTICE}
        rows = [[c.id, f"{c.score:.3f}", c.impression] for c in cases]
        out.emit(payload, lambda: out.table(["case", "score", "impression"], rows))


def plan(
    input_: Input,
    clinical: Annotated[Path | None, typer.Option("--clinical", help="JSON or YAML: answers of the form.")] = None,
    structures: Structures = None,
    series: Series = None,
    json_: Json = False,
) -> None:
    """Draft a treatment plan from the CT's findings and a clinical form; open questions are listed."""
    with session(json_) as out:
        form = planning.clean_form(inputs.read_mapping(clinical)) if clinical is not None else None
        with open_subject(input_, out, series) as subject:
            started = time.perf_counter()
            masks, notes = clinic_structures(subject, structures)
            if subject.app is not None and subject.case_id is not None and not masks:
                subject.load()
                result = planning.draft_case_plan(
                    subject.app, subject.case_id, form=form, who="command line", progress=out.progress
                )
                made = result.payload | {"version": result.version}
            else:
                if subject.app is not None and subject.case_id is not None:
                    form = planning.load_form(subject.app, subject.case_id) if form is None else form
                    notes = [*notes, NOT_KEPT]
                made = planning.plan_without_store(
                    subject.models, subject.volume, subject.analyse(masks), masks, form, progress=out.progress
                )
            made |= {"seconds": round(time.perf_counter() - started, 3), "warnings": [*subject.warnings, *notes]}
            out.emit(made, made["text"])


def dose(
    input_: Input,
    structures: Annotated[Path, typer.Option("--structures", help="RTSTRUCT, SEG or folder of masks.")],
    out_file: Annotated[Path, typer.Option("--out", help="NIfTI (.nii.gz) or RTDOSE (.dcm) file for the dose.")],
    series: Series = None,
    json_: Json = False,
) -> None:
    """Predict the dose a plan of nine equispaced fields can give to the targets (AI draft, research use only)."""
    with session(json_) as out:
        if not out_file.name.lower().endswith((".nii.gz", ".nii", ".dcm")) or out_file.name.startswith("."):
            raise UsageError(f"--out {out_file}: name a NIfTI file (.nii.gz) or an RTDOSE file (.dcm).")
        if out_file.is_dir():
            raise UsageError(f"--out {out_file} is a folder; name a file in it.")
        inputs.require_place(out_file.parent)
        with open_subject(input_, out, series) as subject:
            masks, notes = structures_on(subject, structures)
            possible = _possible_dose(subject, structures, notes)
            made = dosing.run(subject.models, subject.volume, masks, possible_dose=possible, progress=out.progress)
            # Whether this is a neck takes longer to find out than the dose; nothing is written before it is known.
            _require_neck(subject)
            gray = made.dose_gy
            if out_file.suffix.lower() == ".dcm":
                write_rtdose(
                    gray, subject.volume, out_file, version=made.provenance.in_words, synthetic=subject.synthetic
                )
            else:
                write_nifti(gray, out_file, header_note(predicted=True, synthetic=subject.synthetic))
            figures = histograms.figures(
                histograms.compute(gray, masks), prescription_gy=max(made.prescriptions.values())
            )
            payload = {
                "file": str(out_file), "dvh_metrics": figures, "prescriptions": made.prescriptions,
                "max_gy": round(float(gray.array.max()), 3), "model": made.provenance.model, "from_ct": made.from_ct,
                "notes": list(made.notes), "seconds": round(made.seconds, 3), "notice": analysis.NOTICE,
                "warnings": [*subject.warnings, *notes],
            }  # fmt: skip
            rows = [[n, k, f"{v:.2f}"] for n, values in figures.items() for k, v in values.items()]
            out.emit(payload, lambda: out.table(["structure", "metric", "value"], rows))


def _stored_series(case_id: str) -> dict[str, Any]:
    with closing(inputs.open_app()) as app:
        case = app.store.get_case(case_id)
    return {
        "uid": case.meta.get("series_uid", ""), "modality": "CT", "description": case.description,
        "n_slices": case.shape[0], "shape": case.shape, "spacing_mm": case.spacing_mm, "accepted": True, "reasons": [],
        "warnings": case.meta.get("warnings", []), "case_id": case.id, "in_scope": case.in_scope,
        "scope_reason": case.scope_reason,
    }  # fmt: skip


def clinic_structures(subject: Subject, path: Path | None) -> tuple[Mapping[str, Any], list[str]]:
    """Masks of ``--structures``, else of those that lie with the CT (a stored case has its own), and warnings."""
    if path is not None:
        return structures_on(subject, path)
    return intake.structures_beside(subject.upload, subject.volume) if subject.upload is not None else ({}, [])


def structures_on(subject: Subject, path: Path, dose: Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """Masks of ``--structures`` on this CT, and warnings; ``dose`` says which of several sets was planned on."""
    beside = [dose] if dose is not None and dose.is_file() else []
    masks, notes = rt_objects.read_structures(path, subject.volume, frame_on(subject, path), beside=beside)
    links = passed_over(path)
    return masks, [*notes, f"{path.name}: {links}"] if links else notes


def frame_on(subject: Subject, path: Path) -> str:
    """The frame of reference that a file or a folder names, if the stored case was made from it; else ""."""
    if subject.app is None or not path.exists():
        return ""
    return rt_objects.original_frame_uid(subject.app, subject.volume.frame_of_reference_uid, path)


def _require_neck(subject: Subject) -> None:
    """Refuse a CT that is not one of the head and neck; nothing else is looked for."""
    if subject.case_id is not None:
        subject.analyse().require_scope()
        return
    segmentation = subject.models.segment(subject.volume, progress=subject.session.progress)
    analysis.require_scope(subject.models.scope(subject.volume, segmentation))


def _possible_dose(subject: Subject, folder: Path, notes: list[str]) -> Any:
    """The mask of possible dose, where a folder of masks has one."""
    file = folder / POSSIBLE_DOSE
    return read_mask_file(file, subject.volume, notes) if file.is_file() else None


def _print_series(out: Session, series: list[dict[str, Any]]) -> None:
    for s in series:
        verdict = "accepted" if s["accepted"] else "refused"
        shape = "×".join(str(v) for v in reversed(s["shape"])) if s["shape"] else f"{s['n_slices']} files"
        spacing = " × ".join(f"{v:.3g}" for v in reversed(s["spacing_mm"])) + " mm" if s["spacing_mm"] else ""
        out.line(f"{verdict:8}  {s['modality']}  {shape}  {spacing}  {s['uid']}")
        for kind, texts in (("reason", s["reasons"]), ("warning", s["warnings"])):
            for text in texts:
                out.line(f"          {kind}: {text}")


def _print_report(out: Session, payload: dict[str, Any]) -> None:
    out.line(payload["text"])
    out.line()
    for check in payload["checks"]:
        if check["status"] != "pass":
            out.line(f"{check['status']}: {check['message']}")
    if payload["look_first"] is not None:
        first = Finding.from_json(payload["look_first"])
        place = f"level {first.level}" if first.level else first.site
        out.line(f"nothing found; look first: {first.side} {place}, axial slice {(first.slice_index or 0) + 1}")
    out.line(f"({payload['notice']}; {payload['model']}, {payload['seconds']:.1f} s)")
