"""What lies with the CT in one folder goes into the patient's folder: contours, and the dose planned on them."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from imaging.dose_phantom import dose_phantom

from hnvlm.cli import inputs
from hnvlm.evaluate.common import drawn_by_model, read_case
from hnvlm.imaging.write import write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.services import intake
from hnvlm.types import TARGET_NAMES


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """CT, structure set and dose of a planned phantom, as a planning system exports them."""
    root = tmp_path_factory.mktemp("exported")
    ct, gray, masks, _ = dose_phantom()
    array = np.minimum(gray.array, 57.5)
    array[masks["PTV_5600"]], array[masks["PTV_7000"]] = 57.5, 71.5
    write_dicom_series(ct, root / "CT", "neck phantom", synthetic=False)
    write_rtstruct(masks, ct, root / "RTSTRUCT.dcm", label="by hand", clinic=tuple(masks))
    write_rtdose(gray.with_array(array), ct, root / "RTDOSE.dcm", predicted=False)
    return root


@pytest.fixture
def patient(exported, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(exported, tmp_path / "patient")
    return tmp_path / "patient"


@pytest.fixture
def imported(run, tmp_path):
    """``imported(path, ...)``: what import-case says, and the folder."""

    def call(source, *args):
        ran = run("import-case", source, tmp_path / "a1", *args, "--json")
        return ran, tmp_path / "a1"

    return call


def again(file, name, **fields):
    """A copy of a DICOM file beside it, with other fields."""
    dataset = pydicom.dcmread(file)
    for key, value in fields.items():
        setattr(dataset, key, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.save_as(file.with_name(name), enforce_file_format=True)


def test_contours_and_dose_of_a_real_patient_are_taken_with_the_ct(run, shared_dir, tmp_path):
    """inspect says "opened together with its CT", and import-case dropped both without a word."""
    source = shared_dir / "data" / "dicom" / "openkbp_dicom" / "pt_1"
    made = run("import-case", source, tmp_path / "a1")
    assert made.code == 0 and "lay with the CT and was taken: RTSTRUCT.dcm, RTDOSE.dcm" in made.stdout
    given = ("--structures", source / "RTSTRUCT.dcm", "--dose", source / "RTDOSE.dcm")
    named = run("import-case", source / "CT", tmp_path / "a2", *given, "--json").data
    assert set(TARGET_NAMES) <= set(named["structures"]) and named["taken_with_ct"] == []
    files = {p.name: p.read_bytes() for p in (tmp_path / "a1").iterdir()}
    assert "dose.nii.gz" in files
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "a2").iterdir()}


def test_a_set_is_taken_without_a_dose_and_with_one_that_was_named(imported, patient, tmp_path):
    (patient / "RTDOSE.dcm").rename(tmp_path / "RTDOSE.dcm")
    ran, folder = imported(patient)
    assert ran.data["taken_with_ct"] == ["RTSTRUCT.dcm"] and ran.data["dose_max_gy"] is None
    shutil.rmtree(folder)
    ran, _ = imported(patient, "--dose", tmp_path / "RTDOSE.dcm")
    assert ran.data["taken_with_ct"] == ["RTSTRUCT.dcm"] and ran.data["dose_max_gy"] == 71.5


def test_what_a_model_drew_is_marked_there_too(imported, patient):
    ct, _, masks, _ = dose_phantom()
    write_rtstruct(masks, ct, patient / "RTSTRUCT.dcm", label="AI DRAFT")
    ran, folder = imported(patient)
    assert drawn_by_model(folder) == set(ran.data["structures"]) and not set(ran.data["structures"]) & set(TARGET_NAMES)
    (warning,) = [w for w in ran.data["warnings"] if "RTDOSE.dcm" in w]
    assert "a model drew" in warning and "--dose" in warning and ran.data["dose_max_gy"] is None


def test_of_several_doses_the_one_of_the_whole_plan_is_taken_and_two_of_them_are_not(imported, patient):
    again(patient / "RTDOSE.dcm", "beam.dcm", DoseSummationType="BEAM")
    ran, folder = imported(patient)
    assert ran.data["taken_with_ct"] == ["RTSTRUCT.dcm", "RTDOSE.dcm"] and ran.data["dose_max_gy"] == 71.5
    shutil.rmtree(folder)
    again(patient / "RTDOSE.dcm", "second.dcm")
    ran, folder = imported(patient)
    assert any("more than one fits" in w and "--dose" in w for w in ran.data["warnings"])
    assert ran.data["taken_with_ct"] == ["RTSTRUCT.dcm"] and not (folder / "dose.nii.gz").exists()


def test_what_belongs_to_another_image_is_said_and_left(imported, patient):
    for name in ("RTSTRUCT.dcm", "RTDOSE.dcm"):
        dataset = pydicom.dcmread(patient / name)
        for element in dataset.iterall():
            if element.keyword in ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID"):
                element.value = "1.2.826.0.1.78"
        dataset.save_as(patient / name, enforce_file_format=True)
    ran, folder = imported(patient)
    assert [w.split("(")[1].split(")")[0] for w in ran.data["warnings"]] == [
        "another frame of reference than the CT's"
    ] * 2
    assert ["--structures" in w or "--dose" in w for w in ran.data["warnings"]] == [True] * 2
    assert sorted(p.name for p in folder.iterdir()) == ["ct.nii.gz"]


def test_two_sets_of_one_day_are_not_chosen_between(imported, patient):
    (patient / "RTDOSE.dcm").unlink()
    again(patient / "RTSTRUCT.dcm", "other.dcm")
    ran, folder = imported(patient)
    assert any("2 structure sets" in w and "--structures" in w for w in ran.data["warnings"])
    assert sorted(p.name for p in folder.iterdir()) == ["ct.nii.gz"]


def test_named_contours_are_taken_alone_and_a_dose_that_lies_there_is_told_of(imported, patient):
    ran, folder = imported(patient, "--structures", patient / "RTSTRUCT.dcm")
    (warning,) = [w for w in ran.data["warnings"] if "RTDOSE.dcm" in w]
    assert "--dose" in warning and "was not taken" in warning
    assert ran.data["taken_with_ct"] == [] and len(read_case(folder)[1]) == len(ran.data["structures"])


def test_masks_beside_a_nifti_and_what_a_stored_case_keeps_are_told_of(imported, patient, store_dir, tmp_path):
    ct, _, masks, _ = dose_phantom()
    write_nifti(ct, tmp_path / "nifti" / "ct.nii.gz")
    write_nifti(ct.with_array(masks["PTV_7000"].astype(np.uint8)), tmp_path / "nifti" / "PTV70.nii.gz")
    ran, folder = imported(tmp_path / "nifti")
    assert any("1 other NIfTI file(s) lie with the CT and were not taken" in w for w in ran.data["warnings"])
    shutil.rmtree(folder)
    app = inputs.open_app()
    case = intake.create_case(app, intake.open_path(patient))
    app.close()
    ran, _ = imported(case.id)
    told = [w for w in ran.data["warnings"] if "stored with the case" in w]
    assert ["--structures" in told[0], "--dose" in told[1]] == [True, True]
