"""What is written over the picture can be read over anything."""

from __future__ import annotations

import pytest
from ui.test_viewer_browser import Screen, server  # noqa: F401 - a fixture


@pytest.mark.parametrize(("key", "unit"), [("l", "mm"), ("e", "HU")])
def test_a_measurement_can_be_read_over_bone(browser, server, key: str, unit: str) -> None:  # noqa: F811
    screen = Screen(browser, server, "single")
    screen.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    screen.settle()
    screen.js("""(() => { const ctx = v.top.getContext('2d'), fill = ctx.fillText.bind(ctx);
      ctx.fillText = (text, x, y) => { if (v.state.measures.some(m => m.text === text)) v.lastText = [text, x, y];
        fill(text, x, y); }; })()""")
    screen.key(key)
    screen.drag(0, 90, 40)
    text, x, y = screen.js("v.lastText")
    assert text.endswith(f" {unit}")
    # Beside the letters: as dark as below all other texts, whatever the picture shows there.
    alpha = screen.js("v.top.getContext('2d').getImageData((a[0] - 3) * v.ratio, a[1] * v.ratio, 1, 1).data[3]", [x, y])
    assert alpha == pytest.approx(0.82 * 255, abs=2)
    assert screen.complaints == []
    screen.context.close()
