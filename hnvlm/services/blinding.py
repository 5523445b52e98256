"""Two texts of one case as a rater may see them: without what would tell who wrote which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from hnvlm.services import rating

# A name of fewer letters, or what stands where nobody gave one, is found in any text.
_SHORTEST_NAME, _NOBODY = 4, ("clinician", "model", "rules")
# A line that holds the writer's name and is no longer than this is a signature.
_BARE_SIGNATURE_WORDS = 6


@dataclass(frozen=True)
class _Blinding:
    lines: tuple[re.Pattern[str], ...]
    signatures: tuple[re.Pattern[str], ...]
    longest_signature_words: int
    tag: re.Pattern[str]
    sections: tuple[str, ...]
    words: Mapping[str, str]
    tells: tuple[re.Pattern[str], ...]


@cache
def _blinding() -> _Blinding:
    raw = rating.table()["blinding"]
    lines, signatures = (tuple(re.compile(p, re.IGNORECASE) for p in raw[name]) for name in ("lines", "signatures"))
    return _Blinding(lines, signatures, raw["longest_signature_words"], re.compile(raw["tag"]), tuple(raw["sections"]),
                     raw["words"], tuple(re.compile(p) for p in raw["tells"]))  # fmt: skip


def names_in(people: Iterable[str], draft: str) -> tuple[re.Pattern[str], ...]:
    """Return what finds the names of people in a text: the whole one, with and without titles, and the last one.

    Args:
        draft: Text of the AI draft, which names nobody: what stands there is a word, not a name (Dr Long, Dr Black).
    """
    bare = {person.strip(): rating.untitled(person) for person in people}
    names = {n for whole, name in bare.items() for n in (whole, name, *name.split()[-1:])}
    usable = sorted(n for n in names if len(n) >= _SHORTEST_NAME and n.casefold() not in _NOBODY)
    found = (re.compile(rf"(?<!\w){re.escape(n)}(?!\w)", re.IGNORECASE) for n in usable)
    return tuple(pattern for pattern in found if not pattern.search(draft))


@lru_cache(maxsize=512)  # every answer runs the page anew
def blinded(text: str, names: tuple[re.Pattern[str], ...] = ()) -> str:
    """Return a text without what would tell who wrote it: marks of a draft, signatures, tags and lists of sources.

    Args:
        names: Of who wrote texts of this case (``names_in``); a short line with one of them is a signature.
    """
    rules = _blinding()
    kept: list[str] = []
    section = None  # where in ``kept`` a section of the program's own begins
    for line in text.splitlines():
        tagged = bool(rules.tag.search(line))
        bare = " ".join(rules.tag.sub("", line).split())
        if not tagged and bare.strip(": ").isupper():
            _close(kept, section)
            section = len(kept) if bare.strip(": ") in rules.sections else None
        elif section is not None and tagged:
            continue
        if _mark(bare, names):
            continue
        for told, plain in rules.words.items():
            bare = bare.replace(told, plain)
        if bare or (kept and kept[-1]):  # how many lines are left empty is a habit, too
            kept.append(bare)
    _close(kept, section)
    return "\n".join(kept).strip()


def tells(first: str, second: str, names: Sequence[re.Pattern[str]] = ()) -> bool:
    """Whether one of two blinded texts still says who wrote it, in words that the other does not have."""
    patterns = (*_blinding().tells, *names)
    return any(bool(p.search(first)) != bool(p.search(second)) for p in patterns)


def _close(kept: list[str], section: int | None) -> None:
    """Take away the heading of a section of which nothing is left."""
    if section is not None and not any(kept[section + 1 :]):
        del kept[section:]


def _mark(line: str, names: Sequence[re.Pattern[str]]) -> bool:
    rules = _blinding()
    words = len(line.split())
    return (
        any(p.search(line) for p in rules.lines)
        or (words <= rules.longest_signature_words and any(p.search(line) for p in rules.signatures))
        or (words <= _BARE_SIGNATURE_WORDS and any(p.search(line) for p in names))
    )
