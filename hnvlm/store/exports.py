"""Zips for other programs in the data folder: each holds a whole CT and can be made anew, so each may be removed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PLAN_SUFFIX = "-AI-DRAFT.zip"


def folder(data: Path) -> Path:
    """Where exports of a data folder lie; those that are being written lie there in folders called ``tmp...``."""
    return data / "exports"


def of_counterfactual(data: Path, result_id: int) -> Path:
    """Where the zip of a counterfactual lies or will lie."""
    return folder(data) / f"counterfactual-{result_id}-SYNTHETIC.zip"


def remove(data: Path, case_id: str, counterfactuals: Iterable[int] = ()) -> int:
    """Remove the zips of a case's plans, whichever they were, and of the counterfactuals named; return how many."""
    removed = 0
    plans = folder(data).glob(f"{case_id}-*{PLAN_SUFFIX}")
    for path in [*plans, *(of_counterfactual(data, result_id) for result_id in counterfactuals)]:
        with suppress(OSError):  # gone already, or held by who downloads it: they go by their age later
            path.unlink()
            removed += 1
    return removed
