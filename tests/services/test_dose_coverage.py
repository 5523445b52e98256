"""A dose grid that ends inside the patient: what lies outside is said and judged by nobody."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from test_dose_service import SPANS, blocks
from test_plan_export import pdf_text

from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti
from hnvlm.services import case_sheet, dose, histograms, plan_export, planning, rt_upload
from hnvlm.services.dose import WhatIf

DRAWN = SPANS | {"Larynx": ((0, 2), (8, 12), (9, 14)), "Esophagus": ((0, 3), (12, 13), (6, 9))}


@pytest.fixture
def drawn(app, case_id, phantom):
    masks = blocks(phantom.shape, DRAWN)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    return case_id


def add_dose(app, case_id, phantom, tmp_path, array):
    """Attach a dose on the lowest slices of the CT."""
    part = Volume(array.astype(np.float32), phantom.spacing_mm, phantom.origin_mm)
    path = write_nifti(part, tmp_path / "dose.nii.gz")
    saved, notes = rt_upload.attach(app, case_id, [("dose.nii.gz", io.BytesIO(path.read_bytes()))])
    return saved[0], notes


def test_limits_of_what_the_grid_does_not_cover_are_not_judged(app, drawn, phantom, tmp_path):
    """Slices 0 to 2 of 8 get 30 Gy: all of the larynx, three eighths of the cord, nothing of the parotids."""
    item, notes = add_dose(app, drawn, phantom, tmp_path, np.full((3, 20, 24), 30.0))
    assert len(notes) == 1 and "SpinalCord (62 % outside)" in notes[0] and "Parotid_L (100 % outside)" in notes[0]
    assert "PTV_7000 (67 % outside)" in notes[0] and "Larynx" not in notes[0] and "Esophagus" not in notes[0]
    judged = histograms.judge(app, item, template="quantec")
    cord, larynx = judged.histograms["SpinalCord"], judged.histograms["Larynx"]
    assert cord.outside_cc == pytest.approx(5 / 8 * cord.volume_cc) and cord.volume_cc == pytest.approx(0.18)
    assert larynx.outside_cc == 0 and larynx.min_gy == pytest.approx(30.0)
    assert judged.histograms["Esophagus"].min_gy == pytest.approx(30.0), "its last slice is the grid's last slice"
    rows = {r.structure: r for r in judged.rows}
    assert rows["Larynx"].status == "met"
    for name in ("SpinalCord", "Parotid_L", "Parotids"):
        assert (rows[name].status, rows[name].value) == ("not_evaluable", None), name
    assert rows["SpinalCord"].reason == "0.11 of 0.18 cc lie outside the dose grid"
    targets = [r for r in histograms.judge(app, item).rows if r.structure == "PTV_7000"]
    assert targets and all("outside the dose grid" in r.reason for r in targets)
    figures = {r["name"]: r for r in histograms.table(judged, 35)}
    assert "Dmean" not in figures["SpinalCord"] and figures["SpinalCord"]["eqd2"] is None
    assert figures["PTV_7000"]["homogeneity"] is None and "v95_pct" not in figures["PTV_7000"]
    assert figures["Larynx"]["Dmean"] == pytest.approx(30.0)
    heads = next(r for r in csv.reader(io.StringIO(histograms.csv_text(app, item))) if r[0] == "Dose (Gy)")
    assert any(h.startswith("SpinalCord") and "0.11" in h and "cc outside the dose grid" in h for h in heads)


def test_what_the_ct_shows_in_part_is_judged_on_that_part(app, drawn, phantom, tmp_path):
    """The larynx begins on the first of 8 slices; cord and esophagus do too, as on every CT of the neck."""
    item, _ = add_dose(app, drawn, phantom, tmp_path, np.full((8, 20, 24), 30.0))
    reasons = {r.structure: r.reason for r in histograms.judge(app, item, template="quantec").rows if r.value}
    assert reasons["Larynx"] == histograms.CUT_OFF
    assert not reasons["SpinalCord"] and histograms.CUT_OFF not in reasons["Parotid_L"]
    plan = planning.draft_case_plan(app, drawn).payload
    assert "cut off by the CT, judged on the part shown: Larynx" in plan["text"]


def test_a_limit_that_is_exceeded_inside_the_grid_stays_exceeded(app, drawn, phantom, tmp_path):
    """What lies outside cannot take dose away: 52 Gy to 0.03 cc are at least 52 Gy."""
    item, _ = add_dose(app, drawn, phantom, tmp_path, np.full((3, 20, 24), 52.0))
    judged = histograms.judge(app, item)
    cord = {(r.metric, r.limit): r for r in judged.rows if r.structure == "SpinalCord"}
    row = cord["D0.03cc", 45.0]
    assert (row.status, row.value) == ("not_met", pytest.approx(52.0, abs=0.01)) and "outside" in row.reason
    assert all(r.status == "not_evaluable" for r in cord.values() if r.limit >= 53)
    drafted = planning.draft_case_plan(app, drawn).payload["constraints"]
    states = {(c["structure"], c["metric"], c["limit"]): c["status"] for c in drafted}
    assert states["SpinalCord", "D0.03cc", 45.0] == "not_met"
    assert not [s for (name, _, _), s in states.items() if name.startswith(("Parotid", "PTV")) and s == "met"]


def test_a_scaled_dose_keeps_what_it_does_not_know_and_the_viewer_sees_0_gy(app, drawn, phantom, tmp_path):
    item, _ = add_dose(app, drawn, phantom, tmp_path, np.full((3, 20, 24), 35.0))
    scaled = dose.scale(app, item.id, WhatIf(prescription_gy=60.0))
    shown = dose.load(app, scaled).array
    assert shown[:3] == pytest.approx(30.0) and not shown[3:].any()
    known = np.isfinite(dose.load(app, scaled, beyond=np.nan).array)
    assert known[:3].all() and not known[3:].any()
    assert histograms.histograms(app, scaled)["Parotid_L"].outside_cc == pytest.approx(27 * 5.625 / 1000)
    files = plan_export.write_all(app, drawn, item, tmp_path / "out")
    content = {r["name"]: r for r in json.loads(files["constraints"].read_text())["structures"]}
    assert content["Parotid_L"]["outside"] == "0.15 of 0.15 cc lie outside the dose grid"


def test_the_case_sheet_says_what_is_not_covered(app, drawn, phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)  # built-in font: its text can be read back
    item, _ = add_dose(app, drawn, phantom, tmp_path, np.full((3, 20, 24), 35.0))
    words = " ".join(pdf_text(plan_export.pdf(app, planning.draft_case_plan(app, drawn), item)).split())
    assert "Parotid_L: 0.15 of 0.15 cc lie outside the dose grid; its figures are not known." in words
    assert "not evaluable \\(0.11 of 0.18" in words


def test_a_dose_of_the_whole_ct_and_one_stored_earlier_are_as_they_were(app, drawn, phantom, tmp_path):
    item, notes = add_dose(app, drawn, phantom, tmp_path, np.full(phantom.shape, 30.0))
    assert not [note for note in notes if "grid" in note] and list(item.arrays) == ["dose"]
    assert all(d.outside_cc == 0 for d in histograms.histograms(app, item).values())
    old = np.zeros(phantom.shape, np.float32)
    old[:3] = 30.0
    item = app.store.save_result(drawn, "dose", {"source": "upload", "max_gy": 30.0}, arrays={"dose": old})
    assert histograms.histograms(app, item)["Parotid_L"].outside_cc == 0


def test_a_plan_names_what_lies_outside_the_grid_of_its_dose(app, drawn, phantom, tmp_path):
    add_dose(app, drawn, phantom, tmp_path, np.full((3, 20, 24), 30.0))
    plan = planning.draft_case_plan(app, drawn)
    assert (
        "partly outside its grid: " in plan.payload["dose_line"] and plan.payload["dose_line"] in plan.payload["text"]
    )
    named = plan.payload["dose_line"].split("partly outside its grid: ")[1].split(";")[0].split(", ")
    assert {"SpinalCord", "Parotid_L", "PTV_7000"} <= set(named) and not {"Larynx", "Esophagus"} & set(named)
    rows = [c for c in plan.payload["constraints"] if c["structure"] == "SpinalCord"]
    assert rows and {c["status"] for c in rows} == {"not_evaluable"}
    assert all(check.status == "pass" for check in planning.check_text(plan.payload["text"], plan.payload))
