"""The trainer of the dose network: which patients, what it caches, mirrored samples, the loss by hand, two steps."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from imaging.dose_phantom import dose_phantom, write_dose_case

from hnvlm.errors import InputRefusedError
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import AI_DRAFT, write_nifti
from hnvlm.models.checkpoint import read_config
from hnvlm.models.dose import DosePredictor, working_grid
from hnvlm.models.dose_inputs import CHANNELS
from hnvlm.train import cli, dose
from hnvlm.train.data import BIT
from hnvlm.train.dose import Sample, cached_file, dose_folders, dose_loss, load_patient, sample


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_dose_case(root / "train" / "pt_1")
    write_dose_case(root / "train" / "pt_3", without=("Parotid_L",))
    write_dose_case(root / "without_ct" / "train" / "pt_2", ct=False)
    write_dose_case(root / "validation" / "pt_201")
    write_dose_case(root / "without_ct" / "validation" / "pt_202", ct=False)
    return root


@pytest.fixture(scope="module")
def patient(data, tmp_path_factory):
    return load_patient(cached_file(data / "train" / "pt_1", tmp_path_factory.mktemp("cache")))


def test_both_training_folders_and_neither_validation_folder(data, tmp_path):
    assert [f.name for f in dose_folders(data)] == ["pt_1", "pt_2", "pt_3"]
    assert [f.name for f in dose_folders(data / "train")] == ["pt_1", "pt_3"]
    for folder in (data / "validation", data / "without_ct" / "validation", data / "train" / ".." / "validation"):
        with pytest.raises(InputRefusedError, match="never trained"):
            dose_folders(folder)
    with pytest.raises(InputRefusedError, match=r"dose\.nii\.gz"):
        dose_folders(tmp_path)


def test_what_is_cached_is_the_patient(data, patient, tmp_path):
    ct, truth, masks, _ = dose_phantom()
    cut = np.s_[0:20, 2:24, 2:30]
    np.testing.assert_allclose(patient.dose, truth.array[cut], atol=0.0051)
    np.testing.assert_array_equal(patient.hu, ct.array[cut])
    np.testing.assert_array_equal((patient.labels >> BIT["Parotid_L"]) & 1, masks["Parotid_L"][cut])
    assert patient.channels.shape == (len(CHANNELS), 20, 22, 28)
    file = cached_file(data / "without_ct" / "train" / "pt_2", tmp_path)
    stamp = file.stat().st_mtime_ns
    assert load_patient(file).hu is None
    assert cached_file(data / "without_ct" / "train" / "pt_2", tmp_path) == file
    assert file.stat().st_mtime_ns == stamp
    assert len(list(tmp_path.iterdir())) == 1


def test_a_corrected_dose_is_prepared_anew(tmp_path):
    folder = tmp_path / "pt_1"
    write_dose_case(folder)
    before = load_patient(cached_file(folder, tmp_path / "cache"))
    image = sitk.ReadImage(str(folder / "dose.nii.gz"))
    sitk.WriteImage(image * 0.5, str(folder / "dose.nii.gz"))
    after = load_patient(cached_file(folder, tmp_path / "cache"))
    np.testing.assert_allclose(after.dose, before.dose / 2, atol=0.011)


def test_samples_move_and_mirror_with_their_sides(patient):
    """Parotid_L always lies at larger x than Parotid_R; dose, labels and channels move together."""
    seen, blind = set(), set()
    for seed in range(14):
        s = sample(patient, np.random.default_rng(seed), 8)
        assert all(n % 8 == 0 for n in s.x.shape[2:])
        right, left = (((s.labels >> BIT[n]) & 1).bool() for n in ("Parotid_R", "Parotid_L"))
        x_of = lambda m: m.nonzero()[:, 2].float().mean()  # noqa: E731
        assert x_of(left) > x_of(right)
        high = ((s.labels >> BIT["PTV_7000"]) & 1).bool()
        torch.testing.assert_close(s.x[0, 0] > 0.95, high)
        assert s.dose[0][high].mean() > 65
        assert s.dose.sum() == pytest.approx(float(patient.dose.sum()), rel=1e-4)
        assert int(s.body.sum()) == int((patient.channels[CHANNELS.index("body")] > 0.5).sum())
        # The target is on the patient's left, unless mirrored.
        seen.add(bool(x_of(high) > x_of(s.body)))
        blind.add(not s.x[0, len(CHANNELS) :].any())
    assert seen == {True, False}
    assert blind == {True, False}


def test_the_search_for_a_deliverable_dose_must_be_worth_its_time():
    scores = {"dose_0": 2.30, "dvh_0": 1.40, "dose_0.5": 2.27, "dvh_0.5": 1.39, "dose_1": 2.26, "dvh_1": 1.41}
    assert dose.best_share((0.0, 0.5, 1.0), scores) == 0.0
    assert dose.best_share((0.0, 0.5, 1.0), scores | {"dvh_0.5": 1.37}) == 0.5


def test_both_ways_to_compare_sorted_doses_agree():
    """Two structures of other sizes and an empty one: by what is inside each, and with everything else sorted last."""
    torch.manual_seed(1)
    guess, true = 70 * torch.rand(2, 4, 5), 70 * torch.rand(2, 4, 5)
    masks = torch.rand(3, 2, 4, 5) > 0.5
    masks[1] = False
    want = dose.sorted_one_by_one(guess, true, masks)
    torch.testing.assert_close(dose.sorted_together(guess, true, masks), want)
    torch.testing.assert_close(dose.sorted_errors(guess, true, masks), want)
    assert float(want[1]) == 0.0 < float(want[0])


def test_loss_by_hand():
    """Body of 4 voxels, errors 1, 2, 0, 5: mean 2. The cord's two voxels swap their doses: its DVH is right."""
    body = torch.tensor([[[True, True, True, True, False]]])
    labels = torch.zeros(1, 1, 5, dtype=torch.int32)
    labels[0, 0, :2] = 1 << BIT["SpinalCord"]
    labels[0, 0, 2:] = 1 << BIT["PTV_7000"]
    truth = torch.tensor([[[[10.0, 20.0, 30.0, 40.0, 0.0]]]])
    swapped = torch.tensor([[[[20.0, 10.0, 30.0, 40.0, 99.0]]]])
    loss, told = dose_loss(swapped, Sample(torch.zeros(0), truth, body, labels))
    assert told == {"gray": 5.0, "dvh": 0.0}
    assert float(loss) == pytest.approx(0.5)
    other = torch.tensor([[[[11.0, 18.0, 30.0, 45.0, 99.0]]]])
    loss, told = dose_loss(other, Sample(torch.zeros(0), truth, body, labels))
    # Cord (1 + 2) / 2, target (0 + 5) / 2: mean 2; the voxel outside the body does not count.
    assert told == {"gray": 2.0, "dvh": 2.0}
    assert float(loss) == pytest.approx((2 + dose.DVH_WEIGHT * 2) / 10)


def test_two_steps_and_resume_give_a_model_that_predicts(data, tmp_path, monkeypatch):
    monkeypatch.setattr(dose, "WIDTHS", (8, 8))
    monkeypatch.setattr(dose, "BLOCKS", (1, 2))
    options = {"out": tmp_path / "models", "work": tmp_path / "runs", "threads": 1, "hold_out": 1, "evaluate_every": 1}
    told = cli.train("dose", data, steps=2, **options)
    folder = tmp_path / "models" / "dose"
    assert told["checkpoint"] == str(folder)
    assert told["metrics"]["train_patients"] == 2
    assert told["metrics"]["deliverable"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    config = read_config(folder)
    assert len(config["held_out"]) == 1
    assert set(config["held_out"]) <= {"pt_1", "pt_3"}
    assert set(config["held_out_scores"]) >= {"dose_0", "dvh_0", "dose_1", "dvh_1"}
    assert config["channels"] == list(CHANNELS)
    ct, _, masks, body = dose_phantom()
    made = DosePredictor(folder)(ct, masks, possible_dose=body)
    assert made.dose_gy.same_grid(ct)
    resumed = cli.train("dose", data, True, steps=3, **options)
    assert resumed["metrics"]["steps"] == 3
    assert (tmp_path / "runs" / "dose.pt").exists()


def test_a_clinics_fine_grid_is_learned_on_the_grid_that_the_network_works_on(tmp_path):
    """With voxels of 1 mm a network learned on four times as many voxels a side as it is asked about in use."""
    ct, gray, masks, body = dose_phantom()
    fine = {"ct": ct.array, "dose": gray.array, "possible_dose_mask": body, "PTV_7000": masks["PTV_7000"]}
    folder = tmp_path / "a1"
    spacing = (gray.spacing_mm[0], gray.spacing_mm[1] / 4, gray.spacing_mm[2] / 2)
    for name, array in fine.items():
        wide = np.repeat(np.repeat(array, 4, axis=1), 2, axis=2)
        write_nifti(Volume(wide, spacing, gray.origin_mm), folder / f"{name}.nii.gz")
    patient = load_patient(cached_file(folder, tmp_path / "cache"))
    # 1.125 x 2 mm: blocks of 3 and 2 voxels, as near to 3.9 mm as whole voxels come.
    working = working_grid(Volume(np.zeros((20, 104, 64), bool), spacing, gray.origin_mm))
    assert working.shape == (20, 34, 32) and working.spacing_mm == (3.0, 3.375, 4.0)
    assert patient.dose.shape[1] <= 34 and patient.dose.shape[2] <= 32
    volume_ml = np.prod(working.spacing_mm) / 1000
    labels = (patient.labels.numpy() >> BIT["PTV_7000"]) & 1
    assert labels.sum() * volume_ml == pytest.approx(masks["PTV_7000"].sum() * gray.voxel_ml, rel=0.2)
    mean = patient.dose.numpy()[labels > 0].mean()
    assert mean == pytest.approx(gray.array[masks["PTV_7000"]].mean(), abs=1.0)


def test_nobody_learns_a_dose_for_targets_that_a_model_drew(tmp_path, capsys):
    for name in ("a1", "a2"):
        write_dose_case(tmp_path / "train" / name)
    _, gray, masks, _ = dose_phantom()
    write_nifti(gray.with_array(masks["PTV_7000"]), tmp_path / "train" / "a1" / "PTV70.nii.gz", AI_DRAFT)
    assert [f.name for f in dose_folders(tmp_path)] == ["a2"]
    assert "a1 is left out" in capsys.readouterr().err
    write_nifti(gray.with_array(masks["PTV_5600"]), tmp_path / "train" / "a2" / "PTV56.nii.gz", AI_DRAFT)
    with pytest.raises(InputRefusedError, match="drew the targets of all 2"):
        dose_folders(tmp_path)
