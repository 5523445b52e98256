"""Folding, windows and shapes of the shared U-Net."""

from __future__ import annotations

import pytest
import torch

from hnvlm.models.unet import ConvBlock, FoldedUNet, ct_channels, fold, unfold


@pytest.mark.parametrize("size", [(2, 4, 6), (6, 2, 8), (4, 4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_unfold_undoes_fold(size, channels):
    x = torch.arange(2 * channels * size[0] * size[1] * size[2]).float().reshape(2, channels, *size)
    folded = fold(x)
    assert folded.shape == (2, 8 * channels, size[0] // 2, size[1] // 2, size[2] // 2)
    assert torch.equal(unfold(folded), x)
    y = torch.arange(2 * 8 * 3 * 1 * 2).float().reshape(2, 8, 3, 1, 2)
    assert torch.equal(fold(unfold(y)), y)


def test_where_a_voxel_goes_by_hand():
    """Voxel (z 3, y 2, x 5) of channel 1 is child (1, 0, 1) = 5 of cell (1, 1, 2): channel 1 * 8 + 5."""
    x = torch.zeros(1, 2, 4, 6, 8)
    x[0, 1, 3, 2, 5] = 7.0
    folded = fold(x)
    assert folded[0, 13, 1, 1, 2] == 7.0
    assert folded.count_nonzero() == 1
    y = torch.zeros(1, 16, 2, 3, 4)
    y[0, 6, 1, 2, 0] = 4.0  # channel 0, child 6 = (1, 1, 0)
    assert unfold(y)[0, 0, 3, 5, 0] == 4.0


def test_windows_by_hand():
    """Soft: 40 HU is the middle, 200 HU to either side the ends. Wide: 250 HU the middle, 1250 to either side."""
    hu = torch.tensor([-1024.0, -1000.0, -160.0, -60.0, 40.0, 140.0, 240.0, 250.0, 875.0, 1500.0, 3071.0])
    soft, wide = ct_channels(hu.reshape(1, 1, 1, -1))[0].reshape(2, -1)
    assert soft.tolist() == pytest.approx([-1, -1, -1, -0.5, 0, 0.5, 1, 1, 1, 1, 1])
    assert wide.tolist() == pytest.approx([-1, -1, -0.328, -0.248, -0.168, -0.088, -0.008, 0, 0.5, 1, 1])


def test_shapes_of_levels_and_output():
    net = FoldedUNet(2, 3, widths=(8, 16, 8, 24)).eval()
    assert net.multiple == 16
    x = torch.randn(1, 2, 16, 32, 48)
    with torch.inference_mode():
        features = net.encode(x)
        assert [tuple(f.shape[1:]) for f in features] == [
            (8, 8, 16, 24), (16, 4, 8, 12), (8, 2, 4, 6), (24, 1, 2, 3),
        ]  # fmt: skip
        assert net.decode(features).shape == (1, 8, 8, 16, 24)
        assert net(x).shape == (1, 3, 16, 32, 48)


def test_a_block_halves_with_stride_two_and_keeps_the_path_without():
    x = torch.randn(1, 8, 4, 6, 8)
    assert ConvBlock(8, 16, stride=2)(x).shape == (1, 16, 2, 3, 4)
    assert isinstance(ConvBlock(8, 8).skip, torch.nn.Identity)
