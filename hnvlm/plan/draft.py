"""Draft a treatment plan from findings and the clinical form by cited tables alone: no model, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hnvlm.plan.case import Case, Line, build_case, report_conflict
from hnvlm.plan.conditions import lookup
from hnvlm.plan.constraints import Constraint, DoseMetrics, build_constraints, for_treatment, glands_with_tumour
from hnvlm.plan.decisions import scheme_decided, target_lines
from hnvlm.plan.dose_basis import DoseBasis, coverage_checks, off_prescription, target_checks
from hnvlm.plan.eligibility import Eligibility, cisplatin_eligibility
from hnvlm.plan.facts import blocks, check_draft, plan_facts
from hnvlm.plan.form import validate_form
from hnvlm.plan.fraction_size import drafted_size, judged_for, top_level
from hnvlm.plan.intent import intent_of
from hnvlm.plan.kb import CLINICAL_FORM, KnowledgeBase, documents, load_kb
from hnvlm.plan.modality import choose_treatment
from hnvlm.plan.options import (
    action,
    drugs_with_radiotherapy,
    lists_platinum,
    pathology_may_ask,
    uses_cisplatin,
)
from hnvlm.plan.prescription import Prescription, draft_prescription, draft_targets
from hnvlm.plan.questions import open_questions
from hnvlm.plan.render import caveats, render
from hnvlm.plan.result import Intent, Modality, Plan
from hnvlm.plan.staging import Category, Staging, group_row, possible_groups, stage, unread_structures
from hnvlm.plan.support import follow_up, not_verified, supportive
from hnvlm.plan.systemic import SystemicOption, drug_cautions, systemic_option, systemic_options
from hnvlm.plan.words import words
from hnvlm.types import CheckResult, Finding


def draft_plan(
    findings: Sequence[Finding],
    form: Mapping[str, Any] | None,
    *,
    structures: Mapping[str, Any] | None = None,
    dose_metrics: DoseMetrics | None = None,
    dose_basis: DoseBasis | None = None,
    template: str = "default",
    own_rows: Sequence[Mapping[str, Any]] | None = None,
    dose_fraction_gy: float | None = None,
    report_says: Sequence[str] = (),
) -> Plan:
    """Draft a plan.

    Args:
        findings: Of one CT, as drafted or corrected; sizes in millimetres.
        form: Clinical form (see ``FORM_FIELDS``). What it leaves open is asked for, never inferred from CT.
        structures: TG-263 names that are contoured (values are not read); None: the core set is named.
        dose_metrics: Structure to metric to value, see ``constraints.evaluate``; None: nothing is judged.
        dose_basis: The dose that these are figures of. One predicted for another prescription judges nothing.
        template: Constraint template.
        own_rows: Rows of a clinician's own template, used instead of it (see ``own_templates.check_rows``).
        dose_fraction_gy: Dose of one fraction to its highest level; None: that of the drafted scheme with this level.
        report_says: What a clinician's report tells otherwise than ``findings``; each is a contradiction.

    Returns:
        The plan with its text. Its figures come from verified entries of the tables, each with its source.

    Raises:
        UsageError: The form, the template or a dose metric is wrong; the message says which and how.
    """
    kb = load_kb()
    case = build_case(kb, findings, validate_form(form))
    staging = _staged(kb, case)
    intent = intent_of(case, staging)
    cisplatin = cisplatin_eligibility(kb, case.context)
    context = _staged_context(case, staging, intent, cisplatin)
    modality = choose_treatment(kb, case, staging, context)
    eligibility = cisplatin if _holds_cisplatin(kb, context, modality) else None
    prescription = _prescription(kb, context, modality, cisplatin)
    systemic = _systemic(kb, modality, cisplatin, context)
    limits = _limits(kb, context, staging, modality, prescription, structures, dose_metrics, dose_basis, template,
                     own_rows, dose_fraction_gy)  # fmt: skip
    targets = draft_targets(kb, context, prescription, induction=_induction(kb, context, modality))
    facts = {
        **context,
        "plan": plan_facts(
            kb,
            context,
            modality,
            prescription,
            systemic,
            limits.names,
            limits.dose_metrics,
            eligibility,
            top_gy=limits.top_gy,
            fraction_gy=limits.fraction_gy,
        ),
    }
    plan = Plan(
        urgent=case.urgent, facts=case.facts, staging=staging, intent=intent, modality=modality,
        prescription=prescription, targets=(*targets, *target_lines(context)), constraints=limits.rows,
        dose_line=limits.dose_line,
        eligibility=eligibility, systemic=systemic,
        supportive=supportive(kb, context, prescription), follow_up=follow_up(kb, modality, prescription, context),
        needs=open_questions(
            case, staging, modality.options, eligibility,
            radiotherapy=_may_irradiate(kb, modality, prescription, context),
            drugs=any(s.status in ("drafted", "conditional") or s.to_choose for s in systemic),
            surgery_first=prescription.kind == "postoperative", intent_open=intent.value is None,
            pembrolizumab=any(
                "pembrolizumab" in s.agent and s.status not in ("avoid", "not_eligible") for s in systemic
            ),
        ),
        checks=(),
        not_verified=not_verified(
            kb, context, modality, prescription,
            cisplatin=eligibility is not None and eligibility.verdict != "contraindicated",
            fluorouracil=any("5-FU" in s.agent for s in systemic if s.status in ("drafted", "alternative")),
        ),
        disease_seen=case.disease_seen or case.primary_site is not None, nodes_from_ct=case.nodes_from_ct,
        carries_tumour=limits.carrying, histology=case.form.get("histology"),
        recurrent=case.form.get("setting") == "recurrent_metastatic" and staging.m.value != "M1",
        drug_cautions=drug_cautions(systemic, cisplatin),
    )  # fmt: skip
    told = [*case.conflicts, *map(report_conflict, report_says), *limits.checks]
    plan = replace(plan, checks=_in_order([*told, *check_draft(kb, case.form, facts, plan)]))
    plan = replace(plan, urgent=(*plan.urgent, *blocks(plan.checks)))
    text, sources = render(plan)
    return replace(plan, text=text, sources=sources, caveats=caveats(plan))


@dataclass(frozen=True)
class _Limits:
    """The limits of a plan, judged on the dose at hand.

    Attributes:
        rows: Every limit with its verdict. checks: Targets of another prescription, and those not covered.
        names: Structures that are contoured; None: not known.
        dose_metrics: Figures that the rules may judge: those of a dose of this plan, of its targets and organs.
        carrying: Structures that carry the primary.
        top_gy, fraction_gy: Highest level of the dose, and its fraction size; None: not known.
    """

    rows: tuple[Constraint, ...]
    checks: tuple[CheckResult, ...]
    names: list[str] | None
    dose_metrics: dict[str, Any]
    carrying: tuple[str, ...]
    dose_line: Line | None
    top_gy: float | None
    fraction_gy: float | None


def _limits(
    kb: KnowledgeBase, context: dict[str, Any], staging: Staging, modality: Modality, prescription: Prescription,
    structures: Mapping[str, Any] | None, dose_metrics: DoseMetrics | None, dose_basis: DoseBasis | None, template: str,
    own_rows: Sequence[Mapping[str, Any]] | None, dose_fraction_gy: float | None,
) -> _Limits:  # fmt: skip
    """Choose the limits that fit the treatment and judge them; arguments as of ``draft_plan``."""
    names = list(structures) if structures is not None else list(dose_metrics) if dose_metrics else None
    basis = dose_basis or DoseBasis("")
    strange = off_prescription(
        [*(names or ()), *(dose_metrics or ())], (v.dose_gy for v in prescription.levels),
        open_below=prescription.lower_levels_open,
    )  # fmt: skip
    fitting = None if names is None else [name for name in names if name not in strange]
    carrying = glands_with_tumour(staging.site, lookup(context, "case.subsite"), lookup(context, "case.side"))
    rows = build_constraints(kb, fitting, site=staging.site, carrying=carrying, template=template, own_rows=own_rows)
    rows = for_treatment(rows, drugs_with_radiotherapy(kb, modality.drafted))
    misfit = basis.misfit(
        (scheme.levels[0].dose_gy for scheme in prescription.schemes),
        irradiated=lookup(context, "patient.prior_neck_rt") is True,
    )
    prescribed = bool(prescription.schemes)
    # Of a dose that is known the levels are, too, or nobody says: names may be those of targets that a model guessed.
    top = max(basis.levels_gy.values(), default=None) if dose_basis else top_level(dose_metrics or ())
    size = dose_fraction_gy or drafted_size(prescription.schemes, top)
    rows = basis.judge(rows, dose_metrics, misfit) if prescribed or dose_metrics or structures else ()
    rows = judged_for(rows, size, at_most=top is None)
    # A dose of no known level may be one of the scheme drafted: the rule reminds of that, and no limit is judged by it.
    unknown = prescribed and top is None
    reminded = scheme_decided(context, prescription).levels[0].per_fraction_gy if unknown else None
    example = basis.predicted and not prescribed  # no dose of this plan
    known = {} if misfit or example else dose_metrics or {}
    return _Limits(
        rows, (*target_checks(() if misfit else strange), *coverage_checks(rows)), names,
        {k: v for k, v in known.items() if k not in (*strange, *carrying)}, carrying,
        basis.line(misfit, prescribed=prescribed) if rows and (dose_basis or misfit) else None,
        top, size or reminded,
    )  # fmt: skip


def _induction(kb: KnowledgeBase, context: Mapping[str, Any], modality: Modality) -> bool:
    """Whether radiotherapy comes after induction: given already, or drafted."""
    drafted = modality.drafted is not None and action(kb, modality.drafted).get("induction", False)
    return lookup(context, "patient.prior_platinum_induction") is True or bool(drafted)


def _staged(kb: KnowledgeBase, case: Case) -> Staging:
    """Stage under every table the case leaves open; what the chart states wins and is compared by the rules."""
    if not case.site_keys:
        return stage(kb, case.context)
    staged = [_with_stated(kb, case, stage(kb, case.context, key)) for key in case.site_keys]
    if len(staged) > 1:  # a missing marker decides between tables: the stage of neither is settled
        staged = [replace(one, provisional=True) for one in staged]
    return replace(staged[0], alternatives=tuple(staged[1:]))


def _with_stated(kb: KnowledgeBase, case: Case, staging: Staging) -> Staging:
    stated = lookup(case.context, "stated") or {}
    changes: dict[str, Category] = {}
    for name in "tnm":
        derived: Category = getattr(staging, name)
        # A stated M0 does not talk away a distant metastasis that is answered with yes; a rule reports that.
        if name in stated and not (name == "m" and derived.value == "M1"):
            changes[name] = Category(
                stated[name], derived.table, "as stated on the form", possible=(stated[name],), sources=(CLINICAL_FORM,)
            )
            if stated[name].endswith("X") and derived.needs:  # not assessed as yet: what would tell is asked as before
                changes[name] = replace(
                    changes[name], provisional=True, needs=derived.needs, possible=derived.possible,
                    opened_by=derived.opened_by,
                )  # fmt: skip
    if changes:
        staging = replace(staging, **changes)
        t, n, m = staging.t, staging.n, staging.m
        pathological = staging.kind == "pathological"
        row = group_row(kb, staging.site, t.value, n.value, m.value, pathological=pathological)
        needs = tuple(dict.fromkeys((*t.needs, *n.needs, *m.needs)))
        groups = possible_groups(kb, staging.site or "", t, n, m, pathological)
        staging = replace(
            staging, group=row["group"] if row else None, sources=documents(row) if row else (), needs=needs,
            provisional=t.provisional or n.provisional or m.provisional, possible_groups=groups,
        )  # fmt: skip
    group = stated.get("stage_group")
    if staging.group is None and group:
        return replace(staging, group=group, sources=(CLINICAL_FORM,), possible_groups=(group,), provisional=True)
    if group and group != staging.group:
        return replace(staging, stated_group=group)
    return staging


def _staged_context(case: Case, staging: Staging, intent: Intent, cisplatin: Eligibility) -> dict[str, Any]:
    """Return the case's facts with stage and intent, as options, doses and rules read them."""
    stated = lookup(case.context, "stated") or {}
    facts = dict(lookup(case.context, "case") or {})
    facts |= {
        "t": staging.t.value,
        "n": staging.n.value,
        "m": staging.m.value,
        "site": staging.site,
        "intent": intent.value,
    }
    facts["stage_group"] = stated.get("stage_group") or staging.group
    if staging.m.value == "M1":
        facts["setting"] = "recurrent_metastatic"
    chemo = case.form.get("chemo_possible")
    plan = dict(lookup(case.context, "plan") or {})
    plan |= {} if chemo is None else {"concurrent_systemic": "any" if chemo else "none"}
    patient = dict(lookup(case.context, "patient") or {})
    if cisplatin.verdict in ("contraindicated", "eligible"):
        patient["cisplatin_eligible"] = cisplatin.verdict == "eligible"
    tumour = dict(lookup(case.context, "tumour") or {})
    under = {**case.context, "case": {**facts, "site": staging.site}}
    tumour["unread"] = [{"name": words(name)} for name in unread_structures(load_kb(), under)]
    return {
        **case.context,
        "tumour": tumour,
        "case": {k: v for k, v in facts.items() if v is not None},
        "patient": patient,
        "plan": plan,
    }


def _may_irradiate(kb: KnowledgeBase, modality: Modality, prescription: Prescription, context: dict[str, Any]) -> bool:
    """Whether radiotherapy is drafted, with or without a dose, or is still to be decided on, as in a recurrence."""
    if prescription.schemes or modality.drafted is None or "rt" in action(kb, modality.drafted)["modalities"]:
        return True
    return lookup(context, "case.setting") == "recurrent_metastatic"


def _holds_cisplatin(kb: KnowledgeBase, context: dict[str, Any], modality: Modality) -> bool:
    """Whether cisplatin plays a part: in an option, as a platinum of choice, or after surgery by pathology."""
    if lookup(context, "plan.concurrent_systemic") == "none":
        return False
    tokens = [t for o in (*modality.options.applies, *modality.options.depends) for t in o.actions]
    after_surgery = modality.drafted is not None and action(kb, modality.drafted)["rt"] == "postoperative"
    return (after_surgery and pathology_may_ask(context)) or any(
        uses_cisplatin(kb, t) or lists_platinum(kb, t) for t in tokens
    )


def _prescription(
    kb: KnowledgeBase, context: dict[str, Any], modality: Modality, cisplatin: Eligibility
) -> Prescription:
    possible = cisplatin.verdict != "contraindicated"
    if modality.drafted is not None:
        drafted = action(kb, modality.drafted)
        kind, condition = drafted["rt"], "if radiotherapy is chosen" if ", or " in modality.label else ""
        relief = [t for o in modality.options.applies for t in o.actions if action(kb, t)["rt"] == "palliative"]
        if kind == "none" and relief:
            kind, condition = "palliative", "only if local symptoms call for radiotherapy"
        concurrent = "systemic" in drafted["modalities"]
        return draft_prescription(
            kb, context, kind, concurrent=concurrent, cisplatin=possible, condition=condition,
            full_dose=not cisplatin.full_dose_unsuitable,
        )  # fmt: skip
    curative = context["case"].get("intent") == "curative" and context["case"].get("setting") == "definitive"
    if curative and (modality.options.applies or modality.options.depends):
        only_if = "only if staging leads to definitive radiotherapy"
        drafted = draft_prescription(kb, context, "definitive", concurrent=True, cisplatin=possible, condition=only_if)
        return replace(drafted, alternatives=())
    if context["case"].get("setting") == "recurrent_metastatic" and context["case"].get("intent") is None:
        if lookup(context, "patient.prior_neck_rt") is True:
            return draft_prescription(kb, context, "none", concurrent=False)
        why = "whether radiotherapy has a part in recurrent disease is for the multidisciplinary meeting"
        return Prescription("none", withheld=why)
    return Prescription("none", withheld=modality.withheld)


def _systemic(
    kb: KnowledgeBase, modality: Modality, cisplatin: Eligibility, context: dict[str, Any]
) -> tuple[SystemicOption, ...]:
    if modality.drafted is None:
        return ()
    rows = list(systemic_options(kb, modality.drafted, modality.options, cisplatin, context))
    combined = "systemic" in action(kb, modality.drafted)["modalities"] and action(kb, modality.drafted)["rt"] != "none"
    avoid = [t for o in modality.options.avoid for t in o.actions if combined]
    for token in dict.fromkeys(avoid):
        # Advice against a regimen carries its evidence only where the agent table has a verified entry of that name.
        row = systemic_option(kb, token, "avoid") if token in kb.entries else None
        rows += [row] if row else []
    return tuple(rows)


def _in_order(checks: list[CheckResult]) -> tuple[CheckResult, ...]:
    order = {"fail": 0, "warn": 1, "not_evaluated": 2, "pass": 3}
    return tuple(sorted(checks, key=lambda c: order[c.status]))
