"""What a typed request for a counterfactual asks, in words, and what of it will not be drawn: rules, no model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hnvlm.errors import UsageError
from hnvlm.report.request_facts import (
    SIZE_DRAWN_MM,
    SIZE_OF_WORD_MM,
    acted_upon,
    also_denied,
    also_removed,
    cannot_be_drawn,
    drawn_lines,
    elsewhere,
    limits,
)
from hnvlm.report.request_parse import Command, parse_commands
from hnvlm.services.agreement import words
from hnvlm.types import Finding

# A whole report may be pasted; more is no request.
MAX_TEXT = 6000
# A lesion fewer voxels wide is hardly visible: below 15 mm (three to four voxels of the test's CTs) the judge saw none
# of nine (`hnvlm evaluate counterfactual`).
CLEAR_VOXELS = 4
# More sentences than these that ask for nothing are counted, not quoted: a whole report was pasted.
QUOTED = 2
_HOW_TO_SAY = "Say what to add or remove: a node with its level, or a mass with its site."
NOT_UNDERSTOOD = f"Not understood as an edit. {_HOW_TO_SAY}"
ANOTHER_LESION = (
    "Not understood as an edit: a lesion is not resized, moved or turned into another. Ask to remove it and to add "
    "another one, in a sentence each."
)


def require_text(text: str) -> str:
    """Return the stripped request; UsageError when it is empty or absurdly long."""
    text = text.strip()
    if not text:
        raise UsageError("Write what the CT should show, e.g. 'necrotic node in left level II, 22 mm'.")
    if len(text) > MAX_TEXT:
        raise UsageError(_too_long(text))
    return text


def _too_long(text: str) -> str:
    return f"The request has {len(text)} characters; at most {MAX_TEXT} are read. Leave out what is not to be drawn."


def _commands(text: str, known: Collection[str]) -> list[Command]:
    """Read a request; what the report says word for word is there already and asks for nothing."""
    return [replace(c, asks_nothing=True) if c.text in known else c for c in parse_commands(text)]


def to_draw(text: str, known: Collection[str] = ()) -> str:
    """Return the commands of a request that ask for something, one a line, as the models read them.

    Removals come first: a lesion of the CT that is removed later would take with it what was drawn at its place.

    Args:
        text: The request.
        known: From ``known_sentences``.

    Raises:
        UsageError: The text is empty, asks for no change, is not understood, or adds where nothing can be drawn.
    """
    text = require_text(text)
    commands = _commands(text, known)
    acted = acted_upon(commands)
    if doubtful := _doubtful(acted or commands):
        raise UsageError(doubtful)
    if not acted:
        if commands and all(command.asks_nothing for command in commands):
            raise UsageError(
                "The request asks for no change. Say what to add or remove, e.g. 'add a node in left level II'."
            )
        raise UsageError(_not_understood(commands))
    for command in acted:
        if why := cannot_be_drawn(command):
            raise UsageError(f'"{_quotable(command.text)}" cannot be drawn: {why}.')
    return "\n".join(drawn_lines(sorted(acted, key=lambda command: command.request.op == "add")))


def understood(text: str, known: Collection[str] = ()) -> str:
    """Say what each command of a request was understood to ask, and what of it will not be drawn; rules, no model."""
    if not text.strip():
        return ""
    if len(text.strip()) > MAX_TEXT:
        return _too_long(text.strip())
    commands = _commands(text, known)
    acted = [c for c in acted_upon(commands) if c.request.op != "none"]
    if doubtful := _doubtful(acted or commands):
        return doubtful
    if acted:
        lines = [f"Understood: {'; '.join(_asked(command, alone=len(acted) == 1) for command in acted)}."]
    elif acted_upon(commands):
        lines = ["Understood: the neck shall show no lesion."]
    elif commands and all(command.asks_nothing for command in commands):
        lines = ["Understood: no change is asked for."]
    else:
        return _not_understood(commands)
    names = [f" {_lesion(command)}:" if len(acted) > 1 else "" for command in acted]
    told = zip(names, (limits(command) for command in acted), strict=True)
    lines += [f"Not as asked:{name} {'; '.join(said)}." for name, said in told if said]
    # What one command names besides its lesion is not drawn, and a negated command is not carried out.
    lines += [line for command in acted for line in _others(command)]
    idle = [c for c in commands if (c.asks_nothing and c.text not in known) or _puzzling(c)]
    unread = [c for c in commands if acted and not c.asks_nothing and not any(c is other for other in acted + idle)]
    if len(unread) <= QUOTED:
        idle, unread = [c for c in commands if any(c is other for other in idle + unread)], []
    lines += [f'Nothing is done for "{_quotable(command.text)}".{_likely(command)}' for command in idle]
    lines += [f"Nothing is done for {len(unread)} further sentences."] * bool(unread)
    if any(command.text in known for command in commands):
        lines.append("What the report says already is not drawn again; to take a lesion away, ask for it in words.")
    return " ".join(lines)


def _doubtful(commands: list[Command]) -> str:
    """Ask what is meant by words that are probably misspelt; empty when there is none. No reading is taken for it."""
    told = {s.word.lower(): s for command in commands if not command.asks_nothing for s in command.misspelt}
    slips = list(told.values())
    if not slips:
        return ""
    typed = ", ".join(f"'{_quotable(slip.word)}'" for slip in slips)
    likely = ", ".join(f"'{slip.likely}'" for slip in slips)
    return f"Not understood: {typed}. Did you mean {likely}? Nothing is drawn until it is put right or left out."


def _not_understood(commands: list[Command]) -> str:
    if any(_puzzling(command) for command in commands):
        return ANOTHER_LESION
    organs = [organ for command in commands if not command.asks_nothing for organ in elsewhere(command)]
    if not organs:
        return NOT_UNDERSTOOD
    named = ", ".join(f"'{_quotable(organ)}'" for organ in dict.fromkeys(organs))
    return f"Nothing can be drawn at {named}. {_HOW_TO_SAY}"


def _quotable(text: str) -> str:
    """The words of a command without signs that a caption would read as markup."""
    return re.sub(r"[^\w\s.,;'()/%+-]|_", "", text).strip().rstrip(".")


def _likely(command: Command) -> str:
    likely = ", ".join(f"'{slip.likely}'" for slip in command.misspelt)
    return f" Did you mean {likely}?" if likely else ""


def _lesion(command: Command) -> str:
    return words(command.request.finding) if command.request.finding is not None else ""


def _asked(command: Command, *, alone: bool) -> str:
    """One command in words: "add 22 mm node in the left level II (necrotic)"."""
    request = command.request
    known = request.finding.attributes if request.finding is not None else {}
    details = [str(known[key]) for key in ("texture", "size_word", "narrowing_word") if key in known]
    if "narrowing_pct" in known:
        details.append(f"{known['narrowing_pct']:.0f} %")
    line = f"{request.op} {_lesion(command)}" + (f" ({', '.join(details)})" if details else "")
    # A place that is named and cannot be drawn is told of by ``limits``.
    told = ("level", "site") if request.finding is not None and request.finding.place else ()
    told += ("one lesion at a time", "one side", "one size")
    missing = [word for word in request.missing if word not in told]
    if request.op == "remove" and request.finding is not None and request.finding.place is None:
        # Where no place is named, whatever is found of the kind is taken away.
        return line.replace("remove ", "remove every ", 1)
    if not missing:
        return line
    return line + (f". Not said: {', '.join(missing)}" if alone else f" (not said: {', '.join(missing)})")


def _others(command: Command) -> list[str]:
    """What a command names besides the lesion it is about."""
    said = []
    for word, takes_away in (("drawn", False), ("removed", True)):
        names = [
            words(finding)
            for finding in command.request.others
            if (command.request.op == "remove" or finding.presence == "absent") == takes_away
        ]
        if names:
            said.append(f"Not {word}, one lesion a command: {'; '.join(names)}.")
    return said


def _puzzling(command: Command) -> bool:
    """Whether a command speaks of a lesion and its operation is not understood ("shrink the node")."""
    return command.request.op == "unknown" and command.request.finding is not None


def both_ways(text: str, known: Collection[str] = ()) -> str:
    """Say which lesions a request adds and also removes or denies at one place, and what is drawn; empty for none."""
    if len(text) > MAX_TEXT:
        return ""
    acted = [command for command in acted_upon(_commands(text, known)) if not cannot_be_drawn(command)]
    if _doubtful(acted):
        return ""
    removed = also_removed(acted)
    denied = [finding for finding in also_denied(acted) if finding not in removed]
    said = []
    if removed:
        said.append(
            f"Both added and removed: {'; '.join(map(words, removed))}. A removal takes away what the CT shows and is "
            "done first; what is added is drawn after it and stays."
        )
    if denied:
        said.append(
            f"Both added and denied: {'; '.join(map(words, denied))}. What is added is drawn; nothing is removed there."
        )
    return " ".join(said)


def too_small_to_show(text: str, spacing_mm: Sequence[float], known: Collection[str] = ()) -> str:
    """Warn when what is asked for is hardly wider than the voxels of the CT; empty when it is not.

    Args:
        spacing_mm: Of the CT, (z, y, x).
    """
    if len(text) > MAX_TEXT:
        return ""
    asked = [c for c in acted_upon(_commands(text, known)) if c.request.op == "add" and not cannot_be_drawn(c)]
    sizes = [size for size in map(_size_drawn_mm, asked) if size is not None]
    coarsest = max(spacing_mm)
    if not sizes or (size := min(sizes)) >= CLEAR_VOXELS * coarsest:
        return ""
    return (
        f"{size:g} mm is {size / coarsest:.1f} voxels of this CT (up to {coarsest:.1f} mm wide): what is drawn may be "
        "too faint to see."
    )


def _size_drawn_mm(command: Command) -> float | None:
    """The size a lesion is drawn with, also when it is asked for in a word; None when none is said."""
    finding = command.request.finding
    if finding is None or finding.kind == "airway":
        return None
    asked = finding.size_mm
    if asked is None:
        asked = SIZE_OF_WORD_MM.get(str(finding.attributes.get("size_word")))
    return None if asked is None else min(max(asked, SIZE_DRAWN_MM[0]), SIZE_DRAWN_MM[1])


def filled_in(request: Mapping[str, Any]) -> frozenset[str]:
    """Return which of ``place`` and ``side`` a request's words leave open, so that the model's reader filled them in.

    Args:
        request: One of ``Counterfactual.asked["requests"]``: the values that were drawn and the words, ``text``.

    Returns:
        Keys of ``request``; none where the rules do not read its words.
    """
    findings = _findings_of(request)
    if len(findings) != 1 or (said := findings[0]) is None:
        return frozenset()
    open_to_all = {"place": said.place is None, "side": said.side not in ("left", "right")}
    return frozenset(key for key, is_open in open_to_all.items() if is_open and request.get(key))


def sized_in_words(request: Mapping[str, Any]) -> bool:
    """Whether a request's words say only "small" or "large": its number of mm, as for ``filled_in``, is nobody's."""
    said = [finding for finding in _findings_of(request) if finding is not None and finding.size_mm is None]
    return any("size_word" in finding.attributes for finding in said)


def _findings_of(request: Mapping[str, Any]) -> list[Finding | None]:
    return [command.request.finding for command in parse_commands(str(request.get("text", "")))]
