"""From what a request asks to what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.neck_phantom import CENTRE_MM, phantom

from hnvlm.errors import UsageError
from hnvlm.imaging.lesions import MIN_NECROTIC_MM
from hnvlm.models.detect import Detection
from hnvlm.models.layout import (
    DEFAULT_NARROWING_PCT,
    DEFAULT_SIZE_MM,
    NARROWINGS_PCT,
    SIZES_MM,
    lay_out_addition,
    lay_out_removals,
    sentences_of,
    spec_of,
)
from hnvlm.models.neck import build_neck
from hnvlm.report.request_facts import NARROWING_DRAWN_PCT, NECROTIC_DRAWN_MM, SIZE_DRAWN_MM

NOTHING = {
    "op": "add", "kind": None, "place": None, "side": None, "texture": None, "size_mm": None, "narrowing_pct": None,
}  # fmt: skip


def asked(**given) -> dict:
    return NOTHING | given


@pytest.fixture(scope="module")
def neck():
    built = build_neck(*phantom())
    assert built is not None
    return built


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Add a node. Remove the mass!  Clear it?", ["Add a node.", "Remove the mass!", "Clear it?"]),
        ("node in level II, 2.5 cm", ["node in level II, 2.5 cm"]),
        ("left node; right node", ["left node;", "right node"]),
        ("FINDINGS:\nLevel II node left.\n\nPrimary site: mass.", ["Level II node left.", "mass."]),
        ("a\n\nlarge left mass", ["large left mass"]),
        ("Right level II: necrotic node, 12 mm.", ["Right level II: necrotic node, 12 mm."]),
        ("Nodes left: 12 mm node in level II.", ["Nodes left: 12 mm node in level II."]),
        ("add a node, 12 mm\nremove the right mass", ["add a node, 12 mm", "remove the right mass"]),
        ("no", ["no"]),
    ],
)
def test_sentences(text, parts):
    assert sentences_of(text) == parts


def test_what_is_left_open_takes_usual_values():
    rng = np.random.default_rng(0)
    spec = spec_of(asked(kind="node", place="III", side="right"), rng)
    assert (spec.kind, spec.place, spec.side, spec.size_mm, spec.texture) == (
        "node", "III", "right", DEFAULT_SIZE_MM, "solid",
    )  # fmt: skip
    airway = spec_of(asked(kind="airway", place="larynx", side="left"), rng)
    assert (airway.narrowing_pct, airway.size_mm) == (DEFAULT_NARROWING_PCT, 0.0)
    sides = {spec_of(asked(kind="node", place="II"), rng).side for _ in range(20)}
    assert sides == {"left", "right"}  # drawn when not said


def test_the_limits_are_those_that_a_user_is_told():
    assert (SIZES_MM, NARROWINGS_PCT) == (SIZE_DRAWN_MM, NARROWING_DRAWN_PCT)
    assert MIN_NECROTIC_MM == NECROTIC_DRAWN_MM


@pytest.mark.parametrize(("size", "made"), [(1.0, 6.0), (33.0, 33.0), (200.0, 45.0)])
def test_sizes_are_kept_in_what_was_taught(size, made):
    spec = spec_of(asked(kind="mass", place="oral tongue", side="left", size_mm=size, texture="necrotic"), None)
    assert (spec.size_mm, spec.texture) == (made, "necrotic")


@pytest.mark.parametrize(("pct", "made"), [(5.0, 20.0), (65.0, 65.0), (100.0, 80.0)])
def test_narrowing_is_kept_in_what_was_taught(pct, made):
    spec = spec_of(asked(kind="airway", place="larynx", side="left", narrowing_pct=pct), None)
    assert spec.narrowing_pct == made


@pytest.mark.parametrize("missing", ["kind", "place"])
def test_a_request_that_does_not_say_where_is_refused(missing):
    full = asked(kind="node", place="II", side="left")
    with pytest.raises(UsageError, match="does not say where"):
        spec_of(full | {missing: None}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "place", "made"),
    [
        ("node", "parotid gland", "mass"),
        ("mass", "III", "node"),
        ("node", "IB", "node"),
        ("mass", "supraglottis", "mass"),
    ],
)
def test_the_place_decides_what_kind_of_lesion_it_is(neck, kind, place, made):
    """ "A node in the parotid" is drawn there and is no crash."""
    request = asked(kind=kind, place=place, side="left", size_mm=12.0)
    assert spec_of(request, None).kind == made
    assert lay_out_addition(request, neck, np.random.default_rng(1)).kind == made


@pytest.mark.parametrize("kind", ["node", "mass"])
def test_a_lesion_at_an_airway_level_is_refused(kind):
    with pytest.raises(UsageError, match="ask for a narrowing"):
        spec_of(asked(kind=kind, place="larynx", side="left"), None)


def test_an_addition_is_laid_out_in_this_neck(neck):
    request = asked(kind="node", place="II", side="right", size_mm=18.0)
    layout = lay_out_addition(request, neck, np.random.default_rng(3))
    assert (layout.op, layout.kind, layout.size_mm) == ("add", "node", 18.0)
    assert layout.mask.shape == layout.reference.delta.shape
    centre = neck.working.index_to_mm(np.argwhere(layout.mask > 0.5).mean(0) + layout.start)
    assert centre[2] < CENTRE_MM[2] - 15  # the right side has smaller x
    again = lay_out_addition(request, neck, np.random.default_rng(3))
    np.testing.assert_array_equal(layout.mask, again.mask)
    assert layout.start.tolist() == again.start.tolist()
    assert layout.texture == "solid"


@pytest.mark.parametrize(("size", "made"), [(24.0, "necrotic"), (12.0, "solid")])
def test_a_layout_says_what_is_really_made(neck, size, made):
    """A node too small for a core is a solid one, whatever was asked."""
    request = asked(kind="node", place="II", side="right", size_mm=size, texture="necrotic")
    layout = lay_out_addition(request, neck, np.random.default_rng(3))
    assert layout.texture == layout.reference.spec.texture == made


def test_an_airway_layout_measures_its_own_reach(neck):
    layout = lay_out_addition(asked(kind="airway", place="larynx", side="left"), neck, np.random.default_rng(0))
    hit = np.argwhere(layout.mask > 0.2)
    assert layout.size_mm == (np.ptp(hit, axis=0).max() + 1) * 3.0
    assert layout.texture is None


def test_no_room_is_refused_with_a_way_out(neck):
    request = asked(kind="mass", place="parotid gland", side="left", size_mm=45.0)
    bare = build_neck(*_without("Parotid_L"))
    with pytest.raises(UsageError, match=r"no room for a 45 mm mass at left parotid gland.*smaller one or another"):
        lay_out_addition(request, bare, np.random.default_rng(0))


def _without(name: str):
    ct, masks = phantom()
    return ct, {k: m for k, m in masks.items() if k != name}


def detection(kind: str, place: str, side: str, at: tuple[int, int, int], score: float = 0.9) -> Detection:
    mask = np.zeros((64, 64, 64), bool)
    mask[at[0] : at[0] + 2, at[1] : at[1] + 3, at[2] : at[2] + 4] = True
    return Detection(kind, mask, score, np.zeros(3), 12.0, place, side, 80.0)


NODE_L = detection("node", "II", "left", (10, 20, 30))
NODE_R = detection("node", "II", "right", (10, 20, 50))
NODE_LOW = detection("node", "IV", "left", (40, 20, 30))
MASS = detection("mass", "parotid gland", "left", (12, 30, 33))
ALL = [NODE_L, NODE_R, NODE_LOW, MASS]


def removed(neck, **given) -> list[Detection]:
    layouts = lay_out_removals(asked(op="remove") | given, ALL, neck)
    starts = {tuple(np.argwhere(d.mask).min(0)): d for d in ALL}
    return [starts[tuple(int(v) for v in lay.start - neck.start)] for lay in layouts]


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"kind": "node", "place": "II", "side": "left"}, [NODE_L]),
        ({"kind": "node", "side": "left"}, [NODE_L, NODE_LOW]),
        ({"kind": "node", "place": "II"}, [NODE_L, NODE_R]),
        ({"kind": "node", "place": "III"}, [NODE_L, NODE_R, NODE_LOW]),  # a node on the border of III
        ({"kind": "node", "place": "IB", "side": "right"}, [NODE_R]),
        ({"kind": "mass", "place": "supraglottis"}, []),
        ({"kind": "mass", "place": "parotid gland"}, [MASS]),
        ({"kind": "node", "place": "parotid gland", "side": "left"}, [MASS]),
        ({"side": "right"}, [NODE_R]),
        ({}, ALL),
        ({"kind": "airway", "place": "larynx"}, []),
        ({"op": "none"}, ALL),
        ({"op": "none", "kind": "mass", "side": "right"}, ALL),  # "no mass": a clear neck
    ],
)
def test_what_a_removal_means(neck, given, want):
    assert removed(neck, **given) == want


def test_a_removal_leaves_the_lesion_next_door(neck):
    next_door = detection("node", "III", "left", (25, 20, 30))
    (layout,) = lay_out_removals(asked(op="remove", kind="node", place="II", side="left"), [next_door, NODE_L], neck)
    assert layout.start.tolist() == (neck.start + np.array([10, 20, 30])).tolist()


def test_a_removal_covers_its_lesion_and_no_more(neck):
    (layout,) = lay_out_removals(asked(op="remove", kind="node", place="IV"), ALL, neck)
    assert layout.mask.shape == (2, 3, 4)
    assert layout.mask.min() == 1.0
    assert layout.start.tolist() == (neck.start + np.array([40, 20, 30])).tolist()
    assert (layout.op, layout.size_mm, layout.reference) == ("remove", 12.0, None)
