"""CT encoder: a neck crop to dense lesion and structure maps and to tokens for the text models.

The crop is 64 x 64 x 64 voxels of 3 mm in the frame of the neck (``hnvlm.imaging.anatomy``); one token covers
24 mm, so the neck becomes 8 x 8 x 8 = 512 tokens. A token holds the features of two encoder levels, the finest
decoder features and the lesion maps of its cell: everything the dense supervision taught.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.models.unet import FoldedUNet, ct_channels, fold, unfold

CROP = 64
GRID_MM = 3.0
# Distance (mm) from the crop's first voxel to the origin of the neck frame, (z, y, x).
CENTRE_OFFSET_MM = (96.0, 125.0, 96.0)
TOKENS_PER_AXIS = 8
LESION_CHANNELS = ("node", "mass", "airway")
# Lesion maps lie between 0 and 1 and are nearly always 0; scaled up they count as much as a feature.
MAP_SCALE = 4.0


IN_CHANNELS = 2
CUES = 28
BOXES = (3, 5, 7, 11, 15)


def _box(x: Tensor, size: int) -> Tensor:
    """Mean over a cube of ``size`` voxels (odd), one axis at a time; the border counts only what is inside."""
    for axis in range(3):
        kernel = [1, 1, 1]
        kernel[axis] = size
        padding = [k // 2 for k in kernel]
        x = F.avg_pool3d(x, kernel, stride=1, padding=padding, count_include_pad=False)
    return x


def visual_cues(hu: Tensor) -> Tensor:
    """What a reader compares, voxel by voxel: HU (B, 64, 64, 64) -> (B, CUES, 64, 64, 64).

    Soft-tissue density at several scales and its contrast to the surroundings (blobs), local spread (texture), the
    difference to the mirrored neck (the crop is centred on the cord, so the other side lies mirror-wise), how much
    tissue, bone and air is near, edges, and the position. Lesions are small and faint: a network that has to find
    these by itself needs many times the training.
    """
    soft = ((hu - 40.0) / 100.0).clamp(-1.5, 1.5)[:, None]
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


class CueNet(nn.Module):
    """Voxel-wise reading of the cues: (B, CUES, ...) -> lesion logits (B, 3, ...).

    Small enough to be trained on sampled voxels in a minute; the U-Net starts from what it finds.
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(CUES, affine=False)
        self.layers = nn.Sequential(
            nn.Conv3d(CUES, width, 1),
            nn.SiLU(),
            nn.Conv3d(width, width, 1),
            nn.SiLU(),
            nn.Conv3d(width, len(LESION_CHANNELS), 1),
        )
        # Lesions are rare: start from "almost surely none".
        nn.init.constant_(self.layers[-1].bias, -4.0)

    def forward(self, cues: Tensor) -> Tensor:
        """Logits of node, mass and airway narrowing at every voxel."""
        return self.layers(self.norm(cues))


class CTEncoder(nn.Module):
    """U-Net with dense heads whose inner features are the CT tokens.

    Args:
        n_structures: Structure channels before the lesion channels.
        widths: Channels per level.
    """

    def __init__(self, n_structures: int, widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.n_structures = n_structures
        self.cue_net = CueNet()
        lesions = len(LESION_CHANNELS)
        self.unet = FoldedUNet(IN_CHANNELS, n_structures + lesions, widths, extra=lesions * 8)
        # The U-Net corrects what the cues say. It starts with the one correction that is known: the cue network saw a
        # hundred times more lesion voxels than there are.
        nn.init.zeros_(self.unet.head.weight[n_structures * 8 :])
        nn.init.constant_(self.unet.head.bias[n_structures * 8 :], -3.0)

    @property
    def token_width(self) -> int:
        """Channels of a token."""
        return token_width(self.unet.widths)

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor]:
        """Encode HU (B, 64, 64, 64).

        Returns:
            logits (B, structures + 3, 64, 64, 64) and tokens (B, 512, token_width).
        """
        cued = fold(self.cue_net(visual_cues(hu)))  # [B, 3*8, 32, 32, 32]
        x = ct_channels(hu).contiguous(memory_format=torch.channels_last_3d)
        features = self.unet.encode(x, cued / 4.0)
        finest = self.unet.decode(features)  # [B, w0, 32, 32, 32]
        folded = self.unet.head(finest).float()
        structures, corrections = folded.split([self.n_structures * 8, len(LESION_CHANNELS) * 8], dim=1)
        lesion_logits = corrections + cued
        lesions = lesion_logits.sigmoid().unflatten(1, (len(LESION_CHANNELS), 8))
        n, size = TOKENS_PER_AXIS, CROP // 2 // TOKENS_PER_AXIS
        parts = [
            features[2].float(),
            F.interpolate(features[3].float(), size=(n, n, n), mode="trilinear", align_corners=False),
            F.avg_pool3d(finest.float(), size),
            MAP_SCALE * F.max_pool3d(lesions.amax(2), size),
            MAP_SCALE * F.avg_pool3d(lesions.mean(2), size),
        ]
        tokens = torch.cat(parts, dim=1).flatten(2).transpose(1, 2)  # [B, 512, token_width]
        return unfold(torch.cat([structures, lesion_logits], dim=1)), tokens


def token_width(widths: tuple[int, ...]) -> int:
    """Channels of a token for a U-Net of these widths."""
    return widths[2] + widths[3] + widths[0] + 2 * len(LESION_CHANNELS)


def neck_crop(
    hu: np.ndarray, origin_mm: np.ndarray, centre_mm: np.ndarray, shift_mm: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the encoder's crop out of a CT on the 3 mm grid.

    Args:
        hu: HU (z, y, x) at 3 mm.
        origin_mm: LPS position of its first voxel (z, y, x).
        centre_mm: Origin of the neck frame, LPS (z, y, x).
        shift_mm: Displacement of the crop (training jitter).

    Returns:
        Crop (64, 64, 64), air outside the scan, and its start index in ``hu`` (may be negative).
    """
    lo_mm = np.asarray(centre_mm) - CENTRE_OFFSET_MM + shift_mm
    start = np.rint((lo_mm - np.asarray(origin_mm)) / GRID_MM).astype(int)
    return cut(hu, start, (CROP,) * 3, -1024), start


def cut(array: np.ndarray, start: np.ndarray, size: tuple[int, int, int], outside: float) -> np.ndarray:
    """Cut a box that may reach beyond the array; what lies beyond is ``outside``."""
    out = np.full(size, outside, array.dtype)
    lo = np.maximum(start, 0)
    hi = np.minimum(start + size, array.shape)
    if np.all(hi > lo):
        target = tuple(slice(a - s, b - s) for a, b, s in zip(lo, hi, start, strict=True))
        source = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        out[target] = array[source]
    return out
