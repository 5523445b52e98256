"""Text boxes whose text outlives a look at another page and a reload, also when they were left with the box open."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hnvlm.services import context, typed_text
from hnvlm.ui import state
from hnvlm.ui.errors import handled

# What a box is for -> the kind of result that is made of its text.
_KINDS = {"wish": "counterfactual", "labels": "zeroshot"}


def area(label: str, key: str, start: str, **options: Any) -> str:
    """Show a text box and return its text.

    Args:
        key: What the box is for and the case, as in ``wish-HN-0007``.
        start: Text while nothing was typed in this browser.
        options: As for ``st.text_area``.
    """
    # What was typed is the box's own start: set through the session alone it can miss the browser, which then shows an
    # empty box. It is kept on each change, for who leaves with the box open comes to no further run of this page.
    typed = _typed(key, start)
    text = st.text_area(label, value=typed, key=key, on_change=handled(_keep), args=(key,), **options)
    if text and text != typed:  # a new session, as after a restart of the server: nothing calls back
        handled(_keep)(key)
    return text


def fill(key: str, text: str) -> None:
    """Put a text into a box, in a callback."""
    st.session_state[key] = text
    _keep(key)


def _typed(key: str, start: str) -> str:
    """Return what this session typed last, else what this browser did, from the store."""
    what, case_id = key.split("-", 1)
    memory = state.of_case(case_id)
    if _kept(what) not in memory:
        found = typed_text.kept(context.app(), case_id, _KINDS[what], writer=state.browser())
        if found is None:
            return start
        memory[_kept(what)] = found
    return memory[_kept(what)]


def _kept(what: str) -> str:
    return f"typed-{what}"


def _keep(key: str) -> None:
    # In the session first: what is typed is not lost to it when the store cannot be written.
    what, case_id = key.split("-", 1)
    text = state.of_case(case_id)[_kept(what)] = st.session_state[key]
    typed_text.keep(context.app(), case_id, _KINDS[what], text, who=state.who(), writer=state.browser())
