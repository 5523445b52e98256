"""Words that are probably misspelt: the likely reading of each is offered, and none is taken.

"Remvoe the left level II node" is no request to add one, and "tosnil" is no place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import Any

from hnvlm.report.tagging import tag_sentence
from hnvlm.report.vocabulary import load, without_marks

_WORD = re.compile(r"[^\W\d_]{3,}")
_LONGEST_ABBREVIATION = 4


@dataclass(frozen=True)
class Misspelt:
    """A word that no rule reads and that looks like one of the lexicon.

    Attributes:
        word: As it was typed.
        likely: The word of the lexicon.
        about: What that one tells of: ``remove``, ``side``, ``site``, ``texture``, ...
    """

    word: str
    likely: str
    about: str


@cache
def _lexicon(language: str) -> tuple[dict[str, tuple[str, str]], frozenset[str], dict[str, Any]]:
    """Word without marks -> (word, what it tells of); words of their own; the table."""
    table = load("spelling")[language]
    words = {without_marks(word): (word, about) for about, row in table["words"].items() for word in row}
    return words, frozenset(without_marks(word) for word in table["ordinary"]), table


def misspelt(text: str, language: str) -> list[Misspelt]:
    """Return the words of a command that are probably misspelt, in order, each once.

    Args:
        text: One command.
        language: ``en`` or ``pl``.
    """
    words, ordinary, _ = _lexicon(language)
    read = [(token.start, token.end) for token in tag_sentence(text, language)]
    found: dict[str, Misspelt] = {}
    for match in _WORD.finditer(text):
        word = without_marks(match.group())
        abbreviation = match.group().isupper() and len(word) <= _LONGEST_ABBREVIATION and not text.isupper()
        if word in words or word in ordinary or word in found or abbreviation:
            continue
        if any(start < match.end() and match.start() < end for start, end in read):
            continue
        if near := _nearest(word, language):
            found[word] = Misspelt(match.group(), *words[near])
    return list(found.values())


@lru_cache(maxsize=4096)
def _nearest(word: str, language: str) -> str | None:
    words, _, table = _lexicon(language)
    if any(_is_form(word, other, table) for other in words):
        return None
    alike = [(_likeness(word, other), other) for other in words if _begins_alike(word, other)]
    best, other = max(alike, default=(0.0, ""))
    return other if best >= table["likeness"] else None


def _likeness(word: str, other: str) -> float:
    """Ratio of difflib; letters in the wrong order are the commonest slip of all."""
    if sorted(word) == sorted(other):
        return 1.0
    return SequenceMatcher(None, word, other, autojunk=False).ratio()


def _begins_alike(word: str, other: str) -> bool:
    """First letters are seldom wrong: they are the same, or the first is missing, or the first two are swapped."""
    return word[0] == other[0] or word == other[1:] or word[:2] == other[1::-1]


def _is_form(word: str, other: str, table: dict[str, Any]) -> bool:
    """Whether a word is another with an ending of its own, "erases", "grupom", or built on it: "zmniejszył"."""
    if len(other) < 4:
        return False
    built_on = table.get("built_on")
    if built_on and len(other) >= built_on and word.startswith(other) and len(word) >= len(other) + 2:
        return True
    stems = (other, other[:-1])
    return any(word.startswith(stem) and word[len(stem) :] in map(without_marks, table["endings"]) for stem in stems)
