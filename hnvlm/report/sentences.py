"""Cut a report into sections, lines and sentences, keeping what a line heading says about kind and side."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from hnvlm.report.vocabulary import load

_SIDE_LETTER = re.compile(r"(?:^|[\s(])[LR]\.$")
# Observations are read from these sections; indication, history, comparison and advice are not findings of this scan.
READ_SECTIONS = ("", "examination", "technique", "findings", "impression", "current")
# Behind such a heading may stand a day: "Prior report 12/03/2019:".
_DATED = ("comparison", "current")
_DAY = r"(?:[\s,(]+(?:(?:of|from|dated|on|z|dnia|dn\.)\s+){0,2}(?:\d{1,4}[./-]){0,2}\d{2,4}(?:\s*r\.?)?\)?)?"


@dataclass(frozen=True)
class Sentence:
    """One sentence and where it stood.

    Attributes:
        text: The sentence, list number removed.
        section: Key of the section (findings, impression, ...), "" before any heading.
        line: What the line's heading names (mass, node_right, ...), "" without one.
    """

    text: str
    section: str
    line: str


@cache
def _heading_pattern(language: str, table: str) -> re.Pattern[str]:
    # Headings may be set off as in Markdown: "**INDICATION:** ...".
    named = _names(language, table)
    return re.compile(rf"\s*(?:\d+[.)]\s+)?[*_#]*\s*{named}\s*[*_]*\s*:\s*[*_]*\s*", re.IGNORECASE)


def _names(language: str, table: str) -> str:
    """The headings of a table in two groups, of which one matches: those alone, and those with a day behind."""
    entries = load(f"patterns_{language}")[table]
    alone, dated = (
        sorted((name for key in entries if (key in _DATED) is day for name in entries[key]), key=len, reverse=True)
        for day in (False, True)
    )
    return rf"(?:({'|'.join(dated) or '(?!)'}){_DAY}|({'|'.join(alone)}))"


@cache
def _bare_heading(language: str) -> re.Pattern[str]:
    """A heading alone on its line, without a colon."""
    return re.compile(rf"\s*[*_#]*\s*{_names(language, 'headings')}\s*[*_#]*\s*", re.IGNORECASE)


def _key_of(language: str, table: str, match: re.Match[str]) -> str:
    text = re.sub(r"\s+", " ", match.group(1) or match.group(2))
    for key, names in load(f"patterns_{language}")[table].items():
        if any(re.fullmatch(name, text, re.IGNORECASE) for name in names):
            return key
    return ""


@cache
def _no_end(language: str) -> re.Pattern[str]:
    words = "|".join(load(f"patterns_{language}")["abbreviations"])
    return re.compile(rf"(?:^|[\s(])(?:{words})\.$|^\d{{1,2}}\.$")


def split_sentences(text: str, language: str) -> list[str]:
    """Split running text at sentence ends; "approx. 12 mm", "1.2 cm" and list numbers do not end one."""
    sentences: list[str] = []
    pending = ""
    parts = re.split(r"(?<=[.!?])\s+", text.strip())
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        pending = f"{pending} {part}".strip()
        # "L. tonsil", "mass of the R. tonsil": a side, where the sentence goes on.
        side = _SIDE_LETTER.search(pending) and (len(pending) == 2 or following[:1].islower())
        # "12.03.2026 r. w TK ...": a year, where the sentence goes on.
        side = side or (pending.endswith(" r.") and following[:1].islower())
        if side or _no_end(language).search(pending):
            continue
        sentences.append(pending)
        pending = ""
    if pending:
        sentences.append(pending)
    cleaned = (re.sub(r"^(?:\d{1,2}[.)]|[-*•–])\s+", "", sentence) for sentence in sentences)
    return [sentence for sentence in cleaned if re.search(r"\w|^\(-\)|^∅", sentence)]


def _joined_lines(text: str, language: str, opens: re.Pattern[str] | None) -> list[list[str]]:
    """Lines in groups: one group for a sentence that is wrapped over several lines.

    A line goes on in the next where it ends without a full stop and the next begins in lower case. A list in which
    every line begins in lower case is no wrapped sentence; there a line goes on only behind an open word ("no", "the").
    """
    words = "|".join(load(f"patterns_{language}")["open_ends"])
    open_end = re.compile(rf"(?:(?<!\w)(?:{words})|[,(/-])$", re.IGNORECASE)
    groups: list[list[str]] = []
    for raw in text.splitlines():
        start = groups[-1][0] if groups else ""
        for table in ("headings", "lines"):
            match = _heading_pattern(language, table).match(start)
            start = start[match.end() :] if match else start
        before = groups[-1][-1].rstrip() if groups else ""
        goes_on = (
            before != ""
            and before[-1] not in ".:;!?"
            and raw.lstrip()[:1].islower()
            and not _heading_pattern(language, "headings").match(raw)
            and not _heading_pattern(language, "lines").match(raw)
            and not _bare_heading(language).fullmatch(before)
            and not (opens and opens.match(raw.lstrip()))
        )
        if goes_on and (not start.lstrip()[:1].islower() or open_end.search(before)):
            groups[-1].append(raw)
        else:
            groups.append([raw])
    return groups


def read_lines(
    text: str, language: str, *, opens: re.Pattern[str] | None = None
) -> tuple[list[Sentence], dict[str, str]]:
    """Return the sentences with their section and line, and the text of every section.

    Headings end with a colon and start a line, or follow the end of a sentence, or stand alone on a line.

    Args:
        text: Any text.
        language: ``en`` or ``pl``.
        opens: What begins a line of its own, whatever the line before ends with.
    """
    section = line = ""
    sentences: list[Sentence] = []
    sections: dict[str, list[str]] = {}
    for group in _joined_lines(text, language, opens):
        line = ""
        rest = "\n".join(group)
        if match := _bare_heading(language).fullmatch(rest):
            section = _key_of(language, "headings", match)
            sections.setdefault(section, [])
            continue
        while match := _heading_pattern(language, "headings").match(rest):
            section = _key_of(language, "headings", match)
            rest = rest[match.end() :]
            sections.setdefault(section, [])
        if match := _heading_pattern(language, "lines").match(rest):
            line = _key_of(language, "lines", match)
            body = rest[match.end() :]
        else:
            body = rest
        if rest.strip():
            sections.setdefault(section, []).append(rest.strip())
        for number, sentence in enumerate(split_sentences(re.sub(r"\s*\n\s*", " ", body), language)):
            inner = _heading_pattern(language, "headings").match(sentence)
            if inner and inner.end() < len(sentence):
                section = _key_of(language, "headings", inner)
                sentence = sentence[inner.end() :]
                sections.setdefault(section, []).append(sentence)
            elif section == "comparison" and _opens_today(language).match(sentence):
                section = "current"  # "Previous CT: mass 30 mm. Now the mass is 20 mm."
                sections.setdefault(section, []).append(sentence)
            # "Left neck: 2 cm node. Right neck: no adenopathy." in one go, as it is dictated.
            inner = _heading_pattern(language, "lines").match(sentence)
            if inner and inner.end() < len(sentence):
                line = _key_of(language, "lines", inner)
                sentence = sentence[inner.end() :]
            elif number and _opens_other_side(language, line, sentence):
                line = "node_left" if line == "node_right" else "node_right"
            sentences.append(Sentence(sentence, section, line))
    return _diagnosis(sentences, {key: "\n".join(lines) for key, lines in sections.items()})


def _diagnosis(sentences: list[Sentence], sections: dict[str, str]) -> tuple[list[Sentence], dict[str, str]]:
    """Settle what a "Diagnosis:" is: the question where the findings come behind it, else what they come to."""
    order = list(sections)
    if "diagnosis" not in sections:
        return sentences, sections
    first = "findings" in order and order.index("diagnosis") < order.index("findings")
    section = "indication" if first else "impression"
    settled: dict[str, str] = {}
    for key, text in sections.items():
        name = section if key == "diagnosis" else key
        settled[name] = "\n".join(part for part in (settled.get(name), text) if part)
    return [replace(s, section=section) if s.section == "diagnosis" else s for s in sentences], settled


@cache
def _opens_today(language: str) -> re.Pattern[str]:
    """Match the first words of a sentence that tells of today."""
    return re.compile(rf"\W*(?:{'|'.join(load(f'patterns_{language}')['headings']['current'])})(?!\w)", re.IGNORECASE)


def _opens_other_side(language: str, line: str, sentence: str) -> bool:
    """Whether a sentence within "Right neck: ..." turns to the other side: "Lt level III node"."""
    other = {"node_right": "left", "node_left": "right"}.get(line)
    if other is None:
        return False
    words = "|".join(load(f"patterns_{language}")["opens_side"][other])
    return re.match(rf"(?:{words})(?!\w)", sentence, re.IGNORECASE) is not None
