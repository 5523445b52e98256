"""The page Rate where two texts are compared: nothing sent to the browser tells the author, and nothing is lost."""

from __future__ import annotations

import sys
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

from hnvlm.services import comparing, rating  # noqa: E402
from hnvlm.services.context import App  # noqa: E402
from hnvlm.ui import rating_form  # noqa: E402

pytestmark = pytest.mark.usefixtures("through_the_entry_script")
TASK = "compare-report-en"
SIGNED = "Electronically signed by: Dr Writer"
# What may not reach the browser with a pair of texts, upper or lower case.
TELLING = ("dr writer", "clinician_text", "draft_is_a", "text_a", "made_by", "report-model", "signed", "edited")


def case_with_both(app: App, seed: int) -> str:
    case_id = add_case(app, f"phantom {seed}", seed=seed)
    for author, who, text in (
        ("model", "report-model", f"AI DRAFT - RESEARCH USE ONLY\nFINDINGS: Node in level II, {20 + seed} mm."),
        ("clinician", "Dr Writer", f"FINDINGS: Node in level III, {40 + seed} mm.\n{SIGNED}"),
    ):
        app.store.save_result(case_id, "report", {"text": text, "author": author}, slot="en", who=who)
    return case_id


def opened(name: str = "Dr A", task: str = TASK) -> AppTest:
    at = go(open_app(), "rate")
    at.text_input(key="rate-who").set_value(name)
    at.selectbox(key="rate-task").set_value(task).run()
    assert not at.exception, [e.message for e in at.exception]
    return at


def items(app: App, rater: str = "Dr A") -> list[comparing.Item]:
    return comparing.pairs(app, TASK, rater).items


def choose(at: AppTest, item: comparing.Item, **answers: str) -> None:
    for question, value in answers.items():
        at.radio(key=f"rate-{TASK}-{item.id}-{question}").set_value(value).run()
        assert not at.exception, [e.message for e in at.exception]


def shown(at: AppTest) -> list[str]:
    return [h.proto.body for h in at.get("html") if 'aria-label="Text ' in h.proto.body]


def sent(at: AppTest) -> str:
    """All that the page sends to the browser but for the row above it, which holds the rater's own name."""
    return "\n".join(str(element.proto) for element in at.main if hasattr(element, "proto"))


def test_two_texts_without_their_author_and_the_same_questions(services) -> None:
    app = services(fakes())
    for seed in range(3):
        case_with_both(app, seed)
    first = items(app)[0]
    at = opened()
    a, b = shown(at)
    for body, label, text in zip((a, b), ("Text A", "Text B"), first.texts, strict=True):
        assert f'aria-label="{label}"' in body and text.removeprefix("FINDINGS: ") in body
    assert at.get("progress")[0].proto.text == (
        "0 of 3 rated. Comparison 1: one text is an AI draft, research use only"
    )
    assert [r.label for r in at.radio] == [q.label for q in rating.questions(TASK)]
    assert at.button(key="rate-next").disabled


def test_nothing_that_is_sent_tells_whose_text_is_which(services) -> None:
    app = services(fakes())
    for seed in range(6):
        case_with_both(app, seed)
    at = opened()
    both_ways = set()
    for item in items(app):
        everything = sent(at).casefold()
        assert "text a" in everything
        assert not [word for word in TELLING if word in everything]
        both_ways.add(item.draft_is_a)
        keys = [w.key for kind in (at.radio, at.text_area, at.button) for w in kind if w.key]
        own = [key for key in keys if item.id in key]
        assert len(own) == 4
        # With the id of the comparison taken out, keys are the same whichever side the draft is on.
        assert {key.replace(item.id, "") for key in own} == {
            f"rate-{TASK}--{q}" for q in ("preference", "fewer_errors", "person", "comment")
        }
        for question in rating.questions(TASK):
            choose(at, item, **{question.id: next(iter(question.choices))})
        if not at.button(key="rate-next").disabled:
            at.button(key="rate-next").click().run()
    assert both_ways == {True, False}, "the drafts of this test stand on both sides"


def test_a_session_goes_on_where_it_stopped_and_its_results_come_when_it_is_done(services) -> None:
    app = services(fakes())
    for seed in range(2):
        case_with_both(app, seed)
    first, second = items(app)
    at = opened()
    choose(at, first, preference="b_slightly", fewer_errors="same")
    assert at.button(key="rate-next").help == "Still to answer: Which text do you think a person wrote?"
    choose(at, first, person="unsure")
    at.text_area(key=f"rate-{TASK}-{first.id}-comment").set_value("Level III").run()
    assert dict(items(app)[0].answers) == {
        "preference": "b_slightly", "fewer_errors": "same", "person": "unsure", "comment": "Level III",
    }  # fmt: skip
    assert "it would tell which text is whose" in texts(at), "results of a comparison would unblind it"
    assert not at.get("download_button") and "AI better" not in texts(at)
    again = opened()
    assert second.texts[0].removeprefix("FINDINGS: ") in shown(again)[0], "the first that is not complete"
    choose(again, second, preference="a_much", fewer_errors="a", person="a")
    assert "All are rated" in "\n".join(s.value for s in again.success)
    assert "2 comparisons of 2 cases by 1 rater." in texts(again)
    assert "Too few to claim anything" in texts(again) and len(again.get("download_button")) == 2
    assert not items(app, "Dr B")[0].answers


def test_a_text_that_is_saved_meanwhile_takes_no_comparison_away_and_tells_nothing(services) -> None:
    app = services(fakes())
    for seed in range(2):
        case_with_both(app, seed)
    item, _ = items(app)
    at = opened()
    before = shown(at)
    for author, who in (("model", "report-model"), ("clinician", "Dr Writer")):
        app.store.save_result(
            item.case.id, "report", {"text": f"FINDINGS: quite another, {author[:1]}.", "author": author}, slot="en",
            who=who,
        )  # fmt: skip
    choose(at, item, preference="equal", fewer_errors="same")
    assert shown(at) == before and "You finish what you began" in texts(at)
    assert not [word for word in TELLING if word in sent(at).casefold()]
    choose(at, item, person="unsure")
    assert shown(at) == before and at.get("progress")[0].proto.text.startswith("1 of 2 rated.")
    at.button(key="rate-newer").click().run()
    assert "quite another" in shown(at)[0] and "quite another" in shown(at)[1]
    assert at.get("progress")[0].proto.text.startswith("0 of 2 rated.") and "A newer text" not in texts(at)


def test_results_say_shares_with_their_intervals(services) -> None:
    app = services(fakes())
    for seed in range(5):
        case_with_both(app, seed)
    for item in items(app, "Dr B"):
        ai, clinician = ("a", "b") if item.draft_is_a else ("b", "a")
        for question, value in (("preference", f"{ai}_much"), ("fewer_errors", "same"), ("person", clinician)):
            comparing.answer(app, item, question, value, seconds=5)
    at = opened("")
    table = next(h.proto.body for h in at.get("html") if "hn-table" in h.proto.body)
    # Wilson of 5 of 5: 1 / (1 + 3.8416 / 5) = 0.566.
    assert "AI better</td><td>5 of 5</td><td>1.00 (0.57 to 1.00)" in table
    assert "clinician better</td><td>0 of 5</td><td>0.00 (0.00 to 0.43)" in table
    assert "5 comparisons of 5 cases by 1 rater." in texts(at)
    # All are edited drafts: nothing is claimed of texts written without one.
    shown_apart = [m.value for m in at.markdown if "Clinician's text" in m.value]
    assert shown_apart == [
        "**Clinician's text written without an AI draft**", "**Clinician's text edited from an AI draft**",
    ]  # fmt: skip
    page = texts(at)
    assert "None compared yet." in page and "Words that differ between both texts: median" in page


def test_who_wrote_a_text_is_told_why_it_is_left_out(services) -> None:
    app = services(fakes())
    case_id = case_with_both(app, 0)
    at = opened("dr writer")
    assert "Nothing to compare yet" in texts(at) and not shown(at)
    assert f"Left out for you: 1 case ({case_id}). You wrote or signed the clinician" in texts(at)


def test_who_rated_the_drafts_by_name_is_told_how_many_are_left_out_and_why(services) -> None:
    app = services(fakes())
    first, second, third = (case_with_both(app, seed) for seed in range(3))
    for case_id in (first, second):
        draft = app.store.history(case_id, "report", "en")[0]
        rating.answer(app, "report-en", draft, "Dr A", "clarity", 3, seconds=5)
    at = opened("dr a")
    assert f"Left out for you: 2 cases ({first}, {second}). You rated the AI draft there by name" in texts(at)
    assert at.get("progress")[0].proto.text.startswith("0 of 1 rated.") and third not in first + second
    draft = app.store.history(third, "report", "en")[0]
    rating.answer(app, "report-en", draft, "Dr A", "clarity", 3, seconds=5)
    at = opened("dr a")
    assert "Nothing to compare yet" in texts(at) and "Left out for you: 3 cases" in texts(at)


def test_without_a_pair_the_page_says_what_is_missing_and_where_to_go(services) -> None:
    app = services(fakes())
    at = opened()
    assert "No case has both an AI draft of its report in English and a clinician" in texts(at)
    assert [link.proto.label for link in at.get("page_link")] == ["Go to Cases"]
    case_id = add_case(app)
    app.store.save_result(case_id, "report", {"text": "No node.", "author": "model"}, slot="en", who="model")
    at = opened()
    assert "1 case with an AI draft alone: correct it under Edit" in texts(at)
    assert [link.proto.label for link in at.get("page_link")] == ["Go to Review"]
    at.selectbox(key="rate-task").set_value("compare-plan").run()
    assert "AI draft of its plan" in texts(at)


def test_time_counts_only_while_the_texts_are_shown(services, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(rating_form, "time", SimpleNamespace(monotonic=lambda: now[0]))
    app = services(fakes())
    case_with_both(app, 0)
    (item,) = items(app)
    at = opened()
    now[0] += 10
    choose(at, item, preference="equal")
    at.selectbox(key="rate-task").set_value("compare-plan").run()
    now[0] += 1000  # there is nothing of that kind: no text is shown
    at.selectbox(key="rate-task").set_value(TASK).run()
    now[0] += 5
    choose(at, item, person="unsure")
    at.text_input(key="rate-who").set_value("").run()
    now[0] += 1000
    at.text_input(key="rate-who").set_value("Dr A").run()
    now[0] += 2
    choose(at, item, fewer_errors="same")
    assert [i.seconds for i in items(app)] == [17.0]


def test_in_a_browser_no_part_of_the_document_tells_the_author(browser, tmp_path: Path) -> None:
    app = make_app(tmp_path, fakes())
    case_with_both(app, 0)
    (item,) = items(app)
    port, log = free_port(), tmp_path / "runs.log"
    command = [sys.executable, str(HERE / "serve_app.py"), str(port), str(log), "fake"]
    server = start_server(command, port, {"HNVLM_DATA_DIR": str(tmp_path)}, tmp_path / "out.txt", 180)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(90_000)
    page = context.new_page()
    try:
        page.goto(f"http://127.0.0.1:{port}/rate")
        page.get_by_placeholder("Your name").fill("Dr A")
        page.keyboard.press("Enter")
        page.get_by_text("of 1 rated").first.wait_for()
        page.get_by_role("combobox", name="What is rated").click()
        page.get_by_role("option", name="Reports compared, English").click()
        a, b = (page.get_by_role("document", name=f"Text {side}") for side in "AB")
        a.wait_for()
        assert [a.inner_text(), b.inner_text()] == list(item.texts)
        boxes = a.bounding_box(), b.bounding_box()
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] and abs(boxes[0]["y"] - boxes[1]["y"]) < 2
        panel = page.locator(".st-key-panel").evaluate("e => e.outerHTML").casefold()
        assert "text a" in panel and not [word for word in TELLING if word in panel]
        assert "dr writer" not in page.content().casefold()
        assert "draft" not in page.url and "clinician" not in page.url
        assert boxes[0]["width"] > 250, "the texts take the room there is"
        page.set_viewport_size({"width": 700, "height": 800})
        page.wait_for_timeout(1000)
        assert a.bounding_box()["y"] + a.bounding_box()["height"] <= b.bounding_box()["y"], "one above the other"
    finally:
        context.close()
        server.kill()
        server.wait(30)
        app.close()
