"""Change the grid of a volume: resample, crop; each crop comes with the step that undoes it.

Volumes are axis-aligned, so linear interpolation is done one axis at a time, which is exact and fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from hnvlm.errors import FrameOfReferenceError
from hnvlm.imaging.volume import Triple, Volume

Order = Literal[0, 1]
Box = tuple[int, int, int, int, int, int]


def resample_to(volume: Volume, spacing_mm: Triple, order: Order = 1, *, antialias: bool = False) -> Volume:
    """Resample to another spacing over the same extent (outer voxel borders stay where they are).

    Args:
        volume: Any volume; bool and integer arrays keep their type.
        spacing_mm: Wanted spacing (z, y, x). It is changed a little where the extent is no whole multiple.
        order: 1 linear (a mask is cut at one half), 0 nearest.
        antialias: Smooth first along axes that become coarser, so that fine detail does not turn into noise.

    Returns:
        A volume whose ``spacing_mm * shape`` equals that of the input.
    """
    if min(spacing_mm) <= 0 or not np.all(np.isfinite(spacing_mm)):
        raise ValueError(f"spacing_mm must be positive, got {spacing_mm}")
    extent = np.array(volume.shape) * volume.spacing_mm
    shape = np.maximum(1, np.rint(extent / spacing_mm).astype(int))
    spacing = extent / shape
    origin = np.array(volume.origin_mm) + (spacing - volume.spacing_mm) / 2
    target = Volume(np.empty(shape, bool), tuple(spacing), tuple(origin), volume.frame_of_reference_uid)
    array = _resample(volume, target, order, fill=None, antialias=antialias)
    return Volume(
        _as_type(array, volume.array.dtype), target.spacing_mm, target.origin_mm, target.frame_of_reference_uid
    )


def resample_like(
    volume: Volume, like: Volume, order: Order = 1, *, fill: float = 0.0, antialias: bool = False
) -> Volume:
    """Bring a volume to the grid of another by their millimetre positions.

    Args:
        volume: Source; bool and integer arrays keep their type.
        like: Gives shape, spacing, origin and frame of reference.
        order: 1 linear (a mask is cut at one half), 0 nearest.
        fill: Value where the source has no voxel (-1024 for a CT, 0 for dose and masks).
        antialias: As in ``resample_to``.

    Raises:
        FrameOfReferenceError: Both frames of reference are known and differ.
    """
    frames = {volume.frame_of_reference_uid, like.frame_of_reference_uid} - {""}
    if len(frames) > 1:
        raise FrameOfReferenceError(
            "The two volumes belong to different frames of reference, so their positions cannot be compared."
        )
    if volume.shape == like.shape and volume.same_grid(like):
        array = volume.array
    else:
        array = _as_type(_resample(volume, like, order, fill, antialias=antialias), volume.array.dtype)
    frame = like.frame_of_reference_uid or volume.frame_of_reference_uid
    return Volume(array, like.spacing_mm, like.origin_mm, frame)


def _resample(volume: Volume, target: Volume, order: Order, fill: float | None, *, antialias: bool) -> np.ndarray:
    array = volume.array
    indices, outside, coarser = [], [], []
    for axis in range(3):
        centres = target.origin_mm[axis] + target.spacing_mm[axis] * np.arange(target.shape[axis])
        index = (centres - volume.origin_mm[axis]) / volume.spacing_mm[axis]
        count = volume.shape[axis]
        outside.append((index < -0.5 - 1e-6) | (index > count - 0.5 + 1e-6))
        index = np.clip(index, 0, count - 1)
        ratio = target.spacing_mm[axis] / volume.spacing_mm[axis]
        if antialias and order and ratio > 1.01:
            coarser.append((len(index) / count, axis, ratio))
            indices.append(index)
            continue
        first, last = int(np.floor(index.min())), min(int(np.floor(index.max())) + 1, count - 1)
        # Only what the target looks at: one organ needs a corner of a large dose. Taking a whole number off is exact.
        array = array[(slice(None),) * axis + (slice(first, last + 1),)]
        indices.append(index - first)
    if order and array.dtype != np.float64:
        array = array.astype(np.float32, copy=False)
    # The axis that becomes smallest comes first: it leaves the others less to smooth.
    for _, axis, ratio in sorted(coarser):
        array = _smoothed_along(array, indices[axis], axis, ratio)
    done = {axis for _, axis, _ in coarser}
    for axis in range(3):
        if axis not in done:
            array = _along(array, indices[axis], axis, order)
    if fill is not None:
        for axis, gone in enumerate(outside):
            if gone.any():
                place: list = [slice(None)] * 3
                place[axis] = gone
                array[tuple(place)] = fill
    return array


def _along(array: np.ndarray, index: np.ndarray, axis: int, order: Order) -> np.ndarray:
    """Sample one axis at fractional indices inside the array."""
    if not order:
        return np.take(array, np.floor(index + 0.5).astype(int).clip(0, array.shape[axis] - 1), axis=axis)
    low = np.floor(index).astype(int)
    high = np.minimum(low + 1, array.shape[axis] - 1)
    weight = (index - low).astype(array.dtype)
    if not weight.any():
        return np.take(array, low, axis=axis)
    shape = [1, 1, 1]
    shape[axis] = len(index)
    weight = weight.reshape(shape)
    out = np.take(array, low, axis=axis)
    step = np.take(array, high, axis=axis)
    step -= out
    step *= weight
    out += step
    return out


def _smoothed_along(array: np.ndarray, index: np.ndarray, axis: int, ratio: float) -> np.ndarray:
    """Sample one axis, which becomes ``ratio`` times as coarse, of what a Gaussian would leave of the array.

    Smoothing and interpolating are linear, so both are one matrix; a product with it takes a fifth of a filter's time.
    """
    # A Gaussian of this width matches the box of one coarse voxel in variance.
    filtered = ndimage.gaussian_filter1d(
        np.eye(array.shape[axis]), np.sqrt((ratio**2 - 1) / 12), axis=0, mode="nearest"
    )
    matrix = _along(filtered[..., None], index, 0, 1)[..., 0].astype(array.dtype)
    if axis == 2:
        return array @ matrix.T
    if axis == 1:
        return matrix @ array
    return (matrix @ array.reshape(len(array), -1)).reshape(len(matrix), *array.shape[1:])


def _as_type(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if array.dtype == dtype:
        return array
    if dtype.kind == "b":
        return array >= 0.5
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        return np.clip(np.rint(array), info.min, info.max).astype(dtype)
    return array.astype(dtype)


@dataclass(frozen=True)
class Window:
    """Where a cropped grid lies in the grid it came from; undoes the step.

    Attributes:
        box: (z0, y0, x0, z1, y1, x1) of the new grid in the old one, end exclusive; may reach outside.
        shape: Shape of the old grid.
    """

    box: Box
    shape: tuple[int, int, int]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Put an array of the box's shape back on the old grid, 0 outside the box."""
        size = tuple(self.box[a + 3] - self.box[a] for a in range(3))
        if array.shape != size:
            raise ValueError(f"array shape {array.shape} does not fit the box {size}")
        out = np.zeros(self.shape, array.dtype)
        inside, part = self._overlap()
        out[inside] = array[part]
        return out

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        inside, part = [], []
        for axis in range(3):
            low, high = max(0, self.box[axis]), min(self.shape[axis], self.box[axis + 3])
            high = max(low, high)
            inside.append(slice(low, high))
            part.append(slice(low - self.box[axis], high - self.box[axis]))
        return tuple(inside), tuple(part)


def crop(volume: Volume, box: Box) -> tuple[Volume, Window]:
    """Cut a box out of a volume; where the box reaches outside, the values are 0.

    Args:
        volume: Source.
        box: (z0, y0, x0, z1, y1, x1) voxel indices, end exclusive, may be negative or beyond the end.

    Returns:
        The cropped volume and the window that puts results back.
    """
    size = tuple(int(box[a + 3] - box[a]) for a in range(3))
    if min(size) < 1:
        raise ValueError(f"an empty box cannot be cut out: {box}")
    window = Window(tuple(int(v) for v in box), volume.shape)  # type: ignore[arg-type]
    array = np.zeros(size, volume.array.dtype)
    inside, part = window._overlap()
    array[part] = volume.array[inside]
    origin = volume.index_to_mm(np.array(box[:3]))
    return Volume(array, volume.spacing_mm, tuple(origin), volume.frame_of_reference_uid), window


def box_slices(box: Box) -> tuple[slice, slice, slice]:
    """Slices (z, y, x) that cut a box (z0, y0, x0, z1, y1, x1; end exclusive) out of an array."""
    return slice(box[0], box[3]), slice(box[1], box[4]), slice(box[2], box[5])


def mask_box(mask: np.ndarray, margin: int | tuple[int, int, int] = 0) -> Box | None:
    """Smallest box around the true voxels of a mask (z, y, x), end exclusive; None for an empty mask.

    Args:
        margin: Voxels by which it is widened on every side, one number or (z, y, x); it stays inside the array.
    """
    margins = (margin,) * 3 if isinstance(margin, int) else margin
    low, high = [], []
    part = mask
    for axis in range(3):
        hit = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        low.append(max(0, int(hit[0]) - margins[axis]))
        high.append(min(mask.shape[axis], int(hit[-1]) + 1 + margins[axis]))
        # The next axis is looked for within what was found: most structures take up few of the slices.
        part = part[(slice(None),) * axis + (slice(hit[0], hit[-1] + 1),)]
    return (*low, *high)  # type: ignore[return-value]
