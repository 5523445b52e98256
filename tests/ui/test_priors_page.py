"""Pages Review and Cases: the patient's other CTs are shown, proposed, linked, compared and taken back."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest
from ui.fake_app import add_case, fakes
from ui.page_text import open_page, texts

from hnvlm.services import priors

pytestmark = pytest.mark.usefixtures("through_the_entry_script")
STUDY = {"study_uid": "2.25.7"}


@pytest.fixture
def app(services):
    return services(fakes())


def labels(at: AppTest) -> list[str]:
    return [b.label for b in at.button]


def named(at: AppTest, who: str = "Dr Nowak") -> None:
    at.text_input(key=next(t.key for t in at.text_input if t.key.startswith("linker-"))).set_value(who).run()


def test_a_ct_is_linked_by_a_named_user_and_unlinked_with_undo(app):
    here, there = add_case(app, "before <b>RT</b> $x$"), add_case(app, "after", seed=1)
    at = open_page(there, "review")
    at.selectbox(key=f"prior-choice-{there}").set_value(here).run()
    at.button(key="prior-link").click().run()
    assert [e.value for e in at.error] == [priors.NAMELESS] and priors.groups(app) == {}
    named(at)
    at.button(key="prior-link").click().run()
    assert not at.exception and not at.error
    assert "Linked by Dr Nowak" in texts(at) and "before &lt;b&gt;RT&lt;/b&gt; $x$, added 20" in texts(at)
    at.button(key=f"prior-unlink-{here}").click().run()
    assert priors.groups(app) == {} and f"{here} was unlinked." in texts(at)
    at.button(key=f"prior-relink-{here}").click().run()
    assert priors.groups(app) == {here: [there], there: [here]} and "was unlinked" not in texts(at)
    at.button(key=f"prior-open-{here}").click().run()
    assert at.session_state["case_id"] == here and "after, added 20" in texts(at)


def test_the_worklist_tells_which_cases_are_one_patients(app):
    one, other, third = (add_case(app, seed=n) for n in range(3))
    priors.link(app, one, other, who="Dr A")
    at = open_page(one, "cases")
    assert texts(at).count("Same patient: ") == 2
    assert f"Same patient: {other}" in texts(at) and third not in "".join(
        line for line in texts(at).splitlines() if "Same patient" in line
    )


def test_what_the_files_say_is_asked_and_an_answer_ends_the_question(app):
    one, other = (add_case(app, seed=n, meta=STUDY) for n in range(2))
    at = open_page(one, "review")
    assert "Is it this patient&#x27;s, too?" in texts(at) and priors.groups(app) == {}
    named(at)
    at.button(key=f"prior-deny-{other}").click().run()
    assert "Is it this patient" not in texts(at) and f"{other} is not this patient&#x27;s, said Dr Nowak" in texts(at)
    at.button(key=f"prior-undeny-{other}").click().run()
    at.button(key=f"prior-link-{other}").click().run()
    assert priors.groups(app) == {one: [other], other: [one]} and "Is it this patient" not in texts(at)


def test_two_cts_stand_beside_each_other_and_it_is_said_that_they_are_not_registered(app):
    one, other = (add_case(app, seed=n) for n in range(2))
    priors.link(app, one, other, who="Dr A")
    at = open_page(one, "review")
    assert len(at.info) == 1 and "not registered" not in texts(at)
    at.button(key=f"prior-compare-{other}").click().run()
    assert len(at.info) == 2, "two viewers"
    assert f"{one} beside {other}, not registered" in texts(at)
    at.switch_page("pages/plan.py").run()
    at.switch_page("pages/review.py").run()
    assert len(at.info) == 2, "also after a look at another page"
    at.button(key="stop-comparing").click().run()
    assert len(at.info) == 1 and not at.exception
    at.button(key=f"prior-compare-{other}").click().run()
    priors.take_back(app, one, other, who="Dr B")
    at.run()
    assert len(at.info) == 1, "somebody said that it is another patient's"


def test_a_drawn_ct_among_the_patients_has_its_mark(app):
    one, drawn = add_case(app), add_case(app, "drawn", seed=1, meta={"synthetic": True})
    at = open_page(one, "review")
    options = at.selectbox(key=f"prior-choice-{one}").options
    assert options == [f"{drawn} · SYNTHETIC, not a patient · drawn"]
    assert "SYNTHETIC, not a patient" not in texts(at)
    priors.link(app, one, drawn, who="Dr A")
    at.run()
    assert "SYNTHETIC, not a patient" in texts(at)
