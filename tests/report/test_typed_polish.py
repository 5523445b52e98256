"""Requests as they are typed in a hurry, in Polish, against what a radiologist means by them."""

from __future__ import annotations

import pytest
from report.typed import asked

from hnvlm.report import parse, parse_request
from hnvlm.report.parse import detect_language
from hnvlm.report.request_facts import request_facts
from hnvlm.report.request_parse import parse_commands

NODE = "add node left II 15"
TONSIL = "add mass right palatine tonsil 30"
READ = [
    ("Dodaj węzeł chłonny 15 mm w grupie II po lewej", [NODE]),
    ("WĘZEŁ W GRUPIE II PO LEWEJ, 15 MM", [NODE]),
    ("Lewa grupa II\nwęzeł martwiczy\n15 mm", [f"{NODE} necrotic"]),
    # Levels in words and by name.
    ("Dodaj węzeł 15 mm, grupa druga po lewej", [NODE]),
    ("poziom drugi po lewej, węzeł 15 mm", [NODE]),
    ("węzeł w grupie drugiej po lewej stronie 15 mm", [NODE]),
    ("węzeł w drugiej grupie po lewej 15 mm", [NODE]),
    ("na poziomie drugim po stronie lewej węzeł 15 mm", [NODE]),
    ("wezel w poziomie drugim po lewej 15 mm", [NODE]),
    ("lewa grupa druga, węzeł 15 mm z martwicą", [f"{NODE} necrotic"]),
    ("węzeł poziomu trzeciego po prawej 12 mm", ["add node right III 12"]),
    ("węzeł w piątej grupie po prawej, 12 mm", ["add node right V 12"]),
    ("wezel w grupie piatej po prawej, 12 mm", ["add node right V 12"]),
    ("grupa pierwsza B po prawej, węzeł 12 mm", ["add node right IB 12"]),
    ("węzeł grupa dwa lewa 1,5 cm", [NODE]),
    ("poziom trzeci po prawej, trzy węzły 12 mm", ["add node right III 12"]),
    ("węzeł w II grupie po lewej 15 mm", [NODE]),
    ("węzeł podżuchwowy lewy 12 mm", ["add node left IB 12"]),
    ("węzeł szyjny górny lewy 15 mm", [NODE]),
    ("węzły szyjne środkowe po prawej 12 mm", ["add node right III 12"]),
    ("węzeł w trójkącie bocznym szyi po lewej 12 mm", ["add node left V 12"]),
    # Abbreviations.
    ("węzeł gr. II L 15 mm", [NODE]),
    ("LN gr. II L 15 mm", [NODE]),
    ("węzeł lew. gr. II 15 mm", [NODE]),
    ("węzeł w grupie II str. lewa 15 mm", [NODE]),
    ("wch II po lewej 15 mm", [NODE]),
    ("ww. chłonne grupy II po lewej do 15 mm", [NODE]),
    ("guz migdałka P 3 cm", [TONSIL]),
    ("guz migdałka po str. P 3 cm", [TONSIL]),
    ("rak migdałka, p16+, prawy, 3 cm", [TONSIL]),
    # Inflection and sites.
    ("guz migdałka podniebiennego prawego 30 mm", [TONSIL]),
    ("duży guz migdałka prawego", ["add mass right palatine tonsil - large"]),
    ("zmiana ogniskowa w migdałku prawym 30 mm", [TONSIL]),
    ("guz nasady języka po lewej 2,5 cm", ["add mass left base of tongue 25"]),
    ("guz nasady języka po stronie lewej wielkości 25 x 30 mm", ["add mass left base of tongue 30"]),
    ("guz korzenia języka lewy 30 mm", ["add mass left base of tongue 30"]),
    ("guz bocznej powierzchni języka lewej 2 cm", ["add mass left oral tongue 20"]),
    ("guz zachyłka gruszkowatego lewego 25 mm", ["add mass left pyriform sinus 25"]),
    ("guz nagłośni po lewej 20 mm", ["add mass left supraglottis 20"]),
    ("zmiana 20 mm w śliniance przyusznej lewej", ["add mass left parotid gland 20"]),
    ("usuń zmianę w lewej śliniance przyusznej", ["remove mass left parotid gland -"]),
    ("dodaj raka migdałka lewego", ["add mass left palatine tonsil -"]),
    ("martwiczy węzeł grupy III po prawej 2,2 cm", ["add node right III 22 necrotic"]),
    ("pakiet węzłowy w grupie II po lewej 40 mm", ["add node left II 40"]),
    ("powiększony węzeł w grupie II po lewej 15 mm", [NODE]),
    ("obustronnie węzły w grupie II, 12 mm", ["add node bilateral II 12"]),
    ("węzły gr. II L/P 12 mm", ["add node bilateral II 12"]),
    ("prawa i lewa grupa II węzły 12 mm", ["add node bilateral II 12"]),
    ("guz nasady języka po prawej przechodzący na stronę lewą 35 mm", ["add mass right base of tongue 35"]),
    # The other side, named to say that it is not meant.
    ("węzeł po lewej, nie po prawej, grupa II 15 mm", [NODE]),
    ("węzeł 15 mm w grupie II, po lewej nie po prawej", [NODE]),
    ("węzeł 15 mm w grupie II po lewej (nie po prawej)", [NODE]),
    # Several commands.
    ("usun guz migdalka prawego i dodaj wezel grupy II po lewej 15 mm", ["remove mass right palatine tonsil -", NODE]),
    ("proszę usunąć guz migdałka prawego i dodać węzeł 15 mm w grupie II po lewej",
     ["remove mass right palatine tonsil -", NODE]),
    ("dodaj węzeł 15 mm gr. II L; usuń węzeł gr. III P", [NODE, "remove node right III -"]),
    ("nie dodawaj węzła po prawej, dodaj po lewej w grupie II 15 mm", [NODE]),
    ("czy możesz dodać węzeł 15 mm w grupie II po lewej", [NODE]),
    # Negations and hedges.
    ("guz migdałka lewego nieobecny", ["remove mass left palatine tonsil -"]),
    ("węzeł grupy II po lewej: brak", ["remove node left II -"]),
    ("węzłów w grupie II po lewej nie ma", ["remove node left II -"]),
    ("węzeł w grupie II po lewej zniknął", ["remove node left II -"]),
    ("wykluczono guz migdałka lewego", ["remove mass left palatine tonsil -"]),
    ("nie wykluczono guza migdałka lewego", ["add mass left palatine tonsil -"]),
    ("węzeł grupy II po lewej nie jest martwiczy, 15 mm", [f"{NODE} solid"]),
    ("węzeł grupy II po lewej bez martwicy 15 mm", [f"{NODE} solid"]),
    ("możliwy węzeł w grupie II po lewej 15 mm", [NODE]),
    ("węzeł grupy II po lewej zmniejszył się do 15 mm", [NODE]),
    ("usuń węzły w grupie II po lewej i III po prawej", ["remove node left II -"]),
    ("ukryj węzeł w grupie II po lewej", ["remove node left II -"]),
    ("wyrzuć węzeł z grupy II po lewej", ["remove node left II -"]),
    ("brak powiększonych węzłów chłonnych", ["remove node - - -"]),
    ("drogi oddechowe drożne", ["remove airway - - -"]),
    ("Brak guza. Brak węzłów.", ["none", "none"]),
    ("usuń wszystko", ["none"]),
    ("szyja prawidłowa", ["none"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), READ, ids=[text for text, _ in READ])
def test_what_is_asked(text, expected):
    assert asked(text) == expected
    assert not any(command.misspelt for command in parse_commands(text))


@pytest.mark.parametrize(
    "text", ["węzły w grupach od drugiej do czwartej po lewej", "Węzły w grupach od II do IV, lewe."]
)
def test_a_range_of_levels(text):
    assert [(f.level, f.side) for f in parse(text)] == [("II", "left"), ("III", "left"), ("IV", "left")]


@pytest.mark.parametrize(
    "text",
    [
        "powiększ węzeł w grupie II po lewej",
        "zrób węzeł w grupie II po lewej większy",
        "zmniejsz guz migdałka prawego o połowę",
        "przenieś węzeł z lewej na prawą",
        "zamień węzeł w grupie II po lewej na guz migdałka",
        "zamiast węzła w grupie II po lewej dodaj guz migdałka prawego 30 mm",
        "dodaj guz migdałka prawego 30 mm zamiast węzła w grupie II po lewej",
    ],
)
def test_another_size_or_lesion_is_no_addition(text):
    assert asked(text) == []
    assert request_facts(text) is None


@pytest.mark.parametrize(
    "text",
    ["bez zmian", "czy jest węzeł w grupie II po lewej?", "zmierz węzeł w grupie II po lewej", "nic nie zmieniaj"],
)
def test_a_look_a_question_and_no_change_ask_for_nothing(text):
    commands = parse_commands(text)
    assert commands and all(command.asks_nothing for command in commands)


@pytest.mark.parametrize(
    "text", ["węzeł w grupie II po lewej 12 mm (13 mm)", "węzeł w grupie II po lewej 12 lub 13 mm"]
)
def test_two_sizes_of_one_lesion_are_left_open(text):
    assert parse_request(text).finding.attributes["rival_sizes_mm"] == (12, 13)


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("guz dna jamy ustnej po lewej 2 cm", "floor of mouth"),
        ("guz lewego gardła środkowego 3 cm", "oropharynx"),
        ("guz nosogardła po lewej 3 cm", "nasopharynx"),
        ("guz w gardle dolnym po lewej 3 cm", "hypopharynx"),
        ("guz podniebienia miękkiego lewy 2 cm", "soft palate"),
        ("guz tarczycy lewy 2 cm", "thyroid gland"),
        ("guz fałdu głosowego lewego 1 cm", "glottis"),
    ],
)
def test_sites_that_are_read_though_nothing_is_drawn_there(text, site):
    (mass,) = parse(text)
    assert (mass.kind, mass.site, mass.side) == ("mass", site, "left")


@pytest.mark.parametrize(
    "text", ["rak jezyka lewy 3 cm", "wezel gr. II L", "usun zmiane z lewej slinianki", "poziom II po prawej"]
)
def test_polish_is_known_without_its_marks(text):
    assert detect_language(text) == "pl"
