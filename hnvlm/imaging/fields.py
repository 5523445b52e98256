"""Geometry of coplanar treatment fields: which rays hit a structure, depth along them, and what dose they can give.

The plans that the dose network learned from were made for nine equispaced coplanar 6 MV fields (0, 40, ..., 320
degrees). Where these fields enter, which of their rays hit a target and how much tissue they cross is known before any
dose is: it is geometry, computed here once per patient. The same rays, each with its attenuation, are a simple dose
model (pencil beams without scatter): a dose that no sum of them can give is not the dose of such a plan.

Angles are IEC gantry angles of a patient who lies supine, head first: 0 comes from the front, 90 from the patient's
left. A ray is named by where it crosses the plane through the isocentre: s (sideways, grows to the left at 0 degrees)
and z (to the head), in millimetres, seen from a source 1000 mm before the isocentre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from hnvlm.imaging.volume import Volume

ANGLES_DEG = tuple(range(0, 360, 40))
SOURCE_MM = 1000.0
# Pitch of the rays at the isocentre, and of the steps along them.
PITCH_MM = 4.0
# Narrow 6 MV rays in water: attenuation, and the build-up below the skin (fitted to plans of the training patients).
ATTENUATION_PER_MM = 0.005
BUILD_UP_MM = 6.0
SKIN_SHARE = 0.4

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Field:
    """One field of a patient.

    Attributes:
        angle_deg: IEC gantry angle.
        rays: Sparse (N, Z*S): share of each ray (bilinear) at each of the N voxels.
        size: (Z, S) rays.
        depth_mm: (N,) water-equivalent depth below the skin along the ray.
        along_mm: (N,) position along the field's axis, 0 at the isocentre, growing away from the source.
        weight: (N,) dose per unit fluence: attenuation, build-up and inverse square.
        fan: Sparse (T*S, ny*nx): samples of an image row on the fan of rays, T steps of ``PITCH_MM`` along the axis.
        steps_mm: (T,) positions of these steps.
    """

    angle_deg: float
    rays: sparse.csr_matrix
    size: tuple[int, int]
    depth_mm: np.ndarray
    along_mm: np.ndarray
    weight: np.ndarray
    fan: sparse.csr_matrix
    steps_mm: np.ndarray


class Fields:
    """Nine fields around an isocentre, for the voxels of a mask.

    Args:
        body: bool volume (z, y, x): where dose is asked for; everything outside counts as air.
        isocentre_mm: LPS (z, y, x).
        density: Relative to water (z, y, x); 1 inside ``body`` when not given.
        angles_deg: IEC gantry angles.
    """

    def __init__(
        self,
        body: Volume,
        isocentre_mm: Sequence[float],
        density: np.ndarray | None = None,
        angles_deg: Sequence[float] = ANGLES_DEG,
    ) -> None:
        self.grid = body
        self.isocentre_mm = np.asarray(isocentre_mm, float)
        self.index = np.argwhere(body.array)
        tissue = body.array.astype(np.float32)
        if density is not None:
            tissue = tissue * np.asarray(density, np.float32)
        self._z_mm, y, x = (
            (np.arange(n) * s + o - c).astype(np.float32)
            for n, s, o, c in zip(body.shape, body.spacing_mm, body.origin_mm, self.isocentre_mm, strict=True)
        )
        self._y, self._x = np.meshgrid(y, x, indexing="ij")
        rows = _rows(tissue)
        self.fields = [self._field(float(angle), rows) for angle in angles_deg]

    def _field(self, angle: float, tissue_rows: np.ndarray) -> Field:
        nz, ny, nx = self.grid.shape
        sin, cos = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
        across = self._x * cos + self._y * sin
        along = self._y * cos - self._x * sin
        if along.min() <= -0.9 * SOURCE_MM:
            raise ValueError("the volume reaches to the radiation source; the isocentre must lie in the patient")
        # Seen from the source, everything is projected onto the plane through the isocentre.
        magnify = (SOURCE_MM / (SOURCE_MM + along)).astype(np.float32)
        s = across * magnify
        half_s = int(np.ceil(np.abs(s).max() / PITCH_MM)) + 1
        half_z = int(np.ceil(np.abs(self._z_mm).max() * magnify.max() / PITCH_MM)) + 1
        size = (2 * half_z + 1, 2 * half_s + 1)

        steps = np.arange(np.floor(along.min() / PITCH_MM), np.ceil(along.max() / PITCH_MM) + 1) * PITCH_MM
        ray_s = (np.arange(size[1]) - half_s) * PITCH_MM
        fan_across = ray_s[None] * (SOURCE_MM + steps[:, None]) / SOURCE_MM
        fan_x = fan_across * cos - steps[:, None] * sin
        fan_y = fan_across * sin + steps[:, None] * cos
        dy, dx = self.grid.spacing_mm[1:]
        fan = _bilinear((fan_y - self._y[0, 0]) / dy, (fan_x - self._x[0, 0]) / dx, (ny, nx))

        # Depth: sum of what each ray has crossed when it reaches a step, half of the step itself included.
        crossed = (fan @ tissue_rows).reshape(len(steps), size[1], nz)
        slant = np.sqrt(1 + (ray_s / SOURCE_MM) ** 2).astype(np.float32)[None, :, None]
        depth = (np.cumsum(crossed, axis=0) - crossed / 2) * (slant * np.float32(PITCH_MM))
        back = _bilinear((along - steps[0]) / PITCH_MM, s / PITCH_MM + half_s, (len(steps), size[1]))
        z_index, y_index, x_index = self.index.T
        depth_mm = (back @ depth.reshape(-1, nz)).reshape(ny, nx, nz)[y_index, x_index, z_index]

        own_magnify = magnify[y_index, x_index]
        rays = _bilinear(
            self._z_mm[z_index] * own_magnify / PITCH_MM + half_z, s[y_index, x_index] / PITCH_MM + half_s, size
        )
        build_up = 1 - (1 - SKIN_SHARE) * np.exp(-depth_mm / BUILD_UP_MM)
        weight = (np.exp(-ATTENUATION_PER_MM * depth_mm) * build_up * own_magnify**2).astype(np.float32)
        return Field(angle, rays, size, depth_mm, along[y_index, x_index], weight, fan, steps)

    def on_rays(self, field: Field, rows: np.ndarray, window: Window | None = None) -> np.ndarray:
        """Follow the rays of a field through images.

        Args:
            rows: (C, ny*nx, nz) as ``structure_rows`` makes them.
            window: (z0, z1, s0, s1): only these rays, end exclusive; all by default.

        Returns:
            (C, T, S, Z) values along the T steps of each ray (s, z) of the window.
        """
        size_z, size_s = field.size
        z0, z1, s0, s1 = window or (0, size_z, 0, size_s)
        count, steps, nz = len(rows), len(field.steps_mm), rows.shape[2]
        # At each step the ray's height above the isocentre grows with the distance from the source.
        wanted = (np.arange(z0, z1) - size_z // 2) * PITCH_MM
        heights = wanted[None] * (SOURCE_MM + field.steps_mm[:, None]) / SOURCE_MM
        index = (heights - self._z_mm[0]) / self.grid.spacing_mm[0]
        low = np.floor(index).astype(int)
        share = (index - low).astype(np.float32)
        weight_low = np.where((low >= 0) & (low < nz), 1 - share, 0).astype(np.float32)[:, None]
        weight_high = np.where((low >= -1) & (low < nz - 1), share, 0).astype(np.float32)[:, None]
        low, high = np.clip(low, 0, nz - 1), np.clip(low + 1, 0, nz - 1)
        # Only the slices these rays can meet, and only the columns of the window.
        first, last = int(low.min()), int(high.max()) + 1
        low, high = (low - first)[:, None], (high - first)[:, None]
        picked = field.fan[(np.arange(steps)[:, None] * size_s + np.arange(s0, s1)).ravel()]
        fan = np.empty((count, steps, s1 - s0, z1 - z0), np.float32)
        for c in range(count):
            flat = (picked @ np.ascontiguousarray(rows[c][:, first:last])).reshape(steps, s1 - s0, last - first)
            fan[c] = np.take_along_axis(flat, low, 2) * weight_low
            fan[c] += np.take_along_axis(flat, high, 2) * weight_high
        return fan

    def window(self, field: Field, inside: np.ndarray) -> Window:
        """Rays (z0, z1, s0, s1) that pass the voxels ``inside`` (bool over ``index``), one more on each side."""
        first = field.rays.indices.reshape(-1, 4)[inside, 0]
        z, s = np.divmod(first, field.size[1])
        return (
            max(0, int(z.min()) - 1), min(field.size[0], int(z.max()) + 3),
            max(0, int(s.min()) - 1), min(field.size[1], int(s.max()) + 3),
        )  # fmt: skip

    @cached_property
    def influence(self) -> sparse.csr_matrix:
        """Dose per unit fluence (N, all rays of all fields), Gy."""
        # Every voxel has four rays in every field, so the rows are simply set side by side.
        first = np.cumsum([0, *(f.size[0] * f.size[1] for f in self.fields)]).astype(np.int32)
        indices = np.concatenate(
            [f.rays.indices.reshape(-1, 4) + start for f, start in zip(self.fields, first[:-1], strict=True)], axis=1
        )
        data = np.concatenate([f.rays.data.reshape(-1, 4) * f.weight[:, None] for f in self.fields], axis=1)
        indptr = np.arange(len(self.index) + 1, dtype=np.int32) * indices.shape[1]
        return sparse.csr_matrix((data.ravel(), indices.ravel(), indptr), shape=(len(self.index), int(first[-1])))

    def nearest_deliverable(
        self, dose_gy: np.ndarray, iterations: int = 20, weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Find the dose of non-negative fluences that is nearest to a wanted one (least squares).

        Accelerated projected gradient (Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009) 183-202).

        Args:
            dose_gy: (N,) wanted dose of the mask's voxels, in ``index`` order.
            weight: (N,) importance of each voxel.

        Returns:
            (N,) float32 Gy.
        """
        wanted = np.asarray(dose_gy, np.float32)
        importance = np.ones(len(wanted), np.float32) if weight is None else np.asarray(weight, np.float32)
        forward = self.influence
        backward = forward.T
        vector = np.ones(forward.shape[1], np.float32)
        norm = 1.0
        for _ in range(6):
            vector = backward @ (importance * (forward @ vector))
            norm = float(np.linalg.norm(vector))
            vector /= max(norm, 1e-12)
        step = np.float32(1.0 / max(1.1 * norm, 1e-12))
        fluence = np.full(forward.shape[1], 0.5, np.float32)
        start = forward @ fluence
        fluence *= np.float32((importance * start) @ wanted / max(float((importance * start) @ start), 1e-12))
        momentum, t = fluence.copy(), 1.0
        for _ in range(iterations):
            new = np.maximum(momentum - step * (backward @ (importance * (forward @ momentum - wanted))), 0)
            t_next = (1 + np.sqrt(1 + 4 * t * t)) / 2
            momentum = new + np.float32((t - 1) / t_next) * (new - fluence)
            fluence, t = new, t_next
        return forward @ fluence


def structure_rows(structures: np.ndarray) -> np.ndarray:
    """(C, z, y, x) -> float32 (C, y*x, z), the layout that ``on_rays`` multiplies."""
    return np.stack([_rows(s.astype(np.float32)) for s in structures])


def _rows(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.reshape(len(array), -1).T)


def _bilinear(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Sparse matrix that samples an image of ``shape`` (flattened) at fractional places; 0 outside."""
    row, column = np.ravel(row), np.ravel(column)
    top, left = np.floor(row).astype(np.int32), np.floor(column).astype(np.int32)
    down, right = (row - top).astype(np.float32), (column - left).astype(np.float32)
    indices = np.empty((len(row), 4), np.int32)
    data = np.empty((len(row), 4), np.float32)
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        r, c = top + i, left + j
        inside = (r >= 0) & (r < shape[0]) & (c >= 0) & (c < shape[1])
        indices[:, k] = np.where(inside, r * shape[1] + c, 0)
        data[:, k] = np.where(inside, (down if i else 1 - down) * (right if j else 1 - right), 0)
    indptr = np.arange(len(row) + 1, dtype=np.int32) * 4
    return sparse.csr_matrix((data.ravel(), indices.ravel(), indptr), shape=(len(row), shape[0] * shape[1]))


@dataclass(frozen=True)
class FieldSums:
    """What all fields together do to each voxel (all (N,) float32).

    Attributes:
        aperture: Name of a target level -> share of the fields whose ray through the voxel hits it.
        entrance: Share of the fields whose ray hits a target that lies still before it (the voxel is on the way in).
        open_dose: Mean over the fields of prescription on the ray (Gy) x dose per unit fluence.
        shared: Name of an organ group -> share of the aperture rays through the voxel that also pass this group.
        mean_depth_mm, least_depth_mm: Water-equivalent depth along the fields.
    """

    aperture: dict[str, np.ndarray]
    entrance: np.ndarray
    open_dose: np.ndarray
    shared: dict[str, np.ndarray]
    mean_depth_mm: np.ndarray
    least_depth_mm: np.ndarray


def field_sums(fields: Fields, levels: Mapping[float, np.ndarray], organs: Mapping[str, np.ndarray]) -> FieldSums:
    """Sum target and organ projections over the fields.

    Args:
        levels: Prescription in Gy -> bool (z, y, x) of everything prescribed at least that; the lowest is everything.
        organs: Name -> bool (z, y, x).
    """
    order = sorted(levels)
    names = list(organs)
    rows = structure_rows(np.stack([levels[g] for g in order] + [organs[n] for n in names]))
    n = len(fields.index)
    hit = np.zeros((len(order), n), np.float32)
    shared = np.zeros((len(names), n), np.float32)
    entrance, open_dose, mean_depth = (np.zeros(n, np.float32) for _ in range(3))
    least = np.full(n, np.inf, np.float32)
    steps_up = np.diff([0.0, *order]).astype(np.float32)
    inside = levels[order[0]][tuple(fields.index.T)]
    if not inside.any():
        raise ValueError("no voxel of a target lies inside the body")
    for field in fields.fields:
        window = fields.window(field, inside)
        passed = (fields.on_rays(field, rows, window) >= 0.5).transpose(0, 1, 3, 2)
        rays = passed.any(axis=1).astype(np.float32)
        targets, organ_rays = rays[: len(order)], rays[len(order) :] * rays[0]
        first = field.steps_mm[passed[0].argmax(axis=0)].astype(np.float32) * targets[0]
        # One product for everything; the highest prescription of a ray is the sum of the level steps it hits.
        own = _spread(field, window, np.concatenate([targets, first[None], organ_rays]))
        levels_here = own[: len(order)]
        hit += levels_here
        open_dose += field.weight * (steps_up @ levels_here)
        shared += own[len(order) + 1 :]
        start = own[len(order)] / np.maximum(levels_here[0], 1e-6)
        entrance += levels_here[0] * (field.along_mm < start)
        mean_depth += field.depth_mm
        least = np.minimum(least, field.depth_mm)
    count = np.float32(len(fields.fields))
    anything = np.maximum(hit[0], 1e-6)
    return FieldSums(
        {f"{g:g}": hit[k] / count for k, g in enumerate(order)}, entrance / count, open_dose / count,
        {name: np.where(hit[0] > 1e-3, shared[k] / anything, 0).astype(np.float32) for k, name in enumerate(names)},
        mean_depth / count, least,
    )  # fmt: skip


def _spread(field: Field, window: Window, values: np.ndarray) -> np.ndarray:
    """Values of the rays of a window (C, z, s), 0 on all others, at the voxels: (C, N)."""
    z0, z1, s0, s1 = window
    full = np.zeros((len(values), *field.size), np.float32)
    full[:, z0:z1, s0:s1] = values
    return (field.rays @ full.reshape(len(values), -1).T).T
