"""Schema migrations: from empty, from the oldest version with data in it, and refusal of a newer one."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import text

from hnvlm.errors import HnvlmError
from hnvlm.store import CaseStore
from hnvlm.store.database import open_engine
from hnvlm.store.migrations import MIGRATIONS, migrate


def schema(engine) -> set[tuple[str, str]]:
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
        return {tuple(row) for row in rows}


def version(engine) -> int:
    with engine.connect() as conn:
        return conn.execute(text("PRAGMA user_version")).scalar_one()


def test_names_are_numbered_in_order():
    assert [m.__name__[:4] for m in MIGRATIONS] == [f"m{i:03d}" for i in range(1, len(MIGRATIONS) + 1)]


def test_from_empty(tmp_path):
    engine = open_engine(tmp_path / "a.sqlite")
    assert migrate(engine) == len(MIGRATIONS)
    assert version(engine) == len(MIGRATIONS)
    tables = {name for kind, name in schema(engine) if kind == "table"}
    assert tables == {"cases", "results", "events", "signoffs", "jobs", "same_patient"}
    assert migrate(engine) == len(MIGRATIONS)


@pytest.mark.parametrize("start", range(1, len(MIGRATIONS)))
def test_step_by_step_ends_in_the_same_schema(tmp_path, start):
    fresh, old = open_engine(tmp_path / "fresh.sqlite"), open_engine(tmp_path / "old.sqlite")
    migrate(fresh)
    assert migrate(old, upto=start) == start
    migrate(old)
    assert schema(old) == schema(fresh)


def test_the_oldest_store_keeps_its_data(tmp_path):
    engine = open_engine(tmp_path / "hnvlm.sqlite")
    migrate(engine, upto=1)
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO cases (id, created, origin, description, geometry, frame_uid, content_hash, array_sha) "
                "VALUES ('HN-0001', '2026-01-01', 'upload', 'old', "
                "'{\"shape\": [1, 2, 3], \"spacing_mm\": [1, 1, 1], \"origin_mm\": [0, 0, 0]}', '', 'h', 's')"
            )
        )
        conn.execute(
            text(
                "INSERT INTO results (case_id, kind, version, payload, created, who) "
                "VALUES ('HN-0001', 'report', 1, '{\"text\": \"old\"}', '2026-01-01', 'Dr A')"
            )
        )
    engine.dispose()
    store = CaseStore(tmp_path)
    assert version(store.engine) == len(MIGRATIONS)
    assert store.get_case("HN-0001").shape == (1, 2, 3)
    result = store.latest_result("HN-0001", "report")
    assert result.payload == {"text": "old"}
    assert store.sign(result.id, "Dr B").signed
    store.close()


def test_a_newer_store_is_refused(tmp_path):
    engine = open_engine(tmp_path / "hnvlm.sqlite")
    with engine.begin() as conn:
        conn.execute(text("PRAGMA user_version = 99"))
    engine.dispose()
    with pytest.raises(HnvlmError, match="newer") as error:
        CaseStore(tmp_path)
    assert error.value.code == "store_version"


def test_a_failing_migration_changes_nothing(tmp_path, monkeypatch):
    def m005_bad(conn):
        conn.exec_driver_sql("CREATE TABLE half (x)")
        raise RuntimeError("power cut")

    engine = open_engine(tmp_path / "a.sqlite")
    monkeypatch.setattr("hnvlm.store.migrations.MIGRATIONS", (*MIGRATIONS, m005_bad))
    with pytest.raises(RuntimeError):
        migrate(engine, upto=len(MIGRATIONS) + 1)
    assert version(engine) == len(MIGRATIONS)
    assert ("table", "half") not in schema(engine)


def test_two_openers_at_once_migrate_once(tmp_path):
    errors = []

    def open_it() -> None:
        try:
            CaseStore(tmp_path).close()
        except Exception as exc:  # noqa: BLE001 - reported by the assertion below
            errors.append(exc)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_store_opens_while_another_program_writes_the_file(tmp_path):
    """The switch to WAL needs the file alone, and SQLite's own waiting does not cover a writer."""
    other = sqlite3.connect(tmp_path / "hnvlm.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    ends.start()
    with closing(CaseStore(tmp_path)) as store:
        assert ends.finished.is_set()
        assert version(store.engine) == len(MIGRATIONS)
        with store.engine.connect() as conn:
            assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    other.close()


def test_a_store_held_by_another_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("hnvlm.store.database.BUSY_MS", 100)
    other = sqlite3.connect(tmp_path / "hnvlm.sqlite", isolation_level=None)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM theirs").fetchall()
    with pytest.raises(HnvlmError, match=r"locked.*Close other programs"):
        CaseStore(tmp_path)
    other.close()
