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

from hnvlm.models.unet import FoldedUNet, ct_channels, unfold

CROP = 64
GRID_MM = 3.0
# Distance (mm) from the crop's first voxel to the origin of the neck frame, (z, y, x).
CENTRE_OFFSET_MM = (96.0, 125.0, 96.0)
TOKENS_PER_AXIS = 8
LESION_CHANNELS = ("node", "mass", "airway")
# Lesion maps lie between 0 and 1 and are nearly always 0; scaled up they count as much as a feature.
MAP_SCALE = 4.0


IN_CHANNELS = 2
CUES = 21


def _box(x: Tensor, size: int) -> Tensor:
    """Mean over a cube of ``size`` voxels; the border counts only what is inside."""
    return F.avg_pool3d(x, size, stride=1, padding=size // 2, count_include_pad=False)


def visual_cues(hu: Tensor) -> Tensor:
    """What a reader compares, as channels on the folded 6 mm grid: HU (B, 64, 64, 64) -> (B, CUES, 32, 32, 32).

    Soft-tissue density at several scales and its contrast to the surroundings (blobs), local spread (texture), the
    difference to the mirrored neck (the crop is centred on the cord, so the other side lies mirror-wise), how much
    tissue, bone and air is near, and the position. Lesions are small and faint: a network that has to find these
    features by itself needs many times the training.
    """
    soft = ((hu - 40.0) / 100.0).clamp(-1.5, 1.5)[:, None]
    fine = (soft - _box(soft, 3)).abs()
    s = F.avg_pool3d(soft, 2)
    spread = (F.avg_pool3d(soft * soft, 2) - s * s).clamp(min=0).sqrt()
    b3, b5, b7 = _box(s, 3), _box(s, 5), _box(s, 7)
    wide = (_box(s * s, 3) - b3 * b3).clamp(min=0).sqrt()
    texture = F.avg_pool3d(fine, 2)
    near = [_box(F.avg_pool3d(m[:, None].float(), 2), 3) for m in (hu > -300, hu > 250, hu < -300)]
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n, device=hu.device) for n in s.shape[2:]], indexing="ij")
    place = torch.stack([z, y, x.abs()]).expand(len(hu), -1, -1, -1, -1)
    mirror = [v - v.flip(-1) for v in (s, b3, b5, _box(texture, 3))]
    parts = [s, b3, b5, s - b3, s - b5, b3 - b7, spread, wide, texture, _box(texture, 3), *mirror, *near, s.flip(-1)]
    return torch.cat([*parts, place], dim=1)


class CTEncoder(nn.Module):
    """U-Net with dense heads whose inner features are the CT tokens.

    Args:
        n_structures: Structure channels before the lesion channels.
        widths: Channels per level.
    """

    def __init__(self, n_structures: int, widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.n_structures = n_structures
        self.unet = FoldedUNet(IN_CHANNELS, n_structures + len(LESION_CHANNELS), widths, extra=CUES)
        # Lesions are rare: start from "probably none, everywhere the same", so that the first steps do not throw away
        # the segmenter's features.
        nn.init.zeros_(self.unet.head.weight[n_structures * 8 :])
        nn.init.constant_(self.unet.head.bias[n_structures * 8 :], -3.0)

    @property
    def token_width(self) -> int:
        """Channels of a token."""
        return token_width(self.unet.widths)

    def maps(self, hu: Tensor) -> Tensor:
        """Logits (B, structures + 3, 64, 64, 64) alone, for training."""
        return self(hu)[0]

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor]:
        """Encode HU (B, 64, 64, 64).

        Returns:
            logits (B, structures + 3, 64, 64, 64) and tokens (B, 512, token_width).
        """
        x = ct_channels(hu).contiguous(memory_format=torch.channels_last_3d)
        features = self.unet.encode(x, visual_cues(hu))
        finest = self.unet.decode(features)  # [B, w0, 32, 32, 32]
        folded = self.unet.head(finest)
        n = TOKENS_PER_AXIS
        lesions = folded[:, self.n_structures * 8 :].float().sigmoid()  # [B, 3*8, 32, 32, 32]
        lesions = lesions.reshape(lesions.shape[0], len(LESION_CHANNELS), 8, *lesions.shape[2:])
        size = CROP // 2 // n
        parts = [
            features[2],
            F.interpolate(features[3], size=(n, n, n), mode="trilinear", align_corners=False),
            F.avg_pool3d(finest, size),
            MAP_SCALE * F.max_pool3d(lesions.amax(2), size).to(finest.dtype),
            MAP_SCALE * F.avg_pool3d(lesions.mean(2), size).to(finest.dtype),
        ]
        tokens = torch.cat(parts, dim=1).flatten(2).transpose(1, 2)  # [B, 512, token_width]
        return unfold(folded), tokens


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
