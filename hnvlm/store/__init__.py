"""SQLite records and content-hashed arrays of every case."""

from hnvlm.store.backup import back_up
from hnvlm.store.cases import CaseStore
from hnvlm.store.database import utc_now
from hnvlm.store.erase import erase_case
from hnvlm.store.jobs import JobStore, died
from hnvlm.store.jsonable import dumps, jsonable
from hnvlm.store.links import known_as, say, statements
from hnvlm.store.records import (
    AUTOSAVE,
    FIRST,
    AuditEvent,
    CaseRecord,
    JobRecord,
    ResultRecord,
    SignOff,
    Statement,
    VerifyReport,
)

__all__ = [
    "AUTOSAVE", "FIRST", "AuditEvent", "CaseRecord", "CaseStore", "JobRecord", "JobStore", "ResultRecord",
    "SignOff", "Statement", "VerifyReport", "back_up", "died", "dumps", "erase_case", "jsonable", "known_as", "say",
    "statements", "utc_now",
]  # fmt: skip
