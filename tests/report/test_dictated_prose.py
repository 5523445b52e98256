"""Reports as they are dictated: lists, earlier sizes, what was operated on, and sentences that go on about a mass."""

from __future__ import annotations

import pytest

from hnvlm.report import parse_report
from hnvlm.services.agreement import check_agreement
from hnvlm.types import Finding

N, M, A = "node", "mass", "airway"
P, X = "present", "absent"
TONSIL, BOT = "palatine tonsil", "base of tongue"


def _read(text: str) -> list[tuple]:
    report = parse_report(text)
    assert report.contradictions == []
    return [(f.kind, f.presence, f.side, f.level if f.kind == N else f.site, f.size_mm) for f in report.findings]


def _node(side: str | None, level: str | None, size: float | None = None) -> tuple:
    return (N, P, side, level, size)


def _mass(side: str | None, site: str | None, size: float | None = None) -> tuple:
    return (M, P, side, site, size)


ELSEWHERE = [
    "No adenopathy elsewhere.",
    "No lymphadenopathy elsewhere in the neck.",
    "Otherwise no adenopathy.",
    "The remaining lymph nodes are not enlarged.",
    "Remainder of nodal stations clear.",
    "The rest of the neck is free of adenopathy.",
]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_clear_elsewhere_denies_no_node_that_was_reported(text: str) -> None:
    assert _read(f"Left level II node 2 cm. {text}") == [_node("left", "II", 20.0), (N, X, None, None, None)]
    measured = [Finding(N, side="left", level="II", size_mm=21.0)]
    results = check_agreement(parse_report(f"Left level II node 2 cm. {text}").findings, measured)
    assert [r.status for r in results] == ["pass"]


def test_no_remaining_node_is_a_denial() -> None:
    (finding,) = parse_report("No remaining lymph nodes.").findings
    assert (finding.presence, finding.attributes) == (X, {})


def test_polish_apart_from_this() -> None:
    text = "Węzeł gr. II po lewej 20 mm. Poza tym węzły niepowiększone."
    assert _read(text) == [_node("left", "II", 20.0), (N, X, None, None, None)]


@pytest.mark.parametrize("text", ["No contralateral adenopathy.", "Contralateral neck: no adenopathy."])
def test_contralateral_is_told_by_the_nodes_where_no_mass_is(text: str) -> None:
    assert _read(f"Left level II node 2.4 cm. {text}") == [_node("left", "II", 24.0), (N, X, "right", None, None)]


def test_contralateral_to_nothing_denies_no_node_in_general() -> None:
    (finding,) = parse_report("No contralateral adenopathy.").findings
    assert (finding.side, finding.attributes) == (None, {"other_than_listed": True})


GOES_ON = [
    ("Left BOT mass 3 cm. Tumor extends across midline to involve the right tongue base.", _mass("left", BOT, 30.0)),
    ("3 cm mass in the left tonsil. The mass extends into the left soft palate.", _mass("left", TONSIL, 30.0)),
    ("Left glottic tumour 2 cm. The tumour invades the thyroid cartilage on the left.", _mass("left", "glottis", 20.0)),
    ("Guz migdałka lewego 30 mm. Guz nacieka podniebienie miękkie po lewej.", _mass("left", TONSIL, 30.0)),
]


@pytest.mark.parametrize(("text", "expected"), GOES_ON)
def test_where_the_one_mass_grows_is_no_second_mass(text: str, expected: tuple) -> None:
    assert _read(text) == [expected]


def test_the_other_side_without_crossing_is_not_swallowed() -> None:
    text = "Left glottic tumour 2 cm. The tumour involves the right glottis."
    assert _read(text) == [_mass("left", "glottis", 20.0), _mass("right", "glottis")]


@pytest.mark.parametrize(
    "text",
    [
        "The left tonsil mass abuts but does not invade the right ICA.",
        "The left tonsil mass does not cross the midline or involve the right tonsil.",
    ],
)
def test_what_a_mass_does_not_invade_is_no_denial_of_it(text: str) -> None:
    assert _read(text) == [_mass("left", TONSIL)]


def test_nodes_that_a_mass_does_not_involve_are_denied() -> None:
    assert _read("The left tonsil mass does not involve the lymph nodes.")[1] == (N, X, None, None, None)


@pytest.mark.parametrize(
    "text", ["Airway is patent but mildly narrowed at the supraglottis.", "Mildly narrowed but patent airway."]
)
def test_a_narrowed_airway_may_be_patent(text: str) -> None:
    (finding,) = parse_report(text).findings
    assert (finding.kind, finding.presence, finding.attributes) == (A, P, {"narrowing_word": "mild"})
    assert parse_report(text).contradictions == []


LISTS = [
    ("Left IIA 18mm; left III 12mm; left IV 9mm",
     [_node("left", "II", 18.0), _node("left", "III", 12.0), _node("left", "IV", 9.0)]),
    ("Left level IIA 2.1 cm, III 1.4 cm.", [_node("left", "II", 21.0), _node("left", "III", 14.0)]),
    ("Neck: R II 2.2 cm; L II 1.3 cm.", [_node("right", "II", 22.0), _node("left", "II", 13.0)]),
    ("R neck: II 14 mm, III 9 mm. L neck: neg.",
     [_node("right", "II", 14.0), _node("right", "III", 9.0), (N, X, "left", None, None)]),
    ("Enlarged nodes at levels IIa (2.2 cm), III (1.6 cm) on the right.",
     [_node("right", "II", 22.0), _node("right", "III", 16.0)]),
    ("Węzły w grupie II (22 mm) i III (16 mm) po prawej.", [_node("right", "II", 22.0), _node("right", "III", 16.0)]),
    ("Nodes in left levels II, III and IV measuring 2.2, 1.8 and 1.1 cm respectively.",
     [_node("left", "II", 22.0), _node("left", "III", 18.0), _node("left", "IV", 11.0)]),
    ("Right level II and left level III nodes measuring 2.2 cm and 1.6 cm respectively.",
     [_node("right", "II", 22.0), _node("left", "III", 16.0)]),
    ("Level II on the left 20 mm, level III 14 mm.", [_node("left", "II", 20.0), _node("left", "III", 14.0)]),
    ("Węzły chłonne gr. II po lewej: 20 mm, gr. III: 14 mm. Po stronie przeciwnej bez powiększonych węzłów.",
     [_node("left", "II", 20.0), _node("left", "III", 14.0), (N, X, "right", None, None)]),
    ("Węzły w grupach II i III po lewej o wymiarach odpowiednio 22 i 16 mm.",
     [_node("left", "II", 22.0), _node("left", "III", 16.0)]),
    ("Bilateral adenopathy, right greater than left: 3.2 cm right level II, 2.0 cm left level II.",
     [_node("right", "II", 32.0), _node("left", "II", 20.0)]),
    ("Bilateral level II nodes, largest on the right measuring 2.3 cm.",
     [_node("right", "II", 23.0), _node("left", "II")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_each_node_of_a_list_has_its_own_side_level_and_size(text: str, expected: list[tuple]) -> None:
    assert _read(text) == expected


EARLIER = [
    ("Right BOT tumor 25 x 20 x 18 mm (03/12/2023: 30 x 28 x 22 mm).", _mass("right", BOT, 25.0)),
    ("Node right level III 1.2 cm (prev. 1.5 cm).", _node("right", "III", 12.0)),
    ("Right level II node 11 mm (16 mm on 3/4/2024).", _node("right", "II", 11.0)),
    ("Right level II node 11 mm (16 mm in Jan 2024).", _node("right", "II", 11.0)),
    ("Węzeł gr. II po prawej, obecnie 11 mm (poprz. 20 mm).", _node("right", "II", 11.0)),
    ("Węzeł grupy II strony prawej 15mm (w poprzednim badaniu 20mm).", _node("right", "II", 15.0)),
]


@pytest.mark.parametrize(("text", "expected"), EARLIER)
def test_an_earlier_size_in_brackets_is_not_that_of_today(text: str, expected: tuple) -> None:
    assert _read(text) == [expected]
    assert parse_report(text).unparsed_sentences == []


@pytest.mark.parametrize(
    "text",
    [
        "Left glottic mass 20 mm with subglottic extension of 8 mm.",
        "Left glottic mass 20 mm with 8 mm subglottic extension.",
    ],
)
def test_how_far_a_mass_extends_is_not_its_size(text: str) -> None:
    assert _read(text) == [_mass("left", "glottis", 20.0)]


SINCE = [
    ("Status post left tonsillectomy, no residual mass.", M),
    ("Status post right neck dissection levels II-IV, no recurrent adenopathy.", N),
    ("S/p left hemiglossectomy, no evidence of recurrence.", M),
    ("Stan po hemiglosektomii lewostronnej, bez cech wznowy miejscowej.", M),
    ("Stan po hemiglosektomii lewostronnej, bez powiększonych węzłów chłonnych.", N),
]


@pytest.mark.parametrize(("text", "kind"), SINCE)
def test_a_denial_behind_what_was_operated_on_is_said_of_today(text: str, kind: str) -> None:
    assert _read(text) == [(kind, X, None, None, None)]


POLISH_DENIALS = [
    ("Guza ani powiększonych węzłów chłonnych nie uwidoczniono.", [(M, None), (N, None)]),
    ("Węzłów powiększonych ani guza nie stwierdza się.", [(N, None), (M, None)]),
    ("Po prawej węzłów powiększonych brak.", [(N, "right")]),
]


@pytest.mark.parametrize(("text", "expected"), POLISH_DENIALS)
def test_a_polish_denial_may_stand_last(text: str, expected: list[tuple]) -> None:
    assert _read(text) == [(kind, X, side, None, None) for kind, side in expected]


@pytest.mark.parametrize(
    "words",
    ["nie przekracza linii pośrodkowej", "nie przechodzi poza linię środkową", "bez przekraczania linii pośrodkowej"],
)
def test_a_polish_mass_that_does_not_cross_the_midline(words: str) -> None:
    (mass,) = parse_report(f"Guz nasady języka po lewej 30 mm, {words}.").findings
    assert (mass.side, mass.size_mm, mass.attributes) == ("left", 30.0, {})


def test_salivary_glands_without_a_mass_deny_none_elsewhere() -> None:
    assert _read("No mass in the salivary glands. Left tonsil mass 3 cm.")[1:] == [_mass("left", TONSIL, 30.0)]
    assert _read("Zmian ogniskowych w śliniankach nie uwidoczniono. Guz migdałka lewego 3 cm.")[1:] == [
        _mass("left", TONSIL, 30.0)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Poza węzłem 13 mm w gr. IIb po lewej nie stwierdza się powiększonych węzłów.",
        "Apart from a 13 mm left level IIb node no adenopathy.",
    ],
)
def test_an_exception_that_opens_the_sentence_is_there(text: str) -> None:
    found = parse_report(text).findings
    assert [(f.presence, f.side, f.level, f.size_mm) for f in found] == [
        (P, "left", "II", 13.0), (X, None, None, None),
    ]  # fmt: skip
    assert found[1].attributes == {"other_than_listed": True}


OTHERS = [
    ("No evidence of adenopathy on the left or right.", (N, X, "bilateral", None, None)),
    ("Right level II node, 2.4 cm, is the only pathologic node.", _node("right", "II", 24.0)),
    ("Masa w obrębie lewej zatoki gruszkowatej 28 mm.", _mass("left", "pyriform sinus", 28.0)),
    ("Zmiana litotorbielowata śl. przyusznej lewej 24 mm.", _mass("left", "parotid gland", 24.0)),
]


@pytest.mark.parametrize(("text", "expected"), OTHERS)
def test_one_finding_is_read_as_one(text: str, expected: tuple) -> None:
    assert _read(text) == [expected]


WHOLE = [
    "FINDINGS: Large mass of the left palatine tonsil measuring 3.1 x 2.4 cm. The mass extends to the soft palate. The"
    " oropharyngeal airway is narrowed by 45 %. Necrotic left level IIA node 2.4 x 1.8 cm. Left level III node 1.3 cm."
    " Remaining nodal stations are unremarkable.\nIMPRESSION: 1. Large left tonsil mass. 2. Left level II and III nodal"
    " metastases, largest 2.4 cm. 3. Mild oropharyngeal airway narrowing.",
    "FINDINGS:\nOropharynx: 3 cm L tonsillar mass. Mild airway narrowing at oropharynx.\nNodes: L IIA 2.4 cm necrotic,"
    " L III 1.3 cm.\nBones: no lytic lesion.\nIMPRESSION:\nLeft tonsil mass with left level II/III nodes.",
    "Left tonsil tumor (3.1 cm) with ipsilateral necrotic level II (2.4 cm) and solid level III (1.3 cm) nodes."
    " Contralateral neck: no pathologic nodes. Airway: mildly narrowed oropharynx.",
    "The patient has a known left tonsillar carcinoma. The tumour measures 31 mm and narrows the oropharyngeal airway"
    " mildly. On the left there are two pathological nodes: level II 24 mm and level III 13 mm.",
    "Mass left tonsil 3.1cm. LN left II 2.4cm necrotic, left III 1.3cm. Airway narrowed 45% oropharynx. Compared to"
    " prior 01/02/2024 the mass was 2.5 cm.",
]


@pytest.mark.parametrize("text", WHOLE)
def test_a_right_report_in_anybodys_words_gets_no_remark(text: str) -> None:
    measured = [
        Finding(M, side="left", site=TONSIL, size_mm=31.0),
        Finding(N, side="left", level="II", size_mm=24.0, attributes={"texture": "necrotic"}),
        Finding(N, side="left", level="III", size_mm=13.0),
        Finding(A, side="left", site="oropharynx", attributes={"narrowing_pct": 45.0}),
    ]
    report = parse_report(text)
    assert report.contradictions == []
    assert [r.message for r in check_agreement(report.findings, measured) if r.status != "pass"] == []


def test_a_summary_that_says_more_than_the_findings_is_told() -> None:
    text = "FINDINGS: Left level II node 24 mm.\nIMPRESSION: Left level II and III nodes, largest 20 mm."
    assert len(parse_report(text).contradictions) == 2


@pytest.mark.parametrize(
    "text",
    [
        "Left tonsil mass 3 cm. Orbits: no mass. Upper chest: no mass. Skull base: no mass. Bones: no lytic lesion.",
        "Guz migdałka lewego 3 cm. Kości bez zmian ogniskowych. W OUN zmian ogniskowych nie uwidoczniono.",
    ],
)
def test_no_mass_elsewhere_in_the_body_denies_none_of_the_neck(text: str) -> None:
    assert _read(text) == [_mass("left", TONSIL, 30.0)]
