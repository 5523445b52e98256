"""Treatment plan: the clinical form beside the drafted plan."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import CaseRecord, ResultRecord, availability, context, documents, dumps, planning
from hnvlm.ui import casebar, clinical_form, jobs, plan_view, state
from hnvlm.ui.document import Document
from hnvlm.ui.document import show as show_document
from hnvlm.ui.errors import guard, handled

HEIGHT = 676


def main() -> None:
    app = context.app()
    case = casebar.require(app, "This page drafts a treatment plan from the findings and a clinical form.")
    left, right = st.columns([2, 3], gap="small")
    with left, st.container(height=HEIGHT, key="form"), guard():
        st.subheader("Clinical form")
        clinical_form.show(app, case.id)
    with right, st.container(height=HEIGHT, key="plan"), guard():
        plan_side(app, case)


def plan_side(app, case: CaseRecord) -> None:
    in_scope = casebar.scope_notice(app, case)
    reason = availability.why_not(app, "plan")
    busy = bool(app.jobs.active(case.id))
    versions = planning.versions(app, case.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Draft plan", type="secondary" if versions else "primary", key="draft-plan",
            disabled=bool(reason) or busy or not in_scope, help="Writes a new version; earlier ones stay.",
            on_click=handled(draft), args=(app, case.id),
        )  # fmt: skip
        if versions:
            exports(versions[-1])
    if reason:
        st.caption(reason)
    jobs.panel(app, case.id, ["plan"])
    if not versions:
        if in_scope and not busy and not reason:
            st.caption("No plan yet. Fill in what is known on the left, then press Draft plan. What stays unknown "
                       "becomes an open question of the plan.")  # fmt: skip
        return
    if versions[-1].payload["made_from"]["form"] != planning.load_form(app, case.id):
        st.info("The form was changed after this plan was drafted. Press Draft plan to follow the changes.")
    overview, text = st.tabs(["Overview", "Text, edit and sign"])
    with overview, guard():
        plan_view.show(versions[-1].payload)
    with text, guard():
        show_document(app, Document("plan", versions, save(app, case.id), sign(app)))


def exports(result: ResultRecord) -> None:
    name = f"{result.case_id}-plan-v{result.version}"
    st.download_button("Text", documents.as_text(result), f"{name}.txt", "text/plain", key="plan-as-text",
                       icon=":material/download:", on_click="ignore", help="Plan as a text file")  # fmt: skip
    st.download_button("JSON", dumps(result.payload), f"{name}.json", "application/json", key="plan-as-json",
                       icon=":material/download:", on_click="ignore", help="Plan as JSON")  # fmt: skip


def save(app, case_id: str):
    def store(text: str, based_on: int, who: str) -> ResultRecord:
        return planning.save_edit(app, case_id, text, who=who, based_on=based_on)

    return store


def sign(app):
    def store(result_id: int, clinician: str) -> ResultRecord:
        return planning.sign(app, result_id, clinician)

    return store


def draft(app, case_id: str) -> None:
    jobs.started(planning.start_draft(app, case_id, who=state.who()))


main()
