"""Who is kept aside stays so, whoever comes in: thresholds and scores are of patients that were never learned from."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from train.cases import bank_patient

from hnvlm.config import settings
from hnvlm.evaluate.patients import RECORD, Trained, content_of, write_trained
from hnvlm.imaging.lesions import LesionSpec
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti
from hnvlm.models.checkpoint import read_config
from hnvlm.models.lesion_net import LesionNet
from hnvlm.train import dose, judge, lesions, segmenter, tumour
from hnvlm.train.aside import aside_last, kept_aside, names_aside, of_few, set_aside

SHIPPED = settings().models_dir


def patients(root, names):
    """Folders with a tiny CT of its own each."""
    for name in names:
        if not (root / name).exists():
            value = sum(map(ord, name))
            write_nifti(Volume(np.full((2, 3, 4), value, np.int16), (3.0, 1.0, 1.0)), root / name / "ct.nii.gz")
    return sorted(root / name for name in names)


def pack(folder, *, seen=(), complete=True, **config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_trained(folder / RECORD, Trained(frozenset(content_of(f) for f in seen), complete))
    return folder


def banks_of(folders):
    return [SimpleNamespace(patient=SimpleNamespace(patient_id=f.name)) for f in folders]


def test_a_patient_more_moves_no_one_else(tmp_path):
    """The choice went by places in the list: one patient more, and 8 of 12 had been trained on."""
    folders = [tmp_path / f"p{k:03d}" for k in range(120)]
    before = set_aside(folders, 12)
    assert before == set_aside(folders[::-1], 12) and len(set(before)) == 12
    for new in ("a", "p0505", "z"):
        now = set_aside(sorted([*folders, tmp_path / new]), 12)
        assert {f.name for f in now} <= {f.name for f in before} | {new}
        assert len(set(now) & set(before)) >= 11


def test_going_on_keeps_whom_the_pack_names_and_takes_others_that_it_never_saw(tmp_path, capsys):
    first = patients(tmp_path / "data", [f"p{k}" for k in range(8)])
    held = set_aside(first, 2)
    model = pack(tmp_path / "segmenter", seen=first, held_out=[f.name for f in held])
    more = patients(tmp_path / "data", [*(f.name for f in first), *(f"new{k}" for k in range(6))])
    now = set_aside(more, 4, model)
    assert now[:2] == held and all(f.name.startswith("new") for f in now[2:])
    assert set_aside(more, 1, model) == held[:1] and set_aside(more, 0, model) == []
    assert capsys.readouterr().err == ""


def test_where_trained_on_patients_have_to_be_set_aside_the_log_says_so(tmp_path, capsys):
    folders = patients(tmp_path / "data", [f"p{k}" for k in range(8)])
    held = set_aside(folders, 1)
    model = pack(tmp_path / "dose", seen=folders, held_out=[held[0].name])
    now = set_aside(folders, 3, model)
    assert now == set_aside(folders, 3)
    said = capsys.readouterr().err
    assert f"{now[1].name}, {now[2].name} are kept aside though it may have" in said and "Add patients" in said
    model = pack(tmp_path / "dose", held_out=[held[0].name], complete=False)
    assert set_aside(folders, 3, model) == now
    assert "not (fully) recorded" in capsys.readouterr().err


@pytest.mark.parametrize(("model", "trainer", "hold_out"), [("segmenter", segmenter, 8), ("dose", dose, 6)])
def test_the_shipped_models_keep_aside_whom_they_did(tmp_path, model, trainer, hold_out):
    """Their thresholds and printed scores are of these patients."""
    names = read_config(SHIPPED / model)["held_out"]
    folders = sorted(tmp_path / f"pt_{k}" for k in range(1, 201))
    assert len(names) == hold_out and trainer.set_aside is set_aside
    assert [f.name for f in set_aside(folders, hold_out, SHIPPED / model)] == names


def test_the_shipped_lesion_networks_go_on_with_the_last_of_the_list(tmp_path):
    folders = sorted(tmp_path / f"pt_{k}" for k in range(1, 166))
    banks = banks_of(folders)
    for model in ("clip", "judge", "tumour"):
        assert kept_aside(aside_last(banks, folders, SHIPPED / model))[1] == banks[-12:]
    assert aside_last(banks, folders, None) is banks


def test_lesion_networks_go_on_with_those_their_config_names(tmp_path):
    first = patients(tmp_path / "data", [f"p{k}" for k in range(8)])
    named = names_aside(banks_of(first))
    assert named == ["p6", "p7"]
    model = pack(tmp_path / "judge", seen=first, kept_aside_patients=named)
    # By the list alone p5 would be among four of the last, which the pack learned from.
    more = patients(tmp_path / "data", [*(f.name for f in first), *(f"a{k}" for k in range(8))])
    banks = aside_last(banks_of(more), more, model)
    now = names_aside(banks)
    assert set(named) < set(now) and all(name.startswith("a") for name in set(now) - set(named)) and len(now) == 4
    assert sorted(b.patient.patient_id for b in banks) == sorted(f.name for f in more)


def test_the_judge_goes_on_with_those_it_kept_aside(tmp_path, monkeypatch):
    """Trained anew it names them; going on with more patients it learns from none of them."""
    monkeypatch.setattr(judge, "detector_metrics", lambda network, banks: {"auroc": 0.9})
    learned = []

    def trained(network, banks, *args, **options):
        learned.append({b.patient.patient_id for b in kept_aside(banks)[0]})
        return network, 7

    monkeypatch.setattr(judge, "train_lesion_net", trained)
    monkeypatch.setattr(judge, "begin", lambda network, folder, from_pack: (network, 0))
    out = tmp_path / "judge"
    for names, from_pack in (("abcdefgh", False), ("abcdefghijklmnop", True)):
        folders = patients(tmp_path / "data", names)
        monkeypatch.setattr(judge, "training_folders", lambda data, found=folders: found)
        found = [SimpleNamespace(lesions=[], patient=SimpleNamespace(patient_id=f.name)) for f in folders]
        monkeypatch.setattr(judge, "load_bank", lambda *args, found=found, **options: found)
        judge.train(tmp_path, out, tmp_path, steps=7, threads=1, device="cpu", from_pack=from_pack)
        write_trained(out / RECORD, Trained(frozenset(map(content_of, folders)), True))
    aside_now = set(read_config(out)["kept_aside_patients"])
    assert {"g", "h"} < aside_now and len(aside_now) == 4
    assert not aside_now & learned[0] and not aside_now & learned[1]


def test_the_tumour_detector_begins_with_whom_the_encoder_kept_aside(tmp_path, monkeypatch):
    """Its first weights are the encoder's: whom that learned from, it learned from."""
    folders = patients(tmp_path / "data", "abcdefgh")
    pack(tmp_path / "clip", seen=folders, kept_aside_patients=["b", "e"])
    network = LesionNet((8, 8, 8))
    encoder = SimpleNamespace(lesion_net=network)
    monkeypatch.setattr(tumour, "load_clip", lambda folder: SimpleNamespace(encoder=encoder))
    monkeypatch.setattr(tumour, "training_folders", lambda data: folders)
    found = [replace(bank_patient(), own=np.ones(1)) for _ in folders]
    found = [replace(b, patient=replace(b.patient, patient_id=f.name)) for b, f in zip(found, folders, strict=True)]
    monkeypatch.setattr(tumour, "load_bank", lambda *args, **options: found)
    monkeypatch.setattr(tumour, "usual_place", lambda banks: [0, 0, 0])
    monkeypatch.setattr(tumour, "train_lesion_net", lambda network, *args, **options: (network, 7))
    tumour.train(tmp_path, tmp_path / "tumour", tmp_path, steps=7, threads=1, device="cpu")
    assert read_config(tmp_path / "tumour")["kept_aside_patients"] == ["b", "e"]


def test_few_crops_to_set_a_threshold_on_are_told_of(capsys):
    bank = bank_patient((LesionSpec("node", "II", "left", 18.0),))
    lesions.detector_metrics(LesionNet((8, 8, 8)), [replace(bank) for _ in range(4)])
    said = capsys.readouterr().err
    assert "come from 2 crops" in said and f"Below {lesions.FEW_CROPS} chance decides" in said


def test_of_few_plans_most_are_learned_from():
    """Of a clinic's five plans four were kept aside, and the dose network learned from one, without a word."""
    assert [of_few(6, n) for n in (1, 2, 5, 8, 12, 24, 169)] == [0, 1, 1, 2, 3, 6, 6]
    assert of_few(0, 9) == 0 and of_few(1, 2) == 1
