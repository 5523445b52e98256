"""Draft a treatment plan from findings and the clinical form by cited tables alone: no model, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hnvlm.plan.case import PREGNANCY, Case, Line, build_case, report_conflict
from hnvlm.plan.conditions import lookup
from hnvlm.plan.constraints import DoseMetrics, build_constraints, for_treatment, glands_with_tumour
from hnvlm.plan.decisions import target_lines
from hnvlm.plan.dose_basis import DoseBasis, coverage_checks, off_prescription, target_checks
from hnvlm.plan.eligibility import Eligibility, cisplatin_eligibility
from hnvlm.plan.facts import check_draft, plan_facts
from hnvlm.plan.form import validate_form
from hnvlm.plan.intent import POOR_ECOG, intent_of, unsettled
from hnvlm.plan.kb import CLINICAL_FORM, KnowledgeBase, documents, load_kb
from hnvlm.plan.options import (
    Option,
    OptionSet,
    SystemicOption,
    action,
    drugs_with_radiotherapy,
    find_options,
    open_to,
    other_choices,
    pathology_may_ask,
    systemic_option,
    systemic_options,
    uses_cisplatin,
)
from hnvlm.plan.prescription import Prescription, draft_prescription, draft_targets
from hnvlm.plan.questions import open_questions
from hnvlm.plan.render import render
from hnvlm.plan.result import Intent, Modality, Plan
from hnvlm.plan.staging import Category, Staging, group_row, possible_groups, stage, unread_structures
from hnvlm.plan.support import follow_up, not_verified, supportive
from hnvlm.plan.words import words
from hnvlm.types import CheckResult, Finding

# The option table holds no entry after surgery for them.
_NO_ADJUVANT_TABLE = ("nasopharynx", "major_salivary")
_SQUAMOUS = ("squamous_cell_carcinoma", "nasopharyngeal_carcinoma")


def draft_plan(
    findings: Sequence[Finding],
    form: Mapping[str, Any] | None,
    *,
    structures: Mapping[str, Any] | None = None,
    dose_metrics: DoseMetrics | None = None,
    dose_basis: DoseBasis | None = None,
    template: str = "default",
    own_rows: Sequence[Mapping[str, Any]] | None = None,
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
    modality = _modality(kb, case, staging, context)
    eligibility = cisplatin if _holds_cisplatin(kb, context, modality) else None
    prescription = _prescription(kb, context, modality, cisplatin)
    systemic = _systemic(kb, modality, cisplatin, context)
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
    rows = basis.judge(rows, dose_metrics, misfit) if prescribed or dose_metrics or structures else ()
    dose_metrics = {} if misfit else {k: v for k, v in (dose_metrics or {}).items() if k not in (*strange, *carrying)}
    targets = draft_targets(kb, context, prescription, induction=_induction(kb, context, modality))
    facts = {
        **context,
        "plan": plan_facts(kb, context, modality, prescription, systemic, names, dose_metrics, eligibility),
    }
    plan = Plan(
        urgent=case.urgent, facts=case.facts, staging=staging, intent=intent, modality=modality,
        prescription=prescription, targets=(*targets, *target_lines(context)), constraints=rows,
        dose_line=basis.line(misfit, prescribed=prescribed) if rows and (dose_basis or misfit) else None,
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
        carries_tumour=carrying, histology=case.form.get("histology"),
        recurrent=case.form.get("setting") == "recurrent_metastatic" and staging.m.value != "M1",
    )  # fmt: skip
    told = [*case.conflicts, *map(report_conflict, report_says), *target_checks(() if misfit else strange)]
    plan = replace(plan, checks=_in_order([*told, *coverage_checks(rows), *check_draft(kb, case.form, facts, plan)]))
    text, sources = render(plan)
    return replace(plan, text=text, sources=sources)


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


def _untreated(case: Case, staging: Staging, context: dict[str, Any]) -> str:
    """Why the tables hold nothing for a case whatever its stage, or ""."""
    histology = case.form.get("histology")
    if not case.disease_seen and case.primary_site is None:
        return "no disease was found on this CT and the form names no primary"
    if case.primary_site == "other_site":
        return f"the tables do not cover a primary of {words(case.primary_site)}"
    if staging.site is None:
        return "the primary site is not known"
    if lookup(context, "tumour.primary_found") is False and (staging.n.value, staging.m.value) == ("N0", "M0"):
        return "no primary was found and no node is involved: nothing is known to treat"
    if histology not in (None, "none_yet", *_SQUAMOUS):
        return f"histology is {words(histology)}: the tables cover squamous cell and nasopharyngeal carcinoma only"
    if lookup(context, "patient.pregnant_or_lactating") is True:
        return PREGNANCY[:1].lower() + PREGNANCY[1:]
    if lookup(context, "tumour.in_situ") is True:
        return "carcinoma in situ only is stated: the tables hold no treatment for it"
    if lookup(context, "case.subsite") == "dry_vermilion_lip":
        return "the dry vermilion lip is staged and treated as skin, for which the tables hold nothing"
    return ""


def _modality(kb: KnowledgeBase, case: Case, staging: Staging, context: dict[str, Any]) -> Modality:
    """Choose the treatment to draft: the most specific, strongest entry; within it the path with radiotherapy."""
    if why := _untreated(case, staging, context):
        return Modality(None, "", None, OptionSet(), withheld=why)
    options = find_options(kb, context, staging.site)
    branches = _branches(kb, context, staging)
    if case.form.get("p16") == case.form.get("ebv") == "positive" and len(case.site_keys) > 1:
        why = "p16 and EBV are both stated as positive and point to different primaries: one of them is to be confirmed"
        ways = (_branch(kb, context, staging, words(staging.site)), *branches)
        return Modality(None, "", None, OptionSet(), ways if staging.group else branches, why)
    why = unsettled(context)
    if why and lookup(context, "case.intent") is None:
        return Modality(None, "", None, options, (*branches, *_if_palliative(kb, context, staging.site)), why)
    if why:
        return Modality(None, "", None, replace(options, applies=(), depends=()), branches, why)
    if case.form.get("setting") == "postoperative":  # the palliative schemes treat gross disease, and it is resected
        kept = (o for o in options.applies if any(action(kb, t)["rt"] != "palliative" for t in o.actions))
        options = replace(options, applies=tuple(kept))
    leads = options.leads(kb)
    if (lookup(context, "patient.ecog") or 0) >= POOR_ECOG:  # the drugs of recurrent disease come after relief
        leads = sorted(leads, key=lambda lead: all(action(kb, t)["rt"] != "palliative" for t in lead.actions))
    if not leads:
        recurrent = lookup(context, "case.setting") == "recurrent_metastatic"  # there the stage decides nothing
        known = recurrent or None not in (staging.t.value, staging.n.value, staging.group)
        incomplete = not known and (options.applies or options.depends)
        why = "the stage is not complete" if incomplete else _nothing_found(context, options)
        return Modality(None, "", None, options, branches, why)
    lost = lookup(context, "case.larynx_nonfunctional") is True
    # What does not function is not preserved while any entry leaves a way around it.
    paths = [(lead, _path(kb, lead, context, keep_larynx=keep)) for keep in (not lost, True) for lead in leads]
    lead, drafted = next(((lead, path) for lead, path in paths if path is not None), (leads[0], None))
    if drafted is None:
        cisplatin = lookup(context, "patient.cisplatin_eligible") is False
        out = "cisplatin is contraindicated" if cisplatin else "the form rules out what the tables name"
        return Modality(None, "", None, options, branches, f"{out} and the tables hold no sourced alternative here")
    if lookup(context, "patient.prior_neck_rt") is True and action(kb, drafted)["rt"] != "none":
        why = (
            "previous head and neck radiotherapy is stated: whether and how to irradiate again is decided on the "
            "cumulative organ doses"
        )
        return Modality(None, "", None, options, branches, why)
    label = _label(kb, lead, drafted, context)
    if lookup(context, "case.intent") is None:  # a local recurrence
        label += ", where neither surgery nor radiotherapy can cure: the multidisciplinary meeting decides"
    return Modality(drafted, label, lead, options, branches)


def _may_irradiate(kb: KnowledgeBase, modality: Modality, prescription: Prescription, context: dict[str, Any]) -> bool:
    """Whether radiotherapy is drafted, with or without a dose, or is still to be decided on, as in a recurrence."""
    if prescription.schemes or modality.drafted is None or "rt" in action(kb, modality.drafted)["modalities"]:
        return True
    return lookup(context, "case.setting") == "recurrent_metastatic"


def _nothing_found(context: dict[str, Any], options: OptionSet) -> str:
    """Why no option applies to a staged case."""
    if lookup(context, "case.setting") == "recurrent_metastatic" and options.depends:
        return "what decides between the drugs of recurrent or metastatic disease is not stated"
    if lookup(context, "case.setting") == "postoperative" and lookup(context, "case.site") not in _NO_ADJUVANT_TABLE:
        close = lookup(context, "path.margin") == "close"
        also = "; a close margin is not among those they name, the multidisciplinary meeting weighs it" if close else ""
        return "after surgery no risk factor is stated for which the tables name radiotherapy" + also
    return "the tables hold no verified treatment for this site and stage"


def _label(kb: KnowledgeBase, lead: Option, drafted: str, context: dict[str, Any]) -> str:
    """Name the drafted treatment, and what stands before it in the same entry without radiotherapy."""
    entry = action(kb, drafted)
    if entry["rt"] == "palliative":
        return "palliative radiotherapy, one of the schedules below"
    others = " / ".join(action(kb, t)["label"] for t in other_choices(kb, lead, drafted, context))
    if others:
        return f"{entry['label']} (or {others}: either is recommended, the multidisciplinary meeting chooses)"
    first = action(kb, lead.actions[0])
    if drafted in lead.actions and "rt" not in first["modalities"] and "rt" in entry["modalities"]:
        return f"{first['label']}, or {entry['label']}: the multidisciplinary meeting chooses"
    return entry["label"]


def _path(kb: KnowledgeBase, lead: Option, context: dict[str, Any], *, keep_larynx: bool) -> str | None:
    """Within an entry take the first whole treatment with radiotherapy, without drugs where they are ruled out.

    None when the entry rests on cisplatin, cisplatin is contraindicated and the tables know no way around, or when the
    form rules out its drugs.
    """
    whole = [
        t
        for t in lead.actions
        # For cisplatin the tables know ways around, below.
        if action(kb, t)["kind"] in ("primary", "systemic") and (open_to(kb, t, context) or uses_cisplatin(kb, t))
    ]
    if not keep_larynx:
        whole = [t for t in whole if not action(kb, t).get("preserves_larynx")]
    if not whole:
        return None
    with_rt = [t for t in whole if "rt" in action(kb, t)["modalities"]] or whole
    refused = lookup(context, "plan.concurrent_systemic") == "none"
    if uses_cisplatin(kb, with_rt[0]) and lookup(context, "patient.cisplatin_eligible") is False and not refused:
        table = "without_cisplatin_nasopharynx" if context["case"]["site"] == "nasopharynx" else "without_cisplatin"
        return kb["actions"][table].get(action(kb, with_rt[0])["rt"])
    if refused:
        kind = action(kb, with_rt[0])["rt"]
        local = [t for t in with_rt if "systemic" not in action(kb, t)["modalities"] and action(kb, t)["rt"] == kind]
        return local[0] if local else {"definitive": "rt_alone", "postoperative": "postop_rt"}.get(kind)
    if action(kb, with_rt[0]).get("induction") and lookup(context, "patient.prior_platinum_induction") is True:
        return "crt_cisplatin"  # what is left of the treatment
    return with_rt[0]


def _branches(kb: KnowledgeBase, context: dict[str, Any], staging: Staging) -> tuple[Line, ...]:
    """Return what a missing T or an open table (p16) would lead to, one line for all T that lead to the same."""
    lines: list[Line] = []
    same_end: dict[str, list[tuple[str, Line]]] = {}
    for other in staging.alternatives:
        if other.group is not None:
            lines.append(_branch(kb, context, other, words(other.site or "")))
    # Recurrent, metastatic or palliative treatment does not hang on the T category.
    palliative = lookup(context, "case.intent") == "palliative"
    by_stage = lookup(context, "case.setting") != "recurrent_metastatic" and not palliative
    if by_stage and staging.t.value is None and staging.n.value is not None:
        for t in staging.t.possible:
            row = group_row(
                kb, staging.site, t, staging.n.value, staging.m.value, pathological=staging.kind == "pathological"
            )
            if row:
                assumed = replace(staging, t=replace(staging.t, value=t), group=row["group"], sources=documents(row))
                line = _branch(kb, context, assumed, t)
                same_end.setdefault(line.text.split(", stage ", 1)[1], []).append((t, line))
    for end, ways in same_end.items():
        categories = [t for t, _ in ways]
        together = (
            f"If {', '.join(categories[:-1])} or {categories[-1]}: {staging.n.value} {staging.m.value}, stage {end}"
        )
        sources = tuple(dict.fromkeys(document for _, line in ways for document in line.sources))
        lines.append(ways[0][1] if len(ways) == 1 else Line(together, sources))
    return tuple(lines)


def _if_palliative(kb: KnowledgeBase, context: dict[str, Any], site: str) -> tuple[Line, ...]:
    """What the tables name where the intent turns out to be palliative; after surgery nothing gross is left."""
    if lookup(context, "case.setting") == "postoperative":
        return ()
    lead = find_options(kb, {**context, "case": {**context["case"], "intent": "palliative"}}, site).lead(kb)
    return () if lead is None else (Line(f"If palliative: {lead.in_words}", lead.sources),)


def _branch(kb: KnowledgeBase, context: dict[str, Any], staging: Staging, name: str) -> Line:
    facts = {**context["case"], "site": staging.site, "t": staging.t.value, "n": staging.n.value, "m": staging.m.value}
    lead = find_options(kb, {**context, "case": {**facts, "stage_group": staging.group}}, staging.site or "").lead(kb)
    options = lead.in_words if lead else "no verified option in the tables"
    t, n = staging.t.value or "T?", staging.n.value or "N?"
    text = f"If {name}: {t} {n} {staging.m.value}, stage {staging.group}; {options}"
    return Line(text, (*staging.sources, *(lead.sources if lead else ())))


def _holds_cisplatin(kb: KnowledgeBase, context: dict[str, Any], modality: Modality) -> bool:
    """Whether cisplatin plays a part: in an option, or after surgery where pathology may ask for it."""
    if lookup(context, "plan.concurrent_systemic") == "none":
        return False
    tokens = [t for o in (*modality.options.applies, *modality.options.depends) for t in o.actions]
    after_surgery = modality.drafted is not None and action(kb, modality.drafted)["rt"] == "postoperative"
    return (after_surgery and pathology_may_ask(context)) or any(uses_cisplatin(kb, t) for t in tokens)


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
