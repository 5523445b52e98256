"""The dose page of a case with many structures: every name of the histogram and column of the limits is in sight."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ui.browsing import HERE, free_port, start_server
from ui.fake_app import SHAPE, add_case, fakes, make_app
from ui.test_window import BROKEN

from hnvlm.services import dose
from hnvlm.services.what_if import WhatIf

START_S = 180
PATIENCE_MS = 90_000
ORGANS = (
    "SpinalCord", "Brainstem", "Parotid_L", "Parotid_R", "Larynx", "Esophagus", "Bone_Mandible", "Cavity_Oral",
    "Cochlea_L", "Cochlea_R", "OpticNrv_L", "OpticChiasm", "BrachialPlex_L", "Glnd_Submand_L", "Glnd_Submand_R",
    "Musc_Constrict_S", "Lips",
)  # fmt: skip
# Names of the legend that lie whole in the part of it that is seen, and do not lie over the plot.
LEGEND = """() => {
  const box = e => e.getBoundingClientRect();
  const [room, plot] = ['.js-plotly-plot .legend .bg', '.nsewdrag'].map(where => box(document.querySelector(where)));
  return [...document.querySelectorAll('.js-plotly-plot .legend .legendtext')].filter(e => {
    const b = box(e);
    const inside = b.top >= room.top - 1 && b.bottom <= room.bottom + 1 && b.right <= room.right + 1;
    return inside && (b.bottom <= plot.top + 2 || b.left >= plot.right);
  }).map(e => e.textContent);
}"""
CURVES = "() => document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The dose page of a case with 18 structures, two doses, and limits on them."""
    folder = tmp_path_factory.mktemp("dose")
    app = make_app(folder, fakes())
    case_id = add_case(app)
    masks = {name: np.zeros(SHAPE, bool) for name in ("PTV_7000", *ORGANS)}
    for n, mask in enumerate(masks.values()):
        mask[2 + n % 5 : 6 + n % 5, 3 + n % 9 : 9 + n % 9, n % 12 : 4 + n % 12] = True
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    gy = np.linspace(20, 70, SHAPE[2], dtype=np.float32) * np.ones(SHAPE, np.float32)
    uploaded = app.store.save_result(case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": 70.0},
                                     arrays={"dose": gy})  # fmt: skip
    dose.scale(app, uploaded.id, WhatIf(66.0, 33, (), None), who="Dr A")
    port = free_port()
    command = [sys.executable, str(HERE / "serve_app.py"), str(port), str(folder / "runs.log"), "fake"]
    process = start_server(command, port, {"HNVLM_DATA_DIR": str(folder)}, folder / "out.txt", START_S)
    yield f"http://127.0.0.1:{port}/plan?case={case_id}"
    process.kill()
    process.wait(30)
    app.close()


@pytest.fixture(scope="module")
def page(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    opened.goto(address)
    opened.get_by_role("radio", name="Dose", exact=True).first.click()
    opened.get_by_role("combobox", name="Compared with (dashed)").click()
    opened.get_by_role("option").filter(has_text="What-if").click()
    opened.get_by_role("columnheader", name="Compared").wait_for()
    opened.locator(".js-plotly-plot .legend").wait_for()
    yield opened
    context.close()


def at_width(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(1500)  # the plot follows its column with some delay


@pytest.mark.parametrize("width", [900, 1280, 1600])
def test_each_structure_of_the_histogram_has_its_name_in_sight(page, width) -> None:
    at_width(page, width)
    shown = page.evaluate(LEGEND)
    assert {name.replace(" ", "_") for name in shown} >= {"PTV_7000", *ORGANS}, shown


def test_a_name_of_the_histogram_still_hides_both_of_its_curves(page) -> None:
    at_width(page, 1280)
    lines = page.evaluate(CURVES)
    page.locator(".js-plotly-plot .legend .legendtoggle").nth(4).click()
    page.wait_for_function(f"() => ({CURVES})() === {lines - 2}")
    page.locator(".js-plotly-plot .legend .legendtoggle").nth(4).click()
    page.wait_for_function(f"() => ({CURVES})() === {lines}")
    assert page.evaluate(CURVES) == lines


@pytest.mark.parametrize("width", [1280, 1400, 1600])
def test_no_column_of_the_limits_is_cut_where_two_doses_are_compared(page, width) -> None:
    at_width(page, width)
    table = page.locator(".st-key-dose-panel .hn-table").first
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "Structure", "Limit", "Value", "Compared", "Margin", "Status", "Priority", "Source",
    ]  # fmt: skip
    assert table.evaluate("t => t.scrollWidth <= t.parentElement.clientWidth")
    broken = table.evaluate(BROKEN.replace("document.querySelectorAll(where)", "[where]"))
    assert [word for word in broken if "-" not in word and "[" not in word] == [], "tags and Oral-PTV may go on below"
    assert "at least one gland, usually contralateral" in table.inner_text(), "the remark has a line of its own"
