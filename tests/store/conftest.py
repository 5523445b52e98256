"""A case store of its own for every test."""

from __future__ import annotations

import pytest

from hnvlm.store import CaseStore


@pytest.fixture
def store(tmp_path):
    made = CaseStore(tmp_path / "data")
    yield made
    made.close()
