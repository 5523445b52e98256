"""A backup of a store that is in use: whole, checked, and a store like the one it was made from."""

from __future__ import annotations

import json
import threading
from contextlib import closing

import numpy as np
import pytest
from test_disk import volume

from hnvlm.errors import HnvlmError, UsageError
from hnvlm.store import CaseStore, back_up


def test_a_copy_is_the_store_it_was_made_from(store, tmp_path):
    case = store.add_case(volume(), description="neck")
    masks = {"Larynx": np.ones((4, 5, 7), bool)}
    result = store.save_result(case.id, "structures", {"n": 1}, arrays={"masks": masks})
    store.arrays.put(np.arange(3))  # of no case
    (store.path / "uid.key").write_bytes(b"k" * 32)
    (store.path / "constraint_templates.json").write_text(json.dumps({"templates": {}, "chosen": {}}))
    for left in (
        "uploads/a/files/Kowalska.dcm",
        "exports/tmpx/1.dcm",
        "owners/x.lock",
        "constraint_templates.json.lock",
    ):
        (store.path / left).parent.mkdir(parents=True, exist_ok=True)
        (store.path / left).write_bytes(b"x")
    told = []
    counts, report = back_up(store, tmp_path / "new" / "copy", lambda share, words: told.append((share, words)))
    target = tmp_path / "new" / "copy"
    assert report.ok and report.orphans == ()
    assert {k: counts[k] for k in ("cases", "results", "arrays", "files")} == {
        "cases": 1, "results": 1, "arrays": 2, "files": ["constraint_templates.json", "uid.key"]
    }  # fmt: skip
    assert sorted(p.name for p in target.iterdir()) == [
        "arrays",
        "constraint_templates.json",
        "hnvlm.sqlite",
        "uid.key",
    ]
    assert target.stat().st_mode & 0o777 == 0o700
    assert [share for share, _ in told] == sorted(share for share, _ in told) and "copying array 2 of 2" in told[2][1]
    with closing(CaseStore(target)) as copy:
        assert copy.get_case(case.id) == case and copy.history(case.id) == [result] and copy.audit() == store.audit()
        np.testing.assert_array_equal(copy.load_volume(case.id).array, volume().array)
        assert copy.load_masks(result)["Larynx"].all()
        assert copy.add_case(volume(5)).id == "HN-0002"


def test_a_copy_is_whole_while_others_save(store, tmp_path):
    """``cp -r`` took the arrays before the rows that named them."""
    case = store.add_case(volume())
    stop, saved = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            arrays = {"d": np.random.default_rng(len(saved)).integers(0, 99, 20_000)}
            saved.append(store.save_result(case.id, "dose", {"n": len(saved)}, slot="t", arrays=arrays).id)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for n in range(5):
            counts, report = back_up(store, tmp_path / f"copy{n}")
            assert report.ok, report.lost()
    finally:
        stop.set()
        writer.join(20)
    assert len(saved) >= counts["results"] > 0


def test_a_folder_that_holds_something_and_one_in_the_data_folder_are_refused(store, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").write_text("x")
    for target in (tmp_path / "used", tmp_path / "used" / "x"):
        with pytest.raises(UsageError, match="not empty"):
            back_up(store, target)
    for target in (store.path, store.path / "backup"):
        with pytest.raises(UsageError, match="would be lost with it"):
            back_up(store, target)
    assert (tmp_path / "used" / "x").read_text() == "x" and not (store.path / "backup").exists()


def test_what_is_lost_is_told_and_the_rest_copied(store, tmp_path):
    gone, whole = store.add_case(volume(0)), store.add_case(volume(1))
    store.arrays.path(gone.array_sha).unlink()
    counts, report = back_up(store, tmp_path / "copy")
    assert counts["cases"] == 2 and report.lost() == [f"{gone.id}: CT ({gone.array_sha} is missing)"]
    with closing(CaseStore(tmp_path / "copy")) as copy:
        np.testing.assert_array_equal(copy.load_volume(whole.id).array, volume(1).array)


@pytest.mark.parametrize("wrong", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_backup_that_breaks_off_leaves_nothing_that_looks_like_one(store, tmp_path, monkeypatch, wrong):
    store.add_case(volume())

    def fails(source, target):
        raise wrong

    monkeypatch.setattr("hnvlm.store.backup.shutil.copy2", fails)
    with pytest.raises((HnvlmError, KeyboardInterrupt)) as caught:
        back_up(store, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
    if isinstance(wrong, OSError):
        assert caught.value.code == "output" and "No space left on device" in caught.value.message
