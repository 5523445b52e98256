"""What was measured on a CT, as its report would state it: the report model is told these lines before it writes.

Facts of the whole scan are told as they are. Lesions that the encoder's maps may show are told with place, size and
texture; whether they are there the report model judges by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from hnvlm.report.render import render, render_finding
from hnvlm.report.vocabulary import load
from hnvlm.types import Finding

LINES = ("technique", "airway", "artefact", "target")
# Those that hold whatever lesion is seen: one may narrow the airway.
FIRM = ("examination", "technique", "findings", "artefact", "target")


def measured_lines(
    facts: Sequence[Finding], language: str = "en", *, firm: bool = False, seen: Sequence[Finding] = ()
) -> str:
    """Return the lines of the report that say what was measured, without those that deny a lesion.

    Args:
        facts: From ``hnvlm.models.facts.measured_findings``.
        language: ``en`` or ``pl``.
        seen: Nodes and masses that may be there (``hnvlm.models.detect.told_lesions``), a line each, in this order.
        firm: Only the lines that hold whatever lesion is seen.

    Raises:
        UsageError: As ``render``.
    """
    headings = load(f"report_{language}")["headings"]
    starts = tuple(f"{headings[name]}:" for name in (FIRM if firm else LINES))
    lines = [line for line in render(facts, language=language).split("\n") if line.startswith(starts)]
    for lesion in seen:
        name = "mass" if lesion.kind == "mass" else f"node_{lesion.side}"
        lines.append(f"{headings.get(name, headings['node_other'])}: {render_finding(lesion, language)}")
    return "\n".join(lines)


def headings(language: str = "en") -> list[str]:
    """Return the headings of the lines that every report has, in order.

    Raises:
        UsageError: As ``render``.
    """
    return [line.split(":", 1)[0] for line in render([], language=language).split("\n")]


def lesion_lines(seen: Sequence[Finding], language: str = "en", *, every: bool = False) -> dict[str, list[str]]:
    """What the lines of nodes and masses may say where lesions may be there: heading -> that there is none, and each.

    Args:
        seen: As ``measured_lines``.
        every: Also the lines without such a lesion.

    Returns:
        Only lines with such a lesion; each sentence begins with the space that follows the heading.

    Raises:
        UsageError: As ``render``.
    """
    denials = dict(line.split(":", 1) for line in render([], language=language).split("\n"))
    words = load(f"report_{language}")["headings"]
    lines = (words[name] for name in ("mass", "node_right", "node_left"))
    out: dict[str, list[str]] = {heading: [denials[heading]] for heading in lines} if every else {}
    for line in measured_lines([], language, seen=seen).split("\n")[-len(seen) :] if seen else ():
        heading, sentence = line.split(":", 1)
        if heading in denials:
            out.setdefault(heading, [denials[heading]]).append(sentence)
    return {heading: list(dict.fromkeys(sentences)) for heading, sentences in out.items()}
