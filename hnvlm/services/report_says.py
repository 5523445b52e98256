"""What a clinician's report says otherwise than the findings and the form that a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnvlm.report.parse import parse_report
from hnvlm.services import reporting
from hnvlm.services.context import App
from hnvlm.store import ResultRecord
from hnvlm.types import SIDES

# Checks of a report that tell another disease than was measured.
_TOLD_OTHERWISE = {
    f"report.{name}" for name in ("unsupported", "presence", "omission", "side", "level", "site", "size", "confirmed")
}


def told_otherwise(app: App, case_id: str, form: Mapping[str, Any]) -> list[str]:
    """Return what the newest report that a clinician wrote or signed tells otherwise than findings and form, in words.

    A plan stages on what was measured or contoured and on the form; a report is corrected without either.
    """
    all_of_them = (r for language in ("en", "pl") for r in app.store.history(case_id, "report", language))
    # An AI draft made since, also one in the other language, takes nothing back of what a clinician wrote.
    by_clinician = (r for r in all_of_them if r.payload.get("author") == "clinician" or r.signed)
    report = max(by_clinician, key=lambda r: r.id, default=None)
    if report is None:
        return []
    measured = [c["message"] for c in reporting.checks_of(app, report) if c["id"] in _TOLD_OTHERWISE]
    return [*measured, *_denied_nodes(report, form)]


def _denied_nodes(report: ResultRecord, form: Mapping[str, Any]) -> list[str]:
    """A report that denies enlarged nodes where the form counts some or states N1 and above."""
    stated = _stated_nodes(form)
    if not stated:
        return []
    findings = parse_report(str(report.payload["text"]), report.slot).findings
    denied = [
        f for f in findings
        if f.kind == "node" and f.presence == "absent" and f.level is None and not f.attributes.get("other_than_listed")
    ]  # fmt: skip
    involved = _involved_sides(form)
    sides = {side for f in denied for side in (SIDES if f.side not in SIDES else (f.side,))} & involved
    # With the side not known, a neck that is free of nodes on one side denies none of them.
    if not sides or (involved == set(SIDES) and form.get("nodes_laterality") != "bilateral" and sides != involved):
        return []
    where = " and ".join(side for side in SIDES if side in sides)
    return [f"It reports no enlarged node in the {where} neck, the form states {stated}."]


def _stated_nodes(form: Mapping[str, Any]) -> str:
    """Nodes that the form states, in words; "" where it states none."""
    number, category = form.get("nodes_n_pos"), str(form.get("stated_n") or "")
    if number:
        return f"{number} involved"
    return category if category[:2] in ("N1", "N2", "N3") else ""


def _involved_sides(form: Mapping[str, Any]) -> set[str]:
    """Sides on which the form's nodes lie, both where it does not say."""
    side, relative = form.get("side"), form.get("nodes_laterality")
    if side in SIDES and relative == "ipsilateral":
        return {side}
    if side in SIDES and relative == "contralateral":
        return set(SIDES) - {side}
    return set(SIDES)
