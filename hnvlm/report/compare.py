"""Compare two lists of findings: what was found, missed and made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from hnvlm.types import Finding

LESIONS = ("node", "mass", "airway")
Where = tuple[str, str | None, str | None]


def _lesions(findings: Sequence[Finding]) -> Iterator[Where]:
    """Kind, side and place of every lesion that is there; a bilateral node is one on each side."""
    for finding in findings:
        if finding.presence == "absent" or finding.kind not in LESIONS:
            continue
        both = finding.kind == "node" and finding.side == "bilateral"
        for side in ("right", "left") if both else (finding.side,):
            yield finding.kind, side, finding.place


def compare(reference: Sequence[Finding], candidate: Sequence[Finding]) -> dict[str, int]:
    """Count the lesions of a candidate that the reference has (``tp``) and has not (``fp``), and those missed (``fn``).

    A hit is the same kind on the same side at the same place; each lesion of the reference is hit once.
    """
    truth, said = Counter(_lesions(reference)), Counter(_lesions(candidate))
    hits = (truth & said).total()
    return {"tp": hits, "fp": said.total() - hits, "fn": truth.total() - hits}
