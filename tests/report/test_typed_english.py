"""Requests as they are typed in a hurry, in English, against what a radiologist means by them."""

from __future__ import annotations

import pytest
from report.typed import asked

from hnvlm.report import parse, parse_report
from hnvlm.report.request_facts import request_facts
from hnvlm.report.request_parse import parse_commands, parse_request

NODE = "add node left II 15"
READ = [
    ("Necrotic node in left level II, 22 mm", ["add node left II 22 necrotic"]),
    ("NECROTIC NODE IN LEFT LEVEL II, 22 MM", ["add node left II 22 necrotic"]),
    ("Add node L level II 1.5 cm", [NODE]),
    ("lt. level 3 LN 12mm necrotic", ["add node left III 12 necrotic"]),
    ("Rt level IIA LN 14 mm", ["add node right II 14"]),
    ("LN L II 15mm", [NODE]),
    ("LN L 2a 15mm", [NODE]),
    ("Rt. IB LN 1.2 cm", ["add node right IB 12"]),
    ("left sided jugulodigastric node 2cm", ["add node left II 20"]),
    ("left submandibular LN 12 mm", ["add node left IB 12"]),
    ("node: left, II, 15mm, necrotic", [f"{NODE} necrotic"]),
    ("side: left, level: II, size: 15 mm, node", [NODE]),
    ("level II (left): 15 mm node", [NODE]),
    ("Left level II (jugulodigastric) node 15 mm", [NODE]),
    ("node in left level 2, size 1,5 cm", [NODE]),
    ("15mm x 12mm node in left level II", [NODE]),
    ("Left level II node 1.5 x 1.2 x 1.0 cm, necrotic.", [f"{NODE} necrotic"]),
    ("add 2 x 3 cm mass L BOT", ["add mass left base of tongue 30"]),
    ("BOT SCC L 2.5cm", ["add mass left base of tongue 25"]),
    ("SCC of the right tonsil, 3.5 cm", ["add mass right palatine tonsil 35"]),
    ("SCC of the tonsil, p16+, right, 3 cm", ["add mass right palatine tonsil 30"]),
    ("T3 N2b R tonsil 45mm", ["add mass right palatine tonsil 45"]),
    ("left parotid tumour 2.2cm solid", ["add mass left parotid gland 22 solid"]),
    ("tumor of right lateral tongue border 25 mm", ["add mass right oral tongue 25"]),
    ("mass left tonsil 3cm extending to soft palate", ["add mass left palatine tonsil 30"]),
    ("small node in left level II", ["add node left II - small"]),
    ("matted nodes left II-IV", ["add node left II -"]),
    ("What would a 15 mm necrotic node in left level II look like?", [f"{NODE} necrotic"]),
    ("How would a 15 mm node in left level II look?", [NODE]),
    ("?left level II node 15 mm", [NODE]),
    ("suspicious left level II node 15 mm, likely metastatic", [NODE]),
    ("left level II node 15 mm, hx of right tonsil SCC", [NODE]),
    ("left level II node is smaller, 15 mm", [NODE]),
    ("Unchanged left level II node 15 mm", [NODE]),
    # One line, several lines.
    ("Left level II\nnecrotic node\n22 mm", ["add node left II 22 necrotic"]),
    ("left level II node\n15 mm, solid", [f"{NODE} solid"]),
    ("Right tonsil mass 3 cm\nLeft level II node 15 mm\nRemove right level III node",
     ["add mass right palatine tonsil 30", NODE, "remove node right III -"]),
    ("1. left tonsil mass 3 cm 2. left level II node 15 mm", ["add mass left palatine tonsil 30", NODE]),
    ("remove the right level III node and add a 1.5 cm node in left level II", ["remove node right III -", NODE]),
    ("no left level III node; 15 mm left level II node", ["remove node left III -", NODE]),
    ("add 15mm node left level 2 but leave the right tonsil mass alone", [NODE]),
    # The other side, named to say that it is not meant.
    ("left (not right) level II node 15 mm", [NODE]),
    ("node in level II, left not right, 15 mm", [NODE]),
    ("not right but left level II node 15 mm", [NODE]),
    ("add a node in left level II not right level II 15 mm", [NODE]),
    ("add a 15 mm left level II node, rather than right", [NODE]),
    ("add a node left level II, 15 mm, instead of level III", [NODE]),
    ("mass in the left tonsil, 3 cm, not crossing to the right", ["add mass left palatine tonsil 30"]),
    # Negations.
    ("left level II node w/o necrosis 15 mm", [f"{NODE} solid"]),
    ("left level II node neg for necrosis 15 mm", [f"{NODE} solid"]),
    ("left level II node with no necrosis 15 mm", [f"{NODE} solid"]),
    ("no LN left level II", ["remove node left II -"]),
    ("left level II neg", ["remove node left II -"]),
    ("left level II node: none", ["remove node left II -"]),
    ("There is no longer a left level II node", ["remove node left II -"]),
    # Removals.
    ("take the left level II node out", ["remove node left II -"]),
    ("hide the left level II node", ["remove node left II -"]),
    ("clear all nodes on the left", ["remove node left - -"]),
    ("get the left level II node out", ["remove node left II -"]),
    ("The left level II node must go", ["remove node left II -"]),
    ("plz del LN L II", ["remove node left II -"]),
    ("left level II node -> remove", ["remove node left II -"]),
    ("add LN L II 15mm, del LN R III", [NODE, "remove node right III -"]),
    ("delete R III LN + add L II LN 15mm", ["remove node right III -", NODE]),
    ("Add a left level II node. Make it 15 mm.", [NODE]),
    ("Add a left level II node, 15 mm. Make it necrotic.", [f"{NODE} necrotic"]),
    ("Right: level III node 12 mm. Left: no nodes.", ["add node right III 12", "remove node left - -"]),
    ("Complete response in the neck.", ["none"]),
    ("In the left level II a 15 mm node", [NODE]),
    ("Abutting the left carotid, left level II node 15 mm", [NODE]),
    ("Remove left II and right III nodes", ["remove node left II -"]),
    ("Show me the patient without the left level II node", ["remove node left II -"]),
    # What the whole neck has none of: the rest of it stays.
    ("No adenopathy.", ["remove node - - -"]),
    ("No mass.", ["remove mass - - -"]),
    ("The airway is patent.", ["remove airway - - -"]),
    ("make the airway patent", ["remove airway - - -"]),
    ("No mass. No adenopathy.", ["none", "none"]),
    ("Normal neck. No adenopathy.", ["none", "none"]),
    ("left level II node 15 mm. No mass.", [NODE]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), READ, ids=[text for text, _ in READ])
def test_what_is_asked(text, expected):
    assert asked(text) == expected
    assert not any(command.misspelt for command in parse_commands(text))


@pytest.mark.parametrize(
    "text",
    [
        "No change.",
        "no change in the left level II node",
        "No interval change in the left tonsil mass, 25 mm.",
        "Is there a 15 mm node in left level II?",
        "Measure the left level II node",
        "Which node is the largest?",
        "How large is the left level II node?",
        "keep the left level II node",
    ],
)
def test_a_look_a_question_and_no_change_ask_for_nothing(text):
    commands = parse_commands(text)
    assert commands and all(command.asks_nothing for command in commands)
    assert request_facts(text)["op"] == "keep"


@pytest.mark.parametrize(
    "text",
    [
        "double the left level II node",
        "grow the left tonsil mass to 4 cm",
        "make the left level II node bigger",
        "make the node in left level II twice as big",
        "the left level II node should be half the size",
        "make the left level II node 30 mm",
        "set the left level II node to 30 mm",
        "resize left level II node to 30 mm",
        "turn the left level II node necrotic",
        "make left level II node necrotic",
        "increase left level II node from 12 to 20 mm",
        "left tonsil mass 50% smaller",
        # A verb that no rule knows was left aside, and what it stands before was added.
        "stabilise the left level II node",
        "normalise the left level II node",
        "Please vaporize the left level II node",
        "add a right level III node 15 mm instead of the left level II node",
    ],
)
def test_another_size_or_lesion_is_no_addition(text):
    assert asked(text) == []
    assert parse_request(text).op == "unknown"
    assert request_facts(text) is None


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("left level II node 12 mm (13 mm)", (12, 13)),
        ("left level II node 12 mm or 1.5 cm", (12, 15)),
        ("left level II node 12 or 15 mm", (12, 15)),
        ("left level II node, 12 mm, 15 mm, 21 mm", (12, 15, 21)),
    ],
)
def test_two_sizes_of_one_lesion_are_left_open(text, sizes):
    request = parse_request(text)
    assert request.finding.size_mm is None
    assert request.finding.attributes["rival_sizes_mm"] == sizes
    assert request.missing == ["one size"]
    report = parse_report(text.capitalize() + ".")
    assert [finding.attributes for finding in report.findings] == [{}]
    assert len(report.contradictions) == 1 and report.contradictions[0].startswith("Several sizes of one node")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("left level II node 12 mm (previously 13 mm)", 12),
        ("left level II node 12 mm AP, 15 mm CC", 15),
        ("left level II node 12 x 15 mm (previously 10 x 12 mm)", 15),
        ("left level II node, 1.2 cm (12 mm)", 12),
        ("left level II node 15 mm with a 5 mm necrotic centre", 15),
        ("left level II node 15 mm, 8 mm from the carotid", 15),
        ("two nodes in left level II, 12 mm and 15 mm", 15),
        ("left level II node 12-15 mm", 15),
    ],
)
def test_these_sizes_are_no_rivals(text, size):
    assert parse_request(text).finding.size_mm == size
    assert parse_report(text).contradictions == []


def test_one_side_has_to_be_named():
    request = parse_request("mass in the right > left tonsil 3 cm")
    assert (request.finding.side, request.missing) == (None, ["one side"])


def test_every_level_of_a_list_has_its_side():
    found = parse("Nodes in level II on the left and III on the right, 15 mm.")
    assert [(f.level, f.side) for f in found] == [("II", "left"), ("III", "right")]
    found = parse("Matted nodes left II-IV.")
    assert [(f.level, f.side) for f in found] == [("II", "left"), ("III", "left"), ("IV", "left")]


def test_a_bracket_about_another_level_is_about_that_one():
    node, clear = parse("Left level II node 15 mm (level III clear).")
    assert (node.level, node.presence, node.size_mm) == ("II", "present", 15)
    assert (clear.level, clear.presence, clear.size_mm) == ("III", "absent", None)


def test_signs_part_two_lesions():
    for sign in ("+", "&", "w/"):
        mass, node = parse(f"Left tonsil mass 30 mm {sign} right level II node 15 mm.")
        assert (mass.kind, mass.side, mass.site, mass.size_mm) == ("mass", "left", "palatine tonsil", 30)
        assert (node.kind, node.side, node.level, node.size_mm) == ("node", "right", "II", 15)
