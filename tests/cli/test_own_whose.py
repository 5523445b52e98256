"""A report of another patient is told of, without saying who either is."""

from __future__ import annotations

import pytest
from imaging.phantoms import head, write_ct
from pydicom.dataset import Dataset

from hnvlm.cli import own_whose

FINDING = "\nNecrotic level II node on the left, 24 mm."


def header(name="Müller^Jürgen", number="0047119", born="19480312", removed=""):
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientIdentityRemoved = name, number, born, removed
    return ds


@pytest.mark.parametrize(
    "text",
    [
        "Patient: Bauer, Franz, born 01.02.1961", "Pacjent: Bauer Franz, ur. 1961-02-01", "geb. am Ort, geb.: 1.2.1961",
        "Patient: Franz Bauer", "Nazwisko i imię: BAUER FRANZ", "Name: Bauer", "PESEL: 61020112345",
    ],
)  # fmt: skip
def test_another_patient_is_told_of_and_not_named(text):
    (told,) = own_whose.doubts(text + FINDING, header())
    assert "make sure" in told
    for secret in ("Bauer", "Franz", "1961", "Müller", "1948", "0047119", "6102"):
        assert secret not in told


@pytest.mark.parametrize(
    ("text", "whose"),
    [
        ("Patient: Müller, Jürgen, geb. 12.03.1948", header()), ("Patient: MUELLER JUERGEN", header()),
        ("Patient: M. J., born 12/03/1948", header()), ("Patient: M. J., DOB 03/12/1948", header()),
        ("Patient: 0047119", header()), ("CT of the neck.", header()), ("Name of drug: none seen.", header()),
        ("Patient: Bauer, born 01.02.1961", header("", "", "")), ("No patient-specific remarks.", header()),
        ("Patient: male, 65 years", header()), ("Patient: Male, smoker", header()), ("pacjentka: lat 60", header()),
        ("Patient: Bauer", header("RES007", "RES007", "", "YES")),
        ("Patient: Müller, born 12.03.1948", header(born="19480101")),
    ],
)  # fmt: skip
def test_nothing_is_said_where_it_may_be_the_same(text, whose):
    assert own_whose.doubts(text + FINDING, whose) == []


def test_import_case_tells_of_it(run, tmp_path):
    """A report that lay in the wrong folder taught its nodes of another patient's CT."""

    def identify(ds, k):
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Kowalska^Anna", "77", "19500103"

    write_ct(tmp_path / "ct", head((7, 10, 14)), modify=identify)
    report = tmp_path / "r.txt"
    report.write_text("Patient: Nowak Jan, born 04.05.1960" + FINDING, encoding="utf-8")
    made = run("import-case", tmp_path / "ct", tmp_path / "a1", "--report", report, "--json").data
    assert any("another date of birth" in w for w in made["warnings"])
    report.write_text("Patient: Kowalska Anna, born 03.01.1950" + FINDING, encoding="utf-8")
    made = run("import-case", tmp_path / "ct", tmp_path / "a2", "--report", report, "--json").data
    assert not any("report" in w for w in made["warnings"]) and made["report"]["lesions"]
