"""What a page says, as one text."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def texts(at: AppTest) -> str:
    """All words on a page, but for labels of widgets."""
    kinds = (at.text, at.caption, at.markdown, at.warning, at.error, at.info, at.subheader)
    parts = [element.value for kind in kinds for element in kind]
    return "\n".join([*parts, *(h.proto.body for h in at.get("html"))])
