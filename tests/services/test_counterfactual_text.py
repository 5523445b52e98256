"""What the app says of a request before it is drawn, and that just this is handed to the models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hnvlm.errors import UsageError
from hnvlm.services import counterfactual
from hnvlm.ui import edit_facts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("Necrotic node in left level II, 22 mm", "Understood: add 22 mm node in the left level II (necrotic)."),
        ("add a node in level II", "Understood: add node in level II. Not said: side, size."),
        (
            "add a 22 mm necrotic node in left level III, remove the tonsil mass",
            "Understood: add 22 mm node in the left level III (necrotic); "
            "remove mass in the palatine tonsil (not said: side).",
        ),
        (
            "add a 3 cm right tonsil cancer with a left level II node, 15 mm",
            "Understood: add 30 mm mass in the right palatine tonsil. "
            "Not drawn, one lesion a command: 15 mm node in the left level II.",
        ),
        (
            "add a 4 mm node in left level II",
            "Understood: add 4 mm node in the left level II. "
            "Not as asked: it is drawn with 6 mm, as 6 to 45 mm can be drawn.",
        ),
        (
            "add a 12 mm node in left level VI",
            "Understood: add 12 mm node in the left level VI. "
            "Not as asked: nothing can be drawn there; levels IB, II, III, IV and V can be.",
        ),
        (
            "Do not remove the left level II node.",
            'Understood: no change is asked for. Nothing is done for "Do not remove the left level II node".',
        ),
        (
            "Add a 22 mm node in left level III. Shrink the right level II node.",
            'Understood: add 22 mm node in the left level III. Nothing is done for "Shrink the right level II node".',
        ),
        ("No mass. No adenopathy.", "Understood: the neck shall show no lesion."),
        ("hello there", counterfactual.NOT_UNDERSTOOD),
    ],
)
def test_understood(text, said):
    assert counterfactual.understood(text) == said


def test_what_was_typed_is_quoted_without_markup():
    said = counterfactual.understood("Do not remove :red[the](http://x) **left** level II node.")
    assert said.endswith('"Do not remove redthe(http//x) left level II node".')


def test_the_smallest_addition_is_warned_of():
    text = "Add a 22 mm node in left level III and a node in right level II. Add a 7 mm node in left level II."
    assert counterfactual.too_small_to_show(text, (3.0, 1.0, 1.0)).startswith("7 mm is 2.3 voxels")
    assert counterfactual.too_small_to_show("Remove the 4 mm node in left level II", (3.0, 1.0, 1.0)) == ""


class _Listener:
    """Models that keep what they are asked to draw."""

    def __init__(self) -> None:
        self.text = None

    def counterfactual(self, volume, text, **options):
        self.text = text


def test_just_the_commands_that_are_listed_are_drawn():
    models, analysis = _Listener(), SimpleNamespace(require_scope=lambda: None, segmentation=None)
    text = "Add a node in left level III, 22 mm, remove the right tonsil mass; do not touch the left level II node."
    counterfactual.run(models, None, text, analysis)
    assert models.text == "Add a node in left level III, 22 mm\nremove the right tonsil mass"


def test_a_request_for_no_change_is_refused():
    with pytest.raises(UsageError, match="asks for no change"):
        counterfactual.run(_Listener(), None, "Do not remove the left level II node.", SimpleNamespace())


def test_each_command_is_shown_with_its_own_operation():
    node = {"text": "a", "op": "add", "kind": "node", "place": "III", "side": "left", "size_mm": 22.0, "texture": None}
    mass = {"text": "b", "op": "remove", "kind": "mass", "place": "palatine tonsil", "side": "right", "size_mm": None}
    assert edit_facts.asked_of({"requests": [node, mass], **node}) == [
        ("Command 1", "add, node, III, left, 22 mm"),
        ("Command 2", "remove, mass, palatine tonsil, right"),
    ]
    one = edit_facts.asked_of({"requests": [node], **node})
    assert one[:2] == [("Operation", "add"), ("Lesion", "node")]
