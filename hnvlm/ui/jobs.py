"""Progress and Stop of background work. Only this panel refreshes: the viewer beside it is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from hnvlm.errors import NotFoundError
from hnvlm.services.context import App
from hnvlm.services.jobs import JobStatus
from hnvlm.ui import html, state
from hnvlm.ui.errors import guard, handled

POLL_S = 0.7
_MINE, _DISMISSED = "_started_jobs", "_dismissed_jobs"
NAMES = {
    "analysis": "Structures and findings",
    "report": "Report draft",
    "plan": "Plan draft",
    "dose": "Dose prediction",
    "counterfactual": "Counterfactual",
    "zeroshot": "Zero-shot labels",
    "similar": "Similar cases",
    "intake": "Reading the series",
    "demo": "Demo case",
    "export": "Export",
}


def started(job_id: str) -> None:
    """Remember that this session started a job, so that its Stop is acknowledged here."""
    st.session_state.setdefault(_MINE, []).append(job_id)


def refused(app: App, case_id: str, button: str) -> bool:
    """Whether other work on the case goes on; then say that nothing was started.

    The button is disabled meanwhile; a double click, or a tab that was drawn before, comes here all the same.
    """
    if not app.jobs.active(case_id):
        return False
    st.toast(f"Not started: other work on this case is going on. Press {button} again when it has ended.")
    return True


def panel(
    app: App, case_id: str | None, kinds: Sequence[str], *, busy: bool = False, others: bool = False,
    elsewhere: Sequence[str] = (),
) -> list[JobStatus]:  # fmt: skip
    """Show the work of a case that waits or runs, and how the last one ended if it ended badly.

    When it ends, the whole page runs once more and reads the result from the store.

    Args:
        kinds: Of the work that belongs to this place of the page.
        busy: The page has drawn its buttons as waiting for work. Where that ended before this looks, nothing here
            would poll and the buttons would wait for ever: the page runs once more.
        others: Show other work of the case too while it goes on: buttons that wait for it say why, and come back.
        elsewhere: Of the others, those that the page shows at another place.

    Returns:
        The work in progress.
    """
    if busy and not app.jobs.active(case_id):
        st.rerun()
    active = [job for kind in kinds for job in app.jobs.active(case_id, kind)]
    if others:
        active += [job for job in app.jobs.active(case_id) if job.kind not in (*kinds, *elsewhere)]
    if active:
        live = st.fragment(_live, run_every=POLL_S)
        live(app, [job.id for job in active])
    busy = {job.kind for job in active}
    for kind in kinds:
        if kind not in busy and case_id is not None:
            _ending(app, case_id, kind)
    return active


def _live(app: App, job_ids: list[str]) -> None:
    with guard():
        statuses = [app.jobs.status(job_id) for job_id in job_ids]
        if not all(status.active for status in statuses):
            st.rerun(scope="app")
        for status in statuses:
            _progress(app, status)


def _progress(app: App, status: JobStatus) -> None:
    left = f", about {max(1, round(status.eta_seconds))} s left" if status.eta_seconds is not None else ""
    words = f"{NAMES.get(status.kind, status.kind)}: {status.message}{left}"
    with _beside():
        st.progress(status.fraction, text=words)
        st.button("Stop", key=f"stop-{status.id}", on_click=handled(_stop), args=(app, status.id))
    if status.text:
        html.text_block(status.text, label="Draft being written")


def _beside():
    """A message and its button in one row; the button is as wide as its word, however narrow the column is."""
    return st.container(horizontal=True, vertical_alignment="center", gap="small")


def _stop(app: App, job_id: str) -> None:
    # It may have finished between the click and now; then there is nothing to stop.
    try:
        app.jobs.stop(job_id, who=state.who())
    except NotFoundError:
        return
    started(job_id)  # the end is told to who stopped it, too


def _ending(app: App, case_id: str, kind: str) -> None:
    """Say how the newest job of a kind ended, unless it ended well or was dismissed."""
    newest = next(iter(app.jobs.for_case(case_id, kind)), None)
    if newest is None or newest.id in st.session_state.get(_DISMISSED, ()):
        return
    if newest.state == "cancelled" and newest.id in st.session_state.get(_MINE, ()):
        by = newest.stopped_by
        told = f" by {html.as_written(by)}" if by and by != state.who() else ""
        st.caption(f"{NAMES.get(kind, kind)}: stopped{told}. Nothing that was stored before has changed.")
    if newest.state in ("failed", "interrupted") and newest.error_code != "out_of_scope":
        with _beside():
            st.error(html.as_written(newest.error))
            st.button("Dismiss", key=f"dismiss-{newest.id}", on_click=_dismiss, args=(newest.id,))


def _dismiss(job_id: str) -> None:
    st.session_state.setdefault(_DISMISSED, []).append(job_id)
