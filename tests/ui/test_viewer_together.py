"""Two viewers of different CTs side by side: what they share, and that places are not among it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ui.test_viewer_browser import NEXT_FRAME, PATIENCE_S, server  # noqa: F401 - a fixture

BOTH_READY = """() => { const out = []; const find = n => { for (const e of n.querySelectorAll('*')) {
  if (e.viewer) out.push(e.viewer); if (e.shadowRoot) find(e.shadowRoot); } }; find(document);
  const ready = v => v.group && v.volumes.size && [...v.volumes.values()].every(x => x.ready);
  return out.length === 2 && out.every(ready); }"""


class Pair:
    """A page with two viewers that were told the same name."""

    def __init__(self, browser, server) -> None:  # noqa: F811
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(1000 * PATIENCE_S)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(f"{server.url}/?page=together")
        self.page.wait_for_function(BOTH_READY)
        self.settle()

    def settle(self) -> None:
        for _ in range(2):
            self.page.evaluate(NEXT_FRAME)

    def js(self, n: int, expression: str):
        self.settle()
        root = self.page.locator(".hv").nth(n)
        out = root.evaluate(f"el => {{ const v = el.viewer; return structuredClone({expression}) }}")
        self.settle()
        return out

    def both(self, expression: str) -> list:
        return [self.js(n, expression) for n in (0, 1)]

    def scroll_together(self, on: bool) -> None:
        self.page.get_by_text("Scroll together").click()
        wanted = f"v.data.together.scroll === {str(on).lower()}"
        for _ in range(100):
            if self.both(wanted) == [True, True]:
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("the viewers were not told")


@pytest.fixture
def pair(browser, server) -> Iterator[Pair]:  # noqa: F811
    opened = Pair(browser, server)
    yield opened
    assert opened.complaints == []
    opened.context.close()


def test_window_zoom_plane_and_scale_are_one_and_slices_each_ones_own(pair: Pair) -> None:
    pair.js(0, "(v.state.window = [480, 2500], v.state.invert = true, v.refresh())")
    pair.js(1, "v.zoomBy(2)")
    assert pair.both("[v.state.window, v.state.invert, v.state.zoom]") == [[[480, 2500], True, 2]] * 2
    pair.js(1, "v.setView('coronal')")
    assert pair.both("v.panes[0].plane") == ["coronal", "coronal"]
    pair.js(1, "v.setView('axial')")
    scales = pair.both("v.panes[0].view.scale")
    assert scales[0] == scales[1], "or a node would look larger where the field of view is smaller"
    before = pair.js(1, "v.state.pos")
    pair.js(0, "v.moveTo([40, 20, 16])")
    assert pair.both("v.state.pos") == [[40, 20, 16], before]


def test_scrolled_together_both_go_through_as_many_mm_and_are_in_step_after_an_end(pair: Pair) -> None:
    pair.js(0, "v.moveTo([20, 20, 16])")
    pair.js(1, "v.moveTo([15, 20, 11])")
    pair.scroll_together(True)
    assert pair.both("v.state.pos") == [[20, 20, 16], [15, 20, 11]], "nothing moves until somebody scrolls"
    pair.js(0, "v.moveTo([26, 20, 16])")  # 18 mm up
    assert pair.js(1, "v.state.pos") == [18, 20, 11]
    pair.js(1, "v.moveTo([14, 20, 11])")  # 24 mm down
    assert pair.js(0, "v.state.pos") == [18, 20, 16]
    pair.js(0, "v.moveTo([47, 20, 16])")
    assert pair.js(1, "v.state.pos") == [23, 20, 11], "its last slice"
    pair.js(0, "v.moveTo([20, 20, 16])")
    assert pair.js(1, "v.state.pos") == [15, 20, 11]
    pair.scroll_together(False)
    pair.js(0, "v.moveTo([30, 20, 16])")
    assert pair.js(1, "v.state.pos") == [15, 20, 11]
