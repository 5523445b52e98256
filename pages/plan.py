"""Treatment plan: the clinical form beside the drafted plan."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import CaseRecord, availability, context, documents, planning
from hnvlm.ui import badges, casebar, clinical_form, dose_view, frame, html, jobs, plan_exports, plan_view, state
from hnvlm.ui.document import Document, expect
from hnvlm.ui.document import show as show_document
from hnvlm.ui.errors import guard, handled

FORM, DOSE = "Form and plan", "Dose"


def main() -> None:
    app = context.app()
    case = casebar.require(app, "This page drafts a treatment plan from the findings and a clinical form.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        view = st.segmented_control(
            "View", [FORM, DOSE], default=st.session_state.get("_plan_view", FORM), required=True, key="plan-view",
            label_visibility="collapsed",
        )  # fmt: skip
        st.session_state["_plan_view"] = view
        menu = st.container()
    jobs.panel(app, case.id, ["export"])
    if view == DOSE:
        state.form_shown(None)
        dose_view.show(app, case)
    else:
        form_and_plan(app, case)
    # Filled last: an export goes with the dose that is shown.
    with menu, guard():
        plan_exports.popover(app, case, planning.latest(app, case.id))


def form_and_plan(app, case: CaseRecord) -> None:
    left, right = st.columns([2, 3], gap="small")
    with left, frame.column("form"), guard():
        st.subheader("Clinical form")
        clinical_form.show(app, case.id)
    with right, frame.column("plan"), guard():
        plan_side(app, case)


def plan_side(app, case: CaseRecord) -> None:
    in_scope = casebar.scope_notice(case)
    reason = availability.why_not(app, "plan")
    busy = bool(app.jobs.active(case.id))
    versions = planning.versions(app, case.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Draft plan", type="secondary" if versions else "primary", key="draft-plan",
            disabled=bool(reason) or busy or not in_scope,
            help=casebar.why_disabled(
                reason, busy=busy, declined="" if in_scope else "Not a head-and-neck CT: no plan is drafted.")
            or "Writes a new version; earlier ones stay.",
            on_click=handled(draft), args=(app, case.id),
        )  # fmt: skip
    if reason:
        st.caption(reason)
    # Work of other pages too: without it nothing would run the page again when the button can be pressed.
    jobs.panel(app, case.id, ["plan"], busy=busy, others=True, elsewhere=["export"])
    if not versions:
        if in_scope and not busy and not reason:
            st.caption("No plan yet. Fill in what is known on the left, then press Draft plan. What stays unknown "
                       "becomes an open question of the plan.")  # fmt: skip
        return
    changed = planning.outdated(app, versions[-1])
    if changed:
        written = "signed" if versions[-1].signed else "drafted"
        say = st.warning if versions[-1].signed else st.info
        follow = "Press Draft plan to follow the changes."
        if planning.REPORT_CHANGED in changed:
            follow += (
                " What a report corrects is told among the contradictions and not taken over: answer it in the form."
            )
        say(f"Changed after this plan was {written}: {html.as_written(', '.join(changed))}. {follow}")
    overview, text = st.tabs(["Overview", "Text, edit and sign"])
    with overview, guard():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            badges.document(versions[-1])
            st.caption(f"Version {versions[-1].version}, {casebar.when(versions[-1].created)} UTC")
        plan_view.show(versions[-1].payload, signed=versions[-1].signed)
    with text, guard():
        plan = Document(
            "plan", versions,
            save=lambda text, based_on, who: planning.save_edit(app, case.id, text, who=who, based_on=based_on),
            restore=lambda version, based_on, who: documents.restore(app, version, based_on, who=who),
        )  # fmt: skip
        show_document(app, plan)


def draft(app, case_id: str) -> None:
    if jobs.refused(app, case_id, "Draft plan"):
        return
    expect("plan", case_id, "", planning.latest(app, case_id))
    jobs.started(planning.start_draft(app, case_id, who=state.who()))


main()
