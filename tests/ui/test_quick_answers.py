"""Answers that come faster than the page runs: none is lost."""

from __future__ import annotations

import sys
from pathlib import Path

from ui.browsing import free_port, start_server

PAGE = """
from pathlib import Path
import streamlit as st

def answered(n):
    with open({log!r}, "a", encoding="utf-8") as out:
        out.write(f"{{n}}\\n")

for n in range(90):
    st.checkbox(f"Answer {{n}}", key=f"answer-{{n}}", on_change=answered, args=(n,))
st.text("all there")
"""
QUICKLY = """async () => {
  for (let n = 0; n < 60; n++) {
    document.querySelectorAll("input[type=checkbox]")[n].click();
    await new Promise((done) => setTimeout(done, 10 + ((n * 37) % 90)));
  }
}"""


def test_of_answers_in_quick_order_each_is_taken(browser, tmp_path: Path) -> None:
    log, script, port = tmp_path / "answers", tmp_path / "page.py", free_port()
    log.touch()
    script.write_text(PAGE.format(log=str(log)), "utf-8")
    code = f"from pathlib import Path; from hnvlm.ui.launch import serve; serve({port}, script=Path({str(script)!r}))"
    process = start_server(
        [sys.executable, "-c", code], port, {"HNVLM_DATA_DIR": str(tmp_path)}, tmp_path / "server.txt", 120
    )
    try:
        page = browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_text("all there").wait_for(timeout=60_000)
        page.locator('[data-test-script-state="notRunning"]').wait_for(timeout=60_000)
        # A text is there before the browser has fetched what draws a checkbox.
        page.locator("input[type=checkbox]").nth(89).wait_for(state="attached", timeout=60_000)
        page.evaluate(QUICKLY)
        for _ in range(100):
            if len(log.read_text().split()) == 60:
                break
            page.wait_for_timeout(200)
        assert log.read_text().split() == [str(n) for n in range(60)]
        page.context.close()
    finally:
        process.terminate()
        process.wait(20)
