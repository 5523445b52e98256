"""T, N, M and stage group from the tables of staging.yaml, with what is missing and what it could change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hnvlm.plan.conditions import Condition, Context, holds, judge, lookup, satisfied_part
from hnvlm.plan.kb import Document, KnowledgeBase, documents
from hnvlm.plan.words import describe, describe_facts, words

EDITION = "AJCC/UICC TNM, 8th edition"
# A table row may rest on these without any measurement of extent.
_DIRECT_EVIDENCE = ("in_situ", "assessable", "primary_found", "invaded")
_EXTENT_EVIDENCE = {
    "t_glottis": ("cord_mobility", "cords_involved"),
    "t_supraglottis": ("cord_mobility", "n_subsites"),
    "t_subglottis": ("cord_mobility",),
    "t_nasopharynx": (),
}
_EXTENT_DEFAULT = ("size_cm", "n_subsites", "cord_mobility")
# Not worth a question once a tumour or a node count is known.
_NOT_ASKED = frozenset({"assessable", "in_situ", "primary_found"})
_M_BASIS = {
    None: "no distant metastasis is stated",
    True: "distant metastasis stated",
    False: "distant metastasis excluded",
}
_RARE_CATEGORIES = frozenset({"TX", "Tis", "T0", "NX"})


@dataclass(frozen=True)
class Category:
    """One category of T, N or M.

    Attributes:
        value: ``T2``, or None when it cannot be derived.
        basis: Why, in words: the part of the row's condition that holds.
        facts: The values it was judged on: ``greatest dimension 3.1 cm``.
        provisional: A missing field could still change it.
        needs: Names of those fields, as in staging.yaml (``doi_mm``).
        possible: Categories it could become, in table order, its own included.
        opened_by: Missing field -> those of them whose row reads it; empty where no row was read.
        ambiguous: The sources disagree on this row (``note`` says how).
    """

    value: str | None
    table: str
    basis: str = ""
    facts: str = ""
    note: str = ""
    provisional: bool = False
    needs: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    opened_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ambiguous: bool = False
    sources: tuple[Document, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "value": self.value, "table": self.table, "basis": self.basis, "facts": self.facts, "note": self.note,
            "provisional": self.provisional, "needs": list(self.needs), "possible": list(self.possible),
            "ambiguous": self.ambiguous, "sources": [d.title for d in self.sources],
        }  # fmt: skip


@dataclass(frozen=True)
class Staging:
    """Stage of one case under one table.

    Attributes:
        site: Key of the site map (``oropharynx_p16_neg``).
        kind: ``clinical`` or ``pathological``.
        stated_group: Stage group of the form where T, N and M make another one; "" otherwise.
        alternatives: The same case under other tables, when a missing fact (p16) decides the table.
    """

    site: str | None
    t: Category
    n: Category
    m: Category
    group: str | None
    kind: str
    edition: str = EDITION
    provisional: bool = False
    needs: tuple[str, ...] = ()
    possible_groups: tuple[str, ...] = ()
    sources: tuple[Document, ...] = ()
    alternatives: tuple[Staging, ...] = field(default=())
    stated_group: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "site": self.site, "site_name": words(self.site or ""),
            "t": self.t.value, "n": self.n.value, "m": self.m.value, "group": self.group,
            "edition": self.edition, "kind": self.kind, "provisional": self.provisional, "needs": list(self.needs),
            "basis": {"t": self.t.to_json(), "n": self.n.to_json(), "m": self.m.to_json()},
            "possible_groups": list(self.possible_groups), "sources": [d.title for d in self.sources],
            "alternatives": [a.to_json() for a in self.alternatives],
        }  # fmt: skip


def _first(rows: list[dict[str, Any]], facts: Context) -> dict[str, Any] | None:
    return next((row for row in rows if holds(row["when"], facts)), None)


def _part(context: Context, name: str) -> dict[str, Any]:
    part = lookup(context, name)
    return {k: v for k, v in part.items() if v is not None} if isinstance(part, Mapping) else {}


def _tumour_facts(kb: KnowledgeBase, context: Context) -> dict[str, Any]:
    """``tumour.*`` with every invaded structure under all the names that the tables know it by."""
    facts = _part(context, "tumour")
    if facts.get("invaded"):
        also = kb["staging"]["implies"]
        facts["invaded"] = sorted({name for token in facts["invaded"] for name in (token, *also.get(token, ()))})
    return facts


def unread_structures(kb: KnowledgeBase, context: Context) -> list[str]:
    """Invaded structures that no row of the site's T table reads and that may still matter: T may be too low."""
    site = kb.site_row(lookup(context, "case.site"))
    if not site:
        return []
    tables = kb["staging"]
    read = structures_read(kb, site["t"]) | set(tables["no_criterion"][site["t"]])
    also = tables["implies"]
    invaded = _part(context, "tumour").get("invaded") or []
    return [token for token in invaded if not read & {token, *also.get(token, ())}]


def structures_read(kb: KnowledgeBase, table: str) -> set[str]:
    """Return the structures that the rows of a T table name."""
    return _tokens(kb["staging"]["t_tables"][table])


def _tokens(rows: Any) -> set[str]:
    """Every structure that the conditions of a T table name."""
    if isinstance(rows, list):
        return {token for row in rows for token in _tokens(row)}
    if not isinstance(rows, dict):
        return set()
    if rows.get("f") == "invaded" and isinstance(rows.get("v"), list):
        return set(rows["v"])
    return {token for value in rows.values() for token in _tokens(value)}


def _pathological(context: Context) -> bool:
    return lookup(context, "case.staging_kind") == "pathological"


def derive_t(kb: KnowledgeBase, context: Context) -> str | None:
    """Return the T category of ``case.site`` from ``tumour.*``, or None when nothing supports one."""
    row = _t_row(kb, context)
    return row["cat"] if row else None


def _t_row(kb: KnowledgeBase, context: Context) -> dict[str, Any] | None:
    site, facts = kb.site_row(lookup(context, "case.site")), _tumour_facts(kb, context)
    if not site or not facts:
        return None
    # Size alone says nothing about the larynx or the nasopharynx, and no fact at all is not T1.
    evidence = (*_DIRECT_EVIDENCE, *_EXTENT_EVIDENCE.get(site["t"], _EXTENT_DEFAULT))
    if not any(name in facts for name in evidence):
        return None
    return _first(kb["staging"]["t_tables"][site["t"]], facts)


def _node_facts(context: Context) -> dict[str, Any] | None:
    facts = _part(context, "nodes")
    if "n_pos" not in facts:
        return None
    if facts["n_pos"]:
        facts.setdefault("laterality", "ipsilateral")
    return facts


def _n_table(site: Mapping[str, Any], context: Context) -> str:
    return site["n_path" if _pathological(context) else "n_clinical"]


def derive_n(kb: KnowledgeBase, context: Context) -> str | None:
    """Return the N category of ``case.site`` from ``nodes.*``, or None when the number of nodes is unknown."""
    site, facts = kb.site_row(lookup(context, "case.site")), _node_facts(context)
    if not site or facts is None:
        return None
    row = _first(kb["staging"]["n_tables"][_n_table(site, context)], facts)
    return row["cat"] if row else None


def group_row(
    kb: KnowledgeBase, site_key: str | None, t: str | None, n: str | None, m: str | None, *, pathological: bool = False
) -> dict[str, Any] | None:
    """Return the row of the stage-group table for a combination, or None when the table has none."""
    site = kb.site_row(site_key)
    if not site or None in (t, n, m):
        return None
    table = site.get("groups") or site["groups_path" if pathological else "groups_clinical"]
    wanted = {"t": t, "n": n, "m": m}
    rows = kb["staging"]["stage_groups"][table]
    return next((r for r in rows if all(r[k] == "any" or v in r[k] for k, v in wanted.items())), None)


def derive_group(kb: KnowledgeBase, context: Context) -> str | None:
    """Return the stage group of ``case.t/n/m`` for ``case.site``, or None."""
    t, n, m = (lookup(context, f"case.{k}") for k in "tnm")
    row = group_row(kb, lookup(context, "case.site"), t, n, m, pathological=_pathological(context))
    return row["group"] if row else None


def _span(rows: list[dict[str, Any]], facts: Context) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the categories still possible, and the fields that decide between them with what each of them opens."""
    possible: set[str] = set()
    needs: dict[str, set[str]] = {}
    for row in rows:
        verdict = judge(row["when"], facts)
        if verdict.truth is False:
            continue
        asked, rare = verdict.missing - _NOT_ASKED, row["cat"] in _RARE_CATEGORIES
        if verdict.truth and (not rare or not possible):
            possible.add(row["cat"])
        if verdict.truth:
            break
        if not rare:
            # What is not asked for (that there is a primary) leaves the row open all the same.
            possible.add(row["cat"])
            for name in asked:
                needs.setdefault(name, set()).add(row["cat"])
    return tuple(sorted(possible)), {name: tuple(sorted(needs[name])) for name in sorted(needs)}


def _basis(row: Mapping[str, Any], why: Condition) -> str:
    """Why a row holds, in words; the table's own where it only says that nothing worse was found."""
    return row["note"] if row.get("note") and why.get("f") in _NOT_ASKED and why["op"] == "ne" else describe(why)


def _category(
    row: dict[str, Any] | None, rows: list[dict[str, Any]], facts: Context, table: str, said: Context | None = None
) -> Category:
    """Return the category of a row; ``said`` are the facts as stated, ``facts`` hold other names of them as well."""
    possible, needs = _span(rows, facts)
    value = row["cat"] if row else None
    # In the words of the form where those suffice: one skull base is not two.
    why = satisfied_part(row["when"], said if said and holds(row["when"], said) else facts) if row else {}
    return Category(
        value=value, table=table, basis=_basis(row, why) if row else "", facts=describe_facts(why, facts),
        note=row.get("note", "") if row else "",
        provisional=value is None or set(possible) - {value} != set(), needs=tuple(needs), possible=possible,
        opened_by=needs,
        ambiguous=bool(row and row.get("ambiguous")), sources=documents(row) if row else (),
    )  # fmt: skip


def stage(kb: KnowledgeBase, context: Context, site_key: str | None = None) -> Staging:
    """Stage a case under the table of ``site_key`` (default ``case.site``).

    Args:
        context: Nested facts: ``case``, ``tumour``, ``nodes``, ``metastasis`` (see staging.yaml ``fields``).

    Returns:
        Every category with its basis, sources and the missing fields that could change it. Categories that
        nothing supports are None: this never raises for an incomplete case.
    """
    site_key = site_key or lookup(context, "case.site")
    context = {**context, "case": {**(lookup(context, "case") or {}), "site": site_key}}
    kind = "pathological" if _pathological(context) else "clinical"
    site = kb.site_row(site_key)
    m = _stage_m(kb, context)
    if site is None:
        nothing = Category(None, "", provisional=True)
        return Staging(None, nothing, nothing, m, None, kind, provisional=True, needs=("site",))
    tables = kb["staging"]
    t = _category(
        _t_row(kb, context), tables["t_tables"][site["t"]], _tumour_facts(kb, context), site["t"],
        _part(context, "tumour"),
    )  # fmt: skip
    if lookup(context, "tumour.doi_source") == "imaging" and "depth of invasion" in t.facts:
        t = replace(t, facts=f"{t.facts} as estimated on imaging", provisional=True)
    n_table, node_facts = _n_table(site, context), _node_facts(context)
    n_rows = tables["n_tables"][n_table]
    n_row = _first(n_rows, node_facts) if node_facts is not None else None
    n = _category(n_row, n_rows, node_facts or {}, n_table)
    if node_facts is None:
        n = replace(n, needs=("n_pos",))  # size and side of nodes matter once there are any
    row = group_row(kb, site_key, t.value, n.value, m.value, pathological=kind == "pathological")
    groups = possible_groups(kb, site_key, t, n, m, kind == "pathological")
    needs = tuple(dict.fromkeys((*t.needs, *n.needs, *m.needs)))
    return Staging(
        site_key, t, n, m, row["group"] if row else None, kind,
        provisional=t.provisional or n.provisional or m.provisional, needs=needs, possible_groups=groups,
        sources=documents(row) if row else (),
    )  # fmt: skip


def _stage_m(kb: KnowledgeBase, context: Context) -> Category:
    facts, rows = _part(context, "metastasis"), kb["staging"]["m_table"]
    row = _first(rows, facts)
    unknown = "distant" not in facts
    return Category(
        row["cat"], "m_table", basis=_M_BASIS[facts.get("distant")],
        provisional=unknown, needs=("distant",) if unknown else (), possible=("M0", "M1") if unknown else (row["cat"],),
        sources=documents(row),
    )  # fmt: skip


def possible_groups(
    kb: KnowledgeBase, site: str, t: Category, n: Category, m: Category, pathological: bool
) -> tuple[str, ...]:
    """Return the stage groups that the possible T and N categories lead to, with M as it stands."""
    found: list[str] = []
    for t_value in t.possible or (t.value,):
        for n_value in n.possible or (n.value,):
            row = group_row(kb, site, t_value, n_value, m.value, pathological=pathological)
            if row and row["group"] not in found:
                found.append(row["group"])
    return tuple(sorted(found))
