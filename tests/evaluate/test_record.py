"""What is written down of an evaluation: under which name, in whole files, and only of the weights that are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hnvlm.config import PROJECT_DIR
from hnvlm.errors import CancelledError
from hnvlm.evaluate import cli
from hnvlm.evaluate.common import (
    MEASURED,
    OF_EARLIER_WEIGHTS,
    forget_metrics,
    read_metrics,
    refresh_card,
    write_metrics,
)
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


def test_what_was_counted_is_named_where_it_is_no_patient(tmp_path):
    """The card of the text reader spoke of 600 cases; they are sentences."""
    (tmp_path / "text").mkdir()
    card = tmp_path / "text" / "README.md"
    card.write_text(f"Words of a person.\n\n{MEASURED}\n")
    pack = SimpleNamespace(folder=tmp_path)
    write_metrics(pack, "text", "x", "c", {"n_cases": 600, "counted": "sentences", "metrics": {"side": 1.0}})
    write_metrics(pack, "text", "y", "d", {"n_cases": 9, "metrics": {"side": 1.0}})
    assert "`c` (600 sentences)" in card.read_text() and "`d` (9 cases)" in card.read_text()
    assert json.loads((tmp_path / "text" / "metrics.json").read_text())["x"]["counted"] == "sentences"


def test_the_shipped_card_of_the_text_reader_speaks_of_sentences_and_is_what_would_be_written(tmp_path):
    shipped = PROJECT_DIR / "assets" / "models" / "text"
    card = (shipped / "README.md").read_text(encoding="utf-8")
    assert "patients never trained on" not in card and "(600 sentences)" in card
    shutil.copy(shipped / "README.md", tmp_path)
    refresh_card(tmp_path, read_metrics(shipped / "metrics.json"))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card


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
    made = train_cli.train("segmenter", tmp_path, out=tmp_path / "pack", work=tmp_path)
    assert ("replaced" in made) is changes
    card = (folder / "README.md").read_text()
    assert card.startswith("Words of a person.")
    assert (folder / "metrics.json").exists() is not changes
    assert ("Dice 0.99" in card) is not changes
    assert ("not been measured yet" in card) is changes
    assert card.count(OF_EARLIER_WEIGHTS) == changes, "the words of the card are of the weights before"
    if changes:
        write_metrics(SimpleNamespace(folder=folder.parent), "segmenter", "x", "c", {"n_cases": 1, "metrics": {"y": 2}})
        forget_metrics(folder)
        assert (folder / "README.md").read_text().count(OF_EARLIER_WEIGHTS) == 1


def test_the_model_that_a_training_replaces_is_kept(tmp_path, monkeypatch):
    """Two steps of a first try cost the shipped weights, and nothing led back to them."""
    folder, work = tmp_path / "pack" / "dose", tmp_path / "runs"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"shipped")
    (folder / "metrics.json").write_text("{}")

    def run(data, out, work, *, resume, fails=False):
        if fails:
            raise KeyboardInterrupt
        (out / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes() + b"+")
        return {"checkpoint": str(out), "metrics": {}}

    monkeypatch.setattr(train_cli, "trainer", lambda name: run)
    with pytest.raises(CancelledError, match="with --resume goes on"):
        train_cli.train("dose", tmp_path, out=tmp_path / "pack", work=work, fails=True)
    first, second = (train_cli.train("dose", tmp_path, out=tmp_path / "pack", work=work) for _ in range(2))
    assert (folder / "model.safetensors").read_bytes() == b"shipped++"
    kept = [Path(made["replaced"]) for made in (first, second)]
    assert [(k / "model.safetensors").read_bytes() for k in kept] == [b"shipped", b"shipped+"]
    assert (kept[0] / "metrics.json").exists() and not (kept[1] / "metrics.json").exists()
    assert sorted(p.name for p in (work / "replaced").iterdir()) == sorted(k.name for k in kept)


@pytest.mark.parametrize(
    ("given", "steps"),
    [({}, 7), ({"minutes": 0.5}, 10**9), ({"minutes": 0.5, "steps": 3}, 3), ({"minutes": 0.0}, 7)],
)
def test_minutes_are_not_cut_short_by_a_number_of_steps_that_nobody_gave(tmp_path, monkeypatch, given, steps):
    """ "--minutes 30" ended after the trainer's usual steps, in the middle of its learning rate."""
    asked = []

    def run(data, out, work, *, resume, steps=7, minutes=0.0):
        asked.append(steps)
        return {"checkpoint": str(out), "metrics": {}}

    monkeypatch.setattr(train_cli, "trainer", lambda name: run)
    train_cli.train("judge", tmp_path, out=tmp_path / "pack", work=tmp_path, **given)
    assert asked == [steps]
