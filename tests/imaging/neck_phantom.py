"""A neck made of cylinders, rings and balls, so that every landmark is known to the millimetre.

All numbers are in the frame of the neck: w above the mandible's lower border, u to the patient's left of the cord,
v behind the cord. Left and right differ on purpose (size of the parotids, a bone in one corner).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from hnvlm.imaging.anatomy import Anatomy, build_anatomy
from hnvlm.imaging.volume import Volume

# LPS position (z, y, x) of the frame's origin: the cord at the height of the mandible's lower border.
CENTRE_MM = (36.0, 12.0, 0.0)
SPACINGS = ((2.5, 1.2, 1.0), (3.0, 1.8, 1.5), (1.7, 2.1, 2.4))
COARSE = (3.0, 3.0, 3.0)
# Reach of the scan around the origin of the frame, (w, v, u).
REACH = ((-99.0, 93.0), (-117.0, 48.0), (-90.0, 90.0))
AIR, FAT, MUSCLE, GLAND, CORD, BONE, JAW = -1000, -90, 55, 30, 40, 600, 900
AIRWAY_V, AIRWAY_RADII = -36.0, (8.0, 12.0)  # (v, u)
PAROTID_RADIUS = {"left": 16.0, "right": 13.0}


def frame(spacing: tuple[float, float, float]) -> tuple[Volume, np.ndarray, np.ndarray, np.ndarray]:
    """Empty grid, symmetric about u = 0, and the (w, v, u) of its voxels."""
    shape = tuple(round((b - a) / s) for (a, b), s in zip(REACH, spacing, strict=True))
    origin = [c + a + s / 2 for (a, _), s, c in zip(REACH, spacing, CENTRE_MM, strict=True)]
    origin[2] = CENTRE_MM[2] - (shape[2] - 1) / 2 * spacing[2]
    grid = Volume(np.zeros(shape, np.int16), spacing, tuple(origin))
    axes = [np.arange(n) * s + o - c for n, s, o, c in zip(shape, spacing, grid.origin_mm, CENTRE_MM, strict=True)]
    w, v, u = np.meshgrid(*axes, indexing="ij", sparse=True)
    return grid, w, v, u


@cache
def _plain(spacing: tuple[float, float, float]) -> tuple[Volume, dict[str, np.ndarray]]:
    grid, w, v, u = frame(spacing)
    hu = np.full(grid.shape, AIR, np.int16)
    everywhere = np.ones(grid.shape, bool)
    body = everywhere & ((v + 34) ** 2 / 72**2 + u**2 / 80**2 < 1)
    hu[body] = MUSCLE
    # Fat beside the great vessels and in the posterior triangle, where nodes lie.
    hu[body & (np.abs(u) > 18) & (np.abs(u) < 66) & (v > -44) & (v < 40) & (w < 46)] = FAT
    masks = {
        "SpinalCord": everywhere & (v**2 + u**2 < 6**2) & (w < 47),
        "Brainstem": everywhere & (v**2 + u**2 < 13**2) & (w >= 47) & (w < 80),
        "Larynx": everywhere & ((v + 36) ** 2 + u**2 < 18**2) & (w > -34) & (w < -10),
    }
    for side, sign, name in (("left", 1, "Parotid_L"), ("right", -1, "Parotid_R")):
        masks[name] = (w - 24) ** 2 + (v + 14) ** 2 + (u - sign * 50) ** 2 < PAROTID_RADIUS[side] ** 2
    r = np.hypot(v + 50, u)
    masks["Bone_Mandible"] = everywhere & (v < -50) & (r > 40) & (r < 48) & (w >= 0) & (w < 28)
    hu[masks["Parotid_L"] | masks["Parotid_R"]] = GLAND
    hu[everywhere & ((v + 15) ** 2 + u**2 < 11**2)] = BONE  # vertebra in front of the cord
    hu[masks["Brainstem"] | masks["SpinalCord"]] = CORD
    hu[masks["Bone_Mandible"]] = JAW
    lumen = (v - AIRWAY_V) ** 2 / AIRWAY_RADII[0] ** 2 + u**2 / AIRWAY_RADII[1] ** 2 < 1
    hu[everywhere & lumen & (w > -92) & (w < 70)] = AIR
    hu[everywhere & ((w - 70) ** 2 + (v + 80) ** 2 + (u - 30) ** 2 < 6**2)] = JAW  # no flip maps the head on itself
    return grid.with_array(hu), masks


def phantom(
    spacing: tuple[float, float, float] = COARSE, *, noise_hu: float = 0.0, mirrored: bool = False
) -> tuple[Volume, dict[str, np.ndarray]]:
    """CT (int16 HU) and masks on one grid.

    Args:
        noise_hu: Standard deviation of white noise inside the body.
        mirrored: Swap left and right, of the CT and of the names.
    """
    ct, masks = _plain(spacing)
    hu = ct.array.astype(np.float64)
    if noise_hu:
        hu = np.where(hu > -200, hu + noise_hu * np.random.default_rng(3).standard_normal(hu.shape), hu)
    hu = np.rint(hu).astype(np.int16)
    if mirrored:
        other = {"Parotid_L": "Parotid_R", "Parotid_R": "Parotid_L"}
        return ct.with_array(np.ascontiguousarray(hu[..., ::-1])), {
            other.get(k, k): np.ascontiguousarray(m[..., ::-1]) for k, m in masks.items()
        }
    return ct.with_array(hu), {k: m.copy() for k, m in masks.items()}


def anatomy(*, mirrored: bool = False, without: tuple[str, ...] = (), noise_hu: float = 0.0) -> Anatomy:
    """Landmarks of the phantom on the coarse grid."""
    ct, masks = phantom(COARSE, mirrored=mirrored, noise_hu=noise_hu)
    built = build_anatomy(ct, {k: m for k, m in masks.items() if k not in without})
    assert built is not None
    return built


def at(w: float, v: float, u: float) -> np.ndarray:
    """LPS millimetres (z, y, x) of a point of the frame."""
    return np.array([w, v, u]) + CENTRE_MM
