"""What a clinician writes of a normal scan, of harmless nodes and of places that the models have no masses at."""

from __future__ import annotations

import pytest

from hnvlm.report import complete, parse, parse_report, render
from hnvlm.report.render import render_finding
from hnvlm.types import Finding


def told(text: str, language: str | None = None) -> set[tuple[str, str]]:
    report = parse_report(text, language)
    assert not report.unparsed_sentences and not report.contradictions
    return {(f.kind, f.presence) for f in report.findings}


@pytest.mark.parametrize(
    "text",
    ["Normal study.", "Normal CT of the neck.", "The examination is unremarkable.", "Impression: Normal study.",
     "Obraz szyi prawidłowy.", "Badanie prawidłowe.", "Prawidłowy obraz TK szyi.", "Obraz szyi bez zmian."],
)  # fmt: skip
def test_a_normal_study_has_neither_mass_nor_node(text: str) -> None:
    assert told(text) == {("mass", "absent"), ("node", "absent")}


@pytest.mark.parametrize(
    "text",
    ["No recurrence.", "No evidence of local recurrence.", "There is no recurrent disease.", "Brak cech wznowy.",
     "brak wznowy", "Nie stwierdza się cech wznowy miejscowej."],
)  # fmt: skip
def test_without_recurrence_there_is_no_mass_and_of_nodes_nothing_is_said(text: str) -> None:
    assert told(text) == {("mass", "absent")}


def test_a_normal_study_beside_a_lesion_is_a_contradiction() -> None:
    report = parse_report("Left level II node, 14 mm. Impression: Normal study.")
    assert report.contradictions and [f.size_mm for f in report.findings if f.presence == "present"] == [14.0]


@pytest.mark.parametrize(
    "text",
    ["Left level II nodes < 1 cm.", "Left level II nodes are <10 mm.", "Left level II node less than 10 mm.",
     "Węzły < 1 cm w grupie II po stronie lewej.", "Węzły chłonne poniżej 10 mm w grupie II po stronie lewej."],
)  # fmt: skip
def test_nodes_below_a_centimetre_have_no_size_of_ten_millimetres(text: str) -> None:
    (node,) = parse(text)
    assert (node.presence, node.size_mm, node.side, node.level) == ("indeterminate", None, "left", "II")


@pytest.mark.parametrize("text", ["Left level II nodes < 6 cm.", "Suspicious left level II node < 1 cm.",
                                  "Necrotic left level II node less than 10 mm."])  # fmt: skip
def test_a_bound_alone_makes_no_large_or_suspicious_node_harmless(text: str) -> None:
    (node,) = parse(text)
    assert (node.presence, node.size_mm) == ("present", None)


def test_up_to_is_the_size_of_the_largest() -> None:
    (node,) = parse("Left level II nodes up to 9 mm.")
    assert (node.presence, node.size_mm) == ("present", 9.0)


@pytest.mark.parametrize(
    "text",
    ["Left level II node 9 mm, not suspicious.", "Left level II node 9 mm, not suspicious for metastasis.",
     "Reactive left level II node, 9 mm.", "Left level II node 9 mm, likely reactive.",
     "Left level II node 9 mm, benign-appearing.", "Węzeł chłonny w grupie II po stronie lewej 9 mm, niepodejrzany.",
     "Węzeł w grupie II po stronie lewej 9 mm, nie budzi podejrzeń.",
     "Węzeł chłonny w grupie II po stronie lewej, 9 mm, odczynowy."],
)  # fmt: skip
def test_a_node_held_to_be_harmless_is_kept_with_its_size_and_is_no_involved_one(text: str) -> None:
    (node,) = parse(text)
    assert (node.presence, node.certainty, node.size_mm) == ("indeterminate", "possible", 9.0)
    assert (node.side, node.level) == ("left", "II")


@pytest.mark.parametrize("text", ["Right neck nodes are not suspicious.", "Węzły po stronie prawej niepodejrzane."])
def test_nodes_that_are_not_suspicious_and_have_no_size_are_no_enlarged_ones(text: str) -> None:
    (node,) = parse(text)
    assert (node.kind, node.presence, node.side) == ("node", "absent", "right")


@pytest.mark.parametrize(
    ("text", "size"),
    [("Left level II node 22 mm, necrotic, not reactive.", 22.0), ("Suspicious node in left level II, 14 mm.", 14.0)],
)
def test_a_suspicious_node_stays_one(text: str, size: float) -> None:
    (node,) = parse(text)
    assert (node.presence, node.size_mm) == ("present", size)


@pytest.mark.parametrize("side", ["bilateral", None])
@pytest.mark.parametrize("language", ["en", "pl"])
def test_no_side_is_denied_beside_a_node_on_both_or_on_an_untold_one(side: str | None, language: str) -> None:
    node = Finding("node", side=side, level="II", size_mm=14.0)  # type: ignore[arg-type]
    stated = complete([node])
    assert [f for f in stated if f.kind == "node"] == [complete([node])[1]]
    assert all(f.presence == "present" for f in stated if f.kind == "node")
    again = parse(render([node], language=language), language, source="measured")
    assert again == stated


def test_a_node_on_one_side_leaves_the_other_denied() -> None:
    nodes = [f for f in complete([Finding("node", side="left", level="II", size_mm=14.0)]) if f.kind == "node"]
    assert [(f.side, f.presence) for f in nodes] == [("right", "absent"), ("left", "present")]


@pytest.mark.parametrize(
    "site",
    ["larynx", "nasopharynx", "oropharynx", "hypopharynx", "oral cavity", "floor of mouth", "hard palate",
     "soft palate", "buccal mucosa", "retromolar trigone", "glottis", "subglottis", "thyroid gland",
     "submandibular gland"],
)  # fmt: skip
def test_a_mass_at_every_site_that_is_read_has_polish_words(site: str) -> None:
    mass = Finding("mass", site=site, side="left", size_mm=23.0)
    (again,) = parse(render_finding(mass, "pl"), "pl", source="measured")
    assert (again.site, again.side, again.size_mm) == (site, "left", 23.0)
