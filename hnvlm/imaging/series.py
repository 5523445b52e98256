"""From the headers of one Series Instance UID to what is listed for the user: phases, localizers, refusals."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from hnvlm.imaging import dicom, facts
from hnvlm.imaging.dicom import SliceHeader
from hnvlm.imaging.geometry import DUPLICATE_MM, StackPlan, analyse

RT_AND_OTHERS = {
    "RTSTRUCT": "structures, not an image: opened together with its CT",
    "RTDOSE": "dose, not an image: opened together with its CT",
    "RTPLAN": "treatment plan, not an image",
    "SEG": "segmentation, not an image: opened together with its CT",
}
# Tags that tell apart two scans of the same place kept under one series UID.
_PHASE_TAGS = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "AcquisitionTime", "ContentTime",
)  # fmt: skip


def group_key(header: SliceHeader) -> str:
    """Series UID (or the folder for files without one) and modality.

    Some exports give the structures and the dose the series UID of their CT; they are no slices of it all the same.
    """
    return f"{header.text('SeriesInstanceUID') or f'no-uid:{header.path.parent}'}|{header.text('Modality').upper()}"


def describe(headers: Sequence[SliceHeader]) -> list[dict[str, Any]]:
    """Fields of SeriesInfo for one series: one entry, or one for each phase it holds."""
    first = headers[0]
    modality = first.text("Modality").upper() or "unknown"
    base = {
        "series_uid": first.text("SeriesInstanceUID") or _stand_in_uid(headers),
        "modality": modality,
        "description": first.text("SeriesDescription"),
        "n_slices": len(headers),
        "transfer_syntax": first.transfer_syntax.name,
        "study_uid": first.text("StudyInstanceUID"),
        "frame_of_reference_uid": _frame_uid(headers),
    }
    files = list(dict.fromkeys(h.path for h in headers))
    refusal = _not_a_ct(headers, modality)
    if refusal:
        return [{**base, "accepted": False, "reasons": [refusal], "files": files}]
    slices, warnings = _without_localizers(headers)
    reasons = _image_problems(slices) if slices else ["only localizer images (scouts), no slices"]
    phases = _phases(slices) if not reasons else None
    if phases is None:
        return [_ct({**base, "files": files}, slices or list(headers), warnings, reasons)]
    names = ", ".join(name for name, _ in phases)
    out = []
    for number, (name, members) in enumerate(phases, 1):
        note = (
            f"this series holds {len(phases)} phases at the same positions ({names}); each is listed by itself, "
            f"this is phase {number} ({name})"
        )
        fields = {**base, "series_uid": f"{base['series_uid']}#{number}", "n_slices": len(members)}
        fields["files"] = list(dict.fromkeys(h.path for h in members))
        out.append(_ct(fields, members, [*warnings, note], []))
    return out


def _stand_in_uid(headers: Sequence[SliceHeader]) -> str:
    """Something to choose a series without a UID by: of two of them, the other one must not be opened."""
    least = min(f"{h.text('SOPInstanceUID') or h.path.name}\x1f{h.position}" for h in headers)
    return f"unknown-{hashlib.sha256(least.encode()).hexdigest()[:12]}"


def _frame_uid(headers: Sequence[SliceHeader]) -> str:
    first = headers[0]
    own = first.text("FrameOfReferenceUID")
    if own:
        return own
    referenced = first.dataset.get("ReferencedFrameOfReferenceSequence")
    return str(referenced[0].get("FrameOfReferenceUID") or "") if referenced else ""


def _not_a_ct(headers: Sequence[SliceHeader], modality: str) -> str | None:
    if modality in RT_AND_OTHERS:
        return RT_AND_OTHERS[modality]
    if modality != "CT":
        return f"modality {modality} is not CT; only CT can be read (for example {headers[0].label})"
    if not any(min(h.size) > 0 for h in headers):
        return "no image in these CT objects"
    return None


def _without_localizers(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    slices = [h for h in headers if "LOCALIZER" not in h.image_type]
    dropped = len(headers) - len(slices)
    if not dropped or not slices:
        return slices, []
    names = ", ".join(h.label for h in headers if "LOCALIZER" in h.image_type)[:120]
    return slices, [f"{dropped} localizer image(s) (scout) left out: {names}"]


def _image_problems(slices: Sequence[SliceHeader]) -> list[str]:
    """What makes the pixels unusable, whatever the geometry."""
    reasons = []
    for syntax in {h.transfer_syntax for h in slices}:
        problem = dicom.decoder_problem(syntax)
        if problem:
            name = next(h.label for h in slices if h.transfer_syntax == syntax)
            reasons.append(f"{problem}, for example {name}; export the series uncompressed")
    for header in slices:
        ds = header.dataset
        if header.frame is None and int(ds.get("NumberOfFrames") or 1) > 1:
            reasons.append(f"{header.label} is a multi-frame image without positions of its frames")
        elif int(ds.get("SamplesPerPixel") or 1) != 1:
            reasons.append(f"{header.label} is a colour image, not HU")
        elif int(ds.get("BitsAllocated") or 0) not in (8, 16, 32):
            reasons.append(f"{header.label} stores {ds.get('BitsAllocated')} bits a pixel, which is not readable as HU")
        else:
            continue
        break
    frames = Counter(h.text("FrameOfReferenceUID") for h in slices)
    if len(frames) > 1:
        reasons.append(f"{len(frames)} frames of reference in one series: its slices do not share one patient position")
    return reasons


def _phases(slices: Sequence[SliceHeader]) -> list[tuple[str, list[SliceHeader]]] | None:
    """Split a series that has (nearly) every position more than once; None when it is a single scan."""
    unique: dict[str, SliceHeader] = {}
    for n, header in enumerate(slices):
        unique.setdefault(f"{header.text('SOPInstanceUID') or n}/{header.frame}", header)
    members = list(unique.values())
    if any(h.position is None for h in members):
        return None
    positions = Counter(tuple(round(v / DUPLICATE_MM / 5) for v in h.position or ()) for h in members)
    repeated = sum(1 for count in positions.values() if count > 1)
    if repeated < max(2, len(positions) // 2):
        return None
    for tag in _PHASE_TAGS:
        groups: dict[str, list[SliceHeader]] = defaultdict(list)
        for header in members:
            groups[header.text(tag)].append(header)
        if 2 <= len(groups) <= 20 and all(_no_repeats(g) for g in groups.values()):
            return [(f"{tag} {value or 'missing'}", groups[value]) for value in sorted(groups)]
    return None


def _no_repeats(headers: Sequence[SliceHeader]) -> bool:
    keys = [tuple(round(v / DUPLICATE_MM / 5) for v in h.position or ()) for h in headers]
    return len(set(keys)) == len(keys)


def _ct(
    fields: dict[str, Any], slices: list[SliceHeader], warnings: list[str], reasons: list[str]
) -> dict[str, Any]:  # fmt: skip
    plan = StackPlan() if reasons else analyse(slices)
    reasons = [*reasons, *plan.reasons]
    grid = plan.grid if not reasons else None
    return {
        **fields,
        "shape": grid.shape if grid else None,
        "spacing_mm": grid.spacing_mm if grid else None,
        "orientation": plan.orientation,
        "accepted": not reasons,
        "reasons": reasons,
        "warnings": [*warnings, *plan.warnings, *(facts.header_warnings(slices) if not reasons else [])],
        "headers": slices,
        "plan": plan,
    }
