"""Several CTs in one folder: the one that was planned on is imported, and never one of two patients unasked."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from imaging.dose_phantom import dose_phantom
from imaging.phantoms import head, write_ct

from hnvlm.evaluate.common import read_case
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose


@pytest.fixture
def planned(tmp_path):
    """A planning CT with contours and dose, and a later CT of the same patient that has more slices."""
    ct, gray, masks, _ = dose_phantom()
    root = tmp_path / "patient"
    write_dicom_series(ct, root / "PLAN", "planning", synthetic=False)
    write_rtstruct(masks, ct, root / "RTSTRUCT.dcm", label="by hand", clinic=tuple(masks))
    array = np.minimum(gray.array, 57.5)
    array[masks["PTV_5600"]], array[masks["PTV_7000"]] = 57.5, 71.5
    write_rtdose(gray.with_array(array), ct, root / "RTDOSE.dcm", predicted=False)
    longer = np.concatenate([ct.array, ct.array[-3:]])
    write_dicom_series(Volume(longer, ct.spacing_mm, ct.origin_mm, "1.2.9"), root / "DIAG", "neck", synthetic=False)
    return root, ct


def test_the_ct_that_was_planned_on_is_taken_not_the_longest(run, planned, tmp_path):
    """Contours and dose were dropped for a diagnostic CT with more slices."""
    root, ct = planned
    made = run("import-case", root, tmp_path / "a1", "--json").data
    assert made["shape"] == list(ct.shape) and made["taken_with_ct"] == ["RTSTRUCT.dcm", "RTDOSE.dcm"]
    assert "structures or dose that lie with it were made on it" in made["warnings"][0]
    assert read_case(tmp_path / "a1")[1].keys() >= {"PTV_7000", "SpinalCord"}
    (root / "RTSTRUCT.dcm").unlink()
    (root / "RTDOSE.dcm").unlink()
    made = run("import-case", root, tmp_path / "a2", "--json").data
    assert made["shape"][0] == ct.shape[0] + 3 and "most slices" in made["warnings"][0]


def test_of_two_reconstructions_of_one_scan_the_one_that_was_drawn_on_is_taken(run, planned, tmp_path):
    """They share the frame of reference, so only the series that the structure set names tells them apart."""
    root, ct = planned
    shutil.rmtree(root / "DIAG")
    sharp = Volume(ct.array + np.int16(1), ct.spacing_mm, ct.origin_mm, ct.frame_of_reference_uid)
    write_dicom_series(sharp, root / "SHARP", "bone kernel", synthetic=False)
    run("import-case", root, tmp_path / "a1")
    assert np.array_equal(read_case(tmp_path / "a1")[0].array, ct.array)


def test_of_two_patients_none_is_imported_unasked(run, tmp_path):
    for n, count in ((1, 7), (2, 9)):

        def identify(ds, k, n=n):
            ds.PatientID, ds.PatientName, ds.StudyInstanceUID = f"PESEL{n}", f"Kowalska{n}", f"1.5.{n}"

        write_ct(tmp_path / "two" / f"person{n}", head((count, 10, 14)), modify=identify, series=f"1.3.{n}")
    message = run("import-case", tmp_path / "two", tmp_path / "a1", "--json").refused("several_patients")
    assert "2 patients" in message and "--series" in message and "1.3.1" in message and "Kowalska" not in message
    assert not (tmp_path / "a1").exists()
    assert run("import-case", tmp_path / "two", tmp_path / "a1", "--series", "1.3.1", "--json").data["shape"][0] == 7


def test_doses_that_are_passed_over_are_named(run, planned, tmp_path):
    """The phases of a plan went without a word where the sum was taken."""
    root, _ = planned
    phase = pydicom.dcmread(root / "RTDOSE.dcm")
    phase.DoseGridScaling = float(phase.DoseGridScaling) / 2
    phase.SOPInstanceUID = phase.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    phase.save_as(root / "PHASE1.dcm", enforce_file_format=True)
    made = run("import-case", root, tmp_path / "a1", "--json").data
    assert made["taken_with_ct"] == ["RTSTRUCT.dcm", "RTDOSE.dcm"]
    (told,) = [w for w in made["warnings"] if "was not taken" in w]
    assert "PHASE1.dcm" in told and "median dose" in told


def test_structures_of_no_ct_there_are_told_of(run, planned, tmp_path):
    """A draft beside another patient's structure set was made without them, and without a word."""
    root, _ = planned
    shutil.rmtree(root / "PLAN")
    assert any("RTSTRUCT left out" in w for w in run("report", root, "--json").data["warnings"])


def test_the_same_ct_under_another_name_is_told_of(run, planned, tmp_path):
    root, _ = planned
    first = run("import-case", root, tmp_path / "own" / "train" / "a1", "--json").data
    assert not any("already" in w for w in first["warnings"])
    again = run("import-case", root, tmp_path / "own" / "validation" / "b1", "--json").data
    assert any("the same CT is in" in w and "train/a1" in w for w in again["warnings"])
