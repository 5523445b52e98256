"""Blinded comparisons: which texts are compared, that nothing tells the author, and shares as they are by hand."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from ui.fake_app import add_case, fakes, make_app

from hnvlm.errors import UsageError
from hnvlm.plan.result import HEADER
from hnvlm.services import blinding, comparing, rating, text_origin

TASK = "compare-report-en"
DRAFT = "FINDINGS:\nNodes left: Enlarged node in level II, 24 mm."
OWN = "FINDINGS:\nNodes left: Node in level III, 14 mm."
MADE_BY = {"model": "report", "version": "1", "weights": "abc", "seed": 7}


@pytest.fixture
def app(tmp_path: Path):
    app = make_app(tmp_path, fakes())
    yield app
    app.close()


def save(app, case_id: str, text: str, author: str, who: str, *, kind: str = "report", slot: str = "en"):
    payload = {"text": text, "author": author}
    made_by = MADE_BY if author != "clinician" else None
    return app.store.save_result(case_id, kind, payload, slot=slot, provenance=made_by, who=who)


def both(app, seed: int = 0, *, draft: str = DRAFT, own: str = OWN, who: str = "Dr Writer") -> str:
    case_id = add_case(app, f"phantom {seed}", seed=seed)
    save(app, case_id, draft, "model", "model")
    save(app, case_id, own, "clinician", who)
    return case_id


def favour(item: comparing.Item, whose: str) -> str:
    """Text A or B, as it must be answered to mean the draft ("ai") or the clinician's text."""
    return "a" if item.draft_is_a == (whose == "ai") else "b"


def compare(app, item: comparing.Item, prefers: str, errors: str, person: str, seconds: float = 30.0) -> None:
    """Answer in terms of authors: ``ai``, ``clinician`` with ``_much`` or ``_slightly``; the middle as it is."""
    side, _, much = prefers.partition("_")
    given = {
        "preference": prefers if side == "equal" else f"{favour(item, side)}_{much}",
        "fewer_errors": errors if errors == "same" else favour(item, errors),
        "person": person if person == "unsure" else favour(item, person),
    }
    for question, value in given.items():
        comparing.answer(app, item, question, value, seconds=seconds)


def items(app, rater: str, task: str = TASK) -> list[comparing.Item]:
    return comparing.pairs(app, task, rater).items


def by_case(app, rater: str) -> dict[str, comparing.Item]:
    return {item.case.id: item for item in items(app, rater)}


def test_the_newest_texts_of_both_authors_are_compared_and_of_other_cases_the_reason_is_kept(app) -> None:
    case_id = both(app)
    new = save(app, case_id, "FINDINGS:\nNo enlarged node.", "model", "model")
    last = save(app, case_id, "FINDINGS:\nNode in level IV, 11 mm.", "clinician", "Dr Writer")
    save(app, case_id, "Half a sen", "clinician", "Dr Writer", slot="en.autosave")
    spaces = both(app, 1, own=DRAFT.replace(" ", "  ") + "\n\n")
    alone, theirs, other = (add_case(app, f"phantom {n}", seed=n) for n in (2, 3, 4))
    save(app, alone, DRAFT, "model", "model")
    save(app, theirs, OWN, "clinician", "Dr Writer")
    save(app, other, DRAFT, "model", "model", slot="pl")
    found = comparing.pairs(app, TASK, "Dr A")
    (item,) = found.items
    assert (item.draft.id, item.clinician.id) == (new.id, last.id)
    assert sorted(item.texts) == sorted([new.payload["text"], last.payload["text"]])
    assert (found.same, found.only_draft, found.only_clinician) == ([spaces], [alone], [theirs])
    assert comparing.pairs(app, "compare-report-pl", "Dr A").only_draft == [other]


def test_a_plan_is_compared_with_a_plan(app) -> None:
    case_id = add_case(app)
    drafted = f"{HEADER}\n\nSTAGING\n- cT2 [S1]\n\nSOURCES\n[S1] A table"
    save(app, case_id, drafted, "rules", "rules", kind="plan", slot="")
    save(app, case_id, "STAGING\n- cT3", "clinician", "Dr Writer", kind="plan", slot="")
    (item,) = items(app, "Dr A", "compare-plan")
    assert sorted(item.texts) == ["STAGING\n- cT2", "STAGING\n- cT3"]


def test_who_wrote_or_signed_the_text_is_left_out_and_others_are_not(app) -> None:
    case_id = both(app)
    app.store.sign(app.store.latest_result(case_id, "report", "en").id, "Dr  Signer")
    for rater in ("dr writer ", "Dr Signer"):
        found = comparing.pairs(app, TASK, rater)
        assert (found.own, found.items) == ([case_id], [])
    # A second hand goes over it: the first one's words are still in it.
    save(app, case_id, OWN + " Necrotic.", "clinician", "Dr Second")
    assert comparing.pairs(app, TASK, "Dr Writer").own == [case_id]
    assert len(items(app, "Dr A")) == 1


def test_titles_hide_no_writer_from_himself(app) -> None:
    case_id = both(app, who="Dr Anna Nowak")
    for rater in ("Anna Nowak", "anna nowak, MD"):
        found = comparing.pairs(app, TASK, rater)
        assert (found.own, found.items) == ([case_id], [])


def test_a_comparison_that_was_begun_stays_until_it_is_complete(app) -> None:
    case_id = both(app)
    (item,) = items(app, "Dr A")
    comparing.answer(app, item, "fewer_errors", "same", seconds=3)
    save(app, case_id, "FINDINGS:\nNo enlarged node.", "model", "model")
    save(app, case_id, "FINDINGS:\nNode in level IV, 11 mm.", "clinician", "Dr Second")
    (kept,) = items(app, "Dr A")
    assert (kept.id, kept.texts, kept.newer) == (item.id, item.texts, True)
    assert dict(kept.answers) == {"fewer_errors": "same"}
    compare(app, kept, "ai_much", "same", "unsure")
    ((on_screen,), (new,)) = (comparing.pairs(app, TASK, "Dr A", on_screen=at).items for at in (item.id, None))
    assert on_screen.id == item.id and on_screen.complete and on_screen.newer
    assert new.id != item.id and not new.answers and not new.newer
    assert comparing.pairs(app, TASK, "Dr Second").own == [case_id], "whoever wrote any text of this case"


def test_the_same_words_saved_again_are_the_same_comparison(app) -> None:
    case_id = both(app)
    compare(app, items(app, "Dr A")[0], "ai_much", "same", "unsure")
    before = {rater: items(app, rater)[0] for rater in ("Dr A", "Dr B")}
    save(app, case_id, DRAFT, "model", "model")
    save(app, case_id, OWN, "clinician", "Dr Writer")
    assert {rater: items(app, rater)[0] for rater in before} == before and before["Dr A"].complete


@pytest.mark.parametrize("draft_is_a", [True, False])
def test_a_comparison_goes_on_with_each_text_on_the_side_where_it_was(app, draft_is_a: bool) -> None:
    both(app)
    (item,) = items(app, "Dr A")
    # As it was saved when a title made another person: the sides were then dealt by the name with the title.
    comparing.answer(app, replace(item, draft_is_a=draft_is_a), "preference", "a_much", seconds=3)
    (again,) = items(app, "A")
    assert again.draft_is_a is draft_is_a and DRAFT in again.texts[0 if draft_is_a else 1]
    comparing.answer(app, again, "comment", "Level", seconds=4)
    (row,) = comparing.comparisons(app, TASK)
    assert row["better"] == ("AI better" if draft_is_a else "clinician better")


def rate_by_name(app, case_id: str, rater: str, *, task: str = "report-en", draft=None) -> None:
    draft = draft or next(v for v in app.store.history(case_id, "report", "en") if v.payload["author"] == "model")
    rating.answer(app, task, draft, rater, "clarity", 4, seconds=9)


def test_who_rated_the_draft_by_name_does_not_compare_it_and_others_do(app) -> None:
    case_id, other = both(app), both(app, 1)
    rate_by_name(app, case_id, "Dr A")
    found = comparing.pairs(app, TASK, "dr  a")
    assert (found.rated, [i.case.id for i in found.items]) == ([case_id], [other])
    assert len(items(app, "Dr B")) == 2
    new = save(app, case_id, "FINDINGS:\nNo enlarged node.", "model", "model")
    assert len(items(app, "Dr A")) == 2, "another draft, whose words nobody has rated"
    again = save(app, case_id, DRAFT, "model", "model")
    assert comparing.pairs(app, TASK, "Dr A").rated == [case_id], "the same words again"
    assert new.id < again.id
    save(app, other, DRAFT, "model", "model", slot="pl")
    rate_by_name(app, other, "Dr B", task="report-pl", draft=app.store.latest_result(other, "report", "pl"))
    assert comparing.pairs(app, TASK, "Dr B").rated == [], "the draft of another language"


def test_a_comparison_made_after_rating_the_draft_is_not_counted_and_one_made_before_is(app) -> None:
    before, after = both(app), both(app, 1)
    compare(app, by_case(app, "Dr A")[before], "ai_much", "ai", "unsure")
    late = by_case(app, "Dr A")[after]
    for case_id in (before, after):
        rate_by_name(app, case_id, "Dr A")
    compare(app, late, "ai_much", "ai", "unsure")  # as it could be done before such cases were left out
    told = comparing.summary(app, TASK)
    assert (told["n"], told["not_blind"], told["begun"], told["older"]) == (1, 1, 0, 0)
    rows = csv.DictReader(io.StringIO(comparing.as_csv(app, TASK)))
    assert {row["case"]: row["blind"] for row in rows} == {before: "True", after: "False"}


def test_what_a_text_was_written_from_and_how_many_words_changed_is_told_for_each_origin(app) -> None:
    edited = both(app, own=DRAFT.replace("24 mm", "25 mm"))
    replaced = both(app, 1, own="Entirely other sentences here.")
    own = add_case(app, "phantom 2", seed=2)
    save(app, own, "Entirely other sentences here.", "clinician", "Dr Writer")
    save(app, own, DRAFT, "model", "model")
    brought_back = add_case(app, "phantom 3", seed=3)
    for text, author in ((OWN, "clinician"), (DRAFT, "model"), ("Else.", "clinician"), (OWN + "\n", "clinician")):
        save(app, brought_back, text, author, "Dr Writer" if author == "clinician" else author)
    of_before = both(app, 4)
    save(app, of_before, "FINDINGS:\nNo enlarged node.", "model", "model")
    for item in items(app, "Dr A"):
        compare(app, item, "ai_much", "ai", "unsure")
    rows = {row["case"]: row for row in csv.DictReader(io.StringIO(comparing.as_csv(app, TASK)))}
    assert {case_id: row["edited_from"] for case_id, row in rows.items()} == {
        edited: "this AI draft", replaced: "this AI draft", own: "no AI draft", brought_back: "no AI draft",
        of_before: "an earlier AI draft",
    }  # fmt: skip
    # One of ten words of each text is another one.
    assert (rows[edited]["words_changed"], rows[replaced]["words_changed"]) == ("0.1", "1.0")
    told = json.loads(comparing.as_json(app, TASK))
    assert {c["case"]: c["words_changed"] for c in told["comparisons"]}[edited] == 0.1
    groups = told["summary"]["by_origin"]
    assert {name: (group["n"], group["cases"]) for name, group in groups.items()} == {
        "independent": (2, 2), "edited": (3, 3),
    }  # fmt: skip
    assert groups["edited"]["words_changed"]["least"] == 0.1 and groups["edited"]["words_changed"]["most"] == 1.0
    assert [r["k"] for r in groups["independent"]["rows"] if r["answer"] == "AI better"] == [2]


def test_words_changed_by_hand() -> None:
    # Of 3 and 4 words two are the same: 3 of 7 words are not in the other text.
    assert text_origin.words_changed("a b c", "a  x\nb d") == pytest.approx(3 / 7)
    assert text_origin.words_changed("a b", "a\nb\n") == 0 and text_origin.words_changed("", "") == 0
    assert text_origin.words_changed("a b", "a b c") == pytest.approx(1 / 5)


def test_sides_stay_for_a_rater_differ_between_raters_and_are_about_balanced(app) -> None:
    for seed in range(8):
        both(app, seed)
    raters = [f"Dr {n}" for n in range(25)]
    sides = {r: [by_case(app, r)[c].draft_is_a for c in sorted(by_case(app, r))] for r in raters}
    assert sides["Dr 3"] == [by_case(app, " dr 3")[c].draft_is_a for c in sorted(by_case(app, " dr 3"))]
    assert len({tuple(s) for s in sides.values()}) > 10
    # Of 200 fair coins, 72 to 128 heads with a probability above 0.9999.
    assert 72 <= sum(map(sum, sides.values())) <= 128
    for n in range(8):
        assert 4 <= sum(s[n] for s in sides.values()) <= 21, "no text stands on one side for all raters"
    orders = {tuple(i.case.id for i in items(app, r)) for r in raters[:4]}
    assert len(orders) == 4


def test_the_id_of_a_comparison_tells_neither_side_nor_ids(app) -> None:
    for seed in range(12):
        both(app, seed)
    seen = [i for r in ("Dr A", "Dr B", "Dr C", "Dr D") for i in items(app, r)]
    assert len({i.id for i in seen}) == len(seen)
    assert all(len(i.id) == 12 and int(i.id, 16) >= 0 for i in seen)
    # The order goes by the id: the first half may not hold the drafts as Text A.
    half = sorted(seen, key=lambda i: i.id)[: len(seen) // 2]
    assert 6 <= sum(i.draft_is_a for i in half) <= 18
    for place in range(12):
        odd = [int(i.id[place], 16) % 2 == 1 for i in seen]
        assert 10 <= sum(o == i.draft_is_a for o, i in zip(odd, seen, strict=True)) <= 38


def test_marks_signatures_tags_and_sources_are_left_out_and_what_a_clinician_wrote_stays() -> None:
    text = f"""{HEADER}
Signed by Dr Nowak on 2026-05-04; AI-assisted draft

STAGING
-  cT2, verified by biopsy. [S2][S11]
- CT draft shows a mass in the left tonsil. [S1]

CONTRADICTIONS AND CHECKS
- WARN: Both parotids above mean 26 Gy. [S13]
- 94 rules passed, 58 could not be evaluated. [S2]

SOURCES
[S1] Findings drafted from this CT (AI draft, research use only)
[S7] QUANTEC 2010
Addendum: discuss on Monday.


J. Nowak, MD
"""
    names = blinding.names_in(["Dr Jan Nowak"], DRAFT)
    assert blinding.blinded(text, names) == (
        "STAGING\n- cT2, verified by biopsy.\n- CT shows a mass in the left tonsil.\n\nSOURCES\n"
        "Addendum: discuss on Monday."
    )


@pytest.mark.parametrize(
    "line",
    ["Electronically signed by: Dr Nowak", "Dictated by Nowak 12:30", "Reporting radiologist: J. N.",
     "AI draft, edited", "Podpisał: dr Jan N.", "Opisała Anna N.", "Signed on 2026-05-04",
     "AI DRAFT - RESEARCH USE ONLY - NOT A MEDICAL DEVICE", "Case HN-0003, report version 4, 2026-05-04 10:00 UTC"],
)  # fmt: skip
def test_a_line_that_only_says_who_wrote_is_left_out(line: str) -> None:
    assert blinding.blinded(f"{OWN}\n{line}") == blinding.blinded(f"{line}\n\n{OWN}") == OWN


@pytest.mark.parametrize(
    ("draft", "shown"),
    [("High-dose target region (predicted): Left-sided, volume 440 ml.", ""),
     ("- Predicted high-dose target region, left, 440 ml, probable. [S1]", ""),
     ("Obszar wysokiej dawki (przewidywany): lewostronny.", ""),
     ("- Judged on: predicted dose (AI draft) for 70 Gy. [S3]", "- Judged on: predicted dose for 70 Gy.")],
)  # fmt: skip
def test_a_plan_or_report_written_by_hand_can_be_compared_with_what_the_program_writes(
    app, draft: str, shown: str
) -> None:
    both(app, draft=f"FINDINGS:\nNo node.\n{draft}", own="FINDINGS:\nNode in level II.")
    (item,) = items(app, "Dr A")
    assert f"FINDINGS:\nNo node.\n{shown}".strip() in item.texts


@pytest.mark.parametrize(
    "line",
    ["Verified by biopsy in 2025: squamous cell carcinoma.", "Radiologist's impression is that of a lymphoma.",
     "Approved dose of 70 Gy.", "Opisano zmianę w migdałku.", "Case discussed: mass of 24 mm.",
     "AI draft missed a node."],
)  # fmt: skip
def test_a_line_that_says_something_of_the_patient_stays(line: str) -> None:
    assert blinding.blinded(f"{OWN}\n{line}").endswith(line)


def test_a_surname_that_is_a_word_of_the_draft_takes_nothing_away() -> None:
    names = blinding.names_in(["Dr Node", "Dr Long"], "Node in level II.")
    assert blinding.blinded("Node: 24 mm.\nLong axis 30 mm.", names) == "Node: 24 mm."
    assert blinding.names_in(["clinician", "Dr A", "model"], "")[0].pattern.count("Dr") == 1
    titled = blinding.names_in(["Dr Anna Nowak, FRCR"], "")
    assert blinding.blinded("Node: 24 mm.\nA. Nowak\nFRCR exam passed.", titled) == "Node: 24 mm.\nFRCR exam passed."


@pytest.mark.parametrize(
    "own", [OWN + "\nThe AI draft missed a node here.", OWN + "\nSeen together with Dr Writer in the clinic today."]
)
def test_a_case_whose_sentence_tells_the_author_is_left_out(app, own: str) -> None:
    case_id = both(app, own=own)
    found = comparing.pairs(app, TASK, "Dr A")
    assert (found.telling, found.items) == ([case_id], [])


def test_answers_are_kept_at_once_of_a_and_b_and_a_session_goes_on(app) -> None:
    both(app)
    (item,) = items(app, "Dr A")
    comparing.answer(app, item, "preference", "a_much", seconds=12.54)
    comparing.answer(app, item, "comment", " III, not II ", seconds=20)
    (again,) = items(app, "dr a")
    assert dict(again.answers) == {"preference": "a_much", "comment": "III, not II"}
    assert (again.id, again.texts, again.seconds, again.complete) == (item.id, item.texts, 20.0, False)
    comparing.answer(app, item, "fewer_errors", "same", seconds=21)
    comparing.answer(app, item, "person", "unsure", seconds=22)
    assert items(app, "Dr A")[0].complete and not items(app, "Dr B")[0].answers
    comparing.answer(app, item, "person", None, seconds=23)
    assert not items(app, "Dr A")[0].complete
    kept = app.store.history(item.case.id, rating.KIND)[-1].payload
    assert kept["text_a"] == (item.draft.id if item.draft_is_a else item.clinician.id)
    assert "better" not in kept, "whose text it was is said where it is evaluated"
    assert rating.ratings(app, "report-en") == [], "a comparison is no rating of the draft"


@pytest.mark.parametrize(("question", "value"), [("preference", "a"), ("person", "same"), ("clarity", 3)])
def test_an_answer_that_does_not_exist_is_refused(app, question: str, value: object) -> None:
    both(app)
    with pytest.raises(UsageError):
        comparing.answer(app, items(app, "Dr A")[0], question, value, seconds=1)
    with pytest.raises(UsageError, match="name"):
        comparing.answer(app, items(app, " ")[0], "person", "a", seconds=1)
    with pytest.raises(UsageError, match="no comparison"):
        comparing.pairs(app, "report-en", "Dr A")
    assert app.store.history(items(app, "Dr A")[0].case.id, rating.KIND) == []


def test_the_files_say_whose_text_was_better_and_keep_comparisons_of_older_texts(app) -> None:
    case_id = both(app)
    compare(app, items(app, "Dr A")[0], "ai_slightly", "clinician", "ai", seconds=61)
    save(app, case_id, "FINDINGS:\nNo enlarged node.", "model", "model")
    (item,) = items(app, "Dr A")
    assert not item.answers, "another pair of texts"
    compare(app, item, "equal", "same", "unsure")
    comparing.answer(app, item, "comment", "=1+1", seconds=30)
    comparing.answer(app, items(app, "Dr B")[0], "person", favour(items(app, "Dr B")[0], "clinician"), seconds=3)
    old, new, begun = csv.DictReader(io.StringIO(comparing.as_csv(app, TASK)))
    assert (old["better"], old["how_much"], old["fewer_significant_errors"], old["author_guessed"]) == (
        "AI better", "slightly", "clinician", "wrong",
    )  # fmt: skip
    assert (old["draft_version"], old["clinician_version"], old["written_by"], old["seconds"]) == (
        "1", "2", "Dr Writer", "61.0",
    )  # fmt: skip
    assert json.loads(old["made_by"]) == MADE_BY and len(old["draft_sha256"]) == len(old["clinician_sha256"]) == 64
    assert (new["better"], new["how_much"], new["author_guessed"]) == ("equal", "", "cannot tell")
    assert (new["draft_version"], new["comment"]) == ("3", "'=1+1")
    assert (begun["better"], begun["author_guessed"], begun["complete"]) == ("", "right", "False")
    told = json.loads(comparing.as_json(app, TASK))
    assert [c["better"] for c in told["comparisons"]] == ["AI better", "equal", ""]
    assert told["comparisons"][1]["made_by"] == MADE_BY
    assert (told["summary"]["n"], told["summary"]["older"], told["summary"]["begun"]) == (1, 1, 1)


def test_shares_by_hand_one_rater(app) -> None:
    for seed in range(6):
        both(app, seed)
    verdicts = [("ai_much", "ai", "clinician"), ("ai_slightly", "same", "clinician"), ("equal", "clinician", "unsure"),
                ("clinician_much", "clinician", "ai"), ("ai_slightly", "ai", "clinician"),
                ("clinician_slightly", "clinician", "clinician")]  # fmt: skip
    for item, verdict in zip(items(app, "Dr A"), verdicts, strict=True):
        compare(app, item, *verdict)
    told = comparing.summary(app, TASK)
    assert (told["n"], told["cases"], told["raters"], told["begun"]) == (6, 6, 1, 0)
    rows = {(r["question"], r["answer"]): r for r in told["rows"]}
    counted = {key: (r["k"], r["n"]) for key, r in rows.items()}
    name, errors, author = "Rather put one's name to", "Fewer clinically significant errors", "Author guessed"
    assert [counted[name, a] for a in ("AI better", "equal", "clinician better")] == [(3, 6), (1, 6), (2, 6)]
    assert [counted[errors, a] for a in ("AI draft", "same", "clinician")] == [(2, 6), (1, 6), (3, 6)]
    assert [counted[author, a] for a in ("right", "cannot tell", "wrong")] == [(4, 6), (1, 6), (1, 6)]
    assert counted[f"{author}, of those who told (by chance 0.50)", "right"] == (4, 5)
    # Wilson of 3 of 6: centre 0.5, half = 1.96 sqrt(0.25 / 6 + 3.8416 / 144) / (1 + 3.8416 / 6) = 0.51240 / 1.64027.
    better = rows[name, "AI better"]
    assert (better["value"], better["low"], better["high"]) == pytest.approx((0.5, 0.18761, 0.81239), abs=1e-5)


def test_of_few_cases_nothing_is_claimed_however_many_raters(app) -> None:
    for seed in range(comparing.FEWEST_CASES - 1):
        both(app, seed)
    for rater in ("Dr A", "Dr B", "Dr C"):
        for item in items(app, rater):
            compare(app, item, "ai_much", "ai", "unsure")
    told = comparing.summary(app, TASK)
    assert (told["n"], told["cases"], told["raters"]) == (12, 4, 3)
    assert all(row["value"] is None and row["low"] is None for row in told["rows"])
    both(app, 9)
    for item in items(app, "Dr A"):
        compare(app, item, "ai_much", "ai", "unsure")
    rows = comparing.summary(app, TASK)["rows"]
    assert rows[0]["value"] == 1.0 and rows[-1]["value"] is None, "nobody guessed an author"


def test_several_raters_of_a_case_are_no_independent_values() -> None:
    # Six cases, each seen by the same three raters who always agree: as little is known as from six values.
    cases = [f"c{n}" for n in range(6) for _ in range(3)]
    values = [n < 2 for n in range(6) for _ in range(3)]
    told = comparing.share(values, cases)
    plain = comparing.wilson(1 / 3, 18)
    assert (told["k"], told["n"], told["cases"], told["value"]) == (6, 18, 6, pytest.approx(1 / 3))
    # By the binomial of six draws at 1/3: P(none) = 64/729 = 0.088, P(five or six) = 13/729 = 0.018.
    assert (told["low"], told["high"]) == pytest.approx((0.0, 4 / 6))
    assert told["low"] < plain[0] and told["high"] > plain[1]
    assert comparing.share(values, cases) == told, "resampled the same way every time"
    all_the_same = comparing.share([True] * 18, cases)
    # Wilson of 6 of 6: 1 / (1 + 3.8416 / 6).
    assert (all_the_same["low"], all_the_same["high"]) == pytest.approx((1 / (1 + 3.8416 / 6), 1.0))


def test_a_text_that_was_saved_without_a_name_is_compared_by_nobody(app):
    """It may be the rater's own."""
    case_id = add_case(app, "phantom", seed=7)
    save(app, case_id, DRAFT, "model", "model")
    save(app, case_id, OWN, "clinician", "clinician")
    found = comparing.pairs(app, TASK, "Dr A")
    assert found.unnamed == [case_id] and not found.items and not found.own
