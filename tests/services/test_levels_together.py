"""All targets of one level are treated together; one without a dose in its name is told, not dropped. By hand."""

from __future__ import annotations

import numpy as np
import pytest
from test_dose_service import SPANS, blocks, upload

from hnvlm.imaging.masks import PackedMasks
from hnvlm.services import dose, histograms, planning, target_levels
from hnvlm.services.dose import WhatIf

ORGANS = {name: span for name, span in SPANS.items() if not name.startswith("PTV")}
PLACES = (((2, 5), (7, 10), (14, 17)), ((2, 5), (7, 10), (7, 10)), ((1, 4), (10, 12), (6, 19)))


def drawn(app, case_id, phantom, *names: str):
    spans = {**ORGANS, **dict(zip(names, PLACES, strict=False))}
    masks = blocks(phantom.shape, spans)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    return masks


@pytest.mark.parametrize(
    ("names", "levels"),
    [
        (("PTV_7000_L", "PTV_7000_R", "PTV_5600"), {"PTV_7000": 70.0, "PTV_5600": 56.0}),
        (("PTV70_L", "PTV70_R", "PTV_5600"), {"PTV_7000": 70.0, "PTV_5600": 56.0}),
        (("PTVp_7000", "PTVn_6300", "PTV_5600"), {"PTV_7000": 70.0, "PTV_6300": 63.0, "PTV_5600": 56.0}),
        (("PTV_7000", "PTVn_7000", "PTV_5600"), {"PTV_7000": 70.0, "PTV_5600": 56.0}),
    ],
)
def test_targets_with_a_side_or_a_classifier_are_treated(app, case_id, phantom, names, levels):
    """They were dropped without a word: 100 % was 56 Gy, and the tumour got 45."""
    masks = drawn(app, case_id, phantom, *names)
    made = dose.predict(app, case_id)
    assert made.payload["prescriptions"] == levels and set(names) <= set(made.payload["inputs"])
    assert histograms.judge(app, made).prescription_gy == 70.0
    gy = dose.load(app, made).array
    asked = target_levels.prescriptions(names)
    for name, level in asked.items():
        assert np.median(gy[masks[name]]) > level - 1.0
    covered = {r.structure: r.status for r in histograms.judge(app, made).rows if r.structure in names}
    assert covered == dict.fromkeys(names, "met")
    assert histograms.judge(app, upload(app, case_id, np.full(phantom.shape, 69.0))).prescription_gy == 70.0


def test_two_targets_of_one_level_are_one_for_the_network_and_that_is_told(phantom):
    masks = blocks(phantom.shape, dict(zip(("PTV_7000_L", "PTV_7000_R", "PTV_5600"), PLACES, strict=True)))
    for given in (masks, PackedMasks(masks)):
        one = target_levels.together(given)
        assert sorted(one) == ["PTV_5600", "PTV_7000"] and int(np.sum(one["PTV_7000"])) == 2 * 27
        assert target_levels.notes(given) == ["PTV_7000 is PTV_7000_L and PTV_7000_R together"]
    assert masks["PTV_7000_L"].sum() == 27, "the clinic's own stays as it is"


def test_what_was_cut_for_a_report_stands_for_a_target_only_where_that_is_not_there():
    both = ("PTV_7000", "PTV_7000_Eval", "PTV_7000_Ring", "PTV_5600_Eval", "PTV_5600_old")
    assert target_levels.by_level(both) == {"PTV_7000": ("PTV_7000",), "PTV_5600": ("PTV_5600_Eval",)}
    assert target_levels.without_level((*both, "PTV_High_Eval", "PTV_Ring", "CTV_High")) == ()


def test_a_target_without_a_dose_in_its_name_is_told_before_any_number(app, case_id, phantom, models):
    drawn(app, case_id, phantom, "PTV_High", "PTV_5600")
    made = dose.predict(app, case_id)
    (told,) = made.payload["doubts"]
    assert told.startswith("PTV_High carries no dose in the name and got none: this is a prediction for PTV_5600 alone")
    assert made.payload["notes"][0] == told and dose.doubts(app, made) == [told]
    direct = dose.run(models, phantom, app.store.load_masks(app.store.latest_result(case_id, "structures")))
    assert direct.notes[0] == told, "also without a store"
    item = upload(app, case_id, np.full(phantom.shape, 69.0))
    assert histograms.judge(app, item).prescription_gy is None, "56 Gy would be the 100 % of a dose of 70"
    assert dose.doubts(app, item) == [
        "prescription not known: the name of PTV_High says no dose, and it may be the highest level"
    ]
    low = dict(zip(("PTV_7000", "PTV_Low"), PLACES, strict=False))
    assert target_levels.highest(low) == 70.0 and target_levels.highest(["PTV_High", "PTV_5600"]) is None


def test_a_level_is_left_out_and_spared_with_all_its_targets(app, case_id, phantom):
    drawn(app, case_id, phantom, "PTV_7000", "PTV_5600_L", "PTV_5600_R")
    made = dose.predict(app, case_id, what_if=WhatIf(drop=("PTV_5600",)))
    assert made.payload["prescriptions"] == {"PTV_7000": 70.0}
    assert not {"PTV_5600_L", "PTV_5600_R"} & set(made.payload["inputs"])


def test_a_plan_is_judged_on_the_targets_of_a_classifier(app, case_id, phantom):
    drawn(app, case_id, phantom, "PTVp_7000", "PTVn_6300", "PTV_5600")
    plan = planning.draft_case_plan(app, case_id, form={"site": "oropharynx", "p16": "negative"}).payload
    rows = {c["structure"]: c["limit"] for c in plan["constraints"] if c["structure"].startswith("PTV")}
    assert rows["PTVp_7000"] == pytest.approx(66.5) and rows["PTVn_6300"] == pytest.approx(59.85)
