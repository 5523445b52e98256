"""A clinic's plan and a model's drafts as training data: RTDOSE of real patients, and what may not be learned from."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from imaging.dose_phantom import dose_phantom

from hnvlm.cli import inputs, own_marks
from hnvlm.evaluate.common import drawn_by_model, read_case
from hnvlm.evaluate.dose_scores import read_dose_case
from hnvlm.imaging.rt import read_structures
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.imaging.write_seg import write_seg
from hnvlm.services import intake
from hnvlm.types import TARGET_NAMES

FRAME = "1.2.826.0.1.77"


def planned():
    """CT, dose with the targets at their level (71.5 and 57.5 Gy), masks and body."""
    ct, gray, masks, body = dose_phantom()
    array = np.minimum(gray.array, 57.5)
    array[masks["PTV_5600"]], array[masks["PTV_7000"]] = 57.5, 71.5
    return ct, gray.with_array(array), masks, body


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """DICOM of a planned phantom: CT, a structure set drawn by hand, the dose of the clinic."""
    root = tmp_path_factory.mktemp("plan")
    ct, gray, masks, _ = planned()
    write_dicom_series(ct, root / "CT", "neck phantom", synthetic=False)
    write_rtstruct(masks, ct, root / "RTSTRUCT.dcm", label="by hand", clinic=tuple(masks))
    write_rtdose(gray, ct, root / "RTDOSE.dcm", predicted=False)
    return root


@pytest.fixture
def imported(run, plan, tmp_path):
    """``imported("--dose", path)``: the plan imported with these options, and the folder."""

    def call(*args, structures=plan / "RTSTRUCT.dcm"):
        folder = tmp_path / "own" / "train" / "a1"
        ran = run("import-case", plan / "CT", folder, "--structures", structures, *args, "--json")
        assert ran.code == 0 or not folder.exists()
        return ran, folder

    return call


def changed(plan, tmp_path, **fields):
    """The clinic's RTDOSE with other header fields."""
    dataset = pydicom.dcmread(plan / "RTDOSE.dcm")
    for key, value in fields.items():
        setattr(dataset, key, value)
    file = tmp_path / "changed.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file


@pytest.mark.parametrize("name", ["pt_1", "pt_2"])
def test_a_real_plan_becomes_what_the_dose_trainer_reads(run, shared_dir, tmp_path, name):
    """The public challenge publishes the same two patients' doses as files of their own."""
    source, folder = shared_dir / "data" / "dicom" / "openkbp_dicom" / name, tmp_path / "own" / "train" / "a1"
    given = ("--structures", source / "RTSTRUCT.dcm", "--dose", source / "RTDOSE.dcm")
    made = run("import-case", source / "CT", folder, *given, "--json").data
    case = read_dose_case(folder)
    published = sitk.ReadImage(str(shared_dir / "data" / "openkbp" / "train" / name / "dose.nii.gz"))
    assert np.abs(case.dose.array - sitk.GetArrayFromImage(published)).max() < 0.05
    assert set(TARGET_NAMES) <= set(case.masks) and case.ct is not None
    assert case.possible[case.dose.array > 0].all() and not case.possible.all()
    assert made["dose_max_gy"] == pytest.approx(float(case.dose.array.max()), abs=0.01)


def test_the_mask_of_possible_dose_is_the_patient_and_wherever_there_is_dose(imported, plan):
    ran, folder = imported("--dose", plan / "RTDOSE.dcm")
    _, gray, _, body = planned()
    case = read_dose_case(folder)
    assert ran.data["dose_max_gy"] == 71.5
    assert np.abs(case.dose.array - gray.array).max() < 0.01
    assert np.count_nonzero(case.possible ^ body) < 0.02 * body.sum() and case.possible[case.dose.array > 0].all()


def test_a_dose_in_nifti_on_the_cts_grid_is_read_too(imported, tmp_path):
    _, gray, _, _ = planned()
    write_nifti(gray, tmp_path / "gray.nii.gz")
    ran, folder = imported("--dose", tmp_path / "gray.nii.gz")
    assert ran.code == 0 and np.allclose(read_dose_case(folder).dose.array, gray.array, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"DoseType": "EFFECTIVE"}, "EFFECTIVE"),
        ({"DoseType": "ERROR"}, "ERROR"),
        ({"DoseUnits": "RELATIVE"}, "RELATIVE"),
        ({"DoseSummationType": "BEAM"}, "BEAM"),
        ({"DoseSummationType": "FRACTION"}, "FRACTION"),
        ({"DoseComment": "AI draft, research use only: PREDICTED"}, "predicted"),
        ({"SeriesDescription": "WHAT-IF: imported dose, SCALED"}, "scaled"),
    ],
)
def test_what_is_no_physical_dose_of_a_whole_plan_is_refused(imported, plan, tmp_path, fields, words):
    file = changed(plan, tmp_path, **fields)
    ran, _ = imported("--dose", file)
    message = ran.refused("input_refused")
    assert words in message and "changed.dcm" in message


def test_a_dose_of_another_frame_of_reference_is_refused(imported, plan, tmp_path):
    ran, _ = imported("--dose", changed(plan, tmp_path, FrameOfReferenceUID=FRAME))
    assert "another frame of reference" in ran.refused("frame_of_reference")


def test_a_phase_is_known_by_the_dose_of_its_target(imported, plan, tmp_path):
    """Each phase is a plan of its own: the header cannot tell."""
    scaling = float(pydicom.dcmread(plan / "RTDOSE.dcm").DoseGridScaling)
    ran, _ = imported("--dose", changed(plan, tmp_path, DoseGridScaling=f"{scaling * 50 / 70:.8f}"))
    assert "PTV_7000 is 51.1 Gy" in ran.refused("input_refused")
    ran, _ = imported("--dose", changed(plan, tmp_path, DoseGridScaling=f"{scaling * 1.2:.8f}"))
    assert "PTV_7000 is 85.8 Gy" in ran.refused("input_refused")


def test_only_plans_of_targets_that_the_network_knows_teach_a_dose(imported, plan, tmp_path):
    ct, _, masks, _ = dose_phantom()
    dose = ("--dose", plan / "RTDOSE.dcm")
    other = masks | {"PTV_6000": masks["PTV_5600"]}
    write_rtstruct(other, ct, tmp_path / "other.dcm", label="by hand", clinic=tuple(other))
    assert "PTV_6000" in imported(*dose, structures=tmp_path / "other.dcm")[0].refused("input_refused")
    organs = {name: mask for name, mask in masks.items() if name not in TARGET_NAMES}
    write_rtstruct(organs, ct, tmp_path / "organs.dcm", label="by hand", clinic=tuple(organs))
    assert "no target" in imported(*dose, structures=tmp_path / "organs.dcm")[0].refused("input_refused")
    write_rtstruct(masks, ct, tmp_path / "drafts.dcm", clinic=[n for n in masks if n != "PTV_7000"])
    assert "a model drew PTV_7000" in imported(*dose, structures=tmp_path / "drafts.dcm")[0].refused("input_refused")


def test_targets_of_one_level_are_taken_together_under_its_name(imported, plan, tmp_path):
    """Half of the highest level would be taught as spilled dose, so a plan of PTV1_70 and PTV2_70 was refused."""
    ct, _, masks, _ = dose_phantom()
    x = np.arange(ct.shape[2])
    sided = {name: mask for name, mask in masks.items() if name not in TARGET_NAMES} | {
        "PTV1_70": masks["PTV_7000"] & (x < 20), "PTV_70_L": masks["PTV_7000"] & (x >= 20),
        "PTV 3 56 Gy": masks["PTV_5600"], "PTV_7000 eval": masks["SpinalCord"],
    }  # fmt: skip
    file = tmp_path / "sided.dcm"
    write_rtstruct(sided, ct, file, label="by hand", clinic=tuple(sided))
    ran, folder = imported("--dose", plan / "RTDOSE.dcm", structures=file)
    assert set(ran.data["structures"]) == set(masks) and ran.data["left_out"] == ["PTV_7000 eval"]
    contours = read_case(folder)[1]
    assert all(np.array_equal(contours[name], masks[name]) for name in TARGET_NAMES if name in masks)
    (told,) = [w for w in ran.data["warnings"] if "taken as PTV_7000" in w]
    assert "PTV1_70" in told and "PTV_7000_L" in told
    shutil.rmtree(folder)
    write_rtstruct(sided, ct, file, clinic=[n for n in sided if n != "PTV1_70"])
    assert "a model drew PTV_7000" in imported("--dose", plan / "RTDOSE.dcm", structures=file)[0].refused(
        "input_refused"
    )


def test_a_target_beyond_the_dose_grid_is_refused(imported, tmp_path):
    _, gray, _, _ = planned()
    # Slices 5 to 13 hold the target; the grid ends with slice 8.
    write_nifti(Volume(gray.array[:9].copy(), gray.spacing_mm, gray.origin_mm), tmp_path / "lower.nii.gz")
    ran, _ = imported("--dose", tmp_path / "lower.nii.gz")
    assert "56 % of PTV_7000 lies outside" in ran.refused("input_refused")


def test_a_folder_is_no_dose(imported, plan):
    assert "name the file" in imported("--dose", plan)[0].refused("usage", status=2)


@pytest.mark.parametrize("kind", ["rtstruct", "seg"])
def test_drafts_of_a_model_keep_their_mark_and_its_targets_are_left_out(imported, tmp_path, kind):
    """A DICOM export of the models came into a training folder as if a clinician had drawn it."""
    ct, _, masks, _ = dose_phantom()
    file = tmp_path / "draft.dcm"
    write_rtstruct(masks, ct, file) if kind == "rtstruct" else write_seg(masks, ct, file)
    ran, folder = imported(structures=file)
    assert set(ran.data["structures"]) == {"SpinalCord", "Parotid_L", "Parotid_R"} == drawn_by_model(folder)
    assert set(ran.data["by_model"]) == set(masks)
    shutil.rmtree(folder)
    ran, folder = imported("--corrected", structures=file)
    assert set(ran.data["structures"]) == set(masks) and ran.data["by_model"] == [] and not drawn_by_model(folder)


def test_other_files_beside_the_structures_are_passed_over(imported, plan, tmp_path):
    """Clinics export into one folder: dose, CT and notes lie beside the structure set."""
    shutil.copytree(plan, tmp_path / "export")
    (tmp_path / "export" / "notes.txt").write_text("replanned in week 3", encoding="utf-8")
    ran, _ = imported(structures=tmp_path / "export")
    assert set(ran.data["structures"]) == set(planned()[2]) and ran.data["by_model"] == []


def test_a_folder_of_structures_belongs_to_the_stored_case_that_was_made_of_its_ct(run, plan, tmp_path):
    """The stored frame of reference is a keyed hash; only of a single file was it compared with the original."""
    app = inputs.open_app()
    case_id = intake.create_case(app, intake.open_path(plan / "CT")).id
    app.close()
    (tmp_path / "rs").mkdir()
    shutil.copy(plan / "RTSTRUCT.dcm", tmp_path / "rs")
    data = run("plan", case_id, "--structures", tmp_path / "rs", "--json").data
    assert set(planned()[2]) <= set(data["made_from"]["structures"])
    other = pydicom.dcmread(plan / "RTSTRUCT.dcm")
    other.FrameOfReferenceUID = other.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "9.9"
    for roi in other.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "9.9"
    other.save_as(tmp_path / "rs" / "RTSTRUCT.dcm", enforce_file_format=True)
    run("plan", case_id, "--structures", tmp_path / "rs", "--json").refused("frame_of_reference")


def test_contours_of_the_clinic_in_a_set_of_ours_are_the_clinics(imported, tmp_path):
    ct, _, masks, _ = dose_phantom()
    write_rtstruct(masks, ct, tmp_path / "mixed.dcm", clinic=("SpinalCord", "PTV_7000"))
    ran, folder = imported(structures=tmp_path / "mixed.dcm")
    assert ran.data["by_model"] == ["PTV_5600", "Parotid_L", "Parotid_R"]
    assert drawn_by_model(folder) == {"Parotid_L", "Parotid_R"}


def test_another_vendors_automatic_contours_count_until_somebody_approves_them(imported, plan, tmp_path):
    dataset = pydicom.dcmread(plan / "RTSTRUCT.dcm")
    for roi in dataset.StructureSetROISequence:
        if roi.ROIName == "Parotid_L":
            roi.ROIGenerationAlgorithm, roi.ROIGenerationDescription = "AUTOMATIC", "atlas"
    dataset.save_as(tmp_path / "auto.dcm", enforce_file_format=True)
    ran, folder = imported(structures=tmp_path / "auto.dcm")
    assert ran.data["by_model"] == ["Parotid_L"] == sorted(drawn_by_model(folder))
    shutil.rmtree(folder)
    dataset.ApprovalStatus = "APPROVED"
    dataset.save_as(tmp_path / "auto.dcm", enforce_file_format=True)
    assert imported(structures=tmp_path / "auto.dcm")[0].data["by_model"] == []


def test_the_clinics_gross_tumour_is_kept_as_one(imported, tmp_path):
    """No network draws it; it tells the trainers where disease is, and what of it is nodes."""
    ct, _, masks, _ = planned()
    drawn = {"GTVp": masks["Parotid_L"], "GTV_n1": masks["Parotid_R"], "SpinalCord": masks["SpinalCord"]}
    drawn["GTVp_ring"] = masks["SpinalCord"]
    write_rtstruct(drawn, ct, tmp_path / "gtv.dcm", label="by hand", clinic=tuple(drawn))
    ran, folder = imported(structures=tmp_path / "gtv.dcm")
    assert sorted(ran.data["gross_tumour"]) == ["GTV_n1", "GTVp"] and ran.data["left_out"] == ["GTVp_ring"]
    gross = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "GTV.nii.gz")))
    assert np.array_equal(gross > 0, masks["Parotid_L"] | masks["Parotid_R"])
    nodes = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "GTVn.nii.gz")))
    assert np.array_equal(nodes > 0, masks["Parotid_R"])
    shutil.rmtree(folder)
    write_rtstruct(drawn, ct, tmp_path / "draft.dcm", clinic=("GTV_n1",))
    assert imported(structures=tmp_path / "draft.dcm")[0].data["gross_tumour"] == ["GTV_n1"]


def test_words_say_what_a_model_drew(run, plan, tmp_path):
    ct, _, masks, _ = dose_phantom()
    write_rtstruct(masks, ct, tmp_path / "draft.dcm")
    printed = run("import-case", plan / "CT", tmp_path / "a1", "--structures", tmp_path / "draft.dcm").stdout
    assert "no contour is learned from them: Parotid_L, Parotid_R, SpinalCord" in printed
    assert "nobody decided to treat them: PTV_5600, PTV_7000" in printed and "--corrected" in printed


def test_a_tumour_of_a_model_that_is_called_by_the_patient_is_still_the_models(tmp_path):
    """Under the name it is called by here, its mark would be lost, and a draft taught as the clinic's tumour."""
    ct, _, masks, _ = dose_phantom()
    file = write_rtstruct({"GTV Kowalczyk": masks["PTV_7000"]}, ct, tmp_path / "draft.dcm")
    dataset = pydicom.dcmread(file)
    dataset.PatientName = "Kowalczyk^Jan"
    dataset.save_as(file)
    found = read_structures(file, ct, keep_unmapped=True)
    assert list(found.masks) == ["GTV structure 1"] == sorted(own_marks.drawn_by_model(file))
