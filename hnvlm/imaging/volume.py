"""Volume: HU or labels on an axis-aligned LPS grid. An invalid volume cannot be built."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array on a regular grid whose axes are those of the patient (DICOM LPS).

    Axis order is always (z, y, x): z grows to the patient's head, y to the back, x to the left.
    Oblique or tilted series are resampled on reading, so no other orientation exists behind intake.

    Args:
        array: Shape (z, y, x). HU as int16 or float32 for a CT; bool or uint8 for a mask; Gy for dose.
        spacing_mm: Distance between voxel centres along (z, y, x), all > 0.
        origin_mm: LPS position of the centre of voxel (0, 0, 0), in the order (z, y, x).
        frame_of_reference_uid: DICOM frame of reference; two grids may only be overlaid if equal
            (or if one of them is unknown, "").

    Raises:
        ValueError: The array is not 3-D, or spacing or origin is not finite or not positive.
    """

    array: np.ndarray
    spacing_mm: Triple
    origin_mm: Triple = (0.0, 0.0, 0.0)
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or min(self.array.shape) < 1:
            raise ValueError(f"a volume has three axes (z, y, x), got shape {self.array.shape}")
        for name in ("spacing_mm", "origin_mm"):
            value = tuple(float(v) for v in getattr(self, name))
            if len(value) != 3 or not np.all(np.isfinite(value)):
                raise ValueError(f"{name} must be three finite numbers (z, y, x), got {value}")
            object.__setattr__(self, name, value)
        if min(self.spacing_mm) <= 0:
            raise ValueError(f"spacing_mm must be positive, got {self.spacing_mm}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return self.array.shape  # type: ignore[return-value]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def affine(self) -> np.ndarray:
        """4x4 matrix from index (z, y, x, 1) to LPS millimetres (x, y, z, 1)."""
        out = np.zeros((4, 4))
        out[2, 0], out[1, 1], out[0, 2] = self.spacing_mm
        out[2, 3], out[1, 3], out[0, 3] = self.origin_mm
        out[3, 3] = 1.0
        return out

    def index_to_mm(self, index_zyx: np.ndarray) -> np.ndarray:
        """Map (..., 3) voxel indices (z, y, x) to LPS millimetres in the order (z, y, x)."""
        return np.asarray(index_zyx, float) * self.spacing_mm + self.origin_mm

    def mm_to_index(self, mm_zyx: np.ndarray) -> np.ndarray:
        """Map (..., 3) LPS millimetres (z, y, x) to fractional voxel indices (z, y, x)."""
        return (np.asarray(mm_zyx, float) - self.origin_mm) / self.spacing_mm

    def with_array(self, array: np.ndarray) -> Volume:
        """Return the same grid with another array of the same shape."""
        if array.shape != self.array.shape:
            raise ValueError(f"array shape {array.shape} does not fit the grid {self.array.shape}")
        return replace(self, array=array)

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-3) -> bool:
        """Whether both volumes have the same shape, spacing, origin and frame of reference."""
        frames = {self.frame_of_reference_uid, other.frame_of_reference_uid} - {""}
        return (
            self.shape == other.shape
            and np.allclose(self.spacing_mm, other.spacing_mm, atol=tolerance_mm)
            and np.allclose(self.origin_mm, other.origin_mm, atol=tolerance_mm)
            and len(frames) <= 1
        )

    def content_hash(self) -> str:
        """SHA-256 over array, type and geometry; equal hashes mean the same content."""
        h = hashlib.sha256()
        h.update(repr((self.shape, str(self.array.dtype), self.spacing_mm, self.origin_mm)).encode())
        h.update(np.ascontiguousarray(self.array).reshape(-1).data)  # no copy: a CT may have half a gigabyte
        return h.hexdigest()
