"""Cut a report into sections, lines and sentences, keeping what a line heading says about kind and side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from hnvlm.report.vocabulary import load

# Observations are read from these sections; indication, history, comparison and advice are not findings of this scan.
READ_SECTIONS = ("", "examination", "technique", "findings", "impression")


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
    entries = load(f"patterns_{language}")[table]
    names = sorted((name for names in entries.values() for name in names), key=len, reverse=True)
    return re.compile(rf"\s*(?:\d+[.)]\s+)?({'|'.join(names)})\s*:\s*", re.IGNORECASE)


def _key_of(language: str, table: str, text: str) -> str:
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
    for part in re.split(r"(?<=[.!?])\s+", text.strip()):
        pending = f"{pending} {part}".strip()
        if _no_end(language).search(pending):
            continue
        sentences.append(pending)
        pending = ""
    if pending:
        sentences.append(pending)
    cleaned = (re.sub(r"^(?:\d{1,2}[.)]|[-*•–])\s+", "", sentence) for sentence in sentences)
    return [sentence for sentence in cleaned if re.search(r"\w", sentence)]


def read_lines(text: str, language: str) -> tuple[list[Sentence], dict[str, str]]:
    """Return the sentences with their section and line, and the text of every section.

    Headings end with a colon and start a line, or follow the end of a sentence.
    """
    section = line = ""
    sentences: list[Sentence] = []
    sections: dict[str, list[str]] = {}
    for raw in text.splitlines():
        line = ""
        rest = raw
        while match := _heading_pattern(language, "headings").match(rest):
            section = _key_of(language, "headings", re.sub(r"\s+", " ", match.group(1)))
            rest = rest[match.end() :]
            sections.setdefault(section, [])
        if match := _heading_pattern(language, "lines").match(rest):
            line = _key_of(language, "lines", re.sub(r"\s+", " ", match.group(1)))
            body = rest[match.end() :]
        else:
            body = rest
        if rest.strip():
            sections.setdefault(section, []).append(rest.strip())
        for sentence in split_sentences(body, language):
            inner = _heading_pattern(language, "headings").match(sentence)
            if inner and inner.end() < len(sentence):
                section = _key_of(language, "headings", re.sub(r"\s+", " ", inner.group(1)))
                sentence = sentence[inner.end() :]
                sections.setdefault(section, []).append(sentence)
            sentences.append(Sentence(sentence, section, line))
    return sentences, {key: "\n".join(lines) for key, lines in sections.items()}
