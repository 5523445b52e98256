"""Isodose lines are told apart by their figures, not by colour alone."""

from __future__ import annotations

from itertools import combinations

import pytest
from ui.test_viewer_browser import Screen, server  # noqa: F401 - a fixture

# What is written in the pane in one frame, with its place: [text, x, y].
WRITTEN = """(() => { const ctx = v.top.getContext('2d'), texts = [];
  ctx.fillText = (text, x, y) => texts.push([text, x, y, ctx.measureText(text).width]);
  v.refresh(); v.drawNow(); delete ctx.fillText; return texts; })()"""
# Dose in per cent of the prescription at a point of the stage, between the voxels.
PERCENT_AT = """(() => { const p = v.panes[0], [x, y] = a;
  const at = (u, w) => v.doseAt([p.index, w, u]) ?? 0;
  const u = (x - p.view.x0) / p.view.pxU - 0.5, w = (y - p.view.y0) / p.view.pxV - 0.5;
  const [i, j] = [Math.floor(u), Math.floor(w)], [f, g] = [u - i, w - j];
  const low = at(i, j) * (1 - f) + at(i + 1, j) * f, high = at(i, j + 1) * (1 - f) + at(i + 1, j + 1) * f;
  return 100 * (low * (1 - g) + high * g) / v.data.dose.prescription; })()"""
LEVELS = ["107 %", "100 %", "95 %", "90 %", "80 %", "70 %", "50 %", "30 %"]


@pytest.fixture
def screen(browser, server):  # noqa: F811
    opened = Screen(browser, server, "dose")
    opened.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    opened.settle()
    yield opened
    assert opened.complaints == []
    opened.context.close()


def figures(screen: Screen) -> list[tuple[str, float, float, float]]:
    """Figures on the lines: neither those of the legend, which are aligned at one edge, nor the zoom at the bottom."""
    legend, bottom = screen.js("[v.panes[0].rect.x + 8 + 46, v.panes[0].rect.y + v.panes[0].rect.h - 30]")
    return [(t, x, y, w) for t, x, y, w in screen.js(WRITTEN) if t in LEVELS and x != legend and y < bottom]


def test_each_line_has_its_figure_and_no_two_lie_on_each_other(screen) -> None:
    found = figures(screen)
    assert [text for text, *_ in found] == LEVELS
    for text, x, y, _ in found:
        assert screen.js(PERCENT_AT, [x, y]) == pytest.approx(float(text[:-2]), abs=1.5), "it stands on its line"
    for (_, x, y, w), (_, x2, y2, w2) in combinations(found, 2):
        assert abs(x - x2) >= (w + w2) / 2 or abs(y - y2) >= 10
    screen.key("d")
    assert figures(screen) == [], "the dose is switched off"


def test_figures_stay_in_the_pane_and_off_the_legend_where_the_picture_is_enlarged(screen) -> None:
    screen.js("v.zoomBy(3)")
    screen.settle()
    found = figures(screen)
    assert len(found) >= 4, "of the lines that are still to be seen"
    rect = screen.js("v.panes[0].rect")
    for _, x, y, w in found:
        assert rect["x"] <= x - w / 2 and x + w / 2 <= rect["x"] + rect["w"] - 14
        assert rect["y"] + 34 <= y <= rect["y"] + rect["h"] - 34
        assert x - w / 2 >= rect["x"] + 112 or y >= rect["y"] + 72 + 15 * len(LEVELS)


def test_small_panes_have_no_figures(screen) -> None:
    screen.js("(v.setView('mpr'))")
    screen.settle()
    small = screen.js("v.panes.filter(p => p.rect.w < 300 || p.rect.h < 260).map(p => p.rect)")
    for _, x, y, _ in figures(screen):
        assert not any(r["x"] <= x < r["x"] + r["w"] and r["y"] <= y < r["y"] + r["h"] for r in small)
