"""Findings to report text, English and Polish.

A plain statement carries the default certainty (``probable``); ``definite`` and ``possible`` are said in words,
and so is ``indeterminate`` presence. Sizes are whole millimetres. What was not found is stated: no mass, no node on
either side, patent airway, no dental artefact. A target region is never denied by silence: without one the report
says that none was predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hnvlm.errors import UsageError
from hnvlm.report.vocabulary import RandomLike, check_language, choose, fill, load, vocabulary
from hnvlm.types import Finding

# Attributes a sentence can carry, by kind; everything else stays with the finding and is not written.
_ATTRIBUTES = {
    "node": ("texture",),
    "mass": ("texture", "crosses_midline"),
    "airway": ("narrowing_pct", "min_area_mm2"),
    "target": ("superior", "inferior", "volume_ml"),
    "artefact": ("extent",),
    "coverage": ("superior", "inferior"),
}
_ROUNDED = ("narrowing_pct", "min_area_mm2", "volume_ml")
_LINES = ("mass", "node_right", "node_left", "node_other", "airway", "artefact", "target")


def text_fields(finding: Finding) -> Finding:
    """Return what a sentence can carry of a finding: whole millimetres, no slice, box, score or foreign attribute."""
    keep = _ATTRIBUTES[finding.kind]
    if finding.presence == "absent":
        keep = ("min_area_mm2",) if finding.kind == "airway" else ()
    attributes: dict[str, Any] = {}
    for key in keep:
        value = finding.attributes.get(key)
        if value is None or value is False:
            continue
        attributes[key] = float(round(value)) if key in _ROUNDED else value
    if not {"superior", "inferior"} <= set(attributes):
        attributes.pop("superior", None)
        attributes.pop("inferior", None)
    certainty = {"absent": "probable", "indeterminate": "possible"}.get(finding.presence, finding.certainty)
    plain = finding.kind in ("target", "artefact", "coverage")
    gone = finding.presence == "absent"
    return Finding(
        kind=finding.kind,
        presence="present" if finding.kind == "coverage" else finding.presence,
        site=finding.site if finding.kind in ("mass", "airway") else None,
        side=finding.side
        if not (finding.kind in ("artefact", "coverage") or (gone and finding.kind in ("airway", "target")))
        else None,
        level=finding.level if finding.kind == "node" else None,
        size_mm=float(round(finding.size_mm)) if _sized(finding) else None,
        certainty="probable" if plain else certainty,
        source=finding.source,
        attributes=attributes,
    )


def _sized(finding: Finding) -> bool:
    return finding.size_mm is not None and finding.presence != "absent" and finding.kind in ("node", "mass")


def complete(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings a report states, in the order in which it states them.

    Adds the explicit negatives (mass, right and left neck, airway, artefact) where nothing is said, and reduces
    every finding to ``text_fields``. ``parse(render(findings)) == complete(findings)``, ``source`` apart.

    Raises:
        UsageError: When the list denies what it also contains.
    """
    items = [text_fields(finding) for finding in findings]
    source = items[0].source if items else "measured"
    stated: list[Finding] = [item for item in items if item.kind == "coverage"]
    lines = {line: [item for item in items if _line_of(item) == line] for line in _LINES}
    general = [item for item in lines["node_other"] if item.presence == "absent" and not (item.side or item.level)]
    if general:
        lines["node_other"] = [item for item in lines["node_other"] if item not in general]
    # A node on both sides, or on one that nobody told, stands against "none" on the right and on the left.
    either = any(item.presence != "absent" and item.side in (None, "bilateral") for item in lines["node_other"])
    for side in ("right", "left"):
        if not lines[f"node_{side}"] and not either:
            lines[f"node_{side}"] = [Finding("node", "absent", side=side, source=source)]
    for kind in ("mass", "airway", "artefact"):
        if not lines[kind]:
            lines[kind] = [Finding(kind, "absent", source=source)]
    for line in _LINES:
        unique: list[Finding] = []
        for item in lines[line]:
            if item.presence != "absent" or item not in unique:
                unique.append(item)
        stated += unique
    _refuse_contradictions(stated, general)
    return stated


def _line_of(finding: Finding) -> str:
    if finding.kind != "node":
        return finding.kind
    return f"node_{finding.side}" if finding.side in ("left", "right") else "node_other"


def denies(absent: Finding, present: Finding) -> bool:
    """Say whether an absent finding covers a present one: same kind, and every place it names is the same."""
    if absent.kind != present.kind:
        return False
    pairs = ((absent.side, present.side), (absent.level, present.level), (absent.site, present.site))
    return all(denied is None or denied == said for denied, said in pairs)


def _refuse_contradictions(stated: list[Finding], general: list[Finding]) -> None:
    present = [item for item in stated if item.presence != "absent"]
    for absent in [item for item in stated if item.presence == "absent"] + general:
        for item in present:
            if denies(absent, item):
                raise UsageError(
                    f"The findings contradict each other: one denies what another reports ({item.kind}"
                    f" {item.side or ''} {item.level or item.site or ''}). Remove one of the two."
                )


def render(
    findings: Sequence[Finding],
    *,
    language: str = "en",
    rng: RandomLike | None = None,
) -> str:
    """Write the structured report of one scan.

    Args:
        findings: Any order; see ``complete`` for what is added and refused.
        language: ``en`` or ``pl``.
        rng: With a generator every sentence is a sampled paraphrase, and the same generator state gives the same text;
            without one the wording is the canonical one.

    Returns:
        Lines with upper-case headings: examination, technique, findings (one line a region), impression.

    Raises:
        UsageError: Contradicting findings, unknown language, or a place this language has no word for.
    """
    grammar = load(f"report_{check_language(language)}")
    stated = complete(findings)
    heading = grammar["headings"]
    technique = [_pick(grammar["technique"], rng)]
    technique += [render_finding(item, language, rng) for item in stated if item.kind == "coverage"]
    lines = [
        f"{heading['examination']}: {_pick(grammar['examination'], rng)}",
        f"{heading['technique']}: {' '.join(technique)}",
        f"{heading['findings']}:",
    ]
    for line in _LINES:
        sentences = [render_finding(item, language, rng) for item in stated if _line_of(item) == line]
        if line == "target" and not sentences:
            sentences = [_pick(grammar["sentences"]["target"]["unstated"], rng)]
        if sentences:
            lines.append(f"{heading[line]}: {' '.join(sentences)}")
    lines.append(f"{heading['impression']}: {_impression(stated, grammar, language)}")
    return "\n".join(lines)


def _pick(items: list[str], rng: RandomLike | None) -> str:
    return items[0] if rng is None else choose(rng, items)


def _impression(stated: Sequence[Finding], grammar: dict[str, Any], language: str) -> str:
    """Sum up: masses, nodes and narrowing, largest first within a kind."""
    sentences = []
    for kind in ("mass", "node", "airway"):
        items = [item for item in stated if item.kind == kind and item.presence != "absent"]
        for item in sorted(items, key=lambda item: -(item.size_mm or item.attributes.get("narrowing_pct") or 0.0)):
            sentences.append(fill(grammar["impression"][kind][0], _slots(item, grammar, language)))
    return " ".join(sentences) if sentences else grammar["impression"]["clear"][0]


def render_finding(finding: Finding, language: str = "en", rng: RandomLike | None = None) -> str:
    """Write one sentence about one finding; the canonical one without ``rng``.

    Raises:
        UsageError: Unknown language, or a place this language has no word for.
    """
    grammar = load(f"report_{check_language(language)}")
    finding = text_fields(finding)
    sentences = grammar["sentences"][finding.kind]["absent" if finding.presence == "absent" else "present"]
    return fill(_pick(sentences, rng), _slots(finding, grammar, language))


def _translated(grammar: dict[str, Any], table: str, word: str | None, language: str) -> str:
    if word is None:
        return ""
    names = grammar.get(table)
    if names is None:
        return word
    if word not in names:
        known = ", ".join(names)
        raise UsageError(f"The report grammar ({language}) has no word for '{word}' in {table}. It knows: {known}.")
    return names[word]


def _slots(finding: Finding, grammar: dict[str, Any], language: str) -> dict[str, str]:
    """Return the words of a finding; English names of sites and landmarks are their own words."""
    units = grammar["units"]
    certainty = "indeterminate" if finding.presence == "indeterminate" else finding.certainty
    slots = {
        "cert": grammar["certainty"].get(certainty, ""),
        "side": _translated(grammar, "sides", finding.side, language),
        "size": f"{finding.size_mm:.0f} {units['mm']}" if finding.size_mm is not None else "",
        "tex": _translated(grammar, "textures", finding.attributes.get("texture"), language),
        "cross": grammar["crossing"] if finding.attributes.get("crosses_midline") else "",
        "extent": _translated(grammar, "extents", finding.attributes.get("extent"), language),
        "level": grammar["level"].format(level=finding.level) if finding.level else "",
    }
    slots["place"] = f"{slots['side']} {slots['level']}".strip() if finding.level else f"the {slots['side']} neck"
    slots["Place"] = slots["place"][:1].upper() + slots["place"][1:]
    if finding.kind == "target":
        slots["Side"] = _translated(grammar, "target_sides", finding.side or "midline", language)
    if finding.kind in ("target", "coverage"):
        for end in ("superior", "inferior"):
            word = finding.attributes.get(end)
            if word is not None and word not in vocabulary()["landmarks"]:
                known = ", ".join(vocabulary()["landmarks"])
                raise UsageError(f"The report grammar has no landmark '{word}'. It knows: {known}.")
            slots[end] = _translated(grammar, "landmarks", word, language)
        if "volume_ml" in finding.attributes:
            slots["volume"] = f"{finding.attributes['volume_ml']:.0f} {units['volume']}"
    if finding.kind == "airway":
        slots["airway"] = _translated(grammar, "airways", finding.site, language)
        slots["site"] = finding.site or ""
        slots["where"] = _translated(grammar, "airway_places", finding.site, language)
        if "narrowing_pct" in finding.attributes:
            slots["pct"] = f"{finding.attributes['narrowing_pct']:.0f}{units['pct']}"
        if "min_area_mm2" in finding.attributes:
            slots["area"] = f"{finding.attributes['min_area_mm2']:.0f} {units['area']}"
    if finding.kind == "mass":
        somewhere = grammar["site_unknown"] if finding.presence != "absent" else ""
        slots["site"] = _translated(grammar, "sites", finding.site, language) or somewhere
        slots["where"] = f"{slots['side']} {slots['site']}".strip() if finding.site else ""
    return slots
