"""Background jobs as the store remembers them: what ran, for which case, how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import insert, select, update

from hnvlm.errors import NotFoundError
from hnvlm.store.cases import CaseStore
from hnvlm.store.database import JOBS, reading, utc_now, writing
from hnvlm.store.jsonable import dumps
from hnvlm.store.records import ACTIVE, JobRecord

DIED = "The server stopped while this ran. Start it again."
# Its files name the patient, no page finds them again, and so they go.
DIED_READING = "The server stopped while this ran. Upload the files again."


class JobStore:
    """Rows of the jobs table. The thread itself lives in ``hnvlm.services.jobs``."""

    def __init__(self, store: CaseStore) -> None:
        self._engine = store.engine

    def add(
        self, job_id: str, kind: str, *, case_id: str | None, owner: str, who: str, upload: str = ""
    ) -> None:  # fmt: skip
        """Remember a queued job; ``owner`` names the server process that runs it, ``upload`` what it reads."""
        row = {
            "id": job_id, "case_id": case_id, "kind": kind, "state": "queued", "owner": owner, "who": who,
            "created": utc_now(), "started": None, "finished": None, "error": "",
            "result": dumps({"upload": upload} if upload else {}),
        }  # fmt: skip
        with writing(self._engine) as conn:
            conn.execute(insert(JOBS).values(**row))

    def start(self, job_id: str) -> None:
        """Mark as running."""
        with writing(self._engine) as conn:
            conn.execute(update(JOBS).where(JOBS.c.id == job_id).values(state="running", started=utc_now()))

    def finish(self, job_id: str, state: str, *, error: str = "", result: Mapping[str, Any] | None = None) -> None:
        """Mark as done, failed, cancelled or interrupted."""
        values = {"state": state, "finished": utc_now(), "error": error, "result": dumps(result or {})}
        with writing(self._engine) as conn:
            conn.execute(update(JOBS).where(JOBS.c.id == job_id).values(**values))

    def get(self, job_id: str) -> JobRecord:
        """Return one job.

        Raises:
            NotFoundError: There is no such job.
        """
        with reading(self._engine) as conn:
            row = conn.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"There is no job {job_id}.")
        return JobRecord(**{**row, "result": json.loads(row["result"])})

    def list(self, case_id: str | None = None, *, active_only: bool = False) -> list[JobRecord]:
        """Return jobs, newest first; of one case or of all."""
        query = select(JOBS).order_by(JOBS.c.created.desc())
        if case_id is not None:
            query = query.where(JOBS.c.case_id == case_id)
        if active_only:
            query = query.where(JOBS.c.state.in_(ACTIVE))
        with reading(self._engine) as conn:
            rows = conn.execute(query).mappings().all()
        return [JobRecord(**{**row, "result": json.loads(row["result"])}) for row in rows]

    def interrupt_dead(self, is_alive: Callable[[str], bool]) -> list[JobRecord]:
        """Mark the active jobs of dead servers as interrupted; return them as they were."""
        dead = [job for job in self.list(active_only=True) if not is_alive(job.owner)]
        for job in dead:
            self.finish(job.id, "interrupted", error=died(job.upload))
        return dead


def died(upload: str) -> str:
    """Say that a job ended with its server, and what to do; ``upload`` names what it read, if anything."""
    return DIED_READING if upload else DIED
