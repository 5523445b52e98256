"""Limits of the part of an organ outside the planned targets are judged on that part. Numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from test_dose_service import upload

from hnvlm.plan import build_constraints
from hnvlm.plan.kb import load_kb
from hnvlm.services import constraint_templates, histograms, outside_targets, planning


def drawn(phantom, *names: str) -> dict[str, np.ndarray]:
    """A body; in it a mouth of 12 columns, the last 4 of which lie in the target; beside it another target."""
    masks = {name: np.zeros(phantom.shape, bool) for name in names}
    places = {"External": (5, 20), "Cavity_Oral": (6, 18), "PTV_7000": (14, 18), "PTV_7000_Ring": (10, 14)}
    for name in masks:
        masks[name][2:6, 6:12, slice(*places[name])] = True
    return masks


def judged(app, case_id, phantom, *names: str):
    """70 Gy in the target, 20 Gy elsewhere."""
    masks = drawn(phantom, *names)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    gy = np.full(phantom.shape, 20.0)
    gy[:, :, 14:18] = 70.0
    return histograms.judge(app, upload(app, case_id, gy))


def test_the_mouth_is_judged_outside_the_target_and_not_outside_a_ring(app, case_id, phantom):
    """Of 12 columns 4 get 70 Gy and 8 get 20 Gy: the whole has 36.7 Gy, more than 30; the part outside 20."""
    found = judged(app, case_id, phantom, "External", "Cavity_Oral", "PTV_7000", "PTV_7000_Ring")
    (row,) = [r for r in found.rows if r.id == "oc_30"]
    assert row.structure == "Cavity_Oral-PTV" and row.applies == "part outside the PTV"
    assert row.status == "met" and row.value == 20.0
    assert found.histograms["Cavity_Oral"].mean_gy == pytest.approx(110 / 3, abs=0.01)
    assert "Cavity_Oral-PTV" not in found.histograms and found.source["Cavity_Oral-PTV"] == "clinic"
    plan = planning.draft_case_plan(app, case_id)
    (drafted,) = [r for r in plan.payload["constraints"] if r["id"] == "oc_30"]
    assert (drafted["status"], drafted["value"]) == ("met", row.value)


def test_a_mouth_within_the_target_and_one_without_a_target_are_not_judged(app, case_id, phantom):
    for names in (("Cavity_Oral",), ("Cavity_Oral", "PTV_7000_Ring")):
        (row,) = [r for r in judged(app, case_id, phantom, *names).rows if r.id == "oc_30"]
        assert row.status == "not_evaluable" and "or a PTV is not contoured" in row.reason
    masks = drawn(phantom, "Cavity_Oral", "PTV_7000")
    masks["Cavity_Oral"] &= masks["PTV_7000"]
    rows = build_constraints(load_kb(), list(masks))
    assert outside_targets.parts(masks, rows) == {}


def test_the_body_outside_the_target_has_its_row_with_and_without_an_outline(app, case_id, phantom):
    """The row of NRG-HN004 was lost without a word."""
    constraint_templates.choose(app, case_id, "nrg_hn004")
    (row,) = [r for r in judged(app, case_id, phantom, "External", "PTV_7000").rows if r.id == "ext_hn004"]
    assert (row.structure, row.status) == ("External-PTV", "met") and row.value == 20.0
    (row,) = [r for r in judged(app, case_id, phantom, "Cavity_Oral", "PTV_7000").rows if r.id == "ext_hn004"]
    assert row.status == "not_evaluable" and row.reason.startswith("no dose-volume figures of External outside the PTV")


def test_a_scaled_dose_takes_the_part_with_it(app, case_id, phantom):
    found = judged(app, case_id, phantom, "Cavity_Oral", "PTV_7000")
    item = app.store.latest_result(case_id, "dose")
    half = app.store.save_result(case_id, "dose", {**item.payload, "scale_of": item.id, "factor": 0.5}, slot="what-if")
    value = {r.id: r.value for r in found.rows}["oc_30"]
    assert {r.id: r.value for r in histograms.judge(app, half).rows}["oc_30"] == pytest.approx(value / 2, abs=0.01)


def test_an_own_template_may_name_the_part_and_what_the_clinic_calls_its_own(app, case_id, phantom):
    rows = [
        {"organ": organ, "metric": "Dmean", "op": "<", "limit": 15, "unit": "Gy", "priority": 3}
        for organ in ("oral cavity - PTV", "zz mouth minus PTV")
    ]
    own = constraint_templates.save(app, "Ours", rows, who="Dr A", structures=["zz mouth minus PTV"])
    assert [r["organ"] for r in constraint_templates.rows(app, own)] == ["Cavity_Oral-PTV", "zz mouth minus PTV"]
    constraint_templates.choose(app, case_id, own)
    masks = drawn(phantom, "Cavity_Oral", "PTV_7000")
    masks["zz mouth minus PTV"] = masks["Cavity_Oral"] & ~masks["PTV_7000"]
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    ours, theirs = histograms.judge(app, upload(app, case_id, np.full(phantom.shape, 20.0))).rows
    assert ours.value == theirs.value == 20.0 and ours.status == theirs.status == "not_met"


def test_an_own_row_that_nobody_changed_is_about_what_its_entry_is_about_now():
    kept = {"id": "oc_30", "organ": "Cavity_Oral", "metric": "Dmean", "op": "<", "limit": 30.0, "unit": "Gy",
            "priority": 3, "endpoint": "", "verified": True, "edited": "", "source": []}  # fmt: skip
    rows = build_constraints(load_kb(), ["Cavity_Oral"], own_rows=[kept, {**kept, "edited": "changed by Dr A"}])
    assert {r.structure for r in rows} == {"Cavity_Oral-PTV", "Cavity_Oral"}


def test_a_target_has_coverage_and_hot_spot_for_the_rules_and_a_ring_has_no_coverage(app, case_id, phantom):
    """84 Gy in half of the target of 70 Gy are 120 %; the other half gets 56 Gy, less than 95 % of 70 Gy."""
    judged(app, case_id, phantom, "PTV_7000", "PTV_7000_Ring")
    gy = np.full(phantom.shape, 20.0)
    gy[:, :, 14:16], gy[:, :, 16:18] = 84.0, 56.0
    metrics = histograms.judge(app, upload(app, case_id, gy)).metrics
    assert (metrics["PTV_7000"]["V95pct"], metrics["PTV_7000"]["D0.03cc"]) == (50.0, 84.0)
    assert "V95pct" not in metrics["PTV_7000_Ring"]
    fired = {c["id"]: c["message"] for c in planning.draft_case_plan(app, case_id).payload["checks"]
             if c["status"] == "warn"}  # fmt: skip
    assert fired["dvh_ptv_hot"].startswith("PTV_7000: hot spot 120.0%")
    assert fired["dvh_ptv_v95"].startswith("PTV_7000: V95% is 50.0%")
