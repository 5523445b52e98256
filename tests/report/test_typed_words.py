"""Wordings that are typed every day: denied necrosis, a patent airway, numbers in words, and all lesions at once."""

from __future__ import annotations

import pytest
from typed import asked

from hnvlm.report import parse_report
from hnvlm.report.request_facts import request_facts
from hnvlm.report.request_parse import parse_commands
from hnvlm.services.edit_requests import understood


def _one(text: str):
    report = parse_report(text)
    assert report.contradictions == []
    (finding,) = report.findings
    return finding


@pytest.mark.parametrize(
    ("text", "texture"),
    [
        ("hypodense node w/o necrosis", "solid"),
        ("Hypodense node in left level II w/o necrosis, 18 mm.", "solid"),
        ("18 mm hypodense node in left level II, no central necrosis.", "solid"),
        ("Left level II node 18 mm, hypodense but without necrosis.", "solid"),
        ("18 mm non-necrotic hypodense node in left level II", "solid"),
        ("Left level II node 18 mm without central necrosis.", "solid"),
        ("Hipodensyjny węzeł w grupie II po lewej 18 mm, bez martwicy.", "solid"),
        ("hypodense node", "necrotic"),
        ("Left level II node with low-density centre, 18 mm.", "necrotic"),
        ("Hypodense necrotic node in left level II.", "necrotic"),
        ("Cystic left level II node without solid component.", "necrotic"),
    ],
)
def test_denied_necrosis_outweighs_how_dense_a_node_is(text: str, texture: str) -> None:
    assert _one(text).attributes["texture"] == texture


def test_no_necrosis_in_a_sentence_of_its_own() -> None:
    assert _one("Hypodense node in left level II, 18 mm. No necrosis.").attributes["texture"] == "solid"
    assert _one("Left level II node, 18 mm. No central necrosis is seen.").attributes["texture"] == "solid"
    # What is said of two, or of one that was called necrotic, is left open.
    report = parse_report("Left level II node 18 mm. Right level III node 12 mm. No necrosis.")
    assert ([f.attributes for f in report.findings], report.unparsed_sentences) == ([{}, {}], ["No necrosis."])
    report = parse_report("Necrotic left level II node 18 mm. No necrosis.")
    assert report.findings[0].attributes["texture"] == "necrotic"
    assert report.unparsed_sentences == ["No necrosis."]


@pytest.mark.parametrize("text", ["Bilateral level II LAD, R 18mm L 22mm.", "Level II nodes R 18 mm, L 22 mm."])
def test_a_size_for_each_side(text: str) -> None:
    report = parse_report(text)
    assert [(f.side, f.size_mm) for f in report.findings] == [("right", 18.0), ("left", 22.0)]
    assert report.contradictions == []


@pytest.mark.parametrize("text", ["1.8 cm left RPN.", "Left RPLN 18 mm."])
def test_a_retropharyngeal_node_by_its_letters(text: str) -> None:
    assert (_one(text).level, _one(text).size_mm) == ("retropharyngeal", 18.0)


def test_each_node_has_its_own_necrosis() -> None:
    text = "Hypodense 18 mm node in left level II, and a 12 mm node in right level III without necrosis."
    assert [f.attributes["texture"] for f in parse_report(text).findings] == ["necrotic", "solid"]


@pytest.mark.parametrize(
    "text",
    [
        "The airway is patent. There is mild narrowing of the oropharynx.",
        "The airway is patent. Mild narrowing of the airway.",
        "Airway: patent. Airway mildly narrowed.",
        "There is mild narrowing of the oropharyngeal airway. The airway is otherwise patent.",
        "patent airway with mild narrowing",
        "Drogi oddechowe drożne. Nieznaczne zwężenie światła krtani.",
    ],
)
def test_a_patent_airway_may_be_narrowed(text: str) -> None:
    finding = _one(text)
    assert (finding.kind, finding.presence, finding.attributes) == ("airway", "present", {"narrowing_word": "mild"})


@pytest.mark.parametrize("denial", ["No airway narrowing.", "The airway is normal.", "The airway is not narrowed."])
def test_a_denied_narrowing_contradicts_one(denial: str) -> None:
    assert len(parse_report(f"{denial} There is mild narrowing of the larynx.").contradictions) == 1


def test_a_patent_airway_alone_is_a_denial() -> None:
    assert _one("The airway is patent.").presence == "absent"
    text = "Laryngeal airway patent. Mild narrowing of the oropharyngeal airway."
    assert [f.presence for f in parse_report(text).findings] == ["absent", "present"]


@pytest.mark.parametrize(
    ("words", "size_mm"),
    [
        ("twenty-two millimeters", 22.0), ("twenty two millimetres", 22.0), ("two centimetres", 20.0),
        ("thirty-five mm", 35.0), ("eight mm", 8.0), ("eleven millimetres", 11.0), ("ninety-nine mm", 99.0),
        ("forty mm", 40.0), ("one point five cm", 15.0), ("one and a half centimetres", 15.0), ("a centimetre", 10.0),
        ("twelve by fifteen mm", 15.0), ("22 mm", 22.0),
    ],
)  # fmt: skip
def test_numbers_in_words(words: str, size_mm: float) -> None:
    assert _one(f"Left level II node of {words}.").size_mm == size_mm
    assert asked(f"Add a node of {words} in left level II") == [f"add node left II {size_mm:g}"]


@pytest.mark.parametrize(
    ("words", "size_mm"),
    [("dwadzieścia dwa mm", 22.0), ("trzydzieści pięć milimetrów", 35.0), ("dwa centymetry", 20.0),
     ("osiemnascie mm", 18.0), ("półtora cm", 15.0), ("czterdzieści mm", 40.0)],
)  # fmt: skip
def test_numbers_in_polish_words(words: str, size_mm: float) -> None:
    assert _one(f"Węzeł {words} w grupie II po lewej.").size_mm == size_mm


def test_a_number_in_words_is_a_size_before_a_unit_alone() -> None:
    assert _one("Two level II nodes on the left, the larger twelve mm.").size_mm == 12.0
    assert _one("Left level two node, twenty-two mm.").size_mm == 22.0
    assert _one("Left level II node decreased from twenty to twelve mm.").size_mm == 12.0


@pytest.mark.parametrize(
    "text",
    ["Remove all lesions", "remove all findings", "Remove everything", "Please delete every lesion.",
     "get rid of all lesions", "Remove all lesions from the neck", "Remove all masses and nodes", "Clear all lesions",
     "Remove all lesions bilaterally",
     "Usuń wszystkie zmiany", "usuń wszystkie zmiany w szyi", "Usuń wszystko"],
)  # fmt: skip
def test_all_lesions_are_masses_and_nodes(text: str) -> None:
    assert asked(text) == ["none"]
    assert request_facts(text)["op"] == "none"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Remove all lesions on the left", ["remove mass left - -", "remove node left - -"]),
        ("Usuń wszystkie zmiany po lewej", ["remove mass left - -", "remove node left - -"]),
        ("Remove all lesions and add a 20 mm node in left level II",
         ["remove mass - - -", "remove node - - -", "add node left II 20"]),
        ("Remove all masses", ["remove mass - - -"]),
        ("Remove all nodes", ["remove node - - -"]),
        ("Remove the lesion in the left tonsil", ["remove mass left palatine tonsil -"]),
        ("Remove all lesions in level II on the left", ["remove node left II -"]),
        ("Do not remove all lesions", []),
        ("Remove everything but the node", []),
        ("Remove all lesions except the left tonsil mass", []),
    ],
)  # fmt: skip
def test_some_lesions_are_not_all(text: str, expected: list[str]) -> None:
    assert asked(text) == expected


@pytest.mark.parametrize("verb", ["zmień", "Zmień", "zmienić", "zmien", "zwiększ"])
def test_a_change_of_size_is_understood_and_no_slip(verb: str) -> None:
    (command,) = parse_commands(f"{verb} węzeł na 30 mm")
    assert (command.request.op, command.request.finding.size_mm, command.misspelt) == ("unknown", 30.0, ())
    assert understood(f"{verb} węzeł na 30 mm") == understood("change the node to 30 mm")


@pytest.mark.parametrize("denial", ["No suspicious node.", "No enlarged lymph nodes.", "No adenopathy."])
def test_a_reactive_node_is_not_what_is_denied(denial: str) -> None:
    report = parse_report(f"{denial} Subcentimetre reactive nodes bilaterally.")
    assert [f.presence for f in report.findings] == ["absent", "indeterminate"]
    assert report.contradictions == []
    assert len(parse_report(f"{denial} Indeterminate left level II node, 9 mm.").contradictions) == 1


@pytest.mark.parametrize("before", ["Post left neck dissection", "After left parotidectomy", "Following left neck RT"])
def test_the_side_of_what_was_done_is_none_of_the_lesion(before: str) -> None:
    for size, size_mm in ((" 15 mm", 15.0), ("", None)):
        found = _one(f"{before}, right level II node{size}.")
        assert (found.side, found.level, found.size_mm) == ("right", "II", size_mm)


def test_a_midline_trachea_is_no_side_of_a_narrowing() -> None:
    found = _one("Trachea midline, airway patent, mild supraglottic narrowing.")
    assert (found.site, found.side, found.attributes) == ("larynx", None, {"narrowing_word": "mild"})
