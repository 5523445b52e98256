"""Training samples of the CT encoder: a neck crop with some lesions of the bank added, and its facts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hnvlm.imaging.lesions import Lesion
from hnvlm.models.ct_encoder import CROP, LESION_CHANNELS, cut, neck_crop
from hnvlm.train.bank import BankPatient
from hnvlm.train.data import BIT, CHANNELS
from hnvlm.train.segmenter import NESTED
from hnvlm.types import MIRRORED

# The training CTs lie about 25 HU low (their source values were stored minus 1024, not minus 1000): an upload with true
# HU must look familiar too.
HU_SHIFT = (-15.0, 40.0)
OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True, eq=False)
class Sample:
    """One training sample.

    Attributes:
        hu: float32 HU (64, 64, 64).
        targets: float32 (structures + lesion kinds, 64, 64, 64).
        known: bool per channel.
        delta: HU that the lesions added, so that ``hu - delta`` is the lesion-free twin.
        owner: uint8 (64, 64, 64), 1 + the index in ``lesions`` of the lesion that a voxel belongs to, else 0.
        lesions: What was inserted, sides already mirrored when ``flipped``.
        flipped: Whether left and right were swapped.
        own: uint8 (64, 64, 64), the patient's own lesions by kind (``hnvlm.train.disease.own_lesions``).
        start: The crop's first voxel on the patient's grid (z, y, x), as it lies when it is not mirrored.
        diseased: bool (64, 64, 64), where the patient's own disease is or may be: no place to call free of lesions.
    """

    hu: np.ndarray
    targets: np.ndarray
    known: np.ndarray
    delta: np.ndarray
    owner: np.ndarray
    lesions: list[Lesion]
    flipped: bool
    diseased: np.ndarray
    own: np.ndarray
    start: np.ndarray


def mirrored(lesion: Lesion) -> Lesion:
    """The same lesion described for the mirrored patient."""
    return replace(lesion, spec=replace(lesion.spec, side=OTHER_SIDE[lesion.spec.side]))


def pick_lesions(bank: list[Lesion], n: int, rng: np.random.Generator) -> list[Lesion]:
    """Choose up to ``n`` lesions that do not touch each other, at most one narrowing of the airway."""
    chosen: list[Lesion] = []
    for index in rng.permutation(len(bank))[: 4 * n]:
        lesion = bank[index]
        if len(chosen) == n:
            break
        if lesion.spec.kind == "airway" and any(c.spec.kind in ("airway", "mass") for c in chosen):
            continue
        if lesion.spec.kind == "mass" and any(c.spec.kind in ("airway", "mass") for c in chosen):
            continue
        if any(_overlap(lesion, other) for other in chosen):
            continue
        chosen.append(lesion)
    return chosen


def _overlap(a: Lesion, b: Lesion) -> bool:
    lo = np.maximum(a.start, b.start)
    hi = np.minimum(np.add(a.start, a.delta.shape), np.add(b.start, b.delta.shape))
    if np.any(hi <= lo):
        return False
    part = lambda x: tuple(slice(p - s, q - s) for p, q, s in zip(lo, hi, x.start, strict=True))  # noqa: E731
    return bool(
        ((a.mask[part(a)] > 0.05) & (np.abs(b.delta[part(b)]) > 1)).any()
        or ((b.mask[part(b)] > 0.05) & (np.abs(a.delta[part(a)]) > 1)).any()
    )


def add_lesions(hu: np.ndarray, start: np.ndarray, lesions: list[Lesion]) -> np.ndarray:
    """Add the lesions' differences to a crop, in place, and return where each kind of lesion is.

    Args:
        hu: float32 HU (z, y, x), changed.
        start: Index (z, y, x) of the crop's first voxel on the grid that the lesions are on.

    Returns:
        Share of each voxel that is lesion, 0 to 1: float32 (kind, z, y, x), kinds as in LESION_CHANNELS.
    """
    masks = np.zeros((len(LESION_CHANNELS), *hu.shape), np.float32)
    for lesion in lesions:
        at = np.array(lesion.start) - start
        hu += cut(lesion.delta, -at, hu.shape, 0.0)
        channel = LESION_CHANNELS.index(lesion.spec.kind)
        masks[channel] = np.maximum(masks[channel], cut(lesion.mask, -at, hu.shape, 0.0))
    return masks


def owners(shape: tuple[int, ...], start: np.ndarray, lesions: list[Lesion]) -> np.ndarray:
    """1 + the index of the lesion that fills most of a voxel, 0 where none fills a third: uint8 of ``shape``."""
    owner, most = np.zeros(shape, np.uint8), np.full(shape, 0.3, np.float32)
    for k, lesion in enumerate(lesions, start=1):
        share = cut(lesion.mask, start - np.array(lesion.start), shape, 0.0)  # type: ignore[arg-type]
        owner[share > most] = k
        most = np.maximum(most, share)
    return owner


def in_crop(lesion: Lesion, start: np.ndarray) -> bool:
    """Whether most of the lesion lies inside the crop that begins at voxel ``start`` (z, y, x)."""
    at = np.array(lesion.start) - start
    inside = cut(lesion.mask, -at, (CROP,) * 3, 0.0).sum()
    return bool(inside >= 0.8 * lesion.mask.sum())


def compose(
    bank: BankPatient,
    rng: np.random.Generator,
    *,
    n_lesions: int | None = None,
    augment: bool = True,
    lesions: list[Lesion] | None = None,
) -> Sample:
    """Make one sample.

    Args:
        n_lesions: Wanted lesions; None draws 0 (30 %) to 3.
        augment: Jitter the crop, mirror it half of the time, scale HU and add noise.
        lesions: Use exactly these instead of drawing.
    """
    patient = bank.patient
    # Sideways the crop stays on the cord: the encoder compares each side with the mirrored other one.
    shift = rng.uniform(-10, 10, 3) * (1.0, 1.0, 0.4) if augment else np.zeros(3)
    crop, start = neck_crop(patient.ct, np.array(patient.origin_mm), np.array(bank.centre_mm), shift)
    hu = crop.astype(np.float32)
    if lesions is None:
        n = int(rng.choice([0, 1, 2, 3], p=[0.3, 0.35, 0.22, 0.13])) if n_lesions is None else n_lesions
        usable = [b for b in bank.lesions if in_crop(b, start)]
        lesions = pick_lesions(usable, n, rng) if n and usable else []
    masks = add_lesions(hu, start, lesions)
    owner = owners(hu.shape, start, lesions)
    delta = hu - crop
    labels = cut(patient.labels, start, (CROP,) * 3, 0)
    targets = np.stack([(labels >> BIT[c]) & 1 for c in CHANNELS]).astype(np.float32)
    for name, parts in NESTED.items():
        for part in parts:
            targets[BIT[name]] = np.maximum(targets[BIT[name]], targets[BIT[part]])
    known, diseased = patient.known.copy(), bank.diseased(start, hu.shape)
    own = np.zeros(hu.shape, np.uint8) if bank.own is None else cut(bank.own, start, hu.shape, 0)
    flipped = bool(augment and rng.random() < 0.5)
    if flipped:
        swap = [BIT[MIRRORED.get(c, c)] for c in CHANNELS]
        hu, delta, masks, owner = hu[..., ::-1], delta[..., ::-1], masks[..., ::-1], owner[..., ::-1]
        targets, known, diseased = targets[swap][..., ::-1], known[swap], diseased[..., ::-1]
        own = own[..., ::-1]
        lesions = [mirrored(x) for x in lesions]
    if augment:
        gain = rng.uniform(0.97, 1.03)
        hu, delta = hu * gain + rng.uniform(*HU_SHIFT), delta * gain
        hu = hu + rng.standard_normal(hu.shape, dtype=np.float32) * rng.uniform(0, 10)
    return Sample(
        np.ascontiguousarray(hu, np.float32),
        np.ascontiguousarray(np.concatenate([targets, masks]), np.float32),
        np.concatenate([known, np.ones(len(LESION_CHANNELS), bool)]),
        np.ascontiguousarray(delta, np.float32),
        np.ascontiguousarray(owner),
        lesions,
        flipped,
        np.ascontiguousarray(diseased),
        np.ascontiguousarray(own),
        np.asarray(start),
    )
