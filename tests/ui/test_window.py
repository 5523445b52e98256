"""In a browser: the steps of its history, what fits into its window, and how legible a warning is."""

from __future__ import annotations

import re
import sys

import pytest
from ui.browsing import HERE, VIEWER_READY, free_port, start_server
from ui.fake_app import add_case, fakes, make_app

from hnvlm.services import counterfactual, reporting

START_S = 180
PATIENCE_MS = 90_000
SIZES = ((1280, 720), (900, 700), (1920, 1080))
WARNINGS = {"warnings": ["gantry tilt of 12.0 degrees was corrected", "uneven slice spacing"]}
COLUMNS = ".hv, .st-key-panel, .st-key-request, .st-key-form, .st-key-plan, .st-key-dose-panel"
# Of the warnings in small letters: the contrast of each with what is behind it, as WCAG 2 reckons it.
CONTRASTS = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = numbers(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor).slice(0, 3);
  return [...document.querySelectorAll('[data-testid=stCaptionContainer] .stMarkdownColoredText')].map(words => {
    let alpha = 1;
    for (let e = words; e; e = e.parentElement) alpha *= Number(getComputedStyle(e).opacity);
    const seen = numbers(getComputedStyle(words).color).slice(0, 3).map((v, n) => alpha * v + (1 - alpha) * ground[n]);
    const [low, high] = [light(seen), light(ground)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with three cases: services that work beside it on its store, its address, its log of script runs."""
    folder = tmp_path_factory.mktemp("window")
    app = make_app(folder, fakes())
    for n in range(3):
        add_case(app, "A description that takes its room", seed=n, meta=WARNINGS)
    port = free_port()
    command = [sys.executable, str(HERE / "serve_app.py"), str(port), str(folder / "runs.log"), "fake"]
    process = start_server(command, port, {"HNVLM_DATA_DIR": str(folder)}, folder / "out.txt", START_S)
    yield app, f"http://127.0.0.1:{port}", folder / "runs.log"
    process.kill()
    process.wait(30)
    app.close()


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    opened.app, opened.start, opened.log = server
    yield opened
    context.close()


def settle(page) -> None:
    """Wait until no script has run for two seconds."""
    before = -1
    while before != (before := len(page.log.read_text().splitlines())):
        page.wait_for_timeout(2000)


def open_at(page, address: str) -> None:
    page.goto(f"{page.start}/{address}")
    page.locator(".st-key-casebar").wait_for()
    settle(page)


def choose(page, case_id: str) -> None:
    box = page.get_by_role("combobox", name="Case")
    box.click()
    box.fill(case_id)
    box.press("Enter")
    see(page, case_id)
    settle(page)


def see(page, case_id: str, name: str = "review") -> str:
    """Wait until a page shows a case, its images included, and the address names both; return that end of it."""
    from playwright.sync_api import expect  # as elsewhere, only where a browser is there

    expect(page.get_by_role("combobox", name="Case")).to_have_value(re.compile(case_id), timeout=PATIENCE_MS)
    page.wait_for_function(VIEWER_READY.replace("v.panes.length; }", f"v.data.case === '{case_id}'; }}"))
    page.wait_for_url(f"**/{name}?case={case_id}")
    return page.url.rsplit("/", 1)[-1]


def test_back_and_forward_lead_to_the_case_of_before(page) -> None:
    open_at(page, "review?case=HN-0001")
    see(page, "HN-0001")
    for case_id in ("HN-0002", "HN-0003"):
        choose(page, case_id)
    for step, case_id in ((page.go_back, 2), (page.go_back, 1), (page.go_forward, 2), (page.go_forward, 3)):
        step()
        assert see(page, f"HN-000{case_id}") == f"review?case=HN-000{case_id}"
        settle(page)
    page.go_back()
    assert see(page, "HN-0002") == "review?case=HN-0002"
    settle(page)
    choose(page, "HN-0001")
    page.get_by_role("link", name="Counterfactual", exact=True).first.click()
    assert see(page, "HN-0001", "counterfactual") == "counterfactual?case=HN-0001"
    settle(page)
    for case_id in ("HN-0001", "HN-0002", "HN-0001"):
        page.go_back()
        assert see(page, case_id) == f"review?case={case_id}"
        settle(page)


def fits(page) -> bool:
    """Nothing of the columns lies below the banner, they end about where it begins, and the page needs no scrolling."""
    columns = page.locator(COLUMNS)
    ends = [columns.nth(n).evaluate("e => e.getBoundingClientRect().bottom") for n in range(columns.count())]
    banner = page.locator(".hn-banner").evaluate("e => e.getBoundingClientRect().top")
    assert ends and banner - 20 <= max(ends) <= banner, (ends, banner)
    assert max(ends) - min(ends) <= 10, ends
    return page.evaluate("() => { const m = document.querySelector('[data-testid=stMain]');"
                         " return m.scrollHeight <= m.clientHeight && m.scrollWidth <= m.clientWidth; }")  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_columns_take_what_the_rows_above_them_leave(page, size) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for name in ("review", "plan", "counterfactual"):
        open_at(page, f"{name}?case=HN-0001")
        assert fits(page)
    page.get_by_role("link", name="Treatment plan", exact=True).first.click()
    page.get_by_role("radio", name="Dose", exact=True).first.click()
    page.locator(".st-key-dose-panel").wait_for()
    settle(page)
    assert fits(page)


def test_an_error_above_moves_the_columns_and_builds_no_viewer_anew(page) -> None:
    draft = reporting.draft_report(page.app, "HN-0001")
    open_at(page, "review?case=HN-0001")
    see(page, "HN-0001")
    page.get_by_role("radio", name="Edit", exact=True).first.click()
    page.get_by_label("Text of the report").fill("Typed over the draft.")
    settle(page)
    reporting.save_edit(page.app, "HN-0001", "B was faster.", who="Dr B", based_on=draft.id)
    page.locator(".hv").evaluate("e => { e.viewer.kept = true; }")
    page.get_by_role("button", name="Save as new version").click()
    error = page.get_by_text("Dr B saved another version")
    error.wait_for()
    settle(page)
    assert fits(page)
    page.get_by_role("radio", name="Read", exact=True).first.click()
    error.wait_for(state="detached")
    settle(page)
    assert fits(page)
    assert page.locator(".hv").evaluate("e => e.viewer.kept"), "the viewer was built anew"


def test_a_warning_in_small_letters_is_legible(page) -> None:
    open_at(page, "counterfactual?case=HN-0001")
    page.get_by_label("What the CT should show").fill("Node in left level II, 6 mm")
    page.get_by_text("voxels of this CT").first.wait_for()
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts and min(contrasts) >= 4.5


# Words that a line ends within: text nodes whose word has boxes on two lines.
BROKEN = """where => [...document.querySelectorAll(where)].flatMap(place => {
  const found = [], walk = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode())
    for (const word of node.data.matchAll(/[^\\s]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) found.push(word[0]);
    }
  return found;
})"""


def test_no_word_of_the_worklist_is_broken_in_a_window_of_900_pixels(page) -> None:
    counterfactual.run_for_case(page.app, "HN-0001", "Necrotic node in left level II, 22 mm")
    page.goto(f"{page.start}/cases")
    page.get_by_role("button", name="Open", exact=True).first.wait_for()
    settle(page)
    assert page.get_by_text("not checked").count()
    results = page.locator(".st-key-row-HN-0001").get_by_text("counterfactual")
    for width in (900, 1024, 1152, 1280):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_timeout(300)
        assert results.count() == 1 and page.evaluate(BROKEN, ".st-key-worklist") == [], width


def test_a_check_is_not_cut_off_in_a_narrow_column(page) -> None:
    reporting.save_edit(page.app, "HN-0003", "Mass in the left palatine tonsil, 31 mm.", who="Dr A")
    page.set_viewport_size({"width": 900, "height": 700})
    open_at(page, "review?case=HN-0003")
    badge = page.locator(".st-key-panel [data-testid=stMarkdownBadge], .st-key-panel .stMarkdownBadge").last
    badge.wait_for()
    assert badge.evaluate("e => e.scrollWidth <= e.clientWidth"), badge.inner_text()
    assert page.evaluate(BROKEN, ".st-key-panel") == []
    assert page.locator(".st-key-panel").evaluate("e => e.scrollWidth <= e.clientWidth")
