"""The independent lesion detector that measures edits; it never trains the generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hnvlm.models.checkpoint import load_weights, read_config
from hnvlm.models.detect import Detection, detect
from hnvlm.models.lesion_net import LesionNet, lesion_probability
from hnvlm.models.neck import Neck
from hnvlm.models.segmenter import to_working_grid


class Judge:
    """Loads the judge of a pack.

    Args:
        folder: Its model folder.
    """

    def __init__(self, folder: Path) -> None:
        config = read_config(folder)
        # Set on training patients the judge did not train on: at a given place, is there a lesion or not?
        self.kept_aside: dict[str, float] = config["kept_aside"]
        self.threshold = float(self.kept_aside["place_threshold"])
        network = LesionNet(tuple(config["widths"]))
        self.network = load_weights(folder, network).to(memory_format=torch.channels_last_3d)

    def probability(self, crop: np.ndarray) -> np.ndarray:
        """Lesion probabilities (3, 64, 64, 64) of a crop of HU."""
        return lesion_probability(self.network, crop)

    def look(self, volume: object, neck: Neck) -> tuple[list[Detection], np.ndarray, np.ndarray]:
        """Detections from the judge's threshold, probabilities and crop of a CT, in the frame of a neck located."""
        working = to_working_grid(volume, neck.working.spacing_mm[0])  # type: ignore[arg-type]
        crop = neck.crop_of(working.array)
        probability = self.probability(crop)
        return detect(probability, crop, neck.start, neck.anatomy, peak=self.threshold), probability, crop
