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


def test_report_and_plan_are_timed_with_the_landmarks_they_wait_for(monkeypatch):
    """By a scripted clock: contours 4 s, landmarks 1 s, findings 2 s, report 8 s, plan 16 s."""
    now = [0.0]
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def taking(seconds, result=None):
        def work(*args, **options):
            now[0] += seconds
            return result

        return work

    models = SimpleNamespace(
        segment=taking(4, SimpleNamespace(masks={})), scope=taking(1, SimpleNamespace(in_scope=True)),
        findings=taking(2), draft_report=taking(8), counterfactual=taking(32),
    )  # fmt: skip
    monkeypatch.setattr(bench, "make_plan", taking(16))
    monkeypatch.setattr(bench, "judged_without_store", lambda *args: {})
    rows = bench.model_inference(bench.Bench(Path(), VOLUME, Path(), 1, load_models=taking(64, models)))
    told = {row.name: row.value for row in rows}
    assert told == {"models_load": 64, "segment": 4, "report": 4 + 1 + 2 + 8, "plan": 4 + 1 + 2 + 16,
                    "counterfactual": 32}  # fmt: skip


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
