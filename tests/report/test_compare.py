"""Counts of a comparison, by hand."""

from __future__ import annotations

from hnvlm.report import compare
from hnvlm.types import Finding


def _node(side, level, size=None, texture=None):
    return Finding("node", side=side, level=level, size_mm=size, attributes={"texture": texture} if texture else {})


def test_counted_by_hand():
    reference = [
        _node("left", "II", 20, "necrotic"),
        _node("right", "III", 12, "solid"),
        Finding("mass", site="parotid gland", side="left"),
    ]
    candidate = [_node("left", "II", 23, "solid"), _node("left", "III", 12, "solid")]
    assert compare(reference, candidate) == {"tp": 1, "fp": 1, "fn": 2}


def test_absent_findings_and_other_kinds_do_not_count():
    assert compare([Finding("node", "absent", side="left")], [Finding("artefact")]) == {"tp": 0, "fp": 0, "fn": 0}


def test_of_two_nodes_at_one_place_each_is_hit_once():
    reference = [_node("left", "II", 10), _node("left", "II", 30)]
    assert compare(reference, [_node("left", "II", 29)]) == {"tp": 1, "fp": 0, "fn": 1}
    assert compare(reference, [_node("left", "II", size) for size in (9, 20, 31)]) == {"tp": 2, "fp": 1, "fn": 0}


def test_bilateral_is_both_sides():
    two = [_node("left", "II", 12), _node("right", "II", 12)]
    assert compare(two, [_node("bilateral", "II", 12)]) == {"tp": 2, "fp": 0, "fn": 0}
