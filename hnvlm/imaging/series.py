"""From the headers of one Series Instance UID to what is listed for the user: phases, localizers, refusals."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from hnvlm.errors import GeometryError
from hnvlm.imaging import dicom, facts
from hnvlm.imaging.dicom import SliceHeader
from hnvlm.imaging.geometry import DUPLICATE_MM, StackPlan, analyse, label_list
from hnvlm.imaging.orient import VOXEL_MM

RT_AND_OTHERS = {
    "RTSTRUCT": "structures, not an image: opened together with its CT",
    "RTDOSE": "dose, not an image: opened together with its CT",
    "RTPLAN": "treatment plan, not an image",
    "SEG": "segmentation, not an image: opened together with its CT",
}
# Tags that tell apart two scans of the same place kept under one series UID.
_PHASE_TAGS = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "SeriesNumber", "TriggerTime",
    "AcquisitionTime", "ContentTime",
)  # fmt: skip
_OF_THE_DAY = ("AcquisitionTime", "ContentTime")
KERNEL = "ConvolutionKernel"
# Gantries tilt by up to 30 degrees; slices that are shifted more have wrong positions.
MAX_TILT_DEG = 40.0
# From the scanner's centre; beyond it a position is damaged.
MAX_POSITION_MM = 100_000.0
# Rescale of stored values to HU: scanners write slopes around 1 and intercepts within some thousands.
MAX_SLOPE, MAX_INTERCEPT = 100.0, 100_000.0
# Values of Rescale Type that a dual-energy scanner gives maps other than HU (PS3.3 C.11.1.1.2).
_OTHER_QUANTITIES = {
    "MGML": "concentrations of a material", "Z_EFF": "effective atomic numbers", "ED": "electron densities",
    "EDW": "electron densities", "PCT": "percentages", "OD": "optical densities",
}  # fmt: skip
# Of what a header says of the scanner; cone-beam CT on a linac or in a dental practice is stored as CT.
_CONE_BEAM = r"CBCT|CONE.?BEAM|ON-BOARD IMAGER|\bXVI\b"
# Diagnostic tubes end at 150 kV.
MEGAVOLTAGE_KV = 300.0


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
    parts = _parts(slices, warnings) if not reasons else []
    if len(parts) < 2:
        return [_ct({**base, "files": files}, slices or list(headers), warnings, reasons)]
    out = []
    for number, (notes, members) in enumerate(parts, 1):
        fields = {**base, "series_uid": f"{base['series_uid']}#{number}", "n_slices": len(members)}
        fields["files"] = list(dict.fromkeys(h.path for h in members))
        out.append(_ct(fields, members, [*warnings, *notes], []))
    return out


def _parts(slices: list[SliceHeader], warnings: list[str]) -> list[tuple[list[str], list[SliceHeader]]]:
    """What one series UID holds, each with notes: one entry, or one for each kernel and phase."""
    out: list[tuple[list[str], list[SliceHeader]]] = []
    kernels = _kernels(slices, warnings)
    for kernel, members in kernels:
        notes = []
        if len(kernels) > 1:
            names = ", ".join(name for name, _ in kernels)
            notes = [
                f"this series holds images of {len(kernels)} reconstruction kernels ({names}); each is listed by "
                f"itself, this is {kernel}"
            ]
        phases = _phases(members)
        if phases is None:
            out.append((notes, members))
            continue
        names = ", ".join(name for name, _ in phases)
        for number, (name, group) in enumerate(phases, 1):
            note = (
                f"this series holds {len(phases)} phases at the same positions ({names}); each is listed by itself, "
                f"this is phase {number} ({name})"
            )
            out.append(([*notes, note], group))
    return out


def _kernels(slices: list[SliceHeader], warnings: list[str]) -> list[tuple[str, list[SliceHeader]]]:
    """Split a series whose kernels cover the same places; where one ends and the other begins, it is one scan."""
    groups: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in slices:
        groups[header.text(KERNEL)].append(header)
    if len(groups) < 2 or any(h.position is None or h.orientation is None for h in slices):
        return [("", slices)]
    rows, columns = np.array(slices[0].orientation).reshape(2, 3)
    along = [float(np.cross(rows, columns) @ h.position) for h in slices]
    order = np.argsort(along, kind="stable")
    changes = [b for a, b in pairwise(order) if slices[a].text(KERNEL) != slices[b].text(KERNEL)]
    repeated = np.diff(np.array(along)[order]).min() <= DUPLICATE_MM
    if len(changes) == len(groups) - 1 and not repeated:
        where = ", ".join(slices[k].label for k in changes[:3])
        warnings.append(
            f"the reconstruction kernel changes within the series ({_kernel_names(groups)}), at {where}: sharpness and "
            "noise are not the same throughout"
        )
        return [("", slices)]
    return [(name or "no kernel stated", groups[name]) for name in sorted(groups)]


def _kernel_names(groups: dict[str, list[SliceHeader]]) -> str:
    return ", ".join(name or "not stated" for name in sorted(groups))


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
    if not isinstance(referenced, Sequence) or not referenced or not isinstance(referenced[0], Dataset):
        return ""
    return str(referenced[0].get("FrameOfReferenceUID") or "")


def _not_a_ct(headers: Sequence[SliceHeader], modality: str) -> str | None:
    if modality in RT_AND_OTHERS:
        return RT_AND_OTHERS[modality]
    if modality != "CT":
        return f"modality {modality} is not CT; only CT can be read (for example {headers[0].label})"
    if not any(min(h.size) > 0 for h in headers):
        return "no image in these CT objects"
    for header in headers:
        words = UID(header.text("SOPClassUID")).name
        if "Image Storage" in words and "CT" not in words.split() and not _is_capture(header):
            return f"called CT, but {header.label} is of the kind '{words}'; only CT can be read"
    return None


def _is_capture(header: SliceHeader) -> bool:
    return "Secondary Capture" in UID(header.text("SOPClassUID")).name


def _is_colour(header: SliceHeader) -> bool:
    return (dicom.whole(header.dataset.get("SamplesPerPixel")) or 1) != 1


def _without_localizers(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    """The slices, without scouts and, among slices, without screen shots; and what to say of it."""
    slices = [h for h in headers if "LOCALIZER" not in h.image_type]
    warnings = _left_out(headers, slices, "localizer image(s) (scout)") if slices else []
    plain = [h for h in slices if not _is_capture(h) and not _is_colour(h)]
    if not plain:
        return slices, warnings
    return plain, warnings + _left_out(slices, plain, "secondary capture(s) (screen shot)")


def _left_out(before: Sequence[SliceHeader], after: Sequence[SliceHeader], what: str) -> list[str]:
    kept = {id(h) for h in after}
    # Whole names only: who takes the names of files out of a message does not find half of one.
    gone = [h for h in before if id(h) not in kept]
    return [f"{len(gone)} {what} left out: {label_list(gone)}"] if gone else []


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
        if header.frame is None and (dicom.whole(ds.get("NumberOfFrames")) or 1) > 1:
            reasons.append(f"{header.label} is a multi-frame image without positions of its frames")
        elif _is_colour(header):
            reasons.append(f"{header.label} is a colour image, not HU")
        elif dicom.whole(ds.get("BitsAllocated")) not in (8, 16, 32):
            reasons.append(f"{header.label} stores {ds.get('BitsAllocated')} bits a pixel, which is not readable as HU")
        elif (dicom.whole(ds.get("HighBit")) or 0) >= (dicom.whole(ds.get("BitsStored")) or 32):
            reasons.append(
                f"{header.label} has its {ds.get('BitsStored')} bits up to bit {ds.get('HighBit')}: values shifted "
                "like this are not readable as HU"
            )
        else:
            continue
        break
    frames = Counter(h.text("FrameOfReferenceUID") for h in slices)
    if len(frames) > 1:
        reasons.append(f"{len(frames)} frames of reference in one series: its slices do not share one patient position")
    return reasons + _mixed(slices) + _rescale_problems(slices)


def _mixed(slices: Sequence[SliceHeader]) -> list[str]:
    """Copies that were anonymised carelessly have one series UID for many patients."""
    for tag, what in (("PatientID", "patients"), ("StudyInstanceUID", "studies")):
        examples: dict[str, SliceHeader] = {}
        for header in slices:
            if header.text(tag):
                examples.setdefault(header.text(tag), header)
        if len(examples) > 1:
            a, b = [h.label for h in examples.values()][:2]
            where = f" (for example {a} and {b})" if a != b else ""
            return [
                f"images of {len(examples)} {what} under one series UID{where}; open the files of each by themselves"
            ]
    return []


def _rescale_problems(slices: Sequence[SliceHeader]) -> list[str]:
    """Why stored values cannot be brought to HU."""
    for header in slices:
        slope, intercept = _rescale(header)
        if not 0 < slope <= MAX_SLOPE or abs(intercept) > MAX_INTERCEPT:
            return [
                f"{header.label} states rescale slope {slope:g} and intercept {intercept:g}, of which no HU can come; "
                "export the series again"
            ]
    kinds = {h.text("RescaleType").upper(): h for h in slices}
    for kind, header in kinds.items():
        if kind in _OTHER_QUANTITIES:
            return [
                f"{header.label} holds {_OTHER_QUANTITIES[kind]} ({kind}), not HU; open the CT itself, or a virtual "
                "monoenergetic series in HU"
            ]
    without = [h for h in slices if h.slope is None or h.intercept is None]
    table = next((h for h in without if h.dataset.get("ModalityLUTSequence")), None)
    if table is not None:
        return [
            f"{table.label} gives its values by a table (Modality LUT), which is not read; export the series with "
            "rescale slope and intercept"
        ]
    if without and len({_rescale(h) for h in slices}) > 1:
        return [
            f"rescale slope or intercept is missing in {without[0].label} ({len(without)} of {len(slices)} slices) and "
            "the others need it: its HU would be wrong; export the series again"
        ]
    return []


def _rescale(header: SliceHeader) -> tuple[float, float]:
    return (1.0 if header.slope is None else header.slope, header.intercept or 0.0)


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
            values = sorted(groups, key=lambda v: (dicom.number(v) is None, dicom.number(v) or 0.0, v))
            # The time of day of a scan is not kept with a case, and neither in words of it.
            shown = [str(n) for n, _ in enumerate(values, 1)] if tag in _OF_THE_DAY else values
            return [(f"{tag} {s or 'missing'}", groups[v]) for s, v in zip(shown, values, strict=True)]
    return None


def _no_repeats(headers: Sequence[SliceHeader]) -> bool:
    keys = [tuple(round(v / DUPLICATE_MM / 5) for v in h.position or ()) for h in headers]
    return len(set(keys)) == len(keys)


def _ct(
    fields: dict[str, Any], slices: list[SliceHeader], warnings: list[str], reasons: list[str]
) -> dict[str, Any]:  # fmt: skip
    plan = StackPlan()
    if not reasons:
        try:
            plan = analyse(slices)
            reasons = [*plan.reasons, *_impossible(plan)]
        except GeometryError as error:
            reasons = [error.message]
    grid = plan.grid if not reasons else None
    return {
        **fields,
        "shape": grid.shape if grid else None,
        "spacing_mm": grid.spacing_mm if grid else None,
        "orientation": plan.orientation,
        "accepted": not reasons,
        "reasons": reasons,
        "warnings": [*warnings, *plan.warnings, *([*facts.header_warnings(slices), *_doubts(slices)] if grid else [])],
        "headers": slices,
        "plan": plan,
    }


def _impossible(plan: StackPlan) -> list[str]:
    """A grid that no scan of a patient has: the positions or the spacing in the headers are damaged."""
    if plan.grid is None:
        return []
    spacing = plan.grid.spacing_mm
    if min(spacing) < VOXEL_MM[0] or max(spacing) > VOXEL_MM[1]:
        return [f"voxels of {' x '.join(f'{v:.4g}' for v in spacing[::-1])} mm; spacing or positions are damaged"]
    if plan.tilt_deg > MAX_TILT_DEG:
        return [f"each slice lies aside of the one before, by {plan.tilt_deg:.0f} degrees; no gantry tilts that far"]
    if max(abs(v) for v in plan.grid.origin_mm) > MAX_POSITION_MM:
        return ["the slices lie more than 100 m from the scanner; their positions are damaged"]
    return []


def _doubts(slices: Sequence[SliceHeader]) -> list[str]:
    """What kind of scanner made the values less than those of a diagnostic CT."""
    first = slices[0]
    said = " ".join([*first.image_type, first.text("ManufacturerModelName"), first.text("SeriesDescription")]).upper()
    kilovolts = facts.first_number(first.dataset.get("KVP")) or 0.0
    warnings = []
    if re.search(_CONE_BEAM, said):
        warnings.append(
            "cone-beam CT: its values are not the HU of a diagnostic CT; windows and drafts are not reliable"
        )
    if kilovolts > MEGAVOLTAGE_KV:
        warnings.append(
            f"megavoltage CT ({kilovolts:g} kV): soft tissues are hardly told apart, so drafts are not reliable"
        )
    if all(_is_capture(h) for h in slices):
        warnings.append("secondary captures, not the scanner's own images: check that the values are HU")
    return warnings
