"""Gross tumour volumes as the clinic contoured them: each connected part is a lesion, measured on its own contour.

The lesion network learned inserted lesions and overlooks much real disease. Where a clinic's contour says that there is
disease, that is not the network's to judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from hnvlm.imaging.anatomy import Anatomy
from hnvlm.imaging.resample import box_slices, mask_box
from hnvlm.imaging.tg263 import gross_kind
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import Detection, greatest_dimension
from hnvlm.models.neck import Neck, working_masks
from hnvlm.types import Finding, Side

# A centre this far from every level or site that has a name here lies somewhere else.
FURTHEST_MM = 12.0
# A contour whose name does not tell its kind is a node where a level is nearer than every site by this.
CLEARLY_MM = 6.0
# Of a mass that crosses the midline at least this share lies beside it on either side. The cord's contour and the
# patient's posture leave some mm open.
CROSSING_SHARE, BESIDE_MM = 0.1, 5.0
# Voxels that touch, corners included, are one part.
TOUCHING = np.ones((3, 3, 3), bool)
# A part of which more than this was contoured under another name already is the same lesion.
SAME_SHARE = 0.5
# A part smaller than this (mL; a ball of 4 mm) beside larger ones of its contour is a slip of the pen. A detector's own
# limit (``SMALLEST_ML``) does not hold: what a clinic contoured is there, however small.
SPECK_ML = 0.03


@dataclass(frozen=True, eq=False)
class GrossLesion:
    """One connected part of a gross tumour volume.

    Attributes:
        finding: Kind, place, size, slice and box, all measured on the clinic's contour (``contour`` among its
            attributes names it). Whether it is necrotic is not said: the HU of a planning CT, often without contrast,
            do not tell.
        detection: The same as a lesion of the encoder's crop, or None where it lies outside of that.
    """

    finding: Finding
    detection: Detection | None

    def described(self) -> Finding:
        """Kind, side, place and size, as a report states them."""
        keep = {k: v for k, v in self.finding.attributes.items() if k == "crosses_midline"}
        found = self.finding
        return Finding(
            found.kind, side=found.side, size_mm=found.size_mm, site=found.site, level=found.level, attributes=keep
        )

    def brief(self) -> dict[str, object]:
        """What it is, for a log of what an edit began with."""
        found = self.finding
        return {"kind": found.kind, "place": found.place, "side": found.side, "size_mm": found.size_mm}


def gross_lesions(gross: Mapping[str, np.ndarray], volume: Volume, neck: Neck) -> list[GrossLesion]:
    """Lesions of the clinic's gross tumour volumes, masses first, then by size.

    Args:
        gross: Name -> bool mask (z, y, x) on the CT's own grid. A lesion contoured twice, alone and in a volume of all
            disease, counts once, under the name that says more.
        volume: The CT: HU.
    """
    out: list[GrossLesion] = []
    taken = np.zeros(volume.shape, bool)
    for name in sorted(gross, key=lambda name: gross_kind(name) is None):
        before = taken.copy()
        parts = list(_parts(np.asarray(gross[name], bool)))
        largest = max((int(part.sum()) for _, part in parts), default=0)
        for box, part in parts:
            again = part & before[box]
            taken[box] |= part
            speck = part.sum() * volume.voxel_ml < SPECK_ML and part.sum() < largest
            if again.sum() <= SAME_SHARE * part.sum() and not speck:
                out.append(_lesion(name, part & ~again, box, volume, neck))
    return sorted(out, key=lambda lesion: (lesion.finding.kind != "mass", -(lesion.finding.size_mm or 0.0)))


def on_crop(lesions: Sequence[GrossLesion]) -> list[Detection]:
    """Those of the lesions that lie in the encoder's crop, as it would have detected them."""
    return [lesion.detection for lesion in lesions if lesion.detection is not None]


def _parts(mask: np.ndarray) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Connected parts of a mask: box in the volume, and bool of the box. Only what holds the mask is looked through."""
    box = mask_box(mask)
    if box is None:
        return
    around = box_slices(box)
    labels, _ = ndimage.label(mask[around], TOUCHING)
    for k, inside in enumerate(ndimage.find_objects(labels), start=1):
        moved = tuple(slice(s.start + a.start, s.stop + a.start) for s, a in zip(inside, around, strict=True))
        yield moved, labels[inside] == k


def _lesion(name: str, part: np.ndarray, box: tuple[slice, ...], volume: Volume, neck: Neck) -> GrossLesion:
    start = np.array([b.start for b in box])
    hit = np.argwhere(part) + start
    centre = volume.index_to_mm(hit.mean(0))
    kind, place, side = _where(name, centre, neck.anatomy)
    size = greatest_dimension(part, volume.spacing_mm)
    attributes: dict[str, object] = {"volume_ml": round(float(part.sum()) * volume.voxel_ml, 1), "contour": name}
    lateral_mm = _lateral(volume.index_to_mm(hit), neck.anatomy)
    if kind == "mass" and min((lateral_mm > BESIDE_MM).mean(), (lateral_mm < -BESIDE_MM).mean()) >= CROSSING_SHARE:
        attributes["crosses_midline"] = True
        side = "midline" if abs(lateral_mm.mean()) < BESIDE_MM else side
    finding = Finding(
        kind,
        side=side,
        size_mm=float(round(size)),
        certainty="definite" if gross_kind(name) else "probable",
        slice_index=int(np.median(hit[:, 0])),
        box=(*map(int, hit.min(0)), *map(int, hit.max(0) + 1)),  # type: ignore[arg-type]
        attributes=attributes,
        **({"level": place} if kind == "node" else {"site": place}),  # type: ignore[arg-type]
    )
    whole = np.zeros(volume.shape, bool)
    whole[box] = part
    seen = cut(working_masks(volume, neck.working, {name: whole})[name], neck.start, neck.crop.shape, False)
    detection = Detection(kind, seen, 1.0, centre, size, place, side, float("nan"))
    return GrossLesion(finding, detection if seen.any() else None)


def _where(name: str, centre_mm: np.ndarray, anatomy: Anatomy) -> tuple[Literal["mass", "node"], str | None, Side]:
    """Kind, place and side, of which only the kind may be told by the name."""
    kind = gross_kind(name) or kind_by_place(centre_mm, anatomy)
    place, side, distance = anatomy.nearest_place(kind, centre_mm)
    return kind, place if distance <= FURTHEST_MM else None, side


def kind_by_place(centre_mm: np.ndarray, anatomy: Anatomy) -> Literal["mass", "node"]:
    """What a contour is whose name does not tell: a mass, unless it lies clearly among nodes."""
    node, mass = (anatomy.nearest_place(kind, centre_mm)[2] for kind in ("node", "mass"))
    return "node" if node + CLEARLY_MM < mass else "mass"


def _lateral(points_mm: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """How far to the left of the midline, which is that of the spinal cord, points (n, 3) lie, in mm."""
    return points_mm[:, 2] - np.interp(points_mm[:, 0], anatomy.z_mm(), anatomy.cord[1])
