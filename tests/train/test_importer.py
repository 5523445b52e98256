"""The public challenge's CSV folders -> case folders: axes, offset, splits, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from hnvlm.errors import InputRefusedError, UnreadableFileError
from hnvlm.train import importer


@pytest.fixture(autouse=True)
def small_grid(monkeypatch):
    """The same arithmetic on 16 x 16 x 16 voxels, so that writing takes no time; one test below is full size."""
    monkeypatch.setattr(importer, "SHAPE", (16, 16, 16))


def write_patient(folder: Path, *, ct: bool = True) -> None:
    """A few voxels whose places after the import are computed by hand below."""
    folder.mkdir(parents=True)
    (folder / "voxel_dimensions.csv").write_text("3.5\n4.5\n2.5\n")
    # challenge index = (y * 16 + x) * 16 + (15 - z), by hand for three voxels (z, y, x)
    at = {(5, 2, 7): (2 * 16 + 7) * 16 + 10, (15, 0, 1): 16, (0, 15, 15): 4095}
    if ct:
        rows = [f"{at[5, 2, 7]},1064.0", f"{at[15, 0, 1]},2024.0"]
        (folder / "ct.csv").write_text(",data\n" + "\n".join(rows) + "\n")
    (folder / "dose.csv").write_text(f",data\n{at[5, 2, 7]},70.25\n")
    (folder / "LeftParotid.csv").write_text(f",data\n{at[5, 2, 7]},\n{at[0, 15, 15]},\n")
    (folder / "possible_dose_mask.csv").write_text(f",data\n{at[5, 2, 7]},\n")
    (folder / "notes.csv").write_text("not,ours\n")


def load(path: Path) -> tuple[np.ndarray, sitk.Image]:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    src = tmp_path / "open-kbp" / "provided-data"
    write_patient(src / "train-pats" / "pt_2")
    write_patient(src / "train-pats" / "pt_10")
    write_patient(src / "valid-pats" / "pt_201")
    write_patient(src / "test-pats" / "pt_241", ct=False)
    return src


def test_axes_offset_and_spacing_by_hand(challenge, tmp_path):
    out = tmp_path / "data"
    result = importer.import_openkbp(challenge, out)
    assert result["n_patients"] == 4
    assert result["splits"] == {"train": 2, "validation": 1, "test": 1}
    ct, image = load(out / "train" / "pt_2" / "ct.nii.gz")
    assert image.GetSpacing() == pytest.approx((4.5, 3.5, 2.5))  # x, y, z
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert ct.dtype == np.int16
    assert ct[5, 2, 7] == 40
    assert ct[15, 0, 1] == 1000
    assert (ct == -1024).sum() == 16**3 - 2
    dose, _ = load(out / "train" / "pt_2" / "dose.nii.gz")
    assert dose.dtype == np.float32
    assert dose[5, 2, 7] == np.float32(70.25)
    assert np.count_nonzero(dose) == 1
    parotid, _ = load(out / "train" / "pt_2" / "LeftParotid.nii.gz")
    assert [tuple(int(v) for v in p) for p in np.argwhere(parotid)] == [(0, 15, 15), (5, 2, 7)]
    assert not (out / "train" / "pt_2" / "notes.nii.gz").exists()
    assert not (out / "train" / "pt_2" / "voxel_dimensions.nii.gz").exists()


def test_without_ct_stands_apart_and_a_second_run_adds_nothing(challenge, tmp_path):
    out = tmp_path / "data"
    first = importer.import_openkbp(challenge, out)
    assert (out / "without_ct" / "test" / "pt_241" / "dose.nii.gz").is_file()
    assert first["without_ct"] == 1
    assert first["n_new"] == 4
    again = importer.import_openkbp(challenge.parent, out)
    assert again["n_patients"] == 4
    assert again["n_new"] == 0


def test_patients_are_taken_in_the_order_of_their_numbers(challenge):
    assert [p.name for _, p in importer.find_patients(challenge)] == ["pt_241", "pt_2", "pt_10", "pt_201"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ct.csv", ",data\n1,2\n3\n", "index,value"),
        ("ct.csv", ",data\n1,2\n3\n4\n", "missing"),
        ("ct.csv", ",data\n5,\n100,\n7,30\n", "missing"),
        ("ct.csv", "5,1064\n7,1000\n", "header"),
        ("ct.csv", ",data\n5,\udcff\n", "as text"),
        ("ct.csv", ",data\n5,nan\n", "not a number"),
        ("ct.csv", ",data\n4096,7\n", "outside the grid"),
        ("ct.csv", ",data\n7,1\n7,2\n", "twice"),
        ("ct.csv", ",data\n", "empty"),
        ("dose.csv", ",data\n7,7000\n", "not in Gy"),
        ("LeftParotid.csv", ",data\nx,\n", "index"),
        ("LeftParotid.csv", ",data\n1.5,\n", "whole number"),
        ("voxel_dimensions.csv", "1\n2\n", "three voxel sizes"),
        ("voxel_dimensions.csv", "a\nb\nc\n", "three numbers"),
    ],
)
def test_a_damaged_file_is_named_and_leaves_nothing(tmp_path, name, text, words):
    folder = tmp_path / "src" / "pt_7"
    write_patient(folder)
    (folder / name).write_text(text, errors="surrogateescape")
    with pytest.raises(UnreadableFileError, match=words) as error:
        importer.import_openkbp(folder.parent, tmp_path / "out")
    assert name in str(error.value)
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_the_split_is_known_from_inside_its_folder_too(challenge, tmp_path, monkeypatch):
    """Validation patients imported as "." became training patients."""
    monkeypatch.chdir(challenge / "valid-pats")
    assert importer.import_openkbp(".", tmp_path / "out")["splits"] == {"validation": 1}
    write_patient(tmp_path / "renamed" / "validation" / "pt_201")
    write_patient(tmp_path / "renamed" / "train" / "pt_1")
    assert importer.import_openkbp(tmp_path / "renamed", tmp_path / "out")["splits"] == {"train": 1, "validation": 1}


def test_patients_beside_the_splits_are_refused(challenge, tmp_path):
    """A copy of a validation folder became training data."""
    write_patient(challenge / "valid-pats copy" / "pt_201")
    with pytest.raises(InputRefusedError, match="valid-pats copy"):
        importer.import_openkbp(challenge, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_patients_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match="train-pats"):
        importer.import_openkbp(tmp_path, tmp_path / "out")
    with pytest.raises(InputRefusedError, match="no such folder"):
        importer.import_openkbp(tmp_path / "nothing", tmp_path / "out")


def test_a_real_patient_survives_the_way_through_csv(shared_dir, tmp_path, monkeypatch):
    """Write a real case the way the challenge does, import it, and find the same voxels."""
    monkeypatch.setattr(importer, "SHAPE", (128, 128, 128))
    source = shared_dir / "data" / "openkbp" / "validation" / "pt_201"
    folder = tmp_path / "valid-pats" / "pt_201"
    folder.mkdir(parents=True)
    ct, image = load(source / "ct.nii.gz")
    x, y, z = image.GetSpacing()
    (folder / "voxel_dimensions.csv").write_text(f"{y}\n{x}\n{z}\n")
    cord, _ = load(source / "SpinalCord.nii.gz")
    for name, array in (("ct", ct.astype(int) + 1024), ("SpinalCord", cord.astype(int))):
        flat = array.transpose(1, 2, 0)[:, :, ::-1].ravel()
        index = np.flatnonzero(flat)
        rows = [f"{i},{flat[i] if name == 'ct' else ''}" for i in index]
        (folder / f"{name}.csv").write_text(",data\n" + "\n".join(rows) + "\n")
    importer.import_openkbp(tmp_path / "valid-pats", tmp_path / "out")
    made = tmp_path / "out" / "validation" / "pt_201"
    got, got_image = load(made / "ct.nii.gz")
    np.testing.assert_array_equal(got, ct)
    assert got_image.GetSpacing() == pytest.approx(image.GetSpacing())
    np.testing.assert_array_equal(load(made / "SpinalCord.nii.gz")[0], cord)
