"""A disease that was treated is no finding of this scan; what is left of it or has come back is one."""

from __future__ import annotations

import pytest

from hnvlm.report import parse_report
from hnvlm.report.request_parse import parse_commands

N, M, A = "node", "mass", "airway"
P, X = "present", "absent"
TONSIL, BOT = "palatine tonsil", "base of tongue"
NO_MASS = (M, X, None, None, None)


def _read(text: str) -> list[tuple]:
    report = parse_report(text)
    assert report.contradictions == []
    return [(f.kind, f.presence, f.side, f.level if f.kind == N else f.site, f.size_mm) for f in report.findings]


TREATED = [
    "S/p CRT for left BOT cancer.",
    "Status post chemoradiation for left tonsil carcinoma.",
    "s/p definitive concurrent chemoradiation therapy (70 Gy) for T2N1 left tonsil SCC.",
    "S/p CRT in 2019 for left BOT cancer.",
    "S/p TORS and left neck dissection for left tonsil SCC.",
    "History of left tonsil SCC, treated 2021.",
    "Known treated left tonsil cancer.",
    "Previously treated base of tongue carcinoma.",
    "Treated left BOT SCC.",
    "Treated for left tonsil cancer in 2019.",
    "Post CRT for left tonsil SCC.",
    "Post RT for left tonsil SCC with left level II node.",
    "Patient post surgery for oral tongue cancer.",
    "Post-op for oral tongue cancer.",
    "After CRT for left tonsil cancer.",
    "Left tonsil SCC s/p CRT.",
    "Left BOT cancer post chemoradiotherapy.",
    "Left BOT cancer treated with chemoradiation in 2021.",
    "Left tonsil cancer with left level II nodes, s/p CRT.",
    "Previous left tonsil cancer.",
    "Follow-up of left tonsil cancer.",
    "Left tonsil cancer (s/p CRT), no residual.",
]
TREATED_PL = [
    "Rak migdałka lewego leczony w 2021.",
    "Rak migdałka lewego po radioterapii.",
    "Pacjent leczony z powodu raka migdałka lewego.",
    "Stan po radiochemioterapii z powodu raka migdałka lewego.",
]


@pytest.mark.parametrize("history", TREATED)
@pytest.mark.parametrize("denial", ["No recurrent mass.", "No mass.", "No evidence of recurrence."])
def test_a_treated_disease_is_no_mass_and_contradicts_no_denial(history: str, denial: str) -> None:
    assert _read(f"{history} {denial}") == [NO_MASS]
    assert parse_report(f"{history} {denial}").unparsed_sentences == [history]


@pytest.mark.parametrize("history", TREATED)
def test_what_came_back_is_a_mass(history: str) -> None:
    assert _read(f"{history} Recurrent 22 mm mass in the left tonsil.") == [(M, P, "left", TONSIL, 22.0)]


@pytest.mark.parametrize("history", TREATED_PL)
def test_a_treated_disease_in_polish(history: str) -> None:
    assert _read(f"{history} Bez cech wznowy.") == [NO_MASS]
    assert _read(f"{history} Wznowa 22 mm w migdałku lewym.") == [(M, P, "left", TONSIL, 22.0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("S/p chemoradiation for left tonsil SCC, no recurrent mass.", [NO_MASS]),
        ("Left tonsil SCC, s/p CRT 2020, no residual mass.", [NO_MASS]),
        ("Following chemoradiation for left tonsil cancer, no residual mass is seen.", [NO_MASS]),
        ("No residual mass after CRT for left tonsil cancer.", [(M, X, "left", TONSIL, None)]),
        ("S/p CRT for left BOT cancer, now with recurrent 22 mm mass at the left base of tongue.",
         [(M, P, "left", BOT, 22.0)]),
        ("S/p CRT for left BOT cancer with a 22 mm recurrent mass.", [(M, P, None, None, 22.0)]),
        ("S/p CRT for left tonsil cancer with 12 mm necrotic left level II node.", [(N, P, "left", "II", 12.0)]),
        ("S/p CRT for left tonsil cancer, mild narrowing of the larynx.", [(A, P, None, "larynx", None)]),
        ("12 mm left level II node, s/p CRT for left tonsil cancer.", [(N, P, "left", "II", 12.0)]),
        ("Left level II node 9 mm after RT for left tonsil cancer.", [(N, P, "left", "II", 9.0)]),
        ("Residual 12 mm mass after CRT for left tonsil cancer.", [(M, P, "left", TONSIL, 12.0)]),
        ("Residual mass after CRT for left tonsil cancer.", [(M, P, "left", TONSIL, None)]),
        ("Recurrent disease at the left tonsil, 22 mm, after CRT for left tonsil cancer.",
         [(M, P, "left", TONSIL, 22.0)]),
        ("Left tonsil mass, 22 mm, in a patient treated for right laryngeal cancer.", [(M, P, "left", TONSIL, 22.0)]),
    ],
)  # fmt: skip
def test_what_is_seen_or_denied_beside_a_treatment(text: str, expected: list[tuple]) -> None:
    assert _read(text) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Biopsy-proven left tonsil carcinoma, 31 mm", 31.0),
        ("Left tonsil cancer s/p biopsy.", None),
        ("Left tonsil carcinoma, no prior treatment.", None),
        ("Untreated left tonsil cancer.", None),
        ("Not yet treated left tonsil cancer.", None),
        ("Left tonsil cancer planned for RT.", None),
        ("Left tonsil cancer before RT.", None),
        ("Recurrent left tonsil cancer after CRT.", None),
        ("Left tonsil cancer has shrunk after CRT.", None),
        ("Left tonsil cancer after induction chemotherapy, 22 mm.", 22.0),
        ("Left tonsil tumour treated with RT.", None),
        ("Rak migdałka lewego 22 mm, nieleczony.", 22.0),
        ("Rak migdałka lewego, wielkości 22 mm, po chemioterapii indukcyjnej.", 22.0),
    ],
)
def test_a_disease_that_is_there(text: str, size: float | None) -> None:
    assert _read(text) == [(M, P, "left", TONSIL, size)]


@pytest.mark.parametrize("history", ["S/p CRT for left BOT cancer", "History of left BOT cancer"])
@pytest.mark.parametrize("gap", [". ", ", "])
def test_contralateral_is_told_by_what_was_treated(history: str, gap: str) -> None:
    assert _read(f"{history}{gap}contralateral level II node 15 mm.") == [(N, P, "right", "II", 15.0)]


@pytest.mark.parametrize("known", ["Known left tonsil cancer.", "Biopsy-proven carcinoma of the left tonsil."])
def test_a_known_disease_is_the_mass_that_is_described(known: str) -> None:
    assert _read(f"{known} There is a 31 mm mass in the left tonsil.") == [(M, P, "left", TONSIL, 31.0)]
    assert _read(f"{known} No mass is seen.") == [NO_MASS]
    assert _read(known) == [(M, P, "left", TONSIL, None)]
    assert len(_read(f"{known} There is a 31 mm mass in the right tonsil.")) == 2


@pytest.mark.parametrize("denial", ["NED.", "No evidence of disease.", "No evidence of locoregional recurrence."])
def test_no_evidence_of_disease_is_no_mass(denial: str) -> None:
    assert _read(f"S/p total laryngectomy. {denial}") == [NO_MASS]
    assert _read("No evidence of disease progression.") == []


@pytest.mark.parametrize(
    "primary", ["Unknown primary.", "Primary unknown.", "Metastatic SCC of unknown primary.", "Occult primary tumour."]
)
def test_a_primary_that_nobody_has_found_is_no_mass(primary: str) -> None:
    assert _read(f"{primary} Left level II cystic node 30 mm.") == [(N, P, "left", "II", 30.0)]
    assert _read("Left BOT primary, 30 mm.") == [(M, P, "left", BOT, 30.0)]


def test_a_mass_that_is_reported_and_denied_is_a_contradiction_still() -> None:
    for text in ("Left tonsil carcinoma. No mass.", "Known 31 mm left tonsil cancer. No mass.", "Left mass. No mass."):
        assert len(parse_report(text).contradictions) == 1, text


@pytest.mark.parametrize("history", ["S/p CRT for left BOT cancer.", "S/p resection for left tonsil cancer."])
def test_a_history_before_a_request_asks_for_nothing(history: str) -> None:
    told, asked = parse_commands(f"{history} Add a 22 mm node in left level III")
    assert told.asks_nothing
    assert (asked.request.op, asked.request.finding.level) == ("add", "III")


def test_a_request_may_name_what_was_treated() -> None:
    (command,) = parse_commands("Remove the treated left tonsil cancer")
    assert (command.request.op, command.request.finding.site) == ("remove", TONSIL)
