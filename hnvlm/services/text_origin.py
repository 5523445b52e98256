"""What a clinician's text was written from, and how many of its words are others than the AI draft's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from hnvlm.report.diff import word_diff
from hnvlm.services.documents import ai_draft
from hnvlm.store import ResultRecord

# What a clinician's text was written from.
THIS, EARLIER, NONE = "this AI draft", "an earlier AI draft", "no AI draft"


def edited_from(versions: Sequence[ResultRecord], draft: ResultRecord, text: ResultRecord) -> str:
    """Return what a clinician's text was written from: THIS AI draft, an EARLIER one, or NONE.

    A text counts as edited from every AI draft that it supersedes, directly or through other versions: whoever wrote it
    could have had that draft before them, however little of it is left (``words_changed`` says that). A version that
    brings back the words of an older one was written when that one was.

    Args:
        versions: The whole chain, oldest first.
    """
    clinicians = (v for v in versions if v.payload.get("author") == "clinician")
    at: ResultRecord | None = next((v for v in clinicians if same_words(_text(v), _text(text))), text)
    known, before = {v.id: v for v in versions}, []
    while at is not None:
        before.append(at)
        at = known.get(at.supersedes or 0)
    if draft.id in {v.id for v in before}:
        return THIS
    return EARLIER if ai_draft(before) else NONE


@lru_cache(maxsize=512)  # every answer runs the page anew
def words_changed(draft: str, text: str) -> float:
    """Share of the words of both texts that the other one does not have in that place: 0 the same, 1 all others.

    A word that is replaced counts in both texts; white space and line breaks do not count.
    """
    counts = {"equal": 0, "insert": 0, "delete": 0}
    # Each word with a space after it: the last one is then the same word wherever it stands.
    for op, words in word_diff(f"{_spaced(draft)} ", f"{_spaced(text)} "):
        counts[op] += len(words.split())
    changed = counts["insert"] + counts["delete"]
    return changed / max(1, changed + 2 * counts["equal"])


def same_words(first: str, second: str) -> bool:
    """Whether two texts differ in white space at most."""
    return _spaced(first) == _spaced(second)


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _text(version: ResultRecord) -> str:
    return str(version.payload["text"])
