"""The app's services with fake models, for page tests. Never imported by the app."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes import FakeModels

from hnvlm.config import Settings
from hnvlm.imaging.volume import Volume
from hnvlm.services.context import App

# Three different sizes and spacings, so that no axis can be taken for another.
SHAPE, SPACING = (12, 20, 16), (3.0, 1.25, 2.0)


def make_app(folder: Path, models: object | None = None, *, assets: Path | None = None) -> App:
    config = Settings(data_dir=folder, assets_dir=assets or folder / "no-assets", threads=1)
    return App(config, models)


def add_case(app: App, description: str = "phantom", *, seed: int = 0, meta: dict | None = None) -> str:
    hu = np.random.default_rng(seed).integers(-200, 200, SHAPE).astype(np.int16)
    return app.store.add_case(Volume(hu, SPACING, (-20.0, -5.0, -7.0)), description=description, meta=meta or {}).id


def fakes(**options: object) -> FakeModels:
    return FakeModels(**options)
