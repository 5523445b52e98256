"""A clinic's own constraint templates: rows that a person may edit, checked, each saying where its number is from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hnvlm.errors import UsageError
from hnvlm.imaging.tg263 import to_tg263
from hnvlm.plan.constraints import OUTSIDE, canonical_metric, organ_of, templates
from hnvlm.plan.kb import KnowledgeBase, documents

OPERATORS = ("<", "<=", ">=")
MAX_ROWS = 200
_PART = re.compile(r"(.*[^\s-])\s*-\s*PTV", re.IGNORECASE)
_NAME = re.compile(r"[\w][\w .+-]{0,39}")


def template_rows(kb: KnowledgeBase, template: str) -> list[dict[str, Any]]:
    """Return the rows of a built-in template in the shape that ``check_rows`` takes, with ``id`` and ``source``.

    Raises:
        UsageError: No such template.
    """
    if template not in templates():
        raise UsageError(f"No constraint template {template!r}; choose {', '.join(templates())}.")
    entries = [kb.entry(i) for i in templates()[template]]
    return [
        {
            "id": e["id"], "organ": organ_of(e), "metric": canonical_metric(e["metric"]), "op": e["op"],
            "limit": float(e["limit"]), "unit": e["unit"], "priority": e.get("priority", 2),
            "endpoint": e.get("endpoint", ""),
            "source": "; ".join(d.title for d in documents(e)),
        }
        for e in entries
        if e["verified"] and e["limit"] is not None
    ]  # fmt: skip


def check_name(name: str) -> str:
    """Return the name of an own template without outer blanks.

    Raises:
        UsageError: Empty, longer than 40 characters, with odd characters, or the name of a built-in template.
    """
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise UsageError("Name the template with 1 to 40 letters, digits, blanks or . + -")
    if name in templates():
        raise UsageError(f"'{name}' is a built-in template, which stays as its sources say. Choose another name.")
    return name


def check_rows(
    kb: KnowledgeBase, rows: Iterable[Mapping[str, Any]], *, who: str, names: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Check edited rows; return entries in the shape of constraints.yaml.

    A row whose ``id`` names a table entry and whose metric, operator, limit and unit are still the entry's keeps its
    sources. Any other row loses them: its number is the editor's, and ``edited`` says whose and what stood there.

    Args:
        rows: Each with the keys that ``template_rows`` gives, ``id`` only where the row comes from the tables.
        who: Who edits.
        names: Structures of the case at hand: they may be named as the clinic calls them.

    Raises:
        UsageError: A field is missing or cannot be used; the message names the row.
    """
    rows = list(rows)
    if not 0 < len(rows) <= MAX_ROWS:
        raise UsageError(f"A template has 1 to {MAX_ROWS} rows, not {len(rows)}.")
    who = who.strip() or "an unnamed user"
    return [_checked(kb, number, row, who, names) for number, row in enumerate(rows, start=1)]


def _checked(
    kb: KnowledgeBase, number: int, row: Mapping[str, Any], who: str, names: Collection[str]
) -> dict[str, Any]:
    named = str(row.get("organ") or "").strip()
    organ = named if named in names else _canonical_organ(kb, named)
    metric = canonical_metric(str(row.get("metric") or ""))
    op, unit = str(row.get("op") or ""), str(row.get("unit") or "")
    limit, priority = _number(row.get("limit")), _number(row.get("priority"))
    if priority not in (1, 2, 3):
        raise UsageError(f"Row {number} of the template: the priority is 1 (hard limit), 2 (strong) or 3 (objective).")
    checked = {
        "organ": organ, "metric": metric, "op": op, "limit": limit, "unit": unit, "priority": int(priority),
        "endpoint": str(row.get("endpoint") or "")[:120], "verified": True,
    }  # fmt: skip
    original = kb.entries.get(str(row.get("id") or ""))
    if original is None or "metric" not in original or original.get("limit") is None:
        _require_usable(number, organ, metric, op, limit, unit, names)
        return checked | {"id": f"own_{number}", "level": "objective", "source": [], "edited": f"added by {who}"}
    table = (organ_of(original), canonical_metric(original["metric"]), original["op"], float(original["limit"]),
             original["unit"])  # fmt: skip
    if (organ, metric, op, limit, unit) == table:
        kept = {
            k: original[k] for k in ("source", "risk", "level", "applies", "one_of_pair", "with_drugs") if k in original
        }
        return checked | kept | {"id": original["id"], "edited": ""}
    _require_usable(number, organ, metric, op, limit, unit, names)
    before = f"{original['metric']} {original['op']} {original['limit']:g} {original['unit']}"
    edited = f"changed by {who}; the table says {before}"
    return checked | {"id": original["id"], "level": "objective", "source": [], "edited": edited}


def _canonical_organ(kb: KnowledgeBase, name: str) -> str:
    """Bring the name of a structure to the spelling that structures of a case have: a limit of another judges nothing.

    "parotid_l" and "Lt Parotid" are Parotid_L, "parotid" is Parotid (either side); unknown names stay as they are. So
    it is of the part outside the targets: "oral cavity - PTV" is Cavity_Oral-PTV.
    """
    if part := _PART.fullmatch(name):
        return _canonical_organ(kb, part[1]) + OUTSIDE
    known = {organ_of(e) for e in kb.entries.values() if "metric" in e and (e.get("organ") or e.get("structure"))}
    spelling = {organ.lower(): organ for organ in known}
    return to_tg263(name) or spelling.get(name.lower(), name)


def _require_usable(
    number: int, organ: str, metric: str, op: str, limit: float | None, unit: str, names: Collection[str]
) -> None:
    """Refuse a row that a DVH cannot answer."""
    kind = re.fullmatch(r"(D)(?:mean|max|min|\d+(?:\.\d+)?(?:pct|cc))|(V)\d+(?:\.\d+)?(?:Gy|pct)", metric)
    problem = ""
    if organ not in names and not re.fullmatch(r"[A-Za-z][\w+]{0,39}", organ.removesuffix(OUTSIDE)):
        problem = "name the structure as TG-263 does, e.g. SpinalCord or Parotid."
    elif kind is None:
        problem = f"{metric or 'nothing'} is no metric; write Dmean, Dmax, D0.03cc, D2pct, V50Gy or V95pct."
    elif op not in OPERATORS:
        problem = f"the sign must be one of {' '.join(OPERATORS)}."
    elif unit not in (("Gy",) if kind[1] else ("%", "cc")):
        problem = f"{metric} is given in {'Gy' if kind[1] else '% or cc'}, not in {unit or 'nothing'}."
    elif limit is None or not 0 <= limit <= 1000:
        problem = "the limit must be a number from 0 to 1000."
    if problem:
        raise UsageError(f"Row {number} of the template: {problem}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    return float(value)
