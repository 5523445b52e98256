"""What a reload of the page leaves of a viewer: the view, as measurements are left (test_viewer_browser.py)."""

from __future__ import annotations

from ui.browsing import VIEWER_READY
from ui.test_viewer_browser import Screen, server  # noqa: F401 - a fixture

KEEPS_AFTER_MS = 600  # the browser writes a little after the last change


def reload(screen: Screen) -> None:
    screen.page.wait_for_timeout(KEEPS_AFTER_MS)
    screen.page.reload()
    screen.root.wait_for()
    screen.page.wait_for_function(VIEWER_READY)
    screen.settle()


def test_a_reload_leaves_window_zoom_planes_and_structures(browser, server) -> None:  # noqa: F811
    screen = Screen(browser, server, "single")
    assert screen.js("v.view") == "mpr"  # as the page asks
    screen.js("(v.setView('coronal'), v.moveTo([20, 11, 17]), v.toggleStructure('PTV_7000'))")
    for key in ("4", "i", "+", "s"):
        screen.key(key)
    before = screen.js("[v.state.window, v.state.invert, v.state.zoom, v.state.structures, v.state.pos]")
    assert before == [[480, 2500], True, 1.25, "fill", [20, 11, 17]]
    reload(screen)
    assert screen.js("[v.state.window, v.state.invert, v.state.zoom, v.state.structures, v.state.pos]") == before
    assert screen.js("v.panes.map(p => p.plane)") == ["coronal"]
    assert screen.js("[...v.state.hidden]") == ["PTV_7000"]
    assert not screen.page.locator(".hv .side").get_by_label("Show PTV_7000").is_checked()
    screen.key(" ")
    assert screen.state("window") == [40, 400], "back to the window the image asks for, not to the one left"
    assert screen.complaints == []
    screen.context.close()


def test_a_reload_leaves_the_way_of_comparing(browser, server) -> None:  # noqa: F811
    screen = Screen(browser, server, "compare")
    screen.key("w")
    screen.js("v.state.swipe = 0.3")
    screen.key("m")
    reload(screen)
    assert [screen.state("compare"), screen.state("swipe")] == ["swipe", 0.3]
    assert screen.js("v.panes.map(p => p.plane)") == ["coronal"]
    screen.key("Escape")
    assert screen.js("v.panes.length") == 3
    screen.context.close()


def test_a_view_that_cannot_be_read_is_the_usual_one(browser, server) -> None:  # noqa: F811
    screen = Screen(browser, server, "single")
    screen.key("4")
    screen.page.wait_for_timeout(KEEPS_AFTER_MS)
    for broken in ("{", "null", "[]", "7"):
        screen.page.evaluate(
            "text => { window.addEventListener('pagehide', () => { for (const k of Object.keys(sessionStorage))"
            " sessionStorage.setItem(k, text); }); }",
            broken,
        )
        reload(screen)
        assert screen.state("window") == [40, 400] and screen.js("v.view") == "mpr", broken
    assert screen.complaints == []
    screen.context.close()
