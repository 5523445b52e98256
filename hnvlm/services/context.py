"""The app's services in one object: settings, case store, jobs and the models, loaded on first use."""

from __future__ import annotations

import importlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hnvlm.config import Settings, settings
from hnvlm.errors import ModelPackError
from hnvlm.models.base import Models
from hnvlm.report.request_facts import request_facts
from hnvlm.services.jobs import JobManager
from hnvlm.store import CaseStore

UPLOAD_AGE_S = 24 * 3600.0


def load_model_pack() -> Models:
    """Load the model pack that ships with the app (torch is imported here, not before).

    Raises:
        ModelPackError: A model folder is missing, incomplete or of another version.
    """
    try:
        pack = importlib.import_module("hnvlm.models.pack")
    except ModuleNotFoundError as exc:
        raise ModelPackError(f"The models cannot be loaded: the Python module {exc.name} is missing.") from exc
    models = pack.load()
    # The rules know the clinical lexicon's synonyms; the learned reader fills in what they leave open.
    models.rules = request_facts
    return models


class ModelSlot:
    """Loads the models once, on first use, whoever comes first; a failed load is tried again next time."""

    def __init__(self, loader: Callable[[], Models] = load_model_pack) -> None:
        self._loader = loader
        self._lock = threading.Lock()
        self._models: Models | None = None

    def get(self) -> Models:
        """Return the models; blocks while another thread loads them."""
        with self._lock:
            if self._models is None:
                self._models = self._loader()
            return self._models

    @property
    def loaded(self) -> bool:
        """Whether they are in memory already."""
        return self._models is not None


class App:
    """Everything a use case needs. One per server process (``app()``); tests make their own.

    Args:
        config: Settings; default the process-wide ones.
        models: Models or a function that loads them; default the model pack.
    """

    def __init__(self, config: Settings | None = None, models: Models | Callable[[], Models] | None = None) -> None:
        self.settings = config or settings()
        self.store = CaseStore(self.settings.data_dir)
        self.jobs = JobManager(self.store)
        self.uses_pack = models is None
        loader = load_model_pack if models is None else models if callable(models) else (lambda: models)
        self._slot = ModelSlot(loader)
        self.sweep_uploads()  # those that a server left behind that is gone

    @property
    def models(self) -> Models:
        """The models; the first use loads them (seconds)."""
        return self._slot.get()

    @property
    def models_loaded(self) -> bool:
        """Whether the models are in memory already."""
        return self._slot.loaded

    @property
    def uploads_dir(self) -> Path:
        """Where uploads are spooled until they become cases."""
        path = self.settings.data_dir / "uploads"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sweep_uploads(self, max_age_seconds: float = UPLOAD_AGE_S) -> int:
        """Remove uploads that nobody turned into a case within a day; return how many."""
        limit, removed = time.time() - max_age_seconds, 0
        for folder in self.uploads_dir.iterdir():
            try:
                old = folder.is_dir() and folder.stat().st_mtime < limit
            except FileNotFoundError:  # whoever else looked after them was faster
                continue
            if old:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    def close(self) -> None:
        """Stop all jobs and close the store."""
        self.jobs.close()
        self.store.close()


_APP_LOCK = threading.Lock()
_app: App | None = None


def app() -> App:
    """Return the process-wide services, made on the first call; others who come meanwhile wait for it.

    A cache would not do: browsers that come at once would each make services of their own, and see nothing of
    each other's jobs.
    """
    global _app
    with _APP_LOCK:
        if _app is None:
            _app = App()
        return _app
