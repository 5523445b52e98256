"""A page through the entry script, and what it says, as one text."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

REPO = Path(__file__).resolve().parents[2]
PATIENCE_S = 240


def open_page(case_id: str, page: str) -> AppTest:
    """A new session that opens a case and goes to a page."""
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page(f"pages/{page}.py")
    at.run()
    assert not at.exception, [e.message for e in at.exception]
    return at


def texts(at: AppTest) -> str:
    """All words on a page, but for labels of widgets."""
    kinds = (at.text, at.caption, at.markdown, at.warning, at.error, at.info, at.subheader)
    parts = [element.value for kind in kinds for element in kind]
    return "\n".join([*parts, *(h.proto.body for h in at.get("html"))])
