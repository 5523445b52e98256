"""Which sentences of a report tell of an earlier examination: what was seen then is not taken for what is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from hnvlm.report.sentences import Sentence
from hnvlm.report.vocabulary import load

NOW = "current"


@cache
def pattern(table: str, language: str, name: str) -> re.Pattern[str]:
    """Match one of the patterns of a table (``data/TABLE.yaml``), with its words in braces filled in."""
    entry = load(table)[language]
    words = "|".join(entry[name])
    for _ in range(3):  # a word may be made of words
        for slot, word in entry.get("words", {}).items():
            words = words.replace(f"{{{slot}}}", word)
    whole = name in ("told", "perhaps", "heading", "goes_on")
    body = rf"(?:{words})" if whole else rf"(?<!\w)(?:{words})(?!\w)"
    return re.compile(body.replace(" ?", r"\s*").replace(" ", r"\s+"), re.IGNORECASE)


def told_of_once(sentences: Sequence[Sentence], language: str) -> tuple[set[int], set[int]]:
    """Which sentences tell of an earlier examination, and which of them may tell of this one.

    A day and a colon, "CT of 12 March 2019: ...", begin an earlier examination only where the report goes on with
    "Current: ...": most write the day of this examination so.

    Returns:
        Places in ``sentences``, of all and of the doubtful ones.
    """
    earlier: set[int] = set()
    perhaps: set[int] = set()
    goes_on = ""  # the heading with a day under which the sentence stands, with the section that it began
    currents = [i for i, sentence in enumerate(sentences) if sentence.section == NOW]
    for index, sentence in enumerate(sentences):
        text = sentence.text
        if pattern("earlier", language, "heading").search(text):
            goes_on = f"in {sentence.section}" if any(i > index for i in currents) else ""
        elif goes_on != f"in {sentence.section}":
            goes_on = ""
        if goes_on:
            earlier.add(index)
            perhaps.add(index)
        elif pattern("earlier", language, "today").search(text):
            continue
        elif pattern("earlier", language, "told").search(text):
            earlier.add(index)
        elif pattern("earlier", language, "perhaps").search(text):
            earlier.add(index)
            perhaps.add(index)
        elif index - 1 in earlier and pattern("earlier", language, "goes_on").search(text):
            earlier.add(index)
    return earlier, perhaps


def dated_headings(text: str, language: str) -> int:
    """How many examinations a text tells of under their days."""
    parts = re.split(r"(?<=[.!?])\s+|\n", text)
    return sum(pattern("earlier", language, "heading").search(part) is not None for part in parts)
