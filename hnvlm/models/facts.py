"""Measured facts of a CT: target region, airway, dental artefact and coverage as findings. No torch.

Heights are read in the frame of the neck (``hnvlm.imaging.anatomy``) and named by the nearest landmark band;
the bands are approximations from the mandible's lower border, not contours of the landmarks themselves.
"""

from __future__ import annotations

import numpy as np

from hnvlm.imaging.anatomy import AIRWAY_RANGE, Anatomy
from hnvlm.imaging.lesions import Lesion
from hnvlm.types import Finding

# (lowest w in mm, word): bands from the top of the head downwards.
LANDMARK_BANDS = (
    (120.0, "vertex"), (62.0, "skull base"), (48.0, "nasopharynx"), (36.0, "hard palate"), (12.0, "oropharynx"),
    (-8.0, "hyoid"), (-32.0, "larynx"), (-50.0, "cricoid"), (-85.0, "clavicle"), (-np.inf, "upper mediastinum"),
)  # fmt: skip
METAL_HU = 2400
MIDLINE_MM = 7.0
BILATERAL_SHARE = 0.3


def rounded(value: float, step: float) -> float:
    """Round to a step, but never a positive value to zero."""
    return float(max(step, round(value / step) * step))


def landmark_word(w_mm: float) -> str:
    """Name of the landmark band at a height ``w`` (mm above the mandible's lower border)."""
    return next(word for low, word in LANDMARK_BANDS if w_mm >= low)


def target_finding(anatomy: Anatomy) -> Finding | None:
    """Predicted or contoured high-dose region: side, extent and volume; None when there is none (< 1 mL)."""
    mask = anatomy.masks.get("PTV_7000")
    if mask is None:
        return None
    volume_ml = float(mask.sum()) * anatomy.ct.voxel_ml
    if volume_ml < 1.0:
        return None
    zs, _, xs = np.nonzero(mask)
    u = anatomy.x_mm()[xs] - anatomy.cord[1][zs]
    left = float((u > 0).mean())
    if min(left, 1 - left) >= BILATERAL_SHARE:
        side = "midline" if abs(float(u.mean())) < MIDLINE_MM and np.percentile(np.abs(u), 90) < 30 else "bilateral"
    else:
        side = "left" if left > 0.5 else "right"
    lo, hi = np.percentile(anatomy.w[zs], [2, 98])
    attributes = {"superior": landmark_word(hi), "inferior": landmark_word(lo), "volume_ml": rounded(volume_ml, 20)}
    return Finding("target", side=side, attributes=attributes)


def airway_area(anatomy: Anatomy) -> tuple[float, str] | None:
    """Smallest airway cross-section (mm2) between oropharynx and larynx and the level it lies at; None without air.

    A slice in which no air is seen is not counted as an occlusion (it may be masked or swallowed shut).
    """
    pixel = anatomy.ct.spacing_mm[1] * anatomy.ct.spacing_mm[2]
    area = anatomy.airway.sum((1, 2)) * pixel
    best = None
    for level, (lo, hi) in AIRWAY_RANGE.items():
        here = area[(anatomy.w >= lo) & (anatomy.w <= hi)]
        here = here[here > 0]
        if len(here) < 3:
            continue
        smallest = float(np.sort(here)[len(here) // 10])
        if best is None or smallest < best[0]:
            best = (smallest, level)
    return best


def artefact_finding(anatomy: Anatomy) -> Finding:
    """Dental artefact from the volume of metal-dense voxels around the jaw; extent by volume."""
    near = (anatomy.w > -15) & (anatomy.w < 60)
    metal_ml = float((anatomy.ct.array[near] > METAL_HU).sum()) * anatomy.ct.voxel_ml
    if metal_ml < 0.15:
        return Finding("artefact", "absent")
    extent = "mild" if metal_ml < 0.7 else "moderate" if metal_ml < 2.5 else "severe"
    return Finding("artefact", attributes={"extent": extent})


def coverage_finding(anatomy: Anatomy) -> Finding:
    """Upper and lower limit of the scanned body."""
    z = np.flatnonzero(anatomy.body.sum((1, 2)) * anatomy.ct.voxel_ml > 2.0)
    hi, lo = (anatomy.w[z[-1]], anatomy.w[z[0]]) if len(z) else (0.0, 0.0)
    return Finding("coverage", attributes={"superior": landmark_word(hi), "inferior": landmark_word(lo)})


def measured_findings(anatomy: Anatomy) -> list[Finding]:
    """Everything that masks and HU say without a language model.

    The airway's smallest area comes with the statement that no narrowing was asserted; a lesion that narrows it
    replaces that statement.
    """
    out = [coverage_finding(anatomy), artefact_finding(anatomy)]
    target = target_finding(anatomy)
    area = airway_area(anatomy)
    if area is not None:
        out.append(Finding("airway", "absent", attributes={"min_area_mm2": rounded(area[0], 20)}))
    return out + ([target] if target else [])


def lesion_finding(lesion: Lesion) -> Finding:
    """The finding an inserted lesion is described by."""
    spec = lesion.spec
    if spec.kind == "airway":
        return Finding(
            "airway",
            site=spec.place,
            side=spec.side,
            attributes={"narrowing_pct": float(round(spec.narrowing_pct / 5) * 5)},
        )
    place = {"level": spec.place} if spec.kind == "node" else {"site": spec.place}
    return Finding(
        spec.kind, side=spec.side, size_mm=float(round(spec.size_mm)), attributes={"texture": spec.texture}, **place
    )
