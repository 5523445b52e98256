"""What 100 % of a clinic's dose is, in how many fractions it is given, and who says so. Numbers by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_dose_service import SPANS, blocks, upload

from hnvlm.errors import UsageError
from hnvlm.plan.dose_basis import GUESSED, coverage_checks
from hnvlm.services import case_sheet, dose, dose_told, histograms, plan_export, planning
from hnvlm.services.dose import WhatIf

ORGANS = {name: span for name, span in SPANS.items() if not name.startswith("PTV")}
FORM = {"site": "oropharynx", "p16": "negative", "histology": "squamous_cell_carcinoma"}


@pytest.fixture
def guessed(app, case_id, phantom):
    """Organs of the clinic, targets of a model, and a clinic's dose of 60 Gy."""
    masks = blocks(phantom.shape, ORGANS)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    ours = blocks(phantom.shape, {name: SPANS[name] for name in ("PTV_7000", "PTV_5600")})
    made_by = {"model": "x", "version": "1", "weights_sha256": "0", "seed": 0, "settings": {}}
    app.store.save_result(
        case_id, "segmentation", {"uncertainty": {}, "seconds": 0}, arrays={"masks": ours}, provenance=made_by
    )
    return upload(app, case_id, np.full(phantom.shape, 60.0))


def test_targets_that_a_model_guessed_say_nothing_of_a_clinics_dose(app, case_id, guessed):
    """100 % was 70, PTV_7000 not covered, and 60 Gy "raised" to 63 were 54."""
    judged = histograms.judge(app, guessed)
    assert judged.prescription_gy is None and dose.fractions(app, guessed) is None
    targets = [row for row in judged.rows if row.structure.startswith("PTV")]
    assert {(row.status, row.reason) for row in targets} == {("not_evaluable", GUESSED)}
    assert coverage_checks(judged.rows) == [] and not {"PTV_7000", "PTV_5600"} & set(judged.metrics)
    assert {row.status for row in judged.rows if row.structure == "SpinalCord"} == {"not_met"}, "organs are judged"
    with pytest.raises(UsageError, match="not known: no target of the clinic is named by its dose"):
        dose.scale(app, guessed.id, WhatIf(prescription_gy=63.0))
    said = " ".join(case_sheet._dose_words(guessed, judged, dose.load(app, guessed), "", []))
    assert "prescription not known" in said and "70 Gy" not in said


def test_a_plan_does_not_hold_them_against_the_clinics_dose_either(app, case_id, guessed):
    plan = planning.draft_case_plan(app, case_id, form=FORM).payload
    rows = [row for row in plan["constraints"] if row["structure"].startswith("PTV")]
    assert rows and {(row["status"], row["reason"]) for row in rows} == {("not_evaluable", GUESSED)}
    warned = [c["message"] for c in plan["checks"] if c["status"] in ("warn", "fail")]
    assert not [text for text in warned if "covered" in text or "V95" in text]
    assert "no target of the clinic is at hand, so what targets get is not judged" in plan["dose_line"]


def test_what_the_clinic_tells_is_known_and_scales_the_right_way(app, case_id, guessed, tmp_path):
    dose_told.tell(app, guessed.id, prescription_gy=60.0, fractions=30, who="Dr A")
    assert dose.top_prescription(app, guessed, ["PTV_7000"]) == 60.0
    assert dose.fractions(app, guessed) == dose.stated_fractions(app, guessed) == 30
    assert dose.in_fractions(app, guessed) == " in 30 fractions" and dose.doubts(app, guessed) == []
    raised = dose.scale(app, guessed.id, WhatIf(prescription_gy=63.0))
    assert dose.load(app, raised).array.max() == pytest.approx(63.0)
    judged = histograms.judge(app, guessed)
    assert judged.prescription_gy == 60.0 and judged.stated_fraction_gy == 2.0
    assert {r.reason for r in judged.rows if r.structure.startswith("PTV")} == {GUESSED}, "still not its targets"
    before = plan_export.archive_path(app, case_id, guessed)
    dose_told.tell(app, guessed.id, who="Dr A")
    assert dose.top_prescription(app, guessed, ["PTV_7000"]) is None, "taken back"
    assert plan_export.archive_path(app, case_id, guessed) != before


def test_a_plan_says_that_something_was_told_of_its_dose_since(app, case_id, guessed):
    plan = planning.draft_case_plan(app, case_id, form=FORM)
    assert planning.outdated(app, plan) == []
    dose_told.tell(app, guessed.id, fractions=30, who="Dr A")
    assert planning.outdated(app, plan) == ["what was stated of the dose"]


def test_only_of_a_clinics_dose_and_only_what_can_be_meant(app, case_id, guessed):
    for wrong in ({"prescription_gy": 0.5}, {"prescription_gy": 101.0}, {"fractions": 0}, {"fractions": 81}):
        with pytest.raises(UsageError, match="between 1 and"):
            dose_told.tell(app, guessed.id, who="Dr A", **wrong)
    with pytest.raises(UsageError, match="of an uploaded dose"):
        dose_told.tell(app, dose.predict(app, case_id).id, fractions=35, who="Dr A")


@pytest.mark.parametrize(("target", "assumed"), [("PTV_6996", False), ("PTV_7000", True), ("PTV_7050", False)])
def test_the_drafts_fractions_are_assumed_of_a_dose_of_the_same_total_only(app, case_id, phantom, tmp_path, target,
                                                                         assumed):  # fmt: skip
    """69.96 Gy are given in 33 fractions of 2.12 Gy; the draft's are 70 Gy in 35."""
    spans = {**ORGANS, target: SPANS["PTV_7000"]}
    masks = blocks(phantom.shape, spans)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    item = upload(app, case_id, np.where(masks[target], float(target[-4:]) / 100, 30.0))
    planning.draft_case_plan(app, case_id, form=FORM)
    assert dose.fractions(app, item) == (35 if assumed else None) and dose.stated_fractions(app, item) is None
    assert dose.in_fractions(app, item) == (" in 35 fractions (assumed from the draft plan)" if assumed else "")
    written = json.loads(plan_export.write_all(app, case_id, item, tmp_path / "a")["constraints"].read_text())
    assert written["fractions_assumed"] is assumed
    dose_told.tell(app, item.id, fractions=33, who="Dr A")
    assert dose.fractions(app, item) == 33 and "assumed" not in dose.in_fractions(app, item)
