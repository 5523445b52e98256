"""Erase a deleted case for good: its rows, and the array files that no other case names."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, or_, select

from hnvlm.errors import HnvlmError
from hnvlm.store import exports
from hnvlm.store.cases import CaseStore
from hnvlm.store.database import CASES, EVENTS, JOBS, RESULTS, SAME_PATIENT, SIGNOFFS, writing
from hnvlm.store.records import ACTIVE, CaseRecord
from hnvlm.store.rows import load_case, write_event


def erase_case(store: CaseStore, case_id: str, *, who: str) -> dict[str, Any]:
    """Erase a case that was deleted before: results, typed texts, signatures, audit trail, jobs, arrays and exports.

    What stays is one event that says who erased which case and when, and in the trail of a case that was linked with
    it that it was; its id is not given again.

    Returns:
        ``case_id``, ``results``, ``arrays`` and ``exports`` (how many went), ``arrays_left`` (files that somebody is
        about to name anew) and ``vacuumed`` (whether the file gave its free pages back; they hold zeros in any case).

    Raises:
        NotFoundError: There is no such case.
        HnvlmError: Code ``not_deleted``: it is still in the worklist. Code ``busy``: a job of it runs.
    """
    with writing(store.engine) as conn:
        case = load_case(conn, case_id)
        _require_idle(conn, case)
        last_named = _only_of(conn, case)
        rows = conn.execute(select(RESULTS.c.id, RESULTS.c.kind).where(RESULTS.c.case_id == case_id)).all()
        _delete_rows(conn, case_id)
        details = {"case_id": case_id, "results": len(rows), "arrays": len(last_named)}
        write_event(conn, who, "case erased", details=details)
    gone = store.arrays.erase(last_named)
    zips = exports.remove(store.path, case_id, [row.id for row in rows if row.kind == "counterfactual"])
    return {
        "case_id": case_id, "results": len(rows), "arrays": len(gone), "exports": zips,
        "arrays_left": len(last_named) - len(gone), "vacuumed": _vacuum(store),
    }  # fmt: skip


def _require_idle(conn: Connection, case: CaseRecord) -> None:
    if case.deleted is None:
        raise HnvlmError(
            f"{case.id} is in the worklist. Delete it on the page Cases first; nothing was erased.", code="not_deleted"
        )
    running = select(JOBS.c.kind).where(JOBS.c.case_id == case.id, JOBS.c.state.in_(ACTIVE))
    kind = conn.execute(running).scalar()
    if kind is not None:
        raise HnvlmError(
            f"Work on {case.id} is still running ({kind}). Wait for its end, or stop it; nothing was erased.",
            code="busy",
        )


def _only_of(conn: Connection, case: CaseRecord) -> dict[str, float]:
    """Array files that this case alone names -> when it named them last, in seconds of the epoch."""
    named = {case.array_sha: case.created}
    others = set(conn.execute(select(CASES.c.array_sha).where(CASES.c.id != case.id)).scalars())
    # In the order of their writing: the newest row that names a file stays.
    columns = (RESULTS.c.case_id, RESULTS.c.arrays, RESULTS.c.created)
    for owner, arrays, created in conn.execute(select(*columns).order_by(RESULTS.c.id)):
        for name in json.loads(arrays).values():
            if owner == case.id:
                named[name] = created
            else:
                others.add(name)
    return {name: datetime.fromisoformat(when).timestamp() for name, when in named.items() if name not in others}


def _delete_rows(conn: Connection, case_id: str) -> None:
    """Delete all rows of a case; the triggers that refuse it are back before anybody else can see the tables."""
    conn.exec_driver_sql("PRAGMA secure_delete=ON")  # zeros over what was there, also where no vacuum follows
    guarded = ("signoffs", "events", "results", "same_patient")
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name IN (?, ?, ?, ?)"
    triggers = conn.exec_driver_sql(query, tuple(f"{table}_no_delete" for table in guarded)).all()
    for name, _ in triggers:
        conn.exec_driver_sql(f"DROP TRIGGER {name}")
    results = select(RESULTS.c.id).where(RESULTS.c.case_id == case_id)
    conn.execute(delete(SIGNOFFS).where(SIGNOFFS.c.result_id.in_(results)))
    conn.execute(delete(EVENTS).where(or_(EVENTS.c.case_id == case_id, EVENTS.c.result_id.in_(results))))
    conn.execute(delete(RESULTS).where(RESULTS.c.case_id == case_id))
    conn.execute(delete(SAME_PATIENT).where(or_(SAME_PATIENT.c.one == case_id, SAME_PATIENT.c.other == case_id)))
    conn.execute(delete(JOBS).where(JOBS.c.case_id == case_id))
    conn.execute(delete(CASES).where(CASES.c.id == case_id))
    for _, sql in triggers:
        conn.exec_driver_sql(sql)


def _vacuum(store: CaseStore) -> bool:
    """Write the database anew without its free pages, and empty the journal, which holds pages of before."""
    try:
        with closing(store.engine.raw_connection()) as raw:
            raw.cursor().execute("VACUUM")
            busy, *_ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return not busy
