"""Lesion maps of the encoder to findings: components, size, place, side, box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from hnvlm.imaging.anatomy import AIRWAY_RANGE, Anatomy
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import GRID_MM, LESION_CHANNELS
from hnvlm.types import Finding

PEAK = 0.5
EDGE = 0.4
SMALLEST_ML = 0.25
# A lesion's border: this share of its own greatest evidence (found on training patients kept aside: sizes correlate
# best between 0.3 and 0.4), never below the edge of the detector or above EDGE.
OWN_EDGE = 0.35
# The core of a lesion: what lies at least this share of its greatest depth inside. In lesions inserted into training
# patients kept aside its HU tells necrotic from solid with an AUROC of 0.89 (0.79 from a share of 0.6, which takes in
# the rim).
CORE_DEPTH = 0.8
NECROTIC_BELOW_HU = 45.0
# What the report model is told may be there: from weaker evidence than a finding needs, so that most of what it may
# name is among it, and this many at most.
TOLD_PEAK, MOST_TOLD = 0.2, 6
# Voxels (3 mm) over which evidence is averaged: a lesion is wider than a false alarm.
EVIDENCE = 3


@dataclass(frozen=True, eq=False)
class Detection:
    """One lesion found in a crop.

    Attributes:
        kind: ``node``, ``mass`` or ``airway``.
        mask: bool (64, 64, 64) on the crop.
        score: Greatest evidence (``evidence``).
        centre_mm: LPS (z, y, x).
        size_mm: Greatest dimension.
    """

    kind: str
    mask: np.ndarray
    score: float
    centre_mm: np.ndarray
    size_mm: float
    place: str | None
    side: str
    mean_core_hu: float

    def described(self) -> Finding:
        """Kind, side, place, size and texture, without saying how certain it is or where it lies in the CT."""
        place = {"level": self.place} if self.kind == "node" else {"site": self.place}
        texture = "necrotic" if self.mean_core_hu < NECROTIC_BELOW_HU else "solid"
        return Finding(
            self.kind,  # type: ignore[arg-type]
            side=self.side,  # type: ignore[arg-type]
            size_mm=None if self.kind == "airway" else float(round(self.size_mm)),
            attributes={} if self.kind == "airway" else {"texture": texture},
            **place,
        )

    def brief(self) -> dict[str, object]:
        """What it is, for a log of what was seen."""
        size = None if self.kind == "airway" else round(self.size_mm)
        score = round(self.score, 3)
        return {"kind": self.kind, "place": self.place, "side": self.side, "size_mm": size, "score": score}

    def finding(self, volume: Volume, start: np.ndarray, working: Volume) -> Finding:
        """The finding with slice and box on the CT's own grid."""
        hit = np.argwhere(self.mask) + start
        lo = volume.mm_to_index(working.index_to_mm(hit.min(0) - 0.5))
        hi = volume.mm_to_index(working.index_to_mm(hit.max(0) + 0.5))
        lo = np.clip(np.floor(lo + 0.5).astype(int), 0, np.array(volume.shape) - 1)
        hi = np.clip(np.ceil(hi + 0.5).astype(int), lo + 1, volume.shape)
        told = self.described()
        return replace(
            told,
            certainty="probable" if self.score > 0.8 else "possible",
            slice_index=int(np.clip(round(float(volume.mm_to_index(self.centre_mm)[0])), 0, volume.shape[0] - 1)),
            box=(int(lo[0]), int(lo[1]), int(lo[2]), int(hi[0]), int(hi[1]), int(hi[2])),
            score=round(self.score, 3),
            attributes={"volume_ml": round(float(self.mask.sum()) * GRID_MM**3 / 1000, 1), **told.attributes},
        )


def greatest_dimension(mask: np.ndarray, spacing_mm: tuple[float, float, float] = (GRID_MM,) * 3) -> float:
    """Largest distance (mm) between two voxels of a mask, plus half a voxel because voxels have width."""
    edge = mask & ~ndimage.binary_erosion(mask)
    points = np.argwhere(edge) * np.array(spacing_mm)
    if len(points) < 2:
        return float(np.mean(spacing_mm)) * len(points)
    if len(points) > 60:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:
            points = points[:: len(points) // 60]
    return float(pdist(points).max() + np.mean(spacing_mm) * 0.5)


def evidence(probability: np.ndarray) -> np.ndarray:
    """Mean lesion probability of the 9 mm cube around every voxel, of one map (Z, Y, X)."""
    return ndimage.uniform_filter(np.asarray(probability, np.float32), EVIDENCE, mode="constant")


def edge_of(peak: float) -> float:
    """Probability from which a voxel belongs to a lesion, for a detector that answers yes from ``peak``."""
    return min(EDGE, peak * 0.8)


def within_own_edge(probability: np.ndarray, component: np.ndarray, score: float, peak: float) -> np.ndarray:
    """The largest part of a component whose probability reaches ``OWN_EDGE`` of its evidence.

    A detector that says yes from weak evidence would otherwise draw every clear lesion too large.
    """
    edge = float(np.clip(OWN_EDGE * score, edge_of(peak), max(EDGE, edge_of(peak))))
    labels, n = ndimage.label(component & (probability > edge))
    if n < 2:
        return labels > 0
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def detect(
    probability: np.ndarray, crop: np.ndarray, start: np.ndarray, anatomy: Anatomy, *, peak: float = PEAK
) -> list[Detection]:
    """Components of the lesion maps, most certain first.

    Args:
        probability: (3, 64, 64, 64) in the order of LESION_CHANNELS.
        crop: HU of the crop. start: Its first voxel on the working grid.
        peak: A component counts when its greatest evidence reaches this.
    """
    found: list[Detection] = []
    for kind, p in zip(LESION_CHANNELS, probability, strict=True):
        labels, n = ndimage.label(p > edge_of(peak))
        if not n:
            continue
        peaks = ndimage.maximum(evidence(p), labels, range(1, n + 1))
        for k, score in enumerate(peaks, start=1):
            if score < peak:
                continue
            mask = within_own_edge(p, labels == k, float(score), peak)
            if mask.sum() * GRID_MM**3 / 1000 < SMALLEST_ML:
                continue
            centre = anatomy.ct.index_to_mm(np.argwhere(mask).mean(0) + start)
            place, side = locate(kind, centre, anatomy)
            found.append(
                Detection(kind, mask, float(score), centre, greatest_dimension(mask), place, side, _core_hu(crop, mask))
            )
    return sorted(found, key=lambda d: -d.score)


def told_lesions(
    probability: np.ndarray, crop: np.ndarray, start: np.ndarray, anatomy: Anatomy, *, peak: float = PEAK
) -> list[Detection]:
    """Nodes and masses of which the report model is told size and texture, most certain first; see ``detect``.

    Which of them are there the report model judges itself; narrowings of the airway have no size to tell. What is a
    finding is told as it is measured there, from the evidence of findings.

    Args:
        peak: Evidence from which a lesion is a finding.
    """
    sure = detect(probability, crop, start, anatomy, peak=peak)
    weak = detect(probability, crop, start, anatomy, peak=min(TOLD_PEAK, peak))
    rest = [d for d in weak if not any(s.kind == d.kind and (s.mask & d.mask).any() for s in sure)]
    found = sorted([*sure, *rest], key=lambda d: -d.score)
    return [d for d in found if d.kind != "airway" and d.place is not None][:MOST_TOLD]


def apart_from(detections: Sequence[Detection], known: Sequence[Detection]) -> list[Detection]:
    """The detections that touch nothing known; a narrowing of the airway is another thing than its cause."""
    lesions = [k for k in known if k.kind != "airway"]
    if not lesions:
        return list(detections)
    return [d for d in detections if d.kind == "airway" or not any((d.mask & k.mask).any() for k in lesions)]


def locate(kind: str, centre_mm: np.ndarray, anatomy: Anatomy) -> tuple[str | None, str]:
    """Level, site or airway level, and side, of a point."""
    if kind != "airway":
        return anatomy.place_of(kind, centre_mm)
    w, u, _ = anatomy.neck_frame(centre_mm, "left")
    middle = {name: (lo + hi) / 2 for name, (lo, hi) in AIRWAY_RANGE.items()}
    k = int(np.clip(round(float(anatomy.ct.mm_to_index(centre_mm)[0])), 0, anatomy.ct.shape[0] - 1))
    line = anatomy.airway_lines["x"][k]
    side = "left" if (centre_mm[2] > line if np.isfinite(line) else u > 0) else "right"
    return min(middle, key=lambda name: abs(middle[name] - w)), side


def _core_hu(crop: np.ndarray, mask: np.ndarray) -> float:
    """Mean HU of the innermost part, which tells fluid from enhancing tissue."""
    depth = ndimage.distance_transform_edt(mask)
    core = depth >= max(1.0, CORE_DEPTH * depth.max())
    return float(crop[core].mean())
