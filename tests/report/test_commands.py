"""Requests with several commands, with negated ones, and with what cannot be drawn."""

from __future__ import annotations

import random

import pytest

from hnvlm.report import parse_request, sample_spec
from hnvlm.report.request_facts import acted_upon, drawn_lines, limits, request_facts
from hnvlm.report.request_parse import parse_commands
from hnvlm.types import Finding

NODE = ("add", "node", "left", "III", 22)
TONSIL = ("remove", "mass", "right", "palatine tonsil", None)


def _asked(text: str) -> list[tuple]:
    """(op, kind, side, place, size) of each command that asks for something."""
    asked = []
    for command in parse_commands(text):
        finding = command.request.finding
        if finding is not None:
            place = finding.level or finding.site
            asked.append((command.request.op, finding.kind, finding.side, place, finding.size_mm))
    return asked


def _drawn(text: str) -> list[str]:
    """The lines that the models are given of a request."""
    return drawn_lines(acted_upon(parse_commands(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("add a 22 mm necrotic node in left level III, remove the right tonsil mass", [NODE, TONSIL]),
        ("Add a 22 mm node in left level III and remove the right tonsil mass.", [NODE, TONSIL]),
        ("Remove the right tonsil mass and add a 22 mm node in left level III.", [TONSIL, NODE]),
        ("Please remove the right tonsil mass, then please add a 22 mm node in left level III", [TONSIL, NODE]),
        ("Add a 22 mm node in left level III; delete the right tonsil mass", [NODE, TONSIL]),
        ("add a 22 mm node in left level III\nremove the right tonsil mass", [NODE, TONSIL]),
        ("22 mm node in left level III; 18 mm node in right level II", [NODE, ("add", "node", "right", "II", 18)]),
        ("Dodaj węzeł 22 mm w grupie III po lewej, usuń guz migdałka prawego", [NODE, TONSIL]),
        ("Usuń guz prawego migdałka i dodaj węzeł 22 mm w grupie III po lewej.", [TONSIL, NODE]),
        # One command: the verb goes on about the lesion named before, or the semicolon about its texture.
        ("left level II node 2cm, remove it", [("remove", "node", "left", "II", 20)]),
        ("erase the 15-mm node; left level II", [("remove", "node", "left", "II", 15)]),
        ("There is a node in left level III, 22 mm. Remove it.", [("remove", "node", "left", "III", 22)]),
        ("There is a node in left level III. It measures 22 mm.", [NODE]),
        ("Find the right tonsil mass. Please delete it. Add a 22 mm node in left level III.", [TONSIL, NODE]),
        # What else is said of a lesion to add is no removal.
        ("add a resectable 30 mm tumour of the right tonsil", [("add", "mass", "right", "palatine tonsil", 30)]),
        ("unresectable 30 mm tumour of the right tonsil", [("add", "mass", "right", "palatine tonsil", 30)]),
        ("add a 22 mm node in left level III that cannot be resected", [NODE]),
        ("22 mm node in left level III that cannot be resected", [NODE]),
        ("the left level III node has not resolved, 22 mm", [NODE]),
        ("new 22 mm left level III node, absent on the prior scan", [NODE]),
        ("Add a 22 mm node in left level III but not in level IV", [NODE]),
        ("Add a 22 mm left level III node, left tonsil normal", [NODE]),
        ("resect the right tonsil mass", [TONSIL]),
        ("what if the right tonsil mass had been resected", [TONSIL]),
        ("Do not forget to add a 22 mm node in left level III.", [NODE]),
    ],
)
def test_one_operation_a_command(text, expected):
    assert _asked(text) == expected
    assert len(_drawn(text)) == len(expected)
    assert [request_facts(command)["op"] for command in _drawn(text)] == [op for op, *_ in expected]


@pytest.mark.parametrize(
    "text",
    [
        "Do not remove the left level II node.",
        "don't remove the left level II node",
        "don’t remove the left level II node",
        "Please do not draw a node in left level II",
        "Do not add a node in left level II.",
        "The left level II node must not be removed.",
        "The right tonsil mass should not be touched",
        "Keep the node in left level II.",
        "Nie usuwaj guza migdałka prawego.",
        "nie dodawaj węzła w grupie II po lewej",
        "Status post resection of right tonsil tumour.",
        "INDICATION: right tonsil tumour",
    ],
)
def test_what_asks_for_no_change(text):
    assert _drawn(text) == []
    assert all(command.asks_nothing for command in parse_commands(text))
    assert parse_request(text).op == "unknown"


@pytest.mark.parametrize(
    "text",
    [
        "Add a 22 mm node in left level III. Do not remove the right tonsil mass.",
        "Add a 22 mm node in left level III; the right tonsil mass should not be removed.",
        "Do not touch the right tonsil mass, add a 22 mm node in left level III",
        "Keep the right tonsil mass and add a 22 mm node in left level III",
        "Status post resection of right tonsil tumour. Add a 22 mm node in left level III.",
        "Add a 22 mm node in left level III without touching the right tonsil mass.",
        "Nie usuwaj guza migdałka prawego, dodaj węzeł 22 mm w grupie III po lewej",
    ],
)
def test_a_negated_command_leaves_the_others(text):
    assert _asked(text) == [NODE]
    (command,) = _drawn(text)
    facts = request_facts(command)
    assert (facts["op"], facts["place"], facts["side"], facts["size_mm"]) == ("add", "III", "left", 22)


def test_facts_of_a_negated_command_ask_for_nothing():
    facts = request_facts("Do not remove the left level II node.")
    assert facts.pop("op") == "keep"
    assert set(facts.values()) == {None}


def test_a_command_to_draw_is_one_sentence():
    """The pack cuts at full stops and line breaks."""
    (command,) = _drawn("Add a node of approx. 12 mm in left level II; necrotic.")
    assert command == "Add a node of approx 12 mm in left level II, necrotic."


def test_a_summary_is_drawn_once():
    report = "FINDINGS:\nNodes left: 22 mm node in level III.\nIMPRESSION: Left level III node, 22 mm."
    assert len(_drawn(report)) == 1
    other = report.replace("IMPRESSION: Left", "IMPRESSION: Right")
    assert len(_drawn(other)) == 2


@pytest.mark.parametrize("bank", ["train", "mid", "held"])
def test_a_sampled_request_is_one_command(bank):
    rng = random.Random(5)
    finding = Finding("node", level="II", side="left", size_mm=18, attributes={"texture": "necrotic"})
    for op in ("add", "remove"):
        for _ in range(150):
            text = sample_spec(op, finding, rng, bank).text
            (command,) = _drawn(text)
            assert request_facts(command)["op"] == op, text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("add an 18 mm node in left level II", []),
        ("add bilateral level II nodes 15 mm", ["only one side", "one lesion is drawn"]),
        ("add a midline base of tongue mass 30 mm", ["not in the midline"]),
        ("add a 30 mm mass in the right tonsil crossing the midline", ["across the midline"]),
        ("add three 12 mm nodes in left level II", ["one lesion is drawn"]),
        ("dodaj trzy węzły 12 mm w grupie II po lewej", ["one lesion is drawn"]),
        ("add a 4 mm node in left level II", ["drawn with 6 mm"]),
        ("add a 6 cm mass in the left parotid", ["drawn with 45 mm"]),
        ("add 95% narrowing of the laryngeal airway", ["drawn with 80 %"]),
        ("add a 12 mm node in left level VI", ["IB, II, III, IV and V"]),
        ("add a 3 cm mass in the left nasopharynx", ["parotid gland can be"]),
        ("remove the bilateral level II nodes", ["only one side"]),
        ("remove the 60 mm mass in the left parotid", []),
    ],
)
def test_what_cannot_be_drawn_is_said(text, said):
    (command,) = parse_commands(text)
    found = limits(command)
    assert len(found) == len(said)
    for words, message in zip(said, found, strict=True):
        assert words in message
