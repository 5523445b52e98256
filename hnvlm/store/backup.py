"""A copy of the data folder that is whole although others save meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from hnvlm.errors import HnvlmError, NotFoundError, UsageError
from hnvlm.store.cases import DATABASE, CaseStore
from hnvlm.store.database import CASES, RESULTS, reading
from hnvlm.store.records import VerifyReport
from hnvlm.types import Progress, no_progress

# The first share of the progress is the copying, the rest the check of the copy.
_COPYING = 0.6


def back_up(store: CaseStore, target: Path, progress: Progress = no_progress) -> tuple[dict[str, Any], VerifyReport]:
    """Copy a store while it is in use, and check the copy; return counts and the outcome of the check.

    The database comes first, by SQLite's own means, then the arrays that its rows name: a file is always there before
    a row names it. Uploads and exports stay behind: the ones are no cases yet, the others can be made anew.

    Args:
        target: A folder that is new or empty. As ``HNVLM_DATA_DIR`` it is the store as it was.

    Raises:
        UsageError: There is something in it, or it lies in the data folder.
        HnvlmError: Code ``output``: it cannot be written. What was written is removed.
    """
    target = _place(store, target)
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _copy(store, target, progress)
    except BaseException as error:
        if target.is_dir():
            _empty(target)
        if isinstance(error, OSError | sqlite3.Error):
            why = getattr(error, "strerror", None) or error
            raise HnvlmError(
                f"{target}: the copy could not be written ({why}). Nothing of it was kept. Make room there, or name "
                "another folder.",
                code="output",
            ) from error
        raise


def _place(store: CaseStore, target: Path) -> Path:
    target = target.expanduser().absolute()
    data = store.path.resolve()
    if data in (target.resolve(), *target.resolve().parents):
        raise UsageError(f"{target} lies in the data folder, and would be lost with it. Name a folder elsewhere.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not empty. Name a folder that is new or empty: each backup has one of its own.")
    return target


def _copy(store: CaseStore, target: Path, progress: Progress) -> tuple[dict[str, Any], VerifyReport]:
    progress(0.0, "copying the database")
    # Under its own name only at the end: until then the folder is no store that anybody could take for a whole one.
    partial = target / f"{DATABASE}.partial"
    with closing(sqlite3.connect(store.path / DATABASE)) as here, closing(sqlite3.connect(partial)) as there:
        here.backup(there)
        there.execute("PRAGMA journal_mode=DELETE")
    size = 0
    names = _names(partial)
    for number, name in enumerate(names):
        progress(_COPYING * number / max(1, len(names)), f"copying array {number + 1} of {len(names)}")
        try:
            size += _copy_file(store.arrays.path(name), target / "arrays" / name[:2] / name)
        except NotFoundError:  # the check below tells what it belonged to
            continue
    others = [file for file in sorted(store.path.iterdir()) if _is_setting(file)]
    for file in others:
        size += _copy_file(file, target / file.name)
    size += partial.stat().st_size
    os.replace(partial, target / DATABASE)
    with closing(CaseStore(target)) as copy:
        report = copy.verify(lambda share, text: progress(_COPYING + (1 - _COPYING) * share, f"checking {text}"))
        with reading(copy.engine) as conn:
            cases, results = (conn.execute(select(func.count()).select_from(t)).scalar() for t in (CASES, RESULTS))
    counts = {
        "folder": str(target), "from": str(store.path), "cases": cases, "results": results,
        "arrays": report.checked_arrays, "files": [file.name for file in others], "bytes": size,
    }  # fmt: skip
    return counts, report


def _names(database: Path) -> list[str]:
    """Every array file that a database names."""
    query = "SELECT array_sha FROM cases UNION SELECT value FROM results, json_each(results.arrays)"
    with closing(sqlite3.connect(database)) as conn:
        return sorted(name for (name,) in conn.execute(query))


def _is_setting(file: Path) -> bool:
    """Whether a file of the data folder is needed with its database: the key of the UIDs, constraint templates."""
    return file.is_file() and not file.name.startswith((DATABASE, ".")) and file.suffix != ".lock"


def _copy_file(source: Path, target: Path) -> int:
    """Copy a file with its mode and times, flushed to the disk; return its size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    with open(target, "rb+") as f:
        os.fsync(f.fileno())
    return target.stat().st_size


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
