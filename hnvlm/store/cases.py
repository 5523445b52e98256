"""CaseStore: cases, versioned results, signatures and the audit trail, in SQLite plus array files."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, insert, or_, select, update
from sqlalchemy.exc import DatabaseError, OperationalError

from hnvlm.errors import HnvlmError, NotFoundError, UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.store import exports
from hnvlm.store.arrays import ArrayStore
from hnvlm.store.database import CASES, RESULTS, open_engine, reading, utc_now, writing
from hnvlm.store.jsonable import dumps
from hnvlm.store.migrations import migrate
from hnvlm.store.records import CaseRecord, VerifyReport
from hnvlm.store.results import ResultMethods
from hnvlm.store.rows import case_of, load_case, write_event
from hnvlm.types import Progress, no_progress

DATABASE = "hnvlm.sqlite"
# SQLite writes beside its file even to read it; a full disk is an "I/O error" to it, or a file that cannot be opened.
_NO_WRITING = (
    "Opening it writes beside it: make room on its disk, and check that this user may write to its folder (of a "
    "read-only backup, make a copy first)."
)


class CaseStore(ResultMethods):
    """All that the app remembers. Safe to use from many threads and processes at once.

    Args:
        path: Data folder; holds ``hnvlm.sqlite`` and ``arrays/``. Created and migrated when needed, and closed to
            other accounts of the machine.

    Raises:
        HnvlmError: The folder was written by a newer version of the program (code ``store_version``), cannot be
            used as a folder, or its database cannot be opened (code ``store``).
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _close_to_others(self.path)
            self.arrays = ArrayStore(self.path / "arrays")
        except OSError as error:
            why = "it is a file" if self.path.is_file() else error.strerror
            raise HnvlmError(
                f"{self.path} cannot be used as the data folder ({why}). Point HNVLM_DATA_DIR at a folder "
                "that this user may write to.",
                code="store",
            ) from error
        file = self.path / DATABASE
        self.engine: Engine = open_engine(file)
        try:
            migrate(self.engine)
        except DatabaseError as error:
            self.engine.dispose()
            raise HnvlmError(_cannot_open(file, error), code="store") from error

    def close(self) -> None:
        """Close all database connections; the object cannot be used afterwards."""
        self.engine.dispose()

    # ---- cases -------------------------------------------------------------------------------

    def add_case(
        self,
        volume: Volume,
        *,
        origin: str = "upload",
        description: str = "",
        demo: bool = False,
        meta: Mapping[str, Any] | None = None,
        who: str = "",
        patient: tuple[str, int | None] = ("", None),
    ) -> CaseRecord:
        """Store a CT and give it the next id.

        Args:
            volume: De-identified HU; stored as int16 (HU are integers within -32768..32767).
            origin: ``upload`` or ``demo``.
            description: Shown in the worklist; must not identify the patient.
            demo: Made by the app, not from a patient.
            meta: JSON facts from intake.
            who: User who did it, for the audit trail.
            patient: Key and day of ``services.identity.pseudonym``; in no record, so that no export can hold them.

        Returns:
            The stored record, e.g. with id ``HN-0007``.
        """
        array = _as_int16(volume.array)
        stored = volume.with_array(array)
        sha = self.arrays.put(array)
        geometry = {"shape": volume.shape, "spacing_mm": volume.spacing_mm, "origin_mm": volume.origin_mm}
        content_hash = stored.content_hash()
        with writing(self.engine) as conn:
            # Not the highest that is there: it may have been erased, and its id is written in its exports.
            last = conn.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'cases'").scalar()
            number = (last or 0) + 1
            case_id = f"HN-{number:04d}"
            conn.execute(
                insert(CASES).values(
                    number=number, id=case_id, created=utc_now(), origin=origin, description=description,
                    geometry=dumps(geometry), frame_uid=volume.frame_of_reference_uid, content_hash=content_hash,
                    array_sha=sha, demo=int(demo), in_scope=None, scope_reason="", meta=dumps(meta or {}), deleted=None,
                    patient_key=patient[0], patient_day=patient[1],
                )
            )  # fmt: skip
            write_event(conn, who, "case added", case_id, details={"origin": origin, "content_hash": content_hash})
            return load_case(conn, case_id)

    def list_cases(
        self,
        *,
        search: str = "",
        descending: bool = True,
        include_deleted: bool = False,
        demo: bool | None = None,
    ) -> list[CaseRecord]:
        """Return the worklist.

        Args:
            search: Part of the id or description, upper or lower case.
            descending: Newest first.
            include_deleted: Also deleted cases (for the undo list).
            demo: Only demo cases, or only others.
        """
        query = select(CASES)
        if not include_deleted:
            query = query.where(CASES.c.deleted.is_(None))
        if search.strip():
            pattern = "%" + search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            query = query.where(
                or_(CASES.c.id.ilike(pattern, escape="\\"), CASES.c.description.ilike(pattern, escape="\\"))
            )
        if demo is not None:
            query = query.where(CASES.c.demo == int(demo))
        query = query.order_by(CASES.c.number.desc() if descending else CASES.c.number)
        with reading(self.engine) as conn:
            return [case_of(row) for row in conn.execute(query).mappings()]

    def get_case(self, case_id: str) -> CaseRecord:
        """Return one case, deleted or not.

        Raises:
            NotFoundError: There is no such case.
        """
        with reading(self.engine) as conn:
            return load_case(conn, case_id)

    def find_by_content(self, content_hash: str) -> list[CaseRecord]:
        """Return the cases (not deleted) that hold exactly this CT: an upload that is already there."""
        query = select(CASES).where(CASES.c.content_hash == content_hash, CASES.c.deleted.is_(None))
        with reading(self.engine) as conn:
            return [case_of(row) for row in conn.execute(query.order_by(CASES.c.number)).mappings()]

    def load_volume(self, case_id: str) -> Volume:
        """Return the CT of a case: int16 HU (z, y, x), a read-only memory map.

        Raises:
            NotFoundError: No such case, or its array file is gone.
        """
        case = self.get_case(case_id)
        array = self.arrays.get(case.array_sha)
        return Volume(array, case.spacing_mm, case.origin_mm, case.frame_uid)

    def set_scope(self, case_id: str, in_scope: bool, reason: str, *, who: str = "") -> None:
        """Remember whether the models accept this CT, and why (not)."""
        with writing(self.engine) as conn:
            load_case(conn, case_id)
            conn.execute(update(CASES).where(CASES.c.id == case_id).values(in_scope=int(in_scope), scope_reason=reason))
            write_event(conn, who, "scope", case_id, details={"in_scope": in_scope, "reason": reason})

    def delete_case(self, case_id: str, *, who: str = "") -> None:
        """Hide a case from the worklist. Nothing is erased but its exports; ``restore_case`` undoes it."""
        self._set_deleted(case_id, utc_now(), "case deleted", who)
        self.remove_exports(case_id)

    def restore_case(self, case_id: str, *, who: str = "") -> None:
        """Undo ``delete_case``."""
        self._set_deleted(case_id, None, "case restored", who)

    def _set_deleted(self, case_id: str, when: str | None, action: str, who: str) -> None:
        with writing(self.engine) as conn:
            load_case(conn, case_id)
            conn.execute(update(CASES).where(CASES.c.id == case_id).values(deleted=when))
            write_event(conn, who, action, case_id)

    def remove_exports(self, case_id: str) -> int:
        """Remove the zips of a case's plans and counterfactuals; return how many. Each can be made anew."""
        return exports.remove(self.path, case_id, [r.id for r in self.history(case_id, "counterfactual")])

    # ---- integrity ---------------------------------------------------------------------------

    def verify(self, progress: Progress = no_progress) -> VerifyReport:
        """Hash every array file again and every CT with its geometry; compare with what was saved.

        Only reads; others may work on the store meanwhile.

        Raises:
            HnvlmError: Code ``store``: the database is too damaged to be read.
        """
        # Files first: one that is saved meanwhile is then named and not present, and looked for once more.
        present = self.arrays.names()
        try:
            with reading(self.engine) as conn:
                said = [str(row[0]) for row in conn.exec_driver_sql("PRAGMA integrity_check(20)")]
                loose = conn.exec_driver_sql("PRAGMA foreign_key_check")
                said += [f"row {row[1]} of {row[0]} names nothing" for row in loose]
                cases = [case_of(row) for row in conn.execute(select(CASES)).mappings()]
                uses = _uses(conn, cases)
        except DatabaseError as error:
            raise HnvlmError(_cannot_open(self.path / DATABASE, error), code="store") from error
        missing, damaged = [], []
        for number, name in enumerate(sorted(uses)):
            progress(number / len(uses), f"array {number + 1} of {len(uses)}")
            try:
                if not self.arrays.intact(name):
                    damaged.append(name)
            except NotFoundError:
                missing.append(name)
            except OSError:  # of a disk that can no longer read it
                damaged.append(name)
        bad = {*missing, *damaged}
        wrong = [case.id for case in cases if case.array_sha not in bad and not self._as_saved(case)]
        return VerifyReport(
            len(uses) - len(missing), tuple(missing), tuple(damaged), tuple(wrong),
            (*sorted(present - set(uses)), *self.arrays.unfinished()), {name: uses[name] for name in bad},
            tuple(line for line in said if line != "ok"),
        )  # fmt: skip

    def _as_saved(self, case: CaseRecord) -> bool:
        try:
            return self.load_volume(case.id).content_hash() == case.content_hash
        except ValueError:  # its geometry is none
            return False

    def remove_orphans(self, *, min_age_seconds: float = 3600.0) -> list[str]:
        """Delete array files that no row names (left by a process killed between file and row).

        Safe while others work on the store: a file is named by a row within ``min_age_seconds`` of being written.
        """
        present = self.arrays.names()
        with reading(self.engine) as conn:
            uses = _uses(conn, [case_of(row) for row in conn.execute(select(CASES)).mappings()])
        return self.arrays.remove(present - set(uses), min_age_seconds=min_age_seconds)


def _close_to_others(folder: Path) -> None:
    """Let no other account of this machine into a data folder: what lies in it is private, whatever the umask was.

    A folder that everybody may write to (``/tmp``) is not ours alone, and one of another account is theirs to close.
    """
    with suppress(OSError):  # not every file system knows modes
        found = folder.stat()
        ours = os.name == "posix" and found.st_uid == os.getuid() and not found.st_mode & stat.S_ISVTX
        if ours and found.st_mode & 0o077:
            folder.chmod(0o700)


def _uses(conn: Connection, cases: list[CaseRecord]) -> dict[str, list[str]]:
    """Every array file that rows name -> what it belongs to, in words."""
    uses: dict[str, list[str]] = {}
    for case in cases:
        uses.setdefault(case.array_sha, []).append(f"{case.id}: CT")
    columns = (RESULTS.c.case_id, RESULTS.c.kind, RESULTS.c.version, RESULTS.c.arrays)
    for case_id, kind, version, text in conn.execute(select(*columns).order_by(RESULTS.c.id)):
        for name in json.loads(text).values():
            uses.setdefault(name, []).append(f"{case_id}: {kind}, version {version}")
    return uses


def _cannot_open(file: Path, error: DatabaseError) -> str:
    """Say what to do about a database that SQLite cannot open; its own words tell a damaged one from a locked one."""
    if isinstance(error, OperationalError):
        busy = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_BUSY) & 0xFF in (
            sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
        )  # fmt: skip
        todo = "Close other programs that use it." if busy else _NO_WRITING
    else:
        todo = "It is damaged, or no case store: restore it from a backup, or point HNVLM_DATA_DIR at another folder."
    return f"{file} cannot be opened ({error.orig}). {todo} Nothing in it was changed."


def _as_int16(array: np.ndarray) -> np.ndarray:
    """Round HU to int16; refuse what does not fit instead of wrapping around."""
    if array.dtype == np.int16:
        return array
    if not np.isfinite(array).all():
        raise UsageError("The volume holds values that are not numbers; a CT must be HU everywhere.")
    rounded = np.rint(array)
    if rounded.size and (rounded.min() < -32768 or rounded.max() > 32767):
        raise UsageError("The volume holds values outside -32768..32767; these are not HU.")
    return rounded.astype(np.int16)
