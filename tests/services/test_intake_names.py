"""Names of files in messages: those that tell something go, words of the message stay."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from imaging.phantoms import head, write_ct

from hnvlm.services import intake


@pytest.fixture
def ct(tmp_path) -> Path:
    """Seven slices of a small phantom."""
    write_ct(tmp_path / "ct")
    return tmp_path / "ct"


def upload_of(folder: Path) -> list[tuple[str, io.BytesIO]]:
    return [(f"ct/{file.name}", io.BytesIO(file.read_bytes())) for file in sorted(folder.iterdir())]


def test_a_name_that_is_a_word_eats_no_word_of_a_message(app, ct):
    """A bare word stays, with its suffix it is a file; a name that tells goes with and without suffix."""
    first, second, third = sorted(ct.iterdir())[:3]
    first.rename(ct / "certain.dcm")
    second.rename(ct / "left")
    third.rename(ct / "Kowalski_Jan.neck.dcm")
    upload = intake.receive(app, upload_of(ct))
    text = "left and right are not certain (certain.dcm); Kowalski_Jan.neck.dcm of Kowalski_Jan: damaged"
    assert intake.without_names(text, upload) == "left and right are not certain ((file)); (file) of (file): damaged"


def test_a_long_name_of_letters_of_three_bytes_is_no_full_disk(app):
    name = "".join(chr(0x4E00 + n) for n in range(120)) + ".nii.gz"
    source = intake.spool(app, [(f"{name[:-7]}/{name}", io.BytesIO(b"1"))])
    assert source.name.endswith(name[-20:]) and source.read_bytes() == b"1"


def test_no_half_name_of_a_scout_is_kept(app, tmp_path):
    def scout(ds, k):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if k < 4 else "AXIAL"]

    write_ct(
        tmp_path / "with scouts", head((9, 10, 14)), modify=scout, name="Topogram of Kowalska Anna {:02d} neck.dcm"
    )
    upload = intake.receive(app, upload_of(tmp_path / "with scouts"))
    case = intake.create_case(app, upload)
    (warning,) = [w for w in case.meta["warnings"] if "localizer" in w]
    assert warning == "4 localizer image(s) (scout) left out: (file), (file), (file) and 1 more"
