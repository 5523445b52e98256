"""Counts and accuracies of a comparison, computed by hand."""

from __future__ import annotations

import pytest

from hnvlm.report import compare, f1
from hnvlm.types import Finding


def _node(side, level, size=None, texture=None):
    return Finding("node", side=side, level=level, size_mm=size, attributes={"texture": texture} if texture else {})


def test_hand_computed():
    reference = [
        _node("left", "II", 20, "necrotic"),
        _node("right", "III", 12, "solid"),
        Finding("mass", site="parotid gland", side="left"),
    ]
    candidate = [_node("left", "II", 23, "solid"), _node("left", "III", 12, "solid")]
    result = compare(reference, candidate)
    assert (result["tp"], result["fp"], result["fn"]) == (1, 1, 2)
    assert result["f1"] == pytest.approx(2 / 5)
    assert result["side_accuracy"] == 0.5
    assert result["level_accuracy"] == 1.0
    assert result["texture_accuracy"] == 0.0
    assert result["size_abs_error_mm"] == 3.0
    assert result["by_kind"]["mass"] == {"tp": 0, "fp": 0, "fn": 1}


def test_absent_findings_and_other_kinds_do_not_count():
    result = compare([Finding("node", "absent", side="left")], [Finding("artefact")])
    assert (result["tp"], result["fp"], result["fn"], result["f1"]) == (0, 0, 0, 1.0)
    assert result["side_accuracy"] is None


def test_two_nodes_at_one_place_are_paired_by_size():
    reference = [_node("left", "II", 10), _node("left", "II", 30)]
    assert compare(reference, [_node("left", "II", 29), _node("left", "II", 11)])["size_abs_error_mm"] == 1.0


def test_bilateral_is_both_sides():
    result = compare([_node("left", "II", 12), _node("right", "II", 12)], [_node("bilateral", "II", 12)])
    assert (result["tp"], result["fp"], result["fn"]) == (2, 0, 0)


def test_f1():
    assert f1(0, 0, 0) == 1.0
    assert f1(3, 1, 2) == pytest.approx(6 / 9)
