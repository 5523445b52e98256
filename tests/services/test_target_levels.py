"""What 100 % is for a target: the level in its name, else the highest one where that is certain. Numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hnvlm.imaging.target_names import level_gy
from hnvlm.plan import alpha_beta, build_constraints
from hnvlm.plan.kb import load_kb
from hnvlm.services import histograms


@pytest.mark.parametrize(
    ("name", "names", "full"),
    [
        ("PTV_5600", ("PTV_7000", "PTV_5600"), 56.0),
        ("PTV_Low", ("PTV_7000", "PTV_5600", "PTV_Low"), None),  # 56 or 70, or a third
        ("CTVn", ("PTV_7000", "PTV_5600", "CTVn"), None),
        ("ptv boost", ("PTV_7000", "ptv boost"), 70.0),
        ("GTVp", ("PTV_7000", "PTV_5600", "GTVp"), 70.0),  # gross tumour is never elective
        ("Larynx", ("PTV_7000", "PTV_5600", "Larynx"), 70.0),
    ],
)
def test_what_100_percent_is(name, names, full):
    assert histograms.full_dose_gy(name, names, 70.0) == full


def test_the_coverage_of_a_target_of_an_unknown_level_is_not_judged_on_the_highest(app, case_id, phantom):
    """60 Gy everywhere: 95 % of 70 Gy are 66.5 Gy, so that V95 of PTV_Low was 0 %, whatever its own level is."""
    masks = {}
    for n, name in enumerate(("PTV_7000", "PTV_5600", "PTV_Low", "GTVp")):
        masks[name] = np.zeros(phantom.shape, bool)
        masks[name][n : n + 3, 5:9, 6 + 3 * n : 9 + 3 * n] = True
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": masks})
    array = np.full(phantom.shape, 60.0, np.float32)
    item = app.store.save_result(case_id, "dose", {"source": "upload", "max_gy": 60.0}, arrays={"dose": array})
    judged = histograms.judge(app, item)
    shares = {r["name"]: r.get("v95_pct") for r in histograms.table(judged, None)}
    assert shares["PTV_7000"] == shares["GTVp"] == 0.0 and shares["PTV_5600"] == pytest.approx(100.0)
    assert shares["PTV_Low"] is None and judged.prescription_gy == 70.0


def test_a_target_in_lower_case_has_the_ratio_of_a_tumour():
    both = [alpha_beta(load_kb(), name) for name in ("ptv boost", "PTV_7000")]
    assert both[0] == both[1] and both[0].gy == 10.0


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("PTV_7000", 70.0),
        ("PTV_5600_L", 56.0),
        ("PTV_5600-PTV_7000", 56.0),
        ("PTV_7000_Eval", 70.0),
        ("PTV_7000_Ring", None),
        ("PTV_7000+5mm", None),
        ("PTV_7000 5 mm exp", None),
    ],
)
def test_a_ring_around_a_target_is_none(name, level):
    """Its D99 of 66.5 Gy was asked for and never met."""
    assert level_gy(name) == level
    rows = build_constraints(load_kb(), [name])
    assert [r.metric for r in rows] == ["D99pct"] * bool(level)
    assert [r.limit for r in rows] == pytest.approx([0.95 * level] if level else [])
