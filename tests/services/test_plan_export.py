"""What leaves the app for other programs: every file says AI draft, and holds what the page shows."""

from __future__ import annotations

import json
import re
import zipfile
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from test_dose_service import SPANS, blocks, upload

from hnvlm.errors import InputRefusedError
from hnvlm.services import constraint_templates, documents, dose, fhir, histograms, plan_export, planning
from hnvlm.services.slice_picture import axial

PALETTE = {"structures": {"PTV_7000": "#ff3b30"}, "fallback": ["#56b4e9", "#e69f00"],
           "isodose": [{"percent": 95, "colour": "#ffff00"}, {"percent": 50, "colour": "#4c6fff"}]}  # fmt: skip


@pytest.fixture
def planned(app, case_id, phantom):
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    planning.save_form(app, case_id, {"site": "oropharynx", "p16": "negative", "histology": "squamous_cell_carcinoma"},
                       who="Dr A")  # fmt: skip
    return case_id


def pdf_text(data: bytes) -> str:
    """Text of a PDF with the built-in fonts: enough to find words (ASCII85 and Flate streams)."""
    import base64

    out = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S):
        body = stream.strip()
        try:
            raw = zlib.decompress(base64.a85decode(body, adobe=False) if body.endswith(b"~>") is False else
                                  base64.a85decode(b"<~" + body, adobe=True))  # fmt: skip
        except (ValueError, zlib.error):
            continue
        out += [t.decode("latin-1") for t in re.findall(rb"\((.*?)(?<!\\)\) Tj", raw)]
    return "\n".join(out)


def test_the_case_sheet_holds_plan_dose_and_marks(app, planned, phantom, monkeypatch):
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)  # built-in font: its text can be read back
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    plan = planning.draft_case_plan(app, planned)
    data = plan_export.pdf(app, plan, item, PALETTE)
    assert data.startswith(b"%PDF")
    text = pdf_text(data)
    pages = data.count(b"/Type /Page\n") or len(re.findall(rb"/Type /Page\b(?!s)", data))
    assert text.count("AI DRAFT - RESEARCH USE ONLY - NOT A MEDICAL DEVICE") >= pages >= 2
    words = " ".join(text.split())
    for piece in (planned, "AI draft, not signed", "Uploaded dose", "SpinalCord", "D0.03cc", "alpha/beta"):
        assert piece in words, piece
    assert data.count(b"/Subtype /Image") >= 1
    assert plan_export.pdf(app, plan, item, PALETTE) == data, "the same input gives the same file"
    assert "No dose of this case was chosen" in " ".join(pdf_text(plan_export.pdf(app, plan, None)).split())


def test_paper_and_fhir_write_site_and_stage_as_a_clinician_does(app, planned, monkeypatch):
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    form = {"site": "oropharynx", "p16": "positive", "setting": "postoperative", "tumour_size_mm": 25, "nodes_n_pos": 1}
    plan = planning.draft_case_plan(app, planned, form=form)
    stage = "pT2 pN1 cM0, stage I"
    sheet = " ".join(pdf_text(plan_export.pdf(app, plan, None)).split())
    assert f"Oropharynx, p16-positive: {stage}, AJCC/UICC" in sheet and "p16 pos" not in sheet
    condition = next(c for c in fhir.care_plan(plan)["contained"] if c["resourceType"] == "Condition")
    assert condition["code"]["text"].endswith("Oropharynx, p16-positive")
    assert condition["stage"][0]["summary"]["text"].startswith(stage)


def test_a_dose_without_structures_has_a_sheet(app, planned, phantom, monkeypatch):
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    plan = planning.draft_case_plan(app, planned)
    monkeypatch.setattr(histograms, "judge", lambda app, item: histograms.Judged((), {}, {}, {}, None))
    assert plan_export.pdf(app, plan, item).startswith(b"%PDF")


def test_the_case_sheet_survives_any_text_and_the_systems_font(app, planned):
    plan = planning.draft_case_plan(app, planned)
    text = plan.payload["text"] + "\n<b>Uwaga</b> & żółć ≤ 45 Gy α/β 你好 \x07"
    edited = planning.save_edit(app, planned, text, who="Łukasz", based_on=plan.id)
    assert plan_export.pdf(app, edited, None).startswith(b"%PDF")


def test_the_care_plan_is_valid_fhir_and_marked(app, planned, phantom):
    from fhir.resources.R4B.careplan import CarePlan

    item = upload(app, planned, np.full(phantom.shape, 46.0))
    plan = planning.draft_case_plan(app, planned)
    data = json.loads(plan_export.care_plan(app, plan, item))
    CarePlan.model_validate(data)
    assert (data["resourceType"], data["status"], data["intent"]) == ("CarePlan", "draft", "proposal")
    assert data["meta"]["tag"][0]["code"] == "ai-draft" and "research use only" in data["title"]
    assert "research use only" in data["text"]["div"]
    contained = {c["id"]: c for c in data["contained"]}
    referred = {r["reference"].removeprefix("#") for r in [data["subject"], data["author"], *data.get("addresses", []),
                                                          *data["goal"]]}  # fmt: skip
    assert referred <= set(contained), "every reference is there"
    cord = next(g for g in data["contained"] if g["resourceType"] == "Goal" and "SpinalCord D0.03cc <= 45" in
                g["description"]["text"])  # fmt: skip
    assert cord["target"][0]["detailQuantity"]["value"] == 45
    assert cord["achievementStatus"]["coding"][0]["code"] == "not-achieved"
    assert "margin -1.00" in cord["note"][1]["text"] and cord["note"][0]["text"].startswith("Source: ")
    assert not any(k in json.dumps(data) for k in ("birthDate", '"family"'))
    goals = fhir.care_plan(plan, [c | {"status": "not_evaluable", "value": None} for c in plan.payload["constraints"]])
    assert all("achievementStatus" not in c for c in goals["contained"])


def test_a_predicted_dose_of_another_prescription_judges_nothing_on_paper_either(app, planned, monkeypatch):
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    predicted = dose.predict(app, planned)
    form = {"site": "oral_cavity", "setting": "postoperative", "staging_kind": "pathological", "side": "left",
            "histology": "squamous_cell_carcinoma", "tumour_size_mm": 35, "doi_mm": 12, "nodes_n_pos": 3,
            "nodes_laterality": "ipsilateral", "nodes_max_mm": 25, "ene_path": True, "margin": "negative",
            "distant": False, "ecog": 0}  # fmt: skip
    plan = planning.draft_case_plan(app, planned, form=form)
    assert plan.payload["prescription"]["schemes"][0]["levels"][0]["dose_gy"] == 66
    reason = "the dose at hand was predicted for 70 Gy, this plan prescribes 66 Gy"
    assert plan.payload["dose_line"] == f"Limits are named but not judged: {reason}"
    assert {c["reason"] for c in plan.payload["constraints"]} == {reason}
    words = " ".join(pdf_text(plan_export.pdf(app, plan, predicted)).split())
    assert f"None is judged: {reason}" in words and "NOT MET" not in words
    goals = [c for c in json.loads(plan_export.care_plan(app, plan, predicted))["contained"] if "target" in c]
    assert goals and all("achievementStatus" not in g and reason in g["note"][1]["text"] for g in goals)
    rows, misfit = planning.rows_on(plan.payload, predicted, histograms.judge(app, predicted))
    assert misfit == reason and not [r for r in rows if r.structure.startswith("PTV")]


def test_targets_of_another_prescription_are_not_judged_on_paper_either(app, planned, phantom):
    item = upload(app, planned, np.full(phantom.shape, 60.0))
    form = {"site": "oral_cavity", "setting": "postoperative", "histology": "squamous_cell_carcinoma",
            "tumour_size_mm": 35, "doi_mm": 12, "nodes_n_pos": 3, "nodes_laterality": "ipsilateral",
            "nodes_max_mm": 25, "ene_path": True, "margin": "negative", "distant": False}  # fmt: skip
    plan = planning.draft_case_plan(app, planned, form=form)
    judged = histograms.judge(app, item)
    assert [r for r in judged.rows if r.structure == "PTV_7000"], "the dose page judges the clinic's plan on itself"
    rows, why = planning.rows_on(plan.payload, item, judged)
    assert why == "" and rows and not [r for r in rows if r.structure.startswith("PTV")]
    assert not [c for c in plan.payload["constraints"] if c["structure"].startswith("PTV")]
    assert [c for c in plan.payload["checks"] if c["id"] == "fid_target_dose" and "PTV_7000" in c["message"]]


def test_limits_of_a_first_course_judge_no_irradiated_neck_on_paper_either(app, planned):
    item = dose.predict(app, planned)
    plan = planning.draft_case_plan(app, planned, form={"site": "oropharynx", "prior_neck_rt": True})
    rows, why = planning.rows_on(plan.payload, item, histograms.judge(app, item))
    assert "first course" in why and {r.status for r in rows} == {"not_evaluable"}


def test_the_file_of_constraints_judges_an_irradiated_neck_no_more_than_the_plan(app, planned, tmp_path):
    item = dose.predict(app, planned)

    def written(form):
        planning.draft_case_plan(app, planned, form=form)
        content = json.loads(plan_export.write_all(app, planned, item, tmp_path / "out")["constraints"].read_text())
        return {row["status"] for row in content["constraints"]}, content["not_judged_because"]

    statuses, why = written({"site": "oropharynx", "prior_neck_rt": True})
    assert statuses == {"not_evaluable"} and "first course" in why
    statuses, why = written({"site": "oropharynx", "prior_neck_rt": False})
    assert statuses & {"met", "not_met"} and not why


def test_everything_in_one_zip(app, planned, phantom):
    drawn = {n: span for n, span in SPANS.items() if n != "Parotid_L"}  # that one is the model's
    app.store.save_result(planned, "structures", {}, arrays={"masks": blocks(phantom.shape, drawn)})
    predicted = dose.predict(app, planned)
    planning.draft_case_plan(app, planned)
    job = app.jobs.wait(plan_export.start(app, planned, predicted, palette=PALETTE, who="Dr A"), 120)
    assert job.state == "done", job.error
    path = plan_export.archive_path(app, planned, predicted)
    assert path.name.endswith("AI-DRAFT.zip")
    folder = path.parent / "unpacked"
    with zipfile.ZipFile(path) as packed:
        packed.extractall(folder)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"README.txt", "case-sheet.pdf", "careplan.fhir.json", "plan.txt", "plan.json", "constraints.json",
            "dose.rtdose.dcm",
            "dose-PREDICTED.nii.gz", "structures.rtstruct.dcm", "structures.seg.dcm"} <= names  # fmt: skip
    assert sum(n.startswith("ct/") for n in names) == phantom.shape[0]
    rd, rs = (pydicom.dcmread(folder / f) for f in ("dose.rtdose.dcm", "structures.rtstruct.dcm"))
    assert rd.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == rs.SOPInstanceUID
    assert rd.FrameOfReferenceUID == phantom.frame_of_reference_uid and "PREDICTED" in rd.DoseComment
    drawn = {str(r.ROIName): str(r.ROIGenerationAlgorithm) for r in rs.StructureSetROISequence}
    assert drawn["SpinalCord"] == "" and drawn["Parotid_L"] == "AUTOMATIC" and set(drawn) == set(SPANS)
    seg = pydicom.dcmread(folder / "structures.seg.dcm")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Parotid_L"]
    drew = app.store.latest_result(planned, "segmentation").provenance
    assert drew["weights_sha256"][:12] in seg.SoftwareVersions and len(seg.SoftwareVersions) <= 64
    assert predicted.provenance["weights_sha256"][:12] in rd.SoftwareVersions
    content = json.loads((folder / "constraints.json").read_text())
    assert "research use only" in content["notice"] and content["constraints"][0]["sources"]
    assert "research use only" in (folder / "README.txt").read_text()
    said = sitk.ReadImage(folder / "dose-PREDICTED.nii.gz").GetMetaData("descrip")
    assert said == "AI draft, research use only: dose in Gy PREDICTED by AI"
    assert "plan exported" in [e.action for e in app.store.audit(planned)]


@pytest.mark.parametrize(
    ("options", "what_if", "words"),
    [
        ({}, None, "dose of the clinic in Gy, research use only"),
        ({"demo": True}, None, "SYNTHETIC CT: dose of the clinic in Gy, research use only"),
        ({"meta": {"synthetic": True}}, None, "SYNTHETIC CT: dose of the clinic in Gy, research use only"),
        ({}, 60.0, "what-if: dose of the clinic, scaled, in Gy, research use only"),
    ],
)
def test_a_dose_of_the_clinic_is_not_called_a_prediction(app, phantom, tmp_path, options, what_if, words):
    case_id = app.store.add_case(phantom, **options).id
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    item = upload(app, case_id, np.full(phantom.shape, 40.0))
    if what_if is not None:
        item = dose.scale(app, item.id, dose.WhatIf(prescription_gy=what_if))
    files = plan_export.write_all(app, case_id, item, tmp_path)
    assert sitk.ReadImage(files["dose_nifti"]).GetMetaData("descrip") == words
    tags = pydicom.dcmread(files["rtdose"], stop_before_pixels=True)
    assert ("SCALED" in tags.SeriesDescription) == ("SCALED" in tags.DoseComment) == (what_if is not None)


def test_another_template_or_an_edited_one_is_another_file(app, planned, phantom):
    """The limits in the zip are those of the template of its time."""
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    rows = [{"organ": "SpinalCord", "metric": "Dmax", "op": "<=", "limit": 46.0, "unit": "Gy", "priority": 1,
             "endpoint": ""}]  # fmt: skip
    paths = [plan_export.archive_path(app, planned, item)]
    constraint_templates.choose(app, planned, "quantec")
    paths.append(plan_export.archive_path(app, planned, item))
    for limit in (46.0, 45.0):
        rows[0]["limit"] = limit
        constraint_templates.choose(app, planned, constraint_templates.save(app, "Ours", rows, who="Dr A"))
        paths.append(plan_export.archive_path(app, planned, item))
    assert len(set(paths)) == 4
    constraint_templates.choose(app, planned, "default")
    assert plan_export.archive_path(app, planned, item) == paths[0]


def test_a_signature_is_another_file_and_the_one_of_before_goes(app, planned, phantom):
    """Before, the unsigned plan was still offered after it was signed."""
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    plan = planning.draft_case_plan(app, planned)

    def export():
        job = app.jobs.wait(plan_export.start(app, planned, item, palette=PALETTE), 120)
        assert job.state == "done", job.error
        path = plan_export.archive_path(app, planned, item)
        with zipfile.ZipFile(path) as packed:
            return path, packed.read("plan.txt").decode()

    first, text = export()
    assert "not signed" in text
    for clinician in ("Dr A", "Dr B"):
        documents.sign(app, plan.id, clinician)
        assert not plan_export.archive_path(app, planned, item).exists()
    second, text = export()
    assert "Signed by Dr A" in text and "Dr B" in text
    planning.save_form(app, planned, {"site": "oral_cavity"}, who="Dr A")
    assert not plan_export.archive_path(app, planned, item).exists(), "its text is that of before, which it must say"
    third, text = export()
    assert "Changed after this version was written" in text
    assert len({first, second, third}) == 3
    assert [p for p in first.parent.iterdir() if p.suffix == ".zip"] == [third]


def test_an_export_leaves_those_of_other_cases_and_takes_the_place_of_all_of_its_own(app, planned, phantom):
    """Each drafting anew left a zip with a whole CT that no page offers any more."""
    item = upload(app, planned, np.full(phantom.shape, 40.0))
    folder = plan_export.archive_path(app, planned, item).parent
    folder.mkdir()
    names = [f"{planned}1-noplan-x-AI-DRAFT.zip", "counterfactual-1-SYNTHETIC.zip"]
    for name in [*names, f"{planned}-noplan-x-AI-DRAFT.zip", f"{planned}-plan7-x-AI-DRAFT.zip"]:
        (folder / name).write_bytes(b"x")
    assert app.jobs.wait(plan_export.start(app, planned, item, palette=PALETTE), 120).state == "done"
    kept = {p.name for p in folder.iterdir()}
    assert kept == {*names, plan_export.archive_path(app, planned, item).name}


def test_nothing_to_refer_to_is_refused(app, case_id, tmp_path):
    with pytest.raises(InputRefusedError, match="no structures to export"):
        plan_export.write_all(app, case_id, None, tmp_path / "out")


def test_pictures_have_square_pixels_and_the_colours_asked_for(phantom):
    masks = {"PTV_7000": np.zeros(phantom.shape, bool)}
    masks["PTV_7000"][3, 8:12, 10:15] = True
    gy = phantom.with_array(np.where(masks["PTV_7000"], 70, 0).astype(np.float32))
    picture = axial(phantom, 3, masks=masks, dose=gy, full_gy=70.0, palette=PALETTE, width=300)
    # 13 x 1.25 mm and 15 x 1.5 mm of body, 6 and 5 voxels of margin at the sides that exist.
    rows, columns = min(20, 17 + 6) - max(0, 4 - 6), min(24, 20 + 5) - max(0, 5 - 5)
    assert picture.size == (300, round(rows * 1.25 / (columns * 1.5) * 300))
    pixels = np.asarray(picture).reshape(-1, 3)
    assert (np.abs(pixels.astype(int) - (255, 59, 48)).max(axis=1) < 4).any(), "the outline of the target"
    plain = axial(phantom, 3, width=300)
    grey = np.asarray(plain)
    assert (grey[..., 0] == grey[..., 1]).all(), "without palette and dose the slice is grey"


def test_paper_and_fhir_name_every_table_that_a_missing_marker_leaves_open(app, planned, monkeypatch):
    """Rule st_p16_missing: without p16 neither table is the patient's."""
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    form = {"site": "oropharynx", "tumour_size_mm": 31, "invaded": ["none"], "nodes_n_pos": 0, "distant": False,
            "ene_clinical": False, "histology": "squamous_cell_carcinoma"}  # fmt: skip
    plan = planning.draft_case_plan(app, planned, form=form)
    negative, positive = "cT2 cN0 cM0, stage II", "cT2 cN0 cM0, stage I"
    sheet = " ".join(pdf_text(plan_export.pdf(app, plan, None)).split())
    edition = "AJCC/UICC TNM, 8th edition \\(provisional\\)"
    assert f"Oropharynx, p16-negative: {negative}, {edition}" in sheet
    assert f"Oropharynx, p16-positive: {positive}, {edition} \\(open until the missing marker is known" in sheet
    condition = next(c for c in fhir.care_plan(plan)["contained"] if c["resourceType"] == "Condition")
    assert condition["code"]["text"].endswith("Oropharynx, p16-negative or Oropharynx, p16-positive")
    summaries = [s["summary"]["text"] for s in condition["stage"]]
    assert summaries == [f"{negative}, AJCC/UICC TNM, 8th edition (Oropharynx, p16-negative, provisional)",
                         f"{positive}, AJCC/UICC TNM, 8th edition (Oropharynx, p16-positive, provisional)"]  # fmt: skip


SQUAMOUS = {"histology": "squamous_cell_carcinoma", "distant": False, "ecog": 0, "prior_neck_rt": False,
            "setting": "definitive", "invaded": ["none"], "nodes_n_pos": 0}  # fmt: skip


@pytest.mark.parametrize("form, schedule, told", [
    # def_dahanca_66_33_6fpw: six fractions a week are what makes 66 Gy accelerated.
    ({"site": "larynx_glottis", "cord_mobility": "fixed", "chemo_possible": False},
     "6 fractions a week, 5.5 weeks", "radiotherapy alone; intent curative (to be confirmed)"),
    # pall_quadshot_148_4: two fractions a day, at least six hours apart.
    ({"site": "hypopharynx", "tumour_size_mm": 45, "cord_mobility": "fixed", "intent": "palliative"},
     "2 fractions a day, at least 6 h apart, 2 days",
     "palliative radiotherapy, one of the schedules below; intent palliative"),
    # lx_t4a: the operation comes first, and its plan is not one of radiotherapy alone.
    ({"site": "larynx_glottis", "cord_mobility": "fixed", "invaded": ["thyroid_cartilage_outer"], "resectable": True},
     "5 fractions a week, 6.6 weeks; after surgery, if extranodal extension or a positive margin is found",
     "total laryngectomy, then adjuvant treatment by pathology; intent curative (to be confirmed)"),
])  # fmt: skip
def test_paper_and_fhir_tell_treatment_and_schedule_as_the_plan_does(app, planned, monkeypatch, form, schedule, told):
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    plan = planning.draft_case_plan(app, planned, form=SQUAMOUS | form)
    described = [a["detail"]["description"] for a in fhir.care_plan(plan)["activity"]]
    assert described[0] == f"{fhir.NOTICE}: {told}"
    assert any(schedule in d and "Gy in" in d for d in described[1:])
    levels = [v for s in plan.payload["prescription"]["schemes"] for v in s["levels"]]
    assert sum("fractions of" in d for d in described) == len(levels)
    table = " ".join(pdf_text(plan_export.pdf(app, plan, None)).split("Plan text")[0].split())
    assert " ".join(schedule.split()[:4]) in table


def test_fhir_tells_urgent_withheld_and_the_drugs_to_choose_from(app, planned):
    """Rule sys_pregnancy; ce_hearing2 and ce_apac: cisplatin is out, one of three regimens goes with radiotherapy."""
    form = SQUAMOUS | {"site": "hypopharynx", "tumour_size_mm": 45, "cord_mobility": "fixed"}
    pregnant = planning.draft_case_plan(app, planned, form=form | {"pregnant_or_lactating": True})
    resource = fhir.care_plan(pregnant)
    notes = [n["text"] for n in resource["note"]]
    assert notes[0].startswith("URGENT: Pregnant or lactating")
    assert f"No treatment drafted: {pregnant.payload['modality']['withheld']}" in notes
    assert "INFO: Draft not reviewed by a clinician: research use only" in notes
    assert not resource.get("activity")
    deaf = planning.draft_case_plan(app, planned, form=form | {"hearing_grade": 2})
    drugs = {a["detail"]["code"]["text"]: a["detail"]["description"] for a in fhir.care_plan(deaf)["activity"]
             if a["detail"]["code"]["text"].startswith("Systemic")}  # fmt: skip
    assert set(drugs) == {"Systemic treatment: cetuximab", "Systemic treatment: docetaxel",
                          "Systemic treatment: carboplatin + 5-FU"}  # fmt: skip
    assert all("alternative; one of these goes with the radiotherapy" in d for d in drugs.values())


def test_paper_judges_the_larynx_by_the_limits_of_the_drafted_treatment(app, planned, phantom):
    """lx_qtc_50 holds with chemotherapy, lx_qtc_44 without: rows of a dose follow the plan they are printed beside."""
    masks = blocks(phantom.shape, {**SPANS, "Larynx": ((1, 3), (9, 11), (10, 14))})
    app.store.save_result(planned, "structures", {"source": "upload"}, arrays={"masks": masks})
    constraint_templates.choose(app, planned, "quantec")
    item = upload(app, planned, np.full(phantom.shape, 47.0))
    form = SQUAMOUS | {"site": "oropharynx", "p16": "negative", "tumour_size_mm": 45}
    for chemo, limits in ((True, {50.0, 66.0}), (False, {44.0})):
        plan = planning.draft_case_plan(app, planned, form=form | {"chemo_possible": chemo})
        rows, misfit = planning.rows_on(plan.payload, item, histograms.judge(app, item))
        assert not misfit
        in_plan = [(r["structure"], r["unit"], r["limit"]) for r in plan.payload["constraints"]]
        for shown in ([(r.structure, r.unit, r.limit) for r in rows], in_plan):
            assert {limit for structure, unit, limit in shown if (structure, unit) == ("Larynx", "Gy")} == limits


def test_paper_says_that_nothing_is_drafted_while_two_markers_disagree(app, planned, monkeypatch):
    """Rule st_p16_and_ebv: nodes of an unknown primary, p16 and EBV both stated as positive."""
    from hnvlm.services import case_sheet

    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    form = SQUAMOUS | {"site": "unknown_primary", "p16": "positive", "ebv": "positive", "nodes_n_pos": 1,
                       "nodes_max_mm": 25, "nodes_laterality": "ipsilateral", "below_cricoid": False}  # fmt: skip
    plan = planning.draft_case_plan(app, planned, form=form)
    sheet = " ".join(pdf_text(plan_export.pdf(app, plan, None)).split("Plan text")[0].split())
    assert "Treatment drafted: none; p16 and EBV are both stated as positive" in sheet
    assert "open until the markers are known and agree; no plan is drafted" in sheet
    assert not fhir.care_plan(plan).get("activity")


def test_every_target_after_surgery_is_judged_in_plan_paper_and_fhir(app, planned, phantom):
    """D99 of 95% of each level: 62.7, 57 and 51.3 Gy; the dose of 60 Gy meets the lower two."""
    targets = {"PTV_6600": ((3, 5), (9, 12), (8, 12)), "PTV_6000": ((3, 5), (8, 13), (7, 13)),
               "PTV_5400": ((2, 6), (7, 13), (6, 14))}  # fmt: skip
    masks = blocks(phantom.shape, targets)
    app.store.save_result(planned, "structures", {"source": "upload"}, arrays={"masks": masks})
    item = upload(app, planned, np.full(phantom.shape, 60.0))
    form = SQUAMOUS | {"site": "oral_cavity", "setting": "postoperative", "tumour_size_mm": 35, "doi_mm": 12,
                       "nodes_n_pos": 2, "nodes_max_mm": 20, "ene_path": True, "margin": "negative"}  # fmt: skip
    plan = planning.draft_case_plan(app, planned, form=form)
    rows, misfit = planning.rows_on(plan.payload, item, histograms.judge(app, item))
    wanted = {("PTV_6600", 62.7, "not_met"), ("PTV_6000", 57.0, "met"), ("PTV_5400", 51.3, "met")}
    targets = {(r.structure, r.limit, r.status) for r in rows if r.structure.startswith("PTV")}
    assert not misfit and targets == wanted
    in_plan = [r for r in plan.payload["constraints"] if r["structure"].startswith("PTV")]
    assert {(r["structure"], r["limit"], r["status"]) for r in in_plan} == wanted
    assert not [c for c in plan.payload["checks"] if c["id"] == "fid_target_dose"]
    goals = [c for c in json.loads(plan_export.care_plan(app, plan, item))["contained"] if c["resourceType"] == "Goal"]
    assert {62.7, 57, 51.3} <= {g["target"][0]["detailQuantity"]["value"] for g in goals}


def test_fhir_proposes_no_drug_that_is_refused(app, planned):
    form = SQUAMOUS | {"site": "oropharynx", "p16": "negative", "tumour_size_mm": 31, "distant": True, "cps": 10}
    for chemo, drugs in ((True, {"Systemic treatment: pembrolizumab"}), (False, set())):
        plan = planning.draft_case_plan(app, planned, form=form | {"chemo_possible": chemo})
        found = {a["detail"]["code"]["text"] for a in fhir.care_plan(plan)["activity"]}
        assert {text for text in found if text.startswith("Systemic")} == drugs
