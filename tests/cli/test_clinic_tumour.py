"""Gross tumour of the clinic's structures in the commands that report, plan and draw."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from hnvlm.cli import inputs
from hnvlm.imaging.write import write_nifti, write_rtstruct
from hnvlm.services import analysis, planning


@pytest.fixture
def tumour(phantom):
    mask = np.zeros(phantom.shape, bool)
    mask[2:4, 5:9, 6:11] = True
    return mask


def contours(measured: list[dict]) -> list[str]:
    return [f["attributes"]["contour"] for f in measured if "contour" in f["attributes"]]


def test_a_folder_of_masks_says_where_disease_is(run, nifti, tmp_path, phantom, tumour):
    for name in ("GTVp", "GTVp_ring", "Larynx"):
        write_nifti(phantom.with_array(tumour.astype(np.uint8)), tmp_path / "masks" / f"{name}.nii.gz")
    named = run("report", nifti, "--structures", tmp_path / "masks", "--json").data
    assert contours(named["measured"]) == ["GTVp"]
    assert contours(run("report", nifti, "--json").data["measured"]) == []
    plan = run("plan", nifti, "--structures", tmp_path / "masks", "--json").data
    assert any("on the clinic's contour GTVp" in line for line in plan["text"].splitlines())


def test_a_structure_set_beside_the_ct_is_read_without_being_named(run, dicom, tmp_path, phantom, tumour):
    both = tmp_path / "both"
    shutil.copytree(dicom, both)
    write_rtstruct({"GTVn": tumour}, phantom, both / "rs.dcm", label="by hand", clinic=("GTVn",))
    report = run("report", both, "--json").data
    assert contours(report["measured"]) == ["GTVn"]
    plan = run("plan", both, "--json").data
    assert "on the clinic's contour GTVn" in plan["text"]
    # It holds no target: the models' own structures stay, as for a stored case.
    alone = run("plan", dicom, "--json").data["made_from"]["structures"]
    assert alone and plan["made_from"]["structures"] == sorted([*alone, "GTVn"])
    archive = run("batch", both, "--out", tmp_path / "out", "--json").data
    (done,) = [c for c in archive["cases"] if c["state"] == "done"]
    assert '"contour":"GTVn"' in (tmp_path / "out" / done["folder"] / "findings.json").read_text().replace(" ", "")


def test_a_stored_case_with_structures_of_a_file_stores_no_edit(run, case, tmp_path, phantom, tumour):
    write_nifti(phantom.with_array(tumour.astype(np.uint8)), tmp_path / "masks" / "GTVp.nii.gz")
    given = ("--text", "Remove the mass.", "--out", tmp_path / "edit")
    drawn = run("counterfactual", case, "--structures", tmp_path / "masks", *given, "--json").data
    assert "result_id" not in drawn and drawn["files"]
    assert "result_id" in run("counterfactual", case, *given[:2], "--out", tmp_path / "own", "--json").data


def test_a_stored_case_with_structures_of_a_file_stores_no_draft(run, case, tmp_path, phantom, tumour):
    """Checked against the case later, its lesion would be one that nobody measured."""
    write_nifti(phantom.with_array(tumour.astype(np.uint8)), tmp_path / "masks" / "GTVp.nii.gz")
    for command in ("report", "plan"):
        drafted = run(command, case, "--structures", tmp_path / "masks", "--json").data
        assert "version" not in drafted
        assert any("Not stored with the case" in w for w in drafted["warnings"]), command
        assert run(command, case, "--json").data["version"] == 1, command
    plan = run("plan", case, "--structures", tmp_path / "masks", "--json").data
    assert {"GTVp", "SpinalCord"} <= set(plan["made_from"]["structures"]), "the models' organs stay"


def test_a_plan_of_a_stored_case_knows_what_it_was_made_from(run, case, tmp_path, phantom, tumour):
    """As one drafted on its page: it is told to be outdated when the structures change."""
    run("plan", case, "--json")
    app = inputs.open_app()
    try:
        plan = planning.latest(app, case)
        assert {"structures_version", "dose_id", "limits"} <= set(plan.payload["made_from"])
        assert planning.outdated(app, plan) == []
        rows = [{"name": "PTV_7000", "volume_ml": 1.0}]
        app.store.save_result(case, "structures", {"structures": rows}, arrays={"masks": {"PTV_7000": tumour}})
        assert "the structures" in planning.outdated(app, plan)
    finally:
        app.close()


def test_the_command_line_knows_its_packs_detector(run, case, monkeypatch):
    """What it stores is then neither measured again by the app, nor taken for current when it is of before."""
    asked = []
    monkeypatch.setattr(analysis, "missing_models", lambda folder: asked.append(folder) or [])
    run("report", case, "--json")
    app = inputs.open_app()
    try:
        assert analysis.looks_for_disease(app) and asked
        assert "look_first" in app.store.latest_result(case, "findings").payload
        assert analysis.load_current_findings(app, case) is not None
    finally:
        app.close()
