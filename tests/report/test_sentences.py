"""Sentences as clinicians write them, each with what must and must not be read."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrored_text import flip_sides

from hnvlm.report import flip_finding, parse, parse_report, parse_request, word_diff
from hnvlm.types import Finding

# text -> list of (kind, presence, side, place, size_mm, texture)
N, M, A = "node", "mass", "airway"
P, X, I = "present", "absent", "indeterminate"  # noqa: E741
NEC, SOL = "necrotic", "solid"
CASES = [
    ("No evidence of left-sided adenopathy.", [(N, X, "left", None, None, None)]),
    ("Right tonsillar mass 2.5 x 1.8 cm crossing midline.", [(M, P, "right", "palatine tonsil", 25, None)]),
    ("Previously seen node is no longer visible.", [(N, X, None, None, None, None)]),
    ("A 22 mm node at left level 2/3.", [(N, P, "left", "II", 22, None)]),
    ("R lvl II LN 2.3 cm, central necrosis", [(N, P, "right", "II", 23, NEC)]),
    ("No mass. No adenopathy.", [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
    ("No mass or adenopathy.", [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
    ("Neither mass nor adenopathy.", [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
    ("Bilateral level II nodes up to 14 mm.", [(N, P, "bilateral", "II", 14, None)]),
    ("Nodes in levels II and III on the right.", [(N, P, "right", v, None, None) for v in ("II", "III")]),
    ("Enlarged nodes in right levels II-IV.", [(N, P, "right", v, None, None) for v in ("II", "III", "IV")]),
    ("Left level IIa node, 16 x 11 mm.", [(N, P, "left", "II", 16, None)]),
    ("Level IB node on the right measuring 1,3 cm.", [(N, P, "right", "IB", 13, None)]),
    ("Right level Va lymph node of 12 mm.", [(N, P, "right", "V", 12, None)]),
    ("Necrotic jugulodigastric node on the left, 3.1 cm.", [(N, P, "left", "II", 31, NEC)]),
    ("Left mid jugular lymph node, 9 mm.", [(N, P, "left", "III", 9, None)]),
    ("Rt. spinal accessory chain node 14 mm.", [(N, P, "right", "V", 14, None)]),
    ("Right submandibular lymph node measures 12 mm.", [(N, P, "right", "IB", 12, None)]),
    ("Cystic node in left level III measuring 10-12 mm.", [(N, P, "left", "III", 12, NEC)]),
    ("Homogeneous 15 mm left level IV node without necrosis.", [(N, P, "left", "IV", 15, SOL)]),
    ("Non-necrotic node in right level II, 20 mm.", [(N, P, "right", "II", 20, SOL)]),
    ("Node of 12 mm in right level II without calcification.", [(N, P, "right", "II", 12, None)]),
    ("Left level II node has increased from 12 mm to 18 mm.", [(N, P, "left", "II", 18, None)]),
    ("Left level II node 18 mm (previously 25 mm).", [(N, P, "left", "II", 18, None)]),
    ("No change in the 15 mm left level III node.", [(N, P, "left", "III", 15, None)]),
    ("The left level II node has resolved.", [(N, X, "left", "II", None, None)]),
    ("Left level II node is not seen.", [(N, X, "left", "II", None, None)]),
    ("Possible 11 mm node in left level V.", [(N, P, "left", "V", 11, None)]),
    ("Indeterminate 9 mm node in right level IB.", [(N, I, "right", "IB", 9, None)]),
    ("A left level II metastasis node cannot be excluded.", [(N, I, "left", "II", None, None)]),
    ("Lymph nodes are not enlarged.", [(N, X, None, None, None, None)]),
    ("No pathologically enlarged cervical lymph nodes on either side.", [(N, X, "bilateral", None, None, None)]),
    ("12 mm node in right level III and 20 mm necrotic node in left level II.",
     [(N, P, "right", "III", 12, None), (N, P, "left", "II", 20, NEC)]),
    ("Nodes: right level II 18 mm, left level III 12 mm.",
     [(N, P, "right", "II", 18, None), (N, P, "left", "III", 12, None)]),
    ("Left tonsil mass of 3 cm with ipsilateral level II node, 2 cm.",
     [(M, P, "left", "palatine tonsil", 30, None), (N, P, "left", "II", 20, None)]),
    ("Right base of tongue tumour, 28 mm. Contralateral level III node of 14 mm.",
     [(M, P, "right", "base of tongue", 28, None), (N, P, "left", "III", 14, None)]),
    ("No mass, but a 12 mm node in right level II.", [(M, X, None, None, None, None), (N, P, "right", "II", 12, None)]),
    ("No left neck adenopathy; 14 mm node in right level IV.",
     [(N, X, "left", None, None, None), (N, P, "right", "IV", 14, None)]),
    ("Mass in the left piriform recess measuring 2 by 3 cm.", [(M, P, "left", "pyriform sinus", 30, None)]),
    ("Tumour of the right tongue base, 35 mm, extending to the vallecula.",
     [(M, P, "right", "base of tongue", 35, None)]),
    ("Midline base of tongue mass, 24 mm.", [(M, P, "midline", "base of tongue", 24, None)]),
    ("Supraglottic mass on the left, 19 mm, not crossing the midline.", [(M, P, "left", "supraglottis", 19, None)]),
    ("Left parotid tail lesion, 13 mm, homogeneously enhancing.", [(M, P, "left", "parotid gland", 13, SOL)]),
    ("17 mm lesion of the right lateral tongue border.", [(M, P, "right", "oral tongue", 17, None)]),
    ("Floor of mouth carcinoma on the right, 2.2 cm.", [(M, P, "right", "floor of mouth", 22, None)]),
    ("No focal lesion in the left parotid gland.", [(M, X, "left", "parotid gland", None, None)]),
    ("The tonsils are unremarkable.", [(M, X, None, "palatine tonsil", None, None)]),
    ("6 mm nodule in the right upper lung lobe.", []),
    ("Degenerative change of the cervical spine.", []),
    ("No bone erosion.", []),
    ("Slice thickness 3 mm.", []),
    ("IV contrast was given.", []),
    ("40% narrowing of the oropharyngeal airway.", [(A, P, None, "oropharynx", None, None)]),
    ("The laryngeal airway is narrowed by 60 percent from the left.", [(A, P, "left", "larynx", None, None)]),
    ("The airway is widely patent.", [(A, X, None, None, None, None)]),
    ("No airway compromise.", [(A, X, None, None, None, None)]),
    ("Severe narrowing of the supraglottic airway.", [(A, P, None, "larynx", None, None)]),
    ("2 cm mass in right level II.", [(N, P, "right", "II", 20, None)]),
    ("A nodal mass in left level III, 4 cm.", [(N, P, "left", "III", 40, None)]),
    ("Right level III: 12 mm, necrotic.", [(N, P, "right", "III", 12, NEC)]),
    ("Node in left level II with a hypodense core, two enlarged.", [(N, P, "left", "II", None, NEC)]),
    ("Level IV on the left contains an 18 mm rim-enhancing node.", [(N, P, "left", "IV", 18, NEC)]),
    ("Left level III node measuring 18-millimetre.", [(N, P, "left", "III", 18, None)]),
    ("Retropharyngeal node on the right, 8 mm.", [(N, P, "right", "retropharyngeal", 8, None)]),
    ("There is no right level II node and no mass.",
     [(N, X, "right", "II", None, None), (M, X, None, None, None, None)]),
    ("Mass and adenopathy are not demonstrated.", [(M, X, None, None, None, None), (N, X, None, None, None, None)]),
    ("Węzeł chłonny 14 mm w grupie II po lewej stronie, martwiczy.", [(N, P, "left", "II", 14, NEC)]),
    ("Prawdopodobnie guz migdałka podniebiennego prawego 22 mm.", [(M, P, "right", "palatine tonsil", 22, None)]),
    ("Left level IIB necrotic node abutting the internal jugular vein measures 24 mm (series 3, image 45).",
     [(N, P, "left", "II", 24, NEC)]),
    ("Right level III node, now 9 mm, previously 14 mm.", [(N, P, "right", "III", 9, None)]),
    ("Necrotic nodes in bilateral levels II and III, the largest measuring 3.2 cm.",
     [(N, P, "bilateral", "II", None, NEC), (N, P, "bilateral", "III", None, NEC)]),
    ("Brak powiększonych węzłów chłonnych.", [(N, X, None, None, None, None)]),
    ("Obustronnie powiększone węzły chłonne w grupie II do 15 mm.", [(N, P, "bilateral", "II", 15, None)]),
]  # fmt: skip


def _facts(finding: Finding) -> tuple:
    texture = finding.attributes.get("texture")
    return (finding.kind, finding.presence, finding.side, finding.place, finding.size_mm, texture)


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_reads(text, expected):
    assert [_facts(finding) for finding in parse(text)] == expected


@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_mirror_law(text):
    language = "pl" if parse_report(text) != parse_report(text, "en") else "en"
    assert parse(flip_sides(text, language), language) == [flip_finding(finding) for finding in parse(text, language)]


def test_what_no_rule_reads_is_given_back():
    report = parse_report("Thyroid unremarkable. 12 mm node in left level II. Lorem ipsum dolor.")
    assert report.unparsed_sentences == ["Thyroid unremarkable.", "Lorem ipsum dolor."]
    assert len(report.findings) == 1


def test_only_this_scan_is_read():
    text = (
        "INDICATION: left tonsil mass.\nCOMPARISON: right level II node 2 cm.\nFINDINGS: No mass.\nIMPRESSION: No mass."
    )
    report = parse_report(text)
    assert [_facts(finding) for finding in report.findings] == [(M, X, None, None, None, None)]
    assert report.sections["indication"] == "left tonsil mass."


def test_attributes_are_read():
    (mass,) = parse("Right tonsillar mass 2.5 x 1.8 cm crossing midline.")
    assert mass.attributes["crosses_midline"] is True
    (border,) = parse("A 22 mm node at left level 2/3.")
    assert border.attributes["also_level"] == "III"
    (airway,) = parse("Laryngeal airway narrowed by 45%, minimum area 62 mm2.")
    assert (airway.attributes["narrowing_pct"], airway.attributes["min_area_mm2"]) == (45.0, 62.0)
    (small,) = parse("A small node in left level II.")
    assert small.size_mm is None
    assert small.attributes["size_word"] == "small"


def test_a_short_axis_is_not_taken_for_the_greatest_dimension():
    (node,) = parse("Left level II node, 12 mm in short axis.")
    assert node.size_mm is None
    assert node.attributes["short_axis_mm"] == 12


def test_the_next_sentence_may_go_on_about_the_same_lesion():
    (node,) = parse("Enlarged node in left level II. It measures 17 mm. It is centrally necrotic.")
    assert _facts(node) == (N, P, "left", "II", 17, NEC)


def test_lines_give_the_side_and_clashes_are_reported():
    report = parse_report("FINDINGS:\nNodes right: 12 mm node in level II.\nNodes left: 9 mm node in right level III.")
    assert [finding.side for finding in report.findings] == ["right", "right"]
    assert len(report.contradictions) == 1
    assert "left" in report.contradictions[0]


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: 18 mm node in right level II.\nIMPRESSION: Left level II node, 18 mm.",
        "FINDINGS: 18 mm node in right level II.\nIMPRESSION: Right level II node, 28 mm.",
        "No adenopathy. 18 mm node in right level II.",
        "Right level II node on the left, 12 mm.",
    ],
)
def test_contradictions(text):
    assert len(parse_report(text).contradictions) == 1


def test_a_summary_adds_nothing():
    text = "FINDINGS: 18 mm necrotic node in right level II. No mass.\nIMPRESSION: 1. Right level II node. 2. No mass."
    report = parse_report(text)
    assert len(report.findings) == 2
    assert report.contradictions == []


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=200))
def test_hostile_text_never_crashes(text):
    assert parse_report(text) is not None
    assert parse_request(text).op in ("add", "remove", "none", "unknown")


WORDS = (
    "no without node mass left right level II 2/3 12 mm 1.2cm x and or ; , . : necrotic IMPRESSION: tonsil airway % 40%"
    " węzeł lewej from the skull base to hyoid resolved not seen previously it R L"
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from(WORDS.split()),
        max_size=25,
    )
)
def test_word_salad_never_crashes(words):
    text = " ".join(words)
    for finding in parse(text, "en"):
        assert finding.side in (None, "left", "right", "midline", "bilateral")
    parse_request(text)


@settings(max_examples=100, deadline=None)
@given(st.text("ab \n", max_size=30), st.text("ab \n", max_size=30))
def test_word_diff_rebuilds_both_texts(a, b):
    steps = word_diff(a, b)
    assert "".join(words for op, words in steps if op != "insert") == a
    assert "".join(words for op, words in steps if op != "delete") == b


def test_word_diff_of_an_edit():
    assert word_diff("12 mm node in left level II.", "12 mm node in right level II.") == [
        ("equal", "12 mm node in "), ("delete", "left "), ("insert", "right "), ("equal", "level II."),
    ]  # fmt: skip
