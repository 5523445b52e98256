"""What reports and plans have in common: text kept while somebody types, the AI draft to compare with, export."""

from __future__ import annotations

from hnvlm.services.context import App
from hnvlm.store import ResultRecord

_AI_AUTHORS = ("model", "rules")


def keep_typing(app: App, base: ResultRecord, text: str, *, who: str = "") -> None:
    """Store what somebody types over a version, before they press Save: a closed tab or a killed server loses nothing.

    Args:
        base: The version that is being edited; the kept text belongs to exactly this one.
    """
    if text == typed(app, base):
        return
    payload = {"text": text, "base": base.id}
    app.store.save_result(base.case_id, base.kind, payload, slot=_slot(base), who=who)


def typed(app: App, base: ResultRecord) -> str:
    """Return the text last typed over this version, or the version's own text when nobody typed."""
    kept = app.store.latest_result(base.case_id, base.kind, _slot(base))
    if kept is not None and kept.payload.get("base") == base.id:
        return str(kept.payload["text"])
    return str(base.payload["text"])


def _slot(base: ResultRecord) -> str:
    return f"{base.slot}.autosave"


def ai_draft(versions: list[ResultRecord]) -> ResultRecord | None:
    """Return the newest version that a model or the rules wrote, or None."""
    return next((v for v in reversed(versions) if v.payload.get("author") in _AI_AUTHORS), None)


def signature(result: ResultRecord) -> str:
    """Return who signed this version, or that nobody did, in words that stand on screen and in every export."""
    if result.signed:
        last = result.signoffs[-1]
        return f"Signed by {last.clinician} on {last.created[:10]}; AI-assisted draft"
    author = "AI draft" if result.payload.get("author") in _AI_AUTHORS else "AI draft, edited"
    return f"{author}, not signed"


def as_text(result: ResultRecord) -> str:
    """Return a report or plan as a text file that says what it is, of which case, which version and who signed."""
    head = [
        "AI DRAFT - RESEARCH USE ONLY - NOT A MEDICAL DEVICE",
        f"Case {result.case_id}, {result.kind} version {result.version}, {result.created[:16].replace('T', ' ')} UTC",
        signature(result),
    ]
    return "\n".join([*head, "", str(result.payload["text"]).rstrip(), ""])
