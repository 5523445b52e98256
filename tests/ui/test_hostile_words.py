"""Names and words that come from outside stand on the pages as they were given, and turn nothing around them."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from ui.fake_app import SHAPE, add_case, fakes
from ui.page_text import REPO, open_page, texts

from hnvlm.imaging.dvh import Dvh
from hnvlm.services import analysis, rating
from hnvlm.types import Finding
from hnvlm.ui import dvh_plot, frame, html

pytestmark = pytest.mark.usefixtures("through_the_entry_script")
CONTOUR = "GTVp *old* ~x~ [y](z)"


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


def test_a_contour_of_any_name_is_called_by_it_on_its_button(app, monkeypatch):
    case_id = add_case(app)
    found = [
        Finding("mass", "present", side="left", site="larynx", certainty="definite", source="measured", slice_index=3,
                box=(2, 3, 5, 5, 6, 9), attributes={"contour": CONTOUR}),
        Finding("mass", "present", side="left", site="larynx", certainty="definite", source="measured",
                attributes={"contour": CONTOUR}),
    ]  # fmt: skip
    monkeypatch.setattr(analysis, "load_findings", lambda *_: found)
    at = open_page(case_id, "review")
    assert html.as_written(f"clinic's {CONTOUR}") in at.button(key="finding-0").label
    assert html.as_written(f"measured on the clinic's {CONTOUR}") in at.button(key="finding-0").help
    assert html.as_written(f"clinic's {CONTOUR}") in "".join(c.value for c in at.caption)


def test_structures_that_the_dose_does_not_cover_are_called_by_their_names(app):
    case_id = add_case(app, "planning CT")
    mask = np.zeros(SHAPE, bool)
    mask[:, 5:9, 3:9] = True
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": {"*Couch*": mask}})
    covered = np.zeros(SHAPE, bool)
    covered[:6] = True
    app.store.save_result(
        case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": 30.0, "notes": ["*Couch* is *not* x"]},
        arrays={"dose": np.where(covered, 30.0, 0).astype(np.float32), "covered": {"covered": covered}},
    )  # fmt: skip
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=240)
    at.session_state["case_id"], at.session_state["_plan_view"] = case_id, "Dose"
    at.run()
    at.switch_page("pages/plan.py").run()
    said = texts(at)
    assert r"does not cover all of \*Couch\*" in said
    assert r"\*Couch\* is \*not\* x" in said


def test_a_long_label_pushes_no_number_out_of_its_column(browser, monkeypatch):
    drawn = []
    monkeypatch.setattr(html.st, "html", drawn.append)
    html.bars([("L" * 200, 0.5), ("no mass", 0.25)])
    page = browser.new_page()
    page.set_content(f"<style>{frame.STYLE.read_text()}</style><div style='width: 400px'>{drawn[0]}</div>")
    ends = page.evaluate("[...document.querySelectorAll('em')].map(e => e.getBoundingClientRect().right)")
    page.close()
    assert ends[0] == ends[1] <= 408, "the page's own margin is 8"


def test_a_plot_reads_no_markup_in_the_name_of_a_structure():
    dvh = Dvh(np.array([70, 60], np.float32), np.array([1.0, 2.0]))
    (line,) = dvh_plot.figure({"Ring <3mm> %{y}": dvh}).data
    assert line.name == "Ring &lt;3mm&gt; %&#123;y}" and line.hovertemplate.startswith(line.name)
