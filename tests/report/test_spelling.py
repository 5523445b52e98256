"""Misspelt words: a likely reading is offered where the word matters, and ordinary words are left alone."""

from __future__ import annotations

import random

import pytest

from hnvlm.report import render, sample_spec
from hnvlm.report.request_parse import parse_commands
from hnvlm.report.spelling import misspelt
from hnvlm.report.vocabulary import load
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, Finding


def _offered(text: str) -> list[tuple[str, str]]:
    return [(slip.word, slip.likely) for command in parse_commands(text) for slip in command.misspelt]


@pytest.mark.parametrize(
    ("text", "word", "likely"),
    [
        # The grave ones: another operation, another side, the opposite texture.
        ("remvoe the left level II node", "remvoe", "remove"),
        ("delte the left level II node", "delte", "delete"),
        ("shirnk the left level II node", "shirnk", "shrink"),
        ("lef level II node 15 mm", "lef", "left"),
        ("rihgt level II node 15 mm", "rihgt", "right"),
        ("left level II node witout necrosis 15 mm", "witout", "without"),
        ("usń węzeł grupy II po lewej", "usń", "usuń"),
        ("powięsz węzeł w grupie II po lewej", "powięsz", "powiększ"),
        ("węzeł grupy II po lewje 15 mm", "lewje", "lewej"),
        # Places, lesions and what they are like.
        ("node left levle 15 mm", "levle", "level"),
        ("necrotc node in left level II, 22 mm", "necrotc", "necrotic"),
        ("tonsilar mass right 30 mm", "tonsilar", "tonsillar"),
        ("TONSILAR MASS RIGHT 30 MM", "TONSILAR", "tonsillar"),
        ("parotyd mass left 2 cm", "parotyd", "parotid"),
        ("left base of tounge mass 3 cm", "tounge", "tongue"),
        ("left pyrifrom sinus mass 20 mm", "pyrifrom", "pyriform"),
        ("supraglotic mass left 20mm", "supraglotic", "supraglottic"),
        ("smal left level II node", "smal", "small"),
        ("guz migdłaka prawego 30 mm", "migdłaka", "migdałka"),
        ("guz nasdy języka lewy 25 mm", "nasdy", "nasady"),
        ("węzeł w grupie drguiej po lewej 15 mm", "drguiej", "drugiej"),
        ("matrwiczy węzeł grupy II po lewej 15 mm", "matrwiczy", "martwiczy"),
        ("usuń węzełł grupy II po lewej", "węzełł", "węzeł"),
    ],
)
def test_a_likely_reading_is_offered(text, word, likely):
    assert _offered(text) == [(word, likely)]


@pytest.mark.parametrize(
    "text",
    [
        # The fact is told all the same, or the word tells nothing of this command.
        "levl II node left 15 mm",
        "left levle II node 15 mm",
        "left level II nod 15 mm",
        "remove the necrotc node in left level II",
        "węzel w gruipe II po lewej 15 mm",
        # Words of their own, and forms of words that are read.
        "left level II node 15 mm, note the tight fat plane, might be one of several",
        "let the rest be; respect the remote exercise of the server",
        "hello there",
        "erases, lefts, necroses and levels",
        "węzeł grupy II po lewej zmniejszył się do 8 mm, prawie i średnio",
    ],
)
def test_no_reading_is_offered(text):
    assert _offered(text) == []


@pytest.mark.parametrize("bank", ["train", "mid", "held"])
def test_no_word_of_the_banks_is_taken_for_a_slip(bank):
    rng = random.Random(3)
    for op in ("add", "remove", "none"):
        for n in range(200):
            finding = _finding(rng, n)
            text = sample_spec(op, finding, rng, bank).text
            assert _offered(text) == [], text


def _finding(rng: random.Random, n: int) -> Finding:
    side, texture = rng.choice(["left", "right"]), rng.choice(["solid", "necrotic"])
    if n % 3 == 0:
        return Finding("airway", site=rng.choice(AIRWAY_LEVELS), side=side, attributes={"narrowing_pct": 40.0})
    if n % 3 == 1:
        return Finding("mass", site=rng.choice(MASS_SITES), side=side, size_mm=23.0, attributes={"texture": texture})
    return Finding("node", level=rng.choice(NODE_LEVELS), side=side, size_mm=13.0, attributes={"texture": texture})


@pytest.mark.parametrize("language", ["en", "pl"])
def test_no_word_of_a_report_is_taken_for_a_slip(language):
    for seed in range(30):
        rng = random.Random(seed)
        text = render([_finding(rng, n) for n in range(3)], language=language, rng=rng)
        assert misspelt(text, language) == [], text


@pytest.mark.parametrize("language", ["en", "pl"])
def test_no_word_that_is_meant_is_a_slip_or_ordinary(language):
    table = load("spelling")[language]
    words = [word for row in table["words"].values() for word in row]
    assert len(words) == len(set(words))
    assert misspelt(" ".join(words), language) == []
