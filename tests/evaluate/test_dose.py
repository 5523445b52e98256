"""The challenge's scores by hand, the baseline, and what the evaluation of the dose network reports."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from imaging.dose_phantom import SHAPE, SPACING, dose_phantom, write_dose_case

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate import dose as evaluation
from hnvlm.evaluate import dose_trees
from hnvlm.evaluate.dose import Tally, tree_folders
from hnvlm.evaluate.dose_scores import DoseCase, dose_score, dvh_errors, dvh_score, read_dose_case
from hnvlm.evaluate.dose_trees import DoseTrees
from hnvlm.imaging.volume import Volume


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("pt_1", "pt_2"):
        write_dose_case(root / "train" / name)
    write_dose_case(root / "validation" / "pt_201", without=("PTV_5600",))
    write_dose_case(root / "validation" / "pt_202")
    return root


# ---- scores ---------------------------------------------------------------------------------------------------------
def test_dose_score_by_hand():
    """Errors outside the mask count above, but not below the line."""
    truth, predicted = np.zeros((1, 2, 5)), np.zeros((1, 2, 5))
    possible = np.zeros((1, 2, 5), bool)
    possible[0, 0, :4] = True
    truth[0, 0] = [10, 20, 30, 40, 0]
    predicted[0, 0] = [11, 18, 30, 45, 0]
    assert dose_score(truth, predicted, possible) == pytest.approx((1 + 2 + 0 + 5) / 4)
    predicted[0, 1, 2] = 4.0
    assert dose_score(truth, predicted, possible) == pytest.approx((1 + 2 + 0 + 5 + 4) / 4)


def case_of(dose: np.ndarray, masks: dict[str, np.ndarray], spacing=(2.0, 4.0, 5.0)) -> DoseCase:
    return DoseCase("p", Volume(dose.astype(np.float32), spacing), masks, np.ones(dose.shape, bool), None)


def test_dvh_metrics_by_hand():
    """Voxels of 40 mm3: D_0.1cc is over round(100 / 40) = 2 voxels. Of 11 voxels 0, 10, ..., 100 Gy the percentile
    100 - 2 / 11 * 100 = 81.82 lies at place 8.1818: 81.818 Gy. Percentiles 1, 5, 99 of the target: 1, 5 and 99 Gy."""
    dose = np.zeros((1, 2, 11))
    dose[0, 0] = dose[0, 1] = np.arange(11) * 10.0
    cord, target = np.zeros(dose.shape, bool), np.zeros(dose.shape, bool)
    cord[0, 0], target[0, 1] = True, True
    case = case_of(dose, {"SpinalCord": cord, "PTV_7000": target})
    assert dvh_errors(case, np.zeros(dose.shape)) == pytest.approx({
        "SpinalCord D_0.1_cc": 81.8182, "SpinalCord mean": 50.0, "PTV_7000 D_99": 1.0, "PTV_7000 D_95": 5.0,
        "PTV_7000 D_1": 99.0,
    }, abs=1e-3)  # fmt: skip
    assert set(dvh_errors(case, dose).values()) == {0.0}
    # Twice the dose: every error is the metric itself, and the sign does not matter.
    assert dvh_errors(case, 2 * dose) == pytest.approx(dvh_errors(case, np.zeros(dose.shape)))


def test_large_voxels_leave_one_for_the_tenth_of_a_millilitre():
    """Voxels of 240 mm3: round(100 / 240) is 0, at least one voxel is taken: percentile 75 of 4 voxels."""
    dose = np.array([[[1.0, 2.0, 3.0, 9.0]]])
    case = case_of(dose, {"Larynx": np.ones(dose.shape, bool)}, (4.0, 6.0, 10.0))
    assert dvh_errors(case, 0 * dose)["Larynx D_0.1_cc"] == pytest.approx(3 + 0.25 * 6)


def test_a_structure_that_does_not_exist_has_no_error_and_each_metric_weighs_the_same():
    dose = np.ones((1, 1, 4))
    empty = np.zeros(dose.shape, bool)
    case = case_of(dose, {"Larynx": empty, "PTV_7000": ~empty})
    assert set(dvh_errors(case, dose)) == {"PTV_7000 D_99", "PTV_7000 D_95", "PTV_7000 D_1"}
    # 5 values of 1 and one of 7: 12 / 6, not the mean of the two patients' means.
    assert dvh_score([{str(k): 1.0 for k in range(5)}, {"a": 7.0}]) == pytest.approx(2.0)
    assert np.isnan(dvh_score([]))


def test_cases_are_read_with_tg263_names(data, tmp_path):
    case = read_dose_case(data / "validation" / "pt_201")
    assert set(case.masks) == {"PTV_7000", "SpinalCord", "Parotid_R", "Parotid_L"}
    assert case.dose.spacing_mm == pytest.approx(SPACING)
    assert case.ct is not None
    write_dose_case(tmp_path / "a", ct=False)
    assert read_dose_case(tmp_path / "a").ct is None
    (tmp_path / "a" / "possible_dose_mask.nii.gz").unlink()
    with pytest.raises(InputRefusedError, match="possible_dose_mask"):
        read_dose_case(tmp_path / "a")


# ---- the evaluation -------------------------------------------------------------------------------------------------
class Perfect:
    """Knows the dose, except that it is 1 Gy wrong without CT and 3 Gy on predicted structures."""

    def __init__(self, with_target: bool = True) -> None:
        _, self.truth, masks, self.body = dose_phantom()
        self.own = {"SpinalCord": masks["SpinalCord"]} | ({"PTV_7000": masks["PTV_7000"]} if with_target else {})

    def segment(self, volume):
        return SimpleNamespace(masks=self.own)

    def dose(self, volume, masks, *, possible_dose, use_ct):
        off = 3.0 if masks is self.own else 0.0 if use_ct else 1.0
        array = np.where(possible_dose, self.truth.array + np.float32(off), 0)
        return SimpleNamespace(dose_gy=self.truth.with_array(array))


def test_the_evaluation_reports_each_way_to_predict(data, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "CACHE", tmp_path)
    monkeypatch.setattr(dose_trees, "VOXELS_PER_PATIENT", 1500)
    made = evaluation.run(Perfect(), data / "validation")
    m = made["metrics"]
    assert made["n_cases"] == 2
    assert m["dose_score"] == {"value": 0.0, "n": 2}
    # Of 4 metrics for organs and targets each; one patient has no PTV_5600.
    assert m["dvh_score"] == {"value": 0.0, "n": 9 + 12, "patients": 2}
    assert m["without_ct"]["dose_score"]["value"] == 1.0
    assert m["without_ct"]["dvh_score"]["value"] == pytest.approx(
        1.0, abs=0.01
    )  # a corner of a parotid lies outside the mask
    assert m["from_predicted_structures"]["dose_score"]["value"] == pytest.approx(3.0)
    assert m["from_predicted_structures"]["no_target_found"] == 0
    assert m["boosted_trees"]["train_patients"] == 2
    # The phantom's dose is a function of distance, which trees can learn.
    assert m["boosted_trees"]["dose_score"]["value"] < 3.0
    assert m["dvh_errors"]["PTV_7000 D_95"] == {"value": 0.0, "n": 2}
    assert m["dvh_errors"]["PTV_5600 D_95"]["n"] == 1
    assert m["median_seconds"] >= 0
    assert len(list(tmp_path.glob("dose-trees-*.npz"))) == 1
    one = evaluation.run(Perfect(with_target=False), data, limit=1)
    assert one["n_cases"] == 1
    assert one["metrics"]["from_predicted_structures"] == {"no_target_found": 1}


def test_trees_are_never_fitted_to_the_measured_patients(data, tmp_path):
    assert [f.name for f in tree_folders(data / "validation")] == ["pt_1", "pt_2"]
    assert [f.name for f in tree_folders(data)] == ["pt_1", "pt_2"]
    write_dose_case(tmp_path / "mine" / "pt_7")
    assert tree_folders(tmp_path / "mine") == []
    made = evaluation.run(Perfect(), tmp_path / "mine")
    assert made["metrics"]["boosted_trees"] == {"train_patients": 0}
    with pytest.raises(InputRefusedError, match="training folder"):
        evaluation.run(Perfect(), data / "train")


@pytest.mark.parametrize("name", ["dose.nii.gz", "possible_dose_mask.nii.gz"])
def test_a_patient_that_cannot_be_scored_is_named_before_any_is_measured(tmp_path, name):
    write_dose_case(tmp_path / "mine" / "pt_1")
    write_dose_case(tmp_path / "mine" / "pt_2")
    (tmp_path / "mine" / "pt_2" / name).unlink()
    with pytest.raises(InputRefusedError, match=f"pt_2 has no {name}"):
        evaluation.run(SimpleNamespace(), tmp_path / "mine")


def test_sampled_voxels_come_back_from_the_cache(data, tmp_path, monkeypatch):
    monkeypatch.setattr(dose_trees, "VOXELS_PER_PATIENT", 700)
    folders = tree_folders(data)
    case = read_dose_case(data / "validation" / "pt_202")
    first = DoseTrees(folders, tmp_path).predict(case)
    (file,) = tmp_path.glob("*.npz")
    with np.load(file) as z:
        assert z["y"].shape == (1400,)
    monkeypatch.setattr(dose_trees, "read_dose_case", lambda folder: pytest.fail("read again"))
    np.testing.assert_array_equal(DoseTrees(folders, tmp_path).predict(case), first)
    assert first.shape == SHAPE
    assert not first[~case.possible].any()


def test_an_empty_tally_has_no_numbers():
    assert Tally().summary() == {}
    assert Tally().per_metric() == {}
