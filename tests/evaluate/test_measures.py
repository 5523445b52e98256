"""Numbers that end up in model cards, against numbers worked out by hand."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from imaging.neck_phantom import at, phantom
from train.cases import write_case

from hnvlm import config
from hnvlm.errors import InputRefusedError, ModelPackError, UnreadableFileError, UsageError
from hnvlm.evaluate import cli, common, counterfactual, report, segmentation
from hnvlm.evaluate.additions import LEVEL_TOLERANCE_MM, look_for, place_right, row_of, summary
from hnvlm.evaluate.cases import Case, lesion_cases, rng_of
from hnvlm.evaluate.common import MEASURED, evaluation_folders, read_case, write_metrics
from hnvlm.evaluate.counterfactual import finding_of, judged_left, lesion_zone, outside_change, stated_request
from hnvlm.evaluate.report import denial_probabilities, majority_report
from hnvlm.evaluate.retrieval import chance, ranks
from hnvlm.evaluate.segmentation import Scored, dice, usual
from hnvlm.evaluate.stats import auroc, share
from hnvlm.evaluate.zeroshot import labels_with_truth
from hnvlm.imaging.anatomy import LEVEL_BOX
from hnvlm.imaging.lesions import Lesion, LesionSpec, insert_at
from hnvlm.imaging.volume import Volume
from hnvlm.models.detect import Detection
from hnvlm.models.neck import build_neck
from hnvlm.types import Finding, Provenance, Segmentation


# ---- AUROC, intervals, Dice, recall ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scores", "labels", "area"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0),
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 0.0),
        ([0.9, 0.3, 0.5, 0.1], [1, 1, 0, 0], 0.75),  # of 4 pairs one is in the wrong order
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 0.5),  # ties count one half
        ([0.7, 0.5, 0.5, 0.1], [1, 1, 0, 0], 3.5 / 4),
        ([3.0, 1.0, 2.0, 2.0, 0.0], [1, 1, 0, 0, 0], (3 + 1) / 6),
    ],
)
def test_auroc_by_hand(scores, labels, area):
    assert auroc(scores, labels) == pytest.approx(area)
    assert auroc([-s for s in scores], labels) == pytest.approx(1 - area)
    assert auroc(scores, [not v for v in labels]) == pytest.approx(1 - area)


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_auroc_of_one_class_is_not_a_number(labels):
    assert np.isnan(auroc([0.2, 0.4], labels))


def test_wilson_interval_by_hand():
    """8 of 10 at 95 %: 0.4902 to 0.9433. None of 20: from 0 to z^2 / (n + z^2) = 0.1611."""
    assert share([True] * 8 + [False] * 2) == {"value": 0.8, "n": 10, "low": 0.4902, "high": 0.9433}
    assert share([False] * 20) == {"value": 0.0, "n": 20, "low": 0.0, "high": 0.1611}
    assert share([True] * 20)["low"] == pytest.approx(1 - 0.1611)
    empty = share([])
    assert empty["n"] == 0
    assert empty["value"] is None


def test_dice_by_hand():
    a, b = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    assert dice(a, b) == 1.0
    a[0, 0, :3] = True
    assert dice(a, b) == 0.0
    b[0, 0, 1:] = True  # 2 of 3 and 3 voxels in common
    assert dice(a, b) == pytest.approx(4 / 6)
    assert dice(a, a) == 1.0


def test_recall_by_hand():
    def recall(similarity, groups, k):
        return (ranks(similarity, groups) <= k).mean()

    similarity = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.3], [0.1, 0.7, 0.6]])
    assert recall(similarity, ["a", "b", "c"], 1) == pytest.approx(1 / 3)
    assert recall(similarity, ["a", "b", "c"], 2) == pytest.approx(2 / 3)
    assert recall(similarity, ["a", "b", "c"], 3) == 1.0
    # The very same report of another patient is right too.
    assert recall(similarity, ["a", "a", "c"], 1) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("groups", "k"), [("abcd", 1), ("aabc", 1), ("aabbbc", 2), ("aab", 3), ("ab", 5)])
def test_the_chance_of_recall_is_that_of_every_order(groups, k):
    n = len(groups)
    orders = np.array(list(permutations(range(n))), float)
    hits = [any(groups[j] == groups[i] for j in np.argsort(-row)[:k]) for row in orders for i in range(n)]
    assert chance(list(groups), k) == pytest.approx(np.mean(hits))


# ---- folders and cases ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_case(root / "validation" / "pt_201")
    write_case(root / "validation" / "pt_202", mirrored=True, tg263_names=True)
    (root / "train").mkdir()
    return root


def test_measured_on_patients_never_trained_on(data, monkeypatch, tmp_path):
    assert [f.name for f in evaluation_folders(data)] == ["pt_201", "pt_202"]
    assert [f.name for f in evaluation_folders(data / "validation", limit=1)] == ["pt_201"]
    monkeypatch.chdir(data / "train")
    for path in (data / "train", ".", data / "validation" / ".." / "train"):
        with pytest.raises(InputRefusedError, match="never trained on"):
            evaluation_folders(path)
    with pytest.raises(InputRefusedError, match=r"ct\.nii\.gz"):
        evaluation_folders(tmp_path)


def test_both_kinds_of_names_are_the_truth(data):
    for name in ("pt_201", "pt_202"):
        ct, masks = read_case(data / "validation" / name)
        assert ct.array.dtype == np.int16
        assert set(masks) == {"Brainstem", "SpinalCord", "Larynx", "Parotid_L", "Parotid_R", "Bone_Mandible"}
        assert all(m.shape == ct.shape and m.dtype == bool for m in masks.values())


class ScriptedPack:
    """Contours the phantom by looking at its answer; everything else is the real code."""

    def __init__(self, folder: Path, *, extra_slices: int = 0) -> None:
        self.folder = folder
        self.extra = extra_slices

    def segment(self, volume: Volume) -> Segmentation:
        _, masks = phantom((3.0, 2.5, 2.5))
        _, other = phantom((3.0, 2.5, 2.5), mirrored=True)
        body = volume.array[:, 10:-10, 20:-20] > 800
        left = body[..., : body.shape[2] // 2].sum()
        masks = other if left > body.sum() / 2 else masks  # the bone in one corner tells the mirrored one
        cord = masks["SpinalCord"].copy()
        first, last = np.flatnonzero(cord.any((1, 2)))[[0, -1]]
        cord[last + 1 : last + 1 + self.extra] = cord[last]
        cord[max(0, first - self.extra) : first] = cord[first]
        return Segmentation(masks | {"SpinalCord": cord}, {}, Provenance("scripted", "1", "", 0), 2.0)

    def neck(self, volume: Volume, found: Segmentation):
        return build_neck(volume, found.masks)


def test_segmentation_does_not_punish_what_the_clinic_did_not_contour(data, tmp_path):
    result = segmentation.run(ScriptedPack(tmp_path, extra_slices=3), data)
    assert result["n_cases"] == 2
    assert result["model"] == "segmenter"
    metrics = result["metrics"]
    assert metrics["dice_SpinalCord"] == {"mean": 1.0, "sd": 0.0, "median": 1.0, "n": 2}
    assert metrics["dice_Larynx"]["mean"] == 1.0
    assert "dice_PTV_7000" not in metrics  # nobody contoured one
    assert metrics["mean_dice_core"] == {"value": 1.0, "n": 2}
    assert metrics["mean_dice_core_structures"] == 5
    assert metrics["median_seconds"] == 2.0


def test_an_empty_contour_is_no_crash(data, tmp_path, monkeypatch):
    def with_empty(folder):
        ct, masks = read_case(folder)
        return ct, masks | {"Esophagus": np.zeros(ct.shape, bool)}

    monkeypatch.setattr(segmentation, "read_case", with_empty)
    metrics = segmentation.run(ScriptedPack(tmp_path), data, limit=1)["metrics"]
    assert metrics["dice_Esophagus"]["mean"] == 1.0  # none contoured, none predicted


def test_patients_without_contours_are_refused_before_any_is_contoured(data, tmp_path):
    (tmp_path / "mine" / "pt_1").mkdir(parents=True)
    shutil.copy(data / "validation" / "pt_201" / "ct.nii.gz", tmp_path / "mine" / "pt_1")
    with pytest.raises(InputRefusedError, match="nothing to compare"):
        segmentation.run(SimpleNamespace(), tmp_path / "mine")


def test_a_damaged_file_is_named_with_its_patient(data, tmp_path):
    folder = tmp_path / "pt_77"
    shutil.copytree(data / "validation" / "pt_201", folder)
    (folder / "Mandible.nii.gz").write_bytes((folder / "Mandible.nii.gz").read_bytes()[:60])
    with pytest.raises(UnreadableFileError, match=r"pt_77: Mandible"):
        read_case(folder)


def test_unusual_contours_by_hand():
    """Median 24 mL: from 8 to 72 mL is usual; a tenth of air is, too, in an organ without air and not beyond."""

    def rows(*volumes: float, air: float = 0.0) -> list[Scored]:
        return [Scored(f"p{k}", 0.5, v, air) for k, v in enumerate(volumes)]

    cords = rows(8.0, 24.0, 72.0, 480.0, 7.9, 20.0, 30.0)
    assert [r.patient for r in usual("SpinalCord", cords)] == ["p0", "p1", "p2", "p5", "p6"]
    assert usual("Parotid_L", rows(25.0, 26.0, air=0.1)) == rows(25.0, 26.0, air=0.1)
    assert usual("Parotid_L", rows(25.0, 26.0, air=0.11)) == []
    assert len(usual("Larynx", rows(25.0, 26.0, air=0.3))) == 2  # it has an airway


def test_an_unusual_contour_counts_in_the_mean_and_is_named(data, tmp_path, monkeypatch):
    """The second clinic's cord is one voxel: 0 to 0.5 of Dice, named, and left out of the mean over usual contours."""

    def with_speck(folder):
        ct, masks = read_case(folder)
        if folder.name == "pt_202":
            speck = np.zeros(ct.shape, bool)
            speck[tuple(np.argwhere(masks["SpinalCord"])[0])] = True
            masks["SpinalCord"] = speck
        return ct, masks

    monkeypatch.setattr(segmentation, "read_case", with_speck)
    # With a third patient, so that the median is a true cord's.
    folders = [data / "validation" / name for name in ("pt_201", "pt_202", "pt_201")]
    monkeypatch.setattr(segmentation, "evaluation_folders", lambda *_: folders)
    metrics = segmentation.run(ScriptedPack(tmp_path), data)["metrics"]
    assert metrics["dice_SpinalCord"]["n"] == 3
    assert metrics["dice_SpinalCord"]["mean"] < 0.9
    assert metrics["dice_over_usual_contours"]["SpinalCord"] == {"value": 1.0, "n": 2}
    assert metrics["unusual_contours"] == {"SpinalCord": "pt_202"}


def test_cases_are_the_same_every_time(data, tmp_path):
    runs = [list(lesion_cases(ScriptedPack(tmp_path), data, limit=1)) for _ in range(2)]
    assert [len(c.lesions) for c in runs[0]] == [0, 1, 1]
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a.ct.array, b.ct.array)
    clean, lesioned = runs[0][0], runs[0][1]
    changed = lesioned.ct.array != clean.ct.array
    outside = np.ones(changed.shape, bool)
    outside[lesioned.lesions[0].slices] = False
    assert changed.any()
    assert not (changed & outside).any()
    assert rng_of("pt_1").random() == rng_of("pt_1").random() != rng_of("pt_2").random()


# ---- the command ----------------------------------------------------------------------------------------------------
@pytest.fixture
def empty_pack(tmp_path, monkeypatch):
    monkeypatch.setenv("HNVLM_ASSETS_DIR", str(tmp_path / "assets"))
    config.settings.cache_clear()
    yield tmp_path / "assets" / "models"
    config.settings.cache_clear()


def test_an_unknown_evaluation_is_refused(data):
    with pytest.raises(UsageError, match=r"no evaluation 'beauty'.*segmentation"):
        cli.evaluate("beauty", data)


@pytest.mark.parametrize(("name", "lacks"), [("segmentation", "segmenter"), ("counterfactual", "diffusion, judge")])
def test_a_pack_without_the_model_is_refused(empty_pack, data, name, lacks):
    with pytest.raises(ModelPackError, match=f"'{name}' needs.*{lacks}.*train first"):
        cli.evaluate(name, data)


def test_only_a_long_evaluation_is_shared_out(data):
    with pytest.raises(UsageError, match="--processes is a number from 1"):
        cli.evaluate("counterfactual", data, processes=0)
    with pytest.raises(UsageError, match="more than 1 only for counterfactual"):
        cli.evaluate("segmentation", data, processes=2)


@pytest.mark.parametrize("processes", [1, 2])
def test_patients_shared_out_come_back_in_order(processes):
    folders = [f"validation/pt_{n}" for n in (31, 4, 15)]
    assert list(common.each(os.path.basename, folders, processes)) == ["pt_31", "pt_4", "pt_15"]


def test_a_counterfactual_evaluation_counts_every_patient_once(data, monkeypatch):
    """Whatever a patient's rows are, they are all in the sums."""
    rows = {name: [] for name in counterfactual.ROWS}
    seen = {"present": True, "kind": "node", "at": "II", "asked_mm": 20.0, "side": True, "place": True}
    seen |= {"size_mm": 18.0, "texture": None}
    monkeypatch.setattr(counterfactual, "Judge", lambda folder: SimpleNamespace(kept_aside={}))
    monkeypatch.setattr(counterfactual, "reader_alone", lambda pack: {})
    one = {"mid": [seen, seen], "held": [{**seen, "present": False}], "none": [True], "outside": [0], "seconds": [2.0]}
    monkeypatch.setattr(counterfactual, "rows_of", lambda pack, judge, folder: rows | one)
    n = len(evaluation_folders(data))
    told = counterfactual.run(SimpleNamespace(folder=Path("pack"), threads=2), data)
    assert told["n_cases"] == n > 0
    assert told["parts"]["text"]["counted"] == "sentences" and "counted" not in told["parts"]["judge"]
    assert told["metrics"]["additions"]["present"]["n"] == 3 * n
    assert told["metrics"]["additions"]["present"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert told["metrics"]["no_mass_changes_nothing"] == share([True] * n)


def test_metrics_are_recorded_beside_others_and_in_the_card(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "README.md").write_text(f"# Card\n\nWords of a person.\n\n{MEASURED}\n\nold numbers\n")
    pack = SimpleNamespace(folder=tmp_path)
    result = {"n_cases": 9, "metrics": {"mean_auroc": 0.81, "per_label": {"x": 1}}, "seconds": 3.0}
    write_metrics(pack, "clip", "zeroshot", "hnvlm evaluate zeroshot --data DATA", result)
    other = {"n_cases": 5, "metrics": {"recall": share([True, False]), "dice": {"mean": 0.5, "sd": 0.1, "n": 5}}}
    write_metrics(pack, "clip", "retrieval", "hnvlm evaluate retrieval --data DATA", other)
    known = json.loads((folder / "metrics.json").read_text())
    assert set(known) == {"zeroshot", "retrieval"}
    assert known["zeroshot"]["n_cases"] == 9
    card = (folder / "README.md").read_text()
    assert card.startswith("# Card\n\nWords of a person.")
    assert "old numbers" not in card
    assert "| mean_auroc | 0.81 |" in card
    assert "per_label" not in card
    assert "| recall | 0.5 (95 % " in card
    assert "| dice | 0.5 +- 0.1 (n 5) |" in card
    assert card.count(MEASURED) == 1


def test_a_recorded_evaluation_runs_its_module(empty_pack, data, monkeypatch):
    (empty_pack / "segmenter").mkdir(parents=True)
    (empty_pack / "segmenter" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(cli, "load", lambda: ScriptedPack(empty_pack))
    result = cli.evaluate("segmentation", data)
    assert set(result) == {"metrics", "n_cases", "model", "seconds", "patients"}
    written = json.loads((empty_pack / "segmenter" / "metrics.json").read_text())
    assert written["segmentation"]["metrics"]["mean_dice_core"]["value"] == 1.0
    (empty_pack / "segmenter" / "metrics.json").unlink()
    cli.evaluate("segmentation", data, limit=1)  # a part of the patients is not recorded
    cli.evaluate("segmentation", data, record=False)
    assert not (empty_pack / "segmenter" / "metrics.json").exists()


# ---- report ---------------------------------------------------------------------------------------------------------
class WordTokenizer:
    """One id a word."""

    words = ("Primary site:", " No", " mass.", " A mass", "\nNodes right:", "\nNodes left:", " nodes.", " Airway:")

    def encode(self, text: str):
        return SimpleNamespace(ids=[self.words.index(text)])

    def decode(self, ids: list[int]) -> str:
        return "".join(self.words[i] for i in ids)


def test_denial_probabilities_of_a_scripted_decode():
    """Primary site: No mass. / Nodes right: A mass / Nodes left: No nodes."""
    script = [0, 1, 2, 4, 3, 5, 1, 6]
    steps = []
    for k, choice in enumerate(script):
        p = torch.full((8,), 0.01)
        p[1] = {1: 0.9, 4: 0.2, 6: 0.7}.get(k, 0.05)  # the probability of " No" where a line has just begun
        steps.append((p, choice))
    got = denial_probabilities(WordTokenizer(), steps)
    assert [line for line, _ in got] == ["Primary site:", "Nodes right:", "Nodes left:"]
    assert [p for _, p in got] == pytest.approx([0.9, 0.2, 0.7])


def test_majority_report_is_the_most_frequent():
    assert majority_report(["a", "b", "b", "c"]) == "b"


def test_a_report_is_judged_against_its_lesion():
    truth = LesionSpec("node", "II", "left", 20.0, "necrotic")
    case = SimpleNamespace(lesions=[SimpleNamespace(spec=truth)], report=None)

    def found(**given):
        values = {"side": "left", "level": "II", "size_mm": 26.0, "attributes": {"texture": "necrotic"}}
        return Finding("node", **(values | given))

    right = report._judge(case, [Finding("coverage"), found(), found(side="right", size_mm=9.0)])
    assert (right["found"], right["side"], right["place"], right["texture"]) == (True, True, True, True)
    assert right["size_error_mm"] == pytest.approx(6.0)
    wrong = report._judge(case, [found(side="right")])
    assert wrong["side"] is False
    assert wrong["size_error_mm"] is None  # the size of something elsewhere is no error of this one
    assert report._judge(case, [replace(found(), presence="absent")])["found"] is False
    mass = report._judge(case, [Finding("mass", side="left", site="oral tongue", size_mm=20.0)])
    assert (mass["found"], mass["place"]) == (True, False)


# ---- counterfactual -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def neck():
    return build_neck(*phantom())


def detection(wvu: tuple[float, float, float], place: str, **given) -> Detection:
    mask = np.zeros((64, 64, 64), bool)
    mask[30:34, 30:34, 30:34] = True
    values = {"kind": "node", "side": "left", "size_mm": 12.0, "mean_core_hu": 20.0}
    return Detection(mask=mask, score=0.9, centre_mm=at(*wvu), place=place, **(values | given))


def asked(**given):
    return {"op": "add", "kind": "node", "place": "II", "side": "left", "size_mm": 20.0, "texture": None} | given


def test_a_level_is_missed_by_at_most_its_tolerance(neck):
    """Level II begins 3 mm above the mandible's border; the frame's own zero lies 1.5 mm higher in the phantom."""
    low = LEVEL_BOX["II"][0][0] + 1.5
    assert place_right(detection((-20.0, -20.0, 40.0), "II"), asked(), neck)  # named II: right without a measure
    assert place_right(detection((low - LEVEL_TOLERANCE_MM + 0.5, -20.0, 40.0), "III"), asked(), neck)
    assert not place_right(detection((low - LEVEL_TOLERANCE_MM - 0.5, -20.0, 40.0), "III"), asked(), neck)
    assert not place_right(detection((15.0, -20.0, -40.0), "III"), asked(), neck)  # the other side
    assert place_right(detection((15.0, -20.0, -40.0), "III"), asked(side="right"), neck)


def test_a_site_is_missed_by_at_most_its_tolerance(neck):
    mass = asked(kind="mass", place="parotid gland")
    gland = (24.0, -14.0)  # ball of 16 mm around u 50
    assert place_right(detection((*gland, 50.0 + 16 + 2.0), "oral tongue", kind="mass"), mass, neck)
    assert not place_right(detection((*gland, 50.0 - 16 - 7.0), "oral tongue", kind="mass"), mass, neck)
    bare = build_neck(*[phantom()[0], {k: m for k, m in phantom()[1].items() if k != "Parotid_L"}])
    assert not place_right(detection((*gland, 50.0), "oral tongue", kind="mass"), mass, bare)


def test_what_the_judge_says_becomes_a_row(neck):
    assert row_of(None, asked(), neck) == {"present": False, "kind": "node", "at": "II", "asked_mm": 20.0}
    row = row_of(detection((15.0, -20.0, 40.0), "II"), asked(texture="necrotic"), neck)
    assert row == {
        "present": True, "side": True, "place": True, "size_mm": 12.0, "texture": True, "asked_mm": 20.0,
        "kind": "node", "at": "II", "necrotic": True, "core_hu": detection((0, 0, 0), "II").mean_core_hu,
    }  # fmt: skip
    assert row_of(detection((15.0, -20.0, 40.0), "II"), asked(texture="solid"), neck)["texture"] is False
    assert row_of(detection((15.0, -20.0, 40.0), "II", side="right"), asked(), neck)["side"] is False
    assert row_of(detection((15.0, -20.0, 40.0), "II"), asked(), neck)["texture"] is None


def test_the_core_of_what_was_asked_dark_is_darker():
    """Cores of 10 and 50 HU asked necrotic, of 40 and 60 asked solid: three of four pairs are in order."""
    core = [(20.0, True, 10.0), (30.0, True, 50.0), (15.0, False, 40.0), (40.0, False, 60.0), (14.0, True, 90.0)]
    rows = [
        {"present": True, "side": True, "place": True, "texture": True, "size_mm": mm, "asked_mm": mm, "kind": "node"}
        | {"necrotic": necrotic, "core_hu": hu}
        for mm, necrotic, hu in core
    ]
    told = summary(rows)  # a node of 14 mm is made solid and left out
    assert told["core_hu_asked_necrotic"] == {"value": 30.0, "n": 2}
    assert told["core_hu_asked_solid"] == {"value": 50.0, "n": 2}
    assert (told["core_hu_auroc"]["value"], told["core_hu_auroc"]["n"]) == (0.75, 4)


def test_summary_by_hand():
    """Sizes asked 10, 20, 30, 40 and measured 12, 18, 33, 37: errors 2, 2, 3, 3."""
    rows = [
        {
            "present": True,
            "side": k != 1,
            "place": True,
            "texture": None if k else True,
            "size_mm": m,
            "asked_mm": a,
            "kind": "mass" if k == 3 else "node",
        }
        for k, (a, m) in enumerate([(10, 12), (20, 18), (30, 33), (40, 37)])
    ]
    told = summary([*rows, {"present": False, "kind": "mass", "asked_mm": 14.0}])
    assert told["present"]["value"] == 0.8
    assert (told["present_nodes"]["value"], told["present_masses"]["value"]) == (1.0, 0.5)
    assert (told["present_15_mm_and_more"]["value"], told["present_15_mm_and_more"]["n"]) == (1.0, 3)
    assert told["side_right"] == share([True, False, True, True])
    assert told["texture_right"]["n"] == 1
    assert told["size_mae_mm"] == {"value": 2.5, "n": 4}
    assert told["size_r"]["value"] == pytest.approx(np.corrcoef([10, 20, 30, 40], [12, 18, 33, 37])[0, 1], abs=1e-3)
    nothing = summary([{"present": False, "kind": "node", "asked_mm": None}])
    assert nothing["size_mae_mm"] == {"value": None, "n": 0}
    assert nothing["size_r"] == {"value": None, "n": 0}


def test_only_a_lesion_inside_the_edit_is_the_edit(neck):
    near, far = detection((0, 0, 0), "II"), detection((0, 0, 0), "II")
    far.mask[:] = False
    far.mask[5:12, 5:12, 5:12] = True
    judge = SimpleNamespace(look=lambda volume, neck: ([far, near], None, None))
    edit = np.zeros(neck.working.shape, bool)
    z, y, x = (int(s) + 30 for s in neck.start)
    edit[z : z + 4, y : y + 4, x : x + 4] = True
    assert look_for(judge, neck.working, edit, neck) is near
    assert look_for(judge, neck.working, np.zeros_like(edit), neck) is None


def test_change_outside_the_mask_is_measured():
    ct = Volume(np.zeros((3, 4, 5), np.int16), (1.0, 1.0, 1.0))
    hu = ct.array.copy()
    hu[1, 1, 1], hu[2, 2, 2] = 50, -8
    mask = np.zeros(ct.shape, bool)
    mask[1, 1, 1] = True
    result = SimpleNamespace(volume=ct.with_array(hu), edit_mask=mask)
    assert outside_change(ct, result) == 8
    result.edit_mask = np.ones(ct.shape, bool)
    assert outside_change(ct, result) == 0


def test_the_zone_of_a_lesion_is_its_mask_and_two_voxels(neck):
    ct, _ = phantom((3.0, 1.8, 1.5))
    lesion = insert_at(ct, LesionSpec("node", "II", "left", 18.0), at(12.0, -18.0, 42.0), np.random.default_rng(0))
    zone = lesion_zone(lesion, ct, neck)
    middle = np.argwhere(zone).mean(0) + neck.start
    np.testing.assert_allclose(neck.working.index_to_mm(middle), at(12.0, -18.0, 42.0), atol=3.0)
    extent = np.ptp(np.argwhere(zone), axis=0) + 1
    assert (extent * 3.0 <= 18 + 5 * 3.0 + 3).all()
    assert (extent * 3.0 >= 12 + 4 * 3.0).all()


def test_requests_name_what_is_judged():
    import random

    finding = finding_of(LesionSpec("node", "III", "right", 24.0, "necrotic"))
    for bank in ("mid", "held"):
        text, labels = stated_request("add", finding, random.Random(3), bank)
        assert text
        assert (labels["kind"], labels["place"], labels["side"]) == ("node", "III", "right")
        assert labels["size_mm"]


def test_labels_of_the_zero_shot_table_know_their_lesions():
    table = labels_with_truth()
    texts = [t for t, _ in table]
    assert len(set(texts)) == len(texts)
    spec = LesionSpec("node", "II", "left", 20.0, "necrotic")
    true = {t for t, test in table if test(spec)}
    assert true == {
        "a mass or an enlarged lymph node", "enlarged lymph node in the left neck", "left level II node",
        "necrotic lymph node",
    }  # fmt: skip
    mass = LesionSpec("mass", "oral tongue", "right", 20.0, "necrotic")
    assert {t for t, test in table if test(mass)} == {
        "a mass or an enlarged lymph node",
        "mass in the right oral tongue",
    }


def test_progress_goes_to_stderr(capsys):
    common.log("pt_1 1/2")
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.endswith("pt_1 1/2\n")


# ---- removal --------------------------------------------------------------------------------------------------------
def removal_maps(value: float, voxels: int = 4) -> np.ndarray:
    """Probabilities (3, 9, 8, 7), ``value`` in a bar of nodes of 3 x 3 x ``voxels``."""
    p = np.zeros((3, 9, 8, 7), np.float32)
    p[0, 2:5, 2:5, 1 : 1 + voxels] = value
    return p


@pytest.mark.parametrize("value", [0.2, 0.9])
def test_a_removal_that_changes_nothing_leaves_everything_however_faint_the_lesion(value):
    zone = np.ones((9, 8, 7), bool)
    assert judged_left(removal_maps(value), removal_maps(value), zone, threshold=0.12) == (True, 1.0)


def test_what_a_removal_leaves_by_hand():
    zone = np.ones((9, 8, 7), bool)
    before, after = removal_maps(0.9), removal_maps(0.9, voxels=1)
    assert judged_left(before, after, zone, threshold=0.12) == (True, 0.25)
    assert judged_left(before, removal_maps(0.05), zone, threshold=0.12) == (True, 0.0)  # below 0.8 x 0.12
    zone[:, :, 1] = False  # outside the zone nothing counts
    assert judged_left(before, after, zone, threshold=0.12) == (True, 0.0)
    assert judged_left(removal_maps(0.05), after, zone, threshold=0.12)[0] is False


# ---- presence -------------------------------------------------------------------------------------------------------
def presence_case(kind: str | None, size_mm: float = 20.0, side: str = "left") -> Case:
    ct, masks = phantom()
    spec = LesionSpec(kind or "node", "II" if kind != "mass" else "oral tongue", side, size_mm)
    nothing = np.zeros((1, 1, 1), np.float32)
    lesions = [] if kind is None else [Lesion(spec, (0, 0, 0), nothing, nothing, (0.0, 0.0, 0.0))]
    found = Segmentation(masks, {}, Provenance("phantom", "1", "", 0), 0.0)
    return Case("phantom", ct, found, lesions, dict(masks))


def denials(primary: float, right: float, left: float) -> list[tuple[str, float]]:
    return [("Primary site:", primary), ("Nodes right:", right), ("Nodes left:", left)]


def test_presence_per_ct_and_per_line_by_hand(neck):
    presence = report.Presence()
    quiet = np.zeros((3, 64, 64, 64), np.float32)
    presence.add(presence_case(None), denials(0.9, 0.9, 0.9), quiet, neck)  # 1 - 0.729 = 0.271
    presence.add(presence_case("node", 12.0), denials(0.95, 0.95, 0.95), quiet, neck)  # 0.143, small, overlooked
    presence.add(presence_case("mass", 30.0), denials(0.2, 0.9, 0.9), quiet + 0.5, neck)  # 0.838
    got = presence.metrics()
    assert got["presence_auroc"] == {"value": 0.5, "n": 3, "patients": 1}
    assert got["presence_auroc_15_mm_and_more"]["value"] == 1.0
    assert got["presence_auroc_15_mm_and_more_n"] == 1
    assert got["detector_presence_auroc"]["value"] == 0.75  # one above, one tied
    # positives: left node 0.05, mass 0.8; negatives: 3 x 0.1, 2 x 0.05, 2 x 0.1 -> (2 x 0.5 + 7) / 14
    assert got["presence_auroc_per_line"]["value"] == round(8 / 14, 4)
    assert got["presence_auroc_per_line_n"] == {"with_lesion": 2, "without": 7}


@pytest.mark.parametrize(("wvu", "inside"), [((18, -20, 40), True), ((18, -20, -40), False)])
def test_whether_the_strongest_finding_lies_in_the_clinics_target(neck, wvu, inside):
    case = presence_case(None)
    centre = np.rint(case.ct.mm_to_index(at(18, -20, 40))).astype(int)
    target = np.zeros(case.ct.shape, bool)
    target[tuple(slice(c - 6, c + 7) for c in centre)] = True
    case.masks["PTV_7000"] = target
    probability = np.zeros((3, 64, 64, 64), np.float32)
    z, y, x = np.rint(neck.working.mm_to_index(at(*wvu)) - neck.start).astype(int)
    probability[0, z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 0.8
    presence = report.Presence()
    presence.add(case, denials(0.9, 0.9, 0.9), probability, neck)
    assert presence.peak_in_target == [inside]
    assert 0 < presence.target_share[0] < 0.1
