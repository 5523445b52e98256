"""Requests that are typed and not yet run are kept, a text for each browser, and are no results."""

from __future__ import annotations

import pytest
from ui.fake_app import add_case, fakes, make_app

from hnvlm.errors import NotFoundError
from hnvlm.services import counterfactual, typed_text, worklist, zeroshot

WISH = "Necrotic node in left level II, 22 mm"


@pytest.fixture
def app(tmp_path):
    made = make_app(tmp_path, fakes())
    yield made
    made.close()


def test_each_browser_and_each_case_has_a_text_of_its_own(app):
    case_id, other = (add_case(app, seed=n) for n in (0, 1))
    assert typed_text.kept(app, case_id, "counterfactual", writer="a") is None
    typed_text.keep(app, case_id, "counterfactual", WISH, who="Dr A", writer="a")
    typed_text.keep(app, case_id, "counterfactual", "No mass", writer="b")
    typed_text.keep(app, case_id, "zeroshot", "no mass", writer="a")
    assert [typed_text.kept(app, case_id, "counterfactual", writer=w) for w in "abc"] == [WISH, "No mass", None]
    assert typed_text.kept(app, case_id, "zeroshot", writer="a") == "no mass"
    assert typed_text.kept(app, other, "counterfactual", writer="a") is None
    typed_text.keep(app, case_id, "counterfactual", "", writer="a")
    assert typed_text.kept(app, case_id, "counterfactual", writer="a") == "", "emptied is not the same as never typed"
    with pytest.raises(NotFoundError):
        typed_text.keep(app, "HN-9999", "counterfactual", WISH, writer="a")


def test_a_text_is_no_result_and_the_same_text_is_stored_once(app):
    case_id = add_case(app)
    for _ in range(2):
        typed_text.keep(app, case_id, "counterfactual", WISH, writer="a")
        typed_text.keep(app, case_id, "zeroshot", "no mass", writer="a")
    assert len(app.store.history(case_id)) == 2
    assert counterfactual.list_for_case(app, case_id) == []
    assert zeroshot.latest(app, case_id) is None
    assert worklist.results_of(app, case_id) == ()
    assert {event.action for event in app.store.audit(case_id)} == {"case added", "typed text kept"}
