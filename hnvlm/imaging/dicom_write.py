"""Write a volume that belongs to no patient as a DICOM CT series, marked SYNTHETIC wherever a viewer may look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from hnvlm.imaging.volume import Volume

_MARK = "SYNTHETIC"
_INTERCEPT = -1024


def write_synthetic_ct(volume: Volume, folder: Path, *, description: str, entropy: str) -> list[Path]:
    """Write one file a slice, feet first, as uncompressed CT Image Storage (PS3.3 A.3).

    Patient name and id, image type, comments and the attribute Synthetic Data (0008,001C) all say that this is no
    patient. There are no dates, so that equal input gives equal files.

    Args:
        volume: HU (z, y, x) in LPS; must lie within -1024..3071.
        folder: Made if needed.
        description: Series description.
        entropy: Text the UIDs are derived from.

    Raises:
        ValueError: HU outside the twelve bits that a CT stores.
    """
    stored = volume.array.astype(np.int32) - _INTERCEPT
    if stored.min() < 0 or stored.max() > 4095:
        raise ValueError(f"HU {volume.array.min()} to {volume.array.max()} do not fit -1024 to 3071")
    folder.mkdir(parents=True, exist_ok=True)
    uids = {name: generate_uid(entropy_srcs=[_MARK, entropy, name]) for name in ("study", "series", "frame")}
    paths = []
    for k in range(volume.shape[0]):
        path = folder / f"{k + 1:04d}.dcm"
        dataset = _slice(volume, stored[k].astype("<u2"), k, uids, entropy)
        dataset.SeriesDescription = description
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(volume: Volume, pixels: np.ndarray, k: int, uids: dict[str, str], entropy: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[_MARK, entropy, f"slice {k}"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids["study"], uids["series"], uids["frame"]
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", _MARK]
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "hnvlm", "cohort atlas"
    ds.PatientName, ds.PatientID = f"{_MARK}^DEMO", _MARK
    ds.PatientBirthDate, ds.PatientSex = "", ""
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "Synthetic: there is no patient"
    ds.SyntheticData = "YES"
    ds.StudyDescription = f"{_MARK} head and neck CT"
    ds.ImageComments = f"{_MARK}: not a patient. Research use only."
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "", "", ""
    ds.StudyDate, ds.StudyTime, ds.PositionReferenceIndicator = "", "", ""
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, k + 1, 1
    ds.PatientPosition, ds.BodyPartExamined, ds.KVP = "HFS", "HEADNECK", None
    z, y, x = volume.origin_mm
    dz, dy, dx = volume.spacing_mm
    ds.ImagePositionPatient = [round(x, 6), round(y, 6), round(z + k * dz, 6)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.SliceLocation = [dy, dx], dz, round(z + k * dz, 6)
    ds.Rows, ds.Columns, ds.SamplesPerPixel = *pixels.shape, 1
    ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "MONOCHROME2", 16, 12, 11
    ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, _INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 350
    ds.PixelData = pixels.tobytes()
    return ds
