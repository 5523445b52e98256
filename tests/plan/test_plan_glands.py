"""A salivary gland that carries the tumour is target, not organ to spare; and what a plan's text says in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_cases import AIRWAY, CASES, FIT, mass, node

from hnvlm.plan import build_constraints, draft_plan
from hnvlm.plan.constraints import glands_with_tumour
from hnvlm.plan.kb import load_kb
from hnvlm.plan.support import not_verified

NAMES = ["Parotid_L", "Parotid_R", "Parotids", "Glnd_Submand_L", "Glnd_Submand_R", "SpinalCord"]
DOSE = {
    "Parotid_L": {"Dmean": 31.26}, "Parotid_R": {"Dmean": 64.02}, "Parotids": {"Dmean": 47.6},
    "Glnd_Submand_L": {"Dmean": 41.0}, "Glnd_Submand_R": {"Dmean": 60.0}, "SpinalCord": {"D0.03cc": 47.249},
    "Bone_Mandible": {"Dmax": 73.92},
}  # fmt: skip


@pytest.mark.parametrize(
    ("subsite", "side", "carrying"),
    [
        ("parotid", "right", ("Parotid_R", "Parotids")),
        ("parotid", "bilateral", ("Parotid_L", "Parotid_R", "Parotids")),
        ("submandibular_gland", "left", ("Glnd_Submand_L", "Glnd_Submands")),
        ("parotid", None, ()),
        (None, "right", ()),
        ("other", "right", ()),
    ],
)
def test_subsite_and_side_tell_which_gland_carries_the_tumour(subsite, side, carrying) -> None:
    assert glands_with_tumour("major_salivary", subsite, side) == carrying
    assert glands_with_tumour("oropharynx_p16_neg", subsite, side) == ()


@pytest.mark.parametrize(
    ("subsite", "own", "other"),
    [("parotid", {"Parotid_R", "Parotids"}, "Parotid_L"), ("submandibular_gland", {"Glnd_Submand_R"}, "Parotid_L")],
)
def test_the_gland_with_the_tumour_gets_no_limit_and_no_warning(subsite: str, own: set[str], other: str) -> None:
    form = {"site": "major_salivary", "subsite": subsite, "side": "right"}
    plan = draft_plan([], form, structures=dict.fromkeys(NAMES), dose_metrics=DOSE)
    limited = {row.structure for row in plan.constraints}
    assert other in limited and not own & limited
    assert own <= set(plan.to_json()["carries_tumour"])
    warned = any("Both parotids" in c.message for c in plan.checks if c.status == "warn")
    assert warned == (subsite != "parotid")


def test_the_side_of_the_mass_on_ct_counts_where_the_form_is_silent() -> None:
    plan = draft_plan(CASES["parotid mass"][0], {}, structures=dict.fromkeys(NAMES), dose_metrics=DOSE)
    limited = {row.structure for row in plan.constraints}
    assert "Parotid_L" in limited and not {"Parotid_R", "Parotids"} & limited


def test_with_the_tumour_elsewhere_every_gland_keeps_its_limits() -> None:
    rows = build_constraints(load_kb(), NAMES)
    assert {"Parotid_L", "Parotid_R", "Parotids"} <= {row.structure for row in rows}
    left = build_constraints(load_kb(), NAMES, carrying=("Parotid_L",))
    assert {row.structure for row in rows} - {row.structure for row in left} == {"Parotid_L"}


def test_dose_warnings_have_one_decimal_units_and_names_in_words() -> None:
    text = draft_plan([mass("palatine tonsil", "left", 31)], {**FIT, "p16": "negative"}, structures=dict.fromkeys(DOSE),
                      dose_metrics=DOSE).text  # fmt: skip
    assert "WARN: Both parotids above mean 26 Gy (left 31.3 Gy, right 64.0 Gy)." in text
    assert "WARN: Mandible Dmax 73.9 Gy above 70 Gy." in text
    assert "WARN: Spinal cord D0.03cc 47.2 Gy above the planning aim of 45 Gy." in text


def test_a_text_that_may_be_signed_does_not_say_that_nobody_read_it() -> None:
    plan = draft_plan([mass("palatine tonsil", "left", 31)], FIT)
    assert "not reviewed" not in plan.text and "To be reviewed, corrected and signed" in plan.text
    assert [c.status for c in plan.checks if c.id == "ov_review"] == ["warn"], "for pages and exports that know"


@pytest.mark.parametrize("resectable", [True, False])
def test_the_json_says_that_options_with_an_operation_are_left_out(resectable: bool) -> None:
    findings = [mass("oral tongue", "left", 46), node("left", "IB", 22)]
    plan = draft_plan(findings, {**FIT, "doi_mm": 12, "resectable": resectable})
    assert plan.to_json()["modality"]["without_surgery"] is not resectable


def test_no_id_of_a_table_stands_among_what_is_not_verified() -> None:
    kb = load_kb()
    findings, form = CASES["advanced oral tongue"]
    plan = draft_plan(findings, form)
    option = plan.modality.options.applies[0]
    options = replace(plan.modality.options, unverified=(option,))
    told = not_verified(
        kb, {}, replace(plan.modality, options=options), plan.prescription, cisplatin=False, fluorouracil=False
    )
    assert any("(option table)" in line for line in told) and not any(option.id in line for line in told)


def test_an_area_is_written_in_square_millimetres() -> None:
    assert "smallest area 35 mm²" in draft_plan([AIRWAY], {}).text
