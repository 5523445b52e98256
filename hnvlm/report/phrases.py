"""Phrases that are found in a whole sentence, before any of its words is tagged: compiled once for each language."""

from __future__ import annotations

import re
from functools import cache

from hnvlm.report.vocabulary import load


@cache
def whole(language: str, name: str) -> re.Pattern[str]:
    """Match a sentence that is all of one such statement, as "Normal study." is."""
    patterns = "|".join(load(f"patterns_{language}")[name])
    return re.compile(rf"(?:{patterns})[.;!]?".replace(" ", r"\s+"), re.IGNORECASE)


@cache
def begins(language: str, name: str) -> re.Pattern[str]:
    """Match the first words of a sentence."""
    patterns = "|".join(load(f"patterns_{language}")[name])
    return re.compile(rf"\W*(?:{patterns})(?!\w)".replace(" ", r"\s+"), re.IGNORECASE)


@cache
def word(language: str, name: str) -> re.Pattern[str]:
    """Match one of the words of a table."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(load(f'patterns_{language}')[name])})(?!\w)", re.IGNORECASE)


@cache
def staged(language: str) -> re.Pattern[str]:
    """Match a stage by which a disease is named: "T2N1"."""
    return re.compile(rf"(?<!\w){load(f'patterns_{language}')['tnm']}(?!\w)")


@cache
def line_nothing(language: str) -> re.Pattern[str]:
    """Match all that stands behind "Airway:" or "Right neck:" where there is nothing to see."""
    return re.compile(rf"(?:{'|'.join(load(f'patterns_{language}')['line_nothing'])})[.;]?", re.IGNORECASE)
