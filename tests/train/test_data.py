"""Case folders to the training grid: names, refusals, resampling, cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from train.cases import write_case, write_image

from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.models.checkpoint import load_weights, read_config
from hnvlm.models.unet import FoldedUNet
from hnvlm.train import augment, cli, segmenter
from hnvlm.train.data import BIT, CHANNELS, body_box, case_folders, load_cached, read_case, to_grid, training_folders


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_case(root / "train" / "pt_2")
    write_case(root / "train" / "pt_10", mirrored=True, without=("Larynx",), tg263_names=True)
    write_case(root / "validation" / "pt_201")
    return root


def test_training_never_sees_the_validation_folder(data, monkeypatch):
    assert [f.name for f in training_folders(data)] == ["pt_10", "pt_2"]
    assert [f.name for f in training_folders(data / "train")] == ["pt_10", "pt_2"]
    monkeypatch.chdir(data / "validation")
    for path in (data / "validation", data / "train" / ".." / "validation", "."):
        with pytest.raises(InputRefusedError, match="never trained"):
            training_folders(path)


@pytest.mark.parametrize("name", ["segmenter", "dose", "judge"])
def test_trainers_refuse_the_validation_folder_and_write_nothing(data, tmp_path, name):
    with pytest.raises(InputRefusedError, match="validation folder"):
        cli.train(name, data / "validation", out=tmp_path / "models", work=tmp_path / "runs", threads=1)
    assert not (tmp_path / "models").exists()


def test_an_unknown_trainer_is_refused(data):
    with pytest.raises(UsageError, match=r"no trainer 'fluence'.*segmenter"):
        cli.train("fluence", data)


def test_a_folder_without_patients_is_refused(tmp_path):
    with pytest.raises(InputRefusedError, match=r"ct\.nii\.gz"):
        case_folders(tmp_path)


def test_folders_without_a_ct_are_named(tmp_path, capsys):
    """A patient whose file was called CT.nii.gz was missing from a training, and nothing said so."""
    for name, file in (("a", "ct.nii.gz"), ("b", "CT.nii.gz"), ("c", None), (".d.part", None), ("validation", None)):
        (tmp_path / name).mkdir()
        if file:
            (tmp_path / name / file).touch()
    assert [f.name for f in training_folders(tmp_path)] == ["a"]
    assert f"{tmp_path}: passed over, as there is no ct.nii.gz: b, c\n" in capsys.readouterr().err


def test_both_kinds_of_names_are_read(data):
    ct, masks = read_case(data / "train" / "pt_2")
    assert set(masks) == {"Brainstem", "SpinalCord", "Larynx", "Parotid_L", "Parotid_R", "Bone_Mandible"}
    assert ct.spacing_mm == pytest.approx((3.0, 2.5, 2.5))
    _, other = read_case(data / "train" / "pt_10")
    assert set(other) == set(masks) - {"Larynx"}
    # The mirrored patient: the larger gland is on the other side.
    assert masks["Parotid_L"].sum() > masks["Parotid_R"].sum()
    assert other["Parotid_L"].sum() < other["Parotid_R"].sum()


def test_a_mask_on_another_grid_is_refused(tmp_path):
    ct, _ = write_case(tmp_path / "pt_1")
    write_image(tmp_path / "pt_1" / "Esophagus.nii.gz", ct, np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(InputRefusedError, match=r"Esophagus.*shape"):
        read_case(tmp_path / "pt_1")


@pytest.mark.parametrize("stored", ["RAS", "LAI", "LPS"])
def test_a_mask_lies_where_its_ct_does_however_the_files_are_stored(tmp_path, stored):
    """The CT was turned to LPS and its masks were not: the left parotid taught the right one."""
    folder = tmp_path / "pt_1"
    write_case(folder)
    ct, masks = read_case(folder)
    for path in folder.glob("*.nii.gz"):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), stored), str(path))
    turned, again = read_case(folder)
    np.testing.assert_array_equal(turned.array, ct.array)
    assert turned.same_grid(ct, 0.01)
    for name, mask in masks.items():
        np.testing.assert_array_equal(again[name], mask)


def test_a_mask_of_the_same_shape_elsewhere_is_refused(tmp_path):
    ct, masks = write_case(tmp_path / "pt_1")
    moved = Volume(ct.array, ct.spacing_mm, (ct.origin_mm[0] + 6.0, *ct.origin_mm[1:]))
    write_image(tmp_path / "pt_1" / "Mandible.nii.gz", moved, masks["Bone_Mandible"].astype(np.uint8))
    with pytest.raises(InputRefusedError, match=r"Mandible.*share a grid"):
        read_case(tmp_path / "pt_1")


def test_what_a_killed_import_left_is_no_patient(tmp_path):
    write_case(tmp_path / "train" / "pt_1")
    half = tmp_path / "train" / ".pt_2-k3j1"
    half.mkdir()
    (half / "ct.nii.gz").write_bytes((tmp_path / "train" / "pt_1" / "ct.nii.gz").read_bytes())
    assert [f.name for f in training_folders(tmp_path)] == ["pt_1"]


def test_a_corrected_contour_is_read_anew(tmp_path):
    """The cache knew a patient by the folder's name alone."""
    folder, cache = tmp_path / "pt_1", tmp_path / "cache"
    ct, _ = write_case(folder)
    before = load_cached(folder, cache)
    bit = 1 << BIT["Parotid_L"]
    assert (before.labels & bit).any()
    write_image(folder / "LeftParotid.nii.gz", ct, np.zeros(ct.shape, np.uint8))
    assert not (load_cached(folder, cache).labels & bit).any()
    (folder / "LeftParotid.nii.gz").unlink()
    assert not load_cached(folder, cache).known[BIT["Parotid_L"]]


def test_a_cache_from_before_the_source_was_noted_is_used(tmp_path):
    folder, cache = tmp_path / "pt_1", tmp_path / "cache"
    write_case(folder)
    load_cached(folder, cache)
    (file,) = cache.glob("*.npz")
    with np.load(file) as z:
        arrays = {k: z[k] for k in z.files if k != "source"}
    np.savez(file, **arrays | {"ct": arrays["ct"] + 1})
    assert load_cached(folder, cache).ct.min() == arrays["ct"].min() + 1


def test_to_grid_by_hand():
    """A body of 6 x 5 x 7 voxels in air: cropped to it, one voxel of border, at 3 mm; a mask keeps its place."""
    hu = np.full((12, 11, 14), -1000, np.int16)
    hu[3:9, 4:9, 5:12] = 60
    ct = Volume(hu, (6.0, 3.0, 1.5), (10.0, -20.0, 5.0))
    mask = np.zeros(hu.shape, bool)
    mask[5:7, 6:8, 7:11] = True
    made = to_grid(ct, {"Larynx": mask}, "p")
    assert made.origin_mm == pytest.approx((10 + 2 * 6.0, -20 + 3 * 3.0, 5 + 4 * 1.5))
    # From the voxel before the body to the one behind it, in steps of 3 mm.
    assert made.ct.shape == (int((9 - 2) * 6 / 3) + 1, (9 - 3) + 1, int(np.ceil((12 - 4) * 1.5 / 3)) + 1)
    inside = ct.index_to_mm(np.array([6, 6, 8])) - np.array(made.origin_mm)
    z, y, x = np.rint(inside / 3.0).astype(int)
    assert made.ct[z, y, x] == 60
    bit = (made.labels >> BIT["Larynx"]) & 1
    assert bit[z, y, x] == 1
    assert made.labels.max() == 1 << BIT["Larynx"]
    middle = np.argwhere(bit).mean(0) * 3.0 + made.origin_mm
    np.testing.assert_allclose(middle, ct.index_to_mm(np.argwhere(mask).mean(0)), atol=1.5)
    # No target at all: nobody planned on this CT, so nothing is known of where one would be.
    assert {c for c, k in zip(CHANNELS, made.known, strict=True) if k} == {"Larynx"}


def test_an_empty_ct_keeps_its_extent():
    assert body_box(np.full((2, 3, 4), -1000)) == (slice(0, 2), slice(0, 3), slice(0, 4))


def test_the_cache_is_written_once_and_read_back(data, tmp_path):
    folder = data / "train" / "pt_2"
    first = load_cached(folder, tmp_path)
    (file,) = tmp_path.glob("pt_2-*.npz")
    stamp = file.stat().st_mtime_ns
    second = load_cached(folder, tmp_path)
    assert file.stat().st_mtime_ns == stamp
    for field in ("ct", "labels", "known"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.origin_mm == second.origin_mm
    assert first.patient_id == "pt_2"
    load_cached(data / "validation" / "pt_201", tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_unknown_channels_teach_nothing():
    """Channel 1 was not contoured: whatever the network says there costs nothing and has no gradient."""
    logits = torch.zeros(1, 2, 2, 3, 4, requires_grad=True)
    targets = torch.zeros(1, 2, 2, 3, 4)
    targets[:, :, 0] = 1.0
    known = torch.tensor([[True, False]])
    loss = segmenter.segmentation_loss(logits, targets, known)
    # p = 1/2 everywhere: cross-entropy ln 2 in each of 24 voxels over 12 + 1000 of the structure;
    # overlap 6, p 12, target 12: 1 - (12 + 10) / (24 + 10)
    assert loss.item() == pytest.approx(24 * np.log(2) / 1012 + 1 - 22 / 34)
    loss.backward()
    assert logits.grad[:, 1].abs().max() == 0
    assert logits.grad[:, 0].abs().min() > 0
    other = logits.detach().clone()
    other[:, 1] = 7.0
    assert float(segmenter.segmentation_loss(other, targets, known)) == pytest.approx(loss.item())
    assert float(segmenter.segmentation_loss(other, targets, torch.zeros(1, 2, dtype=torch.bool))) == 0.0


def test_below_a_cord_and_just_above_it_nobody_knows():
    """A cord in slices 4 to 6 of 20: unknown below and in five slices above, in the whole slice, and nowhere else."""
    labels = np.zeros((20, 3, 4), np.uint16)
    labels[4:7, 1, 2] = 1 << BIT["SpinalCord"]
    labels[9, 0, 0] = 1 << BIT["Brainstem"]
    marked = segmenter.with_ends(labels)
    unknown = (marked >> segmenter.BEYOND_BIT["SpinalCord"]) & 1
    assert [z for z in range(20) if unknown[z].all()] == [0, 1, 2, 3, 7, 8, 9, 10, 11]
    assert unknown.sum() == 9 * 12
    assert not ((marked >> segmenter.BEYOND_BIT["Esophagus"]) & 1).any()
    np.testing.assert_array_equal(marked & ((1 << len(CHANNELS)) - 1), labels)


def test_an_answer_where_nobody_knows_costs_nothing():
    logits = torch.full((1, 1, 2, 3, 4), 0.0, requires_grad=True)
    targets = torch.zeros(1, 1, 2, 3, 4)
    targets[:, :, 0] = 1.0
    beyond = targets == 0
    loss = segmenter.segmentation_loss(logits, targets, torch.ones(1, 1), beyond)
    # twelve voxels count: ln 2 each over 12 + 1000; overlap 6, p 6, target 12: 1 - (12 + 10) / (18 + 10)
    assert loss.item() == pytest.approx(12 * np.log(2) / 1012 + 1 - 22 / 28, abs=1e-6)
    loss.backward()
    assert logits.grad[beyond].abs().max() == 0
    assert logits.grad[~beyond].abs().min() > 0


def test_two_steps_of_the_segmenter_give_a_model_folder(data, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "CROP", (16, 32, 16))
    monkeypatch.setattr(segmenter, "WIDTHS", (8, 8))
    told = cli.train("segmenter", data, out=tmp_path / "models", work=tmp_path / "runs", steps=2, threads=1)
    folder = tmp_path / "models" / "segmenter"
    assert told == {"checkpoint": str(folder), "metrics": {"train_patients": 2, "steps": 2}}
    config = read_config(folder)
    assert config["crop"] == [16, 32, 16]
    load_weights(folder, FoldedUNet(2, len(config["channels"]), config["widths"]))


def test_a_mirrored_crop_swaps_the_parotids(data, tmp_path, monkeypatch):
    """Channel Parotid_L always lies at larger x, mirrored or not; what was not contoured moves with its side."""
    monkeypatch.setattr(segmenter, "CROP", (48, 64, 64))
    monkeypatch.setattr(segmenter, "random_matrix", lambda rng: np.eye(3))
    monkeypatch.setattr(augment, "BEND", 0.0)
    patient = load_cached(data / "train" / "pt_2", tmp_path)
    known = patient.known.copy()
    known[BIT["Parotid_L"]] = False
    patient = segmenter.loaded(replace(patient, known=known))
    sizes = set()
    for seed in range(12):
        _, targets, seen, _ = segmenter.sample_crop(patient, np.random.default_rng(seed))
        left, right = targets[BIT["Parotid_L"]], targets[BIT["Parotid_R"]]
        if left.sum() < 200 or right.sum() < 200:
            continue
        assert np.argwhere(left.numpy())[:, 2].mean() > np.argwhere(right.numpy())[:, 2].mean()
        flipped = bool(left.sum() < right.sum())
        assert bool(seen[BIT["Parotid_L"]]) == flipped
        assert bool(seen[BIT["Parotid_R"]]) != flipped
        sizes.add(flipped)
    assert sizes == {True, False}


@pytest.mark.parametrize(
    ("contoured", "known"),
    [((), 0), (("Brainstem",), 0), (("PTV_5600",), 3), (("PTV_7000", "PTV_6300"), 3)],
)
def test_a_ct_that_was_never_planned_on_says_nothing_of_targets(contoured, known):
    """Diagnostic CTs with organs contoured taught the segmenter that there are no targets."""
    ct = Volume(np.zeros((5, 7, 9), np.int16), (3.0, 2.5, 2.0))
    patient = to_grid(ct, dict.fromkeys(contoured, np.ones(ct.shape, bool)), "p")
    assert sum(bool(patient.known[BIT[name]]) for name in ("PTV_7000", "PTV_6300", "PTV_5600")) == known
    assert bool(patient.known[BIT["Brainstem"]]) is ("Brainstem" in contoured)


def test_masks_of_names_that_no_model_knows_are_told(tmp_path, capsys):
    """A folder made by hand held Myelon.nii.gz, and the segmenter learned no cord, without a word."""
    for name, files in {
        "a1": ("ct", "Myelon", "Lt Parotid", "Thyroid"),
        "a2": ("ct", "Myelon", "Parotid_R", "GTV"),
    }.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / f"{file}.nii.gz").touch()
    training_folders(tmp_path)
    told = capsys.readouterr().err
    assert "Myelon (2 patients; call it SpinalCord), Lt Parotid (1 patients; call it Parotid_L), Thyroid (1" in told
    assert "GTV" not in told and "Parotid_R" not in told


def test_a_ct_without_contours_teaches_no_contour(tmp_path, capsys):
    """A folder of CTs alone was trained on with a loss of 0: only the weights decayed."""
    device = torch.device("cpu")
    write_case(tmp_path / "a1")
    write_case(tmp_path / "a2")
    for path in (tmp_path / "a2").glob("*.nii.gz"):
        if path.name != "ct.nii.gz":
            path.unlink()
    assert len(segmenter.taught([tmp_path / "a1", tmp_path / "a2"], tmp_path / "cache", device)) == 1
    assert "the clinic contoured nothing: a2" in capsys.readouterr().err
    with pytest.raises(InputRefusedError, match="None of the 1 patients has a contour"):
        segmenter.taught([tmp_path / "a2"], tmp_path / "cache", device)
