"""Doses of a case: which structures, prediction, what-ifs, histograms, constraints and templates. Hand-made numbers."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from hnvlm.errors import HnvlmError, InputRefusedError, ModelPackError, UsageError
from hnvlm.imaging.target_names import level_gy
from hnvlm.services import constraint_templates, dose, histograms, planning
from hnvlm.services.dose import WhatIf


def blocks(shape, spans):
    masks = {}
    for name, (z, y, x) in spans.items():
        masks[name] = np.zeros(shape, bool)
        masks[name][slice(*z), slice(*y), slice(*x)] = True
    return masks


SPANS = {  # shape (8, 20, 24); x grows to the patient's left; the cord stands at columns 11 and 12
    "SpinalCord": ((0, 8), (13, 15), (11, 13)), "Parotid_L": ((4, 7), (6, 9), (17, 20)),
    "Parotid_R": ((4, 7), (6, 9), (5, 8)), "PTV_7000": ((2, 5), (7, 10), (14, 17)),
    "PTV_5600": ((1, 4), (10, 12), (6, 19)),
}  # fmt: skip


@pytest.fixture
def planned(app, case_id, phantom):
    """A case with the clinic's structures."""
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    return case_id


def upload(app, case_id, array):
    payload = {"source": "upload", "unit": "Gy", "max_gy": float(array.max())}
    return app.store.save_result(case_id, "dose", payload, arrays={"dose": array.astype(np.float32)})


def test_the_clinics_structures_come_first_and_targets_from_one_hand(app, planned, phantom):
    ours = blocks(phantom.shape, SPANS | {"PTV_6300": ((0, 2), (0, 2), (0, 2)), "Larynx": ((1, 2), (8, 12), (9, 14))})
    ours["SpinalCord"] = ~ours["SpinalCord"]
    ours["Esophagus"] = np.zeros(phantom.shape, bool)
    app.store.save_result(planned, "segmentation", {"uncertainty": {}, "seconds": 0}, arrays={"masks": ours})
    found = dose.structures(app, planned)
    assert set(found.masks) == {*SPANS, "Larynx"}, "a predicted target beside a clinic's would be two plans in one"
    assert found.source["Larynx"] == "AI" and found.source["SpinalCord"] == "clinic"
    assert found.masks["SpinalCord"].sum() == 8 * 2 * 2
    assert found.version == dose.structures_version(app, planned)
    assert dose.structure_names(app, planned) == list(found.masks), "one without a voxel is none"


def test_gross_tumour_alone_does_not_say_what_is_treated(app, case_id, phantom):
    drawn = {"GTVp": SPANS["PTV_7000"], "SpinalCord": SPANS["SpinalCord"]}
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, drawn)})
    ours = {"PTV_7000": SPANS["PTV_7000"], "SpinalCord": SPANS["SpinalCord"]}
    payload = {"uncertainty": {}, "seconds": 0}
    app.store.save_result(case_id, "segmentation", payload, arrays={"masks": blocks(phantom.shape, ours)})
    found = dose.structures(app, case_id)
    assert found.source == {"PTV_7000": "AI", "GTVp": "clinic", "SpinalCord": "clinic"}
    assert dose.structure_names(app, case_id) == list(found.masks)


def test_prescriptions_come_from_names():
    assert dose.prescriptions(["PTV_5600", "PTV_High", "PTV_7000", "SpinalCord", "PTV_5940", "PTV_0100"]) == {
        "PTV_7000": 70.0, "PTV_5940": 59.4, "PTV_5600": 56.0,
    }  # fmt: skip


def test_a_prediction_is_stored_to_a_hundredth_of_a_gray(app, models, planned):
    result = dose.predict(app, planned, who="Dr A")
    assert (result.slot, dose.label(result)) == ("predicted", "Predicted dose (AI draft)")
    assert result.payload["prescriptions"] == {"PTV_7000": 70.0, "PTV_5600": 56.0}
    assert result.payload["inputs"]["PTV_7000"] == "clinic" and result.provenance["model"] == "fake-dose"
    gy = dose.load(app, result)
    direct = models.dose(
        app.store.load_volume(planned), blocks(gy.shape, SPANS), prescriptions={"PTV_7000": 70.0, "PTV_5600": 56.0}
    )
    assert gy.array.dtype == np.float32 and np.abs(gy.array - direct.dose_gy.array).max() <= 0.00501
    assert "research use only" in result.payload["notice"] and dose.is_predicted(result)


def test_a_prediction_from_older_structures_is_known(app, planned, phantom):
    result = dose.predict(app, planned)
    scaled = dose.scale(app, result.id, WhatIf(prescription_gy=66.0))
    assert not dose.is_stale(app, result) and not dose.is_stale(app, scaled)
    app.store.save_result(planned, "structures", {}, arrays={"masks": blocks(phantom.shape, SPANS)})
    assert dose.is_stale(app, result) and dose.is_stale(app, scaled)
    assert not dose.is_stale(app, upload(app, planned, np.ones(phantom.shape)))


def test_nothing_to_predict_from_is_refused_in_words(app, case_id, planned):
    app.store.save_result(planned, "structures", {}, arrays={"masks": {"SpinalCord": np.ones((8, 20, 24), bool)}})
    with pytest.raises(InputRefusedError, match="no target with a dose"):
        dose.predict(app, planned)


def test_dropped_levels_and_spared_sides_are_predicted_anew(app, planned):
    base = dose.load(app, dose.predict(app, planned)).array
    dropped = dose.predict(app, planned, what_if=WhatIf(drop=("PTV_5600",)))
    assert dose.label(dropped) == "What-if 1: without PTV_5600"
    assert dropped.payload["prescriptions"] == {"PTV_7000": 70.0} and "PTV_5600" not in dropped.payload["inputs"]
    assert dose.load(app, dropped).array[2, 11, 7] < base[2, 11, 7]
    spared = dose.predict(app, planned, what_if=WhatIf(spare="right"))
    array = dose.load(app, spared).array
    assert array[2, 11, 7] < base[2, 11, 7] - 5, "the right of the patient has the low columns"
    assert array[2, 11, 15] == pytest.approx(base[2, 11, 15], abs=0.02)
    assert [dose.label(r).split(":")[0] for r in dose.doses(app, planned)] == [
        "Predicted dose (AI draft)", "What-if 2", "What-if 1",
    ]  # fmt: skip


def test_only_targets_below_the_highest_are_cut_at_the_midline(app, planned, phantom):
    masks = blocks(phantom.shape, SPANS)
    for side, columns in (("left", slice(6, 12)), ("right", slice(12, 19))):
        cut = dose.changed_inputs(masks, phantom, WhatIf(spare=side))
        kept = np.zeros(phantom.shape, bool)
        kept[1:4, 10:12, columns] = True
        np.testing.assert_array_equal(cut["PTV_5600"], kept)
        np.testing.assert_array_equal(cut["PTV_7000"], masks["PTV_7000"])


@pytest.mark.parametrize(
    ("without", "what_if", "message"),
    [
        ((), WhatIf(drop=("PTV_6300",)), "PTV_6300 is no target level"),
        ((), WhatIf(drop=("PTV_5600", "PTV_7000")), "PTV_7000 cannot be left out: it holds the gross disease"),
        ((), WhatIf(drop=("PTV_7000",)), "PTV_7000 cannot be left out: it holds the gross disease"),
        (("PTV_5600",), WhatIf(spare="left"), "only one target level"),
        (("SpinalCord",), WhatIf(spare="left"), "midline is not known"),
    ],
)
def test_what_ifs_that_cannot_be_asked(phantom, without, what_if, message):
    masks = {n: m for n, m in blocks(phantom.shape, SPANS).items() if n not in without}
    with pytest.raises(UsageError, match=message):
        dose.changed_inputs(masks, phantom, what_if)


def test_nothing_on_the_side_to_spare(phantom):
    masks = blocks(phantom.shape, SPANS | {"PTV_5600": ((1, 4), (10, 12), (14, 19))})
    with pytest.raises(UsageError, match="No elective target lies on the right side"):
        dose.changed_inputs(masks, phantom, WhatIf(spare="right"))


def test_a_new_prescription_scales_and_says_so(app, planned, phantom):
    array = np.full(phantom.shape, 35.0)
    base = upload(app, planned, array)
    scaled = dose.scale(app, base.id, WhatIf(prescription_gy=66.0, fractions=33))
    assert dose.label(scaled) == "What-if 1: 66 Gy in 33 fractions, scaled"
    assert "a plan made for this prescription would differ" in scaled.payload["notes"][0]
    assert scaled.arrays == {}, "the distribution is not stored twice"
    assert dose.load(app, scaled).array.max() == pytest.approx(33.0)
    assert dose.fractions(app, scaled) == 33 and dose.top_prescription(app, scaled, SPANS) == 66.0
    again = dose.scale(app, scaled.id, WhatIf(prescription_gy=60.0))
    assert dose.load(app, again).array.max() == pytest.approx(30.0)
    assert not dose.is_predicted(again), "an uploaded dose stays the clinic's, scaled"
    assert histograms.histograms(app, again)["SpinalCord"].mean_gy == pytest.approx(30.0, abs=0.01)
    for wrong, message in ((WhatIf(), "new prescription"), (WhatIf(prescription_gy=20.0), "too far"),
                           (WhatIf(prescription_gy=60.0, spare="left"), "new prescription")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            dose.scale(app, base.id, wrong)


def test_a_dose_without_known_prescription_is_not_scaled(app, case_id, phantom):
    base = upload(app, case_id, np.ones(phantom.shape))
    with pytest.raises(UsageError, match="not known"):
        dose.scale(app, base.id, WhatIf(prescription_gy=60.0))


def test_constraints_are_judged_by_hand(app, planned, phantom):
    """Left of the patient 40 Gy, right of it 20, the cord 44 Gy: both parotids together 30 Gy."""
    array = np.full(phantom.shape, 20.0)
    array[:, :, 13:] = 40.0
    array[:, 12:16, 10:14] = 44.0
    array[2:5, 7:10, 14:17] = 68.0
    judged = histograms.judge(app, upload(app, planned, array))
    rows = {(r.structure, r.metric, r.limit): r for r in judged.rows}
    cord = rows["SpinalCord", "D0.03cc", 45.0]
    assert (cord.status, round(cord.margin, 2)) == ("met", 1.0)
    assert rows["Parotid_R", "Dmean", 26.0].status == "met" and rows["Parotid_L", "Dmean", 26.0].status == "not_met"
    assert rows["Parotid_L", "Dmean", 26.0].margin == pytest.approx(-14.0, abs=1.5)  # its edge is interpolated
    assert rows["Parotids", "Dmean", 25.0].status == "not_met" and judged.source["Parotids"] == "clinic"
    assert judged.metrics["Parotids"]["Dmean"] == pytest.approx(30.0, abs=1.0)
    assert rows["PTV_7000", "D99pct", 66.5].status in ("met", "not_met")
    assert judged.prescription_gy == 70.0 and all(r.sources for r in judged.rows)
    figures = {row["name"]: row for row in histograms.table(judged, 35)}
    assert figures["SpinalCord"]["eqd2"] == pytest.approx(44 * (44 / 35 + 2) / 4, abs=0.05)
    assert figures["SpinalCord"]["alpha_beta"] == "α/β 2 Gy" and figures["PTV_7000"]["alpha_beta"].endswith("assumed")
    assert figures["SpinalCord"]["volume_cc"] == pytest.approx(8 * 2 * 2 * 3 * 1.25 * 1.5 / 1000)
    assert histograms.table(judged, None)[0]["eqd2"] is None


def test_percent_of_the_prescription_is_that_of_the_targets_own_level(app, planned, phantom):
    """61 Gy to the target of 56 Gy: all of it has 95 % of 56 (53.2) and 107 % (59.9), nothing 95 % of 70 (66.5)."""
    array = np.full(phantom.shape, 61.0)
    rows = [{"organ": organ, "metric": metric, "op": op, "limit": limit, "unit": "%", "priority": 1, "endpoint": ""}
            for organ in ("PTV_5600", "PTV_7000") for metric, op, limit in (("V95pct", ">=", 95.0),
                                                                           ("V107pct", "<=", 5.0))]  # fmt: skip
    name = constraint_templates.save(app, "Coverage", rows, who="Dr A")
    judged = histograms.judge(app, upload(app, planned, array), template=name)
    found = {(r.structure, r.metric): (r.status, r.value) for r in judged.rows}
    assert found == {
        ("PTV_5600", "V95pct"): ("met", 100.0), ("PTV_5600", "V107pct"): ("not_met", 100.0),
        ("PTV_7000", "V95pct"): ("not_met", 0.0), ("PTV_7000", "V107pct"): ("met", 0.0),
    }  # fmt: skip
    assert {r["name"]: r["v95_pct"] for r in histograms.table(judged, None) if r["target"]} == {
        "PTV_5600": 100.0, "PTV_7000": 0.0,
    }  # fmt: skip
    assert [level_gy(n) for n in ("CTV_5600", "ctv_5600", "PTV_High", "SpinalCord")] == [56.0, 56.0, None, None]


@pytest.mark.parametrize(
    ("target", "stated", "expected"),
    [("PTV_7000", None, 35), ("PTV_6960", None, None), ("PTV_3000", None, None), ("PTV_High", None, None),
     ("PTV_3000", {"PTV_3000": 70.0}, 35)],
)  # fmt: skip
def test_the_fractions_of_a_draft_are_those_of_a_dose_of_its_prescription_only(app, case_id, phantom, target, stated,
                                                                               expected):  # fmt: skip
    """The draft gives 70 Gy in 35: a palliative plan of 30 Gy would get the EQD2 of 0.86 Gy a day."""
    spans = {"SpinalCord": SPANS["SpinalCord"], target: SPANS["PTV_7000"]}
    app.store.save_result(case_id, "structures", {}, arrays={"masks": blocks(phantom.shape, spans)})
    form = {"site": "oropharynx", "p16": "negative", "histology": "squamous_cell_carcinoma"}
    planning.save_form(app, case_id, form, who="Dr A")
    payload = {"source": "upload", "unit": "Gy", "max_gy": 25.0} | ({"prescriptions": stated} if stated else {})
    item = app.store.save_result(case_id, "dose", payload, arrays={"dose": np.full(phantom.shape, 25, np.float32)})
    assert dose.fractions(app, item) is None
    plan = planning.draft_case_plan(app, case_id)
    assert {s["levels"][0]["dose_gy"] for s in plan.payload["prescription"]["schemes"]} == {70.0}
    assert dose.fractions(app, item) == expected
    judged = histograms.judge(app, item)
    cord = next(r for r in histograms.table(judged, dose.fractions(app, item)) if r["name"] == "SpinalCord")
    assert (cord["eqd2"] is None) == (expected is None)


def test_histograms_are_kept_and_follow_the_structures(app, planned, phantom):
    item = upload(app, planned, np.full(phantom.shape, 30.0))
    first = histograms.histograms(app, item)
    assert histograms.histograms(app, item) is first
    app.store.save_result(
        planned, "structures", {}, arrays={"masks": blocks(phantom.shape, {"Larynx": ((1, 2), (8, 9), (9, 12))})}
    )
    assert set(histograms.histograms(app, item)) == {"Larynx"}


def test_a_plan_is_judged_on_the_clinics_dose_before_the_predicted_one(app, planned, phantom):
    dose.predict(app, planned)
    predicted = planning.draft_case_plan(app, planned)
    assert any(c["value"] is not None for c in predicted.payload["constraints"])
    upload(app, planned, np.full(phantom.shape, 10.0))
    judged = planning.draft_case_plan(app, planned).payload
    cord = next(c for c in judged["constraints"] if (c["structure"], c["metric"]) == ("SpinalCord", "D0.03cc"))
    assert (cord["status"], cord["value"]) == ("met", pytest.approx(10.0, abs=0.01))
    edited = planning.save_edit(app, planned, judged["text"], who="Dr A", based_on=planning.latest(app, planned).id)
    assert all(c["status"] != "fail" for c in edited.payload["text_checks"])


def test_own_templates_are_kept_chosen_and_removed(app, planned, phantom):
    rows = constraint_templates.rows(app, "openkbp")
    rows[0]["limit"] = 40.0
    name = constraint_templates.save(app, " Our clinic ", rows, who="Dr A")
    assert constraint_templates.names(app)[-1] == name == "Our clinic"
    with pytest.raises(UsageError, match="built-in"):
        constraint_templates.save(app, "quantec", rows, who="Dr A")
    constraint_templates.choose(app, planned, name)
    item = upload(app, planned, np.full(phantom.shape, 42.0))
    judged = histograms.judge(app, item)
    cord = next(r for r in judged.rows if r.structure == "SpinalCord")
    assert (cord.limit, cord.status) == (40.0, "not_met") and "changed by Dr A" in cord.edited
    plan = planning.draft_case_plan(app, planned)
    assert "changed by Dr A" in plan.payload["text"] and plan.payload["made_from"]["own_rows"]
    assert "changed by Dr A" in constraint_templates.rows(app, name)[0]["source"]
    again = constraint_templates.save(app, "Second", constraint_templates.rows(app, name), who="Dr B")
    assert again in constraint_templates.names(app)
    constraint_templates.remove(app, name, who="Dr A")
    assert constraint_templates.chosen(app, planned) == "default"
    with pytest.raises(UsageError, match="No constraint template 'Our clinic'"):
        constraint_templates.own_rows(app, "Our clinic")
    with pytest.raises(UsageError, match="cannot be removed"):
        constraint_templates.remove(app, "quantec", who="Dr A")
    assert [e.action for e in app.store.audit()].count("constraint template saved") == 2


def test_structures_of_own_limits_are_spelt_as_those_of_the_case(app, planned, phantom):
    """In lower case a hard limit was kept and judged nowhere."""
    dmean = {"metric": "Dmean", "op": "<=", "limit": 26.0, "unit": "Gy", "priority": 1, "endpoint": ""}
    names = ("spinalcord", "parotid_l", "Rt Parotid", "ptv_7000", "Helper_x")
    saved = constraint_templates.save(app, "Small", [dmean | {"organ": n} for n in names], who="Dr A")
    organs = [r["organ"] for r in constraint_templates.rows(app, saved)]
    assert organs == ["SpinalCord", "Parotid_L", "Parotid_R", "PTV_7000", "Helper_x"]
    both = constraint_templates.save(app, "Both", [dmean | {"organ": "parotid"}], who="Dr A")
    item = upload(app, planned, np.full(phantom.shape, 30.0))
    for template, structures in ((saved, {"SpinalCord", "Parotid_L", "Parotid_R", "PTV_7000"}),
                                 (both, {"Parotid_L", "Parotid_R"})):  # fmt: skip
        rows = histograms.judge(app, item, template=template).rows
        assert {(r.structure, r.status) for r in rows} == {(name, "not_met") for name in structures}


def test_the_csv_holds_one_column_a_structure_whatever_its_name(app, case_id, phantom):
    odd = {"GTV, left": SPANS["PTV_7000"], "=1+2": SPANS["Parotid_L"], 'say "x"': SPANS["Parotid_R"]}
    app.store.save_result(case_id, "structures", {}, arrays={"masks": blocks(phantom.shape, odd)})
    text = histograms.csv_text(app, upload(app, case_id, np.full(phantom.shape, 2.0)), 0.5)
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows[0]) == 1 and rows[0][0].startswith("# AI draft")
    # 3 x 3 x 3 voxels of 3 x 1.25 x 1.5 mm
    assert rows[1] == ["Dose (Gy)", "GTV, left (% of 0.152 cc)", "'=1+2 (% of 0.152 cc)", 'say "x" (% of 0.152 cc)']
    assert rows[2] == ["0.00", "100.000", "100.000", "100.000"] and [r[0] for r in rows[2:]] == [
        "0.00",
        "0.50",
        "1.00",
        "1.50",
        "2.00",
    ]
    assert {len(r) for r in rows[1:]} == {4} and rows[-1][1:] == ["100.000"] * 3


@pytest.mark.parametrize("content", ["{", '{"templates": []}', json.dumps({"templates": {}, "chosen": []}), "[]"])
def test_a_damaged_template_file_is_named(app, content):
    path = app.settings.data_dir / "constraint_templates.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    with pytest.raises(HnvlmError, match=r"constraint_templates\.json cannot be read"):
        constraint_templates.names(app)


def test_prediction_job(app, planned):
    job = dose.start_predict(app, planned, who="Dr A")
    status = app.jobs.wait(job, 60)
    assert status.state == "done" and app.store.get_result(status.result["result_id"]).slot == "predicted"


def test_a_draft_predicts_the_dose_it_is_judged_on_or_says_why_not(app, models, planned, phantom):
    plan = planning.draft_case_plan(app, planned).payload
    assert plan["dose_used"] == "Predicted dose (AI draft)" and len(dose.doses(app, planned)) == 1
    assert any(c["status"] != "not_evaluable" for c in plan["constraints"])
    planning.draft_case_plan(app, planned)
    assert models.calls.count("dose") == 1, "the stored dose is used again"
    app.store.save_result(planned, "structures", {}, arrays={"masks": blocks(phantom.shape, SPANS)})
    planning.draft_case_plan(app, planned)
    assert models.calls.count("dose") == 2, "other structures, another dose"
    without = {n: span for n, span in SPANS.items() if not n.startswith("PTV")}
    app.store.save_result(planned, "structures", {}, arrays={"masks": blocks(phantom.shape, without)})
    plan = planning.draft_case_plan(app, planned).payload
    assert plan["dose_used"].startswith("no dose: There is no target")
    assert {c["reason"] for c in plan["constraints"]} == {"no dose yet"}


def test_a_ct_that_is_not_stored_is_judged_too(models, phantom, monkeypatch):
    judged = planning.judged_without_store(models, phantom, blocks(phantom.shape, SPANS))
    plan = planning.make_plan([], {}, **judged)
    assert plan["dose_used"] == "Predicted dose (AI draft)"
    cord = [c for c in plan["constraints"] if c["structure"] == "SpinalCord"]
    assert cord and all(c["value"] is not None for c in cord)

    def not_installed(*args, **options):
        raise ModelPackError("The dose model is not installed.")

    monkeypatch.setattr(models, "dose", not_installed, raising=False)
    untold = planning.judged_without_store(models, phantom, blocks(phantom.shape, SPANS))
    assert untold["dose_used"] == "no dose: The dose model is not installed." and "dose_metrics" not in untold


def test_who_contoured_the_organs_is_told_in_one_word_where_it_was_the_models_all():
    everything = {"PTV_7000": "AI", "Larynx": "AI", "SpinalCord": "AI"}
    assert planning._by_model(everything) == ("all organs",)
    assert planning._by_model(everything | {"SpinalCord": "clinic"}) == ("Larynx",)
    assert planning._by_model({"PTV_7000": "AI", "SpinalCord": "clinic"}) == ()
