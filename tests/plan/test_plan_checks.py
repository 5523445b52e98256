"""A rule counts as passed only where the draft could have broken it: each of these is broken here, or not counted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from plan_cases import CASES, FIT, NO_NODES, mass

from hnvlm.plan import Plan, draft_plan, prescription, safety
from hnvlm.plan.facts import compared_with_itself
from hnvlm.plan.kb import load_kb
from hnvlm.plan.safety import run_rules
from hnvlm.types import CheckResult

KB = load_kb()
CHEMORADIATION, NPC, POSTOPERATIVE = "oropharynx p16 positive", "nasopharynx", "postoperative with ENE"
QUAD_SHOT = ([mass("palatine tonsil", "left", 31), NO_NODES], {**FIT, "p16": "negative", "intent": "palliative",
                                                              "quad_courses": 3, "quad_weeks": 4})  # fmt: skip


def drafted(case: str | tuple[Any, Any], **more: Any) -> Plan:
    findings, form = CASES[case] if isinstance(case, str) else case
    return draft_plan(findings, {**form, **more})


def check(plan: Plan, rule: str) -> CheckResult:
    return next(c for c in plan.checks if c.id == rule)


def level(scheme: str) -> dict[str, Any]:
    return KB.entry(scheme)["targets"][0]


@pytest.mark.parametrize(
    ("case", "rule", "entry", "key", "broken"),
    [
        (CHEMORADIATION, "rt_ctv_margin", KB.entry("ctvp1"), "margin_mm", 3),
        (QUAD_SHOT, "rtx_bid_gap", KB.entry("pall_quadshot_148_4"), "min_interval_h", 4),
        (QUAD_SHOT, "rtx_bid_gap", KB.entry("pall_quadshot_148_4"), "min_interval_h", None),
        (CHEMORADIATION, "rt_arith", level("def_sib_70_63_56_35"), "per_fraction_gy", 2.12),
        (CHEMORADIATION, "rt_bed", level("def_sib_70_63_56_35"), "bed10", 72.0),
        (CHEMORADIATION, "rt_eqd2", level("def_sib_70_63_56_35"), "eqd2_10", 72.0),
        (CHEMORADIATION, "sys_cis_cum_arith", KB.entry("cis_q3w"), "cumulative_mg_m2", 260),
        (NPC, "rt_npc_levels", KB.entry("nl_npc"), "both", ["VIIa", "II", "IVa", "V"]),
        ("larynx T4a", "fid_airway", KB["urgent"]["airway"]["grades"][3], "urgent", False),
        (CHEMORADIATION, "ov_uncited", KB.entry("ctvp1"), "source", []),
    ],
)  # fmt: skip
def test_a_rule_that_passes_fires_when_the_tables_are_broken(
    monkeypatch: pytest.MonkeyPatch, case: Any, rule: str, entry: dict[str, Any], key: str, broken: Any
) -> None:
    assert check(drafted(case), rule).status == "pass"
    monkeypatch.setitem(entry, key, broken)
    fired = check(drafted(case), rule)
    assert fired.status in ("fail", "warn") and fired.details["severity"] == next(
        r["severity"] for r in KB["safety"]["rules"] if r["id"] == rule
    )


def test_the_margin_and_the_gap_are_those_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KB.entry("ctvp1"), "margin_mm", 3)
    assert check(drafted(CHEMORADIATION), "rt_ctv_margin").message.startswith("High-dose CTV margin 3 mm")
    for case in ((CASES["unknown primary"][0], {**FIT, "site": "unknown_primary", "p16": "positive"}), NPC):
        plan = drafted(case)
        assert plan.prescription.kind == "definitive" and not any("CTV-P1" in line.text for line in plan.targets)
        assert check(plan, "rt_ctv_margin").details["missing"] == ["plan.rt.ctvp1_margin_mm"], "no margin is drafted"
    assert check(drafted(CHEMORADIATION), "rtx_bid_gap").status == "not_evaluated"


def test_a_wrong_formula_is_found_although_draft_and_rule_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(fractions: float, per_fraction_gy: float, alpha_beta_gy: float) -> float:
        return fractions * per_fraction_gy * (1 + alpha_beta_gy / per_fraction_gy)

    for module in (prescription, safety):
        monkeypatch.setattr(module, "bed_gy", wrong)
    plan = drafted(CHEMORADIATION)
    assert {check(plan, rule).status for rule in ("rt_bed", "rt_eqd2")} == {"fail"}


@pytest.mark.parametrize("name", CASES)
def test_every_statement_of_a_draft_names_a_source(name: str) -> None:
    assert check(drafted(name), "ov_uncited").status == "pass"


@pytest.mark.parametrize("name", CASES)
def test_the_text_counts_as_passed_only_what_could_have_fired(name: str) -> None:
    plan = drafted(name)
    silent = {c.id: c for c in plan.checks if c.status == "not_evaluated"}
    itself = {rule for rule, c in silent.items() if "reason" in c.details}
    counted = re.search(r"(\d+) rules passed, (\d+) could not be evaluated because facts are missing, (\d+) are not "
                        r"counted because they would compare this draft with itself", plan.text)  # fmt: skip
    assert counted is not None
    passed = {c.id for c in plan.checks if c.status == "pass"}
    assert [int(n) for n in counted.groups()] == [len(passed), len(silent) - len(itself), len(itself)]
    assert not passed & set(compared_with_itself(CASES[name][1]))
    known = {rule["id"] for rule in KB["safety"]["rules"]}
    assert itself <= set(compared_with_itself({})) <= known


@pytest.mark.parametrize(
    ("rule", "answer", "other"),
    [("st_t_mismatch", {"stated_t": "T2"}, {"stated_t": "T3"}),
     ("st_n_mismatch", {"stated_n": "N2"}, {"stated_n": "N1"}),
     ("st_group_mismatch", {"stated_group": "II"}, {"stated_group": "III"}),
     ("fid_side_primary", {"side": "right"}, {"side": "left"}),
     ("fid_size", {"tumour_size_mm": 39}, {"tumour_size_mm": 50})],
)  # fmt: skip
def test_what_the_form_states_is_compared_and_what_it_leaves_open_is_not_counted(
    rule: str, answer: dict[str, Any], other: dict[str, Any]
) -> None:
    untold = check(drafted(CHEMORADIATION), rule)
    assert untold.status == "not_evaluated" and untold.details["reason"].startswith("no ")
    assert check(drafted(CHEMORADIATION, **answer), rule).status == "pass"
    assert check(drafted(CHEMORADIATION, **other), rule).status == "fail"


def test_a_rule_that_fires_is_told_even_where_its_silence_would_say_nothing() -> None:
    rule = [r for r in KB["safety"]["rules"] if r["id"] == "fid_side_plan"]
    reasons = {"fid_side_plan": "copied"}
    (fired,) = run_rules(KB, rule[0]["examples"]["fires"], rule, meaningless=reasons)
    (silent,) = run_rules(KB, rule[0]["examples"]["silent"], rule, meaningless=reasons)
    assert (fired.status, "reason" in fired.details) == ("fail", False)
    assert (silent.status, silent.details["reason"]) == ("not_evaluated", "copied")
