"""What an oncologist would stop at: blocks first, drugs against organ failure, relief not delayed, caveats kept."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import FIT, NO_NODES, mass, node

from hnvlm.plan import draft_plan
from hnvlm.plan.result import Plan

TONSIL = [mass("palatine tonsil", "left", 31), node("left", "II", 24), node("left", "III", 18)]
NEGATIVE = {**FIT, "site": "oropharynx", "p16": "negative"}
METASTATIC = {**NEGATIVE, "distant": True}


def lines(plan: Plan, start: str) -> list[str]:
    return [line[2:] for line in plan.text.splitlines() if line.startswith(f"- {start}")]


def test_a_block_stands_before_everything_else():
    """safety.yaml: block = do not show the draft as a plan until a clinician resolves it."""
    findings = [mass("palatine tonsil", "right", 31), node("right", "II", 24)]
    plan = draft_plan(findings, {**NEGATIVE, "side": "left", "nodes_n_pos": 0})
    urgent = plan.text.split("FINDINGS ON CT")[0]
    assert "Not a plan until this is resolved: Primary side differs" in urgent
    agreed = draft_plan(findings, {**NEGATIVE, "side": "right"})
    assert "Not a plan until" not in agreed.text and not agreed.urgent


def test_nothing_is_drafted_for_a_child():
    plan = draft_plan(TONSIL, {**NEGATIVE, "age": 17})
    assert (plan.modality.drafted, plan.prescription.schemes) == (None, ())
    assert "age 17" in plan.modality.withheld
    assert draft_plan(TONSIL, {**NEGATIVE, "age": 18}).modality.drafted


def test_nodes_of_the_ct_are_no_target_where_n0_is_stated():
    stated = {"stated_t": "T2", "stated_n": "N0", "stated_m": "M0"}
    plan = draft_plan([mass("palatine tonsil", "left", 31), node("left", "II", 24)], {**NEGATIVE, **stated})
    assert plan.staging.n.value == "N0" and not plan.nodes_from_ct
    assert "belongs to the high-dose target" not in plan.text and "counted as involved" not in plan.text
    assert [c.id for c in plan.checks if c.status == "fail" and c.id == "st_n_mismatch"], "the disagreement is told"


@pytest.mark.parametrize("histology", [None, "none_yet", "squamous_cell_carcinoma"])
def test_treatment_without_histology_holds_only_if_biopsy_shows_carcinoma(histology: str | None):
    form = {**NEGATIVE, "histology": histology, "chemo_possible": True}
    plan = draft_plan(TONSIL, form)
    assert plan.prescription.schemes
    told = bool(lines(plan, "No histology is stated: all below holds only if biopsy shows carcinoma"))
    assert told is (histology != "squamous_cell_carcinoma") is bool(plan.caveats["treatment"])


@pytest.mark.parametrize(
    "facts", [{"platelets": 40000, "neutrophils": 800}, {"neuropathy_grade": 3}, {"nyha_class": 4}, {"child_pugh": "C"}]
)
def test_organ_failure_is_told_beside_the_drugs_for_which_no_criteria_were_read(facts: dict[str, Any]):
    plan = draft_plan(TONSIL, {**METASTATIC, "setting": "definitive", "distant": False, **facts, "stated_t": "T3"})
    given = [s for s in plan.systemic if s.status in ("drafted", "alternative") and "cisplatin" not in s.agent]
    told = lines(plan, "Read for cisplatin alone, to be checked for every other drug here")
    assert bool(told) is bool(given) is bool(plan.drug_cautions)
    if "child_pugh" not in facts:
        assert given and told, "cisplatin is out, and docetaxel among the others"


def test_a_platinum_of_choice_is_not_cisplatin_where_that_is_contraindicated():
    plan = draft_plan(TONSIL, {**METASTATIC, "cps": 0, "crcl_ml_min": 25, "hearing_grade": 3})
    rows = [s for s in plan.systemic if "platinum" in s.agent]
    assert rows and all("the platinum is not cisplatin, which is contraindicated" in s.reason for s in rows)
    assert plan.eligibility is not None and plan.eligibility.verdict == "contraindicated"
    fit = draft_plan(TONSIL, {**METASTATIC, "cps": 0})
    assert not any("not cisplatin" in s.reason for s in fit.systemic)


def test_drugs_of_metastatic_disease_in_a_poor_state_need_a_reason():
    plan = draft_plan(TONSIL, {**METASTATIC, "cps": 20, "ecog": 3})
    drugs = [o for o in plan.modality.options.applies if o.id == "rm_first"]
    assert drugs and drugs[0].in_words.endswith("(ECOG 3 is stated: to be justified)")
    fit = draft_plan(TONSIL, {**METASTATIC, "cps": 20})
    assert not any("to be justified" in o.in_words for o in fit.modality.options.applies)


def test_relief_waits_for_no_teeth():
    form = {**METASTATIC, "ecog": 4, "dental_status": "extractions_needed", "weight_loss_percent": 30}
    plan = draft_plan(TONSIL, form)
    text = " ".join(line.text for line in plan.supportive)
    assert plan.prescription.kind == "palliative" and "xtractions" not in text and "ental visit" not in text
    assert "Weight loss of 30 % is stated: nutrition" in text
    curative = draft_plan(TONSIL, {**NEGATIVE, "stated_t": "T2", "dental_status": "extractions_needed"})
    assert "Extractions are needed" in " ".join(line.text for line in curative.supportive)


def test_high_risk_after_surgery_is_not_offered_what_its_rule_calls_an_error():
    """po_inter is radiotherapy alone; sys_postop_high_nochemo."""
    base = {
        **FIT,
        "site": "oral_cavity",
        "setting": "postoperative",
        "stated_t": "T3",
        "stated_n": "N2b",
        "margin": "negative",
    }
    high = draft_plan([], {**base, "ene_path": True})
    assert [o.id for o in high.modality.options.applies if o.id.startswith("po_")] == ["po_high"]
    low = draft_plan([], {**base, "ene_path": False})
    assert "po_inter" in [o.id for o in low.modality.options.applies]


def test_early_glottic_cancer_with_a_positive_margin_gets_no_chemoradiotherapy():
    form = {**FIT, "site": "larynx_glottis", "setting": "postoperative", "stated_t": "T1a", "stated_n": "N0"}
    plan = draft_plan([], {**form, "margin": "positive", "ene_path": False})
    assert plan.modality.drafted is None and "another resection or radiotherapy alone" in plan.modality.withheld


@pytest.mark.parametrize(("site", "t"), [("larynx_supraglottis", "T4a"), ("hypopharynx", "T4a")])
def test_chemoradiotherapy_does_not_also_fit_where_the_larynx_is_to_be_removed(site: str, t: str):
    form = {**FIT, "site": site, "stated_t": t, "stated_n": "N1", "stated_m": "M0"}
    assert "gen_concurrent" not in [o.id for o in draft_plan([], form).modality.options.applies]
    left = draft_plan([], {**form, "resectable": False})
    assert "gen_concurrent" in [o.id for o in left.modality.options.applies], "what is left without an operation"


def test_a_stated_response_beside_a_first_course_is_told():
    plan = draft_plan(TONSIL, {**NEGATIVE, "stated_t": "T2", "pet_response": "incomplete"})
    assert [c.status for c in plan.checks if c.id == "fu_response_stated"] == ["warn"]


def test_a_drug_added_to_surgery_is_not_called_instead_of_it():
    form = {**FIT, "site": "oral_cavity", "stated_t": "T3", "stated_n": "N1", "stated_m": "M0", "cps": 20}
    plan = draft_plan([], form)
    row = next(s for s in plan.systemic if s.id == "pembro_periop")
    assert row.status == "addition" and lines(plan, "Addition: pembrolizumab")
    assert not [o for o in draft_plan([], {**form, "ecog": 2}).modality.options.applies if o.id == "periop_pembro"]


def test_radiotherapy_for_metastatic_disease_waits_for_a_symptom():
    plan = draft_plan(TONSIL, METASTATIC)
    assert plan.modality.label.endswith("where a symptom asks for it; the drug hangs on what is asked for")
    assert "cps" in [need.id for need in plan.needs]


def test_pregnancy_comes_first_at_an_age_of_it():
    plan = draft_plan(TONSIL, {**NEGATIVE, "age": 35})
    assert plan.needs[0].id == "pregnant_or_lactating"


def test_caveats_of_the_text_are_in_the_payload():
    plan = draft_plan([NO_NODES], {**FIT, "site": "larynx_glottis", "histology": "other", "stated_t": "T3"})
    assert any("holds for carcinoma only" in line for line in plan.to_json()["caveats"]["staging"])
    assert all(line in plan.text for part in plan.caveats.values() for line in part)
