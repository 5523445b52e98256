"""The tumour detector on validation patients' own CTs: do its suspicions lie in what was treated for gross disease?

Everybody in the public data is treated for cancer, so a neck without disease is not among them: a suspicion counts as
right where most of it lies in the clinic's high-dose target, and as one elsewhere otherwise. The nearest thing to a
healthy neck is made of a half that holds next to nothing of that target and its mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError, ScopeError
from hnvlm.evaluate.common import TREATED, evaluation_folders, log, read_case, read_gross
from hnvlm.evaluate.stats import area, mean_of, median, share
from hnvlm.imaging.symmetry import from_half, share_of_lesser_half
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import Detection
from hnvlm.models.neck import Neck, working_masks
from hnvlm.models.pack import ModelPack
from hnvlm.models.tumour import TumourDetector

# A suspicion counts as inside the target where at least this share of it lies there.
INSIDE = 0.5
# A half that holds at most this share of the target is an untreated one; the midline is in both.
UNTREATED_SHARE = 0.1


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Look at every patient's own CT, with the tumour detector and, beside it, with the CT encoder alone.

    Raises:
        InputRefusedError: Nobody has a high-dose target or gross tumour contoured.
    """
    detector = TumourDetector(pack.folder / "tumour", pack.segmenter.treated)
    counted = Looked()
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
        known = [d for d in pack.detections(neck, pack.detection_peak)[0] if d.kind != "airway"]
        counted.add(folder.name, detector, neck, there, known)
        log(f"{folder.name} suspicions {counted.suspicions.rows[-1]}")
    if not counted.peaks:
        raise InputRefusedError(f"Nobody in {data} has a contour of {TREATED} or GTV to hold suspicions against.")
    return {"metrics": counted.metrics(), "n_cases": len(counted.peaks), "model": "tumour"}


class Looked:
    """What the detector says of every neck, and of those made of an untreated half."""

    def __init__(self) -> None:
        self.suspicions, self.encoder, self.halves = Counted(), Counted(), Counted()
        self.peaks: list[bool] = []
        self.first: list[bool] = []
        # The same of the place where tumours usually are, which nobody needs a CT for.
        self.usual: list[bool] = []
        self.usual_first: list[bool] = []
        self.chance: list[float] = []
        # Strongest evidence, whether the neck is a patient's own, and whose it is.
        self.strongest: list[float] = []
        self.own: list[bool] = []
        self.of: list[str] = []

    def add(
        self, patient: str, detector: TumourDetector, neck: Neck, target: np.ndarray, known: Sequence[Detection]
    ) -> None:
        """Look at a patient's neck; target: bool (64, 64, 64) on its crop, known: lesions that the encoder finds."""
        found = detector.look(neck, known)
        self.suspicions.add(patient, found, target)
        self.encoder.add(patient, known, target)
        self.peaks.append(bool(target[tuple(detector.strongest(neck)[1])]))
        if detector.usual_place is not None:
            self.usual.append(bool(target[tuple(detector.usual_place)]))
        if not found and not known:
            self.first.append(self.peaks[-1])
            self.usual_first += self.usual[-1:]
        soft = (neck.crop > -100) & (neck.crop < 200)
        self.chance.append(float(target[soft].mean()))
        self._judge(patient, detector, neck, own=True)
        lesser, low = share_of_lesser_half(target)
        if target.any() and lesser <= UNTREATED_SHARE:
            half = replace(neck, crop=from_half(neck.crop, low=low))
            self.halves.add(patient, detector.look(half), from_half(target, low=low))
            self._judge(patient, detector, half, own=False)

    def _judge(self, patient: str, detector: TumourDetector, neck: Neck, *, own: bool) -> None:
        self.strongest.append(detector.strongest(neck)[2])
        self.own.append(own)
        self.of.append(patient)

    def metrics(self) -> dict[str, Any]:
        """Shares over patients and over suspicions."""
        return self.suspicions.metrics() | {
            "peak_in_target": share(self.peaks),
            "usual_place_in_target": share(self.usual),
            # What the app tells to look at first: the peak, where nothing was found or suspected.
            "look_first_in_target": share(self.first),
            "usual_place_where_nothing_was_found": share(self.usual_first),
            "share_of_soft_tissue_in_target": median(self.chance),
            "untreated_halves_with_one": share([elsewhere > 0 for _, elsewhere in self.halves.rows]),
            "evidence_auroc_against_untreated_halves": area(self.strongest, self.own, self.of),
            "encoder_alone": self.encoder.metrics(),
        }


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
