"""Names of files in messages: those that tell something go, words of the message stay."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from imaging.phantoms import head, write_ct

from hnvlm.imaging import intake as reader
from hnvlm.imaging.write import write_rtstruct
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


def test_a_structure_called_by_the_patient_is_stored_without_that(app, ct):
    """It was in the store, in the exported structure set and in the plan."""
    volume = reader.read_path(ct).volume
    mask = np.zeros(volume.shape, bool)
    mask[1:4, 3:9, 2:11] = True
    masks = {"Kowalczyk GTV": mask, "Larynx": mask, "Bolus": mask}
    file = write_rtstruct(masks, volume, ct / "rs.dcm", label="clinic")
    dataset = pydicom.dcmread(file)
    dataset.PatientName = "KOWALCZYK^JAN"
    dataset.save_as(file)
    case = intake.create_case(app, intake.receive(app, upload_of(ct)))
    kept = app.store.latest_result(case.id, "structures")
    numbered = next(n for n in app.store.load_masks(kept) if n.startswith("structure "))
    assert {row["name"] for row in kept.payload["structures"]} == {numbered, "Larynx", "Bolus"}
    warnings = case.meta["warnings"]
    assert f"the name or number of a person was left out of the names of: {numbered}" in warnings
    assert "structures kept under their own names: Bolus" in warnings
    stored = [p for p in app.settings.data_dir.rglob("*") if p.is_file() and app.uploads_dir not in p.parents]
    assert stored and not [p for p in stored if b"kowalczyk" in p.read_bytes().lower()]


def test_the_place_of_a_damaged_slice_stays_where_files_are_called_by_numbers(tmp_path):
    write_ct(tmp_path, name="10{:d}")
    upload = intake.open_path(tmp_path)
    place = "slice 101 of 106 (z = -103.0 mm, instance number 104)"
    text = f"102, {place}: pixel data cannot be decoded; 103: damaged"
    assert intake.without_names(text, upload) == f"(file), {place}: pixel data cannot be decoded; (file): damaged"
