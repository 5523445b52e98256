"""Validation cases with inserted lesions: made at the CT's own resolution, the same ones every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hnvlm.evaluate.common import evaluation_folders, read_case
from hnvlm.imaging.lesions import Lesion, apply, insert, random_spec
from hnvlm.imaging.volume import Volume
from hnvlm.models.pack import ModelPack
from hnvlm.types import Segmentation

SEED = 20_001


@dataclass(frozen=True, eq=False)
class Case:
    """One validation CT, with or without inserted lesions.

    Attributes:
        ct: As the models see it. clean: Its lesion-free twin.
        segmentation: Predicted contours of the lesion-free twin.
        lesions: What was inserted (empty for the twin itself).
        masks: The clinic's contours, TG-263 names, on the CT's grid.
    """

    patient: str
    ct: Volume
    clean: Volume
    segmentation: Segmentation
    lesions: list[Lesion]
    masks: dict[str, np.ndarray]


def rng_of(patient: str, seed: int = SEED) -> np.random.Generator:
    """Generator that depends on the patient's name and the seed alone."""
    return np.random.default_rng([seed, int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16)])


def lesion_cases(
    pack: ModelPack,
    data: Path,
    *,
    per_patient: int = 2,
    kinds: tuple[str, ...] = ("node", "mass"),
    limit: int | None = None,
) -> Iterator[Case]:
    """Yield each patient's own CT first (no lesion), then ``per_patient`` versions with one lesion each."""
    for folder in evaluation_folders(data, limit):
        ct, masks = read_case(folder)
        segmentation = pack.segment(ct)
        yield Case(folder.name, ct, ct, segmentation, [], masks)
        anatomy = pack.neck(ct, segmentation).anatomy
        rng = rng_of(folder.name)
        made = 0
        for _ in range(8 * per_patient):
            if made == per_patient:
                break
            lesion = insert(ct, anatomy, random_spec(rng, kinds=kinds), rng)
            if lesion is not None:
                made += 1
                yield Case(folder.name, apply(ct, [lesion]), ct, segmentation, [lesion], masks)
