"""Patches of the lesion network's training: what is cut, what is said of it, where it is mined; and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from train.cases import bank_patient

from hnvlm.errors import InputRefusedError
from hnvlm.imaging.lesions import LesionSpec
from hnvlm.models.lesion_net import INPUTS, PLACES, LesionNet, network_inputs
from hnvlm.train import lesions as trainer
from hnvlm.train.aside import KEPT_ASIDE, kept_aside
from hnvlm.train.compose import compose, owners
from hnvlm.train.data import CHANNELS

SPECS = (
    LesionSpec("node", "II", "left", 18.0, "necrotic"),
    LesionSpec("node", "III", "right", 14.0),
    LesionSpec("airway", "larynx", "left", narrowing_pct=50.0),
)
N = len(CHANNELS)


@pytest.fixture(scope="module")
def bank():
    return bank_patient(SPECS)


def patches_of(bank, network=None):
    rng = np.random.default_rng(3)
    return trainer.pair_patches(trainer.pair_of(bank, rng), network, rng)


def test_owner_names_the_lesion_of_each_voxel(bank):
    sample = compose(bank, np.random.default_rng(1), augment=False, lesions=bank.lesions)
    for k, kind in enumerate(("node", "node", "airway"), start=1):
        share = sample.targets[N + ("node", "mass", "airway").index(kind)]
        assert (sample.owner == k).sum() > 5
        assert (share[sample.owner == k] > 0.3).all()
    assert (sample.targets[N:].max(0)[sample.owner == 0] <= 0.3).all()
    none = owners((4, 5, 6), np.zeros(3, int), [])
    assert none.shape == (4, 5, 6)
    assert not none.any()


def test_owner_is_mirrored_with_the_sample(bank):
    for seed in range(20):
        sample = compose(bank, np.random.default_rng(seed), lesions=[bank.lesions[1]])
        if sample.flipped:
            break
    assert sample.flipped
    assert np.argwhere(sample.owner == 1)[:, 2].mean() > 32  # inserted on the right, mirrored to the left
    assert sample.lesions[0].spec.side == "left"


def test_what_is_said_of_lesions_by_hand(bank):
    sample = compose(bank, np.random.default_rng(1), augment=False, lesions=bank.lesions)
    said = trainer.said_of(sample)
    assert said.shape == (4, 32, 32, 32)
    z, y, x = np.argwhere(sample.owner == 1)[0] // 2
    size = bank.lesions[0].spec.size_mm
    np.testing.assert_allclose(said[:, z, y, x], [size / 20, 1, PLACES.index("II"), 1], rtol=1e-6)
    z, y, x = np.argwhere(sample.owner == 3)[0] // 2
    np.testing.assert_allclose(said[:, z, y, x], [0, 0, PLACES.index("larynx"), 1])
    assert said[3].sum() < 200


def test_a_pair_gives_lesion_and_twin_at_the_same_place(bank):
    patches = patches_of(bank)
    with_lesion = [k for k, p in enumerate(patches) if p.lesions.max() > 128]
    assert with_lesion
    for k in with_lesion:
        twin = patches[k + 1]
        assert patches[k].inputs.shape == (INPUTS, 12, 12, 12)
        assert int(twin.lesions.max()) == 0
        assert float(twin.said.abs().max()) == 0.0
        different = (patches[k].inputs - twin.inputs).abs().float()
        assert float(different.max()) > 0.05
        # Position is told alike: the patch lies at the same place.
        assert float(different[-3:].max()) == 0.0
    assert len(patches) == 2 * len(with_lesion) + trainer.ELSEWHERE


def test_false_alarms_are_the_highest_separate_peaks():
    p = np.zeros((64, 64, 64), np.float32)
    p[10, 20, 30], p[40, 41, 42], p[40, 41, 44], p[60, 5, 5] = 0.5, 0.9, 0.8, 0.2
    found = [tuple(2 * c) for c in trainer.false_alarms(torch.from_numpy(p), 3)]
    assert found == [(40, 41, 42), (10, 20, 30), (60, 5, 5)]  # the 0.8 lies 6 mm beside a higher peak


def test_false_alarms_are_mined_only_with_a_network(bank):
    network = LesionNet((8, 8, 8))
    patches = patches_of(bank, network)
    without = patches_of(bank)
    assert len(patches) == len(without) + trainer.FALSE_ALARMS
    assert network.training  # mining leaves the mode as it was


def test_attribute_loss_by_hand():
    attributes = torch.zeros(1, 2 + len(PLACES), 12, 12, 12)
    said = torch.zeros(1, 4, 12, 12, 12)
    assert float(trainer.attribute_loss(attributes, said)) == 0.0
    said[0, :, 1, 2, 3] = torch.tensor([1.5, 1.0, 4.0, 1.0])
    # (0 - 1.5)^2 + ln 2 + ln 14
    want = 2.25 + math.log(2) + math.log(len(PLACES))
    assert float(trainer.attribute_loss(attributes, said)) == pytest.approx(want, rel=1e-5)
    said[0, :, 5, 5, 5] = torch.tensor([0.0, 0.0, 12.0, 1.0])  # airway: no size, no texture
    want = 2.25 + math.log(2) / 2 + math.log(len(PLACES))
    assert float(trainer.attribute_loss(attributes, said)) == pytest.approx(want, rel=1e-5)


def test_threshold_by_hand():
    # 0.2 | 0.3 0.4(with) 0.6(with) 0.9(with): best split is between 0.3 and 0.4
    assert trainer.best_threshold([0.2, 0.6, 0.3, 0.4, 0.9], [False, True, False, True, True]) == pytest.approx(0.35)


def test_the_network_learns_a_twin_pair(bank):
    torch.manual_seed(0)
    network = LesionNet((16, 16, 16))
    batch = patches_of(bank)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    first = None
    for _ in range(60):
        loss, numbers = trainer.patch_loss(network, batch)
        first = first or float(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.4 * first
    assert numbers["peak_with"] > 0.6 > 0.4 > numbers["peak_without"]


def test_patients_kept_aside_are_not_trained_on(bank, monkeypatch, tmp_path):
    banks = [bank] * 48
    train_on, aside = kept_aside(banks)
    assert (len(train_on), len(aside)) == (36, KEPT_ASIDE)
    torch.manual_seed(0)
    s = trainer.presence_scores(LesionNet((8, 8, 8)), aside[:1])
    assert s.lesioned == [False, True, True]  # two nodes in the bank
    assert s.there == [True, False] * 2
    assert all(0 < x < 1 for x in s.neck + s.place)
    assert max(s.place[::2]) <= max(s.neck[1:])
    measured = trainer.detector_metrics(LesionNet((8, 8, 8)), banks)
    assert measured["crops"] == 36
    assert 0 <= measured["auroc"] <= 1


@pytest.mark.parametrize(("patients", "aside"), [(4, 1), (8, 2), (47, 11), (48, 12), (169, 12)])
def test_of_few_patients_a_quarter_is_kept_aside(bank, patients, aside):
    banks = [replace(bank) for _ in range(patients)]
    train_on, kept = kept_aside(banks)
    assert (len(train_on), len(kept)) == (patients - aside, aside)
    assert all(a is b for a, b in zip([*train_on, *kept], banks, strict=True))


def test_too_few_patients_are_refused(bank):
    with pytest.raises(InputRefusedError, match="at least 4"):
        kept_aside([bank] * 3)


def test_training_resumes_where_it_stopped(bank, monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "FIRST_PAIRS", 1)
    banks = [bank] * 13
    file = tmp_path / "lesions.pt"
    torch.manual_seed(0)
    trainer.train_lesion_net(LesionNet((8, 8, 8)), banks, file, resume=False, steps=2, seed=1, batch=4)
    assert torch.load(file, weights_only=True)["step"] == 2
    again, taken = trainer.train_lesion_net(LesionNet((8, 8, 8)), banks, file, resume=True, steps=2, seed=1, batch=4)
    assert taken == 2
    inputs = network_inputs(torch.zeros(1, 64, 64, 64))
    state = torch.load(file, weights_only=True)["ema"]
    with torch.inference_mode():
        assert again(inputs)[0].shape == (1, 3, 64, 64, 64)
    torch.testing.assert_close(again.head.bias, state["module.head.bias"])


def test_a_warped_pair_stays_a_pair(bank):
    sample = compose(bank, np.random.default_rng(1), augment=False, lesions=[bank.lesions[0]])
    clean = sample.hu - sample.delta
    bent, bent_clean = trainer.warped(sample, clean, np.random.default_rng(5))
    share = bent.targets[N]
    assert bent.owner.max() == 1
    assert share.sum() == pytest.approx(sample.targets[N].sum(), rel=0.4)
    assert np.argwhere(bent.owner == 1).mean(0) == pytest.approx(np.argwhere(sample.owner == 1).mean(0), abs=6)
    assert np.abs(bent_clean - clean).mean() > 5  # something moved
    difference = np.abs(bent.hu - bent_clean)
    assert difference[share > 0.9].mean() > 10
    assert difference[ndimage.binary_dilation(share > 0.01, iterations=14)].sum() > 0.999 * difference.sum()


def test_a_warp_of_nothing_is_the_identity(monkeypatch):
    monkeypatch.setattr(trainer, "TURN_DEGREES", 0.0)
    monkeypatch.setattr(trainer, "STRETCH", 1.0)
    monkeypatch.setattr(trainer, "BEND_MM", 0.0)
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.standard_normal((1, 1, 64, 64, 64)).astype(np.float32))
    out = torch.nn.functional.grid_sample(a, trainer.warp_field(rng), align_corners=False)
    torch.testing.assert_close(out, a, atol=1e-3, rtol=1e-3)
