"""Limits made for about 2 Gy a fraction on a dose in larger ones: what looks met is not judged, anywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_dose_service import SPANS, blocks, upload
from test_plan_export import PALETTE, pdf_text

from hnvlm.plan.kb import load_kb
from hnvlm.services import case_sheet, constraint_templates, dose, histograms, plan_export, planning
from hnvlm.services.dose import WhatIf

LEVELS = {"PTV_4000" if name == "PTV_7000" else name: span for name, span in SPANS.items() if name != "PTV_5600"}
WHY = "limits are for about 2 Gy a fraction, this dose has 8.0 Gy"


def given(app, case_id, phantom, fractions, spans=LEVELS, **organs):
    """40 Gy to the target, 35 Gy to the cord, 24 Gy to all else that is not named."""
    masks = blocks(phantom.shape, spans)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    gy = np.full(phantom.shape, 24.0)
    for name, value in {"SpinalCord": 35.0, **organs, **{n: 40.0 for n in spans if n.startswith("PTV")}}.items():
        gy[masks[name]] = value
    item = upload(app, case_id, gy)
    payload = item.payload | ({"fractions": fractions} if fractions else {})
    return app.store.save_result(case_id, "dose", payload, arrays={"dose": gy.astype(np.float32)})


def told(judged) -> dict[str, set[tuple[str, str]]]:
    out: dict[str, set[tuple[str, str]]] = {}
    for row in judged.rows:
        out.setdefault(row.structure, set()).add((row.status, row.reason))
    return out


def test_what_looks_met_in_five_fractions_is_not_judged(app, case_id, phantom):
    """40 Gy / 5 = 8 Gy. The cord's 35 Gy are 78.75 Gy in 2 Gy fractions, and 45 Gy were "met"."""
    item = given(app, case_id, phantom, 5, Parotid_R=33.0)
    judged = histograms.judge(app, item)
    assert told(judged)["SpinalCord"] == {("not_evaluable", WHY)}
    assert {status for status, _ in told(judged)["Parotid_R"]} == {"not_met"}, "exceeded is exceeded"
    assert {status for status, _ in told(judged)["PTV_4000"]} <= {"met", "not_met"}, "a target gets Gy of its level"
    assert all(row.value is None for row in judged.rows if row.status == "not_evaluable")
    eqd2 = {r["name"]: r["eqd2"] for r in histograms.table(judged, dose.fractions(app, item))}
    assert eqd2["SpinalCord"] == pytest.approx(35 * (7 + 2) / (2 + 2), abs=0.01)


@pytest.mark.parametrize(("fractions", "status"), [(20, "met"), (16, "met"), (15, "not_evaluable"), (None, "met")])
def test_the_size_comes_from_the_rule(app, case_id, phantom, fractions, status):
    """40 / 16 = 2.5 Gy is not above it, 40 / 15 = 2.67 Gy is; without fractions nobody knows."""
    item = given(app, case_id, phantom, fractions)
    assert {s for s, _ in told(histograms.judge(app, item))["SpinalCord"]} == {status}


def test_another_size_in_the_tables_is_another_size_here(app, case_id, phantom, monkeypatch):
    rule = load_kb().entry("dvh_fraction_size")
    monkeypatch.setitem(rule, "when", {"f": "plan.dvh_fraction_gy", "op": "gt", "v": 9})
    assert {s for s, _ in told(histograms.judge(app, given(app, case_id, phantom, 5)))["SpinalCord"]} == {"met"}


def test_of_a_pair_the_other_gland_does_not_meet_it_any_more(app, case_id, phantom):
    item = given(app, case_id, phantom, 20, Parotid_R=33.0)
    assert "Parotid_L meets it" in next(iter(told(histograms.judge(app, item))["Parotid_R"]))[1]
    item = given(app, case_id, phantom, 5, Parotid_R=33.0)
    assert told(histograms.judge(app, item))["Parotid_R"] == {("not_met", "")}


def test_without_a_level_the_hottest_point_tells(app, case_id, phantom):
    spans = {"PTV_Low" if n == "PTV_4000" else n: span for n, span in LEVELS.items()}
    item = given(app, case_id, phantom, 5, spans)
    why = "limits are for about 2 Gy a fraction, this dose has up to 8.0 Gy"
    assert told(histograms.judge(app, item))["SpinalCord"] == {("not_evaluable", why)}
    cord = [r for r in planning.draft_case_plan(app, case_id).payload["constraints"] if r["structure"] == "SpinalCord"]
    assert cord and all((r["status"], r["reason"]) == ("not_evaluable", why) for r in cord)


def test_who_edited_a_limit_did_not_say_for_which_fractions(app, case_id, phantom):
    row = {"organ": "SpinalCord", "metric": "Dmax", "op": "<=", "limit": 38, "unit": "Gy", "priority": 1}
    constraint_templates.choose(app, case_id, constraint_templates.save(app, "Ours", [row], who="Dr A"))
    (judged,) = histograms.judge(app, given(app, case_id, phantom, 5)).rows
    assert judged.reason == "its editor did not say for which fractions, this dose has 8.0 Gy"


def test_plan_text_prints_and_files_say_so(app, case_id, phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    item = given(app, case_id, phantom, 5)
    plan = planning.draft_case_plan(app, case_id)
    checks = {c["id"]: c for c in plan.payload["checks"]}
    assert checks["dvh_fraction_size"]["status"] == "warn" and "8 Gy" in checks["dvh_fraction_size"]["message"]
    assert {checks[name]["status"] for name in ("dvh_cord50", "dvh_cord45", "dvh_parotids")} == {"not_evaluated"}
    assert f"not evaluable; {WHY}" in plan.payload["text"] and "SpinalCord" in plan.payload["text"]
    files = plan_export.write_all(app, case_id, item, tmp_path / "out", palette=PALETTE)
    rows = json.loads(files["constraints"].read_text())["constraints"]
    assert {r["reason"] for r in rows if r["structure"] == "SpinalCord"} == {WHY}
    assert f"not evaluable: {WHY}" in (tmp_path / "out" / "careplan.fhir.json").read_text()
    words = " ".join(pdf_text((tmp_path / "out" / "case-sheet.pdf").read_bytes()).split())
    assert "limits are for about 2 Gy" in words and "0 met" in words


def test_a_what_if_in_fewer_fractions_is_no_milder(app, case_id, phantom):
    item = given(app, case_id, phantom, 20)
    assert {s for s, _ in told(histograms.judge(app, item))["SpinalCord"]} == {"met"}
    fewer = dose.scale(app, item.id, WhatIf(prescription_gy=36.0, fractions=12))
    why = "limits are for about 2 Gy a fraction, this dose has 3.0 Gy"
    assert told(histograms.judge(app, fewer))["SpinalCord"] == {("not_evaluable", why)}
    plan = planning.draft_case_plan(app, case_id)
    rows, misfit = planning.rows_on(plan.payload, fewer, histograms.judge(app, fewer))
    assert not misfit and {r.reason for r in rows if r.structure == "SpinalCord"} == {why}
