"""What the report model is told of a CT."""

from __future__ import annotations

import pytest

from hnvlm.report.measured import headings, lesion_lines, measured_lines
from hnvlm.report.render import render
from hnvlm.types import Finding

FACTS = [
    Finding("airway", "absent", attributes={"min_area_mm2": 180.0}),
    Finding("coverage", attributes={"superior": "skull base", "inferior": "clavicle"}),
    Finding("artefact", attributes={"extent": "mild"}),
    Finding("target", side="left", attributes={"superior": "hyoid", "inferior": "cricoid", "volume_ml": 120.0}),
]


def test_the_measured_lines_are_those_of_the_report_but_for_lesions():
    assert measured_lines(FACTS) == (
        "TECHNIQUE: Axial CT. Coverage from the skull base to the clavicle.\n"
        "Airway: Airway patent, minimum area 180 mm2.\n"
        "Bones and dentition: Mild dental artefact.\n"
        "High-dose target region (predicted): Left-sided, from the hyoid to the cricoid, volume 120 ml."
    )


def test_lines_that_hold_whatever_lesion_is_seen_leave_the_airway_out():
    lines = measured_lines(FACTS).split("\n")
    first = ["EXAMINATION: CT of the head and neck.", lines[0], "FINDINGS:"]
    assert measured_lines(FACTS, firm=True).split("\n") == [*first, *lines[2:]]


@pytest.mark.parametrize("language", ["en", "pl"])
def test_every_line_of_lesions_can_be_asked_for_also_without_one(language):
    seen = [Finding("node", side="left", level="II", size_mm=12.0)]
    few, every = lesion_lines(seen, language), lesion_lines(seen, language, every=True)
    denied = dict(line.split(":", 1) for line in render([], language=language).split("\n"))
    assert list(every) == headings(language)[3:6] and few.items() <= every.items()
    assert [said for heading, said in every.items() if heading not in few] == [
        [denied[h]] for h in every if h not in few
    ]


def test_what_was_not_measured_is_not_invented():
    lines = measured_lines([FACTS[1]]).split("\n")
    assert lines[1:] == [
        "Airway: Airway patent.",
        "Bones and dentition: No dental artefact.",
        "High-dose target region (predicted): Not predicted.",
    ]


def test_lesions_that_may_be_there_are_told_as_a_report_names_them():
    node = Finding("node", side="left", level="II", size_mm=23.0, attributes={"texture": "necrotic"})
    mass = Finding("mass", side="right", site="oral tongue", size_mm=31.0, attributes={"texture": "solid"})
    lines = measured_lines(FACTS, seen=[node, mass]).split("\n")
    assert lines[:4] == measured_lines(FACTS).split("\n")
    assert lines[4:] == [
        "Nodes left: 23 mm necrotic node in left level II.",
        "Primary site: 31 mm solid mass in the right oral tongue.",
    ]
    named = render([*FACTS, node, mass]).split("\n")
    assert set(lines[4:]) <= set(named)
    assert set(measured_lines(FACTS, "pl", seen=[node, mass]).split("\n")[4:]) <= set(
        render([*FACTS, node, mass], language="pl").split("\n")
    )


def test_polish_lines():
    lines = measured_lines(FACTS, "pl")
    assert len(lines.split("\n")) == 4 and "180 mm2" in lines and "120 ml" in lines and "node" not in lines


def test_what_lines_of_lesions_may_say():
    seen = [
        Finding("node", side="left", level="II", size_mm=32.0, attributes={"texture": "solid"}),
        Finding("mass", side="right", site="larynx", size_mm=20.0, attributes={"texture": "necrotic"}),
        Finding("node", side="left", level="III", size_mm=16.0, attributes={"texture": "necrotic"}),
    ]
    assert lesion_lines([*seen, seen[0]]) == {
        "Nodes left": [
            " No pathologically enlarged node in the left neck.",
            " 32 mm solid node in left level II.",
            " 16 mm necrotic node in left level III.",
        ],
        "Primary site": [" No mass identified.", " 20 mm necrotic mass in the right larynx."],
    }
    assert lesion_lines([]) == {}
    polish = lesion_lines(seen, "pl")
    assert [len(sentences) for sentences in polish.values()] == [3, 2]
    for sentences in (*polish.values(), *lesion_lines(seen).values()):
        assert all(sentence.startswith(" ") and sentence.endswith(".") for sentence in sentences)
