"""What a batch writes of an archive may be handed on: no name of a file or folder of it is in there."""

from __future__ import annotations

import shutil

from fakes import FakeModels

from hnvlm.imaging.write import write_dicom_series
from hnvlm.services import batch


def test_nothing_that_is_written_names_a_file_of_the_archive(tmp_path, phantom):
    """Warnings name the files they are about, and files often name the patient."""
    folder = tmp_path / "archive" / "Kowalska_Maria"
    files = write_dicom_series(phantom, folder, "neck", synthetic=False)
    shutil.copy(files[2], folder / "Kowalska_copy.dcm")
    (folder / "Kowalska_cut.dcm").write_bytes(b"")
    out = tmp_path / "out"
    made = batch.run_batch(FakeModels, tmp_path / "archive", out)
    assert made["n_done"] == 1
    written = {p.name: p.read_text(encoding="utf-8") for p in out.rglob("*") if p.is_file()}
    assert "duplicate file(s) of the same image left out" in written["report.json"]
    assert "(file): not a DICOM file" in written["report.json"]
    assert not [name for name, text in written.items() if "Kowalska" in text]
