"""What a tumour board asks of a draft: markers that disagree, treatment that is refused, answers that contradict."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import CASES, FIT, NO_NODES, mass, node

from hnvlm.plan import build_constraints, check_plan_text, draft_plan
from hnvlm.plan.dose_basis import DoseBasis, off_prescription
from hnvlm.plan.kb import load_kb
from hnvlm.plan.options import action
from hnvlm.plan.result import Plan
from hnvlm.plan.words import STATUS_MEANING

KB = load_kb()
REFUSED = "systemic treatment is not possible or not wanted"
UNKNOWN = {**FIT, "site": "unknown_primary"}
NPC = {
    **FIT, "site": "nasopharynx", "histology": "nasopharyngeal_carcinoma", "below_cricoid": False,
    "retropharyngeal_only": False,
}  # fmt: skip
TONGUE = [mass("oral tongue", "left", 30), node("left", "IB", 24)]
POSTOPERATIVE = {
    **FIT, "site": "oral_cavity", "setting": "postoperative", "side": "left", "tumour_size_mm": 15, "doi_mm": 4,
    "nodes_n_pos": 0, "margin": "negative",
}  # fmt: skip


def fired(plan: Plan) -> set[str]:
    return {c.id for c in plan.checks if c.status in ("fail", "warn")}


def asked(plan: Plan) -> set[str]:
    return {need.id for need in plan.needs}


# ---------------------------------------------------------------- markers
def test_p16_and_ebv_both_positive_decide_nothing_and_are_asked_about() -> None:
    plan = draft_plan([node("left", "II", 25)], {**UNKNOWN, "p16": "positive", "ebv": "positive"})
    assert [s.site for s in (plan.staging, *plan.staging.alternatives)] == ["oropharynx_p16_pos", "nasopharynx"]
    assert plan.staging.provisional and plan.modality.drafted is None and not plan.prescription.schemes
    assert "point to different primaries" in plan.modality.withheld
    assert [b.text.split(":")[0] for b in plan.modality.branches] == ["If oropharynx, p16-positive", "If nasopharynx"]
    assert {"p16", "ebv"} <= asked(plan) and "st_p16_and_ebv" in fired(plan)
    for answers, site in (({"p16": "positive"}, "oropharynx_p16_pos"), ({"ebv": "positive"}, "nasopharynx")):
        settled = draft_plan([node("left", "II", 25)], {**UNKNOWN, "p16": "negative", "ebv": "negative", **answers})
        assert (settled.staging.site, settled.staging.alternatives) == (site, ())
        assert "st_p16_and_ebv" not in fired(settled)


@pytest.mark.parametrize(
    ("findings", "form", "rule"),
    [
        ([mass("palatine tonsil", "left", 30), NO_NODES], {**FIT, "p16": "positive", "ebv": "positive"},
         "st_ebv_elsewhere"),
        ([node("left", "II", 25)], {**NPC, "p16": "positive", "ebv": "negative"}, "st_p16_nasopharynx"),
        ([node("left", "IV", 30), node("left", "V", 20)], {**UNKNOWN, "p16": "positive"}, "st_p16_level"),
        ([mass("palatine tonsil", "left", 30), NO_NODES], {**FIT, "p16_percent": 90}, "st_p16_percent_only"),
    ],
)  # fmt: skip
def test_a_marker_that_does_not_fit_its_place_is_told(findings: list, form: dict[str, Any], rule: str) -> None:
    assert rule in fired(draft_plan(findings, form))
    assert rule not in fired(draft_plan(*CASES["oropharynx p16 positive"]))


# ---------------------------------------------------------------- refusal
@pytest.mark.parametrize(
    ("findings", "form"),
    [
        (TONGUE, {**FIT, "distant": True, "cps": 10, "doi_mm": 8}),
        (TONGUE, {**FIT, "distant": True, "cps": 0, "doi_mm": 8}),
        ([], {**NPC, "nodes_n_pos": 0, "distant": True}),
        (TONGUE, {**FIT, "distant": True, "cps": 5, "doi_mm": 8, "platinum_refractory": True}),
    ],
)
def test_refused_drugs_are_not_drafted_in_metastatic_disease(findings: list, form: dict[str, Any]) -> None:
    willing = draft_plan(findings, form)
    assert any(s.status == "drafted" for s in willing.systemic)
    plan = draft_plan(findings, {**form, "chemo_possible": False})
    assert action(KB, plan.modality.drafted)["rt"] == "palliative"
    assert {(s.status, s.reason) for s in plan.systemic} == {("not_eligible", REFUSED)}
    assert "platinum_refractory" not in asked(plan)
    again = draft_plan(findings, {**form, "chemo_possible": False, "prior_neck_rt": True})
    assert again.modality.drafted is None and not any(s.status == "drafted" for s in again.systemic)


def test_refused_drugs_are_not_offered_beside_a_local_treatment() -> None:
    plan = draft_plan(TONGUE, {**FIT, "doi_mm": 12, "cps": 10, "chemo_possible": False})
    assert plan.modality.drafted == "surgery_plus_adjuvant_rt"
    assert {(s.id, s.status) for s in plan.systemic} == {("pembro_periop", "not_eligible")}
    assert f"perioperative pembrolizumab with surgery and adjuvant treatment ({REFUSED})" in plan.text


def test_refusal_counts_before_a_contraindication() -> None:
    findings, form = CASES["no chemotherapy"]
    plan = draft_plan(findings, {**form, "hearing_grade": 3})
    assert plan.modality.drafted == "rt_alone"
    assert not any(s.status in ("drafted", "alternative") for s in plan.systemic)
    assert plan.prescription.schemes[0].id == "def_dahanca_66_33_6fpw"


def test_a_p16_positive_cancer_without_drugs_has_an_accelerated_alternative() -> None:
    findings = [mass("palatine tonsil", "left", 45), node("left", "II", 24), node("left", "III", 15)]
    form = {**FIT, "p16": "positive"}
    named = {s.id for s in draft_plan(findings, {**form, "chemo_possible": False}).prescription.alternatives}
    assert "def_dahanca_66_33_6fpw" in named
    assert "def_dahanca_66_33_6fpw" not in {s.id for s in draft_plan(findings, form).prescription.alternatives}


# ---------------------------------------------------------------- coverage
def test_every_level_after_surgery_is_judged_on_its_own_dose() -> None:
    """95% of 66, 60 and 54 Gy: 62.7, 57.0 and 51.3 Gy."""
    d99 = {"PTV_6600": 62.8, "PTV_6000": 56.5, "PTV_5400_L": 51.3}
    metrics = {name: {"D99pct": gy} for name, gy in d99.items()}
    findings, form = CASES["postoperative with ENE"]
    plan = draft_plan(findings, form, structures=d99, dose_metrics=metrics, dose_basis=DoseBasis("Uploaded dose"))
    rows = {r.structure: (r.metric, r.op, r.limit, r.status) for r in plan.constraints}
    assert rows == {
        "PTV_6600": ("D99pct", ">=", 62.7, "met"), "PTV_6000": ("D99pct", ">=", 57.0, "not_met"),
        "PTV_5400_L": ("D99pct", ">=", 51.3, "met"),
    }  # fmt: skip
    assert all(
        "the share that the source asks of the three levels" in r.applies and r.sources for r in plan.constraints
    )
    assert not [c for c in check_plan_text(plan.text, plan) if c.status == "fail"]
    assert "fid_target_dose" not in fired(plan)
    # Without extranodal extension nothing is prescribed to 66 Gy.
    low = draft_plan(findings, {**form, "ene_path": False}, structures=d99, dose_metrics=metrics)
    assert [c.message.split(" does")[0] for c in low.checks if c.id == "fid_target_dose"] == ["PTV_6600"]
    assert [r.structure for r in low.constraints] == ["PTV_6000", "PTV_5400_L"]


def test_a_level_that_the_source_names_keeps_its_own_row() -> None:
    rows = build_constraints(KB, ["PTV_7000", "PTV_6300_R", "PTV_5600", "PTV_6125", "PTV_High", "CTV_6600"])
    assert {(r.structure, r.id, r.limit) for r in rows} == {
        ("PTV_7000", "okbp_c_p70", 66.5), ("PTV_6300_R", "okbp_c_p63", 59.85), ("PTV_5600", "okbp_c_p56", 53.2),
        ("PTV_6125", "ptv_d99_share", 58.1875),
    }  # fmt: skip
    assert build_constraints(KB, ["PTV_6600"], template="openkbp") == ()


def test_lower_levels_belong_to_a_set_with_the_level_prescribed() -> None:
    assert off_prescription(["PTV_6600", "PTV_6000", "PTV_7000"], [66.0], open_below=True) == ("PTV_7000",)
    assert off_prescription(["PTV_6300", "PTV_5600"], [66.0], open_below=True) == ("PTV_6300", "PTV_5600")
    assert off_prescription(["PTV_6600", "PTV_6000"], [66.0]) == ("PTV_6000",)


# ---------------------------------------------------------------- words
def test_the_word_alternative_is_explained_where_it_stands() -> None:
    plan = draft_plan(*CASES["oropharynx p16 positive"])
    rows = {s.id: s for s in plan.systemic}
    assert rows["cis_weekly40"].status == "alternative"
    assert rows["cis_weekly40"].reason == "instead of the other cisplatin schedule, never with it"
    shown = {s["id"]: s["status_meaning"] for s in plan.to_json()["systemic"]}
    assert shown["cis_weekly40"] == STATUS_MEANING["alternative"]
    lines = [line for line in plan.text.splitlines() if line.startswith("- Alternative: ")]
    assert lines[0].startswith(f"- Alternative: {STATUS_MEANING['alternative']}. [S")
    assert "An alternative takes the place of the scheme drafted above; it is not added to it" in plan.text
    assert "Words in brackets: standard: backed by a guideline or a phase III trial" in plan.text
    choice = draft_plan(*CASES["hearing loss"])
    assert {s.meaning for s in choice.systemic if s.to_choose} == {STATUS_MEANING["to_choose"]}
    early = draft_plan(*CASES["early glottis"])
    assert not any(line.startswith("- Alternative: ") for line in early.text.splitlines())


def test_cisplatin_that_may_be_offered_says_so() -> None:
    plan = draft_plan([node("left", "II", 25)], NPC)
    assert plan.modality.drafted == "crt_cisplatin_optional"
    assert next(s.reason for s in plan.systemic if s.status == "drafted") == "optional: may be offered"


# ---------------------------------------------------------------- questions before treatment
def test_radiotherapy_without_a_dose_is_asked_about_as_well() -> None:
    plan = draft_plan([node("left", "II", 45)], {"site": "unknown_primary", "p16": "negative", "ebv": "negative"})
    assert plan.modality.drafted == "crt_cisplatin" and not plan.prescription.schemes
    assert {"pregnant_or_lactating", "prior_neck_rt", "dental_status"} <= asked(plan)


def test_a_drug_alone_is_asked_about_pregnancy() -> None:
    form = {k: v for k, v in FIT.items() if k != "prior_neck_rt"} | {"age": 44, "cps": 10, "doi_mm": 8}
    metastatic = draft_plan(TONGUE, {**form, "distant": True, "prior_neck_rt": True})
    assert metastatic.modality.drafted == "pembro_rm_mono" and not metastatic.prescription.schemes
    assert "pregnant_or_lactating" in asked(metastatic)
    recurrent = draft_plan(TONGUE, {**form, "setting": "recurrent_metastatic"})
    assert {"pregnant_or_lactating", "prior_neck_rt"} <= asked(recurrent)


# ---------------------------------------------------------------- what is not treated by these tables
@pytest.mark.parametrize("site", ["oropharynx", "oral_cavity", "larynx_glottis"])
def test_carcinoma_in_situ_gets_no_dose_of_an_invasive_cancer(site: str) -> None:
    form = {**FIT, "site": site, "p16": "positive", "in_situ": True, "nodes_n_pos": 0, "tumour_size_mm": 10}
    plan = draft_plan([], form)
    assert (plan.modality.drafted, plan.prescription.schemes) == (None, ())
    assert "carcinoma in situ only is stated" in plan.modality.withheld
    assert ("st_in_situ_p16_positive" in fired(plan)) is (site == "oropharynx")
    assert "st_in_situ_invades" not in fired(plan)


@pytest.mark.parametrize("more", [{"invaded": ["mandible_cortex"]}, {"doi_mm": 4}, {"nodes_n_pos": 2}])
def test_carcinoma_in_situ_that_invades_is_a_contradiction(more: dict[str, Any]) -> None:
    form = {**FIT, "site": "oral_cavity", "in_situ": True, "nodes_n_pos": 0}
    assert "st_in_situ_invades" in fired(draft_plan([], {**form, **more}))


def test_skin_of_the_lip_is_not_treated_as_oral_cavity() -> None:
    form = {**FIT, "site": "oral_cavity", "subsite": "dry_vermilion_lip", "tumour_size_mm": 15, "nodes_n_pos": 0}
    plan = draft_plan([], form)
    assert plan.modality.drafted is None and "staged and treated as skin" in plan.modality.withheld
    assert draft_plan([], {**form, "subsite": "mucosal_lip"}).modality.drafted == "rt_alone"


def test_a_site_without_a_table_says_so() -> None:
    plan = draft_plan([mass("oral tongue", "left", 30), NO_NODES], {**FIT, "site": "other_site"})
    assert plan.staging.site is None and plan.modality.drafted is None and not plan.prescription.schemes
    assert "the tables do not cover a primary of another site (paranasal sinus" in plan.modality.withheld
    assert "No table for this primary site: stage cannot be derived" in plan.text
    assert "site" not in asked(plan) and "fid_site_primary" in fired(plan)


# ---------------------------------------------------------------- choice of treatment
@pytest.mark.parametrize(("nonfunctional", "drafted"), [
    (True, "laryngopharyngectomy_plus_adjuvant"), (False, "crt_cisplatin"), (None, "crt_cisplatin"),
])  # fmt: skip
def test_a_larynx_that_does_not_function_is_not_preserved_in_hypopharynx(nonfunctional: Any, drafted: str) -> None:
    form = {**FIT, "n_subsites": 2, "cord_mobility": "fixed", "larynx_nonfunctional": nonfunctional}
    findings = [mass("pyriform sinus", "left", 45), NO_NODES]
    assert draft_plan(findings, form).modality.drafted == drafted
    left = draft_plan(findings, {**form, "resectable": False})
    assert left.modality.drafted == "crt_cisplatin"
    assert ("mg_hp_nonfunctional" in fired(left)) is (nonfunctional is True)


def test_oral_cavity_is_operated_first_whatever_its_nodes() -> None:
    findings = [mass("oral tongue", "left", 35), node("left", "IB", 40)]
    form = {**FIT, "doi_mm": 8, "ene_clinical": True}
    plan = draft_plan(findings, form)
    assert (plan.staging.n.value, plan.staging.group) == ("N3b", "IVB")
    assert plan.modality.drafted == "surgery_plus_adjuvant_rt"
    assert draft_plan(findings, {**form, "resectable": False}).modality.drafted == "crt_cisplatin"
    assert draft_plan(findings, {**form, "invaded": ["masticator_space"]}).modality.drafted == "crt_cisplatin"


@pytest.mark.parametrize(("size_mm", "drafted"), [(25, None), (45, "crt_cisplatin")])
def test_one_small_node_of_an_unknown_primary_is_not_advanced_disease(size_mm: float, drafted: str | None) -> None:
    plan = draft_plan([node("left", "II", size_mm)], {**UNKNOWN, "p16": "negative", "ebv": "negative"})
    assert plan.modality.drafted == drafted
    assert bool([s for s in plan.systemic if s.status == "drafted"]) is (drafted is not None)


def test_autoimmune_disease_leaves_the_regimen_without_a_checkpoint_inhibitor() -> None:
    form = {**FIT, "distant": True, "cps": 50, "doi_mm": 8, "autoimmune": True}
    plan = draft_plan(TONGUE, form)
    status = {s.id: s.status for s in plan.systemic}
    assert status == {"extreme": "drafted", "pembro_rm_mono": "not_eligible", "pembro_rm_chemo": "not_eligible"}
    assert "extreme" not in {s.id for s in draft_plan(TONGUE, {**form, "autoimmune": False}).systemic}
    refractory = draft_plan(TONGUE, {**form, "platinum_refractory": True})
    assert "extreme" not in {s.id for s in refractory.systemic}


@pytest.mark.parametrize(("ecog", "rt"), [(1, "none"), (3, "palliative"), (4, "palliative")])
def test_relief_comes_before_drugs_in_poor_performance(ecog: int, rt: str) -> None:
    plan = draft_plan(TONGUE, {**FIT, "distant": True, "cps": 10, "doi_mm": 8, "ecog": ecog})
    assert action(KB, plan.modality.drafted)["rt"] == rt
    assert any(s.status == "drafted" for s in plan.systemic) is (rt == "none")


# ---------------------------------------------------------------- answers that contradict
@pytest.mark.parametrize(
    ("form", "rule"),
    [
        ({**NPC, "nodes_n_pos": 0, "below_cricoid": True}, "st_n0_with_nodes"),
        ({**NPC, "nodes_n_pos": 0, "retropharyngeal_only": True}, "st_n0_with_nodes"),
        ({**POSTOPERATIVE, "levels_iv_v": True}, "st_n0_with_nodes"),
        ({**POSTOPERATIVE, "nodes_n_pos": 1, "nodes_laterality": "bilateral"}, "st_one_node_two_sides"),
        ({**POSTOPERATIVE, "perineural": False, "perineural_multiple": True}, "st_perineural"),
    ],
)
def test_answers_that_cannot_both_hold_are_told(form: dict[str, Any], rule: str) -> None:
    assert rule in fired(draft_plan([], form))
    assert rule not in fired(draft_plan([], POSTOPERATIVE))


def test_multiple_perineural_invasion_is_perineural_invasion() -> None:
    plan = draft_plan([], {**POSTOPERATIVE, "perineural_multiple": True})
    assert plan.modality.drafted == "postop_rt" and "perineural" not in asked(plan)
    assert [v.dose_gy for v in plan.prescription.levels] == [60]


def test_a_close_margin_that_the_tables_do_not_weigh_is_said() -> None:
    clear = {**POSTOPERATIVE, "perineural": False, "lymphovascular": False}
    assert "a close margin is not among those they name" in draft_plan([], {**clear, "margin": "close"}).text
    assert "close margin" not in draft_plan([], clear).text


def test_a_recurrence_of_the_nasopharynx_is_not_held_to_the_rule_of_first_treatment() -> None:
    form = {**NPC, "nodes_n_pos": 0, "invaded": ["parapharyngeal_space"]}
    recurrent = draft_plan([], {**form, "setting": "recurrent_metastatic"})
    assert recurrent.modality.drafted == "gp_npc_rm" and "sys_npc_t2n0" not in fired(recurrent)


# ---------------------------------------------------------------- follow-up and neck
@pytest.mark.parametrize(
    ("nodes", "looked_for"),
    [
        ([node("left", "II", 25), node("left", "III", 15)], True),  # N2b of the edition that the trial used
        ([node("left", "II", 40)], True),  # its N2a
        ([node("left", "II", 25)], False),  # its N1
    ],
)
def test_response_imaging_follows_the_nodes_that_the_trial_studied(nodes: list, looked_for: bool) -> None:
    plan = draft_plan([mass("palatine tonsil", "left", 45), *nodes], {**FIT, "p16": "positive"})
    assert (plan.staging.n.value, plan.modality.drafted) == ("N1", "crt_cisplatin")
    assert any(line.text.startswith("PET-CT 12 weeks") for line in plan.follow_up) is looked_for


@pytest.mark.parametrize(("more", "said"), [({}, True), ({"crosses_midline": True}, False)])
def test_the_other_side_of_the_neck_is_left_out_for_a_lateral_tonsil_only(more: dict[str, Any], said: bool) -> None:
    form = {**FIT, "p16": "positive", **more}
    plan = draft_plan([mass("palatine tonsil", "left", 18), NO_NODES], form)
    levels = next(text for text in plan.not_verified if text.startswith("Elective neck levels"))
    assert ("contralateral side may be left out with a well-lateralised tonsil" in levels) is said
    assert "VIIa added with posterior pharyngeal wall" in levels
    base = draft_plan([mass("base of tongue", "left", 18), NO_NODES], form)
    assert "may be left out" not in " ".join(base.not_verified)


# ---------------------------------------------------------------- an earlier course, spread, and other people's limits
def test_an_earlier_course_is_asked_about_and_what_it_limits_is_named_without_numbers() -> None:
    plan = draft_plan(*CASES["previous radiotherapy"])
    questions = {need.question for need in plan.needs}
    assert "Dose, fractions, volumes and end date of the previous radiotherapy" in questions
    (named,) = [text for text in plan.not_verified if text.startswith("Irradiating again")]
    assert "cumulative limits of cord, carotid and mandible" in named and "American Radium Society" in named
    first = draft_plan(*CASES["oropharynx p16 positive"])
    assert not any("previous radiotherapy" in need.question.lower() for need in first.needs if not need.id)
    assert not any(text.startswith("Irradiating again") for text in first.not_verified)


def test_how_far_a_disease_has_spread_is_asked_before_it_is_called_palliative() -> None:
    assert "Number and sites of the metastases" in {need.question for need in draft_plan(*CASES["metastatic"]).needs}
    local = draft_plan(*CASES["oropharynx p16 positive"])
    assert "Number and sites of the metastases" not in {need.question for need in local.needs}


def test_limits_of_a_nasopharynx_point_to_the_guideline_on_their_order() -> None:
    said = "an international dose-prioritisation guideline exists (Lee 2019)"
    plan = draft_plan(*CASES["nasopharynx"])
    (line,) = [line for line in plan.text.splitlines() if said in line]
    tag = line.rsplit("[", 1)[1].rstrip("]")
    assert any(row.startswith(f"[{tag}] Lee AW et al.") for row in plan.text.splitlines())
    assert said not in draft_plan(*CASES["oropharynx p16 positive"]).text


def test_a_larynx_that_does_not_function_is_preserved_only_where_nothing_else_is_left() -> None:
    form = {
        **FIT, "site": "larynx_glottis", "cord_mobility": "impaired", "cords_involved": "one", "nodes_n_pos": 1,
        "nodes_laterality": "ipsilateral", "nodes_max_mm": 15,
    }  # fmt: skip
    assert draft_plan([], form).modality.drafted == "crt_cisplatin"
    plan = draft_plan([], {**form, "larynx_nonfunctional": True})
    assert plan.modality.drafted == "surgery_plus_adjuvant" and "mg_lx_t4a_preserve" not in fired(plan)
    left = draft_plan([], {**form, "larynx_nonfunctional": True, "resectable": False})
    assert left.modality.drafted == "crt_cisplatin" and "mg_lx_t4a_preserve" in fired(left)


def test_a_code_is_held_against_a_known_primary_only_and_sites_are_named_in_words() -> None:
    nodes = draft_plan([node("left", "II", 25)], {**UNKNOWN, "p16": "positive", "icd10": "C77.0"})
    assert nodes.staging.site == "oropharynx_p16_pos" and "fid_icd_site" not in fired(nodes)
    findings, form = CASES["larynx T4a"]
    plan = draft_plan(findings, {**form, "icd10": "C12", "stated_t": "T1", "subsite": "tonsil"})
    said = {c.id: c.message for c in plan.checks if c.status == "fail"}
    assert said["fid_icd_site"] == "ICD-10 C12 does not belong to larynx, supraglottis"
    assert said["st_t_mismatch"].endswith("8th edition table for larynx, supraglottis: they give T4a")


def test_a_branch_of_a_stated_group_names_what_is_not_known() -> None:
    plan = draft_plan([], {"site": "unknown_primary", "ebv": "negative", "stated_group": "II"})
    (branch,) = [line.text for line in plan.modality.branches]
    assert branch.startswith("If oropharynx, p16-positive: T0 N? M0, stage II; ") and "None" not in plan.text
