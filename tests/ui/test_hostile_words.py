"""Names and words that come from outside stand on the pages as they were given, and turn nothing around them."""

from __future__ import annotations

import pytest
from ui.fake_app import add_case, fakes
from ui.page_text import open_page

from hnvlm.services import rating

pytestmark = pytest.mark.usefixtures("through_the_entry_script")


@pytest.fixture
def app(services):
    return services(fakes())


def test_a_rater_typed_with_marks_that_nobody_sees_is_the_one_without_them(app):
    case_id = add_case(app)
    report = app.store.save_result(case_id, "report", {"text": "x", "author": "model"}, slot="en", who="model")
    at = open_page(case_id, "rate")
    at.text_input(key="rate-who").set_value("Dr\N{RIGHT-TO-LEFT OVERRIDE} A\N{ZERO WIDTH SPACE}").run()
    key = f"rate-report-en-{report.id}-Dr A-comment"
    at.text_area(key=key).set_value("clear").run()
    assert not at.exception and rating.raters(app) == ["Dr A"]
