"""What a browser session remembers: which case is open, who works. Everything else is in the store."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from hnvlm.config import settings
from hnvlm.services import CaseRecord, worklist
from hnvlm.services.context import App
from hnvlm.services.plain import one_line
from hnvlm.ui.access import COOKIE

# Letters of a clinician's name.
LONGEST_NAME = 80
NO_LOGIN = "The log-in before this server gave no name. Whoever runs it sets HNVLM_USER_HEADER to the header that does."
_CASE, _QUERY, _WHO, _BROWSER = "case_id", "case", "clinician_name", "_browser"
_FORM, _OF_CASES = "_form_of", "_of_cases"


def open_case(case_id: str | None) -> None:
    """Make a case the one all pages show; None closes it."""
    st.session_state[_CASE] = case_id
    if case_id is None:
        st.query_params.pop(_QUERY, None)


def adopt_address() -> None:
    """Take over the case named in the address a page is opened with (reload, bookmark, Back and Forward)."""
    named = st.query_params.get(_QUERY)
    if named and (st.session_state.get(_CASE) is None or _stepped()):
        st.session_state[_CASE] = named


def _stepped() -> bool:
    """Whether Back or Forward of the browser led here.

    Any other address may be older than the session: who clicks twice in short order sends the second click with the
    address of before the first one, and would be taken back by it.
    """
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def current_case(app: App) -> CaseRecord | None:
    """Return the open case, or None. The address holds its id, so that a reload finds it again."""
    adopt_address()
    wanted = st.session_state.get(_CASE)
    case = worklist.find(app, wanted) if wanted else None
    if case is not None:
        st.session_state[_CASE] = case.id  # as it is written everywhere, however the address writes it
    if case is not None and st.query_params.get(_QUERY) != case.id:
        st.query_params[_QUERY] = case.id
    return case


def deleted_case(app: App) -> CaseRecord | None:
    """Return the case this session would have open, where it was deleted; it is open again once it is restored."""
    wanted = st.session_state.get(_CASE)
    return next((case for case in worklist.deleted(app) if wanted and worklist.is_id(case, wanted)), None)


def wanted_case() -> str:
    """Return what was asked for as the open case, whether there is such a case or not; "" for none."""
    return str(st.session_state.get(_CASE) or "").strip()


def of_case(case_id: str) -> dict[str, Any]:
    """Return what this session remembers of a case, to be read and written.

    One entry of the session for all cases: Streamlit goes through all entries for each widget, so with entries of every
    case that was opened the clinical form became slower with each of them.
    """
    return st.session_state.setdefault(_OF_CASES, {}).setdefault(case_id, {})


def form_shown(case_id: str | None) -> None:
    """Note whose clinical form was sent to the browser; None where another page or view takes its place."""
    if case_id is None or st.session_state.get(_FORM) is None or st.session_state[_FORM][0] != case_id:
        st.session_state[_FORM] = (case_id, False) if case_id is not None else None


def form_answered(case_id: str) -> None:
    """Note that the form on the screen was answered: the browser has drawn it.

    An answer may come after another page began to take its place; then it is not on the screen any more.
    """
    if st.session_state.get(_FORM) == (case_id, False):
        st.session_state[_FORM] = (case_id, True)


def form_in_use() -> str | None:
    """Return whose form is surely drawn in the browser: shown, and answered since."""
    case_id, answered = st.session_state.get(_FORM) or (None, False)
    return case_id if answered else None


def who() -> str:
    """Return the name of the log-in where a proxy tells it, else what the clinician gave in this session, "" before."""
    return logged_in() if by_login() else str(st.session_state.get(_WHO, "")).strip()


def by_login() -> bool:
    """Whether names come from the log-in before this server and cannot be typed."""
    return bool(settings().user_header)


def logged_in() -> str:
    """Return the name that the proxy's header gives, "" where it gives none."""
    given = st.context.headers.get(settings().user_header, "")
    with contextlib.suppress(UnicodeError):
        # Headers are read as Latin-1; proxies send names as UTF-8.
        given = given.encode("latin-1").decode("utf-8")
    return one_line(given)[:LONGEST_NAME]


def browser() -> str:
    """Return what tells this browser from others, the same after a reload; nobody can turn it back into its cookie."""
    cookie = st.context.cookies.get(COOKIE)
    if not isinstance(cookie, str) or not cookie:
        return str(st.session_state.setdefault(_BROWSER, secrets.token_hex(6)))
    return hashlib.sha256(cookie.encode()).hexdigest()[:12]


def set_who(name: str) -> None:
    """Remember the clinician's name for this session."""
    st.session_state[_WHO] = one_line(name)
