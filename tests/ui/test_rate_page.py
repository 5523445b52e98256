"""The page Rate through the entry script: who rates, one draft after the other, results of all raters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes, make_app  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.browsing import free_port, start_server  # noqa: E402
from ui.page_text import texts  # noqa: E402
from ui.test_pages import go, open_app  # noqa: E402

from hnvlm.services import rating  # noqa: E402
from hnvlm.services.context import App  # noqa: E402
from hnvlm.store import ResultRecord  # noqa: E402
from hnvlm.ui import rating_form  # noqa: E402

pytestmark = pytest.mark.usefixtures("through_the_entry_script")
ANSWERS = {"completeness": "4", "correctness": "5", "conciseness": "3", "clarity": "5", "clinical_utility": "4",
           "radpeer": "2a", "harm": "none"}  # fmt: skip


def with_drafts(app: App, count: int) -> None:
    for seed in range(count):
        case_id = add_case(app, f"phantom {seed}", seed=seed)
        app.store.save_result(
            case_id, "report", {"text": f"FINDINGS: draft {seed}.", "author": "model"}, slot="en", who="model"
        )


def named(at: AppTest, name: str) -> AppTest:
    at.text_input(key="rate-who").set_value(name).run()
    assert not at.exception
    return at


def choose(at: AppTest, draft_id: int, rater: str, question: str, value: str) -> None:
    key = f"rate-report-en-{draft_id}-{rater}-{question}"
    # AppTest calls a segmented control a button group.
    (asked,) = [widget for kind in ("button_group", "radio") for widget in at.get(kind) if widget.key == key]
    asked.set_value(value).run()
    assert not at.exception, [e.message for e in at.exception]


def shown(at: AppTest) -> str:
    return next(h.proto.body for h in at.get("html") if "AI draft to rate" in h.proto.body)


def test_without_a_name_and_without_a_draft_the_page_says_what_to_do(services) -> None:
    services(fakes())
    at = go(open_app(), "rate")
    assert "Who rates?" in texts(at)
    assert "Nothing to rate yet" in texts(named(at, "Dr A"))


def test_a_session_goes_from_draft_to_draft_and_goes_on_where_it_stopped(services) -> None:
    app = services(fakes())
    with_drafts(app, 3)
    order = [i.draft for i in rating.items(app, "report-en", "Dr A")]
    at = named(go(open_app(), "rate"), "Dr A")
    assert order[0].payload["text"].split()[-1] in shown(at)
    following = at.button(key="rate-next")
    assert following.disabled and following.help.startswith("Still to answer: Completeness, Correctness")
    assert at.button(key="rate-previous").disabled
    for question, value in ANSWERS.items():
        choose(at, order[0].id, "Dr A", question, value)
    assert at.button(key="rate-next").help == "Still to answer: Your confidence"
    choose(at, order[0].id, "Dr A", "confidence", "4")
    assert at.get("progress")[0].proto.text.startswith("1 of 3 rated")
    at.button(key="rate-next-below").click().run()
    assert order[1].payload["text"].split()[-1] in shown(at)
    at.button(key="rate-skip").click().run()
    assert order[2].payload["text"].split()[-1] in shown(at) and at.button(key="rate-skip").disabled
    kept = rating.items(app, "report-en", "Dr A")
    assert [item.complete for item in kept] == [True, False, False]
    assert dict(kept[0].answers) == {
        k: int(v) if v.isdigit() else v for k, v in (ANSWERS | {"confidence": "4"}).items()
    }
    again = named(go(open_app(), "rate"), "Dr A")
    assert order[1].payload["text"].split()[-1] in shown(again), "the first that is not complete"


def test_another_rater_sees_nothing_of_it_and_a_wrong_number_of_errors_loses_nothing(services) -> None:
    app = services(fakes())
    with_drafts(app, 1)
    draft = rating.items(app, "report-en", "Dr A")[0].draft
    at = named(go(open_app(), "rate"), "Dr A")
    choose(at, draft.id, "Dr A", "clarity", "2")
    at.number_input(key=f"rate-report-en-{draft.id}-Dr A-missed_finding_significant").set_value(2).run()
    at.text_area(key=f"rate-report-en-{draft.id}-Dr A-comment").set_value("Node in III missed").run()
    at = named(at, "Dr B")
    assert at.number_input(key=f"rate-report-en-{draft.id}-Dr B-missed_finding_significant").value is None
    at = named(at, "Dr A")
    kept = rating.items(app, "report-en", "Dr A")[0].answers
    assert dict(kept) == {"clarity": 2, "missed_finding_significant": 2, "comment": "Node in III missed"}
    assert at.text_area(key=f"rate-report-en-{draft.id}-Dr A-comment").value == "Node in III missed"
    # What is too long is told, never cut or dropped without a word; what was kept before stays.
    at.text_area(key=f"rate-report-en-{draft.id}-Dr A-comment").set_value("x" * 4001).run()
    assert any("4001 characters; at most 4000" in e.value for e in at.error)
    kept = rating.items(app, "report-en", "Dr A")[0].answers
    assert kept["comment"] == "Node in III missed"


def test_time_counts_only_while_the_draft_is_shown(services, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(rating_form, "time", SimpleNamespace(monotonic=lambda: now[0]))
    app = services(fakes())
    with_drafts(app, 2)
    first = rating.items(app, "report-en", "Dr A")[0].draft.id
    at = named(go(open_app(), "rate"), "Dr A")
    now[0] += 10
    choose(at, first, "Dr A", "clarity", "2")
    at.button(key="rate-skip").click().run()
    now[0] += 1000
    at.button(key="rate-previous").click().run()
    now[0] += 5
    choose(at, first, "Dr A", "clarity", "3")
    go(at, "cases")
    now[0] += 1000
    go(at, "rate")
    now[0] += 2
    choose(at, first, "Dr A", "clarity", "4")
    assert [i.seconds for i in rating.items(app, "report-en", "Dr A")] == [17.0, 0.0]


def redraft(app: App, draft: ResultRecord, text: str) -> ResultRecord:
    return app.store.save_result(draft.case_id, "report", {"text": text, "author": "model"}, slot="en", who="model")


def rated(app: App, draft: ResultRecord, rater: str) -> None:
    for question, value in (ANSWERS | {"confidence": "4"}).items():
        rating.answer(app, "report-en", draft, rater, question, value, seconds=5)


def told(at: AppTest) -> str:
    """What is said of a newer draft."""
    return "\n".join(info.value for info in at.info if "newer" in info.value)


def test_a_redraft_by_a_colleague_takes_nothing_away_and_is_told(services) -> None:
    app = services(fakes())
    with_drafts(app, 3)
    first, second, _ = (i.draft for i in rating.items(app, "report-en", "Dr A"))
    rated(app, first, "Dr A")
    at = named(go(open_app(), "rate"), "Dr A")
    assert second.payload["text"].split()[-1] in shown(at)
    for draft in (first, second):
        redraft(app, draft, draft.payload["text"])
    choose(at, second.id, "Dr A", "clarity", "2")
    assert second.payload["text"].split()[-1] in shown(at) and "newer AI draft" not in texts(at)
    assert at.get("progress")[0].proto.text.startswith("1 of 3 rated. Draft 2,")
    new = redraft(app, second, "FINDINGS: quite another draft.")
    choose(at, second.id, "Dr A", "harm", "none")
    assert second.payload["text"].split()[-1] in shown(at)
    assert "You finish what you began; the newer one comes after it." in told(at)
    for question, value in (ANSWERS | {"confidence": "4"}).items():
        choose(at, second.id, "Dr A", question, value)
    assert at.get("progress")[0].proto.text.startswith("2 of 3 rated. Draft 2,"), "it stays on the screen"
    assert "Your answers to this one are kept." in told(at)
    at.button(key="rate-newer").click().run()
    assert "another draft" in shown(at) and not told(at)
    assert at.get("progress")[0].proto.text.startswith("1 of 3 rated.")
    choose(at, new.id, "Dr A", "clarity", "4")
    assert len(rating.ratings(app, "report-en")) == 3, "no rating was lost"


def test_the_draft_that_is_read_stays_until_the_rater_goes_on(services) -> None:
    app = services(fakes())
    with_drafts(app, 2)
    first, _ = (i.draft for i in rating.items(app, "report-en", "Dr A"))
    at = named(go(open_app(), "rate"), "Dr A")
    redraft(app, first, "FINDINGS: quite another draft.")
    at.run()
    assert first.payload["text"].split()[-1] in shown(at)
    assert told(at) == "A newer AI draft of this case exists. It takes its place when you go on."
    go(at, "cases")
    assert "another draft" in shown(go(at, "rate")), "of the same case, and the newest of it"


def test_who_rated_before_chooses_a_name_and_a_new_name_is_told(services) -> None:
    app = services(fakes())
    with_drafts(app, 2)
    first = rating.items(app, "report-en", "Adam Bielecki")[0].draft
    rated(app, first, "Dr Adam Bielecki")
    at = go(open_app(), "rate")
    assert at.selectbox(key="rate-known").options == ["Dr Adam Bielecki"]
    at.selectbox(key="rate-known").set_value("Dr Adam Bielecki").run()
    assert at.text_input(key="rate-who").value == "Dr Adam Bielecki"
    for name in ("Dr Adam Bielecki", "Adam Bielecki", "adam bielecki, MD"):
        at = named(at, name)
        assert at.get("progress")[0].proto.text.startswith("1 of 2 rated.") and "Names so far" not in texts(at)
    at = named(at, "Adam Bilecki")
    assert at.get("progress")[0].proto.text.startswith("0 of 2 rated.")
    assert "Nobody has rated as Adam Bilecki before. Names so far: Dr Adam Bielecki." in texts(at)


@contextmanager
def rating_in(browser, tmp_path: Path) -> Iterator:
    """The page Rate of a server of its own, in a window of a small laptop."""
    port, log = free_port(), tmp_path / "runs.log"
    command = [sys.executable, str(HERE / "serve_app.py"), str(port), str(log), "fake"]
    server = start_server(command, port, {"HNVLM_DATA_DIR": str(tmp_path)}, tmp_path / "out.txt", 180)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(90_000)
    page = context.new_page()
    try:
        page.goto(f"http://127.0.0.1:{port}/rate")
        yield page
    finally:
        context.close()
        server.kill()
        server.wait(30)


def test_in_a_browser_answers_and_words_outlive_a_reload(browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect  # as elsewhere, only where a browser is there

    app = make_app(tmp_path, fakes())
    with_drafts(app, 2)
    first = rating.items(app, "report-en", "Dr A")[0].draft.id
    with rating_in(browser, tmp_path) as page:
        for words in ("", "Level III is missed."):
            page.get_by_placeholder("Your name").fill("Dr A")
            page.keyboard.press("Enter")
            page.get_by_text("of 2 rated").first.wait_for()
            comment = page.get_by_label("Comment")
            if not words:
                clarity = page.locator(f".st-key-rate-report-en-{first}-Dr-A-clarity")
                clarity.get_by_role("radio", name="4").click()
                page.get_by_text("Still to answer: Completeness, Correctness, Conciseness, Clinical").wait_for()
                comment.fill("Level III is missed.")
                page.wait_for_timeout(4000)  # longer than the pause in which typed words are sent
                page.reload()
        expect(comment).to_have_value(words)  # Streamlit draws the box empty and fills it a moment later
        assert dict(rating.items(app, "report-en", "Dr A")[0].answers) == {"clarity": 4, "comment": words}
        following = page.get_by_role("button", name="Next").first
        assert following.is_disabled()
    app.close()


def test_in_a_browser_the_next_draft_begins_at_its_top_and_an_answer_scrolls_nothing(browser, tmp_path: Path) -> None:
    app = make_app(tmp_path, fakes())
    with_drafts(app, 2)
    first, second = (i.draft for i in rating.items(app, "report-en", "Dr A"))
    rated(app, first, "Dr A")
    scrolled = "document.querySelector('.st-key-panel')?.scrollTop"
    with rating_in(browser, tmp_path) as page:
        page.get_by_placeholder("Your name").fill("Dr A")
        page.keyboard.press("Enter")
        page.get_by_text(second.payload["text"]).wait_for()
        page.get_by_role("button", name="Previous").click()
        page.get_by_text(first.payload["text"]).wait_for()
        confidence = page.locator(f".st-key-rate-report-en-{first.id}-Dr-A-confidence")
        confidence.wait_for()
        # Asked until it holds: the column may be drawn anew once more meanwhile.
        bottom = "(() => { const e = document.querySelector('.st-key-panel'); e?.scrollTo(0, e.scrollHeight); })()"
        page.wait_for_function(f"({bottom}, {scrolled} > 100)")
        # The first press takes the answer back, the second gives it again.
        for words in ("Still to answer: Your confidence", "Complete and kept."):
            confidence.get_by_role("radio", name="4").click()
            page.get_by_text(words).wait_for()
            assert page.evaluate(scrolled) > 100
        page.get_by_role("button", name="Next").last.click()
        page.get_by_text(second.payload["text"]).wait_for()
        page.wait_for_function(f"{scrolled} === 0")
        boxes = [page.locator(css).first.bounding_box() for css in (".hv", ".st-key-panel")]
        assert boxes[0]["height"] == boxes[1]["height"] and boxes[0]["y"] == boxes[1]["y"]
    app.close()
