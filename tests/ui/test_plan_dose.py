"""The dose half of the plan page through the entry script: empty, predicted, uploaded, what-if, templates, exports."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import SHAPE, add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.services import constraint_templates, dose, plan_export, planning  # noqa: E402
from hnvlm.services.context import App  # noqa: E402
from hnvlm.types import Provenance  # noqa: E402
from hnvlm.ui import dvh_plot, picture  # noqa: E402
from hnvlm.ui.viewer.series import Overlay, structure_list  # noqa: E402

REPO = HERE.parent.parent
PATIENCE_S = 240


pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def masks() -> dict[str, np.ndarray]:
    spans = {"PTV_7000": ((3, 8), (5, 9), (10, 14)), "PTV_5600": ((2, 9), (9, 12), (3, 13)),
             "SpinalCord": ((0, 12), (14, 17), (7, 9)), "Parotid_L": ((6, 9), (5, 8), (14, 16)),
             "Parotid_R": ((6, 9), (5, 8), (0, 2))}  # fmt: skip
    out = {}
    for name, (z, y, x) in spans.items():
        out[name] = np.zeros(SHAPE, bool)
        out[name][slice(*z), slice(*y), slice(*x)] = True
    return out


AI_CONTOURS = {"uncertainty": {}, "seconds": 1.0}


def with_structures(app: App) -> str:
    case_id = add_case(app, "planning CT")
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks()})
    return case_id


def open_dose(case_id: str) -> AppTest:
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.session_state["_plan_view"] = "Dose"
    at.run()
    at.switch_page("pages/plan.py")
    return shown(at.run())


def shown(at: AppTest) -> AppTest:
    assert not at.exception, [e.message for e in at.exception]
    return at


def finish(app: App, at: AppTest, case_id: str) -> AppTest:
    for job in app.jobs.for_case(case_id):
        app.jobs.wait(job.id, PATIENCE_S)
    return shown(at.run())


def what_if_menu(at: AppTest) -> str:
    """Key of the what-if menu in the page that is shown."""
    (found,) = [b.proto.popover.id or b.proto.id for b in at.get("popover") if b.proto.popover.label == "What if"]
    return found


def test_without_a_dose_the_page_says_how_to_get_one(services) -> None:
    app = services(fakes())
    at = open_dose(add_case(app))
    assert "No dose yet" in texts(at) and "upload RTDOSE and RTSTRUCT together with the CT" in texts(at)
    assert not at.button(key="predict-dose").disabled
    assert "no plan yet" in texts(at) and "no histogram and no RTDOSE" in texts(at)
    assert at.button(key="plan-export-zip").disabled and "no structures to export yet" in texts(at)


def test_without_a_dose_model_the_reason_stands_beside_the_button_and_an_uploaded_dose_works(services) -> None:
    app = services(None)
    case_id = with_structures(app)
    at = open_dose(case_id)
    assert at.button(key="predict-dose").disabled and "the model pack lacks" in texts(at) and "dose" in texts(at)
    array = np.where(masks()["PTV_7000"], 70.0, 40.0).astype(np.float32)
    item = app.store.save_result(case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": 70.0},
                                 arrays={"dose": array})  # fmt: skip
    shown(at.run())
    page = texts(at)
    assert "Hard limits: 2 of 2 met" in page and "D0.03cc" in page and ">40.0 Gy<" in page and "[1]" in page
    assert "100 % = 70 Gy; maximum 70.0 Gy" in page
    assert "<dt>Added</dt>" in page and "<dt>Made</dt>" not in page, "the clinic's dose was not made here"
    assert at.get("plotly_chart"), "the histogram"
    key = f"whatif-{case_id}-{item.id}"
    assert "Only scaling is possible" in page
    at.number_input(key=f"{key}-gy").set_value(66.0).run()
    at.button(key=f"{key}-go").click().run()
    shown(at)
    assert dose.label(dose.doses(app, case_id)[1]) == "What-if 1: 66 Gy, scaled"
    stored = dose.doses(app, case_id)[1]
    assert picture.dose_of(app, app.store.get_case(case_id), stored).state == "what-if, scaled"
    assert "Solid: What-if 1: 66 Gy, scaled. Dashed: Uploaded dose." in texts(at), "at once, beside the original"
    assert ">37.7 Gy<" in texts(at) and ">40.0 Gy<" in texts(at), "value and compared value, each with its unit"
    assert ">−" in texts(at) and ">Priority<" in texts(at)


def test_the_overview_reads_as_a_sentence_does(services) -> None:
    app = services(fakes())
    case_id = add_case(app, "planning CT")
    form = {"site": "oropharynx", "p16": "positive", "tumour_size_mm": 31, "nodes_n_pos": 1, "nodes_max_mm": 24,
            "crcl_ml_min": 55, "histology": "squamous_cell_carcinoma"}  # fmt: skip
    planning.draft_case_plan(app, case_id, form=form)
    at = open_dose(case_id)
    at.session_state["_plan_view"] = "Form and plan"
    at.session_state["plan-view"] = "Form and plan"
    page = texts(shown(at.run()))
    assert "Cisplatin: relative contraindication, to be weighed." in page
    assert "radiotherapy with concurrent cisplatin [S" in page, "no colon where there is no principle"
    assert ".." not in page
    planning.draft_case_plan(app, case_id, form=form | {"ecog": 3})
    assert "ECOG 3 is stated" in texts(shown(at.run()))


def test_limits_in_an_irradiated_neck_are_said_to_be_those_of_a_first_course(services) -> None:
    app = services(None)
    case_id = with_structures(app)
    app.store.save_result(case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": 30.0},
                          arrays={"dose": np.full(SHAPE, 30.0, np.float32)})  # fmt: skip
    at = open_dose(case_id)
    assert "first course" not in texts(at)
    planning.answer(app, case_id, "prior_neck_rt", "yes", who="Dr A")
    assert "those of a first course" in texts(shown(at.run()))


def test_what_the_dose_grid_does_not_cover_is_said_before_any_number(services) -> None:
    """Twelve slices and a dose on the lower six: half of the cord, nothing of the parotids, most of the targets."""
    app = services(None)
    case_id = with_structures(app)
    covered = np.zeros(SHAPE, bool)
    covered[:6] = True
    app.store.save_result(case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": 30.0},
                          arrays={"dose": np.where(covered, 30.0, 0).astype(np.float32),
                                  "covered": {"covered": covered}})  # fmt: skip
    page = texts(open_dose(case_id))
    assert "The dose grid does not cover all of" in page and "lie outside the dose grid" in page
    assert "so its figures are not known and its limits are not judged" in page
    assert "Hard limits: 0 of 0 met" in page


def test_doubts_about_an_uploaded_dose_come_before_any_number(services) -> None:
    app = services(None)
    case_id = with_structures(app)
    doubt = "the dose is that of one beam"
    app.store.save_result(case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": 30.0, "notes": [doubt]},
                          arrays={"dose": np.full(SHAPE, 30.0, np.float32)})  # fmt: skip
    page = texts(open_dose(case_id))
    assert page.index("The dose is that of one beam") < page.index("Hard limits")


@pytest.mark.parametrize("kind", ["segmentation", "structures"])
def test_a_dose_on_targets_the_ai_guessed_says_so(services, kind) -> None:
    app = services(fakes())
    case_id = add_case(app, "planning CT")
    if kind == "structures":
        app.store.save_result(case_id, kind, {"source": "upload"}, arrays={"masks": masks()})
    else:
        made_by = Provenance("fake-segmenter", "1", "0" * 64, seed=0)
        app.store.save_result(case_id, kind, AI_CONTOURS, arrays={"masks": masks()}, provenance=made_by)
    at = open_dose(case_id)
    at.button(key="predict-dose").click().run()
    finish(app, at, case_id)
    page = texts(at)
    assert "predicted, not calculated" in page
    assert ("Targets guessed by the AI from the CT alone" in page) == (kind == "segmentation")


def made_row(at: AppTest) -> tuple[str, str]:
    """When the dose was made or added, and the end of the words that say by whom."""
    (facts,) = [h.proto.body for h in at.get("html") if h.proto.body.startswith("<dl")]
    head, told = facts.split("<dt>")[2].split("</dt><dd>")
    return head, told.split(" UTC ")[-1].split("</dd>")[0]


def test_prediction_what_if_template_plan_and_exports(services) -> None:
    app = services(fakes())
    case_id = with_structures(app)
    at = open_dose(case_id)
    at.button(key="predict-dose").click().run()
    finish(app, at, case_id)
    assert made_row(at) == ("Made", "by model")
    predicted = dose.doses(app, case_id)[0]
    page = texts(at)
    assert "fake-dose" in page and "fake dose of a test" in page and "research use only" in page

    key = f"whatif-{case_id}-{predicted.id}"
    at.multiselect(key=f"{key}-drop").select("PTV_5600").run()
    menu = what_if_menu(at)
    at.button(key=f"{key}-go").click().run()
    assert what_if_menu(at) != menu, "a new menu is closed: the old one lay over the answer"
    finish(app, at, case_id)
    assert "Solid: What-if 1: without PTV_5600. Dashed: Predicted dose (AI draft)." in texts(at)

    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks()})
    shown(at.run())
    assert any("structures were changed after this dose" in i.value for i in at.info)

    rows = constraint_templates.rows(app, "openkbp")
    rows[0]["limit"] = 1.0
    name = constraint_templates.save(app, "Strict", rows, who="Dr A")
    shown(at.run())
    at.selectbox(key=f"template-{case_id}").select(name).run()
    shown(at)
    assert constraint_templates.chosen(app, case_id) == "Strict" and "no published source" in texts(at)
    asked = [b.proto.popover.label for b in at.get("popover")]
    assert "Remove" in asked and "Nothing brings it back" in texts(at), "a template is not lost by one click"

    planning.draft_case_plan(app, case_id)
    shown(at.run())
    assert not at.error
    item = dose.doses(app, case_id)[0]
    at.button(key="plan-export-zip").click().run()
    finish(app, at, case_id)
    names = [b.proto.label for b in at.get("download_button")]
    assert "Histogram (CSV)" in names
    exported = [plan_export.archive_path(app, case_id, d) for d in dose.doses(app, case_id)]
    assert any(p.is_file() for p in exported), (item.id, exported)


def test_a_refused_what_if_is_said_in_words(services) -> None:
    app = services(fakes())
    case_id = add_case(app, "planning CT")
    one_sided = masks()
    one_sided["PTV_5600"][:, :, 7:] = False  # the cord begins at column 7
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": one_sided})
    item = dose.predict(app, case_id)
    at = open_dose(case_id)
    key = f"whatif-{case_id}-{item.id}"
    at.button_group(key=f"{key}-side").set_value("left").run()
    at.button(key=f"{key}-go").click().run()
    finish(app, at, case_id)
    assert "No elective target lies on the left side" in texts(at)


def test_the_plot_has_a_curve_a_structure_and_the_contours_colours() -> None:
    from hnvlm.imaging.dvh import Dvh

    curves = {"PTV_7000": Dvh(np.array([70, 60], np.float32), np.array([1.0, 2.0])),
              "Ring": Dvh(np.array([20], np.float32), np.array([1.0]))}  # fmt: skip
    plot = dvh_plot.figure(curves, {"PTV_7000": curves["PTV_7000"].scaled(0.5)}, name="a", other_name="b",
                           prescription_gy=70.0)  # fmt: skip
    lines = [(t.name, t.line.dash, t.line.color) for t in plot.data]
    ring = structure_list(Overlay({"Ring": np.ones((1, 2, 2), bool)}), 1.0)[0]["colour"]
    assert lines == [("PTV 7000", "solid", "#ff3b30"), ("PTV 7000", "dash", "#ff3b30"), ("Ring", "solid", ring)]
    assert plot.layout.xaxis.title.text == "Dose [Gy]" and plot.layout.yaxis.title.text == "Volume [%]"
    half = plot.data[0]
    assert half.y[np.searchsorted(half.x, 65.0)] == 50.0
