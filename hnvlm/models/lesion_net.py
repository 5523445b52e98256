"""The lesion network: where a neck crop shows a node, a mass or a narrowed airway, and what it is like.

Lesions are small and faint and fill less than a percent of a neck, so most of a whole neck teaches nothing. The
network is therefore trained on small patches around lesions, around the same place without the lesion and around its
own false alarms, and, being convolutional with fixed norms, reads the whole crop at once when it is used.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.models.precision import device_of, mixed_precision
from hnvlm.models.unet import FOLD, ct_channels, fold, unfold
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS

LESION_CHANNELS = ("node", "mass", "airway")
# What is said of a lesion: greatest dimension / SIZE_SCALE, logit of necrosis, one logit per place.
PLACES = (*NODE_LEVELS, *MASS_SITES, *AIRWAY_LEVELS)
ATTRIBUTES = 2 + len(PLACES)
SIZE_SCALE = 20.0
CUES = 28
BOXES = (3, 5, 7, 11, 15)
WIDTHS = (64, 96, 128)
# Lesions are rare: start from "almost surely none".
PRIOR = -4.0
INPUTS = 3 * FOLD**3 + CUES


def _box(x: Tensor, size: int) -> Tensor:
    """Mean over a cube of ``size`` voxels (odd), one axis at a time; the border counts only what is inside.

    By running sums: a pooling layer takes several times as long for the wide cubes.
    """
    radius = size // 2
    for axis in (2, 3, 4):
        n = x.shape[axis]
        running = x.cumsum(axis)
        total = torch.empty_like(running)
        total.narrow(axis, 0, n - radius).copy_(running.narrow(axis, radius, n - radius))
        total.narrow(axis, n - radius, radius).copy_(
            running.narrow(axis, n - 1, 1).expand_as(total.narrow(axis, 0, radius))
        )
        total.narrow(axis, radius + 1, n - radius - 1).sub_(running.narrow(axis, 0, n - radius - 1))
        at = torch.arange(n, device=x.device)
        count = (at + radius + 1).clamp(max=n) - (at - radius).clamp(min=0)
        x = total / count.to(x.dtype).view([-1 if d == axis else 1 for d in range(5)])
    return x


def soft_tissue(hu: Tensor) -> Tensor:
    """HU (B, Z, Y, X) in the window of soft tissue: (B, 1, Z, Y, X), 0 at 40 HU, one unit is 100 HU."""
    return ((hu - 40.0) / 100.0).clamp(-1.5, 1.5)[:, None]


def visual_cues(hu: Tensor) -> Tensor:
    """What a reader compares, voxel by voxel: HU (B, 64, 64, 64) -> (B, CUES, 64, 64, 64).

    Soft-tissue density at several scales and its contrast to the surroundings (blobs), local spread (texture), the
    difference to the mirrored neck (the crop is centred on the cord, so the other side lies mirror-wise), how much
    tissue, bone and air is near, edges, and the position. Lesions are small and faint: a network that has to find
    these by itself needs many times the training.
    """
    soft = soft_tissue(hu)
    b3, b5, b7, b11, b15 = (_box(soft, k) for k in BOXES)
    square = soft * soft
    spread = [(_box(square, k) - m * m).clamp(min=0).sqrt() for k, m in ((3, b3), (5, b5), (11, b11))]
    mirror = [v - v.flip(-1) for v in (b3, b5, b7, b11)]
    grain = (soft - b3).abs()
    near = [_box(m[:, None].float(), k) for m, k in ((hu > -300, 9), (hu > 250, 9), (hu < -300, 5), (hu < -300, 15))]
    edge = torch.stack([(soft.roll(1, d) - soft.roll(-1, d)).abs() for d in (2, 3, 4)]).sum(0)
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n, device=hu.device) for n in hu.shape[1:]], indexing="ij")
    place = torch.stack([z, y, x.abs()]).expand(len(hu), -1, -1, -1, -1)
    blobs = [b3 - b7, b5 - b11, b7 - b15]
    texture = [_box(grain, 3), _box(grain, 7), edge, _box(edge, 5)]
    parts = [soft, b3, b5, b7, b11, *blobs, *spread, *mirror, *texture, *near]
    return torch.cat([*parts, _box(soft.flip(-1), 3), _box(spread[0], 7), place], dim=1)


class PatchBlock(nn.Module):
    """Two 3x3x3 convolutions with batch norm and a residual path: (B, in, ...) -> (B, out, ...).

    Batch norm, because its statistics are fixed when the network is used: a patch and a whole crop read alike.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm3d(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm3d(out_channels)
        self.skip = nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, Z, Y, X) -> (B, out, Z, Y, X), halved when the stride is 2."""
        h = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(h)) + self.skip(x))


class LesionNet(nn.Module):
    """Lesion maps and attributes on the folded grid (6 mm, 2x2x2 voxels of 3 mm in channels).

    Args:
        widths: Channels at 6, 12 and 24 mm.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.norm = nn.BatchNorm3d(INPUTS, affine=False)
        self.down = nn.ModuleList(
            PatchBlock(INPUTS if k == 0 else widths[k - 1], w, 1 if k == 0 else 2) for k, w in enumerate(widths)
        )
        self.up = nn.ModuleList(
            PatchBlock(widths[k + 1] + widths[k], widths[k]) for k in range(len(widths) - 2, -1, -1)
        )
        self.head = nn.Conv3d(widths[0], len(LESION_CHANNELS) * FOLD**3, 1)
        self.attributes = nn.Conv3d(widths[0], ATTRIBUTES, 1)
        nn.init.constant_(self.head.bias, PRIOR)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read ``network_inputs`` of a crop or a patch of them, (B, INPUTS, Z, Y, X) with sizes that 4 divides.

        Returns:
            lesion logits (B, 3, 2Z, 2Y, 2X) at 3 mm, attributes (B, ATTRIBUTES, Z, Y, X) and features
            (B, widths[0], Z, Y, X) at 6 mm.
        """
        levels = []
        h = self.norm(inputs.float())
        for block in self.down:
            h = block(h)
            levels.append(h)
        for block, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            h = F.interpolate(h, size=skip.shape[2:], mode="trilinear", align_corners=False)
            h = block(torch.cat([h, skip], dim=1))
        return unfold(self.head(h).float()), self.attributes(h).float(), h.float()


def network_inputs(hu: Tensor) -> Tensor:
    """What the network reads of HU crops (B, 64, 64, 64): (B, INPUTS, 32, 32, 32), on the folded grid.

    Two windows of the CT, the mirrored other side and the visual cues.
    """
    windows = ct_channels(hu)
    return torch.cat([fold(windows), fold(windows[:, :1].flip(-1)), F.avg_pool3d(visual_cues(hu), FOLD)], dim=1)


def look_both_ways(network: LesionNet, hu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Read HU crops (B, 64, 64, 64) and their mirror images; the mean of both, as ``LesionNet.forward`` returns it.

    What a network says of a crop and of its mirror image differs by chance, and the mean errs less.
    """
    logits, attributes, features = network(network_inputs(torch.cat([hu, hu.flip(-1)])))
    n = len(hu)
    probability = (logits[:n].sigmoid() + logits[n:].flip(-1).sigmoid()) / 2
    mean = [(x[:n] + x[n:].flip(-1)) / 2 for x in (attributes, features)]
    return torch.logit(probability, eps=1e-6), mean[0], mean[1]


def lesion_probability(network: LesionNet, crop: np.ndarray) -> np.ndarray:
    """Lesion probabilities (3, 64, 64, 64) of one crop of HU (64, 64, 64), read both ways round."""
    device = device_of(network)
    hu = torch.from_numpy(np.ascontiguousarray(crop, np.float32))[None].to(device)
    with torch.inference_mode(), mixed_precision(device):
        logits, _, _ = look_both_ways(network, hu)
    return logits[0].float().sigmoid().cpu().numpy()
