"""Words of the report grammar: one place that loads the wordings and says which bank may use which.

Three banks keep a text model's test honest: ``train`` (templates and synonyms it learns from), ``mid``
(unseen templates, training synonyms) and ``held`` (unseen templates and unseen synonyms).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal, Protocol, TypeVar

import yaml

from hnvlm.errors import UsageError

Bank = Literal["train", "mid", "held"]
BANKS: tuple[Bank, ...] = ("train", "mid", "held")
LANGUAGES = ("en", "pl")

# Size words cover whole millimetres: small 8-15, medium 16-26, large 27-45; beyond, the nearest word.
SIZE_WORD_RANGES_MM = {"small": (8, 15), "medium": (16, 26), "large": (27, 45)}
# Narrowing words follow the lexicon's airway grades (mild to 50 %, moderate to 70 %, severe above).
NARROWING_WORD_RANGES_PCT = {"mild": (1, 50), "moderate": (51, 70), "severe": (71, 100)}

# Tables of what is read. Polish is often typed without its marks ("wezel", "usun"): they read either letter.
_READ_TABLES = ("patterns_pl", "requests_read", "neighbours", "earlier", "doubts")
_PLAIN_LETTERS = dict(zip("ąćęłńóśźż", "acelnoszz", strict=True))
_UNMARKED = str.maketrans(_PLAIN_LETTERS)
_MARKED = re.compile(rf"\[[^\]]*\]|[{''.join(_PLAIN_LETTERS)}]")

T = TypeVar("T")


class RandomLike(Protocol):
    """What is asked of a random generator; ``random.Random`` and ``numpy.random.Generator`` both fit."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


@cache
def load(name: str) -> dict[str, Any]:
    """Return a data file of ``hnvlm/report/data`` (name without suffix). Treat it as read-only."""
    text = (resources.files("hnvlm.report") / "data" / f"{name}.yaml").read_text(encoding="utf-8")
    table = yaml.safe_load(text)
    return _with_plain_letters(table) if name in _READ_TABLES else table


def with_words(language: str, name: str, words: str) -> list[str]:
    """Return the patterns of a table with the words that stand in braces filled in from the table ``words``."""
    patterns = load(f"patterns_{language}")
    filled = []
    for regex in patterns[name]:
        for slot, word in patterns[words].items():
            regex = regex.replace(f"{{{slot}}}", word)
        filled.append(regex)
    return filled


def without_marks(word: str) -> str:
    """Return a word in small letters, Polish ones without their marks."""
    return word.lower().translate(_UNMARKED)


def _with_plain_letters(table: Any) -> Any:
    """Let every pattern of a table match Polish letters with and without their marks."""
    if isinstance(table, dict):
        return {key: _with_plain_letters(value) for key, value in table.items()}
    if isinstance(table, list):
        return [_with_plain_letters(value) for value in table]
    return _MARKED.sub(_either_letter, table) if isinstance(table, str) else table


def _either_letter(match: re.Match[str]) -> str:
    letters = "".join(letter + _PLAIN_LETTERS.get(letter, "") for letter in match.group())
    return letters if letters.startswith("[") else f"[{letters}]"


def vocabulary() -> dict[str, Any]:
    """Return the English wordings of every fact, by bank (``data/vocabulary.yaml``)."""
    return load("vocabulary")


def check_bank(bank: str) -> Bank:
    """Return ``bank`` or raise ``UsageError`` naming the banks there are."""
    if bank not in BANKS:
        raise UsageError(f"Unknown bank '{bank}'. Use one of {', '.join(BANKS)}.")
    return bank  # type: ignore[return-value]


def check_language(language: str) -> str:
    """Return ``language`` or raise ``UsageError`` naming the languages there are."""
    if language not in LANGUAGES:
        raise UsageError(f"Reports are written in {' and '.join(LANGUAGES)}, not in '{language}'.")
    return language


def wordings(entry: dict[str, list[str]], bank: Bank) -> list[str]:
    """Return the words a bank may use for one fact; ``mid`` uses the training words."""
    return entry.get("held" if bank == "held" else "train") or entry["train"]


def all_wordings(entry: dict[str, list[str]]) -> list[str]:
    """Return every wording of one fact, whichever the bank."""
    return [word for words in entry.values() for word in words]


def choose(rng: RandomLike, items: Sequence[T]) -> T:
    """Pick one item; needs only ``rng.random()``, so that numpy and the standard library both serve."""
    return items[min(int(rng.random() * len(items)), len(items) - 1)]


def _word_of(value: float | None, ranges: dict[str, tuple[int, int]]) -> str | None:
    if value is None:
        return None
    for word, (_, high) in ranges.items():
        if round(value) <= high:
            return word
    return list(ranges)[-1]


def size_word(size_mm: float | None) -> str | None:
    """Return small, medium or large for a size in millimetres (None for None)."""
    return _word_of(size_mm, SIZE_WORD_RANGES_MM)


def narrowing_word(narrowing_pct: float | None) -> str | None:
    """Return mild, moderate or severe for a narrowing in percent (None for None)."""
    return _word_of(narrowing_pct, NARROWING_WORD_RANGES_PCT)


_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa])\(n\)\s+(\S+)")
# "an 8 mm", "an 11 mm", "an 18 mm node"; letters that sound as vowels ("an LN") stand after no article here.
_AN = re.compile(r"(?:[aeio]|u(?!ni)|8\d*(?!\d)|11(?!\d)|18(?!\d))", re.IGNORECASE)


def slots_of(template: str) -> set[str]:
    """Return the names of the slots of a template."""
    return set(_SLOT.findall(template))


def fill(template: str, slots: dict[str, str]) -> str:
    """Fill ``{slot}``; drop ``[..]`` parts with an empty slot; settle ``a(n)``; capitalise the start."""

    def optional(match: re.Match[str]) -> str:
        part = match.group(1)
        return part if all(slots.get(name) for name in _SLOT.findall(part)) else ""

    text = _OPTIONAL.sub(optional, template)
    text = _SLOT.sub(lambda match: slots.get(match.group(1), ""), text)

    def article(match: re.Match[str]) -> str:
        return f"{match.group(1)}{'n' if _AN.match(match.group(2)) else ''} {match.group(2)}"

    text = _ARTICLE.sub(article, text)
    text = re.sub(r"\s+", " ", text).strip()
    return text[:1].upper() + text[1:]
