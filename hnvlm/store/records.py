"""Plain records the store hands out. Read-only values: to change something, save a new version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Part of the slot of a text that is kept while somebody types: no version of its own.
AUTOSAVE = ".autosave"
# In the place of the version that was edited: there must not be one yet.
FIRST = 0
# States of a job that has not ended.
ACTIVE = ("queued", "running")
RESULT_KINDS = (
    "segmentation", "scope", "findings", "report", "plan", "form", "counterfactual", "zeroshot",
    "structures", "dose", "dose_told", "embedding", "rating",
)  # fmt: skip


@dataclass(frozen=True)
class CaseRecord:
    """One stored case: a de-identified CT and what is known about it.

    Attributes:
        id: Human-readable, e.g. ``HN-0007``; never given twice.
        created: UTC, ISO 8601.
        origin: Where it came from: ``upload`` or ``demo``; never a patient's name.
        description: Free text (series description after de-identification, or the user's words).
        shape: Voxels along (z, y, x).
        spacing_mm: Along (z, y, x).
        origin_mm: LPS position of voxel (0, 0, 0), order (z, y, x).
        frame_uid: Frame of reference, "" when unknown.
        content_hash: SHA-256 of HU and geometry (``Volume.content_hash``).
        array_sha: Name of the array file.
        demo: Made by the app, not from a patient.
        in_scope: Whether the models accept the CT; None before anyone looked.
        scope_reason: Why (not).
        meta: What intake reported: warnings, series facts, mapped UIDs.
        deleted: When the case was deleted (UTC), or None.
    """

    id: str
    created: str
    origin: str
    description: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    frame_uid: str
    content_hash: str
    array_sha: str
    demo: bool
    in_scope: bool | None
    scope_reason: str
    meta: dict[str, Any] = field(default_factory=dict)
    deleted: str | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it is no patient's CT: the demo, or a series that says so itself."""
        return self.demo or bool(self.meta.get("synthetic"))


@dataclass(frozen=True)
class SignOff:
    """A clinician's signature under one version of a result."""

    result_id: int
    clinician: str
    created: str
    statement: str = ""


@dataclass(frozen=True)
class ResultRecord:
    """One version of one result. A save makes a new version; nothing is overwritten.

    Attributes:
        kind: One of RESULT_KINDS.
        slot: Separates chains of the same kind, e.g. the language of a report.
        version: 1, 2, ... within (case, kind, slot).
        payload: JSON content.
        arrays: Name -> array file (masks, difference volumes); read with ``CaseStore.load_array``/``load_masks``.
        provenance: What made it: model, version, weights hash, seed, settings; {} for a person's edit.
        who: Who saved it.
        supersedes: Id of the version before, or None.
        signoffs: Signatures under exactly this version.
    """

    id: int
    case_id: str
    kind: str
    slot: str
    version: int
    payload: dict[str, Any]
    arrays: dict[str, str]
    provenance: dict[str, Any]
    created: str
    who: str
    supersedes: int | None
    signoffs: tuple[SignOff, ...] = ()

    @property
    def signed(self) -> bool:
        """Whether a clinician signed this version."""
        return bool(self.signoffs)


@dataclass(frozen=True)
class AuditEvent:
    """Who did what, when."""

    id: int
    case_id: str | None
    result_id: int | None
    created: str
    who: str
    action: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """The newest that a clinician said of two cases (``one`` sorts before ``other``).

    ``verdict`` is ``same`` (one patient's), ``different`` (not) or "" (what was said before was taken back).
    """

    one: str
    other: str
    verdict: str
    created: str
    who: str


@dataclass(frozen=True)
class JobRecord:
    """What the store remembers about a background job after its thread is gone.

    ``state`` is queued, running, done, failed, cancelled or interrupted (its server died).
    """

    id: str
    case_id: str | None
    kind: str
    state: str
    owner: str
    who: str
    created: str
    started: str | None
    finished: str | None
    error: str
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def upload(self) -> str:
        """The upload that it reads, "" for none; known until the job has ended."""
        return str(self.result.get("upload", "")) if self.state in ACTIVE else ""


@dataclass(frozen=True)
class VerifyReport:
    """Outcome of ``CaseStore.verify``: empty lists mean that everything is as it was saved.

    Attributes:
        missing, damaged: Array files that rows name; they are gone, or their bytes are others.
        wrong_content: Ids of cases whose CT no longer fits its geometry.
        orphans: Array files that no row names, and half-written ones.
        used_by: Missing or damaged file -> what it belongs to, in words ("HN-0003: CT").
        database: What SQLite finds wrong with its own file.
    """

    checked_arrays: int
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    wrong_content: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    used_by: dict[str, list[str]] = field(default_factory=dict)
    database: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every array that a row names is there and unchanged (orphans are harmless)."""
        return not (self.missing or self.damaged or self.wrong_content or self.database)

    def lost(self) -> list[str]:
        """What is not as it was saved, in words, by case."""
        lines = [f"{use} ({name} is missing)" for name in self.missing for use in self.used_by[name]]
        lines += [f"{use} ({name} is damaged)" for name in self.damaged for use in self.used_by[name]]
        lines += [f"{case}: the CT no longer fits its geometry" for case in self.wrong_content]
        return lines + [f"database: {line}" for line in self.database]
