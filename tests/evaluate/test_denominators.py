"""What a share is of: requests that were refused, patients left out, findings named beside the right one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from imaging.neck_phantom import phantom
from train.cases import write_case

from hnvlm.errors import InputRefusedError, ScopeError, UsageError
from hnvlm.evaluate import cases, counterfactual, generation, retrieval, segmentation
from hnvlm.evaluate.additions import asked_of, of_all_asked
from hnvlm.evaluate.cases import Tally, lesion_cases
from hnvlm.evaluate.counterfactual import ROWS, judge_additions, judge_removal, metrics_of, reach_mm, reached, rows_of
from hnvlm.evaluate.report import Facts, clinics_target_side, lesion_metrics, majority_baseline
from hnvlm.evaluate.stats import share
from hnvlm.imaging.volume import Volume
from hnvlm.models.neck import build_neck
from hnvlm.report.compare import compare
from hnvlm.types import Finding, Provenance, Segmentation

NO_ROOM = "There is no room for a 20 mm node at left II in this scan."


def empty_rows() -> dict[str, list]:
    return {name: [] for name in ROWS}


# ---- counterfactuals ------------------------------------------------------------------------------------------------
def test_a_request_for_which_there_is_no_room_counts_among_what_was_asked():
    """Of 7 requests 5 are drawn and 4 seen: 4 / 5 of the edits, 4 / 7 of what was asked."""
    node, mass = {"kind": "node"}, {"kind": "mass"}
    rows = [
        asked_of("mid", node, "no_room"),
        *[asked_of("mid", node, "drawn", True) for _ in range(3)],
        asked_of("held", node, "not_understood"),
        asked_of("mid", mass, "drawn", True),
        asked_of("mid", mass, "drawn", False),
    ]
    told = of_all_asked(rows, list("abcdefg"))
    assert told["requests"] == {"asked": 7, "drawn": 5, "no_room": 1, "not_understood": 1}
    assert told["present"] == share([True] * 4 + [False] * 3)
    assert (told["present_nodes"]["value"], told["present_nodes"]["n"]) == (0.6, 5)
    assert (told["present_masses"]["value"], told["present_masses"]["n"]) == (0.5, 2)


@pytest.fixture(scope="module")
def neck():
    return build_neck(*phantom())


class Refusing:
    """A pack that draws nothing, and says why."""

    def __init__(self, neck, message: str) -> None:
        self.a_neck, self.message, self.asked = neck, message, 0

    def segment(self, ct):
        return Segmentation(phantom()[1], {}, Provenance("phantom", "1", "", 0), 0.0)

    def neck(self, ct, segmentation):
        return self.a_neck

    def counterfactual(self, *args, **options):
        self.asked += 1
        raise UsageError(self.message)


@pytest.mark.parametrize(("message", "asked", "outcome"), [(NO_ROOM, 18, "no_room"), ("Where?", 3, "not_understood")])
def test_every_refused_addition_is_taken_down(neck, message, asked, outcome):
    """Three wishes a patient; where there is no room another is asked for, six times at most."""
    rows, pack = empty_rows(), Refusing(neck, message)
    judge_additions(pack, SimpleNamespace(), phantom()[0], pack.segment(None), "pt_1", rows)
    assert pack.asked == asked == len(rows["asked"])
    assert {r["outcome"] for r in rows["asked"]} == {outcome}
    assert {r["present"] for r in rows["asked"]} == {False}
    # What was not understood is a failure among the edits as well.
    assert len(rows["mid"]) + len(rows["held"]) == (3 if outcome == "not_understood" else 0)


def test_a_refused_removal_leaves_everything_and_the_others_are_still_measured(neck, monkeypatch):
    """It ended the whole evaluation."""
    rows, pack = empty_rows(), Refusing(neck, "Where?")
    probability = np.zeros((3, 64, 64, 64), np.float32)
    judge = SimpleNamespace(look=lambda volume, neck: ([], probability, None), threshold=0.4)
    monkeypatch.setattr(counterfactual, "read_case", lambda folder: (phantom()[0], {}))
    rows = rows_of(pack, judge, SimpleNamespace(name="pt_1"))
    assert rows["removal_asked"] == [True]
    assert rows["removal"] == [{"seen": False, "left": 1.0, "hu_left": 1.0, "changed": False}]
    assert rows["none"] == [False]
    assert len(rows["not_understood"]) == 5
    told = metrics_of(rows, {name: ["pt_1"] * len(v) for name, v in rows.items()})
    assert told["removals"] == {"patients": 1, "lesion_inserted_and_asked": 1}
    assert told["removal_less_than_half_left"]["value"] == 0.0
    assert told["removal_less_than_half_left_of_those_seen_before"] == {"value": None, "n": 0}
    assert told["additions_of_all_asked"]["requests"]["asked"] == 3


def test_a_neck_without_a_lesion_to_remove_is_counted(neck, monkeypatch):
    rows = empty_rows()
    monkeypatch.setattr(counterfactual, "insert", lambda *a, **k: None)
    judge_removal(Refusing(neck, ""), SimpleNamespace(), phantom()[0], None, "pt_1", rows)
    assert (rows["removal_asked"], rows["removal"]) == ([False], [])


def test_no_edit_at_all_is_no_proof_that_nothing_else_changed():
    """The largest change outside the edits was 0 HU when there was no edit."""
    told = metrics_of(empty_rows(), empty_rows())
    assert told["max_abs_change_outside_edit_hu"] is None
    assert told["edits_compared_outside"] == 0
    assert told["additions"]["present"] == {"value": None, "n": 0}


def test_how_far_an_edit_reaches_by_hand():
    """Voxels of 2 x 3 x 5 mm; 30 HU at x 1, 10 HU at x 5: the middle at x 2 (10 mm), the farthest 15 mm from it."""
    ct = Volume(np.zeros((4, 5, 7), np.int16), (2.0, 3.0, 5.0))
    hu = ct.array.copy()
    hu[1, 2, 1], hu[1, 2, 5] = 30, -10
    assert reach_mm(ct, SimpleNamespace(volume=ct.with_array(hu)), 12.0) == pytest.approx(15.0 - 6.0)
    assert reach_mm(ct, SimpleNamespace(volume=ct), 12.0) is None
    assert reached([9.0, None, 4.0, -1.5]) == {"median": 4.0, "largest": 9.0, "edits": 3, "changed_nothing": 1}
    assert reached([]) == {"median": None, "largest": None, "edits": 0, "changed_nothing": 0}


def test_generated_necks_that_were_refused_are_counted(neck, monkeypatch):
    def generate(text, seed):
        raise UsageError(NO_ROOM)

    atlas = SimpleNamespace(volume=None, masks={})
    monkeypatch.setattr(generation, "Judge", lambda folder: None)
    monkeypatch.setattr(generation, "sample_neck", lambda seed: atlas)
    pack = SimpleNamespace(folder=Path("pack"), neck=lambda *a: neck, generate=generate)
    told = generation.run(pack, None, limit=3)["metrics"]
    assert told["requests_refused"] == 3
    assert told["present"] == share([False] * 3)


# ---- patients left out ----------------------------------------------------------------------------------------------
class OneWithoutNeck:
    """Finds no landmarks in the first patient that it is asked for."""

    def __init__(self, without: int) -> None:
        self.without = without

    def segment(self, ct):
        return Segmentation(phantom((3.0, 2.5, 2.5))[1], {}, Provenance("phantom", "1", "", 0), 0.0)

    def neck(self, ct, segmentation):
        self.without -= 1
        if self.without >= 0:
            raise ScopeError("The landmarks of the neck could not be found in this CT.")
        return build_neck(ct, segmentation.masks)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("pt_1", "pt_2"):
        write_case(root / name)
    return root


def test_a_ct_that_is_not_of_a_neck_does_not_cost_the_others_numbers(data, monkeypatch, capsys):
    """It ended the evaluation, after what was measured before it."""
    tally = Tally()
    made = list(lesion_cases(OneWithoutNeck(1), data, tally=tally))
    assert [c.patient for c in made] == ["pt_2"] * 3
    assert (tally.measured, tally.out_of_scope) == (1, ["pt_1"])
    assert tally.told() == {"patients_out_of_scope": 1, "lesions_wanted": 2, "lesions_inserted": 2}
    assert "pt_1 is left out" in capsys.readouterr().err
    with pytest.raises(InputRefusedError, match=r"No patient in .* has a neck"):
        list(lesion_cases(OneWithoutNeck(2), data))
    rows = rows_of(OneWithoutNeck(1), SimpleNamespace(), data / "pt_1")
    assert rows["out_of_scope"] == ["pt_1"]
    assert not rows["asked"]


def test_lesions_that_could_not_be_inserted_are_counted(data, monkeypatch):
    monkeypatch.setattr(cases, "insert", lambda *a, **k: None)
    tally = Tally()
    assert [len(c.lesions) for c in lesion_cases(OneWithoutNeck(0), data, tally=tally)] == [0, 0]
    assert (tally.wanted, tally.inserted) == (4, 0)
    with pytest.raises(InputRefusedError, match="No lesion could be inserted"):
        retrieval.run(OneWithoutNeck(0), data)


def test_a_cord_beyond_the_contours_ends_shows_in_the_dice_that_is_not_cut(data, monkeypatch):
    """Contours of 7 slices, prediction of 10: 1.0 cut to the contour, 2 x 7 / (7 + 10) with all slices."""
    shape = (20, 30, 40)
    truth, guess = np.zeros(shape, bool), np.zeros(shape, bool)
    truth[6:13, 10:13, 20:22] = guess[5:15, 10:13, 20:22] = True
    ct = Volume(np.zeros(shape, np.int16), (3.0, 2.0, 1.5))
    monkeypatch.setattr(segmentation, "read_case", lambda f: (ct, {"SpinalCord": truth} if f.name == "pt_1" else {}))
    pack = SimpleNamespace(segment=lambda ct: Segmentation({"SpinalCord": guess}, {}, Provenance("s", "1", "", 0), 2.0))
    told = segmentation.run(pack, data)["metrics"]
    assert told["dice_SpinalCord"]["mean"] == 1.0
    assert told["dice_not_cut_to_the_contour"] == {"SpinalCord": {"value": round(14 / 17, 4), "n": 1}}
    assert told["mean_dice_core"] == {"value": 1.0, "n": 1}
    assert told["mean_dice_core_structures"] == 1
    assert told["patients_without_contours"] == 1


# ---- reports --------------------------------------------------------------------------------------------------------
def node(side: str, level: str = "II") -> Finding:
    return Finding("node", side=side, level=level, size_mm=20.0)


def row(patient: str, said: list[Finding], **given) -> dict:
    judged = {"found": bool(said), "truth": "node left II", "compare": compare([node("left")], said)}
    return {"patient": patient, "drafted": True, **judged, **given}


RIGHT = {"side": True, "place": True, "texture": True, "size_error_mm": 3.0}


def test_what_a_report_names_beside_the_right_lesion_shows():
    """Three with a lesion: right, right and another beside it, none named; of two without one, one is given a node."""
    rows = [
        row("a", [node("left")], another=False, **RIGHT),
        row("b", [node("left"), node("right")], another=True, **RIGHT),
        row("c", []),
    ]
    clean = [
        {"patient": "a", "named": False, "compare": compare([], [])},
        {"patient": "b", "named": True, "compare": compare([], [node("right")])},
    ]
    told = lesion_metrics(rows, clean, [{"patient": p, "named": p == "b"} for p in "abc"])
    assert told["lesion_named_in_patients_treated_to_70_gy"] == share([False, True, False])
    assert told["side_right"] == share([True, True])
    assert told["side_right_of_all"] == told["place_right_of_all"] == share([True, True, False])
    assert told["another_lesion_named_too"] == share([False, True])
    assert told["side_right_where_one_is_named"] == told["place_right_where_one_is_named"] == share([True])
    assert told["finding_f1"]["value"] == round(4 / (4 + 1 + 1), 4)  # 2 hits, 1 too many, 1 missed
    assert told["finding_f1_of_all_cts"]["value"] == round(4 / (4 + 2 + 1), 4)
    assert told["size_mae_mm"] == {"value": 3.0, "n": 2}
    assert told["no_lesion_named_without_one"] == share([True, False])


def test_the_report_that_does_not_look_names_what_most_cts_have():
    rows = [{"truth": t} for t in ("node left II", "node left II", "node left II", "mass right oral tongue")]
    # Always "node left II": 3 right, 3 times wrong (a mass, two without), the mass missed.
    assert majority_baseline(rows, [{}, {}]) == {
        "presence_auroc": 0.5, "sensitivity": 1.0, "finding_f1_of_all_cts": round(6 / (6 + 3 + 1), 4),
    }  # fmt: skip
    assert majority_baseline(rows[1:], [{}] * 4) == {
        "presence_auroc": 0.5, "sensitivity": 0.0, "finding_f1_of_all_cts": 0.0,
    }  # fmt: skip
    assert majority_baseline([], [{}])["finding_f1_of_all_cts"] is None


def test_facts_stand_beside_what_is_true_most_often():
    """Artefact right in 2 of 3; always "absent" would be, too."""
    facts = Facts()
    for patient, true, said in (("a", "absent", "absent"), ("b", "absent", "present"), ("c", "present", "present")):
        target = Finding("target", side="left")
        facts.add(patient, [Finding("artefact", true), target], [Finding("artefact", said)], None)
    assert facts.right("artefact") == share([True, False, True])
    assert facts.right("target_side") == share([False] * 3)  # the report says nothing of it
    assert facts.right("target_side_of_the_clinic") == {"value": None, "n": 0}
    told = facts.majority()
    assert told["artefact_right"] == {"value": 0.6667, "n": 3}
    assert told["target_side_right"] == {"value": 1.0, "n": 3}
    assert told["coverage_right"] == {"value": None, "n": 0}


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_clinics_target_decides_on_its_side_whatever_the_models_contour(neck, side):
    ct, _ = phantom()
    cord_x = int(np.argwhere(neck.anatomy.masks["SpinalCord"])[:, 2].mean())
    middle = ct.mm_to_index(neck.working.index_to_mm(np.array([20, 20, cord_x])))[2]
    z, y = (s // 2 for s in ct.shape[:2])
    x = round(middle) + (12 if side == "left" else -12)
    target = np.zeros(ct.shape, bool)
    target[z - 6 : z + 6, y - 5 : y + 5, x - 5 : x + 5] = True
    found = clinics_target_side(SimpleNamespace(ct=ct, masks={"PTV_7000": target}), neck)
    assert (found.kind, found.side) == ("target", side)
    assert clinics_target_side(SimpleNamespace(ct=ct, masks={}), neck) is None
