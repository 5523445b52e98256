"""Texts of several people at once, signatures over what changed since, versions restored whole."""

from __future__ import annotations

import json
import re
import threading

import numpy as np
import pytest
from test_dose_service import SPANS, blocks, upload
from test_plan_export import pdf_text

from hnvlm.errors import HnvlmError
from hnvlm.services import constraint_templates, documents, fhir, plan_export, planning, worklist
from hnvlm.store import FIRST


@pytest.fixture
def planned(app, case_id, phantom):
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    planning.save_form(app, case_id, {"site": "oropharynx", "p16": "negative", "tumour_size_mm": 31}, who="Dr A")
    return case_id


@pytest.fixture
def built_in_font(monkeypatch):
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)


def words_of(pdf: bytes) -> str:
    return " ".join(pdf_text(pdf).split())


def test_two_people_who_type_at_once_keep_a_text_each(app, planned):
    base = planning.draft_case_plan(app, planned)
    documents.keep_typing(app, base, "words of A", who="Dr A", writer="a")
    documents.keep_typing(app, base, "words of B", who="Dr B", writer="b")
    assert documents.typed(app, base, writer="a") == "words of A"
    assert documents.typed(app, base, writer="b") == "words of B"
    assert documents.typed(app, base, writer="c") == base.payload["text"]
    seen = documents.unsaved(app, base, writer="a")
    assert [(k.text, k.who, k.base.version, k.mine) for k in seen] == [("words of B", "Dr B", 1, False)]
    assert len(planning.versions(app, planned)) == 1
    events = [e.action for e in app.store.audit(planned)]
    assert events.count("typed text kept") == 2 and events.count("plan saved") == 1


def test_text_over_a_version_that_is_no_longer_the_newest_is_not_lost(app, planned):
    first = planning.draft_case_plan(app, planned)
    documents.keep_typing(app, first, "long work of A", who="Dr A", writer="a")
    second = planning.save_edit(app, planned, first.payload["text"] + "\nB.", who="Dr B", based_on=first.id)
    (kept,) = documents.unsaved(app, second, writer="a")
    assert (kept.text, kept.base.version, kept.mine) == ("long work of A", 1, True)
    documents.settle(app, kept, who="Dr A")
    assert documents.unsaved(app, second, writer="a") == []


def test_texts_typed_over_one_version_after_the_other_are_all_kept(app, planned):
    first = planning.draft_case_plan(app, planned)
    documents.keep_typing(app, first, "over the first", writer="a")
    second = planning.draft_case_plan(app, planned)
    documents.keep_typing(app, second, "over the second", writer="a")
    third = planning.draft_case_plan(app, planned)
    documents.keep_typing(app, third, "over the third", writer="a")
    documents.keep_typing(app, third, "by another", writer="b")
    assert [documents.typed(app, base, writer="a") for base in (first, second, third)] == [
        "over the first", "over the second", "over the third",
    ]  # fmt: skip
    kept = documents.unsaved(app, third, writer="a")
    listed = [("over the second", True), ("over the first", True), ("by another", False)]
    assert [(k.text, k.mine) for k in kept] == listed, "those of this browser first"
    documents.settle(app, kept[0])
    assert [k.text for k in documents.unsaved(app, third, writer="a")] == ["over the first", "by another"]
    assert documents.typed(app, third, writer="a") == "over the third"
    assert [k.text for k in documents.unsaved(app, third, writer="b")] == ["over the third", "over the first"]


def test_a_text_thrown_away_comes_back_beside_what_was_typed_since(app, planned):
    first = planning.draft_case_plan(app, planned)
    documents.keep_typing(app, first, "thrown away", who="Dr A", writer="a")
    second = planning.draft_case_plan(app, planned)
    (kept,) = documents.unsaved(app, second, writer="a")
    assert documents.settle(app, kept, who="Dr A")
    documents.keep_typing(app, first, "typed since", who="Dr A", writer="a")
    assert not documents.settle(app, kept), "another text stands in its place"
    documents.bring_back(app, kept)
    listed = {(k.text, k.who, k.base.version, k.mine) for k in documents.unsaved(app, second, writer="a")}
    assert listed == {("thrown away", "Dr A", 1, True), ("typed since", "Dr A", 1, True)}
    again = next(k for k in documents.unsaved(app, second, writer="a") if k.text == "thrown away")
    assert documents.settle(app, again)
    documents.bring_back(app, again)
    assert len(documents.unsaved(app, second, writer="a")) == 2


def test_text_that_is_reported_after_it_was_saved_is_not_unsaved(app, planned):
    first = planning.draft_case_plan(app, planned)
    text = first.payload["text"] + "\nMore."
    second = planning.save_edit(app, planned, text, who="Dr A", based_on=first.id)
    documents.keep_typing(app, first, text, who="Dr A", writer="a")
    assert documents.unsaved(app, second, writer="a") == [] == documents.unsaved(app, second, writer="b")


def test_a_restored_plan_has_its_own_figures_again(app, planned):
    first = planning.draft_case_plan(app, planned)
    planning.save_form(app, planned, {"site": "larynx_glottis", "cord_mobility": "normal", "nodes_n_pos": 0}, who="A")
    second = planning.draft_case_plan(app, planned)
    assert second.payload["staging"]["site"] == "larynx_glottis"
    back = documents.restore(app, first, second.id, who="Dr A")
    assert back.version == 3 and back.payload == first.payload
    assert planning.outdated(app, back) == ["the form"]
    with pytest.raises(HnvlmError) as refused:
        documents.restore(app, second, second.id, who="Dr B")
    assert refused.value.code == "conflict"


def test_what_changed_since_a_signature_is_said_everywhere(app, planned, phantom, built_in_font):
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    signed = documents.sign(app, planning.draft_case_plan(app, planned).id, "Dr Ada Nowak")
    assert planning.outdated(app, signed) == [] and planning.notes(app, signed, item) == []
    assert "Changed after" not in words_of(plan_export.pdf(app, signed, item))

    hotter = upload(app, planned, np.full(phantom.shape, 60.0))
    constraint_templates.choose(app, planned, "quantec")
    planning.answer(app, planned, "ecog", 1, who="Dr B")
    doses = [f"Uploaded dose of {d.created[:16].replace('T', ' ')} UTC with a maximum of {gy:.1f} Gy"
             for d, gy in ((item, 40), (hotter, 60))]  # fmt: skip
    the_dose = f"the dose (judged on: {doses[0]}; now: {doses[1]})"
    assert planning.outdated(app, signed) == ["the form", the_dose, "the constraint template"]
    said = f"Changed after this version was written and signed: the form, {the_dose}, the constraint template."
    other = "is not the one that the text was judged on"
    page = words_of(plan_export.pdf(app, signed, hotter)).replace("\\", "")  # a PDF writes a bracket with one
    assert said in page and other in page and "Signed by Dr Ada Nowak" in page
    resource = json.loads(plan_export.care_plan(app, signed, hotter))
    assert said in resource["description"] and said in resource["text"]["div"]
    assert said in plan_export.text(app, signed)

    app.store.save_result(planned, "structures", {"source": "upload"},
                          arrays={"masks": blocks(phantom.shape, SPANS)})  # fmt: skip
    assert "the structures" in planning.outdated(app, signed)


def test_figures_of_the_draft_are_not_printed_as_those_of_an_edited_text(app, planned, phantom, built_in_font):
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    draft = planning.draft_case_plan(app, planned)
    assert json.loads(plan_export.care_plan(app, draft, item))["activity"]
    text = re.sub(r"\b70 Gy", "66 Gy", draft.payload["text"])
    assert text != draft.payload["text"]
    edited = documents.sign(app, planning.save_edit(app, planned, text, who="Dr A", based_on=draft.id).id, "Dr A")
    page = words_of(plan_export.pdf(app, edited, item))
    assert "NOT of the text" in page and "figures of the AI draft, NOT of the edited text" in page
    assert "FAIL: " in page, "which figures disagree"
    resource = json.loads(plan_export.care_plan(app, edited, item))
    assert "activity" not in resource and "NOT of the text" in resource["description"]


def test_a_synthetic_case_says_so_in_every_document(app, phantom, built_in_font):
    case_id = app.store.add_case(phantom, demo=True).id
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    plan = planning.draft_case_plan(app, case_id)
    said = "SYNTHETIC case, not a patient."
    assert said in plan_export.text(app, plan)
    assert said in json.loads(plan_export.care_plan(app, plan, None))["text"]["div"]
    pdf = plan_export.pdf(app, plan, None)
    pages = len(re.findall(rb"/Type /Page\b(?!s)", pdf))
    assert words_of(pdf).count(said) >= pages + 1, "in the head and on every page"


def test_control_characters_do_not_break_the_careplan(app, planned):
    draft = planning.draft_case_plan(app, planned)
    edited = planning.save_edit(
        app, planned, draft.payload["text"] + "\nto do\x0b\x00 <now>", who="A", based_on=draft.id
    )
    div = json.loads(plan_export.care_plan(app, edited, None))["text"]["div"]
    assert "to do" in div and "&lt;now&gt;" in div and not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", div)
    # Names and notes stand above the text: they may name a structure.
    div = fhir.care_plan(documents.sign(app, edited.id, "Dr\x07 A"), notes=["Couch\x1b & table"])["text"]["div"]
    assert "Couch  &amp; table" in div and not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", div)


def test_every_signer_is_named(app, planned):
    plan = planning.draft_case_plan(app, planned)
    documents.sign(app, plan.id, "Dr A")
    said = documents.signature(documents.sign(app, plan.id, "Dr B"))
    assert re.fullmatch(r"Signed by Dr A on [\d-]{10} and by Dr B on [\d-]{10}; AI-assisted draft", said)


def test_answers_given_at_the_same_moment_all_stay(app, case_id):
    given = {"age": 61, "ecog": 1, "crcl_ml_min": 80, "hearing_grade": 0, "cps": 20, "neuropathy_grade": 0}
    start = threading.Barrier(len(given))

    def answer(field, value):
        start.wait()
        planning.answer(app, case_id, field, value, who=field)

    threads = [threading.Thread(target=answer, args=pair) for pair in given.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert planning.load_form(app, case_id) == given


def test_first_means_that_there_is_no_version_yet(app, case_id):
    app.store.save_result(case_id, "form", {"age": 60}, based_on=FIRST)
    with pytest.raises(HnvlmError, match="saved another version"):
        app.store.save_result(case_id, "form", {"age": 61}, based_on=FIRST)


def test_words_typed_over_a_signed_text_leave_it_signed_in_the_worklist(app, planned):
    first = planning.draft_case_plan(app, planned)
    documents.sign(app, first.id, "Dr A")
    documents.keep_typing(app, first, "Not saved yet.", who="Dr B", writer="browser of B")
    assert "plan, signed" in worklist.results_of(app, planned)
