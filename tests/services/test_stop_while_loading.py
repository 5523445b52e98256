"""Stop pressed while the models load ends the work at once; the models are loaded all the same."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from fakes import FakeModels

from hnvlm.config import Settings
from hnvlm.services import analysis, context, dose, planning, reporting, similar, zeroshot
from hnvlm.services.context import App

STARTS = {
    "analysis": analysis.start_analysis,
    "report": reporting.start_draft,
    "plan": planning.start_draft,
    "dose": dose.start_predict,
    "zeroshot": lambda app, case_id: zeroshot.start(app, case_id, ["no mass"]),
    "similar": similar.start,
}


class SlowLoad:
    """A model pack that is loaded only when told so."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.models = FakeModels()

    def __call__(self) -> FakeModels:
        self.begun.set()
        assert self.go_on.wait(30)
        return self.models


@pytest.fixture
def load():
    slow = SlowLoad()
    yield slow
    slow.go_on.set()


@pytest.fixture
def slow_app(tmp_path, load):
    made = App(Settings(tmp_path / "data", tmp_path / "assets", 1), models=load)
    yield made
    load.go_on.set()
    made.close()


@pytest.mark.parametrize("kind", STARTS)
def test_stop_does_not_wait_for_the_models(slow_app, load, phantom, kind):
    case_id = slow_app.store.add_case(phantom).id
    job_id = STARTS[kind](slow_app, case_id)
    assert load.begun.wait(20) and slow_app.jobs.status(job_id).message == "loading the models"
    slow_app.jobs.stop(job_id)
    assert slow_app.jobs.wait(job_id, 5).state == "cancelled"
    assert slow_app.store.history(case_id) == [] and load.models.calls == []
    load.go_on.set()
    assert slow_app.models is load.models


def test_stop_while_labels_are_scored_keeps_no_scores(app, models, case_id, monkeypatch):
    analysis.analyse_case(app, case_id)
    scoring, go_on = threading.Event(), threading.Event()
    score = FakeModels.zeroshot

    def slow(self, *args, **options):
        scoring.set()
        assert go_on.wait(20)
        return score(self, *args, **options)

    monkeypatch.setattr(FakeModels, "zeroshot", slow)
    job_id = zeroshot.start(app, case_id, ["no mass"])
    assert scoring.wait(20)
    app.jobs.stop(job_id)
    go_on.set()
    assert app.jobs.wait(job_id, 20).state == "cancelled" and zeroshot.latest(app, case_id) is None


def test_stop_while_another_case_is_indexed_ends_at_its_next_step(app, models, case_id, phantom):
    app.store.add_case(phantom)
    similar.index_case(app, case_id)
    begun, go_on = threading.Event(), threading.Event()

    def on_step(name):
        begun.set()
        assert go_on.wait(20)

    models.on_step = on_step
    job_id = similar.start(app, case_id)
    assert begun.wait(20)
    app.jobs.stop(job_id)
    go_on.set()
    assert app.jobs.wait(job_id, 20).state == "cancelled"
    assert models.calls.count("findings") == 1 and models.calls.count("embed") == 1, "only those of the first case"


def test_a_plan_that_needs_no_models_loads_none(slow_app, load, phantom):
    case_id = slow_app.store.add_case(phantom).id
    found = analysis.analyse(load.models, phantom)
    slow_app.store.save_result(case_id, "scope", vars(found.scope))
    analysis.save_segmentation(slow_app, case_id, phantom, found.segmentation)
    assert not analysis.is_complete(slow_app, case_id)
    analysis.save_findings(slow_app, case_id, found.findings)
    assert analysis.is_complete(slow_app, case_id)
    gy = np.full(phantom.shape, 2.0, np.float32)
    payload = {"source": "upload", "unit": "Gy", "prescriptions": {}, "max_gy": 2.0, "notes": []}
    slow_app.store.save_result(case_id, "dose", payload, slot=dose.UPLOADED, arrays={"dose": gy})
    assert slow_app.jobs.wait(planning.start_draft(slow_app, case_id), 30).state == "done"
    assert not load.begun.is_set()


def test_models_are_loaded_beside_the_start_of_the_server(slow_app, load):
    thread = slow_app.load_ahead()
    assert load.begun.wait(20) and not slow_app.models_loaded
    load.go_on.set()
    thread.join(20)
    assert slow_app.models_loaded


def test_models_that_cannot_be_loaded_ahead_stop_nothing_and_are_tried_again(tmp_path, caplog):
    tries, name = [], "/home/KOWALSKI/libtorch.so"

    def broken():
        tries.append(1)
        if len(tries) == 1:
            raise OSError(2, "No such file", name)
        return FakeModels()

    app = App(Settings(tmp_path / "data", tmp_path / "assets", 1), models=broken)
    app.load_ahead().join(20)
    assert not app.models_loaded and "FileNotFoundError (No such file)" in caplog.text and "KOWALSKI" not in caplog.text
    assert isinstance(app.models, FakeModels)
    app.close()


def test_where_no_model_is_installed_none_is_loaded_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(context, "load_model_pack", lambda: pytest.fail("nothing to load"))
    app = App(Settings(tmp_path / "data", tmp_path / "assets", 1))
    assert app.load_ahead() is None
    (tmp_path / "assets" / "models" / "clip").mkdir(parents=True)
    (tmp_path / "assets" / "models" / "clip" / "model.safetensors").write_bytes(b"weights")
    loaded = []
    monkeypatch.setattr(app._slot, "_loader", lambda: loaded.append(1) or FakeModels())
    app.load_ahead().join(20)
    assert len(loaded) == 1
    app.close()


def test_garbage_collection_passes_over_the_libraries_of_the_models():
    # Streamlit collects after every run of a page: over half a million objects that took half a second each time, in
    # which no other thread ran. On a busy machine the models were never loaded while a page asked for them.
    code = (
        "import gc; from hnvlm.services import context; context.load_model_pack();"
        "print(gc.get_freeze_count(), len(gc.get_objects()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    passed_over, left = map(int, done.stdout.split()[-2:])
    assert passed_over > 300_000 and left < 50_000
