"""Cases: upload a CT, pick a series, and the worklist."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import context, demo, intake, priors, worklist
from hnvlm.ui import casebar, html, jobs, state, uploads
from hnvlm.ui.errors import handled

PAGE_ROWS = 12
# Wide enough for each word, date and size where the window has 900 pixels.
WIDTHS = (1.65, 2.0, 1.15, 1.4, 1.45, 1.1, 1.25)
GAP = "xsmall"
MADE = "It is being made."
SCOPE = {True: "yes", False: "no", None: "not checked"}


def main() -> None:
    app = context.app()
    app.sweep_uploads()
    left, right = st.columns([1, 2.8], gap="medium")
    with left, st.container(key="intake"):
        st.subheader("Upload")
        uploads.widget(app)
        if message := st.session_state.pop("_upload_error", ""):
            st.error(html.as_written(message))
        working(app)
        upload = uploads.current(app)
        if upload is not None:
            uploads.series_list(app, upload)
    with right, st.container(key="worklist"):
        worklist_table(app)


def working(app) -> None:
    """Show series that are being read, and the case that this session's one became."""
    jobs.panel(app, None, uploads.MAKES_CASE)
    status = uploads.reading(app)
    if status is None:
        return
    if status.state == "done":
        ready(app, status.result["case_id"])
    elif status.state == "cancelled":
        st.caption("Stopped. No case was made.")
        uploads.take_up_again()
    elif not status.active:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.error(html.as_written(status.error))
            st.button("Dismiss", key="dismiss-reading", on_click=uploads.end_seen)


def ready(app, case_id: str) -> None:
    """Offer the new case. The page is not changed by itself: that loses a race with the panel that still polls."""
    case = worklist.find(app, case_id)
    if case is None:
        return
    with st.container(border=True):
        st.markdown(f"**{case.id} is ready**")
        for warning in case.meta.get("warnings", []):
            st.text(f"Warning: {warning}")
        others = [other.id for other in intake.already_stored(app, case)]
        if others:
            st.text(f"The same CT is already stored as {', '.join(others)}.")
        if same := [other.case.id for other in priors.view(app, case).proposed]:
            st.text(f"Perhaps of the same patient: {', '.join(same)}. The page Review asks whether it is.")
        if st.button(f"Review {case.id}", key="review-new", type="primary"):
            uploads.end_seen()
            open_in_review(case.id)


def worklist_table(app) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Worklist", width="stretch")
        search = st.text_input(
            "Search", st.session_state.get("_search", ""), key="search", placeholder="Search", on_change=searched,
            label_visibility="collapsed", width=220,
        )  # fmt: skip
    st.session_state["_search"] = search  # outlives the widget when another page is shown; so does the page's number
    undo(app)
    tell_gone(app)
    total = worklist.count(app, search)
    if total == 0:
        empty(app, search)
        return
    pages = (total - 1) // PAGE_ROWS
    number = 0
    if pages:
        here = min(st.session_state.get("_page", 1), pages + 1)
        st.session_state["_page"] = st.number_input(
            f"Page (1 to {pages + 1})", 1, pages + 1, here, key="page", width=160
        )
        number = st.session_state["_page"] - 1
    heads = ("Case", "Images", "Head and neck", "Results", "Added (UTC)", "", "")
    with st.container(key="worklist-heads"):
        for column, head in zip(st.columns(WIDTHS, gap=GAP, vertical_alignment="center"), heads, strict=True):
            column.caption(head)
    same_patient = priors.groups(app)
    for row in worklist.rows(app, search=search, start=number * PAGE_ROWS, limit=PAGE_ROWS):
        show_row(app, row, same_patient.get(row.case.id, []))
    if not demo.existing_demo(app):
        demo_button(app, "secondary")
    restore_list(app)


def searched() -> None:
    """Begin at the first page of what is found."""
    st.session_state["_page"] = st.session_state["page"] = 1


def show_row(app, row: worklist.Row, others: list[str]) -> None:
    case = row.case
    # A container of each case's own: while a list is drawn anew, a row must not keep the words of another.
    with st.container(key=f"row-{case.id}"):
        cells = st.columns(WIDTHS, gap=GAP, vertical_alignment="center")
        cells[0].markdown(f"**{case.id}**")
        if casebar.described(case):  # else it is the size, which stands in the next column
            with cells[0]:
                html.note(case.description)
        if others:
            with cells[0]:
                html.note(f"{'Linked with' if case.synthetic else 'Same patient'}: {', '.join(others)}")
        z, y, x = case.shape
        dz, dy, dx = case.spacing_mm
        cells[1].text(f"{x}×{y}×{z}\n{dx:.2f}×{dy:.2f}×{dz:.2f} mm")
        cells[2].text(SCOPE[case.in_scope], help=case.scope_reason or None)
        cells[3].text("\n".join(row.results) or "none yet")
        cells[4].text(casebar.when(case.created).replace(" ", "\n"))
        if cells[5].button("Open", key=f"open-{case.id}", type="primary", help=f"Open {case.id}", width="stretch",
                           on_click=handled(look_for), args=(app, case.id)):  # fmt: skip
            open_in_review(case.id)
        cells[6].button("Delete", key=f"delete-{case.id}", help=f"Take {case.id} off the list; can be undone",
                        width="stretch", on_click=handled(delete), args=(app, case.id))  # fmt: skip


def look_for(app, case_id: str) -> None:
    """Note that a case to be opened is gone: its row, which would answer the click, is not drawn any more."""
    if worklist.find(app, case_id) is None:
        st.session_state["_gone"] = case_id


def tell_gone(app) -> None:
    """Say once that a case which was to be opened is gone."""
    case_id = st.session_state.pop("_gone", None)
    if case_id is None:
        return
    if any(case.id == case_id for case in worklist.deleted(app)):
        st.warning(f"{case_id} was deleted; it can be restored below, under Deleted cases.")
    else:
        st.warning(f"There is no case {case_id} any more: everything of it was erased.")


def open_in_review(case_id: str) -> None:
    state.open_case(case_id)
    st.switch_page("pages/review.py", query_params={"case": case_id})


def delete(app, case_id: str) -> None:
    app.store.delete_case(case_id, who=state.who())
    st.session_state["_deleted"] = case_id
    if st.session_state.get("case_id") == case_id:
        state.open_case(None)


def restore(app, case_id: str) -> None:
    app.store.restore_case(case_id, who=state.who())
    st.session_state.pop("_deleted", None)


def undo(app) -> None:
    case_id = st.session_state.get("_deleted")
    if case_id:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.text(f"{case_id} was deleted from the worklist.", width="stretch")
            st.button("Undo", key="undo", on_click=handled(restore), args=(app, case_id))


def restore_list(app) -> None:
    gone = worklist.deleted(app)
    if gone:
        with st.expander(f"Deleted cases ({len(gone)})", key="deleted-cases"):
            for case in gone:
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.text(f"{case.id}  {case.description}", width="stretch")
                    st.button("Restore", key=f"restore-{case.id}", on_click=handled(restore), args=(app, case.id))


def demo_button(app, kind: str) -> None:
    made = bool(app.jobs.active(kind="demo"))
    st.button("Make the demo case", key="demo", type=kind, on_click=handled(start_demo), args=(app,), disabled=made,
              help=MADE if made else None)  # fmt: skip
    if made:
        st.caption(MADE)


def start_demo(app) -> None:
    uploads.reads(demo.start_demo(app, who=state.who()))


def empty(app, search: str) -> None:
    if search:
        st.text(f"No case matches “{search}”.")
        restore_list(app)
        return
    st.text(
        "The worklist is empty. On the left, upload a contrast-enhanced CT of the neck: a folder or zip of DICOM "
        "files, or NIfTI. The app lists the series it finds, you pick one, and it becomes a case without the "
        "patient's name. Nothing leaves this machine."
    )
    st.text("To look around first, make the demo case: a synthetic neck with inserted lesions, not a patient.")
    demo_button(app, "primary")
    restore_list(app)


main()
