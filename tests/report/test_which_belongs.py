"""Numbers, sides and denials that stand close together: which belongs to which."""

from __future__ import annotations

import pytest
from report.test_readings import L2, TONSIL, M, N, P, X, _check, _read

from hnvlm.report import parse, parse_report

CHAINS = [
    ("The neck is unremarkable, without focal lesion or lymphadenopathy.",
     [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
    ("Thyroid is normal, no nodes or masses.", [(N, X, None, None, None, None), (M, X, None, None, None, None)]),
    ("The oropharynx is unremarkable, with no mass, ulceration or adenopathy.",
     [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
    ("Szyja bez zmian, bez guza i powiększonych węzłów.",
     [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
]  # fmt: skip


@_check(CHAINS)
def test_a_normal_neck_before_it_ends_no_denial(text, expected):
    assert _read(text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Left level II, 4-5 mm node.", 5),
        ("Node in left level II, 5 to 6 mm.", 6),
        ("Left level 2, 4 – 5 mm node.", 5),
        ("Left level II, 3 enlarged nodes, largest 18 mm.", 18),
        ("Left level 2 node, 3 cm3.", None),
    ],
)
def test_a_number_behind_a_level_is_no_level(text, size):
    assert _read(text) == ([(N, P, "left", "II", size, None)], [])


@pytest.mark.parametrize("levels", ["2 and 3", "2, 3", "2/3", "II, III", "II and III", "2-3"])
def test_levels_in_one_kind_of_figures(levels):
    found = parse(f"Nodes in left levels {levels}.")
    assert [finding.level for finding in found] == ["II", "III"]


@pytest.mark.parametrize(
    "text",
    [
        "The previously described 18 mm left level II node has decreased to 9 mm.",
        "18 mm left level II node, now 9 mm.",
        "The 4 mm left level II node has increased in size to 9 mm.",
        "The left level II node of 12 mm shrank to 9 mm.",
        "Węzeł chłonny w grupie II po stronie lewej 18 mm zmniejszył się do 9 mm.",
    ],
)
def test_the_size_is_what_the_lesion_has_become(text):
    assert _read(text) == ([(N, P, "left", "II", 9, None)], [])


@pytest.mark.parametrize("denial", ["No new adenopathy.", "No necrotic nodes.", "No new or enlarging lymph nodes."])
def test_what_denies_some_nodes_contradicts_no_other(denial):
    report = parse_report(f"{denial} The known 14 mm left level II node is stable.")
    assert [finding.presence for finding in report.findings] == [X, P]
    assert report.contradictions == []


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ("Mass versus inflammatory change in the right tonsil.", "possible"),
        ("Right tonsil mass vs. asymmetry.", "possible"),
        ("Right tonsil mass 24 mm versus 20 mm.", "probable"),
        ("Right tonsil mass 24 mm versus prior 20 mm.", "probable"),
    ],
)
def test_one_of_two_readings_is_possible(text, certainty):
    (found,) = parse(text)
    assert (found.presence, found.side, found.certainty) == (P, "right", certainty)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L. level II node 18 mm.", [(N, P, "left", "II", 18, None)]),
        ("Mass of the R. tonsil 24 mm.", [(M, P, "right", TONSIL, 24, None)]),
        ("Bilat. level II nodes 18 mm.", [(N, P, "bilateral", "II", 18, None)]),
        ("Left level II node meas. 18 mm.", [(N, P, "left", "II", 18, None)]),
        ("Węzeł chłonny gr. II po str. lewej 18 mm.", [(N, P, "left", "II", 18, None)]),
        ("Mass of the R. Left level II node.", [(M, P, "right", None, None, None), L2]),
    ],
)
def test_an_abbreviation_ends_no_sentence(text, expected):
    assert _read(text) == (expected, [])


PAIRS = [
    ("Level II nodes measure up to 9 mm on the right and 14 mm on the left.",
     [(N, P, "right", "II", 9, None), (N, P, "left", "II", 14, None)]),
    ("Bilateral level II nodes, right 14 mm and left 9 mm.",
     [(N, P, "right", "II", 14, None), (N, P, "left", "II", 9, None)]),
    ("Nodes: right IIa (12 mm), III (8 mm); left IIb (10 mm).",
     [(N, P, "right", "II", 12, None), (N, P, "right", "III", 8, None), (N, P, "left", "II", 10, None)]),
    ("Left level II node measuring 12 mm (SAD 8 mm).", [(N, P, "left", "II", 12, None)]),
    ("Left level II node, long axis 12 mm, short axis 8 mm.", [(N, P, "left", "II", 12, None)]),
]  # fmt: skip


@_check(PAIRS)
def test_every_size_has_its_side_and_its_axis(text, expected):
    assert _read(text) == (expected, [])
