"""The server is restarted while a page is open: what was typed is kept, and what was not taken is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ui.browsing import HERE, free_port, start_server
from ui.fake_app import add_case, fakes, make_app

from hnvlm.services import reporting
from hnvlm.store import AUTOSAVE

START_S = 180
PATIENCE_MS = 90_000
WORDS = "Typed while nobody listened. "


@pytest.fixture
def served(browser, tmp_path: Path):
    """A page on a case with a report, and a function that restarts its server."""
    app = make_app(tmp_path, fakes())
    case_id = add_case(app)
    reporting.draft_report(app, case_id)
    app.close()
    port, running = free_port(), []

    def start() -> None:
        for server in running:
            server.kill()
            server.wait(30)
        running.clear()
        command = [sys.executable, str(HERE / "serve_app.py"), str(port), str(tmp_path / "runs.log"), "fake"]
        running.append(start_server(command, port, {"HNVLM_DATA_DIR": str(tmp_path)}, tmp_path / "out.txt", START_S))

    start()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/review?case={case_id}")
    yield page, start, tmp_path, case_id
    context.close()
    for server in running:
        server.kill()
        server.wait(30)


def kept_texts(folder: Path, case_id: str) -> list[str]:
    app = make_app(folder, fakes())
    history = app.store.history(case_id, "report")
    app.close()
    return [str(record.payload["text"]) for record in history if AUTOSAVE in record.slot]


def test_what_is_typed_after_a_restart_is_kept_and_the_restart_is_told(served) -> None:
    page, restart, folder, case_id = served
    page.get_by_role("radio", name="Edit", exact=True).first.click()
    editor = page.get_by_label("Text of the report")
    editor.wait_for()
    page.wait_for_timeout(2000)
    restart()
    page.wait_for_timeout(8000)  # the page finds its server again
    editor.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type(WORDS)
    page.locator(".hn-renewed").wait_for()
    page.wait_for_timeout(3000)
    assert editor.is_visible() and editor.input_value().startswith(WORDS)
    assert any(text.startswith(WORDS) for text in kept_texts(folder, case_id))
