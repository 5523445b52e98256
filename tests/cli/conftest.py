"""One command line, run in this process with fake models, with its JSON parsed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fakes import FakeModels
from typer.testing import CliRunner

from hnvlm.cli import app, inputs
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series, write_nifti
from hnvlm.store import CaseStore


@dataclass
class Ran:
    """Exit code and output of one command line."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.stdout.count("\n") == 1, self.stdout
        return json.loads(self.stdout)

    def refused(self, code: str, status: int = 3) -> str:
        """Assert a refusal; return its message."""
        assert self.code == status, (self.code, self.stdout, self.stderr)
        assert list(self.data) == ["error"]
        assert self.data["error"]["code"] == code, self.data
        assert "Traceback" not in self.stderr
        return self.data["error"]["message"]


@pytest.fixture
def models(monkeypatch) -> FakeModels:
    fake = FakeModels()
    monkeypatch.setattr(inputs, "load_models", lambda: fake)
    return fake


@pytest.fixture
def run(store_dir, models):
    """Run a command line: ``run("inspect", path, "--json")``."""

    def call(*args: object) -> Ran:
        result = CliRunner().invoke(app, [str(a) for a in args], prog_name="hnvlm")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture(scope="session")
def phantom() -> Volume:
    """Asymmetric phantom: three different sizes and spacings, air around soft tissue."""
    rng = np.random.default_rng(1)
    array = np.full((8, 20, 24), -1000, np.int16)
    array[:, 4:17, 5:20] = rng.integers(-50, 120, (8, 13, 15))
    array[:, 10:13, 11:14] = 900
    return Volume(array, (3.0, 1.25, 1.5), (-12.0, 40.0, -30.0), "1.2.826.0.1.77")


@pytest.fixture(scope="session")
def nifti(tmp_path_factory, phantom):
    return write_nifti(phantom, tmp_path_factory.mktemp("nifti") / "ct.nii.gz")


@pytest.fixture(scope="session")
def dicom(tmp_path_factory, phantom):
    folder = tmp_path_factory.mktemp("dicom") / "ct"
    write_dicom_series(phantom, folder, "neck phantom", synthetic=False)
    return folder


@pytest.fixture
def case(store_dir, phantom) -> str:
    """The phantom as a stored case; its id."""
    store = CaseStore(store_dir)
    record = store.add_case(phantom, description="phantom")
    store.close()
    return record.id
