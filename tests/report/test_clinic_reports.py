"""A hospital's own reports: what is denied in short forms, told of once, put right, or left open is not taught."""

from __future__ import annotations

import pytest

from hnvlm.evaluate.own_reports import understood
from hnvlm.report import parse_report
from hnvlm.types import Finding

TONSIL = "palatine tonsil"
RIGHT_MASS = "mass right palatine tonsil 22"
LEFT_MASS = "mass left palatine tonsil 20"


def _told(finding: Finding) -> str:
    size = "-" if finding.size_mm is None else f"{finding.size_mm:g}"
    place = finding.level or finding.site or "-"
    words = [finding.kind, finding.side or "-", place, size, finding.attributes.get("texture", "")]
    return " ".join(word for word in words if word)


def _taught(text: str) -> list[str]:
    """What is taught of a report, which must be taken."""
    own = understood(text)
    assert own.unclear == ""
    return [_told(finding) for finding in own.lesions]


# ---- nodes and masses that are denied -------------------------------------------------------------------------------
DENIED_NODES = [
    *(f"Węzły chłonne po lewej {words}." for words in (
        "nie powiększone", "b.z", "bz", "b/z", "bez cech przerzutów", "bez cech meta", "bez patologii", "niezmienione",
        "ujemne", "czyste", "nieznamienne", "niepow", "(-)", "∅", "o zachowanej budowie",
        "o prawidłowej budowie, do 8 mm", "drobne, do 5 mm", "gr. II-V nie przekraczają 8 mm",
    )),
    "Węzły chłonne po lewej: ∅", "Węzły chłonne po stronie lewej: nie powiększone.",
    "Drobne węzły chłonne po obu stronach, do 6 mm.", "W.chł. po lewej niepow.",
    *(f"Left level II nodes {words}." for words in (
        "WNL", "(-)", "are subcentimeter", "do not appear suspicious", "don't look enlarged", "not exceeding 8 mm",
        "aren't enlarged", "∅",
    )),
    "Shotty left level II nodes.", "Subcentimeter left level II node.", "Left neck: (-)",
    "Left level II node does not appear suspicious.", "Left level II node doesn’t look enlarged.",
]  # fmt: skip


@pytest.mark.parametrize("words", DENIED_NODES)
def test_nodes_that_are_called_normal_or_tiny_are_no_disease(words):
    """ "Węzły chłonne po lewej b.z." was taught as a node in the left neck."""
    mass = "Guz migdałka prawego 22 mm." if "ęz" in words or "chł" in words else "Right tonsil mass 22 mm."
    assert _taught(f"{mass} {words}") == [RIGHT_MASS]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Drobny węzeł gr. II po lewej 7 mm z martwicą.", "node left II 7 necrotic"),
        ("Drobny, podejrzany węzeł gr. II po lewej 7 mm.", "node left II 7"),
        ("Suspicious subcentimeter left level II node.", "node left II -"),
        ("Powiększone, niezmienione węzły gr. II po lewej 18 mm.", "node left II 18"),
        ("Węzeł gr. II po lewej 18 mm nie powiększył się.", "node left II 18"),
        ("Guz migdałka lewego niezmieniony, 20 mm.", LEFT_MASS),
        ("Left tonsil mass 20 mm in partial remission.", LEFT_MASS),
        ("Guz migdałka lewego 20 mm w częściowej remisji.", LEFT_MASS),
        ("Left level II node 18 mm, not matted.", "node left II 18"),
        ("The left tonsil mass isn't necrotic, 20 mm.", f"{LEFT_MASS} solid"),
    ],
)
def test_such_words_beside_disease_deny_nothing(text, told):
    assert _taught(text) == [told]


@pytest.mark.parametrize(
    "text",
    ["A left tonsil mass isn't seen.", "There isn't a left tonsil mass.", "Left tonsil mass cannot be seen on CT.",
     "Left tonsil mass in remission.", "Left tonsil cancer in complete remission.", "Left tonsil mass? None seen.",
     "Guz migdałka lewego w remisji.", "Guz migdałka lewego? Nie widać.", "Left tonsil mass couldn't be identified."],
)  # fmt: skip
def test_a_mass_that_is_not_seen_is_none(text):
    (mass,) = parse_report(text).findings
    assert (mass.kind, mass.presence, mass.side, mass.site) == ("mass", "absent", "left", TONSIL)


@pytest.mark.parametrize("text", ["Left neck nodes. No mass.", "Węzły chłonne po lewej jak zwykle. Guza nie widać."])
def test_a_node_of_which_only_the_side_is_told_is_not_taken(text):
    own = understood(text)
    assert own.lesions == () and "neither where, how large nor what it is like" in own.unclear


# ---- lesions in other words -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("No mass. Large necrotic conglomerate in the right neck, 45 mm.", "node right - 45 necrotic"),
        ("No mass. Right-sided conglomerate 35 mm at the carotid bifurcation.", "node right - 35"),
        ("No nodes. Ulcer of the right tonsil, 22 mm.", RIGHT_MASS),
        (
            "Guza nie widać. Po stronie prawej konglomerat 35 mm na poziomie rozwidlenia tętnicy szyjnej.",
            "node right - 35",
        ),
        ("Brak powiększonych węzłów. Owrzodzenie migdałka po prawej 22 mm.", RIGHT_MASS),
        ("Pakiet 35 mm w gr. II po prawej.", "node right II 35"),
        ("Left tonsil mass 20 mm with ulcer on the surface.", LEFT_MASS),
        ("Guz migdałka lewego 20 mm bez owrzodzenia.", LEFT_MASS),
        ("No ulcer of the tongue. Left tonsil mass 20 mm.", LEFT_MASS),
    ],
)
def test_conglomerates_and_ulcers_are_lesions(text, told):
    """ "No mass. Large necrotic conglomerate in the right neck, 45 mm." was taught as a healthy neck."""
    assert _taught(text) == [told]


@pytest.mark.parametrize(
    "text",
    ["No mass. No nodes. Swelling in the right neck, 45 mm.", "No mass. Necrotic structure in the left neck.",
     "Guza nie widać. Struktura 35 mm po stronie prawej.", "No nodes. Left thyroglossal duct cyst 32 mm."],
)  # fmt: skip
def test_a_sentence_that_may_tell_of_a_lesion_and_is_not_read_leaves_it_open(text):
    own = understood(text)
    assert own.lesions == () and own.unclear == "a sentence that may tell of a lesion was not read"


@pytest.mark.parametrize(
    "text",
    ["No mass. No nodes. Left maxillary sinus cyst 12 mm.", "No mass. No nodes. Left submandibular duct stone 4 mm.",
     "3 mm slices from the nasopharynx to the clavicle. No mass. No nodes.",
     "Technique: 3 mm, left arm injection.\nFindings: No mass. No nodes.",
     "Badanie TK szyi, warstwy 3 mm, od nosogardła do obojczyków. Guza nie widać. Węzły niepowiększone."],
)  # fmt: skip
def test_what_is_measured_and_no_lesion_leaves_a_healthy_neck(text):
    assert _taught(text) == []


# ---- sides ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((f"Right neck: level II node 22 mm. {side} level III node 20 mm.", ["node right II 22", "node left III 20"])
          for side in ("Lft", "Lft.", "Lt", "Lt.", "Left", "L")),
        ("Left neck: level II node 22 mm. Rght level III node 20 mm.", ["node left II 22", "node right III 20"]),
        ("Right level II node 15 mm and level III node 18 mm, both necrotic.",
         ["node right II 15 necrotic", "node right III 18 necrotic"]),
        ("Right tonsil mass 22 mm. Ipsilateral level Ib node 15 mm and level IIa node, 18 mm, both necrotic.",
         [RIGHT_MASS, "node right IB 15 necrotic", "node right II 18 necrotic"]),
        ("Left tonsil mass 20 mm, left level II node 15 mm and level III node 18 mm, both of which are necrotic.",
         [LEFT_MASS, "node left II 15 necrotic", "node left III 18 necrotic"]),
        ("Węzeł gr. II po prawej 15 mm i gr. III 18 mm, oba z martwicą.",
         ["node right II 15 necrotic", "node right III 18 necrotic"]),
        ("Both level II nodes 15 mm.", ["node right II 15", "node left II 15"]),
        ("Migdałek podniebienny prawy powiększony do 22 mm w porównaniu z lewym (15 mm), podejrzany.", [RIGHT_MASS]),
        ("Right tonsil enlarged to 22 mm compared with the left (15 mm), suspicious.", [RIGHT_MASS]),
        ("Right tonsil enlarged to 22 mm vs left 15 mm, suspicious.", [RIGHT_MASS]),
    ],
)  # fmt: skip
def test_every_lesion_has_its_own_side_and_no_second_one(text, told):
    """ "Both necrotic" behind two nodes of one side was a node on the other side as well."""
    assert _taught(text) == told


@pytest.mark.parametrize(
    "text",
    ["ADDENDUM: side error, the tonsil mass is on the LEFT, not right. FINDINGS: Right tonsil mass 22 mm.",
     "FINDINGS: Right tonsil mass 22 mm. ADDENDUM: the mass is left-sided.",
     "SPROSTOWANIE: guz jest po stronie lewej. OPIS: Guz migdałka prawego 22 mm.",
     "Errata: strona lewa. Opis: Guz migdałka prawego 22 mm.",
     "FINDINGS: Right tonsil mass 22 mm. Correction: 'right' should read 'left'.",
     "Opis: Guz migdałka prawego 22 mm. Omyłkowo podano stronę, powinno być: lewego."],
)  # fmt: skip
def test_a_report_that_puts_itself_right_is_not_taken(text):
    own = understood(text)
    assert own.lesions == () and "takes back a part of itself" in own.unclear


# ---- earlier examinations -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CT of 12 March 2019: left tonsil mass 30 mm. Current: left tonsil mass 20 mm. No nodes.", [LEFT_MASS]),
        (
            "Badanie poprzednie z 12.03.2019: guz migdałka lewego 30 mm. Obecnie: guz migdałka lewego 20 mm.",
            [LEFT_MASS],
        ),
        ("Badanie poprzednie z 12.03.2019: guz migdałka lewego 30 mm. Obecnie guz migdałka lewego 20 mm.", [LEFT_MASS]),
        ("In 2019 there was a 30 mm left level III node. Left tonsil mass 20 mm.", [LEFT_MASS]),
        ("In 2019 there was a 30 mm left level III node. It was necrotic. Left tonsil mass 20 mm.", [LEFT_MASS]),
        ("PRIOR REPORT 12/03/2019: Left level II node 20 mm. CURRENT REPORT: No mass. No nodes.", []),
        ("PRIOR REPORT 12/03/2019:\nLeft level II node 20 mm.\n\nFINDINGS: No mass. No nodes.", []),
        ("Ultrasound 3/2019 showed a left level II node 20 mm. No mass. No nodes.", []),
        ("W USG z 03.2019 opisywano węzeł gr. II po lewej 20 mm. Guza nie widać. Węzły niepowiększone.", []),
        ("Previous CT showed a 30 mm left level III node. Left tonsil mass 20 mm.", [LEFT_MASS]),
        ("A 30 mm left level III node was seen on the prior CT. Left tonsil mass 20 mm.", [LEFT_MASS]),
        ("W poprzednim badaniu opisywano węzeł gr. III po lewej 30 mm. Guz migdałka lewego 20 mm.", [LEFT_MASS]),
        # Told of today.
        ("CT neck 12.03.2026: left tonsil mass 20 mm. No nodes.", [LEFT_MASS]),
        ("TK szyi z dnia 12.03.2026: guz migdałka lewego 20 mm.", [LEFT_MASS]),
        ("Badanie TK z dn. 12.03.2026 r.: guz migdałka lewego 20 mm.", [LEFT_MASS]),
        ("Examination date: 12.03.2026. Left tonsil mass 20 mm.", [LEFT_MASS]),
        ("Left tonsil mass 20 mm, 30 mm in 2019.", [LEFT_MASS]),
        ("Compared with 12.03.2024 the left tonsil mass has grown from 10 to 20 mm.", [LEFT_MASS]),
        ("On the prior CT the left tonsil mass was 30 mm and is now 20 mm.", [LEFT_MASS]),
        ("W porównaniu z badaniem z 12.03.2024 guz migdałka lewego większy, 20 mm.", [LEFT_MASS]),
        ("W badaniu TK szyi uwidoczniono guz migdałka lewego 20 mm.", [LEFT_MASS]),
        ("Opisywany guz migdałka lewego ma 20 mm.", [LEFT_MASS]),
    ],
)
def test_what_was_seen_on_an_earlier_examination_is_not_taught(text, told):
    assert _taught(text) == told


@pytest.mark.parametrize(
    "text",
    ["CT neck 12.03.2026 showed a left tonsil mass 30 mm. No nodes.",
     "W badaniu TK z dnia 12.03.2026 uwidoczniono guz migdałka lewego 30 mm. Węzły niepowiększone.",
     "CT neck of 12.03.2026: Left tonsil mass 30 mm. Current: no nodes.",
     "CT 12.03.2019: left tonsil mass 30 mm. CT 14.05.2026: left tonsil mass 20 mm."],
)  # fmt: skip
def test_an_examination_of_some_date_may_be_this_one(text):
    own = understood(text)
    assert own.lesions == () and ("some date" in own.unclear or "several examinations" in own.unclear)


# ---- what stands before the findings --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "before",
    ["Clinical info: left tonsil mass.", "Diagnosis: left tonsil cancer.", "Dx: left tonsil mass\n",
     "Request: left neck node\n", "Provisional diagnosis: left tonsil mass.\n", "ICD-10: C09 left tonsil cancer\n",
     "Left tonsil cancer, biopsy.\n"],
)  # fmt: skip
def test_what_the_patient_was_sent_for_is_no_finding(before):
    assert _taught(f"{before} Findings: Right tonsil mass 22 mm.") == [RIGHT_MASS]


@pytest.mark.parametrize(
    "before",
    ["Rozp. wst.: guz migdałka lewego\n", "Rozpoznanie: rak krtani\n", "Rozpoznanie wstępne: rak krtani.",
     "Kod ICD: C32 rak krtani\n", "Kod ICD-10: C32 rak krtani\n", "Rak krtani.\n", "Cel badania: guz krtani.\n"],
)  # fmt: skip
def test_what_the_patient_was_sent_for_is_no_finding_in_polish(before):
    assert _taught(f"{before} Opis: Guz migdałka prawego 22 mm.") == [RIGHT_MASS]


def test_a_measured_lesion_before_the_findings_is_no_healthy_neck():
    own = understood("Mass of the left tonsil 20 mm.\nFINDINGS: No nodes.")
    assert own.lesions == () and "before them" in own.unclear


def test_a_diagnosis_behind_the_findings_is_what_they_come_to():
    text = "FINDINGS: 20 mm mass in the left palatine tonsil.\nDIAGNOSIS: Left tonsil cancer."
    assert _taught(text) == [LEFT_MASS]
    assert set(parse_report(text).sections) == {"findings", "impression"}
    assert set(parse_report("Diagnosis: x.\nFindings: No mass.").sections) == {"indication", "findings"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Laryngeal carcinoma T3N0. Right supraglottic mass 22 mm. No nodes.", ["mass right supraglottis 22"]),
        ("Larynx carcinoma T3 N0 M0. Right supraglottic mass 22 mm. No nodes.", ["mass right supraglottis 22"]),
        ("Rak krtani T3N0. Guz nagłośni po prawej 22 mm.", ["mass right supraglottis 22"]),
        ("Left tonsil carcinoma T2N1. 20 mm mass in the left palatine tonsil. Left level II node 15 mm.",
         [LEFT_MASS, "node left II 15"]),
        ("Left tonsil carcinoma T2N1. Left level II node 15 mm.",
         ["mass left palatine tonsil -", "node left II 15"]),
        ("Left tonsil carcinoma T2N1. Right tonsil mass 22 mm.", ["mass left palatine tonsil -", RIGHT_MASS]),
        ("Left tonsil cancer, cT2 N1 M0, 20 mm.", [LEFT_MASS]),
    ],
)  # fmt: skip
def test_a_disease_that_is_named_with_its_stage_is_the_mass_that_is_described(text, told):
    assert _taught(text) == told


# ---- the thyroid gland ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Right thyroid nodule 14 mm. Left tonsil mass 20 mm. No lymphadenopathy.", [LEFT_MASS]),
        ("Guzki tarczycy do 9 mm. Guza migdałków nie widać. Węzły niepowiększone.", []),
        ("No mucosal lesion. Right thyroid nodule 14 mm. No lymphadenopathy.", []),
        ("Thyroid: 14 mm nodule in the right lobe. No mass. No lymphadenopathy.", []),
        ("Laryngeal mass 15 mm invading the thyroid gland. No nodes.", ["mass - - 15"]),
    ],
)
def test_a_nodule_of_the_thyroid_gland_is_not_taught(text, told):
    assert _taught(text) == told


def test_a_large_mass_of_the_thyroid_gland_is_no_healthy_neck():
    own = understood("Thyroid carcinoma of the right lobe, 30 mm. No nodes.")
    assert own.lesions == () and "thyroid" in own.unclear


# ---- plain reports that were refused --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Węzły gr. II: po stronie prawej bz, po lewej pakiet 35x20 mm.", ["node left - 35"]),
        ("Bilateral IIa nodes, right 14, left 12 mm. No mass.", ["node right II 14", "node left II 12"]),
        ("Węzły gr. II: po prawej 14, po lewej 12 mm.", ["node right II 14", "node left II 12"]),
        ("Węzły chłonne: po stronie prawej bz, po stronie lewej w gr. II powiększone do 18 mm.", ["node left II 18"]),
        ("Lymph nodes: right normal, left level II node 18 mm.", ["node left II 18"]),
        ("Nodes: left II 21 mm, right normal.", ["node left II 21"]),
        ("Level Ia node 8 mm. Left tonsil mass 20 mm.", ["node midline IA 8", LEFT_MASS]),
        ("Węzeł Ia 8 mm. Guz migdałka lewego 20 mm.", ["node midline IA 8", LEFT_MASS]),
        ("Nodes: left Ia 8mm, left Ib 12 mm. No mass.", ["node left IA 8", "node left IB 12"]),
        ("Węzeł gr. II po lewej 12 mm vs 30 mm w badaniu poprzednim.", ["node left II 12"]),
        ("Węzeł gr. II lewostr. 12 mm. Guz prawostr. migdałka 22 mm.", ["node left II 12", RIGHT_MASS]),
        ("FINDINGS: Right level II node 14 mm. Left level III node 12 mm. IMPRESSION: Bilateral nodal metastases.",
         ["node right II 14", "node left III 12"]),
        ("IMPRESSION: Left tonsil mass 20 mm.\nFINDINGS: Left tonsil mass 20 mm. No nodes.", [LEFT_MASS]),
    ],
)  # fmt: skip
def test_a_plain_report_is_taken(text, told):
    assert _taught(text) == told


@pytest.mark.parametrize(
    "text",
    ["W.chł. po lewej gr. II 12 mm.", "St. po lewej tonsillektomii, węzeł gr. II po lewej 12 mm.",
     "Badanie z dn. 12.03.2026 r. w TK węzeł gr. II po lewej 12 mm."],
)  # fmt: skip
def test_a_short_form_ends_no_sentence(text):
    read = parse_report(text)
    assert read.unparsed_sentences == [] and [_told(f) for f in read.findings] == ["node left II 12"]
