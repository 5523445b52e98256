"""The SQLite engine and its tables as SQLAlchemy sees them (the schema itself is in migrations.py)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, create_engine, event
from sqlalchemy.exc import OperationalError

from hnvlm.errors import HnvlmError

# How long a write waits for another process that writes.
BUSY_MS = 30_000
_META = MetaData()


def _table(name: str, integers: str, strings: str) -> Table:
    columns = [Column(c, Integer, primary_key=c in ("id", "number")) for c in integers.split()]
    columns += [Column(c, String, primary_key=name == "jobs" and c == "id") for c in strings.split()]
    return Table(name, _META, *columns)


CASES = _table(
    "cases",
    "number demo in_scope patient_day",
    "id created origin description geometry frame_uid content_hash array_sha scope_reason meta deleted patient_key",
)
RESULTS = _table("results", "id version supersedes", "case_id kind slot payload arrays provenance created who")
EVENTS = _table("events", "id result_id", "case_id created who action details")
SIGNOFFS = _table("signoffs", "id result_id", "clinician created statement")
SAME_PATIENT = _table("same_patient", "id", "one other verdict created who")
JOBS = _table("jobs", "", "id case_id kind state owner who created started finished error result")


def utc_now() -> str:
    """Current time, UTC, ISO 8601 with microseconds (sorts as text)."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def open_engine(path: Path) -> Engine:
    """Open (or create) the SQLite file with WAL, foreign keys and full flushing.

    WAL lets readers work while one writes; ``synchronous=FULL`` flushes each commit to the disk, so
    that what a user saw saved survives a power cut.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection, _record) -> None:
        dbapi_connection.isolation_level = None  # the driver's implicit BEGIN would defeat BEGIN IMMEDIATE
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        _use_wal(cursor)
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        # A transaction that reads first and writes later can fail as "locked"; take the write lock at once.
        conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("write") else "BEGIN")

    return engine


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch the file to WAL, taking turns with others that open or close it.

    SQLite answers "locked" at once here, whatever ``busy_timeout`` says: the switch, and the clean-up of the last
    connection to close, turn a read lock into an exclusive one, where waiting could be a deadlock.
    """
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction: committed at the end, rolled back on any exception.

    Raises:
        HnvlmError: Code ``storage``: the disk is full, the file may not be written, or another program holds it.
    """
    try:
        with engine.connect().execution_options(write=True) as conn, conn.begin():
            yield conn
    except OperationalError as error:
        raise HnvlmError(
            f"Nothing was saved: {engine.url.database} cannot be written ({error.orig}). Make room on its disk, check "
            "that this user may write there and that no other program holds it, and try again.",
            code="storage",
        ) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: one consistent view."""
    with engine.connect() as conn, conn.begin():
        yield conn
