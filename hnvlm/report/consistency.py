"""Whether findings of one text repeat or contradict each other."""

from __future__ import annotations

import re
from typing import Any

from hnvlm.report.places import OUTSIDE_SITES
from hnvlm.report.render import denies
from hnvlm.report.vocabulary import narrowing_word, vocabulary
from hnvlm.types import Finding

# A summary may round: "1.3 cm" repeats 12.6 mm.
ROUNDING_MM = 0.5


def name_of(finding: Finding) -> str:
    """A finding in a few words: "22 mm necrotic left level II node"."""
    size = f"{finding.size_mm:g} mm" if finding.size_mm is not None else ""
    place = f"level {finding.level}" if finding.level else finding.site or ""
    words = [size, finding.attributes.get("texture", ""), finding.side or "", place, finding.kind]
    return " ".join(word for word in words if word)


def _article(name: str) -> str:
    """Which article stands before a name: an 18 mm node, an airway narrowing."""
    return "an" if re.match(r"(?:8|11\b|18\b|[aeiou])", name, re.IGNORECASE) else "a"


def repeats(summary: Finding, full: Finding) -> bool:
    """Whether everything a summary says is in a finding (a summary may say less)."""
    if summary.kind != full.kind or full.presence == "absent":
        return False
    pairs = ((summary.side, full.side), (summary.level, full.level), (summary.site, full.site))
    if any(short is not None and short != long for short, long in pairs):
        return False
    if summary.size_mm is not None and (full.size_mm is None or abs(summary.size_mm - full.size_mm) > ROUNDING_MM):
        return False
    return all(_says_no_more(key, value, full) for key, value in summary.attributes.items())


def _says_no_more(key: str, value: Any, full: Finding) -> bool:
    """Whether one property of a summary is in a finding: "largest 24 mm" and "large" are in its size."""
    if key == "largest_mm":
        return full.size_mm is None or full.size_mm <= value + ROUNDING_MM
    if key == "narrowing_word" and "narrowing_pct" in full.attributes:
        return bool(narrowing_word(full.attributes["narrowing_pct"]) == value)
    return full.attributes.get(key) == value or key == "also_level" or (key == "size_word" and full.size_mm is not None)


def same_region(one: Finding, other: Finding) -> bool:
    """Whether two masses may be one: no other side, and a region ("larynx") takes in its parts ("supraglottis")."""
    if None not in (one.side, other.side) and one.side != other.side:
        return False
    if one.site == other.site or None in (one.site, other.site):
        return True
    regions = vocabulary()["regions"]
    return any(a.site in regions and b.site in regions[a.site] for a, b in ((one, other), (other, one)))


def covers(old: Finding, denial: Finding) -> bool:
    """Whether a summary's denial ("no enlarged node") repeats denials made before."""
    return old.presence == "absent" and denies(denial, old)


def denied_and_reported(findings: list[Finding], harmless: list[Finding]) -> list[str]:
    """Say which findings a text both denies and reports.

    Args:
        findings: Of the text.
        harmless: Nodes that the text calls reactive or not suspicious: "no enlarged node" denies none of them.
    """
    found = []
    for absent in findings:
        if (
            absent.presence != "absent"
            or absent.attributes.get("other_than_listed")
            or absent.kind not in ("node", "mass", "airway")
        ):
            continue
        for present in findings:
            # "No mucosal lesion" denies no nodule of the thyroid gland.
            beside = present.site in OUTSIDE_SITES and absent.site is None
            if present.presence != "absent" and present not in harmless and denies(absent, present) and not beside:
                name = name_of(present)
                found.append(f"The text both denies and reports {_article(name)} {name}.")
    return found
