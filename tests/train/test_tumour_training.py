"""The tumour detector learns the cores of targets as disease and nothing else of a target as healthy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from train.cases import bank_patient

from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.imaging.lesions import LesionSpec
from hnvlm.models.ct_encoder import LESION_CHANNELS
from hnvlm.models.lesion_net import LesionNet
from hnvlm.train import lesions as patches
from hnvlm.train import tumour as trainer
from hnvlm.train.compose import compose
from hnvlm.train.data import BIT, GTV_BIT
from hnvlm.train.disease import core_of_target, own_lesions, target_of
from hnvlm.train.tumour import with_disease

SPECS = (LesionSpec("node", "II", "left", 18.0),)


@pytest.fixture(scope="module")
def treated():
    """A patient with a target of 17 x 15 x 13 voxels (3 mm) beside the left vessels."""
    bank = bank_patient(SPECS)
    centre = np.argwhere(bank.lesions[0].mask > 0.2).mean(0).round().astype(int) + np.array(bank.lesions[0].start)
    labels = bank.patient.labels.copy()
    labels[tuple(slice(c - h, c + h + 1) for c, h in zip(centre, (8, 7, 6), strict=True))] |= 1 << BIT["PTV_7000"]
    return replace(bank, patient=replace(bank.patient, labels=labels, ct=np.full(labels.shape, 50, np.int16))), centre


def test_the_core_of_a_target_is_the_target_without_its_margin(treated):
    bank, centre = treated
    core = core_of_target(bank.patient.labels, bank.patient.ct)
    expected = np.zeros_like(core)
    expected[tuple(slice(c - h, c + h + 1) for c, h in zip(centre, (5, 4, 3), strict=True))] = True  # 9 mm less
    # The opening takes the twelve edges off: 4 x (11 + 9 + 7) voxels, each corner counted three times.
    assert not (core & ~expected).any() and core.sum() == 11 * 9 * 7 - (4 * (11 + 9 + 7) - 2 * 8)


def test_air_bone_and_specks_are_no_core(treated):
    bank, centre = treated
    for hu in (-500, 700):
        assert not core_of_target(bank.patient.labels, np.full_like(bank.patient.ct, hu)).any()
    small = np.zeros_like(bank.patient.labels)
    small[tuple(slice(c - 3, c + 4) for c in centre)] = 1 << BIT["PTV_7000"]
    assert not core_of_target(small, bank.patient.ct).any()
    other = np.zeros_like(bank.patient.labels)
    other[target_of(bank.patient.labels)] = 1 << BIT["PTV_5600"]
    assert not core_of_target(other, bank.patient.ct).any(), "an elective target holds no gross disease"


def test_the_core_is_disease_the_rest_of_the_target_is_open_and_the_clinics_own_contour_goes_first(treated):
    bank, centre = treated
    ill = with_disease(bank)
    assert ill.own is not None and ill.own[tuple(centre)] == 1 + LESION_CHANNELS.index("node")
    target = target_of(bank.patient.labels)
    assert ill.diseased(np.zeros(3, int), target.shape)[target].all()
    sample = compose(ill, np.random.default_rng(0), augment=False, lesions=[])
    pair = patches.pair_of(ill, np.random.default_rng(1))
    assert (sample.own > 0).sum() == (ill.own > 0).sum() and len(pair.at_own) == 1
    assert pair.unknown[2].any() and not (pair.unknown[2] & pair.own.bool().any(0)).any()
    drawn = bank.patient.labels.copy()
    drawn[tuple(centre)] |= 1 << GTV_BIT
    clinics = replace(bank, own=own_lesions(drawn, None))
    assert with_disease(clinics) is clinics
    assert with_disease(bank_patient(SPECS)).own is None


def test_the_usual_place_is_where_most_targets_lie(treated):
    bank, centre = treated
    ill = with_disease(bank)
    start = compose(ill, np.random.default_rng(0), augment=False, lesions=[]).start
    labels = bank.patient.labels.copy()
    labels[tuple(slice(c, c + 2) for c in centre)] &= ~np.uint16(1 << BIT["PTV_7000"])  # the other holds all but these
    other = replace(bank, patient=replace(bank.patient, labels=labels))
    place = trainer.usual_place([ill, ill, other])
    there = np.array(place) + start
    assert target_of(labels)[tuple(there)] and target_of(bank.patient.labels)[tuple(there)]


def test_a_training_without_any_disease_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "training_folders", lambda data: [])
    monkeypatch.setattr(trainer, "load_bank", lambda *_, **__: [bank_patient(SPECS)])
    with pytest.raises(ModelPackError, match="clip"):  # before anything is made of the patients
        trainer.train(tmp_path, tmp_path / "tumour", tmp_path)
    clip = SimpleNamespace(encoder=SimpleNamespace(lesion_net=LesionNet((8, 8, 8))))
    monkeypatch.setattr(trainer, "load_clip", lambda folder: clip)
    with pytest.raises(InputRefusedError, match="nothing tells where disease is"):
        trainer.train(tmp_path, tmp_path / "tumour", tmp_path)
