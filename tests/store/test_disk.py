"""A disk that is full or damaged, and files that are swept while others are saved."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

from hnvlm.errors import HnvlmError
from hnvlm.imaging.volume import Volume


def volume(seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).integers(-1024, 3000, (4, 5, 7), dtype=np.int16)
    return Volume(array, (3.0, 1.25, 0.75), (-10.0, 20.5, 30.25), "1.2.3")


def test_what_is_lost_is_told_by_case(store):
    case = store.add_case(volume(0))
    result = store.save_result(case.id, "report", {}, arrays={"a": np.ones((2, 3, 5))})
    store.arrays.path(result.arrays["a"]).unlink()
    assert store.verify().used_by == {result.arrays["a"]: [f"{case.id}: report, version 1"]}


def test_a_damaged_database_is_found_by_verify(store):
    """A page of the file that was written wrongly: SQLite reads around it until it needs it."""
    for n in range(40):
        store.add_case(volume(), description="x" * 2000 + str(n))
    with store.engine.begin() as conn:
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.engine.dispose()
    file = store.path / "hnvlm.sqlite"
    content = bytearray(file.read_bytes())
    content[10 * 4096 : 12 * 4096] = b"\xff" * 8192
    file.write_bytes(content)
    try:
        report = store.verify()
        assert not report.ok and report.database
    except HnvlmError as error:
        assert error.code == "store" and "restore it from a backup" in error.message


def test_a_full_disk_is_said_and_saves_nothing(store, monkeypatch):
    """It was called a fault of the program, with the database's own words."""
    case = store.add_case(volume())
    with store.engine.connect() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    event.listen(
        store.engine, "begin", lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count={pages}"), insert=True
    )
    with pytest.raises(HnvlmError, match=r"Nothing was saved: .*hnvlm\.sqlite cannot be written .*full") as caught:
        store.save_result(case.id, "report", {"text": "x" * 200_000})
    assert caught.value.code == "storage"
    assert store.history(case.id) == [] and store.verify().ok


def test_a_full_disk_under_the_arrays_is_said_and_leaves_no_half(store, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hnvlm.store.arrays.os.fsync", full)
    with pytest.raises(HnvlmError, match=r"Nothing was saved: .*arrays cannot be written .No space left") as caught:
        store.add_case(volume())
    assert caught.value.code == "storage"
    monkeypatch.undo()
    assert store.list_cases() == [] and store.verify().orphans == ()


def test_content_that_is_stored_while_it_is_swept_stays(store, monkeypatch):
    """An orphan of last week is uploaded again at the moment at which a sweep takes it away."""
    name = store.arrays.put(np.arange(7))
    path = store.arrays.path(name)
    os.utime(path, (1, 1))
    plain = os.replace

    def meanwhile(source, target):
        if Path(source) == path:
            monkeypatch.setattr("hnvlm.store.arrays.os.replace", plain)
            assert store.arrays.put(np.arange(7)) == name
        plain(source, target)

    monkeypatch.setattr("hnvlm.store.arrays.os.replace", meanwhile)
    assert store.arrays.remove([name]) == []
    np.testing.assert_array_equal(store.arrays.get(name), np.arange(7))


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_file_cut_short_is_named_with_the_command_that_finds_what_it_belongs_to(store, keep):
    """It was a fault of the program on the page: the reader's ValueError."""
    case = store.add_case(volume())
    masks = {"Larynx": np.random.default_rng(0).random((4, 5, 7)) < 0.5}
    result = store.save_result(case.id, "structures", {}, arrays={"masks": masks})
    reads = {
        case.array_sha: lambda: store.load_volume(case.id),
        result.arrays["masks"]: lambda: store.load_masks(result),
    }
    for name, read in reads.items():
        path = store.arrays.path(name)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(HnvlmError, match=rf"array file {name} .* is damaged. `hnvlm store check`") as caught:
            read()
        assert caught.value.code == "store_damaged"
    assert sorted(store.verify().damaged) == sorted(reads)
