"""Turn one clause into findings: place, side, size, texture and certainty of the thing it speaks of."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from hnvlm.report.clauses import Clause
from hnvlm.report.vocabulary import load, vocabulary
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, Finding

# "right" and "left" in one clause with one place: nobody can know which is meant.
CONFLICT = "conflict"
_LARGEST = re.compile(r"\b(?:largest|up to|biggest|najwięks\w+)\b", re.IGNORECASE)
_AIRWAY_OF_SITE = {
    "oropharynx": "oropharynx",
    "base of tongue": "oropharynx",
    "soft palate": "oropharynx",
    "palatine tonsil": "oropharynx",
    "hypopharynx": "hypopharynx",
    "pyriform sinus": "hypopharynx",
    "postcricoid region": "hypopharynx",
    "larynx": "larynx",
    "supraglottis": "larynx",
    "glottis": "larynx",
    "subglottis": "larynx",
}
_REGIONS = ("oral cavity", "oropharynx", "hypopharynx", "larynx")


def findings_of(
    clause: Clause, sentence: str, language: str, line: str, last_side: str | None, *, describe_denied: bool = False
) -> list[Finding]:
    """Read the findings of one clause.

    Args:
        clause: A clause with a kind.
        sentence: The sentence it is part of.
        language: ``en`` or ``pl``.
        line: What the line's heading names; gives the side where the clause names none.
        last_side: Side of the primary mass, for "ipsilateral" and "contralateral".
        describe_denied: Keep size and texture of what is denied: a request describes what is to go.

    Returns:
        One finding, several for several levels, none when the clause speaks of something else (a lung nodule).
    """
    kind = clause.kind
    # "Node in level II abutting the jugular vein" is still a node; a lung nodule is none of ours.
    elsewhere = clause.has("foreign") and not clause.has("level", "site", "airway", "airway_general")
    if kind is None or (elsewhere and kind in ("mass", "node", "airway")):
        return []
    text = sentence[clause.start : clause.end]
    if kind == "mass" and clause.has("level", "bare_level") and not clause.has("site"):
        kind = "node"
    if kind in ("node", "mass"):
        return _lesions(kind, clause, text, line, last_side, describe_denied)
    if kind == "airway":
        return _airway(clause, describe_denied)
    if kind == "artefact":
        return _artefact(clause)
    return _extent(kind, clause, text, language)


def _presence(clause: Clause) -> tuple[str, str]:
    """Presence and certainty; the most careful word counts."""
    if clause.denied:
        return "absent", "probable"
    if clause.has("indeterminate"):
        return "indeterminate", "possible"
    for word in ("possible", "definite"):
        if clause.has(word):
            return "present", word
    return "present", "probable"


def _lesions(
    kind: str, clause: Clause, text: str, line: str, last_side: str | None, describe_denied: bool
) -> list[Finding]:
    presence, certainty = _presence(clause)
    size, short_axis = _size(clause, text)
    if clause.has("normal") and size is None and presence == "present":
        presence, certainty = "absent", "probable"
    attributes: dict[str, Any] = {}
    if presence != "absent" or describe_denied:
        textures = clause.values("texture")
        if textures:
            attributes["texture"] = "necrotic" if "necrotic" in textures else textures[0]
        if size is None and (words := clause.values("size_words")):
            attributes["size_word"] = words[0]
        if short_axis is not None:
            attributes["short_axis_mm"] = short_axis
        if kind == "mass" and clause.has("crosses"):
            attributes["crosses_midline"] = True
    elif clause.has("other"):
        attributes["other_than_listed"] = True
    size = None if presence == "absent" and not describe_denied else size
    places = _node_places(clause, attributes) if kind == "node" else [(_site(clause), None)]
    if len(places) > 1 and size is not None and _LARGEST.search(text):
        # Nobody says which of the places the largest node is in.
        attributes["largest_mm"], size = size, None
    findings = []
    for place, side in places:
        side = side or _side(clause, line, last_side)
        findings.append(
            Finding(
                kind=kind,  # type: ignore[arg-type]
                presence=presence,  # type: ignore[arg-type]
                site=place if kind == "mass" else None,
                side=side,  # type: ignore[arg-type]
                level=place if kind == "node" else None,
                size_mm=size,
                certainty=certainty,
                attributes=dict(attributes),
            )
        )
    return findings


def _size(clause: Clause, text: str) -> tuple[float | None, float | None]:
    """Greatest dimension of today, and the short axis where it alone is told."""
    sizes = []
    short = None
    for token in clause.tokens:
        if token.tag != "size":
            continue
        before = [other for other in clause.tokens if other.end <= token.start]
        if before and before[-1].tag == "prior" and token.start - before[-1].end <= 2:
            continue
        offset = token.start - clause.start
        near = text[max(0, offset - 24) : offset + (token.end - token.start) + 18]
        own = text[offset : offset + token.end - token.start]
        if clause.has("short_axis") and not re.search(r"\bx\b|×|\bby\b", own) and re.search(r"short|SAD|krótk", near):
            short = token.value
            continue
        sizes.append(token.value)
    return (max(sizes) if sizes else None), short


def _node_places(clause: Clause, attributes: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    """(level, side) of each place; the side is None where one side serves the whole clause."""
    tokens = [token for token in clause.tokens if token.tag in ("level", "side")]
    if not any(token.tag == "level" for token in tokens):
        tokens = [token for token in clause.tokens if token.tag in ("bare_level", "side")]
    levels = [token for token in tokens if token.tag != "side"]
    if not levels:
        return [(None, None)]
    several = len(levels) > 1 and len({token.value for token in tokens if token.tag == "side"}) > 1
    places: list[tuple[str | None, str | None]] = []
    for token in levels:
        names, mode = token.value
        side = _nearest_side(token, tokens, levels) if several else None
        if mode == "one":
            places.append((names[0] if names else None, side))
            if len(names) > 1 and len(levels) == 1:
                attributes["also_level"] = "/".join(names[1:])
        else:
            places += [(name, side) for name in names]
    unique: list[tuple[str | None, str | None]] = []
    for place in places:
        if place not in unique:
            unique.append(place)
    return unique


def _nearest_side(level: Any, tokens: list[Any], levels: list[Any]) -> str | None:
    """Side of one of several places: the side just before it, or else just after it."""
    index = tokens.index(level)
    if index and tokens[index - 1].tag == "side":
        return tokens[index - 1].value
    if index + 1 < len(tokens) and tokens[index + 1].tag == "side" and level is levels[0]:
        return tokens[index + 1].value
    earlier = [token.value for token in tokens[:index] if token.tag == "side"]
    return earlier[-1] if earlier else None


def _side(clause: Clause, line: str, last_side: str | None) -> str | None:
    sides = list(dict.fromkeys(clause.values("side")))
    if clause.has("crosses"):
        sides = [side for side in sides if side != "midline"] or sides
    if {"left", "right"} <= set(sides):
        return CONFLICT
    if sides:
        return sides[0]
    if last_side in ("left", "right"):
        if clause.has("ipsilateral"):
            return last_side
        if clause.has("contralateral"):
            return "left" if last_side == "right" else "right"
    if clause.has("ipsilateral", "contralateral"):
        return None
    return {"node_right": "right", "node_left": "left"}.get(line) if clause.kind == "node" else None


def _site(clause: Clause) -> str | None:
    """The first named subsite; a region (larynx) only where no subsite is named before an extension."""
    sites = clause.values("site")
    specific = [site for site in sites if site not in _REGIONS]
    return specific[0] if specific else (sites[0] if sites else None)


def _airway(clause: Clause, describe_denied: bool) -> list[Finding]:
    if not clause.has("narrowing", "patent", "normal", "percent"):
        return []
    sites = clause.values("airway")
    sites += [_AIRWAY_OF_SITE[site] for site in clause.values("site") if site in _AIRWAY_OF_SITE]
    if not sites and not clause.has("airway_general") and clause.has("site"):
        return []
    site = next((site for site in sites if site in AIRWAY_LEVELS), None)
    attributes: dict[str, Any] = {}
    presence, certainty = _presence(clause)
    if not clause.has("narrowing", "percent") and clause.has("patent", "normal"):
        presence, certainty = "absent", "probable"
    described = presence != "absent" or describe_denied
    if described:
        if percents := clause.values("percent"):
            attributes["narrowing_pct"] = percents[0]
        elif words := clause.values("narrowing_words"):
            attributes["narrowing_word"] = words[0]
    if areas := clause.values("area"):
        attributes["min_area_mm2"] = areas[0]
    side = _side(clause, "", None) if described else None
    return [Finding("airway", presence, site=site, side=side, certainty=certainty, attributes=attributes)]  # type: ignore[arg-type]


def _artefact(clause: Clause) -> list[Finding]:
    if clause.denied:
        return [Finding("artefact", "absent")]
    words = clause.values("narrowing_words")
    return [Finding("artefact", attributes={"extent": words[0]} if words else {})]


@cache
def _extent_pattern(language: str) -> tuple[re.Pattern[str], dict[str, str]]:
    names = {word: word for word in vocabulary()["landmarks"]}
    if language == "pl":
        names = {translated: name for name, translated in load("report_pl")["landmarks"].items()}
    landmark = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    pattern = load(f"patterns_{language}")["extent"].replace("{landmark}", landmark)
    return re.compile(rf"\b{pattern}\b", re.IGNORECASE), names


def _extent(kind: str, clause: Clause, text: str, language: str) -> list[Finding]:
    """Target region or field of view."""
    pattern, names = _extent_pattern(language)
    match = pattern.search(text)
    attributes: dict[str, Any] = {}
    if match:
        attributes = {end: names[match.group(end).lower()] for end in ("superior", "inferior")}
    if kind == "coverage":
        return [Finding("coverage", attributes=attributes)] if match else []
    if clause.denied:
        return [Finding("target", "absent")]
    if volumes := clause.values("volume"):
        attributes["volume_ml"] = volumes[0]
    side = _side(clause, "", None)
    return [Finding("target", side=side, attributes=attributes)] if side or attributes else []  # type: ignore[arg-type]


def implied_kind(clause: Clause) -> str | None:
    """Kind of a clause without a noun: a level with a size or texture is a node, a site with one is a mass.

    "Tonsils are unremarkable" speaks of a mass too: that there is none.
    """
    if clause.has("level") and clause.has("size", "texture", "normal"):
        return "node"
    known_site = any(site in MASS_SITES for site in clause.values("site"))
    if clause.has("site") and (clause.has("size", "texture") or (clause.has("normal") and known_site)):
        return "mass"
    return None
