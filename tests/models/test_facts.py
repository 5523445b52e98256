"""Measured facts of the phantom: bands, target, airway, artefact, coverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from imaging.neck_phantom import COARSE, anatomy, frame

from hnvlm.imaging.lesions import Lesion, LesionSpec
from hnvlm.models.facts import (
    airway_area,
    artefact_finding,
    coverage_finding,
    landmark_word,
    lesion_finding,
    measured_findings,
    rounded,
    target_finding,
)
from hnvlm.types import Finding

_, W, V, U = frame(COARSE)
# z0 of the phantom is the centre of the mandible's first slice, 1.5 mm above its border.
above = W - 1.5


@pytest.mark.parametrize(
    ("w", "word"),
    [
        (500, "vertex"), (120, "vertex"), (119.9, "skull base"), (62, "skull base"), (61, "nasopharynx"),
        (48, "nasopharynx"), (40, "hard palate"), (20, "oropharynx"), (12, "oropharynx"), (11.9, "hyoid"), (0, "hyoid"),
        (-8, "hyoid"), (-8.1, "larynx"), (-32, "larynx"), (-33, "cricoid"), (-60, "clavicle"), (-85, "clavicle"),
        (-86, "upper mediastinum"), (-900, "upper mediastinum"),
    ],
)  # fmt: skip
def test_landmark_bands(w, word):
    assert landmark_word(w) == word


@pytest.mark.parametrize(("value", "want"), [(0.1, 20), (9, 20), (31, 40), (29, 20), (50.1, 60), (301.6, 300)])
def test_rounding_never_gives_zero(value, want):
    assert rounded(value, 20) == want


def with_target(region: np.ndarray):
    built = anatomy()
    masks = built.masks | {"PTV_7000": np.broadcast_to(region, built.ct.shape)}
    return replace(built, masks=masks)


def slab(low: float, high: float) -> np.ndarray:
    return (above >= low) & (above <= high) & (np.abs(V + 30) < 20)


@pytest.mark.parametrize(
    ("across", "side"),
    [
        ((U > 15) & (U < 45), "left"),
        ((U < -15) & (U > -45), "right"),
        ((U > -12) & (U < 45), "left"),  # a fifth lies across the midline
        (np.abs(U) < 18, "midline"),
        ((np.abs(U) > 20) & (np.abs(U) < 50), "bilateral"),
        ((U > -50) & (U < 35), "bilateral"),
    ],
)
def test_side_of_a_target(across, side):
    found = target_finding(with_target(slab(-20, 20) & across))
    assert (found.kind, found.side) == ("target", side)


def test_extent_and_volume_of_a_target():
    """13 slices x 14 rows x 10 columns of 27 mm3 = 49.1 mL, shown as 40; from w -18 (larynx) to 18 (oropharynx)."""
    region = slab(-18.5, 18.5) & (U > 15) & (U < 45)
    assert np.broadcast_to(region, (64, 55, 60)).sum() == 13 * 14 * 10
    found = target_finding(with_target(region))
    assert found.attributes == {"superior": "oropharynx", "inferior": "larynx", "volume_ml": 40.0}


def test_no_target_or_a_speck_is_none():
    assert target_finding(anatomy()) is None
    speck = np.zeros((64, 55, 60), bool)
    speck[30, 20, 20:50] = True  # 0.8 mL
    assert target_finding(with_target(speck)) is None


def test_airway_area_of_the_tube():
    area, level = airway_area(anatomy())
    assert area == pytest.approx(np.pi * 8 * 12, rel=0.12)
    assert level in ("oropharynx", "hypopharynx", "larynx")


def test_the_narrowest_level_is_named():
    built = anatomy()
    hu = built.ct.array.copy()
    narrow = np.broadcast_to((above < -30) & (above > -50) & (np.abs(U) > 6) & (np.abs(U) < 20), hu.shape)
    hu[narrow & (hu < -900)] = 55
    area, level = airway_area(replace(built, ct=built.ct.with_array(hu)))
    assert level == "larynx"
    assert 100 < area < 220
    hu = built.ct.array.copy()
    hu[np.broadcast_to((V + 36) ** 2 + U**2 < 20**2, hu.shape) & (hu < -900)] = 55
    assert airway_area(replace(built, ct=built.ct.with_array(hu))) is None


@pytest.mark.parametrize(
    ("voxels", "extent"),
    [(5, None), (6, "mild"), (25, "mild"), (26, "moderate"), (92, "moderate"), (93, "severe")],
)
def test_artefact_by_its_volume(voxels, extent):
    """0.027 mL a voxel: limits at 0.15, 0.7 and 2.5 mL."""
    built = anatomy()
    hu = built.ct.array.copy()
    jaw = np.argwhere(built.masks["Bone_Mandible"])[:voxels]
    hu[tuple(jaw.T)] = 2600
    found = artefact_finding(replace(built, ct=built.ct.with_array(hu)))
    assert found.presence == ("absent" if extent is None else "present")
    assert found.attributes == ({} if extent is None else {"extent": extent})


def test_metal_in_the_shoulder_is_no_dental_artefact():
    built = anatomy()
    hu = built.ct.array.copy()
    hu[2:6, 20:30, 20:30] = 2600
    assert artefact_finding(replace(built, ct=built.ct.with_array(hu))).presence == "absent"


def test_coverage_of_the_scan():
    """The scan reaches from w -99 to w 90."""
    assert coverage_finding(anatomy()).attributes == {"superior": "skull base", "inferior": "upper mediastinum"}
    built = anatomy()
    hu = built.ct.array.copy()
    hu[(built.w > 20) | (built.w < -40)] = -1000
    assert coverage_finding(replace(built, ct=built.ct.with_array(hu))).attributes == {
        "superior": "oropharynx",
        "inferior": "cricoid",
    }


def test_all_facts_together():
    kinds = [f.kind for f in measured_findings(with_target(slab(-20, 20) & (U > 15) & (U < 45)))]
    assert kinds == ["coverage", "artefact", "airway", "target"]
    airway = next(f for f in measured_findings(anatomy()) if f.kind == "airway")
    assert airway.presence == "absent"
    assert airway.attributes["min_area_mm2"] in (280.0, 300.0, 320.0)


@pytest.mark.parametrize(
    ("spec", "finding"),
    [
        (
            LesionSpec("node", "II", "left", 21.6, "necrotic"),
            Finding("node", side="left", level="II", size_mm=22.0, attributes={"texture": "necrotic"}),
        ),
        (
            LesionSpec("mass", "oral tongue", "right", 30.2),
            Finding("mass", side="right", site="oral tongue", size_mm=30.0, attributes={"texture": "solid"}),
        ),
        (
            LesionSpec("airway", "larynx", "right", narrowing_pct=53.0),
            Finding("airway", side="right", site="larynx", attributes={"narrowing_pct": 55.0}),
        ),
    ],
)
def test_the_finding_of_an_inserted_lesion(spec, finding):
    empty = np.zeros((1, 1, 1), np.float32)
    assert lesion_finding(Lesion(spec, (0, 0, 0), empty, empty, (0.0, 0.0, 0.0))) == finding
