"""What is doubtful of an uploaded dose stays with it; nothing is called met on part of a plan. Numbers by hand."""

from __future__ import annotations

import io
import json

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTPlanStorage
from test_dose_service import SPANS, blocks

from hnvlm.imaging.target_names import level_gy
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import new_dataset, write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.services import dose, histograms, intake, plan_export, planning, rt_upload
from hnvlm.services.dose import WhatIf
from hnvlm.services.identity import map_uid

FRAME = "1.2.826.0.1.77"


@pytest.fixture
def drawn(app, phantom):
    """A case as intake stores it, with targets and organs of the clinic."""
    stored = Volume(phantom.array, phantom.spacing_mm, phantom.origin_mm, map_uid(app, FRAME))
    case_id = app.store.add_case(stored).id
    spans = SPANS | {"PTV_5600_L": ((1, 4), (10, 12), (13, 19))}
    app.store.save_result(
        case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, spans)}
    )  # fmt: skip
    return case_id


@pytest.fixture
def rtdose(phantom, tmp_path):
    """Bytes of an RTDOSE of uniform dose."""

    def made(gray, kind="PLAN", **given):
        gy = phantom.with_array(np.full(phantom.shape, gray, np.float32))
        dataset = pydicom.dcmread(write_rtdose(gy, phantom, tmp_path / "rd.dcm", predicted=False))
        dataset.DoseSummationType = kind
        for name, value in given.items():
            setattr(dataset, name, value)
        out = io.BytesIO()
        dataset.save_as(out)
        return out.getvalue()

    return made


def attach(app, case_id, **files):
    named = [(f"{name}.dcm", io.BytesIO(data)) for name, data in files.items()]
    saved, notes = rt_upload.attach(app, case_id, named)
    return saved[-1], notes


def test_nothing_is_met_on_the_dose_of_one_beam(app, drawn, rtdose, tmp_path):
    """30 Gy of one beam: the cord may get any dose, and the mean of 30 Gy to a parotid is above 26 Gy for sure."""
    item, notes = attach(app, drawn, Kowalska=rtdose(30.0, "BEAM"))
    assert any("Kowalska.dcm: this is the dose of one BEAM" in n for n in notes)
    assert dose.label(item) == "Uploaded dose, of one BEAM, not of the whole plan"
    rows = histograms.judge(app, item).rows
    assert {r.status for r in rows if r.structure == "SpinalCord"} == {"not_evaluable"}
    assert {r.status for r in rows if r.structure.startswith("PTV")} == {"not_evaluable"}
    means = {r.limit: r for r in rows if (r.structure, r.metric) == ("Parotid_L", "Dmean")}
    assert means[26.0].status == "not_met" and "of one BEAM" in means[26.0].reason
    assert not [r for r in rows if r.status == "met"]
    scaled = dose.scale(app, item.id, WhatIf(prescription_gy=60.0))
    assert not [r for r in histograms.judge(app, scaled).rows if r.status == "met"]
    drafted = planning.draft_case_plan(app, drawn).payload
    assert not [c for c in drafted["constraints"] if c["status"] == "met"]
    assert "of one BEAM" in drafted["dose_line"]
    files = plan_export.write_all(app, drawn, item, tmp_path / "out")
    said = json.loads(files["constraints"].read_text())
    assert "of one BEAM" in said["dose"] and "Kowalska" not in json.dumps(said)
    assert "of one BEAM" in str(pydicom.dcmread(files["rtdose"]).ImageComments)


def test_the_dose_of_a_whole_plan_is_judged(app, drawn, rtdose):
    item, notes = attach(app, drawn, rd=rtdose(69.0))
    assert notes == [] and "notes" not in item.payload and dose.label(item) == "Uploaded dose"
    rows = {(r.structure, r.metric, r.limit): r.status for r in histograms.judge(app, item).rows}
    assert rows["PTV_7000", "D99pct", 66.5] == "met" and rows["SpinalCord", "D0.03cc", 45.0] == "not_met"


def test_what_was_odd_of_a_dose_stays_with_it(app, drawn, rtdose):
    """Said once beside the upload button, it was gone with the next click."""
    item, notes = attach(app, drawn, Kowalska=rtdose(69.0, DoseType="EFFECTIVE"))
    assert notes == ["Kowalska.dcm: dose type is EFFECTIVE, not PHYSICAL"]
    assert item.payload["notes"] == ["dose type is EFFECTIVE, not PHYSICAL"]


def test_what_was_odd_of_a_dose_that_came_with_its_ct_stays_too(app, phantom, rtdose, tmp_path):
    folder = tmp_path / "patient"
    write_dicom_series(phantom, folder / "ct", "neck", synthetic=False)
    write_rtstruct(blocks(phantom.shape, SPANS), phantom, folder / "rs.dcm")
    (folder / "Kowalska.dcm").write_bytes(rtdose(35.0, "BEAM"))
    case = intake.create_case(app, intake.open_path(folder))
    item = app.store.latest_result(case.id, "dose")
    assert item.payload["part"] == "of one BEAM, not of the whole plan"
    assert "PTV_7000 gets 35.0 Gy (median)" in item.payload["notes"][-1] and "Kowalska" not in str(item.payload)


@pytest.mark.parametrize(
    ("gray", "named"),
    [
        (100.0, ["PTV_7000"]),  # percent; 100 Gy in a lower level may be the higher one's
        (50.0, ["PTV_7000", "PTV_5600", "PTV_5600_L"]),  # a phase: 50.4 Gy would be 90 % of 56
        (62.0, ["PTV_7000"]),
        (64.0, []),
        (80.0, []),
    ],
)
def test_a_dose_that_does_not_fit_the_targets_is_said(app, drawn, phantom, tmp_path, gray, named):
    path = write_nifti(Volume(np.full(phantom.shape, gray, np.float32), phantom.spacing_mm, phantom.origin_mm),
                       tmp_path / "dose.nii.gz")  # fmt: skip
    saved, notes = rt_upload.attach(app, drawn, [("dose.nii.gz", io.BytesIO(path.read_bytes()))])
    said = [n for n in notes if "(median)" in n]
    assert len(said) == bool(named) and [n for n in saved[0].payload.get("notes", []) if "(median)" in n] == said
    for name in named:
        assert f"{name} gets {gray:.1f} Gy" in said[0]
    assert not said or said[0].count("(median)") == len(named)


def test_the_percentage_of_a_target_with_a_side_is_of_its_own_level(app, drawn, rtdose):
    """60 Gy are more than 95 % of 56 and less than 95 % of 70: V95 of PTV_5600_L was 0 %."""
    item, _ = attach(app, drawn, rd=rtdose(60.0))
    table = {r["name"]: r for r in histograms.table(histograms.judge(app, item), 35)}
    shares = {name: r["v95_pct"] for name, r in table.items() if "v95_pct" in r}
    assert shares == pytest.approx({"PTV_7000": 0.0, "PTV_5600": 100.0, "PTV_5600_L": 100.0})
    assert level_gy("PTV5400_R") == 54.0 and level_gy("PTV_70000") is None is level_gy("PTV_0150")


def test_the_prescription_is_known_where_targets_have_a_side(app, drawn, rtdose, phantom):
    spans = {"PTV_7000_L": SPANS["PTV_7000"], "PTV_5600": SPANS["PTV_5600"]}
    app.store.save_result(drawn, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, spans)})
    item, _ = attach(app, drawn, rd=rtdose(69.0))
    assert histograms.judge(app, item).prescription_gy == 70.0


def test_fractions_come_from_the_plan_that_the_dose_was_calculated_for(app, drawn, rtdose):
    """70 Gy in 33 fractions: EQD2 of 45 Gy to the cord at 2 Gy is 45 (45/33 + 2) / 4 = 37.84 Gy, in 35 it is 36.96."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = RTPlanStorage, "1.2.3.7"
    plan, group, out = new_dataset(RTPlanStorage, "1.2.3.7"), Dataset(), io.BytesIO()
    group.NumberOfFractionsPlanned = 33
    plan.Modality, plan.FractionGroupSequence = "RTPLAN", [group]
    plan.save_as(out)
    item, _ = attach(app, drawn, rp=out.getvalue(), rd=rtdose(45.0, ReferencedRTPlanSequence=[reference]))
    assert dose.fractions(app, item) == 33
    row = next(r for r in histograms.table(histograms.judge(app, item), 33) if r["name"] == "SpinalCord")
    assert row["eqd2"] == pytest.approx(45 * (45 / 33 + 2) / 4, abs=0.01)
    assert row["eqd2"] == pytest.approx(37.84, abs=0.01)
    alone, _ = attach(app, drawn, rd=rtdose(45.0, ReferencedRTPlanSequence=[reference]))
    assert dose.fractions(app, alone) is None


def test_a_dose_that_came_before_its_targets_is_held_against_them(app, drawn, rtdose, phantom, tmp_path):
    attach(app, drawn, rd=rtdose(35.0))
    targets = blocks(phantom.shape, {"PTV_6000": SPANS["PTV_7000"]})
    path = write_rtstruct(targets, phantom, tmp_path / "rs.dcm")
    _, notes = attach(app, drawn, rs=path.read_bytes())
    assert any("PTV_6000 gets 35.0 Gy (median)" in note for note in notes)


def test_a_dose_is_not_held_against_targets_that_a_model_guessed(app, drawn, rtdose, phantom):
    app.store.save_result(drawn, "structures", {"source": "upload"}, arrays={"masks": {}})
    masks = blocks(phantom.shape, SPANS)
    app.store.save_result(drawn, "segmentation", {"uncertainty": {}, "seconds": 0}, arrays={"masks": masks})
    assert dose.structures(app, drawn).source["PTV_7000"] == "AI"
    _, notes = attach(app, drawn, rd=rtdose(35.0))
    assert notes == []
