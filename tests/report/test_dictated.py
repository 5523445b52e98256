"""Sentences as radiologists dictate them, in one go and with their own words."""

from __future__ import annotations

import pytest
from report.test_readings import L2, A, M, N, P, X, _check, _read

from hnvlm.report import parse, parse_report

DICTATED = [
    ("Left neck: 2.0 cm level II node. Right neck: no adenopathy. Airway: patent.",
     [(N, P, "left", "II", 20, None), (N, X, "right", None, None, None), (A, X, None, None, None, None)]),
    ("Primary: none.\nRight neck: unremarkable.\nAirway: midline and patent.",
     [(M, X, None, None, None, None), (N, X, "right", None, None, None), (A, X, None, None, None, None)]),
    ("Drogi oddechowe: drożne.", [(A, X, None, None, None, None)]),
    ("Primary: 2.7cm R BOT mass. Nodes: 2.1 cm necrotic R IIA.",
     [(M, P, "right", "base of tongue", 27, None), (N, P, "right", "II", 21, "necrotic")]),
    ("Multiple subcentimetre nodes in levels II and III bilaterally, none pathologically enlarged.",
     [(N, X, "bilateral", "II", None, None), (N, X, "bilateral", "III", None, None)]),
    ("Bilateral level II nodes, none of which is enlarged.", [(N, X, "bilateral", "II", None, None)]),
    ("Transglottic tumour, predominantly left, 34 mm, with thyroid cartilage invasion.",
     [(M, P, "left", "larynx", 34, None)]),
    ("Left true vocal cord mass 12 mm abutting the thyroid lamina.", [(M, P, "left", "glottis", 12, None)]),
    ("8 mm nodule in the left thyroid lobe.", [(M, P, "left", "thyroid gland", 8, None)]),
    ("Tumor of the left lateral tongue, 22 x 14 x 9 mm, DOI approx 8 mm.", [(M, P, "left", "oral tongue", 22, None)]),
    ("Left lateral tongue mass, depth of invasion 8 mm.", [(M, P, "left", "oral tongue", None, None)]),
    ("Guz migdałka po lewej 22 x 14 mm, głębokość naciekania ok. 8 mm.",
     [(M, P, "left", "palatine tonsil", 22, None)]),
    ("Small cervical lymph nodes are present, none meeting size criteria for adenopathy.",
     [(N, X, None, None, None, None)]),
    ("Left level II nodes do not meet CT size criteria.", [(N, X, "left", "II", None, None)]),
    ("Enhancing 12 mm nodule in the tumor bed of the right tonsil.", [(M, P, "right", "palatine tonsil", 12, None)]),
    ("Węzeł zagardłowy prawy 9 mm.", [(N, P, "right", "retropharyngeal", 9, None)]),
    ("Powiększony węzeł chłonny zagardłowy po stronie lewej, 12 mm, z martwicą.",
     [(N, P, "left", "retropharyngeal", 12, "necrotic")]),
]  # fmt: skip


@_check(DICTATED)
def test_what_is_dictated_is_read(text, expected):
    assert _read(text) == (expected, [])


def test_the_bed_of_a_tumour_is_no_tumour():
    assert _read("Tumor bed in the right tonsil without enhancement.")[0] == []


def test_a_heading_behind_a_sentence_contradicts_no_other_side():
    text = "Left neck: 2.0 cm level II node. Right neck: no adenopathy."
    assert parse_report(text).contradictions == []
    assert parse_report(f"{text} Left neck: level III node on the right.").contradictions == [
        "The line for the left neck speaks of the right: 'level III node on the right.'",
        "The text both denies and reports a right level III node.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Guz nasady języka po stronie lewej przechodzący poza linię pośrodkową.",
        "Guz nasady języka po stronie lewej, sięgający poza linię środkową.",
        "Guz nasady języka po stronie lewej, przechodzi przez linię pośrodkową.",
        "Left base of tongue mass extending past the midline.",
        "Left base of tongue mass that extends beyond midline.",
    ],
)
def test_a_lesion_beyond_the_midline(text):
    (mass,) = parse(text)
    assert (mass.side, mass.attributes.get("crosses_midline")) == ("left", True)


@pytest.mark.parametrize(
    ("impression", "differs"),
    [("1.3 cm", False), ("13 mm", False), ("12.6 mm", False), ("12 mm", True), ("1.4 cm", True)],
)
def test_a_summary_may_round(impression, differs):
    """12.6 mm: 1.3 cm says the same; where they differ, both are told as they were written."""
    text = f"FINDINGS: {L2}, 12.6 mm.\nIMPRESSION: {L2}, {impression}."
    found = parse_report(text)
    assert len(found.findings) == 1 + differs and bool(found.contradictions) == differs
    if differs:
        assert "12.6 mm" in found.contradictions[0]


def test_no_other_nodes_deny_none_that_are_listed():
    text = "Lymph nodes left: 2.0 cm level II node.\nNodes other: none."
    found = parse_report(text)
    assert [(f.presence, f.side) for f in found.findings] == [("present", "left"), ("absent", None)]
    assert found.contradictions == [] and found.unparsed_sentences == []


def test_the_article_of_a_size_is_the_one_it_is_spoken_with():
    said = parse_report("No enlarged node in the left neck. Left level II node, 18 mm.", "en").contradictions
    assert said == ["The text both denies and reports an 18 mm left level II node."]
