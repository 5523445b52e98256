"""The worklist: cases with what is known about each, delete with undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hnvlm.services.context import App
from hnvlm.store import AUTOSAVE, CaseRecord

# Kind of result -> word in the worklist, in the order in which the work goes.
_SHOWN = {
    "segmentation": "structures", "structures": "structures", "report": "report", "dose": "dose", "plan": "plan",
    "counterfactual": "counterfactual",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One case of the worklist.

    Attributes:
        results: Words for what is stored: structures, report, dose, plan, counterfactual; "report, signed".
    """

    case: CaseRecord
    results: tuple[str, ...]


def count(app: App, search: str = "") -> int:
    """Return how many cases match."""
    return len(app.store.list_cases(search=search))


def rows(app: App, *, search: str = "", start: int = 0, limit: int = 20) -> list[Row]:
    """Return a page of the worklist, newest case first."""
    cases = app.store.list_cases(search=search)[start : start + limit]
    return [Row(case, results_of(app, case.id)) for case in cases]


def results_of(app: App, case_id: str) -> tuple[str, ...]:
    """Return words for what is stored for a case; a signed newest version says so."""
    newest: dict[str, bool] = {}
    for result in app.store.history(case_id):
        if AUTOSAVE not in result.slot:
            newest[result.kind] = result.signed
    words = (word + (", signed" if newest[kind] else "") for kind, word in _SHOWN.items() if kind in newest)
    return tuple(dict.fromkeys(words))  # structures of the models and of the clinic are one word


def deleted(app: App) -> Sequence[CaseRecord]:
    """Return the deleted cases, newest first; nothing of them is erased."""
    return [case for case in app.store.list_cases(include_deleted=True) if case.deleted is not None]


def find(app: App, case_id: str) -> CaseRecord | None:
    """Return a case that is not deleted, or None; its id may be written in small letters."""
    return next((case for case in app.store.list_cases(search=case_id) if is_id(case, case_id)), None)


def is_id(case: CaseRecord, written: str) -> bool:
    """Whether somebody who writes this means this case: capitals and spaces around it say nothing."""
    return case.id.casefold() == written.strip().casefold()
