"""A model folder is read whole or not at all."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hnvlm.errors import ModelPackError
from hnvlm.models.checkpoint import load_weights, read_config, save_model, weights_sha256
from hnvlm.models.registry import PACK, missing_models, model_cards


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "toy", network(), {"version": "3", "widths": [1, 2]})
    return tmp_path / "toy"


def change(folder, edit) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(str(path))
    edit(tensors)
    save_file(tensors, str(path))
    config = read_config(folder) | {"weights_sha256": weights_sha256(folder)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_round_trip_in_half_precision(folder):
    stored = load_file(str(folder / "model.safetensors"))
    assert stored["0.weight"].dtype == torch.float16
    assert stored["1.num_batches_tracked"].dtype == torch.int64  # a counter is not rounded
    source = network()
    loaded = load_weights(folder, network().train())
    assert not loaded.training
    assert loaded[0].weight.dtype == torch.float32
    assert torch.equal(loaded[0].weight, source[0].weight.half().float())
    assert read_config(folder) == {"version": "3", "widths": [1, 2], "weights_sha256": weights_sha256(folder)}
    assert weights_sha256(folder) == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_weights_that_the_config_does_not_name_are_refused(folder):
    """A disk that turned 4,000 bytes to zeros gave another report, and nobody was told."""
    path = folder / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-8:] = bytes(8)
    path.write_bytes(bytes(damaged))
    load_file(str(path))  # to its own reader it is a good file
    with pytest.raises(ModelPackError, match=r"damaged, or was replaced without its config\.json"):
        load_weights(folder, network())
    (folder / "config.json").write_text('{"version": "3"}', encoding="utf-8")
    assert not load_weights(folder, network()).training, "a pack of before names none"


@pytest.mark.parametrize("config", [{"not": {"json"}}, {"version": "4"}])
def test_what_cannot_be_written_leaves_the_old_model_whole(folder, config, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    if config == {"version": "4"}:  # the disk fills up while the weights are written

        def full(tensors, path):
            (folder / "model.safetensors.part").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("hnvlm.models.checkpoint.save_file", full)
    with pytest.raises((TypeError, OSError)):
        save_model(folder, network(), config)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.pop("0.bias"), "missing.*0.bias"),
        (lambda t: t.update(extra=torch.zeros(2)), "unexpected.*extra"),
        (lambda t: t.update({"0.weight": torch.zeros(4, 2)}), "other shape.*0.weight"),
    ],
)
def test_a_tensor_too_few_too_many_or_of_another_shape(folder, edit, words):
    change(folder, edit)
    target = network()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(ModelPackError, match=words) as error:
        load_weights(folder, target)
    assert "model.safetensors" in str(error.value)
    assert "release" in str(error.value)  # says what to do
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", b"not tensors at all", b"\xff" * 64])
def test_damaged_or_missing_weights(folder, content):
    path = folder / "model.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelPackError, match=r"model\.safetensors cannot be read"):
        load_weights(folder, network())


@pytest.mark.parametrize("content", [None, "", "{", "\x00"])
def test_damaged_or_missing_config(folder, content):
    path = folder / "config.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelPackError, match=r"no readable config\.json"):
        read_config(folder)


def test_cards_name_what_is_there_and_what_is_missing(tmp_path):
    assert missing_models(tmp_path) == list(PACK)
    assert model_cards(tmp_path) == []
    save_model(tmp_path / "text", network(), {"version": "2"})
    (tmp_path / "text" / "metrics.json").write_text(json.dumps({"held": {"n_cases": 4}}))
    (tmp_path / "text" / "README.md").write_text("# Card\n")
    (card,) = model_cards(tmp_path)
    assert (card["name"], card["version"], card["readme"]) == ("text", "2", "# Card\n")
    assert card["metrics"]["held"]["n_cases"] == 4
    assert "text" not in missing_models(tmp_path)
    (tmp_path / "text" / "metrics.json").write_text("{")
    assert model_cards(tmp_path)[0]["metrics"] == {}
