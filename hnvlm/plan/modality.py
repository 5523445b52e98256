"""Choose the treatment to draft: the most specific, strongest entry of the option table that the form leaves open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hnvlm.plan.case import PREGNANCY, Case, Line
from hnvlm.plan.conditions import holds, lookup
from hnvlm.plan.intent import unsettled
from hnvlm.plan.kb import KnowledgeBase, documents, load_kb
from hnvlm.plan.options import (
    POOR_ECOG,
    Option,
    OptionSet,
    action,
    find_options,
    open_to,
    other_choices,
    uses_cisplatin,
)
from hnvlm.plan.result import Modality
from hnvlm.plan.staging import Staging, group_row
from hnvlm.plan.words import words

# The option table holds no entry after surgery for them.
_NO_ADJUVANT_TABLE = ("nasopharynx", "major_salivary")
_SQUAMOUS = ("squamous_cell_carcinoma", "nasopharyngeal_carcinoma")


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
    if holds(load_kb().entry("mg_under_18")["when"], context):
        return f"age {context['patient']['age']}: nothing of these tables was read for children or adolescents"
    if lookup(context, "patient.pregnant_or_lactating") is True:
        return PREGNANCY[:1].lower() + PREGNANCY[1:]
    if lookup(context, "tumour.in_situ") is True:
        return "carcinoma in situ only is stated: the tables hold no treatment for it"
    if lookup(context, "case.subsite") == "dry_vermilion_lip":
        return "the dry vermilion lip is staged and treated as skin, for which the tables hold nothing"
    return ""


def choose_treatment(kb: KnowledgeBase, case: Case, staging: Staging, context: dict[str, Any]) -> Modality:
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
        why = "the stage is not complete" if incomplete else _nothing_found(kb, context, options)
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
        return Modality(None, "", None, options, branches, f"{why}{_waiting_drug(kb, options)}")
    label = _label(kb, lead, drafted, context, options)
    if lookup(context, "case.intent") is None:  # a local recurrence
        label += ", where neither surgery nor radiotherapy can cure: the multidisciplinary meeting decides"
    return Modality(drafted, label, lead, options, branches)


def _nothing_found(kb: KnowledgeBase, context: dict[str, Any], options: OptionSet) -> str:
    """Why no option applies to a staged case."""
    refused = lookup(context, "plan.concurrent_systemic") == "none"
    if lookup(context, "case.setting") == "recurrent_metastatic" and refused:
        left = "palliative radiotherapy hangs on the intent" if options.depends else "the tables hold nothing else here"
        return f"systemic treatment is not possible or not wanted; {left}"
    if lookup(context, "case.setting") == "recurrent_metastatic" and options.depends:
        if lookup(context, "case.platinum_refractory") is True:
            return "the tables hold nothing after progression on platinum at this site"
        return "what decides between the drugs of recurrent or metastatic disease is not stated"
    after_surgery = lookup(context, "case.setting") == "postoperative"
    if after_surgery and lookup(context, "case.site") in _NO_ADJUVANT_TABLE:
        return "the tables hold nothing after an operation at this site"
    if after_surgery:
        if lookup(context, "path.margin") == "positive":
            return (
                "a positive margin of an early glottic cancer: another resection or radiotherapy alone is for the "
                "multidisciplinary meeting, the tables hold no entry"
            )
        close = lookup(context, "path.margin") == "close"
        also = "; a close margin is not among those they name, the multidisciplinary meeting weighs it" if close else ""
        return "after surgery no risk factor is stated for which the tables name radiotherapy" + also
    if any(action(kb, token)["kind"] == "primary" for option in options.depends for token in option.actions):
        return "what decides between the treatments of this stage is not stated"
    return "the tables hold no verified treatment for this site and stage"


def _waiting_drug(kb: KnowledgeBase, options: OptionSet) -> str:
    """What to say of the drugs beside palliative radiotherapy: only where one of them still waits for an answer."""
    applies = any(action(kb, t)["kind"] == "systemic" for o in options.applies if not o.ruled_out for t in o.actions)
    waits = any(action(kb, t)["kind"] == "systemic" for o in options.depends for t in o.actions)
    return "; the drug hangs on what is asked for" if waits and not applies else ""


def _label(kb: KnowledgeBase, lead: Option, drafted: str, context: dict[str, Any], options: OptionSet) -> str:
    """Name the drafted treatment, and what stands before it in the same entry without radiotherapy."""
    entry = action(kb, drafted)
    if entry["rt"] == "palliative":
        label = "palliative radiotherapy, one of the schedules below"
        if lookup(context, "case.setting") != "recurrent_metastatic":
            return label
        frail = (lookup(context, "patient.ecog") or 0) >= POOR_ECOG
        return f"{label}, where a symptom asks for it" + ("" if frail else _waiting_drug(kb, options))
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
