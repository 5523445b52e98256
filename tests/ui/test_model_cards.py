"""Numbers on the Models page: a share keeps its interval, a mean its spread, groups their heading."""

from __future__ import annotations

import pytest

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
        ("Presence auroc", "0.751"),
        ("Side right", "0.95 (95 % 0.75 to 0.99, n 19)"),
        ("Seconds", "not measured"),
        ("Patients", "33"),
    ]
    assert report.groups == [("Baseline", [("Auroc", "0.5"), ("Inner, R", "0.123")])]
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
    assert plain("size_mae_mm") == "Size mae mm"
    assert plain("dice_SpinalCord") == "Dice SpinalCord"
