"""Where a patient's own disease is, which is taught as such, or may be, which no trainer teaches as healthy tissue.

Gross disease as the clinic contoured it (``GTV``; ``GTVn``, what of it is nodes), and what the clinic's own report
names, whose place is only known by level or site. Planning targets are no such place (but for the tumour detector,
which is taught their cores): the highest level alone fills several hundred millilitres of a neck, most of which looks
healthy, and without them seven in ten places for a lesion would be gone.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hnvlm.evaluate.common import TREATED
from hnvlm.evaluate.own_reports import OwnReport
from hnvlm.imaging.anatomy import AIRWAY_RANGE, LEVEL_BOX, SITE_BOX, Anatomy
from hnvlm.models.ct_encoder import LESION_CHANNELS
from hnvlm.models.gross import TOUCHING, kind_by_place
from hnvlm.train.data import BIT, GRID_MM, GTV_BIT, GTV_NODES_BIT
from hnvlm.types import SIDES, Finding

# A level's or site's region is where centres of lesions lie; one reaches further by half its size and what differs
# between patients. The size of one whose report tells none.
MARGIN_MM, UNKNOWN_SIZE_MM = 10.0, 40.0
# Of the own lesions in a crop at most these are looked at, none of fewer voxels (3 mm).
MOST_OWN, FEWEST_VOXELS = 4, 8
# Margin of a target about the disease in it, tissue that disease can be, and the smallest core that is taught.
TARGET_MARGIN_MM, SOFT_HU, FEWEST_CORE_VOXELS = 9.0, (-100, 200), 20


def contoured(labels: np.ndarray) -> np.ndarray:
    """Where the clinic contoured gross disease: bool of the shape of the packed labels."""
    return ((labels >> GTV_BIT) & 1) > 0


def own_lesions(labels: np.ndarray, anatomy: Anatomy | None) -> np.ndarray | None:
    """The patient's own lesions by kind: uint8 of the labels' shape, 1 + the index in ``LESION_CHANNELS``, 0 elsewhere.

    Nodes are what the clinic calls so; where it says nothing of nodes, each connected part is what it may be by its
    place. Without landmarks all is a mass. None where the clinic contoured no gross disease.
    """
    gross = contoured(labels)
    if not gross.any():
        return None
    nodes = gross & (((labels >> GTV_NODES_BIT) & 1) > 0)
    if not nodes.any() and anatomy is not None:
        parts, n = ndimage.label(gross, TOUCHING)
        for k in range(1, n + 1):
            centre = anatomy.ct.index_to_mm(np.argwhere(parts == k).mean(0))
            nodes |= (parts == k) & (kind_by_place(centre, anatomy) == "node")
    out = gross.astype(np.uint8) * (1 + LESION_CHANNELS.index("mass"))
    out[nodes] = 1 + LESION_CHANNELS.index("node")
    return out


def target_of(labels: np.ndarray) -> np.ndarray:
    """What is treated to the highest level (PTV_7000): bool of the labels' shape."""
    return ((labels >> BIT[TREATED]) & 1) > 0


def core_of_target(labels: np.ndarray, ct: np.ndarray) -> np.ndarray:
    """Where gross disease is by what is treated: bool of the labels' shape.

    The target of the highest level without its margin, in soft tissue. A PTV is the gross tumour with 5 to 10 mm for
    microscopic disease and 3 to 5 mm for the set-up; a little less than both is taken off.
    """
    core = ndimage.binary_erosion(target_of(labels), iterations=round(TARGET_MARGIN_MM / GRID_MM))
    core = ndimage.binary_opening(core & (ct > SOFT_HU[0]) & (ct < SOFT_HU[1]))
    parts, n = ndimage.label(core, TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    sizes[0] = 0
    return (sizes >= FEWEST_CORE_VOXELS)[parts]


def inside_of(own: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """A random voxel (z, y, x) of each own lesion in a crop (``own_lesions``), the largest first, ``MOST_OWN`` at most.

    A network that is only shown the middle of a tumour of 6 cm never sees its edge.
    """
    parts, n = ndimage.label(own > 0, TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    chosen = [np.argwhere(parts == k + 1) for k in np.argsort(-sizes)[:MOST_OWN] if sizes[k] >= FEWEST_VOXELS]
    return [voxels[int(rng.integers(len(voxels)))] for voxels in chosen]


def edge_of(own: np.ndarray) -> np.ndarray:
    """Voxels just outside the contours, which two clinicians would draw 3 mm apart: bool of the same shape."""
    return ndimage.binary_dilation(own > 0, TOUCHING) & (own == 0)


def reported(report: OwnReport | None, anatomy: Anatomy) -> np.ndarray | None:
    """Where a clinic's report says a lesion is: bool (z, y, x) on the anatomy's grid.

    Everywhere, where the report leaves open what is there or where; None where there is no report or it names none.
    """
    if report is None or (not report.unclear and not report.lesions):
        return None
    everywhere = np.ones(anatomy.ct.shape, bool)
    out = ~everywhere
    for finding in report.lesions:
        region = _region(finding, anatomy)
        if region is None:
            return everywhere
        reach_mm = (finding.size_mm or UNKNOWN_SIZE_MM) / 2 + MARGIN_MM
        out |= ndimage.distance_transform_edt(~region) * GRID_MM <= reach_mm
    return everywhere if report.unclear else out


def _region(finding: Finding, anatomy: Anatomy) -> np.ndarray | None:
    """Where the centre of a named lesion can lie, both sides where none is named; None when that is not known."""
    place = finding.site if finding.kind == "mass" else finding.level
    known = {"node": LEVEL_BOX, "mass": (*SITE_BOX, "parotid gland"), "airway": AIRWAY_RANGE}.get(finding.kind, ())
    if place not in known:
        return None
    sides = (finding.side,) if finding.side in SIDES else SIDES
    region = np.any([anatomy.candidates(finding.kind, place, side) for side in sides], axis=0)
    return region if region.any() else None
