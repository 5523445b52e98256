"""All contradiction rules of safety.yaml, run on one case and its draft."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hnvlm.plan.conditions import Context, Functions, holds, judge, lookup, nest
from hnvlm.plan.decimals import decimals
from hnvlm.plan.kb import KnowledgeBase
from hnvlm.plan.prescription import bed_gy, eqd2_gy
from hnvlm.plan.staging import derive_group, derive_n, derive_t
from hnvlm.plan.words import words
from hnvlm.types import CheckResult

# block and error stop a draft from being shown as settled; warn and info ask for a reason or remind.
_STATUS = {"block": "fail", "error": "fail", "warn": "warn", "info": "warn"}
# Facts that are tokens of the tables; a structure's name keeps its underscores.
_TOKENS = ("case.site", "case.primary_site", "case.subsite")
# Dose figures of a structure: as in the table of limits.
_MEASURED = ("d.value", "plan.dvh_summary.")
_SEVERITY_ORDER = {"block": 0, "error": 1, "warn": 2, "info": 3}


def _numbers(*values: Any) -> bool:
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def icd_fits_site(kb: KnowledgeBase, code: str | None, site: str | None) -> bool | None:
    """Whether an ICD-10 code belongs to a staging site; None when either is unknown or the site lists none."""
    row = kb.site_row(site)
    if not code or not row or "icd10" not in row:
        return None
    return any(code == c or code.startswith(c if "." in c else c + ".") for c in row["icd10"])


def rule_functions(kb: KnowledgeBase) -> Functions:
    """Return the functions a condition may call: each takes the context, then its arguments."""

    def numeric(compute: Any) -> Any:
        return lambda _, *args: compute(*args) if _numbers(*args) else None

    return {
        "mul": numeric(lambda a, b: a * b),
        "abs_diff": numeric(lambda a, b: abs(a - b)),
        "ratio": numeric(lambda a, b: a / b if b else None),
        "bed": numeric(bed_gy),
        "eqd2": numeric(eqd2_gy),
        "n_missing_from": lambda _, wanted, there: len(set(wanted or ()) - set(there or ())),
        "n_common": lambda _, a, b: len(set(a or ()) & set(b or ())),
        "n_outside_union": lambda _, a, b, c: len(set(a or ()) - set(b or ()) - set(c or ())),
        "derive_t": lambda context: derive_t(kb, context),
        "derive_n": lambda context: derive_n(kb, context),
        "derive_group": lambda context: derive_group(kb, context),
        "icd_fits_site": lambda _, code, site: icd_fits_site(kb, code, site),
    }


def run_rules(
    kb: KnowledgeBase,
    context: Mapping[str, Any],
    rules: list[dict[str, Any]] | None = None,
    *,
    meaningless: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Run every rule on a case and its draft.

    Args:
        context: Facts named as in safety.yaml ``meta.fields``, nested or with dotted keys.
        rules: Rules to run, default all.
        meaningless: Ids of rules whose silence says nothing of this case, with the reason.

    Returns:
        One result per firing (a rule with ``for_each`` may fire several times) and one per rule that stayed
        silent: ``pass``, or ``not_evaluated`` with the missing fields (or dose figures) in ``details``, or there
        with the ``reason`` why its silence is no pass. Firings first, worst first.
    """
    nested, functions = nest(context), rule_functions(kb)
    results = [r for rule in (rules or kb["safety"]["rules"]) for r in _run(rule, nested, functions)]
    reasons = meaningless or {}
    results = [_not_counted(r, reasons[r.id]) if r.status == "pass" and r.id in reasons else r for r in results]
    order = {"fail": 0, "warn": 1, "not_evaluated": 2, "pass": 3}
    return sorted(results, key=lambda r: (order[r.status], _SEVERITY_ORDER[r.details["severity"]]))


def _not_counted(result: CheckResult, reason: str) -> CheckResult:
    return replace(result, status="not_evaluated", details={**result.details, "reason": reason})


def _contexts(rule: Mapping[str, Any], context: Context) -> Iterator[Context]:
    if "for_each" not in rule:
        yield context
        return
    for item in lookup(context, rule["for_each"]) or []:
        yield {**context, rule["as"]: item}


def _run(rule: Mapping[str, Any], context: Context, functions: Functions) -> list[CheckResult]:
    fired: list[Context] = []
    missing: set[str] = set()
    contexts = list(_contexts(rule, context))
    for inner in contexts:
        if holds(rule["when"], inner, functions):
            fired.append(inner)
            continue
        verdict = judge(rule["when"], inner, functions)
        if verdict.truth is None:
            missing |= verdict.missing
    if fired:
        status = _STATUS[rule["severity"]]
        return [_result(rule, status, _message(rule, inner, functions), {}) for inner in _worst(rule, fired)]
    if not contexts:
        missing = {rule["for_each"]}
    elif (about := _about(rule)) and not any(holds({"all": about}, inner, functions) for inner in contexts):
        missing = {" ".join(["plan.dvh:", *(str(v) for part in about for v in _asked(part))])}
    status = "not_evaluated" if missing else "pass"
    return [_result(rule, status, re.sub(r"\{[^}]*\}", "...", rule["message"]), {"missing": sorted(missing)})]


def _about(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The part of a rule on dose figures that says which structure and metric it is about; none where it asks for them.

    Without such a figure its silence is no pass: nobody contoured the organ, or nobody computed the metric.
    """
    parts = rule["when"].get("all", ()) if rule.get("for_each") == "plan.dvh" else ()
    return [part for part in parts if part.get("f") in (f"{rule['as']}.structure", f"{rule['as']}.metric")]


def _asked(part: Mapping[str, Any]) -> list[str]:
    return part["v"] if isinstance(part["v"], list) else [part["v"]]


def _limits(rule: Mapping[str, Any], path: str) -> list[float]:
    """The numbers that a rule holds a figure against."""
    parts = rule["when"].get("all", [rule["when"]])
    return [part["v"] for part in parts if part.get("f") == path and _numbers(part.get("v"))]


def _worst(rule: Mapping[str, Any], fired: list[Context]) -> list[Context]:
    """Of the dose figures of one structure that fire the same rule, the largest (where several can, all are maxima)."""
    if rule.get("for_each") != "plan.dvh":
        return fired
    worst: dict[str, Context] = {}
    for inner in fired:
        figure = inner[rule["as"]]
        before = worst.get(figure["structure"])
        if before is None or figure["value"] > before[rule["as"]]["value"]:
            worst[figure["structure"]] = inner
    return list(worst.values())


def _counted_missing(condition: Any, context: Context) -> list[str]:
    """Names that ``n_missing_from`` of a condition counted: what is wanted and not there."""
    if isinstance(condition, Mapping) and condition.get("fn") == "n_missing_from":
        wanted, there = (lookup(context, a) if isinstance(a, str) else a for a in condition["args"])
        return [name for name in wanted or () if name not in (there or ())]
    parts = condition.values() if isinstance(condition, Mapping) else condition if isinstance(condition, list) else ()
    return list(dict.fromkeys(name for part in parts for name in _counted_missing(part, context)))


def _message(rule: Mapping[str, Any], context: Context, functions: Functions) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] == "missing":
            return ", ".join(_counted_missing(rule["when"], context))
        derive = match[1].replace("derived_", "derive_")
        value = functions[derive](context) if derive != match[1] else lookup(context, match[1])
        if match[1] == "d.metric":
            return str(value).replace("pct", "%")
        if isinstance(value, float) and match[1].startswith(_MEASURED):
            # Beside its limit, which the message names, 45.04 Gy is not 45.0.
            return f"{value:.{max([1, *(decimals(value, v) for v in _limits(rule, match[1]))])}f}"
        if isinstance(value, float):
            return f"{value:.2f}".rstrip("0").rstrip(".")
        return "?" if value is None else words(value) if match[1] in _TOKENS else str(value)

    return re.sub(r"\{([a-z0-9_.]+)\}", fill, rule["message"])


def _result(rule: Mapping[str, Any], status: str, message: str, details: dict[str, Any]) -> CheckResult:
    if rule["basis"] == "fact" and not rule["verified"]:
        message += " (rule from general knowledge, not verified)"
    details |= {
        "severity": rule["severity"],
        "category": rule["category"],
        "verified": rule["verified"],
        "basis": rule["basis"],
    }
    seen = [s["document"] for s in rule["source"] if s["seen"]]
    return CheckResult(rule["id"], status, message, "; ".join(seen), details)
