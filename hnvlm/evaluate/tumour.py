"""The tumour detector on validation patients' own CTs: do its suspicions lie in what was treated for gross disease?

Everybody in the public data is treated for cancer, so a neck without disease is not among them: a suspicion counts as
right where most of it lies in the clinic's high-dose target, and as one elsewhere otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError, ScopeError
from hnvlm.evaluate.common import TREATED, evaluation_folders, log, read_case, read_gross
from hnvlm.evaluate.stats import mean_of, median, share
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import Detection, evidence
from hnvlm.models.neck import Neck, working_masks
from hnvlm.models.pack import ModelPack
from hnvlm.models.tumour import TumourDetector

# Of a suspicion at least this share lies in the target.
INSIDE = 0.5


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Look at every patient's own CT, with the tumour detector and, beside it, with the CT encoder alone.

    Raises:
        InputRefusedError: Nobody has a high-dose target or gross tumour contoured.
    """
    detector = TumourDetector(pack.folder / "tumour")
    suspicions, encoder, peaks, chance = Counted(), Counted(), [], []
    for folder in evaluation_folders(data, limit):
        ct, masks = read_case(folder)
        gross = read_gross(folder, ct)
        disease = masks.get(TREATED) if gross is None else gross
        if disease is None or not disease.any():
            continue
        try:
            neck = pack.neck(ct, pack.segment(ct))
        except ScopeError as error:
            log(f"{folder.name} is left out: {error.message}")
            continue
        there = cut(working_masks(ct, neck.working, {"d": disease})["d"], neck.start, neck.crop.shape, False)
        known = pack.detections(neck, pack.detection_peak)[0]
        suspicions.add(folder.name, detector.look(neck, known), there)
        encoder.add(folder.name, [d for d in known if d.kind != "airway"], there)
        peaks.append(bool(there[_highest(detector, neck)]))
        soft = (neck.crop > -100) & (neck.crop < 200)
        chance.append(float(there[soft].mean()))
        log(f"{folder.name} suspicions {suspicions.rows[-1]}")
    if not peaks:
        raise InputRefusedError(f"Nobody in {data} has a contour of {TREATED} or GTV to hold suspicions against.")
    metrics = suspicions.metrics() | {
        "peak_in_target": share(peaks),
        "share_of_soft_tissue_in_target": median(chance),
        "encoder_alone": encoder.metrics(),
    }
    return {"metrics": metrics, "n_cases": len(peaks), "model": "tumour"}


def _highest(detector: TumourDetector, neck: Neck) -> tuple[int, ...]:
    node, mass, _ = detector.probability(neck)
    seen = np.maximum(evidence(node), evidence(mass))
    return tuple(int(i) for i in np.unravel_index(int(seen.argmax()), seen.shape))


class Counted:
    """Suspicions of each patient, inside the target and elsewhere."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.patients: list[str] = []

    def add(self, patient: str, found: Sequence[Detection], target: np.ndarray) -> None:
        """Of one patient: what was found, and the target (64, 64, 64) on the same crop."""
        inside = sum(bool((d.mask & target).sum() >= INSIDE * d.mask.sum()) for d in found)
        self.rows.append((inside, len(found) - inside))
        self.patients.append(patient)

    def metrics(self) -> dict[str, Any]:
        """Shares over patients and over suspicions."""
        right = [i < inside for inside, elsewhere in self.rows for i in range(inside + elsewhere)]
        owner = [p for p, (a, b) in zip(self.patients, self.rows, strict=True) for _ in range(a + b)]
        return {
            "patients_with_one_in_target": share([inside > 0 for inside, _ in self.rows]),
            "of_all_in_target": share(right, owner) if right else None,
            "elsewhere_per_ct": mean_of([float(e) for _, e in self.rows], self.patients),
        }
