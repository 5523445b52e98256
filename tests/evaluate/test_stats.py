"""Intervals and measures, by hand and against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as reference
from sklearn import metrics as sk

from hnvlm.evaluate.additions import summary
from hnvlm.evaluate.retrieval import ranks
from hnvlm.evaluate.segmentation import Scored, dice, mean_core
from hnvlm.evaluate.stats import area, auroc, estimate, finding_f1, mean_of, resampled, share, wilson
from hnvlm.evaluate.zeroshot import mean_auroc
from hnvlm.imaging.dvh import challenge_metrics


# ---- against other implementations ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("seed", "positives", "negatives"), [(1, 3, 11), (2, 17, 4), (3, 1, 6)])
def test_auroc_is_that_of_scikit_learn(seed, positives, negatives):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(positives, bool), np.zeros(negatives, bool)]
    scores = np.round(rng.normal(size=len(labels)) + 0.7 * labels, 1)  # one decimal: ties
    assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores))


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 7), (93, 99), (66, 66)])
def test_wilson_interval_is_that_of_scipy(k, n):
    other = reference.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k / n, n) == pytest.approx((other.low, other.high), abs=1e-4)


def test_dice_is_the_f1_of_voxels():
    rng = np.random.default_rng(5)
    a, b = rng.random((3, 5, 7)) < 0.3, rng.random((3, 5, 7)) < 0.6
    assert dice(a, b) == pytest.approx(sk.f1_score(a.ravel(), b.ravel()))


def test_recall_and_reciprocal_rank_are_those_of_scikit_learn():
    similarity = np.random.default_rng(8).normal(size=(9, 9))
    reports = [f"report {k}" for k in range(9)]
    for k in (1, 2, 5):
        other = sk.top_k_accuracy_score(np.arange(9), similarity, k=k)
        assert (ranks(similarity, reports) <= k).mean() == pytest.approx(other)
    both = sk.label_ranking_average_precision_score(np.eye(9, dtype=int), similarity)
    assert (1 / ranks(similarity, reports)).mean() == pytest.approx(both)


def test_size_correlation_and_error_are_those_of_scipy_and_scikit_learn():
    asked, measured = [10.0, 22.0, 31.0, 38.0, 17.0], [12.5, 19.0, 33.0, 30.0, 21.0]
    row = {"present": True, "side": True, "place": True, "texture": None, "kind": "node"}
    told = summary([{**row, "asked_mm": a, "size_mm": m} for a, m in zip(asked, measured, strict=True)])
    assert told["size_r"]["value"] == pytest.approx(reference.pearsonr(asked, measured)[0], abs=5e-4)
    assert told["size_mae_mm"]["value"] == pytest.approx(sk.mean_absolute_error(asked, measured), abs=0.05)


def test_f1_of_findings_from_precision_and_recall():
    """3 right of 5 said and of 7 there: 2 / (5/3 + 7/3) = 0.5."""
    counts = [{"tp": 1, "fp": 2, "fn": 0}, {"tp": 2, "fp": 0, "fn": 4}]
    told = finding_f1([{"patient": str(k), "compare": c} for k, c in enumerate(counts)])
    assert told["value"] == pytest.approx(2 / (5 / 3 + 7 / 3))
    assert finding_f1([{"patient": "a", "compare": {"tp": 0, "fp": 0, "fn": 0}}])["value"] is None


@pytest.mark.parametrize(("voxel_mm3", "voxels"), [(40.0, 53), (7.3, 211), (240.0, 19)])
def test_challenge_metrics_with_scipys_quantiles(voxel_mm3, voxels):
    dose = np.random.default_rng(voxels).gamma(4.0, 9.0, size=(1, 1, voxels))
    mask = np.ones(dose.shape, bool)

    def quantile(p: float) -> float:
        return float(reference.mstats.mquantiles(dose.ravel(), p / 100, alphap=1, betap=1)[0])

    hot = 100 - max(1, round(100 / voxel_mm3)) / voxels * 100
    assert challenge_metrics(dose, mask, voxel_mm3, target=True) == pytest.approx(
        {"D_99": quantile(1), "D_95": quantile(5), "D_1": quantile(99)}
    )
    assert challenge_metrics(dose, mask, voxel_mm3, target=False) == pytest.approx(
        {"D_0.1_cc": quantile(hot), "mean": dose.mean()}
    )


# ---- intervals over patients ----------------------------------------------------------------------------------------
def test_lesions_of_one_patient_do_not_count_as_several_patients():
    """Twelve patients of three lesions that are alike: the interval is that of twelve values, not of 36."""
    means = np.array([1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0], float)
    whose = [f"pt_{k}" for k in range(12) for _ in range(3)]
    told = share(list(np.repeat(means, 3)), whose)
    assert (told["value"], told["n"], told["patients"]) == (round(8 / 12, 4), 36, 12)
    rng = np.random.default_rng(0)
    other = reference.bootstrap((means,), np.mean, n_resamples=9999, method="percentile", rng=rng).confidence_interval
    assert (told["low"], told["high"]) == pytest.approx((other.low, other.high), abs=0.001)
    alone = share(list(np.repeat(means, 3)))
    assert told["low"] < alone["low"] - 0.05
    assert told["high"] > alone["high"] + 0.05


def test_the_share_is_of_lesions_however_many_a_patient_has():
    """One patient with 5 of 5, five with 0 of 1: 5 / 10, not 1 / 6."""
    told = share([True] * 5 + [False] * 5, ["a"] * 5 + list("bcdef"))
    assert (told["value"], told["n"], told["patients"]) == (0.5, 10, 6)


def test_an_interval_is_never_narrower_than_that_of_independent_values():
    """Each of ten patients has one right and one wrong: every draw gives 0.5, which is no certainty."""
    values = [True, False] * 10
    for k in (None, 0, 5):
        if k is not None:
            values[k] = not values[k]
        told, alone = share(values, [f"p{k // 2}" for k in range(20)]), share(values)
        assert told["low"] <= alone["low"] < told["value"] < alone["high"] <= told["high"]


def test_where_all_are_right_each_patient_is_one_value():
    told = share([True] * 66, [f"p{k // 2}" for k in range(66)])
    assert (told["low"], told["high"]) == pytest.approx(wilson(1.0, 33), abs=1e-4)
    assert (told["n"], told["patients"]) == (66, 33)


def test_one_value_a_patient_keeps_wilsons_interval():
    assert share([True, True, False], ["a", "b", "c"]) == share([True, True, False])


def test_of_few_patients_with_several_lesions_there_is_no_interval():
    assert share([True, False, True], ["a", "a", "b"]) == {"value": 0.6667, "n": 3, "patients": 2}
    assert share([], []) == {"value": None, "n": 0}
    assert mean_of([1.0, 4.0], ["a", "a"], places=1) == {"value": 2.5, "n": 2, "patients": 1}
    assert mean_of([], []) == {"value": None, "n": 0}


def test_resampling_is_the_same_every_time_and_in_any_order_of_patients():
    rng = np.random.default_rng(4)
    x = rng.normal(size=30)
    whose = [f"p{k % 7}" for k in range(30)]

    def mean(index: np.ndarray) -> float:
        return float(x[index].mean())

    assert resampled(mean, whose) == resampled(mean, whose)
    assert np.random.default_rng(4).normal(size=30) == pytest.approx(x)  # nobody's generator was moved


def test_an_interval_of_chosen_draws_is_none():
    """One patient of eight has the lesion: a third of the draws are without it and have no area."""
    labels = [True] + [False] * 7
    assert area(range(8), labels, [str(k) for k in range(8)]) == {"value": 0.0, "n": 8}
    both = area([3, 1, 2, 5, 4, 6, 9, 7, 8, 0], [0, 0, 1, 1, 0, 1, 1, 1, 0, 0], [str(k) for k in range(10)])
    assert both["low"] < both["value"] < both["high"]


def test_a_mean_is_drawn_as_scipy_draws_it():
    x = np.random.default_rng(3).gamma(2.0, 1.5, size=25)
    told = mean_of(x, [str(k) for k in range(25)])
    rng = np.random.default_rng(0)
    other = reference.bootstrap((x,), np.mean, n_resamples=9999, method="percentile", rng=rng).confidence_interval
    assert (told["low"], told["high"]) == pytest.approx((other.low, other.high), abs=0.06)
    assert told["n"] == 25
    assert "patients" not in told


# ---- what is no number ----------------------------------------------------------------------------------------------
def test_a_score_that_is_no_number_is_no_area():
    """It counted as the lowest score: a network that answers nothing for what has no lesion looked perfect."""
    assert np.isnan(auroc([0.9, float("nan"), 0.8], [True, False, True]))
    assert area([0.9, float("nan")], [True, False], ["a", "b"]) == {"value": None, "n": 2}
    assert np.isnan(auroc([], []))


def test_a_similarity_that_is_no_number_finds_nothing():
    similarity = np.full((3, 3), np.nan)
    assert list(ranks(similarity, ["a", "b", "c"])) == [np.inf] * 3
    similarity = np.eye(3)
    similarity[1, 2] = np.nan
    assert list(ranks(similarity, ["a", "b", "c"])) == [1.0, np.inf, 1.0]


def test_the_mean_area_is_over_the_labels_that_can_be_judged():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.3], [0.1, 0.2]])
    truth = np.array([[1, 0], [0, 1], [0, 0], [1, 0]], bool)
    # 2 pairs of 4 right; 3 of 3.
    assert mean_auroc(scores, truth, list("abcd")) == {"value": 0.75, "n": 4}
    assert mean_auroc(scores[:, :0], truth[:, :0], list("abcd")) == {"value": None, "n": 4}
    scores[2, 0] = np.nan
    assert mean_auroc(scores, truth, list("abcd"))["value"] is None


def test_the_mean_over_structures_weighs_each_structure_the_same():
    """Cord 0.9 and 0.7, larynx of one patient 0.4: (0.8 + 0.4) / 2; a structure nobody has is no zero."""
    rows = {
        "SpinalCord": [Scored("a", 0.9, 1, 0), Scored("b", 0.7, 1, 0)],
        "Larynx": [Scored("b", 0.4, 1, 0)],
        "Brainstem": [],
    }
    assert mean_core(rows) == {"value": 0.6, "n": 2}
    assert estimate(lambda index: 1.0, []) == {"value": None, "n": 0}
