"""A request read by rules, as the facts that the edit pipeline takes."""

from __future__ import annotations

from typing import Any

from hnvlm.report.request_parse import parse_request

# Middle of what a size word covers, when no number is given.
SIZE_OF_WORD_MM = {"small": 12.0, "medium": 21.0, "large": 34.0}
NARROWING_OF_WORD_PCT = {"mild": 35.0, "moderate": 60.0, "severe": 80.0}


def request_facts(text: str) -> dict[str, Any] | None:
    """What a request states: op, kind, place, side, texture, size_mm, narrowing_pct (None: not stated).

    Returns None when the rules do not understand which operation is meant.
    """
    request = parse_request(text)
    if request.op == "unknown" or (request.op != "none" and request.finding is None):
        return None
    facts: dict[str, Any] = dict.fromkeys(("kind", "place", "side", "texture", "size_mm", "narrowing_pct"))
    facts["op"] = request.op
    finding = request.finding
    if finding is None or request.op == "none":
        return facts
    attributes = finding.attributes
    facts.update(
        kind=finding.kind if finding.kind in ("node", "mass", "airway") else None,
        place=finding.level or finding.site,
        side=finding.side if finding.side in ("left", "right") else None,
        texture=attributes.get("texture"),
        size_mm=finding.size_mm or SIZE_OF_WORD_MM.get(str(attributes.get("size_word"))),
        narrowing_pct=attributes.get("narrowing_pct")
        or NARROWING_OF_WORD_PCT.get(str(attributes.get("narrowing_word"))),
    )
    return facts
