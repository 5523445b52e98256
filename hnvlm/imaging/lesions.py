"""Insert lesions of known site, side, level, size and enhancement into a CT, at its own resolution.

Used to train and measure the models (each lesion has its exact sentence and its lesion-free twin) and as the
baseline "text -> parameters -> inserter" of the counterfactual table. An inserted lesion is not real disease:
model cards say what was learned from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from scipy import ndimage
from scipy.spatial.distance import pdist

from hnvlm.imaging.anatomy import AIRWAY_RANGE, LEVEL_BOX, MUCOSAL_SITES, SITE_BOX, Anatomy
from hnvlm.imaging.volume import Volume

MIN_NECROTIC_MM = 15.0
# A tumour's centre lies at most this share of its radius away from the lumen it grows into (our choice).
LUMEN_REACH = 0.6
# On the coarse grid no soft voxel lies nearer to the air than its own width.
NEAREST_TO_LUMEN_MM = 4.5
FACTS = yaml.safe_load((Path(__file__).parent / "data" / "lesions.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class LesionSpec:
    """What to insert.

    Attributes:
        kind: ``node``, ``mass`` or ``airway``.
        place: Nodal level, primary site or airway level.
        side: ``left`` or ``right``.
        size_mm: Greatest dimension (node, mass).
        texture: ``solid`` or ``necrotic`` (node, mass).
        narrowing_pct: Largest share of the lumen that is filled (airway).
    """

    kind: str
    place: str
    side: str
    size_mm: float = 0.0
    texture: str = "solid"
    narrowing_pct: float = 0.0


@dataclass(frozen=True, eq=False)
class Lesion:
    """An insertion as a difference on a patch of the CT's grid.

    Attributes:
        spec: What was asked; ``size_mm`` is the greatest dimension actually made.
        start: (z, y, x) index of the patch's first voxel.
        delta: float32 HU difference of the patch; adding it makes the lesion, subtracting removes it.
        mask: float32 share of each voxel that is lesion (partial volume), 0..1.
        centre_mm: LPS position (z, y, x).
    """

    spec: LesionSpec
    start: tuple[int, int, int]
    delta: np.ndarray
    mask: np.ndarray
    centre_mm: tuple[float, float, float]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Patch as slices of the CT's grid."""
        return tuple(slice(s, s + n) for s, n in zip(self.start, self.delta.shape, strict=True))  # type: ignore[return-value]


def choose_centre(anatomy: Anatomy, spec: LesionSpec, rng: np.random.Generator) -> np.ndarray | None:
    """Pick an LPS centre (z, y, x) where the lesion fits; None when there is no room.

    Nodes prefer fat (they lie in it); every lesion keeps away from bone, cord and skin by its own radius. A tumour of
    the pharynx or larynx grows from the lining: it reaches the lumen.
    """
    region = anatomy.candidates(spec.kind, spec.place, spec.side)
    hit = np.argwhere(region)
    if len(hit) < 3:
        return None
    spacing = np.array(anatomy.ct.spacing_mm)
    room = _room_mm(anatomy)
    radius = 0.5 * spec.size_mm
    # A mass may abut bone and skin; a node is pushed aside by them. Both may be a little smaller in one axis.
    need = radius * (0.55 if spec.kind == "node" else 0.4)
    hit = hit[room[tuple(hit.T)] >= need]
    if spec.place in MUCOSAL_SITES:
        hit = hit[anatomy.lumen_mm[tuple(hit.T)] <= max(LUMEN_REACH * radius, NEAREST_TO_LUMEN_MM)]
    if not len(hit):
        return None
    if spec.kind == "node":
        fat = ndimage.uniform_filter(((anatomy.ct.array > -150) & (anatomy.ct.array < -20)).astype(np.float32), 3)
        weight = np.exp(5.0 * fat[tuple(hit.T)])
    else:
        weight = np.ones(len(hit))
    index = hit[rng.choice(len(hit), p=weight / weight.sum())] + rng.uniform(-0.5, 0.5, 3)
    return index * spacing + anatomy.ct.origin_mm


def _room_mm(anatomy: Anatomy) -> np.ndarray:
    """Distance (mm) to the next bone, cord, brainstem or skin; cached on the anatomy."""
    cached = anatomy.__dict__.get("_room")
    if cached is None:
        blocked = anatomy.bone | ~anatomy.body
        for name in ("SpinalCord", "Brainstem"):
            if name in anatomy.masks:
                blocked |= ndimage.binary_dilation(anatomy.masks[name], iterations=2)
        cached = ndimage.distance_transform_edt(~blocked, anatomy.ct.spacing_mm).astype(np.float32)
        anatomy.__dict__["_room"] = cached
    return cached


def short_axis_mm(level: str) -> float:
    """Short axis (mm) from which a solid node of a level is enlarged."""
    table = FACTS["node_short_axis_mm"]
    return float(table.get(level, table["default"])["value"])


def _shape(spec: LesionSpec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Random ellipsoid with bumps whose greatest dimension is exactly ``size_mm``.

    A solid node is as round as it must be for its short axis to count as enlarged, where its size allows that.

    Returns:
        inverse (3, 3) mapping offsets in mm to the unit ball, wave vectors (n, 3), phases (n,), amplitude.
    """
    ratio = rng.uniform(1.0, 1.5) if spec.kind == "node" else rng.uniform(1.0, 1.7)
    axes = np.array([ratio, rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0)])
    if spec.kind == "node" and spec.texture == "solid":
        roundest = min(1.0, short_axis_mm(spec.place) / spec.size_mm)
        axes[1:] = np.maximum(axes[1:], roundest)
        axes[0] = max(1.0, min(ratio, axes[1:].min() / roundest))
    basis, _ = np.linalg.qr(np.eye(3) + (0.35 if spec.kind == "node" else 1.0) * rng.standard_normal((3, 3)))
    inverse = np.diag(1.0 / axes) @ basis.T
    waves = rng.standard_normal((5, 3)) * (1.6 if spec.kind == "node" else 2.2)
    phases = rng.uniform(0, 2 * np.pi, 5)
    amplitude = rng.uniform(0.03, 0.08) if spec.kind == "node" else rng.uniform(0.06, 0.14)
    directions = rng.standard_normal((240, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = 1.0 / (np.linalg.norm(directions @ inverse.T, axis=1) * _bumps(directions, waves, phases, amplitude))
    greatest = pdist(directions * radius[:, None]).max()
    return inverse * (greatest / spec.size_mm), waves, phases, amplitude


def _bumps(directions: np.ndarray, waves: np.ndarray, phases: np.ndarray, amplitude: float) -> np.ndarray:
    return 1.0 + amplitude * np.sin(directions @ waves.T + phases).sum(-1) / np.sqrt(len(phases))


def _signed_distance(offsets: np.ndarray, shape: tuple) -> np.ndarray:
    """Approximate signed distance (mm, negative inside) of offsets (..., 3) from the lesion's surface."""
    inverse, waves, phases, amplitude = shape
    r = np.linalg.norm(offsets, axis=-1)
    direction = offsets / np.maximum(r, 1e-6)[..., None]
    rho = np.linalg.norm(offsets @ inverse.T, axis=-1) * _bumps(direction, waves, phases, amplitude)
    surface = r / np.maximum(rho, 1e-6)
    return r - np.where(rho > 1e-6, surface, 1.0)


def _noise(shape: tuple[int, ...], local: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Texture with the standard deviation of the patient's own soft tissue nearby plus slow heterogeneity."""
    soft = (local > -20) & (local < 130)
    residual = local - ndimage.gaussian_filter(local, 1.0)
    sd = 1.4826 * float(np.median(np.abs(residual[soft]))) if soft.sum() > 30 else 8.0
    fine = ndimage.gaussian_filter(rng.standard_normal(shape), 0.45)
    slow = ndimage.gaussian_filter(rng.standard_normal(shape), 5.0 / spacing)
    return np.clip(sd, 3.0, 22.0) * fine / fine.std() + rng.uniform(3.0, 8.0) * slow / max(slow.std(), 1e-6)


def _reference_hu(local: np.ndarray) -> float:
    """Muscle-like HU around the lesion: the median of what is neither fat, bone nor vessel."""
    soft = local[(local > 10) & (local < 110)]
    return float(np.median(soft)) if soft.size > 30 else 55.0


def insert(ct: Volume, anatomy: Anatomy, spec: LesionSpec, rng: np.random.Generator) -> Lesion | None:
    """Make a lesion in ``ct`` (HU on its own grid); None when it has no room there.

    Args:
        ct: The patient at native resolution.
        anatomy: Landmarks of the same patient (same LPS frame).
    """
    if spec.kind == "airway":
        return _narrow_airway(ct, anatomy, spec, rng)
    if spec.texture == "necrotic" and spec.size_mm < MIN_NECROTIC_MM:
        spec = replace(spec, texture="solid")
    for _ in range(6):
        centre = choose_centre(anatomy, spec, rng)
        if centre is None:
            return None
        lesion = insert_at(ct, spec, centre, rng)
        if lesion is not None:
            return lesion
    return None


def insert_at(ct: Volume, spec: LesionSpec, centre_mm: np.ndarray, rng: np.random.Generator) -> Lesion | None:
    """Make a node or mass around a centre; None when bone, skin or air would cut too much of it away.

    Args:
        centre_mm: LPS millimetres (z, y, x).
    """
    shape = _shape(spec, rng)
    margin = 0.9 * spec.size_mm + 6.0
    patch = _patch(ct, centre_mm, margin)
    if patch is None:
        return None
    start, local, offsets = patch
    spacing = np.array(ct.spacing_mm)
    distance = _signed_distance(offsets, shape)
    # Scanner blur and voxel size make the border a ramp about one in-plane voxel wide.
    ramp = max(1.5, float(np.mean(spacing)))
    alpha = np.clip(0.5 - distance / ramp, 0.0, 1.0)

    rigid = ndimage.binary_dilation(local > 250) & (local > 150)
    outside = local < -350
    lumen_share = float((alpha * outside).sum() / alpha.sum())
    blocked = rigid | (outside if spec.kind == "node" else _open_air(local, outside))
    cut = float((alpha * blocked).sum() / alpha.sum())
    if cut > 0.12 or lumen_share > (0.02 if spec.kind == "node" else 0.45):
        return None
    alpha = np.where(blocked, 0.0, alpha)

    warped = _displace(local, offsets, distance, spec.size_mm, spacing, rigid | outside)
    inside = _lesion_hu(spec, local, distance, rng, spacing)
    edited = warped * (1 - alpha) + inside * alpha
    delta = (edited - local).astype(np.float32)
    delta[np.abs(delta) < 0.5] = 0.0
    return Lesion(spec, start, delta, alpha.astype(np.float32), tuple(float(c) for c in centre_mm))  # type: ignore[arg-type]


def _open_air(local: np.ndarray, air: np.ndarray) -> np.ndarray:
    """Air that reaches the patch's border in an axial plane is outside the patient, not lumen."""
    labels, n = ndimage.label(air)
    if n == 0:
        return air
    border = np.unique(
        np.concatenate([labels[:, 0].ravel(), labels[:, -1].ravel(), labels[..., 0].ravel(), labels[..., -1].ravel()])
    )
    padding = local < -1000
    return np.isin(labels, border[border > 0]) & air | padding


def _patch(
    ct: Volume, centre_mm: np.ndarray, margin_mm: float
) -> tuple[tuple[int, int, int], np.ndarray, np.ndarray] | None:
    """Patch of the CT around a centre: start index, HU (float64) and offsets from the centre in mm (..., 3)."""
    index = ct.mm_to_index(centre_mm)
    reach = np.ceil(margin_mm / np.array(ct.spacing_mm)).astype(int)
    lo = np.maximum(np.floor(index).astype(int) - reach, 0)
    hi = np.minimum(np.floor(index).astype(int) + reach + 2, ct.shape)
    if np.any(hi - lo < 3):
        return None
    local = ct.array[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]].astype(np.float64)
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(lo, hi, index, ct.spacing_mm, strict=True)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return tuple(int(v) for v in lo), local, offsets  # type: ignore[return-value]


def _displace(
    local: np.ndarray, offsets: np.ndarray, distance: np.ndarray, size_mm: float, spacing: np.ndarray, fixed: np.ndarray
) -> np.ndarray:
    """Mass effect: soft tissue around the lesion is pushed outwards; bone, air and skin stay."""
    reach = 0.35 * size_mm + 3.0
    push = 0.22 * size_mm * np.clip(1.0 - np.maximum(distance, 0.0) / reach, 0.0, 1.0) ** 2
    r = np.maximum(np.linalg.norm(offsets, axis=-1, keepdims=True), 1e-6)
    source = (
        np.indices(local.shape).astype(np.float64)
        - np.moveaxis(offsets / r * push[..., None], -1, 0) / spacing[:, None, None, None]
    )
    warped = ndimage.map_coordinates(local, source, order=1, mode="nearest")
    frozen = ndimage.gaussian_filter(ndimage.binary_dilation(fixed, iterations=1).astype(np.float64), 0.7)
    frozen = np.where(fixed, 1.0, np.clip(1.5 * frozen, 0, 1))
    soft_only = (warped > 180) | (warped < -250)
    return np.where(soft_only, local, warped * (1 - frozen) + local * frozen)


def _lesion_hu(
    spec: LesionSpec, local: np.ndarray, distance: np.ndarray, rng: np.random.Generator, spacing: np.ndarray
) -> np.ndarray:
    """HU inside the lesion: enhancing tissue, or an enhancing rim around a core of fluid density."""
    reference = _reference_hu(local)
    if spec.texture == "solid":
        spread = FACTS["solid_spread_hu"]
        above = rng.normal(FACTS["solid_above_tissue_hu"]["mean"], spread["sd"])
        base = float(np.clip(reference + np.clip(above, spread["least"], spread["most"]), 55, 115))
        return base + _noise(local.shape, local, spacing, rng)
    rim = float(np.clip(reference + rng.uniform(25, 55), 80, 130))
    core = rng.uniform(8, 24)
    thickness = rng.uniform(0.10, 0.2) * spec.size_mm + 0.8
    wobble = ndimage.gaussian_filter(rng.standard_normal(local.shape), 3.0 / spacing)
    depth = -distance + 0.12 * spec.size_mm * wobble / max(wobble.std(), 1e-6) * 0.5
    share = np.clip((depth - thickness) / max(1.5, 0.6 * float(np.mean(spacing))) + 0.5, 0, 1)
    return rim * (1 - share) + core * share + _noise(local.shape, local, spacing, rng) * (1 - 0.4 * share)


def _narrow_airway(ct: Volume, anatomy: Anatomy, spec: LesionSpec, rng: np.random.Generator) -> Lesion | None:
    """Fill one side of the lumen over some millimetres of height with soft tissue."""
    lumen = np.argwhere(anatomy.candidates("airway", spec.place, spec.side))
    if len(lumen) < 12:
        return None
    zs = np.unique(lumen[:, 0])
    z = int(rng.choice(zs[len(zs) // 6 : -(len(zs) // 6) or None]))
    here = lumen[lumen[:, 0] == z]
    centre = np.array([z, *here[:, 1:].mean(0)]) * anatomy.ct.spacing_mm + anatomy.ct.origin_mm
    half_height = rng.uniform(8.0, 18.0)
    patch = _patch(ct, centre, max(half_height * 1.3, 26.0))
    if patch is None:
        return None
    start, local, offsets = patch
    air_share = np.clip((-100.0 - local) / 700.0, 0.0, 1.0)
    near = (np.abs(offsets[..., 1]) < 24) & (np.abs(offsets[..., 2]) < 24)
    # Within 24 mm of the lumen there may be open air too: in front of a thin neck, under the chin.
    labels, _ = ndimage.label((local < -350) & near & _inside_body(ct, anatomy, start, local.shape))
    middle = labels[tuple(np.array(labels.shape) // 2)] or (
        np.bincount(labels[labels > 0]).argmax() if labels.any() else 0
    )
    if middle == 0:
        return None
    lumen_zone = ndimage.binary_dilation(labels == middle) & near
    sign = 1.0 if spec.side == "left" else -1.0
    lateral = sign * offsets[..., 2]
    profile = np.clip(1.3 - (np.abs(offsets[:, 0, 0, 0]) / half_height) ** 2, 0, 1)
    alpha = np.zeros_like(local)
    ramp = max(1.5, float(ct.spacing_mm[2]))
    for k, share in enumerate(profile * spec.narrowing_pct / 100.0):
        zone = lumen_zone[k] & (air_share[k] > 0.3)
        if share <= 0.02 or zone.sum() < 3:
            continue
        order = np.argsort(-lateral[k][zone])
        cumulative = np.cumsum(air_share[k][zone][order])
        position = lateral[k][zone][order][
            min(int(np.searchsorted(cumulative, share * cumulative[-1])), len(order) - 1)
        ]
        alpha[k] = np.where(lumen_zone[k], np.clip((lateral[k] - position) / ramp + 0.5, 0, 1), 0.0)
    if alpha.sum() * ct.voxel_ml < 0.25:
        return None
    fill = float(np.clip(_reference_hu(local) + rng.uniform(-5, 25), 35, 95)) + _noise(
        local.shape, local, np.array(ct.spacing_mm), rng
    )
    # Wall voxels are part air, part tissue already: only their air share changes. Open air (below -700 HU) becomes
    # the filling itself, whatever HU the scanner gives to air.
    delta = (alpha * air_share * (fill - np.minimum(local, -700.0))).astype(np.float32)
    delta = np.where(local + delta > 130, np.maximum(0, np.minimum(delta, 130 - local)), delta).astype(np.float32)
    mask = (alpha * (air_share > 0.3)).astype(np.float32)
    if mask.sum() * ct.voxel_ml < 0.2:
        return None
    return Lesion(spec, start, delta, mask, tuple(float(c) for c in centre))  # type: ignore[arg-type]


def _inside_body(ct: Volume, anatomy: Anatomy, start: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Body mask of the landmarks' grid on a patch of the CT (nearest voxel)."""
    lookup = []
    for axis in range(3):
        mm = (np.arange(shape[axis]) + start[axis]) * ct.spacing_mm[axis] + ct.origin_mm[axis]
        index = np.rint((mm - anatomy.ct.origin_mm[axis]) / anatomy.ct.spacing_mm[axis]).astype(int)
        lookup.append(np.clip(index, 0, anatomy.ct.shape[axis] - 1))
    return anatomy.body[np.ix_(*lookup)]


def apply(ct: Volume, lesions: list[Lesion]) -> Volume:
    """Return the CT with the lesions' differences added (int16 HU, clipped to what a scanner stores)."""
    out = ct.array.astype(np.float32)
    for lesion in lesions:
        out[lesion.slices] += lesion.delta
    return ct.with_array(np.clip(np.rint(out), -1024, 3071).astype(np.int16))


def to_coarse(lesion: Lesion, ct: Volume, coarse: Volume) -> Lesion | None:
    """Resample a lesion made on ``ct``'s grid onto ``coarse``; None when nothing of it is left there."""
    lo_mm = ct.index_to_mm(np.array(lesion.start) - 1.0)
    hi_mm = ct.index_to_mm(np.array(lesion.start) + np.array(lesion.delta.shape))
    lo = np.maximum(np.floor(coarse.mm_to_index(lo_mm)).astype(int), 0)
    hi = np.minimum(np.ceil(coarse.mm_to_index(hi_mm)).astype(int) + 1, coarse.shape)
    if np.any(hi <= lo):
        return None
    grids = []
    for axis in range(3):
        mm = np.arange(lo[axis], hi[axis]) * coarse.spacing_mm[axis] + coarse.origin_mm[axis]
        grids.append((mm - ct.origin_mm[axis]) / ct.spacing_mm[axis] - lesion.start[axis])
    points = np.stack(np.meshgrid(*grids, indexing="ij"))
    delta = ndimage.map_coordinates(lesion.delta, points, order=1, mode="constant")
    mask = ndimage.map_coordinates(lesion.mask, points, order=1, mode="constant")
    touched = np.argwhere((np.abs(delta) > 0.5) | (mask > 0.01))
    if not len(touched):
        return None
    a, b = touched.min(0), touched.max(0) + 1
    cut = tuple(slice(i, j) for i, j in zip(a, b, strict=True))
    return Lesion(lesion.spec, tuple(int(v) for v in lo + a), delta[cut], mask[cut], lesion.centre_mm)


def random_spec(rng: np.random.Generator, *, kinds: tuple[str, ...] = ("node", "mass", "airway")) -> LesionSpec:
    """Draw a specification: nodes (15-40 mm) and masses (12-42 mm) most often, small ones as frequent as large."""
    kind = str(rng.choice(kinds, p={3: [0.5, 0.38, 0.12], 2: [0.55, 0.45], 1: [1.0]}[len(kinds)]))
    side = str(rng.choice(["left", "right"]))
    if kind == "airway":
        return LesionSpec(kind, str(rng.choice(list(AIRWAY_RANGE))), side, narrowing_pct=float(rng.uniform(30, 75)))
    if kind == "node":
        place = str(rng.choice(list(LEVEL_BOX), p=[0.12, 0.34, 0.25, 0.17, 0.12]))
        size = float(np.exp(rng.uniform(np.log(FACTS["node_smallest_mm"]["value"]), np.log(40))))
    else:
        place = str(rng.choice([*SITE_BOX, "parotid gland"]))
        size = float(np.exp(rng.uniform(np.log(12), np.log(42))))
    return LesionSpec(kind, place, side, size, str(rng.choice(["solid", "necrotic"])))
