"""CaseStore: cases, versions, signatures, arrays, integrity."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from hnvlm.errors import HnvlmError, NotFoundError, UsageError
from hnvlm.imaging.resample import mask_box
from hnvlm.imaging.volume import Volume
from hnvlm.store import CaseStore, JobStore, dumps, jsonable
from hnvlm.store.arrays import ArrayStore
from hnvlm.types import Finding, Provenance


def volume(seed: int = 0, shape=(4, 5, 7)) -> Volume:
    array = np.random.default_rng(seed).integers(-1024, 3000, shape, dtype=np.int16)
    return Volume(array, (3.0, 1.25, 0.75), (-10.0, 20.5, 30.25), "1.2.3")


# ---- cases -----------------------------------------------------------------------------------


def test_a_case_comes_back_as_it_went_in(store):
    case = store.add_case(volume(), description="neck", demo=True, meta={"warnings": ["w"], "tilt": np.float32(1.5)})
    assert case.id == "HN-0001"
    assert store.get_case("HN-0001") == case
    assert case.shape == (4, 5, 7)
    assert case.spacing_mm == (3.0, 1.25, 0.75)
    assert case.origin_mm == (-10.0, 20.5, 30.25)
    assert case.frame_uid == "1.2.3"
    assert case.meta == {"warnings": ["w"], "tilt": 1.5}
    assert case.demo is True
    assert case.in_scope is None
    loaded = store.load_volume("HN-0001")
    assert isinstance(loaded.array, np.memmap)
    assert not loaded.array.flags.writeable
    np.testing.assert_array_equal(loaded.array, volume().array)
    assert loaded.same_grid(volume())
    assert loaded.content_hash() == case.content_hash == volume().content_hash()


def test_float_hu_are_rounded_and_impossible_ones_refused(store):
    array = np.array([[[0.4, 0.6, -1023.7]]])
    case = store.add_case(Volume(array, (1, 1, 1)))
    np.testing.assert_array_equal(store.load_volume(case.id).array, [[[0, 1, -1024]]])
    for bad in (np.nan, np.inf, 40000.0):
        with pytest.raises(UsageError):
            store.add_case(Volume(np.array([[[0.0, bad]]]), (1, 1, 1)))
    assert len(store.list_cases()) == 1


def test_ids_are_never_given_twice_even_after_deletion(store):
    first = store.add_case(volume())
    store.delete_case(first.id)
    assert store.add_case(volume(1)).id == "HN-0002"
    assert [c.id for c in store.list_cases()] == ["HN-0002"]
    assert [c.id for c in store.list_cases(include_deleted=True)] == ["HN-0002", "HN-0001"]
    store.restore_case(first.id)
    assert [c.id for c in store.list_cases(descending=False)] == ["HN-0001", "HN-0002"]
    assert store.get_case(first.id).deleted is None


def test_search_filter_and_sort(store):
    for i, words in enumerate(("Beta 100%", "alpha_x", "alphaXx")):
        store.add_case(volume(i), description=words, demo=i == 0)
    assert [c.description for c in store.list_cases(search="ALPHA")] == ["alphaXx", "alpha_x"]
    assert [c.description for c in store.list_cases(search="alpha_")] == ["alpha_x"]
    assert [c.description for c in store.list_cases(search="0%")] == ["Beta 100%"]
    assert [c.id for c in store.list_cases(search="hn-0002")] == ["HN-0002"]
    assert [c.description for c in store.list_cases(descending=False)] == ["Beta 100%", "alpha_x", "alphaXx"]
    assert [c.id for c in store.list_cases(demo=True)] == ["HN-0001"]
    store.set_scope("HN-0002", False, "chest")
    assert store.get_case("HN-0002").scope_reason == "chest"


def test_unknown_case_is_an_error_everywhere(store):
    for action in (
        lambda: store.get_case("HN-0009"),
        lambda: store.load_volume("HN-0009"),
        lambda: store.save_result("HN-0009", "report", {}),
        lambda: store.delete_case("HN-0009"),
        lambda: store.restore_case("HN-0009"),
        lambda: store.set_scope("HN-0009", True, ""),
        lambda: store.get_result(7),
        lambda: store.sign(7, "Dr A"),
    ):
        with pytest.raises(NotFoundError):
            action()


def test_the_same_ct_is_recognised(store):
    first = store.add_case(volume())
    second = store.add_case(volume())
    assert [c.id for c in store.find_by_content(first.content_hash)] == [first.id, second.id]
    assert first.array_sha == second.array_sha
    assert len(store.arrays.names()) == 1


# ---- results ---------------------------------------------------------------------------------


def test_every_save_is_a_new_version_and_slots_are_separate(store):
    case = store.add_case(volume())
    provenance = Provenance("vlm", "1", "ab", 3, {"t": 0.5})
    one = store.save_result(case.id, "report", {"text": "a"}, slot="en", provenance=provenance, who="model")
    two = store.save_result(case.id, "report", {"text": "b"}, slot="en", who="Dr A", based_on=one.id)
    other = store.save_result(case.id, "report", {"text": "ż"}, slot="pl")
    assert (one.version, two.version, other.version) == (1, 2, 1)
    assert two.supersedes == one.id
    assert other.supersedes is None
    assert store.latest_result(case.id, "report", "en") == two
    assert store.latest_result(case.id, "report", "pl").payload == {"text": "ż"}
    assert store.latest_result(case.id, "plan") is None
    assert [r.payload["text"] for r in store.history(case.id, "report", "en")] == ["a", "b"]
    assert len(store.history(case.id)) == 3
    assert store.get_result(one.id).provenance == vars(provenance)


def test_an_edit_of_an_old_version_is_refused(store):
    case = store.add_case(volume())
    one = store.save_result(case.id, "plan", {"text": "a"}, who="Dr A")
    store.save_result(case.id, "plan", {"text": "b"}, who="Dr B")
    with pytest.raises(HnvlmError, match="Dr B") as error:
        store.save_result(case.id, "plan", {"text": "c"}, who="Dr A", based_on=one.id)
    assert error.value.code == "conflict"
    assert len(store.history(case.id, "plan")) == 2


def test_sign_off_belongs_to_one_version(store):
    case = store.add_case(volume())
    one = store.save_result(case.id, "report", {"text": "a"}, slot="en")
    signed = store.sign(one.id, "  Dr Anna Nowak ", statement="read")
    assert signed.signed
    assert signed.signoffs[0].clinician == "Dr Anna Nowak"
    two = store.save_result(case.id, "report", {"text": "b"}, slot="en")
    assert not two.signed
    assert [r.signed for r in store.history(case.id)] == [True, False]
    with pytest.raises(HnvlmError, match="newest") as error:
        store.sign(one.id, "Dr B")
    assert error.value.code == "conflict"
    with pytest.raises(UsageError, match="name"):
        store.sign(two.id, "   ")


def test_the_newest_version_and_its_signatures_take_one_question_each(store):
    """A page asks for two dozen results in each run."""
    case = store.add_case(volume())
    store.save_result(case.id, "plan", {"text": "a"})
    store.save_result(case.id, "plan", {"text": "other"}, slot="x")
    two = store.save_result(case.id, "plan", {"text": "b"})
    store.sign(two.id, "Dr A")
    asked = []
    event.listen(store.engine, "before_cursor_execute", lambda *args: asked.append(args[2].split()[0]))
    newest = store.latest_result(case.id, "plan")
    assert newest.payload == {"text": "b"} and newest.version == 2 and newest.signoffs[0].clinician == "Dr A"
    assert asked == ["BEGIN", "SELECT", "SELECT"]
    assert store.latest_result(case.id, "plan", "y") is None and store.latest_result(case.id, "report") is None
    assert asked[3:] == ["BEGIN", "SELECT"] * 2


def test_audit_says_who_did_what(store):
    case = store.add_case(volume(), who="Dr A")
    result = store.save_result(case.id, "report", {"text": "a"}, who="model")
    store.sign(result.id, "Dr A")
    store.log("Dr A", "exported", case.id, {"files": ["x"]})
    store.delete_case(case.id, who="Dr B")
    events = store.audit(case.id)
    assert [(e.who, e.action) for e in events] == [
        ("Dr A", "case added"), ("model", "report saved"), ("Dr A", "report signed"), ("Dr A", "exported"),
        ("Dr B", "case deleted"),
    ]  # fmt: skip
    assert events[1].result_id == result.id
    assert [e.created for e in events] == sorted(e.created for e in events)


@pytest.mark.parametrize("table", ["results", "events", "signoffs"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET created='x'", "DELETE FROM {}"])
def test_the_database_refuses_to_rewrite_history(store, table, verb):
    case = store.add_case(volume())
    store.sign(store.save_result(case.id, "report", {}).id, "Dr A")
    with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as conn:
        conn.execute(text(verb.format(table)))


def test_foreign_keys_are_enforced(store):
    with pytest.raises(IntegrityError), store.engine.begin() as conn:
        conn.execute(text("INSERT INTO signoffs (result_id, clinician, created) VALUES (99, 'x', 'y')"))


def test_unknown_kind_and_unserialisable_payload_store_nothing(store):
    case = store.add_case(volume())
    with pytest.raises(UsageError, match="kind"):
        store.save_result(case.id, "reprot", {})
    with pytest.raises(TypeError):
        store.save_result(case.id, "report", {"x": object()})
    with pytest.raises(TypeError, match="array"):
        store.save_result(case.id, "report", {"x": np.zeros(10_001)})
    assert store.history(case.id) == []


def test_arrays_and_masks_of_a_result(store):
    case = store.add_case(volume())
    mask = np.zeros((4, 5, 7), bool)
    mask[1, 2, 3:6] = True
    difference = np.arange(6, dtype=np.int16).reshape(1, 2, 3)
    result = store.save_result(
        case.id, "counterfactual", {}, arrays={"difference": difference, "masks": {"edit": mask, "none": mask & False}}
    )
    back = store.get_result(result.id)
    np.testing.assert_array_equal(store.load_array(back, "difference"), difference)
    masks = store.load_masks(back)
    np.testing.assert_array_equal(masks["edit"], mask)
    assert not masks["none"].any()
    assert list(store.load_masks(back, only=["none"])) == ["none"]
    with pytest.raises(NotFoundError, match="difference"):
        store.load_array(back, "elsewhere")


def test_latest_of_all_leaves_out_deleted_cases(store):
    ids = [store.add_case(volume(i)).id for i in range(3)]
    for i in ids:
        store.save_result(i, "embedding", {"v": 1})
    newest = store.save_result(ids[0], "embedding", {"v": 2})
    store.delete_case(ids[2])
    found = store.latest_of_all("embedding")
    assert sorted(found) == ids[:2]
    assert found[ids[0]].id == newest.id


# ---- files -----------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_masks_survive_packing(tmp_path_factory, shape, seed, share):
    arrays = ArrayStore(tmp_path_factory.mktemp("a"))
    rng = np.random.default_rng(seed)
    masks = {name: rng.random(shape) < share for name in ("Larynx", "PTV_7000")}
    name = arrays.put_masks(masks)
    back = arrays.get_masks(name)
    assert list(back) == sorted(masks)
    for key, mask in masks.items():
        np.testing.assert_array_equal(back[key], mask)
    assert arrays.mask_names(name) == sorted(key for key, mask in masks.items() if mask.any())
    assert arrays.put_masks(dict(reversed(masks.items()))) == name


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8, bool])
def test_arrays_survive_and_equal_content_is_one_file(tmp_path, dtype):
    arrays = ArrayStore(tmp_path)
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    name = arrays.put(array)
    assert arrays.put(np.asfortranarray(array)) == name
    back = arrays.get(name)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert arrays.path(name) == tmp_path / name[:2] / name
    assert arrays.intact(name)


def test_masks_of_different_grids_and_objects_are_refused(tmp_path):
    arrays = ArrayStore(tmp_path)
    with pytest.raises(ValueError, match="one grid"):
        arrays.put_masks({"a": np.ones((1, 1, 1), bool), "b": np.ones((2, 1, 1), bool)})
    with pytest.raises(TypeError):
        arrays.put(np.array([object()]))


def test_bounding_box_by_hand():
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert mask_box(mask) == (1, 2, 3, 4, 3, 7)
    assert mask_box(mask & False) is None


def test_verify_finds_missing_damaged_and_orphan_files(store):
    whole = store.add_case(volume(0))
    damaged = store.add_case(volume(1))
    gone = store.add_case(volume(2))
    assert store.verify().ok
    assert store.verify().checked_arrays == 3
    path = store.arrays.path(damaged.array_sha)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    store.arrays.path(gone.array_sha).unlink()
    orphan = store.arrays.put(np.ones(3))
    report = store.verify()
    assert not report.ok
    assert report.damaged == (damaged.array_sha,)
    assert report.missing == (gone.array_sha,)
    assert report.orphans == (orphan,)
    with pytest.raises(NotFoundError, match="missing"):
        store.load_volume(gone.id)
    assert store.remove_orphans() == []  # too young: somebody may be about to name it
    assert store.remove_orphans(min_age_seconds=0) == [orphan]
    assert store.load_volume(whole.id).shape == (4, 5, 7)


def test_verify_notices_a_changed_geometry(store):
    case = store.add_case(volume())
    with store.engine.begin() as conn:
        geometry = json.dumps({"shape": [4, 5, 7], "spacing_mm": [3, 1.25, 0.7], "origin_mm": [-10, 20.5, 30.25]})
        conn.execute(text("UPDATE cases SET geometry=:g"), {"g": geometry})
    assert store.verify().wrong_content == (case.id,)


# ---- many at once, and sudden death ----------------------------------------------------------


def test_many_threads_lose_nothing_and_share_no_number(store):
    case = store.add_case(volume())
    errors = []

    def work(n: int) -> None:
        try:
            for i in range(4):
                store.add_case(volume(n * 100 + i))
                store.save_result(case.id, "form", {"n": n, "i": i})
                store.list_cases()
        except Exception as exc:  # noqa: BLE001 - reported by the assertion below
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [c.id for c in store.list_cases(descending=False)] == [f"HN-{i:04d}" for i in range(1, 18)]
    versions = [r.version for r in store.history(case.id, "form")]
    assert versions == list(range(1, 17))
    assert store.verify().ok


WRITER = """
import sys, numpy as np
from hnvlm.store import CaseStore
from hnvlm.imaging.volume import Volume
store = CaseStore(sys.argv[1])
n = 0
while True:
    array = np.full((40, 128, 128), n % 3000, np.int16)
    case = store.add_case(Volume(array, (1, 1, 1)), description=str(n))
    result = store.save_result(case.id, "report", {"n": n}, arrays={"a": array[:4] + 1})
    print(case.id, result.id, flush=True)
    n += 1
"""


@pytest.mark.parametrize("seconds", [0.13, 0.41])
def test_a_killed_writer_loses_nothing_it_reported(tmp_path, seconds):
    folder = tmp_path / "data"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path
    )
    reported = [writer.stdout.readline().split()]  # the first one is in: it is writing now
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    reported += [line.split() for line in writer.stdout.read().splitlines() if len(line.split()) == 2]
    writer.wait(10)
    store = CaseStore(folder)
    report = store.verify()
    assert report.ok, report
    for case_id, result_id in reported:
        number = store.get_case(case_id).description
        assert store.load_volume(case_id).array[39, 127, 127] == int(number) % 3000
        assert store.get_result(int(result_id)).payload == {"n": int(number)}
    store.add_case(volume())  # the store goes on
    store.remove_orphans(min_age_seconds=0)
    assert store.verify().orphans == ()
    assert not list(store.arrays.root.glob("??/.tmp-*"))
    store.close()


# ---- jobs and JSON ---------------------------------------------------------------------------


def test_jobs_are_remembered_and_dead_ones_interrupted(store):
    jobs = JobStore(store)
    case = store.add_case(volume())
    jobs.add("a", "report", case_id=case.id, owner="dead", who="Dr A")
    jobs.add("b", "report", case_id=None, owner="alive", who="")
    jobs.add("c", "report", case_id=None, owner="dead", who="")
    jobs.start("a")
    jobs.finish("c", "done", result={"result_id": 4})
    assert [j.id for j in jobs.interrupt_dead(lambda owner: owner == "alive")] == ["a"]
    assert jobs.get("a").state == "interrupted"
    assert "again" in jobs.get("a").error
    assert jobs.get("b").state == "queued"
    assert jobs.get("c").result == {"result_id": 4}
    assert [j.id for j in jobs.list(case.id)] == ["a"]
    assert [j.id for j in jobs.list(active_only=True)] == ["b"]
    with pytest.raises(NotFoundError):
        jobs.get("z")


def test_jsonable():
    value = {
        1: (np.float32(0.5), float("nan"), np.int64(3), np.bool_(True)), "s": {"b", "a"}, "p": Path("x/y"),
        "f": Finding("node", size_mm=np.float64(2.0)), "a": np.arange(3),
    }  # fmt: skip
    plain = jsonable(value)
    assert plain["1"] == [0.5, None, 3, True]
    assert plain["s"] == ["a", "b"]
    assert plain["p"] == str(Path("x/y"))
    assert plain["f"]["size_mm"] == 2.0
    assert plain["a"] == [0, 1, 2]
    assert json.loads(dumps(value)) == plain
