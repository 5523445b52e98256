"""Colours of structures: no two alike, the same in every list, to be seen on paper."""

from __future__ import annotations

from itertools import combinations

from hnvlm.services.palette import on_paper, structure_colours
from hnvlm.ui.viewer.series import palette


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def test_no_two_structures_look_alike():
    colours = [*palette()["structures"].values(), *palette()["fallback"]]
    for a, b in combinations(colours, 2):
        assert sum(abs(p - q) for p, q in zip(rgb(a), rgb(b), strict=True)) >= 40, (a, b)


def test_a_clinics_own_name_keeps_its_colour_in_a_longer_list():
    few = structure_colours(["Zone", "Cochlea_L"], palette())
    more = structure_colours(["PTV_7000", "Cochlea_L", "SpinalCord", "Parotids", "Zone"], palette())
    assert {n: more[n] for n in few} == few and len(set(more.values())) == 5
    assert more["PTV_7000"] == palette()["structures"]["PTV_7000"]
    assert set(structure_colours(["A", "B"], None).values()) == {"#c8c8c8"}


def test_on_white_paper_light_colours_become_darker_and_keep_their_hue():
    """Yellow #ffd21a has a lightness of 0.55: at 0.42 it is the same hue, darker; a dark one stays."""
    assert on_paper("#ffffff") == "#6b6b6b"
    assert on_paper("#202020") == "#202020"
    red, green, blue = rgb(on_paper("#ffd21a"))
    assert red > green > blue and red < 220


def test_an_uploaded_structure_has_the_colour_of_the_plan_page_and_is_told_from_the_models():
    palette = {"structures": {"SpinalCord": "#00e5ff", "PTV_7000": "#ff3b30"}, "fallback": ["#111111", "#222222"]}
    plan = structure_colours(["PTV_7000", "SpinalCord", "GTVp", "Node"], palette)
    review = structure_colours(
        ["SpinalCord", "uploaded: PTV_7000", "uploaded: SpinalCord", "uploaded: GTVp", "uploaded: Node"], palette
    )
    assert {name: review[f"uploaded: {name}"] for name in ("PTV_7000", "GTVp", "Node")} == {
        name: plan[name] for name in ("PTV_7000", "GTVp", "Node")
    }
    assert review["SpinalCord"] == plan["SpinalCord"] != review["uploaded: SpinalCord"]
