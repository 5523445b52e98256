"""The neck of one patient, ready for the encoder: working grid, landmarks, crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hnvlm.imaging.anatomy import ANATOMY_MM, Anatomy, build_anatomy
from hnvlm.imaging.resample import resample_like
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import cut, neck_crop
from hnvlm.models.segmenter import to_working_grid
from hnvlm.types import ScopeVerdict

# What a head-and-neck CT shows at least; a chest, abdomen or brain-only CT does not.
SMALLEST_MANDIBLE_ML = 15.0
SMALLEST_PAROTID_ML = 5.0
SMALLEST_CORD_MM = 45.0


@dataclass(frozen=True, eq=False)
class Neck:
    """Working-grid view of one CT.

    Attributes:
        working: float32 HU at 3 mm.
        anatomy: Landmarks on the working grid.
        crop: Encoder input (64, 64, 64) float32 HU.
        start: Index of the crop's first voxel on the working grid (may be negative).
    """

    working: Volume
    anatomy: Anatomy
    crop: np.ndarray
    start: np.ndarray

    def crop_of(self, hu: np.ndarray) -> np.ndarray:
        """The crop's box of another CT on the same working grid (z, y, x): float32 HU, air beyond the array."""
        return cut(hu, self.start, self.crop.shape, -1024.0).astype(np.float32)


def working_masks(volume: Volume, working: Volume, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Bring structure masks from the CT's own grid to the working grid (nearest voxel)."""
    out = {}
    for name, mask in masks.items():
        out[name] = resample_like(volume.with_array(mask.astype(np.uint8)), working, 0).array > 0
    return out


def build_neck(volume: Volume, masks: dict[str, np.ndarray]) -> Neck | None:
    """Working grid, landmarks and crop of a CT with its contours; None when the landmarks are not there."""
    working = to_working_grid(volume, ANATOMY_MM)
    anatomy = build_anatomy(working, working_masks(volume, working, masks))
    if anatomy is None:
        return None
    hu = working.array
    crop, start = neck_crop(hu, np.array(working.origin_mm), np.array(anatomy.neck_centre_mm()))
    return Neck(working, anatomy, crop.astype(np.float32), start)


def judge_scope(volume: Volume, masks: dict[str, np.ndarray]) -> ScopeVerdict:
    """Whether organs of the head and neck are in the field of view, in plausible size and arrangement."""
    ml = {name: float(mask.sum()) * volume.voxel_ml for name, mask in masks.items()}
    cord = masks.get("SpinalCord")
    cord_mm = 0.0 if cord is None else float(cord.any((1, 2)).sum()) * volume.spacing_mm[0]
    evidence = {
        "mandible_ml": round(ml.get("Bone_Mandible", 0.0), 1),
        "parotid_ml": round(ml.get("Parotid_R", 0.0) + ml.get("Parotid_L", 0.0), 1),
        "brainstem_ml": round(ml.get("Brainstem", 0.0), 1),
        "spinal_cord_mm": round(cord_mm),
    }
    missing = []
    if evidence["mandible_ml"] < SMALLEST_MANDIBLE_ML:
        missing.append("mandible")
    if evidence["parotid_ml"] < SMALLEST_PAROTID_ML:
        missing.append("parotid glands")
    if cord_mm < SMALLEST_CORD_MM:
        missing.append("cervical spinal cord")
    # One organ may be cut off, as in a scan that starts below the parotids; two missing means another body part.
    if len(missing) >= 2 or "cervical spinal cord" in missing:
        reason = f"This does not look like a CT of the neck: {_listed(missing)} could not be found in it."
        return ScopeVerdict(False, reason, evidence)
    seen = [organ for organ in ("mandible", "parotid glands", "cervical spinal cord") if organ not in missing]
    reason = f"Head-and-neck CT: {_listed(seen)} are in the field of view."
    if missing:
        reason += f" The {missing[0]} could not be found; what depends on it may be missing too."
    return ScopeVerdict(True, reason, evidence)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
