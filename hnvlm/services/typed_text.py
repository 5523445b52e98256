"""Requests kept while somebody types them, before a model has read them: a reload or a killed server loses none."""

from __future__ import annotations

from hnvlm.services.context import App
from hnvlm.store import AUTOSAVE


def keep(app: App, case_id: str, kind: str, text: str, *, who: str = "", writer: str = "") -> None:
    """Store what somebody typed for the models: the text of an edit, or labels.

    Args:
        kind: Kind of the result that will be made of it: ``counterfactual`` or ``zeroshot``.
        writer: Tells browsers apart: two people who type at once keep a text each.

    Raises:
        NotFoundError: No such case.
    """
    if text != kept(app, case_id, kind, writer=writer):
        app.store.save_result(case_id, kind, {"text": text}, slot=_slot(writer), who=who)


def kept(app: App, case_id: str, kind: str, *, writer: str = "") -> str | None:
    """Return what was typed last in this browser, "" when it was emptied, None when nobody typed."""
    record = app.store.latest_result(case_id, kind, _slot(writer))
    return None if record is None else str(record.payload["text"])


def _slot(writer: str) -> str:
    return f"typed{AUTOSAVE}.{writer}"
