"""What a radiation oncologist stumbles over when reading a draft; each case names its entry of the tables."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import FIT, NO_NODES, mass, node

from hnvlm.plan import build_constraints, check_plan_text, check_rows, draft_plan, evaluate, template_rows
from hnvlm.plan.kb import CLINICAL_FORM, load_kb
from hnvlm.plan.result import Plan

KB = load_kb()
NPC = {**FIT, "site": "nasopharynx", "histology": "nasopharyngeal_carcinoma", "invaded": ["none"]}
TONSIL = mass("palatine tonsil", "left", 31)


def agents(plan: Plan) -> dict[str, str]:
    return {s.id: s.status for s in plan.systemic}


def after_surgery(**more: Any) -> Plan:
    form = {"site": "oropharynx", "p16": "negative", "side": "left", "setting": "postoperative", "tumour_size_mm": 15}
    return draft_plan([], {**FIT, **form, "nodes_n_pos": 0, "ene_path": False, "margin": "negative", **more})


@pytest.mark.parametrize("form, said", [
    ({"nodes_n_pos": 0}, "number: CT draft 1 (Node, left level II, 25 mm, probable), form 0"),
    ({"nodes_n_pos": 3, "nodes_laterality": "ipsilateral"}, "form 3"),
    ({"nodes_laterality": "bilateral"}, "side: CT draft ipsilateral, form bilateral"),
    ({"nodes_max_mm": 28}, "largest: CT draft 25 mm, form 28 mm"),
])  # fmt: skip
def test_nodes_of_the_form_that_ct_does_not_show_are_reported(form: dict[str, Any], said: str) -> None:
    """Rules fid_size (2 mm) and fid_side_primary of safety.yaml, for the nodes."""
    plan = draft_plan([TONSIL, node("left", "II", 25)], {**FIT, "p16": "negative", **form})
    (check,) = [c for c in plan.checks if c.id == "fid_nodes_form"]
    assert check.status == "warn" and said in check.message and said in plan.text
    assert ("in no target here" in check.message) == (form.get("nodes_n_pos") == 0)


@pytest.mark.parametrize("findings, form", [
    ([TONSIL, node("left", "II", 25)], {"nodes_n_pos": 1, "nodes_laterality": "ipsilateral", "nodes_max_mm": 26}),
    ([TONSIL, NO_NODES], {"nodes_n_pos": 0}),
    ([TONSIL], {"nodes_n_pos": 2, "nodes_max_mm": 12}),  # nobody looked: nothing to disagree with
    ([mass("base of tongue", None, 31), node("left", "II", 25)], {"nodes_laterality": "contralateral"}),
])  # fmt: skip
def test_nodes_that_agree_or_that_nobody_looked_for_are_not(findings: list, form: dict[str, Any]) -> None:
    plan = draft_plan(findings, {**FIT, "p16": "negative", **form})
    assert not [c for c in plan.checks if c.id == "fid_nodes_form"]


def test_one_node_by_the_form_lies_on_one_side() -> None:
    """n_general_clinical: N2c needs nodes of both sides; which of CT's two is the involved one nobody said."""
    findings = [TONSIL, node("left", "II", 25), node("right", "II", 20)]
    plan = draft_plan(findings, {**FIT, "p16": "negative", "nodes_n_pos": 1})
    assert plan.staging.n.value == "N1" and [c for c in plan.checks if c.id == "fid_nodes_form"]


@pytest.mark.parametrize("form", [
    {"distant": True, "below_cricoid": False, "retropharyngeal_only": False},
    {"intent": "palliative", "nodes_n_pos": 0},
])  # fmt: skip
def test_a_palliative_nasopharynx_gets_no_elective_neck(form: dict[str, Any]) -> None:
    """The palliative schemes of radiotherapy.yaml treat PTV_gross; nl_npc is an elective volume."""
    plan = draft_plan([], {**NPC, **form})
    assert plan.prescription.kind == "palliative" and plan.prescription.schemes
    assert not [t for t in plan.targets if "lective" in t.text] and "Elective neck" not in plan.text
    cured = draft_plan([], {**NPC, "nodes_n_pos": 0})
    assert [t for t in cured.targets if t.text.startswith("Elective neck: bilateral retropharyngeal")]


@pytest.mark.parametrize("n_pos, size_mm, group, named", [(2, 25, "IVA", True), (1, 61, "IVB", False)])
@pytest.mark.parametrize("resectable", [True, None, False])
def test_perioperative_pembrolizumab_stays_in_its_population(
    n_pos: int, size_mm: int, group: str, named: bool, resectable: bool | None
) -> None:
    """Entry periop_pembro and rule sys_periop_not_eligible: resectable stage III-IVA (KEYNOTE-689)."""
    findings = [mass("palatine tonsil", "left", 30), *[node("left", "II", size_mm)] * n_pos]
    plan = draft_plan(findings, {**FIT, "p16": "negative", "resectable": resectable})
    assert plan.staging.group == group
    assert ("pembro_periop" in agents(plan)) == (named and resectable is True)
    found = [o.id for o in plan.modality.options.applies if "perioperative pembrolizumab" in " ".join(o.labels)]
    assert found == (["periop_pembro"] if named and resectable else [])
    asked = [o.id for o in plan.modality.options.depends]
    assert ("periop_pembro" in asked) == (named and resectable is None)
    assert "KEYNOTE-689 enrolled" not in plan.text


def test_very_advanced_oropharynx_names_no_operation() -> None:
    """Entries gen_concurrent and gen_concurrent_t4b, for p16-negative disease too."""
    plan = draft_plan(
        [mass("palatine tonsil", "left", 61), NO_NODES], {**FIT, "p16": "negative", "invaded": ["skull_base"]}
    )
    assert plan.staging.t.value == "T4b" and plan.modality.lead.id == "gen_concurrent_t4b"
    assert not [o for o in plan.modality.options.applies if "surgery" in " ".join(o.labels)]


def test_marker_that_decides_the_table_leaves_the_stage_open() -> None:
    """Rule st_p16_missing: stage is provisional without p16."""
    plan = draft_plan([TONSIL, NO_NODES], FIT)
    assert [(s.site, s.group, s.provisional) for s in (plan.staging, *plan.staging.alternatives)] == [
        ("oropharynx_p16_neg", "II", True), ("oropharynx_p16_pos", "I", True),
    ]  # fmt: skip
    assert plan.text.count("8th edition (provisional)") == 2
    assert not draft_plan([TONSIL, NO_NODES], {**FIT, "p16": "positive"}).staging.provisional


@pytest.mark.parametrize("crcl, named", [(85, True), (55, False), (45, False)])
def test_accelerated_chemoradiotherapy_needs_full_dose_cisplatin(crcl: int, named: bool) -> None:
    """def_accel_70_35_6fpw is given with 100 mg/m2; ce_crcl60_unsuitable rules that dose out below 60 mL/min."""
    plan = draft_plan(
        [mass("pyriform sinus", "left", 45), node("left", "II", 25)],
        {**FIT, "cord_mobility": "fixed", "crcl_ml_min": crcl},
    )
    assert ("def_accel_70_35_6fpw" in [s.id for s in plan.prescription.alternatives]) == named
    assert "def_sib_hn004_70_6125_56_35" in [s.id for s in plan.prescription.alternatives]


@pytest.mark.parametrize(
    "label", ["induction chemotherapy, then radiotherapy", "postoperative radiotherapy with cisplatin and nivolumab"]
)
def test_every_option_with_cisplatin_says_that_it_is_contraindicated(label: str) -> None:
    """Agents tpf_us, tpf_eu and nivo_postop hold cisplatin; ce_crcl50."""
    if label.startswith("induction"):
        plan = draft_plan(
            [mass("supraglottis", "left", 31), NO_NODES], {**FIT, "cord_mobility": "fixed", "crcl_ml_min": 45}
        )
    else:
        plan = after_surgery(ene_path=True, nodes_n_pos=2, nodes_max_mm=20, crcl_ml_min=45)
    shown = [o for o in plan.modality.options.applies if label in o.labels]
    assert len(shown) == 1 and f"{label} (cisplatin is contraindicated)" in shown[0].in_words
    fits = shown[0].in_words.split("ruled out by the form")[0]
    assert label not in fits or shown[0].ruled_out


def test_basis_names_what_fits_before_what_the_form_rules_out() -> None:
    form = {**FIT, "cord_mobility": "fixed", "chemo_possible": False}
    plan = draft_plan([mass("supraglottis", "left", 31), NO_NODES], form)
    basis = next(line for line in plan.text.splitlines() if line.startswith("- Basis"))
    fits, out = basis.split("; ruled out by the form: ")
    assert plan.modality.drafted == "rt_alone" and ": radiotherapy alone / " in fits
    assert "not wanted" not in fits and out.startswith("radiotherapy with concurrent cisplatin (systemic treatment is")


def test_a_stand_in_is_not_called_based_on_what_is_ruled_out() -> None:
    form = {**FIT, "cord_mobility": "fixed", "crcl_ml_min": 45}
    plan = draft_plan([mass("supraglottis", "left", 31), NO_NODES], form)
    lead = plan.modality.lead
    assert lead is not None and any(lead.against) and plan.modality.drafted not in lead.actions
    assert "- Named for this stage, what is drafted stands in for it" in plan.text and "- Basis" not in plan.text


@pytest.mark.parametrize(("age", "asked"), [(55, True), (56, False), (None, True)])
def test_pregnancy_is_asked_about_up_to_its_age(age: int | None, asked: bool) -> None:
    form = {key: value for key, value in FIT.items() if key not in ("age", "pregnant_or_lactating")}
    plan = draft_plan([mass("supraglottis", "left", 31), NO_NODES], {**form, **({"age": age} if age else {})})
    assert ("pregnant_or_lactating" in [need.id for need in plan.needs]) is asked
    told = draft_plan([mass("supraglottis", "left", 31), NO_NODES], {**form, "age": 60, "pregnant_or_lactating": True})
    assert told.urgent, "an answer counts at every age"


@pytest.mark.parametrize(("site", "said"), [("hypopharynx", True), ("supraglottis", False)])
def test_a_margin_of_one_site_is_said_there_only(site: str, said: bool) -> None:
    form = {**FIT, "site": site if site == "hypopharynx" else "larynx_supraglottis", "cord_mobility": "fixed"}
    plan = draft_plan([NO_NODES], {**form, "tumour_size_mm": 31})
    margins = [line.text for line in plan.targets if line.text.startswith("CTV-P2")]
    assert len(margins) == 1 and ("larger cranio-caudal" in margins[0]) is said


def test_drugs_to_choose_from_are_marked_as_such() -> None:
    """ce_apac: after an absolute contraindication one of several regimens; none is the drafted one."""
    plan = draft_plan([mass("palatine tonsil", "left", 41), NO_NODES], {**FIT, "p16": "positive", "hearing_grade": 2})
    assert {s.id for s in plan.systemic if s.to_choose} == {"cetux_rt", "docetaxel_rt", "carbo5fu_rt"}
    assert plan.text.count("- To choose from: ") == 3
    allergic = draft_plan(
        [mass("palatine tonsil", "left", 41), NO_NODES], {**FIT, "p16": "positive", "platinum_hypersensitivity": True}
    )
    assert {s.id for s in allergic.systemic if s.to_choose} == {"cetux_rt", "docetaxel_rt"}
    assert not [s for s in draft_plan([TONSIL, NO_NODES], {**FIT, "p16": "positive"}).systemic if s.to_choose]


@pytest.mark.parametrize("form", [
    {"setting": "postoperative", "tumour_size_mm": 25, "nodes_n_pos": 6, "ene_path": False, "margin": "negative"},
    {"intent": "palliative"}, {"distant": True},
])  # fmt: skip
def test_a_lower_dose_is_advised_against_for_definitive_treatment_only(form: dict[str, Any]) -> None:
    """60 Gy in 30 fractions was an arm of definitive treatment; postop_60_30 and pall_30_10 are in these tables."""
    plan = draft_plan([TONSIL], {**FIT, "site": "oropharynx", "p16": "positive", **form})
    assert plan.prescription.schemes and "de-intensified" not in plan.text
    assert "de-intensified" in draft_plan([TONSIL, NO_NODES], {**FIT, "p16": "positive"}).text


def test_oral_cavity_with_the_tumour_is_no_organ_at_risk() -> None:
    """Rule dvh_oralcavity holds for other sites only."""
    names = ["Cavity_Oral", "Lips", "Larynx"]
    of_mouth, of_throat = (
        {r.structure for r in build_constraints(KB, names, site=site)} for site in ("oral_cavity", "oropharynx_p16_neg")
    )
    assert of_mouth.isdisjoint({"Cavity_Oral", "Cavity_Oral-PTV"})
    assert "Cavity_Oral-PTV" in of_throat


def test_margins_to_look_up_fit_the_neck() -> None:
    """ctvn_biau is a margin around involved nodes."""
    t1 = {**FIT, "site": "larynx_glottis", "cord_mobility": "normal", "cords_involved": "one", "nodes_n_pos": 0}
    assert "PTV margin: department protocol" in draft_plan([], t1).not_verified
    with_nodes = draft_plan([TONSIL, node("left", "II", 25)], {**FIT, "p16": "negative"})
    assert "PTV margin, high-dose margin around involved nodes: department protocol" in with_nodes.not_verified


def test_after_surgery_without_a_risk_factor_that_is_said() -> None:
    """po_high and po_inter name no risk factor of this specimen."""
    plan = after_surgery(perineural=False, lymphovascular=False, levels_iv_v=False)
    assert plan.modality.withheld == "after surgery no risk factor is stated for which the tables name radiotherapy"
    assert plan.modality.withheld in plan.text
    npc = draft_plan([], {**NPC, "setting": "postoperative", "nodes_n_pos": 0})
    assert npc.modality.withheld == "the tables hold nothing after an operation at this site"


def test_what_the_specimen_settled_is_not_asked_for() -> None:
    """po_high applies whatever the factors of po_inter are."""
    settled = {n.id for n in after_surgery(margin="positive").needs}
    assert not settled & {"perineural", "lymphovascular", "levels_iv_v"}
    open_here = {n.id for n in after_surgery(nodes_n_pos=1, nodes_max_mm=20).needs}
    assert {"perineural", "lymphovascular", "levels_iv_v"} <= open_here


@pytest.mark.parametrize("form, question, asked", [
    ({"site": "unknown_primary", "p16": "positive"}, "ebv", False),
    ({"site": "unknown_primary", "p16": "negative"}, "ebv", True),
    ({"site": "oral_cavity", "tumour_size_mm": 45, "autoimmune": True}, "cps", False),
    ({"site": "oral_cavity", "tumour_size_mm": 45}, "cps", True),
])  # fmt: skip
def test_a_question_changes_something(form: dict[str, Any], question: str, asked: bool) -> None:
    """Site map: p16-positive nodes go to the oropharynx; no checkpoint inhibitor with autoimmune disease."""
    plan = draft_plan([node("left", "II", 34)], {**FIT, **form})
    assert (question in {n.id for n in plan.needs}) == asked


def test_a_question_names_only_what_its_answer_can_open() -> None:
    """t_hypopharynx: a fixed cord makes T3; the rows of T4a and T4b read invaded structures alone."""
    form = {k: v for k, v in FIT.items() if k != "invaded"}
    plan = draft_plan([mass("pyriform sinus", "left", 31), NO_NODES], form)
    why = {n.id: n.why for n in plan.needs}
    assert why["cord_mobility"] == "T2 could become T3"
    assert why["invaded"] == "T2 could become T3, T4a, T4b"


def test_salvage_is_not_named_for_a_first_metastatic_disease() -> None:
    """Entry salvage is for a locoregional recurrence."""
    plan = draft_plan([TONSIL], {**FIT, "p16": "negative", "distant": True})
    assert not [text for text in plan.not_verified if "alvage" in text]
    recurrent = draft_plan([TONSIL], {**FIT, "p16": "negative", "setting": "recurrent_metastatic", "cps": 5})
    assert [text for text in recurrent.not_verified if "alvage" in text]


def test_preservation_of_a_small_larynx_cancer_is_not_doubted() -> None:
    """lx_lp_exclusion is about large T4."""
    small = draft_plan([mass("supraglottis", "left", 21), node("left", "II", 25)], {
        **FIT, "n_subsites": 1, "cord_mobility": "normal"})  # fmt: skip
    form = {**FIT, "invaded": ["thyroid_cartilage_outer"], "resectable": False}  # else laryngectomy alone is named
    large = draft_plan([mass("supraglottis", "left", 42), NO_NODES], form)
    told = [any(o.id == "lx_lp_exclusion" for o in plan.modality.options.unverified) for plan in (small, large)]
    assert told == [False, True]
    words = [any(line.startswith("Advice against") for line in plan.not_verified) for plan in (small, large)]
    assert words == [False, True]


def test_a_stated_stage_group_is_shown_where_none_follows() -> None:
    """Options are looked up for the stated group: the staging must say so, with the form as its source."""
    plan = draft_plan([], {**FIT, "site": "hypopharynx", "stated_group": "IVA"})
    assert plan.staging.group == "IVA" and plan.staging.provisional
    assert [d.title for d in plan.staging.sources] == [CLINICAL_FORM.title]
    assert plan.modality.withheld == "the stage is not complete"


def test_a_category_of_another_table_leads_to_no_stage() -> None:
    """p16-positive disease has no T4a: no group, and none that would be possible."""
    plan = draft_plan(
        [mass("palatine tonsil", "left", 41), node("left", "II", 35)], {**FIT, "p16": "positive", "stated_t": "T4a"}
    )
    assert plan.staging.group is None and plan.staging.possible_groups == ()


def test_extractions_come_before_radiotherapy() -> None:
    """Supportive entry dental: extractions after radiotherapy are to be avoided."""
    form = {**FIT, "p16": "positive"}
    needed = draft_plan([TONSIL, NO_NODES], {**form, "dental_status": "extractions_needed"})
    assert needed.supportive[0].text == "Extractions are needed: they come before radiotherapy"
    assert "Extractions are needed" not in draft_plan([TONSIL, NO_NODES], form).text


@pytest.mark.parametrize("answer, said", [(False, "the form denies"), (None, "the form does not say"), (True, "")])
def test_a_node_of_level_iv_lies_below_the_cricoid(answer: bool | None, said: str) -> None:
    """Level IV reaches from the lower border of the cricoid to the clavicle; n_nasopharynx: N3 below it."""
    plan = draft_plan([node("left", "IV", 18)], {**NPC, "below_cricoid": answer, "retropharyngeal_only": False})
    found = [c.message for c in plan.checks if c.id == "fid_below_cricoid"]
    assert (len(found) == 1 and said in found[0]) if said else not found
    assert plan.staging.n.value == ("N3" if answer else "N1")
    other = draft_plan([TONSIL, node("left", "IV", 18)], {**FIT, "p16": "negative"})
    assert not [c for c in other.checks if c.id == "fid_below_cricoid"]


def test_a_neck_without_an_entry_says_so() -> None:
    """neck_levels hold the supraglottis N0 alone, and an elective dose is prescribed all the same."""
    form = {**FIT, "n_subsites": 2, "cord_mobility": "normal"}
    plan = draft_plan([mass("supraglottis", "left", 31), node("left", "II", 25)], form)
    assert [v.dose_gy for v in plan.prescription.levels] == [70, 63, 56]
    wanted = "Elective neck levels, larynx supraglottis N1: no entry in the tables, department protocol"
    assert wanted in plan.not_verified
    without = draft_plan([mass("supraglottis", "left", 31), NO_NODES], form)
    assert [t for t in without.not_verified if "levels" in t] == [
        "Elective neck levels, larynx supraglottis N0: ipsilateral II, III, IVa; contralateral II, III, IVa"
    ]


def test_induction_that_was_given_is_not_given_again() -> None:
    """npc_adv: induction, then chemoradiotherapy; npc_postinduction_gtv and ce_prior_induction hold afterwards."""
    form = {**NPC, "invaded": ["intracranial"], "nodes_n_pos": 0}
    before = draft_plan([], form)
    after = draft_plan([], {**form, "prior_platinum_induction": True})
    assert before.modality.drafted == "gp_npc_then_crt" and agents(before)["gp_npc"] == "drafted"
    assert after.modality.drafted == "crt_cisplatin" and "gp_npc" not in agents(after)
    assert agents(after)["cis_weekly40"] == "drafted" and after.eligibility.verdict == "relative"
    for plan in (before, after):
        assert [t for t in plan.targets if "pre-induction extent" in t.text]


def test_one_spared_parotid_is_what_the_limit_asks_for() -> None:
    """par_26 and par_qtc_one20 ask for one gland (rule dvh_parotids warns of both); the cord has no other side."""
    rows = build_constraints(KB, ["Parotid_L", "Parotid_R", "SpinalCord"])
    spared = {"Parotid_L": {"Dmean": 41.0}, "Parotid_R": {"Dmean": 22.5}, "SpinalCord": {"D0.03cc": 47.0}}
    found = {r.structure: r for r in evaluate(rows, spared) if r.id in ("par_26", "cord_45")}
    assert (found["Parotid_L"].status, found["Parotid_R"].status) == ("not_met", "met")
    assert found["Parotid_L"].reason == "Parotid_R meets it, and at least one is asked for"
    assert found["Parotid_R"].reason == found["SpinalCord"].reason == ""
    neither = evaluate(rows, {**spared, "Parotid_R": {"Dmean": 31.0}})
    assert {r.reason for r in neither if r.id == "par_26"} == {""}
    plan = draft_plan(
        [TONSIL, NO_NODES], {**FIT, "p16": "negative"}, structures=dict.fromkeys(spared), dose_metrics=spared
    )
    assert "NOT MET, 41.0 Gy, margin -15.0 Gy; Parotid_R meets it, and at least one is asked for" in plan.text


def test_a_specimen_without_an_involved_node_has_no_extranodal_extension() -> None:
    """po_high: with ENE excluded and a close margin the dose is postop_60_30, and nothing more is asked."""
    plan = after_surgery(nodes_n_pos=0, tumour_size_mm=45, ene_path=None, margin="close", resectable=None)
    assert [s.id for s in plan.prescription.schemes] == ["postop_60_30"]
    assert plan.modality.lead.id == "po_inter" and "Conditional: cisplatin" not in plan.text
    assert not {n.id for n in plan.needs} & {"ene_path", "levels_iv_v", "resectable"}
    with_node = after_surgery(
        nodes_n_pos=1, nodes_max_mm=20, tumour_size_mm=45, ene_path=None, margin="close", resectable=None
    )
    assert {s.id for s in with_node.prescription.schemes} == {"postop_66_33_high_risk", "postop_60_30"}
    asked = {n.id for n in with_node.needs}
    assert "ene_path" in asked and "resectable" not in asked, "who was operated on is not to be judged resectable"


def test_a_resected_primary_with_a_metastasis_gets_no_palliative_dose_to_gross_disease() -> None:
    """pall_30_10, pall_20_5 and the QUAD shot treat PTV_gross; the drugs wait for CPS (rm_first)."""
    plan = after_surgery(distant=True)
    assert plan.intent.value == "palliative" and not plan.prescription.schemes
    assert plan.modality.withheld == "what decides between the drugs of recurrent or metastatic disease is not stated"
    assert "cps" in {n.id for n in plan.needs}
    assert after_surgery(distant=True, cps=5).modality.drafted == "pembro_rm_mono"
    unresected = draft_plan([TONSIL, NO_NODES], {**FIT, "p16": "negative", "distant": True})
    assert unresected.prescription.kind == "palliative"


def test_a_recurrence_says_what_it_waits_for() -> None:
    """rm_first and rm_first_cps0 wait for PD-L1: the tables do hold something, and no stage is missing."""
    form = {k: v for k, v in FIT.items() if k != "ecog"}
    for findings in ([TONSIL, NO_NODES], [TONSIL]):
        plan = draft_plan(findings, {**form, "p16": "negative", "setting": "recurrent_metastatic"})
        wanted = "what decides between the drugs of recurrent or metastatic disease is not stated"
        assert plan.modality.withheld == wanted
        assert {"cps", "platinum_refractory", "intent"} <= {n.id for n in plan.needs}


@pytest.mark.parametrize("form, kept", [
    ({}, {"lx_qtc_66", "lx_qtc_50", "lx_qtc_v50"}),
    ({"chemo_possible": False}, {"lx_qtc_44", "lx_qtc_v50"}),
    ({"site": "oral_cavity"}, {"lx_qtc_66", "lx_qtc_50", "lx_qtc_44", "lx_qtc_v50"}),  # the specimen decides
])  # fmt: skip
def test_limits_of_the_larynx_are_those_of_the_treatment(form: dict[str, Any], kept: set[str]) -> None:
    """lx_qtc_66 and lx_qtc_50 hold with chemotherapy, lx_qtc_44 without."""
    base = {**FIT, "site": "oropharynx", "p16": "negative", "tumour_size_mm": 45, "nodes_n_pos": 0, "doi_mm": 5}
    plan = draft_plan([], {**base, **form}, structures={"Larynx": None}, template="quantec")
    assert {r.id for r in plan.constraints} == kept


def test_a_clinic_s_own_template_keeps_what_its_rows_are_asked_of() -> None:
    """Unchanged rows of par_26 and lx_qtc_50 in an own template."""
    shown = [row for row in template_rows(KB, "default") if row["id"] in ("par_26", "lx_qtc_50")]
    own = check_rows(KB, shown, who="Dr A")
    rows = {r.id: r for r in build_constraints(KB, ["Parotid_L", "Larynx"], own_rows=own)}
    assert rows["par_26"].one_of_pair and rows["lx_qtc_50"].with_drugs is True


def test_tests_for_cisplatin_are_named_where_it_may_be_given() -> None:
    """Supportive entry audiogram: before cisplatin."""
    findings = [TONSIL, node("left", "II", 35)]
    text = "Supportive care: baseline audiogram and creatinine clearance before cisplatin"
    assert text in draft_plan(findings, {**FIT, "p16": "negative"}).not_verified
    assert text not in draft_plan(findings, {**FIT, "p16": "negative", "crcl_ml_min": 45}).not_verified


@pytest.mark.parametrize("form, said", [
    ({"cord_mobility": "fixed", "chemo_possible": False}, True),  # def_dahanca_66_33_6fpw has one level
    ({"cord_mobility": "fixed"}, False),  # 70 / 63 / 56 Gy
    ({"cord_mobility": "normal", "cords_involved": "one"}, False),  # T1: no elective volume (nl_gl_t1t2)
])  # fmt: skip
def test_a_scheme_without_an_elective_dose_says_so(form: dict[str, Any], said: bool) -> None:
    """ctvp_two_doses ties the volumes of the primary to two prescriptions; the accelerated scheme names one."""
    plan = draft_plan([NO_NODES], {**FIT, "site": "larynx_glottis", **form})
    wanted = "Lower dose level (CTV-P2, elective neck) of this scheme: no entry in the tables, department protocol"
    assert (wanted in plan.not_verified) == said and plan.prescription.schemes


def test_an_edit_that_gives_an_unsuitable_dose_is_marked() -> None:
    """ce_crcl60_unsuitable: 100 mg/m2 stands in the draft as what is not suitable, not as a dose to give."""
    findings = [mass("pyriform sinus", "left", 45), node("left", "II", 25)]
    plan = draft_plan(findings, {**FIT, "cord_mobility": "fixed", "crcl_ml_min": 55})
    assert agents(plan)["cis_q3w"] == "not_eligible" and agents(plan)["cis_weekly40"] == "drafted"
    edited = plan.text + "\nCisplatin 100 mg/m2 every three weeks with radiotherapy.\nCisplatin 40 mg/m2 weekly.\n"
    failed = [c for c in check_plan_text(edited, plan) if c.status == "fail"]
    assert [c.details["written"] for c in failed] == ["100 mg/m2"]
    assert "40" in failed[0].details["expected"] and "100" not in failed[0].details["expected"]
    assert not [c for c in check_plan_text(plan.text, plan) if c.status == "fail"]


def test_where_either_is_recommended_both_are_drafted_with_their_doses() -> None:
    """opx_pos_either: T2 with one node up to 3 cm, radiotherapy alone or with concurrent systemic therapy."""
    plan = draft_plan([TONSIL, node("left", "II", 25)], {**FIT, "p16": "positive"})
    assert plan.modality.lead.id == "opx_pos_either"
    wanted = "radiotherapy alone (or radiotherapy with concurrent cisplatin: either is recommended"
    assert plan.modality.label.startswith(wanted)
    assert {k: v for k, v in agents(plan).items() if v != "avoid"} == {
        "cis_q3w": "alternative",
        "cis_weekly40": "alternative",
    }
    assert "if radiotherapy is chosen" not in plan.text
    for closed in ({"crcl_ml_min": 45}, {"chemo_possible": False}):
        out = draft_plan([TONSIL, node("left", "II", 25)], {**FIT, "p16": "positive", **closed})
        assert out.modality.label == "radiotherapy alone" and "cis_q3w" not in agents(out)
    alone = draft_plan([mass("palatine tonsil", "left", 18), node("left", "II", 25)], {**FIT, "p16": "positive"})
    assert alone.modality.label == "radiotherapy alone" and "cis_q3w" not in agents(alone)


def test_every_involved_node_is_in_a_target_and_says_who_found_it() -> None:
    """staging.yaml counts a midline node and one without a side as involved (midline_nodes): so it is to be treated."""
    corrected = node("left", "III", 22, source="clinician")
    findings = [TONSIL, node("right", "II", 25), corrected, node("midline", "III", 18), node("left", None, 14)]
    texts = [t.text for t in draft_plan(findings, {**FIT, "p16": "negative"}).targets]
    assert "Involved left neck, level III: belongs to the high-dose target" in texts
    assert "Involved right neck, level II (drafted from CT): belongs to the high-dose target" in texts
    (rest,) = [t for t in texts if t.startswith("Involved beside these")]
    assert "midline level III, 18 mm" in rest and "left, 14 mm" in rest and "22 mm" not in rest
    assert "Involved beside these" not in draft_plan([TONSIL, corrected], {**FIT, "p16": "negative"}).text


@pytest.mark.parametrize("plan, purposes", [
    (after_surgery(margin="positive"), ["where extranodal extension or the positive margin was"]),
    (after_surgery(perineural=True), ["bed of the primary"]),
    (draft_plan([TONSIL, NO_NODES], {**FIT, "p16": "negative", "intent": "palliative"}), ["gross disease"] * 3),
])  # fmt: skip
def test_every_dose_level_says_what_it_is_for(plan: Plan, purposes: list[str]) -> None:
    """Targets of the schemes: PTV_ENE_or_margin, CTV_primary_bed, PTV_gross."""
    assert [v.purpose for v in plan.prescription.levels] == purposes
    assert all(purpose in plan.text for purpose in purposes)
    rest = [t for t in plan.not_verified if "dose to the rest of the bed" in t]
    assert bool(rest) == (plan.prescription.levels[0].dose_gy == 66)


@pytest.mark.parametrize("more", [{"p16": "positive"}, {"ebv": "positive"}, {"intent": "palliative"}, {}])
def test_nothing_is_treated_where_neither_a_primary_nor_a_node_is_known(more: dict[str, Any]) -> None:
    """No stage group holds T0 N0 M0 as a disease to treat; with a metastasis there is one."""
    form = {**FIT, "site": "unknown_primary", "nodes_n_pos": 0, **more}
    plan = draft_plan([NO_NODES], form)
    assert plan.modality.drafted is None and not plan.prescription.schemes and not plan.systemic
    assert "no primary was found and no node is involved" in plan.text
    assert "no node is involved" not in draft_plan([], {**form, "distant": True}).text


def test_a_question_among_the_checks_ends_as_one() -> None:
    plan = draft_plan([TONSIL, NO_NODES], {**FIT, "p16": "negative", "margin": "negative"})
    assert "was the patient operated on? [S" in plan.text and "?." not in plan.text
