"""What a batch writes of an archive: nobody's name, what it was made with, and a plan on the clinic's structures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModels

from hnvlm import config
from hnvlm.errors import CancelledError
from hnvlm.imaging.write import write_dicom_series, write_rtstruct
from hnvlm.services import batch


@pytest.fixture
def archive(tmp_path, phantom) -> Path:
    write_dicom_series(phantom, tmp_path / "archive", "neck", synthetic=False)
    return tmp_path / "archive"


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """The installed models, as far as a batch looks at them: the weights of a report model."""
    folder = tmp_path / "pack" / "report"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"version": "7"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("HNVLM_MODELS_DIR", str(folder.parent))
    config.settings.cache_clear()
    yield folder
    config.settings.cache_clear()


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
    for name in ("report.json", "plan.json"):
        assert "duplicate file(s) of the same image left out" in written[name]
        assert "(file): not a DICOM file" in written[name]
    assert not [name for name, text in written.items() if "Kowalska" in text]


def test_a_run_with_another_language_or_seed_makes_the_drafts_anew(tmp_path, archive):
    """The second run said "stored before", and the reports stayed in the language of the first."""
    models, out = FakeModels(), tmp_path / "out"

    def run(**options):
        models.calls.clear()
        (case,) = batch.run_batch(lambda: models, archive, out, **options)["cases"]
        told = json.loads((out / case["folder"] / "report.json").read_text(encoding="utf-8"))
        return case["state"], case.get("because"), told["language"], bool(models.calls)

    assert run() == ("done", None, "en", True)
    assert run() == ("stored before", None, "en", False)
    assert run(language="pl") == ("made anew", "language was en, now pl", "pl", True)
    assert run(language="pl") == ("stored before", None, "pl", False)
    assert run(seed=3) == ("made anew", "language was pl, now en; seed was 0, now 3", "en", True)
    assert [p.name for p in out.iterdir() if not p.name.startswith("series-")] == []


def test_a_run_with_another_model_makes_the_drafts_anew(tmp_path, archive, pack):
    out = tmp_path / "out"

    def run():
        (case,) = batch.run_batch(FakeModels, archive, out)["cases"]
        return case["state"], case.get("because")

    assert run() == ("done", None)
    (record,) = out.rglob("made_with.json")
    kept = json.loads(record.read_text())
    assert (kept["language"], kept["seed"], set(kept["models"])) == ("en", 0, {"report"})
    assert kept["models"]["report"]["version"] == "7" and len(kept["models"]["report"]["weights_sha256"]) == 64
    assert run() == ("stored before", None)
    (pack / "model.safetensors").write_bytes(b"other weights")
    assert run() == ("made anew", "other models: report")
    record.unlink()  # as of a version that kept none
    assert run() == ("made anew", "it is not known what it was made with")
    record.write_text("{")
    assert run()[0] == "made anew" and run()[0] == "stored before"


def test_drafts_that_cannot_be_made_anew_stay_and_are_told_of(tmp_path, archive):
    models, out = FakeModels(), tmp_path / "out"
    batch.run_batch(lambda: models, archive, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def stopped(message):
        raise CancelledError("Stopped.")

    models.on_step = stopped
    with pytest.raises(CancelledError):
        batch.run_batch(lambda: models, archive, out, language="pl")
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    made = batch.run_batch(lambda: FakeModels(in_scope=False), archive, out, language="pl")
    (case,) = made["cases"]
    assert (case["state"], made["n_refused"]) == ("refused", 1)
    assert case["error"].endswith(f"What lies in {case['folder']} is of an earlier run (language was en, now pl).")
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_drafts_stay_where_the_new_ones_cannot_take_their_place(tmp_path, archive, monkeypatch):
    out = tmp_path / "out"
    batch.run_batch(FakeModels, archive, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    replace, moved = batch.os.replace, []

    def second_fails(source, target):
        moved.append(source)
        if len(moved) == 2:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(batch.os, "replace", second_fails)
    with pytest.raises(OSError, match="Input/output"):
        batch.run_batch(FakeModels, archive, out, language="pl")
    assert len(moved) == 3
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_the_plan_stands_on_the_structures_that_lie_with_the_ct(tmp_path, archive, phantom):
    """It knew the models' structures alone, predicted no dose and did not say why."""

    def plan_of(out):
        (case,) = [c for c in batch.run_batch(FakeModels, archive, out)["cases"] if c["state"] == "done"]
        text = (out / case["folder"] / "plan.txt").read_text(encoding="utf-8")
        return json.loads((out / case["folder"] / "plan.json").read_text(encoding="utf-8")), text

    alone, text = plan_of(tmp_path / "alone")
    assert alone["made_from"]["structures"] == ["Parotid_L", "SpinalCord"]
    assert alone["dose_used"].startswith("no dose: There is no target")
    assert text.endswith(f"\n({alone['dose_used']})\n")
    masks = {name: np.zeros(phantom.shape, bool) for name in ("PTV_7000", "GTVp", "SpinalCord")}
    masks["PTV_7000"][2:5, 6:12, 8:14] = masks["GTVp"][3:5, 7:10, 9:12] = masks["SpinalCord"][:, 10:12, 11:13] = True
    write_rtstruct(masks, phantom, archive / "rs.dcm", label="by hand", clinic=tuple(masks))
    beside, text = plan_of(tmp_path / "beside")
    assert set(beside["made_from"]["structures"]) >= set(masks)
    assert beside["dose_used"] == "Predicted dose (AI draft)" and "no dose:" not in text
    assert beside["made_from"]["dose_basis"]["guessed_targets"] is False
    assert beside["made_from"]["dose_metrics"]["PTV_7000"]
    assert "on the clinic's contour GTVp" in text
