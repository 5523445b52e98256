"""Whose name stands under what is signed and rated: typed once, or given by the log-in of a proxy."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.runtime import context as streamlit_context  # noqa: E402
from ui.page_text import open_page, texts  # noqa: E402
from ui.test_pages import go, open_app  # noqa: E402

from hnvlm import config  # noqa: E402
from hnvlm.services import documents, reporting  # noqa: E402
from hnvlm.services.plain import one_line  # noqa: E402
from hnvlm.ui import html  # noqa: E402

pytestmark = pytest.mark.usefixtures("through_the_entry_script")
HEADER = "X-Remote-User"
NOBODY = "The log-in before this server gave no name"


@pytest.fixture
def log_in(monkeypatch):
    """Return a function that makes a proxy give this name, as a server reads it."""
    monkeypatch.setenv("HNVLM_USER_HEADER", HEADER)
    config.settings.cache_clear()

    def give(name: str | None) -> None:
        sent = [] if name is None else [(HEADER.lower(), name.encode().decode("latin-1"))]
        monkeypatch.setattr(streamlit_context, "_get_client_context", lambda: SimpleNamespace(headers=sent, cookies={}))

    yield give
    monkeypatch.delenv("HNVLM_USER_HEADER")
    config.settings.cache_clear()


def boxes(at) -> list[str]:
    return [box.label for box in at.text_input]


def test_a_report_is_signed_under_the_name_of_the_log_in(services, log_in) -> None:
    app = services(fakes())
    case_id = add_case(app)
    reporting.draft_report(app, case_id)
    log_in("Dr  Żaneta Łoś ")
    at = open_page(case_id, "review")
    assert not any("ame" in label for label in boxes(at))
    (approve,) = [b for b in at.button if b.label == "I have read and approve it"]
    assert not approve.disabled and "Name of the clinician: Dr Żaneta Łoś" in texts(at)
    approve.click().run()
    assert not at.exception
    assert [s.clinician for s in app.store.latest_result(case_id, "report", "en").signoffs] == ["Dr Żaneta Łoś"]


def test_without_a_name_of_the_log_in_nobody_signs_or_rates(services, log_in) -> None:
    app = services(fakes())
    case_id = add_case(app)
    reporting.draft_report(app, case_id)
    log_in(None)
    at = open_page(case_id, "review")
    (approve,) = [b for b in at.button if b.label == "I have read and approve it"]
    assert approve.disabled and NOBODY in approve.help and NOBODY in texts(at)
    rate = go(open_app(), "rate")
    assert boxes(rate) == [] and NOBODY in texts(rate) and "AI draft to rate" not in str(rate.get("html"))


def test_a_rater_is_who_is_logged_in(services, log_in) -> None:
    app = services(fakes())
    reporting.draft_report(app, add_case(app))
    log_in("Ada Nowak")
    at = go(open_app(), "rate")
    assert boxes(at) == [] and "Ada Nowak" in str([h.proto.body for h in at.get("html")])
    assert any("AI draft to rate" in h.proto.body for h in at.get("html"))


def test_a_name_given_elsewhere_is_the_one_that_signs(services) -> None:
    """It stood in the box, and the button asked for it all the same; after a signature the box kept another's."""
    app = services(fakes())
    case_id = add_case(app)
    reporting.draft_report(app, case_id)
    at = open_page(case_id, "review")
    for name in ("Dr Adamska", "Dr Nowak"):
        at.session_state["clinician_name"] = name
        at.run()
        (box,) = [b for b in at.text_input if b.label == "Name of the clinician"]
        (approve,) = [b for b in at.button if b.label == "I have read and approve it"]
        assert (box.value, approve.disabled) == (name, False)
        approve.click().run()
        assert not at.exception
    signed = app.store.latest_result(case_id, "report", "en").signoffs
    assert [s.clinician for s in signed] == ["Dr Adamska", "Dr Nowak"]


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("  Dr  Ada\tNowak ", "Dr Ada Nowak"),
        ("Dr \u202eyeldi\u202c", "Dr yeldi"),
        ("a \u200b b\x07", "a b"),
        ("\u202e", ""),
    ],
)
def test_a_name_has_nothing_that_nobody_sees(given: str, plain: str) -> None:
    assert one_line(given) == plain


def test_words_have_neither_markup_nor_an_address_that_becomes_a_link() -> None:
    joiner = "\u2060"
    assert html.as_written("Dr **y** [x](z)") == r"Dr \*\*y\*\* \[x\](z)"
    assert html.as_written("http://a.b") == rf"http\:/{joiner}/a.b" and html.as_written("www.a.b") == f"www{joiner}.a.b"
    assert html.as_written("me@a.b") == f"me{joiner}@a.b" and html.as_written("&lt; R&D") == r"\&lt; R&D"


def test_the_name_of_who_signs_is_shown_as_it_was_given(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    first = reporting.draft_report(app, case_id)
    documents.keep_typing(app, first, "Words of another.", who="Dr *b*", writer="other")
    at = open_page(case_id, "review")
    assert any(e.label.startswith(r"Typed by Dr \*b\* over version 1") for e in at.expander)
    box, approve = f"report-name-{case_id}-en-", f"report-approve-{case_id}-en"
    at.text_input(key=box).set_value("\u202e").run()
    assert at.button(key=approve).disabled, "nothing that anybody sees is no name"
    at.text_input(key=box).set_value("Dr **y** [\u202ez](http://a.b)").run()
    at.button(key=approve).click().run()
    name = reporting.latest(app, case_id).signoffs[0].clinician
    assert name == "Dr **y** [z](http://a.b)" and at.session_state["clinician_name"] == name
    badge = next(m.value for m in at.markdown if m.value.startswith(":green-badge["))
    assert badge.startswith(f":green-badge[Signed by {html.as_written(name)} on ")
    at.session_state[f"report-mode-{case_id}-en"] = "History"
    at.run()
    assert any(f"Signed by {html.as_written(name)} on " in e.label for e in at.expander)
