"""Rows to records and back: what cases.py and results.py share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select

from hnvlm.errors import NotFoundError
from hnvlm.store.database import CASES, EVENTS, RESULTS, SIGNOFFS, utc_now
from hnvlm.store.jsonable import dumps
from hnvlm.store.records import CaseRecord, ResultRecord, SignOff

# Built once: a page asks for the newest version of a result two dozen times in each run, and building a statement takes
# longer than SQLite takes to answer it.
_OF_CHAIN = [getattr(RESULTS.c, name) == bindparam(name) for name in ("case_id", "kind", "slot")]
_NEWEST = select(RESULTS).where(*_OF_CHAIN).order_by(RESULTS.c.version.desc()).limit(1)
_NEWEST_HEAD = _NEWEST.with_only_columns(RESULTS.c.id, RESULTS.c.version, RESULTS.c.who)
_CASE = select(CASES).where(CASES.c.id == bindparam("id"))
_RESULT = select(RESULTS).where(RESULTS.c.id == bindparam("id"))
_SIGNED = select(SIGNOFFS).where(SIGNOFFS.c.result_id == bindparam("id")).order_by(SIGNOFFS.c.id)


def write_event(
    conn: Connection,
    who: str,
    action: str,
    case_id: str | None = None,
    result_id: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add a row to the audit trail."""
    conn.execute(
        insert(EVENTS).values(
            case_id=case_id, result_id=result_id, created=utc_now(), who=who, action=action,
            details=dumps(details or {}),
        )
    )  # fmt: skip


def load_case(conn: Connection, case_id: str) -> CaseRecord:
    """Return one case; NotFoundError when there is none."""
    row = conn.execute(_CASE, {"id": case_id}).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no case {case_id} in the store. Look up its id on the Cases page.")
    return case_of(row)


def case_of(row: RowMapping) -> CaseRecord:
    """Build the record of a row of ``cases``."""
    geometry = json.loads(row["geometry"])
    return CaseRecord(
        id=row["id"], created=row["created"], origin=row["origin"], description=row["description"],
        shape=tuple(geometry["shape"]), spacing_mm=tuple(geometry["spacing_mm"]),
        origin_mm=tuple(geometry["origin_mm"]), frame_uid=row["frame_uid"], content_hash=row["content_hash"],
        array_sha=row["array_sha"], demo=bool(row["demo"]),
        in_scope=None if row["in_scope"] is None else bool(row["in_scope"]), scope_reason=row["scope_reason"],
        meta=json.loads(row["meta"]), deleted=row["deleted"],
    )  # fmt: skip


def latest_row(conn: Connection, case_id: str, kind: str, slot: str) -> RowMapping | None:
    """Return id, version and who of the newest version, or None."""
    return conn.execute(_NEWEST_HEAD, {"case_id": case_id, "kind": kind, "slot": slot}).mappings().one_or_none()


def load_latest(conn: Connection, case_id: str, kind: str, slot: str) -> ResultRecord | None:
    """Return the newest version with its signatures, or None."""
    row = conn.execute(_NEWEST, {"case_id": case_id, "kind": kind, "slot": slot}).mappings().one_or_none()
    return None if row is None else result_of(row, _signed(conn, row["id"]))


def load_result(conn: Connection, result_id: int) -> ResultRecord:
    """Return one version with its signatures; NotFoundError when there is none."""
    row = conn.execute(_RESULT, {"id": result_id}).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no result {result_id} in the store.")
    return result_of(row, _signed(conn, result_id))


def _signed(conn: Connection, result_id: int) -> tuple[SignOff, ...]:
    return tuple(signoff_of(row) for row in conn.execute(_SIGNED, {"id": result_id}).mappings())


def result_of(row: RowMapping, signoffs: tuple[SignOff, ...] = ()) -> ResultRecord:
    """Build the record of a row of ``results``."""
    values = dict(row)
    for key in ("payload", "arrays", "provenance"):
        values[key] = json.loads(values[key])
    return ResultRecord(**values, signoffs=signoffs)


def signoff_of(row: RowMapping) -> SignOff:
    """Build the record of a row of ``signoffs``."""
    return SignOff(row["result_id"], row["clinician"], row["created"], row["statement"])
