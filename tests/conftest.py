"""Fixtures every test may use: real cases beside the repository, an empty store, a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hnvlm import config

REPO = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("HNVLM_SHARED_DIR", REPO.parent / "shared"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Set by .ci/run: what could have run must have run.
STRICT = os.environ.get("HNVLM_NO_SKIPS") == "1"

_unexpected_skips: list[str] = []


def _chromium() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder ``shared`` beside the repository (real CTs, never part of it); the test is skipped without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real cases are not there: {SHARED} has no folder data")
    return SHARED


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Path of an installed Chromium; the test is skipped without one."""
    path = _chromium()
    if path is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(BROWSERS)})")
    return path


@pytest.fixture
def store_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty data folder that the process-wide settings point at for the length of one test."""
    folder = tmp_path / "store"
    monkeypatch.setenv("HNVLM_DATA_DIR", str(folder))
    config.settings.cache_clear()
    yield folder
    config.settings.cache_clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, so that ``-m "not browser"`` cannot miss one."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "shared_dir" in fixtures:
            item.add_marker(pytest.mark.shared)
        if "chromium_path" in fixtures:
            item.add_marker(pytest.mark.browser)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note tests that were skipped although what they need is there (strict runs only)."""
    if not (STRICT and report.skipped) or hasattr(report, "wasxfail"):
        return
    needs_shared = "shared" in report.keywords and (SHARED / "data").is_dir()
    needs_browser = "browser" in report.keywords and _chromium() is not None
    # A test of the real models may wait for them: the pack is checked by its own tests.
    if (needs_shared or needs_browser) and "pack" not in report.keywords:
        _unexpected_skips.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a strict run in which such a test was skipped (with xdist this runs on the controller)."""
    if _unexpected_skips and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that should not have been skipped."""
    if _unexpected_skips:
        terminalreporter.section("skipped although what they need is there")
        for nodeid in sorted(set(_unexpected_skips)):
            terminalreporter.line(nodeid)
