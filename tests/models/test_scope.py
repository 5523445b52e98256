"""Whether a CT shows a neck: every refusal and every acceptance, at the limits."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.neck_phantom import SPACINGS, phantom

from hnvlm.imaging.volume import Volume
from hnvlm.models.neck import build_neck, judge_scope

SPACING = (5.0, 2.0, 2.0)  # 0.02 mL a voxel
CT = Volume(np.zeros((20, 40, 50), np.int16), SPACING)


def organ(ml: float) -> np.ndarray:
    mask = np.zeros(CT.shape, bool)
    mask.ravel()[: round(ml / 0.02)] = True
    return mask


def cord(mm: float) -> np.ndarray:
    mask = np.zeros(CT.shape, bool)
    mask[: round(mm / 5.0), 20, 25] = True
    return mask


WHOLE = {
    "Bone_Mandible": organ(40), "Parotid_L": organ(10), "Parotid_R": organ(9), "SpinalCord": cord(90),
    "Brainstem": organ(20),
}  # fmt: skip


def judged(**changed):
    masks = {k: m for k, m in (WHOLE | changed).items() if m is not None}
    return judge_scope(CT, masks)


def test_a_whole_neck_is_accepted_with_its_evidence():
    verdict = judged()
    assert verdict.in_scope
    assert verdict.evidence == {"mandible_ml": 40.0, "parotid_ml": 19.0, "brainstem_ml": 20.0, "spinal_cord_mm": 90}
    assert verdict.reason == (
        "Head-and-neck CT: mandible, parotid glands and cervical spinal cord are in the field of view."
    )


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"Bone_Mandible": None}, "mandible"),
        ({"Bone_Mandible": organ(14.9)}, "mandible"),
        ({"Parotid_L": None, "Parotid_R": None}, "parotid glands"),
        ({"Parotid_L": None, "Parotid_R": organ(4.9)}, "parotid glands"),
    ],
)
def test_one_organ_cut_off_is_accepted_and_told(changed, word):
    verdict = judged(**changed)
    assert verdict.in_scope
    assert f"The {word} could not be found" in verdict.reason


@pytest.mark.parametrize("changed", [{"Bone_Mandible": organ(15.0)}, {"Parotid_L": None, "Parotid_R": organ(5.0)},
                                     {"SpinalCord": cord(45)}, {"Brainstem": None}])  # fmt: skip
def test_just_enough_is_enough(changed):
    verdict = judged(**changed)
    assert verdict.in_scope
    assert "could not be found" not in verdict.reason


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"SpinalCord": None}, "cervical spinal cord could not be found"),
        ({"SpinalCord": cord(40)}, "cervical spinal cord could not be found"),
        ({"Bone_Mandible": organ(3), "Parotid_L": None, "Parotid_R": None}, "mandible and parotid glands could not"),
        ({"Bone_Mandible": None, "SpinalCord": cord(10)}, "mandible and cervical spinal cord could not"),
    ],
)
def test_another_body_part_is_refused_with_the_reason(changed, words):
    verdict = judged(**changed)
    assert not verdict.in_scope
    assert words in verdict.reason
    assert verdict.reason.startswith("This does not look like a CT of the neck: ")


def test_nothing_found_names_everything():
    verdict = judge_scope(CT, {})
    assert not verdict.in_scope
    assert "mandible, parotid glands and cervical spinal cord" in verdict.reason


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_phantom_is_a_neck_on_any_grid(spacing):
    ct, masks = phantom(spacing)
    assert judge_scope(ct, masks).in_scope


def test_the_crop_is_centred_on_the_neck_on_any_grid():
    """The mandible's border at the cord lies 96, 125 and 96 mm into the crop, whatever the grid of the CT."""
    for spacing in SPACINGS:
        ct, masks = phantom(spacing)
        neck = build_neck(ct, masks)
        assert neck.crop.shape == (64, 64, 64)
        assert neck.crop.dtype == np.float32
        index = neck.working.mm_to_index(np.array(neck.anatomy.neck_centre_mm())) - neck.start
        np.testing.assert_allclose(index, [32, 125 / 3, 32], atol=0.51)
        z, y, x = np.rint(index).astype(int)
        assert neck.crop[z, y, x] == pytest.approx(40, abs=15)  # the cord
        assert neck.crop[z, y - 5, x] > 200  # the vertebra in front of it


def test_no_landmarks_no_neck():
    ct, masks = phantom()
    assert build_neck(ct, {k: m for k, m in masks.items() if k != "SpinalCord"}) is None
