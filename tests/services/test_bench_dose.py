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


def test_every_save_that_is_timed_writes_the_ct(tmp_path, monkeypatch):
    """A store writes the same content once: the best of three saves was one that wrote nothing."""
    writes = []

    class Store(bench.CaseStore):
        def add_case(self, *args, **options):
            before = self.arrays.names()
            record = super().add_case(*args, **options)
            writes.append(self.arrays.names() - before)
            return record

    monkeypatch.setattr(bench, "CaseStore", Store)
    monkeypatch.setattr(bench, "SHAPE", (4, 16, 16))
    folder = bench._generated_series(tmp_path / "dicom")
    volume = bench.intake.read_path(folder, tmp_path).volume
    rows = bench.store_load(bench.Bench(folder, volume, tmp_path, repeats=3))
    assert [r.name for r in rows] == ["store_save_case", "store_first_slice", "store_whole_volume"]
    assert len(writes) == 3
    assert all(writes)
    assert all(r.value > 0 for r in rows)
