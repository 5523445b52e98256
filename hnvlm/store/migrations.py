"""Schema changes as ordered small functions. A released one is never edited: write the next one.

``PRAGMA user_version`` holds the number of the last migration that ran. Each runs in its own
transaction together with the new number, so a killed process leaves the old or the new schema.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from hnvlm.errors import HnvlmError


def m001_cases_and_results(conn: Connection) -> None:
    """Cases, versioned results, audit trail."""
    conn.exec_driver_sql(
        """CREATE TABLE cases (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            created TEXT NOT NULL,
            origin TEXT NOT NULL,
            description TEXT NOT NULL,
            geometry TEXT NOT NULL,
            frame_uid TEXT NOT NULL,
            content_hash TEXT NOT NULL,
            array_sha TEXT NOT NULL,
            demo INTEGER NOT NULL DEFAULT 0,
            in_scope INTEGER,
            scope_reason TEXT NOT NULL DEFAULT '',
            meta TEXT NOT NULL DEFAULT '{}',
            deleted TEXT)"""
    )
    conn.exec_driver_sql(
        """CREATE TABLE results (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            case_id TEXT NOT NULL REFERENCES cases(id),
            kind TEXT NOT NULL,
            slot TEXT NOT NULL DEFAULT '',
            version INTEGER NOT NULL,
            payload TEXT NOT NULL,
            arrays TEXT NOT NULL DEFAULT '{}',
            provenance TEXT NOT NULL DEFAULT '{}',
            created TEXT NOT NULL,
            who TEXT NOT NULL,
            supersedes INTEGER REFERENCES results(id),
            UNIQUE (case_id, kind, slot, version))"""
    )
    conn.exec_driver_sql(
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            case_id TEXT REFERENCES cases(id),
            result_id INTEGER REFERENCES results(id),
            created TEXT NOT NULL,
            who TEXT NOT NULL,
            action TEXT NOT NULL,
            details TEXT NOT NULL DEFAULT '{}')"""
    )
    conn.exec_driver_sql("CREATE INDEX events_case ON events(case_id)")


def m002_signoffs(conn: Connection) -> None:
    """A clinician's signature under one version of a result."""
    conn.exec_driver_sql(
        """CREATE TABLE signoffs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            result_id INTEGER NOT NULL REFERENCES results(id),
            clinician TEXT NOT NULL,
            created TEXT NOT NULL,
            statement TEXT NOT NULL DEFAULT '')"""
    )
    conn.exec_driver_sql("CREATE INDEX signoffs_result ON signoffs(result_id)")


def m003_jobs(conn: Connection) -> None:
    """Background jobs, so that one whose server died is shown as interrupted."""
    conn.exec_driver_sql(
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            case_id TEXT REFERENCES cases(id),
            kind TEXT NOT NULL,
            state TEXT NOT NULL,
            owner TEXT NOT NULL,
            who TEXT NOT NULL,
            created TEXT NOT NULL,
            started TEXT,
            finished TEXT,
            error TEXT NOT NULL DEFAULT '',
            result TEXT NOT NULL DEFAULT '{}')"""
    )
    conn.exec_driver_sql("CREATE INDEX jobs_case ON jobs(case_id)")


def m004_append_only(conn: Connection) -> None:
    """The database itself refuses to rewrite or delete results, signatures and audit events."""
    for table in ("results", "signoffs", "events"):
        for verb in ("UPDATE", "DELETE"):
            conn.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} are append-only: save a new version'); END"
            )


def m005_same_patient(conn: Connection) -> None:
    """What clinicians said of two cases being one patient's; a key by which an upload can be proposed as such."""
    conn.exec_driver_sql("ALTER TABLE cases ADD COLUMN patient_key TEXT NOT NULL DEFAULT ''")
    conn.exec_driver_sql("ALTER TABLE cases ADD COLUMN patient_day INTEGER")
    conn.exec_driver_sql(
        """CREATE TABLE same_patient (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            one TEXT NOT NULL REFERENCES cases(id),
            other TEXT NOT NULL REFERENCES cases(id),
            verdict TEXT NOT NULL,
            created TEXT NOT NULL,
            who TEXT NOT NULL)"""
    )
    for verb in ("UPDATE", "DELETE"):
        conn.exec_driver_sql(
            f"CREATE TRIGGER same_patient_no_{verb.lower()} BEFORE {verb} ON same_patient "
            "BEGIN SELECT RAISE(ABORT, 'same_patient is append-only: say something new of the two cases'); END"
        )


MIGRATIONS = (m001_cases_and_results, m002_signoffs, m003_jobs, m004_append_only, m005_same_patient)


def migrate(engine: Engine, *, upto: int = len(MIGRATIONS)) -> int:
    """Run the migrations that this database lacks; return its version.

    Args:
        engine: A store's engine, whose ``write`` connections begin immediately (one writer at a time).
        upto: Stop after this many (for tests of upgrades).

    Raises:
        HnvlmError: The database was written by a newer version of the program.
    """
    while True:
        with engine.connect().execution_options(write=True) as conn, conn.begin():
            # Read inside the write transaction: two processes that open an old store at once take turns.
            version = conn.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > len(MIGRATIONS):
                raise HnvlmError(
                    f"The case store has schema version {version}; this program knows {len(MIGRATIONS)}. "
                    "Use the newer program, or point HNVLM_DATA_DIR at another folder.",
                    code="store_version",
                )
            if version >= upto:
                return version
            MIGRATIONS[version](conn)
            conn.exec_driver_sql(f"PRAGMA user_version = {version + 1}")
