"""Numbers on the Models page: a share keeps its interval, a mean its spread, groups their heading."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from hnvlm.ui.model_cards import evaluations, in_words, plain

SHARE = {"value": 0.9474, "n": 19, "low": 0.7536, "high": 0.9906}
METRICS = {
    "report": {
        "command": "hnvlm evaluate report --data DATA",
        "n_cases": 33,
        "metrics": {
            "presence_auroc": 0.75114,
            "side_right": SHARE,
            "seconds": None,
            "patients": 33,
            "baseline": {"auroc": 0.5, "inner": {"r": 0.1234}},
        },
    },
    "zeroshot": {"command": "c", "n_cases": 4, "metrics": {"per_label": {"left II": {"auroc": 0.8, "n_positive": 3}}}},
}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (SHARE, "0.95 (95 % 0.75 to 0.99, n 19)"),
        ({"value": None, "n": 0}, "not measured"),
        (
            {"value": 0.9474, "n": 57, "low": 0.7, "high": 0.99, "patients": 19},
            "0.95 (95 % 0.70 to 0.99, n 57 in 19 patients)",
        ),
        ({"value": 1.7178, "n": 700, "patients": 33}, "1.72 (n 700 in 33 patients)"),
        ({"value": 0.5, "n": 4}, "0.5 (n 4)"),
        ({"mean": 0.6301, "sd": 0.193, "n": 28}, "0.63 (SD 0.19, n 28)"),
        ({"mean": 0.6301, "sd": 0.193, "median": 0.671, "n": 28}, "0.63 (SD 0.19, median 0.67, n 28)"),
        ({"auroc": 0.258, "n_positive": 132}, "0.26 (n 132)"),
        (0.0123456, "0.0123"),
        (33, "33"),
        (True, "True"),
        (None, "not measured"),
        ({"a": 1}, None),
    ],
)
def test_a_number_in_words(value, words):
    assert in_words(value) == words


def test_evaluations_keep_their_command_and_groups():
    report, zeroshot = evaluations(METRICS)
    assert report.told == "hnvlm evaluate report --data DATA, 33 cases"
    assert report.rows == [
        ("Presence AUROC", "0.751"),
        ("Side right", "0.95 (95 % 0.75 to 0.99, n 19)"),
        ("Seconds", "not measured"),
    ]
    assert report.groups == [
        ("Baseline", [("AUROC", "0.5"), ("Inner, R", "0.123")]),
        ("How it was counted", [("Patients", "33")]),
    ]
    assert zeroshot.groups == [("Per label", [("Left II", "0.80 (n 3)")])]


def test_numbers_alone_and_none_at_all():
    (only,) = evaluations({"dice": 0.8})
    assert only.rows == [("Dice", "0.8")]
    assert only.told == ""
    assert list(evaluations({})) == []


def test_whom_the_models_learned_from_is_told_where_it_was_kept():
    held = {"command": "c", "n_cases": 4, "metrics": {}}
    patients = {"n": 4, "trained_on_known_for": ["dose"], "not_known_for": ["segmenter", "clip"]}
    (new,) = evaluations({"dose": held | {"patients": patients}})
    assert new.told == (
        "c, 4 cases. None of them was trained on, by image: dose. "
        "Not recorded whom these were trained on: segmenter, clip"
    )
    (old,) = evaluations({"dose": held})
    assert old.told == "c, 4 cases"


def test_headings():
    assert plain("size_mae_mm") == "Size: mean absolute error (mm)"
    assert plain("dice_SpinalCord") == "Dice SpinalCord"
    assert plain("finding_f1_of_all_cts") == "Finding F1 of all CTs"
    assert plain("dose_score") == "Dose score: mean error of a voxel (Gy)", "a figure has its unit"
    assert plain("image_to_report_recall_1") == "Right report first, from the CT"
    assert plain("report_to_image_recall_10") == "Right CT among the first 10, from the report"
    assert plain("chance_recall_5") == "By chance, among the first 5"


def test_how_it_was_counted_stands_apart_from_how_good_it_is():
    metrics = {
        "mean_dice_core": {"value": 0.7627, "n": 33, "low": 0.7179, "high": 0.7948},
        "mean_dice_core_structures": 5,
        "patients_without_contours": 0,
        "presence_auroc_n": {"with_lesion": 66, "without": 33},
    }
    (one,) = evaluations({"segmentation": {"command": "c", "n_cases": 33, "metrics": metrics}})
    assert one.rows == [
        ("Mean Dice of brainstem, cord, parotids, mandible", "0.76 (95 % 0.72 to 0.79, n 33)"),
    ]
    assert one.groups == [
        (
            "How it was counted",
            [
                ("Structures in the mean Dice", "5"),
                ("Patients left out: no contours", "0"),
                ("Presence AUROC n: With lesion", "66"),
                ("Presence AUROC n: Without", "33"),
            ],
        )
    ]


def one_card() -> None:
    from hnvlm.ui import model_cards

    metrics = {name: {"command": f"hnvlm evaluate {name}", "n_cases": 9, "metrics": {"present": 0.5}}
               for name in ("counterfactual", "generation")}  # fmt: skip
    model_cards.show({"name": "diffusion", "version": "1", "size_mb": 3.0, "metrics": metrics, "readme": ""})


def test_a_card_has_a_name_a_clinician_knows_and_its_two_tables_have_headings():
    at = AppTest.from_function(one_card, default_timeout=240).run()
    assert not at.exception
    said = [m.value for m in at.markdown]
    assert said[0] == "**Counterfactual CT**" and any("diffusion, version 1" in m for m in said)
    assert "**Lesions drawn into CTs of patients**" in said and "**CTs drawn without a patient**" in said
