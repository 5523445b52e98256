"""Whether a report is of the patient whose CT it is imported with, as far as both say whom they are of."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date

from pydicom.dataset import Dataset

from hnvlm.imaging.persons import speaks_of_patient

LOOK = "make sure that it is this patient's: what it says would be taught of this CT"
_BIRTH = r"(?:born|date of birth|birth ?date|d\.?o\.?b\.?|geb\.?|geboren|geburtsdatum|ur\.?|urodzon[ya]|data urodzenia)"
_BORN = re.compile(
    rf"(?<!\w){_BIRTH}\W{{0,4}}(?:(\d{{4}})[-./](\d\d?)[-./](\d\d?)|(\d\d?)[-./](\d\d?)[-./](\d{{4}}))(?!\d)",
    re.IGNORECASE,
)
# A line that says whose the report is: a name, or a number; "Patient: male, 65 years" says neither.
_CAPITAL = r"[^\W\d_a-zà-öø-ÿąćęłńóśźż][\w'’-]+"
_HEADED = re.compile(
    r"^\W*(?:(?i:patient(?:in)?|patient(?:'s)? name|pacjent(?:ka)?|imi[eę] i nazwisko)\s*:\s*"
    rf"(?:{_CAPITAL},?\s+{_CAPITAL}|\d{{5}})"
    rf"|(?i:name|nazwisko(?: i imi[eę])?)\s*:\s*{_CAPITAL}"
    r"|(?i:pesel)\s*:?\s*\d{11})",
    re.MULTILINE,
)


def doubts(text: str, header: Dataset) -> list[str]:
    """Say where a report names another patient than the CT's header; without a name or date of either.

    Args:
        header: Of one file of the CT.
    """
    stated, own = _births(text), str(header.get("PatientBirthDate") or "").strip()
    # Headers whose identity was changed often keep the year alone, as its first day.
    exact = re.fullmatch(r"\d{8}", own) and own[4:] != "0101"
    if stated and exact:
        if own in stated:
            return []
        return [f"the report states another date of birth than the CT's header; {LOOK}"]
    removed = str(header.get("PatientIdentityRemoved") or "").upper() == "YES"
    if removed or not _HEADED.search(text) or speaks_of_patient(text, header) is not False:
        return []
    return [f"the report names a patient, and neither name nor number of the CT's header stands in it; {LOOK}"]


def _births(text: str) -> set[str]:
    """Dates of birth that a text states, as DICOM writes them; of 03/12/1948 both readings."""
    out = set()
    for found in _BORN.finditer(text):
        y1, m1, d1, d2, m2, y2 = found.groups()
        readings = [(y1, m1, d1)] if y1 else [(y2, m2, d2), (y2, d2, m2)]
        for reading in readings:
            with suppress(ValueError):
                out.add(date(*map(int, reading)).strftime("%Y%m%d"))
    return out
