"""Synthetic necks drawn from the cohort atlas: nobody's CT, close to the CTs the models were trained on."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from hnvlm.config import settings
from hnvlm.errors import ModelPackError
from hnvlm.imaging.volume import Volume

# Label codes 1, 2, ... in the atlas.
LABELS = ("Brainstem", "SpinalCord", "Parotid_R", "Parotid_L", "Esophagus", "Larynx", "Bone_Mandible")
# A planning CT's grid, (z, y, x): 500 mm field of view.
SPACING_MM = (2.5, 1.953125, 1.953125)
SIZE = 256
# Grain inside the body, standard deviation: what residuals of the training CTs show in muscle and fat.
NOISE_HU = 9.0
TISSUE_HU = 9.0
_LATTICE_MM = 10.0
_AIR_HU = -1000.0


@dataclass(frozen=True)
class Atlas:
    """The cohort atlas.

    Attributes:
        volume: int16 HU (z, y, x); LPS millimetres relative to the mandible's centre.
        labels: uint8 codes on the same grid (``LABELS``, from 1; 0 is none).
        meta: How it was made and what the privacy check measured.
    """

    volume: Volume
    labels: np.ndarray
    meta: dict[str, Any]


def save_atlas(atlas: Atlas, folder: Path) -> None:
    """Write ``config.json`` and ``atlas.bin`` (zlib over slice differences: lossless, half the size of plain)."""
    folder.mkdir(parents=True, exist_ok=True)
    ct = atlas.volume.array.astype(np.int16)
    steps = np.diff(ct, axis=0, prepend=np.zeros_like(ct[:1]))
    data = [zlib.compress(part.tobytes(), 9) for part in (_planes(steps), atlas.labels.astype(np.uint8))]
    (folder / "atlas.bin").write_bytes(b"".join(data))
    config = {
        "shape": list(ct.shape),
        "spacing_mm": list(atlas.volume.spacing_mm),
        "origin_mm": list(atlas.volume.origin_mm),
        "labels": list(LABELS),
        "bytes": [len(part) for part in data],
        "content": atlas.volume.content_hash(),
        **atlas.meta,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_atlas(folder: Path | None = None) -> Atlas:
    """Read the atlas (default ``assets/atlas``).

    Raises:
        ModelPackError: It is missing, damaged or of another version.
    """
    folder = folder or settings().assets_dir / "atlas"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        data = (folder / "atlas.bin").read_bytes()
        shape = tuple(config["shape"])
        first = config["bytes"][0]
        planes = np.frombuffer(zlib.decompress(data[:first]), np.uint8).reshape(2, *shape)
        labels = np.frombuffer(zlib.decompress(data[first:]), np.uint8).reshape(shape)
        ct = np.cumsum(_from_planes(planes), axis=0, dtype=np.int16)
        volume = Volume(ct, tuple(config["spacing_mm"]), tuple(config["origin_mm"]))
    except (OSError, KeyError, ValueError, zlib.error) as error:
        raise ModelPackError(
            f"The cohort atlas in {folder} cannot be read ({error}). Restore the folder from the release."
        ) from error
    if volume.content_hash() != config.get("content") or tuple(config["labels"]) != LABELS:
        raise ModelPackError(
            f"The cohort atlas in {folder} is damaged or of another version. Restore the folder from the release."
        )
    return Atlas(volume, labels, config)


@dataclass(frozen=True)
class Neck:
    """A synthetic neck.

    Attributes:
        volume: int16 HU (z, y, x), LPS.
        masks: TG-263 name -> bool array on the same grid.
    """

    volume: Volume
    masks: dict[str, np.ndarray]


def sample_neck(
    seed: int, *, atlas: Atlas | None = None, spacing_mm: tuple[float, float, float] = SPACING_MM, size: int = SIZE
) -> Neck:
    """Draw a synthetic head-and-neck CT: the atlas under a random smooth deformation, with the texture of a CT.

    Equal seeds give equal necks. Outside the body there is air, as in the training CTs.

    Args:
        seed: Any integer.
        atlas: Read from the assets when not given.
        spacing_mm: Grid of the result, (z, y, x).
        size: Rows and columns of a slice.
    """
    atlas = atlas or load_atlas()
    rng = np.random.default_rng(seed)
    bend = _Deformation(rng)
    rows = int(np.ptp(bend.reach(atlas.volume)) // spacing_mm[0])
    origin = (bend.reach(atlas.volume)[0], 25.0 - spacing_mm[1] * (size - 1) / 2, -spacing_mm[2] * (size - 1) / 2)
    grid = Volume(np.zeros((rows, size, size), np.int16), spacing_mm, origin)
    index = bend.index_map(grid, atlas.volume)
    ct = _pull(atlas.volume.array.astype(np.float32), index, order=1, fill=-1024.0)
    labels = {
        name: _pull((atlas.labels == code).astype(np.float32), index, order=1, fill=0.0) > 0.5
        for code, name in enumerate(LABELS, start=1)
    }
    ct = _texture(ct, spacing_mm, rng)
    masks = {name: mask for name, mask in labels.items() if mask.any()}
    return Neck(grid.with_array(np.clip(np.round(ct), -1024, 3071).astype(np.int16)), masks)


def _planes(values: np.ndarray) -> np.ndarray:
    """Split int16 into a plane of low and a plane of high bytes, which compress better apart."""
    return np.ascontiguousarray(np.moveaxis(values.astype("<i2").view(np.uint8).reshape(*values.shape, 2), -1, 0))


def _from_planes(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view("<i2")[..., 0]


class _Deformation:
    """Random smooth map from the synthetic patient's millimetres to the atlas': size, posture, neck length, asymmetry.

    Heights are relative to the centre of the mandible in both frames. Every part is gentle enough that the map folds
    nowhere (a test checks its Jacobian).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.scale = 1.0 + np.array([0.03, 0.04, 0.04]) * rng.uniform(-1, 1, 3)
        self.neck_stretch = 1.0 + 0.07 * rng.uniform(-1, 1)
        self.flexion, self.turn, self.tilt = np.deg2rad([4.0, 4.0, 2.5]) * rng.uniform(-1, 1, 3)
        # Sums of cosine waves, 110 to 220 mm long: smooth, without borders, cheap to evaluate anywhere.
        direction = rng.standard_normal((24, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        self.waves = direction * (2 * np.pi / rng.uniform(110.0, 220.0, (24, 1)))
        self.phases = rng.uniform(0, 2 * np.pi, 24)
        amplitude = rng.standard_normal((24, 3))
        self.amplitude = amplitude * 3.2 * np.sqrt(2.0 / 24)

    def reach(self, atlas: Volume) -> tuple[float, float]:
        """Lowest and highest millimetre of the synthetic patient that the atlas still covers everywhere."""
        low, high = atlas.origin_mm[0], atlas.origin_mm[0] + atlas.spacing_mm[0] * (atlas.shape[0] - 1)
        margin = 14.0
        return (low + margin) * self.scale[0] * min(1.0, self.neck_stretch), (high - margin) * self.scale[0]

    def to_atlas(self, mm: np.ndarray) -> np.ndarray:
        """Map (..., 3) millimetres (z, y, x) of the patient to atlas millimetres."""
        z, y, x = np.moveaxis(mm / self.scale, -1, 0)
        z = np.where(z < -20.0, -20.0 + (z + 20.0) / self.neck_stretch, z)
        # The head moves against the shoulders; the change is spread over the neck. Pivot: upper cervical spine.
        share = 1.0 / (1.0 + np.exp(-(z + 55.0) / 14.0))
        y, z = _turn(y - 45.0, z + 20.0, self.flexion * share)
        x, y = _turn(x, y, self.turn * share)
        x, z = _turn(x, z, self.tilt * share)
        out = np.stack([z - 20.0, y + 45.0, x], -1)
        phase = out @ self.waves.T + self.phases
        return out + np.cos(phase) @ self.amplitude

    def index_map(self, grid: Volume, atlas: Volume) -> np.ndarray:
        """Atlas index (3, z, y, x) of every voxel of ``grid``; the map is computed every 10 mm and interpolated."""
        axes, weights = [], []
        for axis in range(3):
            length = grid.spacing_mm[axis] * (grid.shape[axis] - 1)
            knots = np.linspace(0.0, length, max(2, int(np.ceil(length / _LATTICE_MM)) + 1))
            axes.append(knots + grid.origin_mm[axis])
            weights.append(np.arange(grid.shape[axis]) * grid.spacing_mm[axis] / (knots[1] - knots[0]))
        lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        coarse = np.moveaxis(atlas.mm_to_index(self.to_atlas(lattice)), -1, 0).astype(np.float32)
        for axis, where in enumerate(weights):
            low = np.minimum(where.astype(int), coarse.shape[axis + 1] - 2)
            share = (where - low).astype(np.float32).reshape([-1 if i == axis + 1 else 1 for i in range(4)])
            first, second = np.take(coarse, low, axis + 1), np.take(coarse, low + 1, axis + 1)
            coarse = first * (1 - share) + second * share
        return coarse


def _turn(a: np.ndarray, b: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c, s = np.cos(angle), np.sin(angle)
    return c * a - s * b, s * a + c * b


def _pull(array: np.ndarray, index: np.ndarray, *, order: int, fill: float) -> np.ndarray:
    """Sample ``array`` at fractional indices, slice by slice to keep memory small."""
    return np.stack(
        [
            ndimage.map_coordinates(array, index[:, z], order=order, mode="constant", cval=fill, output=np.float32)
            for z in range(index.shape[1])
        ]
    )


def _texture(ct: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Give soft tissue, bone and air the grain of a CT, which a median has lost."""
    spacing = np.array(spacing_mm)
    body = ndimage.binary_opening(ct > -450, iterations=2)
    inside = ndimage.gaussian_filter(body.astype(np.float32), 0.6)
    # Quantum noise: correlated over about a pixel in the slice, hardly between slices.
    grain = ndimage.gaussian_filter(rng.standard_normal(ct.shape, np.float32), (0.0, 0.7, 0.7))
    out = ct + NOISE_HU * grain / grain.std()
    # Fat lobules, muscle bundles and small vessels: a few millimetres, most where tissues mix.
    bundles = ndimage.gaussian_filter(rng.standard_normal(ct.shape, np.float32), 2.2 / spacing)
    soft = np.exp(-(((ct - 10.0) / 90.0) ** 2))
    out += TISSUE_HU * soft * bundles / bundles.std()
    bone = np.clip((ct - 180.0) / 300.0, 0, 1)
    trabeculae = ndimage.gaussian_filter(rng.standard_normal(ct.shape, np.float32), 1.2 / spacing)
    out += 60.0 * bone * trabeculae / trabeculae.std()
    air = _AIR_HU + 4.0 * grain
    return np.where((inside < 0.05) & (ct < -450), air, out)
