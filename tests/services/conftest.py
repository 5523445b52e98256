"""An app with its own store and fake models, and one stored phantom case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModels

from hnvlm.config import Settings
from hnvlm.imaging.volume import Volume
from hnvlm.services.context import App


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()


@pytest.fixture
def app(tmp_path: Path, models: FakeModels):
    made = App(Settings(data_dir=tmp_path / "data", assets_dir=tmp_path / "assets", threads=1), models=models)
    yield made
    made.close()


@pytest.fixture
def phantom() -> Volume:
    """Three different sizes and spacings."""
    rng = np.random.default_rng(1)
    array = np.full((8, 20, 24), -1000, np.int16)
    array[:, 4:17, 5:20] = rng.integers(-50, 120, (8, 13, 15))
    return Volume(array, (3.0, 1.25, 1.5), (-12.0, 40.0, -30.0), "1.2.826.0.1.77")


@pytest.fixture
def case_id(app: App, phantom: Volume) -> str:
    return app.store.add_case(phantom).id
