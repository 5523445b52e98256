"""Kinds of cases that a meeting sees rarely, and combinations of answers that few patients have."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import FIT, NO_NODES, mass, node

from hnvlm.plan import draft_plan
from hnvlm.plan.kb import load_kb
from hnvlm.plan.safety import run_rules

KB = load_kb()
TONSIL = [mass("palatine tonsil", "left", 31), node("left", "II", 24)]
SPECIMEN: dict[str, Any] = {
    **FIT, "setting": "postoperative", "site": "oropharynx", "subsite": "tonsil", "side": "left", "p16": "positive",
    "tumour_size_mm": 18, "nodes_n_pos": 1, "nodes_laterality": "ipsilateral", "nodes_max_mm": 25, "ene_path": False,
    "margin": "negative",
}  # fmt: skip


@pytest.mark.parametrize("more", [{"ene_path": True}, {"margin": "positive"}])
def test_radiotherapy_alone_does_not_fit_a_p16_positive_specimen_with_high_risk(more: dict[str, Any]) -> None:
    """po_high and opx_pos_postop: node-positive, but extranodal extension or a positive margin asks for cisplatin."""
    plan = draft_plan([], {**SPECIMEN, **more})
    assert [o.id for o in plan.modality.options.applies if not o.id.startswith("fu_")] == ["po_high"]
    assert plan.modality.drafted == "postop_crt_cisplatin"
    refused = draft_plan([], {**SPECIMEN, **more, "chemo_possible": False})
    assert refused.modality.drafted == "postop_rt", "what is left where no drug is wanted"
    assert draft_plan([], SPECIMEN).modality.lead.id == "opx_pos_postop"


def asked(plan: Any) -> set[str]:
    return {need.id for need in plan.needs}


def test_what_would_lead_to_the_same_treatment_is_not_asked() -> None:
    """opx_pos_postop names radiotherapy for any node; po_inter waits for three answers to name it again."""
    plan = draft_plan([], SPECIMEN)
    assert plan.modality.drafted == "postop_rt"
    assert not asked(plan) & {"perineural", "lymphovascular", "levels_iv_v"}
    assert "Depends on" not in plan.text
    without = draft_plan([], {**SPECIMEN, "nodes_n_pos": 0, "nodes_laterality": None, "nodes_max_mm": None})
    assert {"perineural", "lymphovascular"} <= asked(without), "here they decide"


def test_a_marker_of_a_drug_that_is_ruled_out_is_not_asked() -> None:
    """rm_first and rm_first_cps0 wait for PD-L1, which changes nothing where no checkpoint inhibitor is given."""
    form = {**FIT, "doi_mm": 8, "setting": "recurrent_metastatic", "intent": "palliative"}
    findings = [mass("oral tongue", "left", 31), NO_NODES]
    plan = draft_plan(findings, {**form, "autoimmune": True})
    assert plan.modality.drafted == "extreme" and "cps" not in asked(plan)
    assert "Depends on PD-L1" not in plan.text
    assert "cps" in asked(draft_plan(findings, form))
    # What is ruled out by cisplatin has a way around it, so what decides it is asked.
    specimen = {**SPECIMEN, "nodes_n_pos": 2, "ene_path": None, "hearing_grade": 3}
    assert "ene_path" in asked(draft_plan([], specimen))


METASTATIC: dict[str, Any] = {**FIT, "p16": "positive", "distant": True}
NASOPHARYNX: dict[str, Any] = {
    **FIT, "site": "nasopharynx", "histology": "nasopharyngeal_carcinoma", "ebv": "positive", "nodes_n_pos": 0,
    "below_cricoid": False, "retropharyngeal_only": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("findings", "form", "waits"),
    [
        (TONSIL, METASTATIC, True),
        (TONSIL, {**METASTATIC, "chemo_possible": False, "cps": 40}, False),
        ([], {**NASOPHARYNX, "distant": True, "hearing_grade": 3}, False),
    ],
)
def test_no_drug_waits_for_an_answer_where_the_form_rules_them_out(
    findings: list, form: dict[str, Any], waits: bool
) -> None:
    plan = draft_plan(findings, form)
    assert plan.prescription.kind == "palliative"
    assert plan.modality.label.endswith("the drug hangs on what is asked for") is waits
    again = draft_plan(findings, {**form, "prior_neck_rt": True})
    assert "drug hangs on what is asked for" in again.text if waits else "hangs on" not in again.text


def test_refused_drugs_are_named_where_nothing_else_is_left() -> None:
    refused = {**SPECIMEN, "distant": True, "chemo_possible": False}
    said = "systemic treatment is not possible or not wanted; the tables hold nothing else here"
    assert draft_plan([], refused).modality.withheld == said
    recurrent = {**METASTATIC, "distant": False, "setting": "recurrent_metastatic", "chemo_possible": False}
    plan = draft_plan(TONSIL, recurrent)
    assert plan.modality.withheld.endswith("not wanted; palliative radiotherapy hangs on the intent")
    assert "intent" in asked(plan)


@pytest.mark.parametrize("findings, form", [(TONSIL, {**METASTATIC, "cps": 5}), ([], {**NASOPHARYNX, "distant": True})])
def test_progression_on_platinum_is_not_asked_before_any_treatment(findings: list, form: dict[str, Any]) -> None:
    """rm_second and npc_rm: metastatic at diagnosis, so no platinum was given."""
    plan = draft_plan(findings, form)
    assert plan.systemic and "platinum_refractory" not in asked(plan) and "nivolumab" not in plan.text
    for given in ({"prior_platinum_induction": True}, {"prior_neck_rt": True}, {"setting": None}):
        assert "platinum_refractory" in asked(draft_plan(findings, {**form, **given}))
    stated = draft_plan(TONSIL, {**METASTATIC, "cps": 5, "platinum_refractory": True})
    assert stated.modality.drafted == "nivo_rm", "what is answered counts"


@pytest.mark.parametrize("before, again", [(True, True), (False, False), (None, True)])
def test_nobody_is_irradiated_again_who_never_was(before: bool | None, again: bool) -> None:
    form = {**FIT, "doi_mm": 8, "setting": "recurrent_metastatic", "intent": "curative", "prior_neck_rt": before}
    plan = draft_plan([mass("oral tongue", "left", 31), NO_NODES], form)
    assert any("re-irradiation" in line for line in plan.not_verified) is again
    assert any(line.startswith("Salvage surgery") for line in plan.not_verified)
    wanted = {True: "or irradiating again is", False: "or a first course of radiotherapy is"}
    assert wanted.get(before, "or radiotherapy is for") in plan.modality.withheld
    assert ("irradiating again" in plan.text) is (before is True)


def test_a_failing_liver_is_told_beside_docetaxel_whatever_else_bars_cisplatin() -> None:
    """ce_childpugh is relative, ce_hearing2 absolute: cisplatin is out by the one, docetaxel is not."""
    findings = [mass("palatine tonsil", "left", 45), node("left", "II", 24)]
    form = {**FIT, "p16": "negative", "hearing_grade": 3, "child_pugh": "C", "crcl_ml_min": 55}
    plan = draft_plan(findings, form)
    assert plan.eligibility.verdict == "contraindicated"
    assert [c.id for c in plan.eligibility.criteria] == ["ce_hearing2"], "cisplatin needs no further reason"
    (told,) = (line for line in plan.text.splitlines() if line.startswith("- Read for cisplatin alone"))
    assert "Child-Pugh class" in told and "Hearing loss" in told and "unsuitable for 100 mg/m2" not in told
    kidney = draft_plan(findings, {**form, "hearing_grade": 0, "child_pugh": None, "crcl_ml_min": 40})
    assert kidney.text.count("Creatinine clearance < 60") == 0, "below 50 all agree, and one line says it"


def test_induction_that_was_given_is_no_alternative_beside_what_is_left() -> None:
    """lx_t3 names induction beside chemoradiotherapy; ce_prior_induction says that it was given."""
    findings = [mass("supraglottis", "left", 35), node("left", "II", 20)]
    form = {**FIT, "cord_mobility": "fixed", "n_subsites": 2, "larynx_nonfunctional": False}
    before = draft_plan(findings, form)
    after = draft_plan(findings, {**form, "prior_platinum_induction": True})
    assert {"tpf_us", "tpf_eu"} <= {s.id for s in before.systemic}
    assert not {"tpf_us", "tpf_eu"} & {s.id for s in after.systemic} and after.modality.drafted == "crt_cisplatin"


def test_a_dissected_neck_without_a_primary_has_no_bed_of_one() -> None:
    """postop_60_30 in T0: the nodes were all that was found and taken out."""
    neck = {
        **SPECIMEN,
        "site": "unknown_primary",
        "subsite": None,
        "side": None,
        "tumour_size_mm": None,
        "ebv": "negative",
    }
    plan = draft_plan([], neck)
    assert plan.staging.t.value == "T0" and [s.id for s in plan.prescription.schemes] == ["postop_60_30"]
    assert "bed of the primary" not in plan.text and "where the involved nodes were" in plan.text
    assert "PTV_6000 (bed of the primary" in draft_plan([], SPECIMEN).text


BOTH_SIDES = [node("left", "II", 25), node("right", "II", 22)]


def test_cervical_nodes_of_the_ct_are_not_asked_to_be_retropharyngeal() -> None:
    """n_nasopharynx: nodes of both sides are N1 only where none is cervical."""
    open_form = {k: v for k, v in NASOPHARYNX.items() if k not in ("nodes_n_pos", "retropharyngeal_only")}
    plan = draft_plan(BOTH_SIDES, open_form)
    assert plan.staging.n.value == "N2" and not plan.staging.n.provisional
    assert "retropharyngeal_only" not in asked(plan)
    behind = [node(side, "retropharyngeal", 14) for side in ("left", "right")]
    assert draft_plan(behind, open_form).staging.n.value == "N1"
    assert "level VIIa (drafted from CT)" in draft_plan(behind, open_form).text
    counted = draft_plan(BOTH_SIDES, {**open_form, "nodes_n_pos": 3})
    assert "retropharyngeal_only" in asked(counted), "the form counts nodes that CT may not show"


@pytest.mark.parametrize("site", [{}, {"site": "unknown_primary", "p16": "negative"}])
def test_cervical_nodes_of_the_ct_beside_retropharyngeal_nodes_only_are_told(site: dict[str, Any]) -> None:
    form = {**NASOPHARYNX, "nodes_n_pos": None, "retropharyngeal_only": True, **site}
    plan = draft_plan(BOTH_SIDES, form)
    assert plan.staging.n.value == "N1", "the form wins"
    (told,) = [c.message for c in plan.checks if c.id == "fid_retropharyngeal"]
    assert "left level II" in told and told.endswith("N2 if nodes on both sides of the neck are involved")
    assert "fid_retropharyngeal" not in {
        c.id for c in draft_plan(BOTH_SIDES, {**form, "retropharyngeal_only": None}).checks
    }
    low = draft_plan([node("left", "IV", 18)], {**form, "retropharyngeal_only": False})
    assert "fid_below_cricoid" in {c.id for c in low.checks}
    elsewhere = draft_plan(TONSIL, {**FIT, "p16": "positive", "retropharyngeal_only": True})
    assert "fid_retropharyngeal" not in {c.id for c in elsewhere.checks}


@pytest.mark.parametrize("resectable, told", [(True, True), (None, True), (False, False)])
def test_laryngectomy_is_not_preferred_where_it_cannot_be_done(resectable: bool | None, told: bool) -> None:
    """mg_lx_t4a_preserve: lx_t4a prefers a laryngectomy; the surgeon's answer closes it."""
    facts = {"case.site": "larynx_supraglottis", "case.t": "T4a", "plan.larynx_preservation": True}
    rules = [KB.entry("mg_lx_t4a_preserve")]
    fired = run_rules(KB, facts if resectable is None else facts | {"case.resectable": resectable}, rules)
    assert [r.status == "fail" for r in fired] == [told]
    lost = facts | {"case.resectable": False, "case.larynx_nonfunctional": True}
    assert run_rules(KB, lost, rules)[0].status == "fail", "what does not function is not preserved without a reason"
    form = {**FIT, "invaded": ["thyroid_cartilage_outer"], "cord_mobility": "fixed", "resectable": resectable}
    plan = draft_plan([mass("supraglottis", "left", 45), NO_NODES], form)
    assert "total laryngectomy is preferred" not in plan.text
    assert (plan.modality.drafted == "crt_cisplatin") is (resectable is False)


@pytest.mark.parametrize(
    "form", [{"nodes_n_pos": 0}, {"setting": "postoperative", "margin": "negative"}, {"intent": "palliative"}]
)
def test_a_neck_may_be_left_untreated_without_nodes_after_surgery_and_for_relief(form: dict[str, Any]) -> None:
    plan = draft_plan(TONSIL[:1], {**FIT, "p16": "negative", "neck_side": "none", "nodes_n_pos": 1, **form})
    assert "rt_neck_untreated" not in {c.id for c in plan.checks if c.status == "fail"}


def test_a_size_that_decides_the_treatment_is_asked_with_what_it_decides() -> None:
    """opx_pos_either up to 3 cm, opx_pos_crt above: the stage alone would be N1 in both."""
    form = {**FIT, "site": "oropharynx", "subsite": "tonsil", "side": "left", "p16": "positive", "tumour_size_mm": 31}
    plan = draft_plan([], {**form, "nodes_n_pos": 1, "nodes_laterality": "ipsilateral"})
    assert plan.modality.withheld == "what decides between the treatments of this stage is not stated"
    (need,) = [need for need in plan.needs if need.id == "nodes_max_mm"]
    assert need.why == ("N1 could become N3; decides on radiotherapy with concurrent cisplatin / radiotherapy alone")
    early = draft_plan(
        [node("left", "II", 25)], {**FIT, "site": "unknown_primary", "p16": "positive", "ebv": "negative"}
    )
    assert early.modality.withheld == "the tables hold no verified treatment for this site and stage"


def test_extranodal_extension_is_asked_for_the_dose_and_cisplatin_too() -> None:
    """po_high: N2a could become N3b, and 60 Gy could become 66 Gy with cisplatin."""
    form = {**SPECIMEN, "p16": "negative", "nodes_max_mm": 35, "ene_path": None}
    (need,) = [need for need in draft_plan([], form).needs if need.id == "ene_path"]
    assert need.why.startswith("N2a could become N3b; decides postoperative dose, cisplatin")
    small = {**form, "nodes_max_mm": 20}
    (need,) = [need for need in draft_plan([], small).needs if need.id == "ene_path"]
    assert need.why.startswith("N1 could become N2a; decides on postoperative radiotherapy with cisplatin")


@pytest.mark.parametrize("more, told", [({}, True), ({"chemo_possible": False}, False), ({"invaded": ["none"]}, False)])
def test_what_may_bring_chemotherapy_to_a_t2n0_nasopharynx_is_asked(more: dict[str, Any], told: bool) -> None:
    """npc_t2n0: not routine, may be offered for bulky tumour or high EBV DNA, for which the form has no field."""
    plan = draft_plan([], {**NASOPHARYNX, "invaded": ["parapharyngeal_space"], **more})
    assert plan.modality.drafted == "rt_alone"
    found = [need for need in plan.needs if need.question == "Bulky tumour, or high EBV DNA"]
    assert [need.why for need in found] == ["whether chemotherapy may be offered beside radiotherapy"] * told
    assert all(any("CSCO-ASCO" in source.title for source in need.sources) for need in found)


def test_nodes_beside_a_second_mass_may_be_its_own() -> None:
    """Level III on the side of the other mass makes N2c of the first one."""
    tongue, pyriform = mass("oral tongue", "left", 31), mass("pyriform sinus", "right", 28)

    def told(findings: list) -> str:
        checks = draft_plan(findings, {**FIT, "doi_mm": 8}).checks
        return next(c.message for c in checks if c.id == "fid_second_mass")

    assert told([tongue, pyriform, node("right", "III", 20)]).endswith("and nodes counted here may be its own")
    assert told([tongue, pyriform, NO_NODES]).endswith("is staged and treated on its own")


def test_levels_for_every_neck_are_not_called_those_of_any() -> None:
    """nl_sub holds for every neck."""
    plan = draft_plan([], {**FIT, "site": "larynx_subglottis", "cord_mobility": "normal", "nodes_n_pos": 0})
    assert any(line.startswith("Elective neck levels, larynx subglottis: ipsilateral") for line in plan.not_verified)


@pytest.mark.parametrize(
    "stated, wanted", [("t", "tumour_size_mm"), ("n", "nodes_n_pos"), ("m", "distant")], ids=["TX", "NX", "MX"]
)
def test_a_category_that_could_not_be_assessed_is_asked_for(stated: str, wanted: str) -> None:
    """TX, NX and MX lead to no stage group, so what they wait for decides everything."""
    known = {**FIT, "site": "oral_cavity", "side": "left", "doi_mm": 4, "tumour_size_mm": 15, "nodes_n_pos": 0}
    form = {**known, f"stated_{stated}": f"{stated.upper()}X", wanted: None}
    plan = draft_plan([], form)
    assert plan.staging.group is None and plan.modality.withheld == "the stage is not complete"
    (need,) = [need for need in plan.needs if need.id == wanted]
    assert need.why.startswith(f"{stated.upper()}X could become {stated.upper()}")
    assert f"{stated.upper()}X: as stated on the form; could become" in plan.text
    sure = draft_plan([], {**known, f"stated_{stated}": f"{stated.upper()}1"})
    assert wanted not in asked(sure) and "could become" not in sure.text


def test_after_an_operation_the_reason_is_not_the_stage_of_a_nasopharynx() -> None:
    """Entries after surgery leave the nasopharynx out; in the same stage without an operation there is one."""
    neck = {**NASOPHARYNX, "nodes_n_pos": 1, "nodes_laterality": "ipsilateral", "nodes_max_mm": 25}
    dissected = draft_plan([], {**neck, "setting": "postoperative", "ene_path": True, "margin": "negative"})
    assert dissected.modality.withheld == "the tables hold nothing after an operation at this site"
    assert draft_plan([], neck).modality.drafted == "crt_cisplatin_optional"


@pytest.mark.parametrize("crcl, suitable", [(85, True), (55, False)])
def test_induction_with_the_same_dose_of_cisplatin_is_as_unsuitable(crcl: int, suitable: bool) -> None:
    """ce_crcl60_unsuitable is about the dose of cis_q3w, which tpf_us gives as well; tpf_eu gives less."""
    form = {**FIT, "crcl_ml_min": crcl, "cord_mobility": "fixed", "n_subsites": 2, "larynx_nonfunctional": False}
    plan = draft_plan([mass("pyriform sinus", "left", 45), NO_NODES], form)
    status = {s.id: s.status for s in plan.systemic}
    assert (status["tpf_us"], status["tpf_eu"]) == ("alternative" if suitable else "not_eligible", "alternative")
    assert (status["cis_q3w"] != "not_eligible") is suitable
    assert ("one source calls its dose of cisplatin unsuitable" in plan.text) is not suitable
