"""Every answer of the form that bears on safety reaches the draft: none is silently dropped or contradicted by it."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import CASES, FIT

from hnvlm.plan import draft_plan, structure_choices
from hnvlm.plan.kb import load_kb
from hnvlm.plan.options import action
from hnvlm.plan.result import Plan
from hnvlm.plan.staging import stage, unread_structures

NODE = {"nodes_n_pos": 1, "nodes_max_mm": 20, "nodes_laterality": "ipsilateral"}
N2B = {"nodes_n_pos": 3, "nodes_max_mm": 25, "nodes_laterality": "ipsilateral"}
TONSIL = {"site": "oropharynx", "p16": "negative", "tumour_size_mm": 31}
TONGUE = {"site": "oral_cavity", "tumour_size_mm": 25, "doi_mm": 8}


def drafted(**form: Any) -> Plan:
    return draft_plan([], {"distant": False, "nodes_n_pos": 0, "histology": "squamous_cell_carcinoma", **form})


def fired(plan: Plan) -> set[str]:
    return {c.id for c in plan.checks if c.status in ("fail", "warn")}


def statuses(plan: Plan) -> dict[str, str]:
    return {s.id: s.status for s in plan.systemic}


@pytest.mark.parametrize(
    ("form", "t", "group"),
    [
        ({**TONGUE, "invaded": ["mandible"]}, "T4a", "IVA"),
        ({**TONGUE, "invaded": ["skin"]}, "T4a", "IVA"),
        ({**TONGUE, "invaded": ["pterygoid_structures"]}, "T4b", "IVB"),
        ({"site": "nasopharynx", "invaded": ["pterygoid_plates"]}, "T3", "III"),
        ({"site": "nasopharynx", "invaded": ["maxillary_sinus"]}, "T3", "III"),
        ({"site": "nasopharynx", "invaded": ["prevertebral"]}, "T2", "II"),
        ({**TONSIL, "invaded": ["prevertebral"]}, "T4b", "IVB"),
        ({**TONSIL, "invaded": ["masticator_space"]}, "T4b", "IVB"),
        ({**TONSIL, "invaded": ["mandible_cortex"]}, "T4a", "IVA"),
        ({"site": "hypopharynx", "tumour_size_mm": 15, "cord_mobility": "normal", "invaded": ["larynx"]}, "T2", "II"),
    ],
)
def test_a_structure_counts_under_the_name_that_another_table_has_for_it(form, t, group):
    plan = drafted(**form)
    assert (plan.staging.t.value, plan.staging.group) == (t, group)
    assert "st_invaded_unread" not in fired(plan)


def test_an_invaded_structure_that_the_table_does_not_read_is_reported():
    plan = drafted(**TONGUE, invaded=["trachea", "superficial_tooth_socket_erosion"])
    assert plan.staging.t.value == "T2"
    said = [c.message for c in plan.checks if c.id == "st_invaded_unread" and c.status == "fail"]
    assert said == ["Invasion of trachea is stated, but no row of the T table used reads it: T may be higher"]
    assert "st_invaded_unread" not in fired(drafted(site="nasopharynx", invaded=["nasal_cavity", "oropharynx"]))


def test_every_structure_is_read_harmless_or_reported_in_every_table():
    """Staging with the structure alone differs from T of nothing, or it is named harmless, or it is reported."""
    kb = load_kb()
    for site in kb["staging"]["site_map"]:
        if site["t"] == "t0_only":
            continue
        base = {"case": {"site": site["site"]}, "tumour": {"size_cm": 1.0, "cord_mobility": "normal", "invaded": []}}
        plain = stage(kb, base).t.value
        for token in kb["staging"]["structures"]:
            context = {**base, "tumour": {**base["tumour"], "invaded": [token]}}
            harmless = token in kb["staging"]["no_criterion"][site["t"]]
            changed = stage(kb, context).t.value != plain
            assert changed + harmless + bool(unread_structures(kb, context)) == 1, (site["site"], token)


def test_structures_that_decide_t_at_the_site_are_offered_first():
    glottis = list(structure_choices({"site": "larynx_glottis"}))
    assert set(glottis[:15]) == {
        "prevertebral", "internal_carotid_encasement", "mediastinum", "thyroid_cartilage_outer", "cricoid_cartilage",
        "trachea", "soft_tissue_neck", "extrinsic_tongue_muscle", "strap_muscles", "thyroid_gland",
        "esophagus_muscle", "paraglottic_space", "thyroid_cartilage_inner", "supraglottis", "subglottis",
    }  # fmt: skip
    assert set(glottis) == set(structure_choices({})) == set(load_kb()["staging"]["structures"])
    assert structure_choices({"site": "oropharynx"})["mandible"] == "mandible (oropharynx)"
    assert list(structure_choices({"site": "oropharynx"})).index("epiglottis_lingual") < 14


def test_distant_disease_is_not_talked_away_by_a_stated_m0():
    plan = draft_plan([], {**TONSIL, **N2B, "distant": True, "stated_m": "M0"})
    assert (plan.staging.m.value, plan.intent.value) == ("M1", "palliative")
    assert "st_m_mismatch" in fired(plan)
    assert "st_m_mismatch" in fired(draft_plan([], {**TONSIL, "distant": False, "stated_m": "M1"}))


def test_extranodal_extension_leads_to_cisplatin_in_a_p16_positive_specimen_too():
    plan = drafted(site="oropharynx", p16="positive", setting="postoperative", tumour_size_mm=25, nodes_n_pos=3,
                   ene_path=True, margin="negative")  # fmt: skip
    assert plan.modality.drafted == "postop_crt_cisplatin" and statuses(plan)["cis_q3w"] == "drafted"
    assert "sys_postop_high_nochemo" not in fired(plan)
    assert [v.dose_gy for v in plan.prescription.levels] == [66]


@pytest.mark.parametrize(
    "form",
    [
        {**TONGUE, "tumour_size_mm": 50, "doi_mm": 15},
        {"site": "hypopharynx", "tumour_size_mm": 45, "invaded": ["thyroid_cartilage_outer"]},
        {"site": "larynx_supraglottis", "invaded": ["thyroid_cartilage_outer"], "larynx_nonfunctional": True},
        {"site": "larynx_supraglottis", "invaded": ["prevertebral"], "larynx_nonfunctional": True},
    ],
)
def test_what_cannot_be_resected_gets_no_operation(form):
    plan = drafted(**form, resectable=False)
    assert "surgery" not in action(load_kb(), plan.modality.drafted)["modalities"]
    labels = " ".join(label for o in plan.modality.options.applies for label in o.labels)
    assert "surgery" not in labels and "laryngectomy" not in labels and "pembrolizumab" not in labels
    assert "Judged not resectable: options with an operation are left out" in plan.text
    assert "mg_unresectable_surgery" not in fired(plan)
    assert "operation are left out" not in drafted(**form, resectable=True).text


def test_a_larynx_without_function_is_removed_for_t3_and_t4a_only():
    early = drafted(site="larynx_glottis", cord_mobility="normal", cords_involved="one", larynx_nonfunctional=True)
    assert early.staging.t.value == "T1a" and early.modality.drafted == "rt_alone"
    t3 = drafted(site="larynx_glottis", cord_mobility="fixed", larynx_nonfunctional=True)
    assert t3.modality.drafted == "total_laryngectomy_plus_adjuvant"


def test_platinum_allergy_bars_carboplatin_too():
    plan = drafted(**{**TONSIL, **N2B, "tumour_size_mm": 45}, platinum_hypersensitivity=True)
    assert plan.modality.drafted == "crt_alternative"
    assert statuses(plan)["carbo5fu_rt"] == "not_eligible" and statuses(plan)["cetux_rt"] == "alternative"
    assert "sys_platinum_allergy" not in fired(plan)
    without = drafted(**{**TONSIL, **N2B, "tumour_size_mm": 45}, hearing_grade=3)
    assert statuses(without)["carbo5fu_rt"] == "alternative"


def test_each_drug_of_an_open_choice_is_held_against_the_rules():
    plan = drafted(**{**TONSIL, **N2B, "tumour_size_mm": 45}, hearing_grade=3, age=78)
    assert "sys_age70" in fired(plan), "carboplatin is one of the drugs to choose from"


def test_transplant_bars_checkpoint_inhibitors():
    form = {**TONGUE, "tumour_size_mm": 45, "doi_mm": 15, **N2B, "resectable": True, "cps": 20}
    assert statuses(drafted(**form))["pembro_periop"] == "addition"
    plan = drafted(**form, autoimmune=True)
    assert statuses(plan)["pembro_periop"] == "not_eligible"
    metastatic = draft_plan(CASES["metastatic"][0], {**CASES["metastatic"][1], "autoimmune": True})
    assert metastatic.modality.drafted != "pembro_rm_mono"
    assert not [s for s in metastatic.systemic if "pembrolizumab" in s.agent and s.status != "not_eligible"]


def test_pregnancy_withholds_everything_and_is_said_first():
    plan = drafted(site="oropharynx", p16="positive", tumour_size_mm=31, **N2B, pregnant_or_lactating=True)
    assert plan.modality.drafted is None and not plan.prescription.schemes and not plan.systemic
    assert plan.text.split("\n\n")[1].startswith("URGENT\n- Pregnant or lactating")


def test_after_surgery_the_specimen_is_staged_unless_the_form_says_otherwise():
    form = {**TONGUE, "setting": "postoperative", **N2B, "ene_path": True, "margin": "negative", "ene_clinical": False}
    plan = drafted(**form)
    assert (plan.staging.kind, plan.staging.n.value, plan.staging.group) == ("pathological", "N3b", "IVB")
    assert drafted(**form, staging_kind="clinical").staging.n.value == "N2b"
    six = drafted(site="oropharynx", p16="positive", setting="postoperative", tumour_size_mm=25, nodes_n_pos=6)
    assert (six.staging.n.value, six.staging.group) == ("N2", "II")


@pytest.mark.parametrize(
    ("more", "conditional"),
    [
        ({}, ["cis_q3w", "cis_weekly40"]),
        ({"chemo_possible": False}, []),
        ({"crcl_ml_min": 40}, []),
        ({"crcl_ml_min": 55}, ["cis_weekly40"]),
    ],
)
def test_cisplatin_after_a_laryngectomy_follows_kidney_and_refusal(more, conditional):
    plan = drafted(site="larynx_glottis", invaded=["thyroid_cartilage_outer"], **more)
    assert [s.id for s in plan.systemic if s.status == "conditional"] == conditional


def test_no_conditional_cisplatin_once_both_risk_factors_are_excluded():
    form = {**TONGUE, "tumour_size_mm": 45, "setting": "postoperative", "ene_path": False}
    assert "conditional" not in statuses(drafted(**form, margin="negative")).values()
    assert "conditional" in statuses(drafted(**form)).values(), "the margin is not known"


def test_induction_at_a_creatinine_clearance_of_55_has_a_weekly_dose_to_go_with():
    plan = drafted(site="nasopharynx", nodes_n_pos=4, nodes_laterality="bilateral", nodes_max_mm=30,
                   invaded=["bone_skull_base"], crcl_ml_min=55)  # fmt: skip
    found = statuses(plan)
    assert (found["cis_weekly40"], found["cis_q3w"]) == ("drafted", "not_eligible")


def test_intermediate_risk_after_surgery_is_read_from_the_n_category_too():
    low = {**TONGUE, "tumour_size_mm": 15, "doi_mm": 4, "setting": "postoperative", "ene_path": False,
           "margin": "negative", "perineural": False, "lymphovascular": False, "levels_iv_v": False}  # fmt: skip
    one_large = drafted(**low, **{**NODE, "nodes_max_mm": 40})
    assert (one_large.staging.n.value, one_large.modality.drafted) == ("N2a", "postop_rt")
    assert [v.dose_gy for v in one_large.prescription.levels] == [60]
    none = drafted(**low)
    assert none.modality.drafted is None
    assert not any("cetuximab" in label for o in none.modality.options.applies for label in o.labels)


@pytest.mark.parametrize(
    ("rule", "form"),
    [
        ("st_n0_with_nodes", {**TONSIL, "nodes_max_mm": 40}),
        ("st_n0_with_nodes", {**TONSIL, "ene_clinical": True}),
        ("st_p16_negative_percent", {**TONSIL, "p16_percent": 90}),
        ("st_pathology_before_surgery", {**TONSIL, "setting": "definitive", "ene_path": True}),
        ("st_subsite_of_other_site", {"site": "larynx_glottis", "cord_mobility": "normal", "subsite": "tonsil"}),
        ("st_npc_histology_elsewhere", {**TONSIL, "histology": "nasopharyngeal_carcinoma"}),
    ],
)
def test_answers_that_contradict_each_other_are_reported(rule, form):
    assert rule in fired(drafted(**form))


def test_a_sound_form_contradicts_nothing():
    plan = draft_plan([], {**FIT, **TONSIL, **N2B, "subsite": "tonsil", "side": "left", "p16_percent": 5})
    assert not [c.id for c in plan.checks if c.status == "fail"]


def test_second_line_after_progression_on_platinum():
    form = {**TONSIL, "setting": "recurrent_metastatic", "cps": 20}
    assert drafted(**form).modality.drafted == "pembro_rm_mono"
    plan = drafted(**form, platinum_refractory=True)
    assert plan.modality.drafted == "nivo_rm"
    assert not [s for s in plan.systemic if "platinum" in s.agent]
