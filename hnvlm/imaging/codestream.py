"""Compressed pixels: which decoders may be used, and whether a JPEG stream is whole and of the size its header says."""

from __future__ import annotations

import contextlib

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

__all__ = ["PixelsError", "check_stream", "keep_safe_decoders", "stream_size"]

# A damaged stream ends the whole process in the first (an exception that C++ never catches) and never ends in the
# second; pydicom asks both before the decoder that only raises.
_UNSAFE = ("gdcm", "pyjpegls")
_JPEG = {
    JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless,
    JPEG2000Lossless, JPEG2000, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL,
}  # fmt: skip
_START, _END = b"\xff\xd8", b"\xff\xd9"
_START_2000 = b"\xff\x4f\xff\x51"
# Markers that carry the size of a JPEG or JPEG-LS image (ISO 10918-1 table B.1, ISO 14495-1 C.2.2).
_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# Padding behind the end of a stream; writers add a byte or fill up a block.
_TAIL = 4096


class PixelsError(ValueError):
    """Pixel data contradict their header; the message is in words for the user, where a decoder's own are not."""


def keep_safe_decoders() -> None:
    """Leave out of pydicom's list, where another is left, decoders by which a damaged file brings the program down."""
    for syntax in _JPEG:
        decoder = get_decoder(syntax)
        for plugin in _UNSAFE:
            if plugin in decoder.available_plugins and len(decoder.available_plugins) > 1:
                with contextlib.suppress(ValueError):  # another thread was faster
                    decoder.remove_plugin(plugin)


def check_stream(dataset: Dataset, syntax: UID, index: int, size: tuple[int, int]) -> None:
    """Hold one frame of a JPEG, JPEG-LS or JPEG 2000 file against its header.

    Decoders believe the header or the stream: of 512 x 256 pixels in one and 256 x 512 in the other they make a sheared
    picture, and what is missing at the end of a stream they fill up.

    Args:
        dataset: With pixel data.
        syntax: Its transfer syntax; others than these have nothing to check.
        index: Of the frame.
        size: (rows, columns) of the header.

    Raises:
        PixelsError: The stream has another size, or its end is missing.
    """
    if syntax not in _JPEG:
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    stream = get_frame(dataset.PixelData, index, number_of_frames=frames)
    own = stream_size(stream)
    if own is not None and own != size:
        raise PixelsError(
            f"the compressed image has {own[0]} rows and {own[1]} columns, the header says {size[0]} and {size[1]}"
        )
    if stream.rfind(_END, max(0, len(stream) - _TAIL)) < 0:
        raise PixelsError("the end of the compressed image is missing")


def stream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream states of itself; None where it states none."""
    if not stream.startswith(_START):
        at = stream.find(_START_2000, 0, 256)  # a few bytes in where the stream lies in a JP2 file
        if at < 0 or len(stream) < at + 24:
            return None
        width, height, left, top = (int.from_bytes(stream[n : n + 4], "big") for n in range(at + 8, at + 24, 4))
        return height - top, width - left
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _SIZE_MARKERS:
            rows, columns = (int.from_bytes(stream[n : n + 2], "big") for n in (at + 5, at + 7))
            return (rows, columns) if rows and columns else None
        at += 1 if marker == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
