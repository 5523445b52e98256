"""CT encoder: a neck crop to dense lesion and structure maps and to tokens for the text models.

The crop is 64 x 64 x 64 voxels of 3 mm in the frame of the neck (``hnvlm.imaging.anatomy``); one token covers
24 mm, so the neck becomes 8 x 8 x 8 = 512 tokens. Two networks look at it: the segmenter's U-Net knows the anatomy, the
lesion network knows what does not belong. A token holds the features of both in its cell, and, weighed by how
probable a lesion is, what the lesion network says of it: size, texture, place.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.models.lesion_net import ATTRIBUTES, LESION_CHANNELS, LesionNet, look_both_ways, soft_tissue
from hnvlm.models.lesion_net import WIDTHS as LESION_WIDTHS
from hnvlm.models.precision import device_of, mixed_precision
from hnvlm.models.unet import FoldedUNet, ct_channels, unfold

__all__ = ["CROP", "GRID_MM", "LESION_CHANNELS", "CTEncoder", "cut", "neck_crop", "token_width"]

CROP = 64
GRID_MM = 3.0
# Distance (mm) from the crop's first voxel to the origin of the neck frame, (z, y, x).
CENTRE_OFFSET_MM = (96.0, 125.0, 96.0)
TOKENS_PER_AXIS = 8
# Lesion maps lie between 0 and 1 and are nearly always 0; scaled up they count as much as a feature.
MAP_SCALE = 4.0
# Voxels over which evidence is averaged, as in ``hnvlm.models.detect``.
EVIDENCE = 3
MAPS = 2 * len(LESION_CHANNELS)
DENSITY = 2
# A feature that is nearly always 0 may lie many spreads away where a lesion is.
LARGEST_FEATURE = 8.0
IN_CHANNELS = 2


class CTEncoder(nn.Module):
    """Segmenter's U-Net and lesion network, and the CT tokens made of what they see.

    Args:
        n_structures: Structure channels before the lesion channels.
        widths: Channels per level of the U-Net.
        lesion_widths: Channels per level of the lesion network.
    """

    def __init__(
        self,
        n_structures: int,
        widths: tuple[int, ...] = (32, 64, 128, 192),
        lesion_widths: tuple[int, ...] = LESION_WIDTHS,
    ) -> None:
        super().__init__()
        self.n_structures = n_structures
        self.unet = FoldedUNet(IN_CHANNELS, n_structures, widths)
        self.lesion_net = LesionNet(lesion_widths)
        features = token_width(widths, lesion_widths) - MAPS
        # Mean and spread of every feature over training tokens, set once (``calibrate``).
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_spread", torch.ones(features))

    @property
    def token_width(self) -> int:
        """Channels of a token."""
        return token_width(self.unet.widths, self.lesion_net.widths)

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor]:
        """Encode HU (B, 64, 64, 64).

        Returns:
            logits (B, structures + 3, 64, 64, 64) and tokens (B, 512, token_width); the last channels of a token are
            four times the greatest evidence and the mean probability of a lesion in its cell.
        """
        return self._told(*self._look(hu, look_both_ways(self.lesion_net, hu)))

    def both_ways(self, hu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of HU (B, 64, 64, 64), of its mirror image, and lesion probabilities (B, 3, 64, 64, 64) of HU.

        The costly lesion network looks once for both: it reads every crop both ways round, so what it says of the
        mirror image is the mirror image of what it says.
        """
        seen = look_both_ways(self.lesion_net, hu)
        mirrored = tuple(x.flip(-1) for x in seen)
        own, other = self._told(*self._look(hu, seen))[1], self._told(*self._look(hu.flip(-1), mirrored))[1]
        return own, other, seen[0].sigmoid()

    def _told(self, logits: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits as they are, and tokens of raw features."""
        lesions = logits[:, self.n_structures :].sigmoid()
        size = CROP // TOKENS_PER_AXIS
        evidence = F.avg_pool3d(lesions, EVIDENCE, stride=1, padding=EVIDENCE // 2)
        maps = torch.cat([F.max_pool3d(evidence, size), F.avg_pool3d(lesions, size)], dim=1)
        standard = ((features - self.feature_mean) / self.feature_spread).clamp(-LARGEST_FEATURE, LARGEST_FEATURE)
        return logits, torch.cat([standard, MAP_SCALE * maps.flatten(2).transpose(1, 2)], dim=-1)

    def _look(self, hu: Tensor, seen_lesions: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logits of all maps and raw features (B, 512, token_width - MAPS), given what the lesion network says."""
        levels = self.unet.encode(ct_channels(hu).contiguous(memory_format=torch.channels_last_3d))
        finest = self.unet.decode(levels)  # [B, w0, 32, 32, 32]
        structures = unfold(self.unet.head(finest).float())
        lesions, attributes, seen = seen_lesions
        n = TOKENS_PER_AXIS
        features = [
            levels[2].float(),
            F.interpolate(levels[3].float(), size=(n, n, n), mode="trilinear", align_corners=False),
            F.avg_pool3d(finest.float(), CROP // 2 // n),
            lesion_features(lesions.sigmoid(), attributes, seen, density(hu)),
        ]
        return torch.cat([structures, lesions], dim=1), torch.cat(features, dim=1).flatten(2).transpose(1, 2)

    def calibrate(self, crops: list[np.ndarray]) -> None:
        """Set mean and spread of the token features to those of these crops of HU, each (64, 64, 64)."""
        device = device_of(self)
        with torch.inference_mode(), mixed_precision(device):
            batches = [torch.from_numpy(hu)[None].to(device) for hu in crops]
            raw = torch.cat([self._look(x, look_both_ways(self.lesion_net, x))[1][0] for x in batches])
        self.feature_mean.copy_(raw.mean(0))
        self.feature_spread.copy_(raw.std(0).clamp(min=1e-3))


def density(hu: Tensor) -> Tensor:
    """Mean and spread of the soft-tissue HU of each 6 mm cell: HU (B, 64, 64, 64) -> (B, 2, 32, 32, 32), scaled."""
    soft = soft_tissue(hu)
    mean = F.avg_pool3d(soft, 2)
    return torch.cat([mean, (F.avg_pool3d(soft * soft, 2) - mean * mean).clamp(min=0).sqrt()], dim=1)


def lesion_features(lesions: Tensor, attributes: Tensor, seen: Tensor, dense: Tensor) -> Tensor:
    """What the lesion network says in each token's cell, weighed by the probability of a lesion.

    Args:
        lesions: Probabilities (B, 3, 64, 64, 64). attributes: (B, ATTRIBUTES, 32, 32, 32). seen: (B, W, 32, 32, 32).
        dense: ``density`` (B, 2, 32, 32, 32).

    Returns:
        (B, W + ATTRIBUTES + 5, 8, 8, 8): features, size, necrosis, place, density and the lesion's position in the
        crop (-1..1), all near 0 where no lesion is likely.
    """
    size = CROP // 2 // TOKENS_PER_AXIS
    weight = F.max_pool3d(lesions.amax(1, keepdim=True), 2)
    axis = torch.linspace(-1, 1, CROP // 2, device=lesions.device)
    where = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).expand(len(lesions), -1, -1, -1, -1)
    said = torch.cat(
        [seen, attributes[:, :1], attributes[:, 1:2].sigmoid(), attributes[:, 2:].softmax(1), dense, where], dim=1
    )
    total = F.avg_pool3d(weight, size)
    # The share of a cell that a small lesion fills is small; from a fiftieth on it is told in full.
    return F.avg_pool3d(said * weight, size) / (total + 0.02)


def token_width(widths: tuple[int, ...], lesion_widths: tuple[int, ...] = LESION_WIDTHS) -> int:
    """Channels of a token for a U-Net and a lesion network of these widths."""
    return widths[2] + widths[3] + widths[0] + lesion_widths[0] + ATTRIBUTES + DENSITY + 3 + MAPS


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
