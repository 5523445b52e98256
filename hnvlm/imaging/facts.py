"""Facts about a CT that may be kept: numbers and defined terms, never free text; and whether its values are HU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from hnvlm.imaging import dicom
from hnvlm.imaging.dicom import SliceHeader
from hnvlm.imaging.geometry import StackPlan
from hnvlm.imaging.volume import Volume

# Defined terms (PS3.3 C.7.3.1.1.2, PS3.16 annex L): anything else may be free text and is dropped.
_POSITIONS = {"HFS", "FFS", "HFP", "FFP", "HFDL", "HFDR", "FFDL", "FFDR"}
_BODY_PARTS = {
    "HEAD", "NECK", "HEADNECK", "CHEST", "LUNG", "THORAX", "ABDOMEN", "PELVIS", "BRAIN", "SKULL", "SPINE", "CSPINE",
    "WHOLEBODY", "JAW", "FACE", "SINUS", "LARYNX", "PHARYNX", "THYROID", "TONGUE", "EAR", "ORBIT",
}  # fmt: skip
AIR_HU = -1000
# Image Type of a slice through which rays were taken, not of a plane (PS3.3 C.7.6.1.1.2 and scanners' own words).
_PROJECTIONS = {"MIP", "MINIP", "MNIP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE"}
_ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
# Air inside or around a patient must show somewhere: this many HU of slack allow for noise and partial volume.
NO_AIR_ABOVE_HU = -700
# Most of a head is denser than fat; values that all lie far above mean a lost offset.
SHIFTED_MEDIAN_HU = 300


def collect(headers: Sequence[SliceHeader], plan: StackPlan | None, volume: Volume) -> dict[str, Any]:
    """De-identified facts of a DICOM CT: numbers and defined terms only.

    Returns:
        window_centre, window_width (HU, the first pair), kvp, slice_thickness_mm, contrast (None: not stated),
        patient_position, body_part, transfer_syntax, tilt_deg, evenly_spaced, orientation, synthetic, n_slices.
    """
    first = headers[plan.order[0] if plan and plan.order else 0]
    ds = first.dataset
    agent = ds.get("ContrastBolusAgent")
    body_part = re.sub(r"[^A-Z]", "", first.text("BodyPartExamined").upper())
    position = first.text("PatientPosition").upper()
    centre, width = first_number(ds.get("WindowCenter")), first_number(ds.get("WindowWidth"))
    if centre is None or width is None or width < 1:  # PS3.3 C.11.2.1.2.1: no picture comes of a narrower one
        centre = width = None
    return {
        "source": "dicom",
        "window_centre": centre,
        "window_width": width,
        "kvp": first_number(ds.get("KVP")),
        "slice_thickness_mm": first_number(ds.get("SliceThickness")),
        "contrast": None if agent is None or not str(agent).strip() else True,
        "patient_position": position if position in _POSITIONS else "",
        "body_part": body_part if body_part in _BODY_PARTS else "",
        "transfer_syntax": first.transfer_syntax.name if first.transfer_syntax.is_transfer_syntax else "",
        "tilt_deg": round(plan.tilt_deg, 2) if plan else 0.0,
        "evenly_spaced": plan.regular if plan else True,
        "orientation": plan.orientation if plan else "",
        "synthetic": "SYNTHETIC" in f"{first.text('ImageComments')} {first.text('SeriesDescription')}".upper(),
        "n_slices": len(plan.order) if plan else len(headers),
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing_mm),
    }


def collect_nifti(volume: Volume) -> dict[str, Any]:
    """The same keys where NIfTI knows them."""
    return {
        "source": "nifti",
        "window_centre": None,
        "window_width": None,
        "kvp": None,
        "slice_thickness_mm": None,
        "contrast": None,
        "patient_position": "",
        "body_part": "",
        "transfer_syntax": "NIfTI",
        "tilt_deg": 0.0,
        "evenly_spaced": True,
        "orientation": "",
        "synthetic": False,
        "n_slices": volume.shape[0],
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing_mm),
    }


def first_number(value: Any) -> float | None:
    """The first finite number of a tag that may have several, or None."""
    if value is None or isinstance(value, str):
        return dicom.number(value)
    try:
        return dicom.number(next(iter(value)))
    except (TypeError, StopIteration):
        return dicom.number(value)


def header_warnings(slices: Sequence[SliceHeader]) -> list[str]:
    """What in the headers makes the HU scale or the pixels doubtful."""
    warnings = []
    missing = [h for h in slices if h.slope is None or h.intercept is None]
    if missing:
        warnings.append(
            f"rescale slope or intercept is missing in {len(missing)} of {len(slices)} slices (for example "
            f"{missing[0].label}); slope 1 and intercept 0 were assumed"
        )
    kind = slices[0].text("RescaleType").upper()
    if kind and kind != "HU":
        warnings.append(f"the header calls the values '{kind[:4]}', not HU")
    if any(h.text("LossyImageCompression") == "01" or h.transfer_syntax in _ALWAYS_LOSSY for h in slices):
        warnings.append("the images were compressed with loss: HU and fine detail are not those that were measured")
    if any(_PROJECTIONS & set(h.image_type) for h in slices):
        warnings.append(
            "maximum or minimum intensity projection, not the CT itself: HU, sizes and drafts are not reliable; open "
            "the series it was made from"
        )
    if any(h.text("PhotometricInterpretation") == "MONOCHROME1" for h in slices):
        warnings.append("stored for inverted display (MONOCHROME1); values were read as they are")
    if any(h.text("BurnedInAnnotation").upper() == "YES" for h in slices):
        warnings.append("the images carry burned-in annotation, which may name the patient; check before sharing")
    padding = dicom.padding_problem(slices[0])
    if padding:
        warnings.append(padding)
    if not slices[0].text("FrameOfReferenceUID"):
        warnings.append("no frame of reference: structures and dose cannot be proven to belong to this CT")
    return warnings


def hu_warnings(volume: Volume) -> list[str]:
    """Whether the values look like HU: air near -1000, soft tissue near 0."""
    sample = volume.array[:: max(1, volume.shape[0] // 64), ::2, ::2]
    low = int(sample.min())
    if low > NO_AIR_ABOVE_HU:
        return [
            f"no air in the image (lowest value {low}, expected about {AIR_HU}): the rescale is probably missing or "
            "wrong, so HU values, windows and drafts are not reliable"
        ]
    tissue = sample[sample > -300]
    if tissue.size and float(np.median(tissue)) > SHIFTED_MEDIAN_HU:
        return [f"soft tissue is not near 0 HU (median {np.median(tissue):.0f}); the HU scale is doubtful"]
    return []
