"""The rest of a clinic's own report, which teaches no lesion: what it denies, and what nobody reads of it."""

from __future__ import annotations

from pathlib import Path

from hnvlm.evaluate.own_reports import REPORT
from hnvlm.report.compare import LESIONS
from hnvlm.report.parse import parse_report
from hnvlm.types import Finding


def denied_and_unread(folder: Path) -> tuple[list[Finding], list[str]]:
    """Lesions that the report of a case folder denies, and its sentences that no rule reads."""
    read = parse_report((folder / REPORT).read_text(encoding="utf-8-sig"))
    denied = [f for f in read.findings if f.kind in LESIONS and f.presence == "absent"]
    return denied, read.unparsed_sentences
