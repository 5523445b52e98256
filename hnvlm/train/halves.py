"""What a neck's other half teaches: the same place without the disease, and necks that hold none at all.

A network that is only shown a patient's disease and other places of the neck learns where disease is usual. Shown the
opposite place of the same neck, and necks made of one half and its mirror image, it has to learn what it looks like.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hnvlm.imaging.symmetry import from_half, share_of_lesser_half
from hnvlm.train.compose import Sample

# How often the half with less of the patient's own disease is chosen: most such necks hold none.
LESSER_SHARE = 0.65


def halved(sample: Sample, clean_hu: np.ndarray, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
    """A twin pair of one half of the neck and its mirror image, inserted and own lesions on both sides.

    Inserted lesions are owned (``Sample.owner``) on the half that is kept: two of one name have a middle between them.
    """
    _, low = share_of_lesser_half(sample.diseased)
    low = low if rng.random() < LESSER_SHARE else not low
    arrays = {name: from_half(getattr(sample, name), low=low) for name in ("hu", "targets", "delta", "diseased", "own")}
    owner, middle = sample.owner.copy(), sample.owner.shape[-1] // 2
    owner[..., slice(middle, None) if low else slice(middle)] = 0
    return replace(sample, owner=owner, **arrays), from_half(clean_hu, low=low)


def opposite(voxels: list[np.ndarray], sample: Sample) -> list[np.ndarray]:
    """The mirrored places (z, y, x) of voxels of a crop, those that hold none of the patient's own disease."""
    last = sample.hu.shape[-1] - 1
    mirrored = [np.array((z, y, last - x)) for z, y, x in voxels]
    return [v for v in mirrored if not sample.diseased[tuple(v)]]
