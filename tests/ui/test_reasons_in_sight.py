"""Why a button does nothing now stands on the page as text: a tooltip is not seen on a touch screen, nor by keys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import PATIENCE_S, REPO, open_page, texts  # noqa: E402

from hnvlm.services import reporting  # noqa: E402

# Said by a notice on the page, in other words, wherever it is the reason; of contouring, by the reason of the report,
# which needs the same model and more.
IN_OTHER_WORDS = (
    "Not a head-and-neck CT: the models will not draft on it.",
    "Not a head-and-neck CT: no plan is drafted.",
    "Contouring cannot be made here: the model pack lacks segmenter.",
)
pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def unsaid(at: AppTest) -> list[str]:
    """Reasons of disabled buttons that no text of the page tells."""
    said = texts(at).lower()
    reasons = [b.help for b in at.button if b.disabled and b.help and not b.help.startswith(IN_OTHER_WORDS)]
    return [why for why in reasons if why.rstrip(".").lower() not in said]


@pytest.mark.parametrize("page", ["review", "plan", "counterfactual"])
def test_on_a_ct_that_the_models_decline(services, page) -> None:
    app = services(fakes())
    case_id = add_case(app)
    app.store.set_scope(case_id, False, "lungs fill half of the field of view")
    at = open_page(case_id, page)
    assert [b for b in at.button if b.disabled] and unsaid(at) == []
    assert "lungs fill half of the field of view" in at.warning[0].value


@pytest.mark.parametrize("page", ["review", "plan", "counterfactual"])
def test_without_models(services, page) -> None:
    case_id = add_case(services(None))
    at = open_page(case_id, page)
    assert [b for b in at.button if b.disabled and b.help] and unsaid(at) == []


def test_on_the_first_and_the_last_draft_to_rate(services) -> None:
    app = services(fakes())
    for seed in (0, 1):
        reporting.draft_report(app, add_case(app, seed=seed))
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["rate-who"] = "Dr Ada Nowak"
    at.run()
    at.switch_page("pages/rate.py").run()
    held = {b.key: b.help for b in at.button if b.disabled}
    assert held["rate-previous"] == "This is the first one." and "Still to answer" in held["rate-next"]
    assert unsaid(at) == []
    at.button(key="rate-skip").click().run()
    assert {b.key for b in at.button if b.disabled} >= {"rate-skip", "rate-next"} and unsaid(at) == []
