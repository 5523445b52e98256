"""Own constraint templates, the metrics rows ask for, and equivalent doses."""

from __future__ import annotations

import pytest

from hnvlm.errors import UsageError
from hnvlm.imaging.dvh import is_metric
from hnvlm.plan import (
    alpha_beta,
    build_constraints,
    check_name,
    check_rows,
    draft_plan,
    eqd2_gy,
    eqd2_of_total,
    evaluate,
    needed_metrics,
    template_rows,
    templates,
)
from hnvlm.plan.kb import load_kb
from hnvlm.types import OAR_NAMES, TARGET_NAMES

KB = load_kb()
NAMES = ["SpinalCord", "Parotid_L", "Parotid_R", "PTV_7000"]


@pytest.mark.parametrize("name", templates())
def test_an_unchanged_template_gives_the_same_rows_with_their_sources(name: str) -> None:
    own = check_rows(KB, template_rows(KB, name), who="Dr A")
    plain = build_constraints(KB, NAMES, template=name)
    again = build_constraints(KB, NAMES, own_rows=own)
    assert [(r.id, r.structure, r.metric, r.limit, r.sources, r.edited, r.level) for r in again] == [
        (r.id, r.structure, r.metric, r.limit, r.sources, r.edited, r.level) for r in plain
    ]


def test_an_edited_row_loses_its_source_and_says_who_changed_what() -> None:
    rows = template_rows(KB, "openkbp")
    cord = next(r for r in rows if r["organ"] == "SpinalCord")
    cord["limit"] = 42
    rows.append({"organ": "Parotid", "metric": "v20", "op": "<", "limit": 50.0, "unit": "%", "priority": 3})
    built = build_constraints(KB, NAMES, own_rows=check_rows(KB, rows, who="Dr A"))
    edited = next(r for r in built if r.structure == "SpinalCord")
    assert edited.limit == 42 and "changed by Dr A" in edited.edited and "<= 45 Gy" in edited.edited
    assert [d.title for d in edited.sources] == ["The clinic's own constraint template (no published source given)"]
    added = [r for r in built if r.metric == "V20Gy"]
    assert {r.structure for r in added} == {"Parotid_L", "Parotid_R"} and added[0].edited == "added by Dr A"
    assert all(r.sources and not r.edited for r in built if r.structure == "PTV_7000")
    plan = draft_plan([], None, structures=dict.fromkeys(NAMES), own_rows=check_rows(KB, rows, who="Dr A"))
    assert "changed by Dr A" in plan.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"organ": ""}, "name the structure"), ({"organ": "<b>"}, "name the structure"),
        ({"metric": "Dfoo"}, "no metric"),
        ({"metric": ""}, "nothing is no metric"), ({"op": "="}, "sign"), ({"unit": "%"}, "given in Gy"),
        ({"metric": "V20Gy"}, "% or cc"), ({"limit": None}, "number from 0"),
        ({"limit": float("nan")}, "number from 0"),
        ({"limit": -1}, "number from 0"), ({"limit": True}, "number from 0"), ({"priority": 4}, "priority"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named(change: dict, words: str) -> None:
    good = {"organ": "SpinalCord", "metric": "D0.03cc", "op": "<=", "limit": 45.0, "unit": "Gy", "priority": 1}
    with pytest.raises(UsageError, match=f"Row 2 of the template: .*{words}"):
        check_rows(KB, [good, good | change], who="x")


def test_names_and_sizes_of_templates() -> None:
    assert check_name("  My clinic 2.1 ") == "My clinic 2.1"
    for bad in ("", "default", "a" * 41, "../x", "a/b"):
        with pytest.raises(UsageError):
            check_name(bad)
    with pytest.raises(UsageError, match="1 to 200 rows"):
        check_rows(KB, [], who="x")
    with pytest.raises(UsageError, match="No constraint template"):
        template_rows(KB, "mine")


def test_rows_ask_for_metrics_that_the_dvh_can_compute() -> None:
    for name in templates():
        asked = needed_metrics(build_constraints(KB, [*OAR_NAMES, *TARGET_NAMES], template=name))
        # "D1-10cc" of QUANTEC is a range, not one metric: it stays not evaluable, with the reason.
        assert all(is_metric(m) or m == "D1-10cc" for ms in asked.values() for m in ms), name
    own = check_rows(KB, [{"organ": "Bone_Mandible", "metric": "V60Gy", "op": "<", "limit": 2.0, "unit": "cc",
                           "priority": 2}], who="x")  # fmt: skip
    assert needed_metrics(build_constraints(KB, ["Bone_Mandible"], own_rows=own)) == {"Bone_Mandible": ("V60Gy_cc",)}


def test_why_a_row_is_not_evaluable_is_said() -> None:
    rows = build_constraints(KB, ["SpinalCord", "Larynx"])
    assert {r.reason for r in evaluate(rows, None)} == {"no dose yet"}
    judged = evaluate(rows, {"SpinalCord": {"Dmax": 40.0}})
    assert all("not contoured" in r.reason for r in judged if r.structure == "Larynx")
    assert {r.metric: (r.status, r.reason) for r in judged if r.structure == "SpinalCord"} == {
        "D0.03cc": ("not_evaluable", "D0.03cc is not defined here or was not computed"), "Dmax": ("met", ""),
    }  # fmt: skip


def test_equivalent_doses_by_hand() -> None:
    assert eqd2_of_total(70, 35, 10) == pytest.approx(70) and eqd2_of_total(70, 35, 2) == pytest.approx(70)
    # 63 Gy in 35 fractions of 1.8 Gy: 63 * 11.8 / 12 = 61.95; 56 in 35: 56 * 11.6 / 12 = 54.13.
    assert eqd2_of_total(63, 35, 10) == pytest.approx(61.95)
    assert eqd2_of_total(56, 35, 10) == pytest.approx(eqd2_gy(35, 1.6, 10))
    # Cord 45 Gy in 35: 1.286 a fraction: 45 * 3.2857 / 4 = 36.96.
    assert eqd2_of_total(45, 35, 2) == pytest.approx(36.964, abs=1e-3)


def test_alpha_beta_follows_the_tables() -> None:
    cord = alpha_beta(KB, "SpinalCord_PRV05")
    assert (cord.gy, cord.verified) == (2, True) and cord.sources
    assert alpha_beta(KB, "Parotid_L").gy == alpha_beta(KB, "Parotids").gy == 3
    target = alpha_beta(KB, "PTV_7000")
    assert target.gy == 10 and target.words == "α/β 10 Gy assumed"
    tumour = next(r for r in KB["radiotherapy"]["radiobiology"]["alpha_beta_gy"] if r["tissue"] == "tumour_hnscc")
    assert tumour["value"] == target.gy and tumour["verified"] is False
    assert alpha_beta(KB, "Lips") is None and alpha_beta(KB, "uploaded: ring") is None
