"""The app's services in one object: settings, case store, jobs and the models, loaded on first use."""

from __future__ import annotations

import gc
import importlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hnvlm.config import Settings, settings
from hnvlm.errors import ModelPackError
from hnvlm.models.base import Models
from hnvlm.models.registry import PACK, made_by, missing_models
from hnvlm.report import drafting
from hnvlm.report.request_facts import request_facts
from hnvlm.services.jobs import JobContext, JobManager, without_words
from hnvlm.store import CaseStore, exports
from hnvlm.types import Provenance

log = logging.getLogger(__name__)
# Uploads and exports are kept for a day.
KEPT_S = 24 * 3600.0
# What the models are built on; their imports take seconds.
LIBRARIES = ("torch", "transformers.modeling_utils", "monai")


def load_model_pack() -> Models:
    """Load the model pack that ships with the app (torch is imported here, not before).

    Raises:
        ModelPackError: A model folder is missing, incomplete or of another version.
    """
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
            keep_for_good()
        pack = importlib.import_module("hnvlm.models.pack")
    except ModuleNotFoundError as exc:
        raise ModelPackError(f"The models cannot be loaded: the Python module {exc.name} is missing.") from exc
    models = pack.load()
    # The rules know the clinical lexicon's synonyms; the learned reader fills in what they leave open.
    models.rules = request_facts
    models.words = drafting
    return models


def keep_for_good() -> None:
    """Have garbage collection pass over everything that is in memory now.

    The libraries' half a million objects cost each collection half a second, in which no other thread runs.
    """
    gc.collect()
    gc.freeze()


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
    def loading(self) -> bool:
        """Whether a thread is loading them now."""
        return self._models is None and self._lock.locked()

    @property
    def loaded(self) -> bool:
        """Whether they are in memory already."""
        return self._models is not None


class App:
    """Everything a use case needs. One per server process (``app()``); tests make their own.

    Args:
        config: Settings; default the process-wide ones.
        models: Models or a function that loads them; default the model pack.
        uses_pack: Whether those are the pack's, where a function is given that loads it.
    """

    def __init__(
        self, config: Settings | None = None, models: Models | Callable[[], Models] | None = None, *,
        uses_pack: bool = False,
    ) -> None:  # fmt: skip
        self.settings = config or settings()
        self.store = CaseStore(self.settings.data_dir)
        self.jobs = JobManager(self.store)
        self.uses_pack = uses_pack or models is None
        loader = load_model_pack if models is None else models if callable(models) else (lambda: models)
        self._slot = ModelSlot(loader)
        self._made_by: dict[str, Provenance] = {}
        # Uploads that a server was reading when it died.
        for upload in self.jobs.left_uploads:
            shutil.rmtree(self.uploads_dir / upload, ignore_errors=True)
        self.sweep_uploads()
        self.sweep_exports()

    @property
    def models(self) -> Models:
        """The models; the first use loads them (seconds)."""
        return self._slot.get()

    @property
    def models_loading(self) -> bool:
        """Whether the models are on their way into memory."""
        return self._slot.loading

    @property
    def models_loaded(self) -> bool:
        """Whether the models are in memory already."""
        return self._slot.loaded

    def load_models(self, job: JobContext) -> None:
        """Have the models in memory before a job's first step; Stop ends the job meanwhile.

        Raises:
            CancelledError: The user pressed Stop; the models are loaded all the same, for the next who needs them.
            ModelPackError: They cannot be loaded.
        """
        if not self.models_loaded:
            job.leave_on_stop(lambda: self.models, "loading the models")

    def load_ahead(self) -> threading.Thread | None:
        """Load the models beside the start of the server: their libraries take seconds, in which no page answers.

        What fails is logged and tried again by whoever needs them. Where none is installed, nothing is loaded.
        """
        if self.uses_pack and len(missing_models(self.settings.models_dir)) == len(PACK):
            return None

        def load() -> None:
            try:
                self._slot.get()
            except Exception as exc:  # noqa: BLE001 - the page that needs them says it
                log.warning("the models could not be loaded ahead\n%s", without_words(exc))

        thread = threading.Thread(target=load, name="load-ahead", daemon=True)
        thread.start()
        return thread

    def provenance(self, name: str) -> Provenance:
        """Return name, version and weights of a model of the pack; the last two are "" where it is not installed.

        Read once: weights that are replaced while the server runs are not those in memory.
        """
        if name not in self._made_by:
            self._made_by[name] = made_by(self.settings.models_dir, name)
        return self._made_by[name]

    @property
    def uploads_dir(self) -> Path:
        """Where uploads are spooled until they become cases."""
        path = self.settings.data_dir / "uploads"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sweep_uploads(self) -> int:
        """Remove uploads that nobody turned into a case within a day; return how many."""
        limit, removed = time.time() - KEPT_S, 0
        for folder in self.uploads_dir.iterdir():
            try:
                old = folder.is_dir() and folder.stat().st_mtime < limit
            except FileNotFoundError:  # whoever else looked after them was faster
                continue
            if old:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    def sweep_exports(self) -> None:
        """Remove exports of more than a day ago, and what killed ones left half-written.

        Each holds a whole CT. The pages offer to make an export anew that is not there.
        """
        folder = exports.folder(self.settings.data_dir)
        # Listed before anybody is asked who exports: what another server begins from here on is not among them.
        zips, half = list(folder.glob("*.zip")), list(folder.glob("tmp*"))
        at_work = self.jobs.anywhere("export")
        limit = time.time() - KEPT_S
        for path in [*zips, *half]:
            with suppress(OSError):  # whoever else looked after them was faster, or somebody reads it
                if path.stat().st_mtime >= limit and (at_work or path in zips):
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

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
