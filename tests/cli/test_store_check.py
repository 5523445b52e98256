"""``hnvlm store check``: what it finds, what it removes and what it leaves alone."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hnvlm.store import CaseStore


@pytest.fixture
def store(store_dir, phantom):
    opened = CaseStore(store_dir)
    opened.add_case(phantom, description="phantom")
    yield opened
    opened.close()


def orphan(store, age_hours: float) -> str:
    name = store.arrays.put(np.arange(int(age_hours * 10)))
    path = store.arrays.path(name)
    then = path.stat().st_mtime - age_hours * 3600
    os.utime(path, (then, then))
    return name


def test_a_sound_store(run, store):
    data = run("store", "check", "--json").data
    assert data == {
        "folder": str(store.path), "ok": True, "checked_arrays": 1, "orphans": [], "removed": []
    }  # fmt: skip
    printed = run("store", "check").stdout
    assert "1 file(s) and the database are as they were saved" in printed.replace("\n", " ")


def test_files_of_no_case_are_told_and_only_removed_when_asked(run, store):
    old, young = orphan(store, 2), orphan(store, 0.5)
    half = store.arrays.root / "ab" / ".tmp-killed"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    os.utime(half, (1, 1))
    assert run("store", "check", "--json").data["orphans"] == [*sorted([old, young]), half.name]
    assert "3 file(s) belong to no case. They do no harm; --repair removes" in run("store", "check").stdout
    assert store.arrays.names() >= {old, young}
    printed = run("store", "check", "--repair").stdout
    assert "2 file(s) that belong to no case were removed." in printed and "1 file(s) belong to no case yet" in printed
    assert old not in store.arrays.names() and young in store.arrays.names() and not half.exists()
    assert store.verify().ok


def test_damage_is_told_by_case_and_nothing_is_removed_then(run, store, phantom):
    case = store.list_cases()[0]
    old = orphan(store, 2)
    path = store.arrays.path(case.array_sha)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = run("store", "check", "--repair", "--json").refused("store_damaged")
    assert f"HN-0001: CT ({case.array_sha} is damaged). Restore what is named from a backup" in message
    assert old in store.arrays.names()
    path.unlink()
    assert f"HN-0001: CT ({case.array_sha} is missing)" in run("store", "check", "--json").refused("store_damaged")


def test_wrong_usage_of_the_group_is_json_too(run, store_dir):
    assert "chekc" in run("store", "chekc", "--json").refused("usage", status=2)
