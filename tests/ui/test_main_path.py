"""The main job in a real browser: upload, scroll, draft, edit, plan, counterfactual, killed server, all found again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ui.browsing import HERE, STACKS, VIEWER_READY, free_port, start_server

from hnvlm.config import PROJECT_DIR
from hnvlm.models.registry import missing_models

START_S = 180
# A drafted report takes seconds; a machine that also trains takes its time.
PATIENCE_MS = 90_000
PACK_PATIENCE_MS = 300_000
WISH = "Necrotic node in left level II, 22 mm"
ADDED = "Correlation with the clinical examination is needed."


class Server:
    """The app on a free port over one data folder; can be killed and started again."""

    def __init__(self, folder: Path, models: str) -> None:
        self.folder, self.models, self.log = folder, models, folder / "runs.log"
        self.log.touch()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, str(HERE / "serve_app.py"), str(self.port), str(self.log), self.models]
        env = {"HNVLM_DATA_DIR": str(self.folder / "store")}
        self.process = start_server(command, self.port, env, self.folder / "server.txt", START_S)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def stands(self) -> str:
        """Where each thread of the server stands, innermost call first, and what it printed last."""
        assert self.process is not None
        if self.process.poll() is not None:
            return f"the server has ended with {self.process.returncode}"
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(1.0)
        stacks = (self.folder / STACKS).read_text().split("\n\n")
        calls = [
            "\n".join(stack.splitlines()[:6])
            for stack in stacks
            if "in _worker" not in stack and "queue.py" not in stack
        ]
        return "\n".join([*calls, (self.folder / "server.txt").read_text()[-500:]])

    def runs(self) -> int:
        """Script runs so far, of the whole page and of fragments."""
        return len(self.log.read_text().splitlines())

    def settled_runs(self, page) -> int:
        """Script runs once nothing has run for two seconds."""
        for _ in range(60):
            before = self.runs()
            page.wait_for_timeout(2000)
            if self.runs() == before:
                return before
        raise AssertionError("the page never came to rest")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    servers: list[Server] = []

    def start(models: str) -> Server:
        server = Server(tmp_path, models)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


class Reader:
    """A clinician at 1280 x 800."""

    def __init__(self, browser, server: Server, patience_ms: int) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(patience_ms)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: "Content Security Policy" in m.text and self.complaints.append(m.text))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def see(self, text: str) -> None:
        """Wait for a text; where it never comes, say what there is instead and what the server does."""
        from playwright.sync_api import TimeoutError as TooLate

        try:
            self.page.get_by_text(text).first.wait_for()
        except TooLate:
            shown = self.page.inner_text("body")[:1500]
            pytest.fail(f"no {text!r} at {self.page.url}, but:\n{shown}\n{self.server.stands()}", pytrace=False)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def go(self, page: str) -> None:
        self.page.get_by_role("link", name=page, exact=True).first.click()

    def choose(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).first.click()

    def viewer(self) -> None:
        self.page.wait_for_function(VIEWER_READY)

    def js(self, expression: str):
        return self.page.locator(".hv").first.evaluate(f"el => {{ const v = el.viewer; return ({expression}); }}")

    def fits(self) -> bool:
        """Whether the page needs no scrolling: everything within 1280 x 800."""
        return self.page.evaluate(
            "() => { const m = document.querySelector('[data-testid=stMain]');"
            " return m.scrollHeight <= m.clientHeight && m.scrollWidth <= m.clientWidth; }"
        )

    def outside(self) -> list[str]:
        """Requests that went to another host."""
        return [u for u in self.requests if not u.startswith((self.server.url, self.server.url.replace("http", "ws"),
                                                              "data:", "blob:"))]  # fmt: skip


def pack(folder: Path, into: Path, *, inner: str = "CT") -> Path:
    """Zip a folder of DICOM files as a user would."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{inner}/{path.relative_to(folder)}")
    return into


def upload(reader: Reader, archive: Path) -> None:
    reader.page.goto(reader.server.url)
    reader.see("The worklist is empty")
    reader.page.locator("input[type=file]").first.set_input_files(str(archive))
    reader.see("1 series can be opened")


def open_as_case(reader: Reader) -> None:
    reader.press("Open as case")
    reader.see("HN-0001 is ready")
    reader.press("Review HN-0001")
    reader.viewer()


def scroll_twenty(reader: Reader) -> None:
    """Twenty wheel steps move twenty slices, cost no script run, and do not scroll the page."""
    reader.js("v.moveTo([Math.floor(v.shape[0] / 2), v.state.pos[1], v.state.pos[2]])")
    before = reader.server.settled_runs(reader.page)
    start = reader.js("v.state.pos[0]")
    box = reader.page.locator(".hv canvas").first.bounding_box()
    reader.page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    for _ in range(20):
        reader.page.mouse.wheel(0, 100)
    reader.page.wait_for_timeout(2000)
    assert abs(reader.js("v.state.pos[0]") - start) == 20
    assert reader.server.runs() == before, "scrolling ran the script"
    assert reader.fits()


def fills_the_window(reader: Reader) -> None:
    """A taller window gives its height to the images and the column beside them; a low one scrolls neither away."""
    heights = {}
    for inner in (800, 1200, 700):
        reader.page.set_viewport_size({"width": 1280, "height": inner})
        boxes = [reader.page.locator(css).first.bounding_box() for css in (".hv", ".st-key-panel")]
        assert boxes[0]["height"] == boxes[1]["height"]
        assert reader.fits()
        heights[inner] = boxes[0]["height"]
    assert (heights[1200] - heights[800], heights[800] - heights[700]) == (400, 100)
    reader.page.set_viewport_size({"width": 1280, "height": 800})


def draft_and_edit_report(reader: Reader) -> None:
    reader.press("Draft report")
    reader.page.get_by_role("button", name="Stop").first.wait_for()
    # The images can still be scrolled while the model works, in the very same viewer.
    reader.js("(v.kept = true, v.moveTo([5, 5, 5]))")
    reader.see("AI draft, not signed")
    assert reader.js("v.kept") is True, "the viewer was built anew"
    assert reader.fits()
    reader.choose("Edit")
    box = reader.page.get_by_label("Text of the report")
    box.wait_for()
    box.fill(f"{box.input_value()}\n{ADDED}")
    reader.press("Save as new version")
    reader.see("AI draft, edited, not signed")
    reader.choose("Changes")
    reader.page.locator(".hn-diff ins").first.wait_for()
    reader.choose("Read")


def draft_plan(reader: Reader) -> None:
    # On a slow machine the page is still being drawn: a link pressed then is lost.
    reader.server.settled_runs(reader.page)
    reader.go("Treatment plan")
    reader.see("Clinical form")
    reader.press("Draft plan")
    reader.page.get_by_text("Staging", exact=True).first.wait_for()
    reader.see("Open questions (")
    assert reader.fits()


def predict_dose(reader: Reader) -> None:
    """From contours of the AI: a dose with its marks, a warning about guessed targets, a histogram and constraints."""
    reader.choose("Dose")
    reader.press("Predict dose")
    reader.see("AI draft, research use only: predicted, not calculated")
    reader.see("Targets guessed by the AI from the CT alone")
    reader.page.locator(".js-plotly-plot").first.wait_for()
    reader.page.get_by_role("tab", name="Figures", exact=True).click()
    reader.see("SpinalCord")
    reader.viewer()
    reader.server.settled_runs(reader.page)


def draw(reader: Reader) -> None:
    reader.go("Counterfactual")
    box = reader.page.get_by_label("What the CT should show")
    box.wait_for()
    box.fill(WISH)
    reader.page.keyboard.press("Control+Enter")
    reader.see("Understood: add 22 mm node in the left level II")
    reader.press("Run")
    reader.see("Kept from the original")
    # The page may still show the viewer of before for a moment, which has one pane.
    reader.page.wait_for_function(VIEWER_READY.replace("v.panes.length; }", "v.panes.length === 2; }"))
    reader.page.get_by_text("Show the difference in HU").first.click()
    reader.page.wait_for_function(VIEWER_READY.replace("v.panes.length; }", "v.panes.length === 3; }"))
    assert reader.fits()


def find_everything(reader: Reader) -> None:
    """After a killed server and a reload: the counterfactual, the plan, the edited report, the worklist."""
    reader.page.reload()
    reader.see("Kept from the original")
    assert reader.page.get_by_text(WISH).count() > 0
    reader.go("Treatment plan")
    reader.page.get_by_text("Staging", exact=True).first.wait_for()
    reader.go("Review")
    reader.see("AI draft, edited, not signed")
    reader.see(ADDED)
    reader.viewer()
    reader.go("Cases")
    row = reader.page.locator(".st-key-worklist")
    row.get_by_text("counterfactual").wait_for()
    for word in ("structures", "report", "plan"):
        assert row.get_by_text(word).count() > 0, word
    reader.go("Models")
    reader.see("What left this machine: nothing")


@pytest.mark.parametrize("models", ["fake", pytest.param("pack", marks=pytest.mark.pack)])
def test_the_main_path(models: str, serve, browser, shared_dir: Path, tmp_path: Path) -> None:
    require_pack(models)
    source = shared_dir / "data" / "dicom" / "openkbp_dicom" / "pt_1" / "CT"
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    server = serve(models)
    reader = Reader(browser, server, PACK_PATIENCE_MS if models == "pack" else PATIENCE_MS)
    upload(reader, pack(source, tmp_path / "ct.zip"))
    open_as_case(reader)
    scroll_twenty(reader)
    fills_the_window(reader)
    draft_and_edit_report(reader)
    draft_plan(reader)
    if models == "pack":  # the fake models contour no target, so there is nothing to predict a dose for
        predict_dose(reader)
    draw(reader)
    server.kill()
    server.start()
    find_everything(reader)
    assert reader.complaints == []
    assert reader.outside() == []
    reader.context.close()


@pytest.mark.parametrize("models", ["fake-out-of-scope", pytest.param("pack", marks=pytest.mark.pack)])
def test_a_chest_ct_is_shown_but_not_drafted(models: str, serve, browser, shared_dir: Path, tmp_path: Path) -> None:
    require_pack(models)
    source = shared_dir / "data" / "dicom" / "lung1-001_ct_rtstruct"
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    reader = Reader(browser, serve(models), PACK_PATIENCE_MS)
    upload(reader, pack(source, tmp_path / "chest.zip"))
    open_as_case(reader)
    assert reader.js("v.shape") == [134, 512, 512]
    scroll_twenty(reader)
    reader.press("Draft report")
    reader.see("No drafts on this CT:")
    assert reader.page.get_by_role("button", name="Draft report").is_disabled()
    reader.viewer()
    for page, name in (("Treatment plan", "Draft plan"), ("Counterfactual", "Run")):
        reader.go(page)
        button = reader.page.get_by_role("button", name=name, exact=True)
        button.wait_for()
        reader.see("No drafts on this CT:")
        assert button.is_disabled()
    assert reader.complaints == []
    reader.context.close()


def test_tilt_and_uneven_spacing_are_named(serve, browser, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "data" / "dicom" / "ge_head_tilted"
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    reader = Reader(browser, serve("fake"), PATIENCE_MS)
    upload(reader, pack(source, tmp_path / "tilted.zip"))
    reader.see("gantry tilt of 18.5 degrees corrected by resampling")
    reader.see("uneven slice spacing")
    assert reader.complaints == []
    reader.context.close()


def require_pack(models: str) -> None:
    if models == "pack":
        absent = [m for m in missing_models(PROJECT_DIR / "assets" / "models") if m not in ("judge", "dose")]
        if absent:
            pytest.skip(f"the model pack lacks {', '.join(absent)}")
