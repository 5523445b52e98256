"""What the other half of a neck teaches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from train.cases import bank_patient

from hnvlm.imaging.lesions import LesionSpec
from hnvlm.models.ct_encoder import LESION_CHANNELS
from hnvlm.train import lesions as trainer
from hnvlm.train.compose import Sample, compose
from hnvlm.train.halves import LESSER_SHARE, halved, opposite

SPECS = (LesionSpec("node", "II", "left", 18.0), LesionSpec("node", "III", "right", 14.0))


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Both lesions inserted, and disease of the patient's own on the left, which is where x is higher."""
    bank = bank_patient(SPECS)
    made = compose(bank, np.random.default_rng(0), augment=False, lesions=bank.lesions)
    own = np.zeros(made.hu.shape, np.uint8)
    own[20:24, 30:35, 45:50] = 1 + LESION_CHANNELS.index("mass")
    return replace(made, own=own, diseased=own > 0)


def test_a_half_and_its_mirror_image_hold_the_lesions_of_that_half_twice(sample):
    clean = sample.hu - sample.delta
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(30):
        made, clean_half = halved(sample, clean, rng)
        for array in (made.hu, made.targets, made.delta, made.own, made.diseased, clean_half):
            assert (array == array[..., ::-1]).all()
        np.testing.assert_allclose(made.hu - made.delta, clean_half, atol=1e-3)
        ill = bool(made.own.any())
        kept = slice(32, None) if ill else slice(None, 32)
        assert (made.owner[..., kept] == sample.owner[..., kept]).all()
        assert np.count_nonzero(made.owner) == np.count_nonzero(sample.owner[..., kept]), "owned once"
        assert (made.own > 0).sum() == (2 * (sample.own > 0).sum() if ill else 0)
        seen.append(ill)
    # The half without disease is the likelier one, and both are drawn.
    assert 0 < np.mean(seen) < 0.5 and LESSER_SHARE > 0.5


def test_opposite_of_disease_is_a_place_of_the_other_side_without_it(sample):
    (there,) = opposite([np.array((21, 32, 47))], sample)
    assert there.tolist() == [21, 32, 16]
    both = replace(sample, diseased=sample.diseased | sample.diseased[..., ::-1])
    assert opposite([np.array((21, 32, 47))], both) == []


def test_pairs_of_halves_are_asked_for_by_their_share():
    bank = bank_patient(SPECS)
    never = [trainer.twin_pair(bank, np.random.default_rng(k)) for k in range(3)]
    always = [trainer.twin_pair(bank, np.random.default_rng(k), halves=1.0) for k in range(3)]

    def unlike(hu: np.ndarray) -> float:
        return float(np.abs(hu - hu[..., ::-1]).mean())

    for (plain, _), (half, clean) in zip(never, always, strict=True):
        assert half.hu.shape == clean.shape == plain.hu.shape
        assert unlike(clean) > 1.0, "bent, so no mirror image of itself"
