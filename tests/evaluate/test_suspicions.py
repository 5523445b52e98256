"""Suspicions counted by hand: in what was treated, and elsewhere."""

from __future__ import annotations

import numpy as np

from hnvlm.evaluate.tumour import Counted
from hnvlm.models.detect import Detection


def box(*spans: tuple[int, int]) -> np.ndarray:
    out = np.zeros((64, 64, 64), bool)
    out[tuple(slice(*s) for s in spans)] = True
    return out


def found(mask: np.ndarray) -> Detection:
    return Detection("node", mask, 0.9, np.zeros(3), 10.0, "II", "left", 50.0)


def test_a_suspicion_counts_where_most_of_it_lies():
    target = box((10, 30), (20, 35), (30, 50))
    half = found(box((28, 32), (20, 24), (30, 35)))  # 2 of 4 slices
    less = found(box((29, 32), (20, 24), (30, 35)))  # 1 of 3
    inside, outside = found(box((12, 15), (22, 24), (40, 45))), found(box((50, 52), (5, 7), (5, 7)))
    counted = Counted()
    counted.add("a", [inside, half, less], target)
    counted.add("b", [outside], target)
    counted.add("c", [], target)
    assert counted.rows == [(2, 1), (0, 1), (0, 0)]
    told = counted.metrics()
    assert told["patients_with_one_in_target"]["value"] == round(1 / 3, 4)
    assert told["of_all_in_target"]["value"] == 0.5 and told["of_all_in_target"]["n"] == 4
    assert told["elsewhere_per_ct"]["value"] == round(2 / 3, 2) or abs(told["elsewhere_per_ct"]["value"] - 2 / 3) < 0.05


def test_without_suspicions_no_share_of_them_is_told():
    counted = Counted()
    counted.add("a", [], box((0, 2), (0, 2), (0, 2)))
    told = counted.metrics()
    assert told["of_all_in_target"] is None and told["patients_with_one_in_target"]["value"] == 0.0
