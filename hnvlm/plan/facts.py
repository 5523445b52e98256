"""A draft put into the words of the contradiction rules: ``plan.*`` of safety.yaml.

A rule is worth something only where what it compares has two origins. So what a rule holds against a figure of the
draft is read from the tables or from the built plan, not made by the code that made the figure; and where there is no
second origin, ``compared_with_itself`` says which rules the draft cannot break, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hnvlm.imaging.target_names import is_target_volume
from hnvlm.plan.case import Line
from hnvlm.plan.conditions import lookup
from hnvlm.plan.constraints import DoseMetrics, canonical_metric
from hnvlm.plan.decisions import decided, scheme_decided
from hnvlm.plan.eligibility import Eligibility
from hnvlm.plan.kb import APP_LOGIC, KnowledgeBase
from hnvlm.plan.options import action
from hnvlm.plan.prescription import Prescription, Scheme, margins_of_primary
from hnvlm.plan.render import uncited
from hnvlm.plan.result import Modality, Plan
from hnvlm.plan.safety import run_rules
from hnvlm.plan.systemic import SystemicOption
from hnvlm.plan.words import sentence
from hnvlm.types import CheckResult

# Doses of a drug with radiotherapy that a rule knows.
_DOSES = ("loading_mg_m2", "maintenance_mg_m2", "dose_mg_m2")
_DRUGS = ("cisplatin", "cetuximab", "docetaxel", "pembrolizumab", "nivolumab", "carboplatin")
# Rules that no draft can break, and why.
_NEVER_BROKEN = {
    "fid_side_plan": "the draft takes its side from the case",
    "fid_nodes_left": "the draft treats the levels of the case",
    "fid_nodes_right": "the draft treats the levels of the case",
    "fid_negated": "a draft says what the findings say; an edited text is checked",
    "fid_hedged": "a draft says what the findings say; an edited text is checked",
    "fid_unsupported": "a draft says what the findings say; an edited text is checked",
    "rt_incomplete": "no scheme of the tables is without a dose or fractions",
}
# Rules that hold what the form states against CT or the tables: field of the form, and what stands in for it.
_NEEDS_AN_ANSWER = {
    "st_t_mismatch": ("stated_t", "no T is stated: it is the derived one"),
    "st_n_mismatch": ("stated_n", "no N is stated: it is the derived one"),
    "st_group_mismatch": ("stated_group", "no stage group is stated: it is the derived one"),
    "st_edition_missing": ("edition", "no edition is stated: it is that of the tables"),
    "fid_side_primary": ("side", "no side is stated: it is the one drafted from CT"),
    "fid_size": ("tumour_size_mm", "no size is stated: it is the one drafted from CT"),
}


def plan_facts(
    kb: KnowledgeBase, context: dict[str, Any], modality: Modality, prescription: Prescription,
    systemic: tuple[SystemicOption, ...], names: list[str] | None, dose_metrics: DoseMetrics | None,
    eligibility: Eligibility | None, *, top_gy: float | None = None, fraction_gy: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return ``plan.*`` as the contradiction rules read it.

    Args:
        names: Structures that are contoured. dose_metrics: Figures of the dose judged.
        top_gy, fraction_gy: Highest level of that dose, and its fraction size; None: not known.
    """
    token = action(kb, modality.drafted) if modality.drafted else {"modalities": []}
    # Where one of several drugs is to be chosen, each is held against the rules.
    open_choice = token.get("agents", ()) if token.get("choose_one") else ()
    drafted = [
        kb.entry(s.id) for s in systemic if s.status == "drafted" or (s.status == "alternative" and s.id in open_choice)
    ]
    agents = {drug for entry in drafted for drug in _DRUGS if drug in entry["agent"]}
    if any("platinum" in entry["agent"] for entry in drafted):
        agents.add("carboplatin")  # platinum of choice: counted as the one that the kidney limits less
    stated = decided(context)
    plan: dict[str, Any] = stated | {
        "intent": context["case"].get("intent"), "side": context["case"].get("side"), "agents": sorted(agents),
        "modalities": list(token["modalities"]), "induction": bool(token.get("induction")),
        "larynx_preservation": bool(token.get("preserves_larynx")), "clinician_reviewed": False,
        "kb_ids_unverified": _unverified(kb, modality, prescription, systemic),
    }  # fmt: skip
    if modality.drafted is None:
        plan["no_chemo_reason"] = "no treatment is drafted"
    elif plan["intent"] == "palliative":
        plan["no_chemo_reason"] = "palliative intent"
    elif context.get("plan", {}).get("concurrent_systemic") == "none":
        plan["no_chemo_reason"] = "form: systemic treatment not possible or not wanted"
    elif eligibility is not None and eligibility.verdict == "contraindicated":
        plan["no_chemo_reason"] = "cisplatin is contraindicated"
    cisplatin = next((e for e in drafted if e["id"] in ("cis_q3w", "cis_weekly40")), None)
    if cisplatin is not None:
        plan["cisplatin"] = {
            "dose_mg_m2": cisplatin["dose_mg_m2"],
            "interval_days": cisplatin["interval_days"],
            "cycles": _least(cisplatin["cycles"]),
            "cumulative_mg_m2": _least(cisplatin["cumulative_mg_m2"]),
        }
    plan |= {
        drug: {key: entry[key] for key in _DOSES if key in entry}
        for entry in drafted
        if (drug := entry["agent"]) in ("cetuximab", "docetaxel")
    }
    if prescription.schemes:
        plan["rt"] = _rt_facts(kb, context, prescription, names)
        plan["targets"] = _target_facts(kb, prescription.schemes[0])
    elif stated.get("rt"):
        # What was decided is held against the rules where no dose is drafted, too; no level is left out there.
        plan["rt"] = stated["rt"] | _levels(kb, context)
    if dose_metrics:
        plan |= _dvh_facts(dose_metrics, top_gy) | {"dvh_fraction_gy": fraction_gy}
    return {k: v for k, v in plan.items() if v is not None}


def told_facts(kb: KnowledgeBase, plan: Plan) -> dict[str, Any]:
    """Return ``plan.*`` that only the built plan tells: what it says, not what it was meant to say."""
    action = sentence(kb["urgent"]["airway"]["action"])
    told = next((line.text for line in plan.urgent if action in line.text), None)
    return {"n_uncited_statements": uncited(plan)} | ({"airway_action": told} if told else {})


def compared_with_itself(form: Mapping[str, Any]) -> dict[str, str]:
    """Return the rules that would hold a draft against itself, each with the reason.

    Args:
        form: Output of ``validate_form``.
    """
    unanswered = {rule: why for rule, (field, why) in _NEEDS_AN_ANSWER.items() if field not in form}
    return _NEVER_BROKEN | unanswered


def blocks(checks: Sequence[CheckResult]) -> tuple[Line, ...]:
    """Rules of the severity ``block``: the draft is not to be shown as a plan until a clinician resolves them."""
    broken = [c for c in checks if c.status == "fail" and c.details.get("severity") == "block"]
    return tuple(Line(f"Not a plan until this is resolved: {c.message}", (APP_LOGIC,)) for c in broken)


def check_draft(kb: KnowledgeBase, form: Mapping[str, Any], facts: Mapping[str, Any], plan: Plan) -> list[CheckResult]:
    """Run the contradiction rules on a built draft; one counts as passed only where it could have fired.

    Args:
        form: Output of ``validate_form``.
        facts: Of the case, with ``plan_facts`` under ``plan``.
        plan: The draft, as yet without checks.
    """
    told = {**facts, "plan": {**facts["plan"], **told_facts(kb, plan)}}
    checks = run_rules(kb, told, meaningless=compared_with_itself(form))
    return [_of_small_fractions(c) for c in checks] if _large_fractions(checks) else checks


def _large_fractions(checks: Sequence[CheckResult]) -> bool:
    return any(c.id == "dvh_fraction_size" and c.status == "warn" for c in checks)


def _of_small_fractions(check: CheckResult) -> CheckResult:
    """A limit of an organ that is made for about 2 Gy a fraction: its silence on a dose in larger ones is no pass."""
    if check.status != "pass" or check.details["category"] != "oar":
        return check
    return replace(check, status="not_evaluated", details={**check.details, "missing": ["plan.rt.dvh_in_eqd2"]})


def _least(number: int | str) -> int:
    """The lower end of a number of the tables: ``7`` or ``6-7``."""
    return int(str(number).split("-")[0])


def _target_facts(kb: KnowledgeBase, scheme: Scheme) -> list[dict[str, Any]]:
    """The drafted levels with dose per fraction, BED and EQD2 of the table, which the draft computes itself."""
    rows = kb.entry(scheme.id)["targets"]
    return [
        {"name": level.target, "total_gy": level.dose_gy, "fractions": level.fractions}
        | {key: row[key] for key in ("per_fraction_gy", "bed10", "eqd2_10") if key in row}
        for level, row in zip(scheme.levels, rows, strict=True)
    ]


def _unverified(
    kb: KnowledgeBase, modality: Modality, prescription: Prescription, systemic: tuple[SystemicOption, ...]
) -> list[str]:
    """Return ids of unverified entries that the draft leans on: there should be none."""
    ids = [o.id for o in modality.options.applies] + [s.id for s in prescription.schemes] + [s.id for s in systemic]
    return [i for i in ids if not kb.entry(i)["verified"]]


def _rt_facts(
    kb: KnowledgeBase, context: dict[str, Any], prescription: Prescription, names: list[str] | None
) -> dict[str, Any]:
    scheme = scheme_decided(context, prescription)
    top, entry = scheme.levels[0], kb.entry(scheme.id)
    with_margin = prescription.kind == "definitive" and margins_of_primary(context)
    rt: dict[str, Any] = {
        "scheme": scheme.id, "fractions": top.fractions, "per_fraction_gy": top.per_fraction_gy,
        "gross_gy": top.dose_gy,
        "fractions_per_week": scheme.fractions_per_week if isinstance(scheme.fractions_per_week, int) else None,
        "elective_gy": scheme.levels[-1].dose_gy if len(scheme.levels) > 1 else None,
        "elective_nodes": len(scheme.levels) > 1, "oars_contoured": names,
        "ctvp1_margin_mm": kb.entry("ctvp1")["margin_mm"] if with_margin else None,
        "fractions_per_day": entry.get("fractions_per_day"), "interfraction_h": entry.get("min_interval_h"),
    }  # fmt: skip
    rt |= decided(context).get("rt", {})
    if prescription.kind == "postoperative":
        rt["high_risk_gy"] = top.dose_gy
        rt["gross_gy"] = None
        rt["package_days"] = _package_days(prescription, rt.get("days_from_surgery"))
    return {k: v for k, v in (rt | _levels(kb, context)).items() if v is not None}


def _levels(kb: KnowledgeBase, context: dict[str, Any]) -> dict[str, list[str]]:
    elective = kb.entry("nl_npc")["both"] if lookup(context, "case.site") == "nasopharynx" else []
    involved = {side: lookup(context, f"nodes.positive_levels_{side}") or [] for side in ("left", "right")}
    return {f"levels_{side}": sorted({*elective, *levels}) for side, levels in involved.items()}


def _package_days(prescription: Prescription, start: int | None) -> int | None:
    """Days from surgery to the last fraction of the shortest scheme: begun on a Monday, no day lost."""
    spans = [
        7 * ((scheme.levels[0].fractions - 1) // scheme.fractions_per_week)
        + (scheme.levels[0].fractions - 1) % scheme.fractions_per_week
        for scheme in prescription.schemes
        if isinstance(scheme.fractions_per_week, int) and scheme.fractions_per_week <= 7
    ]
    return start + min(spans) if start is not None and spans else None


def _dvh_facts(dose_metrics: DoseMetrics, top_gy: float | None) -> dict[str, Any]:
    """The figures of a dose; of targets the hot spot, too, in percent of the highest level."""
    rows = [
        {"structure": structure, "metric": canonical_metric(metric), "value": value}
        for structure, metrics in dose_metrics.items()
        for metric, value in metrics.items()
        if value is not None
    ]
    rows += [
        {"structure": r["structure"], "metric": "D0.03cc_pct", "value": 100 * r["value"] / top_gy}
        for r in rows
        if top_gy and r["metric"] == "D0.03cc" and is_target_volume(r["structure"])
    ]
    means = {r["structure"]: r["value"] for r in rows if r["metric"] == "Dmean"}
    summary = {f"parotid_{side.lower()}_mean": means.get(f"Parotid_{side}") for side in "LR"}
    return {"dvh": rows, "dvh_summary": {k: v for k, v in summary.items() if v is not None}}
