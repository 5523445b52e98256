"""Read a request for an edit by rules: what is to be added or removed, where, how large.

An independent check of the learned text tower, and the words in which the app tells the user what it understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from hnvlm.report.parse import detect_language, sentence_findings
from hnvlm.report.places import CONFLICT
from hnvlm.report.sentences import read_lines
from hnvlm.report.vocabulary import check_language, load
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, Finding

RequestOp = Literal["add", "remove", "none", "unknown"]
_EDITABLE = ("node", "mass", "airway")
_KNOWN_PLACES = {"node": NODE_LEVELS, "mass": MASS_SITES, "airway": AIRWAY_LEVELS}


@dataclass(frozen=True)
class Request:
    """What a request was understood to ask.

    Attributes:
        op: ``add``, ``remove``, ``none`` (the text says that the neck is clear) or ``unknown``.
        finding: The lesion to add or remove; presence is ``present`` in both. None for ``none``; for ``unknown`` the
            lesion spoken of, if any ("shrink the left level II node").
        confident: One lesion, one operation, nothing missing, nothing contradictory.
        missing: Facts the edit needs and the text does not give: ``op``, ``lesion``, ``side``, ``level``, ``site``,
            ``size``, ``one lesion at a time``.
        others: Further lesions the text speaks of; they are not acted upon.
    """

    op: RequestOp
    finding: Finding | None
    confident: bool
    missing: list[str]
    others: list[Finding] = field(default_factory=list)


@cache
def _cues() -> dict[str, re.Pattern[str]]:
    tables = load("requests_read")
    return {
        name: re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)", re.IGNORECASE) for name, patterns in tables.items()
    }


def parse_request(text: str, language: str | None = None) -> Request:
    """Read one request.

    Args:
        text: What the clinician typed, a command or a report sentence.
        language: ``en``, ``pl`` or None to detect.

    Returns:
        The request. Nothing is filled in: a size word ("small") stands in ``finding.attributes['size_word']`` or
        ``['narrowing_word']``, and what is not said is listed in ``missing``.
    """
    language = check_language(language) if language else detect_language(text)
    text = re.sub(r"\s+", " ", text).strip()
    cues = _cues()
    wanted: list[tuple[RequestOp, Finding]] = []
    clear = False
    for sentence in read_lines(text, language)[0]:
        sentence = replace(sentence, text=cues["keep"].sub("", sentence.text))
        resize = bool(cues["resize"].search(sentence.text))
        clear = clear or bool(cues["clear"].search(sentence.text))
        for finding in sentence_findings(sentence, language, describe_denied=True):
            op = _op_of(finding, sentence.text)
            if op in ("add", "remove") and resize:
                op = "unknown"
            if op == "none":
                clear = True
            elif op is not None:
                wanted.append((op, finding))
    return _decide(wanted, clear)


def _op_of(finding: Finding, sentence: str) -> RequestOp | None:
    """What a sentence asks about one finding; None when the finding cannot be edited."""
    if finding.kind not in _EDITABLE:
        return None
    place = finding.level if finding.kind == "node" else finding.site
    if finding.kind == "mass" and place is not None and place not in MASS_SITES and finding.presence == "absent":
        return None
    if finding.presence == "absent":
        return "remove" if place or finding.side else "none"
    return "remove" if _cues()["remove"].search(sentence) else "add"


def _decide(wanted: list[tuple[RequestOp, Finding]], clear: bool) -> Request:
    if not wanted:
        if clear:
            return Request("none", None, True, [])
        return Request("unknown", None, False, ["op", "lesion"])
    # A lesion at a place the models know goes before one elsewhere (a thyroid nodule in a side remark).
    ranked = sorted(wanted, key=lambda item: (not _known(item[1]), item[0] != "add"))
    op, finding = ranked[0]
    if op == "remove" and finding.presence == "absent":
        finding = replace(finding, presence="present")
    conflict = finding.side == CONFLICT
    if conflict:
        finding = replace(finding, side=None)
    missing = ["op"] * (op == "unknown") + _missing(op, finding)
    rest = [item for item in ranked[1:] if _known(item[1])]
    if rest:
        missing.append("one lesion at a time")
    confident = not missing and not conflict and not (clear and op == "add")
    return Request(op, finding, confident, missing, [item for _, item in ranked[1:]])


def _known(finding: Finding) -> bool:
    place = finding.level if finding.kind == "node" else finding.site
    return place in _KNOWN_PLACES[finding.kind]


def _missing(op: RequestOp, finding: Finding) -> list[str]:
    missing = []
    if finding.kind != "airway" and finding.side is None:
        missing.append("side")
    if not _known(finding):
        missing.append("level" if finding.kind == "node" else "site")
    if op == "add":
        said = finding.size_mm is not None or "size_word" in finding.attributes
        if finding.kind == "airway":
            said = bool({"narrowing_pct", "narrowing_word"} & set(finding.attributes))
        if not said:
            missing.append("size")
    return missing
