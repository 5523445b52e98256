"""From any parallelepiped grid to the axis-aligned LPS grid (z, y, x): transpose and flip, or resample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from hnvlm.errors import GeometryError

# A grid this close to the body axes is off by less than half a millimetre at the border of a 500 mm field.
ALIGNED_DEG = 0.1
MAX_VOXELS = 600_000_000
# No CT, mask or dose of a patient has voxels beyond this; a wrong unit in the header gives a factor of 1000.
VOXEL_MM = (0.02, 50.0)
# No couch carries a patient further; the models would work for hours on the air of a larger field.
MAX_EXTENT_MM = 3000.0
_AXIS_NAMES = ("sagittal", "coronal", "axial")


def orientation_word(normal_xyz: np.ndarray) -> str:
    """Plane of slices with this normal: axial, coronal or sagittal; "oblique axial" etc. beyond 5 degrees."""
    axis = int(np.abs(normal_xyz).argmax())
    angle = np.degrees(np.arccos(min(1.0, abs(float(normal_xyz[axis])))))
    return _AXIS_NAMES[axis] if angle <= 5.0 else f"oblique {_AXIS_NAMES[axis]}"


@dataclass(frozen=True)
class GridMap:
    """A source grid and the LPS grid it is brought to.

    Attributes:
        source_shape: (slice, row, column).
        steps: 3x3; column a is the LPS vector (x, y, z) of one step along source axis a.
        origin: LPS position (x, y, z) of source voxel (0, 0, 0).
        axes: ``axes[d]`` is the source axis that runs along LPS axis d (x, y, z).
        aligned: Whether a transpose and flips are enough.
        angle_deg: Largest angle between a source axis and its LPS axis.
        shape, spacing_mm, origin_mm: The LPS grid, order (z, y, x).
    """

    source_shape: tuple[int, int, int]
    steps: np.ndarray
    origin: np.ndarray
    axes: tuple[int, int, int]
    aligned: bool
    angle_deg: float
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @staticmethod
    def build(source_shape: tuple[int, int, int], steps: np.ndarray, origin: np.ndarray) -> GridMap:
        """Work out the LPS grid of a source grid.

        Raises:
            GeometryError: The steps do not span three dimensions, or the LPS grid would be too large.
        """
        lengths = np.linalg.norm(steps, axis=0)
        if not np.isfinite(steps).all() or lengths.min() <= 0 or abs(np.linalg.det(steps / lengths)) < 0.1:
            raise GeometryError("the grid's axes do not span three dimensions; its orientation is damaged")
        if not np.isfinite(origin).all():
            raise GeometryError("the position of the grid is not stated in numbers")
        units = steps / lengths
        axes = _assign(np.abs(units))
        cosines = [abs(units[d, axes[d]]) for d in range(3)]
        angle = float(np.degrees(np.arccos(min(1.0, min(cosines)))))
        spacing = np.round(lengths[list(axes)], 6)  # positions carry no more digits than that
        corners = _corners(source_shape, steps, origin)
        low, high = corners.min(axis=0), corners.max(axis=0)
        aligned = angle <= ALIGNED_DEG
        if aligned:
            shape = np.array(source_shape)[list(axes)]
            centre = (low + high) / 2
            low = centre - lengths[list(axes)] * (shape - 1) / 2
        else:
            shape = np.floor((high - low) / spacing + 1e-3).astype(int) + 1
        if (np.array(shape) * spacing).max() > MAX_EXTENT_MM:
            size = " x ".join(f"{v:.0f}" for v in np.array(shape) * spacing)
            raise GeometryError(
                f"a field of {size} mm is larger than any patient; its spacing or positions are damaged"
            )
        if float(np.prod(shape.astype(float))) > MAX_VOXELS:
            raise GeometryError(f"a volume of {' x '.join(map(str, shape[::-1]))} voxels is larger than can be read")
        return GridMap(
            source_shape=source_shape,
            steps=steps,
            origin=np.asarray(origin, float),
            axes=axes,
            aligned=aligned,
            angle_deg=angle,
            shape=tuple(int(v) for v in shape[::-1]),  # type: ignore[arg-type]
            spacing_mm=tuple(float(v) for v in spacing[::-1]),  # type: ignore[arg-type]
            origin_mm=tuple(float(v) for v in low[::-1]),  # type: ignore[arg-type]
        )

    def apply(self, array: np.ndarray, fill: float, order: int = 1) -> tuple[np.ndarray, tuple, tuple]:
        """Bring an array on the source grid to the LPS grid.

        Args:
            array: (slice, row, column) on the source grid.
            fill: Value outside the source.
            order: 1 linear, 0 nearest; used only when the grid must be resampled.

        Returns:
            (array (z, y, x), spacing_mm (z, y, x), origin_mm (z, y, x)).
        """
        if array.shape != self.source_shape:
            raise GeometryError(f"array {array.shape} does not fit the grid {self.source_shape}")
        if self.aligned:
            turned = array.transpose([self.axes[2], self.axes[1], self.axes[0]])
            flips = tuple(
                slice(None, None, -1) if self.steps[2 - n, self.axes[2 - n]] < 0 else slice(None) for n in range(3)
            )
            return np.ascontiguousarray(turned[flips]), self.spacing_mm, self.origin_mm
        out = self.sample(array, self.shape, self.spacing_mm, self.origin_mm, fill, order)
        return out, self.spacing_mm, self.origin_mm

    def sample(
        self,
        array: np.ndarray,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float],
        fill: float,
        order: int = 1,
    ) -> np.ndarray:
        """Resample an array on the source grid to any axis-aligned LPS grid.

        Args:
            array: (slice, row, column), as the source has them.
            shape, spacing_mm, origin_mm: Of the grid to fill, in order (z, y, x).
            fill: Value where the source does not reach.
            order: 1 linear, 0 nearest.
        """
        image = sitk.GetImageFromArray(array)
        # ITK keeps the index order (column, row, slice) and accepts a sheared direction, which a tilted gantry needs.
        columns = self.steps[:, ::-1]
        lengths = np.linalg.norm(columns, axis=0)
        image.SetSpacing([float(v) for v in lengths])
        image.SetDirection([float(v) for v in (columns / lengths).ravel()])
        image.SetOrigin([float(v) for v in self.origin])
        interpolator = sitk.sitkLinear if order else sitk.sitkNearestNeighbor
        out = sitk.Resample(
            image, [int(v) for v in shape[::-1]], sitk.Transform(), interpolator,
            [float(v) for v in origin_mm[::-1]], [float(v) for v in spacing_mm[::-1]],
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], float(fill), sitk.sitkFloat32,
        )  # fmt: skip
        result = sitk.GetArrayViewFromImage(out)
        # ITK would truncate towards zero when it writes integers.
        return (np.rint(result) if np.issubdtype(array.dtype, np.integer) else result).astype(array.dtype)


def _assign(cosines: np.ndarray) -> tuple[int, int, int]:
    """Source axis of each LPS axis, by the permutation with the largest sum of cosines."""
    permutations = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    return max(permutations, key=lambda p: cosines[0, p[0]] + cosines[1, p[1]] + cosines[2, p[2]])


def _corners(shape: tuple[int, int, int], steps: np.ndarray, origin: np.ndarray) -> np.ndarray:
    index = np.array([[a, b, c] for a in (0, shape[0] - 1) for b in (0, shape[1] - 1) for c in (0, shape[2] - 1)])
    return index @ steps.T + np.asarray(origin, float)
