"""The viewer in a real browser: exact pixels, mouse and keys, no script runs, and who may fetch voxels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pytest
from ui.browsing import HERE, VIEWER_READY, free_port, start_server

# A machine that is busy with training may need much longer.
PATIENCE_S = float(os.environ.get("HNVLM_TEST_PATIENCE_S", "60"))
START_S = 2 * PATIENCE_S
NEXT_FRAME = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Server:
    def __init__(self, port: int, log: Path, process: subprocess.Popen) -> None:
        self.url, self.log, self.process = f"http://127.0.0.1:{port}", log, process

    def runs(self) -> int:
        return len(self.log.read_text().splitlines())


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("viewer")
    log = folder / "runs.log"
    log.touch()
    port = free_port()
    script = str(HERE / "viewer_page.py")
    code = f"from pathlib import Path; from hnvlm.ui.launch import serve; serve({port}, script=Path({script!r}))"
    env = {"VIEWER_TEST_LOG": str(log), "HNVLM_DATA_DIR": str(folder)}
    process = start_server([sys.executable, "-c", code], port, env, folder / "server.txt", START_S)
    yield Server(port, log, process)
    process.terminate()
    process.wait(20)


class Screen:
    """A browser page with the viewer on it."""

    def __init__(self, browser, server: Server, query: str) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(1000 * PATIENCE_S)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(f"{server.url}/?page={query}")
        self.root = self.page.locator(".hv")
        self.root.wait_for()
        self.page.wait_for_function(VIEWER_READY)
        self.settle()

    def settle(self) -> None:
        self.page.evaluate(NEXT_FRAME)

    def js(self, expression: str, argument=None):
        """Evaluate ``expression`` with v = the viewer and a = argument."""
        return self.root.evaluate(f"(el, a) => {{ const v = el.viewer; return ({expression}); }}", argument)

    def state(self, name: str):
        return self.js(f"JSON.parse(JSON.stringify(v.state.{name}))")

    def slice(self, series: int, plane: str) -> np.ndarray:
        """RGB of the picture at native resolution, (rows, columns, 3)."""
        size = self.js(f"(() => {{ const p = v.painters.get('{series}|{plane}'); return [p.nv, p.nu]; }})()")
        flat = self.js(f"Array.from(v.painters.get('{series}|{plane}').read())")
        return np.array(flat, np.uint8).reshape(*size, 4)[..., :3]

    def centre_of(self, slot: int) -> tuple[float, float]:
        """Page position of a pane's centre."""
        box = self.page.locator(".hv .stage canvas.top").bounding_box()
        rect = self.js(f"v.panes.find(p => p.slot === {slot}).rect")
        return box["x"] + rect["x"] + rect["w"] / 2, box["y"] + rect["y"] + rect["h"] / 2

    def drag(self, slot: int, dx: float, dy: float, button: str = "left") -> None:
        x, y = self.centre_of(slot)
        self.page.mouse.move(x, y)
        self.page.mouse.down(button=button)
        self.page.mouse.move(x + dx / 2, y + dy / 2)
        self.page.mouse.move(x + dx, y + dy)
        self.page.mouse.up(button=button)
        self.settle()

    def key(self, key: str) -> None:
        self.root.focus()
        self.page.keyboard.press(key)
        self.settle()

    def text(self) -> str:
        return self.page.get_by_text(re.compile(r"^index=")).inner_text()

    def until(self, check, seconds: float = PATIENCE_S) -> bool:
        """Poll ``check`` until it holds; a loaded machine may take its time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if check():
                return True
            self.page.wait_for_timeout(100)
        return bool(check())

    def rerun_shows(self, expected: str) -> bool:
        """Run the script again, more than once if the browser's report was still on its way."""
        for _ in range(6):
            before = self.server.runs()
            self.page.get_by_role("button", name="Run again").click()
            self.until(lambda before=before: self.server.runs() > before)
            if self.until(lambda: expected in self.text(), PATIENCE_S / 6):
                return True
        return False


@pytest.fixture(scope="module")
def single(browser, server: Server) -> Iterator[Screen]:
    screen = Screen(browser, server, "single")
    yield screen
    assert screen.complaints == []
    assert [u for u in screen.requests if not u.startswith((server.url, "data:", "blob:"))] == []
    screen.context.close()


@pytest.fixture(scope="module")
def compare(browser, server: Server) -> Iterator[Screen]:
    screen = Screen(browser, server, "compare")
    yield screen
    assert screen.complaints == []
    screen.context.close()


@pytest.fixture(scope="module")
def data() -> dict:
    # The page module runs as a Streamlit script; its phantom is taken without running the page.
    source = (HERE / "viewer_page.py").read_text().split("def count_run")[0].replace("@st.cache_resource", "")
    names: dict = {}
    exec(compile(source, "viewer_page", "exec"), names)
    return names["phantom"]()


def dicom_window(hu: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, as 8 bit."""
    value = ((hu.astype(float) - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.clip(np.floor(value + 0.5), 0, 255).astype(np.uint8)


def numpy_slice(array: np.ndarray, plane: str, index: int) -> np.ndarray:
    """Radiological picture: rows from the top of the screen."""
    if plane == "axial":
        return array[index]
    return array[::-1, index, :] if plane == "coronal" else array[::-1, :, index]


@pytest.mark.parametrize(("centre", "width"), [(40, 400), (480, 2500), (40, 80)])
def test_pixels_equal_numpy_in_all_three_planes(single: Screen, data: dict, centre: int, width: int) -> None:
    single.js("(v.setView('mpr'), v.state.structures = 'off', v.state.invert = false)")
    single.js("v.state.window = a", [centre, width])
    for voxel in [(0, 0, 0), (15, 8, 24), (31, 28, 6), (47, 39, 31)]:
        single.js("v.moveTo(a)", list(voxel))
        single.settle()
        for plane, axis in [("axial", 0), ("coronal", 1), ("sagittal", 2)]:
            expected = dicom_window(numpy_slice(data["ct"].array, plane, voxel[axis]), centre, width)
            got = single.slice(0, plane)
            np.testing.assert_array_equal(got[..., 0], expected, err_msg=f"{plane} {voxel}")
            np.testing.assert_array_equal(got[..., 0], got[..., 2])
    single.js("v.state.structures = 'outline'")


def test_orientation_on_the_screen_is_radiological(single: Screen) -> None:
    # The bone block lies in front (y 5-11 of 40), on the patient's left (x 20-27 of 32), towards the feet.
    single.js("(v.setView('mpr'), v.state.structures = 'off', v.state.crosshair = false)")
    single.js("(v.state.window = [500, 400], v.moveTo([15, 8, 24]))")
    single.settle()
    where = single.js("""v.panes.map(p => {
      const r = p.rect, ctx = v.base.getContext('2d');
      const px = ctx.getImageData(r.x * v.ratio, r.y * v.ratio, r.w * v.ratio, r.h * v.ratio);
      let n = 0, sx = 0, sy = 0;
      for (let i = 0; i < px.data.length; i += 4) if (px.data[i] > 200) {
        n++; sx += (i / 4) % px.width; sy += Math.floor(i / 4 / px.width); }
      return { plane: p.plane, n, x: sx / n / px.width, y: sy / n / px.height };
    })""")
    found = {w["plane"]: w for w in where}
    assert all(w["n"] > 100 for w in where)
    assert found["axial"]["x"] > 0.55 and found["axial"]["y"] < 0.45  # L is right, A is up
    assert found["coronal"]["x"] > 0.5 and found["coronal"]["y"] > 0.6  # F is down
    assert found["sagittal"]["x"] < 0.5 and found["sagittal"]["y"] > 0.6  # A is left
    letters = single.page.evaluate(
        "url => import(url).then(m => Object.fromEntries(Object.entries(m.PLANES).map(([k, p]) => [k, p.letters])))",
        asset(single, "geometry.js"),
    )
    assert letters == {"axial": ["R", "L", "A", "P"], "coronal": ["R", "L", "H", "F"], "sagittal": ["A", "P", "H", "F"]}
    single.js("(v.state.structures = 'outline', v.state.crosshair = null)")


def asset(screen: Screen, name: str) -> str:
    entry = next(u for u in screen.requests if u.endswith("/viewer.js"))
    return entry.replace("viewer.js", name)


def test_true_proportions(single: Screen) -> None:
    # 3.0 mm slices against 2.0 mm columns: the same number of voxels is 1.5 times as tall as wide.
    single.js("v.setView('coronal')")
    single.settle()
    view = single.js("v.panes[0].view")
    assert view["pxV"] / view["pxU"] == pytest.approx(1.5)
    single.js("v.setView('mpr')")
    single.settle()


def test_wheel_scrolls_twenty_slices_without_a_script_run(single: Screen) -> None:
    single.js("(v.setView('mpr'), v.moveTo([40, 20, 16]))")
    single.page.mouse.move(*single.centre_of(0))
    single.page.wait_for_timeout(600)
    runs, fetched = single.server.runs(), sum("/ct/blob" in u for u in single.requests)
    for _ in range(20):
        single.page.mouse.wheel(0, 100)
    single.page.wait_for_timeout(800)
    assert single.state("pos") == [20, 20, 16]
    assert single.server.runs() == runs
    assert sum("/ct/blob" in u for u in single.requests) == fetched
    assert single.rerun_shows("index=[20, 20, 16]")
    # Other planes scroll along their own axis, and only along it.
    single.page.mouse.move(*single.centre_of(1))
    single.page.mouse.wheel(0, 100)
    single.settle()
    assert single.state("pos") == [20, 21, 16]


def test_wheel_moves_neither_the_page_nor_beyond_the_ends(single: Screen) -> None:
    single.js("v.moveTo([1, 20, 16])")
    single.page.mouse.move(*single.centre_of(0))
    for _ in range(4):
        single.page.mouse.wheel(0, 100)
    single.settle()
    assert single.state("pos")[0] == 0
    assert single.page.evaluate("document.scrollingElement.scrollTop") == 0


def test_left_drag_windows_up_brighter_right_wider(single: Screen) -> None:
    single.key("1")
    assert single.state("window") == [40, 400]
    single.drag(0, 60, 0)
    assert single.state("window") == [40, 480]
    single.drag(0, 0, -50)
    assert single.state("window")[0] == 40 - 60 and single.state("window")[1] == 480
    assert single.js("v.presetKey()") == "custom"


@pytest.mark.parametrize(
    ("key", "window"),
    [("1", [40, 400]), ("2", [-600, 1500]), ("3", [60, 350]), ("4", [480, 2500]), ("5", [40, 80]), ("6", [700, 4000]),
     ("7", [50, 250]), ("8", [170, 600]), ("0", [40, 400])],
)  # fmt: skip
def test_number_keys_set_presets(single: Screen, key: str, window: list[int]) -> None:
    single.key(key)
    assert single.state("window") == window


def test_zoom_keeps_the_point_under_the_pointer(single: Screen) -> None:
    single.key("=")
    x, y = single.centre_of(0)
    single.page.mouse.move(x + 80, y - 60)
    where = "v.input.voxel(v.panes[0], v.panes[0].rect.w / 2 + 80, v.panes[0].rect.h / 2 - 60)"
    before = single.js(where)
    single.page.keyboard.down("Control")
    single.page.mouse.wheel(0, -200)
    single.page.keyboard.up("Control")
    single.settle()
    assert single.state("zoom") == pytest.approx(np.exp(0.4))
    np.testing.assert_allclose(single.js(where), before, atol=0.05)  # the pointer stands on whole pixels
    single.drag(0, 0, -75, button="right")
    assert single.state("zoom") == pytest.approx(np.exp(0.4 + 0.5), rel=1e-3)
    centre = single.state("centre")
    single.drag(0, 30, 0, button="middle")
    assert single.state("centre")[2] < centre[2] and single.state("centre")[1] == pytest.approx(centre[1])
    single.key(" ")
    assert single.state("zoom") == 1 and single.state("window") == [40, 400]


def test_click_sets_the_crosshair_in_all_planes(single: Screen) -> None:
    single.js("v.moveTo([20, 20, 16])")
    single.settle()
    view = single.js("v.panes[0].view")
    x, y = view["x0"] + 9.5 * view["pxU"], view["y0"] + 30.5 * view["pxV"]
    box = single.page.locator(".hv .stage canvas.top").bounding_box()
    single.page.mouse.click(box["x"] + x, box["y"] + y)
    single.settle()
    assert single.state("pos") == [20, 30, 9]
    assert single.js("v.panes.map(p => p.index)") == [20, 30, 9]


def test_keys_stay_inside_and_do_not_fire_in_text_boxes(single: Screen) -> None:
    single.key("1")
    runs = single.server.runs()
    for key in ("r", "c"):
        single.key(key)
    single.page.wait_for_timeout(400)
    assert single.server.runs() == runs  # Streamlit binds r to rerun and c to clear the cache
    assert single.page.get_by_text("Clear caches").count() == 0
    box = single.page.get_by_label("Note")
    box.click()
    single.page.keyboard.type("5mi2")
    single.settle()
    assert box.input_value() == "5mi2"
    assert single.state("window") == [40, 400] and single.state("invert") is False
    assert single.js("v.view") == "mpr"
    box.fill("")


def test_keys_are_for_the_picture_once_a_click_elsewhere_is_done(single: Screen) -> None:
    """A clicked button keeps the focus, and so does a list whose entry was chosen: nobody types into them."""
    keyboard, mouse = single.page.keyboard, single.page.mouse

    def pressed_over_the_picture(key: str) -> str:
        mouse.move(2, 2)
        mouse.move(*single.centre_of(0), steps=3)
        keyboard.press(key)
        single.settle()
        return single.js("v.presetKey()")

    single.page.get_by_role("button", name="Jump").click()
    assert pressed_over_the_picture("4") == "4"
    box = single.page.get_by_test_id("stSelectbox")
    box.click()
    single.page.get_by_role("option", name="second").click()
    assert pressed_over_the_picture("2") == "2"
    box.click()
    single.page.get_by_role("option", name="second").wait_for()
    assert pressed_over_the_picture("3") == "2", "an open list is typed into"
    keyboard.press("Escape")
    single.page.get_by_label("Note").click()
    keyboard.press("Tab")
    assert pressed_over_the_picture("5") == "2", "what was reached by keys keeps them"
    single.key("1")


def test_arrow_page_home_end_and_layout_keys(single: Screen) -> None:
    single.js("(v.state.active = 0, v.moveTo([20, 20, 16]))")
    for key, z in [("ArrowDown", 19), ("ArrowUp", 20), ("PageUp", 30), ("PageDown", 20), ("Home", 47), ("End", 0)]:
        single.key(key)
        assert single.state("pos")[0] == z, key
    single.key("m")
    assert single.js("v.panes.length") == 1
    single.key("m")
    assert single.js("v.panes.map(p => p.plane)") == ["axial", "coronal", "sagittal"]
    single.key("?")
    assert single.page.locator(".hv .help").is_visible()
    single.key("Escape")
    assert not single.page.locator(".hv .help").is_visible()


def test_double_click_enlarges_one_pane(single: Screen) -> None:
    single.page.mouse.dblclick(*single.centre_of(1))
    single.settle()
    assert single.js("v.panes.map(p => p.plane)") == ["coronal"]
    single.page.mouse.dblclick(*single.centre_of(1))
    single.settle()
    assert single.js("v.panes.length") == 3


def test_python_sends_it_to_a_voxel_again_and_again(single: Screen) -> None:
    for _ in range(2):
        single.js("v.moveTo([3, 3, 3])")
        single.page.get_by_role("button", name="Jump").click()
        assert single.until(lambda: single.state("pos") == [31, 28, 6])
    # A plain rerun does not repeat the jump.
    single.js("v.moveTo([3, 3, 3])")
    single.page.wait_for_timeout(600)
    assert single.rerun_shows("index=[3, 3, 3]")
    assert single.state("pos") == [3, 3, 3]


def test_structures_and_findings_jump_and_hide(single: Screen, data: dict) -> None:
    side = single.page.locator(".hv .side")
    assert "4.2 ml" in side.inner_text()  # 10 * 7 * 8 voxels of 7.5 mm3
    side.get_by_text("Bone_Mandible").click()
    single.settle()
    z, y, x = single.state("pos")
    assert data["overlay"].masks["Bone_Mandible"][z, y, x] and z in (14, 15)
    side.get_by_label("Show PTV_7000").uncheck()
    single.settle()
    assert single.js("[...v.state.hidden]") == ["PTV_7000"]
    side.get_by_label("Show PTV_7000").check()
    runs = single.server.runs()
    side.get_by_text("Fat pad right").click()
    single.page.wait_for_timeout(600)
    assert single.state("pos") == [31, 28, 6]
    assert single.server.runs() == runs, "the browser goes there by itself"


def test_filled_structures_colour_exactly_their_voxels(single: Screen, data: dict) -> None:
    single.js("(v.state.structures = 'fill', v.state.window = [40, 400], v.moveTo([15, 8, 24]))")
    single.settle()
    rgb = single.slice(0, "axial").astype(int)
    mask = data["overlay"].masks["PTV_7000"][15] | data["overlay"].masks["Bone_Mandible"][15]
    coloured = rgb.max(axis=2) != rgb.min(axis=2)
    np.testing.assert_array_equal(coloured, mask)
    single.js("v.state.structures = 'outline'")


def test_length_and_mean_are_true(single: Screen, data: dict) -> None:
    single.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    single.settle()
    scale = single.js("v.panes[0].view.scale")
    single.key("l")
    single.drag(0, 90, 40)
    item = single.js("v.state.measures[0]")
    assert item["value"] == pytest.approx(np.hypot(90, 40) / scale, abs=0.06)
    single.key("e")
    single.drag(0, 200, 160)
    roi = single.js("v.state.measures[1]")
    a, b = np.array(roi["a"]), np.array(roi["b"])
    y, x = np.indices((40, 32))
    centre, radius = (a + b) / 2, np.abs(a - b) / 2
    inside = ((y - centre[1]) / radius[1]) ** 2 + ((x - centre[2]) / radius[2]) ** 2 <= 1
    assert inside.sum() > 20
    assert roi["value"] == pytest.approx(data["ct"].array[20][inside].mean(), abs=0.06)
    single.key("Escape")
    single.key("Delete")
    single.key("Delete")
    single.js("v.setView('mpr')")


def test_a_length_at_the_border_can_be_read(single: Screen) -> None:
    single.js("(v.setView('axial'), v.state.measures.length = 0, v.moveTo([20, 20, 16]))")
    single.settle()
    single.js("""(() => { const ctx = v.top.getContext('2d'), fill = ctx.fillText.bind(ctx);
      v.texts = [];
      ctx.fillText = (text, x, y) => { v.texts.push(text); if (/mm$/.test(text) && !/^[xyz]/.test(text))
        v.lastMm = [text, x, x + ctx.measureText(text).width, y]; fill(text, x, y); }; })()""")
    single.key("l")
    rect = single.js("v.panes[0].rect")
    single.drag(0, rect["w"] / 2 - 20, rect["h"] / 2 - 4)
    text, left, right, y = single.js("v.lastMm")
    assert text == single.js("v.state.measures[0].text")
    assert left > rect["x"] and right <= rect["x"] + rect["w"] - 14 and y <= rect["y"] + rect["h"] - 12
    single.key("Delete")
    single.drag(0, rect["w"], rect["h"])  # far beyond the pane
    ends = single.js("[v.panes[0].view, v.state.measures[0].b, v.lastMm]")
    assert ends[0]["x0"] + (ends[1][2] + 0.5) * ends[0]["pxU"] <= rect["x"] + rect["w"] + 0.01
    assert ends[0]["y0"] + (ends[1][1] + 0.5) * ends[0]["pxV"] <= rect["y"] + rect["h"] + 0.01
    order = single.js("[v.texts.lastIndexOf(v.lastMm[0]), v.texts.findLastIndex(t => /^\\d+ [cm]m$/.test(t))]")
    assert order[0] > order[1] >= 0, "under the scale bar"
    single.key("Delete")
    single.key("l")
    single.js("(delete v.top.getContext('2d').fillText, v.setView('mpr'))")


def test_measurements_outlive_a_reload_and_are_gone_once_deleted(browser, server: Server) -> None:
    screen = Screen(browser, server, "single")
    screen.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    screen.settle()
    screen.key("l")
    screen.drag(0, 90, 40)
    screen.key("e")
    screen.drag(0, 200, 160)
    drawn = screen.state("measures")
    assert [m["kind"] for m in drawn] == ["length", "roi"]

    def reload() -> None:
        screen.page.reload()
        screen.root.wait_for()
        screen.page.wait_for_function(VIEWER_READY)
        screen.settle()

    reload()
    assert screen.state("measures") == drawn
    screen.js("(v.setView('axial'), v.moveTo([20, 20, 16]))")
    screen.settle()
    screen.key("Delete")
    reload()
    assert screen.state("measures") == drawn[:1]
    screen.page.evaluate("() => { for (const k of Object.keys(sessionStorage)) sessionStorage.setItem(k, '{'); }")
    reload()
    assert screen.state("measures") == [], "what cannot be read is no reason to show nothing"
    screen.context.close()


def test_delete_takes_no_measurement_that_is_not_on_the_screen(single: Screen) -> None:
    single.js("(v.setView('axial'), v.state.measures.length = 0, v.moveTo([20, 20, 16]))")
    single.settle()
    single.key("l")
    single.drag(0, 90, 40)
    single.key("ArrowUp")
    single.key("Delete")
    assert single.js("v.state.measures.length") == 1
    single.key("ArrowDown")
    single.key("Delete")
    assert single.js("v.state.measures.length") == 0
    single.key("Escape")
    single.js("v.setView('mpr')")


def test_a_measurement_removed_by_mistake_comes_back(single: Screen) -> None:
    single.js("(v.setView('axial'), v.resetView(), v.state.measures.length = 0, v.state.edits.length = 0)")
    single.js("(v.moveTo([24, 20, 16]), v.setTool('length'))")
    single.settle()
    single.drag(0, 60, 0)
    drawn = single.state("measures")
    assert len(drawn) == 1
    single.key("Delete")
    assert single.state("measures") == []
    # Undone in the very frame in which the view was changed, before anything is drawn.
    single.js("(v.setView('coronal'), v.moveTo([9, 9, 9]), v.undoMeasure())")
    single.settle()
    assert single.state("measures") == drawn
    assert (single.js("v.panes[0].plane"), single.state("pos")) == ("axial", [24, 9, 9]), "where it is seen"
    single.key("Control+z")
    assert single.state("measures") == [], "the drawing itself"
    single.key("Control+z")
    assert single.state("measures") == []
    single.key("Escape")


def test_keys_work_after_a_structure_was_hidden(single: Screen) -> None:
    single.js("(v.setView('mpr'), v.moveTo([24, 20, 16]), v.state.list = true, v.refresh())")
    single.settle()
    box = single.page.locator(".hv .row input").first
    box.click()
    single.page.keyboard.press("ArrowUp")
    single.page.keyboard.press("4")
    single.settle()
    assert single.state("pos")[0] == 25 and single.js("v.presetKey()") == "4"
    hidden = single.js("v.state.hidden.size")
    single.page.keyboard.press("Space")
    single.settle()
    assert single.js("v.state.hidden.size") == hidden - 1, "its own key is its own"
    single.js("(v.resetView(), v.state.list = null, v.refresh())")


def test_corner_texts_can_be_read_over_a_white_picture(single: Screen) -> None:
    """Bone, or letters burnt into the picture: below each text is a dark plate."""
    single.js("(v.setView('axial'), v.state.zoom = 6, v.state.centre = [24, 20, 16], v.state.window = [-2000, 2])")
    single.js("v.refresh()")
    single.settle()
    dark = single.js("""(() => {
      const r = v.panes[0].rect;
      const at = (name, x, y) => v[name].getContext('2d').getImageData(x * v.ratio, y * v.ratio, 1, 1).data;
      return [[5, 13], [r.w - 16, r.h - 12], [5, r.h - 12], [r.w / 2 - 7, 13]].map(([x, y]) =>
        [at('base', r.x + x, r.y + y)[0], at('top', r.x + x, r.y + y)[3]]);
    })()""")
    assert [white for white, _ in dark] == [255] * 4
    assert all(plate > 190 for _, plate in dark), dark
    single.js("v.resetView()")


def test_side_by_side_is_locked_and_marks_the_synthetic(compare: Screen, data: dict) -> None:
    compare.js("(v.state.window = [40, 400], v.moveTo([25, 20, 16]))")
    compare.page.mouse.move(*compare.centre_of(1))
    compare.page.mouse.wheel(0, 100)
    compare.settle()
    assert compare.js("v.panes.map(p => p.index)") == [24, 24, 24]
    assert len({json.dumps(v) for v in compare.js("v.panes.map(p => p.view.scale)")}) == 1
    for series, name in [(0, "ct"), (1, "edited")]:
        expected = dicom_window(data[name].array[24], 40, 400)
        np.testing.assert_array_equal(compare.slice(series, "axial")[..., 0], expected)
    amber = compare.js("""v.panes.map(p => {
      const r = p.rect, px = v.top.getContext('2d').getImageData(r.x + 4, r.y + 24, r.w - 8, 40).data;
      let n = 0;
      for (let i = 0; i < px.length; i += 4)
        if (px[i] > 240 && px[i + 1] > 160 && px[i + 1] < 190 && px[i + 2] < 60) n++;
      return n;
    })""")
    assert amber[1] > 100 and amber[0] == 0


def test_difference_is_signed_and_only_where_something_changed(compare: Screen, data: dict) -> None:
    compare.js("v.moveTo([28, 20, 16])")
    compare.settle()
    delta = data["edited"].array[28].astype(int) - data["ct"].array[28]
    rgb = compare.slice(2, "axial").astype(int)
    np.testing.assert_array_equal(rgb.max(axis=2) != rgb.min(axis=2), np.abs(delta) >= 10)
    assert (rgb[delta < -10][:, 2] > rgb[delta < -10][:, 0]).all()  # less dense: blue
    compare.js("v.moveTo([24, 20, 16])")
    compare.settle()
    delta = data["edited"].array[24].astype(int) - data["ct"].array[24]
    rgb = compare.slice(2, "axial").astype(int)
    red, green, blue = rgb[delta > 10].T
    assert (red > green).all() and (green > blue).all()  # denser: orange
    assert compare.js("v.valueAt(2, [24, 16, 8])") == delta[16, 8]


def test_flicker_and_swipe(compare: Screen) -> None:
    shown = []
    for _ in range(3):
        compare.key("f")
        shown.append(compare.js("v.panes.map(p => p.series)"))
    assert shown == [[1], [0], [1]]
    compare.key("w")
    x, y = compare.centre_of(0)
    compare.page.mouse.move(x, y)
    compare.page.mouse.down()
    compare.page.mouse.move(x + 100, y)
    compare.page.mouse.up()
    compare.settle()
    assert compare.state("swipe") == pytest.approx(0.5 + 100 / compare.js("v.panes[0].rect.w"), abs=0.01)
    compare.key("Escape")
    assert compare.js("v.panes.length") == 3


def test_each_side_of_the_divider_is_measured_on_its_own_picture(compare: Screen, data: dict) -> None:
    compare.js("(v.state.swipe = 0.5, v.act('swipe'), v.moveTo([24, 18, 9]))")
    compare.settle()
    box = compare.page.locator(".hv .stage canvas.top").bounding_box()
    lesion = "(() => { const w = v.panes[0].view; return [w.x0 + 9.5 * w.pxU, w.y0 + 18.5 * w.pxV, 2 * w.pxU]; })()"
    texts = []
    for side, source in ((0.9, "ct"), (0.1, "edited")):  # the lesion left of the divider: original; right: synthetic
        compare.js(f"(v.state.swipe = {side}, v.refresh())")
        compare.settle()
        x, y, step = compare.js(lesion)
        x, y = x + box["x"], y + box["y"]
        compare.page.mouse.move(x, y)
        compare.settle()
        expected = int(data[source].array[24, 18, 9])
        assert compare.js("v.valueAt(v.seriesAt(v.panes[0], v.hover.x), v.hover.voxel)") == expected
        compare.key("e")
        compare.page.mouse.down()
        compare.page.mouse.move(x + step / 2, y + step / 2)
        compare.page.mouse.move(x + step, y + step)
        compare.page.mouse.up()
        compare.key("e")
        texts.append(compare.js("v.state.measures.at(-1)"))
    assert [m["series"] for m in texts] == [0, 1]
    assert texts[1]["text"] == "250 ± 0 HU" and texts[0]["text"] != texts[1]["text"]
    compare.js("(v.state.measures.length = 0, v.state.swipe = 0.5, v.act('panes'))")


def test_a_mean_does_not_stay_on_another_synthetic_picture(compare: Screen) -> None:
    compare.js("(v.state.measures.length = 0, v.act('panes'), v.moveTo([24, 18, 9]))")
    compare.settle()
    compare.key("e")
    compare.drag(1, 40, 30)
    compare.key("e")
    drawn = """(() => { const c = v.top.getContext('2d'), draw = c.ellipse; let n = 0;
      c.ellipse = (...where) => { n += 1; draw.apply(c, where); };
      v.baseDirty = true; v.drawNow(); delete c.ellipse; return n; })()"""
    assert compare.js(drawn) == 2, "a dark border and the line, on one picture"
    compare.js("""(() => { v.before = v.data; const [ct, , difference] = v.data.series;
      v.update({ ...v.data, series: [ct, { ...ct, kind: 'synthetic' }, difference] }); })()""")
    assert compare.js(drawn) == 0
    compare.js("v.update(v.before)")
    assert compare.js(drawn) == 2
    compare.js("v.state.measures.length = 0")


def test_structures_beyond_thirty_two_are_drawn_too(browser, server: Server, data: dict) -> None:
    screen = Screen(browser, server, "many")
    assert screen.js("v.structures.length") == 40
    screen.js("(v.state.structures = 'fill', v.toggleAll(), v.toggleStructure('Bone_Mandible'), v.moveTo([15, 8, 24]))")
    screen.settle()
    rgb = screen.slice(0, "axial").astype(int)
    coloured = rgb.max(axis=2) != rgb.min(axis=2)
    np.testing.assert_array_equal(coloured, data["overlay"].masks["Bone_Mandible"][15])
    assert screen.js("v.painters.get('0|axial').paths.bits1.value.size") == 1
    assert screen.complaints == []
    screen.context.close()


def test_who_drew_a_structure_can_be_read_beside_its_name(browser, server: Server) -> None:
    screen = Screen(browser, server, "marked")
    side = screen.page.locator(".hv .side")
    rows = side.locator("button.who")
    assert rows.all_text_contents() == [
        "PTV_7000 · AI", "PTV_7000 · clinic", "PTV_7000_eval_cropped_3mm_skin · clinic"
    ]  # fmt: skip
    assert [row.get_attribute("title") for row in rows.all()] == [
        "Go to PTV_7000 (AI draft, research use only)", "Go to PTV_7000 (drawn by the clinic)",
        "Go to PTV_7000_eval_cropped_3mm_skin (drawn by the clinic)",
    ]  # fmt: skip
    for row in rows.all():  # nothing of the mark is cut, and of the short names neither
        box, mark = row.bounding_box(), row.locator(".mark").bounding_box()
        assert box["x"] <= mark["x"] and mark["x"] + mark["width"] <= box["x"] + box["width"] + 0.5
    cut = [name.evaluate("n => n.scrollWidth > n.clientWidth") for name in side.locator(".name").all()]
    assert cut == [False, False, True]
    side.get_by_label("Show PTV_7000 · clinic").uncheck()
    screen.settle()
    assert screen.js("[...v.state.hidden]") == ["uploaded: PTV_7000"]
    assert screen.complaints == []
    screen.context.close()


def test_stop_and_dismiss_can_be_read_in_a_narrow_column(browser, server: Server) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{server.url}/?page=jobs")
    for column in ("request", "panel"):
        for name in ("Stop", "Dismiss"):
            button = page.locator(f".st-key-{column}").get_by_role("button", name=name)
            button.wait_for(timeout=1000 * PATIENCE_S)
            cut = "b => [...b.querySelectorAll('*')].some(e => e.clientWidth && e.scrollWidth > e.clientWidth)"
            assert not button.evaluate(cut), (column, name)
            place = button.bounding_box()
            assert place["x"] + place["width"] <= 1280 and place["height"] < 60
    context.close()


def fetch(url: str, **headers: str) -> tuple[int, dict, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as problem:
        return problem.code, dict(problem.headers), b""


def test_voxels_only_for_the_browser_they_were_granted_to(single: Screen, data: dict) -> None:
    url = next(u for u in single.requests if "/ct/blob/" in u)
    cookies = {c["name"]: c for c in single.context.cookies()}
    assert cookies["hnvlm_sid"]["httpOnly"] and cookies["hnvlm_sid"]["sameSite"] == "Strict"
    own = f"hnvlm_sid={cookies['hnvlm_sid']['value']}"
    entry = single.js("v.data.series[0]")
    # Relative to the page: behind a proxy the app may lie below another path.
    assert urljoin("https://hospital.example/hnvlm/review", entry["url"]).startswith(
        "https://hospital.example/hnvlm/ct/"
    )
    good = urljoin(f"{single.server.url}/review", entry["url"])
    status, headers, body = fetch(good + "?z0=3&z1=5", Cookie=own)
    assert status == 200 and headers["cache-control"] == "private, no-store"
    np.testing.assert_array_equal(np.frombuffer(body, "<i2"), data["ct"].array[3:5].ravel())
    assert fetch(url)[0] == 404  # no cookie
    assert fetch(good, Cookie="hnvlm_sid=" + "x" * 32)[0] == 404  # another browser's
    assert fetch(good[:-1] + ("A" if good[-1] != "A" else "B"), Cookie=own)[0] == 404  # another token
    assert fetch(good, Cookie=own, **{"Sec-Fetch-Site": "cross-site"})[0] == 404
    assert fetch(good + "?z0=5&z1=900", Cookie=own)[0] == 400


def test_pages_carry_policy_and_cookie(server: Server) -> None:
    status, headers, _ = fetch(server.url + "/")
    assert status == 200
    assert "script-src 'self' 'sha256-" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
