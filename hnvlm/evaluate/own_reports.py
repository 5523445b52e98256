"""The clinic's own report of a patient (``report.txt`` in the case folder): what it says of lesions.

Only findings are taken over, never words: a name, a date or what somebody remembered of an earlier scan stays out of
what a model learns. A report that leaves open what is there counts neither as disease nor as health.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.evaluate.common import log
from hnvlm.imaging.write import AI_DRAFT
from hnvlm.report.compare import LESIONS
from hnvlm.report.doubts import doubt_of
from hnvlm.report.parse import parse_report
from hnvlm.report.places import OUTSIDE_SITES
from hnvlm.report.render import render
from hnvlm.report.vocabulary import LANGUAGES
from hnvlm.types import MASS_SITES, Finding

REPORT = "report.txt"
# How the text file of a report from the app begins, and what it says when somebody signed it.
APP_HEADING = "AI DRAFT - RESEARCH USE ONLY"
SIGNED = re.compile(r"^Signed by ", re.MULTILINE)
NAMED = 5
HARMLESS_MM = 10.0
# Levels that lie in the midline: their nodes need no side.
MIDLINE_LEVELS = ("IA", "VI", "VII")


@dataclass(frozen=True)
class OwnReport:
    """What the clinic's report says of one patient.

    Attributes:
        lesions: Nodes, masses and narrowings that are there now; empty where the report denies them.
        unclear: Why nothing is taken from the report; "" where something is.
        unread: Sentences that no rule reads: history, technique, other regions.
    """

    lesions: tuple[Finding, ...] = ()
    unclear: str = ""
    unread: int = 0


def own_report(folder: Path) -> OwnReport | None:
    """Read the report of a case folder, English or Polish; None where there is none.

    Raises:
        InputRefusedError: The file cannot be read as UTF-8 text.
    """
    path = folder / REPORT
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefusedError(
            f"{path} is no UTF-8 text. Convert it (iconv -f WINDOWS-1250 -t UTF-8 does, where it comes from a Polish "
            "Windows), or take it out of the folder."
        ) from error
    except OSError as error:
        raise InputRefusedError(
            f"{path} cannot be read ({error.strerror}). Give access to it, or remove it."
        ) from error
    return understood(text)


def understood(text: str) -> OwnReport:
    """What a report says of lesions, in the words that the report model has."""
    # "hnvlm batch" writes a report.txt, and the app a text file with a heading; signed, it is a clinician's.
    if AI_DRAFT.casefold() in text.casefold() or (APP_HEADING in text and not SIGNED.search(text)):
        return OwnReport(unclear="is an AI draft of this program, not a clinic's report")
    read = parse_report(text)
    unread = len(read.unparsed_sentences)
    spoken_of = [f for f in read.findings if f.kind in LESIONS]
    if read.contradictions:
        return OwnReport(unclear=f"contradicts itself: {read.contradictions[0]}", unread=unread)
    # A nodule of the thyroid gland is no lesion that the models know.
    spoken_of = [f for f in spoken_of if f.site not in OUTSIDE_SITES]
    if not any(f.kind in ("node", "mass") for f in spoken_of):
        return OwnReport(unclear="says nothing of masses or nodes that can be read", unread=unread)
    if doubt := doubt_of(text, read):
        return OwnReport(unclear=doubt, unread=unread)
    # "Of normal structure, up to 8 mm" is how a healthy neck is described.
    harmless = [f for f in read.harmless if (f.size_mm or 0.0) <= HARMLESS_MM]
    there = [f for f in spoken_of if f.presence != "absent" and f not in harmless]
    told = [part for f in there for part in _teachable(f)]
    lesions = [f for i, f in enumerate(told) if f not in told[:i]]
    if any(f.kind == "node" and f.side is None for f in lesions):
        return OwnReport(unclear="names a node without its side", unread=unread)
    try:
        for language in LANGUAGES:
            render(lesions, language=language)
    except UsageError as error:
        return OwnReport(unclear=error.message, unread=unread)
    return OwnReport(tuple(lesions), unread=unread)


def _teachable(finding: Finding) -> list[Finding]:
    """A finding as the models' vocabulary has it: a node on each side for both, no site that they do not know."""
    if finding.kind == "node" and finding.side == "bilateral":
        return [replace(finding, side="right"), replace(finding, side="left")]
    if finding.kind == "node" and finding.side is None and finding.level in MIDLINE_LEVELS:
        return [replace(finding, side="midline")]
    if finding.kind == "mass" and finding.site not in MASS_SITES:
        return [replace(finding, site=None)]
    return [finding]


def own_reports(folders: Sequence[Path]) -> dict[str, OwnReport]:
    """The reports of the case folders that have one, by patient; says in the log what could be taken from them.

    Raises:
        InputRefusedError: A report cannot be read as UTF-8 text; the message names it.
    """
    found = {folder.name: report for folder in folders if (report := own_report(folder)) is not None}
    if not found:
        return found
    clear = [r for r in found.values() if not r.unclear]
    log(
        f"own reports: {len(found)} of {len(folders)} patients have a {REPORT}; {len(clear)} are taken, "
        f"{sum(bool(r.lesions) for r in clear)} of them name a lesion; "
        f"{sum(r.unread for r in found.values())} sentences no rule reads"
    )
    unclear = [f"{name}: {r.unclear}" for name, r in found.items() if r.unclear]
    for line in unclear[:NAMED]:
        log(f"own report not taken, {line}")
    if len(unclear) > NAMED:
        log(f"and {len(unclear) - NAMED} more own reports not taken")
    return found
