"""What is near a lesion in a sentence and must not be read as said of it: denials, old sizes, history, other things."""

from __future__ import annotations

import pytest

from hnvlm.report import parse, parse_report
from hnvlm.report.request_facts import request_facts
from hnvlm.report.request_parse import parse_request
from hnvlm.types import Finding

# text -> list of (kind, presence, side, place, size_mm, texture)
N, M, A = "node", "mass", "airway"
P, X, I = "present", "absent", "indeterminate"  # noqa: E741
NEC, SOL = "necrotic", "solid"
TONSIL = "palatine tonsil"


def _facts(finding: Finding) -> tuple:
    place = finding.level if finding.kind == "node" else finding.site
    return (finding.kind, finding.presence, finding.side, place, finding.size_mm, finding.attributes.get("texture"))


def _read(text):
    """What a text says, and where it contradicts itself."""
    report = parse_report(text)
    return [_facts(finding) for finding in report.findings], report.contradictions


def _check(cases):
    return pytest.mark.parametrize(("text", "expected"), cases, ids=[text for text, _ in cases])


L2 = (N, P, "left", "II", None, None)
NORMAL = [
    ("Enlarged left level II node with normal fatty hilum.", [L2]),
    ("Left level II node with clear margins.", [L2]),
    ("Left level II node, otherwise normal neck.", [L2]),
    ("Otherwise normal neck with left level II node.", [L2]),
    ("Left level II node and normal thyroid.", [L2]),
    ("Normal-sized left level II node with central necrosis.", [(N, P, "left", "II", None, NEC)]),
    ("Right tonsil mass with clear fat plane.", [(M, P, "right", TONSIL, None, None)]),
    ("Right tonsil mass clear of the mandible.", [(M, P, "right", TONSIL, None, None)]),
    ("Right tonsil mass with normal adjacent mandible.", [(M, P, "right", TONSIL, None, None)]),
    ("Supraglottic mass with normal vocal cords.", [(M, P, None, "supraglottis", None, None)]),
    ("Left parotid mass, facial nerve normal.", [(M, P, "left", "parotid gland", None, None)]),
    ("18 mm left level II node, right neck unremarkable.", [(N, P, "left", "II", 18, None)]),
    ("Right tonsillar mass, left tonsil normal.",
     [(M, P, "right", TONSIL, None, None), (M, X, "left", TONSIL, None, None)]),
    ("Left parotid gland is normal, right parotid contains a 2 cm mass.",
     [(M, P, "right", "parotid gland", 20, None), (M, X, "left", "parotid gland", None, None)]),
    ("Right level II node 18 mm and level II on the left is normal.",
     [(N, P, "right", "II", 18, None), (N, X, "left", "II", None, None)]),
    # Still said of the lesion itself.
    ("Left level II node is normal.", [(N, X, "left", "II", None, None)]),
    ("Left level II node, not enlarged.", [(N, X, "left", "II", None, None)]),
    ("Left level II nodes with normal morphology.", [(N, X, "left", "II", None, None)]),
    ("Normal, non-enlarged lymph nodes.", [(N, X, None, None, None, None)]),
    ("Left neck clear of adenopathy.", [(N, X, "left", None, None, None)]),
    ("Left level II: 2 cm node; level III: negative.",
     [(N, P, "left", "II", 20, None), (N, X, "left", "III", None, None)]),
]  # fmt: skip


@_check(NORMAL)
def test_normal_is_said_of_what_it_stands_beside(text, expected):
    assert [_facts(finding) for finding in parse(text)] == expected


OTHER_DENIALS = [
    ("Left level II node 18 mm, not seen on prior.", [(N, P, "left", "II", 18, None)]),
    ("Left level II node, 18 mm, which was not seen previously.", [(N, P, "left", "II", 18, None)]),
    ("Left level II node 18 mm, not present on the prior CT.", [(N, P, "left", "II", 18, None)]),
    ("Left level II node has not resolved.", [L2]),
    ("Left level II node has nearly resolved, 9 mm.", [(N, P, "left", "II", 9, None)]),
    ("Partially resolved left level II node, 9 mm.", [(N, P, "left", "II", 9, None)]),
    ("No resolution of the left level II node.", [L2]),
    ("Left level II node 18 mm; extranodal extension not seen.", [(N, P, "left", "II", 18, None)]),
    ("Extranodal extension of the left level II node is not seen.", [L2]),
    ("No extranodal extension of the left level II node, 18 mm.", [(N, P, "left", "II", 18, None)]),
    ("No bone erosion by the left tonsil mass, 3 cm.", [(M, P, "left", TONSIL, 30, None)]),
    ("No involvement of the mandible by the right tonsil mass.", [(M, P, "right", TONSIL, None, None)]),
    ("No invasion of the base of tongue by the left tonsil mass.", [(M, P, "left", TONSIL, None, None)]),
    ("No calcification in the 18 mm left level II node.", [(N, P, "left", "II", 18, None)]),
    ("There is no airway compromise from the right tonsil mass of 3 cm.",
     [(A, X, None, None, None, None), (M, P, "right", TONSIL, 30, None)]),
    ("Right tonsil mass 3 cm, invasion of the mandible cannot be excluded.", [(M, P, "right", TONSIL, 30, None)]),
    ("18 mm node in left level II; the jugular vein is not seen.", [(N, P, "left", "II", 18, None)]),
    ("Left level II node 18 mm, the fat plane is not visible.", [(N, P, "left", "II", 18, None)]),
    ("Without contrast, the left level II node measures 18 mm.", [(N, P, "left", "II", 18, None)]),
    ("18 mm node in left level II, no extension to level III.", [(N, P, "left", "II", 18, None)]),
    ("Mild narrowing of the laryngeal airway without obstruction.", [(A, P, None, "larynx", None, None)]),
    # These deny the lesion.
    ("Left level II node, the largest, is no longer seen.", [(N, X, "left", "II", None, None)]),
    ("Nodes in left level II - none.", [(N, X, "left", "II", None, None)]),
    ("No involvement of the left cervical lymph nodes.", [(N, X, "left", None, None, None)]),
    ("The left level II node with extranodal extension is no longer seen.", [(N, X, "left", "II", None, None)]),
    ("No enlargement of the left cervical lymph nodes.", [(N, X, "left", None, None, None)]),
    ("Interval resolution of the left level II node.", [(N, X, "left", "II", None, None)]),
    ("Complete response of the right tonsil mass.", [(M, X, "right", TONSIL, None, None)]),
    ("The airway is patent without narrowing.", [(A, X, None, None, None, None)]),
    # These leave it open.
    ("Left tonsil mass can't be excluded.", [(M, I, "left", TONSIL, None, None)]),
    ("Left tonsil mass can’t be excluded.", [(M, I, "left", TONSIL, None, None)]),
    ("Left tonsil mass not entirely excluded.", [(M, I, "left", TONSIL, None, None)]),
    ("Cannot completely exclude a left tonsil mass.", [(M, I, "left", TONSIL, None, None)]),
    ("Unable to exclude left tonsil mass.", [(M, I, "left", TONSIL, None, None)]),
    ("Rule out left tonsil carcinoma.", [(M, I, "left", TONSIL, None, None)]),
    ("R/o nodal metastasis left level II.", [(N, I, "left", "II", None, None)]),
    ("R/O carcinoma of the tonsil.", [(M, I, None, TONSIL, None, None)]),
]  # fmt: skip


@_check(OTHER_DENIALS)
def test_a_negation_denies_what_it_stands_with(text, expected):
    assert _read(text) == (expected, [])


WRAPPED = [
    ("FINDINGS: There is no\nleft level II node.", [(N, X, "left", "II", None, None)]),
    ("FINDINGS:\nThere is no evidence of\na mass in the left tonsil.", [(M, X, "left", TONSIL, None, None)]),
    ("There is an 18 mm necrotic lymph node in\n  left level II. No mass is\nseen in the right tonsil.",
     [(N, P, "left", "II", 18, NEC), (M, X, "right", TONSIL, None, None)]),
    ("no\nleft level II node", [(N, X, "left", "II", None, None)]),
    # Lines of their own: a list in lower case, a heading, a bullet, the end of a sentence, a gap.
    ("right level II node 18 mm\nleft level III node 12 mm",
     [(N, P, "right", "II", 18, None), (N, P, "left", "III", 12, None)]),
    ("No mass\nnodes: left level II 18 mm", [(M, X, None, None, None, None), (N, P, "left", "II", 18, None)]),
    ("No mass\n- left level II node 18 mm", [(M, X, None, None, None, None), (N, P, "left", "II", 18, None)]),
    ("No mass.\nleft level II node 18 mm", [(M, X, None, None, None, None), (N, P, "left", "II", 18, None)]),
    ("No mass\n\nleft level II node 18 mm", [(M, X, None, None, None, None), (N, P, "left", "II", 18, None)]),
    ("Nie stwierdza się\nguza migdałka lewego.", [(M, X, "left", TONSIL, None, None)]),
]  # fmt: skip


@_check(WRAPPED)
def test_a_sentence_may_be_wrapped_over_lines(text, expected):
    report = parse_report(text)
    assert [_facts(finding) for finding in report.findings] == expected
    assert report.unparsed_sentences == []


def test_sections_keep_the_lines_as_they_were_written():
    report = parse_report("FINDINGS: There is no\nleft level II node.\nNo mass.")
    assert report.sections == {"findings": "There is no\nleft level II node.\nNo mass."}


NODE = "Left level II node"
SIZES = [
    ("A 2-cm node in left level II.", 20),
    ("A 1.5- x 2.0-cm node in left level II.", 20),
    (f"{NODE}, 1.2 x .8 cm.", 12),
    (f"{NODE}, .8 cm.", 8),
    (f"{NODE} 12 mm (18 mm previously).", 12),
    (f"{NODE} 12 mm (prior 18 mm).", 12),
    (f"{NODE} 12 mm, prior exam 18 mm.", 12),
    (f"{NODE}, 18 mm on prior, now 12 mm.", 12),
    (f"{NODE}, 12 mm compared to 18 mm on prior.", 12),
    (f"{NODE} 12 mm, formerly measuring 18 mm.", 12),
    (f"{NODE} decreased to 12 mm from 18 mm.", 12),
    (f"{NODE} decreased from 18 x 15 mm to 12 x 10 mm.", 12),
    (f"{NODE} was 18 mm and is now 12 mm.", 12),
    (f"{NODE} was 18 mm.", 18),
    (f"{NODE} measured 18 mm on the prior study.", None),
    (f"{NODE} 18 mm in 2021, 12 mm today.", 12),
    (f"{NODE}, 12 mm, 25 mm from the skull base.", 12),
    (f"{NODE} 12 mm, 25 mm below the skull base.", 12),
    (f"{NODE} 3 cm below the skull base.", None),
    (f"{NODE} 12 mm deep to the sternocleidomastoid.", 12),
    (f"{NODE} measuring 12 mm posterior to the jugular vein, 8 mm deep to the muscle.", 12),
    (f"{NODE}, 18 mm in short axis, 25 mm in long axis.", 25),
    (f"{NODE}, short axis 12 mm, long axis 18 mm.", 18),
    (f"{NODE}, 14 mm, image 3 cm below the skull base.", 14),
    (f"{NODE} 15mm (series 4 image 23 mm).", 15),
    (f"{NODE} measuring 18 (AP) x 12 (TR) x 25 (CC) mm.", 25),
    (f"{NODE} measuring 1.8 (AP) x 1.2 (TR) cm.", 18),
    ("18 mm AP x 12 mm TR x 25 mm CC left level II node.", 25),
    ("Węzeł w grupie II po lewej zmniejszył się z 18 mm do 12 mm.", 12),
    ("Węzeł w grupie II po lewej, 12 mm (poprzednio 18 mm).", 12),
    ("Węzeł w grupie II po lewej 12 mm, 30 mm poniżej podstawy czaszki.", 12),
]


@_check(SIZES)
def test_the_size_is_that_of_the_lesion_today(text, expected):
    (node,) = parse(text)
    assert (node.presence, node.side, node.level, node.size_mm) == (P, "left", "II", expected)


def _nodes(*places):
    return [(N, P, side, level, None, None) for side, level in places]


PLACES = [
    ("Nodes in level II on the right and level III on the left.", _nodes(("right", "II"), ("left", "III"))),
    ("Nodes on the right in level II and on the left in level III.", _nodes(("right", "II"), ("left", "III"))),
    ("Nodes at level II on the left, level III on the right and level IV on the right.",
     _nodes(("left", "II"), ("right", "III"), ("right", "IV"))),
    ("Right level II and III and left level IV nodes.", _nodes(("right", "II"), ("right", "III"), ("left", "IV"))),
    ("Węzły w grupie II po prawej i w grupie III po lewej.", _nodes(("right", "II"), ("left", "III"))),
    ("Węzły w grupie IIA i III po prawej oraz w grupie IV po lewej.",
     _nodes(("right", "II"), ("right", "III"), ("left", "IV"))),
    ("Węzły w grupie II i III po prawej.", _nodes(("right", "II"), ("right", "III"))),
    ("Węzły w grupach II, III i IV po lewej.", _nodes(("left", "II"), ("left", "III"), ("left", "IV"))),
    ("Węzeł w grupie II, i to po prawej.", _nodes(("right", "II"))),
    ("Left level II-IV adenopathy.", _nodes(("left", "II"), ("left", "III"), ("left", "IV"))),
    ("Left level II through IV nodes.", _nodes(("left", "II"), ("left", "III"), ("left", "IV"))),
    ("Left levels IB-III nodes.", _nodes(("left", "IB"), ("left", "II"), ("left", "III"))),
    ("Left level II node, i.e. jugulodigastric.", _nodes(("left", "II"))),
    ("Left level II node 2.1 cm, level III node 1 cm.",
     [(N, P, "left", "II", 21, None), (N, P, "left", "III", 10, None)]),
    ("No mass in the oral cavity, oropharynx, hypopharynx or larynx.",
     [(M, X, None, site, None, None) for site in ("oral cavity", "oropharynx", "hypopharynx", "larynx")]),
    ("There is no mass in the left tonsil or left base of tongue.",
     [(M, X, "left", TONSIL, None, None), (M, X, "left", "base of tongue", None, None)]),
    ("No mass in the right tonsil or the left base of tongue.",
     [(M, X, "right", TONSIL, None, None), (M, X, "left", "base of tongue", None, None)]),
    ("Base of tongue, tonsils and supraglottis are normal.",
     [(M, X, None, site, None, None) for site in ("base of tongue", TONSIL, "supraglottis")]),
    ("Right tonsil and base of tongue mass, 4 cm.", [(M, P, "right", TONSIL, 40, None)]),
]  # fmt: skip


@_check(PLACES)
def test_every_place_has_its_own_side(text, expected):
    assert _read(text) == (expected, [])


@pytest.mark.parametrize(
    "text",
    [
        "Status post resection of right tonsil cancer.",
        "S/p resection of right tonsil cancer and left level II node.",
        "The left level II node was removed.",
        "The right tonsil mass and the left level II node were removed.",
        "The 3 cm right tonsil mass seen on prior CT has been resected.",
        "Interval resection of the left parotid mass.",
        "History of left base of tongue cancer treated with chemoradiation.",
        "Recommend PET/CT to exclude left tonsil mass.",
        "Recommend biopsy of the left level II node.",
        "FNA of left level III node is suggested.",
        "Stan po resekcji guza migdałka prawego.",
        "Stan po usunięciu węzła w grupie II po lewej.",
        "Zaleca się biopsję węzła w grupie II po lewej.",
    ],
)
def test_history_and_advice_are_no_findings_and_are_shown(text):
    report = parse_report(text)
    assert report.findings == []
    assert report.unparsed_sentences == [text]


@pytest.mark.parametrize(
    ("text", "expected", "unread"),
    [
        ("Left level II node 12 mm, status post left tonsillectomy.", [(N, P, "left", "II", 12, None)], 0),
        ("12 mm left level II node, FNA is recommended.", [(N, P, "left", "II", 12, None)], 0),
        ("S/p resection of tonsil cancer, now a 12 mm node in left level III.", [(N, P, "left", "III", 12, None)], 1),
        ("Unresectable right tonsil mass, 4 cm.", [(M, P, "right", TONSIL, 40, None)], 0),
        ("Right tonsil mass, 4 cm, has not been resected.", [(M, P, "right", TONSIL, 40, None)], 0),
    ],
)
def test_what_is_seen_beside_history_is_read(text, expected, unread):
    report = parse_report(text)
    assert [_facts(finding) for finding in report.findings] == expected
    assert len(report.unparsed_sentences) == unread


@pytest.mark.parametrize(
    "heading",
    ["CLINICAL INDICATION:", "REASON FOR STUDY:", "CLINICAL DATA:", "PRIOR STUDIES:", "PMH:", "FOLLOW-UP:",
     "**INDICATION:**", "Past medical history:", "Clinical:", "Indication", "SKIEROWANIE:"],
)  # fmt: skip
def test_headings_of_what_is_not_seen_on_this_scan(heading):
    language = "pl" if heading == "SKIEROWANIE:" else "en"
    findings = "OPIS: bez guza." if language == "pl" else "**FINDINGS:** no mass."
    lesion = "guz migdałka prawego" if language == "pl" else "right tonsil mass 3 cm"
    for gap in (" ", "\n") if heading.strip("*").endswith(":") else ("\n",):
        report = parse_report(f"{heading}{gap}{lesion}\n{findings}", language)
        assert [_facts(finding) for finding in report.findings] == [(M, X, None, None, None, None)]
        assert report.unparsed_sentences == report.contradictions == []


@pytest.mark.parametrize(
    "text",
    [
        "Left level II node with no evidence of necrosis.",
        "Left level II node without evidence of central necrosis.",
        "Left level II node with absence of necrosis.",
        "Left level II node lacks necrosis.",
        "Left level II node is neither necrotic nor cystic.",
        "Left level II node, no cystic change.",
        "Left level II node: necrosis absent.",
        "Left level II node, necrosis not present.",
        "Necrosis is not seen in the left level II node.",
        "No evidence of necrosis in the left level II node.",
        "Left level II node without extranodal extension or necrosis.",
        "Nonnecrotic left level II node.",
    ],
)
def test_denied_necrosis_is_a_solid_node(text):
    assert [_facts(finding) for finding in parse(text)] == [(N, P, "left", "II", None, SOL)]


@pytest.mark.parametrize(
    "text", ["No necrotic nodes.", "No necrotic or enlarged nodes.", "No cystic or necrotic lymph node."]
)
def test_a_denied_necrotic_node_is_no_solid_one(text):
    assert [_facts(finding) for finding in parse(text)] == [(N, X, None, None, None, None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tonsil mass 3 cm, status post RT.", [(M, P, None, TONSIL, 30, None)]),
        ("Left level II node 12 mm after RT.", [(N, P, "left", "II", 12, None)]),
        ("Residual node in left level II post-RT, 9 mm.", [(N, P, "left", "II", 9, None)]),
        ("RT changes; supraglottic mass, 2 cm.", [(M, P, None, "supraglottis", 20, None)]),
        ("RT TONSIL MASS 3 CM", [(M, P, "right", TONSIL, 30, None)]),
        ("Stage II carcinoma on the right.", [(M, P, "right", None, None, None)]),
        ("There is no mass left in the tonsil.", [(M, X, None, TONSIL, None, None)]),
        ("No tumour left.", [(M, X, None, None, None, None)]),
        ("No mass left tonsil.", [(M, X, "left", TONSIL, None, None)]),
        ("Level III node left, 12 mm.", [(N, P, "left", "III", 12, None)]),
    ],
)
def test_lookalikes_are_no_side_and_no_level(text, expected):
    assert _read(text) == (expected, [])


@pytest.mark.parametrize(
    "words", ["except", "except for", "apart from", "other than", "aside from", "with the exception of"]
)
def test_an_exception_is_there(words):
    report = parse_report(f"No adenopathy {words} a 12 mm node in right level III.")
    assert [_facts(finding) for finding in report.findings] == [
        (N, X, None, None, None, None), (N, P, "right", "III", 12, None),
    ]  # fmt: skip
    assert report.findings[0].attributes == {"other_than_listed": True}
    assert report.contradictions == []


@pytest.mark.parametrize("words", ["does not cross", "doesn't cross", "is not crossing", "is not extending across"])
def test_a_midline_that_is_not_crossed(words):
    (mass,) = parse(f"The left tonsil mass {words} the midline.")
    assert _facts(mass) == (M, P, "left", TONSIL, None, None)
    assert mass.attributes == {}


def test_the_mass_is_the_mass():
    mass, node = parse("Right tonsil mass 3 cm. Left level II node 2 cm. The mass is necrotic. The node is solid.")
    assert _facts(mass) == (M, P, "right", TONSIL, 30, NEC)
    assert _facts(node) == (N, P, "left", "II", 20, SOL)


REACHED = [
    ("Right tonsil mass abuts the left side of the uvula.", [(M, P, "right", TONSIL, None, None)]),
    ("Right tonsil mass, 30 mm, extending to the left base of tongue.", [(M, P, "right", TONSIL, 30.0, None)]),
    ("Mass of the left base of tongue crossing the midline to the right.",
     [(M, P, "left", "base of tongue", None, None)]),
    ("Left level II node 12 mm, right tonsil mass displaces the left uvula.",
     [(N, P, "left", "II", 12.0, None), (M, P, "right", TONSIL, None, None)]),
    ("Right level II node extending to left level III.", [(N, P, "right", "II", None, None),
                                                          (N, P, "left", "III", None, None)]),
    ("Guz prawego migdałka styka się z lewą stroną języczka.", [(M, P, "right", TONSIL, None, None)]),
]  # fmt: skip


@_check(REACHED)
def test_a_lesion_keeps_its_side_where_it_reaches_the_other(text, expected):
    assert _read(text) == (expected, [])


def test_two_sides_of_one_lesion_are_still_a_contradiction():
    assert parse_report("Right tonsil mass on the left.").contradictions


ONCE = [
    ("Previously necrotic, now solid left level II node 20 mm.", [(N, P, "left", "II", 20.0, SOL)]),
    ("The previously necrotic left level II node is now solid.", [(N, P, "left", "II", None, SOL)]),
    ("Left level II node, previously necrotic.", [L2]),
    ("Left level II node, no longer necrotic.", [(N, P, "left", "II", None, SOL)]),
    ("Previously solid, now necrotic left level II node.", [(N, P, "left", "II", None, NEC)]),
    ("Lewa grupa II: węzeł poprzednio martwiczy, obecnie lity.", [(N, P, "left", "II", None, SOL)]),
]


@_check(ONCE)
def test_what_a_lesion_was_once_is_not_what_it_is(text, expected):
    assert _read(text) == (expected, [])


MEASURED = [
    ("Left level II node 1.2 cm, not significantly changed (1.3 cm).", 12.0),
    ("Left level II node 12 mm, decreased in size (18 mm).", 12.0),
    ("Left level II node, unchanged (13 mm).", 13.0),
    ("Left level II node (14 x 10 mm), unchanged.", 14.0),
    ("Węzeł w lewej grupie II 12 mm, bez istotnych zmian (13 mm).", 12.0),
    ("Left level II node 1 1/2 cm.", 15.0),
    ("Left level II node 1½ x 1 cm.", 15.0),
    ("A 3/4 cm node in left level II.", 7.5),
    ("Left level II 2 3/4 cm node.", 27.5),
]


@_check(MEASURED)
def test_sizes_in_brackets_and_fractions(text, expected):
    assert _read(text) == ([(N, P, "left", "II", expected, None)], [])


IN_WORDS = [
    ("Left level two node 15 mm.", ["II"], 15.0),
    ("Enlarged nodes in levels two to four on the left, 15 mm.", ["II", "III", "IV"], 15.0),
    ("Level two, three nodes on the left.", ["II"], None),
    ("One level III node on the left, 12 mm.", ["III"], 12.0),
]


@pytest.mark.parametrize(("text", "levels", "size"), IN_WORDS, ids=[text for text, _, _ in IN_WORDS])
def test_levels_in_words(text, levels, size):
    assert _read(text) == ([(N, P, "left", level, size, None) for level in levels], [])


def test_the_largest_of_several_nodes_is_a_size_that_was_said():
    text = "Nodes in left levels II, III, up to 25 mm."
    assert [(f.level, f.size_mm, f.attributes["largest_mm"]) for f in parse(text)] == [
        ("II", None, 25.0), ("III", None, 25.0)
    ]  # fmt: skip
    assert parse_request(text).missing == ["one lesion at a time"]
    assert request_facts(text)["size_mm"] == 25.0


THE_OTHER_SIDE = [
    "Nodes: left II 21 mm, left III 12 mm, right none.",
    "Left level II node 21 mm, left level III node 12 mm, none on the right.",
    "Węzły chłonne: lewa II 21 mm, lewa III 12 mm, prawa brak.",
]


@pytest.mark.parametrize("text", THE_OTHER_SIDE)
def test_the_last_words_of_a_list_deny_the_other_side_and_no_item(text):
    """It denied level III, "left and right in one statement"."""
    left = [(N, P, "left", level, size, None) for level, size in (("II", 21.0), ("III", 12.0))]
    assert _read(text) == ([*left, (N, "absent", "right", None, None, None)], [])


@pytest.mark.parametrize("axis", ["w osi krótkiej", "o osi krótkiej", "oś krótka", "w krótkiej osi"])
def test_a_polish_short_axis_is_not_taken_for_the_greatest_dimension(axis):
    (node,) = parse(f"Węzeł chłonny grupy II po stronie lewej, {axis} 12 mm.")
    assert (node.size_mm, node.attributes["short_axis_mm"]) == (None, 12.0)
