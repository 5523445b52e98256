"""A plan is judged on a dose of its own prescription, or not at all; and it says on which."""

from __future__ import annotations

import json
from typing import Any

import pytest
from plan.plan_cases import CASES

from hnvlm.plan import check_plan_text, draft_plan
from hnvlm.plan.constraints import build_constraints, evaluate
from hnvlm.plan.dose_basis import DoseBasis, coverage_checks
from hnvlm.plan.kb import load_kb
from hnvlm.plan.result import Plan
from hnvlm.types import Finding

LEVELS = {"PTV_5600": 56.0, "PTV_6300": 63.0, "PTV_7000": 70.0}  # as a store sorts them
METRICS = {
    "PTV_7000": {"D99pct": 67.0},
    "SpinalCord": {"D0.03cc": 46.25, "Dmax": 47.125},
    "Bone_Mandible": {"D0.03cc": 72.825, "D0.1cc": 72.655, "Dmax": 72.99},
    "Parotid_L": {"Dmean": 47.3044},
    "Parotid_R": {"Dmean": 29.19},
}


def plan_of(name: str, basis: DoseBasis | None) -> Plan:
    findings, form = CASES[name]
    return draft_plan(findings, form, structures=METRICS, dose_metrics=METRICS, dose_basis=basis)


def predicted(**changes: Any) -> DoseBasis:
    return DoseBasis(**{"label": "Predicted dose (AI draft)", "levels_gy": LEVELS, "predicted": True} | changes)


def line_after(text: str, heading: str) -> str:
    lines = text.splitlines()
    return lines[lines.index(heading) + 1]


def test_the_dose_is_named_where_limits_are_judged() -> None:
    plan = plan_of("nasopharynx", predicted(guessed_targets=True))
    said = line_after(plan.text, "DOSE LIMITS: ORGANS AT RISK AND TARGETS")
    assert said.startswith(
        "- Judged on: predicted dose (AI draft) for 70 / 63 / 56 Gy; its targets were guessed from the CT"
    )
    assert {c.status for c in plan.constraints if c.structure == "Parotid_L"} == {"not_met"}
    assert not [c for c in check_plan_text(plan.text, plan) if c.status == "fail"]
    own = line_after(plan_of("nasopharynx", predicted()).text, "DOSE LIMITS: ORGANS AT RISK AND TARGETS")
    assert own.startswith("- Judged on: predicted dose (AI draft) for 70 / 63 / 56 Gy. [S")


def test_a_dose_predicted_for_another_prescription_judges_nothing() -> None:
    plan = plan_of("postoperative with ENE", predicted())
    assert plan.prescription.kind == "postoperative"
    top = {s.levels[0].dose_gy for s in plan.prescription.schemes}
    assert 70.0 not in top
    said = line_after(plan.text, "DOSE LIMITS: ORGANS AT RISK AND TARGETS")
    assert said.startswith(
        "- Limits are named but not judged: the dose at hand was predicted for 70 Gy, this plan prescribes"
    )
    assert all(f"{gy:g}" in said for gy in top)
    assert {c.status for c in plan.constraints} == {"not_evaluable"}
    assert not [c for c in plan.constraints if c.structure.startswith("PTV")]
    assert not [c for c in plan.checks if c.id.startswith("dvh_") and c.status in ("warn", "fail")]
    assert not [c for c in check_plan_text(plan.text, plan) if c.status == "fail"]
    # What the clinic planned stands for itself.
    clinics = plan_of("postoperative with ENE", predicted(label="Uploaded dose", predicted=False))
    assert line_after(clinics.text, "DOSE LIMITS: ORGANS AT RISK AND TARGETS").startswith(
        "- Judged on: uploaded dose. [S"
    )
    assert "not_met" in {c.status for c in clinics.constraints}


def test_a_plan_without_a_dose_says_nothing_of_one() -> None:
    findings, form = CASES["nasopharynx"]
    plan = draft_plan(findings, form, structures=METRICS)
    assert plan.dose_line is None
    assert "Judged on" not in plan.text


def test_one_structure_is_warned_of_once_with_its_largest_dose() -> None:
    checks = [c for c in plan_of("nasopharynx", predicted()).checks if c.status == "warn"]
    mandible = [c.message for c in checks if c.id == "dvh_mandible70"]
    assert mandible == ["Mandible Dmax 73.0 Gy above 70 Gy"]
    cord = [c.message for c in checks if c.id == "dvh_cord45"]
    assert cord == ["Spinal cord Dmax 47.1 Gy above the planning aim of 45 Gy"]
    parotids = [c.message for c in checks if c.id == "dvh_parotids"]
    assert parotids == ["Both parotids above mean 26 Gy (left 47.3 Gy, right 29.2 Gy)"]


@pytest.mark.parametrize(
    ("region", "side", "warned"),
    [("left", "right", True), ("right", "left", True), ("left", "left", False), ("bilateral", "left", False),
     ("left", None, False), ("left", "midline", False)],
)  # fmt: skip
def test_a_target_region_opposite_the_primary_is_told(region: str, side: str | None, warned: bool) -> None:
    findings = [Finding("target", "present", None, region, attributes={"volume_ml": 440.0})]
    plan = draft_plan(findings, {"site": "oropharynx", **({"side": side} if side else {})})
    told = [c for c in plan.checks if c.id == "fid_side_target"]
    assert bool(told) == warned
    if warned:
        assert f"lies {region}, the primary {side}" in told[0].message
        assert told[0].message in plan.text


def test_a_target_that_is_not_covered_is_warned_of_with_all_its_figures():
    kb = load_kb()
    rows = evaluate(
        build_constraints(kb, ["PTV_7000", "PTV_5600", "SpinalCord"]),
        {"PTV_7000": {"D95pct": 60.0, "D99pct": 58.0}, "PTV_5600": {"D95pct": 56.5, "D99pct": 55.9},
         "SpinalCord": {"D0.03cc": 60.0}},
    )  # fmt: skip
    missed = [r for r in rows if r.structure == "PTV_7000" and r.status == "not_met"]
    (told,) = coverage_checks(rows)
    assert missed and (told.id, told.status) == ("dose_target_coverage", "warn")
    assert told.message.startswith("PTV_7000 is not covered as asked: D")
    assert all(
        f"{r.metric.replace('pct', '%')} {r.value:g} Gy, at least {r.limit:g} Gy asked" in told.message for r in missed
    )


def test_organs_that_a_model_contoured_are_named_where_limits_are_judged():
    basis = DoseBasis("Uploaded dose", LEVELS, drawn_by_model=("Larynx", "Esophagus"))
    assert basis.line("").text.endswith("contoured by the AI, not by the clinic: Larynx, Esophagus")
    assert DoseBasis.from_json(json.loads(json.dumps(basis.to_json()))) == basis
    assert "contoured by the AI" not in DoseBasis("Uploaded dose", LEVELS).line("").text
    assert DoseBasis.from_json({"label": "of before"}).drawn_by_model == ()


def test_a_predicted_dose_beside_a_withheld_prescription_is_told_as_an_example():
    _, form = CASES["nasopharynx"]
    form = {key: value for key, value in form.items() if key != "site"}
    hot = {**METRICS, "SpinalCord": {"D0.03cc": 55.0, "Dmax": 56.0}}
    plan = draft_plan([], form, structures=hot, dose_metrics=hot, dose_basis=predicted())
    assert plan.prescription.withheld and not plan.prescription.schemes
    said = line_after(plan.text, "DOSE LIMITS: ORGANS AT RISK AND TARGETS")
    assert "; no dose is drafted: this is what such a dose would give" in said
    assert not [line for line in plan.urgent if "cord" in line.text], "no rule judges an example"
    clinic = draft_plan([], form, structures=hot, dose_metrics=hot, dose_basis=DoseBasis("Uploaded dose", LEVELS))
    assert [line for line in clinic.urgent if "cord" in line.text]
    assert "no dose is drafted: this" not in clinic.text, "what the clinic planned stands for itself"
