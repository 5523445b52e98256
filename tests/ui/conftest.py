"""What the tests of the user interface share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.runtime.pages_manager import PagesManager
from ui.browsing import FLAGS
from ui.fake_app import make_app

from hnvlm.services import context
from hnvlm.services.context import App


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator:
    """Headless Chromium, one for a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        instance = play.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield instance
        instance.close()


@pytest.fixture(autouse=True)
def the_main_module_stays() -> Iterator[None]:
    """AppTest puts a page in the place of ``__main__``, in which worker processes of later tests look themselves up."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def through_the_entry_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest finds the folder pages/ and would run a page without app.py; the server switches that off (launch.py)."""
    build = PagesManager.__init__

    def init(self, *args, **kwargs) -> None:
        build(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", init)


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., App]]:
    """Return a function that makes the app's services the ones the pages see."""
    made: list[App] = []

    def make(models: object | None, **options: object) -> App:
        app = make_app(tmp_path / str(len(made)), models, **options)
        made.append(app)
        monkeypatch.setattr(context, "app", lambda: app)
        return app

    yield make
    for app in made:
        app.close()
