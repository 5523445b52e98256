"""Plan texts as oncologists edit them: short forms of doses and stages, targets and organs by their everyday names."""

from __future__ import annotations

import pytest
from plan_cases import CASES

from hnvlm.plan import Plan, check_plan_text, draft_plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return draft_plan(*CASES["oropharynx p16 positive"])


def _marked(plan: Plan, line: str) -> list[tuple[str, list[str]]]:
    """Figures of a line, added to the draft, that are told to disagree, with what the plan says."""
    text = f"{plan.text}\n{line}\n"
    failed = [r for r in check_plan_text(text, plan) if r.status == "fail"]
    assert all(text[r.details["start"] : r.details["end"]] == r.details["written"] for r in failed)
    return [(r.details["written"], r.details["expected"]) for r in failed]


WRONG = [
    ("70 Gy/33 to the high-risk volume.", [("33", [])]),
    ("2 Gy x 33.", [("33", [])]),
    ("33 x 2 Gy.", [("33 x", [])]),
    ("Oropharynx carcinoma, stage 3.", [("3", ["II"])]),
    ("Cisplatin 120 mg per m2.", [("120 mg per m2", ["40", "100", "280", "300"])]),
    ("Cisplatin 120 mg/sqm.", [("120 mg/sqm", ["40", "100", "280", "300"])]),
    ("PTV70: 63 Gy.", [("63 Gy", ["70"])]),
    ("PTV_63 70 Gy in 35 fractions.", [("70 Gy", ["63"])]),
    ("Treat PTV_7000 to 63 Gy and PTV_6300 to 70 Gy.", [("63 Gy", ["70"]), ("70 Gy", ["63"])]),
    ("Spinal cord max 54 Gy.", [("54 Gy", ["45", "50"])]),
    ("SpinalCord Dmax 54 Gy, Brainstem Dmax 45 Gy.", [("54 Gy", ["45", "50"]), ("45 Gy", ["54"])]),
    ("Left parotid mean < 45 Gy.", [("45 Gy", ["26"])]),
]


@pytest.mark.parametrize(("line", "expected"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_figure_is_marked_however_it_is_written(plan: Plan, line: str, expected: list) -> None:
    assert _marked(plan, line) == expected


RIGHT = [
    "70 Gy/35.",
    "2 Gy x 35, 35 x 2 Gy.",
    "Stage 2.",
    "CKD stage 3, stage III chronic kidney disease.",
    "T1-weighted MRI and T3 FLAIR signal.",
    "PTV70 70 Gy in 35 fractions of 2 Gy, PTV63 63 Gy of 1.8 Gy, PTV 56 56 Gy.",
    "PTV_7000: 35 fractions of 2 Gy, total 70 Gy.",
    "Brainstem and spinal cord below 54 Gy and 45 Gy.",
    "Larynx mean < 45 Gy; mandible max 70 Gy.",
    "70 Gy in 35 fractions, Larynx preserved.",
    "V30 Gy/40 %.",
]


@pytest.mark.parametrize("line", RIGHT)
def test_a_right_figure_is_not_marked_however_it_is_written(plan: Plan, line: str) -> None:
    assert _marked(plan, line) == []


MOVED = [
    ("Mass, right base of tongue", "Mass, left base of tongue", "left", ["right"]),
    ("Node, left level III", "Node, left level II", "left level II", ["left level III", "right level II"]),
    ("left neck, level III", "right neck, level III", "right neck, level III", ["left level III", "right level II"]),
]


@pytest.mark.parametrize(("old", "new", "written", "expected"), MOVED)
def test_a_changed_side_or_level_is_marked(plan: Plan, old: str, new: str, written: str, expected: list[str]) -> None:
    assert old in plan.text
    text = plan.text.replace(old, new, 1)
    failed = [r for r in check_plan_text(text, plan) if r.status == "fail"]
    assert [(r.id, r.details["written"], r.details["expected"]) for r in failed] == [("text_place", written, expected)]
    assert text[failed[0].details["start"] : failed[0].details["end"]] == written


def test_own_words_about_a_side_are_left_alone(plan: Plan) -> None:
    assert _marked(plan, "Spare the left parotid; the right submandibular gland is in the target.") == []


def test_a_flat_dose_is_that_of_its_drug() -> None:
    plan = draft_plan(*CASES["metastatic"])
    assert _marked(plan, "Pembrolizumab 400 mg every 3 weeks.") == [("400 mg", ["200"])]
    assert _marked(plan, "Pembrolizumab, 200 mg, with dexamethasone 8 mg and paracetamol 1000 mg.") == []
