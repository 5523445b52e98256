"""What a typed request was read to ask, in one line a command."""

from __future__ import annotations

from hnvlm.report.request_facts import acted_upon
from hnvlm.report.request_parse import Command, parse_commands


def asked(text: str) -> list[str]:
    """Return "add node left II 15 necrotic" for each command that is acted upon; "-" for what is not said."""
    return [_line(command) for command in acted_upon(parse_commands(text))]


def _line(command: Command) -> str:
    finding = command.request.finding
    if finding is None:
        return command.request.op
    size = "-" if finding.size_mm is None else f"{finding.size_mm:g}"
    words = [command.request.op, finding.kind, finding.side or "-", finding.level or finding.site or "-", size]
    return " ".join(
        [*words, *[str(finding.attributes[k]) for k in ("texture", "size_word") if k in finding.attributes]]
    )
