"""The Review page keeps what was typed and not yet used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

PATIENCE_S = 240
TYPED = "necrotic node in left level III\nno mass"

pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def test_labels_typed_and_not_yet_scored_outlive_a_look_at_another_page(services) -> None:
    case_id, other = (add_case(app, seed=n) for app in [services(fakes())] for n in (0, 1))
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    at.text_area(key=f"labels-{case_id}").set_value(TYPED).run()
    at.switch_page("pages/plan.py").run()
    at.switch_page("pages/review.py").run()
    assert at.text_area(key=f"labels-{case_id}").value == TYPED
    at.session_state["case_id"] = other
    at.run()
    assert at.text_area(key=f"labels-{other}").value != TYPED, "each case has its own"
