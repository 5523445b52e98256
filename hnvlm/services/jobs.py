"""Long work off the page thread: progress, message, time left, Stop; the result goes into the store.

A page starts a job and keeps its id; any later rerun, tab or user asks for the status by that id.
Jobs that need models wait in one line, because two networks at once on two cores make both slow.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hnvlm.errors import CancelledError, HnvlmError, NotFoundError
from hnvlm.services import locks
from hnvlm.store import CaseStore, JobRecord, JobStore, died

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# How often work that cannot look for Stop itself is asked whether it is done.
STOP_WITHIN_S = 0.1
FINAL_STATES = ("done", "failed", "cancelled", "interrupted")
UNEXPECTED = (
    "Something went wrong that the program does not know ({kind}). Nothing stored was changed. Try again; if it "
    "happens again, tell whoever maintains this installation and give them the job number {job}."
)
DIED = "The work ended without saying how. Nothing stored was changed. Start it again."
OUT_OF_MEMORY = "There was not enough memory for this. Close other programs, or use a CT with fewer slices."


@dataclass(frozen=True)
class JobStatus:
    """What a page shows about a job.

    Attributes:
        state: queued, running, done, failed, cancelled or interrupted.
        fraction: 0 to 1.
        message: What is happening now, in words for the user.
        eta_seconds: Estimated time left, or None while too little is known.
        text: Text streamed so far (reports).
        error: Why it failed or was interrupted, in words for the user.
        error_code: ``HnvlmError.code`` of a failure.
        result: JSON the job returned, usually ``{"result_id": ...}``.
        stopped_by: Who asked it to stop, "" where nobody did or gave a name.
    """

    id: str
    kind: str
    case_id: str | None
    state: str
    fraction: float = 0.0
    message: str = ""
    eta_seconds: float | None = None
    text: str = ""
    error: str = ""
    error_code: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    stopped_by: str = ""

    @property
    def active(self) -> bool:
        """Whether it is waiting or running."""
        return self.state not in FINAL_STATES


class JobContext:
    """Handed to the work function: report progress, stream text, notice Stop."""

    def __init__(self, job: _Job) -> None:
        self._job = job

    def progress(self, fraction: float, message: str) -> None:
        """Report progress (``hnvlm.types.Progress``).

        Raises:
            CancelledError: The user pressed Stop.
        """
        self.check()
        with self._job.lock:
            # Never backwards: a bar that jumps back reads as a fault.
            self._job.fraction = max(self._job.fraction, min(1.0, max(0.0, float(fraction))))
            self._job.message = message

    def on_text(self, piece: str) -> None:
        """Append streamed text; raises CancelledError when the user pressed Stop."""
        self.check()
        with self._job.lock:
            self._job.text += piece

    def check(self) -> None:
        """Raise CancelledError when the user pressed Stop."""
        if self._job.stop.is_set():
            raise CancelledError("Stopped.")

    def leave_on_stop(self, step: Callable[[], Result], message: str) -> Result:
        """Return what ``step`` returns; Stop ends the job at once, while ``step`` goes on by itself to its end.

        For a step that is worth its end whoever asked for it, and reports no progress: loading the models.

        Raises:
            CancelledError: The user pressed Stop.
        """
        self.progress(0.0, message)
        coming: Future[Result] = Future()

        def take() -> None:
            try:
                coming.set_result(step())
            except BaseException as exc:  # noqa: BLE001 - raised where the result is waited for
                coming.set_exception(exc)

        threading.Thread(target=take, name=f"step-{self._job.id}", daemon=True).start()
        while not coming.done():
            self.check()
            wait([coming], STOP_WITHIN_S)
        return coming.result()


def without_words(exc: BaseException) -> str:
    """Return for the log what was raised and where in the program, without its message.

    Messages quote files and tags of an upload, whose names are often those of patients.
    """
    lines = []
    for one in _chain(exc):
        why = f" ({one.strerror})" if isinstance(one, OSError) and one.strerror else ""
        lines += [f"{type(one).__name__}{why}", *(line.rstrip() for line in traceback.format_tb(one.__traceback__))]
    return "\n".join(lines)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it came from, the newest first."""
    seen: set[int] = set()
    now: BaseException | None = exc
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


Work = Callable[[JobContext], Mapping[str, Any] | None]


class _Job:
    """State of one job while its server lives."""

    def __init__(self, job_id: str, kind: str, case_id: str | None, upload: str) -> None:
        self.id, self.kind, self.case_id, self.upload = job_id, kind, case_id, upload
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.finished = threading.Event()
        self.thread: threading.Thread | None = None
        self.state, self.fraction, self.message, self.text = "queued", 0.0, "waiting", ""
        self.error, self.error_code, self.stopped_by = "", "", ""
        self.result: dict[str, Any] = {}
        self.started: float | None = None

    def status(self) -> JobStatus:
        with self.lock:
            eta = None
            if (
                self.started is not None
                and self.state == "running"
                and self.fraction >= 0.03
                and not self.stop.is_set()
            ):
                eta = (time.monotonic() - self.started) * (1.0 - self.fraction) / self.fraction
            return JobStatus(
                self.id, self.kind, self.case_id, self.state, self.fraction, self.message, eta, self.text,
                self.error, self.error_code, dict(self.result), self.stopped_by,
            )  # fmt: skip


class ModelQueue:
    """A lock that serves in order of arrival and tells those who wait how many are before them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._line: deque[object] = deque()

    @contextmanager
    def turn(self, waiting: Callable[[int], None] | None = None) -> Iterator[None]:
        """Wait for the models; ``waiting(n)`` is called with the number before us and may raise to give up."""
        ticket = object()
        with self._condition:
            self._line.append(ticket)
        try:
            while True:
                with self._condition:
                    before = self._line.index(ticket)
                    if before == 0:
                        break
                if waiting is not None:
                    waiting(before)
                with self._condition:
                    if self._line.index(ticket) != 0:
                        self._condition.wait(0.2)
            yield
        finally:
            with self._condition:
                self._line.remove(ticket)
                self._condition.notify_all()


class JobManager:
    """Starts jobs in threads and answers for them by id.

    Args:
        store: Where jobs and their results are remembered.
        keep: How many finished jobs stay in memory; older ones are answered from the store.
    """

    def __init__(self, store: CaseStore, *, keep: int = 200) -> None:
        self._rows = JobStore(store)
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()
        self._keep = keep
        self.queue = ModelQueue()
        # The operating system frees the lock when this process dies, however it dies. A process id
        # would not do: it is given again.
        self.owner = uuid.uuid4().hex
        self._owners = store.path / "owners"
        self._owners.mkdir(exist_ok=True)
        self._owner_lock = locks.take(self._owners, self.owner)
        self.closing = False
        dead = {job.upload for job in self._rows.interrupt_dead(self._alive)}
        # Uploads that servers were reading when they died, and that no other server reads now.
        self.left_uploads = dead - {job.upload for job in self._rows.list(active_only=True)} - {""}

    def submit(
        self, kind: str, work: Work, *, case_id: str | None = None, who: str = "", needs_models: bool = True,
        upload: str = "",
    ) -> str:  # fmt: skip
        """Start ``work(context)`` in the background; return the job id.

        Args:
            kind: What it is, for the user: ``analysis``, ``report``, ``counterfactual`` ...
            work: Does the work and saves its result into the store; returns a small JSON dict.
            case_id: Case it belongs to.
            who: User who started it.
            needs_models: Wait in the line for the models.
            upload: The upload it reads: should this server die, the next one removes it.
        """
        job = _Job(uuid.uuid4().hex[:12], kind, case_id, upload)
        job.thread = threading.Thread(
            target=self._run, args=(job, work, needs_models), name=f"job-{job.id}", daemon=True
        )
        self._rows.add(job.id, kind, case_id=case_id, owner=self.owner, who=who, upload=upload)
        with self._lock:
            self._jobs[job.id] = job
            self._forget_old()
        job.thread.start()
        return job.id

    def status(self, job_id: str) -> JobStatus:
        """Return where a job stands, also after a restart of the server.

        Raises:
            NotFoundError: No job has this id.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        return job.status() if job is not None else self._from_row(self._rows.get(job_id))

    def for_case(self, case_id: str, kind: str | None = None) -> list[JobStatus]:
        """Return the jobs of a case, newest first."""
        rows = [row for row in self._rows.list(case_id) if kind is None or row.kind == kind]
        return [self.status(row.id) for row in rows]

    def active(self, case_id: str | None = None, kind: str | None = None) -> list[JobStatus]:
        """Return the jobs that wait or run here, newest first."""
        with self._lock:
            jobs = list(self._jobs.values())
        found = [job.status() for job in reversed(jobs)]
        return [
            s for s in found if s.active and case_id in (None, s.case_id) and kind in (None, s.kind)
        ]  # fmt: skip

    def anywhere(self, kind: str) -> bool:
        """Whether a job of this kind waits or runs here or in another server of the same data folder."""
        return any(row.kind == kind and self._alive(row.owner) for row in self._rows.list(active_only=True))

    def stop(self, job_id: str, *, who: str = "") -> None:
        """Ask a job to stop; it ends at its next progress report. A finished job is left alone.

        One whose thread is gone cannot notice, so it ends here: it would keep its case busy for good.

        Raises:
            NotFoundError: No job of this server has this id.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"Job {job_id} does not run on this server any more.")
        with job.lock:
            if job.state in ("queued", "running"):
                if not job.stop.is_set():
                    job.stopped_by = who
                job.message = "stopping when this step is done"
            job.stop.set()
        if job.thread is not None and not job.thread.is_alive() and not job.finished.is_set():
            self._finish(job, "interrupted", DIED, "", {})

    def wait(self, job_id: str, timeout: float | None = None) -> JobStatus:
        """Block until a job ends or ``timeout`` seconds pass; return its status."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is not None:
            job.finished.wait(timeout)
        return self.status(job_id)

    def close(self) -> None:
        """Stop all jobs and give up ownership (tests, orderly shutdown)."""
        with self._lock:
            jobs = list(self._jobs.values())
        self.closing = True
        for job in jobs:
            job.stop.set()
        for job in jobs:
            job.finished.wait(5)
        self._owner_lock.release()
        (self._owners / f"{self.owner}.lock").unlink(missing_ok=True)

    def _run(self, job: _Job, work: Work, needs_models: bool) -> None:
        context = JobContext(job)
        state, error, code = "failed", "", ""
        result: dict[str, Any] = {}
        try:
            if needs_models:
                with self.queue.turn(lambda before: context.progress(0.0, f"waiting: {before} before this one")):
                    result = self._work(job, work, context)
            else:
                result = self._work(job, work, context)
            state = "done"
        except CancelledError:
            state, error = ("interrupted", died(job.upload)) if self.closing else ("cancelled", "")
        except HnvlmError as exc:
            error, code = exc.message, exc.code
        except MemoryError:
            error, code = OUT_OF_MEMORY, "memory"
        except BaseException as exc:  # noqa: BLE001 - logged, without the message
            # Also what is no Exception (the panic of a Rust extension): a job without an end keeps its case busy.
            log.error("job %s (%s) failed\n%s", job.id, job.kind, without_words(exc))
            error, code = UNEXPECTED.format(kind=type(exc).__name__, job=job.id), "unexpected"
        self._finish(job, state, error, code, result)

    def _work(self, job: _Job, work: Work, context: JobContext) -> dict[str, Any]:
        context.check()
        with job.lock:
            job.state, job.message, job.started = "running", "starting", time.monotonic()
        self._rows.start(job.id)
        return dict(work(context) or {})

    def _finish(self, job: _Job, state: str, error: str, code: str, result: dict[str, Any]) -> None:
        try:
            self._rows.finish(job.id, state, error=error, result=result)
        except BaseException as exc:  # noqa: BLE001 - logged, without the message
            log.error("the end of job %s could not be stored\n%s", job.id, without_words(exc))
        with job.lock:
            job.state, job.error, job.error_code, job.result = state, error, code, result
            job.message = {"done": "done", "cancelled": "stopped"}.get(state, error)
            if state == "done":
                job.fraction = 1.0
        job.finished.set()

    def _forget_old(self) -> None:
        finished = [job_id for job_id, job in self._jobs.items() if job.finished.is_set()]
        for job_id in finished[: max(0, len(finished) - self._keep)]:
            del self._jobs[job_id]

    def _alive(self, owner: str) -> bool:
        """Whether the server that owns a job still runs: it holds its lock file."""
        if owner == self.owner:
            return True
        path = self._owners / f"{owner}.lock"
        return path.exists() and locks.is_held(path)

    @staticmethod
    def _from_row(row: JobRecord) -> JobStatus:
        return JobStatus(
            row.id, row.kind, row.case_id, row.state, fraction=1.0 if row.state == "done" else 0.0,
            message=row.error or row.state, error=row.error, result=row.result,
        )  # fmt: skip
