"""The folded 3-D U-Net that the segmenter and the CT encoder share.

The stem folds 2x2x2 voxels into channels and the head unfolds them again, so the first level, which
costs the most on a CPU, runs on an eighth of the voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLD = 2
# Where two views of one CT are averaged they lie this many voxels apart, so that the folds, too, differ between them.
VIEW_SHIFT = 1


def fold(x: Tensor) -> Tensor:
    """Move 2x2x2 neighbourhoods into channels: (B, C, Z, Y, X) -> (B, 8C, Z/2, Y/2, X/2)."""
    b, c, z, y, x_ = x.shape
    x = x.reshape(b, c, z // 2, 2, y // 2, 2, x_ // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, z // 2, y // 2, x_ // 2)


def unfold(x: Tensor) -> Tensor:
    """Inverse of ``fold``: (B, 8C, Z, Y, X) -> (B, C, 2Z, 2Y, 2X)."""
    b, c8, z, y, x_ = x.shape
    x = x.reshape(b, c8 // 8, 2, 2, 2, z, y, x_).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c8 // 8, z * 2, y * 2, x_ * 2)


class ConvBlock(nn.Module):
    """Two 3x3x3 convolutions with group norm and a residual path: (B, in, ...) -> (B, out, ...)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, out_channels)
        same = stride == 1 and in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, Z, Y, X) -> (B, out, Z, Y, X), halved when the stride is 2."""
        h = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(h)) + self.skip(x))


class FoldedUNet(nn.Module):
    """U-Net over a folded grid.

    Args:
        in_channels: Channels of the CT input before folding.
        out_channels: Output channels (logits) on the input grid.
        widths: Channels per level; level k works at ``2**(k+1)`` times the input spacing.
        extra: Further input channels that already lie on the folded grid.
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: Sequence[int] = (32, 64, 128, 192), extra: int = 0
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        stem = in_channels * FOLD**3 + extra
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            previous = stem if level == 0 else widths[level - 1]
            self.down.append(ConvBlock(previous, width, stride=1 if level == 0 else 2))
        self.up = nn.ModuleList()
        for level in range(len(widths) - 2, -1, -1):
            self.up.append(ConvBlock(widths[level + 1] + widths[level], widths[level]))
        self.head = nn.Conv3d(widths[0], out_channels * FOLD**3, 1)

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return FOLD * 2 ** (len(self.widths) - 1)

    def encode(self, x: Tensor, extra: Tensor | None = None) -> list[Tensor]:
        """Return the features of each level, finest first: level k is (B, widths[k], Z/2^(k+1), ...).

        Args:
            x: (B, C, Z, Y, X). extra: (B, E, Z/2, Y/2, X/2), when the network was made with such channels.
        """
        h = fold(x) if extra is None else torch.cat([fold(x), extra.to(x.dtype)], dim=1)
        features = []
        for block in self.down:
            h = block(h)
            features.append(h)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Return the finest decoder features (B, widths[0], Z/2, Y/2, X/2)."""
        h = features[-1]
        for block, skip in zip(self.up, reversed(features[:-1]), strict=True):
            h = F.interpolate(h, size=skip.shape[2:], mode="trilinear", align_corners=False)
            h = block(torch.cat([h, skip], dim=1))
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, out_channels, Z, Y, X) of an input (B, in_channels, Z, Y, X)."""
        return unfold(self.head(self.decode(self.encode(x))))


def ct_channels(hu: Tensor) -> Tensor:
    """Two windows of the CT as network input: HU (B, Z, Y, X) -> (B, 2, Z, Y, X), about -1..1.

    Soft tissue (-160..240 HU) for organs and nodes, and a wide one (-1000..1500 HU) for air and bone.
    """
    soft = ((hu - 40.0) / 200.0).clamp(-1, 1)
    wide = ((hu - 250.0) / 1250.0).clamp(-1, 1)
    return torch.stack([soft, wide], dim=1)
