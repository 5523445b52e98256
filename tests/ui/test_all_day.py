"""A session that goes on for hours costs no more with each case: nothing is counted twice, nothing heaps up."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import SHAPE, add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402

from hnvlm.services import counterfactual, dose, planning, reporting  # noqa: E402
from hnvlm.services.context import App  # noqa: E402
from hnvlm.ui import dvh_plot, picture  # noqa: E402
from hnvlm.ui.viewer import series  # noqa: E402

REPO = HERE.parent.parent
PATIENCE_S = 240
pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def with_everything(app: App) -> str:
    case_id = add_case(app, seed=len(app.store.list_cases()))
    reporting.draft_report(app, case_id)
    planning.draft_case_plan(app, case_id)
    counterfactual.run_for_case(app, case_id, "Necrotic node in left level II, 22 mm")
    with_dose(app, case_id)
    return case_id


def with_dose(app: App, case_id: str) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3:8, 5:9, 10:14] = True
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": {"PTV_7000": mask}})
    gy = np.full(SHAPE, 70.0, np.float32)
    app.store.save_result(
        case_id, "dose", {"source": "upload", "max_gy": 70.0}, slot=dose.UPLOADED, arrays={"dose": gy}
    )


def look_at_every_page(at: AppTest, case_id: str) -> None:
    at.session_state["case_id"] = case_id
    for page, view in (("review", None), ("plan", "Form and plan"), ("plan", "Dose"), ("counterfactual", None)):
        at.switch_page(f"pages/{page}.py")
        if view is not None:
            at.session_state["_plan_view"] = at.session_state["plan-view"] = view
        at.run()
        assert not at.exception, [e.message for e in at.exception]


def test_a_session_holds_no_more_entries_with_each_case_that_is_opened(services) -> None:
    """Streamlit reads all of them for each widget: the form of the tenth case was three times as slow."""
    app = services(fakes())
    cases = [with_everything(app) for _ in range(3)]
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.run()
    look_at_every_page(at, cases[0])
    look_at_every_page(at, cases[1])  # what is there for all cases is there now
    before = len(set(at.session_state))
    look_at_every_page(at, cases[2])
    assert len(set(at.session_state)) == before
    assert not [key for key in at.session_state if cases[0] in key or cases[1] in key]


def test_a_stored_ct_is_measured_once_however_often_its_page_runs(services, monkeypatch) -> None:
    """Each run maps the file anew, so that it is another array."""
    app = services(None)
    measured: list[tuple[int, ...]] = []
    large_parts = series._large_parts
    monkeypatch.setattr(series, "_large_parts", lambda dense: measured.append(dense.shape) or large_parts(dense))
    boxes = []
    for seed in (1, 1, 2):
        case = app.store.get_case(add_case(app, seed=seed))
        for _ in range(3):
            shown = picture.original(app, case)
            boxes.append(series.body_box(shown.volume, shown.content_id))
    assert measured == [SHAPE, SHAPE], "once for each CT, also where it is stored twice"
    assert boxes[0] == [0, 0, 0, *SHAPE] and len(boxes) == 9
    assert series.body_box(picture.original(app, case).volume) == boxes[-1], "without a name, measured as before"
    assert len(measured) == 3


def test_the_boxes_that_are_remembered_have_a_bound(monkeypatch) -> None:
    monkeypatch.setattr(series, "MAX_BODIES", 2)
    monkeypatch.setattr(series, "_BODIES", type(series._BODIES)())
    for name in "abc":
        series.body_box(series.Volume(np.zeros((2, 3, 4), np.int16), (3.0, 1.25, 2.0)), name)
    assert list(series._BODIES) == ["b", "c"]


def test_the_histogram_is_drawn_once_for_a_dose_and_anew_for_other_structures(services, monkeypatch) -> None:
    app = services(fakes())
    case_id = add_case(app)
    with_dose(app, case_id)
    drawn: list[list[str]] = []
    figure = dvh_plot.figure
    monkeypatch.setattr(dvh_plot, "figure", lambda c, *a, **k: drawn.append(list(c)) or figure(c, *a, **k))
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"], at.session_state["_plan_view"] = case_id, "Dose"
    at.run()
    at.switch_page("pages/plan.py").run()
    at.run()
    assert drawn == [["PTV_7000"]]
    mask = np.zeros(SHAPE, bool)
    mask[3:8, 14:17, 7:9] = True
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": {"SpinalCord": mask}})
    at.run()
    assert drawn == [["PTV_7000"], ["SpinalCord"]] and len(at.get("plotly_chart")) == 1


def test_the_place_in_the_worklist_outlives_a_look_at_a_case(services) -> None:
    app = services(None)
    for n in range(40):
        add_case(app, "tonsil" if n < 30 else "larynx", seed=n)
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.run()
    at.number_input(key="page").set_value(4).run()
    assert [b.label for b in at.button if b.key == "open-HN-0001"] == ["Open"], "the last page"
    at.text_input(key="search").set_value("tonsil").run()
    assert at.number_input(key="page").value == 1 and at.number_input(key="page").max == 3
    at.number_input(key="page").set_value(2).run()
    at.button(key="open-HN-0010").click().run()
    at.switch_page("pages/review.py").run()
    at.switch_page("pages/cases.py").run()
    assert at.text_input(key="search").value == "tonsil" and at.number_input(key="page").value == 2
    shown = [b.key for b in at.button if b.key.startswith("open-")]
    assert shown == [f"open-HN-{n:04d}" for n in range(18, 6, -1)]
    at.text_input(key="search").set_value("larynx").run()
    assert len([b for b in at.button if b.key.startswith("open-")]) == 10, "one page of another search"
    at.text_input(key="search").set_value("").run()
    assert at.number_input(key="page").value == 1


def test_the_difference_stays_switched_on_from_one_case_to_another(services) -> None:
    app = services(fakes())
    cases = [add_case(app, seed=n) for n in range(2)]
    for case_id in cases:
        counterfactual.run_for_case(app, case_id, "Necrotic node in left level II, 22 mm")
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = cases[0]
    at.run()
    at.switch_page("pages/counterfactual.py").run()
    at.toggle(key="difference").set_value(True).run()
    at.switch_page("pages/review.py").run()
    at.session_state["case_id"] = cases[1]
    at.switch_page("pages/counterfactual.py").run()
    assert at.toggle(key="difference").value is True
    at.toggle(key="difference").set_value(False).run()
    at.run()
    assert at.toggle(key="difference").value is False
