"""What the folder of a model with a lesion network tells of the patients it was trained on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hnvlm.models.checkpoint import read_config
from hnvlm.train import clip, judge
from hnvlm.train.aside import kept_aside

PATIENTS = 9


@pytest.fixture
def banks(monkeypatch):
    """Patients of whom two are kept aside; nothing is trained."""
    found = [
        SimpleNamespace(lesions=[], own=None, patient=SimpleNamespace(patient_id=f"p{k}")) for k in range(PATIENTS)
    ]
    for module in (clip, judge):
        monkeypatch.setattr(module, "training_folders", lambda data: [])
        monkeypatch.setattr(module, "load_bank", lambda *args, **options: found)
    aside = len(kept_aside(found)[1])
    assert aside == 2
    return found


def test_the_judge_does_not_count_those_kept_aside_as_trained_on(banks, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "train_lesion_net", lambda network, *args, **options: (network, 7))
    monkeypatch.setattr(judge, "detector_metrics", lambda network, banks: {"auroc": 0.9})
    judge.train(tmp_path, tmp_path / "judge", tmp_path, steps=7, threads=1, device="cpu")
    config = read_config(tmp_path / "judge")
    assert (config["train_patients"], config["steps"]) == (PATIENTS - 2, 7)
    assert config["kept_aside_patients"] == ["p7", "p8"]


def test_clip_tells_apart_whom_its_two_parts_were_trained_on(banks, tmp_path, monkeypatch):
    """The sentences are aligned with the CTs of those kept aside, too."""
    asked = []

    def pool(encoder, banks, *args, **options):
        asked.append(len(banks))
        return []

    class Network(nn.Module):
        def __init__(self, *args):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1))

    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "model.safetensors").write_bytes(b"")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text('{"name": "encoder", "steps": 5, "threshold": 0.4}')
    monkeypatch.setattr(clip, "load_weights", lambda folder, network: network)
    encoder = nn.Identity()
    encoder.token_width = 4
    monkeypatch.setattr(clip, "train_encoder", lambda *args, **options: encoder)
    monkeypatch.setattr(clip, "pool_folder", lambda *args: tmp_path)
    monkeypatch.setattr(clip, "build_pool", pool)
    monkeypatch.setattr(clip, "train_alignment", lambda *args, **options: nn.Identity())
    monkeypatch.setattr(clip, "ClipNetwork", Network)
    told = clip.train(tmp_path, tmp_path / "clip", tmp_path, threads=1, device="cpu")
    config = read_config(tmp_path / "clip")
    assert config["train_patients"] == told["metrics"]["train_patients"] == PATIENTS - 2
    assert [config["align_patients"]] == asked == [PATIENTS]
    assert config["kept_aside"] == {"threshold": 0.4} and config["kept_aside_patients"] == ["p7", "p8"]
