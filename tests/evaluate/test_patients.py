"""A patient that was trained on is refused by the image, whatever the folder is called; what is not known is said."""

from __future__ import annotations

import gzip
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from imaging.dose_phantom import write_dose_case
from train.cases import write_case, write_image

from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.evaluate import cli
from hnvlm.evaluate.common import MEASURED, refresh_card
from hnvlm.evaluate.patients import RECORD, Trained, check, content_of, read_trained, write_trained
from hnvlm.train import cli as train_cli
from hnvlm.train.data import patients_of_run


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Two patients with a CT, and one with a dose alone."""
    root = tmp_path_factory.mktemp("cases")
    write_case(root / "pt_201")
    write_case(root / "pt_202", mirrored=True)
    write_dose_case(root / "pt_7", ct=False)
    return root


@pytest.fixture
def clinic(cases, tmp_path):
    for name in ("pt_201", "pt_202"):
        shutil.copytree(cases / name, tmp_path / "clinic" / name)
    return tmp_path / "clinic"


@pytest.fixture
def pack(tmp_path):
    for model in ("segmenter", "dose"):
        (tmp_path / "models" / model).mkdir(parents=True)
    return tmp_path / "models"


def folders(root):
    return sorted(root.iterdir())


# ---- the hash -------------------------------------------------------------------------------------------------------
def test_an_image_is_known_under_another_name_and_compression(cases, tmp_path):
    shutil.copytree(cases / "pt_201", tmp_path / "renamed")
    path = tmp_path / "renamed" / "ct.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert path.read_bytes() != (cases / "pt_201" / "ct.nii.gz").read_bytes()
    (tmp_path / "renamed" / "Larynx.nii.gz").unlink()  # other contours are the same patient
    assert content_of(tmp_path / "renamed") == content_of(cases / "pt_201") != content_of(cases / "pt_202")
    assert len(content_of(cases / "pt_7")) == 32  # of the dose


def test_one_voxel_makes_another_image(cases, tmp_path):
    ct, _ = write_case(tmp_path / "a")
    assert content_of(tmp_path / "a") == content_of(cases / "pt_201")
    array = ct.array.copy()
    array[3, 5, 8] += 1
    write_image(tmp_path / "a" / "ct.nii.gz", ct, array)
    assert content_of(tmp_path / "a") != content_of(cases / "pt_201")


# ---- the check ------------------------------------------------------------------------------------------------------
def test_a_patient_that_was_trained_on_is_refused_by_name_and_model(cases, clinic, pack):
    write_trained(pack / "dose" / RECORD, Trained(frozenset({content_of(cases / "pt_202"), "of another"}), True))
    assert check(pack, ("segmenter",), clinic, folders(clinic))["n"] == 2
    with pytest.raises(InputRefusedError, match=r"the dose was trained on pt_202\. Take them out"):
        check(pack, ("segmenter", "dose"), clinic, folders(clinic))


def test_a_patient_of_the_training_folder_beside_is_refused(cases, clinic, pack):
    shutil.copytree(cases / "pt_201", clinic.parent / "train" / "pt_99")
    with pytest.raises(InputRefusedError, match="training folder beside them has the image of pt_201"):
        check(pack, ("segmenter",), clinic, folders(clinic))


def test_a_damaged_training_patient_does_not_stop_the_measuring_of_others(clinic, pack, capsys):
    (clinic.parent / "train" / "pt_99").mkdir(parents=True)
    (clinic.parent / "train" / "pt_99" / "ct.nii.gz").write_bytes(b"no image")
    assert check(pack, ("segmenter",), clinic, folders(clinic))["n"] == 2
    assert "pt_99" in capsys.readouterr().err


def test_what_is_not_known_is_said(clinic, pack, capsys):
    write_trained(pack / "dose" / RECORD, Trained(frozenset({"of another"}), False))
    told = check(pack, ("segmenter", "dose", "text"), clinic, folders(clinic))
    assert (told["trained_on_known_for"], told["not_known_for"]) == ([], ["segmenter", "dose"])
    assert "recorded whom segmenter, dose learned from" in capsys.readouterr().err
    write_trained(pack / "dose" / RECORD, Trained(frozenset({"of another"}), True))
    assert check(pack, ("dose",), clinic, folders(clinic))["trained_on_known_for"] == ["dose"]


def test_one_image_twice_and_a_name_of_those_kept_aside_are_marked(cases, clinic, pack):
    shutil.copytree(cases / "pt_201", clinic / "pt_300")
    (pack / "segmenter" / "config.json").write_text(json.dumps({"held_out": ["pt_40", "pt_202"]}))
    told = check(pack, ("segmenter",), clinic, folders(clinic))
    assert told["same_image"] == ["pt_201 = pt_300"]
    assert told["named_as_kept_aside"] == ["pt_202"]
    assert "same_image" not in check(pack, ("dose",), clinic, folders(clinic)[:2])


def test_two_results_of_the_same_patients_say_so(cases, clinic, pack):
    both = check(pack, ("dose",), clinic, folders(clinic))["content"]
    assert check(pack, ("segmenter",), clinic, folders(clinic)[::-1])["content"] == both
    assert check(pack, ("dose",), clinic, folders(clinic)[:1])["content"] != both


def test_a_damaged_record_is_named(pack, clinic):
    (pack / "dose" / RECORD).write_text('{"content": 3, "complete": true}')
    with pytest.raises(ModelPackError, match=r"dose.patients\.json is damaged"):
        check(pack, ("dose",), clinic, folders(clinic))


# ---- the command ----------------------------------------------------------------------------------------------------
@pytest.fixture
def command(pack, monkeypatch):
    """``hnvlm evaluate counterfactual`` whose every result is 1.0, for diffusion and text."""
    for model in ("diffusion", "text"):
        (pack / model).mkdir()
        (pack / model / "README.md").write_text(f"Words of a person.\n\n{MEASURED}\n")
    measured = {"metrics": {"x": 1.0}, "n_cases": 2, "model": "diffusion"}
    measured["parts"] = {"text": {"metrics": {"y": 1.0}, "n_cases": 600}}
    calls = []

    def run(pack, data, limit):
        calls.append(data)
        return {**measured, "parts": dict(measured["parts"])}

    monkeypatch.setattr(cli, "load", lambda: SimpleNamespace(folder=pack))
    monkeypatch.setattr(cli, "missing_models", lambda folder: [])
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: SimpleNamespace(run=run))
    return calls


def test_how_far_it_was_checked_is_recorded_and_on_the_card(command, pack, clinic):
    write_trained(pack / "diffusion" / RECORD, Trained(frozenset({"of another"}), True))
    result = cli.evaluate("counterfactual", clinic)
    assert result["patients"]["trained_on_known_for"] == ["diffusion"]
    held = json.loads((pack / "diffusion" / "metrics.json").read_text())["counterfactual on clinic"]
    assert held["patients"] == result["patients"]
    card = (pack / "diffusion" / "README.md").read_text()
    assert "None of these patients was trained on, by image: diffusion." in card
    assert "Not recorded whom they were trained on: segmenter, clip, judge." in card
    assert "| x | 1.0 |" in card
    assert "patients was trained" not in (pack / "text" / "README.md").read_text()  # it reads sentences


def test_nothing_is_measured_before_the_patients_are_checked(command, pack, clinic, cases):
    write_trained(pack / "judge" / RECORD, Trained(frozenset({content_of(cases / "pt_201")}), True))
    with pytest.raises(InputRefusedError, match="the judge was trained on pt_201"):
        cli.evaluate("counterfactual", clinic)
    clinic.rename(clinic.with_name("train"))
    with pytest.raises(InputRefusedError, match="is a training folder"):
        cli.evaluate("counterfactual", clinic.with_name("train"))
    assert command == []


def test_a_card_of_numbers_from_before_says_nothing_of_whom(tmp_path):
    (tmp_path / "README.md").write_text(MEASURED)
    old = {"value": 0.9, "n": 9, "low": 0.8, "high": 0.95}
    refresh_card(tmp_path, {"dose": {"command": "c", "n_cases": 9, "metrics": {"dose_score": 2.77, "seen": old}}})
    lines = (tmp_path / "README.md").read_text().rstrip().splitlines()
    assert lines[-6:-2] == ["`c` (9 cases)", "", "| measure | value |", "|---|---|"]
    assert lines[-2:] == ["| dose_score | 2.77 |", "| seen | 0.9 (95 % 0.8-0.95, n 9) |"]
    new = {"value": 0.9, "n": 27, "low": 0.7, "high": 0.97, "patients": 9}
    none = {"value": None, "n": 3}
    refresh_card(tmp_path, {"dose": {"command": "c", "n_cases": 9, "metrics": {"seen": new, "f1": none}}})
    card = (tmp_path / "README.md").read_text()
    assert "| seen | 0.9 (95 % 0.7-0.97, n 27 in 9 patients) |" in card
    assert "| f1 | not measured (n 3) |" in card


# ---- what a trainer keeps -------------------------------------------------------------------------------------------
@pytest.fixture
def data(cases, tmp_path):
    shutil.copytree(cases / "pt_201", tmp_path / "data" / "train" / "a")
    shutil.copytree(cases / "pt_7", tmp_path / "data" / "without_ct" / "train" / "b")
    shutil.copytree(cases / "pt_202", tmp_path / "data" / "validation" / "c")
    return tmp_path / "data"


def test_a_run_notes_whom_a_trainer_may_read_and_not_the_validation(cases, data, pack, tmp_path):
    note = tmp_path / "runs" / "dose-patients.json"
    seen = patients_of_run(data, note, pack / "dose")
    assert seen == Trained(frozenset({content_of(cases / "pt_201"), content_of(cases / "pt_7")}), True)
    assert read_trained(note) == seen
    assert [p.name for p in note.parent.iterdir()] == ["dose-patients.json"]
    assert patients_of_run(tmp_path / "nowhere", note, pack / "dose") is None
    shutil.rmtree(data / "train")
    alone = patients_of_run(data / "validation", note, pack / "dose")  # a folder of patients; the trainer refuses it
    assert alone == Trained(frozenset({content_of(cases / "pt_202")}), True)


def test_no_patient_can_be_told_from_what_is_kept(data, pack, tmp_path):
    (data / "train" / "a").rename(data / "train" / "Kowalski_MRN4711")
    note = tmp_path / "note.json"
    patients_of_run(data, note, pack / "dose")
    assert "Kowalski" not in note.read_text()


def test_weights_that_are_gone_on_from_bring_their_patients(data, pack, tmp_path):
    note = tmp_path / "runs" / "dose-patients.json"
    own = patients_of_run(data, note, pack / "dose")
    assert patients_of_run(data, note, pack / "dose", from_pack=True) == Trained(own.content, False)  # none recorded
    write_trained(pack / "dose" / RECORD, Trained(frozenset({"earlier"}), True))
    joined = Trained(own.content | {"earlier"}, True)
    assert patients_of_run(data, note, pack / "dose", from_pack=True) == joined
    write_trained(pack / "dose" / RECORD, Trained(frozenset({"earlier"}), False))
    assert not patients_of_run(data, note, pack / "dose", from_pack=True).complete


def test_a_run_that_is_resumed_keeps_whom_it_saw_before(cases, data, pack, tmp_path):
    note = tmp_path / "runs" / "dose-patients.json"
    assert patients_of_run(data, note, pack / "dose", resume=True).complete  # nothing to resume
    shutil.rmtree(data / "train" / "a")
    shutil.copytree(cases / "pt_202", data / "train" / "c")
    resumed = patients_of_run(data, note, pack / "dose", resume=True)
    assert resumed.content == {content_of(cases / name) for name in ("pt_201", "pt_202", "pt_7")}
    note.unlink()
    (note.parent / "dose.pt").write_bytes(b"")  # a checkpoint from before notes were taken
    assert not patients_of_run(data, note, pack / "dose", resume=True).complete
    assert np.all([len(c) == 32 for c in resumed.content])


def test_a_trained_model_is_not_measured_on_whom_it_learned_from(cases, data, pack, tmp_path, monkeypatch):
    def run(data, out, work, *, resume):
        (out / "model.safetensors").write_bytes(b"new")
        return {"checkpoint": str(out), "metrics": {}}

    monkeypatch.setattr(train_cli, "trainer", lambda name: run)
    train_cli.train("segmenter", data, out=pack, work=tmp_path / "runs")
    assert read_trained(pack / "segmenter" / RECORD).content == {content_of(cases / n) for n in ("pt_201", "pt_7")}
    shutil.copytree(cases / "pt_201", tmp_path / "elsewhere" / "pt_1")
    with pytest.raises(InputRefusedError, match="the segmenter was trained on pt_1"):
        check(pack, ("segmenter",), tmp_path / "elsewhere", folders(tmp_path / "elsewhere"))


@pytest.mark.parametrize("recorded", [True, False])
def test_the_encoder_saw_whom_the_segmenter_in_it_saw(cases, data, pack, tmp_path, monkeypatch, recorded):
    """Once the segmenter was trained anew without a patient, the encoder made of the old one was measured on it."""

    def run(data, out, work, *, resume):
        out.mkdir(exist_ok=True)
        (out / "model.safetensors").write_bytes(b"new")
        return {"checkpoint": str(out), "metrics": {}}

    monkeypatch.setattr(train_cli, "trainer", lambda name: run)
    if recorded:
        write_trained(pack / "segmenter" / RECORD, Trained(frozenset({"of the segmenter"}), True))
    train_cli.train("clip", data, out=pack, work=tmp_path / "runs")
    own = {content_of(cases / n) for n in ("pt_201", "pt_7")}
    assert read_trained(pack / "clip" / RECORD) == Trained(
        frozenset(own | ({"of the segmenter"} if recorded else set())), recorded
    )


def test_a_hospitals_validation_stands_beside_that_of_the_card(command, pack, clinic, cases, tmp_path):
    """Figures of any folder called "validation" replaced the card's, under its words "OpenKBP validation"."""
    for data, patient in (("public", "pt_201"), ("hospital", "pt_202")):
        shutil.copytree(cases / patient, tmp_path / data / "validation" / "p")
    for data in ("public", "hospital", "public", "hospital"):
        cli.evaluate("counterfactual", tmp_path / data)
    held = json.loads((pack / "diffusion" / "metrics.json").read_text())
    assert list(held) == ["counterfactual", "counterfactual on hospital"]
    assert held["counterfactual"]["command"].endswith("--data DATA")
    assert held["counterfactual on hospital"]["command"] == "hnvlm evaluate counterfactual --data hospital"
    assert held["counterfactual"]["patients"]["content"] != held["counterfactual on hospital"]["patients"]["content"]
    assert list(json.loads((pack / "text" / "metrics.json").read_text())) == list(held)
