"""Keeps what is typed: it reaches the server in every pause of typing, and before another page takes its place.

Streamlit sends the text of a box when the box is left, and the way to another page without what stood on the page
before. Of two requests in short order the server may drop the first: what was typed last would be lost with it, above
all on a busy machine. And who types for ten minutes and whose browser then closes has sent nothing.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import streamlit as st

from hnvlm.ui.component import component

PACKAGE = Path(__file__).resolve().parent
_SESSION = "_keeper_session"


def show() -> None:
    """Put the keeper, which nobody sees, into the page.

    It is told which session it is of: after a restart of the server the page goes on in another one, which takes what
    stands in the boxes, but not the press of a button that brought it up.
    """
    session = st.session_state.setdefault(_SESSION, secrets.token_hex(4))
    component(PACKAGE, "keeper")(key="keeper", data={"session": session})
