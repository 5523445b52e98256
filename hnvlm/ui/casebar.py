"""The row that says which case a page shows, and the empty state when none is open."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from hnvlm.services import CaseRecord
from hnvlm.services.context import App
from hnvlm.ui import badges, html, state

_SELECT = "case_select"
# Letters of what an address calls a case that are repeated.
_LONGEST_ID = 40
_BUSY = "Another task of this case is running."


def require(app: App, purpose: str, beside: Callable[[CaseRecord], None] | None = None) -> CaseRecord:
    """Show the case row and return the open case; without one say how to get one and end the run.

    Args:
        purpose: What this page would show, for the empty state.
        beside: What else the row shows of the open case.
    """
    case = state.current_case(app)
    cases = app.store.list_cases()
    if cases:
        _row(case, {c.id: f"{c.id} · {c.description}" for c in cases}, beside)
    if case is None:
        state.form_shown(None)
        _nothing_open(app, purpose, others=bool(cases))
        st.stop()
    return case


def geometry(case: CaseRecord) -> str:
    """Return size and spacing in words: columns × rows × slices, then millimetres in the same order."""
    (z, y, x), (dz, dy, dx) = case.shape, case.spacing_mm
    return f"{x} × {y} × {z} voxels of {dx:.2f} × {dy:.2f} × {dz:.2f} mm"


def described(case: CaseRecord) -> bool:
    """Whether somebody gave the case a description; the default one only repeats the size."""
    z, y, x = case.shape
    return bool(case.description) and not case.description.startswith(f"CT {x}×{y}×{z}, ")


def when(created: str) -> str:
    """Return a stored time as date and minute, UTC."""
    return created[:16].replace("T", " ")


def why_disabled(reason: str = "", *, busy: bool = False, declined: str = "") -> str | None:
    """Return why a button of this case does nothing now, as the help that stands at it; None where it works.

    Args:
        reason: Why its models are not installed.
        busy: Another task of this case is waiting or running.
        declined: Why the models decline this CT.
    """
    return reason or declined or (_BUSY if busy else None)


def name_box(key: str) -> None:
    """Ask who is working here: the name is kept with what is saved, confirmed and signed."""
    if state.by_login():
        html.note(state.who() or state.NO_LOGIN)
        return
    # The key holds the name: under one key the box would go on showing what was typed into it, whoever works here now.
    st.text_input(
        "Your name, kept with what you save", state.who(), key=f"{key}-{state.who()}", width=160,
        max_chars=state.LONGEST_NAME, placeholder="Your name", label_visibility="collapsed", on_change=_named,
        args=(key, state.who()),
    )  # fmt: skip


def _named(key: str, before: str) -> None:
    state.set_who(st.session_state[f"{key}-{before}"])


def scope_notice(case: CaseRecord) -> bool:
    """Say why the models will not draft on an out-of-scope CT; return whether they may draft."""
    if case.in_scope is not False:
        return True
    st.warning(
        f"No drafts on this CT: {case.scope_reason.rstrip('.')}. The models were made for head-and-neck CT only. "
        "The viewer works as usual."
    )
    return False


def _row(case: CaseRecord | None, names: dict[str, str], beside: Callable[[CaseRecord], None] | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="casebar"):
        st.session_state[_SELECT] = case.id if case else None
        st.selectbox(
            "Case", list(names), format_func=names.get, key=_SELECT, on_change=_switch, width=430,
            label_visibility="collapsed", placeholder="Choose a case",
        )  # fmt: skip
        if case is not None:
            _facts(case)
            if beside is not None:
                beside(case)


def _nothing_open(app: App, purpose: str, *, others: bool) -> None:
    """Say why no case is open, and how to get one; a case may be deleted by somebody else while it is open here."""
    deleted = state.deleted_case(app)
    if deleted is not None:
        st.subheader(f"{deleted.id} was deleted")
        st.text(
            f"It was taken off the worklist on {when(deleted.deleted)} UTC. Everything of it is kept, also what was "
            "typed and not saved. To go on with it, restore it on the page Cases, under Deleted cases."
        )
        st.page_link("pages/cases.py", label="Go to Cases", icon=":material/restore_from_trash:")
        return
    wanted = state.wanted_case()
    if wanted:
        # An address is typed by anybody: what it names is no markup, and may have any length.
        st.subheader(
            f"There is no case {html.as_written(wanted[:_LONGEST_ID])}{'…' if len(wanted) > _LONGEST_ID else ''}"
        )
        st.text("Its name may be mistyped, or everything of the case was erased.")
    if others:
        if not wanted:
            st.subheader("No case is open")
        st.text(f"{purpose} Choose a case above, or upload one on the page Cases.")
    else:
        if not wanted:
            st.subheader("No cases yet")
        st.text(f"{purpose} Upload a head-and-neck CT, or make the synthetic demo case.")
        st.page_link("pages/cases.py", label="Go to Cases", icon=":material/upload:")


def _switch() -> None:
    state.open_case(st.session_state[_SELECT])


def _facts(case: CaseRecord) -> None:
    badges.case(case)
    if described(case):  # the default description holds the size already
        st.caption(geometry(case))
    warnings = case.meta.get("warnings", [])
    if warnings:
        noun = "warning" if len(warnings) == 1 else "warnings"
        with st.popover(f"{len(warnings)} {noun} about the images", type="tertiary", icon=":material/warning:"):
            for warning in warnings:
                st.text(warning)
