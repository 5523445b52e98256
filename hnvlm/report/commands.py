"""Cut a request into its commands: each has one verb, and asks for one thing.

"Add a node in left level III, remove the right tonsil mass" are two commands; "do not remove it" asks for nothing.
What the app says it understood and what is drawn are both cut here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from hnvlm.report.sentences import READ_SECTIONS, Sentence, read_lines
from hnvlm.report.tagging import tag_sentence
from hnvlm.report.vocabulary import load

# How masses and nodes are asked for in turn, and what stands before a side.
_IN_TURN = {
    "en": ("Remove all masses", "Remove all nodes", " on the "),
    "pl": ("Usuń wszystkie guzy", "Usuń wszystkie węzły", " po "),
}
_LESION_TAGS = ("node", "mass", "airway", "airway_general", "narrowing")


@dataclass(frozen=True)
class Part:
    """One command as it was written.

    Attributes:
        sentence: Its text, with section and line of the report it may stand in.
        adds: It begins with a verb that adds, whatever else it says of the lesion.
        forbids: It says what is not to be done.
        ordered: It begins with a verb of any kind.
    """

    sentence: Sentence
    adds: bool
    forbids: bool
    ordered: bool = False


def _table(name: str) -> str:
    return "|".join(load("requests_read")[name]).replace(" ", r"\s+")


@cache
def _pattern(name: str) -> re.Pattern[str]:
    openers = rf"\W*(?:(?:{_table('openers')})[,.!…]*\s+)*"
    verb = rf"{openers}(?:{_table('verbs')})\b(?!\s+(?:{_table('pronouns')})\b)"
    joint = rf"(?:{_table('joints')})\s+"
    if name.startswith("all_on_side"):
        sides = load("requests_read")["all_on_side"][name[-2:]]
        return re.compile(sides.replace(" ", r"\s+"), re.IGNORECASE)
    body = {
        "all_lesions": rf"{openers}(?:{_table('all_lesions')})",
        "verb": verb,
        "next": rf"(?:\s*[,;]\s*(?:{joint})*|\s+(?:{joint})+)(?={verb})",
        "adds": rf"{openers}(?:{_table('adds')})\b",
        "forbids": rf"(?<!\w)(?:{_table('forbids')})\b",
        "forbids_first": rf"{openers}(?:{_table('forbids_first')})",
        # "Remove it.", "It is necrotic."
        "goes_on": rf"{openers}(?:(?:{_table('verbs')})\s+(?:{_table('pronouns')})\b|(?:{_table('goes_on')})\b)",
    }[name]
    return re.compile(body, re.IGNORECASE)


def split_commands(text: str, language: str) -> list[Part]:
    """Return the commands of a request in order; what a report tells of history and advice is left out."""
    text = text.replace("’", "'")
    sentences = read_lines(text, language, opens=_pattern("verb"))[0]
    parts: list[Part] = []
    for sentence in sentences:
        if sentence.section not in READ_SECTIONS:
            continue
        for words in _split(sentence.text, language):
            forbids = _pattern("forbids").search(words) or _pattern("forbids_first").match(words)
            if parts and not forbids and _goes_on(words, language):
                before = parts[-1].sentence
                text = f"{before.text.rstrip(' .;')}, {words}"
                parts[-1] = replace(parts[-1], sentence=replace(before, text=text))
                continue
            adds, ordered = (bool(_pattern(name).match(words)) for name in ("adds", "verb"))
            parts.append(Part(replace(sentence, text=words), adds, bool(forbids), ordered))
    return [each for part in parts for each in _in_turn(part, parts, language)]


def _in_turn(part: Part, parts: list[Part], language: str) -> list[Part]:
    """Masses and nodes in turn, where all lesions are to go from one side or before another command."""
    masses, nodes, on = _IN_TURN[language]
    side = _pattern(f"all_on_side_{language}").fullmatch(part.sentence.text)
    where = f"{on}{side.group('side')}" if side else ""
    others = any(other.ordered and not other.forbids for other in parts if other is not part)
    if part.forbids or not (side or (others and _pattern("all_lesions").match(part.sentence.text))):
        return [part]
    return [replace(part, sentence=replace(part.sentence, text=f"{kind}{where}")) for kind in (masses, nodes)]


def _goes_on(words: str, language: str) -> bool:
    """Whether a sentence says more of the lesion of the one before, or what to do with it, and names none itself."""
    if not _pattern("goes_on").match(words):
        return _bare_facts(words, language)
    return not any(token.tag in (*_LESION_TAGS, "level", "site", "side") for token in tag_sentence(words, language))


def _bare_facts(words: str, language: str) -> bool:
    """Whether a line holds a size or a texture and nothing else: "22 mm" below "necrotic node in left level II"."""
    tokens = tag_sentence(words, language)
    rest = words
    for token in tokens:
        rest = rest[: token.start] + " " * (token.end - token.start) + rest[token.end :]
    told = {token.tag for token in tokens}
    return bool(told) and told <= {"size", "texture", "size_words", "separator"} and not re.search(r"\w", rest)


def _split(sentence: str, language: str) -> list[str]:
    """Cut before each verb, and at a semicolon before another lesion ("left node; right node")."""
    out: list[str] = []
    for command in _pattern("next").split(sentence):
        pieces = re.split(r"\s*;\s+", command)
        joined = pieces[:1]
        for piece in pieces[1:]:
            if any(token.tag in _LESION_TAGS for token in tag_sentence(piece, language)):
                joined.append(piece)
            else:
                joined[-1] = f"{joined[-1]}, {piece}"  # "18 mm; necrotic" goes on about the same lesion
        out += joined
    return [words.strip() for words in out if re.search(r"\w", words)]
