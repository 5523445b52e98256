"""A prediction that misses its own target is called so before any number; what is left out is told truly. By hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_dose_service import SPANS, blocks

from hnvlm.errors import UsageError
from hnvlm.plan.dose_basis import DoseBasis
from hnvlm.services import dose, planning, target_levels
from hnvlm.services.dose import WhatIf

FAILED = "the prediction gives PTV_7000 37.9 of 70 Gy (median): do not use it"


@pytest.fixture
def planned(app, case_id, phantom):
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    return case_id


@pytest.fixture
def hole(models, monkeypatch, phantom):
    """The network's answer where PTV_7000 gets 37.9 Gy."""
    whole = models.dose

    def answer(*args, **given):
        made = whole(*args, **given)
        gray = made.dose_gy.array.copy()
        gray[blocks(phantom.shape, SPANS)["PTV_7000"]] = 37.9
        return replace(made, dose_gy=made.dose_gy.with_array(gray))

    monkeypatch.setattr(models, "dose", answer)


def test_a_hole_at_the_tumour_is_told_first_and_no_limit_is_judged_on_it(app, planned, hole, models, phantom):
    made = dose.predict(app, planned)
    assert made.payload["failed"] == FAILED == made.payload["notes"][0] == dose.doubts(app, made)[0]
    plan = planning.draft_case_plan(app, planned, form={"site": "oropharynx", "p16": "negative"}).payload
    assert f"Limits are named but not judged: {FAILED}" in plan["text"]
    assert {row["status"] for row in plan["constraints"]} == {"not_evaluable"}
    scaled = dose.scale(app, made.id, WhatIf(prescription_gy=66.0))
    assert dose.doubts(app, scaled) == [FAILED]
    masks = blocks(phantom.shape, SPANS)
    assert dose.run(models, phantom, masks).notes[0] == FAILED
    assert planning.judged_without_store(models, phantom, masks)["dose_basis"].failed == FAILED


def test_a_prediction_that_treats_its_targets_has_no_doubts(app, planned):
    made = dose.predict(app, planned)
    assert made.payload["failed"] == "" and dose.doubts(app, made) == []
    assert DoseBasis.from_json(DoseBasis("x").to_json()).failed == ""


@pytest.mark.parametrize(
    ("gray", "told"),
    [(62.9, "PTV_7000 62.9 of 70 Gy"), (63.1, ""), (80.4, ""), (81.0, "PTV_7000 81.0 of 70 Gy"),
     (50.0, "PTV_7000 50.0 of 70 Gy, PTV_5600 50.0 of 56 Gy")],
)  # fmt: skip
def test_a_median_is_held_against_its_own_level(phantom, gray, told):
    """63 Gy are 90 % of 70, 80.5 are 115 %; a lower level may get the dose of a higher one."""
    masks = blocks(phantom.shape, SPANS)
    said = target_levels.missed(np.full(phantom.shape, gray), masks, {"PTV_7000": 70.0, "PTV_5600": 56.0})
    assert said == (f"the prediction gives {told} (median): do not use it" if told else "")


def test_the_highest_level_is_never_left_out(app, planned, models):
    with pytest.raises(UsageError, match="PTV_7000 cannot be left out: it holds the gross disease, which would stay"):
        dose.predict(app, planned, what_if=WhatIf(drop=("PTV_7000",)))
    assert "dose" not in models.calls


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((4, 8), "PTV_6300 is no level of its own any more and lies in PTV_5600: 56 Gy"),
        ((20, 24), "PTV_6300 not treated"),
        # Of four rows two get 70 Gy (one of them lies in PTV_5600, too), one 56 Gy, and one nothing.
        ((8, 12), "PTV_6300 is no level of its own any more: 50 % of it in PTV_7000: 70 Gy, 25 % of it in PTV_5600: "
                  "56 Gy, 25 % not treated"),
    ],
)  # fmt: skip
def test_what_a_level_that_is_left_out_still_gets(rows, told):
    def between(first, last):
        mask = np.zeros((24, 2, 2), bool)
        mask[first:last] = True
        return mask

    before = {"PTV_7000": between(8, 10), "PTV_6300": between(*rows), "PTV_5600": between(2, 11)}
    before["PTV_5600"][8:9] = False
    after = {name: mask for name, mask in before.items() if name != "PTV_6300"}
    said = target_levels.left_out(("PTV_6300",), before, after, {"PTV_7000": 70.0, "PTV_5600": 56.0})
    assert said == [f"{told}; its histogram is shown all the same"]
