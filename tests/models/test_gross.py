"""Gross tumour volumes of the clinic: measured on their own contour, by hand on a phantom with three spacings."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.neck_phantom import CENTRE_MM, SPACINGS, phantom

from hnvlm.imaging.volume import Volume
from hnvlm.models.detect import Detection, apart_from
from hnvlm.models.gross import gross_lesions, on_crop
from hnvlm.models.neck import Neck, build_neck

NECKS: dict[tuple[float, ...], tuple[Volume, Neck]] = {}


def neck_of(spacing: tuple[float, float, float]) -> tuple[Volume, Neck]:
    if spacing not in NECKS:
        ct, masks = phantom(spacing)
        found = build_neck(ct, masks)
        assert found is not None
        NECKS[spacing] = ct, found
    return NECKS[spacing]


def block(ct: Volume, centre_wvu: tuple[float, float, float], half_mm: tuple[float, float, float]) -> np.ndarray:
    """Voxels whose centres lie in a box about a point of the neck's frame (w, v, u)."""
    axes = [
        np.arange(n) * s + o - c for n, s, o, c in zip(ct.shape, ct.spacing_mm, ct.origin_mm, CENTRE_MM, strict=True)
    ]
    inside = [np.abs(a - c) <= h for a, c, h in zip(axes, centre_wvu, half_mm, strict=True)]
    return inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]


LEVEL_II_LEFT = (20.0, -20.0, 40.0)
ORAL_TONGUE_RIGHT = (28.0, -80.0, -13.0)
FAR_AWAY = (70.0, -70.0, 30.0)  # above the nasopharynx, where no site has a name


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_contoured_node_is_measured_on_its_own_grid(spacing):
    ct, neck = neck_of(spacing)
    mask = block(ct, LEVEL_II_LEFT, (12.0, 6.0, 5.0))
    (lesion,) = gross_lesions({"GTVn": mask}, ct, neck)
    found = lesion.finding
    assert (found.kind, found.level, found.side, found.certainty) == ("node", "II", "left", "definite")
    hit = np.argwhere(mask)
    extent = (hit.max(0) - hit.min(0)) * spacing
    assert found.size_mm == round(float(np.linalg.norm(extent) + np.mean(spacing) / 2))
    assert found.attributes == {"volume_ml": round(mask.sum() * np.prod(spacing) / 1000, 1), "contour": "GTVn"}
    assert found.box == (*hit.min(0), *(hit.max(0) + 1))
    assert mask[found.slice_index].any()
    assert lesion.described().attributes == {} and lesion.described().size_mm == found.size_mm


def test_mirrored_contours_lie_on_the_other_side():
    ct, neck = neck_of(SPACINGS[0])
    w, v, u = LEVEL_II_LEFT
    (left,) = gross_lesions({"GTVn": block(ct, (w, v, u), (8.0, 6.0, 5.0))}, ct, neck)
    (right,) = gross_lesions({"GTVn": block(ct, (w, v, -u), (8.0, 6.0, 5.0))}, ct, neck)
    assert (left.finding.side, right.finding.side) == ("left", "right")
    assert left.finding.size_mm == right.finding.size_mm


def test_every_part_of_a_contour_is_a_lesion_and_masses_come_first():
    ct, neck = neck_of(SPACINGS[1])
    w, v, u = LEVEL_II_LEFT
    nodes = block(ct, (w, v, u), (6.0, 5.0, 5.0)) | block(ct, (w - 40, v, -u + 5), (9.0, 5.0, 5.0))
    speck = block(ct, (w + 15, v, -u), (1.6, 1.0, 1.0))  # less than a quarter of a millilitre: a slip of the pen
    tumour = block(ct, ORAL_TONGUE_RIGHT, (7.0, 8.0, 6.0))
    found = [x.finding for x in gross_lesions({"GTVn": nodes | speck, "GTVp": tumour}, ct, neck)]
    assert [(f.kind, f.side) for f in found] == [("mass", "right"), ("node", "right"), ("node", "left")]
    assert found[0].site == "oral tongue" and found[1].size_mm > found[2].size_mm


def test_a_volume_of_all_disease_does_not_count_again_what_has_its_own_contour():
    ct, neck = neck_of(SPACINGS[0])
    tumour, node = block(ct, ORAL_TONGUE_RIGHT, (7.0, 8.0, 6.0)), block(ct, LEVEL_II_LEFT, (8.0, 6.0, 5.0))
    third = block(ct, (-15.0, -20.0, -33.0), (8.0, 6.0, 5.0))
    found = [x.finding for x in gross_lesions({"GTV": tumour | node | third, "GTVp": tumour, "GTVn": node}, ct, neck)]
    assert sorted(f.attributes["contour"] for f in found) == ["GTV", "GTVn", "GTVp"]
    (silent,) = [f for f in found if f.attributes["contour"] == "GTV"]
    # Its name does not say what it is; it lies in a nodal level, far from every site.
    assert (silent.kind, silent.level, silent.side, silent.certainty) == ("node", "III", "right", "probable")


def test_a_place_without_a_name_is_not_given_the_nearest_ones():
    ct, neck = neck_of(SPACINGS[0])
    (lesion,) = gross_lesions({"GTVp": block(ct, FAR_AWAY, (8.0, 8.0, 6.0))}, ct, neck)
    assert (lesion.finding.kind, lesion.finding.site, lesion.finding.side) == ("mass", None, "left")


@pytest.mark.parametrize(("u", "half", "side", "crosses"), [
    (0.0, 15.0, "midline", True), (-9.0, 20.0, "right", True), (-13.0, 8.0, "right", None), (16.0, 18.0, "left", None),
])  # fmt: skip
def test_a_mass_crosses_the_midline_where_a_tenth_of_it_lies_beyond(u, half, side, crosses):
    ct, neck = neck_of(SPACINGS[0])
    w, v, _ = ORAL_TONGUE_RIGHT
    (lesion,) = gross_lesions({"GTVp": block(ct, (w, v, u), (6.0, 8.0, half))}, ct, neck)
    assert (lesion.finding.side, lesion.finding.attributes.get("crosses_midline")) == (side, crosses)


def test_what_the_encoder_sees_of_a_contoured_lesion_is_not_a_second_one():
    ct, neck = neck_of(SPACINGS[0])
    drawn = gross_lesions({"GTVn": block(ct, LEVEL_II_LEFT, (8.0, 6.0, 5.0))}, ct, neck)
    assert drawn[0].detection is not None
    touching = drawn[0].detection.mask.copy()
    elsewhere = np.roll(touching, 25, axis=0)
    assert not (touching & elsewhere).any()

    def detection(kind: str, mask: np.ndarray) -> Detection:
        return Detection(kind, mask, 0.7, np.zeros(3), 20.0, "II", "left", 60.0)

    same, other, airway = detection("mass", touching), detection("node", elsewhere), detection("airway", touching)
    assert on_crop(drawn) == [drawn[0].detection]
    assert apart_from([same, other, airway], on_crop(drawn)) == [other, airway]
    assert apart_from([same], []) == [same]


def test_without_a_contour_there_is_no_lesion():
    ct, neck = neck_of(SPACINGS[0])
    assert gross_lesions({}, ct, neck) == []
    assert gross_lesions({"GTVp": np.zeros(ct.shape, bool)}, ct, neck) == []


def test_a_contour_counts_however_small_and_specks_beside_larger_parts_do_not():
    ct, neck = neck_of(SPACINGS[0])
    small = block(ct, LEVEL_II_LEFT, (2.5, 2.5, 2.5))
    assert small.sum() * ct.voxel_ml < 0.25, "less than a detector would believe"
    (lesion,) = gross_lesions({"GTVn": small}, ct, neck)
    assert lesion.finding.kind == "node" and lesion.finding.size_mm < 10
    one = np.zeros_like(small)
    one[tuple(np.argwhere(small)[0])] = True
    assert len(gross_lesions({"GTVn": one}, ct, neck)) == 1, "all that is contoured"
    speck = small.copy()
    speck[3, 3, 3] = True
    assert len(gross_lesions({"GTVn": speck}, ct, neck)) == 1


def test_no_contoured_node_is_left_out_because_there_are_many():
    ct, neck = neck_of(SPACINGS[0])
    many = np.zeros(ct.shape, bool)
    z, y, x = (int(i) for i in np.argwhere(block(ct, LEVEL_II_LEFT, (2.5, 2.5, 2.5))).mean(0))
    for dz in range(0, 20, 4):
        for dy in (-12, 0, 12):
            many[z - dz : z - dz + 2, y + dy : y + dy + 6, x : x + 6] = True
    assert len(gross_lesions({"GTVn": many}, ct, neck)) == 15
