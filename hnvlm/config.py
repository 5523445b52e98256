"""One Settings object, read from the environment; no path of any particular machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent
PROJECT_DIR = PACKAGE_DIR.parent


@dataclass(frozen=True)
class Settings:
    """Where things live and how many threads inference may use.

    Attributes:
        data_dir: Case store: SQLite file and arrays (``HNVLM_DATA_DIR``, default ``~/.hnvlm``).
        assets_dir: Model pack, fonts and demo material (``HNVLM_ASSETS_DIR``).
        threads: CPU threads for inference (``HNVLM_THREADS``, default all cores).
        seed: Default seed of everything that samples.
    """

    data_dir: Path
    assets_dir: Path
    threads: int
    seed: int = 0

    @property
    def models_dir(self) -> Path:
        """Folder that holds one folder per model."""
        return self.assets_dir / "models"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the process-wide settings (read once; tests call ``settings.cache_clear()``)."""
    # The app must work on a hospital machine without a network: no library may look for a hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    data_dir = Path(os.environ.get("HNVLM_DATA_DIR", Path.home() / ".hnvlm")).expanduser()
    assets_dir = Path(os.environ.get("HNVLM_ASSETS_DIR", PROJECT_DIR / "assets")).expanduser()
    threads = int(os.environ.get("HNVLM_THREADS", os.cpu_count() or 1))
    return Settings(data_dir=data_dir, assets_dir=assets_dir, threads=threads)
