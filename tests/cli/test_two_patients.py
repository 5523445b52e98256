"""A folder with CTs of two patients: that there are two is said, who they are stands in no output."""

from __future__ import annotations

import pytest
from imaging.phantoms import head, write_ct


@pytest.fixture
def two(tmp_path):
    """Two patients in folders of their own; of the second one there are more slices."""
    for n, count in ((1, 7), (2, 9)):

        def identify(ds, k, n=n):
            ds.PatientID, ds.PatientName, ds.PatientBirthDate = f"PESEL{n}", f"Kowalska{n}", f"1950010{n}"
            ds.StudyDate, ds.StudyInstanceUID = f"2026031{n}", f"1.5.{n}"

        write_ct(tmp_path / "two" / f"person{n}", head((count, 10, 14)), modify=identify, series=f"1.3.{n}")
    return tmp_path / "two"


def test_a_draft_of_one_of_two_patients_says_that_there_are_two(run, two):
    ran = run("zeroshot", two, "--labels", "a;b", "--json")
    assert "2 CT series of 2 patients found; 1.3.2 was taken" in " ".join(ran.data["warnings"])
    one = run("zeroshot", two / "person1", "--labels", "a;b", "--json")
    assert "patients" not in " ".join(one.data["warnings"])


def test_inspect_tells_nothing_of_who_they_are(run, two):
    ran = run("inspect", two, "--json")
    assert {s["uid"] for s in ran.data["series"]} == {"1.3.1", "1.3.2"}
    listed = run("inspect", two)
    said = "".join((ran.stdout, ran.stderr, listed.stdout, listed.stderr))
    for secret in ("PESEL", "Kowalska", "1950010", "2026031", "2026-03-1", "person1", "whose"):
        assert secret not in said, secret
