"""One Settings object, read from the environment; no path of any particular machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hnvlm.errors import UsageError

PACKAGE_DIR = Path(__file__).resolve().parent
PROJECT_DIR = PACKAGE_DIR.parent
_TOKEN = re.compile(r"[A-Za-z0-9-]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True)
class Settings:
    """Where things live and how many threads inference may use.

    Attributes:
        data_dir: Case store: SQLite file and arrays (``HNVLM_DATA_DIR``, default ``~/.hnvlm``).
        assets_dir: Model pack, fonts and demo material (``HNVLM_ASSETS_DIR``).
        own_models_dir: A clinic's own model pack in the place of the shipped one (``HNVLM_MODELS_DIR``), or None.
        hosts: Names by which clinicians reach the server besides this machine's own (``HNVLM_HOSTS``).
        threads: CPU threads for inference (``HNVLM_THREADS``, default and at most all cores).
        user_header: Header in which a proxy names who is logged in (``HNVLM_USER_HEADER``), or "".
        recognise_patients: Keep a keyed hash by which a patient's later CT is proposed as such (``HNVLM_RECOGNISE``).
    """

    data_dir: Path
    assets_dir: Path
    threads: int
    own_models_dir: Path | None = None
    hosts: tuple[str, ...] = ()
    user_header: str = ""
    recognise_patients: bool = True

    @property
    def models_dir(self) -> Path:
        """Folder that holds one folder per model: read by the app, written by ``hnvlm train``."""
        return self.own_models_dir or self.assets_dir / "models"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the process-wide settings (read once; tests call ``settings.cache_clear()``).

    Raises:
        UsageError: A variable of the environment cannot be used; the message names it.
    """
    # The app must work on a hospital machine without a network: no library may look for a hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    assets = _folder("HNVLM_ASSETS_DIR", PROJECT_DIR / "assets")
    return Settings(
        data_dir=_folder("HNVLM_DATA_DIR", Path.home() / ".hnvlm"),
        assets_dir=assets,
        threads=_threads("HNVLM_THREADS"),
        own_models_dir=_own_models(assets / "models"),
        hosts=_hosts("HNVLM_HOSTS"),
        user_header=_header("HNVLM_USER_HEADER"),
        recognise_patients=_switch("HNVLM_RECOGNISE"),
    )


def _own_models(shipped: Path) -> Path | None:
    """The clinic's own model pack. A folder that is not there is refused: a misspelt name must not mean "no models"."""
    folder = _folder("HNVLM_MODELS_DIR", shipped)
    if folder == shipped:
        return None
    if not folder.is_dir():
        raise UsageError(
            f"HNVLM_MODELS_DIR={folder}: no such folder. Begin with a copy of {shipped}, or unset it to use those."
        )
    return folder


def _folder(name: str, default: Path) -> Path:
    """A folder from the environment. An empty one is refused: it would be the folder the program happens to run in."""
    given = os.environ.get(name)
    if given is None:
        return default
    if not given.strip():
        raise UsageError(f"{name} is set but empty. Name a folder in it, or unset it to use {default}.")
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{name}={given}: {error} Name another folder in it.") from error


def _hosts(name: str) -> tuple[str, ...]:
    found = tuple(part.lower() for part in os.environ.get(name, "").replace(",", " ").split())
    for part in found:
        if not _HOST.fullmatch(part):
            raise UsageError(f"{name}: '{part}' is no host name. Give names alone, as in ct.hospital.example.")
    return found


def _header(name: str) -> str:
    given = os.environ.get(name)
    if given is not None and not _TOKEN.fullmatch(given):
        raise UsageError(f"{name}='{given}' is no name of a header. Give its name alone, as in X-Remote-User.")
    return given or ""


def _switch(name: str) -> bool:
    given = os.environ.get(name)
    if given not in (None, "0", "1"):
        raise UsageError(f"{name}={given}: 0 or 1 is needed. Unset it for 1.")
    return given != "0"


def _threads(name: str) -> int:
    given = os.environ.get(name)
    cores = os.cpu_count() or 1
    if given is None:
        return cores
    try:
        threads = int(given)
    except ValueError:
        threads = 0
    if threads < 1:
        raise UsageError(f"{name}={given}: a whole number of threads from 1 up is needed. Unset it to use all cores.")
    # More threads than cores are slower; many more take the memory of the whole process, which then ends without words.
    return min(threads, cores)
