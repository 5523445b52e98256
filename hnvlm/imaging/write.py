"""Volumes and masks to files other programs read: NIfTI, CT as DICOM, RTSTRUCT, SEG.

UIDs are made from the content, so a CT and the structures exported for it refer to each other without any
record of the export. Everything a model made says so in the file itself.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from hnvlm.errors import HnvlmError
from hnvlm.imaging.contours import contours_from_mask, with_keyholes
from hnvlm.imaging.masks import part_of
from hnvlm.imaging.roi_types import interpreted_type
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whole import whole_file

MARK = "SYNTHETIC"
AI_DRAFT = "AI draft, research use only"
NIFTI_HEADER = 352
CLINIC_DRAWN = "drawn by the clinic, as imported"
SYNTHETIC_TEXT = "SYNTHETIC image made by a model, research use only, not for diagnosis"
_MARK_HU, _MARK_BACKGROUND_HU = 1500, -1024
_COLOURS = {
    "PTV_7000": (255, 40, 40), "PTV_6300": (255, 160, 0), "PTV_5600": (250, 230, 60), "SpinalCord": (80, 160, 255),
    "Brainstem": (0, 220, 220), "Parotid_L": (90, 220, 90), "Parotid_R": (40, 160, 60), "Larynx": (220, 120, 255),
    "Esophagus": (190, 140, 90), "Bone_Mandible": (240, 240, 220),
}  # fmt: skip


def content_uid(*parts: object) -> str:
    """UID under the 2.25 root (PS3.5 B.2) that is the same for the same parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return "2.25." + str(int.from_bytes(digest[:16], "big"))


# By which a file of ours is known (PS3.7 annex D.3.3.2).
IMPLEMENTATION_UID = content_uid("hnvlm implementation")


def write_nifti(volume: Volume, path: Path | str, note: str = "") -> Path:
    """Write a volume or mask as NIfTI (``.nii`` or ``.nii.gz``); bool becomes 0/1 bytes.

    The file's axes are LPS read by SimpleITK, so ``read`` gives the same array, spacing and origin back.

    Args:
        volume: Any volume.
        path: File to write.
        note: What the file says about itself (``descrip`` of its header, at most 79 ASCII characters).

    Raises:
        HnvlmError: As ``require_whole``.
    """
    path = Path(path)
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(v) for v in volume.spacing_mm[::-1]])
    image.SetOrigin([float(v) for v in volume.origin_mm[::-1]])
    image.SetMetaData("ITK_FileNotes", note[:79])
    with whole_file(path) as partial:
        sitk.WriteImage(image, str(partial), useCompression=path.name.endswith(".gz"))
        require_whole(partial, array.nbytes, path)
    return path


def require_whole(path: Path, size: int, name: Path | None = None) -> None:
    """Refuse a NIfTI file that was not written whole: the library that writes it is silent on a full disk.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        size: Bytes of its voxels.
        name: What the file is to be called, where it has another name yet.

    Raises:
        HnvlmError: Code ``output``: it is cut short.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as file:
            written = sum(len(block) for block in iter(lambda: file.read(1 << 24), b""))
    except (OSError, EOFError, zlib.error):
        written = 0
    if written < NIFTI_HEADER + size:
        raise HnvlmError(
            f"{name or path} could not be written whole. Is the disk full? Make room there.", code="output"
        )


def write_dicom_series(
    volume: Volume,
    out_dir: Path | str,
    description: str,
    synthetic: bool,
    meta: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a CT as one DICOM file a slice, without any identity.

    Args:
        volume: HU.
        out_dir: Folder for the files (made when missing).
        description: Series description; prefixed for synthetic images.
        synthetic: Made or changed by a model: the word SYNTHETIC is burned into every slice, and the header
            says DERIVED, SECONDARY, burned-in annotation, research use only.
        meta: Facts of ``ReadResult.meta`` (window, kVp, body part, position); ``study_uid`` and
            ``patient_id`` (a pseudonym) to join an existing study.

    Returns:
        The files from foot to head.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    array = np.clip(np.rint(volume.array), -32768, 32767).astype(np.int16)
    if synthetic:
        array = _with_mark(array)
    files = []
    for k, dataset in enumerate(ct_headers(volume, description, synthetic, meta)):
        dataset.PixelData = np.ascontiguousarray(array[k]).astype("<i2").tobytes()
        file = out_dir / f"CT_{k + 1:04d}.dcm"
        with whole_file(file) as partial:
            dataset.save_as(partial, enforce_file_format=True)
        files.append(file)
    return files


def _with_mark(array: np.ndarray) -> np.ndarray:
    """Burn the word SYNTHETIC into the lower left corner of every slice, at most half the image wide."""
    rows, columns = array.shape[1:]
    font = ImageFont.load_default(size=max(8, min(rows, columns) // 16))
    left, top, right, bottom = font.getbbox(MARK)
    picture = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(picture).text((2 - left, 2 - top), MARK, fill=255, font=font)
    scale = min(1.0, columns / 2 / picture.width, rows / 4 / picture.height)
    if scale < 1.0:
        size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
        picture = picture.resize(size)
    ink = np.asarray(picture) > 90
    out = array.copy()
    patch = np.where(ink, _MARK_HU, _MARK_BACKGROUND_HU).astype(np.int16)
    out[:, rows - patch.shape[0] :, : patch.shape[1]] = patch
    return out


def instance_uids(volume: Volume, synthetic: bool, meta: Mapping[str, Any] | None = None) -> list[str]:
    """SOP instances of the CT series that ``write_dicom_series`` writes, one a slice from foot to head."""
    key = _series_key(volume, synthetic, meta or {})
    return [content_uid(*key, "instance", k) for k in range(volume.shape[0])]


def _series_key(volume: Volume, synthetic: bool, meta: Mapping[str, Any]) -> tuple[object, ...]:
    return (volume.content_hash(), bool(synthetic), *_whose(meta))


def ct_headers(
    volume: Volume,
    description: str,
    synthetic: bool,
    meta: Mapping[str, Any] | None = None,
    *,
    slices: Iterable[int] | None = None,
) -> list[FileDataset]:
    """Datasets of a CT series without pixel data, one a slice from foot to head.

    Args:
        slices: Only those of these slices: of a thousand, an object that refers to the series needs one.
    """
    meta = {**(meta or {}), "frame_uid": frame_uid(volume)}  # hashed once, not once a slice
    key = _series_key(volume, synthetic, meta)
    out = []
    for k in range(volume.shape[0]) if slices is None else slices:
        ds = new_dataset(CTImageStorage, content_uid(*key, "instance", k))
        fill_study(ds, volume, meta, "CT", content_uid(*key, "series"))
        text = f"{MARK} {description}" if synthetic else description
        ds.SeriesDescription = text[:64]
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        if synthetic:
            # Of a patient's pixels nobody knows: they were not looked at, so nothing is said.
            ds.BurnedInAnnotation = "YES"
            ds.ImageComments = SYNTHETIC_TEXT
            ds.DerivationDescription = SYNTHETIC_TEXT
        ds.InstanceNumber = k + 1
        ds.AcquisitionNumber = 1
        z, y, x = volume.index_to_mm(np.array([k, 0, 0]))
        ds.ImagePositionPatient = [_ds(x), _ds(y), _ds(z)]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.PixelSpacing = [_ds(volume.spacing_mm[1]), _ds(volume.spacing_mm[2])]
        ds.SliceThickness = _ds(volume.spacing_mm[0])
        ds.PatientPosition = meta.get("patient_position") or "HFS"
        if meta.get("kvp"):
            ds.KVP = _ds(meta["kvp"])
        else:
            ds.KVP = None
        ds.Rows, ds.Columns = volume.shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
        centre, width = meta.get("window_centre"), meta.get("window_width")
        ds.WindowCenter, ds.WindowWidth = (_ds(centre), _ds(width)) if centre is not None and width else ("40", "400")
        out.append(ds)
    return out


def new_dataset(sop_class: UID, instance_uid: str) -> FileDataset:
    """An empty DICOM file of one storage class."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, instance_uid
    return ds


def fill_study(ds: Dataset, volume: Volume, meta: Mapping[str, Any], modality: str, series_uid: str) -> None:
    """Patient, study, series and frame of reference: pseudonyms and empty dates, never an identity."""
    frame = str(meta.get("frame_uid") or frame_uid(volume))
    ds.PatientID = str(meta.get("patient_id") or "ANONYMOUS")
    ds.PatientName = f"{ds.PatientID}^"
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "built from voxels alone; no source header kept"
    ds.StudyInstanceUID = str(meta.get("study_uid") or content_uid(frame, "study", *_whose(meta)))
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.SeriesInstanceUID = series_uid
    ds.SeriesNumber = {"CT": 1, "RTSTRUCT": 2, "SEG": 3, "RTDOSE": 4}.get(modality, 9)
    ds.Modality = modality
    if modality.startswith("RT"):  # of type 2 there: nobody operated anything
        ds.OperatorsName = ""
    ds.Manufacturer = "hnvlm"
    ds.ManufacturerModelName = "research use only"
    ds.FrameOfReferenceUID = frame
    ds.PositionReferenceIndicator = ""
    if meta.get("body_part"):
        ds.BodyPartExamined = str(meta["body_part"])


def _whose(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """What UIDs hold of the patient: an archive takes one UID under two patient IDs for a mix-up of patients."""
    return (str(meta["patient_id"]),) if meta.get("patient_id") else ()


def frame_uid(volume: Volume) -> str:
    """The volume's frame of reference, or one made from its content."""
    return volume.frame_of_reference_uid or content_uid(volume.content_hash(), "frame")


def _ds(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    return pydicom.valuerep.format_number_as_ds(round(float(value), 6))


def write_rtstruct(
    masks: Mapping[str, np.ndarray],
    volume: Volume,
    path: Path | str,
    *,
    synthetic: bool = False,
    meta: Mapping[str, Any] | None = None,
    label: str = "",
    clinic: Collection[str] = (),
) -> Path:
    """Write structures as an RTSTRUCT that refers to the CT ``write_dicom_series`` writes of ``volume``.

    Contours run half-way between inside and outside voxels; holes hang on the contour around them by a slit. Reading
    the file back onto this grid gives the same mask, since it states the thickness of its planes. Other programs guess
    that, or take the contours of a structure for one piece: they may fill slices between pieces that lie close together
    along z, where most of these pieces are a single slice.

    Args:
        masks: Name -> bool (z, y, x) on the volume's grid; empty ones are left out.
        volume: The CT.
        path: File to write.
        synthetic: Whether the CT was exported as synthetic: its UIDs differ, and the descriptions say so.
        meta: As for ``write_dicom_series``.
        label: What the structure set says about itself; default that it is an AI draft, or the clinic's where the
            clinic drew all of it.
        clinic: Names of structures that the clinic drew, not a model: they are not marked as automatic.

    Raises:
        ValueError: A mask is not on the volume's grid.
    """
    header = ct_headers(volume, "", synthetic, meta, slices=(0,))[0]
    instances = instance_uids(volume, synthetic, meta)
    drawn = [name for name in masks if part_of(masks, name) is not None]
    own = [name for name in drawn if name in clinic]
    label = label or (f"Structures {CLINIC_DRAWN}; research use only" if drawn and own == drawn else AI_DRAFT)
    content = (f"{n}{mask_digest(masks[n])}{'clinic' * (n in own)}" for n in drawn)
    uid = content_uid(header.SeriesInstanceUID, "rtstruct", label, *content)
    ds = new_dataset(RTStructureSetStorage, uid)
    # Explicit, an element of more than 64 kB (the contour of a rugged outline) loses its type, and with it readers.
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    fill_study(ds, volume, meta or {}, "RTSTRUCT", content_uid(uid, "series"))
    marked = f"{MARK} CT: {label}" if synthetic else label
    ds.SeriesDescription = marked[:64]
    ds.StructureSetLabel = "AI DRAFT" if label == AI_DRAFT else label[:16].strip()
    ds.StructureSetName = marked[:64]
    ds.StructureSetDescription = f"{marked}. {SYNTHETIC_TEXT}" if synthetic else label
    ds.StructureSetDate = ds.StructureSetTime = ""
    ds.InstanceNumber = 1
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_frame_reference(header, instances)]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for number, name in enumerate(drawn, 1):
        roi, contour, observation = _roi(number, name, masks[name], volume, instances)
        if name in own:
            roi.ROIGenerationAlgorithm, roi.ROIGenerationDescription = "", CLINIC_DRAWN
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(contour)
        ds.RTROIObservationsSequence.append(observation)
    path = Path(path)
    with whole_file(path) as partial:
        ds.save_as(partial, enforce_file_format=True)
    return path


def mask_digest(mask: np.ndarray) -> str:
    """SHA-256 of a bool mask's voxels, for UIDs that follow the content."""
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


def _frame_reference(header: Dataset, instances: list[str]) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = header.FrameOfReferenceUID
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # detached study management, as PS3.3 C.8.8.5 asks
    study.ReferencedSOPInstanceUID = header.StudyInstanceUID
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [_reference(uid) for uid in instances]
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, instance_uid
    return item


def _roi(
    number: int, name: str, mask: np.ndarray, volume: Volume, instances: list[str]
) -> tuple[Dataset, Dataset, Dataset]:
    roi, drawing, observation = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = number, name.replace("\\", "/")[:64]  # to DICOM a backslash begins another value
    roi.ReferencedFrameOfReferenceUID = frame_uid(volume)
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIGenerationDescription = AI_DRAFT
    drawing.ReferencedROINumber = number
    drawing.ROIDisplayColor = list(_COLOURS.get(name, (200, 200, 200)))
    drawing.ContourSequence = []
    planes: dict[int, list[np.ndarray]] = {}
    for k, points in contours_from_mask(mask, volume):
        planes.setdefault(k, []).append(points)
    for k, points in ((k, joined) for k, plane in planes.items() for joined in with_keyholes(plane)):
        item = Dataset()
        item.ContourImageSequence = [_reference(instances[k])]
        item.ContourGeometricType = "CLOSED_PLANAR"
        item.ContourSlabThickness = _ds(volume.spacing_mm[0])
        item.NumberOfContourPoints = len(points)
        # Ready-made text: checking each number one by one takes minutes for a full plan.
        text = "\\".join(f"{v:.4f}".rstrip("0").rstrip(".") for v in points.ravel())
        item.add(DataElement(0x30060050, "DS", text, already_converted=True))
        drawing.ContourSequence.append(item)
    observation.ObservationNumber, observation.ReferencedROINumber = number, number
    observation.RTROIInterpretedType = interpreted_type(name)
    observation.ROIInterpreter = ""
    return roi, drawing, observation
