"""The mean of two models, by hand, and what has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from hnvlm.cli import app
from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.models.checkpoint import weights_sha256
from hnvlm.train.average import average


def model(folder: Path, weight: list[float], threshold: float, steps: int, name: str = "cord") -> Path:
    folder.mkdir()
    tensors = {"a.weight": torch.tensor(weight, dtype=torch.float16), "a.count": torch.tensor([steps])}
    save_file(tensors, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps({"steps": steps, "thresholds": {name: threshold}}))
    return folder


def test_weights_and_thresholds_by_hand(tmp_path):
    first = model(tmp_path / "first", [1.0, -2.0, 0.5], 0.5, 10)
    second = model(tmp_path / "second", [2.0, 4.0, 0.5], 0.25, 30)
    told = average(first, second, tmp_path / "new" / "mean", 0.75)
    assert told["tensors"] == 2
    made = load_file(str(tmp_path / "new" / "mean" / "model.safetensors"))
    assert made["a.weight"].dtype == torch.float16
    assert made["a.weight"].tolist() == [1.75, 2.5, 0.5]
    assert made["a.count"].tolist() == [30]  # a counter has no mean
    config = json.loads((tmp_path / "new" / "mean" / "config.json").read_text())
    mean = weights_sha256(tmp_path / "new" / "mean")
    assert config == {"steps": 30, "thresholds": {"cord": 0.312}, "weights_sha256": mean}
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["mean"]


@pytest.mark.parametrize(("share", "want"), [(0.0, [1.0, -2.0]), (1.0, [2.0, 4.0])])
def test_the_ends_are_the_models_themselves(tmp_path, share, want):
    first, second = model(tmp_path / "a", [1.0, -2.0], 0.5, 1), model(tmp_path / "b", [2.0, 4.0], 0.3, 1)
    average(first, second, tmp_path / "c", share)
    assert load_file(str(tmp_path / "c" / "model.safetensors"))["a.weight"].tolist() == want


def test_what_has_no_mean_is_refused_and_nothing_is_written(tmp_path):
    first = model(tmp_path / "a", [1.0, -2.0], 0.5, 1)
    for number, other in enumerate(
        (model(tmp_path / "b", [1.0, 2.0, 3.0], 0.5, 1), model(tmp_path / "d", [1.0, 2.0], 0.5, 1, "larynx"))
    ):
        with pytest.raises(InputRefusedError, match="not of one network"):
            average(first, other, tmp_path / f"out{number}", 0.5)
    with pytest.raises(ModelPackError):
        average(first, tmp_path / "none", tmp_path / "out", 0.5)
    (tmp_path / "b" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputRefusedError, match="cannot be read"):
        average(first, tmp_path / "b", tmp_path / "out", 0.5)
    with pytest.raises(InputRefusedError, match="already"):
        average(first, first, tmp_path / "d", 0.5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "d"]


def test_the_command(tmp_path):
    first, second = model(tmp_path / "a", [1.0, -2.0], 0.5, 1), model(tmp_path / "b", [2.0, 4.0], 0.3, 1)
    command = ["average", str(first), str(second), "--share", "0.5", "--out", str(tmp_path / "c"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["tensors"] == 2
    assert CliRunner().invoke(app, [*command[:4], "1.5", *command[5:]]).exit_code == 2
