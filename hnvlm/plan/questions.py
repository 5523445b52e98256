"""Open questions: what is not known and the branch of the plan that the answer would change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hnvlm.plan.case import NOT_P16, Case, describe_finding
from hnvlm.plan.conditions import lookup
from hnvlm.plan.eligibility import KEY_FACTS, Eligibility
from hnvlm.plan.form import form_field
from hnvlm.plan.kb import CT_FINDINGS
from hnvlm.plan.options import Option, OptionSet
from hnvlm.plan.result import Need
from hnvlm.plan.staging import Category, Staging
from hnvlm.plan.words import label, question_id, words

# Left out after progression on platinum, and no second line of the tables asks about it.
_FIRST_LINE = ("npc_rm",)
# Its source leaves chemotherapy to what no field of the form holds.
_CHEMOTHERAPY_BY_BULK = "npc_t2n0"
_BEFORE_RT = ("prior_neck_rt", "dental_status", "pregnant_or_lactating")
# Derived, not asked: a missing stage is asked for through the facts behind it.
_DERIVED = frozenset({"case.t", "case.n", "case.m", "case.stage_group", "case.site", "patient.cisplatin_eligible"})


def open_questions(
    case: Case,
    staging: Staging,
    options: OptionSet,
    eligibility: Eligibility | None,
    *,
    radiotherapy: bool,
    drugs: bool,
    surgery_first: bool,
    intent_open: bool,
    pembrolizumab: bool,
) -> tuple[Need, ...]:
    """Collect the open questions of a draft, most decisive first, each once.

    Args:
        eligibility: Cisplatin eligibility, None when cisplatin plays no part.
        radiotherapy: Radiotherapy is drafted or may be, with or without a dose.
        drugs: A drug is drafted.
        surgery_first: Pathology after surgery decides the next step.
        intent_open: Cure or palliation is not decided.
        pembrolizumab: Pembrolizumab is among the options.
    """
    needs: list[Need] = []
    before = _BEFORE_RT if radiotherapy else ("pregnant_or_lactating",) if drugs else ()
    before = tuple(key for key in before if key not in case.form and _asked_at(key, case.form.get("age")))
    if "pregnant_or_lactating" in before and "age" in case.form:  # of that age: it decides whether anything may start
        needs.append(_need("pregnant_or_lactating"))
    if case.primary_site is None:
        needs.append(_need("site"))
    for key in ("histology", "setting"):
        if case.form.get(key, "none_yet") == "none_yet":
            needs.append(_need(key))
    if intent_open and (case.primary_site is not None or case.disease_seen):
        needs.append(_need("intent"))
    needs += _table_questions(case)
    for category, name in ((staging.t, "T"), (staging.n, "N"), (staging.m, "M")):
        needs += [_stage_need(fact, category, name) for fact in category.needs if case.primary_site is not None]
    needs += [
        Need("", describe_finding(f), "the stage, if it is disease", (CT_FINDINGS,), True) for f in case.indeterminate
    ]
    if case.primary_site is None and not case.disease_seen:
        return _unique([*needs, *([] if "prior_neck_rt" in case.form else [_need("prior_neck_rt")])])
    if lookup(case.context, "patient.ecog") is None:
        needs.append(_need("ecog"))
    if eligibility is not None:
        needs += _cisplatin_questions(eligibility, case)
    if pembrolizumab and "cps" not in case.form:
        needs.append(_need("cps"))
    if surgery_first:
        operated = case.form.get("setting") == "postoperative"
        asked = ("ene_path", "margin") if operated else ("resectable", "ene_path", "margin")
        needs += [_need(key) for key in asked if lookup(case.context, form_field(key).path) is None]
    needs += _option_questions(options.depends, case, {need.id for need in needs if _of_stage(need)})
    first_line = any(o.id in _FIRST_LINE and not o.ruled_out for o in options.applies)
    if first_line and lookup(case.context, "case.platinum_refractory") is None:
        needs.append(_need("platinum_refractory"))
    needs += [
        Need("", "Bulky tumour, or high EBV DNA", "whether chemotherapy may be offered beside radiotherapy", o.sources)
        for o in options.applies
        if o.id == _CHEMOTHERAPY_BY_BULK and case.form.get("chemo_possible") is not False
    ]
    needs += _course_questions(case, staging)
    needs += [_need(key) for key in before]
    return _unique(needs)


def _asked_at(key: str, age: int | None) -> bool:
    until = form_field(key).asked_until_age
    return age is None or until is None or age <= until


def _course_questions(case: Case, staging: Staging) -> list[Need]:
    """What no field of the form holds: an earlier course of radiotherapy, and how far a disease has spread."""
    needs = []
    if lookup(case.context, "patient.prior_neck_rt") is True:
        asked = "Dose, fractions, volumes and end date of the previous radiotherapy"
        needs.append(Need("", asked, "the cumulative organ doses, and whether irradiating again is possible"))
    if staging.m.value == "M1":
        changes = "whether the intent stays palliative: local treatment of a few metastases is for the meeting"
        needs.append(Need("", "Number and sites of the metastases", changes))
    return needs


def _unique(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Each question once; one on the stage says as well what else it decides."""
    unique: dict[str, Need] = {}
    for need in needs:
        before = unique.setdefault(need.id or need.question, need)
        if need.id and _of_stage(before) and not _of_stage(need) and "; decides" not in before.changes:
            unique[need.id] = replace(before, changes=f"{before.changes}; {need.why}")
    return tuple(unique.values())


def _of_stage(need: Need) -> bool:
    return need.changes.startswith(("T", "N", "M"))


def _need(key: str, changes: str = "") -> Need:
    question = form_field(key)
    return Need(question.id, question.label, changes or question.changes)


def _table_questions(case: Case) -> list[Need]:
    if case.primary_site == "oropharynx" and "p16" not in case.form and case.form.get("histology") not in NOT_P16:
        return [_need("p16")]
    if case.primary_site == "unknown_primary" and case.form.get("p16") == case.form.get("ebv") == "positive":
        changes = "which table applies: p16 and EBV are both stated as positive and point to different ones"
        return [_need(key, changes) for key in ("p16", "ebv")]
    if case.primary_site == "unknown_primary":
        # p16-positive nodes go to the oropharynx table while EBV is not known.
        asked = ("p16",) if case.form.get("p16") == "positive" else ("p16", "ebv")
        return [_need(key) for key in asked if key not in case.form]
    return []


def _stage_need(fact: str, category: Category, name: str) -> Need:
    key = question_id(fact)
    if category.value is None:
        return _need(key, f"{name} cannot be derived without it ({_span(category.possible)} possible)")
    others = [c for c in category.opened_by.get(fact, category.possible) if c != category.value]
    return _need(key, f"{category.value} could become {_span(others)}" if others else "")


def _span(categories: Iterable[str]) -> str:
    found = list(categories)
    return ", ".join(found) if found else "every category"


def _cisplatin_questions(eligibility: Eligibility, case: Case) -> list[Need]:
    """Ask the key facts one by one, the rest in one line, and nothing once cisplatin is out."""
    if eligibility.verdict == "contraindicated":
        return []
    missing = [path for path in eligibility.missing if path != "patient.ecog"]
    needs = [_need(question_id(path)) for path in missing if path in KEY_FACTS]
    if "audiogram_done" not in case.form:
        needs.append(_need("audiogram_done"))
    rest = [label(path) for path in missing if path not in KEY_FACTS and question_id(path) not in _BEFORE_RT]
    if rest:
        needs.append(Need("", "Other cisplatin criteria not stated: " + "; ".join(rest), "cisplatin eligibility"))
    return needs


def _option_questions(depends: Iterable[Option], case: Case, staged: set[str]) -> list[Need]:
    """Ask what an option waits for.

    Args:
        staged: Questions that are asked for the stage already: of them the treatments are named alone.
    """
    needs = []
    treatments: dict[str, list[str]] = {}
    for option in depends:
        for fact in option.depends_on:
            if fact in _DERIVED:
                continue
            key = "chemo_possible" if fact == "plan.concurrent_systemic" else question_id(fact)
            if key in staged:
                found = treatments.setdefault(key, [])
                found += () if option.id.startswith("fu_") else option.labels
            elif key not in case.form and not key.startswith(("plan.", "case.")) and "." not in key:
                needs.append(_need(key, f"{form_field(key).changes} ({' / '.join(words(x) for x in option.labels)})"))
    named = {key: " / ".join(dict.fromkeys(labels)) for key, labels in treatments.items() if labels}
    return [*needs, *(_need(key, f"on {labels}") for key, labels in named.items())]
