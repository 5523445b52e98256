"""The conditions language of the clinical tables, in two truths.

``holds`` gives the table's own two-valued answer: a comparison on a missing field is false, except
``missing``, ``ne`` and ``has_none``. ``judge`` gives a third answer, unknown, with the fields that are missing:
that is what tells a rule that passed from a rule that could not be evaluated, and what to ask for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hnvlm.errors import KnowledgeBaseError, UsageError

Condition = Mapping[str, Any]
Context = Mapping[str, Any]
Functions = Mapping[str, Callable[..., Any]]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "in": lambda value, choices: value in choices,
    "not_in": lambda value, choices: value not in choices,
    "has_any": lambda value, choices: bool(set(value) & set(choices)),
    "has_none": lambda value, choices: not set(value) & set(choices),
}
# Operators that are true of a field that nobody filled in; all others are false of it.
_WHEN_MISSING = {"missing": True, "ne": True, "has_none": True}


@dataclass(frozen=True)
class Verdict:
    """Three-valued answer: ``truth`` is None when it hangs on ``missing`` (dotted field paths)."""

    truth: bool | None
    missing: frozenset[str] = frozenset()


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Expand dotted keys: ``{"plan.rt": 1, "plan.side": "left"}`` becomes ``{"plan": {"rt": 1, "side": "left"}}``."""
    out: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = str(key).split(".")
        node = out
        for parent in parents:
            node = node.setdefault(parent, {})
        value = nest(value) if isinstance(value, Mapping) else value
        if isinstance(value, dict) and isinstance(node.get(last), dict):
            node[last] = {**node[last], **value}
        else:
            node[last] = value
    return out


def lookup(context: Context, path: str) -> Any:
    """Walk a dotted path through nested mappings; None when any part is absent."""
    node: Any = context
    for part in path.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(part)
    return node


def holds(condition: Condition, context: Context, functions: Functions | None = None) -> bool:
    """Evaluate a condition by the tables' own two-valued rule."""
    if "all" in condition:
        return all(holds(c, context, functions) for c in condition["all"])
    if "any" in condition:
        return any(holds(c, context, functions) for c in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], context, functions)
    verdict = _leaf(condition, context, functions or {})
    if verdict.truth is None:
        return _WHEN_MISSING.get(condition["op"], False)
    return verdict.truth


def judge(condition: Condition, context: Context, functions: Functions | None = None) -> Verdict:
    """Evaluate a condition by three-valued (Kleene) logic: unknown stays unknown until a known part decides."""
    if "not" in condition:
        inner = judge(condition["not"], context, functions)
        return Verdict(None if inner.truth is None else not inner.truth, inner.missing)
    for word, decisive in (("all", False), ("any", True)):
        if word in condition:
            verdicts = [judge(c, context, functions) for c in condition[word]]
            if any(v.truth is decisive for v in verdicts):
                return Verdict(decisive)
            unknown = [v.missing for v in verdicts if v.truth is None]
            return Verdict(None, frozenset().union(*unknown)) if unknown else Verdict(not decisive)
    return _leaf(condition, context, functions or {})


def satisfied_part(condition: Condition, context: Context, functions: Functions | None = None) -> Condition:
    """Return a condition that holds without the alternatives that do not: why it holds, not how else it could."""
    if "any" in condition:
        true = [satisfied_part(c, context, functions) for c in condition["any"] if holds(c, context, functions)]
        return true[0] if len(true) == 1 else {"all": true}
    if "all" in condition:
        return {"all": [satisfied_part(c, context, functions) for c in condition["all"]]}
    if condition.get("op") == "has_any":
        return {**condition, "v": [v for v in condition["v"] if v in (lookup(context, condition["f"]) or ())]}
    if condition.get("op") == "in":
        return {**condition, "op": "eq", "v": lookup(context, condition["f"])}
    return condition


def _leaf(condition: Condition, context: Context, functions: Functions) -> Verdict:
    """Evaluate one comparison; unknown when either side is missing."""
    op = condition["op"]
    value, missing = _operand(condition["f"], context, functions)
    if op in ("missing", "present"):
        return Verdict((value is None) == (op == "missing"))
    if op in ("is_true", "is_false"):
        return Verdict(None, missing) if value is None else Verdict(value is (op == "is_true"))
    wanted, wanted_missing = condition.get("v"), frozenset()
    if isinstance(wanted, Mapping):
        wanted, wanted_missing = _operand(wanted.get("field", wanted), context, functions)
    if value is None and wanted is None and op == "ne":
        return Verdict(False)  # two missing fields do not differ
    if value is None or wanted is None:
        return Verdict(None, missing | wanted_missing)
    try:
        return Verdict(_COMPARE[op](value, wanted))
    except KeyError:
        raise KnowledgeBaseError(f"Unknown operator {op!r} in a clinical table") from None
    except TypeError:
        raise UsageError(f"{condition['f']}: {value!r} cannot be compared with {wanted!r}; correct the field") from None


def _operand(term: Any, context: Context, functions: Functions) -> tuple[Any, frozenset[str]]:
    """Return a term's value and, when it is missing, the fields it hangs on."""
    if isinstance(term, str):
        value = lookup(context, term)
        return value, frozenset() if value is not None else frozenset({term})
    if not isinstance(term, Mapping):
        return term, frozenset()
    name = term.get("fn")
    if name not in functions:
        raise KnowledgeBaseError(f"Unknown function {name!r} in a clinical table")
    args, missing = [], frozenset()
    for arg in term["args"]:
        value, absent = (arg, frozenset()) if isinstance(arg, (int, float, list)) else _operand(arg, context, functions)
        args.append(value)
        missing |= absent
    value = functions[name](context, *args)
    return value, frozenset() if value is not None else (missing or frozenset({name}))
