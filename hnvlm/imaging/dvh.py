"""Cumulative dose-volume histograms and every figure read from them.

A structure is a set of voxels (or shares of voxels, 0 to 1). Each voxel is divided into equal parts no larger than
``max_step_mm``, the dose is interpolated linearly at the middle of each part, and each part counts with its volume.
So a steep gradient inside a thick slice is seen, and the volume stays the one that was contoured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hnvlm.imaging.resample import mask_box, resample_like
from hnvlm.imaging.volume import Volume

MAX_STEP_MM = 1.5
MAX_PARTS = 5  # of one voxel along one axis; odd, so that the voxel's own centre is among the samples
MAX_SAMPLES = 20_000_000
# A larger share of a structure beyond the dose grid, and its figures say nothing: a mean is off by up to that share of
# itself, and the near-minimum and near-maximum of ICRU Report 83 (D98, D2) leave out no more than 2 %. Less is the rim
# of a grid that ends on the structure's last slice.
OUTSIDE_SHARE = 0.01
# Counted volumes are sums of floats; two that differ by less are the same.
_TOLERANCE = 1e-9
# A dose this close below a level reaches it: 59.85 Gy (95 % of 63) is less than that as a float32.
_SAME_GY = 1e-4


@dataclass(frozen=True, eq=False)
class Dvh:
    """Cumulative DVH of one structure, kept as its samples, so that no bin width enters a figure.

    Attributes:
        dose_gy: Doses of all samples, highest first (float32).
        above_cc: Volume in cc that gets at least that dose; the last entry is the structure's volume.
        outside_cc: Volume beyond the dose grid, counted with 0 Gy.
    """

    dose_gy: np.ndarray
    above_cc: np.ndarray
    outside_cc: float = 0.0

    @property
    def volume_cc(self) -> float:
        """Volume of the structure in cc."""
        return float(self.above_cc[-1])

    @property
    def partly_outside(self) -> bool:
        """Whether so much lies beyond the dose grid that every figure is only a lower bound (``OUTSIDE_SHARE``)."""
        return self.outside_cc > OUTSIDE_SHARE * self.volume_cc

    @cached_property
    def parts_cc(self) -> np.ndarray:
        """Volume of each sample in cc."""
        return np.diff(self.above_cc, prepend=0.0)

    @property
    def max_gy(self) -> float:
        """Highest dose."""
        return float(self.dose_gy[0])

    @property
    def min_gy(self) -> float:
        """Lowest dose."""
        return float(self.dose_gy[-1])

    @cached_property
    def mean_gy(self) -> float:
        """Mean dose by volume."""
        return float(np.dot(self.dose_gy.astype(np.float64), self.parts_cc) / self.above_cc[-1])

    def dose_at_cc(self, volume_cc: float) -> float | None:
        """Return the dose that at least ``volume_cc`` of the structure gets; None where it has not that much volume."""
        total = self.volume_cc
        if not 0 <= volume_cc <= total * (1 + _TOLERANCE):
            return None
        place = int(np.searchsorted(self.above_cc, volume_cc - total * _TOLERANCE, side="left"))
        return float(self.dose_gy[min(place, len(self.dose_gy) - 1)])

    def dose_at_percent(self, percent: float) -> float | None:
        """Return the dose that at least ``percent`` of the structure's volume gets."""
        return self.dose_at_cc(percent / 100 * self.volume_cc)

    def volume_at_gy(self, dose_gy: float) -> float:
        """Return the volume in cc that gets at least ``dose_gy``."""
        count = len(self.dose_gy) - int(np.searchsorted(self.dose_gy[::-1], dose_gy - _SAME_GY, side="left"))
        return float(self.above_cc[count - 1]) if count else 0.0

    def percent_at_gy(self, dose_gy: float) -> float:
        """Return the share of the volume, in percent, that gets at least ``dose_gy``."""
        return 100 * self.volume_at_gy(dose_gy) / self.volume_cc

    @property
    def homogeneity(self) -> float | None:
        """Homogeneity index of ICRU Report 83: (D2 - D98) / D50; 0 is a uniform dose, None without dose."""
        d2, d50, d98 = (self.dose_at_percent(p) for p in (2, 50, 98))
        return (d2 - d98) / d50 if d50 else None  # type: ignore[operator]

    def scaled(self, factor: float) -> Dvh:
        """Return the DVH of the same dose times a factor above 0."""
        if not factor > 0:
            raise ValueError(f"a dose is scaled by a positive factor, not {factor}")
        return Dvh(self.dose_gy * np.float32(factor), self.above_cc, self.outside_cc)

    def compact(self, step_gy: float = 0.005) -> Dvh:
        """Return the same DVH with doses rounded to a step: thousands instead of millions of entries to keep."""
        steps = np.rint(self.dose_gy / np.float32(step_gy)).astype(np.int64)
        last = np.flatnonzero(np.diff(steps, append=steps[-1] - 1))
        return Dvh((steps[last] * step_gy).astype(np.float32), self.above_cc[last], self.outside_cc)

    def mapped_eqd2(self, fractions: float, alpha_beta_gy: float) -> Dvh:
        """Return the DVH in equivalent dose of 2 Gy fractions: D (D/n + a/b) / (2 + a/b) sample by sample."""
        dose = self.dose_gy.astype(np.float64)
        eqd2 = dose * (dose / fractions + alpha_beta_gy) / (2 + alpha_beta_gy)
        return Dvh(eqd2.astype(np.float32), self.above_cc, self.outside_cc)

    def curve(self, step_gy: float = 0.25, end_gy: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (dose in Gy, volume in percent) at even steps from 0, for drawing and tables."""
        end = self.max_gy if end_gy is None else end_gy
        doses = np.arange(0.0, end + step_gy, step_gy)
        counts = len(self.dose_gy) - np.searchsorted(self.dose_gy[::-1], doses - _SAME_GY, side="left")
        volumes = np.where(counts > 0, self.above_cc[np.maximum(counts - 1, 0)], 0.0)
        return doses, 100 * volumes / self.volume_cc

    def metric(self, name: str, prescription_gy: float | None = None) -> float | None:
        """Return one metric by name, or None where the structure or a missing prescription leaves it undefined.

        Args:
            name: ``Dmean``, ``Dmax``, ``Dmin``; ``D2pct``, ``D0.03cc`` (Gy); ``V50Gy`` (percent of the structure),
                ``V50Gy_cc``; ``V95pct`` (percent of the structure that gets 95 % of the prescription), ``V95pct_cc``.
            prescription_gy: For ``V..pct``.

        Raises:
            ValueError: No metric has this name.
        """
        plain = {"Dmean": "mean_gy", "Dmax": "max_gy", "Dmin": "min_gy"}
        if name in plain:
            return float(getattr(self, plain[name]))
        if match := re.fullmatch(r"D(\d+(?:\.\d+)?)(pct|cc)", name):
            value = float(match[1])
            return self.dose_at_percent(value) if match[2] == "pct" else self.dose_at_cc(value)
        if match := re.fullmatch(r"V(\d+(?:\.\d+)?)(Gy|pct)(_cc)?", name):
            level = float(match[1])
            if match[2] == "pct":
                if prescription_gy is None:
                    return None
                level *= prescription_gy / 100
            return self.volume_at_gy(level) if match[3] else self.percent_at_gy(level)
        raise ValueError(f"{name!r} is no dose-volume metric")

    def metrics(self, names: Iterable[str], prescription_gy: float | None = None) -> dict[str, float]:
        """Return the metrics that are defined for this structure."""
        found = {name: self.metric(name, prescription_gy) for name in names}
        return {name: value for name, value in found.items() if value is not None}


def is_metric(name: str) -> bool:
    """Whether ``Dvh.metric`` knows the name."""
    return re.fullmatch(r"D(mean|max|min)|D\d+(\.\d+)?(pct|cc)|V\d+(\.\d+)?(Gy|pct)(_cc)?", name) is not None


def dose_volume(dose: Volume, structure: Volume | np.ndarray, *, max_step_mm: float = MAX_STEP_MM) -> Dvh | None:
    """Compute the DVH of one structure.

    Args:
        dose: Gy (z, y, x).
        structure: bool, or share of each voxel from 0 to 1, on the dose's grid; a Volume may lie on another grid:
            then its voxels are divided and the dose is interpolated at their positions.
        max_step_mm: Largest part of a voxel along each axis.

    Returns:
        None for a structure without volume.

    Raises:
        ValueError: An array of another shape than the dose, or shares outside 0 to 1.
        FrameOfReferenceError: The structure belongs to another frame of reference than the dose.
    """
    volume = structure if isinstance(structure, Volume) else dose.with_array(np.asarray(structure))
    array = volume.array
    if array.dtype != bool and array.size and (float(array.min()) < 0 or float(array.max()) > 1):
        raise ValueError("shares of voxels lie between 0 and 1")
    box = mask_box(array if array.dtype == bool else array > 0)
    if box is None:
        return None
    part = array[box[0] : box[3], box[1] : box[4], box[2] : box[5]]
    counts = _parts(part.shape, volume.spacing_mm, max_step_mm)
    doses = _sampled(dose, volume, box, counts)
    for axis, count in enumerate(counts):
        part = np.repeat(part, count, axis=axis)
    inside = part > 0
    values = doses[inside]
    del doses  # a whole body has millions of samples; what follows works in place
    each_cc = volume.voxel_ml / float(np.prod(counts))
    beyond = np.isnan(values)
    weights = part[inside].astype(np.float64) * each_cc if array.dtype != bool else None
    outside_cc = float(beyond.sum() * each_cc if weights is None else weights[beyond].sum())
    values[beyond] = 0
    if weights is None:
        values.sort()
        above_cc = np.arange(1, len(values) + 1, dtype=np.float64)
        above_cc *= each_cc
        return Dvh(values[::-1], above_cc, outside_cc)
    order = np.argsort(values)[::-1]
    return Dvh(values[order], np.cumsum(weights[order]), outside_cc)


def _parts(shape: tuple[int, ...], spacing_mm: tuple[float, ...], max_step_mm: float) -> list[int]:
    """Number of parts of a voxel along each axis: odd, and fewer where the structure is huge."""
    counts = []
    for spacing in spacing_mm:
        count = int(np.ceil(spacing / max_step_mm - 1e-6))
        counts.append(min(MAX_PARTS, max(1, count + (count + 1) % 2)))
    while np.prod(shape) * np.prod(counts) > MAX_SAMPLES and max(counts) > 1:
        counts[int(np.argmax(counts))] -= 2
    return counts


def _sampled(dose: Volume, grid: Volume, box: tuple[int, ...], counts: list[int]) -> np.ndarray:
    """Dose at the parts of the voxels in a box of ``grid``; not-a-number beyond the dose's own grid."""
    size = tuple((box[a + 3] - box[a]) * counts[a] for a in range(3))
    spacing = tuple(grid.spacing_mm[a] / counts[a] for a in range(3))
    first = grid.index_to_mm(np.array(box[:3])) - (np.array(grid.spacing_mm) - spacing) / 2
    empty = np.broadcast_to(np.False_, size)
    target = Volume(empty, spacing, tuple(first), grid.frame_of_reference_uid)
    source = dose.with_array(dose.array.astype(np.float32, copy=False))
    return resample_like(source, target, order=1, fill=np.nan).array


def challenge_metrics(dose_gy: np.ndarray, mask: np.ndarray, voxel_mm3: float, *, target: bool) -> dict[str, float]:
    """Return the metrics of the OpenKBP challenge, by its own definition (voxels, no partial volumes).

    Babier et al. 2021, doi 10.1002/mp.14845, evaluation code: targets have D_99, D_95 and D_1 as the 1st, 5th and
    99th percentile of voxel doses; organs D_0.1_cc (percentile 100 - n / voxels * 100 with n = max(1,
    round(100 mm3 / voxel))) and mean. Empty dict for an empty mask.
    """
    values = np.asarray(dose_gy)[np.asarray(mask, bool)].astype(np.float64)
    if not values.size:
        return {}
    if target:
        return {name: float(np.percentile(values, p)) for name, p in (("D_99", 1), ("D_95", 5), ("D_1", 99))}
    count = max(1, round(100 / voxel_mm3))
    hottest = float(np.percentile(values, max(0.0, 100 - count / values.size * 100)))
    return {"D_0.1_cc": hottest, "mean": float(values.mean())}
