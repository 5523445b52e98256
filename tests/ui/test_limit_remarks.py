"""What a limit is about, and why a row is not met, stands on the page as it does in text and print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402


def dose_page() -> None:
    from hnvlm.plan import build_constraints, evaluate
    from hnvlm.plan.kb import load_kb
    from hnvlm.services.histograms import Judged
    from hnvlm.ui import dose_tables

    metrics = {"Parotid_L": {"Dmean": 40.0}, "Parotid_R": {"Dmean": 17.0}, "SpinalCord": {"D0.03cc": 45.04}}
    rows = evaluate(build_constraints(load_kb(), [*metrics, "Cavity_Oral"]), metrics)
    dose_tables.constraints(Judged(rows, {}, metrics, {}, 70.0))


def nothing_judged() -> None:
    from hnvlm.plan import build_constraints, evaluate
    from hnvlm.plan.fraction_size import judged_for
    from hnvlm.plan.kb import load_kb
    from hnvlm.services.histograms import Judged
    from hnvlm.ui import dose_tables

    metrics = {"SpinalCord": {"D0.03cc": 35.0, "Dmax": 35.0}}
    rows = judged_for(evaluate(build_constraints(load_kb(), list(metrics)), metrics), 8.0)
    dose_tables.constraints(Judged(rows, {}, metrics, {}, 40.0))


def plan_page() -> None:
    from hnvlm.plan import draft_plan
    from hnvlm.ui import plan_view

    metrics = {"Parotid_L": {"Dmean": 40.0}, "Parotid_R": {"Dmean": 17.0}, "SpinalCord": {"D0.1cc": 51.0}}
    plan_view.show(draft_plan([], None, structures=dict.fromkeys(metrics), dose_metrics=metrics).to_json())


@pytest.mark.parametrize("page", [dose_page, plan_page])
def test_the_spared_gland_is_named_beside_the_other(page) -> None:
    at = AppTest.from_function(page).run(timeout=60)
    assert not at.exception
    assert "Parotid_R meets it, and at least one is asked for" in texts(at)


def test_a_limit_says_what_it_is_about_and_a_value_does_not_read_like_it() -> None:
    said = texts(AppTest.from_function(dose_page).run(timeout=60))
    assert "at least one gland, usually contralateral" in said and "part outside the PTV" in said
    assert "45.04 Gy" in said and "\N{MINUS SIGN}0.04" in said


def test_a_row_that_is_not_met_without_a_value_is_shown() -> None:
    """D0.1cc of 51 Gy tells that D0.03cc is above 45 Gy: the page broke on the value that is not there."""
    assert "D0.1cc already is 51.0 Gy" in texts(AppTest.from_function(plan_page).run(timeout=60))


def test_where_nothing_is_judged_the_reasons_are_open() -> None:
    at = AppTest.from_function(nothing_judged).run(timeout=60)
    (waiting,) = [e for e in at.expander if e.label.startswith("Not evaluable")]
    assert waiting.proto.expanded and "this dose has 8.0 Gy" in texts(at)
