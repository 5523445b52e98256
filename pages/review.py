"""Review: the images beside the drafted report."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import (
    CaseRecord,
    ResultRecord,
    analysis,
    attention,
    availability,
    context,
    reporting,
    similar,
    zeroshot,
)
from hnvlm.ui import badges, casebar, findings, frame, html, jobs, picture, priors, state, typed
from hnvlm.ui.document import Document, expect
from hnvlm.ui.document import show as show_document
from hnvlm.ui.errors import guard, handled
from hnvlm.ui.viewer import Together
from hnvlm.ui.viewer import show as show_viewer

VIEWER, OTHER = "review", "review-other"
LANGUAGES = {"en": "English", "pl": "Polski"}
# Kind of work -> tab that shows its progress and Stop; all other work of the case is shown on the first.
TABS = {"zeroshot": "Zero-shot labels", "similar": "Similar cases"}
REPORT = "Report"
NOT_ITS_KIND = "Not a head-and-neck CT: the models will not"
MEASURE_AGAIN = (
    "Since these were measured, gross tumour was uploaded or replaced, or the models learned to look for more."
)
EARLIER_MODELS = (
    "The models were replaced since this case was contoured and measured. Measure again makes both anew; texts stay."
)
LABELS = "necrotic node in left level II\nnecrotic node in right level II\nmass in the oropharynx\nno mass"


def main() -> None:
    app = context.app()
    case = casebar.require(app, "This page shows the images beside the drafted report.", priors.menu(app))
    other = priors.beside(app, case)
    left, right = st.columns([3, 2] if other is None else [2, 1], gap="small")
    found = analysis.load_findings(app, case.id) or []
    first = attention.load(app, case.id)
    if reporting.names_lesion(reporting.latest(app, case.id, st.session_state.get("_language", "en"))):
        first = None  # somebody found something
    with left, guard():
        images(app, case, [*picture.boxes(found), *findings.look_first_box(first)], other)
    with right, frame.column("panel"), guard():
        report, labels, neighbours = st.tabs([REPORT, *TABS.values()])
        with report, guard():
            report_tab(app, case, found, first)
        with labels, guard():
            labels_tab(app, case)
        with neighbours, guard():
            similar_tab(app, case)


def images(app, case: CaseRecord, boxes, other: priors.Other | None) -> None:
    """Show the CT of the case, and beside it another one that is looked at with it."""
    shown = {
        "masks": picture.structures(app, case), "dose": picture.dose(app, case), "boxes": boxes, "case": case.id,
        "window": picture.window(case),
        # A dose hides the soft tissue that a report is about; key d shows it.
        "dose_first": False,
    }  # fmt: skip
    own = [picture.original(app, case)]
    if other is None:
        show_viewer(VIEWER, own, height=frame.PAGE_HEIGHT, **shown)
        return
    pair, scroll = f"{case.id}|{other.case.id}", priors.heading(case, other)
    height = f"calc({frame.PAGE_HEIGHT} - 44px)"
    here, there = st.columns(2, gap="xsmall")
    with here:
        show_viewer(VIEWER, own, height=height, together=Together(pair, scroll, lead=True), **shown)
    with there, guard():
        # Nothing that was drafted, drawn or planned of it: what is said of one CT stands with that one.
        show_viewer(
            OTHER, [picture.original(app, other.case, ", ".join(filter(None, ("CT", priors.when(other)))))],
            window=shown["window"], height=height, case=other.case.id, together=Together(pair, scroll),
        )  # fmt: skip


def report_tab(app, case: CaseRecord, found, first) -> None:
    language = st.session_state.setdefault("language", st.session_state.get("_language", "en"))
    st.session_state["_language"] = language  # outlives the widget when another page is shown
    in_scope = casebar.scope_notice(case)
    reason = availability.why_not(app, "report")
    busy = bool(app.jobs.active(case.id))
    latest = reporting.latest(app, case.id, language)
    earlier = analysis.of_earlier_models(app, case.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Draft report", type="secondary" if latest else "primary", key="draft-report",
            disabled=bool(reason) or busy or not in_scope, on_click=handled(draft), args=(app, case.id),
            help=casebar.why_disabled(reason, busy=busy, declined="" if in_scope else f"{NOT_ITS_KIND} draft on it.")
            or "Writes a new version; earlier ones stay.",
        )  # fmt: skip
        if app.store.latest_result(case.id, "segmentation") is None:
            lacking = availability.why_not(app, "structures")
            st.button("Contour structures", key="contour", disabled=bool(lacking) or busy,
                      help=casebar.why_disabled(lacking, busy=busy), on_click=handled(contour),
                      args=(app, case.id))  # fmt: skip
        elif earlier or (found and analysis.load_current_findings(app, case.id) is None):
            lacking = availability.why_not(app, "structures")
            st.button("Measure again", key="measure", disabled=bool(lacking) or busy, on_click=handled(contour),
                      args=(app, case.id, earlier), help=casebar.why_disabled(lacking, busy=busy)
                      or (EARLIER_MODELS if earlier else MEASURE_AGAIN))  # fmt: skip
        with st.popover("Options", type="tertiary"):
            st.radio("Language of the report", list(LANGUAGES), format_func=LANGUAGES.get, key="language",
                     horizontal=True)  # fmt: skip
            st.number_input("Seed (same seed, same draft)", 0, 9999, 0, key="report-seed")
    if earlier:
        st.caption(EARLIER_MODELS)
    if reason:
        st.caption(reason)
    # Work of other pages too: without it nothing would run the page again when the buttons can be pressed.
    jobs.panel(app, case.id, ["report", "analysis"], busy=busy, others=True, elsewhere=list(TABS))
    if in_scope and not reason:
        waiting(app, case.id, REPORT)
    findings.suspicions(app, case.id, attention.suspicions(app, case.id), VIEWER)
    if found:
        findings.buttons(found, VIEWER)
    if first:
        findings.look_first(first, attention.meaning(app), VIEWER)
    versions = reporting.versions(app, case.id, language)
    if not versions:
        if in_scope and not busy and not reason:
            st.caption("No report yet. Draft report contours the structures, measures, and writes a draft to correct.")
        return
    text = Document(
        "report", versions, read=lambda result: read(app, result),
        save=lambda text, based_on, who: reporting.save_edit(
            app, case.id, text, language=language, who=who, based_on=based_on
        ),
    )  # fmt: skip
    show_document(app, text)


def waiting(app, case_id: str, here: str) -> None:
    """Say which work holds the buttons of a tab back where another tab shows it."""
    tabs = {jobs.NAMES.get(job.kind, job.kind): TABS.get(job.kind, REPORT) for job in app.jobs.active(case_id)}
    others = [f"{name} (tab {tab})" for name, tab in tabs.items() if tab != here]
    if others:
        st.caption(f"Waiting for other work on this case: {', '.join(others)}.")


def read(app, result: ResultRecord) -> None:
    """Show a version of the report, and before it what its text does not agree with."""
    findings.decided_since(attention.suspicions(app, result.case_id), result.created)
    disagreements(reporting.checks_of(app, result))
    html.text_block(result.payload["text"], label="Report")


def disagreements(checks: list[dict]) -> None:
    wrong = [c for c in checks if c["status"] in ("fail", "warn")]
    for check in sorted(wrong, key=lambda c: c["status"] != "fail"):
        badges.check(check["status"], check["message"])
    for check in checks if not wrong else ():
        badges.check(check["status"], check["message"])


def draft(app, case_id: str) -> None:
    if jobs.refused(app, case_id, "Draft report"):
        return
    language, seed = st.session_state.get("language", "en"), st.session_state.get("report-seed", 0)
    expect("report", case_id, language, reporting.latest(app, case_id, language))
    jobs.started(reporting.start_draft(app, case_id, language=language, seed=int(seed), who=state.who()))


def contour(app, case_id: str, again: bool = False) -> None:
    if jobs.refused(app, case_id, "Contour structures"):
        return
    jobs.started(analysis.start_analysis(app, case_id, who=state.who(), again=again))


def labels_tab(app, case: CaseRecord) -> None:
    reason = availability.why_not(app, "zeroshot")
    busy = bool(app.jobs.active(case.id))
    st.caption("How well does the CT fit these words? The numbers are a model's probabilities, one label a line.")
    latest = zeroshot.latest(app, case.id)
    key = f"labels-{case.id}"
    declined = f"{NOT_ITS_KIND} score it." if case.in_scope is False else ""
    scored = "\n".join(latest.payload["labels"]) if latest else LABELS
    text = typed.area("Labels, one a line", key, scored, height=140, label_visibility="collapsed")
    st.button("Score", key="score", disabled=bool(reason) or busy or case.in_scope is False,
              help=casebar.why_disabled(reason, busy=busy, declined=declined),
              on_click=handled(score), args=(app, case.id))  # fmt: skip
    if reason or declined:
        st.caption(reason or declined)
    jobs.panel(app, case.id, ["zeroshot"], busy=busy)
    if not reason and case.in_scope is not False:
        waiting(app, case.id, TABS["zeroshot"])
    if latest is not None:
        html.bars(sorted(latest.payload["scores"].items(), key=lambda pair: -pair[1]))
        if zeroshot.parse_labels(text.replace("\n", ";") or ";") != latest.payload["labels"]:
            st.caption("The labels were changed since; press Score.")


def score(app, case_id: str) -> None:
    if jobs.refused(app, case_id, "Score"):
        return
    labels = zeroshot.parse_labels(st.session_state[f"labels-{case_id}"].replace("\n", ";"))
    jobs.started(zeroshot.start(app, case_id, labels, who=state.who()))


def similar_tab(app, case: CaseRecord) -> None:
    reason = availability.why_not(app, "similar")
    busy = bool(app.jobs.active(case.id))
    declined = f"{NOT_ITS_KIND} compare it." if case.in_scope is False else ""
    st.caption("Cases of this worklist whose CT looks most alike to the model. 1 is the same image, 0 is unrelated.")
    st.button(
        "Find similar cases", key="similar", disabled=bool(reason) or busy or case.in_scope is False,
        help=casebar.why_disabled(reason, busy=busy, declined=declined),
        on_click=handled(find), args=(app, case.id),
    )  # fmt: skip
    if reason or declined:
        st.caption(reason or declined)
    jobs.panel(app, case.id, ["similar"], busy=busy)
    if not reason and case.in_scope is not False:
        waiting(app, case.id, TABS["similar"])
    if left_out := similar.left_out(app, case.id):
        st.caption(f":orange[{left_out}]")
    neighbours = similar.stored(app, case.id)
    if neighbours is not None and not neighbours and not left_out:
        st.caption("There is no other head-and-neck case in the worklist.")
    for other in neighbours or ():
        with st.container(border=True):
            st.text(f"{other.id}, similarity {other.score:.2f}")
            st.text(other.impression or "No report yet.")
            st.button(f"Open {other.id}", key=f"similar-{other.id}", on_click=state.open_case, args=(other.id,))


def find(app, case_id: str) -> None:
    if jobs.refused(app, case_id, "Find similar cases"):
        return
    jobs.started(similar.start(app, case_id, who=state.who()))


main()
