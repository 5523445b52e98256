"""What clinicians said of two cases: of one patient, or not. Rows that are added; the newest of a pair holds."""

from __future__ import annotations

from sqlalchemy import func, insert, select

from hnvlm.errors import HnvlmError
from hnvlm.store.cases import CaseStore
from hnvlm.store.database import CASES, SAME_PATIENT, reading, utc_now, writing
from hnvlm.store.records import Statement
from hnvlm.store.rows import load_case, write_event

# Verdict -> words of the audit trail, written for both cases.
_SAID = {
    "same": "linked as of the same patient", "different": "said not to be of the same patient",
    "": "link or denial taken back",
}  # fmt: skip


def statements(store: CaseStore) -> tuple[list[Statement], int]:
    """Return the newest statement of every pair, oldest first, and the number of the last one of all."""
    newest = select(func.max(SAME_PATIENT.c.id)).group_by(SAME_PATIENT.c.one, SAME_PATIENT.c.other)
    query = select(SAME_PATIENT).where(SAME_PATIENT.c.id.in_(newest)).order_by(SAME_PATIENT.c.id)
    with reading(store.engine) as conn:
        rows = conn.execute(query).mappings().all()
    found = [Statement(row["one"], row["other"], row["verdict"], row["created"], row["who"]) for row in rows]
    return found, rows[-1]["id"] if rows else 0


def say(store: CaseStore, case_id: str, other_id: str, verdict: str, *, who: str, based_on: int) -> None:
    """Add a statement, and an event to the trail of both cases.

    Args:
        verdict: As in ``Statement``.
        based_on: The number that ``statements`` gave with those that were read before.

    Raises:
        NotFoundError: No such case.
        HnvlmError: Code ``conflict``: somebody said something of any two cases since.
    """
    with writing(store.engine) as conn:
        for id_ in (case_id, other_id):
            load_case(conn, id_)
        last = conn.execute(select(func.max(SAME_PATIENT.c.id))).scalar() or 0
        if last != based_on:
            raise HnvlmError("Somebody linked cases at the same moment. Look again, then decide.", code="conflict")
        one, other = sorted((case_id, other_id))
        conn.execute(insert(SAME_PATIENT).values(one=one, other=other, verdict=verdict, created=utc_now(), who=who))
        for id_, with_ in ((one, other), (other, one)):
            write_event(conn, who, _SAID[verdict], id_, details={"with": with_})


def known_as(store: CaseStore) -> dict[str, tuple[str, int | None]]:
    """Return case id -> key and day, of the cases whose upload gave a number and a birth date of the patient."""
    query = select(CASES.c.id, CASES.c.patient_key, CASES.c.patient_day).where(CASES.c.patient_key != "")
    with reading(store.engine) as conn:
        return {row.id: (row.patient_key, row.patient_day) for row in conn.execute(query)}
