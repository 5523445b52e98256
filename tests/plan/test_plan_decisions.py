"""What the clinic has decided or stated reaches every rule that reads it, and the text of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from plan.plan_cases import CASES, FIT, NO_NODES, mass, node

from hnvlm.plan import FORM_FIELDS, draft_plan, facts
from hnvlm.plan.kb import CLINICAL_FORM, load_kb

RULES = load_kb()["safety"]["rules"]
# What no draft fills, and why.
NOT_FILLED = {
    "case.edition_confirmed": "the tables are those of the 8th edition: nobody can confirm another",
    "plan.rt.dvh_in_eqd2": "the dose tables are in physical dose",
    "plan.rt.reirradiation_considered": "no dose is drafted after an earlier course",
    "plan.asserted_findings": "what the text of a plan states: read where it is checked",
    "plan.asserted_certain": "what the text of a plan states: read where it is checked",
    "report.positive_findings": "beside what the text of a plan states",
    "report.negated_findings": "beside what the text of a plan states",
    "report.hedged_findings": "beside what the text of a plan states",
    "plan.docetaxel.cycles": "the table states the most of them, and no draft counts them",
}
NASOPHARYNX = {**FIT, "site": "nasopharynx", "ebv": "positive", "histology": "nasopharyngeal_carcinoma"}
TONSIL = [mass("palatine tonsil", "left", 31), node("left", "II", 24)]
LARYNX = [mass("supraglottis", "left", 30), NO_NODES]
STATED = ", as stated on the form"
PALLIATIVE = {**FIT, "intent": "palliative", "p16": "negative", "ecog": 3}

# Rule: findings, form that fires it, and the answer that leaves it silent.
FIRED_BY_AN_ANSWER: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
    "st_n3b_radiology_only": (
        TONSIL, {**FIT, "p16": "negative", "stated_n": "N3b", "iene_imaging": True}, {"ene_clinical": True},
    ),
    "st_cord_from_ct": (
        LARYNX, {**FIT, "cord_mobility": "fixed", "cord_mobility_source": "ct"},
        {"cord_mobility_source": "laryngoscopy"},
    ),
    "st_sclerosis_only": (
        LARYNX, {**FIT, "invaded": ["thyroid_cartilage_inner"], "cartilage_evidence": "sclerosis_only"},
        {"cartilage_evidence": "erosion"},
    ),
    "st_node_axis": (
        TONSIL, {**FIT, "p16": "negative", "nodes_max_mm": 24, "nodes_size_axis": "short"},
        {"nodes_size_axis": "long"},
    ),
    "fid_nirads_baseline": (
        TONSIL, {**FIT, "p16": "negative", "nirads": "3"}, {"setting": "recurrent_metastatic"},
    ),
    "rt_unilateral_midline": (
        [mass("base of tongue", "left", 31), node("left", "II", 24)],
        {**FIT, "p16": "negative", "neck_side": "unilateral"}, {"neck_side": "bilateral"},
    ),
    "rt_neck_untreated": (TONSIL, {**FIT, "p16": "negative", "neck_side": "none"}, {"neck_side": "unilateral"}),
    "rt_npc_ib": (
        [node("left", "II", 24)], {**NASOPHARYNX, "side": "left", "stated_t": "T3", "ib_omitted": True},
        {"ib_omitted": False},
    ),
    "rt_quad_courses": (TONSIL, {**PALLIATIVE, "quad_courses": 4}, {"quad_courses": 3}),
    "mg_pet_early": (TONSIL, {**FIT, "p16": "negative", "pet_weeks": 8}, {"pet_weeks": 12}),
    "mg_planned_nd": (
        TONSIL, {**FIT, "p16": "negative", "neck_dissection_planned": True, "pet_response": "complete"},
        {"pet_response": "incomplete"},
    ),
}  # fmt: skip


def fired(findings: list[Any], form: dict[str, Any]) -> set[str]:
    return {c.id for c in draft_plan(findings, form).checks if c.status in ("fail", "warn")}


@pytest.mark.parametrize("rule", FIRED_BY_AN_ANSWER)
def test_an_answer_of_the_form_fires_its_rule_and_another_does_not(rule: str) -> None:
    findings, form, other = FIRED_BY_AN_ANSWER[rule]
    assert rule in fired(findings, form)
    assert rule not in fired(findings, form | other)


def _paths(condition: Any) -> set[str]:
    """Facts that a condition reads."""
    if isinstance(condition, Mapping):
        own = {condition[k] for k in ("f", "field") if isinstance(condition.get(k), str)}
        own |= {a for a in condition.get("args", ()) if isinstance(a, str) and "." in a}
        return own.union(*(_paths(v) for v in condition.values()))
    return set().union(*(_paths(v) for v in condition)) if isinstance(condition, list) else set()


def _filled(facts: Mapping[str, Any], prefix: str = "") -> set[str]:
    out: set[str] = set()
    for key, value in facts.items():
        out |= _filled(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key}
    return out


def test_every_fact_that_a_rule_reads_is_filled_by_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    run = facts.run_rules
    monkeypatch.setattr(facts, "run_rules", lambda kb, told, **more: (seen.update(_filled(told)), run(kb, told))[1])
    dose = {"Parotid_L": {"Dmean": 27.0}, "Parotid_R": {"Dmean": 24.0}}
    forms = [(findings, form, None) for findings, form in CASES.values()]
    forms += [(findings, form, dose) for findings, form, _ in FIRED_BY_AN_ANSWER.values()]
    forms.append((TONSIL, {**FIT, "p16": "positive", "crcl_ml_min": 40}, dose))
    forms.append((TONSIL, {**FIT, "setting": "postoperative", "ene_path": True, "days_from_surgery": 50}, None))
    for findings, form, metrics in forms:
        draft_plan(findings, form, dose_metrics=metrics)
    items = {rule["as"] for rule in RULES if "for_each" in rule}
    asked = {p for rule in RULES for p in _paths(rule["when"]) if p.split(".")[0] not in items}
    asked -= {"plan.rt", "plan.dvh"}  # asked whether there is one
    assert set(NOT_FILLED) <= asked
    assert asked - seen - {f.path for f in FORM_FIELDS} - set(NOT_FILLED) == set()


def test_what_is_decided_stands_in_the_plan_with_the_form_as_its_source() -> None:
    form = {**FIT, "p16": "negative", "neck_side": "bilateral", "pet_weeks": 13, "neck_dissection_planned": False}
    plan = draft_plan(TONSIL, form)
    lines = {line.text: line for line in (*plan.targets, *plan.follow_up)}
    for text in (
        "Neck, as stated on the form: both sides",
        "Response PET-CT planned 13 weeks after radiotherapy, as stated on the form",
        "Neck dissection after chemoradiotherapy, as stated on the form: not planned",
    ):
        assert [s.title for s in lines[text].sources] == [CLINICAL_FORM.title]
        assert text in plan.text


def test_one_side_of_the_neck_is_questioned_where_no_dose_is_drafted_too() -> None:
    form = {**FIT, "p16": "negative", "neck_side": "unilateral", "prior_neck_rt": True}
    plan = draft_plan([mass("base of tongue", "left", 31), node("left", "II", 24)], form)
    assert not plan.prescription.schemes
    assert "rt_unilateral_midline" in {c.id for c in plan.checks if c.status == "fail"}


@pytest.mark.parametrize(
    ("size_mm", "answers", "expected"),
    [
        (24, {}, "level II nodes drafted from CT, largest 2.4 cm"),
        (14, {"level2_ene": True}, f"a level II node with extranodal extension{STATED}"),
        (
            14,
            {"anterior_nasal_cavity": True},
            "a primary that reaches the anterior nasal cavity, as stated on the form",
        ),
        (14, {}, None),
    ],
)
def test_level_ib_is_kept_for_the_condition_that_is_met(size_mm: float, answers: dict, expected: str | None) -> None:
    plan = draft_plan([node("left", "II", size_mm)], {**NASOPHARYNX, "side": "left", "stated_t": "T3", **answers})
    said = [line.text for line in plan.targets if line.text.startswith("Level Ib is not left out here: ")]
    assert said == ([f"Level Ib is not left out here: {expected}"] if expected else [])
