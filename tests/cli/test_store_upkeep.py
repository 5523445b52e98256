"""``hnvlm store backup`` and ``hnvlm store erase``."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from hnvlm import config
from hnvlm.imaging.volume import Volume
from hnvlm.store import CaseStore


@pytest.fixture
def restored(monkeypatch):
    """Let ``HNVLM_DATA_DIR`` point at a backup."""

    def use(folder):
        monkeypatch.setenv("HNVLM_DATA_DIR", str(folder))
        config.settings.cache_clear()

    return use


def test_a_backup_is_told_counted_and_restored_by_its_folder(run, case, store_dir, tmp_path, restored):
    (store_dir / "uid.key").write_bytes(b"k" * 32)
    done = run("store", "backup", tmp_path / "copy", "--json")
    assert "copying array 1 of 1" in done.stderr or "copying the database" in done.stderr
    assert {k: v for k, v in done.data.items() if k != "bytes"} == {
        "folder": str(tmp_path / "copy"), "from": str(store_dir), "cases": 1, "results": 0, "arrays": 1,
        "files": ["uid.key"], "ok": True,
    }  # fmt: skip
    assert done.data["bytes"] > 1000
    assert "not empty" in run("store", "backup", tmp_path / "copy", "--json").refused("usage", status=2)
    restored(tmp_path / "copy")
    assert run("store", "check", "--json").data["checked_arrays"] == 1
    assert run("inspect", case, "--json").data["series"][0]["case_id"] == case


def test_a_backup_of_a_damaged_store_says_what_is_lost(run, case, store_dir, tmp_path):
    with closing(CaseStore(store_dir)) as store:
        store.arrays.path(store.get_case(case).array_sha).unlink()
    message = run("store", "backup", tmp_path / "copy", "--json").refused("store_damaged")
    assert message.startswith(f"{tmp_path / 'copy'} holds all of {store_dir} that could be read. Lost is: {case}: CT (")


def test_a_case_is_erased_when_it_was_deleted_and_that_is_meant(run, case, store_dir):
    assert "add --yes" in run("store", "erase", case, "--json").refused("usage", status=2)
    assert "Delete it on the page Cases" in run("store", "erase", case, "--yes", "--json").refused("not_deleted")
    with closing(CaseStore(store_dir)) as store:
        store.delete_case(case)
    assert "add --yes" in run("store", "erase", case, "--json").refused("usage", status=2)
    printed = run("store", "erase", case.lower(), "--yes").stdout
    assert f"{case} was erased: 0 result(s), 1 array file(s), 0 export(s). Backups of before still hold it." in printed
    assert "no case HN-0001" in run("store", "erase", case, "--yes", "--json").refused("not_found")
    with closing(CaseStore(store_dir)) as store:
        assert store.arrays.names() == set()
        assert [(e.who, e.action, e.details["case_id"]) for e in store.audit()] == [
            ("command line", "case erased", case)
        ]


def test_the_help_of_the_group_names_all_three(run):
    assert all(name in run("store", "--help").stdout for name in ("check", "backup", "erase"))


def test_the_trail_of_who_did_what_can_be_read(run, case, store_dir):
    store = CaseStore(store_dir)
    store.save_result(case, "report", {"text": "No mass."}, who="Dr A")
    store.delete_case(case)
    other = store.add_case(Volume(np.zeros((2, 3, 4), np.int16), (3.0, 2.0, 1.0)), who="Dr B").id
    store.close()
    events = run("store", "audit", "--json").data["events"]
    assert [(e["case_id"], e["who"]) for e in events] == [(case, ""), (case, "Dr A"), (case, ""), (other, "Dr B")]
    assert [e["created"] for e in events] == sorted(e["created"] for e in events)
    words = run("store", "audit", other.lower()).stdout
    assert "Dr B" in words and case not in words
    assert "Dr A" in run("store", "audit", case).stdout, "also of a deleted case"
    assert "HN-9999" in run("store", "audit", "HN-9999", "--json").refused("not_found")
