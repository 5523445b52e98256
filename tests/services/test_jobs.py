"""Background jobs: progress, Stop, errors in words, one line for the models, death of the server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hnvlm.errors import NotFoundError, ScopeError
from hnvlm.services import locks
from hnvlm.services.jobs import JobManager
from hnvlm.store import CaseStore, JobStore


@pytest.fixture
def store(tmp_path):
    made = CaseStore(tmp_path)
    yield made
    made.close()


@pytest.fixture
def jobs(store):
    manager = JobManager(store)
    yield manager
    manager.close()


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_progress_text_time_left_and_result(jobs):
    go, half = threading.Event(), threading.Event()

    def work(job):
        job.progress(0.5, "half way")
        job.on_text("Node ")
        job.on_text("left.")
        half.set()
        assert go.wait(20)
        return {"result_id": 7}

    job_id = jobs.submit("report", work, who="Dr A")
    assert half.wait(20)
    status = jobs.status(job_id)
    assert (status.state, status.fraction, status.message, status.text) == ("running", 0.5, "half way", "Node left.")
    assert status.active
    assert 0 < status.eta_seconds < 20, "half is done, so as long again"
    assert [s.id for s in jobs.active()] == [job_id]
    go.set()
    done = jobs.wait(job_id, 20)
    assert (done.state, done.fraction, done.result) == ("done", 1.0, {"result_id": 7})
    assert done.eta_seconds is None
    assert jobs.active() == []


def test_progress_never_runs_backwards_or_over_one(jobs):
    seen = []

    def work(job):
        for f in (0.4, 0.2, 7.0):
            job.progress(f, "x")
            seen.append(jobs.status(ids[0]).fraction if ids else None)

    ids = []
    started = threading.Event()
    ids.append(jobs.submit("x", lambda job: (started.wait(20), work(job))[1]))
    started.set()
    jobs.wait(ids[0], 20)
    assert seen == [0.4, 0.4, 1.0]


def test_stop_ends_a_running_job_at_its_next_step(jobs):
    running = threading.Event()

    def work(job):
        while True:
            running.set()
            job.progress(0.1, "working")
            time.sleep(0.005)

    job_id = jobs.submit("x", work)
    assert running.wait(20)
    jobs.stop(job_id, who="Dr A")
    jobs.stop(job_id, who="Dr B")
    assert jobs.wait(job_id, 20).state == "cancelled"
    assert jobs.status(job_id).stopped_by == "Dr A", "who was first"
    assert jobs.status(job_id).message == "stopped"
    jobs.stop(job_id)  # again: nothing happens
    with pytest.raises(NotFoundError):
        jobs.stop("nothing")


def test_a_job_that_is_to_stop_says_what_it_waits_for_and_promises_no_time(jobs):
    reached, release = threading.Event(), threading.Event()

    def work(job):
        job.progress(0.4, "contouring")
        reached.set()
        release.wait(20)
        job.check()

    job_id = jobs.submit("x", work)
    assert reached.wait(20) and jobs.status(job_id).eta_seconds is not None
    jobs.stop(job_id)
    status = jobs.status(job_id)
    assert (status.message, status.eta_seconds) == ("stopping when this step is done", None)
    release.set()
    assert jobs.wait(job_id, 20).state == "cancelled"


def test_models_serve_one_job_at_a_time_in_order_of_arrival(jobs):
    order, inside = [], []
    release = threading.Event()

    def work(name):
        def run(job):
            inside.append(name)
            assert len(inside) == 1, "two jobs use the models at once"
            order.append(name)
            if name == "a":
                assert release.wait(20)
            inside.remove(name)

        return run

    first = jobs.submit("x", work("a"))
    until(lambda: order == ["a"])
    others = []
    for name in "bcd":
        others.append(jobs.submit("x", work(name)))
        until(lambda: jobs.status(others[-1]).message.startswith("waiting: "))
    until(lambda: jobs.status(others[2]).message == "waiting: 3 before this one")
    free = jobs.submit("intake", lambda job: {}, needs_models=False)
    assert jobs.wait(free, 20).state == "done"  # needs no models, so it does not wait
    jobs.stop(others[1])
    assert jobs.wait(others[1], 20).state == "cancelled"
    release.set()
    for job_id in (first, others[0], others[2]):
        assert jobs.wait(job_id, 20).state == "done"
    assert order == ["a", "b", "d"]


def test_errors_are_kept_in_words(jobs):
    def refused(job):
        raise ScopeError("This is a chest CT.")

    def fault(job):
        raise KeyError("patient name")

    def memory(job):
        raise MemoryError

    status = jobs.wait(jobs.submit("report", refused), 20)
    assert (status.state, status.error, status.error_code) == ("failed", "This is a chest CT.", "out_of_scope")
    status = jobs.wait(jobs.submit("report", fault), 20)
    assert status.state == "failed"
    assert status.error_code == "unexpected"
    assert "patient name" not in status.error
    assert status.id in status.error
    assert "memory" in jobs.wait(jobs.submit("report", memory), 20).error
    assert jobs.wait(jobs.submit("report", lambda job: None), 20).state == "done"  # the line goes on


class Panic(BaseException):
    """As extensions written in Rust raise it: no Exception."""


def test_work_that_ends_in_any_way_has_an_end(store, jobs):
    def panic(job):
        raise Panic("patient name")

    for end in (panic, lambda job: sys.exit(3)):
        status = jobs.wait(jobs.submit("report", end), 20)
        assert (status.state, status.error_code) == ("failed", "unexpected")
        assert "patient name" not in status.error
        assert JobStore(store).get(status.id).state == "failed"
    assert jobs.active() == []
    assert jobs.wait(jobs.submit("report", lambda job: None), 20).state == "done"  # the line goes on


def test_an_end_that_cannot_be_stored_is_an_end_all_the_same(jobs, monkeypatch):
    def full(*args, **kwargs):
        raise Panic

    monkeypatch.setattr(jobs._rows, "finish", full)
    assert jobs.wait(jobs.submit("report", lambda job: {}), 20).state == "done"


def test_stop_ends_a_job_whose_thread_is_gone(store, jobs, monkeypatch):
    """However it went: nobody is left to notice the wish."""
    monkeypatch.setattr(jobs, "_run", lambda *args: None)
    job_id = jobs.submit("report", lambda job: {})
    until(lambda: not jobs._jobs[job_id].thread.is_alive())
    assert jobs.status(job_id).active
    jobs.stop(job_id)
    status = jobs.wait(job_id, 20)
    assert status.state == JobStore(store).get(job_id).state == "interrupted"
    assert "Start it again" in status.error and jobs.active() == []
    jobs.stop(job_id)  # again: nothing happens


def test_a_later_server_still_knows_the_job(store, jobs):
    job_id = jobs.submit("report", lambda job: {"result_id": 3})
    jobs.wait(job_id, 20)
    other = JobManager(store)
    status = other.status(job_id)
    assert (status.state, status.result, status.fraction) == ("done", {"result_id": 3}, 1.0)
    with pytest.raises(NotFoundError):
        other.status("nothing")
    other.close()


def test_a_second_living_server_leaves_the_jobs_of_the_first_alone(store, jobs):
    go, running = threading.Event(), threading.Event()
    job_id = jobs.submit("report", lambda job: (running.set(), go.wait(20), {})[2])
    assert running.wait(20)
    other = JobManager(store)
    assert other.status(job_id).state == "running"
    other.close()
    go.set()
    assert jobs.wait(job_id, 20).state == "done"


SERVER = """
import sys, time
from hnvlm.services.jobs import JobManager
from hnvlm.store import CaseStore
jobs = JobManager(CaseStore(sys.argv[1]))
def work(job):
    job.progress(0.3, "working")
    print(job_id, flush=True)
    time.sleep(600)
job_id = "?"
import threading
ready = threading.Event()
job_id = jobs.submit("report", lambda job: (ready.wait(), work(job)))
ready.set()
time.sleep(600)
"""


def test_a_job_whose_server_was_killed_is_shown_as_interrupted(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env)
    job_id = server.stdout.readline().strip()
    server.kill()
    server.wait(10)
    store = CaseStore(tmp_path)
    jobs = JobManager(store)
    status = jobs.status(job_id)
    assert status.state == "interrupted"
    assert "again" in status.error
    assert not status.active
    jobs.close()
    store.close()


def test_jobs_of_a_case_newest_first(store, jobs):
    import numpy as np

    from hnvlm.imaging.volume import Volume

    case = store.add_case(Volume(np.zeros((2, 3, 4), np.int16), (1, 2, 3)))
    ids = [jobs.submit(kind, lambda job: {}, case_id=case.id) for kind in ("report", "plan")]
    for job_id in ids:
        jobs.wait(job_id, 20)
    assert [s.id for s in jobs.for_case(case.id)] == ids[::-1]
    assert [s.kind for s in jobs.for_case(case.id, "plan")] == ["plan"]


def test_the_log_of_a_failure_names_no_file_of_a_patient(jobs, caplog):
    name = "/uploads/KOWALSKI^JAN_1952/IM1.dcm"

    def work(job):
        try:
            Path(name).read_bytes()
        except OSError as error:
            raise ValueError(f"{name} cannot be read") from error

    done = jobs.wait(jobs.submit("intake", work, needs_models=False), 20)
    assert done.error_code == "unexpected"
    assert "KOWALSKI" not in caplog.text and "KOWALSKI" not in done.error
    for told in (done.id, "ValueError", "FileNotFoundError (No such file or directory)", "in work"):
        assert told in caplog.text, told


def test_stop_does_not_wait_for_a_step_that_cannot_look_for_it(jobs):
    loading, release, loaded = threading.Event(), threading.Event(), threading.Event()

    def load():
        loading.set()
        assert release.wait(20)
        loaded.set()
        return "models"

    def work(job):
        return {"with": job.leave_on_stop(load, "loading the models")}

    first = jobs.submit("x", work)
    assert loading.wait(20) and jobs.status(first).message == "loading the models"
    jobs.stop(first)
    assert jobs.wait(first, 5).state == "cancelled" and not loaded.is_set()
    release.set()
    until(loaded.is_set)  # it went on by itself: the next job has them
    assert jobs.wait(jobs.submit("x", work), 20).result == {"with": "models"}

    def broken():
        raise ScopeError("No neck.")

    failed = jobs.wait(jobs.submit("x", lambda job: job.leave_on_stop(broken, "loading")), 20)
    assert (failed.state, failed.error, failed.error_code) == ("failed", "No neck.", "out_of_scope")


OWNER = """
import sys
from hnvlm.services.jobs import JobManager
from hnvlm.store import CaseStore
jobs = JobManager(CaseStore(sys.argv[1]))
print(jobs.owner, flush=True)
sys.stdin.read()
"""


def test_lock_files_of_servers_that_died_go_and_those_of_living_ones_stay(tmp_path):
    """A server that is killed while it runs no job left its file for good."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": env}
    killed, living = (subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], **pipes) for _ in range(2))
    owners = [server.stdout.readline().strip() for server in (killed, living)]
    killed.kill()
    killed.wait(10)
    store = CaseStore(tmp_path)
    jobs = JobManager(store)
    try:
        assert {p.stem for p in (tmp_path / "owners").glob("*.lock")} == {owners[1], jobs.owner}
    finally:
        living.communicate("", 20)
        jobs.close()
        store.close()


def test_a_lock_file_that_is_just_being_made_is_left_alone(tmp_path, monkeypatch):
    """It is there before it is held; another server that starts at that moment must not take it for a dead one's."""
    real, made, swept, there = locks.FileLock, threading.Event(), threading.Event(), []

    class Slow(real):
        def acquire(self, *args, **kwargs):
            if Path(self.lock_file).name == "slow.lock" and not made.is_set():
                Path(self.lock_file).touch()
                made.set()
                swept.wait(0.5)  # the other would have swept by now
                there.append(Path(self.lock_file).exists())
            return super().acquire(*args, **kwargs)

    monkeypatch.setattr(locks, "FileLock", Slow)
    held = []
    slow = threading.Thread(target=lambda: held.append(locks.take(tmp_path, "slow")))
    slow.start()
    assert made.wait(20)
    held.append(locks.take(tmp_path, "other"))
    swept.set()
    slow.join(20)
    assert there == [True]
    assert {p.name for p in tmp_path.glob("*.lock")} == {"slow.lock", "other.lock"}
    assert all(locks.is_held(tmp_path / name) for name in ("slow.lock", "other.lock"))
    for lock in held:
        lock.release()


def test_a_start_does_not_wait_for_another_that_hangs_and_removes_nothing_then(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "TURN_S", 0.05)
    (tmp_path / "dead.lock").touch()
    hangs = locks.FileLock(tmp_path / locks.TURN)
    hangs.acquire()
    first = locks.take(tmp_path, "first")
    assert (tmp_path / "dead.lock").exists() and locks.is_held(tmp_path / "first.lock")
    hangs.release()
    second = locks.take(tmp_path, "second")
    assert sorted(p.name for p in tmp_path.glob("*.lock")) == ["first.lock", "second.lock"]
    first.release()
    second.release()
