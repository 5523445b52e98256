"""A store that cannot be opened: named, with what to do, and left as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hnvlm.errors import HnvlmError
from hnvlm.store import CaseStore, database


def refused(path: Path) -> str:
    with pytest.raises(HnvlmError) as caught:
        CaseStore(path)
    assert caught.value.code == "store"
    return caught.value.message


def test_a_data_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "data").write_text("x")
    message = refused(tmp_path / "data")
    assert message.startswith(f"{tmp_path / 'data'} cannot be used as the data folder (it is a file)")
    assert "HNVLM_DATA_DIR" in message
    assert "Not a directory" in refused(tmp_path / "data" / "below")


@pytest.mark.parametrize(("damage", "words"), [(b"garbage " * 64, "not a database"), (None, "malformed")])
def test_a_damaged_database_is_named_and_left_alone(tmp_path, damage, words):
    CaseStore(tmp_path).close()
    file = tmp_path / "hnvlm.sqlite"
    before = file.read_bytes()[:4096] if damage is None else damage
    file.write_bytes(before)
    message = refused(tmp_path)
    assert str(file) in message and words in message and "restore it from a backup" in message
    assert file.read_bytes() == before


def test_a_database_that_another_program_holds_is_not_called_damaged(tmp_path, monkeypatch):
    CaseStore(tmp_path).close()
    monkeypatch.setattr(database, "BUSY_MS", 50)
    holder = sqlite3.connect(tmp_path / "hnvlm.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    message = refused(tmp_path)
    assert "locked" in message and "Close other programs" in message and "damaged" not in message
    holder.close()
    CaseStore(tmp_path).close()


@pytest.mark.parametrize("number", [sqlite3.SQLITE_IOERR | 19 << 8, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN])
def test_a_full_or_read_only_disk_under_the_database_asks_for_no_other_program(tmp_path, monkeypatch, number):
    """On a full disk SQLite says "disk I/O error" of a sound store, on a read-only one "unable to open"."""
    CaseStore(tmp_path).close()

    def fails(cursor):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = number
        raise error

    monkeypatch.setattr(database, "_use_wal", fails)
    message = refused(tmp_path)
    assert "make room on its disk" in message and "Close other programs" not in message
    monkeypatch.undo()
    CaseStore(tmp_path).close()
