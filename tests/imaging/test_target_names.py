"""The dose in a target's name, as TG-263 and clinics write it, and what is no target."""

from __future__ import annotations

import time

import pytest

from hnvlm.imaging.target_names import is_ptv, level_gy, stands_for_ptv
from hnvlm.imaging.tg263 import to_tg263


@pytest.mark.parametrize(
    ("name", "gy"),
    [
        ("PTV_7000", 70.0), ("PTVp_7000", 70.0), ("PTVn_6300", 63.0), ("PTVp1_7000", 70.0), ("PTV_7000_L", 70.0),
        ("PTV70_L", 70.0), ("PTV 70 Gy R", 70.0), ("PTV1_70", 70.0), ("PTV_Neck_5600", 56.0), ("PTV neck 56", 56.0),
        ("PTV_N1_63", 63.0), ("PTV_59,4_L", 59.4), ("PTV_CT1PT2_7000", 70.0), ("PTV_5600-PTV_7000", 56.0),
        ("CTVp_7000", 70.0),
        ("PTV_70_56", None), ("PTV54-60", None), ("PTV70_5600", None),  # two doses
        ("PTV_2000x3", None), ("PTV95%", None), ("PTV_CT_2024", None), ("PTV_20240102", None), ("PTV_Tongue_70", None),
        ("PTV_01", None), ("PTV_0150", None), ("PTV_70000", None), ("PTV_High", None), ("SpinalCord_7000", None),
        ("PTVp_7000_ring", None), ("PTV70_L+5mm", None),
    ],
)  # fmt: skip
def test_the_dose_in_a_name(name, gy):
    assert level_gy(name) == gy


@pytest.mark.parametrize(
    ("name", "target", "stands"),
    [("PTVp_7000", True, False), ("PTV_High", True, False), ("PTV_7000_Eval", False, True),
     ("PTVopt_7000", False, True), ("PTV_5600-PTV_7000", False, True), ("PTV_7000_old", False, False),
     ("PTV_7000_ring", False, False), ("CTV_7000", False, False), ("PTV_development", True, False)],
)  # fmt: skip
def test_what_is_a_target_and_what_was_made_from_one(name, target, stands):
    assert (is_ptv(name), stands_for_ptv(name)) == (target, stands)


@pytest.mark.parametrize(
    ("clinic", "name"),
    [("PTV70_L", "PTV_7000_L"), ("ptv 70 gy right", "PTV_7000_R"), ("PTVp 70", "PTVp_7000"),
     ("PTV N1 63", "PTVn1_6300"), ("PTVp_7000", "PTVp_7000"), ("PTV70", "PTV_7000"),
     ("PTV70 opt", None), ("PTV70_L PRV5", None)],
)  # fmt: skip
def test_a_side_and_a_classifier_stay_in_the_name(clinic, name):
    assert to_tg263(clinic) == name


def test_no_name_takes_long():
    start = time.perf_counter()
    assert level_gy("PTV" + "ln" * 5000 + "!") is None and to_tg263("PTV" + "70" * 5000) is None
    assert time.perf_counter() - start < 2
