"""Edited plan texts are checked figure by figure against the structured plan."""

from __future__ import annotations

import pytest
from plan_cases import CASES

from hnvlm.plan import Plan, check_plan_text, draft_plan, figures


@pytest.fixture(scope="module")
def plan() -> Plan:
    return draft_plan(*CASES["oropharynx p16 positive"])


@pytest.mark.parametrize("name", CASES)
def test_a_draft_agrees_with_itself(name: str) -> None:
    drafted = draft_plan(*CASES[name])
    assert [r.id for r in check_plan_text(drafted.text, drafted)] == ["text_agrees"]


def test_figures_are_found_with_their_place() -> None:
    text = "cT2N1M0, stage IVA. 7000 cGy in 35# [S12]\nPTV_7000: cisplatin 100 mg/m² and 2.5 cm, 6 fractions a week"
    found = [(f.kind, f.value) for f in figures(text)]
    assert found == [
        ("dose_gy", 70.0), ("fractions", 35.0), ("tnm", "T2"), ("tnm", "N1"), ("tnm", "M0"), ("stage", "IVA"),
        ("fractions_per_week", 6.0), ("mg_m2", 100.0), ("mm", 25.0),
    ]  # fmt: skip
    assert all(text[f.start : f.end] == f.written for f in figures(text))


def test_source_list_is_not_checked(plan: Plan) -> None:
    assert check_plan_text(plan.text + "[S99] A trial of 99 Gy in 11 fractions\n", plan)[-1].id == "text_agrees"


@pytest.mark.parametrize(
    ("old", "new", "rule", "written", "expected"),
    [
        ("63 Gy in 35", "70 Gy in 35", "text_dose_gy", "70 Gy", ["63"]),
        ("63 Gy in 35", "63 Gy in 33", "text_fractions", "33 fractions", ["35"]),
        ("cT2 cN2", "cT3 cN2", "text_tnm", "T3", ["T2"]),
        ("cT2 cN2", "cT2 cN2b", "text_tnm", "N2b", ["N2"]),
        ("stage II,", "stage III,", "text_stage", "III", ["II"]),
        ("cisplatin, 100 mg/m2", "cisplatin, 120 mg/m2", "text_mg_m2", "120 mg/m2", ["40", "100", "280", "300"]),
        ("D0.03cc <= 45 Gy", "D0.03cc <= 54 Gy", "text_dose_gy", "54 Gy", ["45", "50"]),
    ],
)
def test_a_changed_figure_is_marked(
    plan: Plan, old: str, new: str, rule: str, written: str, expected: list[str]
) -> None:
    assert old in plan.text
    text = plan.text.replace(old, new, 1)
    failed = [r for r in check_plan_text(text, plan) if r.status == "fail"]
    assert [(r.id, r.details["written"], r.details["expected"]) for r in failed] == [(rule, written, expected)]
    assert text[failed[0].details["start"] : failed[0].details["end"]] == written
    assert f"Line {failed[0].details['line']}" in failed[0].message


def test_own_words_with_the_right_figures_pass(plan: Plan) -> None:
    text = "p16+ oropharynx T2N2M0, stage II. 70Gy/35# to PTV_7000, 63 Gy and 56 Gy elsewhere, cisplatin 100mg/m2 x3."
    assert [r.status for r in check_plan_text(text, plan)] == ["pass"]


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_figure_the_plan_does_not_hold_is_marked(plan: Plan, at_the_end: bool) -> None:
    added = "Boost to 76 Gy; capecitabine 825 mg/m2.\n"
    text = plan.text + added if at_the_end else added + plan.text
    failed = [r for r in check_plan_text(text, plan) if r.status == "fail"]
    assert [r.details["written"] for r in failed] == ["76 Gy", "825 mg/m2"]


def test_hedged_sentence_may_name_what_is_possible() -> None:
    provisional = draft_plan(*CASES["all unknown"])
    hedged = check_plan_text("T2, but it could be T4a if the mandible is invaded.\n" + provisional.text, provisional)
    assert not any(r.status == "fail" for r in hedged)
    flat = check_plan_text("This is T4a.\n" + provisional.text, provisional)
    assert [r.details["written"] for r in flat if r.status == "fail"] == ["T4a"]


def test_left_out_levels_and_stage_are_named(plan: Plan) -> None:
    results = {r.id: r for r in check_plan_text("PTV_7000: 70 Gy in 35 fractions.", plan)}
    assert results["text_stage_missing"].details["stage"] == "II"
    assert results["text_level_missing"].status == "warn"
