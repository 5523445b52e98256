"""The lesion network: what it reads, and that a patch and a whole crop are read alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from hnvlm.models.lesion_net import (
    ATTRIBUTES,
    CUES,
    INPUTS,
    LesionNet,
    _box,
    look_both_ways,
    network_inputs,
    visual_cues,
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = LesionNet((8, 8, 8))
    torch.nn.init.normal_(net.head.weight, 0, 0.3)
    for _ in range(3):  # statistics of the norms
        net(torch.randn(2, INPUTS, 12, 12, 12))
    return net.eval()


def test_shapes(network):
    with torch.inference_mode():
        logits, attributes, features = network(network_inputs(torch.full((1, 64, 64, 64), 40.0)))
    assert logits.shape == (1, 3, 64, 64, 64)
    assert attributes.shape == (1, ATTRIBUTES, 32, 32, 32)
    assert features.shape == (1, 8, 32, 32, 32)


def test_inside_a_large_patch_a_voxel_is_read_as_in_the_whole_crop(network):
    """Nothing but what lies within reach of the convolutions counts, so a detector may be trained on patches."""
    torch.manual_seed(1)
    inputs = torch.randn(1, INPUTS, 96, 8, 8)  # long in z, so that the middle is out of reach of the border
    with torch.inference_mode():
        whole = network(inputs)[0]
        part = network(inputs[:, :, 16:80])[0]
    torch.testing.assert_close(part[:, :, 48:80], whole[:, :, 80:112], atol=1e-4, rtol=1e-4)
    assert float((part[:, :, :4] - whole[:, :, 32:36]).abs().max()) > 1e-3  # the border is where they differ


def test_an_untrained_network_says_no_lesion():
    torch.manual_seed(0)
    with torch.inference_mode():
        logits, _, _ = LesionNet((8, 8, 8)).eval()(torch.randn(1, INPUTS, 12, 12, 12))
    assert float(logits.sigmoid().mean()) < 0.05


def test_cues_of_a_uniform_neck_by_hand():
    cues = visual_cues(torch.full((1, 64, 64, 64), 90.0))
    assert cues.shape == (1, CUES, 64, 64, 64)
    # 90 HU is (90 - 40) / 100 = 0.5 at every scale; no contrast, no spread, nothing different on the other side
    torch.testing.assert_close(cues[0, :5], torch.full((5, 64, 64, 64), 0.5))
    assert float(cues[0, 5:19].abs().max()) < 1e-3
    # tissue everywhere, no bone, no air
    torch.testing.assert_close(cues[0, 19].mean(), torch.tensor(1.0))
    assert float(cues[0, 20:23].abs().max()) == 0.0


def test_a_mirrored_neck_has_mirrored_cues_and_the_opposite_side_difference():
    torch.manual_seed(2)
    hu = 40 + 100 * torch.randn(1, 64, 64, 64)
    cues, mirrored = visual_cues(hu), visual_cues(hu.flip(-1))
    for channel in (0, 1, 4, 8, 27):
        torch.testing.assert_close(mirrored[:, channel], cues[:, channel].flip(-1), atol=1e-4, rtol=1e-4)
    difference = cues[:, 11]
    torch.testing.assert_close(mirrored[:, 11], difference.flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(difference.flip(-1), -difference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [3, 7, 15])
def test_a_box_mean_is_scipys_with_the_border_left_out(size):
    rng = np.random.default_rng(size)
    values = rng.standard_normal((16, 21, 18)).astype(np.float32)
    inside = ndimage.uniform_filter(np.ones_like(values, np.float64), size, mode="constant")
    want = ndimage.uniform_filter(values.astype(np.float64), size, mode="constant") / inside
    got = _box(torch.from_numpy(values)[None, None], size)[0, 0].numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_looking_both_ways_says_the_same_of_the_mirror_image(network):
    torch.manual_seed(4)
    hu = 40 + 60 * torch.randn(1, 64, 64, 64)
    with torch.inference_mode():
        one, other = look_both_ways(network, hu), look_both_ways(network, hu.flip(-1))
        single = network(network_inputs(hu))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b.flip(-1), atol=2e-3, rtol=2e-3)
    assert float((one[1] - single[1]).abs().max()) > 1e-3
    mirror = network(network_inputs(hu.flip(-1)))[0].flip(-1)
    mean = (single[0].sigmoid() + mirror.sigmoid()) / 2
    torch.testing.assert_close(one[0].sigmoid(), mean, atol=1e-4, rtol=1e-3)
