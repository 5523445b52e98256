"""A case's plan for other programs: PDF case sheet, FHIR CarePlan, RTSTRUCT, RTDOSE, SEG and NIfTI in one zip."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from hnvlm.errors import InputRefusedError
from hnvlm.imaging.write import write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import header_note, write_rtdose
from hnvlm.imaging.write_seg import write_seg
from hnvlm.services import case_sheet, constraint_templates, documents, dose, export, fhir, histograms, planning
from hnvlm.services.analysis import NOTICE
from hnvlm.services.context import App
from hnvlm.services.dose_told import told
from hnvlm.services.jobs import JobContext
from hnvlm.store import ResultRecord, dumps, exports
from hnvlm.types import Provenance

README = f"""{NOTICE}. Not a medical device. Nothing here is for treatment.

ct/                   the CT that the DICOM objects refer to, without the patient's identity
structures.rtstruct.dcm, structures.seg.dcm
                      structures; each says whether a model or the clinic drew it
dose.rtdose.dcm       the dose; its description says PREDICTED where a model made it, WHAT-IF where it was changed
dose.nii.gz           the same dose in Gy on the CT's grid; dose-PREDICTED.nii.gz where a model made it{{beyond}}
constraints.json      every constraint with value, margin and source
plan.txt, plan.json, careplan.fhir.json, case-sheet.pdf
                      the plan, where one was drafted
"""


def pdf(app: App, plan: ResultRecord, item: ResultRecord | None, palette: Mapping[str, Any] | None = None) -> bytes:
    """Return the case sheet as PDF."""
    return case_sheet.build(app, plan, item, palette=palette)


def text(app: App, plan: ResultRecord) -> str:
    """Return the plan as a text file."""
    return documents.as_text(plan, planning.notes(app, plan))


def care_plan(app: App, plan: ResultRecord, item: ResultRecord | None) -> str:
    """Return the FHIR CarePlan as JSON text; constraints are judged on the given dose where there is one."""
    said: dict[str, Any] = {
        "notes": planning.notes(app, plan, item),
        "with_activities": not planning.text_disagrees(plan.payload),
    }
    if item is None:
        return dumps(fhir.care_plan(plan, None, dose="", **said))
    judged, _ = planning.rows_on(plan.payload, item, histograms.judge(app, item))
    return dumps(fhir.care_plan(plan, [r.to_json() for r in judged], dose=dose.label(item), **said))


def write_all(
    app: App, case_id: str, item: ResultRecord | None, out: Path, *, palette: Mapping[str, Any] | None = None
) -> dict[str, Path]:
    """Write everything there is of a case's plan into a folder; return what -> path.

    Raises:
        InputRefusedError: There are no structures: nothing could refer to them.
    """
    found = dose.structures(app, case_id)
    if not found.masks:
        raise InputRefusedError("There are no structures to export. Contour them, or upload them with the CT.",
                                code="no_structures")  # fmt: skip
    volume, case = app.store.load_volume(case_id), app.store.get_case(case_id)
    meta = {"patient_id": case_id, **{k: case.meta[k] for k in ("patient_position", "body_part") if case.meta.get(k)}}
    out.mkdir(parents=True, exist_ok=True)
    clinic = {n for n, who in found.source.items() if who == dose.CLINIC}
    masks = found.masks
    files = {"ct": out / "ct", "readme": out / "README.txt"}
    write_dicom_series(volume, files["ct"], "CT for structures and dose", case.synthetic, meta)
    files["rtstruct"] = write_rtstruct(
        masks, volume, out / "structures.rtstruct.dcm", synthetic=case.synthetic, meta=meta, clinic=clinic
    )
    automatic = masks.only(n for n in masks if n not in clinic)
    if automatic:  # a SEG of ours says that an algorithm drew it, so the clinic's structures stay out of it
        drew = app.store.latest_result(case_id, "segmentation")
        files["seg"] = write_seg(
            automatic, volume, out / "structures.seg.dcm", version=Provenance(**drew.provenance).in_words,
            synthetic=case.synthetic, meta=meta,
        )  # fmt: skip
    plan = app.store.latest_result(case_id, "plan")
    if item is not None:
        files |= _write_dose(app, item, plan, volume, out, meta, files["rtstruct"], case.synthetic)
    if plan is not None:
        files |= _write_plan(app, plan, item, out, palette)
    files["readme"].write_text(README.format(beyond=_beyond(app, item)), encoding="utf-8")
    return files


def _beyond(app: App, item: ResultRecord | None) -> str:
    """Say that a dose is not known everywhere: to a NIfTI file what no dose grid reaches is as 0 Gy as the air."""
    if item is None or not np.isnan(dose.load(app, item, beyond=np.nan).array).any():
        return ""
    return """
                      The dose grid does not reach all of this CT: what lies outside is 0 here and is not known.
                      Limits of structures that it does not cover are not judged; judge none on these files."""


def _write_dose(
    app: App, item: ResultRecord, plan: ResultRecord | None, volume: Any, out: Path, meta: Mapping[str, Any],
    rtstruct: Path, synthetic: bool,
) -> dict[str, Path]:  # fmt: skip
    gy, predicted, what_if = dose.load(app, item), dose.is_predicted(item), item.slot == dose.WHAT_IF
    header = header_note(predicted=predicted, what_if=what_if, synthetic=synthetic)
    note = "; ".join([dose.label(item), *dose.notes(app, item)])
    uid = str(pydicom.dcmread(rtstruct, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    files = {
        "rtdose": write_rtdose(
            gy, volume, out / "dose.rtdose.dcm", predicted=predicted, what_if=what_if, note=note, meta=meta,
            version=Provenance(**item.provenance).in_words if item.provenance else "", synthetic=synthetic,
            structure_set_uid=uid, tags=dose.tags(app, item),
        ),
        "dose_nifti": write_nifti(gy, out / ("dose-PREDICTED.nii.gz" if predicted else "dose.nii.gz"), header),
        "constraints": out / "constraints.json",
    }  # fmt: skip
    judged = histograms.judge(app, item)
    # As the plan beside it has them: a dose of another prescription, or a neck irradiated before, is not judged.
    rows, misfit = (judged.rows, "") if plan is None else planning.rows_on(plan.payload, item, judged)
    content = {
        "notice": NOTICE, "dose": dose.label(item), "notes": dose.notes(app, item),
        "prescription_gy": judged.prescription_gy, "fractions": dose.fractions(app, item),
        "fractions_assumed": dose.stated_fractions(app, item) is None is not dose.fractions(app, item),
        "structures": histograms.table(judged, dose.fractions(app, item)), "drawn_by": judged.source,
        "constraints": [r.to_json() for r in rows], "not_judged_because": misfit, "provenance": item.provenance,
    }  # fmt: skip
    files["constraints"].write_text(dumps(content), encoding="utf-8")
    return files


def _write_plan(
    app: App, plan: ResultRecord, item: ResultRecord | None, out: Path, palette: Mapping[str, Any] | None
) -> dict[str, Path]:
    files = {name: out / name for name in ("plan.txt", "plan.json", "careplan.fhir.json", "case-sheet.pdf")}
    files["plan.txt"].write_text(text(app, plan), encoding="utf-8")
    files["plan.json"].write_text(dumps(plan.payload), encoding="utf-8")
    files["careplan.fhir.json"].write_text(care_plan(app, plan, item), encoding="utf-8")
    files["case-sheet.pdf"].write_bytes(pdf(app, plan, item, palette))
    return files


def archive_path(app: App, case_id: str, item: ResultRecord | None) -> Path:
    """Return where the zip of an export lies or will lie.

    Whatever would be told differently in it is another file: another plan, dose, template or structures, a signature,
    something that was changed after the plan was written.
    """
    plan = app.store.latest_result(case_id, "plan")
    parts = [_stem(case_id, plan), f"dose{item.id}" if item else "nodose"]
    parts += [f"limits{constraint_templates.fingerprint(app, case_id)}"]
    parts += [str(v) for v in dose.structures_version(app, case_id)]
    if item is not None and (said := told(app, item)):
        parts.append(f"told{hashlib.sha256(dumps(said).encode()).hexdigest()[:8]}")
    if plan is not None:
        notes = dumps(planning.notes(app, plan, item))
        parts += [f"signed{len(plan.signoffs)}", f"notes{hashlib.sha256(notes.encode()).hexdigest()[:8]}"]
    return exports.folder(app.settings.data_dir) / f"{'-'.join(parts)}{exports.PLAN_SUFFIX}"


def _stem(case_id: str, plan: ResultRecord | None) -> str:
    return f"{case_id}-plan{plan.id}" if plan else f"{case_id}-noplan"


def start(
    app: App, case_id: str, item: ResultRecord | None, *, palette: Mapping[str, Any] | None = None, who: str = ""
) -> str:
    """Write everything into one zip in the background; return the job id.

    The zips of this case's plans from before go: each holds a whole CT, and says what is no longer so.
    """

    def work(job: JobContext) -> dict[str, Any]:
        target = archive_path(app, case_id, item)
        app.sweep_exports()
        exports.remove(app.settings.data_dir, case_id)
        job.progress(0.1, "writing PDF, FHIR, RTSTRUCT, RTDOSE, SEG and the CT")
        files = export.write_zip(
            target, lambda folder: write_all(app, case_id, item, folder, palette=palette), job.progress
        )
        export.drop_if_deleted(app.store, case_id)
        app.store.log(who, "plan exported", case_id, {"files": sorted(files), "dose": item.id if item else None})
        return {"file": target.name}

    return app.jobs.submit("export", work, case_id=case_id, who=who, needs_models=False)
