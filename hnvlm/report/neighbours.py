"""Words that mean something else beside their neighbours: what a "no" denies, and a "left" that is no side.

"No extranodal extension of the left level II node" speaks of a node that is there, "without evidence of necrosis" of a
solid one, "no mass left in the tonsil" of no side.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

from hnvlm.report.tokens import Token
from hnvlm.report.vocabulary import load

_LESION = ("node", "mass")
_PLACE = ("level", "bare_level", "site", "side")
# Words that leave open or deny a lesion. Beside a complication they speak of the complication.
_BEFORE = ("negation", "indeterminate", "possible")
# Facts that somebody who dictates may correct in the same sentence ("left, no, right").
_CORRECTABLE = ("side", "level", "bare_level", "site", "size", "texture")
_BEHIND = ("negated_after", "indeterminate", "negation")


def settle(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Return the tagged spans with those put right that their neighbours make into something else."""
    tokens = _past_side(tokens)
    tokens = _corrected(sentence, tokens, language)
    tokens = _low_densities(tokens)
    tokens = _other_places(sentence, tokens, language)
    tokens = _reached_places(sentence, tokens, language)
    tokens = _denied_textures(sentence, tokens, language)
    tokens = _complications(sentence, tokens, language)
    tokens = _other_subjects(sentence, tokens, language)
    tokens = _touched_sides(sentence, tokens, language)
    return _left_over(sentence, tokens, language)


@cache
def _pattern(language: str, name: str) -> re.Pattern[str]:
    """A pattern made of the word lists in ``data/neighbours.yaml``."""
    table = load("neighbours")[language]
    filler = _any(table["fillers"])
    complication = rf"(?:{_any(table['adjectives'])} )*{_any(table['complications'])}"
    body = {
        "complication": rf"(?<!\w){complication}(?!\w)",
        "fillers": rf"(?: {filler})*\s*",
        "denies": rf"(?<!\w){_any(table['denies_texture'])}(?:[\s,]+(?:{filler}|{complication}))*[\s,]+$",
        "denied": rf"\s*:?\s*{_any(table['texture_denied'])}(?!\w)",
        "describing": rf"{_any(table['describing'])}$",
        "relation": rf" {_any(table['relations'])} ",
        "agent": rf" {_any(table['agents'])} ",
        "grows_into": rf"(?<!\w){complication} {_any(table['relations'])}(?: (?:the|left|right))*\s*$",
        "grown_into": rf"\W{{0,2}}(?:(?:space|fat|muscles?) )?{complication}(?!\w)",
        "added": rf"(?:^|[\s(]){_any(table['added'])}(?: {filler})*\s*$",
        "into": rf"{_any(table['into'])}$",
        "other_subject": rf"\s*{_any(table['other_subject'])}\s*",
        "corrects": rf"(?<!\w){_any(table['corrects'])}(?!\w)",
        "corrected": rf"(?:\W|(?<!\w){_any(table['corrected'])}(?!\w))*",
        "touches": rf"(?<!\w){_any(table['touches'])}(?!\w)",
        "other_side": rf"(?<!\w){_any(table['other_side'])}\s*$",
        "other_place": rf"(?<!\w){_any(table['other_place'])}\s*$",
        "left_over": rf"(?<!\w){_any(table['left_over'])}" if table["left_over"] else r"(?!)",
    }[name]
    return re.compile(body.replace(" ", r"\s+"), re.IGNORECASE)


def _any(patterns: list[str]) -> str:
    return rf"(?:{'|'.join(patterns)})"


def _without(tokens: list[Token], gone: list[Token]) -> list[Token]:
    return [token for token in tokens if not any(token is other for other in gone)]


def _other_places(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop a place that is named to say that the lesion is elsewhere: "left (not right)", "instead of level III"."""
    gone: list[Token] = []
    for index, token in enumerate(tokens):
        if token.tag not in _PLACE or token in gone:
            continue
        name = "other_side" if token.tag == "side" else "other_place"
        before = _pattern(language, name).search(sentence[: token.start])
        meant = [t for t in tokens if t.tag == token.tag and t.value != token.value and t not in gone]
        if before is None or not meant:
            continue
        gone += [t for t in tokens[:index] if t.start >= before.start()]
        gone.append(token)
        behind = tokens[index + 1] if index + 1 < len(tokens) else None
        # "In left level II, not right level II": the level goes with the side; in "left, not right level II" it stays.
        if behind is not None and behind.tag in _PLACE and sentence[token.end : behind.start].isspace():
            gone += [behind] * any(t.tag == behind.tag and t not in gone for t in tokens[:index])
    return _without(tokens, gone)


def _past_side(tokens: list[Token]) -> list[Token]:
    """Drop what was done once, before a comma, where a measured lesion follows: "s/p left neck dissection, 14 mm node".

    The side of what was done is none of the lesion's.
    """
    first = tokens[0] if tokens else None
    comma = next((token for token in tokens if token.tag == "separator" and token.value == ","), None)
    if first is None or comma is None or not any(t.tag == "history" for t in tokens if t.start < comma.start):
        return tokens
    before = [token for token in tokens if token.start < comma.start]
    told = {token.tag for token in tokens if token.start > comma.start}
    if any(token.tag in _LESION for token in before) or "removed" in told or not told >= {"size"}:
        return tokens
    return [token for token in tokens if token.start > comma.start] if told & set(_LESION) else tokens


def _corrected(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop what a change of mind takes back: "left level II, no wait, level III"."""
    gone: list[Token] = []
    for match in _pattern(language, "corrects").finditer(sentence):
        behind = [token for token in tokens if token.start >= match.end()]
        stop = next((i for i, token in enumerate(behind) if token.tag == "separator" and i > 0), len(behind))
        said = [token for token in behind[:stop] if token.tag in _CORRECTABLE]
        if not said or not _pattern(language, "corrected").fullmatch(sentence[match.end() : said[0].start]):
            continue
        before = [token for token in tokens if token.end <= match.start()]
        kinds = {token.tag for token in said if any(other.tag == token.tag for other in before)}
        if kinds:
            gone += [token for token in before if token.tag in kinds]
            gone += [token for token in tokens if match.start() <= token.start < said[0].start]
    return _without(tokens, gone)


def _low_densities(tokens: list[Token]) -> list[Token]:
    """Read a low-density centre as necrotic, and "hypodense" where a node and no mass is spoken of.

    "Areas of low attenuation in the tonsils" tell of no lesion.
    """
    tags = {token.tag for token in tokens}
    nodal = bool(tags & {"node", "level", "bare_level"})
    read = {"low_density"} if nodal and "mass" not in tags else set()
    if nodal or "mass" in tags or "site" not in tags:
        read.add("low_centre")
    told = [replace(t, tag="texture", value="necrotic") if t.tag in read else t for t in tokens]
    return [token for token in told if token.tag not in ("low_density", "low_centre")]


def _reached_places(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop a site that a lesion of another site grows into: "parapharyngeal extension of the right tonsil mass"."""
    sites = [token for token in tokens if token.tag == "site"]
    gone: list[Token] = []
    for site in sites:
        before = _pattern(language, "grows_into").search(sentence[: site.start])
        behind = _pattern(language, "grown_into").match(sentence, site.end)
        others = [other for other in sites if other.value != site.value and other not in gone]
        if (before or behind) and others:
            gone.append(site)
            sides = [token for token in tokens if token.tag == "side"]
            gone += [side for side in sides if len(sides) > 1 and sentence[side.end : site.start].isspace()]
    return _without(tokens, gone)


def _denied_textures(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Read "with no evidence of necrosis" and "necrosis is not seen" as solid; "no necrotic nodes" denies the nodes."""
    out: list[Token] = []
    end = 0
    for index, token in enumerate(tokens):
        if token.start < end:
            continue
        if token.tag == "texture" and token.value == "necrotic" and not _describes(sentence, tokens, index, language):
            before = _pattern(language, "denies").search(sentence[: token.start])
            behind = _pattern(language, "denied").match(sentence, token.end)
            if before or behind:
                start = before.start() if before else token.start
                end = behind.end() if behind and not before else token.end
                out = [other for other in out if other.start < start]
                out.append(Token("texture", "solid", start, end))
                continue
        out.append(token)
    return out


def _describes(sentence: str, tokens: list[Token], index: int, language: str) -> bool:
    """Whether "necrotic" stands before its noun, as in "no necrotic or enlarged nodes"."""
    token = tokens[index]
    if not _pattern(language, "describing").search(sentence[token.start : token.end]):
        return False
    for other in tokens[index + 1 :]:
        if other.tag in _LESION:
            return True
        if other.tag not in (*_PLACE, "texture", "normal", "definite", "probable", "possible", "size_words") and (
            other.value not in ("and", "or", "nor", ",", "lub", "ani", "i")
        ):
            return False
    return False


def _complications(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop what denies or leaves open a complication ("no bone erosion by the mass"): the lesion is there."""
    gone: list[Token] = []
    for match in _pattern(language, "complication").finditer(sentence):
        before = [
            token
            for token in tokens
            if token.tag in _BEFORE and (
                match.start() <= token.start < match.end()
                or (token.end <= match.start()
                    and _pattern(language, "fillers").fullmatch(sentence[token.end : match.start()]))
            )
        ]  # fmt: skip
        if before and not _is_the_lesion(sentence, match, tokens, language):
            gone += before + _places_of(sentence, match, tokens, language)
        gone += _behind(sentence, match, tokens, language)
    return _without(tokens, gone)


def _is_the_lesion(sentence: str, match: re.Match[str], tokens: list[Token], language: str) -> bool:
    """Whether the complication is the lesion itself: "no involvement of the lymph nodes" says that there are none."""
    told = _pattern(language, "agent").search(sentence, match.end())
    if told or not _pattern(language, "into").search(match.group()):
        return False
    first = next((t for t in tokens if t.start >= match.end() and t.tag in (*_LESION, "separator")), None)
    return first is not None and first.tag == "node"


def _places_of(sentence: str, match: re.Match[str], tokens: list[Token], language: str) -> list[Token]:
    """Places that a complication reaches and no lesion is at.

    "No invasion of the base of tongue by the tonsil mass", "node in level II, no extension to level III".
    """
    following = [token for token in tokens if token.start >= match.end()]
    stop = next((token for token in following if token.tag in (*_LESION, "separator")), None)
    end = len(sentence) if stop is None else stop.start
    agent = _pattern(language, "agent").search(sentence, match.end(), end)
    if agent is not None:
        end = agent.start()
    elif (stop is not None and stop.tag in _LESION) or not any(
        token.tag in _LESION and token.end <= match.start() for token in tokens
    ):
        return []
    return [token for token in following if token.tag in _PLACE and token.start < end]


def _behind(sentence: str, match: re.Match[str], tokens: list[Token], language: str) -> list[Token]:
    """What is said of a complication that is the subject: "extranodal extension (of the node) is not seen"."""
    word = next((t for t in tokens if t.tag in _BEHIND and t.start >= match.end()), None)
    if word is None or re.search(r"[,;]", sentence[match.end() : word.start]):
        return []
    if _pattern(language, "added").search(sentence[: match.start()]):
        return []  # "the node with extranodal extension is no longer seen"
    lesions = [t for t in tokens if t.tag in _LESION and match.end() <= t.start < word.start]
    opens = re.fullmatch(r"\W*(?:the|an?)?\W*", re.split(r"[,;:(]", sentence[: match.start()])[-1], re.IGNORECASE)
    if lesions and not (opens and _pattern(language, "relation").match(sentence, match.end())):
        return []
    return [word]


def _other_subjects(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop what is denied of something else behind the lesion: "node in level II; the jugular vein is not seen"."""
    gone = []
    for word in tokens:
        lesions = [token for token in tokens if token.tag in _LESION and token.end <= word.start]
        if word.tag != "negated_after" or not lesions:
            continue
        parts = [match for match in re.finditer(r"[,;]", sentence[: word.start]) if match.start() >= lesions[-1].end]
        if parts and _pattern(language, "other_subject").fullmatch(sentence[parts[-1].start() : word.start]):
            gone.append(word)
    return _without(tokens, gone)


def _touched_sides(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop the side of what a lesion of the other side reaches: "right tonsil mass abuts the left uvula"."""
    gone = []
    for match in _pattern(language, "touches").finditer(sentence):
        lesions = [token for token in tokens if token.tag in _LESION and token.end <= match.start()]
        if not lesions:
            continue
        begin = lesions[-2].end if len(lesions) > 1 else 0
        own = {t.value for t in tokens if t.tag == "side" and begin <= t.start < match.start()}
        following = [token for token in tokens if token.start >= match.end()]
        stop = next((token.start for token in following if token.tag in (*_LESION, "separator")), len(sentence))
        reached = [token for token in following if token.start < stop]
        # With levels on both sides there may be a node in each.
        if own not in ({"left"}, {"right"}) or any(token.tag in ("level", "bare_level") for token in reached):
            continue
        gone += [t for t in reached if t.tag == "side" and t.value in ("left", "right") and t.value not in own]
    return _without(tokens, gone)


def _left_over(sentence: str, tokens: list[Token], language: str) -> list[Token]:
    """Drop the "left" of "no tumour left", which is no side."""
    gone = []
    for index, token in enumerate(tokens[:-1]):
        following = tokens[index + 1]
        if token.tag not in _LESION or following.tag != "side":
            continue
        denied = any(other.tag == "negation" for other in tokens[:index])
        beside = sentence[token.end : following.start].isspace()
        if denied and beside and _pattern(language, "left_over").match(sentence, following.start):
            gone.append(following)
    return _without(tokens, gone)
