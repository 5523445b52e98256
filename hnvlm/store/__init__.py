"""SQLite records and content-hashed arrays of every case."""

from hnvlm.store.cases import CaseStore
from hnvlm.store.jobs import JobStore
from hnvlm.store.jsonable import dumps, jsonable
from hnvlm.store.records import AUTOSAVE, FIRST, AuditEvent, CaseRecord, JobRecord, ResultRecord, SignOff, VerifyReport

__all__ = [
    "AUTOSAVE", "FIRST", "AuditEvent", "CaseRecord", "CaseStore", "JobRecord", "JobStore", "ResultRecord",
    "SignOff", "VerifyReport", "dumps", "jsonable",
]  # fmt: skip
