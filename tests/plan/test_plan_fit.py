"""A draft says of a patient only what is of this patient: specimen or CT, cure or palliation, site, teeth, drugs."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import CASES, FIT, mass, node

from hnvlm.plan import draft_plan
from hnvlm.plan.dose_basis import DoseBasis, off_prescription
from hnvlm.plan.result import Plan

RECURRENT = {**FIT, "site": "oral_cavity", "tumour_size_mm": 38, "doi_mm": 14, "nodes_n_pos": 0, "cps": 20,
             "setting": "recurrent_metastatic"}  # fmt: skip
COUNTED = "Nodes drafted from CT are counted"
POSTOPERATIVE = CASES["postoperative with ENE"]


def fired(plan: Plan) -> set[str]:
    return {c.id for c in plan.checks if c.status == "warn"}


def test_a_recurrence_treated_for_cure_gets_no_palliative_drug():
    plan = draft_plan([], {**RECURRENT, "intent": "curative"})
    assert plan.modality.drafted is None and not plan.systemic
    assert "salvage surgery" in plan.modality.withheld and "pembrolizumab alone" not in plan.text


@pytest.mark.parametrize(("intent", "said"), [({}, True), ({"intent": "palliative"}, False)])
def test_a_drug_for_recurrence_is_for_what_cannot_be_cured(intent: dict[str, Any], said: bool):
    plan = draft_plan([], {**RECURRENT, **intent, "setting": "recurrent_metastatic"})
    assert plan.modality.drafted == "pembro_rm_mono"
    assert ("where neither surgery nor radiotherapy can cure" in plan.modality.label) is said


def test_metastatic_disease_is_not_asked_to_be_incurable_otherwise():
    plan = draft_plan(*CASES["metastatic"])
    assert plan.modality.label == "pembrolizumab alone"


def test_a_specimen_has_neither_size_nor_nodes_from_ct():
    seen = [mass("oral tongue", "left", 31), node("left", "II", 24)]
    plan = draft_plan(seen, {"setting": "postoperative", "histology": "squamous_cell_carcinoma", "doi_mm": 4})
    assert (plan.staging.t.value, plan.staging.n.value) == (None, None)
    assert {"tumour_size_mm", "nodes_n_pos"} <= {n.id for n in plan.needs}
    assert "fid_after_surgery" in fired(plan) and COUNTED not in plan.text
    clinical = draft_plan(seen, {"setting": "postoperative", "staging_kind": "clinical", "doi_mm": 4})
    assert (clinical.staging.t.value, clinical.staging.n.value) == ("T2", "N1")


def test_nodes_are_said_to_be_counted_on_ct_only_where_they_are():
    findings, form = CASES["relative contraindication"][0][:1], CASES["relative contraindication"][1]
    seen = [*findings, node("left", "II", 24)]
    assert COUNTED in draft_plan(seen, form).text
    assert COUNTED not in draft_plan(seen, {**form, "nodes_n_pos": 1}).text
    assert COUNTED not in draft_plan([*findings, node("left", "II", 24, presence="indeterminate")], form).text
    assert COUNTED not in draft_plan([*findings, node("left", "II", 24, source="clinician")], form).text


def test_a_nasopharynx_gets_no_margin_of_a_consensus_on_other_sites():
    plan = draft_plan(*CASES["nasopharynx"])
    targets = "\n".join(line.text for line in plan.targets)
    assert "GTV-P + 5 mm" not in targets and "no sourced margin for the nasopharynx" in targets
    assert plan.modality.drafted == "gp_npc_then_crt" and "follow the pre-induction extent" in targets
    alone = draft_plan(CASES["nasopharynx"][0], {**CASES["nasopharynx"][1], "chemo_possible": False})
    assert "pre-induction" not in "\n".join(line.text for line in alone.targets)


def test_a_range_names_its_fact_once():
    plan = draft_plan(CASES["renal impairment"][0], {**CASES["renal impairment"][1], "crcl_ml_min": 55})
    assert "Relative criterion: Creatinine clearance >= 50 mL/min and < 60 mL/min." in plan.text


def test_one_invaded_structure_is_named_once():
    plan = draft_plan([], {"site": "nasopharynx", "invaded": ["bone_skull_base"], "nodes_n_pos": 0})
    assert plan.staging.t.value == "T3" and plan.staging.t.basis == "invasion: bone skull base"


def test_supportive_care_fits_teeth_and_drugs():
    findings, form = CASES["early glottis"]
    text = draft_plan(findings, form).text
    assert "extractions" in text and "before cisplatin" not in text
    assert "extractions" not in draft_plan(findings, {**form, "dental_status": "edentulous"}).text
    assert "before cisplatin" in draft_plan(*CASES["advanced oral tongue"]).text


def test_margins_to_look_up_are_those_of_the_prescription():
    glottis, operated = draft_plan(*CASES["early glottis"]).text, draft_plan(*POSTOPERATIVE).text
    assert "elective dose after surgery" not in glottis and "elective dose after surgery" in operated


def test_no_dose_is_judged_by_first_course_limits_in_an_irradiated_neck():
    assert "first course" in DoseBasis("clinic's dose").misfit([66], irradiated=True)
    assert DoseBasis("clinic's dose").misfit([66]) == ""


def test_cisplatin_is_not_weighed_where_the_specimen_asks_for_none():
    findings, form = POSTOPERATIVE
    asked = draft_plan(findings, {**form, "ene_path": None, "crcl_ml_min": 55})
    excluded = draft_plan(findings, {**form, "ene_path": False, "crcl_ml_min": 55})
    assert asked.eligibility is not None and "Cisplatin" in asked.text
    assert excluded.modality.drafted == "postop_rt" and excluded.eligibility is None
    assert "Cisplatin" not in excluded.text and not [n for n in excluded.needs if "isplatin" in n.question]


@pytest.mark.parametrize(("case", "nodes"), [("advanced oral tongue", True), ("relative contraindication", False)])
def test_margins_around_nodes_are_for_necks_with_nodes(case: str, nodes: bool):
    findings, form = CASES[case]
    plan = draft_plan(findings, {**form, "resectable": False, "intent": "curative"})
    assert ("CTV-N around an involved node" in plan.text) is nodes


def test_a_small_tumour_in_a_frail_patient_is_asked_about_and_not_palliated_first():
    findings, form = CASES["early glottis"]
    plan = draft_plan(findings, {**form, "ecog": 3})
    assert plan.intent.value is None and plan.modality.drafted is None and not plan.prescription.levels
    assert plan.needs[0].id == "intent" and "radiotherapy alone" in plan.text
    assert [b.text for b in plan.modality.branches if b.text.startswith("If palliative: palliative radiotherapy")]
    irradiated = draft_plan(findings, {**form, "ecog": 3, "prior_neck_rt": True})
    assert "cumulative organ doses" in irradiated.modality.withheld and "cumulative" not in plan.modality.withheld
    for intent, kind in (("curative", "definitive"), ("palliative", "palliative")):
        stated = draft_plan(findings, {**form, "ecog": 3, "intent": intent})
        assert stated.prescription.kind == kind and "intent" not in {n.id for n in stated.needs}


@pytest.mark.parametrize(
    ("case", "more", "intent"),
    [
        ("early glottis", {"ecog": 3, "stated_group": "IVB"}, "palliative"),
        ("poor performance", {}, "palliative"),
        ("poor performance", {"p16": None}, None),  # stage I, if p16 is positive
        ("larynx from CT alone", {"ecog": 3}, "palliative"),  # a node: III or IV, whatever T
        ("larynx from CT alone", {"ecog": 3, "nodes_n_pos": 0}, None),  # any stage yet
        ("postoperative with ENE", {"ecog": 3}, None),  # nothing gross is left to palliate
        ("metastatic", {"ecog": 3}, "palliative"),
    ],
)
def test_poor_performance_suggests_palliation_of_advanced_disease_only(case: str, more: dict, intent: str | None):
    findings, form = CASES[case]
    assert draft_plan(findings, {**form, **more}).intent.value == intent


@pytest.mark.parametrize("case", ["metastatic", "nasopharynx"])
def test_a_metastasis_treated_for_cure_gets_no_drug_until_that_is_settled(case: str):
    findings, form = CASES[case]
    plan = draft_plan(findings, {**form, "distant": True, "intent": "curative"})
    assert plan.modality.drafted is None and not plan.systemic and "pembrolizumab" not in plan.text
    assert "multidisciplinary meeting" in plan.modality.withheld
    assert "st_m1_curative" in {c.id for c in plan.checks if c.status == "fail"}


def test_a_drug_that_waits_for_its_marker_is_not_named_beside_a_curative_intent():
    for form in ({**CASES["metastatic"][1], "intent": "curative"}, {**RECURRENT, "intent": "curative"}):
        plan = draft_plan([], {**form, "site": "oral_cavity", "cps": None})
        assert "pembrolizumab" not in plan.text and "cps" not in {n.id for n in plan.needs}


@pytest.mark.parametrize(
    ("case", "strange"),
    [
        ("early glottis", "PTV_7000, PTV_5600 do not fit"),
        ("postoperative with ENE", "PTV_7000, PTV_6300, PTV_5600 do not fit"),
        ("nasopharynx", ""),
    ],
)
def test_targets_of_another_prescription_are_not_judged(case: str, strange: str):
    targets = {"PTV_7000": 60.0, "PTV_6300": 60.0, "PTV_5600": 50.0}
    metrics = {name: {"D99pct": d99, "V95pct": 80.0} for name, d99 in targets.items()}
    plan = draft_plan(*CASES[case], structures=targets, dose_metrics=metrics, dose_basis=DoseBasis("Uploaded dose"))
    said = [c.message for c in plan.checks if c.id == "fid_target_dose"]
    assert [m.split(" the ")[0] for m in said] == ([strange] if strange else [])
    fitting = [name for name in targets if name not in strange]
    assert [c.structure for c in plan.constraints] == fitting
    short = {c.message.split(":")[0] for c in plan.checks if c.id == "dvh_ptv_v95" and c.status == "warn"}
    assert short == set(fitting)


def test_a_target_is_left_alone_without_a_prescription_or_a_dose_in_its_name():
    assert off_prescription(["PTV_7000", "PTV_High", "SpinalCord"], []) == ()
    assert off_prescription(["PTV_7000", "PTV_High", "PTV_6996", "PTV_5600_L"], [69.96]) == ("PTV_5600_L",)


@pytest.mark.parametrize(
    ("case", "more", "named"),
    [
        ("early glottis", {}, False),
        ("metastatic", {}, False),
        ("poor performance", {}, False),
        ("postoperative with ENE", {}, False),
        ("no chemotherapy", {}, False),
        ("advanced oral tongue", {}, True),
        ("hearing loss", {}, True),
    ],
)
def test_drugs_with_radiotherapy_are_advised_against_where_they_are_in_question(case: str, more: dict, named: bool):
    findings, form = CASES[case]
    text = draft_plan(findings, {**form, **more}).text
    assert ("durvalumab with radiotherapy" in text) is named
    if case == "early glottis":
        assert "larynx-preserving chemoradiotherapy" not in text


def test_a_lower_dose_is_advised_against_without_drugs_too():
    form = {**FIT, "site": "oropharynx", "p16": "positive", "tumour_size_mm": 15, "nodes_n_pos": 0}
    advised = [label for option in draft_plan([], form).modality.options.avoid for label in option.labels]
    assert advised == ["de-intensified radiotherapy dose outside a trial"]


def test_organs_that_are_not_contoured_are_named():
    plan = draft_plan(*CASES["nasopharynx"], structures=["SpinalCord", "Brainstem", "Parotid_L", "Parotid_R", "Larynx"])
    said = [c.message for c in plan.checks if c.id == "rt_oars_missing"]
    assert said == ["Not contoured, of the OpenKBP/TG-263 core set: Bone_Mandible, Esophagus"]
