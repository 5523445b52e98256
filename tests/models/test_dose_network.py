"""The dose pipeline: grids, inputs, mirrored patients, scaled prescriptions, refusals. Weights are random."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from imaging.dose_phantom import ORIGIN, SHAPE, SPACING, dose_phantom
from scipy import ndimage

from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.imaging.volume import Volume
from hnvlm.models import dose, precision
from hnvlm.models.checkpoint import save_model
from hnvlm.models.dose import (
    IN_CHANNELS,
    DoseNetwork,
    DosePredictor,
    block_factors,
    block_mean,
    dose_to_ct,
    flip_input,
    mask_to,
    network_input,
    notes_of,
    predict,
    working_grid,
)
from hnvlm.models.dose_inputs import (
    CHANNELS,
    FLIPPED,
    HIGHEST_GY,
    prepare,
    prescription_map,
    signed_distance,
    treated_targets,
)
from hnvlm.models.pack import ModelPack


def channel(name: str) -> int:
    return CHANNELS.index(name)


def prepared(*, mirrored: bool = False):
    _, grid, masks, body = dose_phantom()
    if mirrored:
        swap = {"Parotid_R": "Parotid_L", "Parotid_L": "Parotid_R"}
        masks = {swap.get(n, n): m[..., ::-1] for n, m in masks.items()}
        body = body[..., ::-1]
    used = treated_targets(masks, None, SHAPE)
    return prepare(grid.with_array(prescription_map({n: masks[n] for n in used}, used)), masks, body), masks, body


# ---- what is asked for ----------------------------------------------------------------------------------------------
def test_targets_and_their_prescriptions():
    _, _, masks, _ = dose_phantom()
    assert treated_targets(masks, None, SHAPE) == {"PTV_7000": 70.0, "PTV_5600": 56.0}
    named = masks | {"PTV_5940": masks["PTV_5600"]}
    asked = {"PTV_7000": 66.0, "PTV_5940": 59.4, "PTV_5000": 50.0}
    assert treated_targets(named, asked, SHAPE) == {"PTV_7000": 66.0, "PTV_5940": 59.4}
    with pytest.raises(InputRefusedError, match=r"No target.*SpinalCord"):
        treated_targets({"SpinalCord": masks["SpinalCord"]}, None, SHAPE)
    with pytest.raises(InputRefusedError, match="No target"):
        treated_targets({"PTV_7000": np.zeros(SHAPE, bool)}, None, SHAPE)
    for gray in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputRefusedError, match="positive number of Gy"):
            treated_targets(masks, {"PTV_7000": gray}, SHAPE)
    with pytest.raises(InputRefusedError, match="must share a grid"):
        treated_targets(masks | {"Larynx": np.zeros((3, 4, 5), bool)}, None, SHAPE)


def test_overlapping_targets_get_the_higher_dose_on_the_scale_of_70():
    low, high = np.zeros((1, 2, 5), bool), np.zeros((1, 2, 5), bool)
    low[0, 0, :4], high[0, 0, 2:] = True, True
    got = prescription_map({"a": low, "b": high}, {"a": 54.0, "b": 60.0})
    assert got[0, 0].tolist() == pytest.approx([63, 63, 70, 70, 70])
    assert not got[0, 1].any()


def test_notes_say_what_was_not_trained_for():
    organs = dict.fromkeys(
        ("Brainstem", "SpinalCord", "Parotid_R", "Parotid_L", "Esophagus", "Larynx", "Bone_Mandible")
    )
    assert notes_of({"PTV_7000": 70.0, "PTV_5600": 56.0}, organs) == ()
    (odd,) = notes_of({"PTV_7000": 70.0, "PTV_4500": 45.0}, organs)
    assert "PTV_4500" in odd
    missing, scaled = notes_of({"PTV": 60.0}, {k: v for k, v in organs.items() if k != "Larynx"})
    assert missing.endswith("Larynx")
    assert "scaled to 60 Gy" in scaled


# ---- inputs ---------------------------------------------------------------------------------------------------------
def test_inputs_by_hand():
    inputs, masks, body = prepared()
    assert inputs.channels.shape[0] == len(CHANNELS)
    # 40 mm (14 slices of 3 mm) beyond the targets' slices 2..14: everything is kept.
    z0, y0, x0, z1, y1, x1 = inputs.window.box
    assert (z0, z1) == (0, 20)
    assert (y0, y1, x0, x1) == (2, 24, 2, 30)
    cut = np.s_[z0:z1, y0:y1, x0:x1]
    np.testing.assert_array_equal(inputs.channels[channel("body")] > 0.5, body[cut])
    np.testing.assert_allclose(inputs.channels[0][masks["PTV_7000"][cut]], 1.0)
    np.testing.assert_allclose(inputs.channels[0][masks["PTV_5600"][cut]], 0.8)
    # From voxel (9, 11, 28): the border of the 70 Gy box (x 23) is 5 voxels of 4 mm away; 60 mm are one unit.
    far = inputs.channels[channel("distance_70")][9 - z0, 11 - y0, 28 - x0]
    assert far == pytest.approx(-20 / 60, abs=1e-3)
    # No 63 Gy level: the target of at least 63 Gy is the 70 Gy one.
    np.testing.assert_array_equal(
        inputs.channels[channel("distance_63")], inputs.channels[channel("distance_70")]
    )  # fmt: skip
    assert (inputs.channels[channel("distance_Larynx")] == -1).all()  # not contoured: far away
    # The centre of the target is in every field's aperture.
    assert inputs.channels[channel("aperture_56")][9 - z0, 11 - y0, 19 - x0] == pytest.approx(1.0)
    assert np.isfinite(inputs.channels).all()
    assert np.abs(inputs.channels).max() < 4


def test_slices_far_from_the_targets_are_left_out():
    body = np.ones((60, 8, 9), bool)
    gray = np.zeros(body.shape, np.float32)
    gray[30:33, 3:6, 3:6] = 70
    inputs = prepare(Volume(gray, (2.5, 4.0, 4.0)), {}, body)
    assert inputs.window.box == (30 - 16, 0, 0, 33 + 16, 8, 9)
    with pytest.raises(InputRefusedError, match="inside the body"):
        prepare(Volume(gray, (2.5, 4.0, 4.0)), {}, np.zeros(body.shape, bool))


def test_distance_is_signed_and_clipped():
    mask = np.zeros((3, 5, 40), bool)
    mask[:, :, 10:21] = True
    got = signed_distance(mask, Volume(mask, (3.0, 30.0, 2.0)), 20.0)[1, 2]
    assert got[23] == pytest.approx(-(23 - 20) * 2 / 20)
    assert got[13] > 0
    assert got[39] == -1.0
    assert (signed_distance(mask * 0 > 1, Volume(mask, (3.0, 3.0, 2.0)), 20.0) == -1).all()


def test_distance_near_a_small_structure_is_that_of_the_whole_grid():
    """Only its surroundings are computed: against SciPy's exact distance on every voxel, three different spacings."""
    spacing, reach = (3.0, 1.5, 2.5), 20.0
    mask = np.zeros((30, 50, 40), bool)
    mask[4:9, 30:37, 1:6] = True
    mask[6, 33, 3] = False
    outside = ndimage.distance_transform_edt(~mask, spacing)
    got = signed_distance(mask, Volume(mask, spacing), reach)
    far = outside > reach + max(spacing)
    assert far.any()
    assert (got[far] == -1).all()
    # SciPy measures to the next voxel of the other kind, the map to the border between them.
    near = outside < reach - max(spacing)
    assert np.abs(got * reach + outside)[near & ~mask].max() <= max(spacing)
    assert got[mask].min() >= 0
    assert got[~mask].max() <= 0
    whole = sitk.GetImageFromArray(mask.astype(np.uint8))
    whole.SetSpacing(spacing[::-1])
    distance = sitk.SignedMaurerDistanceMap(whole, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    np.testing.assert_allclose(got, np.clip(sitk.GetArrayFromImage(distance) / reach, -1, 1), atol=1e-5)


def test_a_mirrored_patient_has_mirrored_inputs():
    one, _, _ = prepared()
    other, _, _ = prepared(mirrored=True)
    got = other.channels[list(FLIPPED)][..., ::-1]
    differs = (np.abs(got - one.channels) > 5e-3).mean(axis=(1, 2, 3))
    assert differs.max() < 0.02, dict(zip(CHANNELS, differs, strict=True))
    swapped = [CHANNELS[i] for i in FLIPPED]
    assert swapped[channel("distance_Parotid_L")] == "distance_Parotid_R"
    assert sorted(FLIPPED) == list(range(len(CHANNELS)))


def test_padding_and_flip():
    channels = np.arange(len(CHANNELS) * 2 * 3 * 5, dtype=np.float32).reshape(len(CHANNELS), 2, 3, 5)
    x, place = network_input(channels, np.full((2, 3, 5), 40.0), 4, offset=(1, 0, 3))
    assert x.shape == (1, IN_CHANNELS, 4, 4, 8)
    np.testing.assert_array_equal(x[0, : len(CHANNELS)][(slice(None), *place)], channels)
    assert x[0, channel("distance_70"), 0, 0, 0] == -1  # outside: far from everything
    assert x[0, channel("body"), 0, 0, 0] == 0
    assert x[0, -2, 0, 0, 0] == -1  # air
    assert x[0, -2][place].unique().tolist() == [0.0]  # 40 HU is the middle of the soft-tissue window
    blind, _ = network_input(channels, None, 4)
    assert not blind[0, len(CHANNELS) :].any()
    mirrored = flip_input(x)
    torch.testing.assert_close(
        mirrored[0, channel("distance_Parotid_L")], x[0, channel("distance_Parotid_R")].flip(-1)
    )  # fmt: skip
    torch.testing.assert_close(flip_input(mirrored), x)


# ---- grids ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spacing", "factors"),
    [((2.5, 3.9, 3.9), (1, 1, 1)), ((2.5, 0.98, 0.98), (1, 4, 4)), ((1.0, 1.17, 1.3), (3, 3, 3)),
     ((5.0, 0.7, 2.0), (1, 6, 2)), ((3.3, 5.4, 2.7), (1, 1, 1))],
)  # fmt: skip
def test_blocks(spacing, factors):
    assert block_factors(spacing) == factors


def test_means_of_blocks_by_hand():
    array = np.arange(2 * 6 * 9, dtype=np.int16).reshape(2, 6, 9)
    got = block_mean(Volume(array, (3.0, 1.3, 1.95), (1.0, 2.0, 3.0)))
    assert got.shape == (2, 2, 4)
    assert got.spacing_mm == pytest.approx((3.0, 3.9, 3.9))
    assert got.origin_mm == pytest.approx((1.0, 2.0 + 1.3, 3.0 + 0.975))
    assert got.array[1, 1, 2] == pytest.approx(array[1, 3:6, 4:6].mean())


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((30, 50, 61), (3.0, 1.0, 0.9)), ((12, 17, 40), (5.0, 4.0, 1.9)), ((70, 30, 33), (1.0, 2.1, 2.7))],
)  # fmt: skip
def test_masks_keep_their_place_on_the_working_grid(shape, spacing):
    volume = Volume(np.zeros(shape, np.int16), spacing, (-7.0, 3.0, 50.0))
    mask = np.zeros(shape, bool)
    mask[shape[0] // 4 : shape[0] // 2, shape[1] // 3 : -3, 5 : shape[2] // 2] = True
    working = working_grid(volume)
    got = mask_to(mask, volume, working)
    assert got.shape == working.shape
    a, b = volume.index_to_mm(np.argwhere(mask)), working.index_to_mm(np.argwhere(got))
    np.testing.assert_allclose(a.mean(0), b.mean(0), atol=1.6)
    assert got.sum() * working.voxel_ml == pytest.approx(mask.sum() * volume.voxel_ml, rel=0.25)
    assert not mask_to(np.zeros(shape, bool), volume, working).any()


def test_dose_comes_back_to_the_ct_and_ends_at_the_skin():
    body = np.zeros((4, 6, 7), bool)
    body[:, 1:5, 1:6] = True
    grid = Volume(np.where(body, 50.0, 0.0).astype(np.float32), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    ct = Volume(np.zeros((4, 24, 30), np.int16), (3.0, 1.0, 1.0), (0.0, -1.5, -1.5))
    got = dose_to_ct(grid, grid.with_array(body), ct)
    assert got.shape == ct.shape
    # 4 x 4 blocks: voxels 4..19 and 4..23 are body; no thinned rim.
    assert got[1, 12].tolist() == pytest.approx([0] * 4 + [50] * 20 + [0] * 6, abs=1e-3)
    far = Volume(ct.array, ct.spacing_mm, (900.0, 0.0, 0.0))
    assert not dose_to_ct(grid, grid.with_array(body), far).any()


# ---- the pipeline with random weights -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("models") / "dose"
    config = {"version": "7", "widths": [8, 8], "blocks": [1, 2], "flip": True, "deliverable": 0.0, "iterations": 3}
    network = DoseNetwork(IN_CHANNELS, (8, 8), (1, 2))
    with torch.no_grad():
        network.head.bias += 0.5
    save_model(path, network, config)
    return path


def test_dose_on_the_patients_own_grid(folder):
    ct, _, masks, body = dose_phantom()
    told = []
    made = DosePredictor(folder)(
        ct, masks, possible_dose=body, progress=lambda share, text: told.append(share)
    )  # fmt: skip
    assert made.dose_gy.same_grid(ct)
    assert made.dose_gy.array.dtype == np.float32
    assert not made.dose_gy.array[~body].any()
    assert made.dose_gy.array[body].max() > 1
    assert made.dose_gy.array.min() >= 0
    assert made.prescriptions == {"PTV_7000": 70.0, "PTV_5600": 56.0}
    assert made.provenance.version == "7"
    assert any("Larynx" in note for note in made.notes)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_dose_scales_with_the_prescription(folder):
    ct, _, masks, body = dose_phantom()
    model = DosePredictor(folder)
    own = model(ct, masks, possible_dose=body).dose_gy.array
    less = model(ct, masks, possible_dose=body, prescriptions={"PTV_7000": 60.0, "PTV_5600": 48.0}).dose_gy.array
    np.testing.assert_allclose(less, own * (60 / 70), rtol=1e-5)
    alone = model(ct, masks, possible_dose=body, prescriptions={"PTV_7000": 70.0})
    assert alone.prescriptions == {"PTV_7000": 70.0}
    assert np.abs(alone.dose_gy.array - own).max() > 0.1


def test_without_ct_the_hu_do_not_matter(folder):
    ct, _, masks, body = dose_phantom()
    rng = np.random.default_rng(0)
    noisy = ct.with_array((ct.array + rng.integers(-90, 90, SHAPE)).astype(np.int16))
    model = DosePredictor(folder)
    a, b = (model(v, masks, possible_dose=body, use_ct=False) for v in (ct, noisy))
    np.testing.assert_array_equal(a.dose_gy.array, b.dose_gy.array)
    assert not a.from_ct
    seen = model(noisy, masks, possible_dose=body).dose_gy.array
    assert np.abs(seen - a.dose_gy.array).max() > 0.01


def test_a_mirrored_patient_gets_the_mirrored_dose(folder, monkeypatch):
    """Flip in, flip out: the test-time flip makes the network itself symmetric; the crop is 32 voxels wide here.

    Without the shift between the views, which averages over the folds as well and holds the law only nearly.
    """
    monkeypatch.setattr(dose, "VIEW_SHIFT", 0)
    inputs, _, _ = prepared()
    channels = np.pad(inputs.channels, ((0, 0), (0, 0), (0, 0), (2, 2)))
    mirrored = channels[list(FLIPPED)][..., ::-1].copy()
    network = DosePredictor(folder).network

    def run(c):
        stand_in = type(inputs)(c, inputs.body.__class__(c[channel("body")] > 0.5, SPACING, ORIGIN), None, None)
        return predict(network, stand_in, None, flip=True, deliverable=0.0, iterations=0)

    np.testing.assert_allclose(run(mirrored)[..., ::-1], run(channels), atol=0.05)
    one_way = predict(network, type(inputs)(channels, Volume(channels[channel("body")] > 0.5, SPACING), None, None),
                      None, flip=False, deliverable=0.0, iterations=0)  # fmt: skip
    assert np.abs(one_way - run(channels)).max() > 0.1


def test_the_two_views_lie_a_voxel_apart(folder, monkeypatch):
    """Against each view run by itself: the patient as he lies, and the mirrored one behind a voxel of padding."""
    monkeypatch.setattr(precision, "fast_bfloat16", lambda: False)  # half precision would hide where the views lie
    inputs, _, _ = prepared()
    network = DosePredictor(folder).network
    padded, aside = network_input(inputs.channels, None, network.multiple, (1, 1, 1))
    straight_input = torch.roll(padded, (-1, -1, -1), (2, 3, 4))  # the padding comes behind
    place = tuple(slice(0, n) for n in inputs.body.shape)
    with torch.inference_mode():
        straight = network(straight_input)[0][place]
        mirrored = network(flip_input(padded)).flip(-1)[0][aside]
    body = inputs.body.array
    want = np.clip(((straight + mirrored) / 2).numpy() * HIGHEST_GY, 0, dose.MOST * HIGHEST_GY)
    got = predict(network, inputs, None, flip=True, deliverable=0.0, iterations=0)
    np.testing.assert_allclose(got[body], want[body], atol=0.05)
    assert np.abs(mirrored - straight).max() > 1e-4


def test_the_deliverable_share_changes_the_answer(folder):
    inputs, _, _ = prepared()
    network = DosePredictor(folder).network
    own, half, whole = (
        predict(network, inputs, None, flip=False, deliverable=s, iterations=5) for s in (0.0, 0.5, 1.0)
    )  # fmt: skip
    np.testing.assert_allclose(half, (own + whole) / 2, atol=1e-3)
    assert np.abs(whole - own).max() > 0.1


def test_a_fine_ct_without_mask_of_possible_dose(folder):
    """1 mm pixels: averaged for the network, back on the CT's own grid, nothing outside the body."""
    ct, _, masks, body = dose_phantom()
    fine = {n: m.repeat(4, 1).repeat(4, 2) for n, m in (masks | {"body": body}).items()}
    spacing = (3.0, 4.5 / 4, 1.0)
    volume = Volume(ct.array.repeat(4, 1).repeat(4, 2), spacing, (-12.0, 7.0, -61.0))
    # Blocks of three pixels do not end where the body ends, so its border may move by a pixel or two.
    outside = ~ndimage.binary_dilation(fine.pop("body"), iterations=2)
    made = DosePredictor(folder)(volume, fine)
    assert made.dose_gy.same_grid(volume)
    assert made.dose_gy.array.max() > 1
    assert not made.dose_gy.array[outside].any()


def test_a_pack_without_the_model_says_what_to_do(tmp_path, folder):
    ct, _, masks, _ = dose_phantom()
    with pytest.raises(ModelPackError, match="no dose model in this pack yet"):
        ModelPack(tmp_path, 1).dose(ct, masks)
    made = ModelPack(folder.parent, 1).dose(ct, masks)
    assert made.provenance.model == "dose"
    with pytest.raises(InputRefusedError, match="No target"):
        ModelPack(folder.parent, 1).dose(ct, {"SpinalCord": masks["SpinalCord"]})
    assert dose.MOST * 70 > 78.6  # the hottest voxel of the training plans
