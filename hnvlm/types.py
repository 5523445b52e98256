"""Plain values that cross layers: findings, reports, checks, provenance. No torch, no database, no UI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hnvlm.imaging.volume import Volume

Side = Literal["left", "right", "midline", "bilateral"]
Presence = Literal["present", "absent", "indeterminate"]
Source = Literal["measured", "zero-shot", "vlm", "clinician"]

# Nodal levels and primary sites the models were taught. Names are those of the lexicon.
NODE_LEVELS = ("IB", "II", "III", "IV", "V")
MASS_SITES = ("oral tongue", "base of tongue", "palatine tonsil", "supraglottis", "pyriform sinus", "parotid gland")
TEXTURES = ("solid", "necrotic")
AIRWAY_LEVELS = ("oropharynx", "hypopharynx", "larynx")
SIDES = ("left", "right")

# TG-263 names of what the segmenter contours.
OAR_NAMES = ("Brainstem", "SpinalCord", "Parotid_R", "Parotid_L", "Esophagus", "Larynx", "Bone_Mandible")
TARGET_NAMES = ("PTV_7000", "PTV_6300", "PTV_5600")
# What a structure is called in the left-right mirrored patient; the others keep their name.
MIRRORED = {"Parotid_R": "Parotid_L", "Parotid_L": "Parotid_R"}
# File names of the public challenge's folders -> TG-263 names.
OPENKBP_TO_TG263 = {
    "Brainstem": "Brainstem", "SpinalCord": "SpinalCord", "RightParotid": "Parotid_R", "LeftParotid": "Parotid_L",
    "Esophagus": "Esophagus", "Larynx": "Larynx", "Mandible": "Bone_Mandible",
    "PTV70": "PTV_7000", "PTV63": "PTV_6300", "PTV56": "PTV_5600",
}  # fmt: skip

FindingKind = Literal["node", "mass", "airway", "target", "artefact", "coverage"]


@dataclass(frozen=True)
class Finding:
    """One observation: the common currency of reports, models, plan and viewer.

    Attributes:
        kind: ``node`` (a lymph node at ``level``), ``mass`` (a primary mass at ``site``), ``airway``
            (narrowing; ``site`` is one of AIRWAY_LEVELS), ``target`` (predicted high-dose target
            region), ``artefact`` (dental), ``coverage`` (field of view).
        presence: ``absent`` is a statement ("no mass"), not the lack of one.
        site: Primary site or airway level, lexicon name.
        side: Side of the patient; ``midline`` and ``bilateral`` where they apply.
        level: Nodal level (IB, II, III, IV, V).
        size_mm: Greatest dimension in millimetres.
        certainty: Words of the certainty scale: definite, probable, possible.
        source: Who says so.
        slice_index: Axial index (z) where it is best seen, on the case's own grid.
        box: (z0, y0, x0, z1, y1, x1) voxel box on the case's own grid, end exclusive.
        score: Probability, where a model gave one.
        attributes: What only some kinds have: ``texture`` (solid | necrotic), ``narrowing_pct``,
            ``min_area_mm2``, ``volume_ml``, ``superior``/``inferior`` extent words.
    """

    kind: FindingKind
    presence: Presence = "present"
    site: str | None = None
    side: Side | None = None
    level: str | None = None
    size_mm: float | None = None
    certainty: str = "probable"
    source: Source = "measured"
    slice_index: int | None = None
    box: tuple[int, int, int, int, int, int] | None = None
    score: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str | None:
        """Level of a node, site of anything else."""
        return self.level if self.kind == "node" else self.site

    @property
    def where(self) -> tuple[FindingKind, Side | None, str | None]:
        """Kind, side and place: what two findings have alike that are told of one lesion."""
        return self.kind, self.side, self.place

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict; ``from_json`` is its inverse."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Finding:
        """Build a finding from ``to_json`` output; unknown keys are an error."""
        data = dict(data)
        if data.get("box") is not None:
            data["box"] = tuple(data["box"])
        return Finding(**data)


@dataclass(frozen=True)
class CheckResult:
    """One check of a text or plan.

    Attributes:
        id: Stable identifier of the rule.
        status: ``pass``, ``fail``, ``warn`` or ``not_evaluated``.
        message: What a clinician should read.
        source: Document the rule comes from, or "" for app logic.
    """

    id: str
    status: Literal["pass", "fail", "warn", "not_evaluated"]
    message: str
    source: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """What made a result: enough to make it again."""

    model: str
    version: str
    weights_sha256: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """Version and weights, short enough for a DICOM LO: a version may keep its number when it is trained anew."""
        return f"{self.version}, weights {self.weights_sha256[:12]}"


@dataclass(frozen=True)
class ReportDraft:
    """What the report model wrote about one volume.

    Attributes:
        text: The whole draft, sections with upper-case headings.
        first_token_seconds: Time from call to first piece of text.
    """

    text: str
    language: str
    provenance: Provenance
    seconds: float
    first_token_seconds: float


@dataclass(frozen=True)
class Segmentation:
    """Structures on the volume's own grid.

    Attributes:
        masks: TG-263 name -> bool array (z, y, x). A structure outside the field of view is absent.
        uncertainty: Name -> mean entropy near the border, 0 (sure) to 1.
        gross: Gross tumour volumes as the clinic contoured them, its name -> bool array (z, y, x). No model draws them;
            where there are any, they say where disease is.
        of_patient: Whether the CT is a patient's. In a synthetic one nobody looks for real disease.
    """

    masks: dict[str, Any]
    uncertainty: dict[str, float]
    provenance: Provenance
    seconds: float
    gross: Mapping[str, Any] = field(default_factory=dict)
    of_patient: bool = True


@dataclass(frozen=True)
class ScopeVerdict:
    """Whether the CT is one the models were made for, and why (not)."""

    in_scope: bool
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Counterfactual:
    """An edit of a patient's CT.

    Attributes:
        volume: Edited HU on the input's own grid; outside ``edit_mask`` every voxel is the original's.
        edit_mask: bool (z, y, x).
        edit_box_mm: ((z0, y0, x0), (z1, y1, x1)) LPS millimetres, or None when nothing changed.
        asked: What the text was understood to ask for (op, kind, site, level, side, size_mm, texture).
        identity: Measures of what stayed the same (max |HU| change outside the edit, ...).
        text_match: Measures of what the edit shows (lesion found, side, size, ...).
    """

    volume: Volume
    edit_mask: Any
    edit_box_mm: tuple[tuple[float, float, float], tuple[float, float, float]] | None
    asked: dict[str, Any]
    identity: dict[str, Any]
    text_match: dict[str, Any]
    gflops: float
    provenance: Provenance
    seconds: float


@dataclass(frozen=True)
class DosePrediction:
    """Achievable dose of a plan as the dose network predicts it (AI draft, research use only).

    Attributes:
        dose_gy: float32 Gy on the CT's own grid, 0 outside the body.
        prescriptions: Target name -> prescribed Gy the prediction was asked for.
        from_ct: Whether the CT was used, or structures alone.
        notes: What a reader must know (a missing organ, a level the network was not trained with, ...).
    """

    dose_gy: Volume
    prescriptions: dict[str, float]
    provenance: Provenance
    seconds: float
    from_ct: bool = True
    notes: tuple[str, ...] = ()


# progress(fraction 0..1, message). It raises hnvlm.errors.CancelledError when the user pressed Stop.
Progress = Callable[[float, str], None]


def no_progress(fraction: float, message: str) -> None:
    """Progress callback that ignores everything."""
