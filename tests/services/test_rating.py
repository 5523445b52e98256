"""Ratings of drafts: which are rated, that nothing is lost, and that agreement is what it is by hand."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from ui.fake_app import add_case, fakes, make_app

from hnvlm.errors import UsageError
from hnvlm.services import blinding, rating

TEXT = "FINDINGS: Enlarged node in left level II, 24 mm."
REPORT = {
    "completeness": 4, "correctness": 5, "conciseness": 3, "clarity": 5, "clinical_utility": 4, "radpeer": "2a",
    "harm": "unlikely", "confidence": 4,
}  # fmt: skip
MADE_BY = {"model": "report", "version": "1", "weights": "abc", "seed": 7}


@pytest.fixture
def app(tmp_path: Path):
    app = make_app(tmp_path, fakes())
    yield app
    app.close()


def drafted(app, *, author: str = "model", text: str = TEXT, seed: int = 0, slot: str = "en"):
    case_id = add_case(app, f"phantom {seed}", seed=seed)
    payload = {"text": text, "author": author}
    return app.store.save_result(case_id, "report", payload, slot=slot, provenance=MADE_BY, who="model")


def rate(app, draft, rater: str, answers: dict, seconds: float = 30.0) -> None:
    for question, value in answers.items():
        rating.answer(app, "report-en", draft, rater, question, value, seconds=seconds)


def test_every_answer_is_kept_at_once_and_a_session_goes_on_where_it_stopped(app) -> None:
    draft = drafted(app)
    rate(app, draft, "Dr A", {"clarity": 2, "radpeer": "3b"}, seconds=12.5)
    (item,) = rating.items(app, "report-en", "dr a ")
    assert (dict(item.answers), item.seconds, item.complete) == ({"clarity": 2, "radpeer": "3b"}, 12.5, False)
    assert rating.missing("report-en", item.answers) == [
        "Completeness", "Correctness", "Conciseness", "Clinical utility", "Harm, if it were used unread",
        "Your confidence",
    ]  # fmt: skip
    rate(app, draft, "Dr A", REPORT | {"missed_finding_significant": 2})
    rating.answer(app, "report-en", draft, "Dr A", "clarity", None, seconds=40)
    assert not rating.items(app, "report-en", "Dr A")[0].complete, "an answer was taken back"
    rate(app, draft, "Dr A", {"clarity": 5})
    assert rating.items(app, "report-en", "Dr A")[0].complete
    assert not rating.items(app, "report-en", "Dr B")[0].answers, "of another rater nothing is shown"


def test_only_ai_drafts_are_rated_the_newest_of_each_case(app) -> None:
    old = drafted(app)
    new = app.store.save_result(old.case_id, "report", {"text": "New.", "author": "model"}, slot="en", who="model")
    app.store.save_result(old.case_id, "report", {"text": "Edited.", "author": "clinician"}, slot="en", who="Dr A")
    drafted(app, author="clinician", seed=1)
    drafted(app, seed=2, slot="pl")
    assert [i.draft.id for i in rating.items(app, "report-en", "Dr A")] == [new.id]
    assert len(rating.items(app, "report-pl", "Dr A")) == 1 and rating.items(app, "plan", "Dr A") == []


def test_each_rater_has_an_order_of_their_own_that_a_new_draft_does_not_disturb(app) -> None:
    for seed in range(7):
        drafted(app, seed=seed)
    orders = {r: [i.draft.id for i in rating.items(app, "report-en", r)] for r in ("Dr A", "Dr B", "Dr C")}
    assert len({tuple(order) for order in orders.values()}) == 3
    added = drafted(app, seed=8).id
    again = [i.draft.id for i in rating.items(app, "report-en", "Dr A")]
    assert [i for i in again if i != added] == orders["Dr A"]


SPELLINGS = ("Dr Anna Nowak", "dr anna nowak", " DR  Anna   Nowak ")


def test_one_person_however_spelled_has_one_order_one_rating_and_no_agreement_with_herself(app) -> None:
    drafts = [drafted(app, seed=seed) for seed in range(6)]
    orders = [[i.draft.id for i in rating.items(app, "report-en", name)] for name in SPELLINGS]
    assert orders[0] == orders[1] == orders[2]
    for draft, name, clarity in zip(drafts, SPELLINGS * 2, (1, 2, 3, 4, 5, 1), strict=True):
        rate(app, draft, name, REPORT | {"clarity": clarity})
        rate(app, draft, "Dr B", REPORT | {"clarity": clarity})
    rate(app, drafts[0], SPELLINGS[2], {"clarity": 2})
    assert {i.draft.id: i.answers["clarity"] for i in rating.items(app, "report-en", SPELLINGS[1])} == dict(
        zip((d.id for d in drafts), (2, 2, 3, 4, 5, 1), strict=True)
    )
    row = next(row for row in rating.summary(app, "report-en") if row["id"] == "clarity")
    assert (row["n"], row["raters"]) == (12, 2)
    (pair,) = row["agreement"]
    assert pair["n"] == 6 and sorted(map(rating.person, pair["raters"])) == ["anna nowak", "b"]


def saved_before(app, draft, rater: str, answers: dict, **more) -> None:
    """As a rating was stored when only upper and lower case told nobody apart: slots by the spaces of a name."""
    who = hashlib.sha256(rater.strip().casefold().encode()).hexdigest()[:12]
    payload = {
        "task": "report-en", "draft": draft.id, "draft_version": draft.version, "rater": rater, "answers": answers,
        "seconds": 9.0, "complete": not rating.missing("report-en", answers), "app_version": "1", "made_by": MADE_BY,
        "text_sha256": rating.sha256(draft.payload["text"]), **more,
    }  # fmt: skip
    app.store.save_result(draft.case_id, rating.KIND, payload, slot=f"report-en.{draft.id}.{who}", who=rater)


def test_ratings_of_before_count_as_the_same_person_and_go_on(app) -> None:
    first, second, third = (drafted(app, seed=seed) for seed in range(3))
    saved_before(app, first, "Dr Anna  Nowak", REPORT)
    saved_before(app, second, "Dr Anna Nowak", REPORT)
    saved_before(app, third, "dr anna  nowak", REPORT)
    saved_before(app, third, "Dr Anna Nowak", {"clarity": 1})  # begun again, without knowing of the complete one
    found = {i.draft.id: i for i in rating.items(app, "report-en", "DR ANNA NOWAK")}
    assert all(item.complete and dict(item.answers) == REPORT for item in found.values())
    assert [r["complete"] for r in rating.ratings(app, "report-en")] == [True] * 3
    assert {row["raters"] for row in rating.summary(app, "report-en")} == {1}
    rating.answer(app, "report-en", third, "Dr Anna Nowak", "clarity", None, seconds=10)
    again = {i.draft.id: i for i in rating.items(app, "report-en", "Dr Anna Nowak")}[third.id]
    assert not again.complete and "clarity" not in again.answers and again.answers["harm"] == "unlikely"
    assert sorted(r["complete"] for r in rating.ratings(app, "report-en")) == [False, True, True]


def test_ratings_with_and_without_a_title_of_before_are_one_persons_and_go_on(app) -> None:
    draft, other = drafted(app), drafted(app, seed=1)
    saved_before(app, draft, "Dr Adam Bielecki", REPORT, person="dr adam bielecki")
    saved_before(app, draft, "Adam Bielecki", {"clarity": 1}, person="adam bielecki")
    saved_before(app, other, "Dr Adam Bielecki", {"clarity": 2}, person="dr adam bielecki")
    found = {i.draft.id: i for i in rating.items(app, "report-en", "Adam Bielecki")}
    assert dict(found[draft.id].answers) == REPORT and found[draft.id].complete, "of both the complete one"
    assert dict(found[other.id].answers) == {"clarity": 2}
    rating.answer(app, "report-en", draft, "Adam Bielecki", "clarity", None, seconds=10)
    found = {i.draft.id: i for i in rating.items(app, "report-en", "Prof. Adam Bielecki")}
    assert "clarity" not in found[draft.id].answers and not found[draft.id].complete, "the newest of all"
    assert [r["complete"] for r in rating.ratings(app, "report-en")] == [False, False]


@pytest.mark.parametrize(
    "name",
    ["Dr Anna Nowak", "dr. anna nowak", "Prof. dr hab. n. med. Anna Nowak", "Anna Nowak, MD, PhD", "Anna  Nowak M.D.",
     "lek. med. Anna Nowak", "Professor Anna Nowak FRCR", "Dr Anna Nowak, Ph. D.", "DR, ANNA NOWAK,",
     "dr n.med. Anna Nowak"],
)  # fmt: skip
def test_a_title_makes_nobody_another_person(name: str) -> None:
    assert rating.person(name) == "anna nowak"


@pytest.mark.parametrize(
    "name",
    ["dr", "prof. dr hab.", "md, phd", "m.r. jones", "d. r. shah", "n. kowalski", "drew medley", "anna prof-nowak"],
)
def test_what_is_no_title_or_nothing_else_stays(name: str) -> None:
    assert rating.person(name.upper()) == name


def test_everybody_who_rated_is_known_once_as_last_spelled(app) -> None:
    draft = drafted(app)
    for name in ("Zofia B", "Dr Anna Nowak", "anna nowak", "Dr Zofia B"):
        rating.answer(app, "report-en", draft, name, "clarity", 3, seconds=1)
    assert rating.raters(app) == ["anna nowak", "Dr Zofia B"]


def redraft(app, draft, text: str):
    return app.store.save_result(
        draft.case_id, "report", {"text": text, "author": "model"}, slot="en", provenance=MADE_BY, who="model"
    )


def only_item(app, rater: str = "Dr A", **more) -> rating.Item:
    (item,) = rating.items(app, "report-en", rater, **more)
    return item


def test_a_draft_that_was_begun_stays_until_it_is_complete(app) -> None:
    draft = drafted(app)
    rate(app, draft, "Dr A", {"clarity": 2})
    new = redraft(app, draft, "New.")
    item = only_item(app)
    assert (item.id, dict(item.answers), item.newer) == (draft.id, {"clarity": 2}, True)
    assert (only_item(app, "Dr B").id, only_item(app, "Dr B").newer) == (new.id, False), "of who began nothing"
    rating.answer(app, "report-en", draft, "Dr A", "clarity", None, seconds=1)
    assert only_item(app).id == new.id, "every answer was taken back"
    rate(app, draft, "Dr A", REPORT)
    item = only_item(app)
    assert (item.id, dict(item.answers), item.newer) == (new.id, {}, False)
    rate(app, new, "Dr A", {"clarity": 5})
    assert only_item(app).id == new.id, "what was begun last, not what was left unfinished before"


def test_the_draft_on_the_screen_stays_whatever_was_answered(app) -> None:
    draft = drafted(app)
    new = redraft(app, draft, "New.")
    for answers in ({}, {"clarity": 2}, REPORT):
        rate(app, draft, "Dr A", answers)
        item = only_item(app, on_screen=draft.id)
        assert (item.id, dict(item.answers), item.newer) == (draft.id, answers, True)
    assert only_item(app, on_screen=new.id).newer is False
    assert only_item(app, on_screen=-1).id == new.id, "of another case"


def test_a_draft_of_the_same_words_is_the_same_draft(app) -> None:
    draft = drafted(app)
    rate(app, draft, "Dr A", REPORT)
    again = redraft(app, draft, TEXT)
    for rater in ("Dr A", "Dr B"):
        assert (only_item(app, rater).id, only_item(app, rater).newer) == (draft.id, False)
    assert only_item(app).complete
    redraft(app, draft, "Something else.")
    rate(app, again, "Dr C", REPORT | {"clarity": 4})  # as before, when each draft was another one
    redraft(app, draft, TEXT)
    assert [only_item(app, rater).id for rater in ("Dr A", "Dr B", "Dr C")] == [draft.id, draft.id, again.id]
    assert only_item(app, "Dr C").complete


def test_raters_of_drafts_of_the_same_words_rated_the_same(app) -> None:
    for seed in range(2):
        draft = drafted(app, seed=seed)
        rate(app, draft, "Dr A", REPORT | {"clarity": 2 + seed})
        rate(app, redraft(app, draft, TEXT), "Dr B", REPORT | {"clarity": 3 + seed})
    clarity = next(row for row in rating.summary(app, "report-en") if row["id"] == "clarity")
    assert clarity["n"] == 4 and [pair["n"] for pair in clarity["agreement"]] == [2]


@pytest.mark.parametrize(
    ("question", "value"),
    [("clarity", 6), ("clarity", 0), ("radpeer", "4"), ("harm", "much"), ("false_finding_significant", -1),
     ("false_finding_significant", 2.5), ("false_finding_insignificant", True), ("nonsense", 1)],
)  # fmt: skip
def test_an_answer_that_does_not_exist_is_refused_and_the_others_stay(app, question: str, value: object) -> None:
    draft = drafted(app)
    rate(app, draft, "Dr A", {"clarity": 2})
    with pytest.raises(UsageError):
        rating.answer(app, "report-en", draft, "Dr A", question, value, seconds=1)
    assert dict(rating.items(app, "report-en", "Dr A")[0].answers) == {"clarity": 2}


def test_nobody_rates_without_a_name(app) -> None:
    with pytest.raises(UsageError, match="name"):
        rating.answer(app, "report-en", drafted(app), "  ", "clarity", 2, seconds=1)


def test_the_table_holds_what_was_rated_and_what_made_it(app) -> None:
    draft = drafted(app)
    rate(app, draft, "Dr A", REPORT | {"missed_finding_significant": 2, "comment": "=1+1, twice\nas long"}, seconds=61)
    rate(app, draft, "Dr B", {"clarity": 1})
    first, second = csv.DictReader(io.StringIO(rating.as_csv(app, "report-en")))
    assert (first["rater"], first["complete"], first["radpeer"], first["seconds"]) == ("Dr A", "True", "2a", "61.0")
    assert (first["missed_finding_significant"], first["false_finding_significant"]) == ("2", "0")
    assert first["comment"] == "'=1+1, twice\nas long", "no spreadsheet computes what somebody typed"
    assert json.loads(first["made_by"]) == MADE_BY and len(first["text_sha256"]) == 64
    assert (second["complete"], second["clarity"], second["false_finding_significant"]) == ("False", "1", "")
    told = json.loads(rating.as_json(app, "report-en"))
    assert [r["rater"] for r in told["ratings"]] == ["Dr A", "Dr B"]
    assert {q["id"] for q in told["questions"]} >= set(REPORT)


def test_quadratic_weighted_kappa_by_hand() -> None:
    # Weights (i - j)^2 / 16. Observed: (0 + 0 + 1 + 4) / 16 / 4 = 5 / 64. By chance, of all 16 pairs of [1, 3, 4, 5]
    # and [1, 3, 5, 3]: 4 + 16 + 4 + 4 + 4 + 9 + 1 + 1 + 1 + 16 + 4 + 4 = 68, 68 / 16 / 16 = 17 / 64.
    assert rating.kappa([1, 3, 4, 5], [1, 3, 5, 3]) == pytest.approx(1 - 5 / 17)
    assert rating.kappa([2, 4], [2, 4]) == pytest.approx(1.0)
    assert rating.kappa([1, 5], [5, 1]) == pytest.approx(-1.0)
    assert rating.kappa([3, 3], [3, 3]) is None


def test_kappa_of_many_draws_is_that_of_another_program() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(5)
    first, second = rng.integers(1, 6, (200, 7)), rng.integers(1, 6, (200, 7))
    second[:50] = first[:50]
    first[0] = second[0] = 4
    found = rating.kappas(first.astype(float), second.astype(float))
    expected = [
        cohen_kappa_score(a, b, labels=[1, 2, 3, 4, 5], weights="quadratic") for a, b in zip(first, second, strict=True)
    ]
    assert np.isnan(found[0]) and found[1:] == pytest.approx(expected[1:])


def test_the_summary_counts_complete_ratings_and_pairs_drafts_in_common(app) -> None:
    drafts = [drafted(app, seed=seed) for seed in range(6)]
    for draft, (a, b) in zip(drafts, [(1, 1), (3, 3), (4, 5), (5, 3), (2, 2), (4, 4)], strict=True):
        rate(app, draft, "Dr A", REPORT | {"clarity": a})
        rate(app, draft, "Dr B", REPORT | {"clarity": b})
    rate(app, drafts[0], "Dr C", REPORT | {"clarity": 5})
    rate(app, drafts[1], "Dr D", {"clarity": 1})
    clarity = next(row for row in rating.summary(app, "report-en") if row["id"] == "clarity")
    assert (clarity["n"], clarity["raters"]) == (13, 3)
    assert clarity["mean"] == pytest.approx((19 + 18 + 5) / 13)
    (pair,) = clarity["agreement"]
    expected = rating.kappa([1, 3, 4, 5, 2, 4], [1, 3, 5, 3, 2, 4])
    assert (pair["raters"], pair["n"], pair["kappa"]) == (["Dr A", "Dr B"], 6, pytest.approx(expected))
    low, high = pair["interval"]
    assert -1 <= low <= pair["kappa"] <= high <= 1
    same = next(row for row in rating.summary(app, "report-en") if row["id"] == "confidence")
    assert same["agreement"][0]["kappa"] is None and same["agreement"][0]["interval"] is None


def test_a_plan_is_asked_other_questions_and_every_question_has_words() -> None:
    assert "feasibility" in {q.id for q in rating.questions("plan")}
    for task in rating.tasks():
        asked = rating.questions(task)
        assert len({q.id for q in asked}) == len(asked) and all(q.label for q in asked)
    with pytest.raises(UsageError, match="report-en"):
        rating.questions("contours")


@pytest.mark.parametrize("name", ["Susan Dent", "Anna Lek", "Jan Med", "Ola Hab"])
def test_a_surname_that_is_a_title_elsewhere_stays(name):
    assert rating.untitled(name) == rating.untitled(f"Dr {name}, MD") == name


def test_such_a_surname_is_blinded():
    assert any(pattern.search("Discussed with Dr Dent.") for pattern in blinding.names_in(["Susan Dent"], ""))
