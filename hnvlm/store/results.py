"""The results half of the case store: versions, signatures, audit trail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Engine, func, insert, select

from hnvlm.errors import HnvlmError, NotFoundError, UsageError
from hnvlm.imaging.masks import PackedMasks
from hnvlm.store.arrays import ArrayStore
from hnvlm.store.database import CASES, EVENTS, RESULTS, SIGNOFFS, reading, utc_now, writing
from hnvlm.store.jsonable import dumps
from hnvlm.store.records import AUTOSAVE, FIRST, RESULT_KINDS, AuditEvent, ResultRecord, SignOff
from hnvlm.store.rows import latest_row, load_case, load_latest, load_result, result_of, signoff_of, write_event

ArrayLike = np.ndarray | Mapping[str, np.ndarray]


class ResultMethods:
    """Methods of ``CaseStore`` that deal with results; not used on its own."""

    arrays: ArrayStore
    engine: Engine

    # ---- results -----------------------------------------------------------------------------

    def save_result(
        self,
        case_id: str,
        kind: str,
        payload: Mapping[str, Any],
        *,
        slot: str = "",
        arrays: Mapping[str, ArrayLike] | None = None,
        provenance: Any = None,
        who: str = "",
        based_on: int | None = None,
    ) -> ResultRecord:
        """Save a new version of a result; the version before stays readable.

        Args:
            kind: One of RESULT_KINDS.
            payload: JSON content (dataclasses and numpy scalars are converted).
            slot: Separates chains of one kind, e.g. ``en`` and ``pl`` reports.
            arrays: Name -> array, or name -> {structure: bool mask}; written to array files first.
            provenance: ``Provenance`` or dict of what made it; None for a person's edit.
            who: User.
            based_on: Id of the version this one was edited from, FIRST for none. If someone saved another
                version meanwhile, the save is refused rather than hiding their work.

        Raises:
            NotFoundError: No such case.
            UsageError: An unknown kind.
            HnvlmError: Code ``conflict``: ``based_on`` is no longer the latest version.
        """
        if kind not in RESULT_KINDS:
            raise UsageError(f"'{kind}' is not a kind of result; known are {', '.join(RESULT_KINDS)}.")
        text, origin = dumps(payload), dumps(provenance or {})
        names = {}
        for name, value in (arrays or {}).items():
            names[name] = self.arrays.put_masks(value) if isinstance(value, Mapping) else self.arrays.put(value)
        with writing(self.engine) as conn:
            load_case(conn, case_id)
            latest = latest_row(conn, case_id, kind, slot)
            if based_on is not None and (latest["id"] if latest else FIRST) != based_on:
                raise HnvlmError(
                    f"{latest['who'] if latest else 'Somebody'} saved another version of this {kind} while you were "
                    "editing. Read the newest version and add your changes to it.",
                    code="conflict",
                )
            version = latest["version"] + 1 if latest else 1
            result_id = conn.execute(
                insert(RESULTS).values(
                    case_id=case_id, kind=kind, slot=slot, version=version, payload=text, arrays=dumps(names),
                    provenance=origin, created=utc_now(), who=who, supersedes=latest["id"] if latest else None,
                )
            ).inserted_primary_key[0]  # fmt: skip
            what = "typed text kept" if AUTOSAVE in slot else f"{kind} saved"
            write_event(conn, who, what, case_id, result_id, {"version": version, "slot": slot})
            return load_result(conn, result_id)

    def latest_result(self, case_id: str, kind: str, slot: str = "") -> ResultRecord | None:
        """Return the newest version of a result, or None when there is none yet."""
        with reading(self.engine) as conn:
            return load_latest(conn, case_id, kind, slot)

    def get_result(self, result_id: int) -> ResultRecord:
        """Return one version by its id.

        Raises:
            NotFoundError: There is no such result.
        """
        with reading(self.engine) as conn:
            return load_result(conn, result_id)

    def history(self, case_id: str, kind: str | None = None, slot: str | None = None) -> list[ResultRecord]:
        """Return all versions, oldest first, with their signatures."""
        query = select(RESULTS).where(RESULTS.c.case_id == case_id)
        if kind is not None:
            query = query.where(RESULTS.c.kind == kind)
        if slot is not None:
            query = query.where(RESULTS.c.slot == slot)
        with reading(self.engine) as conn:
            rows = conn.execute(query.order_by(RESULTS.c.id)).mappings().all()
            signed: dict[int, list[SignOff]] = {}
            joined = select(SIGNOFFS).join(RESULTS, RESULTS.c.id == SIGNOFFS.c.result_id)
            for row in conn.execute(joined.where(RESULTS.c.case_id == case_id).order_by(SIGNOFFS.c.id)).mappings():
                signed.setdefault(row["result_id"], []).append(signoff_of(row))
            return [result_of(row, tuple(signed.get(row["id"], ()))) for row in rows]

    def latest_of_all(self, kind: str) -> dict[str, ResultRecord]:
        """Return case id -> newest result of a kind (no slot), over all cases that are not deleted."""
        newest = (
            select(func.max(RESULTS.c.id).label("id"))
            .join(CASES, CASES.c.id == RESULTS.c.case_id)
            .where(RESULTS.c.kind == kind, RESULTS.c.slot == "", CASES.c.deleted.is_(None))
            .group_by(RESULTS.c.case_id)
            .subquery()
        )
        with reading(self.engine) as conn:
            rows = conn.execute(select(RESULTS).join(newest, newest.c.id == RESULTS.c.id)).mappings()
            return {row["case_id"]: result_of(row) for row in rows}

    def load_array(self, result: ResultRecord, name: str) -> np.ndarray:
        """Return an array saved with a result, as a read-only memory map."""
        return self.arrays.get(_array_name(result, name))

    def load_masks(self, result: ResultRecord, name: str = "masks", only: list[str] | None = None) -> PackedMasks:
        """Return structure -> bool mask (z, y, x) saved with a result, packed; ``only`` limits which are read."""
        return self.arrays.get_masks(_array_name(result, name), only)

    # ---- signatures and audit ----------------------------------------------------------------

    def sign(self, result_id: int, clinician: str, *, statement: str = "") -> ResultRecord:
        """Sign one version by name. A later edit is a new, unsigned version.

        Raises:
            UsageError: No name was given.
            HnvlmError: Code ``conflict``: a newer version exists; sign that one.
        """
        clinician = clinician.strip()
        if not clinician:
            raise UsageError("Enter the name of the clinician who signs.")
        with writing(self.engine) as conn:
            result = load_result(conn, result_id)
            latest = latest_row(conn, result.case_id, result.kind, result.slot)
            if latest is None or latest["id"] != result_id:
                raise HnvlmError(
                    f"Version {result.version} of this {result.kind} is not the newest one. Reload, read and sign "
                    "the newest version.",
                    code="conflict",
                )
            conn.execute(
                insert(SIGNOFFS).values(
                    result_id=result_id, clinician=clinician, created=utc_now(), statement=statement
                )
            )
            details = {"version": result.version, "slot": result.slot}
            write_event(conn, clinician, f"{result.kind} signed", result.case_id, result_id, details)
            return load_result(conn, result_id)

    def log(self, who: str, action: str, case_id: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        """Add an event that is not a save to the audit trail (an export, for example)."""
        with writing(self.engine) as conn:
            write_event(conn, who, action, case_id, details=details)

    def audit(self, case_id: str | None = None) -> list[AuditEvent]:
        """Return who did what, oldest first; of one case or of all."""
        query = select(EVENTS).order_by(EVENTS.c.id)
        if case_id is not None:
            query = query.where(EVENTS.c.case_id == case_id)
        with reading(self.engine) as conn:
            return [
                AuditEvent(**{**row, "details": json.loads(row["details"])}) for row in conn.execute(query).mappings()
            ]


def _array_name(result: ResultRecord, name: str) -> str:
    if name not in result.arrays:
        raise NotFoundError(
            f"Result {result.id} ({result.kind}) has no array '{name}'; it has {sorted(result.arrays)}."
        )
    return result.arrays[name]
