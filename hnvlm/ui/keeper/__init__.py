"""Keeps what is typed: it reaches the server in every pause of typing, and before another page takes its place.

Streamlit sends the text of a box when the box is left, and the way to another page without what stood on the page
before. Of two requests in short order the server may drop the first: what was typed last would be lost with it, above
all on a busy machine. And who types for ten minutes and whose browser then closes has sent nothing.
"""

from __future__ import annotations

from pathlib import Path

from hnvlm.ui.component import component

PACKAGE = Path(__file__).resolve().parent


def show() -> None:
    """Put the keeper, which nobody sees, into the page."""
    component(PACKAGE, "keeper")(key="keeper")
