"""Random changes that make one training neck into many: posture, size, shape, scanner, and parts that are missing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Degrees about the left-right (z, y plane), the head-foot (y, x) and the front-back (z, x) axis: necks nod most.
DEGREES = {"nod": 12.0, "turn": 10.0, "tilt": 10.0}
ZOOM = 0.15
# Smooth random bending of a crop, in voxels, and its knots along each axis.
BEND = 2.5
KNOTS = 5
# Soft tissue (HU) about which contrast varies, and how much of each change is drawn at most.
TISSUE_HU = 40.0
CONTRAST = (0.9, 1.12)
SHIFT_HU = (-25.0, 45.0)
NOISE_HU = 20.0
AIR_HU = -1024.0
# Chance of a blurred, a thickly sliced and a partly cut crop.
BLURRED, THICK, CUT = 0.1, 0.1, 0.1


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    """Random rotation and zoom (3, 3), output offsets -> source offsets, axes z, y, x."""
    a, b, c = (np.deg2rad(rng.uniform(-d, d)) for d in (DEGREES["turn"], DEGREES["tilt"], DEGREES["nod"]))
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    tilt = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    nod = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    scale = np.diag(1.0 + rng.uniform(-ZOOM, ZOOM) + rng.uniform(-0.05, 0.05, 3))
    return turn @ tilt @ nod @ scale


def bend(
    crop: tuple[int, int, int], shape: tuple[int, int, int], rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:  # fmt: skip
    """Smooth random displacement of a sampling grid (1, Z, Y, X, 3), at most ``BEND`` voxels along each axis."""
    knots = torch.from_numpy(rng.uniform(-BEND, BEND, (1, 3, *(KNOTS,) * 3)).astype(np.float32)).to(device)
    field = F.interpolate(knots, size=crop, mode="trilinear", align_corners=True).permute(0, 2, 3, 4, 1)
    return field * 2.0 / (torch.tensor(shape[::-1], device=device) - 1)


def other_scanner(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """The crop (Z, Y, X) HU as another scanner might show it: contrast, level, sharpness, slice thickness, noise."""
    hu = (hu - TISSUE_HU) * float(rng.uniform(*CONTRAST)) + TISSUE_HU + float(rng.uniform(*SHIFT_HU))
    if rng.random() < BLURRED:
        hu = blurred(hu, rng.uniform(0.4, 1.1, 3))
    if rng.random() < THICK:
        z = hu.shape[0]
        slices = F.interpolate(hu[None, None], scale_factor=(0.5, 1, 1), mode="area")
        hu = F.interpolate(slices, size=(z, *hu.shape[1:]), mode="trilinear", align_corners=False)[0, 0]
    return hu + noise(hu, rng) * float(rng.uniform(0, NOISE_HU))


def noise(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise (Z, Y, X) of unit spread, grainy in half of the draws."""
    generator = torch.Generator(like.device).manual_seed(int(rng.integers(2**31)))
    white = torch.randn(like.shape, generator=generator, device=like.device)
    if rng.random() < 0.5:
        return white
    grainy = blurred(white, np.array([0.5, 0.8, 0.8]))
    return grainy / grainy.std().clamp(min=1e-3)


def blurred(x: Tensor, sigma: np.ndarray) -> Tensor:
    """Gaussian blur of (Z, Y, X) with a standard deviation in voxels an axis."""
    x = x[None, None]
    for axis, s in enumerate(sigma):
        offsets = torch.arange(-2, 3, dtype=torch.float32, device=x.device)
        kernel = torch.exp(-0.5 * (offsets / float(s)) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 5
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = 2
        x = F.conv3d(F.pad(x, pad, mode="replicate"), (kernel / kernel.sum()).reshape(shape))
    return x[0, 0]


def partly_cut(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """Set smooth random parts of some crops (z, y, x; HU) to air, as the training CTs are cut in places.

    At most a fifth of a crop; most crops come back as they are.
    """
    if rng.random() >= CUT:
        return hu
    knots = torch.from_numpy(rng.standard_normal((1, 1, *(KNOTS,) * 3)).astype(np.float32)).to(hu.device)
    field = F.interpolate(knots, size=hu.shape, mode="trilinear", align_corners=True)[0, 0]
    sample = field[::4, ::4, ::4].flatten()
    limit = torch.quantile(sample, 1 - float(rng.uniform(0.05, 0.2)))
    return torch.where(field > limit, torch.full_like(hu, AIR_HU), hu)
