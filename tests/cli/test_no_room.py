"""Disks that are full and places where nothing may be written: told before the work or in words, nothing half done."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors import SafetensorError

from hnvlm.errors import HnvlmError
from hnvlm.imaging import write
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whole import whole_file
from hnvlm.imaging.write import require_whole, write_nifti
from hnvlm.train import cli as training
from hnvlm.train.loop import LoopOptions, train_loop


def test_a_place_that_cannot_be_written_is_told_before_the_training(run, tmp_path):
    """After hours of training the weights met a file where their folder should be, and were a fault of the program."""
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("")
    for option in ("--out", "--work"):
        asked = ("train", "dose", "--data", tmp_path / "data", option, tmp_path / "file" / "x", "--json")
        message = run(*asked).refused("output")
        assert str(tmp_path / "file") in message and "is a file" in message


@pytest.mark.parametrize(("name", "packed"), [("ct.nii.gz", gzip.compress), ("ct.nii", bytes)])
def test_a_nifti_cut_short_by_a_full_disk_is_no_patient(tmp_path, name, packed):
    whole = tmp_path / name
    whole.write_bytes(packed(bytes(352 + 24)))
    require_whole(whole, 24)
    for broken in (packed(bytes(352 + 23)), whole.read_bytes()[:20], b""):
        whole.write_bytes(broken)
        with pytest.raises(HnvlmError, match="Is the disk full"):
            require_whole(whole, 24)


def test_an_import_on_a_full_disk_leaves_nothing(run, nifti, tmp_path, monkeypatch):
    """The library that writes NIfTI only prints that a disk is full; the import said that all was well."""
    real = write.sitk.WriteImage

    def cut(image, path, useCompression):
        real(image, path, useCompression=useCompression)
        Path(path).write_bytes(Path(path).read_bytes()[:100])

    monkeypatch.setattr(write.sitk, "WriteImage", cut)
    assert "Is the disk full" in run("import-case", nifti, tmp_path / "own" / "a1", "--json").refused("output")
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data/1"),
    ],
)
def test_a_full_disk_is_told_in_words_and_how_to_go_on(tmp_path, monkeypatch, error):
    def fails(data, out, work, *, resume=False):
        raise error

    monkeypatch.setattr(training, "trainer", lambda name: fails)
    with pytest.raises(HnvlmError, match=r"no room left.*--resume") as told:
        training.train("dose", tmp_path, out=tmp_path / "pack", work=tmp_path / "work")
    assert told.value.code == "output"


def test_other_faults_stay_faults(tmp_path, monkeypatch):
    def fails(data, out, work, *, resume=False):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(training, "trainer", lambda name: fails)
    with pytest.raises(RuntimeError, match="shapes differ"):
        training.train("dose", tmp_path, out=tmp_path / "pack", work=tmp_path / "work")


def test_a_model_that_cannot_be_kept_is_not_trained_over(tmp_path, monkeypatch):
    (tmp_path / "pack" / "dose").mkdir(parents=True)

    def no_room(source, target):
        (target).mkdir(parents=True)
        raise training.shutil.Error([("a", "b", "[Errno 28] No space left on device")])

    monkeypatch.setattr(training.shutil, "copytree", no_room)
    with pytest.raises(HnvlmError, match="nothing was trained"):
        training._copied(tmp_path / "pack" / "dose", tmp_path / "replaced" / "dose-1")
    assert list((tmp_path / "replaced").iterdir()) == []


def test_half_a_checkpoint_does_not_keep_the_disk_full(tmp_path, monkeypatch):
    def cut(states, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/1")

    network = torch.nn.Linear(2, 3)
    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(RuntimeError, match="failed writing"):
        train_loop(
            network, lambda step: (network(torch.ones(2)).sum(), {}), LoopOptions(1), tmp_path / "x.pt", resume=False
        )
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_written_whole_has_no_name_and_the_file_of_before_stays(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "dose.dcm"
    with whole_file(out) as partial:
        partial.write_bytes(b"first")
        assert not out.exists() and partial.name.endswith("dose.dcm")
    with pytest.raises(OSError, match="No space"), whole_file(out) as partial:
        partial.write_bytes(b"half of the sec")
        raise OSError(28, "No space left on device")
    assert out.read_bytes() == b"first"
    assert [p.name for p in out.parent.iterdir()] == ["dose.dcm"]


@pytest.mark.parametrize("size", ["cut", "whole"])
def test_a_cut_nifti_never_has_its_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    plain = sitk.WriteImage

    def cut(image, name, **options) -> None:
        plain(image, name, **options)
        if size == "cut":
            Path(name).write_bytes(Path(name).read_bytes()[:380])

    monkeypatch.setattr(sitk, "WriteImage", cut)
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), (3.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    out = tmp_path / "ct.nii"
    if size == "whole":
        assert write_nifti(volume, out).stat().st_size == 352 + 48
        return
    with pytest.raises(HnvlmError, match=r"/ct\.nii could not be written whole"):
        write_nifti(volume, out)
    assert list(tmp_path.iterdir()) == []
