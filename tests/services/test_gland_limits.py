"""The limits of a stored case's dose leave out the gland that carries the tumour, as its plan does."""

from __future__ import annotations

import json

import numpy as np
from test_dose_service import SPANS, blocks, upload

from hnvlm.services import documents, fhir, histograms, planning
from hnvlm.store import ResultRecord

FORM = {"site": "major_salivary", "subsite": "parotid", "side": "right", "tumour_size_mm": 27, "distant": False}


def limited(app, item) -> set[str]:
    return {row.structure for row in histograms.judge(app, item).rows}


def drafted(app, case_id, phantom) -> tuple[ResultRecord, ResultRecord]:
    masks = blocks(phantom.shape, SPANS)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    item = upload(app, case_id, np.full(phantom.shape, 40.0))
    before = limited(app, item)
    assert {"Parotid_L", "Parotid_R", "Parotids", "SpinalCord"} <= before, "no plan says what carries the tumour"
    return planning.draft_case_plan(app, case_id, form=FORM), item


def test_the_own_gland_of_a_parotid_primary_is_not_judged_and_reviewed_is_reviewed(app, case_id, phantom):
    plan, item = drafted(app, case_id, phantom)
    rows = limited(app, item)
    assert {"Parotid_L", "SpinalCord"} <= rows and not {"Parotid_R", "Parotids"} & rows
    assert not {"Parotid_R", "Parotids"} & {row["structure"] for row in plan.payload["constraints"]}
    said = "Draft not reviewed by a clinician"
    assert said in json.dumps(fhir.care_plan(plan))
    assert said not in json.dumps(fhir.care_plan(documents.sign(app, plan.id, "Dr A")))
    assert said not in plan.payload["text"]
