"""Requests and report sentences as clinicians write them, against what a radiologist understands by each."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from report.typed import asked, asked_in_full

from hnvlm.report import parse_report
from hnvlm.report.request_facts import acted_upon, limits
from hnvlm.report.request_parse import PLACES, parse_commands
from hnvlm.report.sizes import size_of

_HERE = Path(__file__).parent
TABLES = [yaml.safe_load((_HERE / f"clinical_{language}.yaml").read_text("utf-8")) for language in ("en", "pl")]
ROWS = [tuple(row) for table in TABLES for row in table]
PLACED = [text for text, expected in ROWS if expected.startswith(("add node", "add mass"))]


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_what_is_understood(text, expected):
    assert asked_in_full(text) == expected


@pytest.mark.parametrize("text", PLACED)
def test_a_place_where_nothing_can_be_drawn_is_told(text):
    command = acted_upon(parse_commands(text))[0]
    finding = command.request.finding
    nowhere = finding.place is not None and finding.place not in PLACES[finding.kind]
    assert any("nothing can be drawn there" in said for said in limits(command)) == nowhere


@pytest.mark.parametrize(
    ("written", "size_mm"),
    [
        ("one inch", 25.4), ("1 inch", 25.4), ("0.5 inches", 12.7), ("two centimetres", 20.0), ("three-cm", 30.0),
        ("one and a half centimetres", 15.0), ("half a centimetre", 5.0), ("półtora centymetra", 15.0),
        ("poltora centymetra", 15.0), ("dwucentymetrowy", 20.0), ("pięć milimetrów", 5.0), ("15 milimetrow", 15.0),
        ("1.2 cm -> 2.4 cm", 24.0), ("24 mm → 12 mm", 12.0),
    ],
)  # fmt: skip
def test_sizes_in_words_and_other_units(written, size_mm):
    assert size_of(written) == pytest.approx(size_mm)
    found = parse_commands(f"LN II L, {written}")[0].request.finding
    assert found is not None and found.size_mm == pytest.approx(size_mm)


@pytest.mark.parametrize(
    "text",
    [
        "Areas of low attenuation in both parotid glands.",
        "Rim-enhancing collection in the left submandibular space measuring 2 cm.",
        "Arytenoid cartilages are symmetric. Prelaryngeal soft tissues are normal.",
        "Stoma in situ. Breast implants. Hypodense lesion in the liver, 2 cm.",
        "Płat potyliczny bez zmian. Nerw twarzowy niezajęty. Guzek piersi lewej 12 mm.",
        "Obszary hipodensyjne w migdałkach.",
    ],
)
def test_report_sentences_that_tell_of_no_lesion_of_the_neck(text):
    assert asked(text) == []
    assert [finding for finding in parse_report(text).findings if finding.kind in ("node", "mass")] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("No evidence of disease progression.", []),
        ("No evidence of disease in the left tonsil.", []),
        ("No evidence of residual disease.", ["none"]),
        ("No evidence of disease.", ["none"]),
    ],
)
def test_no_disease_clears_the_neck_where_it_is_said_of_all_of_it(text, line):
    assert asked(text) == line


@pytest.mark.parametrize(
    ("remark", "language"),
    [
        ("Nie wykazano cech martwicy w węzłach.", "pl"),
        ("Bez cech martwicy w węzłach.", "pl"),
        ("No necrosis in the nodes.", "en"),
        ("Nodes without necrosis.", "en"),
    ],
)
def test_a_remark_that_nodes_have_no_necrosis_draws_none(remark, language):
    node = {"en": "20 mm node in left level II.", "pl": "Węzeł 20 mm w grupie II po lewej."}[language]
    for text, expected in ((remark, [True]), (f"{node} {remark}", [False, True])):
        assert [command.asks_nothing for command in parse_commands(text, language)] == expected
    added = parse_commands("Add a left level II node without necrosis, 20 mm.")[0]
    assert not added.asks_nothing and added.request.finding.attributes["texture"] == "solid"
