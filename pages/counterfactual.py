"""Counterfactual: describe what the CT should show, and see it drawn into this patient's CT."""

from __future__ import annotations

from collections.abc import Container

import streamlit as st

from hnvlm.services import (
    CaseRecord,
    ResultRecord,
    availability,
    context,
    counterfactual,
    documents,
    edit_requests,
    reporting,
)
from hnvlm.services.plain import one_line
from hnvlm.ui import badges, casebar, edit_facts, frame, html, jobs, picture, state, typed
from hnvlm.ui.errors import guard, handled
from hnvlm.ui.viewer import Series, jump_to
from hnvlm.ui.viewer import show as show_viewer

VIEWER = "counterfactual"
# Remembered of a case: the job of the edit that was asked for, and the edit that is looked at.
ASKED, SHOWN = "edit-asked", "edit-shown"
NO_REPORT = "There is no report of this case yet."
EXAMPLES = (
    "Necrotic node in left level II, 22 mm",
    "Remove the node in right level III",
    "Mass of the right palatine tonsil, 30 mm",
    "No mass and no enlarged nodes",
)


def main() -> None:
    app = context.app()
    case = casebar.require(app, "This page draws what you describe into the open case's CT.")
    left, right = st.columns([1, 2.4], gap="small")
    with left, frame.column("request"), guard():
        chosen = request_side(app, case)
    with right, guard():
        pictures(app, case, chosen)


def request_side(app, case: CaseRecord) -> ResultRecord | None:
    in_scope = casebar.scope_notice(case)
    reason = availability.why_not(app, "counterfactual")
    busy = bool(app.jobs.active(case.id))
    key = f"wish-{case.id}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**What should the CT show?**", width="stretch")
        with st.popover("Start from", type="tertiary"):
            starts(app, case, key)
    # No limit of the box itself: it would drop a text that is too long without a word.
    text = typed.area("What the CT should show", key, "", height=96, placeholder=EXAMPLES[0],
                      label_visibility="collapsed")  # fmt: skip
    known = counterfactual.known_sentences(app, case.id)
    st.caption(
        edit_requests.understood(text, known) or "Type a sentence, then click outside the box or press Ctrl+Enter."
    )
    small = edit_requests.too_small_to_show(text, case.spacing_mm, known)
    for warning in filter(None, (edit_requests.both_ways(text, known), small)):
        st.caption(f":orange[{warning}]")
    run, seed = st.columns([1, 1], vertical_alignment="bottom")
    # Not disabled while the box is empty: the text only arrives when the box loses focus, which is this click.
    run.button("Run", type="primary", key="run-edit", disabled=bool(reason) or busy or not in_scope, width="stretch",
               on_click=handled(start), args=(app, case.id))  # fmt: skip
    seed.number_input("Seed", 0, 9999, st.session_state.get("_edit-seed", 0), key="edit-seed", on_change=keep_seed,
                      help="Another seed draws another variant.")  # fmt: skip
    if reason:
        st.caption(reason)
    jobs.panel(app, case.id, ["counterfactual", "export"], busy=busy, others=True)
    # Listed after the panel has looked: what is finished by then is in the list, for the rest it runs the page again.
    edits = counterfactual.list_for_case(app, case.id)
    if not edits:
        if in_scope and not busy and not reason:
            st.caption("No counterfactual of this case yet.")
        return None
    return earlier(app, case, edits)


def starts(app, case: CaseRecord, key: str) -> None:
    report = reporting.latest(app, case.id, st.session_state.get("_language", "en"))
    st.button("Edit the report", key="from-report", disabled=report is None, on_click=handled(typed.fill),
              args=(key, report.payload["text"] if report else ""), width="stretch",
              help="What you change or add is drawn; what stays as it is, is not drawn again." if report
              else NO_REPORT)  # fmt: skip
    if report is None:
        st.caption(NO_REPORT)
    for n, example in enumerate(EXAMPLES):
        st.button(example, key=f"example-{n}", on_click=handled(typed.fill), args=(key, example), width="stretch")


def keep_seed() -> None:
    st.session_state["_edit-seed"] = st.session_state["edit-seed"]  # outlives the widget when another page is shown


def start(app, case_id: str) -> None:
    if jobs.refused(app, case_id, "Run"):
        return
    text = st.session_state.get(f"wish-{case_id}", "")
    seed = int(st.session_state.get("edit-seed", 0))
    job_id = counterfactual.start(app, case_id, text, seed=seed, who=state.who())
    jobs.started(job_id)
    state.of_case(case_id)[ASKED] = job_id


def earlier(app, case: CaseRecord, edits: list[ResultRecord]) -> ResultRecord:
    # Numbered: the same words in the same minute, with another seed, could not be told apart, nor chosen. The time
    # comes last: the list is narrow, and what is cut off is at the end.
    names = {
        # In one line without marks that turn what follows around: the time.
        e.id: f"{n}. {one_line(edit_facts.asked_text(e.payload))[:60]}  {casebar.when(e.created)}"
        for n, e in enumerate(edits[::-1], 1)
    }
    key, memory = f"edit-choice-{case.id}", state.of_case(case.id)
    if mine := arrived(app, case.id, names):
        st.session_state[key] = memory[SHOWN] = mine
    # Who looks at one stays there when somebody else's comes, also after a look at another page.
    ids = [e.id for e in edits]
    number = st.selectbox(f"Counterfactuals of this case ({len(edits)})", ids, format_func=names.get, key=key,
                          index=ids.index(memory.get(SHOWN, ids[0])))  # fmt: skip
    memory[SHOWN] = number
    chosen = next(e for e in edits if e.id == number)
    unchanged = edit_facts.unchanged(chosen.payload)
    if unchanged:
        st.markdown(f":orange[{edit_facts.UNCHANGED}]")
    else:
        badges.synthetic()
    edit_facts.show(chosen.payload)
    wording(app, case, chosen)
    if not unchanged:
        export(app, chosen)
    return chosen


def arrived(app, case_id: str, edits: Container[int]) -> int | None:
    """Return the id of the edit that this session asked for, once, in the first run that lists it; else None."""
    memory = state.of_case(case_id)
    status = app.jobs.status(memory[ASKED]) if ASKED in memory else None
    if status is None or status.active:
        return None
    made = status.result.get("result_id")
    if made is not None and made not in edits:  # it came after the list was read: in the next run
        return None
    del memory[ASKED]
    return made


def wording(app, case: CaseRecord, chosen: ResultRecord) -> None:
    report = reporting.latest(app, case.id, st.session_state.get("_language", "en"))
    if report is not None:
        with st.expander("Words against the report", key="wording"):
            st.caption("Added words are underlined, words of the report that are left out are struck through.")
            html.diff_block(documents.word_diff(report.payload["text"], chosen.payload["text"]))


def export(app, chosen: ResultRecord) -> None:
    packed = counterfactual.archive_path(app, chosen.id)
    if packed.is_file():
        st.download_button(
            "Download NIfTI, DICOM and PNG (SYNTHETIC)", packed.read_bytes, packed.name, "application/zip",
            key=f"download-{chosen.id}", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
    else:
        st.button("Prepare export (NIfTI, DICOM, PNG)", key=f"export-{chosen.id}", on_click=handled(prepare),
                  args=(app, chosen.id), disabled=bool(app.jobs.active(chosen.case_id, "export")))  # fmt: skip


def prepare(app, result_id: int) -> None:
    jobs.started(counterfactual.start_export(app, result_id, who=state.who()))


def pictures(app, case: CaseRecord, chosen: ResultRecord | None) -> None:
    series = [picture.original(app, case, "Original")]
    # What changed nothing is the patient's CT: a second pane would call it synthetic.
    if chosen is None or edit_facts.unchanged(chosen.payload):
        show_viewer(f"{VIEWER}-none", series, window=picture.window(case), height=frame.PAGE_HEIGHT, case=case.id)
        return
    with_difference = st.toggle("Show the difference in HU (orange denser, blue less dense)",
                                st.session_state.get("_difference", False), key="difference")  # fmt: skip
    st.session_state["_difference"] = with_difference  # outlives the widget when another page is shown
    series.append(picture.synthetic(app, case, chosen))
    if with_difference:
        series.append(Series(None, "Difference", "difference", of=(0, 1)))
    aim(chosen)
    show_viewer(
        VIEWER,
        series,
        layout="side_by_side",
        window=picture.window(case),
        height=f"calc({frame.PAGE_HEIGHT} - 44px)",
        case=case.id,
    )


def aim(chosen: ResultRecord) -> None:
    """Send the viewer to the edit when another one is shown."""
    box = chosen.payload["box"]
    if box is not None and st.session_state.get("_aimed") != chosen.id:
        z0, y0, x0, z1, y1, x1 = box
        middle = [(z0 + z1) // 2, (y0 + y1) // 2, (x0 + x1) // 2]
        jump_to(VIEWER, chosen.payload.get("most_changed", middle))  # older ones were stored without it
        st.session_state["_aimed"] = chosen.id


main()
