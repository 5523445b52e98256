"""What a typed request was read to ask, in one line a command."""

from __future__ import annotations

from hnvlm.report.request_facts import acted_upon
from hnvlm.report.request_parse import Command, parse_commands
from hnvlm.types import Finding


def asked(text: str) -> list[str]:
    """Return "add node left II 15 necrotic" for each command that is acted upon; "-" for what is not said."""
    return [_line(command) for command in acted_upon(parse_commands(text))]


def asked_in_full(text: str) -> str:
    """Return the commands of ``asked`` with every lesion that they name, as ``clinical_*.yaml`` writes them."""
    commands = parse_commands(text)
    acted = acted_upon(commands)
    if likely := [slip.likely for command in acted or commands for slip in command.misspelt]:
        return "?" + ",".join(likely)
    return " | ".join(_full_line(command) for command in acted) or "-"


def _full_line(command: Command) -> str:
    found = command.request.finding
    if found is None:
        return command.request.op
    return " + ".join([f"{command.request.op} {_lesion(found)}", *[_lesion(other) for other in command.request.others]])


def _lesion(found: Finding) -> str:
    size = "-" if found.size_mm is None else f"{found.size_mm:g}"
    told = [str(found.attributes[k]) for k in ("texture", "size_word", "narrowing_word") if k in found.attributes]
    if "narrowing_pct" in found.attributes:
        told.append(f"{found.attributes['narrowing_pct']:g}%")
    return " ".join([found.kind, found.side or "-", found.level or found.site or "-", size, *told])


def _line(command: Command) -> str:
    finding = command.request.finding
    if finding is None:
        return command.request.op
    size = "-" if finding.size_mm is None else f"{finding.size_mm:g}"
    words = [command.request.op, finding.kind, finding.side or "-", finding.level or finding.site or "-", size]
    return " ".join(
        [*words, *[str(finding.attributes[k]) for k in ("texture", "size_word") if k in finding.attributes]]
    )
