"""Polish: what is said, and the same typed without the marks of its letters."""

from __future__ import annotations

import random

import pytest
from report.test_readings import NEC, SOL, TONSIL, A, I, M, N, P, X, _check, _facts

from hnvlm.report import parse, parse_report, parse_request, render
from hnvlm.types import MASS_SITES, NODE_LEVELS, Finding

POLISH = [
    ("Węzły chłonne nie są powiększone.", [(N, X, None, None, None, None)]),
    ("Węzeł chłonny w grupie II po lewej nie jest powiększony.", [(N, X, "left", "II", None, None)]),
    ("Guz migdałka prawego bez zmian w porównaniu do poprzedniego badania.", [(M, P, "right", TONSIL, None, None)]),
    ("Węzeł w grupie III po lewej, bez zmian w porównaniu z badaniem poprzednim.", [(N, P, "left", "III", None, None)]),
    ("Poprzednio widoczny węzeł w grupie II po lewej uległ całkowitej regresji.", [(N, X, "left", "II", None, None)]),
    ("Nie wyklucza się guza migdałka lewego.", [(M, I, "left", TONSIL, None, None)]),
    ("Guz migdałka prawego 3 cm bez nacieku kości żuchwy.", [(M, P, "right", TONSIL, 30, None)]),
    ("Guz migdałka prawego 3 cm, nie nacieka żuchwy.", [(M, P, "right", TONSIL, 30, None)]),
    ("Węzeł 18 mm w grupie II po lewej bez cech naciekania.", [(N, P, "left", "II", 18, None)]),
    ("Bez cech martwicy w węźle grupy II po lewej.", [(N, P, "left", "II", None, SOL)]),
    ("Drogi oddechowe niezwężone.", [(A, X, None, None, None, None)]),
    ("Brak powiększonych węzłów poza węzłem 12 mm w grupie III po prawej.",
     [(N, X, None, None, None, None), (N, P, "right", "III", 12, None)]),
]  # fmt: skip


@_check(POLISH)
def test_polish(text, expected):
    report = parse_report(text, "pl")
    assert [_facts(finding) for finding in report.findings] == expected
    assert report.contradictions == []


_PLAIN = str.maketrans("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ", "acelnoszzACELNOSZZ")


@pytest.mark.parametrize("text", [text for text, _ in POLISH])
def test_polish_typed_without_its_marks_says_the_same(text):
    plain, marked = (parse_report(words, "pl").findings for words in (text.translate(_PLAIN), text))
    assert plain == marked


@pytest.mark.parametrize("seed", range(20))
def test_a_polish_report_without_its_marks_says_the_same(seed):
    rng = random.Random(seed)
    found = [
        Finding(M, side=rng.choice(["left", "right"]), site=rng.choice(MASS_SITES), size_mm=24.0,
                attributes={"texture": rng.choice([NEC, SOL])}),
        Finding(N, side="left", level=rng.choice(NODE_LEVELS), size_mm=12.0),
        Finding(A, site="larynx", side="right", attributes={"narrowing_pct": 40.0}),
    ]  # fmt: skip
    text = render(found, language="pl", rng=rng)
    plain, marked = ([f for f in parse(words) if f.kind in (N, M, A)] for words in (text.translate(_PLAIN), text))
    assert plain == marked


@pytest.mark.parametrize(
    ("text", "op", "place"),
    [
        ("Usun guz migdalka prawego", "remove", TONSIL),
        ("Usun wezel grupy II po lewej", "remove", "II"),
        ("Wezel chlonny po lewej stronie, grupa II, 22 mm, z martwica", "add", "II"),
        ("Guz podstawy jezyka po lewej, 30 mm", "add", "base of tongue"),
        ("Powieksz wezel w grupie II po lewej", "unknown", "II"),
    ],
)
def test_a_polish_request_without_its_marks(text, op, place):
    request = parse_request(text)
    assert (request.op, request.finding.level or request.finding.site) == (op, place)
