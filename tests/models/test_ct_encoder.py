"""The crop's place in the scan and the order of the tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnvlm.models.ct_encoder import CENTRE_OFFSET_MM, CTEncoder, cut, density, lesion_features, neck_crop, token_width
from hnvlm.models.detect import evidence
from hnvlm.models.precision import mixed_precision

WIDTHS = (8, 16, 16, 16)


def numbered(shape: tuple[int, int, int]) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.float32)


def test_cut_inside_by_hand():
    a = numbered((4, 5, 6))
    np.testing.assert_array_equal(cut(a, np.array([1, 2, 3]), (2, 2, 2), -1), a[1:3, 2:4, 3:5])


def test_cut_beyond_both_borders_by_hand():
    a = numbered((2, 3, 4))
    out = cut(a, np.array([-1, 1, 2]), (3, 4, 3), -7)
    assert out.shape == (3, 4, 3)
    np.testing.assert_array_equal(out[1:3, 0:2, 0:2], a[0:2, 1:3, 2:4])
    assert (out[0] == -7).all()
    assert (out[:, 2:] == -7).all()
    assert (out[..., 2] == -7).all()


@pytest.mark.parametrize("start", [(-5, 0, 0), (0, 9, 0), (0, 0, -2), (2, 0, 0)])
def test_cut_wholly_outside_is_all_filling(start):
    out = cut(numbered((2, 3, 4)), np.array(start), (2, 2, 2), -1024)
    assert (out == -1024).all()


def test_cut_of_a_larger_box_holds_the_whole_array():
    a = numbered((2, 3, 4))
    np.testing.assert_array_equal(cut(a, np.array([-2, -1, -3]), (8, 8, 8), 0)[2:4, 1:4, 3:7], a)


def test_neck_crop_by_hand():
    """The origin of the neck frame lies 96, 125 and 96 mm into the crop, whatever the scan's own origin is."""
    assert CENTRE_OFFSET_MM == (96.0, 125.0, 96.0)
    hu = np.full((80, 90, 100), 10, np.int16)
    hu[35, 44, 51] = 999  # at 3 mm: LPS (z, y, x) = origin + (105, 132, 153)
    origin = np.array([-200.0, 31.0, -140.0])
    centre = origin + np.array([105.0, 132.0, 153.0])
    crop, start = neck_crop(hu, origin, centre)
    # (105 - 96) / 3 = 3; (132 - 125) / 3 = 2.33 -> 2; (153 - 96) / 3 = 19
    assert start.tolist() == [3, 2, 19]
    assert crop.shape == (64, 64, 64)
    assert np.argwhere(crop == 999).tolist() == [[32, 42, 32]]
    assert (crop == 10).sum() == 64**3 - 1


def test_neck_crop_with_negative_start_and_shift():
    hu = np.full((40, 50, 60), 10, np.int16)
    crop, start = neck_crop(hu, np.zeros(3), np.array([60.0, 119.0, 93.0]), np.array([3.0, 0.0, -6.0]))
    # (60 - 96 + 3) / 3 = -11; (119 - 125) / 3 = -2; (93 - 96 - 6) / 3 = -3
    assert start.tolist() == [-11, -2, -3]
    assert (crop[:11] == -1024).all()
    assert (crop[:, :2] == -1024).all()
    assert (crop[..., :3] == -1024).all()
    assert crop[11, 2, 3] == 10
    assert (crop[51:] == -1024).all()  # the scan ends after 40 slices
    assert (crop == 10).sum() == 40 * 50 * 60


LESION_WIDTHS = (8, 8, 8)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return CTEncoder(4, WIDTHS, LESION_WIDTHS).eval()


def test_shapes_and_the_start_from_no_lesion(encoder):
    with torch.inference_mode():
        logits, tokens = encoder(torch.full((1, 64, 64, 64), 40.0))
    assert logits.shape == (1, 4 + 3, 64, 64, 64)
    # 2 U-Net levels and its finest features, lesion features, size, necrosis, 14 places, density, position, 2 x 3 maps
    assert encoder.token_width == 16 + 16 + 8 + 8 + (1 + 1 + 14) + 2 + 3 + 6
    assert tokens.shape == (1, 512, token_width(WIDTHS, LESION_WIDTHS)) == (1, 512, encoder.token_width)
    assert float(logits[:, 4:].sigmoid().mean()) < 0.05 < float(logits[:, :4].sigmoid().mean())


def test_token_order_is_z_y_x():
    """A block that fills one cell of 8 x 8 x 8 voxels changes the token of that cell more than any other.

    Without group norms, which spread every change over the whole crop in a network that has learned nothing.
    """
    torch.manual_seed(1)
    local = CTEncoder(4, (8, 8, 8, 8), LESION_WIDTHS).eval()
    for block in (*local.unet.down, *local.unet.up):
        block.norm1 = block.norm2 = torch.nn.Identity()
    cells = [(2, 5, 6), (6, 1, 3), (0, 7, 4)]
    hu = torch.full((4, 64, 64, 64), 40.0)
    for k, cell in enumerate(cells, start=1):
        hu[(k, *(slice(8 * c, 8 * c + 8) for c in cell))] = 230.0
    with torch.inference_mode():
        _, tokens = local(hu)
    change = (tokens[1:] - tokens[0]).norm(dim=-1)
    assert change.argmax(1).tolist() == [z * 64 + y * 8 + x for z, y, x in cells]


def test_the_last_channels_of_a_token_are_the_lesion_maps_of_its_cell():
    """Four times the greatest evidence and four times the mean probability of the cell, per kind of lesion."""
    torch.manual_seed(2)
    encoder = CTEncoder(4, WIDTHS, LESION_WIDTHS).eval()
    torch.nn.init.normal_(encoder.lesion_net.head.weight, 0, 0.5)  # as after a training: maps differ between voxels
    hu = 40 + 60 * torch.randn(1, 64, 64, 64)
    with torch.inference_mode():
        logits, tokens = encoder(hu)
    cell = (slice(None), slice(16, 24), slice(40, 48), slice(8, 16))
    whole = logits[0, 4:].sigmoid()
    p = whole[cell].reshape(3, -1)
    seen = torch.from_numpy(np.stack([evidence(m) for m in whole.numpy()]))[cell].reshape(3, -1)
    token = tokens[0, 2 * 64 + 5 * 8 + 1]
    assert float(p.std()) > 0.0003
    torch.testing.assert_close(token[-6:-3], 4 * seen.amax(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(token[-3:], 4 * p.mean(1))


def test_calibrated_features_have_mean_0_and_spread_1():
    torch.manual_seed(3)
    encoder = CTEncoder(4, WIDTHS, LESION_WIDTHS).eval()
    rng = np.random.default_rng(0)
    crops = [(40 + 80 * rng.standard_normal((64, 64, 64))).astype(np.float32) for _ in range(2)]
    encoder.calibrate(crops)
    with torch.inference_mode(), mixed_precision():
        _, tokens = encoder(torch.from_numpy(np.stack(crops)))
    features = tokens[..., :-6].flatten(0, 1)
    inside = features.abs().amax(0) < 8  # nothing was cut off
    moving = encoder.feature_spread > 1e-3
    assert int((inside & moving).sum()) > 20
    assert float(features.mean(0)[inside & moving].abs().max()) < 0.02
    torch.testing.assert_close(
        features.std(0)[inside & moving], torch.ones(int((inside & moving).sum())), atol=0.03, rtol=0
    )


def test_tokens_of_a_crop_and_of_its_mirror_image_together(encoder):
    hu = 40 + 60 * torch.randn(2, 64, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        own, mirrored, maps = encoder.both_ways(hu)
        logits, tokens = encoder(hu)
        torch.testing.assert_close(own, tokens, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(maps, logits[:, encoder.n_structures :].sigmoid(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mirrored, encoder(hu.flip(-1))[1], atol=1e-4, rtol=1e-4)
    assert float((own - mirrored).abs().max()) > 0.01


def test_lesion_features_by_hand():
    """One certain lesion voxel in one cell: its cell tells what is said there, the others next to nothing."""
    lesions = torch.zeros(1, 3, 64, 64, 64)
    z, y, x = 21, 50, 9  # 6 mm cell (10, 25, 4), token cell (2, 6, 1)
    lesions[0, 1, z, y, x] = 1.0
    attributes = torch.zeros(1, 16, 32, 32, 32)
    attributes[0, 0] = 1.5  # 30 mm
    attributes[0, 1, 10, 25, 4] = 20.0  # necrotic
    attributes[0, 2 + 3, 10, 25, 4] = 30.0  # the fourth place
    seen = torch.full((1, 2, 32, 32, 32), 7.0)
    hu = torch.full((1, 64, 64, 64), 90.0)  # (90 - 40) / 100 = 0.5
    hu[0, 20:22:2, 50, 8] = 250.0  # one of the cell's eight voxels at the window's end, 1.5: mean 0.625, spread below
    spread = (7 / 8 * 0.5**2 + 1 / 8 * 1.5**2 - 0.625**2) ** 0.5
    out = lesion_features(lesions, attributes, seen, density(hu))
    assert out.shape == (1, 2 + 16 + 2 + 3, 8, 8, 8)
    told = (1 / 64) / (1 / 64 + 0.02)  # one cell of 4 x 4 x 4 is weighed against 0.02
    expected = [7, 7, 1.5, 1, *[0, 0, 0, 1], *[0] * 10, 0.625, spread, *[-1 + 2 * k / 31 for k in (10, 25, 4)]]
    torch.testing.assert_close(out[0, :, 2, 6, 1], told * torch.tensor(expected), atol=1e-5, rtol=1e-4)
    out[0, :, 2, 6, 1] = 0
    assert float(out.abs().max()) == 0.0
