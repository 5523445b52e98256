"""Where a patient's own disease is or may be, so that no trainer teaches it as healthy tissue.

Gross disease as the clinic contoured it (``GTV``), and what the clinic's own report names, whose place is only known by
level or site. Planning targets are no such place: the highest level alone fills several hundred millilitres of a neck,
most of which looks healthy, and without them seven in ten places for a lesion would be gone.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hnvlm.evaluate.own_reports import OwnReport
from hnvlm.imaging.anatomy import AIRWAY_RANGE, LEVEL_BOX, SITE_BOX, Anatomy
from hnvlm.train.data import GRID_MM, GTV_BIT
from hnvlm.types import SIDES, Finding

# A level's or site's region is where centres of lesions lie; one reaches further by half its size and what differs
# between patients. The size of one whose report tells none.
MARGIN_MM, UNKNOWN_SIZE_MM = 10.0, 40.0


def contoured(labels: np.ndarray) -> np.ndarray:
    """Where the clinic contoured gross disease: bool of the shape of the packed labels."""
    return ((labels >> GTV_BIT) & 1) > 0


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
