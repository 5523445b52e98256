"""Turn one clause into findings: place, side, size, texture and certainty of the thing it speaks of."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

from hnvlm.report.places import mass_places, node_places, side_of
from hnvlm.report.sizes import in_order, is_former, measured, only_bounded, rival_sizes, size_range
from hnvlm.report.tagging import low_density
from hnvlm.report.tokens import Clause
from hnvlm.report.vocabulary import load, size_word, vocabulary
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, Finding

_LARGEST = re.compile(r"\b(?:largest|up to|biggest|najwięks\w+)\b", re.IGNORECASE)
# The greatest size of a node that "normal" or "subcentimetre" is still said of.
_LITTLE_MM = 10.0
NECROSIS = re.compile(r"necro|martwic", re.IGNORECASE)
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
        return _lesions(kind, clause, text, language, line, last_side, describe_denied)
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


@cache
def _tiny(language: str) -> re.Pattern[str]:
    """Match words for nodes that are told of for how small they are: "shotty", "drobne"."""
    words = "|".join(load(f"patterns_{language}")["harmless_small"])
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


def _harmless(clause: Clause, size: float | None, bounded: bool, tiny: bool) -> tuple[str, str] | None:
    """Presence and certainty of a node that is there and held to be harmless, or told to be no larger than small.

    None where nothing says so: "nodes < 6 cm" and "suspicious node < 1 cm" are nodes. "Of normal structure, up to 8 mm"
    and "shotty" (``tiny``) say so.
    """
    if clause.has("unsuspicious") and size is None:
        return "absent", "probable"
    speaks_for = clause.has("definite", "probable", "possible") or "necrotic" in clause.values("texture")
    little = (size is None or size <= _LITTLE_MM) and not speaks_for
    if little and (tiny or (size is not None and clause.has("normal"))):
        return "indeterminate", "possible"
    small = bounded and size is not None and size_word(size) == "small" and not speaks_for
    if small or clause.has("unsuspicious", "benign"):
        return "indeterminate", "possible"
    return None


def _lesions(
    kind: str, clause: Clause, text: str, language: str, line: str, last_side: str | None, describe_denied: bool
) -> list[Finding]:
    presence, certainty = _presence(clause)
    size, short_axis = measured(clause.tokens, clause.start, text, language)
    # A measured or necrotic node that is "normal in size" is told of because it is there.
    if clause.has("normal") and size is None and presence == "present" and "necrotic" not in clause.values("texture"):
        presence, certainty = "absent", "probable"
    if kind == "node" and presence == "present" and not describe_denied:
        bounded = only_bounded(clause.tokens, clause.start, text, language)
        tiny = _tiny(language).search(text) is not None
        presence, certainty = _harmless(clause, size, bounded, tiny) or (presence, certainty)
        size = None if bounded else size
    attributes: dict[str, Any] = {}
    if presence != "absent" or describe_denied:
        # "Previously necrotic, now solid": what it was once is not what it is.
        if textures := _textures(clause, text, language):
            attributes["texture"] = "necrotic" if "necrotic" in textures else textures[0]
        if size is None and (words := clause.values("size_words")):
            attributes["size_word"] = words[0]
        if short_axis is not None:
            attributes["short_axis_mm"] = short_axis
        if kind == "mass" and clause.has("crosses"):
            attributes["crosses_midline"] = True
    elif clause.has("other") or clause.excepting or "necrotic" in clause.values("texture"):
        # "No new nodes" and "no necrotic nodes" deny no node in general.
        attributes["other_than_listed"] = True
    size = None if presence == "absent" and not describe_denied else size
    if presence != "absent":
        # Read by who asks, kept in no finding: see ``parse`` and ``request_parse``.
        if rivals := rival_sizes(clause.tokens, clause.start, text, language):
            attributes["rival_sizes_mm"] = rivals
        elif describe_denied and (ends := size_range(clause.tokens, clause.start, text, language)):
            attributes["size_range_mm"] = ends
    places = node_places(clause, attributes) if kind == "node" else mass_places(clause, presence)
    if len(places) > 1 and size is not None and _LARGEST.search(text):
        # Nobody says which of the places the largest node is in.
        attributes["largest_mm"], size = size, None
    listed = in_order(text) if presence != "absent" else []
    sizes = listed if len(listed) == len(places) else [size] * len(places)
    findings = []
    for index, (place, side) in enumerate(places):
        side = side or side_of(clause, line, last_side)
        if presence == "absent" and side is None and clause.has("ipsilateral", "contralateral"):
            attributes["other_than_listed"] = True  # one side, and nobody says which
        findings.append(
            Finding(
                kind=kind,  # type: ignore[arg-type]
                presence=presence,  # type: ignore[arg-type]
                site=place if kind == "mass" else None,
                side=side,  # type: ignore[arg-type]
                level=place if kind == "node" else None,
                size_mm=sizes[index],
                certainty=certainty,
                attributes=dict(attributes),
            )
        )
    return [part for finding in findings for part in _largest_side(finding, clause, text)]


def _textures(clause: Clause, text: str, language: str) -> list[str]:
    """Textures of today: "previously necrotic, now solid" is solid, and so is "hypodense, without necrosis"."""
    told = []
    for token in clause.tokens:
        if token.tag == "texture" and not is_former(text[: token.start - clause.start], language):
            told.append((token.value, text[token.start - clause.start : token.end - clause.start]))
    if any(value == "solid" and NECROSIS.search(words) for value, words in told):
        told = [(v, words) for v, words in told if v == "solid" or not low_density(language).fullmatch(words)]
    return [value for value, _ in told]


def _largest_side(finding: Finding, clause: Clause, text: str) -> list[Finding]:
    """A node on both sides of which one side's size is told: "bilateral level II nodes, largest on the right 23 mm"."""
    named = [side for side in clause.values("side") if side in ("left", "right")]
    if finding.side != "bilateral" or len(named) != 1 or finding.size_mm is None or not _LARGEST.search(text):
        return [finding]
    other = replace(finding, side="left" if named[0] == "right" else "right", size_mm=None)
    other = replace(other, attributes={**finding.attributes, "largest_mm": finding.size_mm})
    return [replace(finding, side=named[0]), other]


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
    side = side_of(clause, "", None) if described else None
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
    side = side_of(clause, "", None)
    return [Finding("target", side=side, attributes=attributes)] if side or attributes else []  # type: ignore[arg-type]


def implied_kind(clause: Clause) -> str | None:
    """Kind of a clause without a noun: a level with a size or texture is a node, a site with one is a mass.

    A numeral alone is a level beside a side: "R II 22 mm".

    "Tonsils are unremarkable" speaks of a mass too: that there is none.
    """
    if clause.has("level") and clause.has("size", "texture", "normal"):
        return "node"
    if clause.has("bare_level") and clause.has("size") and (clause.has("side") or clause.side_before):
        return "node"
    known_site = any(site in MASS_SITES for site in clause.values("site"))
    spaces = [site for site in clause.values("site") if site.endswith((" space", " fossa"))]
    if len(spaces) == len(clause.values("site")):
        return None  # a collection in the parapharyngeal space is no mass
    if clause.has("site") and (clause.has("size", "texture") or (clause.has("normal") and known_site)):
        return "mass"
    return None
