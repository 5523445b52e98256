"""The patients' own disease, where the clinic contoured it (``GTV.nii.gz``): does the lesion network see it?"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from hnvlm.evaluate.cases import Case
from hnvlm.evaluate.stats import mean_of, share
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import SMALLEST_ML, detect
from hnvlm.models.gross import TOUCHING
from hnvlm.models.neck import Neck, working_masks


class OwnDisease:
    """Counted over patients: parts of gross tumour that a finding touches, and findings that touch none."""

    def __init__(self) -> None:
        self.seen: list[bool] = []
        self.of: list[str] = []
        self.elsewhere: list[float] = []
        self.patients: list[str] = []

    def add(self, case: Case, probability: np.ndarray, neck: Neck, peak: float) -> None:
        """A patient's own CT; nothing where the clinic contoured no gross tumour.

        Args:
            probability: Lesion maps (3, 64, 64, 64) of the neck's crop. peak: Evidence from which a peak is a finding.
        """
        if case.lesions or case.gross is None or not case.gross.any():
            return
        on_grid = working_masks(case.ct, neck.working, {"GTV": case.gross})["GTV"]
        parts, n = ndimage.label(cut(on_grid, neck.start, neck.crop.shape, False), TOUCHING)
        found = detect(probability, neck.crop, neck.start, neck.anatomy, peak=peak)
        found = [d.mask for d in found if d.kind != "airway"]
        for k in range(1, n + 1):
            part = parts == k
            if part.sum() * neck.working.voxel_ml >= SMALLEST_ML:
                self.seen.append(any((mask & part).any() for mask in found))
                self.of.append(case.patient)
        self.elsewhere.append(float(sum(not (mask & (parts > 0)).any() for mask in found)))
        self.patients.append(case.patient)

    def metrics(self) -> dict[str, Any]:
        """Empty where no clinic contoured gross tumour."""
        if not self.patients:
            return {}
        return {
            "gross_tumour_seen": share(self.seen, self.of),
            "findings_elsewhere_per_ct": mean_of(self.elsewhere, self.patients),
        }
