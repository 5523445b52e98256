"""An axial slice as a picture for documents: grey CT, dose wash, isodose lines and contours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from hnvlm.imaging.resample import mask_box
from hnvlm.imaging.volume import Volume
from hnvlm.services.palette import structure_colours

# Soft-tissue window of neck CT: where it begins, and how wide it is.
_LOWEST_HU, _WIDTH_HU = -125.0, 350.0
_BODY_HU, _MARGIN_MM, _WASH = -300, 8.0, 0.3


def axial(
    volume: Volume,
    index: int,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    dose: Volume | None = None,
    full_gy: float | None = None,
    palette: Mapping[str, Any] | None = None,
    width: int = 560,
) -> Image.Image:
    """Draw one axial slice, cropped to the patient, square pixels, patient's right on the left.

    Args:
        volume: HU (z, y, x).
        index: Slice.
        masks: Structures to outline.
        dose: Gy on the same grid.
        full_gy: 100 % of the isodose levels; without it no dose is drawn.
        palette: ``structures`` name -> "#rrggbb", ``fallback`` list of colours, ``isodose`` list of
            {percent, colour} from the highest; default grey lines without dose.
        width: Of the picture in pixels.
    """
    palette = palette or {}
    hu = np.asarray(volume.array[index], np.float32)
    rows, columns = patient_extent(hu, volume)
    rgb = in_window(hu[rows, columns])
    levels = palette.get("isodose", []) if dose is not None and full_gy else []
    gy = None if dose is None else np.asarray(dose.array[index], np.float32)[rows, columns]
    above = np.inf
    for level in levels:  # each pixel in the colour of the highest level it reaches
        low = level["percent"] / 100 * full_gy  # type: ignore[operator]
        rgb = _washed(rgb, (gy >= low) & (gy < above), level["colour"])  # type: ignore[operator]
        above = low
    height = max(1, round(rgb.shape[0] * volume.spacing_mm[1] * width / (rgb.shape[1] * volume.spacing_mm[2])))
    picture = Image.fromarray(rgb.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    scale = (height / rgb.shape[0], width / rgb.shape[1])
    for level in levels:
        _outline(pen, gy, level["percent"] / 100 * full_gy, level["colour"], scale, 1)  # type: ignore[arg-type,operator]
    colours = structure_colours(masks or {}, palette)
    for name, mask in (masks or {}).items():
        part = np.asarray(mask[index][rows, columns], np.float32)
        if part.any():
            _outline(pen, np.pad(part, 1), 0.5, colours[name], scale, 2, shift=1)
    return picture


def in_window(hu: np.ndarray) -> np.ndarray:
    """HU (y, x) in the soft-tissue window of neck CT: grey as float32 RGB from 0 to 255 (y, x, 3)."""
    grey = np.clip((hu.astype(np.float32) - _LOWEST_HU) / _WIDTH_HU, 0, 1) * 255
    return np.repeat(grey[..., None], 3, axis=2)


def patient_extent(hu: np.ndarray, volume: Volume) -> tuple[slice, slice]:
    """Rows and columns (y, x) of a slice (HU) that hold the patient, with a margin; all of it where there is none."""
    box = mask_box((hu > _BODY_HU)[None])
    if box is None:
        return slice(None), slice(None)
    pad = [round(_MARGIN_MM / volume.spacing_mm[a]) for a in (1, 2)]
    return (slice(max(0, box[1] - pad[0]), box[4] + pad[0]), slice(max(0, box[2] - pad[1]), box[5] + pad[1]))


def _washed(rgb: np.ndarray, where: np.ndarray, colour: str) -> np.ndarray:
    ink = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    return np.where(where[..., None], rgb * (1 - _WASH) + ink * _WASH, rgb)


def _outline(
    pen: ImageDraw.ImageDraw,
    values: np.ndarray,
    level: float,
    colour: str,
    scale: tuple[float, float],
    width: int,
    shift: int = 0,
) -> None:
    for line in find_contours(values, level):
        points = [((x - shift + 0.5) * scale[1], (y - shift + 0.5) * scale[0]) for y, x in line]
        pen.line(points, fill=colour, width=width, joint="curve")
