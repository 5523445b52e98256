"""Draft a treatment plan from findings and the clinical form by cited tables alone: no model, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hnvlm.plan.case import Case, Line, build_case
from hnvlm.plan.conditions import lookup
from hnvlm.plan.constraints import DoseMetrics, build_constraints, canonical_metric, evaluate
from hnvlm.plan.eligibility import Eligibility, cisplatin_eligibility
from hnvlm.plan.form import validate_form
from hnvlm.plan.kb import APP_LOGIC, CLINICAL_FORM, KnowledgeBase, documents, load_kb
from hnvlm.plan.options import (
    Option,
    OptionSet,
    SystemicOption,
    action,
    find_options,
    systemic_option,
    systemic_options,
    uses_cisplatin,
)
from hnvlm.plan.prescription import Prescription, draft_prescription, draft_targets, unverified_neck_levels
from hnvlm.plan.questions import open_questions
from hnvlm.plan.render import render
from hnvlm.plan.result import Intent, Modality, Plan
from hnvlm.plan.safety import run_rules
from hnvlm.plan.staging import Category, Staging, group_row, stage
from hnvlm.plan.words import sentence, words
from hnvlm.types import CheckResult, Finding

_SQUAMOUS = ("squamous_cell_carcinoma", "nasopharyngeal_carcinoma")


def draft_plan(
    findings: Sequence[Finding],
    form: Mapping[str, Any] | None,
    *,
    structures: Mapping[str, Any] | None = None,
    dose_metrics: DoseMetrics | None = None,
    template: str = "default",
) -> Plan:
    """Draft a plan.

    Args:
        findings: Of one CT, as drafted or corrected; sizes in millimetres.
        form: Clinical form (see ``FORM_FIELDS``). What it leaves open is asked for, never inferred from CT.
        structures: TG-263 names that are contoured (values are not read); None: the core set is named.
        dose_metrics: Structure to metric to value, see ``constraints.evaluate``; None: nothing is judged.
        template: Constraint template.

    Returns:
        The plan with its text. Its figures come from verified entries of the tables, each with its source.

    Raises:
        UsageError: The form, the template or a dose metric is wrong; the message says which and how.
    """
    kb = load_kb()
    case = build_case(kb, findings, validate_form(form))
    staging = _staged(kb, case)
    intent = _intent(case, staging)
    context = _staged_context(case, staging, intent)
    modality = _modality(kb, case, staging, context)
    eligibility = _eligibility(kb, context, modality)
    prescription = _prescription(kb, case, context, modality, eligibility)
    systemic = _systemic(kb, case, modality, eligibility)
    names = list(structures) if structures is not None else list(dose_metrics) if dose_metrics else None
    rows = build_constraints(kb, names, site=staging.site, template=template)
    rows = evaluate(rows, dose_metrics) if prescription.schemes or dose_metrics or structures else ()
    targets = draft_targets(kb, context, prescription)
    facts = {**context, "plan": _plan_facts(kb, context, modality, prescription, systemic, names, dose_metrics, eligibility)}
    plan = Plan(
        urgent=case.urgent, facts=case.facts, staging=staging, intent=intent, modality=modality,
        prescription=prescription, targets=targets, constraints=rows, eligibility=eligibility, systemic=systemic,
        supportive=_supportive(kb, prescription), follow_up=_follow_up(kb, modality),
        needs=open_questions(
            case, staging, modality.options, eligibility, radiotherapy=bool(prescription.schemes) or modality.drafted is None,
            surgery_first=prescription.kind == "postoperative",
        ),
        checks=_in_order([*case.conflicts, *run_rules(kb, facts)]), not_verified=_not_verified(kb, context, modality, prescription),
        disease_seen=case.disease_seen or case.primary_site is not None,
    )  # fmt: skip
    text, sources = render(plan)
    return replace(plan, text=text, sources=sources)


def _staged(kb: KnowledgeBase, case: Case) -> Staging:
    """Stage under every table the case leaves open; what the chart states wins and is compared by the rules."""
    if not case.site_keys:
        return stage(kb, case.context)
    staged = [_with_stated(kb, case, stage(kb, case.context, key)) for key in case.site_keys]
    return replace(staged[0], alternatives=tuple(staged[1:]))


def _with_stated(kb: KnowledgeBase, case: Case, staging: Staging) -> Staging:
    stated = lookup(case.context, "stated") or {}
    changes: dict[str, Category] = {}
    for name in "tnm":
        derived: Category = getattr(staging, name)
        if name in stated:
            changes[name] = Category(stated[name], derived.table, "as stated on the form", possible=(stated[name],), sources=(CLINICAL_FORM,))
    if not changes:
        return staging
    staging = replace(staging, **changes)
    t, n, m = staging.t, staging.n, staging.m
    row = group_row(kb, staging.site, t.value, n.value, m.value, pathological=staging.kind == "pathological")
    needs = tuple(dict.fromkeys((*t.needs, *n.needs, *m.needs)))
    return replace(
        staging, group=row["group"] if row else None, sources=documents(row) if row else (), needs=needs,
        provisional=t.provisional or n.provisional or m.provisional,
    )  # fmt: skip


def _intent(case: Case, staging: Staging) -> Intent:
    """Take the stated intent; else metastasis or poor performance suggests palliation, to be confirmed."""
    stated, ecog = case.form.get("intent"), lookup(case.context, "patient.ecog")
    if stated:
        return Intent(stated, "as stated on the form", (CLINICAL_FORM,), provisional=False)
    if not (case.disease_seen or case.primary_site):
        return Intent(None, "no disease is known", (APP_LOGIC,))
    if staging.m.value == "M1":
        return Intent("palliative", "distant metastasis is stated; oligometastatic disease may be an exception", (CLINICAL_FORM, APP_LOGIC))
    if ecog is not None and ecog >= 3:
        return Intent("palliative", f"ECOG {ecog} is stated; curative intent would need a reason", (CLINICAL_FORM, APP_LOGIC))
    if case.form.get("setting") == "recurrent_metastatic":
        return Intent(None, "recurrent disease: curative salvage or palliation is for the multidisciplinary meeting", (APP_LOGIC,))
    return Intent("curative", "no distant metastasis or poor performance is stated", (CLINICAL_FORM, APP_LOGIC))


def _staged_context(case: Case, staging: Staging, intent: Intent) -> dict[str, Any]:
    """Return the case's facts with stage and intent, as options, doses and rules read them."""
    stated = lookup(case.context, "stated") or {}
    facts = dict(lookup(case.context, "case") or {})
    facts |= {"t": staging.t.value, "n": staging.n.value, "m": staging.m.value, "site": staging.site, "intent": intent.value}
    facts["stage_group"] = stated.get("stage_group") or staging.group
    if staging.m.value == "M1":
        facts["setting"] = "recurrent_metastatic"
    chemo = case.form.get("chemo_possible")
    plan = {"concurrent_systemic": "none"} if chemo is False else {"concurrent_systemic": "any"} if chemo else {}
    return {**case.context, "case": {k: v for k, v in facts.items() if v is not None}, "plan": plan}


def _modality(kb: KnowledgeBase, case: Case, staging: Staging, context: dict[str, Any]) -> Modality:
    """Choose the treatment to draft: the most specific, strongest sourced entry; within it the path with radiotherapy."""
    if not case.disease_seen and case.primary_site is None:
        return Modality(None, "", None, OptionSet(), withheld="no disease was found on this CT and the form names no primary")
    if staging.site is None:
        return Modality(None, "", None, OptionSet(), withheld="the primary site is not known")
    histology = case.form.get("histology")
    if histology not in (None, "none_yet", *_SQUAMOUS):
        why = f"histology is {words(histology)}: the tables hold options for squamous cell and nasopharyngeal carcinoma only"
        return Modality(None, "", None, OptionSet(), withheld=why)
    options = find_options(kb, context, staging.site)
    branches = _branches(kb, context, staging)
    lead = options.lead(kb)
    if lead is None:
        why = "stage is not complete" if staging.group is None else "the tables hold no verified treatment for this site and stage"
        return Modality(None, "", None, options, branches, why)
    drafted = _path(kb, lead, context)
    return Modality(drafted, action(kb, drafted)["label"], lead, options, branches)


def _path(kb: KnowledgeBase, lead: Option, context: dict[str, Any]) -> str:
    """Within an entry take the first whole treatment that holds radiotherapy, and one without drugs if they are ruled out."""
    whole = [t for t in lead.actions if action(kb, t)["kind"] in ("primary", "systemic")]
    with_rt = [t for t in whole if "rt" in action(kb, t)["modalities"]] or whole
    if lookup(context, "plan.concurrent_systemic") == "none":
        local = [t for t in with_rt if "systemic" not in action(kb, t)["modalities"]]
        return local[0] if local else "rt_alone" if action(kb, with_rt[0])["rt"] == "definitive" else with_rt[0]
    return with_rt[0]


def _branches(kb: KnowledgeBase, context: dict[str, Any], staging: Staging) -> tuple[Line, ...]:
    """Return what a missing T or an open table (p16) would lead to, one line each."""
    lines = []
    for other in staging.alternatives:
        if other.group is not None:
            lines.append(_branch(kb, context, other, words(other.site or "")))
    if staging.t.value is None and staging.n.value is not None:
        for t in staging.t.possible:
            row = group_row(kb, staging.site, t, staging.n.value, staging.m.value, pathological=staging.kind == "pathological")
            if row:
                assumed = replace(staging, t=replace(staging.t, value=t), group=row["group"], sources=documents(row))
                lines.append(_branch(kb, context, assumed, t))
    return tuple(lines)


def _branch(kb: KnowledgeBase, context: dict[str, Any], staging: Staging, name: str) -> Line:
    facts = {**context["case"], "site": staging.site, "t": staging.t.value, "n": staging.n.value, "m": staging.m.value}
    lead = find_options(kb, {**context, "case": {**facts, "stage_group": staging.group}}, staging.site or "").lead(kb)
    options = " / ".join(lead.labels) if lead else "no verified option in the tables"
    text = f"If {name}: {staging.t.value} {staging.n.value} {staging.m.value}, stage {staging.group}; {options}"
    return Line(text, (*staging.sources, *(lead.sources if lead else ())))


def _eligibility(kb: KnowledgeBase, context: dict[str, Any], modality: Modality) -> Eligibility | None:
    """Judge cisplatin where the drafted treatment or an option holds it."""
    tokens = [t for o in (*modality.options.applies, *modality.options.depends) for t in o.actions]
    if lookup(context, "plan.concurrent_systemic") == "none" or not any(uses_cisplatin(kb, t) for t in tokens):
        return None
    return cisplatin_eligibility(kb, context)


def _prescription(
    kb: KnowledgeBase, case: Case, context: dict[str, Any], modality: Modality, eligibility: Eligibility | None
) -> Prescription:
    if modality.drafted is None:
        return Prescription("none", withheld=modality.withheld)
    systemic = "systemic" in action(kb, modality.drafted)["modalities"]
    concurrent = systemic and lookup(context, "plan.concurrent_systemic") != "none"
    return draft_prescription(kb, context, action(kb, modality.drafted)["rt"], concurrent=concurrent)


def _systemic(
    kb: KnowledgeBase, case: Case, modality: Modality, eligibility: Eligibility | None
) -> tuple[SystemicOption, ...]:
    if modality.drafted is None:
        return ()
    rows = list(systemic_options(kb, modality.drafted, modality.options, eligibility or Eligibility("undetermined")))
    avoid = [t for o in modality.options.avoid for t in o.actions]
    for token in dict.fromkeys(avoid):
        # Advice against a regimen carries its evidence only where the agent table has a verified entry of that name.
        row = systemic_option(kb, token, "avoid") if token in kb.entries else None
        rows += [row] if row else []
    return tuple(rows)


def _plan_facts(
    kb: KnowledgeBase, context: dict[str, Any], modality: Modality, prescription: Prescription,
    systemic: tuple[SystemicOption, ...], names: list[str] | None, dose_metrics: DoseMetrics | None,
    eligibility: Eligibility | None,
) -> dict[str, Any]:  # fmt: skip
    """Return ``plan.*`` as the contradiction rules read it."""
    drafted = [kb.entry(s.id) for s in systemic if s.status == "drafted"]
    agents = {a for entry in drafted for a in ("cisplatin", "cetuximab", "docetaxel", "pembrolizumab", "nivolumab", "carboplatin") if a in entry["agent"]}
    token = action(kb, modality.drafted) if modality.drafted else {"modalities": []}
    plan: dict[str, Any] = {
        "intent": context["case"].get("intent"), "side": context["case"].get("side"), "agents": sorted(agents),
        "modalities": list(token["modalities"]), "induction": bool(token.get("induction")),
        "larynx_preservation": bool(token.get("preserves_larynx")), "clinician_reviewed": False,
        "n_uncited_statements": 0, "kb_ids_unverified": [],
    }  # fmt: skip
    if context.get("plan", {}).get("concurrent_systemic") == "none":
        plan["no_chemo_reason"] = "form: systemic treatment not possible or not wanted"
    elif eligibility is not None and eligibility.verdict == "contraindicated":
        plan["no_chemo_reason"] = "cisplatin is contraindicated"
    if lookup(context, "report.airway_grade") in ("severe", "obliterated"):
        plan["airway_action"] = "urgent review, see the top of the plan"
    cisplatin = next((e for e in drafted if e["id"] in ("cis_q3w", "cis_weekly40")), None)
    if cisplatin is not None:
        cycles = int(str(cisplatin["cycles"]).split("-")[0])
        dose = cisplatin["dose_mg_m2"]
        plan["cisplatin"] = {"dose_mg_m2": dose, "interval_days": cisplatin["interval_days"], "cycles": cycles, "cumulative_mg_m2": dose * cycles}
    if prescription.schemes:
        plan["rt"] = _rt_facts(context, prescription, names)
        levels = [vars(level) for level in prescription.schemes[0].levels]
        plan["targets"] = [
            {"name": v["target"], "total_gy": v["dose_gy"], "fractions": v["fractions"], "per_fraction_gy": v["per_fraction_gy"],
             "bed10": v["bed10_gy"], "eqd2_10": v["eqd2_10_gy"]}
            for v in levels
        ]  # fmt: skip
    if dose_metrics:
        plan |= _dvh_facts(dose_metrics)
    return {k: v for k, v in plan.items() if v is not None}


def _rt_facts(context: dict[str, Any], prescription: Prescription, names: list[str] | None) -> dict[str, Any]:
    scheme = prescription.schemes[0]
    top = scheme.levels[0]
    rt: dict[str, Any] = {
        "scheme": scheme.id, "fractions": top.fractions, "per_fraction_gy": top.per_fraction_gy, "gross_gy": top.dose_gy,
        "fractions_per_week": scheme.fractions_per_week if isinstance(scheme.fractions_per_week, int) else None,
        "elective_gy": scheme.levels[-1].dose_gy if len(scheme.levels) > 1 else None,
        "elective_nodes": len(scheme.levels) > 1, "oars_contoured": names,
        "ctvp1_margin_mm": 5 if prescription.kind == "definitive" else None,
        "days_from_surgery": lookup(context, "plan.rt.days_from_surgery"),
    }  # fmt: skip
    if prescription.kind == "postoperative":
        rt["high_risk_gy"] = top.dose_gy
        rt["gross_gy"] = None
    if scheme.id.startswith("pall_quadshot"):
        rt |= {"fractions_per_day": 2, "interfraction_h": 6}
    elective = ["VIIa", "II", "III", "IVa", "Va", "Vb"] if lookup(context, "case.site") == "nasopharynx" else []
    for side in ("left", "right"):
        rt[f"levels_{side}"] = sorted({*elective, *(lookup(context, f"nodes.positive_levels_{side}") or [])})
    return {k: v for k, v in rt.items() if v is not None}


def _dvh_facts(dose_metrics: DoseMetrics) -> dict[str, Any]:
    rows = [
        {"structure": structure, "metric": canonical_metric(metric), "value": value}
        for structure, metrics in dose_metrics.items()
        for metric, value in metrics.items()
        if value is not None
    ]
    means = {r["structure"]: r["value"] for r in rows if r["metric"] == "Dmean"}
    summary = {f"parotid_{side.lower()}_mean": means.get(f"Parotid_{side}") for side in "LR"}
    return {"dvh": rows, "dvh_summary": {k: v for k, v in summary.items() if v is not None}}


def _supportive(kb: KnowledgeBase, prescription: Prescription) -> tuple[Line, ...]:
    if not prescription.schemes:
        return ()
    entries = [e for e in kb["regimens"]["supportive"] if e["verified"]]
    return tuple(Line(sentence(e["rule"]), documents(e)) for e in entries)


def _follow_up(kb: KnowledgeBase, modality: Modality) -> tuple[Line, ...]:
    found = [o for o in modality.options.applies if all(action(kb, t)["kind"] == "follow_up" for t in o.actions)]
    return tuple(Line(o.principle or " / ".join(o.labels), o.sources) for o in found)


def _not_verified(kb: KnowledgeBase, context: dict[str, Any], modality: Modality, prescription: Prescription) -> tuple[str, ...]:
    """Name unverified entries that a clinician may want to look up, without their numbers."""
    found = [f"{sentence(' / '.join(o.labels))} (option table, {o.id})" for o in modality.options.unverified]
    found += unverified_neck_levels(kb, context, prescription)
    if prescription.kind in ("definitive", "postoperative") and prescription.schemes:
        found.append("PTV margin, high-dose margin around involved nodes, elective dose after surgery: department protocol")
    if prescription.schemes:
        found += [f"Supportive care: {e['label']}" for e in kb["regimens"]["supportive"] if not e["verified"]]
    return tuple(found)


def _in_order(checks: list[CheckResult]) -> tuple[CheckResult, ...]:
    order = {"fail": 0, "warn": 1, "not_evaluated": 2, "pass": 3}
    return tuple(sorted(checks, key=lambda c: order[c.status]))
