"""Exports in the data folder hold a whole CT each: they go with their case, with their age and with a killed run."""

from __future__ import annotations

import os
import threading
import time

import pytest

from hnvlm.services import counterfactual, export
from hnvlm.services.context import App
from hnvlm.store import exports


@pytest.fixture
def zips(app, case_id):
    """Exports of two cases that lie there."""
    made = app.store.save_result(case_id, "counterfactual", {"text": "x", "box": None})
    other = app.store.add_case(app.store.load_volume(case_id)).id
    folder = exports.folder(app.settings.data_dir)
    folder.mkdir()
    names = {
        "plan": f"{case_id}-plan7-nodose-AI-DRAFT.zip", "before": f"{case_id}-noplan-nodose-AI-DRAFT.zip",
        "counterfactual": counterfactual.archive_path(app, made.id).name, "other": f"{other}-plan7-x-AI-DRAFT.zip",
        "of another": f"counterfactual-{made.id}1-SYNTHETIC.zip",
    }  # fmt: skip
    for name in names.values():
        (folder / name).write_bytes(b"x")
    return {word: folder / name for word, name in names.items()}


def there(zips) -> set[str]:
    return {word for word, path in zips.items() if path.exists()}


def test_deleting_a_case_removes_its_exports_and_no_others(app, case_id, zips):
    app.store.delete_case(case_id, who="Dr A")
    assert there(zips) == {"other", "of another"}
    app.store.restore_case(case_id)
    assert not app.store.list_cases(search=case_id)[0].deleted


def test_an_export_that_is_written_while_its_case_is_deleted_does_not_stay(app, case_id, monkeypatch):
    made = app.store.save_result(case_id, "counterfactual", {"text": "x", "box": None})

    def write(target, fill, progress):
        app.store.delete_case(case_id)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"x")

    monkeypatch.setattr(export, "write_zip", write)
    assert app.jobs.wait(counterfactual.start_export(app, made.id), 60).state == "done"
    assert not counterfactual.archive_path(app, made.id).exists()


def half(app, name: str, age_hours: float = 0.0):
    """What an export leaves that is killed: the CT as plain DICOM."""
    folder = exports.folder(app.settings.data_dir) / name
    (folder / "files" / "ct").mkdir(parents=True)
    (folder / "files" / "ct" / "1.dcm").write_bytes(b"x")
    os.utime(folder, (time.time() - age_hours * 3600,) * 2)
    return folder


def test_opening_the_app_removes_what_a_killed_export_left_and_zips_of_yesterday(app, zips):
    killed = half(app, "tmpkilled")
    os.utime(zips["plan"], (time.time() - 25 * 3600,) * 2)
    App(app.settings, models=app.models).close()
    assert not killed.exists()
    assert there(zips) == set(zips) - {"plan"}


def test_the_export_that_another_server_writes_is_left_alone(app, zips):
    go = threading.Event()
    running = app.jobs.submit("export", lambda job: (go.wait(60), {})[1], needs_models=False)
    now, before = half(app, "tmpnow"), half(app, "tmpbefore", age_hours=25)
    App(app.settings, models=app.models).close()
    assert now.exists() and not before.exists()
    go.set()
    assert app.jobs.wait(running, 60).state == "done"


def test_a_server_that_is_never_restarted_sweeps_when_it_exports(app, case_id, zips):
    os.utime(zips["other"], (0, 0))
    made = app.store.latest_result(case_id, "counterfactual")
    assert app.jobs.wait(counterfactual.start_export(app, made.id), 60).state in ("done", "failed")
    assert not zips["other"].exists()
