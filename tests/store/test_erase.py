"""Erasing a deleted case: nothing of it stays but one event, and nothing of the others goes."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from test_disk import volume

from hnvlm.errors import HnvlmError, NotFoundError
from hnvlm.store import AUTOSAVE, JobStore, erase_case, exports

SECRET = "Kowalska has pain"


def filled(store, seed: int, who: str) -> str:
    """A case with all that may belong to one."""
    case = store.add_case(volume(seed), who=who, description=f"{SECRET} {who}")
    shared = {"masks": {"Larynx": np.ones((4, 5, 7), bool)}}
    report = store.save_result(case.id, "report", {"text": SECRET}, slot="en", who=who)
    store.sign(report.id, who)
    store.save_result(case.id, "report", {"text": SECRET}, slot=f"en{AUTOSAVE}.x", who=who)
    store.save_result(case.id, "report", {"text": SECRET + "!"}, slot="en", who=who)
    store.save_result(case.id, "structures", {}, arrays=shared, who=who)
    edit = store.save_result(case.id, "counterfactual", {}, arrays={"difference": np.full(3, seed)}, who=who)
    JobStore(store).add(f"job-{case.id}", "report", case_id=case.id, owner="x", who=who)
    JobStore(store).finish(f"job-{case.id}", "done")
    exports.folder(store.path).mkdir(exist_ok=True)
    exports.of_counterfactual(store.path, edit.id).write_bytes(b"x")
    return case.id


def everything(store) -> bytes:
    return b"".join(path.read_bytes() for path in store.path.rglob("*") if path.is_file())


def test_nothing_of_it_stays_but_one_event(store):
    ours, theirs = filled(store, 1, "Dr Gone"), filled(store, 2, "Dr Here")
    arrays = store.arrays.names()
    kept = [store.get_case(theirs), store.history(theirs), store.audit(theirs)]
    store.delete_case(ours)
    said = erase_case(store, ours, who="command line")
    assert said == {
        "case_id": ours, "results": 5, "arrays": 2, "exports": 0, "arrays_left": 0, "vacuumed": True
    }  # fmt: skip
    assert [store.get_case(theirs), store.history(theirs), store.audit(theirs)] == kept
    assert len(arrays - store.arrays.names()) == 2, "its CT and its difference; the masks are the other's, too"
    assert store.verify().ok and store.verify().orphans == ()
    with pytest.raises(NotFoundError):
        store.get_case(ours)
    assert store.audit(ours) == [] and store.history(ours) == [] and JobStore(store).list(ours) == []
    (event,) = [e for e in store.audit() if e.action == "case erased"]
    assert (event.who, event.details["case_id"], event.created[:4]) == ("command line", ours, event.created[:4])
    assert b"Dr Gone" not in everything(store) and b"Dr Here" in everything(store)


def test_its_id_is_not_given_again_and_history_is_guarded_as_before(store):
    filled(store, 1, "Dr A")
    last = filled(store, 2, "Dr B")
    store.delete_case(last)
    erase_case(store, last, who="command line")
    assert store.add_case(volume(3)).id == "HN-0003"
    for table in ("results", "events", "signoffs"):
        with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as conn:
            conn.execute(text(f"DELETE FROM {table}"))


def test_a_case_of_the_worklist_and_one_that_is_worked_on_are_refused(store):
    case = filled(store, 1, "Dr A")
    before = store.history(case)
    with pytest.raises(HnvlmError, match="Delete it on the page Cases first") as caught:
        erase_case(store, case, who="command line")
    assert caught.value.code == "not_deleted"
    store.delete_case(case)
    JobStore(store).add("busy", "dose", case_id=case, owner="x", who="")
    with pytest.raises(HnvlmError, match=r"still running \(dose\)") as caught:
        erase_case(store, case, who="command line")
    assert caught.value.code == "busy" and store.history(case) == before
    with pytest.raises(NotFoundError):
        erase_case(store, "HN-0099", who="command line")


def test_a_failure_half_way_erases_nothing(store, monkeypatch):
    case = filled(store, 1, "Dr A")
    store.delete_case(case)

    def broken(*args, **kwargs):
        raise RuntimeError("power cut")

    monkeypatch.setattr("hnvlm.store.erase.write_event", broken)
    with pytest.raises(RuntimeError):
        erase_case(store, case, who="command line")
    assert len(store.history(case)) == 5 and store.verify().ok
    with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as conn:
        conn.execute(text("DELETE FROM results"))


def test_a_ct_that_somebody_uploads_again_at_this_moment_stays(store):
    """Its file is written again and its row is about to be: taken away, the new case would have no CT."""
    case = store.add_case(volume(1))
    store.delete_case(case.id)
    time.sleep(0.02)
    store.arrays.put(volume(1).array)
    said = erase_case(store, case.id, who="command line")
    assert (said["arrays"], said["arrays_left"]) == (0, 1)
    again = store.add_case(volume(1))
    assert again.array_sha == case.array_sha and store.verify().ok


def test_files_of_a_restored_copy_go_although_they_are_newer_than_their_rows(store):
    case = store.add_case(volume(1))
    store.delete_case(case.id)
    path = store.arrays.path(case.array_sha)
    os.utime(path, (time.time() + 5,) * 2)
    assert erase_case(store, case.id, who="command line")["arrays_left"] == 1
    case = store.add_case(volume(2))
    store.delete_case(case.id)
    with store.engine.begin() as conn:
        conn.execute(text("UPDATE cases SET created = '2020-01-01T00:00:00+00:00'"))
    path = store.arrays.path(case.array_sha)
    os.utime(path, (time.time() - 2 * 3600,) * 2)
    assert erase_case(store, case.id, who="command line")["arrays"] == 1
    assert not path.exists()
