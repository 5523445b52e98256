"""Whole cases as a tumour board meets them, read for what it would miss, doubt or not understand."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import AIRWAY, FIT, NO_NODES, mass, node

from hnvlm.plan import draft_plan
from hnvlm.plan.kb import load_kb
from hnvlm.plan.prescription import build_scheme
from hnvlm.plan.textcheck import check_plan_text
from hnvlm.types import Finding

AFTER_SURGERY: dict[str, Any] = {
    **FIT, "site": "oral_cavity", "setting": "postoperative", "side": "left", "tumour_size_mm": 38, "doi_mm": 14,
    "doi_source": "pathology", "nodes_n_pos": 4, "nodes_laterality": "ipsilateral", "nodes_max_mm": 32,
    "ene_path": True, "margin": "positive",
}  # fmt: skip
NASOPHARYNX: dict[str, Any] = {
    **FIT, "site": "nasopharynx", "histology": "nasopharyngeal_carcinoma", "invaded": ["none"], "below_cricoid": False,
    "retropharyngeal_only": False,
}  # fmt: skip
TONSIL = [mass("palatine tonsil", "left", 31), node("left", "II", 24)]


def said(findings: list, form: dict[str, Any]) -> dict[str, str]:
    """Messages of the rules that fired."""
    return {c.id: c.message for c in draft_plan(findings, form).checks if c.status in ("fail", "warn")}


# ---------------------------------------------------------------- time after surgery
@pytest.mark.parametrize(("start", "days"), [(40, None), (41, 85), (49, 93)])
def test_the_time_from_surgery_to_the_last_fraction_is_counted(start: int, days: int | None) -> None:
    # 33 fractions from a Monday: six weeks of five, then Monday to Wednesday: the last is 44 days after the first.
    message = said([], {**AFTER_SURGERY, "days_from_surgery": start}).get("rt_package", "")
    assert message.startswith(f"Surgery to end of RT {days} days (>84)") if days else not message


def test_the_shorter_scheme_counts_where_the_specimen_is_open() -> None:
    form = {k: v for k, v in AFTER_SURGERY.items() if k not in ("ene_path", "margin")}
    # 30 fractions end 39 days after they began: 45 + 39 = 84 with them, 45 + 44 = 89 with 33.
    assert "rt_package" not in said([], {**form, "days_from_surgery": 45})
    assert "rt_package" in said([], {**form, "days_from_surgery": 46})


@pytest.mark.parametrize(
    "more",
    [
        {"site": "major_salivary", "subsite": "parotid", "histology": "salivary_carcinoma"},
        {
            "nodes_n_pos": 1, "nodes_max_mm": 14, "ene_path": False, "margin": "negative", "tumour_size_mm": 25,
            "doi_mm": 6,
        },
    ],
)  # fmt: skip
def test_a_late_start_is_told_where_the_tables_draft_no_dose(more: dict[str, Any]) -> None:
    form = {**AFTER_SURGERY, **more, "days_from_surgery": 60}
    assert draft_plan([], form).prescription.schemes == ()
    assert said([], form)["rt_port_start"] == "Postoperative RT starts 60 days after surgery (>42)"
    assert not said([node("left", "II", 20)], form).keys() & {"fid_nodes_left", "fid_nodes_right"}


# ---------------------------------------------------------------- stage
def test_a_stated_category_that_does_not_follow_is_told_with_the_one_that_does() -> None:
    glottis = {**FIT, "site": "larynx_glottis", "cord_mobility": "normal", "cords_involved": "both", "nodes_n_pos": 0}
    assert said([], {**glottis, "stated_t": "T1a"})["st_t_mismatch"].endswith("for larynx, glottis: they give T1b")
    tongue = {**FIT, "doi_mm": 8, "doi_source": "pathology"}
    findings = [mass("oral tongue", "left", 31), NO_NODES]
    told = said(findings, {**tongue, "stated_n": "N1", "stated_group": "II"})
    assert told["st_n_mismatch"].endswith("for oral cavity: they give N0")
    assert told["st_group_mismatch"].endswith("T2 N1 M0 for oral cavity: they make stage III")


def test_a_stated_stage_that_options_follow_stands_beside_the_derived_one() -> None:
    findings = [mass("oral tongue", "left", 31), NO_NODES]
    plan = draft_plan(findings, {**FIT, "doi_mm": 8, "stated_n": "N1", "stated_group": "II"})
    assert "cT2 cN1 cM0, stage III, stated is II, which options follow, AJCC" in plan.text
    agreed = draft_plan(findings, {**FIT, "doi_mm": 8, "stated_group": "II"})
    assert "stage II, AJCC" in agreed.text and "stated is" not in agreed.text


@pytest.mark.parametrize(("source", "marked"), [("imaging", True), ("pathology", False)])
def test_a_depth_estimated_on_imaging_is_marked(source: str, marked: bool) -> None:
    findings = [mass("oral tongue", "left", 35), NO_NODES]
    plan = draft_plan(findings, {**FIT, "doi_mm": 12, "doi_source": source})
    assert plan.staging.t.value == "T3" and plan.staging.provisional is marked
    assert ("depth of invasion 12 mm as estimated on imaging)" in plan.text) is marked


def test_one_possible_stage_is_not_called_undeterminable() -> None:
    plan = draft_plan([], {**FIT, "site": "hypopharynx", "nodes_n_pos": 2, "nodes_max_mm": 30})
    assert plan.staging.group is None and plan.staging.possible_groups == ("IVA",)
    assert "stage IVA (the only one possible)" in plan.text and "not determinable (possible" not in plan.text
    edited = plan.text.replace("STAGING\n- ", "STAGING\n- Reviewed. ", 1)
    assert edited != plan.text and {c.status for c in check_plan_text(edited, plan)} == {"pass"}


@pytest.mark.parametrize("histology", ["salivary_carcinoma", "other"])
def test_p16_is_asked_of_squamous_cell_carcinoma_only(histology: str) -> None:
    plan = draft_plan(TONSIL, {**FIT, "histology": histology})
    assert "p16" not in {n.id for n in plan.needs} and plan.staging.alternatives == ()
    assert "st_p16_missing" not in {c.id for c in plan.checks if c.status == "fail"}
    assert "p16 is read in squamous cell carcinoma only" in plan.text
    squamous = draft_plan(TONSIL, FIT)
    assert "p16" in {n.id for n in squamous.needs} and "p16 is read in" not in squamous.text


def test_the_stage_of_another_histology_is_one_of_carcinoma() -> None:
    plan = draft_plan(TONSIL, {**FIT, "histology": "other", "p16": "negative"})
    assert plan.modality.drafted is None and plan.systemic == () and plan.prescription.schemes == ()
    assert "The stage holds for carcinoma only: lymphoma, melanoma, sarcoma and thyroid cancer" in plan.text
    assert "holds for carcinoma only" not in draft_plan(TONSIL, {**FIT, "p16": "negative"}).text


def test_squamous_cell_carcinoma_of_the_parotid_may_be_a_metastasis() -> None:
    findings = [mass("parotid gland", "right", 27), node("right", "II", 18)]
    assert "is it a metastasis" in said(findings, FIT)["st_squamous_in_gland"]
    assert "st_squamous_in_gland" not in said(findings, {**FIT, "histology": "salivary_carcinoma"})


def test_unknown_nodes_get_no_volumes_of_involved_ones() -> None:
    form = {**FIT, "p16": "positive", "stated_n": "NX"}
    plan = draft_plan([mass("palatine tonsil", "right", 15)], form)
    assert plan.staging.n.value == "NX" and not any("Elective neck levels" in line for line in plan.not_verified)


# ---------------------------------------------------------------- treatment
def test_nasopharynx_after_progression_on_platinum_gets_no_first_line() -> None:
    form = {**NASOPHARYNX, "nodes_n_pos": 0, "setting": "recurrent_metastatic", "intent": "palliative"}
    assert draft_plan([], form).modality.drafted == "gp_npc_rm"
    plan = draft_plan([], {**form, "platinum_refractory": True})
    assert plan.modality.drafted != "gp_npc_rm" and plan.prescription.kind == "palliative"
    assert "gemcitabine" not in plan.text


@pytest.mark.parametrize(("doi_mm", "named"), [(2, False), (3, False), (4, True), (None, True)])
def test_elective_neck_dissection_follows_the_depth_its_source_names(doi_mm: float | None, named: bool) -> None:
    form = {**FIT, "site": "oral_cavity", "tumour_size_mm": 15, "doi_mm": doi_mm, "nodes_n_pos": 0}
    assert ("oc_end" in {o.id for o in draft_plan([], form).modality.options.applies}) is named


def test_after_induction_nothing_neoadjuvant_is_named() -> None:
    findings = [mass("pyriform sinus", "right", 44), node("right", "II", 30), node("right", "III", 20)]
    form = {**FIT, "cord_mobility": "fixed", "n_subsites": 2}
    assert "periop_pembro" in {o.id for o in draft_plan(findings, form).modality.options.applies}
    plan = draft_plan(findings, {**form, "prior_platinum_induction": True})
    assert "neoadjuvant" not in plan.text and "cps" not in {n.id for n in plan.needs}


@pytest.mark.parametrize(
    ("findings", "form"),
    [
        ([mass("oral tongue", "left", 48), node("left", "II", 20)], {"doi_mm": 14, "autoimmune": True, "cps": 20}),
        (
            [mass("oral tongue", "left", 45), NO_NODES],
            {"doi_mm": 12, "distant": True, "cps": 0.5, "platinum_hypersensitivity": True},
        ),
    ],
)
def test_what_the_form_rules_out_does_not_also_fit(findings: list, form: dict[str, Any]) -> None:
    plan = draft_plan(findings, {**FIT, **form})
    out = [o for o in plan.modality.options.applies if o.ruled_out and o is not plan.modality.lead]
    assert out
    for option in out:
        label = option.in_words
        assert f"Named here, ruled out by the form: {label}" in plan.text and f"Also fits: {label}" not in plan.text


def test_branches_by_t_are_left_out_where_t_decides_nothing() -> None:
    form = {**FIT, "site": "hypopharynx", "nodes_n_pos": 2, "nodes_max_mm": 30, "cps": 30}
    assert draft_plan([], form).modality.branches
    for more in ({"setting": "recurrent_metastatic"}, {"intent": "palliative"}):
        assert draft_plan([], {**form, **more}).modality.branches == ()


def test_a_second_mass_is_told_to_be_in_no_target() -> None:
    told = said([*TONSIL, mass("supraglottis", "right", 25)], {**FIT, "p16": "positive"})["fid_second_mass"]
    assert "no stage and no target of this draft" in told and "primary: Mass, right supraglottis, 25 mm" in told


@pytest.mark.parametrize(("age", "told"), [(16, True), (17, True), (18, False)])
def test_adult_schemes_are_no_answer_for_adolescents(age: int, told: bool) -> None:
    assert ("mg_under_18" in said([node("left", "II", 40)], {**NASOPHARYNX, "age": age})) is told


@pytest.mark.parametrize(
    ("findings", "form", "wanted"),
    [
        (TONSIL, {"distant": True, "p16": "negative", "cps": 20}, True),  # beside pembrolizumab alone
        (TONSIL, {"p16": "negative", "hearing_grade": 3}, True),  # carboplatin and 5-FU to choose from
        ([node("left", "III", 42)], {"site": "unknown_primary", "p16": "negative", "ebv": "negative"}, False),
        (TONSIL, {"p16": "negative"}, False),
    ],
)
def test_a_drug_with_5_fu_asks_for_a_dpd_test(findings: list, form: dict[str, Any], wanted: bool) -> None:
    plan = draft_plan(findings, {**FIT, **form})
    assert any("5-FU" in s.agent for s in plan.systemic) is wanted
    assert any("DPD" in line for line in plan.not_verified) is wanted


def test_a_dpd_test_is_named_where_no_dose_is_drafted() -> None:
    findings = [mass("base of tongue", "left", 30), NO_NODES]
    form = {**FIT, "setting": "recurrent_metastatic", "p16": "negative", "prior_neck_rt": True, "cps": 20}
    plan = draft_plan(findings, form)
    assert plan.prescription.schemes == () and any("DPD" in line for line in plan.not_verified)


# ---------------------------------------------------------------- radiotherapy
@pytest.mark.parametrize(
    ("nodes", "ending"),
    [
        ([node("left", "II", 25)], "largest 2.5 cm"),
        ([node("left", "II", 15), node("right", "II", 12)], "largest 1.5 cm, on both sides"),
        ([node("left", "II", 15)], ""),
        ([node("left", "III", 35)], ""),
    ],
)
def test_level_ib_is_named_where_level_two_nodes_meet_the_guideline(nodes: list, ending: str) -> None:
    lines = [line.text for line in draft_plan(nodes, NASOPHARYNX).targets if line.text.startswith("Level Ib")]
    assert lines == ([f"Level Ib is not left out here: level II nodes drafted from CT, {ending}"] if ending else [])


def test_limits_beside_large_fractions_say_what_they_are_for() -> None:
    palliative = draft_plan(TONSIL, {**FIT, "p16": "negative", "distant": True, "cps": 5}).text
    assert "Limits are for about 2 Gy per fraction, drafted are 3 or 3.7 or 4 Gy" in palliative
    assert "Limits are for about" not in draft_plan(TONSIL, {**FIT, "p16": "negative"}).text
    metrics = {"SpinalCord": {"D0.03cc": 30.0}}
    judged = draft_plan(TONSIL, {**FIT, "p16": "negative", "distant": True, "cps": 5}, dose_metrics=metrics).text
    assert "Organ limits here are for about 2 Gy" in judged and "Limits are for about" not in judged  # said once


def test_eqd2_of_a_repeated_course_is_that_of_one() -> None:
    text = draft_plan(TONSIL, {**FIT, "p16": "negative", "distant": True, "cps": 5}).text
    # 4 x 3.7 Gy: 14.8 (3.7 + 10) / 12 = 16.9 Gy; three courses would be 50.7 Gy
    assert "computed EQD2 of one course 16.9 Gy" in text
    assert "computed EQD2 32.5 Gy" in text  # 10 x 3 Gy is not repeated


def test_the_weeks_of_two_fraction_numbers_are_a_span() -> None:
    scheme = build_scheme(load_kb(), "def_npc_70_33to35")
    assert scheme is not None and [level.fractions for level in scheme.levels] == [35, 33]
    assert scheme.schedule == "5 fractions a week, 6.6 to 7 weeks"  # 33 / 5 and 35 / 5


def test_words_of_a_board_for_sides_sizes_and_cartilage() -> None:
    told = said(TONSIL, {**FIT, "p16": "positive", "side": "right", "tumour_size_mm": 18})
    assert told["fid_side_primary"] == "Primary side differs: CT draft left, form right"
    assert told["fid_size"] == "Tumour size differs: CT draft 3.1 cm, form 1.8 cm"
    form = {**FIT, "site": "larynx_glottis", "invaded": ["thyroid_cartilage_outer"], "nodes_n_pos": 0}
    assert "T4a: invasion: outer cortex of the thyroid cartilage" in draft_plan([AIRWAY], form).text


def test_a_resected_primary_gets_no_palliative_dose_beside_metastases() -> None:
    plan = draft_plan([], {**AFTER_SURGERY, "distant": True, "cps": 5})
    assert plan.staging.m.value == "M1" and plan.modality.drafted == "pembro_rm_mono"
    assert plan.prescription.schemes == () and "palliative radiotherapy" not in plan.text
    before = draft_plan(TONSIL, {**FIT, "p16": "negative", "distant": True, "cps": 5})
    assert before.prescription.kind == "palliative"


def test_first_line_of_the_nasopharynx_asks_about_platinum() -> None:
    form = {**NASOPHARYNX, "nodes_n_pos": 0, "setting": "recurrent_metastatic", "intent": "palliative"}
    assert "platinum_refractory" in {n.id for n in draft_plan([], form).needs}
    assert "platinum_refractory" not in {n.id for n in draft_plan([], {**form, "platinum_refractory": False}).needs}
    assert "platinum_refractory" not in {n.id for n in draft_plan([], {**NASOPHARYNX, "nodes_n_pos": 0}).needs}


def test_weekly_cisplatin_is_no_answer_where_it_is_not_given_with_radiotherapy() -> None:
    metastatic = {**NASOPHARYNX, "nodes_n_pos": 0, "distant": True, "crcl_ml_min": 55}
    text = draft_plan([], metastatic).text
    assert "gemcitabine + cisplatin (R/M NPC)" in text and "Cisplatin: relative contraindication, weigh it." in text
    findings = [mass("pyriform sinus", "left", 45), NO_NODES]
    concurrent = draft_plan(findings, {**FIT, "crcl_ml_min": 55, "cord_mobility": "fixed", "n_subsites": 2}).text
    assert "weigh it; weekly dosing is the usual answer" in concurrent


def test_what_is_not_invaded_reads_as_a_sentence() -> None:
    form = {**FIT, "site": "larynx_subglottis", "cord_mobility": "normal", "nodes_n_pos": 0}
    assert "T1: invasion: none of glottis, supraglottis." in draft_plan([], form).text.replace(" [S2]", "")


@pytest.mark.parametrize("more", [{}, {"ecog": 3}, {"ene_path": False, "margin": "negative"}])
def test_palliative_intent_after_surgery_gets_no_dose_for_cure(more: dict[str, Any]) -> None:
    plan = draft_plan([], {**AFTER_SURGERY, "intent": "palliative", **more})
    assert plan.modality.drafted is None and plan.prescription.schemes == () and plan.systemic == ()
    assert "No treatment drafted: palliative intent is stated after surgery" in plan.text


def test_branches_that_lead_to_the_same_are_one_line() -> None:
    nodes = [node("left", "II", 34), node("right", "II", 20)]
    branches = [b.text.split("; ")[0] for b in draft_plan(nodes, {"site": "nasopharynx"}).modality.branches]
    assert branches == ["If T1, T2 or T3: N2 M0, stage III", "If T4: T4 N2 M0, stage IVA"]


NEAR = {"OpticChiasm", "OpticNrv_L", "OpticNrv_R", "Lobe_Temporal_L", "Lobe_Temporal_R", "Cochlea_L", "Cochlea_R"}


def test_limits_of_the_organs_near_the_nasopharynx_are_named() -> None:
    form = {**NASOPHARYNX, "nodes_n_pos": 0, "invaded": ["intracranial", "skull_base"]}
    named = {row.structure for row in draft_plan([], form).constraints}
    assert named >= NEAR and {"SpinalCord", "Brainstem"} <= named
    assert not {row.structure for row in draft_plan(TONSIL, {**FIT, "p16": "negative"}).constraints} & NEAR


def test_organs_near_the_nasopharynx_that_are_not_contoured_are_told() -> None:
    form = {**NASOPHARYNX, "nodes_n_pos": 0}
    drawn = dict.fromkeys(["SpinalCord", "Brainstem", *(NEAR - {"Cochlea_R", "OpticChiasm"})])
    checks = {c.id: c.message for c in draft_plan([], form, structures=drawn).checks if c.status == "warn"}
    assert checks["rt_oars_near"] == "Not contoured, of the organs near the nasopharynx: OpticChiasm, Cochlea_R"
    complete = draft_plan([], form, structures=dict.fromkeys(NEAR)).checks
    assert "rt_oars_near" not in {c.id for c in complete if c.status == "warn"}
    rule = load_kb().entry("rt_oars_near")["when"]["all"][-1]["f"]["args"][0]
    assert rule == load_kb()["templates"]["near_organs"]["nasopharynx"]


def field(superior: str, inferior: str) -> Finding:
    return Finding("coverage", attributes={"superior": superior, "inferior": inferior})


@pytest.mark.parametrize(
    ("superior", "inferior", "said_of_it"),
    [
        ("vertex", "upper mediastinum", ""),
        ("nasopharynx", "clavicle", ""),
        ("skull base", "larynx", "ends at the larynx and"),
        ("hyoid", "clavicle", "begins at the hyoid and"),
        ("oropharynx", "cricoid", "begins at the oropharynx and ends at the cricoid and"),
    ],
)
def test_a_ct_that_does_not_show_the_whole_neck_excludes_no_nodes(
    superior: str, inferior: str, said_of_it: str
) -> None:
    findings = [mass("palatine tonsil", "left", 31), NO_NODES, field(superior, inferior)]
    told = said(findings, {**FIT, "p16": "negative"}).get("fid_partial_neck", "")
    assert (f"field of view {said_of_it} does not show the whole neck" in told) is bool(said_of_it)
    answered = said(findings, {**FIT, "p16": "negative", "nodes_n_pos": 0})
    assert "fid_partial_neck" not in answered  # the clinician counted


def test_categories_of_a_recurrence_are_not_those_of_the_first_disease() -> None:
    findings = [mass("oral tongue", "left", 30), NO_NODES]
    recurrence = {**FIT, "setting": "recurrent_metastatic", "doi_mm": 8}
    assert "Recurrent disease: these categories describe what is there now" in draft_plan(findings, recurrence).text
    for form in ({**FIT, "doi_mm": 8}, {**recurrence, "distant": True}):
        assert "Recurrent disease:" not in draft_plan(findings, form).text


def test_a_dose_for_a_recurrence_does_not_wait_for_the_drugs() -> None:
    findings = [mass("oral tongue", "left", 30), NO_NODES]
    recurrence = {**FIT, "setting": "recurrent_metastatic", "doi_mm": 8}
    plan = draft_plan(findings, recurrence)
    assert plan.intent.value is None and "drugs" in plan.modality.withheld
    assert "drugs" not in plan.prescription.withheld and "multidisciplinary meeting" in plan.prescription.withheld
    before = draft_plan(findings, {**recurrence, "prior_neck_rt": True})
    assert before.prescription.withheld.startswith("previous head and neck radiotherapy")
