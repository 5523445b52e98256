"""A report's statements against what was measured, and how a lesion is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hnvlm.report import parse, render
from hnvlm.services.agreement import check_agreement, check_treated, words
from hnvlm.types import Finding

NODE = Finding("node", level="II", side="left", size_mm=18.0, attributes={"texture": "necrotic"})
MASS = Finding("mass", site="palatine tonsil", side="right", size_mm=30.0)
AIRWAY = Finding("airway", site="larynx", attributes={"narrowing_pct": 60.0, "min_area_mm2": 60.0})


def _found(text: str, *measured: Finding) -> list[tuple[str, str]]:
    return [(check.id.removeprefix("report."), check.status) for check in check_agreement(parse(text), list(measured))]


@pytest.mark.parametrize(
    ("text", "measured", "expected"),
    [
        ("Left level II node, 18 mm, necrotic.", NODE, [("agreement", "pass")]),
        ("Left level II node, 18 mm.", NODE, [("agreement", "pass")]),
        ("Left level II node, 18 mm, solid.", NODE, [("texture", "warn")]),
        ("Left level II node 18 mm without evidence of necrosis.", NODE, [("texture", "warn")]),
        ("20% narrowing of the laryngeal airway.", AIRWAY, [("narrowing", "warn")]),
        ("50% narrowing of the laryngeal airway.", AIRWAY, [("agreement", "pass")]),
        ("Mild narrowing of the laryngeal airway.", AIRWAY, [("narrowing", "warn")]),
        ("Moderate narrowing of the laryngeal airway.", AIRWAY, [("agreement", "pass")]),
        ("A node is seen.", NODE, [("unstated", "warn")]),
        ("Left node, 18 mm.", NODE, [("unstated", "warn")]),
        ("Level II node, 18 mm.", NODE, [("unstated", "warn")]),
        ("Right paraspinal mass 3 cm.", MASS, [("unstated", "warn")]),
        ("Left level II/III node 18 mm.", replace(NODE, level="III"), [("agreement", "pass")]),
        ("Left level II/III node 18 mm.", replace(NODE, level="IV"), [("level", "warn")]),
        # Denied at its very place: another lesion of the text does not stand for it.
        ("No left level II node. Left level III node 12 mm.", NODE, [("presence", "fail"), ("unsupported", "warn")]),
        ("No node on the left. Right level II node 18 mm.", NODE, [("presence", "fail"), ("unsupported", "warn")]),
        ("No other adenopathy on the left. Left level III node 18 mm.", NODE, [("level", "warn")]),
        ("No mass in the left or right tonsil.", MASS, [("presence", "fail")]),
        ("Right tonsil mass, 30 mm, with normal adjacent mandible.", MASS, [("agreement", "pass")]),
        ("Status post resection of right tonsil cancer.", MASS, [("omission", "warn")]),
    ],
)
def test_a_text_against_one_measured_lesion(text, measured, expected):
    assert _found(text, measured) == expected


def test_each_side_is_held_against_its_own_lesion():
    text = "Nodes in level II on the right and level III on the left."
    assert _found(text, replace(NODE, side="right"), replace(NODE, level="III")) == [("agreement", "pass")]


TARGET = Finding("target", side="left", attributes={"superior": "mandible", "inferior": "larynx", "volume_ml": 340.0})
SCAN = Finding("coverage", attributes={"superior": "skull base", "inferior": "upper mediastinum"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"volume_ml": 400.0}, []),
        ({"volume_ml": 660.0}, ["Target region, volume: the text says 660 mL, measured 340 mL."]),
        ({"volume_ml": 240.0}, ["Target region, volume: the text says 240 mL, measured 340 mL."]),
        ({"inferior": "upper mediastinum"},
         ["Target region, lower end: the text says upper mediastinum, measured larynx."]),
        ({"side": "right"}, ["Target region, side: the text says right, measured left."]),
    ],
)  # fmt: skip
def test_the_target_region_is_held_against_the_measured_one(changes, expected):
    attributes = TARGET.attributes | {k: v for k, v in changes.items() if k != "side"}
    said = replace(TARGET, side=changes.get("side", "left"), attributes=attributes)
    told = [c for c in check_agreement([said], [TARGET]) if c.id != "report.clear"]
    assert [c.message for c in told if c.status == "warn"] == expected


def test_the_field_of_view_is_held_against_the_measured_one():
    text = render([replace(SCAN, attributes={"superior": "vertex", "inferior": "upper mediastinum"})])
    found = check_agreement(parse(text), [SCAN])
    assert found[0].message == "Field of view, upper end: the text says vertex, measured skull base."
    assert [c.id for c in check_agreement(parse(render([SCAN])), [SCAN])] == ["report.clear"]
    assert [c.id for c in check_agreement([TARGET], [SCAN])] == ["report.unsupported", "report.clear"]


def test_what_is_not_stated_is_named():
    (check,) = check_agreement(parse("A node is seen."), [NODE])
    assert check.message == "The text does not state the side and level (18 mm node in the left level II)."


def test_nothing_measured_is_not_called_agreement_of_lesions():
    (check,) = check_agreement(parse("No mass."), [Finding("artefact", "absent")])
    # Of 33 patients who are all treated for cancer many have no suspicion.
    assert (check.id, check.status) == ("report.clear", "warn") and "overlook much real disease" in check.message
    (check,) = check_agreement([MASS], [MASS])
    assert check.message == "The measured lesion agrees with the text."


@pytest.mark.parametrize(
    ("finding", "named"),
    [
        (NODE, "18 mm node in the left level II"),
        (Finding("node", level="II"), "node in level II"),
        (Finding("node", level="IB", side="bilateral"), "node in level IB on both sides"),
        (Finding("node", level="retropharyngeal", side="left"), "node in the left retropharyngeal region"),
        (Finding("node", level="supraclavicular"), "node in the supraclavicular region"),
        (Finding("mass", side="left"), "mass on the left"),
        (Finding("mass", side="midline"), "mass in the midline"),
        (Finding("mass", side="bilateral"), "mass on both sides"),
        (Finding("mass", site="base of tongue", side="midline"), "mass in the midline base of tongue"),
        (Finding("airway", site="larynx"), "airway narrowing in the larynx"),
        (Finding("mass"), "mass"),
    ],
)
def test_words(finding, named):
    assert words(finding) == named


@pytest.mark.parametrize(
    ("text", "size_mm", "message"),
    [
        # 3.4 mm apart, of which 3.08 are allowed; "12 mm, measured 15 mm" would be 3 and within tolerance.
        ("12 mm", 15.4, "Size: the text says 12 mm, measured 15.4 mm (15.4 mm node in the left level II)."),
        ("1.25 cm", 15.75, "Size: the text says 12.5 mm, measured 15.8 mm (15.8 mm node in the left level II)."),
        ("12 mm", 15.0, "The measured lesion agrees with the text."),
        ("12.5 mm", 15.5, "The measured lesion agrees with the text."),
    ],
)
def test_sizes_are_told_as_they_are_compared(text, size_mm, message):
    said = parse(f"Left level II necrotic node, {text}.")
    assert [c.message for c in check_agreement(said, [replace(NODE, size_mm=size_mm)])] == [message]


def test_narrowing_and_volume_are_told_as_they_are_compared():
    measured = replace(AIRWAY, attributes={"narrowing_pct": 35.4})
    (check,) = check_agreement(parse("20% narrowing of the laryngeal airway."), [measured])
    assert check.message.startswith("Narrowing: the text says 20 %, measured 35.4 %")
    told = replace(TARGET, attributes=TARGET.attributes | {"volume_ml": 60.0})
    measured = replace(TARGET, attributes=TARGET.attributes | {"volume_ml": 80.4})
    check, *_ = check_agreement([told], [measured])
    assert check.message == "Target region, volume: the text says 60 mL, measured 80.4 mL."


@pytest.mark.parametrize(("text", "warned"), [
    ("No mass. No enlarged node.", True), ("Airway patent.", True), ("20% narrowing of the laryngeal airway.", True),
    ("Left level II node, 18 mm.", False), ("Possible mass of the left tonsil.", False),
])  # fmt: skip
def test_a_text_without_disease_is_warned_of_where_the_clinic_treats_a_target(text, warned):
    found = check_treated(parse(text), "PTV_7000, 557 ml")
    assert [(c.id, c.status) for c in found] == [("report.treated", "warn")] * warned
    assert all("PTV_7000, 557 ml" in c.message for c in found)
    assert check_treated(parse(text), "") == []


def test_a_suspicion_has_to_be_told_and_is_no_claim_of_the_texts_own():
    suspected = Finding(
        "mass", "indeterminate", site="palatine tonsil", side="left", certainty="possible", source="zero-shot"
    )
    (told,) = check_agreement(parse("Indeterminate mass in the left palatine tonsil."), [suspected])
    assert (told.id, told.status) == ("report.suspected", "warn") and "Confirm it or reject it" in told.message
    (confirmed,) = check_agreement(parse("Mass in the left palatine tonsil, 31 mm."), [suspected])
    assert (confirmed.id, confirmed.status) == ("report.confirmed", "not_evaluated"), "nothing was measured"
    assert "only suspect it" in confirmed.message
    for text in ("No mass.", "No enlarged node."):
        (left_out,) = check_agreement(parse(text), [suspected])
        assert (left_out.id, left_out.status) == ("report.suspected", "warn")
        assert "mass in the left palatine tonsil" in left_out.message


def test_a_contoured_lesion_that_the_text_leaves_open_is_told_and_a_measured_one_may_be_hedged():
    mass = Finding("mass", site="palatine tonsil", side="left", size_mm=35.0, attributes={"contour": "GTVp"})
    hedged = parse("Indeterminate mass in the left palatine tonsil, 35 mm.")
    (told,) = check_agreement(hedged, [mass])
    assert (told.id, told.status) == ("report.open", "warn") and "GTVp" in told.message
    (agreed,) = check_agreement(hedged, [replace(mass, attributes={})])
    assert agreed.id == "report.agreement"
    (sure,) = check_agreement(parse("Mass in the left palatine tonsil, 35 mm."), [mass])
    assert sure.id == "report.agreement"


def test_lesions_that_are_alike_and_told_once_are_counted_and_not_called_missing():
    nodes = [Finding("node", side="right", level="II", size_mm=12.0) for _ in range(3)]
    other = Finding("node", side="left", level="II", size_mm=12.0)
    text = parse("Right level II node, 12 mm.")
    (alike,) = check_agreement(text, nodes)
    assert (alike.id, alike.status) == ("report.alike", "warn") and "one of 3 lesions" in alike.message
    found = check_agreement(text, [*nodes[:2], other])
    assert sorted(c.id for c in found) == ["report.alike", "report.omission"]
    (agreed,) = check_agreement(parse("Right level II node, 12 mm. Right level II node, 12 mm."), nodes[:2])
    assert agreed.id == "report.agreement"
