"""What the app says of a request before it is drawn, and that just this is handed to the models."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hnvlm.errors import UsageError
from hnvlm.report import render
from hnvlm.report.request_facts import request_facts
from hnvlm.report.request_parse import parse_commands
from hnvlm.services import counterfactual, edit_requests, reporting
from hnvlm.types import Finding
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
            "Add a 12 mm necrotic node in left level II",
            "Understood: add 12 mm node in the left level II (necrotic). "
            "Not as asked: it is drawn solid, as a necrotic core needs 15 mm.",
        ),
        (
            "Add a 15 mm necrotic node in left level II",
            "Understood: add 15 mm node in the left level II (necrotic).",
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
        (
            "18 mm short axis node left level II",
            "Understood: add node in the left level II. Not said: size. "
            "Not as asked: only its short axis is given, 18 mm; give its greatest diameter.",
        ),
        (
            "Left paraspinal node 20 mm",
            "Understood: add 20 mm node on the left. Not said: level. Not as asked: it is not said where, or in words "
            "that are not known; levels IB, II, III, IV and V can be named.",
        ),
        ("No mass. No adenopathy.", "Understood: the neck shall show no lesion."),
        ("hello there", edit_requests.NOT_UNDERSTOOD),
    ],
)
def test_understood(text, said):
    assert edit_requests.understood(text) == said


def test_what_was_typed_is_quoted_without_markup():
    said = edit_requests.understood("Do not remove :red[the](http://x) **left** level II node.")
    assert said.endswith('"Do not remove redthe(http//x) left level II node".')


def test_the_smallest_addition_is_warned_of():
    text = "Add a 22 mm node in left level III and a node in right level II. Add a 7 mm node in left level II."
    assert edit_requests.too_small_to_show(text, (3.0, 1.0, 1.0)).startswith("7 mm is 2.3 voxels")
    assert edit_requests.too_small_to_show("Remove the 4 mm node in left level II", (3.0, 1.0, 1.0)) == ""


def test_the_size_that_is_drawn_is_what_may_be_too_small():
    """Not the asked one where another is drawn, nor one where nothing is drawn; a size in a word is a size."""
    spacing_mm = (2.5, 1.25, 3.9)
    assert edit_requests.too_small_to_show("Add a 0.5 mm node in left level II", spacing_mm).startswith("6 mm is 1.5")
    assert edit_requests.too_small_to_show("Add a 12 mm tumour of the left glottis", spacing_mm) == ""
    assert edit_requests.too_small_to_show("Add a small node in left level III", spacing_mm).startswith("12 mm is 3.1")
    assert edit_requests.too_small_to_show("Add a large node in left level III", spacing_mm) == ""


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
    assert models.text == "remove the right tonsil mass\nAdd a node in left level III, 22 mm", "removals first"


def test_a_request_for_no_change_is_refused():
    with pytest.raises(UsageError, match="asks for no change"):
        edit_requests.to_draw("Do not remove the left level II node.")


HOW = "Say what to add or remove: a node with its level, or a mass with its site."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # The learned reader made a node of level IV, of level V, a removed tonsil mass and a second node of these.
        ("New bone metastasis in C4", f"Nothing can be drawn at 'bone', 'C4'. {HOW}"),
        ("Add a 20 mm skin lesion", f"Nothing can be drawn at 'skin'. {HOW}"),
        ("Tracheostomy tube in place", f"Nothing can be drawn at 'Tracheostomy'. {HOW}"),
        ("left axillary node 2 cm, breast cancer", f"Nothing can be drawn at 'axillary', 'breast'. {HOW}"),
        ("guz nerki lewej 4 cm", f"Nothing can be drawn at 'nerki'. {HOW}"),
        ("Shrink the left level II node", edit_requests.ANOTHER_LESION),
        ("Turn the solid left level II node into a necrotic one", edit_requests.ANOTHER_LESION),
    ],
)
def test_what_is_not_understood_is_not_drawn(text, said):
    assert edit_requests.understood(text) == said
    with pytest.raises(UsageError) as refused:
        edit_requests.to_draw(text)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Right paratracheal adenopathy 15 mm", "nothing can be drawn there; levels IB"),
        ("Węzeł zagardłowy lewy 10 mm", "nothing can be drawn there; levels IB"),
        ("Posterior pharyngeal wall mass 20 mm", "nothing can be drawn there; oral tongue"),
        ("Left paraspinal mass 20 mm", "it is not said where, or in words that are not known; oral tongue"),
        ("Left pterygopalatine fossa mass 18 mm", "nothing can be drawn there; oral tongue"),
        ("guz przestrzeni przygardłowej lewej 35 mm", "nothing can be drawn there; oral tongue"),
        ("Guz dołka językowo-nagłośniowego po lewej 20 mm", "nothing can be drawn there; oral tongue"),
        ("węzeł potyliczny lewy 11 mm", "nothing can be drawn there; levels IB"),
        ("Left retropharyngeal node 12 mm", "nothing can be drawn there; levels IB"),
        ("Level VI node 10 mm", "nothing can be drawn there; levels IB"),
        ("Add a 20 mm node in left level II. Left glottic mass 15 mm", "nothing can be drawn there; oral tongue"),
    ],
)
def test_no_other_place_is_made_up(text, why):
    with pytest.raises(UsageError, match="cannot be drawn") as refused:
        edit_requests.to_draw(text)
    assert why in str(refused.value)


def test_what_is_not_said_where_is_removed_all_the_same():
    assert edit_requests.to_draw("Remove right-sided adenopathy") == "Remove right-sided adenopathy"
    assert edit_requests.to_draw("No mass and no enlarged nodes") == "No mass and no enlarged nodes"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Left level II node 18 mm. Mandible destroyed.",
         'Understood: add 18 mm node in the left level II. Nothing is done for "Mandible destroyed".'),
        ("18 mm node in left level II. No mass. The airway is patent. Muscles are normal.",
         "Understood: add 18 mm node in the left level II. Nothing is done for 3 further sentences."),
        ("There is no left level II node, but there is a right level II node of 18 mm",
         "Understood: add 18 mm node in the right level II. "
         "Not removed, one lesion a command: node in the left level II."),
        ("Remove the left level II and level III nodes",
         "Understood: remove node in the left level II. "
         "Not removed, one lesion a command: node in the left level III."),
        ("Left tonsil mass 30 mm with mandibular invasion",
         "Understood: add 30 mm mass in the left palatine tonsil. Not as asked: mandibular invasion is not drawn."),
        ("Left level II node 18 mm and a bone metastasis",
         "Understood: add 18 mm node in the left level II. Not as asked: bone metastasis is not drawn."),
        ("18 mm node in left level II, no mass",
         "Understood: add 18 mm node in the left level II. "
         "Not as asked: nothing is removed, ask for it in a sentence of its own."),
        ("Left level II node 18 mm without extranodal extension", "Understood: add 18 mm node in the left level II."),
    ],
)  # fmt: skip
def test_what_is_left_out_is_said(text, said):
    assert edit_requests.understood(text) == said


def test_each_command_is_shown_with_its_own_operation():
    node = {"text": "a", "op": "add", "kind": "node", "place": "III", "side": "left", "size_mm": 22.0, "texture": None}
    mass = {"text": "b", "op": "remove", "kind": "mass", "place": "palatine tonsil", "side": "right", "size_mm": None}
    assert edit_facts.asked_of({"requests": [node, mass], **node}) == [
        ("Command 1", "add, node, III, left, 22 mm"),
        ("Command 2", "remove, mass, palatine tonsil, right"),
    ]
    one = edit_facts.asked_of({"requests": [node], **node})
    assert one[:2] == [("Operation", "add"), ("Lesion", "node")]


def test_a_text_that_is_too_long_is_told_before_it_runs():
    text = "Necrotic node in left level II, 22 mm. " * 200
    said = edit_requests.understood(text)
    assert said == f"The request has {len(text.strip())} characters; at most 6000 are read. " + (
        "Leave out what is not to be drawn."
    )
    with pytest.raises(UsageError, match="characters"):
        edit_requests.to_draw(text)
    assert edit_requests.too_small_to_show(text, (30.0, 1.0, 1.0)) == ""


@pytest.mark.parametrize(
    ("commands", "edits", "said"),
    [
        ([("remove", "II")], 1, ""),
        ([("remove", "II")], 0, "No lesion to remove was found"),
        ([("remove", "II"), ("add", "III")], 1, "No lesion to remove was found"),
        ([("remove", "II"), ("remove", "IV"), ("add", "III")], 2, "Only 1 of 2 to remove was found"),
        ([("remove", "II"), ("add", "III")], 3, "2 lesions were removed for 1 named"),
        ([("remove", None)], 3, ""),
        ([("add", "II")], 1, ""),
        ([("none", None)], 0, ""),
    ],
)
def test_more_or_fewer_lesions_removed_than_named_is_said(commands, edits, said):
    asked = {"requests": [{"op": op, "place": place} for op, place in commands]}
    told = edit_facts.removed_otherwise(asked, {"edits": edits})
    assert told.startswith(said) if said else told == ""
    assert edit_facts.removed_otherwise(asked, {}) == ""


def test_an_addition_that_is_not_seen_is_said():
    node = {"op": "add", "kind": "node", "place": "IV", "side": "right"}
    there = {"kind": "node", "place": "IV", "side": "right", "score": 0.9}
    other = {"kind": "node", "place": "IV", "side": "left", "score": 0.9}
    asked = {"requests": [{"op": "remove", "place": "V"}, node]}
    told = edit_facts.added_unseen(asked, {"lesions_after": [other]})
    assert told.startswith("Not seen in the result where it was asked for: node, IV, right.")
    assert edit_facts.added_unseen(asked, {"lesions_after": [other, there]}) == ""
    # A side that was not named is drawn by lot.
    assert edit_facts.added_unseen(node | {"side": None}, {"lesions_after": [other]}) == ""
    assert edit_facts.added_unseen(asked, {}) == edit_facts.added_unseen({"op": "none"}, {"lesions_after": []}) == ""


def test_who_edits_the_report_asks_for_what_he_changed():
    found = [
        Finding("mass", site="palatine tonsil", side="right", size_mm=30.0),
        Finding("node", level="II", side="right", size_mm=26.0, attributes={"texture": "necrotic"}),
        Finding("airway", site="oropharynx", side="right", attributes={"narrowing_pct": 35.0}),
    ]
    for language, more in (("en", "Left level III node, 18 mm."), ("pl", "Węzeł 18 mm w grupie III po lewej.")):
        report = render(found, language=language)
        known = {command.text for command in parse_commands(report)}
        assert edit_requests.to_draw(f"{report}\n{more}", known) == more
        said = edit_requests.understood(f"{report}\n{more}", known)
        assert said.startswith("Understood: add 18 mm node in the left level III. What the report says already")
        assert edit_requests.understood(report, known).startswith("Understood: no change is asked for.")
        with pytest.raises(UsageError, match="asks for no change"):
            edit_requests.to_draw(report, known)
        # Without a report of the case each lesion is drawn once; the impression adds none.
        assert len(edit_requests.to_draw(report).splitlines()) == 4


def test_the_newest_reports_of_a_case_are_what_is_known(app, case_id):
    assert counterfactual.known_sentences(app, case_id) == frozenset()
    text = "Right level II node, 26 mm."
    reporting.save_edit(app, case_id, text, who="A")
    assert counterfactual.known_sentences(app, case_id) == {text}
    with pytest.raises(UsageError, match="asks for no change"):
        counterfactual.start(app, case_id, text)
    assert app.jobs.active(case_id) == []


def test_the_place_that_is_shown_is_a_change_and_not_between_two():
    difference = np.zeros((12, 20, 30), np.int16)
    difference[1:4, 2:5, 2:5] = -40
    difference[7:11, 14:19, 22:28] = 60
    z, y, x = counterfactual.most_changed(difference, (10, 100, 200, 22, 120, 230))
    assert difference[z - 10, y - 100, x - 200] == 60


@pytest.mark.parametrize(
    "text",
    [
        "Complete response", "Show the neck after complete remission.", "No evidence of residual disease.",
        "Remove everything", "Remove all disease.", "Całkowita remisja",
    ],
)  # fmt: skip
def test_words_for_a_clear_neck(text):
    assert edit_requests.understood(text) == "Understood: the neck shall show no lesion."


@pytest.mark.parametrize("text", ["Partial response", "No complete response", "Incomplete response", "Progression"])
def test_words_for_disease_that_stays(text):
    assert edit_requests.understood(text) == edit_requests.NOT_UNDERSTOOD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # The first of these added a node, the second was drawn on a side taken by lot.
        ("remvoe the left level II node", "Not understood: 'remvoe'. Did you mean 'remove'?"),
        ("lef level II node 15 mm", "Not understood: 'lef'. Did you mean 'left'?"),
        ("Left tosnil mass 3 cm. Right tosnil mass 2 cm.", "Not understood: 'tosnil'. Did you mean 'tonsil'?"),
        ("left tosnil mas 3 cm", "Not understood: 'tosnil', 'mas'. Did you mean 'tonsil', 'mass'?"),
        ("guz migdłaka prawego 30 mm", "Not understood: 'migdłaka'. Did you mean 'migdałka'?"),
    ],
)
def test_a_misspelt_word_is_asked_about_and_not_guessed(text, said):
    assert edit_requests.understood(text) == f"{said} Nothing is drawn until it is put right or left out."
    with pytest.raises(UsageError) as refused:
        edit_requests.to_draw(text)
    assert str(refused.value) == edit_requests.understood(text)


def test_a_slip_in_a_sentence_that_is_not_acted_upon_is_told_with_it():
    text = "Add a 15 mm node in left level II. remvoe the tosnil mas"
    assert edit_requests.understood(text) == (
        'Understood: add 15 mm node in the left level II. Nothing is done for "remvoe the tosnil mas". '
        "Did you mean 'remove', 'tonsil', 'mass'?"
    )


def test_a_slip_in_the_report_is_no_matter_of_the_request():
    text = "Left levl node 15 mm."
    assert edit_requests.understood(text, {text}).startswith("Understood: no change is asked for.")
    assert edit_requests.to_draw(f"{text}\nRemove the left level II node.", {text}) == "Remove the left level II node."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("left level II node 12 mm (13 mm)", "several sizes are given, 12 and 13 mm; give one"),
        ("węzeł w grupie II po lewej 12 lub 15 mm", "several sizes are given, 12 and 15 mm; give one"),
        ("mass in the right > left tonsil 3 cm", "left and right are both named; name one, or ask for each in a"),
        ("remove the right tonsil mass on the left", "left and right are both named; name one, or ask for each in a"),
    ],
)
def test_what_is_left_open_is_not_decided_for_the_clinician(text, why):
    with pytest.raises(UsageError, match="cannot be drawn") as refused:
        edit_requests.to_draw(text)
    assert why in str(refused.value)
    assert why in edit_requests.understood(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("left level II node 12-15 mm",
         "Understood: add 15 mm node in the left level II. Not as asked: of 12 to 15 mm the greater is drawn."),
        ("left level II-III node 22 mm",
         "Understood: add 22 mm node in the left level II. Not as asked: it is drawn in level II alone, not in III."),
        ("remove the nodes on the left", "Understood: remove every node on the left."),
        ("No adenopathy.", "Understood: remove every node."),
        ("No nodes. Airway patent.", "Understood: remove every node; remove every airway narrowing."),
    ],
)  # fmt: skip
def test_what_is_chosen_is_said(text, said):
    assert edit_requests.understood(text) == said


def test_a_clear_neck_in_several_sentences_is_one_line_for_the_models():
    """Read on its own, "No adenopathy" would leave the masses."""
    for text in ("No mass. No adenopathy.", "Normal neck. No adenopathy.", "Brak guza. Brak węzłów."):
        line = edit_requests.to_draw(text)
        assert "\n" not in line
        assert request_facts(line)["op"] == "none"
    assert request_facts("No adenopathy.")["op"] == "remove"
