"""Patients and studies of one upload are told apart by letter, number, date and folder, which no JSON holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from phantoms import head, write_ct

from hnvlm.imaging import intake
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti


def of(**values):
    def change(ds, k):
        for name, value in values.items():
            setattr(ds, name, value)

    return change


def told(root):
    return [s.whose.words(2) for s in sorted(intake.scan(root), key=lambda s: s.whose.folder)]


def test_two_patients_have_letters_dates_and_folders(tmp_path):
    for folder, person, day in (("first/CT", "Z-77", "20260311"), ("second/CT", "A-12", "2026.04.02")):
        given = of(PatientID=person, StudyDate=day, StudyInstanceUID=f"1.2.{len(folder)}")
        write_ct(tmp_path / folder, modify=given, series=f"1.3.{len(folder)}")
    found = intake.scan(tmp_path)
    assert [s.whose.patient for s in found] == ["A", "B"] and [s.whose.study for s in found] == [1, 2]
    assert told(tmp_path) == [
        "patient A of this upload, study 1 of 2026-03-11, folder first/CT",
        "patient B of this upload, study 2 of 2026-04-02, folder second/CT",
    ]
    assert found[0].whose.words(1) == "study 1 of 2026-03-11, folder first/CT"
    kept = json.dumps([s.to_json() for s in found]) + repr(found[0].whose)
    shown = repr([(s.series_uid, s.reasons, s.warnings) for s in found])
    for secret in ("Z-77", "A-12", "2026-03-11", "20260311", "first/CT", "patient A"):
        assert secret not in kept + shown, secret
    assert "whose" not in repr(found) and "2026-03-11" not in repr(found)


@pytest.mark.parametrize(
    ("one", "other", "patients", "studies"),
    [
        ({"PatientID": "7"}, {"PatientID": "7"}, "AA", [1, 1]),
        ({"PatientID": "7", "StudyInstanceUID": "1.5"}, {"PatientID": "7", "StudyInstanceUID": "1.6"}, "AA", [1, 2]),
        ({"PatientID": "7"}, {"PatientID": "8"}, "AB", [1, 2]),
        # Who has no number is told by name, which is written in small letters, too.
        ({"PatientName": "Nowak^Jan"}, {"PatientName": "NOWAK^JAN"}, "AA", [1, 1]),
        ({"PatientName": "Nowak^Jan"}, {"PatientName": "Kowal^Jan"}, "AB", [1, 2]),
        ({"PatientID": "7"}, {}, "AB", [1, 2]),
        ({}, {}, "AA", [1, 1]),
        # Careless anonymisation gives all the same number.
        (
            {"PatientID": "ANON", "PatientBirthDate": "19500101"},
            {"PatientID": "ANON", "PatientBirthDate": "19610202"},
            "AB",
            [1, 2],
        ),
    ],
)
def test_what_tells_patients_and_studies(tmp_path, one, other, patients, studies):
    for n, values in enumerate((one, other)):
        write_ct(tmp_path / str(n), modify=of(**values), series=f"1.3.{n}")
    found = intake.scan(tmp_path)
    assert "".join(s.whose.patient for s in found) == patients and [s.whose.study for s in found] == studies


def test_files_of_no_patient_are_of_nobody(tmp_path):
    hu = head().astype(np.int16)
    write_nifti(Volume(hu, (2.5, 0.7, 1.1), (0.0, 0.0, 0.0)), tmp_path / "ct.nii.gz")
    (info,) = intake.scan(tmp_path)
    assert info.accepted and info.whose is None


def test_a_date_that_is_none_and_the_folder_itself_are_left_out(tmp_path):
    write_ct(tmp_path, modify=of(PatientID="7", StudyDate="unknown"))
    assert told(tmp_path) == ["patient A of this upload, study 1"]


def test_a_folder_whose_name_is_no_text_can_be_shown(tmp_path):
    write_ct(tmp_path / "scan\udcff", modify=of(PatientID="7"))
    assert told(tmp_path) == ["patient A of this upload, study 1, folder scan?"]


def test_there_are_letters_for_more_patients_than_the_alphabet_has(tmp_path):
    for n in range(28):
        write_ct(tmp_path / str(n), head((3, 4, 5)), modify=of(PatientID=f"id{n}"), series=f"1.3.{100 + n}")
    letters = [s.whose.patient for s in intake.scan(tmp_path)]
    assert letters[:2] == ["A", "B"] and letters[25:] == ["Z", "A2", "B2"]
