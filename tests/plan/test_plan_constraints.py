"""Constraint rows and their judgement on dose-volume metrics."""

from __future__ import annotations

import pytest

from hnvlm.errors import UsageError
from hnvlm.plan import build_constraints, canonical_metric, evaluate, templates
from hnvlm.plan.kb import load_kb

KB = load_kb()


def test_default_rows_are_verified_and_carry_a_source() -> None:
    rows = build_constraints(KB)
    assert {r.structure for r in rows} >= {"SpinalCord", "Brainstem", "Parotid_L", "Parotid_R", "Parotids"}
    assert all(r.sources and KB.entry(r.id)["verified"] for r in rows)
    assert all(r.status == "not_evaluable" and r.value is None for r in rows)


@pytest.mark.parametrize("name", templates())
def test_no_template_offers_a_complication_dose_or_an_unverified_limit(name: str) -> None:
    for constraint_id in templates()[name]:
        assert constraint_id not in KB["templates"]["risk_only"]
        assert KB.entry(constraint_id)["verified"], constraint_id


def test_rows_follow_the_structures_with_their_side() -> None:
    rows = build_constraints(KB, ["Cochlea_R", "SpinalCord_PRV05", "PTV_7000"])
    assert {(r.structure, r.metric, r.op, r.limit) for r in rows} == {
        ("Cochlea_R", "Dmean", "<", 35.0), ("Cochlea_R", "Dmean", "<=", 45.0),
        ("SpinalCord_PRV05", "D0.03cc", "<=", 50.0), ("SpinalCord_PRV05", "D0.03cc", "<=", 52.0),
        ("PTV_7000", "D99pct", ">=", 66.5),
    }  # fmt: skip


def test_organ_of_the_tumour_is_no_organ_at_risk() -> None:
    assert any(r.structure == "Larynx" for r in build_constraints(KB, site="oropharynx_p16_pos"))
    assert not any(r.structure == "Larynx" for r in build_constraints(KB, site="larynx_glottis"))


def test_challenge_template_uses_tg263_names() -> None:
    rows = build_constraints(
        KB, ["SpinalCord", "Brainstem", "Parotid_R", "Bone_Mandible", "PTV_6300"], template="openkbp"
    )
    assert {(r.structure, r.metric, r.limit) for r in rows} == {
        ("SpinalCord", "D0.1cc", 45.0), ("Brainstem", "D0.1cc", 50.0), ("Parotid_R", "Dmean", 26.0),
        ("Bone_Mandible", "D0.1cc", 73.5), ("PTV_6300", "D99pct", 59.85),
    }  # fmt: skip


def test_unknown_template_is_refused() -> None:
    with pytest.raises(UsageError, match="choose default, quantec"):
        build_constraints(KB, template="mine")


def test_met_not_met_and_margin_by_hand() -> None:
    names = ["SpinalCord", "Parotid_L", "Parotid_R", "PTV_7000", "Brainstem"]
    metrics = {
        "SpinalCord": {"D0.03cc": 45.0, "Dmax": 51.2}, "Parotid_L": {"mean": 23.5}, "Parotid_R": {"dmean_gy": 31.0},
        "PTV_7000": {"D_99": 66.0},
    }  # fmt: skip
    judged = {(r.structure, r.metric, r.limit): r for r in evaluate(build_constraints(KB, names), metrics)}
    cord = judged["SpinalCord", "D0.03cc", 45.0]
    assert (cord.status, cord.margin) == ("met", 0.0)
    assert judged["SpinalCord", "Dmax", 50.0].status == "not_met"
    assert judged["SpinalCord", "Dmax", 50.0].margin == pytest.approx(-1.2)
    assert (judged["Parotid_L", "Dmean", 26.0].status, judged["Parotid_L", "Dmean", 26.0].margin) == ("met", 2.5)
    assert (judged["Parotid_R", "Dmean", 26.0].status, judged["Parotid_R", "Dmean", 26.0].margin) == ("not_met", -5.0)
    target = judged["PTV_7000", "D99pct", 66.5]
    assert (target.status, target.margin) == ("not_met", -0.5)
    assert judged["Brainstem", "Dmax", 54.0].status == "not_evaluable"


def test_strict_limits_are_strict() -> None:
    (row,) = [r for r in build_constraints(KB, ["Larynx"]) if r.op == "<"]
    assert row.limit == 50.0
    assert evaluate([row], {"Larynx": {"Dmean": 50.0}})[0].status == "not_met"
    assert evaluate([row], {"Larynx": {"Dmean": 49.99}})[0].status == "met"


def test_near_maximum_is_bounded_but_never_guessed() -> None:
    (row,) = [r for r in build_constraints(KB, ["SpinalCord"]) if r.metric == "D0.03cc"]
    exceeded = evaluate([row], {"SpinalCord": {"D0.1cc": 46.0}})[0]
    assert (exceeded.status, exceeded.value) == ("not_met", None)
    assert evaluate([row], {"SpinalCord": {"D0.1cc": 44.0}})[0].status == "not_evaluable"
    assert evaluate([row], {"SpinalCord": {"Dmax": 60.0}})[0].status == "not_evaluable"


def test_volume_in_cc_is_not_confused_with_percent() -> None:
    from hnvlm.plan.constraints import _row

    row = _row(KB.entry("mand_v75"), "Bone_Mandible")  # V75Gy <= 1 cc
    assert evaluate([row], {"Bone_Mandible": {"V75Gy": 0.5}})[0].status == "not_evaluable"
    assert evaluate([row], {"Bone_Mandible": {"V75Gy_cc": 0.5}})[0].status == "met"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "45", True])
def test_a_dose_metric_must_be_a_number(value: object) -> None:
    with pytest.raises(UsageError, match=r"D0\.03cc of SpinalCord"):
        evaluate(build_constraints(KB, ["SpinalCord"]), {"SpinalCord": {"D0.03cc": value}})


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("mean", "Dmean"), ("dmean_gy", "Dmean"), ("max", "Dmax"), ("D_0.1_cc", "D0.1cc"), ("d0_03cc_gy", "D0.03cc"),
        ("D_99", "D99pct"), ("d95_gy", "D95pct"), ("D2%", "D2pct"), ("v20_pct", "V20Gy"), ("V45Gy", "V45Gy"),
        ("V60Gy_cc", "V60Gy_cc"), ("V95pct", "V95pct"), ("D0.03cc_pct", "D0.03cc_pct"), ("D1-10cc", "D1-10cc"),
        ("D0,03cc", "D0.03cc"), ("D0.03 cm3", "D0.03cc"), ("D0,1 ccm", "D0.1cc"), ("D2cm³ [Gy]", "D2cc"),
        ("V20Gy [%]", "V20Gy"), ("Dmean (Gy)", "Dmean"), ("D0,03", "D0,03"), ("D0.03", "D0.03"),
        ("D0.5%", "D0.5pct"),
    ],
)  # fmt: skip
def test_metric_names(written: str, canonical: str) -> None:
    assert canonical_metric(written) == canonical
