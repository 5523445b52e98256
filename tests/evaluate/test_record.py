"""What is written down of an evaluation: under which name, in whole files, and only of the weights that are there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hnvlm.evaluate import cli
from hnvlm.evaluate.common import MEASURED, write_metrics
from hnvlm.train import cli as train_cli


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """A pack with a segmenter whose every evaluation says 1.0."""
    folder = tmp_path / "models"
    (folder / "segmenter").mkdir(parents=True)
    monkeypatch.setattr(cli, "load", lambda: SimpleNamespace(folder=folder))
    monkeypatch.setattr(cli, "missing_models", lambda folder: [])
    measured = {"metrics": {"mean_dice_core": 1.0}, "n_cases": 2, "model": "segmenter"}
    module = SimpleNamespace(run=lambda pack, data, limit: dict(measured))
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    return folder


def test_numbers_of_other_patients_stand_beside_those_of_the_card(pack, tmp_path):
    """Measuring a hospital's patients replaced the model card's numbers and named the same data."""
    data = tmp_path / "data"
    (data / "validation").mkdir(parents=True)
    for folder in (data, data / "validation", tmp_path / "clinic"):
        cli.evaluate("segmentation", folder)
    written = json.loads((pack / "segmenter" / "metrics.json").read_text())
    assert {name: w["command"] for name, w in written.items()} == {
        "segmentation": "hnvlm evaluate segmentation --data DATA",
        "segmentation on clinic": "hnvlm evaluate segmentation --data clinic",
    }
    assert cli.named("generation", tmp_path)[0] == "generation"


def test_what_was_measured_is_not_lost_with_the_place_to_write_it(pack, tmp_path, capsys):
    (pack / "segmenter").rmdir()
    result = cli.evaluate("segmentation", tmp_path)
    assert result["metrics"]["mean_dice_core"] == 1.0
    assert "metrics.json" in result["not_recorded"]
    assert "not written down" in capsys.readouterr().err


def test_a_damaged_record_begins_anew_and_nothing_that_is_no_number_is_written(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "metrics.json").write_text('{"zeroshot": {"comm')
    result = {"n_cases": 1, "metrics": {"mean_auroc": float("nan"), "per_label": {"x": {"auroc": np.float64("nan")}}}}
    write_metrics(SimpleNamespace(folder=tmp_path), "clip", "zeroshot", "c", result)
    written = json.loads((folder / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["zeroshot"]["metrics"] == {"mean_auroc": None, "per_label": {"x": {"auroc": None}}}


def test_a_full_disk_leaves_the_record_as_it_was(tmp_path, monkeypatch):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "metrics.json").write_text('{"retrieval": {"command": "c", "n_cases": 1, "metrics": {}}}')
    before = (folder / "metrics.json").read_text()

    def full(path, text, **options):
        open(path, "w").close()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_metrics(SimpleNamespace(folder=tmp_path), "clip", "zeroshot", "c", {"n_cases": 1, "metrics": {}})
    assert (folder / "metrics.json").read_text() == before
    assert [p.name for p in folder.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("changes", [True, False])
def test_numbers_of_earlier_weights_go_with_them(tmp_path, monkeypatch, changes):
    """After a training the card went on showing what had been measured of the weights before."""
    folder = tmp_path / "pack" / "segmenter"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"old")
    (folder / "metrics.json").write_text('{"segmentation": {}}')
    (folder / "README.md").write_text(f"Words of a person.\n\n{MEASURED}\n\nDice 0.99\n")

    def run(data, out, work, *, resume):
        (out / "model.safetensors").write_bytes(b"new" if changes else b"old")
        return {"checkpoint": str(out), "metrics": {}}

    monkeypatch.setattr(train_cli, "trainer", lambda name: run)
    train_cli.train("segmenter", tmp_path, out=tmp_path / "pack", work=tmp_path)
    card = (folder / "README.md").read_text()
    assert card.startswith("Words of a person.")
    assert (folder / "metrics.json").exists() is not changes
    assert ("Dice 0.99" in card) is not changes
    assert ("not been measured yet" in card) is changes
