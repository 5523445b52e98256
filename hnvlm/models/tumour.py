"""The tumour detector: where a neck may hold real disease, as suspicions that a clinician confirms or rejects.

Two networks have to agree: the detector's own, which learned what disease looks like, and the segmenter, which learned
what clinics treat to the highest level. The evidence is the product of both probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hnvlm.imaging.volume import Volume
from hnvlm.models.checkpoint import load_weights, read_config
from hnvlm.models.ct_encoder import LESION_CHANNELS
from hnvlm.models.detect import Detection, apart_from, detect, evidence
from hnvlm.models.lesion_net import LesionNet, lesion_probability
from hnvlm.models.neck import Neck
from hnvlm.types import Finding

# Suspicions that are told of one neck at most, the surest first.
MOST = 3
# Crop of HU (64, 64, 64) -> probability of each voxel that it would be treated to the highest level.
Treated = Callable[[np.ndarray], np.ndarray]
# Half an edge of the box that is drawn about a point to look at (voxels of 3 mm).
ABOUT = 3


class TumourDetector:
    """Loads the tumour detector of a pack.

    Args:
        folder: Its model folder.
        treated: The segmenter's (``Segmenter.treated``).
    """

    def __init__(self, folder: Path, treated: Treated) -> None:
        config = read_config(folder)
        # Set on training patients it did not train on.
        self.threshold = float(config["threshold"])
        # Where tumours usually are (z, y, x of the crop), which evaluations hold the detector against.
        self.usual_place = config.get("usual_place")
        self._last: tuple[Neck, np.ndarray] | None = None
        self.treated = treated
        network = LesionNet(tuple(config["widths"]))
        self.network = load_weights(folder, network).to(memory_format=torch.channels_last_3d)

    def probability(self, neck: Neck) -> np.ndarray:
        """Maps (3, 64, 64, 64) of the neck's crop; the last neck's are kept, as findings and report both ask."""
        if self._last is None or self._last[0] is not neck:
            self._last = neck, disease_probability(self.network, self.treated, neck.crop)
        return self._last[1]

    def look(self, neck: Neck, known: Sequence[Detection] = ()) -> list[Detection]:
        """Suspicions of a mass or node, surest first, apart from what is ``known``."""
        found = detect(self.probability(neck), neck.crop, neck.start, neck.anatomy, peak=self.threshold)
        return [d for d in apart_from(found, known) if d.kind != "airway" and d.place is not None][:MOST]

    def strongest(self, neck: Neck) -> tuple[str, np.ndarray, float]:
        """Where evidence of disease is greatest, however little it is: kind, voxel (z, y, x) of the crop, evidence."""
        maps = [evidence(p) for p in self.probability(neck)]
        best = [k for k, kind in enumerate(LESION_CHANNELS) if kind != "airway"]
        channel = max(best, key=lambda k: float(maps[k].max()))
        at = np.unravel_index(int(maps[channel].argmax()), maps[channel].shape)
        return LESION_CHANNELS[channel], np.array(at), float(maps[channel][at])

    def look_first(self, volume: Volume, neck: Neck) -> Finding:
        """The place of the strongest evidence: where to look first in a patient known to have disease.

        No finding of the CT: it is there in every neck. Its box marks the point, not the size of anything.
        """
        kind, at, _ = self.strongest(neck)
        place, side = neck.anatomy.place_of(kind, neck.working.index_to_mm(at + neck.start))
        index = [volume.mm_to_index(neck.working.index_to_mm(at + neck.start + d)) for d in (-ABOUT, 0, ABOUT + 1)]
        lo, mid, hi = (np.clip(np.rint(i).astype(int), 0, np.array(volume.shape) - 1) for i in index)
        hi = np.maximum(hi, lo + 1)
        return Finding(
            kind, "indeterminate", side=side, certainty="possible", source="zero-shot", slice_index=int(mid[0]),  # type: ignore[arg-type]
            box=(int(lo[0]), int(lo[1]), int(lo[2]), int(hi[0]), int(hi[1]), int(hi[2])),
            **({"level": place} if kind == "node" else {"site": place}),  # type: ignore[arg-type]
        )  # fmt: skip


def disease_probability(network: LesionNet, treated: Treated, crop: np.ndarray) -> np.ndarray:
    """Maps (3, 64, 64, 64) of a crop: probability of disease times that of being treated to the highest level."""
    return lesion_probability(network, crop) * treated(crop)[None]


def suspicion(detection: Detection, volume: Volume, neck: Neck) -> Finding:
    """A suspicion as a finding: indeterminate, without a size or texture, which nobody measured it against."""
    found = detection.finding(volume, neck.start, neck.working)
    return replace(
        found, presence="indeterminate", certainty="possible", source="zero-shot", size_mm=None,
        attributes={"suspected": True},
    )  # fmt: skip


def suspected(detection: Detection) -> Finding:
    """A suspicion as a report states it."""
    place = {"level": detection.place} if detection.kind == "node" else {"site": detection.place}
    return Finding(detection.kind, "indeterminate", side=detection.side, certainty="possible", **place)  # type: ignore[arg-type]
