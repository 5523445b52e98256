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
