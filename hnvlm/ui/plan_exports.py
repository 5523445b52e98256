"""Downloads of a plan: each file is made when it is asked for, and says what it is."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import CaseRecord, ResultRecord, dose, dumps, histograms, plan_export
from hnvlm.services.context import App
from hnvlm.ui import dose_view, jobs, state
from hnvlm.ui.errors import guard, handled
from hnvlm.ui.viewer.series import palette


def popover(app: App, case: CaseRecord, plan: ResultRecord | None) -> None:
    """Show the export menu; what cannot be exported says why."""
    with st.popover("Export", icon=":material/download:", key="plan-export"), guard():
        item = dose_view.selected(app, case.id)
        st.caption("Everything is marked AI draft, research use only.")
        if plan is None:
            st.caption("There is no plan yet, so there is no document of it: press Draft plan first.")
        if item is None:
            st.caption("There is no dose yet, so there is no histogram and no RTDOSE.")
        _texts(app, case, plan, item)
        _dicom(app, case, item)


def _texts(app: App, case: CaseRecord, plan: ResultRecord | None, item: ResultRecord | None) -> None:
    none = "There is no plan yet: press Draft plan first." if plan is None else None
    name = f"{plan.case_id}-plan-v{plan.version}-AI-DRAFT" if plan else "plan"
    made = (
        ("Case sheet (PDF)", "pdf", "application/pdf", lambda: plan_export.pdf(app, plan, item, palette())),
        (
            "CarePlan (FHIR R4 JSON)",
            "fhir.json",
            "application/fhir+json",
            lambda: plan_export.care_plan(app, plan, item),
        ),
        ("Text", "txt", "text/plain", lambda: plan_export.text(app, plan)),
        ("JSON", "json", "application/json", lambda: dumps(plan.payload)),
    )
    for label, suffix, kind, make in made:
        st.download_button(label, make if plan else "", f"{name}.{suffix}", kind, key=f"plan-as-{suffix.split('.')[0]}",
                           on_click="ignore", disabled=plan is None, help=none, width="stretch")  # fmt: skip
    st.download_button(
        "Histogram (CSV)", (lambda: histograms.csv_text(app, item)) if item else "",
        f"{case.id}-{_of_dose(item)}-dvh-AI-DRAFT.csv", "text/csv",
        key="dvh-as-csv", on_click="ignore", disabled=item is None, width="stretch",
        help=None if item else "There is no dose yet.",
    )  # fmt: skip


def _of_dose(item: ResultRecord | None) -> str:
    """Say in a file's name whose histogram it is: one of another dose must not take its place."""
    if item is None:
        return "dose"
    return f"{item.slot or 'uploaded'}-dose-v{item.version}"


def _dicom(app: App, case: CaseRecord, item: ResultRecord | None) -> None:
    packed = plan_export.archive_path(app, case.id, item)
    if packed.is_file():
        st.download_button("All with DICOM (zip)", packed.read_bytes, packed.name, "application/zip", key="plan-as-zip",
                           on_click="ignore", width="stretch")  # fmt: skip
        return
    contoured = bool(dose.structure_names(app, case.id))
    busy = bool(app.jobs.active(case.id, "export"))
    why = "There are no structures to export yet." if not contoured else "It is being written." if busy else None
    st.button("Prepare all with DICOM (zip)", key="plan-export-zip", disabled=bool(why), help=why, width="stretch",
              on_click=handled(_prepare), args=(app, case.id, item))  # fmt: skip
    st.caption("RTSTRUCT, RTDOSE, SEG, the CT they refer to, PDF, FHIR and NIfTI"
               + (f", with: {dose.label(item)}" if item else "") + (f". {why}" if why else ""))  # fmt: skip


def _prepare(app: App, case_id: str, item: ResultRecord | None) -> None:
    jobs.started(plan_export.start(app, case_id, item, palette=palette(), who=state.who()))
