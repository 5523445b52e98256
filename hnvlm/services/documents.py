"""What reports and plans have in common: text kept while somebody types, the AI draft to compare with, export."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from hnvlm.report.diff import word_diff
from hnvlm.services.context import App
from hnvlm.store import AUTOSAVE, ResultRecord

# Pages reach the grammar's comparison of two texts through here.
__all__ = ["word_diff"]

# At the head of every text that leaves the program.
HEADER = "AI DRAFT - RESEARCH USE ONLY - NOT A MEDICAL DEVICE"
_AI_AUTHORS = ("model", "rules")
# Between the slot of what a browser types and what tells its texts apart that were set aside.
_ASIDE = "+"
# Who saved a text without having given a name, as it is stored and as it is told.
UNNAMED, NOBODY_NAMED = "clinician", "nobody named"


@dataclass(frozen=True)
class Kept:
    """A text that somebody typed and never saved.

    Attributes:
        base: The version it was typed over.
        mine: It was typed in this browser.
    """

    text: str
    base: ResultRecord
    who: str
    created: str
    slot: str
    mine: bool


def keep_typing(app: App, base: ResultRecord, text: str, *, who: str = "", writer: str = "") -> None:
    """Store what somebody types over a version, before they press Save: a closed tab or a killed server loses nothing.

    Args:
        base: The version that is being edited; the kept text belongs to exactly this one.
        writer: Tells browsers apart: two people who type at once keep a text each.
    """
    if text != typed(app, base, writer=writer):
        _keep(app, base, text, _slot(base, writer), who)


def typed(app: App, base: ResultRecord, *, writer: str = "") -> str:
    """Return the text last typed over this version in this browser, or the version's own text when nobody typed."""
    return _newest(app, base, _slot(base, writer))


def unsaved(app: App, latest: ResultRecord, *, writer: str = "") -> list[Kept]:
    """Return texts that were typed elsewhere, or here over an older version, and never saved.

    One of each browser over each version; those of this browser first, of all the newest first.
    """
    newest: dict[tuple[str, int], ResultRecord] = {}
    saved: set[str] = set()
    for record in app.store.history(latest.case_id, latest.kind):
        if record.slot == latest.slot:
            saved.add(str(record.payload["text"]))
        elif record.slot.split(AUTOSAVE)[0] == latest.slot:
            newest[record.slot, int(record.payload["base"])] = record
    found = []
    for (slot, base_id), record in newest.items():
        own = _slot(latest, writer)
        mine = slot.split(_ASIDE)[0] == own
        in_editor = slot == own and base_id == latest.id
        # A browser may report the last key after Save was pressed: what became a version is not unsaved.
        if record.payload["text"] not in saved and not in_editor:
            base = app.store.get_result(base_id)
            found.append(Kept(str(record.payload["text"]), base, record.who, record.created, slot, mine))
    # The page shows a few: those that nobody here can throw away are not to take the place of those typed here.
    return sorted(found, key=lambda kept: (kept.mine, kept.created), reverse=True)


def settle(app: App, kept: Kept, *, who: str = "") -> bool:
    """Note that a kept text is done with: it was taken over, saved or thrown away. It stays readable in the store.

    Returns:
        Whether it was done: not where another tab typed on in its place since it was shown; that text stays.
    """
    if _newest(app, kept.base, kept.slot) != kept.text:
        return False
    _keep(app, kept.base, str(kept.base.payload["text"]), kept.slot, who)
    return True


def bring_back(app: App, kept: Kept) -> None:
    """Put a text that was thrown away among ``unsaved`` again, as its own: nothing typed since is overwritten."""
    _keep(app, kept.base, kept.text, _aside(kept.slot.split(_ASIDE)[0], kept.text), kept.who)


def set_aside(app: App, base: ResultRecord, text: str, *, who: str = "", writer: str = "") -> None:
    """Keep a text that another one takes the place of in the editor: it is among ``unsaved`` from then on.

    In a slot of its own: neither what is typed next nor the next text that is set aside takes its place.
    """
    _keep(app, base, text, _aside(_slot(base, writer), text), who)


def named(who: str) -> str:
    """Return who did something, in words: also that no name was given."""
    return NOBODY_NAMED if who in ("", UNNAMED) else who


def sign(app: App, result_id: int, clinician: str) -> ResultRecord:
    """Sign the newest version of a text by name.

    Raises:
        UsageError: No name.
        HnvlmError: Code ``conflict``: there is a newer version.
    """
    return app.store.sign(result_id, clinician, statement="read and approved")


def restore(app: App, version: ResultRecord, based_on: int, *, who: str) -> ResultRecord:
    """Make an older version the newest one again, whole: text, figures and what they were made from.

    Raises:
        HnvlmError: Code ``conflict``: somebody saved another version meanwhile.
    """
    return app.store.save_result(
        version.case_id, version.kind, version.payload, slot=version.slot, provenance=version.provenance, who=who,
        based_on=based_on,
    )  # fmt: skip


def _keep(app: App, base: ResultRecord, text: str, slot: str, who: str) -> None:
    app.store.save_result(base.case_id, base.kind, {"text": text, "base": base.id}, slot=slot, who=who)


def _newest(app: App, base: ResultRecord, slot: str) -> str:
    """Return the text last kept in a slot over this version, or the version's own where there is none."""
    kept = app.store.latest_result(base.case_id, base.kind, slot)
    if kept is not None and kept.payload["base"] != base.id:  # typed over another version since
        chain = app.store.history(base.case_id, base.kind, slot)
        kept = next((record for record in reversed(chain) if record.payload["base"] == base.id), None)
    return str((kept or base).payload["text"])


def _slot(base: ResultRecord, writer: str) -> str:
    return f"{base.slot}{AUTOSAVE}" + (f".{writer}" if writer else "")


def _aside(slot: str, text: str) -> str:
    return f"{slot}{_ASIDE}{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def ai_draft(versions: list[ResultRecord]) -> ResultRecord | None:
    """Return the newest version that a model or the rules wrote, or None."""
    return next((v for v in reversed(versions) if v.payload.get("author") in _AI_AUTHORS), None)


def replaced(versions: list[ResultRecord]) -> ResultRecord | None:
    """Return the newest text that a clinician wrote or signed, where a later AI draft stands in its place; or None."""
    *before, latest = versions
    if latest.signed or latest.payload.get("author") not in _AI_AUTHORS:
        return None
    by_clinician = (v for v in reversed(before) if v.signed or v.payload.get("author") not in _AI_AUTHORS)
    return next(by_clinician, None)


def signature(result: ResultRecord) -> str:
    """Return who signed this version, or that nobody did, in words that stand on screen and in every export."""
    if result.signed:
        names = {s.clinician: f"{s.clinician} on {s.created[:10]}" for s in result.signoffs}
        return f"Signed by {' and by '.join(names.values())}; AI-assisted draft"
    author = "AI draft" if result.payload.get("author") in _AI_AUTHORS else "AI draft, edited"
    return f"{author}, not signed"


def as_text(result: ResultRecord, notes: Sequence[str] = ()) -> str:
    """Return a report or plan as a text file that says what it is, of which case, which version and who signed.

    Args:
        notes: What must be known before it is read: a synthetic case, figures of before.
    """
    head = [
        HEADER,
        f"Case {result.case_id}, {result.kind} version {result.version}, {result.created[:16].replace('T', ' ')} UTC",
        signature(result),
        *notes,
    ]
    return "\n".join([*head, "", str(result.payload["text"]).rstrip(), ""])
