"""What the models suspect is confirmed or rejected by a clinician, and what is drafted next follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeModels

from hnvlm.errors import HnvlmError
from hnvlm.report import render
from hnvlm.services import analysis, attention, documents, planning, rating, reporting
from hnvlm.types import Finding

BOX = (2, 3, 5, 5, 6, 9)
SUSPECTED = {"presence": "indeterminate", "certainty": "possible", "source": "zero-shot", "slice_index": 3, "box": BOX,
             "score": 0.8, "attributes": {"suspected": True}}  # fmt: skip
MASS = Finding("mass", side="right", site="palatine tonsil", **SUSPECTED)
NODE = Finding("node", side="right", level="II", **SUSPECTED)
REGION = Finding("artefact", attributes={"extent": "mild"})
TOLD = [MASS, NODE, REGION]


class Suspicious(FakeModels):
    """Suspects a mass and a node, whatever was decided on them, as the model pack does."""

    def findings(self, volume, segmentation, *, progress=None):
        return TOLD


@pytest.fixture
def models() -> FakeModels:
    return Suspicious(report=render(TOLD))


@pytest.fixture
def found(app, case_id) -> str:
    analysis.analyse_case(app, case_id)
    return case_id


def verdicts(app, case_id):
    return [(s.finding, s.verdict, s.who) for s in attention.suspicions(app, case_id)]


def test_suspicions_are_listed_until_they_are_decided(app, found):
    assert verdicts(app, found) == [(MASS, None, ""), (NODE, None, "")]
    attention.decide(app, found, MASS, "confirmed", who="Dr A")
    attention.decide(app, found, NODE, "rejected", who="Dr B")
    assert verdicts(app, found) == [(MASS, "confirmed", "Dr A"), (NODE, "rejected", "Dr B")]
    assert all(s.at.startswith("20") for s in attention.suspicions(app, found))


def test_a_confirmed_one_is_a_clinicians_finding_and_a_rejected_one_is_none(app, found):
    attention.decide(app, found, MASS, "confirmed", who="Dr A")
    attention.decide(app, found, NODE, "rejected", who="Dr A")
    mass, region = analysis.load_findings(app, found)
    assert (mass.presence, mass.source, mass.certainty, mass.box) == ("present", "clinician", "definite", BOX)
    assert region == REGION and analysis.load_current_findings(app, found) is not None
    assert app.store.latest_result(found, "findings").who == "Dr A"


@pytest.mark.parametrize("verdict", ["confirmed", "rejected"])
def test_a_decision_can_be_taken_back(app, found, verdict):
    attention.decide(app, found, MASS, verdict, who="Dr A")
    attention.decide(app, found, MASS, None, who="Dr A")
    assert analysis.load_findings(app, found) == TOLD
    assert verdicts(app, found) == [(MASS, None, ""), (NODE, None, "")]


def test_what_was_decided_holds_where_the_ct_is_measured_anew(app, found, models, monkeypatch):
    attention.decide(app, found, MASS, "confirmed", who="Dr A")
    attention.decide(app, found, NODE, "rejected", who="Dr B")
    moved = replace(MASS, slice_index=4, box=(3, 3, 5, 6, 6, 9), score=0.7)
    new = Finding("node", side="left", level="III", **SUSPECTED)
    monkeypatch.setattr(models, "findings", lambda *_, **__: [new, moved])
    made = analysis.analyse_case(app, found, again=True).findings
    assert verdicts(app, found) == [(new, None, ""), (moved, "confirmed", "Dr A")]
    assert made == analysis.load_findings(app, found) == [new, attention.confirmed(moved)]


def test_a_draft_that_tells_a_decision_is_not_rated_as_the_models(app, found):
    alone = reporting.draft_report(app, found)
    attention.decide(app, found, MASS, "confirmed", who="Dr A")
    told = reporting.draft_report(app, found)
    assert told.payload["as_decided"] and not alone.payload["as_decided"]
    assert [r.id for r in rating.ai_drafts(reporting.versions(app, found, "en"))] == [alone.id]


def test_the_plan_says_who_is_certain(app, found):
    attention.decide(app, found, MASS, "confirmed", who="Dr A")
    text = planning.draft_case_plan(app, found).payload["text"]
    assert "Mass, right palatine tonsil, confirmed by a clinician (slice 4)" in text
    assert "Node, right level II, indeterminate (slice 4)" in text


def test_what_is_drafted_next_follows_the_decisions(app, found):
    attention.decide(app, found, MASS, "confirmed", who="Dr A")
    attention.decide(app, found, NODE, "rejected", who="Dr A")
    report = reporting.draft_report(app, found).payload
    text = report["text"]
    assert report["as_decided"] and "Definite mass in the right palatine tonsil" in text and "ndeterminate" not in text
    assert "level II" not in text and "Mild dental artefact" in text
    plan = planning.draft_case_plan(app, found).payload
    kinds = [(f["kind"], f["source"]) for f in plan["made_from"]["findings"]]
    assert kinds == [("mass", "clinician"), ("artefact", "measured")]


def test_a_draft_of_undecided_suspicions_stays_as_it_was_written(app, models, found):
    report = reporting.draft_report(app, found).payload
    assert report["text"] == models.report and not report["as_decided"]


def test_a_text_with_words_of_its_own_is_not_rewritten(app, found):
    attention.decide(app, found, NODE, "rejected")
    text = render(TOLD).replace("IMPRESSION:", "Thyroid: A nodule of unclear origin at the lower pole.\nIMPRESSION:")
    decided = attention.suspicions(app, found)
    assert reporting.as_decided(text, "en", decided) == text
    assert "level II" not in reporting.as_decided(render(TOLD), "en", decided)
    assert "poziom" not in reporting.as_decided(render(TOLD, language="pl"), "pl", decided).lower()


def test_the_checks_of_an_older_text_follow_the_decisions(app, found):
    report = reporting.draft_report(app, found)
    assert {c["id"] for c in reporting.checks_of(app, report)} == {"report.suspected"}
    attention.decide(app, found, MASS, "confirmed")
    attention.decide(app, found, NODE, "rejected")
    assert {c["id"] for c in reporting.checks_of(app, report)} == {"report.unsupported"}


def test_a_plan_drafted_before_a_decision_is_told_to_be_of_before(app, found):
    plan = planning.draft_case_plan(app, found)
    attention.decide(app, found, MASS, "confirmed")
    assert "the findings" in planning.outdated(app, plan)
    attention.decide(app, found, MASS, None)
    assert planning.outdated(app, plan) == []


def test_a_suspicion_that_is_not_there_any_more_is_refused_in_words(app, found):
    analysis.save_findings(app, found, [REGION])
    with pytest.raises(HnvlmError, match="measured anew"):
        attention.decide(app, found, MASS, "confirmed")


def test_who_gave_no_name_is_told_as_such():
    assert [documents.named(who) for who in ("", documents.UNNAMED, "Dr A")] == ["nobody named", "nobody named", "Dr A"]
