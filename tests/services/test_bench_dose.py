"""The dose is timed where there is a target and a dose model, and left out where not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hnvlm.errors import ModelPackError
from hnvlm.imaging.volume import Volume
from hnvlm.services import bench

VOLUME = Volume(np.zeros((4, 5, 6), np.int16), (3.0, 2.0, 1.0))
TARGET = {"PTV_7000": np.ones(VOLUME.shape, bool)}


class Doses:
    """Counts predictions; without a dose model every one fails as the pack's does."""

    def __init__(self, *, installed: bool) -> None:
        self.installed, self.asked = installed, 0

    def dose(self, volume, masks):
        self.asked += 1
        if not self.installed:
            raise ModelPackError("There is no dose model in this pack yet.")


@pytest.mark.parametrize(
    ("masks", "installed", "rows", "asked"),
    [(TARGET, True, ["dose"], 4), (TARGET, False, [], 1), ({"SpinalCord": TARGET["PTV_7000"]}, True, [], 0)],
)
def test_dose_is_timed_where_it_can_be_predicted(masks, installed, rows, asked):
    models = Doses(installed=installed)
    told = bench._dose_inference(
        bench.Bench(Path(), VOLUME, Path(), repeats=3), models, SimpleNamespace(masks=masks)
    )  # fmt: skip
    assert [r.name for r in told] == rows
    assert models.asked == asked, "once to load the network, then as often as it is timed"
    for row in told:
        assert row.ratio == pytest.approx(row.value / 1.5)
