"""Small CT phantoms written as DICOM in code: no two axes share a size or a spacing, no plane is symmetric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from hnvlm.imaging import intake
from hnvlm.imaging.intake import SeriesInfo

SHAPE = (7, 10, 14)
SPACING = (2.5, 0.7, 1.1)
ORIGIN = (-30.0, 12.0, -55.0)
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
FRAME = "1.2.826.0.1.3680043.10.1.77"
STUDY = "1.2.826.0.1.3680043.10.1.78"

Modify = Callable[[FileDataset, int], None]


def head(shape: Sequence[int] = SHAPE) -> np.ndarray:
    """HU (slice, row, column): air around a body whose values differ from voxel to voxel."""
    z, y, x = np.indices(shape)
    hu = np.full(shape, -1000, np.int16)
    inside = (y > 0) & (y < shape[1] - 2) & (x > 1) & (x < shape[2] - 1)
    hu[inside] = (20 + 11 * z + 5 * y + 2 * x)[inside]
    hu[:, 2, 3] = 1500  # a bone near one corner: no flip maps it on itself
    return hu


def dataset(hu: np.ndarray, position: Sequence[float], number: int, series: str, **given: object) -> FileDataset:
    """One CT slice as an uncompressed dataset, stored unsigned with intercept -1024."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.SeriesInstanceUID, ds.StudyInstanceUID = "CT", series, STUDY
    ds.FrameOfReferenceUID = FRAME
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription = "NECK 2.5 C+"
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [f"{v:.6g}" for v in position]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [SPACING[1], SPACING[2]]
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    for name, value in given.items():
        setattr(ds, name, value)
    return ds


def write_ct(
    folder: Path,
    stack: np.ndarray | None = None,
    *,
    step: Sequence[float] = (0.0, 0.0, SPACING[0]),
    origin: Sequence[float] = ORIGIN[::-1],
    directions: Sequence[Sequence[float]] = AXIAL,
    positions: Sequence[Sequence[float]] | None = None,
    modify: Modify | None = None,
    series: str | None = None,
    name: str = "im{:03d}.dcm",
) -> list[Path]:
    """Write a series, one file a slice, named in an order that is not the order of positions.

    Args:
        folder: Made when missing.
        stack: HU (slice, row, column), default ``head()``.
        step: LPS vector (x, y, z) from slice to slice.
        origin: LPS position (x, y, z) of the first slice's first pixel.
        directions: Row direction and column direction (x, y, z).
        positions: One LPS position a slice instead of origin and step.
        modify: Called with (dataset, slice index) before it is written.
    """
    stack = head() if stack is None else stack
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    if positions is None:
        positions = [np.array(origin) + k * np.array(step) for k in range(len(stack))]
    files = []
    for k, hu in enumerate(stack):
        ds = dataset(hu, positions[k], k + 1, series)
        ds.ImageOrientationPatient = [*directions[0], *directions[1]]
        if modify is not None:
            modify(ds, k)
        file = folder / name.format((k * 5 + 3) % len(stack) if len(stack) % 5 else k)
        ds.save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def only(path: Path) -> SeriesInfo:
    """Return the one series that is found there."""
    (info,) = intake.scan(path)
    return info


def refused(path: Path) -> str:
    """Return why the one series found there cannot be opened."""
    info = only(path)
    assert not info.accepted
    return "; ".join(info.reasons)
