"""Whom the data folder is open to."""

from __future__ import annotations

import os

import pytest

from hnvlm.store import CaseStore


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_new_data_folder_is_closed_to_other_accounts(tmp_path):
    CaseStore(tmp_path / "srv" / "data").close()
    assert mode(tmp_path / "srv" / "data") == 0o700


def test_an_open_one_of_before_is_closed(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    CaseStore(tmp_path / "data").close()
    assert mode(tmp_path / "data") == 0o700


def test_a_folder_for_everybody_and_one_of_another_account_stay_as_they_are(tmp_path, monkeypatch):
    """``/tmp`` as the data folder: closed, nobody else could use the machine."""
    everybody, theirs = tmp_path / "tmp", tmp_path / "theirs"
    for folder, bits in ((everybody, 0o1777), (theirs, 0o775)):
        folder.mkdir()
        folder.chmod(bits)
    CaseStore(everybody).close()
    monkeypatch.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
    CaseStore(theirs).close()
    assert (mode(everybody), mode(theirs)) == (0o1777, 0o775)


def test_a_file_system_without_modes_opens_all_the_same(tmp_path, monkeypatch):
    def cannot(self, bits):
        raise PermissionError("Operation not permitted")

    (tmp_path / "data").mkdir(mode=0o755)
    monkeypatch.setattr(type(tmp_path), "chmod", cannot)
    store = CaseStore(tmp_path / "data")
    assert store.list_cases() == []
    store.close()
