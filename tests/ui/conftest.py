"""What the tests of the user interface share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ui.browsing import FLAGS


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator:
    """Headless Chromium, one for a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        instance = play.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield instance
        instance.close()
