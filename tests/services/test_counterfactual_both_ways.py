"""A request that adds a lesion and takes one away at the same place says so, and what it draws is well defined."""

from __future__ import annotations

import pytest

from hnvlm.services import counterfactual, edit_requests

ADDED = "22 mm node in the left level II"
REMOVED = (
    f"Both added and removed: {ADDED}. A removal takes away what the CT shows and is done first; what is added is "
    "drawn after it and stays."
)
DENIED = f"Both added and denied: {ADDED}. What is added is drawn; nothing is removed there."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Necrotic node in left level II, 22 mm. No node in left level II.", REMOVED),
        ("Remove the node in left level II. Add a 22 mm node in left level II.", REMOVED),
        ("Node in left level II, 22 mm. The node in left level II has resolved.", REMOVED),
        ("Node in left level II, 22 mm. No node in level II.", REMOVED),
        ("Necrotic node in left level II, 22 mm. No nodes on the left.", REMOVED),
        ("Węzeł martwiczy w grupie II po lewej, 22 mm. Brak węzłów w grupie II po lewej.", REMOVED),
        ("Necrotic node in left level II, 22 mm, no node in left level II.", DENIED),
        ("Node in left level II, 22 mm, no node in left level II. Remove the node in left level II.", REMOVED),
    ],
)
def test_a_lesion_both_added_and_taken_away_is_told_before_it_is_drawn(text, said):
    assert edit_requests.both_ways(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "Necrotic node in left level II, 22 mm. Remove the node in left level III.",
        "Necrotic node in left level II, 22 mm. No node in right level II.",
        "Mass of the right palatine tonsil, 30 mm. No nodes on the right.",
        "Necrotic node in left level II, 22 mm. No other enlarged nodes.",
        "Remove all nodes. Add a 22 mm node in left level II.",
        "Add a node in level II on the left but not on the right, 20 mm",
        "Left level VI node 22 mm. No node in left level VI.",
        "lef level II node 22 mm. No node in level II.",
        "Remove the node in left level II",
        "",
    ],
)
def test_what_lies_apart_or_is_refused_or_is_said_of_the_whole_neck_contradicts_nothing(text):
    assert edit_requests.both_ways(text) == ""


def test_what_the_report_says_already_is_no_contradiction():
    denied = "No node in left level II."
    text = f"{denied} Necrotic node in left level II, 22 mm."
    assert edit_requests.both_ways(text) == REMOVED
    assert edit_requests.both_ways(text, {denied}) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Add a 22 mm node in left level II. Remove the node in left level II.",
        "Remove the node in left level II. Add a 22 mm node in left level II.",
    ],
)
def test_a_removal_is_done_before_it_could_cut_into_what_is_added(text):
    first, second = edit_requests.to_draw(text).splitlines()
    assert first.startswith("Remove") and second.startswith("Add")


def test_the_note_is_kept_with_the_edit(app, case_id):
    both = "Necrotic node in left level II, 22 mm. No node in left level II."
    assert counterfactual.run_for_case(app, case_id, both).payload["both_ways"] == REMOVED
    assert counterfactual.run_for_case(app, case_id, "Node in left level II, 22 mm").payload["both_ways"] == ""
