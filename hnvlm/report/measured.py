"""What was measured on a CT, as its report would state it: the report model is told these lines before it writes."""

from __future__ import annotations

from collections.abc import Sequence

from hnvlm.report.render import render
from hnvlm.report.vocabulary import load
from hnvlm.types import Finding

LINES = ("technique", "airway", "artefact", "target")
# Those that hold whatever lesion is seen: one may narrow the airway.
FIRM = ("technique", "artefact", "target")


def measured_lines(facts: Sequence[Finding], language: str = "en", *, firm: bool = False) -> str:
    """Return the lines of the report that say what was measured, without those that name or deny a lesion.

    Args:
        facts: From ``hnvlm.models.facts.measured_findings``.
        language: ``en`` or ``pl``.
        firm: Only the lines that hold whatever lesion is seen.

    Raises:
        UsageError: As ``render``.
    """
    headings = load(f"report_{language}")["headings"]
    starts = tuple(f"{headings[name]}: " for name in (FIRM if firm else LINES))
    return "\n".join(line for line in render(facts, language=language).split("\n") if line.startswith(starts))
