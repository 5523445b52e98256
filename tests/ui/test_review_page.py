"""The Review page keeps what was typed and not yet used."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.services import reporting  # noqa: E402

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


def test_a_button_that_does_nothing_now_says_why(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    go_on = threading.Event()
    app.jobs.submit("similar", lambda job: go_on.wait(PATIENCE_S) and {}, case_id=case_id)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    keys = {"pages/review.py": ("draft-report", "contour", "score", "similar"), "pages/plan.py": ("draft-plan",)}
    said = {}
    for page, buttons in keys.items():
        at.switch_page(page).run()
        said |= {key: (at.button(key=key).disabled, at.button(key=key).help) for key in buttons}
    go_on.set()
    assert said == {key: (True, "Another task of this case is running.") for page in keys.values() for key in page}


def test_the_report_says_which_version_it_is_and_its_impression_is_set_apart(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    first = reporting.draft_report(app, case_id)
    text = "FINDINGS:\nPrimary site: 3 < 4 cm.\nIMPRESSION: No mass."
    reporting.save_edit(app, case_id, text, who="Dr A", based_on=first.id)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    assert any(c.value.startswith("Version 2, ") for c in at.caption)
    page = texts(at)
    assert "<strong>IMPRESSION:</strong> No mass." in page
    assert "<p>Primary site: 3 &lt; 4 cm.</p>" in page and "<h4>FINDINGS</h4>" in page
