"""An upload whose reading ended with the server: no page offers it again, so it goes, and the user is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hnvlm.services import intake
from hnvlm.services.context import App
from hnvlm.store import JobStore

SERVER = """
import sys, time
from pathlib import Path
from hnvlm.config import Settings
from hnvlm.services import intake
from hnvlm.services.context import App
app = App(Settings(Path(sys.argv[1]), Path(sys.argv[1]), 1), models=object())
intake.create_case = lambda *a, **k: time.sleep(600)
for _ in range(2):
    folder = app.uploads_dir / __import__("uuid").uuid4().hex / "files"
    folder.mkdir(parents=True)
    (folder / "Kowalska.dcm").write_bytes(b"x")
upload = intake.Upload(folder.parent.name, folder, None)
job = intake.start_intake(app, upload)
while app.jobs.status(job).state != "running":
    time.sleep(0.01)
print(upload.id, job, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server(app):
    """A server of its own on the same data folder that reads one of two uploads."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    data = str(app.settings.data_dir)
    process = subprocess.Popen([sys.executable, "-c", SERVER, data], stdout=subprocess.PIPE, text=True, env=env)
    process.read, process.job = process.stdout.readline().split()
    yield process
    process.kill()
    process.wait(20)


def uploads(app) -> set[str]:
    return {folder.name for folder in app.uploads_dir.iterdir()}


def test_an_upload_goes_with_the_server_that_read_it_and_others_stay(app, server):
    before = uploads(app)
    assert len(before) == 2 and server.read in before
    App(app.settings, models=app.models).close()
    assert uploads(app) == before, "that server lives, and reads it"
    server.kill()
    server.wait(20)
    App(app.settings, models=app.models).close()
    assert uploads(app) == before - {server.read}
    job = JobStore(app.store).get(server.job)
    assert (job.state, job.error) == ("interrupted", "The server stopped while this ran. Upload the files again.")


def test_an_upload_that_another_server_reads_too_stays(app, server):
    folder = app.uploads_dir / server.read
    go = threading.Event()
    second = app.jobs.submit("intake", lambda job: (go.wait(60), {})[1], needs_models=False, upload=server.read)
    server.kill()
    server.wait(20)
    App(app.settings, models=app.models).close()
    assert folder.exists()
    go.set()
    assert app.jobs.wait(second, 60).state == "done"


def test_a_server_that_is_told_to_stop_removes_what_it_reads(app, monkeypatch):
    reading = threading.Event()

    def read(*args, progress, **kwargs):
        reading.set()
        while True:
            progress(0.1, "reading")

    monkeypatch.setattr(intake, "create_case", read)
    folder = app.uploads_dir / ("a" * 32) / "files"
    folder.mkdir(parents=True)
    job_id = intake.start_intake(app, intake.Upload("a" * 32, folder, None))
    assert reading.wait(20)
    app.jobs.close()
    assert uploads(app) == set()
    job = JobStore(app.store).get(job_id)
    assert (job.state, job.error) == ("interrupted", "The server stopped while this ran. Upload the files again.")
