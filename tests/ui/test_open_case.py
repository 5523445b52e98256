"""Which case is open: one that is deleted elsewhere is told as such, an address older than the session is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.services import documents, reporting  # noqa: E402
from hnvlm.store import erase_case  # noqa: E402
from hnvlm.ui import casebar  # noqa: E402

PATIENCE_S = 240
pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def open_review(case_id: str, *, named_by: str = "session") -> AppTest:
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    if named_by == "session":
        at.session_state["case_id"] = case_id
    else:
        at.query_params["case"] = case_id
    at.run()
    return at.switch_page("pages/review.py").run()


@pytest.mark.parametrize("others", [0, 1])
def test_a_case_deleted_by_somebody_else_is_told_and_comes_back_with_what_was_typed(services, others) -> None:
    app = services(fakes())
    case_id = add_case(app, "neck")
    for n in range(others):
        add_case(app, "another", seed=n + 1)
    report = reporting.draft_report(app, case_id)
    at = open_review(case_id)
    at.session_state[f"report-mode-{case_id}-en"] = "Edit"
    at.run()
    app.store.delete_case(case_id, who="Dr B")
    at.text_area(key=f"report-text-{report.id}").set_value("Words typed meanwhile.").run()
    deleted = casebar.when(app.store.get_case(case_id).deleted)
    for page in ("review", "plan", "counterfactual", "review"):
        at.switch_page(f"pages/{page}.py").run()
        assert not at.exception and f"{case_id} was deleted" in texts(at)
        assert f"on {deleted} UTC" in texts(at) and "under Deleted cases" in texts(at)
        assert [s.label for s in at.selectbox] == ["Case"] * others, "the other cases can be opened"
    at.switch_page("pages/cases.py").run()
    at.button(key=f"restore-{case_id}").click().run()
    at.switch_page("pages/review.py").run()
    assert "was deleted" not in texts(at)
    assert documents.typed(app, report, writer="another") == report.payload["text"]
    kept = documents.unsaved(app, report, writer="another")
    assert [k.text for k in kept] == ["Words typed meanwhile."]


def test_another_case_can_be_opened_instead(services) -> None:
    app = services(fakes())
    case_id, other = (add_case(app, seed=n) for n in (0, 1))
    app.store.delete_case(case_id)
    at = open_review(case_id, named_by="address")
    assert f"{case_id} was deleted" in texts(at)
    at.selectbox(key="case_select").select(other).run()
    assert "was deleted" not in texts(at) and at.selectbox(key="case_select").value == other
    assert at.query_params["case"] == other


def test_a_case_that_never_was_and_one_deleted_here_are_not_told_as_deleted(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    add_case(app, seed=1)
    page = texts(open_review("HN-9999"))
    assert "There is no case HN-9999" in page and "was deleted" not in page and "Choose a case above" in page
    at = open_review(case_id)
    at.switch_page("pages/cases.py").run()
    at.button(key=f"delete-{case_id}").click().run()
    at.switch_page("pages/review.py").run()
    assert "No case is open" in texts(at)


@pytest.mark.parametrize("named_by", ["session", "address"])
def test_capitals_of_a_case_in_an_address_say_nothing(services, named_by) -> None:
    app = services(fakes())
    case_id, deleted = (add_case(app, seed=n) for n in (0, 1))
    app.store.delete_case(deleted)
    at = open_review(f" {case_id.lower()}", named_by=named_by)
    assert at.selectbox(key="case_select").value == case_id and at.query_params["case"] == case_id
    assert at.session_state["case_id"] == case_id
    assert f"{deleted} was deleted" in texts(open_review(deleted.lower(), named_by=named_by))


@pytest.mark.parametrize("others", [0, 1])
def test_what_an_address_names_is_told_without_markup_and_shortened(services, others) -> None:
    app = services(fakes())
    for n in range(others):
        add_case(app, seed=n)
    at = open_review(f"[x](http://evil.example){'y' * 200}", named_by="address")
    (head,) = [s.value for s in at.subheader if "There is no case" in s.value]
    told = r"There is no case \[x\](http\:/|/evil.example)y".replace("|", "\N{WORD JOINER}")
    assert head.startswith(told) and head.endswith("y…") and len(head) < 80
    assert "No case" not in texts(at) and ("Choose a case above" in texts(at)) == bool(others)


def test_open_on_a_row_that_somebody_deleted_says_so(services) -> None:
    app = services(fakes())
    case_id, other = (add_case(app, seed=n) for n in (0, 1))
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S).run()
    app.store.delete_case(case_id, who="Dr B")
    at.button(key=f"open-{case_id}").click().run()
    assert [w.value for w in at.warning] == [f"{case_id} was deleted; it can be restored below, under Deleted cases."]
    assert at.button(key=f"restore-{case_id}") and not at.run().warning, "said once"
    at.button(key=f"restore-{case_id}").click().run()
    at.button(key=f"open-{case_id}").click().run()
    assert not at.exception and at.selectbox(key="case_select").value == case_id
    at.switch_page("pages/cases.py").run()
    at.text_input(key="search").set_value(other).run()
    app.store.delete_case(other)
    at.button(key=f"open-{other}").click().run()
    assert "No case matches" in texts(at) and at.button(key=f"restore-{other}"), "below, also where nothing is found"


def test_open_on_a_row_that_somebody_erased_says_so(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S).run()
    app.store.delete_case(case_id)
    erase_case(app.store, case_id, who="Dr B")
    at.button(key=f"open-{case_id}").click().run()
    assert [w.value for w in at.warning] == [f"There is no case {case_id} any more: everything of it was erased."]


def test_an_address_of_before_a_switch_does_not_undo_it(services) -> None:
    """The browser sends the second of two quick clicks with the address of before the first one."""
    app = services(fakes())
    first, second = (add_case(app, seed=n) for n in (0, 1))
    at = open_review(first)
    at.selectbox(key="case_select").select(second).run()
    at.query_params["case"] = first
    at.run()
    assert at.selectbox(key="case_select").value == second and at.query_params["case"] == second
