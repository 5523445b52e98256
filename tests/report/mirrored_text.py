"""The text of the mirrored patient: what is read in it must be the mirrored findings."""

from __future__ import annotations

import re
from functools import cache

# Parts of words are swapped too ("left-sided", "leftward"), but not in words that only begin alike ("righteous").
_ENGLISH = (
    (r"\bleft(?=\b|ward|sided)", "left", r"\bright(?=\b|ward|sided)", "right"),
    (r"\bsinistral\b", "sinistral", r"\bdextral\b", "dextral"),
    (r"\blt\b", "lt", r"\brt\b", "rt"),
    (r"\blhs\b", "lhs", r"\brhs\b", "rhs"),
    # "R/o" is to rule out, no side.
    (r"(?-i:\bL\b(?!/[oO]\b))", "L", r"(?-i:\bR\b(?!/[oO]\b))", "R"),
)
# Endings of the adjectives; "prawidłowy", "prawdopodobnie" and "prawie" keep their letters.
_ENDING = r"(?=(?:y|a|ej|ego|emu|ą|ym|ymi|ych|e|o|ostronn\w*)\b)"
_POLISH = (
    (rf"\blew(?:{_ENDING}|(?=\.))", "lew", rf"\bpraw(?:{_ENDING}|(?=\.))", "praw"),
    (r"(?-i:\bL\b)", "L", r"(?-i:\bP\b)", "P"),
)


@cache
def _swap(language: str) -> tuple[re.Pattern[str], dict[str, str]]:
    pairs = _ENGLISH if language == "en" else _POLISH
    words: dict[str, str] = {}
    patterns = []
    for left_pattern, left, right_pattern, right in pairs:
        words[left.lower()], words[right.lower()] = right, left
        patterns += [left_pattern, right_pattern]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE), words


def flip_sides(text: str, language: str) -> str:
    """Return the text with left and right swapped, capitals kept. ``flip_sides`` twice is the text itself."""
    pattern, words = _swap(language)

    def other(match: re.Match[str]) -> str:
        word = match.group()
        swapped = words[word.lower()]
        if word.isupper():
            return swapped.upper()
        return swapped.capitalize() if word[:1].isupper() else swapped.lower()

    return pattern.sub(other, text)
