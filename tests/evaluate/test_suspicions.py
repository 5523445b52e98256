"""Suspicions counted by hand: in what was treated, and elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hnvlm.evaluate.tumour import Counted, Looked
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


def test_necks_of_an_untreated_half_are_looked_at_where_there_is_one():
    """Evidence by hand: 0.8 in the target, 0.3 in the half without it, so the areas and shares are plain."""
    target = box((10, 30), (20, 35), (40, 50))

    class Detector:
        usual_place = (20, 30, 18)  # in the target of the second alone

        def strongest(self, neck):
            own = neck.crop[0, 0, 0] != neck.crop[0, 0, -1]
            return "node", np.array((20, 30, 45)) if own else np.array((20, 30, 10)), 0.8 if own else 0.3

        def look(self, neck, known=()):
            return [found(target)] if self.strongest(neck)[2] > 0.5 else []

    @dataclass(frozen=True)
    class Neck:
        crop: np.ndarray

    ramp = np.broadcast_to(np.arange(64.0), (64, 64, 64))
    looked = Looked()
    looked.add("a", Detector(), Neck(ramp), target, [])
    looked.add("b", Detector(), Neck(ramp), target | target[..., ::-1], [])  # both halves are treated
    told = looked.metrics()
    assert told["untreated_halves_with_one"]["value"] == 0.0 and told["untreated_halves_with_one"]["n"] == 1
    assert told["evidence_auroc_against_untreated_halves"]["value"] == 1.0
    assert told["patients_with_one_in_target"]["value"] == told["peak_in_target"]["value"] == 1.0
    assert told["look_first_in_target"] == {"value": None, "n": 0}, "something was suspected in both"
    assert told["usual_place_in_target"]["value"] == 0.5
