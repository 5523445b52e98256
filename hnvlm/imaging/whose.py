"""Which patient and study of an upload a series is of: for the screen, before anything is stored, and nowhere else."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from hnvlm.imaging.dicom import SliceHeader


@dataclass(frozen=True, repr=False)
class Whose:
    """What tells the series of one upload apart. It has no ``repr``, so that no log shows it by accident.

    Attributes:
        patient: A letter of this upload (A, B); one for all series that state no patient.
        study: Number within this upload, from 1.
        date: Study date as 2026-03-11; "" when missing.
        folder: Of the files, below the folder that was searched; "" for that folder itself.
    """

    patient: str
    study: int
    date: str
    folder: str

    def words(self, patients: int) -> str:
        """One line for the screen; the patient's letter only where there are several."""
        parts = [f"patient {self.patient} of this upload"] if patients > 1 else []
        parts.append(f"study {self.study}" + (f" of {self.date}" if self.date else ""))
        if self.folder:
            parts.append(f"folder {self.folder}")
        return ", ".join(parts)


def number_of_patient(header: SliceHeader) -> str:
    """The patient's number in capitals; "" for what careless anonymisation leaves of everybody (ANONYMOUS, 000)."""
    number = header.text("PatientID").upper()
    return number if re.search("[1-9]", number) else ""


def tell_apart(series: Iterable[tuple[SliceHeader | None, Sequence[Path]]], root: Path) -> list[Whose | None]:
    """Give every series of an upload the letter of its patient and the number of its study, in the order given.

    Args:
        series: First header (None: none was kept, as of NIfTI) and files of each series.
        root: The folder that was searched.

    Returns:
        One entry a series; None where there is no header.
    """
    rows = list(series)
    born: dict[str, set[str]] = defaultdict(set)
    for header, _ in rows:
        if header is not None and header.text("PatientBirthDate"):
            born[header.text("PatientID")].add(header.text("PatientBirthDate"))
    patients: dict[str, int] = {}
    studies: dict[str, int] = {}
    out: list[Whose | None] = []
    for header, files in rows:
        if header is None:
            out.append(None)
            continue
        person = header.text("PatientID") or header.text("PatientName").upper()
        if len(born[header.text("PatientID")]) > 1:  # one number for all, as careless anonymisation leaves it
            person += f"\x1f{header.text('PatientBirthDate')}"
        number = patients.setdefault(person, len(patients))
        date = _date(header.text("StudyDate"))
        study = studies.setdefault(f"{person}\x1f{header.text('StudyInstanceUID') or date}", len(studies) + 1)
        out.append(Whose(_letter(number), study, date, _folder(files, root)))
    return out


def _letter(number: int) -> str:
    letter = ascii_uppercase[number % 26]
    return letter if number < 26 else f"{letter}{number // 26 + 1}"


def _date(text: str) -> str:
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", text)
    return "-".join(found.groups()) if found else ""


def _folder(files: Sequence[Path], root: Path) -> str:
    common = Path(os.path.commonpath([f.parent for f in files])) if files else root
    inside = common.is_relative_to(root) and common != root
    # A name that is no UTF-8, as zips hold it, cannot be sent to a browser.
    return common.relative_to(root).as_posix().encode(errors="replace").decode() if inside else ""
