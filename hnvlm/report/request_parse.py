"""Read a request for an edit by rules: what is to be added or removed, where, how large.

An independent check of the learned text tower, and the words in which the app tells the user what it understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from hnvlm.report.commands import Part, split_commands
from hnvlm.report.parse import detect_language, read_sentence
from hnvlm.report.places import CONFLICT
from hnvlm.report.spelling import Misspelt, misspelt
from hnvlm.report.tagging import tag_sentence
from hnvlm.report.vocabulary import check_language, load
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, Finding

RequestOp = Literal["add", "remove", "none", "unknown"]
_DENIED = re.compile(r"\b(?:no|not|without|w/o|wo|nor|or|bez|brak|nie)\b[^.,;]{0,40}$", re.IGNORECASE)
_NO = re.compile(r"\b(?:no|not|none|without|w/o|bez|brak|nie)\b", re.IGNORECASE)
_EDITABLE = ("node", "mass", "airway")
# Where the models can draw, by kind.
PLACES: dict[str, tuple[str, ...]] = {"node": NODE_LEVELS, "mass": MASS_SITES, "airway": AIRWAY_LEVELS}


@dataclass(frozen=True)
class Request:
    """What a request was understood to ask.

    Attributes:
        op: ``add``, ``remove``, ``none`` (the text says that the neck is clear) or ``unknown``.
        finding: The lesion to add or remove; presence is ``present`` in both. None for ``none``; for ``unknown`` the
            lesion spoken of, if any ("shrink the left level II node").
        missing: Facts the edit needs and the text does not give: ``op``, ``lesion``, ``side``, ``level``, ``site``,
            ``size``, ``one side`` and ``one size`` (of several that were said), ``one lesion at a time``.
        others: Further lesions the text speaks of; they are not acted upon.
    """

    op: RequestOp
    finding: Finding | None
    missing: list[str]
    others: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Command:
    """One command of a request.

    Attributes:
        text: As it was written.
        request: What it was understood to ask.
        asks_nothing: It says what is not to be done ("do not remove ..."), or tells history and advice.
        several: It speaks of more than one lesion of a kind ("three nodes").
        clears: Besides a lesion it says that there is none elsewhere ("a tonsil mass, no nodes").
        beside: What else it names that cannot be drawn ("bone erosion"), in its own words.
        misspelt: Words that probably tell what else the command does not say: its operation, side, place, ...
    """

    text: str
    request: Request
    asks_nothing: bool = False
    several: bool = False
    beside: tuple[str, ...] = ()
    clears: bool = False
    misspelt: tuple[Misspelt, ...] = ()


@dataclass
class _Reading:
    """What one command was read to want."""

    part: Part
    wanted: list[tuple[RequestOp, Finding]]
    clear: bool
    asks_nothing: bool
    # What the whole neck is said to have none of: "no adenopathy".
    denied: list[Finding] = field(default_factory=list)


@cache
def _cues() -> dict[str, re.Pattern[str]]:
    tables = load("requests_read")
    return {
        name: re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)", re.IGNORECASE)
        for name, patterns in tables.items() if isinstance(patterns, list)
    }  # fmt: skip


def parse_request(text: str, language: str | None = None) -> Request:
    """Read one request.

    Args:
        text: What the clinician typed, a command or a report sentence.
        language: ``en``, ``pl`` or None to detect.

    Returns:
        The request. Nothing is filled in: a size word ("small") stands in ``finding.attributes['size_word']`` or
        ``['narrowing_word']``, and what is not said is listed in ``missing``. Of several commands the first addition,
        or else the first removal, is returned and the others stand in ``others``; ``parse_commands`` gives each.
    """
    readings = _read(text, language)
    clear = any(reading.clear or reading.denied for reading in readings)
    return _decide([item for reading in readings for item in reading.wanted], clear)


def parse_commands(text: str, language: str | None = None) -> list[Command]:
    """Read every command of a request on its own, in order; arguments as for ``parse_request``.

    "No mass, no nodes" asks for a clear neck (``none``); "no nodes" alone takes the nodes away and leaves the mass.
    """
    language = check_language(language) if language else detect_language(text)
    readings = _read(text, language)
    _settle_denied(readings)
    return [_command(reading, language) for reading in readings]


def _command(reading: _Reading, language: str) -> Command:
    text, request = reading.part.sentence.text, _decide(reading.wanted, reading.clear)
    slips: tuple[Misspelt, ...] = ()
    if not reading.asks_nothing and request.op != "none":
        open_facts = _not_told(request)
        slips = tuple(slip for slip in misspelt(text, language) if slip.about in open_facts)
    return Command(
        text, request, reading.asks_nothing, bool(_cues()["several"].search(text)), _beside(text),
        reading.clear and bool(reading.wanted), slips,
    )  # fmt: skip


def _not_told(request: Request) -> set[str]:
    """What a misspelt word may tell that is not read, as in ``data/spelling.yaml``; sides and places only of a removal.

    An addition is what a command asks when no other operation is read in it, so each may be what was meant.
    """
    finding = request.finding
    if finding is None:
        return {"remove", "change", "add", "side", "level", "site", "lesion", "texture", "size", "narrowing"}
    told = finding.attributes
    lesion = finding.kind in ("node", "mass")
    facts = {
        "side": lesion and finding.side is None,
        "level": finding.kind == "node" and finding.level is None,
        "site": finding.kind != "node" and finding.site is None,
    }
    if request.op != "remove":
        facts |= dict.fromkeys(("remove", "change", "forbids", "negation"), True)
        facts["texture"] = lesion and "texture" not in told
        facts["size"] = lesion and finding.size_mm is None and not {"size_word", "largest_mm"} & set(told)
        facts["narrowing"] = finding.kind == "airway" and not {"narrowing_pct", "narrowing_word"} & set(told)
    return {name for name, is_open in facts.items() if is_open}


def _beside(text: str) -> tuple[str, ...]:
    """What a command names that is not drawn, unless it is denied ("without extranodal extension")."""
    found = (match for match in _cues()["beside"].finditer(text) if not _DENIED.search(text[: match.start()]))
    return tuple(dict.fromkeys(match.group() for match in found))


def _read(text: str, language: str | None) -> list[_Reading]:
    language = check_language(language) if language else detect_language(text)
    readings: list[_Reading] = []
    for part in split_commands(text, language):
        reading = _read_part(part, language)
        if part.sentence.section == "impression":
            # A report's summary repeats its findings; they are drawn once.
            body = [r for r in readings if r.part.sentence.section != "impression"]
            told = [_asked_where(item) for r in body for item in r.wanted]
            if reading.wanted and all(_told_before(item, told) for item in reading.wanted):
                continue
        readings.append(reading)
    return readings


def _settle_denied(readings: list[_Reading]) -> None:
    """Settle what a general denial asks: "no mass, no nodes" is a clear neck, "no nodes" alone leaves the mass.

    Beside a lesion that is to be added or removed a denial is a remark.
    """
    kinds = {finding.kind for reading in readings for finding in reading.denied}
    whole = any(reading.clear for reading in readings) or {"node", "mass"} <= kinds
    asked = any(reading.wanted for reading in readings)
    for reading in readings:
        if reading.denied and (whole or asked):
            reading.clear = True
        elif reading.denied:
            reading.wanted = [("remove", finding) for finding in reading.denied]


def _asked_where(item: tuple[RequestOp, Finding]) -> tuple[str | None, ...]:
    op, finding = item
    return op, finding.kind, finding.level, finding.site, finding.side


def _told_before(item: tuple[RequestOp, Finding], told: list[tuple[str | None, ...]]) -> bool:
    """Whether the findings say it; a summary may leave out where ("known primary", "35% narrowing of the airway")."""
    said = _asked_where(item)
    return any(all(short in (None, long) for short, long in zip(said, full, strict=True)) for full in told)


def _read_part(part: Part, language: str) -> _Reading:
    if part.forbids:
        return _Reading(part, [], False, True)
    cues = _cues()
    sentence = replace(part.sentence, text=cues["keep"].sub("", part.sentence.text))
    # "Has not resolved" holds a word of removal and asks for none.
    words = _without_ignored(sentence.text, language)
    resize = (bool(cues["resize"].search(words)) and not part.adds) or bool(cues["replaces"].search(words))
    clear = bool(cues["clear"].search(words) or cues["all_lesions"].search(words))
    findings, left_out = read_sentence(sentence, language, describe_denied=True, treated=part.ordered)
    wanted: list[tuple[RequestOp, Finding]] = []
    denied: list[Finding] = []
    unknown_verb = _has_unknown_verb(words, language)
    for finding in findings:
        op = _op_of(finding, words, part.adds)
        if op == "add" and not part.adds and _says_only_not_necrotic(finding, words):
            left_out = True
            continue
        if op == "remove" and cues["all_but"].search(words):
            op = "unknown"
        if (op in ("add", "remove") and resize) or (op == "add" and unknown_verb):
            op = "unknown"
        if op == "none":
            denied.append(finding)
        elif op is not None:
            wanted.append((op, finding))
    if wanted and _clears_all(wanted, words):
        wanted, clear = [], True
    return _Reading(part, wanted, clear, left_out and not wanted, denied)


def _clears_all(wanted: list[tuple[RequestOp, Finding]], words: str) -> bool:
    """Whether every lesion is to go, nodes and masses alike: "remove all lesions", "remove all masses and nodes"."""
    if any(
        op != "remove" or f.side not in (None, "bilateral") or f.place or f.size_mm or f.attributes for op, f in wanted
    ):
        return False
    both = {finding.kind for _, finding in wanted} >= {"node", "mass"}
    return bool(_cues()["all_of_both" if both else "all_lesions"].search(words))


def _says_only_not_necrotic(finding: Finding, words: str) -> bool:
    """Whether a report remarks that its nodes have no necrosis: a lesion of nowhere, solid for what is denied of it."""
    told = set(finding.attributes) - {"texture"}
    nowhere = not (finding.side or finding.size_mm or finding.place or told)
    return nowhere and finding.attributes.get("texture") == "solid" and bool(_NO.search(words))


_HEAD = re.compile(
    r"\W*(?:(?:please|pls|plz|kindly|now|then|and|also)\s+)*([a-z]+)\s+(?:the|this|that|these)\s", re.IGNORECASE
)


def _has_unknown_verb(words: str, language: str) -> bool:
    """Whether a command begins with a word that no rule reads and "the": what it asks of the lesion is not known."""
    head = _HEAD.match(words)
    if language != "en" or head is None or _cues()["neutral_heads"].fullmatch(head.group(1)):
        return False
    return not any(t.start < head.end(1) and head.start(1) < t.end for t in tag_sentence(words, language))


def _without_ignored(text: str, language: str) -> str:
    for token in tag_sentence(text, language):
        if token.tag == "ignore":
            text = text[: token.start] + " " * (token.end - token.start) + text[token.end :]
    return text


def _op_of(finding: Finding, words: str, adds: bool) -> RequestOp | None:
    """What a command asks about one finding; None when the finding cannot be edited."""
    if finding.kind not in _EDITABLE:
        return None
    place = finding.place
    if finding.kind == "mass" and place is not None and place not in MASS_SITES and finding.presence == "absent":
        return None
    if adds:
        # "Add a node in level II but not in level III": what is not there is no lesion to draw or to remove.
        return None if finding.presence == "absent" else "add"
    if finding.presence == "absent":
        return "remove" if place or finding.side else "none"
    return "remove" if _cues()["remove"].search(words) else "add"


def _decide(wanted: list[tuple[RequestOp, Finding]], clear: bool) -> Request:
    if not wanted:
        if clear:
            return Request("none", None, [])
        return Request("unknown", None, ["op", "lesion"])
    # A lesion at a place the models know goes before one elsewhere (a thyroid nodule in a side remark).
    ranked = sorted(wanted, key=lambda item: (not _known(item[1]), item[0] != "add"))
    op, finding = ranked[0]
    if op == "remove" and finding.presence == "absent":
        finding = replace(finding, presence="present")
    if op == "add" and "rival_sizes_mm" in finding.attributes:
        finding = replace(finding, size_mm=None)
    conflict = finding.side == CONFLICT
    if conflict:
        finding = replace(finding, side=None)
    missing = ["op"] * (op == "unknown") + _missing(op, finding)
    if conflict:
        missing = ["one side" if word == "side" else word for word in missing]
    rest = [item for item in ranked[1:] if _known(item[1])]
    if rest:
        missing.append("one lesion at a time")
    return Request(op, finding, missing, [item for _, item in ranked[1:]])


def _known(finding: Finding) -> bool:
    return finding.place in PLACES[finding.kind]


def _missing(op: RequestOp, finding: Finding) -> list[str]:
    missing = []
    if finding.kind != "airway" and finding.side is None:
        missing.append("side")
    if not _known(finding):
        missing.append("level" if finding.kind == "node" else "site")
    if op == "add" and "rival_sizes_mm" in finding.attributes:
        missing.append("one size")
    elif op == "add":
        said = finding.size_mm is not None or bool({"size_word", "largest_mm"} & set(finding.attributes))
        if finding.kind == "airway":
            said = bool({"narrowing_pct", "narrowing_word"} & set(finding.attributes))
        if not said:
            missing.append("size")
    return missing
