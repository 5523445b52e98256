"""Badges: what a thing is, in words and colour (never colour alone)."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import CaseRecord, ResultRecord, documents
from hnvlm.ui import html

CHECKS = {
    "fail": ("red", "Disagrees"),
    "warn": ("orange", "Look at this"),
    "note": ("gray", "Note"),
    "pass": ("green", "Agrees"),
    "not_evaluated": ("gray", "Not checked"),
}
_CHECK_PX = 96


def case(record: CaseRecord) -> None:
    """Show whether a case is synthetic and whether the models accept it."""
    if record.synthetic:
        st.badge("SYNTHETIC, not a patient", color="violet")
    if record.in_scope is False:
        st.badge("Not a head-and-neck CT: no drafts", color="orange", help=record.scope_reason)
    elif record.in_scope and not record.synthetic:  # with both, the row would break into two
        st.badge("Head-and-neck CT", color="gray", help=record.scope_reason)


def document(result: ResultRecord) -> None:
    """Show whether a text is an AI draft, edited, or signed and by whom."""
    # Not st.badge: it escapes brackets once more, which brings the markup of a name back.
    colour = "green" if result.signed else "orange"
    st.markdown(f":{colour}-badge[{html.as_named(documents.signature(result))}]", width="content")


def synthetic() -> None:
    """Mark what a model drew."""
    st.badge("SYNTHETIC: drawn by a model, not acquired", color="violet")


def check(status: str, message: str) -> None:
    """Show one check: its verdict as a word, then what to read."""
    colour, word = CHECKS[status]
    # The message may quote a clinician's text, whose characters must not become markup.
    # As wide as its words: a share of a narrow column would cut them.
    with st.container(horizontal=True, vertical_alignment="top", gap="small", wrap=False):
        st.badge(word, color=colour, width=_CHECK_PX)
        st.text(message, width="stretch")
