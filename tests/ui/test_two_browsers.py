"""Two people on one case: nobody's words are lost, nobody signs what he has not seen, the form is the stored one."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import PATIENCE_S, open_page, texts  # noqa: E402

from hnvlm.services import counterfactual, documents, planning, reporting  # noqa: E402
from hnvlm.services.context import App  # noqa: E402

WISH = "Necrotic node in left level II, 22 mm"
pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def edit(at: AppTest, case_id: str) -> None:
    at.session_state[f"report-mode-{case_id}-en"] = "Edit"
    at.run()


@pytest.fixture
def reported(services) -> tuple[App, str]:
    app = services(fakes())
    case_id = add_case(app)
    reporting.draft_report(app, case_id)
    return app, case_id


def test_words_typed_over_an_older_version_stay_on_the_page(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    a = open_page(case_id, "review")
    edit(a, case_id)
    a.text_area(key=f"report-text-{first.id}").set_value("A LONG WORK.").run()
    second = reporting.save_edit(app, case_id, "B was faster.", who="Dr B", based_on=first.id)
    a.button(key=f"report-save-{case_id}-en").click().run()
    assert "Dr B saved another version" in a.error[0].value
    assert "A LONG WORK." in texts(a) and any("not saved" in e.label for e in a.expander)
    take = next(b for b in a.button if b.label == "Put it into the editor")
    take.click().run()
    assert a.text_area(key=f"report-text-{second.id}").value == "A LONG WORK."
    a.button(key=f"report-save-{case_id}-en").click().run()
    assert reporting.latest(app, case_id).payload["text"] == "A LONG WORK."
    assert documents.unsaved(app, reporting.latest(app, case_id), writer="other") == []


def test_unsaved_words_of_another_are_shown_as_his_and_cannot_be_thrown_away(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    documents.keep_typing(app, first, "A UNSAVED WORDS.", who="Dr A", writer="browser of A")
    b = open_page(case_id, "review")
    edit(b, case_id)
    assert b.text_area(key=f"report-text-{first.id}").value == first.payload["text"]
    assert any(e.label.startswith("Typed by Dr A over version 1") for e in b.expander)
    assert not [x for x in b.button if x.label == "Throw it away"]
    b.button(key=f"report-discard-{case_id}-en").click().run()
    assert documents.typed(app, first, writer="browser of A") == "A UNSAVED WORDS."


def test_nobody_signs_a_version_that_came_while_he_was_reading(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    a = open_page(case_id, "review")
    reporting.save_edit(app, case_id, "B: unread text.", who="Dr B", based_on=first.id)
    a.text_input(key=f"report-name-{case_id}-en-").set_value("Dr A").run()
    assert "Version 2 by Dr B was saved while you were reading" in texts(a)
    approve = a.button(key=f"report-approve-{case_id}-en")
    assert approve.disabled and "look at it" in approve.help
    a.button(key=f"report-seen-it-{case_id}-en").click().run()
    a.button(key=f"report-approve-{case_id}-en").click().run()
    assert reporting.latest(app, case_id).signed and reporting.latest(app, case_id).version == 2


def test_a_draft_that_one_asked_for_is_no_surprise(reported) -> None:
    app, case_id = reported
    a = open_page(case_id, "review")
    a.button(key="draft-report").click().run()
    for job in app.jobs.for_case(case_id):
        app.jobs.wait(job.id, 240)
    a.run()
    assert reporting.latest(app, case_id).version == 2 and "while you were reading" not in texts(a)


def test_the_form_on_screen_is_the_one_a_plan_is_drafted_from(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    a, b = open_page(case_id, "plan"), open_page(case_id, "plan")
    a.selectbox(key=f"form-{case_id}-site").select("oropharynx").run()
    a.selectbox(key=f"form-{case_id}-p16").select("negative").run()
    b.selectbox(key=f"form-{case_id}-p16").select("positive").run()
    assert b.selectbox(key=f"form-{case_id}-site").value == "oropharynx"
    a.run()
    assert a.selectbox(key=f"form-{case_id}-p16").value == "positive"
    assert planning.load_form(app, case_id) == {"site": "oropharynx", "p16": "positive"}


def chooser(at: AppTest):
    return next(s for s in at.selectbox if s.label.startswith("Counterfactuals of this case"))


def test_who_looks_at_one_edit_stays_there_when_another_one_comes(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    first, second = (counterfactual.run_for_case(app, case_id, WISH, seed=n).id for n in (0, 1))
    a = open_page(case_id, "counterfactual")
    assert chooser(a).value == second, "the newest, for who comes to the page"
    assert len(set(chooser(a).options)) == 2, "the same words in the same minute are told apart"
    counterfactual.run_for_case(app, case_id, WISH, who="Dr B")
    a.run()
    assert chooser(a).value == second and len(chooser(a).options) == 3
    chooser(a).select(first).run()
    assert chooser(a).value == first
    counterfactual.run_for_case(app, case_id, WISH, who="Dr B")
    a.run()
    assert chooser(a).value == first and len(chooser(a).options) == 4
    a.switch_page("pages/review.py").run()
    a.switch_page("pages/counterfactual.py").run()
    assert chooser(a).value == first, "also after a look at another page"


def test_an_edit_that_one_asked_for_is_shown_when_it_is_there(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    counterfactual.run_for_case(app, case_id, WISH)
    a = open_page(case_id, "counterfactual")
    a.text_area(key=f"wish-{case_id}").set_value(WISH).run()
    a.button(key="run-edit").click().run()
    (job,) = app.jobs.for_case(case_id)
    mine = app.jobs.wait(job.id, 240).result["result_id"]
    counterfactual.run_for_case(app, case_id, WISH, who="Dr B")
    a.run()
    assert chooser(a).value == mine
    counterfactual.run_for_case(app, case_id, WISH, who="Dr B")
    a.run()
    assert chooser(a).value == mine


def test_the_same_edit_is_not_made_twice(services) -> None:
    """A double click, or another tab whose button was drawn before the work began."""
    go_on = threading.Event()
    app = services(fakes(on_step=lambda message: go_on.wait(PATIENCE_S)))
    case_id = add_case(app)
    a, b = open_page(case_id, "counterfactual"), open_page(case_id, "counterfactual")
    for tab in (a, b):
        tab.text_area(key=f"wish-{case_id}").set_value(WISH).run()
    try:
        for tab in (a, b):
            assert not tab.button(key="run-edit").disabled
            tab.button(key="run-edit").click().run()
        assert len(app.jobs.for_case(case_id)) == 1
        assert "other work on this case is going on" in " ".join(toast.value for toast in b.toast)
        assert b.button(key="run-edit").disabled
    finally:
        go_on.set()
    app.jobs.wait(app.jobs.for_case(case_id)[0].id, PATIENCE_S)
    b.run()
    b.button(key="run-edit").click().run()
    assert len(app.jobs.for_case(case_id)) == 2, "free again"


def test_work_of_another_page_that_holds_run_back_is_shown(services) -> None:
    go_on = threading.Event()
    app = services(fakes(on_step=lambda message: go_on.wait(PATIENCE_S)))
    case_id = add_case(app)
    job_id = reporting.start_draft(app, case_id)
    try:
        at = open_page(case_id, "counterfactual")
        assert at.button(key="run-edit").disabled
        assert [bar.proto.text.split(":")[0] for bar in at.get("progress")] == ["Report draft"]
        assert at.button(key=f"stop-{job_id}").label == "Stop"
    finally:
        go_on.set()
    app.jobs.wait(job_id, PATIENCE_S)
    at.run()
    assert not at.button(key="run-edit").disabled and not at.get("progress")


@pytest.mark.parametrize("pressed", ["save", "discard"])
def test_what_two_tabs_of_one_browser_type_stays_in_reach(reported, pressed: str) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    tabs = [open_page(case_id, "review") for _ in range(2)]
    for tab in tabs:
        tab.session_state["_browser"] = "one cookie"
        edit(tab, case_id)
    for tab, words in zip(tabs, ("AAA of the first tab.", "BBB of the second tab."), strict=True):
        tab.text_area(key=f"report-text-{first.id}").set_value(words).run()
    a, b = tabs
    assert "AAA of the first tab." in texts(b), "the second tab says what it typed over"
    a.text_area(key=f"report-text-{first.id}").set_value("AAA and more.").run()
    a.button(key=f"report-{pressed}-{case_id}-en").click().run()
    assert "BBB of the second tab." in texts(a)
    assert "BBB of the second tab." in texts(b.run())
    again = open_page(case_id, "review")
    again.session_state["_browser"] = "one cookie"
    assert "BBB of the second tab." in texts(again.run())
    if pressed == "save":
        assert reporting.latest(app, case_id).payload["text"] == "AAA and more."
    else:
        assert "AAA and more." in texts(a), "discarded, and still to be put back"


def test_what_was_discarded_is_put_back(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    at = open_page(case_id, "review")
    edit(at, case_id)
    at.text_area(key=f"report-text-{first.id}").set_value("An hour of words.").run()
    at.button(key=f"report-discard-{case_id}-en").click().run()
    assert documents.typed(app, first, writer=at.session_state["_browser"]) == first.payload["text"]
    next(b for b in at.button if b.label == "Put it into the editor").click().run()
    assert at.text_area(key=f"report-text-{first.id}").value == "An hour of words."
    assert not any("not saved" in e.label for e in at.expander)
    # What is thrown away there is gone from the page.
    at.button(key=f"report-discard-{case_id}-en").click().run()
    next(b for b in at.button if b.label == "Throw it away").click().run()
    assert "An hour of words." not in texts(at) and "was thrown away" in texts(at)
    at.button(key=f"report-undo-drop-{case_id}-en").click().run()
    assert "An hour of words." in texts(at) and "was thrown away" not in texts(at)


def test_undo_brings_back_one_thrown_text_after_the_other(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    at = open_page(case_id, "review")
    writer = at.session_state["_browser"]
    for words in ("First words.", "Second words."):
        documents.set_aside(app, first, words, writer=writer)
    at.run()
    for words in ("Second words.", "First words."):  # the newest stands first
        next(b for b in at.button if b.label == "Throw it away").click().run()
        assert words not in texts(at)
    for words in ("First words.", "Second words."):
        at.button(key=f"report-undo-drop-{case_id}-en").click().run()
        assert words in texts(at)
    assert not [b for b in at.button if b.label == "Undo"]


def test_what_another_tab_typed_on_is_not_thrown_away_unseen(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    at = open_page(case_id, "review")
    writer = at.session_state["_browser"]
    documents.keep_typing(app, first, "Old words.", writer=writer)
    reporting.save_edit(app, case_id, "Version two.", who="Dr B", based_on=first.id)
    at.run()
    # The other tab still shows version 1 and types on; this one has not been drawn since.
    documents.keep_typing(app, first, "Old words and new.", writer=writer)
    next(b for b in at.button if b.label == "Throw it away").click().run()
    assert "Old words and new." in texts(at) and "nothing was thrown away" in at.toast[0].value
    assert not [b for b in at.button if b.label == "Undo"]


def test_who_started_work_is_told_who_stopped_it(services) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def step(message: str) -> None:
        begun.set()
        go_on.wait(PATIENCE_S)

    app = services(fakes(on_step=step))
    case_id = add_case(app)
    a, b = open_page(case_id, "counterfactual"), open_page(case_id, "counterfactual")
    b.session_state["clinician_name"] = "Dr B"
    a.text_area(key=f"wish-{case_id}").set_value(WISH).run()
    try:
        a.button(key="run-edit").click().run()
        assert begun.wait(PATIENCE_S)
        (job,) = app.jobs.active(case_id)
        b.run()
        b.button(key=f"stop-{job.id}").click().run()
    finally:
        go_on.set()
    assert app.jobs.wait(job.id, PATIENCE_S).state == "cancelled"
    assert "stopped by Dr B" in texts(a.run()) and "stopped. Nothing" in texts(b.run())


def test_the_seed_outlives_a_look_at_another_page(services) -> None:
    at = open_page(add_case(services(fakes())), "counterfactual")
    at.number_input(key="edit-seed").set_value(7).run()
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/counterfactual.py").run()
    assert at.number_input(key="edit-seed").value == 7
    at.number_input(key="edit-seed").set_value(8).run()
    assert at.number_input(key="edit-seed").value == 8
