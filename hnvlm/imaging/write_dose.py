"""A dose as RTDOSE that says whether it was predicted or calculated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import RTDoseStorage, RTPlanStorage, RTStructureSetStorage
from pydicom.valuerep import format_number_as_ds

from hnvlm.imaging.resample import crop, mask_box
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whole import whole_file
from hnvlm.imaging.write import AI_DRAFT, MARK, SYNTHETIC_TEXT, content_uid, ct_headers, fill_study, new_dataset

PREDICTED_TEXT = f"{AI_DRAFT}: dose PREDICTED by a model, not calculated from beams; not for treatment"
CLINIC_TEXT = "Dose of the clinic, resampled to the grid of the CT; research use only"
SCALED_TEXT = (
    "WHAT-IF: dose of the clinic, resampled to the grid of the CT and SCALED to another prescription; not planned, "
    "not for treatment; research use only"
)
# (predicted, what-if) -> DoseComment, at most 64 characters; SeriesDescription is as short.
_COMMENT = {
    (True, False): f"{AI_DRAFT}: PREDICTED, not calculated",
    (True, True): f"{AI_DRAFT}: what-if, PREDICTED",
    (False, False): "imported dose on the CT's grid, research use only",
    (False, True): "what-if: imported dose, SCALED, not planned; research use only",
}
_SERIES = {
    (True, False): f"{AI_DRAFT}: PREDICTED DOSE",
    (True, True): f"{AI_DRAFT}: what-if, PREDICTED",
    (False, False): "Imported dose, research use only",
    (False, True): "WHAT-IF: imported dose, SCALED, research use only",
}
# Dose Summation Types that ask which part of the plan it is (PS3.3 C.8.8.3); that was not kept with the dose.
_OF_BEAM = ("BEAM", "BEAM_SESSION", "CONTROL_POINT")
_OF_APPLICATION = ("BRACHY", "BRACHY_SESSION")
_PARTS = ("FRACTION", "FRACTION_SESSION", *_OF_BEAM, *_OF_APPLICATION)
_NO_PLAN = (
    "No plan lies behind this object: plan, fraction group and beam that it names only stand for those of the clinic"
)
_LEVELS = 65535  # of 16 bit: 75 Gy in steps of about 0.001 Gy


def header_note(*, predicted: bool, what_if: bool = False, synthetic: bool = False) -> str:
    """What a dose says about itself in the 79 characters of a NIfTI header.

    Args:
        predicted: A model made it; otherwise it is the clinic's dose.
        what_if: It was changed: predicted from changed inputs, or scaled to another prescription.
        synthetic: The CT is no patient's.
    """
    if predicted:
        note = f"{AI_DRAFT}: {'what-if dose' if what_if else 'dose'} in Gy PREDICTED by AI"
    elif what_if:
        note = "what-if: dose of the clinic, scaled, in Gy, research use only"
    else:
        note = "dose of the clinic in Gy, research use only"
    return f"{MARK} CT: {note}" if synthetic else note


def write_rtdose(
    dose: Volume,
    ct: Volume,
    path: Path | str,
    *,
    predicted: bool = True,
    what_if: bool = False,
    note: str = "",
    version: str = "",
    synthetic: bool = False,
    meta: Mapping[str, Any] | None = None,
    structure_set_uid: str = "",
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Write a dose as RTDOSE in the frame of reference of the CT that ``write_dicom_series`` writes of ``ct``.

    The grid is cut to where there is dose (one voxel more on each side); a reader takes the rest as 0.

    Args:
        dose: Gy (z, y, x) on the CT's grid, at least 0.
        ct: The CT.
        path: File to write.
        predicted: A model made it: series description, comment and label say so. Otherwise it is the clinic's dose,
            brought to the CT's grid.
        what_if: It was changed: predicted from changed inputs, or the clinic's dose scaled to another prescription. A
            scaled dose that called itself imported would be taken for the one that was planned.
        note: What else a reader must know, e.g. that the dose was scaled.
        version: Version of the model, "" where none made it.
        synthetic, meta: As they were given to ``write_dicom_series``.
        structure_set_uid: SOP instance of the RTSTRUCT written beside it.
        tags: Dose Summation Type and Dose Type of the clinic's dose, where it is not the physical dose of a plan.

    Raises:
        ValueError: The dose is not on the CT's grid, is negative or not finite, or holds no dose at all.
    """
    if not dose.same_grid(ct):
        raise ValueError(f"the dose {dose.shape} is not on the grid of the CT {ct.shape}")
    if not np.isfinite(dose.array).all() or float(dose.array.min()) < 0:
        raise ValueError("a dose is finite and not negative")
    box = mask_box(dose.array > 0, 1)
    if box is None:
        raise ValueError("there is no dose to write")
    part, _ = crop(dose, box)
    scaling = format_number_as_ds(float(part.array.max()) / _LEVELS * (1 + 1e-9))
    stored = np.clip(np.rint(part.array.astype(np.float64) / float(scaling)), 0, _LEVELS).astype("<u2")
    header = ct_headers(ct, "", synthetic, meta, slices=(0,))[0]
    # All that the file says: an archive keeps the first object of a UID, and with it the structures that one refers to.
    said = (predicted, what_if, note, version, structure_set_uid, *sorted((tags or {}).items()))
    uid = content_uid(header.SeriesInstanceUID, "rtdose", part.content_hash(), *said)
    ds = new_dataset(RTDoseStorage, uid)
    fill_study(ds, ct, {**(meta or {}), "frame_uid": header.FrameOfReferenceUID}, "RTDOSE", content_uid(uid, "series"))
    _describe(ds, predicted, what_if, note, version)
    if synthetic:
        ds.SeriesDescription = f"{MARK} CT: {ds.SeriesDescription}"[:64]
        ds.ImageComments = f"{SYNTHETIC_TEXT}. {ds.ImageComments}"[:10240]
    for tag, value in (tags or {}).items():
        ds[tag].value = value
    _fill_grid(ds, part, scaling)
    ds.ReferencedRTPlanSequence = [_plan_reference(str(ds.DoseSummationType), content_uid(uid, "plan"))]
    if ds.DoseSummationType in _PARTS:
        ds.ImageComments = f"{ds.ImageComments}. {_NO_PLAN}"[:10240]
    if structure_set_uid:
        ds.ReferencedStructureSetSequence = [_reference(RTStructureSetStorage, structure_set_uid)]
    ds.PixelData = stored.tobytes()
    path = Path(path)
    with whole_file(path) as partial:
        ds.save_as(partial, enforce_file_format=True)
    return path


def _describe(ds: Dataset, predicted: bool, what_if: bool, note: str, version: str) -> None:
    """Say what the dose is in every place a planning system may show."""
    text = PREDICTED_TEXT if predicted else SCALED_TEXT if what_if else CLINIC_TEXT
    ds.SeriesDescription = _SERIES[predicted, what_if]
    ds.DoseComment = _COMMENT[predicted, what_if]  # the whole goes into the image comment
    ds.ImageComments = ". ".join(t for t in (text, note) if t)[:10240]
    if version:
        ds.SoftwareVersions = version
    ds.ApprovalStatus = "UNAPPROVED"
    ds.InstanceNumber = 1
    ds.DoseUnits, ds.DoseType = "GY", "PHYSICAL"
    # A plan has to be named for a dose of a whole plan (PS3.3 C.8.8.3); no plan object exists behind a prediction.
    ds.DoseSummationType = "PLAN"


def _fill_grid(ds: Dataset, part: Volume, scaling: str) -> None:
    ds.DoseGridScaling = scaling
    z, y, x = part.origin_mm
    ds.ImagePositionPatient = [format_number_as_ds(round(float(v), 6)) for v in (x, y, z)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = [format_number_as_ds(round(v, 6)) for v in part.spacing_mm[1:]]
    ds.SliceThickness = format_number_as_ds(round(part.spacing_mm[0], 6))
    ds.NumberOfFrames = part.shape[0]
    ds.FrameIncrementPointer = Tag(0x3004, 0x000C)
    ds.GridFrameOffsetVector = [format_number_as_ds(round(part.spacing_mm[0] * k, 6)) for k in range(part.shape[0])]
    ds.Rows, ds.Columns = part.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0


def _plan_reference(summation: str, plan_uid: str) -> Dataset:
    """Name the plan of a dose, and of a dose of a part the fraction group and the beam that the type asks for."""
    plan = _reference(RTPlanStorage, plan_uid)
    if summation in _PARTS:
        group, part = Dataset(), Dataset()
        group.ReferencedFractionGroupNumber = 1
        if summation in _OF_BEAM:
            part.ReferencedBeamNumber = 1
            group.ReferencedBeamSequence = [part]
            if summation == "CONTROL_POINT":
                point = Dataset()
                point.ReferencedStartControlPointIndex, point.ReferencedStopControlPointIndex = 0, 1
                part.ReferencedControlPointSequence = [point]
        elif summation in _OF_APPLICATION:
            part.ReferencedBrachyApplicationSetupNumber = 1
            group.ReferencedBrachyApplicationSetupSequence = [part]
        plan.ReferencedFractionGroupSequence = [group]
    return plan


def _reference(sop_class: str, instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance_uid
    return item
