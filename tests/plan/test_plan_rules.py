"""Every contradiction rule fires on its firing example and is silent on the other; conditions keep their semantics."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from hnvlm.errors import KnowledgeBaseError, UsageError
from hnvlm.plan.conditions import holds, judge, lookup, nest
from hnvlm.plan.kb import load_kb
from hnvlm.plan.safety import icd_fits_site, run_rules

KB = load_kb()
RULES = KB["safety"]["rules"]
BASE = {
    "case": {
        "primary_site": "oropharynx", "site": "oropharynx_p16_pos", "subsite": "tonsil", "side": "left",
        "icd10": "C09.9",
        "p16": "positive", "p16_percent": 90, "t": "T2", "n": "N1", "m": "M0", "stage_group": "I",
        "staging_kind": "clinical", "edition": "8", "setting": "definitive",
    },
    "tumour": {"size_cm": 3.1, "invaded": []},
    "nodes": {
        "n_pos": 2, "laterality": "ipsilateral", "max_node_cm": 2.4, "positive_levels_left": ["II"],
        "size_axis": "long",
    },
    "patient": {
        "age": 58, "ecog": 1, "crcl_ml_min": 85, "audiogram_done": True, "hearing_loss_or_tinnitus_grade": 0,
        "neuropathy_grade": 0,
    },
    "report": {"side": "left", "size_cm": 3.1, "positive_findings": ["soft_tissue_neck"]},
    "plan": {
        "side": "left", "intent": "curative", "modalities": ["rt", "systemic"], "agents": ["cisplatin"],
        "cisplatin": {"dose_mg_m2": 100, "interval_days": 21, "cycles": 3, "cumulative_mg_m2": 300},
        "rt": {
            "fractions": 35, "per_fraction_gy": 2.0, "fractions_per_week": 5, "gross_gy": 70, "elective_gy": 56,
            "neck_side": "bilateral", "levels_left": ["Ib", "II", "III"], "levels_right": ["II", "III"],
        },
        "targets": [
            {"name": "PTV_7000", "total_gy": 70, "fractions": 35, "per_fraction_gy": 2, "bed10": 84, "eqd2_10": 70},
        ],
        "dvh": [
            {"structure": "SpinalCord", "metric": "D0.03cc", "value": 40},
            {"structure": "PTV_7000", "metric": "V95pct", "value": 98},
        ],
        "clinician_reviewed": True, "n_uncited_statements": 0,
    },
}  # fmt: skip


def fired(context: dict[str, Any], rules: list[dict[str, Any]] | None = None) -> set[str]:
    return {r.id for r in run_rules(KB, context, rules) if r.status in ("fail", "warn")}


def test_there_are_133_rules_of_the_knowledge_base_and_24_of_this_program() -> None:
    own = [r["id"] for r in RULES].index("st_invaded_unread")
    assert (own, len(RULES) - own) == (133, 24)
    assert all(r["source"] and (r["basis"] == "logic") == (not r["verified"]) for r in RULES[own:])


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["id"])
def test_rule_fires_on_its_example(rule: dict[str, Any]) -> None:
    results = run_rules(KB, rule["examples"]["fires"], [rule])
    assert {r.id for r in results} == {rule["id"]}
    assert results[0].status == {"block": "fail", "error": "fail", "warn": "warn", "info": "warn"}[rule["severity"]]
    assert "{" not in results[0].message
    assert results[0].details["severity"] == rule["severity"]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["id"])
def test_rule_is_silent_on_its_other_example(rule: dict[str, Any]) -> None:
    (result,) = run_rules(KB, rule["examples"]["silent"], [rule])
    assert result.status in ("pass", "not_evaluated")


def test_clean_case_fires_nothing_and_every_rule_answers() -> None:
    results = run_rules(KB, BASE)
    assert fired(BASE) == set()
    assert {r.id for r in results} == {r["id"] for r in RULES}


def test_broken_case_fires_what_is_broken() -> None:
    broken = nest(BASE)
    broken["case"]["site"] = "oropharynx_p16_neg"
    broken["plan"]["side"] = "right"
    broken["patient"]["crcl_ml_min"] = 40
    broken["plan"]["rt"]["fractions"] = 33
    broken["plan"] = {
        **broken["plan"],
        "targets": [{**BASE["plan"]["targets"][0], "fractions": 33}],
        "dvh": [{"structure": "SpinalCord", "metric": "D0.03cc", "value": 52}],
    }
    expected = {"st_p16_table_swap", "st_n_mismatch", "fid_side_plan", "sys_crcl_block", "rt_arith", "dvh_cord50"}
    assert expected <= fired(broken)


def test_for_each_rule_fires_once_per_item_with_its_values_in_the_message() -> None:
    dvh = [
        {"structure": "Cochlea_L", "metric": "Dmean", "value": 48},
        {"structure": "Cochlea_R", "metric": "Dmean", "value": 30},
        {"structure": "Cochlea_R", "metric": "Dmean", "value": 51},
    ]
    found = [r.message for r in run_rules(KB, {"plan.dvh": dvh}) if r.id == "dvh_cochlea"]
    assert found == ["Cochlea_L mean 48 Gy above 45 Gy", "Cochlea_R mean 51 Gy above 45 Gy"]


def test_a_silent_rule_says_whether_it_passed_or_lacked_facts() -> None:
    rule = [r for r in RULES if r["id"] == "sys_crcl_block"]
    (unknown,) = run_rules(KB, {"plan.agents": ["cisplatin"]}, rule)
    assert (unknown.status, unknown.details["missing"]) == ("not_evaluated", ["patient.crcl_ml_min"])
    (known,) = run_rules(KB, {"plan.agents": ["cisplatin"], "patient.crcl_ml_min": 50}, rule)
    assert known.status == "pass"
    (beside_the_point,) = run_rules(KB, {"plan.agents": []}, rule)
    assert beside_the_point.status == "pass"


def test_unverified_clinical_rule_says_so() -> None:
    (result,) = [r for r in run_rules(KB, {"report.airway_grade": "severe"}) if r.id == "fid_airway"]
    assert result.message.endswith("(rule from general knowledge, not verified)")


def test_condition_semantics_of_missing_fields() -> None:
    empty: dict[str, Any] = {}
    assert not holds({"f": "a.b", "op": "lt", "v": 3}, empty)
    assert holds({"f": "a.b", "op": "ne", "v": 3}, empty)
    assert holds({"f": "a.b", "op": "has_none", "v": [1]}, empty)
    assert holds({"f": "a.b", "op": "missing"}, empty)
    assert holds({"not": {"f": "a.b", "op": "eq", "v": 3}}, empty)
    assert not holds({"f": "a.b", "op": "ne", "v": {"field": "a.c"}}, empty)
    verdict = judge({"all": [{"f": "a.b", "op": "lt", "v": 3}, {"f": "a.c", "op": "is_true"}]}, {"a": {"c": True}})
    assert (verdict.truth, verdict.missing) == (None, frozenset({"a.b"}))
    assert (
        judge({"all": [{"f": "a.b", "op": "lt", "v": 3}, {"f": "a.c", "op": "is_true"}]}, {"a": {"c": False}}).truth
        is False
    )
    assert (
        judge({"any": [{"f": "a.b", "op": "lt", "v": 3}, {"f": "a.c", "op": "is_true"}]}, {"a": {"c": True}}).truth
        is True
    )


def test_nest_merges_flat_and_nested_keys() -> None:
    assert nest({"plan.rt": {"fractions": 35}, "plan": {"side": "left"}, "plan.rt.courses": 1}) == {
        "plan": {"rt": {"fractions": 35, "courses": 1}, "side": "left"}
    }
    assert lookup({"a": {"b": 1}}, "a.b.c") is None


def test_condition_refuses_what_it_does_not_know() -> None:
    with pytest.raises(KnowledgeBaseError, match="operator 'like'"):
        holds({"f": "a", "op": "like", "v": 1}, {"a": 1})
    with pytest.raises(KnowledgeBaseError, match="function 'nothing'"):
        holds({"f": {"fn": "nothing", "args": []}, "op": "eq", "v": 1}, {})
    with pytest.raises(UsageError, match="cannot be compared"):
        holds({"f": "a", "op": "lt", "v": 1}, {"a": "text"})


@pytest.mark.parametrize(
    ("code", "site", "fits"),
    [
        ("C09.9", "oropharynx_p16_pos", True), ("C12", "hypopharynx", True), ("C32.0", "hypopharynx", False),
        ("C02.4", "oral_cavity", False), ("C03.9", "oral_cavity", True), ("C32.0", "unknown_primary_neck", None),
        (None, "hypopharynx", None), ("C12", "nowhere", None),
    ],
)  # fmt: skip
def test_icd_code_belongs_to_its_site(code: str | None, site: str, fits: bool | None) -> None:
    assert icd_fits_site(KB, code, site) is fits


def _reference(shared: Path) -> Any:
    path = shared / "clinical" / "kb_eval.py"
    if not path.is_file():
        pytest.skip(f"no reference evaluator at {path}")
    spec = importlib.util.spec_from_file_location("reference_evaluator", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_agrees_with_the_reference_evaluator_on_mixed_cases(shared_dir: Path) -> None:
    """Facts of many examples thrown together: the same rules must fire in both evaluators."""
    reference = _reference(shared_dir)
    random.seed(4)
    examples = [e for rule in RULES for e in rule["examples"].values()]
    for _ in range(30):
        mixed: dict[str, Any] = {}
        for example in random.sample(examples, 5):
            mixed |= {
                k: v
                for k, v in example.items()
                if not any(k.startswith(f"{o}.") or o.startswith(f"{k}.") for o in mixed)
            }
        theirs = {f["id"] for f in reference.run_rules({"staging": KB["staging"], "safety": KB["safety"]}, mixed)}
        assert fired(mixed) == theirs, mixed
