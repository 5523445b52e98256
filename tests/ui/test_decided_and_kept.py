"""The Review page: suspicions are decided there, no typed text is lost from sight, and who did it is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import open_page, texts  # noqa: E402

from hnvlm.services import analysis, documents, reporting  # noqa: E402
from hnvlm.services.context import App  # noqa: E402
from hnvlm.types import Finding  # noqa: E402

SUSPECTED = Finding(
    "mass", "indeterminate", side="right", site="palatine tonsil", certainty="possible", source="zero-shot",
    slice_index=3, box=(2, 3, 5, 5, 6, 9), score=0.8, attributes={"suspected": True},
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("through_the_entry_script")


@pytest.fixture
def case(services) -> tuple[App, str]:
    app = services(fakes())
    return app, add_case(app)


@pytest.fixture
def reported(case) -> tuple[App, str]:
    app, case_id = case
    reporting.save_edit(app, case_id, "Indeterminate mass in the right palatine tonsil.", who="Dr B")
    return app, case_id


def edit(at: AppTest, case_id: str) -> AppTest:
    at.session_state[f"report-mode-{case_id}-en"] = "Edit"
    return at.run()


def named(at: AppTest, key: str):
    return next(box for box in at.text_input if box.key.startswith(key))


def test_a_suspicion_is_confirmed_by_name_and_taken_back(case) -> None:
    app, case_id = case
    analysis.save_findings(app, case_id, [SUSPECTED])
    reporting.save_edit(app, case_id, "Indeterminate mass in the right palatine tonsil.", who="Dr B")
    at = open_page(case_id, "review")
    assert "Confirm it or reject it" in texts(at)
    named(at, f"decider-{case_id}").set_value("Dr Ada Nowak").run()
    at.button(key="suspicion-0-confirm").click().run()
    page = texts(at)
    assert "Confirmed by Dr Ada Nowak, 20" in page and "Decided since this text was written" in page
    assert "Confirm it or reject it" not in page
    assert at.button(key="finding-suspicion-0").label == "Mass right palatine tonsil, confirmed"
    assert [f.source for f in analysis.load_findings(app, case_id)] == ["clinician"]
    at.button(key="suspicion-0-undo").click().run()
    assert analysis.load_findings(app, case_id) == [SUSPECTED]
    assert at.button(key="finding-suspicion-0").label == "Mass right palatine tonsil, suspected"
    assert "Decided since" not in texts(at)


def test_a_rejected_suspicion_stays_in_sight_for_its_undo_and_tells_that_nobody_was_named(case) -> None:
    app, case_id = case
    analysis.save_findings(app, case_id, [SUSPECTED])
    at = open_page(case_id, "review")
    at.button(key="suspicion-0-reject").click().run()
    assert "Rejected by nobody named, 20" in texts(at) and analysis.load_findings(app, case_id) == []
    at = open_page(case_id, "review")
    assert at.button(key="finding-suspicion-0").label == "Mass right palatine tonsil, rejected"
    at.button(key="suspicion-0-undo").click().run()
    assert analysis.load_findings(app, case_id) == [SUSPECTED]


def test_what_the_editor_held_is_kept_when_another_text_takes_its_place(reported) -> None:
    app, case_id = reported
    first = reporting.latest(app, case_id)
    documents.keep_typing(app, first, "Words of another.", who="Dr C", writer="browser of C")
    at = edit(open_page(case_id, "review"), case_id)
    at.text_area(key=f"report-text-{first.id}").set_value("My own long work.").run()
    next(b for b in at.button if b.label == "Put it into the editor").click().run()
    assert at.text_area(key=f"report-text-{first.id}").value == "Words of another."
    assert "What the editor held" in at.toast[0].value and "My own long work." in texts(at)
    mine = next(e for e in at.expander if e.label.startswith("Typed here over version 1"))
    next(b for b in mine.button if b.label == "Put it into the editor").click().run()
    assert at.text_area(key=f"report-text-{first.id}").value == "My own long work."
    # Back and forth, and each of them is still there.
    assert {"Words of another."} == {k.text for k in documents.unsaved(app, first, writer="nobody") if k.who == "Dr C"}
    assert any(e.label.startswith("Typed here") for e in at.expander)


def test_nothing_is_set_aside_where_nothing_was_typed(reported) -> None:
    app, case_id = reported
    documents.keep_typing(app, reporting.latest(app, case_id), "Words of another.", who="Dr C", writer="browser of C")
    at = edit(open_page(case_id, "review"), case_id)
    next(b for b in at.button if b.label == "Put it into the editor").click().run()
    assert not at.toast and not [e for e in at.expander if e.label.startswith("Typed here")]


def test_more_unsaved_texts_than_are_shown_at_once_can_all_be_reached(reported) -> None:
    app, case_id = reported
    for n in range(5):
        documents.keep_typing(app, reporting.latest(app, case_id), f"Words {n}.", who=f"Dr {n}", writer=f"browser {n}")
    at = open_page(case_id, "review")
    page = texts(at)
    assert [n for n in range(5) if f"Words {n}." in page] == [2, 3, 4]
    more = at.toggle(key=f"report-all-kept-{case_id}-en")
    assert more.label == "Show all texts that were not saved (2 more)"
    more.set_value(True).run()
    assert all(f"Words {n}." in texts(at) for n in range(5))


def test_why_nobody_can_sign_yet_stands_beside_the_button(reported) -> None:
    _, case_id = reported
    at = open_page(case_id, "review")
    why = "Type the name of the clinician who signs, then press Enter."
    assert at.button(key=f"report-approve-{case_id}-en").disabled and why in texts(at)
    at.text_input(key=f"report-name-{case_id}-en-").set_value("Dr A").run()
    assert not at.button(key=f"report-approve-{case_id}-en").disabled and why not in texts(at)


def test_who_saves_gives_a_name_or_is_told_as_nobody_named(reported) -> None:
    app, case_id = reported
    at = edit(open_page(case_id, "review"), case_id)
    at.text_area(key=f"report-text-{reporting.latest(app, case_id).id}").set_value("First change.").run()
    at.button(key=f"report-save-{case_id}-en").click().run()
    assert "by nobody named: give your name" in at.toast[0].value
    edit(at, case_id)
    named(at, f"report-saver-{case_id}").set_value("Dr Ada Nowak").run()
    assert named(at, f"report-saver-{case_id}").value == "Dr Ada Nowak"
    at.text_area(key=f"report-text-{reporting.latest(app, case_id).id}").set_value("Second change.").run()
    at.button(key=f"report-save-{case_id}-en").click().run()
    assert at.toast[0].value == "Saved as a new version."
    assert [v.who for v in reporting.versions(app, case_id)] == ["Dr B", documents.UNNAMED, "Dr Ada Nowak"]
    at.session_state[f"report-mode-{case_id}-en"] = "History"
    at.run()
    by = [e.label.split("UTC, ")[1].split(".")[0] for e in at.expander if e.label.startswith("Version")]
    assert by == ["by Dr Ada Nowak", "by nobody named", "by Dr B"]


def test_a_case_of_earlier_models_says_so_and_is_measured_anew(case, monkeypatch) -> None:
    app, case_id = case
    analysis.analyse_case(app, case_id)
    assert not [b for b in open_page(case_id, "review").button if b.key == "measure"]
    monkeypatch.setattr(analysis, "of_earlier_models", lambda *_: True)
    at = open_page(case_id, "review")
    assert "The models were replaced since this case was contoured and measured" in texts(at)
    at.button(key="measure").click().run()
    (job,) = app.jobs.for_case(case_id)
    assert app.jobs.wait(job.id, 30).state == "done"
    assert len(app.store.history(case_id, "segmentation")) == 2
