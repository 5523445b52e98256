"""Starting the server: what has to be there before the first request."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from types import SimpleNamespace

from streamlit import net_util

from hnvlm.services import context
from hnvlm.ui import access, frame, launch, server


def test_the_services_are_made_and_the_models_asked_for_before_the_first_request(
    monkeypatch, store_dir, tmp_path
) -> None:
    steps = []

    class Served:
        def __init__(self, lifespan) -> None:
            self.lifespan = lifespan

        def run(self, config) -> None:
            assert config["runner.magicEnabled"] is False  # it reads syntax trees while the models are imported
            assert config["runner.postScriptGC"] is False
            asyncio.run(self.listen(config["server.port"]))

        async def listen(self, port: int) -> None:
            async with self.lifespan(self):
                steps.append(("serves", port))

    class Services:
        def __init__(self) -> None:
            steps.append("services")

        def load_ahead(self) -> None:
            steps.append("models")

        def close(self) -> None:
            steps.append(("closed", (tmp_path / "pixels").exists()))

    services = Services()
    monkeypatch.setattr(context, "app", lambda: services)
    monkeypatch.setattr(launch, "import_pages", lambda: steps.append("pages"))
    monkeypatch.setattr(server, "create_app", lambda script, lifespan: Served(lifespan))
    (tmp_path / "pixels").touch()
    monkeypatch.setattr(access.ACCESS.blobs, "clear", (tmp_path / "pixels").unlink)
    launch.serve(9001)
    # SIGTERM runs no atexit: what lies in the temporary folder goes with the lifespan.
    assert steps == ["services", "pages", "models", ("serves", 9001), ("closed", False)]
    assert net_util.get_external_ip() is None and net_util.get_internal_ip() is None, "nobody outside is asked"


def test_garbage_is_collected_after_a_page_and_not_while_the_models_are_loaded(monkeypatch) -> None:
    loading, release, collected = threading.Event(), threading.Event(), []

    def load():
        loading.set()
        release.wait(20)
        return "models"

    slot = context.ModelSlot(load)
    monkeypatch.setattr(context, "app", lambda: SimpleNamespace(models_loading=slot.loading))
    monkeypatch.setattr(frame.gc, "collect", lambda: collected.append(slot.loaded))
    frame.collect_garbage()
    thread = threading.Thread(target=slot.get)
    thread.start()
    assert loading.wait(20)
    frame.collect_garbage()
    release.set()
    thread.join(20)
    frame.collect_garbage()
    assert collected == [False, True]


def test_no_page_imports_what_the_models_import_meanwhile() -> None:
    code = (
        "import sys, json, re, pathlib; from hnvlm.ui import launch; launch.import_pages();"
        "pages = [p.read_text() for p in pathlib.Path('pages').glob('*.py')];"
        "named = {m for text in pages for m in re.findall(r'^(?:from|import) (hnvlm[.\\w]*)', text, re.M)};"
        "print(json.dumps([sorted(named - set(sys.modules)), [m for m in ('torch', 'monai', 'transformers')"
        " if m in sys.modules], all(m in sys.modules for m in ('pandas', 'scipy.ndimage', 'plotly'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    missing, heavy, light = json.loads(done.stdout.splitlines()[-1])
    assert missing == [] and heavy == [] and light
