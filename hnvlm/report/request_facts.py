"""A request read by rules: the commands and facts that the edit pipeline takes, and what of it cannot be drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hnvlm.report.parse import detect_language
from hnvlm.report.request_parse import PLACES, Command, parse_commands, parse_request
from hnvlm.report.tagging import tag_sentence
from hnvlm.types import Finding

# Middle of what a size word covers, when no number is given.
SIZE_OF_WORD_MM = {"small": 12.0, "medium": 21.0, "large": 34.0}
NARROWING_OF_WORD_PCT = {"mild": 35.0, "moderate": 60.0, "severe": 80.0}
# What is drawn; a request beyond is drawn at the end of the range (the same as in ``models.layout``).
SIZE_DRAWN_MM = (6.0, 45.0)
# A smaller lesion has no room for a core on the grid that edits are drawn on.
NECROTIC_DRAWN_MM = 15.0
NARROWING_DRAWN_PCT = (20.0, 80.0)


def request_facts(text: str) -> dict[str, Any] | None:
    """What a request states: op, kind, place, side, texture, size_mm, narrowing_pct (None: not stated).

    Returns None when the rules do not understand which operation is meant. The op ``keep`` asks for no change.
    """
    facts: dict[str, Any] = dict.fromkeys(("kind", "place", "side", "texture", "size_mm", "narrowing_pct"))
    commands = parse_commands(text)
    if commands and all(command.asks_nothing for command in commands):
        return {"op": "keep"} | facts
    request = parse_request(text)
    if request.op == "none":
        # "No nodes": the nodes are taken away, the masses stay.
        request = next((command.request for command in commands if command.request.op == "remove"), request)
    if request.op == "unknown" or (request.op != "none" and request.finding is None):
        return None
    facts["op"] = request.op
    finding = request.finding
    if finding is None or request.op == "none":
        return facts
    attributes = finding.attributes
    facts.update(
        kind=finding.kind if finding.kind in ("node", "mass", "airway") else None,
        place=finding.place,
        side=finding.side if finding.side in ("left", "right") else None,
        texture=attributes.get("texture"),
        size_mm=finding.size_mm
        or attributes.get("largest_mm")
        or SIZE_OF_WORD_MM.get(str(attributes.get("size_word"))),
        narrowing_pct=attributes.get("narrowing_pct")
        or NARROWING_OF_WORD_PCT.get(str(attributes.get("narrowing_word"))),
    )
    return facts


def acted_upon(commands: Sequence[Command]) -> list[Command]:
    """Return the commands that change the CT; empty when none asks for a change that is understood."""
    commands = [command for command in commands if not command.asks_nothing]
    understood = [command for command in commands if command.request.op in ("add", "remove")]
    return understood or [command for command in commands if command.request.op == "none"]


def drawn_lines(acted: Sequence[Command]) -> list[str]:
    """Return the commands that are acted upon, one string each, as the models read them.

    The models read each line on its own: a clear neck is one line, for "no nodes" alone leaves the masses.
    """
    lines = [one_sentence(command.text) for command in acted]
    if len(lines) > 1 and all(command.request.op == "none" for command in acted):
        whole = (line for line in lines if (request_facts(line) or {}).get("op") == "none")
        return [next(whole, ", ".join(line.rstrip(".;") for line in lines))]
    return lines


def also_removed(acted: Sequence[Command]) -> list[Finding]:
    """Return the lesions to add at whose place or side another command removes one of their kind, or denies it."""
    return _met(acted, [c.request.finding for c in acted if c.request.op == "remove" and c.request.finding is not None])


def also_denied(acted: Sequence[Command]) -> list[Finding]:
    """Return the lesions to add that are denied beside what a command is about, which removes nothing there.

    "A 22 mm node in left level II, no node in left level II" is one command, and about the node to add.
    """
    return _met(acted, [finding for c in acted for finding in c.request.others if finding.presence == "absent"])


def _met(acted: Sequence[Command], gone: Sequence[Finding]) -> list[Finding]:
    """The lesions to add that are among what shall be gone."""
    added = [c.request.finding for c in acted if c.request.op == "add" and c.request.finding is not None]
    return [finding for finding in added if any(_at_one_place(other, finding) for other in gone)]


def _at_one_place(gone: Finding, added: Finding) -> bool:
    """Whether a lesion that shall be gone may be the one to add; "all nodes" names no place and contradicts nothing."""
    named = gone.side is not None or gone.place is not None
    one_side = added.side is None or gone.side in (None, "bilateral", added.side)
    return named and gone.kind == added.kind and one_side and gone.place in (None, added.place)


def cannot_be_drawn(command: Command) -> str:
    """Say why what a command asks cannot be drawn: no place for what it adds, two sides or sizes of one lesion."""
    return cannot_be_placed(command) or _both_sides(command) or _rival_sizes(command)


def _both_sides(command: Command) -> str:
    if "one side" not in command.request.missing:
        return ""
    return "left and right are both named; name one, or ask for each in a sentence of its own"


def _rival_sizes(command: Command) -> str:
    finding = command.request.finding
    rivals = finding.attributes.get("rival_sizes_mm", ()) if finding is not None else ()
    if command.request.op != "add" or not rivals:
        return ""
    sizes = ", ".join(f"{size:g}" for size in rivals[:-1])
    return f"several sizes are given, {sizes} and {rivals[-1]:g} mm; give one"


def cannot_be_placed(command: Command) -> str:
    """Say why there is no place for what a command adds; empty when there is one.

    The learned reader takes every word for the place that it knows best ("paratracheal" for the supraglottis), so
    what is added needs a place that the rules know.
    """
    finding = command.request.finding
    if command.request.op != "add" or finding is None or finding.place in PLACES[finding.kind]:
        return ""
    if finding.place is None:
        return f"it is not said where, or in words that are not known; {_places_there_are(finding.kind)} can be named"
    return f"nothing can be drawn there; {_places_there_are(finding.kind)} can be"


def elsewhere(command: Command) -> list[str]:
    """Return the words of a command that name what lies outside of what can be drawn: "lung", "breast"."""
    text = command.text
    tokens = tag_sentence(text, detect_language(text))
    return [text[token.start : token.end] for token in tokens if token.tag == "foreign"]


def one_sentence(command: str) -> str:
    """The command without a full stop inside ("approx. 12 mm"), which would cut it once more."""
    return re.sub(r"[.;!?](?=\s)", "", command)


def limits(command: Command) -> list[str]:
    """Say what of a command cannot be drawn as it is asked; empty when all of it can."""
    finding, op = command.request.finding, command.request.op
    if finding is None or op not in ("add", "remove"):
        return []
    said = [why] if (why := _both_sides(command)) else []
    if finding.side == "bilateral":
        said.append("only one side is changed, ask for left and right in a sentence each")
    if op == "remove":
        return said
    if why := cannot_be_placed(command):
        said.append(why)
    if finding.size_mm is None and (short := finding.attributes.get("short_axis_mm")):
        said.append(f"only its short axis is given, {short:g} mm; give its greatest diameter")
    if why := _rival_sizes(command):
        said.append(why)
    if ends := finding.attributes.get("size_range_mm"):
        said.append(f"of {ends[0]:g} to {ends[1]:g} mm the greater is drawn")
    if other := finding.attributes.get("also_level"):
        said.append(f"it is drawn in level {finding.level} alone, not in {other}")
    if command.clears:
        said.append("nothing is removed, ask for it in a sentence of its own")
    said += [f"{words} is not drawn" for words in command.beside]
    if finding.side == "midline":
        said.append("it is drawn on one side, not in the midline")
    if finding.attributes.get("crosses_midline"):
        said.append("it is not drawn across the midline")
    if command.several:
        said.append("one lesion is drawn, ask for each in a sentence of its own")
    said += _clipped("mm", finding.size_mm, SIZE_DRAWN_MM)
    said += _clipped("%", finding.attributes.get("narrowing_pct"), NARROWING_DRAWN_PCT)
    if finding.attributes.get("texture") == "necrotic" and (finding.size_mm or NECROTIC_DRAWN_MM) < NECROTIC_DRAWN_MM:
        said.append(f"it is drawn solid, as a necrotic core needs {NECROTIC_DRAWN_MM:g} mm")
    return said


def _places_there_are(kind: str) -> str:
    names = PLACES[kind]
    return ("levels " if kind == "node" else "") + ", ".join(names[:-1]) + f" and {names[-1]}"


def _clipped(unit: str, value: float | None, drawn: tuple[float, float]) -> list[str]:
    low, high = drawn
    if value is None or low <= value <= high:
        return []
    return [f"it is drawn with {low if value < low else high:g} {unit}, as {low:g} to {high:g} {unit} can be drawn"]
