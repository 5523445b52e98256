"""The independent lesion detector that measures edits; it never trains the generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hnvlm.imaging.volume import Volume
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

    def look(self, volume: Volume, neck: Neck) -> tuple[list[Detection], np.ndarray, np.ndarray]:
        """Look at a CT in the crop that was found for it or for the CT it was made from.

        Returns:
            Detections above the judge's threshold, lesion probabilities (3, 64, 64, 64), crop of HU (64, 64, 64).
        """
        working = to_working_grid(volume, neck.working.spacing_mm[0])
        crop = neck.crop_of(working.array)
        probability = self.probability(crop)
        return detect(probability, crop, neck.start, neck.anatomy, peak=self.threshold), probability, crop
