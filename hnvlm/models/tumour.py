"""The tumour detector: where a neck may hold real disease, as suspicions that a clinician confirms or rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hnvlm.imaging.volume import Volume
from hnvlm.models.checkpoint import load_weights, read_config
from hnvlm.models.detect import Detection, apart_from, detect
from hnvlm.models.lesion_net import LesionNet, lesion_probability
from hnvlm.models.neck import Neck
from hnvlm.types import Finding

# Of one neck, the surest first.
MOST = 3


class TumourDetector:
    """Loads the tumour detector of a pack.

    Args:
        folder: Its model folder.
    """

    def __init__(self, folder: Path) -> None:
        config = read_config(folder)
        # Set on training patients it did not train on.
        self.threshold = float(config["threshold"])
        self._last: tuple[Neck, np.ndarray] | None = None
        network = LesionNet(tuple(config["widths"]))
        self.network = load_weights(folder, network).to(memory_format=torch.channels_last_3d)

    def probability(self, neck: Neck) -> np.ndarray:
        """Maps (3, 64, 64, 64) of the neck's crop; the last neck's are kept, as findings and report both ask."""
        if self._last is None or self._last[0] is not neck:
            self._last = neck, lesion_probability(self.network, neck.crop)
        return self._last[1]

    def look(self, neck: Neck, known: Sequence[Detection] = ()) -> list[Detection]:
        """Suspicions of a mass or node, surest first, apart from what is ``known``."""
        found = detect(self.probability(neck), neck.crop, neck.start, neck.anatomy, peak=self.threshold)
        return [d for d in apart_from(found, known) if d.kind != "airway" and d.place is not None][:MOST]


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
