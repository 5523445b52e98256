"""Text boxes whose text outlives a look at another page, also when the page was left with the box still open."""

from __future__ import annotations

from typing import Any

import streamlit as st


def area(label: str, key: str, start: str, **options: Any) -> str:
    """Show a text box and return its text.

    Args:
        key: Of the box; each case has its own.
        start: Text while nothing was typed in this session.
        options: As for ``st.text_area``.
    """
    # What was typed is the box's own start: set through the session alone it can miss the browser, which then shows an
    # empty box. It is kept on each change, for who leaves with the box open comes to no further run of this page.
    return st.text_area(
        label, value=st.session_state.get(_kept(key), start), key=key, on_change=_keep, args=(key,), **options
    )


def fill(key: str, text: str) -> None:
    """Put a text into a box, in a callback."""
    st.session_state[key] = text
    _keep(key)


def _kept(key: str) -> str:
    return f"_{key}"


def _keep(key: str) -> None:
    st.session_state[_kept(key)] = st.session_state[key]
