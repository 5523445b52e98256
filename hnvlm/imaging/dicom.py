"""DICOM files: what is in the header, and pixels to HU. Geometry is judged in ``geometry``."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from hnvlm.errors import UnreadableFileError
from hnvlm.imaging.codestream import PixelsError, check_stream, keep_safe_decoders

keep_safe_decoders()
# What pydicom says about odd files holds paths and values of theirs, which name patients; a log may be read by anybody.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\.")

# pydicom converts values lazily and codecs raise anything: on a damaged file all of these mean the same.
DAMAGED = (
    InvalidDicomError, BytesLengthException, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError,
    IndexError, RuntimeError, NotImplementedError, OverflowError, MemoryError, RecursionError, struct.error, zlib.error,
)  # fmt: skip
HU_MIN = -1024
HU_MAX = np.iinfo(np.int16).max
# A padding value is outside of what a CT measures; one inside (0 HU is water) is a wrong header.
PADDING_BELOW_HU, PADDING_ABOVE_HU = -900, 4095

_TAGS = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID",
    "FrameOfReferenceUID", "Modality", "SeriesDescription", "ImageType", "Rows", "Columns", "SamplesPerPixel",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "InstanceNumber", "AcquisitionNumber",
    "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "ContentTime", "AcquisitionTime",
    "ConvolutionKernel", "ManufacturerModelName", "SeriesNumber", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames", "GantryDetectorTilt",
    "KVP", "SliceThickness", "WindowCenter", "WindowWidth", "ContrastBolusAgent", "BurnedInAnnotation",
    "LossyImageCompression", "PatientPosition", "BodyPartExamined", "ImageComments", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ReferencedFrameOfReferenceSequence", "ModalityLUTSequence",
    # Tell the patients and studies of one upload apart, on the screen alone (``whose``).
    "PatientName", "PatientBirthDate", "StudyDate", "PatientIdentityRemoved",
]  # fmt: skip

# What a frame of an enhanced CT says in a functional group: (sequence, tag, the tag of a single slice).
_FRAME_TAGS = (
    ("CTImageFrameTypeSequence", "FrameType", "ImageType"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    ("CTReconstructionSequence", "ConvolutionKernel", "ConvolutionKernel"),
)


@dataclass(frozen=True)
class SliceHeader:
    """What the header of one slice (or one frame of a multi-frame file) says.

    Positions are LPS millimetres in DICOM's own order (x, y, z). ``dataset`` holds only the tags read
    for intake and never pixel data; ``own`` what a frame says of itself, which goes before the dataset's.
    """

    path: Path
    frame: int | None
    dataset: Dataset
    transfer_syntax: UID
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, float] | None
    slope: float | None
    intercept: float | None
    own: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """A tag as it is, None when missing."""
        return self.own[name] if name in self.own else self.dataset.get(name)

    def text(self, name: str) -> str:
        """A tag as stripped text, "" when missing."""
        value = self.value(name)
        return "" if value is None else str(value).strip()

    @property
    def label(self) -> str:
        """File name (and frame) for messages."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame + 1}"

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns); (0, 0) when the file has no image."""
        return whole(self.dataset.get("Rows")) or 0, whole(self.dataset.get("Columns")) or 0

    @property
    def image_type(self) -> tuple[str, ...]:
        """Values of Image Type, upper case."""
        value = self.value("ImageType") or ()
        return tuple(str(v).upper() for v in (value if isinstance(value, (list, tuple, MultiValue)) else [value]))


def looks_like_dicom(path: Path) -> bool:
    """Whether a file starts like DICOM: with the preamble, or without it in little or big endian."""
    try:
        with path.open("rb") as f:
            head = f.read(132)
    except OSError:
        return False
    if len(head) >= 132 and head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    # No preamble: the first element belongs to group 0002 or 0008 and has a plausible element number.
    little = int.from_bytes(head[0:2], "little"), int.from_bytes(head[2:4], "little")
    big = int.from_bytes(head[0:2], "big"), int.from_bytes(head[2:4], "big")
    return any(group in (0x0002, 0x0008) and element <= 0x0120 for group, element in (little, big))


def read_headers(path: Path) -> list[SliceHeader]:
    """Read the header of a DICOM file without its pixels.

    Returns:
        One entry a file, one a frame for multi-frame CT; an empty list for a DICOMDIR.

    Raises:
        UnreadableFileError: The file is damaged or no DICOM object.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        _convert(dataset)
        meta = dataset.file_meta
        if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return []
        if not dataset.get("SOPClassUID") and not dataset.get("Rows"):
            raise UnreadableFileError(f"{path.name}: this is not a DICOM object (no SOP class, no image).")
        syntax = UID(str(meta.get("TransferSyntaxUID") or _guess_syntax(dataset)))
        if "SharedFunctionalGroupsSequence" in dataset and str(dataset.get("Modality")).upper() == "CT":
            return _frame_headers(path, dataset, syntax) or [_slice_header(path, dataset, syntax)]
        return [_slice_header(path, dataset, syntax)]
    except UnreadableFileError:
        raise
    except DAMAGED as error:
        raise UnreadableFileError(f"{path.name}: damaged DICOM header ({error}).") from error


def _convert(dataset: Dataset) -> None:
    """Convert every element now, and leave out what cannot be: met later it would end the listing of a whole upload."""
    for tag in list(dataset.keys()):
        try:
            dataset[tag]  # pydicom converts on access
        except DAMAGED:
            del dataset[tag]


def modality(path: Path) -> str:
    """Modality of a file; "" for a DICOMDIR and for what is no DICOM.

    Raises:
        UnreadableFileError: The file is damaged.
    """
    headers = read_headers(path) if looks_like_dicom(path) else []
    return headers[0].text("Modality") if headers else ""


def _guess_syntax(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def floats(value: Any, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers, or None when the value is missing or anything else."""
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and bool(np.all(np.isfinite(numbers))) else None


def number(value: Any) -> float | None:
    """A finite number, or None."""
    got = floats([value], 1)
    return None if got is None else got[0]


def whole(value: Any) -> int | None:
    """A whole number, or None."""
    got = number(value)
    return int(got) if got is not None and got.is_integer() else None


def _slice_header(path: Path, dataset: Dataset, syntax: UID) -> SliceHeader:
    return SliceHeader(
        path=path,
        frame=None,
        dataset=dataset,
        transfer_syntax=syntax,
        position=floats(dataset.get("ImagePositionPatient"), 3),  # type: ignore[arg-type]
        orientation=floats(dataset.get("ImageOrientationPatient"), 6),
        pixel_spacing=floats(dataset.get("PixelSpacing"), 2),  # type: ignore[arg-type]
        slope=number(dataset.get("RescaleSlope")),
        intercept=number(dataset.get("RescaleIntercept")),
    )


def _frame_headers(path: Path, dataset: Dataset, syntax: UID) -> list[SliceHeader]:
    """One header a frame of an enhanced CT; a value is the frame's own, else the shared one."""
    shared = dataset.SharedFunctionalGroupsSequence[0] if dataset.SharedFunctionalGroupsSequence else Dataset()
    out = []
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    stated = whole(dataset.get("NumberOfFrames"))
    if frames and stated is not None and stated != len(frames):
        raise UnreadableFileError(
            f"{path.name}: {stated} frames are stated but {len(frames)} are described; export the file again."
        )
    for index, own in enumerate(frames):

        def group(sequence: str, tag: str, own: Dataset = own) -> Any:
            for place in (own, shared):
                items = place.get(sequence)
                if items and tag in items[0]:
                    return items[0].get(tag)
            return None

        out.append(
            SliceHeader(
                path=path,
                frame=index,
                dataset=dataset,
                transfer_syntax=syntax,
                position=floats(group("PlanePositionSequence", "ImagePositionPatient"), 3),  # type: ignore[arg-type]
                orientation=floats(group("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
                pixel_spacing=floats(group("PixelMeasuresSequence", "PixelSpacing"), 2),  # type: ignore[arg-type]
                slope=number(group("PixelValueTransformationSequence", "RescaleSlope")),
                intercept=number(group("PixelValueTransformationSequence", "RescaleIntercept")),
                own={name: value for sequence, tag, name in _FRAME_TAGS if (value := group(sequence, tag)) is not None},
            )
        )
    return out


def decoder_problem(syntax: UID) -> str | None:
    """Why a transfer syntax cannot be decoded here, or None when it can."""
    try:
        if get_decoder(syntax).is_available:
            return None
    except NotImplementedError:
        pass
    return f"no decoder for transfer syntax {syntax.name} ({syntax})"


class PixelReader:
    """Decodes slices to HU; keeps the last multi-frame file open so that it is parsed once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset: Dataset | None = None

    def read_hu(self, header: SliceHeader, place: str = "") -> np.ndarray:
        """HU of one slice, int16 (rows, columns), clipped to [-1024, 32767], padding set to -1024.

        Args:
            header: Of the slice.
            place: Words for where it lies in its series: who may not be told the file's name finds it by them.

        Raises:
            UnreadableFileError: Damaged pixel data or an undecodable syntax; names the file, its place and the syntax.
        """
        which = f"{header.label}, {place}" if place else header.label
        problem = decoder_problem(header.transfer_syntax)
        if problem:
            raise UnreadableFileError(f"{which}: {problem}. Export the series uncompressed.")
        try:
            dataset = self._open(header)
            raw = self._decode(dataset, header)
        except BaseException as error:
            # Codecs written in Rust end with an exception of their own kind, which is not even an Exception.
            if not isinstance(error, DAMAGED) and type(error).__name__ != "PanicException":
                raise
            # What a decoder says of it speaks to programmers; whoever debugs finds it as the cause.
            why = f": {error}" if isinstance(error, PixelsError) else ""
            raise UnreadableFileError(
                f"{which}: pixel data cannot be decoded ({header.transfer_syntax.name}){why}. "
                "The file is damaged or incomplete; export the series again."
            ) from error
        if raw.shape != header.size:
            raise UnreadableFileError(f"{which}: decoded {raw.shape} pixels, header says {header.size}.")
        return to_hu(raw, header)

    def _open(self, header: SliceHeader) -> Dataset:
        if header.frame is None:
            return pydicom.dcmread(header.path, force=True)
        if self._path != header.path:
            self._path, self._dataset = header.path, pydicom.dcmread(header.path, force=True)
        assert self._dataset is not None
        return self._dataset

    @staticmethod
    def _decode(dataset: Dataset, header: SliceHeader) -> np.ndarray:
        decoder = get_decoder(header.transfer_syntax)
        if header.transfer_syntax.is_compressed:
            check_stream(dataset, header.transfer_syntax, header.frame or 0, header.size)
        else:
            _require_fit(dataset, header)
        # Neither the preamble nor the file meta group is guaranteed; the decoder itself needs neither.
        array, _ = decoder.as_array(dataset, index=header.frame or 0, raw=True)
        return array


def _require_fit(dataset: Dataset, header: SliceHeader) -> None:
    """Refuse fewer or more pixels than the header's size takes: cut off after so many, the image would be sheared."""
    frames = max(1, whole(dataset.get("NumberOfFrames")) or 1)
    row = header.size[1] * (whole(dataset.get("BitsAllocated")) or 16) // 8
    pixels = dataset.get("PixelData") or b""
    spare = len(pixels) - frames * header.size[0] * row
    if spare >= row:
        raise PixelsError(f"{spare} bytes more than an image of {header.size[0]} x {header.size[1]} takes")
    if pixels and spare < 0:
        raise PixelsError("the image breaks off before its end")


def to_hu(raw: np.ndarray, header: SliceHeader) -> np.ndarray:
    """Return stored pixels of any shape as int16 HU: rescaled (missing: 1 and 0), and air where they are padding."""
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    whole_numbers = np.issubdtype(raw.dtype, np.integer)
    if whole_numbers and slope == 1.0 and intercept.is_integer():
        hu = raw.astype(np.int32 if raw.itemsize < 4 else np.int64)
        hu += int(intercept)
    else:
        exact = np.nan_to_num(raw * np.float64(slope) + intercept, nan=HU_MIN)
        hu = np.rint(np.clip(exact, HU_MIN, HU_MAX)).astype(np.int32)
    low_high = padding_range(header, raw.dtype) if whole_numbers else None
    if low_high is not None and not padding_problem(header):
        hu[(raw >= low_high[0]) & (raw <= low_high[1])] = HU_MIN
    return np.clip(hu, HU_MIN, HU_MAX).astype(np.int16)


def padding_range(header: SliceHeader, dtype: np.dtype) -> tuple[int, int] | None:
    """Stored values that mean "outside the scan", in the pixels' own signedness (PS3.3 C.7.5.1.1.2)."""
    value = number(header.dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = number(header.dataset.get("PixelPaddingRangeLimit"))
    ends = [value, value if limit is None else limit]
    info = np.iinfo(dtype)
    # Writers mix up US and SS for this tag, so a value outside the type is taken modulo its size.
    span = int(info.max) - int(info.min) + 1
    wrapped = [(int(e) - int(info.min)) % span + int(info.min) for e in ends]
    return min(wrapped), max(wrapped)


def padding_problem(header: SliceHeader) -> str | None:
    """Why the padding value must be ignored (it lies inside the range of tissue), or None."""
    signed = whole(header.dataset.get("PixelRepresentation")) == 1
    bits = whole(header.dataset.get("BitsAllocated"))
    bits = bits if bits in (8, 16, 32) else 16
    dtype = np.dtype(f"{'i' if signed else 'u'}{bits // 8}")
    low_high = padding_range(header, dtype)
    if low_high is None:
        return None
    slope = 1.0 if header.slope is None else header.slope
    hu = [v * slope + (header.intercept or 0.0) for v in low_high]
    if max(hu) <= PADDING_BELOW_HU or min(hu) >= PADDING_ABOVE_HU:
        return None
    return f"padding value {low_high[0]} means {hu[0]:g} HU, which is tissue; it was not treated as padding"
