"""The viewer by keys alone: past it, its tools, and what else only a drag could do."""

from __future__ import annotations

import pytest
from ui.test_viewer_browser import Screen, server  # noqa: F401 - a fixture

FOCUS = """() => { let e = document.activeElement;
  while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
  return e.getAttribute("aria-label") || e.textContent; }"""


@pytest.fixture
def screen(browser, server):  # noqa: F811
    opened = Screen(browser, server, "single")
    yield opened
    assert opened.complaints == []
    opened.context.close()


def test_two_keys_lead_past_the_viewer(screen) -> None:
    screen.root.focus()
    screen.page.keyboard.press("Tab")
    assert screen.page.evaluate(FOCUS) == "Skip the images"
    assert screen.page.get_by_text("Skip the images").bounding_box()["width"] > 50, "seen while it has the focus"
    screen.page.keyboard.press("Enter")
    assert screen.page.evaluate(FOCUS) == "Note", "the first control after the viewer"
    assert screen.page.get_by_text("Skip the images").bounding_box()["width"] <= 1


def test_each_tool_has_its_key_and_the_help_tells_it(screen) -> None:
    for key, tool in (("p", "pan"), ("z", "zoom"), ("l", "length"), ("e", "roi")):
        screen.key(key)
        assert screen.state("tool") == tool
    screen.key("Escape")
    assert screen.state("tool") == "window"
    screen.key("p")
    screen.key("p")
    assert screen.state("tool") == "window", "pressed again it takes the tool back"
    screen.key("?")
    said = screen.page.locator(".hv .help").inner_text()
    for words in ("pan (drag)", "zoom (drag)", "move the picture", "window: brighter, darker, narrower, wider"):
        assert words in said


def test_arrow_keys_move_the_picture_and_the_window_as_a_drag_does(screen) -> None:
    index, (centre, width) = screen.state("pos"), screen.state("window")
    before = screen.state("centre")
    screen.key("Shift+ArrowRight")
    screen.key("Shift+ArrowDown")
    after = screen.state("centre")
    assert after != before
    screen.key("Shift+ArrowLeft")
    screen.key("Shift+ArrowUp")
    assert screen.state("centre") == pytest.approx(before)
    screen.drag(0, 24, 24, button="middle")
    assert screen.state("centre") == pytest.approx(after, abs=0.5)
    screen.key("Control+ArrowUp")
    screen.key("Control+ArrowRight")
    brighter, wider = screen.state("window")
    assert brighter < centre and wider > width
    assert screen.state("pos") == index, "no slice was changed by it"


def test_a_length_is_measured_by_keys_alone(screen) -> None:
    screen.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    screen.settle()
    screen.key("Enter")
    assert screen.js("v.pen") is None, "no tool that measures is chosen"
    screen.key("l")
    screen.key("Enter")
    assert screen.js("v.pen.voxel") == [20, 20, 16], "at the crosshair"
    assert "arrow keys move it" in screen.js("v.status.textContent")
    screen.key("ArrowLeft")
    screen.key("Enter")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        screen.key(key)
    screen.key("Enter")
    (made,) = screen.state("measures")
    assert (made["a"], made["b"], made["value"]) == ([20, 20, 15], [20, 22, 18], 6.5), "3 x 2 mm and 2 x 1.25 mm"
    assert screen.js("v.status.textContent") == "6.5 mm" and screen.js("v.pen") is None
    assert screen.state("pos") == [20, 20, 16] and screen.state("tool") == "length"
    screen.key("Control+z")
    assert screen.state("measures") == []
    screen.key("?")
    assert "a pen at the crosshair" in screen.page.locator(".hv .help").inner_text()


def test_the_pen_is_put_away_by_escape_and_by_whatever_leads_elsewhere(screen) -> None:
    screen.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    screen.settle()
    for away in ("Escape", "PageUp", "p"):
        screen.js("v.setTool('roi')")
        screen.key("Enter")
        screen.key("Enter")
        screen.key("Shift+ArrowRight")
        assert screen.js("v.draft.b") == [screen.state("pos")[0], 20, 26]
        screen.key(away)
        assert screen.js("v.pen || v.draft") is None
    assert screen.state("tool") == "pan" and screen.state("measures") == []
    index = screen.state("pos")[0]
    screen.js("v.setTool('roi')")
    screen.key("ArrowDown")
    assert screen.state("pos")[0] == index - 1, "without the pen an arrow key is for the slices"
