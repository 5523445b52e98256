"""What was found, what was drawn, and which results there are, in words a clinician reads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import SHAPE, add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.services import worklist  # noqa: E402
from hnvlm.types import Finding  # noqa: E402
from hnvlm.ui import casebar, edit_facts  # noqa: E402


def findings_page() -> None:
    from hnvlm.types import Finding
    from hnvlm.ui import findings

    reach = {"superior": "skull base", "inferior": "larynx"}
    findings.buttons(
        [
            Finding("node", side="left", level="II", size_mm=22.0, slice_index=7),
            Finding("coverage", attributes=reach),
            Finding("target", side="bilateral", attributes={**reach, "volume_ml": 339.6}),
            Finding("artefact", presence="absent"),
        ],
        "review",
    )


def test_what_has_no_slice_is_a_line_with_what_was_measured_not_a_dead_button() -> None:
    at = AppTest.from_function(findings_page).run()
    assert not at.exception
    assert [(b.label, b.disabled) for b in at.button] == [("Node left level II, 22 mm", False)]
    assert [c.value for c in at.caption] == [
        "Field of view: skull base to larynx (measured)",
        "Likely target region, bilateral: skull base to larynx, 340 ml (measured on the AI's contours)",
        "Not seen: dental artefact.",
    ]


def test_facts_of_a_counterfactual_are_words() -> None:
    assert edit_facts.name_of("max_abs_change_outside_hu") == "Largest change outside the edit"
    assert edit_facts.name_of("changed_ml") == "Changed volume"
    node = {"kind": "node", "place": "II", "score": 0.921, "side": "left", "size_mm": 21}
    mass = {"kind": "mass", "place": "palatine tonsil", "score": 0.807, "side": "right", "size_mm": None}
    assert edit_facts.measured("lesions_after", [node, mass]) == (
        "left node, level II, 21 mm, probability 92 %; right mass, palatine tonsil, probability 81 %"
    )
    drawn = {"kind": "mass", "place": "oral tongue", "side": "midline", "size_mm": 34.0}
    assert edit_facts.measured("contoured", [drawn]) == "midline mass, oral tongue, 34 mm"
    assert edit_facts.measured("lesions_before", []) == "none" and edit_facts.measured("edits", 2) == "2"
    assert ("Place", "level II") in edit_facts.asked_of({"op": "add", "kind": "node", "place": "II"})
    assert ("Place", "larynx") in edit_facts.asked_of({"op": "add", "kind": "mass", "place": "larynx"})


def test_a_side_that_nobody_named_is_not_shown_as_asked() -> None:
    node = {"op": "add", "kind": "node", "place": "II", "side": "left", "size_mm": 20.0}
    one = {"requests": [node | {"text": "Węzeł poziomu II 20 mm"}], **node}
    assert ("Side", "left (not said, chosen by the model)") in edit_facts.asked_of(one)
    assert ("Place", "level II") in edit_facts.asked_of(one)
    said = {"requests": [node | {"text": "node in left level II, 20 mm"}], **node}
    assert ("Side", "left") in edit_facts.asked_of(said)
    every = {"op": "remove", "kind": "node", "place": "V", "side": "right", "text": "remove every node on the right"}
    both = {"requests": [said["requests"][0], every], **node}
    assert dict(edit_facts.asked_of(both))["Command 2"] == ("remove, node, V (not said, chosen by the model), right")
    assert ("Side", "left") in edit_facts.asked_of(node), "an older result has no words of its commands"


def test_how_much_narrower_the_airway_was_asked_is_said() -> None:
    airway = {"op": "add", "kind": "airway", "place": "larynx", "side": None, "size_mm": None, "narrowing_pct": 60.0}
    assert ("Narrowing, %", "60") in edit_facts.asked_of({"requests": [airway], **airway})
    node = {"op": "add", "kind": "node", "place": "II", "side": "left", "size_mm": 18.0, "narrowing_pct": None}
    both = dict(edit_facts.asked_of({"requests": [airway, node], **airway}))
    assert both == {"Command 1": "add, airway, larynx, 60 %", "Command 2": "add, node, II, left, 18 mm"}


def edit_facts_page() -> None:
    from hnvlm.ui import edit_facts

    wish = "Left level III node, 18 mm."
    report = "IMPRESSION: " + "No pathologically enlarged node in the right neck. " * 8 + wish
    edit_facts.show({
        "text": report, "asked": {"op": "add"}, "text_match": {"edits": 1, "understood": [wish]}, "identity": {},
        "edit_box_mm": None, "seconds": 3.0, "seed": 0, "model": "diffusion",
    })  # fmt: skip


def test_of_an_edited_report_the_facts_begin_with_what_was_asked_for() -> None:
    at = AppTest.from_function(edit_facts_page).run()
    assert not at.exception
    first = at.get("html")[0].proto.body
    assert "Left level III node, 18 mm." in first and "No pathologically" not in first
    assert "No pathologically" in texts(at)
    assert [e.label for e in at.expander] == ["Whole text of the request"]
    payload = {"text": "a" * 300, "text_match": {}}
    assert edit_facts.asked_text(payload) == "a" * 300, "an older result does not know its sentences"
    payload = {"text": "Remove the node.", "text_match": {"understood": ["Remove the node"]}}
    assert edit_facts.asked_text(payload) == "Remove the node."


def test_a_removal_that_found_nothing_says_what_was_taken_for_granted() -> None:
    open_side = {"op": "remove", "kind": "node", "place": "II", "side": "left", "text": "Remove the node in level II"}
    told = edit_facts.removed_otherwise({"requests": [open_side]}, {"edits": 0})
    assert told.endswith("Not said and chosen by the model: side: left. Name the side to be sure.")
    named = open_side | {"text": "Remove the node in left level II"}
    told = edit_facts.removed_otherwise({"requests": [named]}, {"edits": 0})
    assert told.endswith("where it is said to be.")


@pytest.mark.parametrize(("side", "words"), [(None, "no side is said, so both are meant"), ("left", "neighbouring")])
def test_more_removed_than_named_says_why(side, words):
    node = {"text": "remove it", "op": "remove", "kind": "node", "place": "II", "side": side}
    assert words in edit_facts.removed_otherwise({"requests": [node]}, {"edits": 2})
    assert edit_facts.removed_otherwise({"requests": [node]}, {"edits": 1}) == ""


@pytest.mark.parametrize("kinds", [("structures",), ("segmentation",), ("segmentation", "structures")])
def test_the_worklist_tells_of_structures_whoever_drew_them(services, kinds) -> None:
    app = services(fakes())
    case_id = add_case(app, "neck phantom")
    for kind in kinds:
        app.store.save_result(case_id, kind, {}, arrays={"masks": {"Larynx": np.ones(SHAPE, bool)}})
    assert worklist.results_of(app, case_id) == ("structures",)


def test_the_worklist_says_the_size_once(services) -> None:
    app = services(fakes())
    z, y, x = SHAPE
    own = app.store.get_case(add_case(app, "left neck, 3 × 2 cm"))
    plain = app.store.get_case(add_case(app, f"CT {x}×{y}×{z}, 1.00×1.00×2.50 mm"))
    assert casebar.described(own) and not casebar.described(plain)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=240).run()
    assert not at.exception
    page = texts(at)
    assert "left neck, 3 × 2 cm" in page and plain.description not in page
    assert f"{x}×{y}×{z}" in page


def test_a_finding_without_extent_has_none() -> None:
    from hnvlm.ui import findings

    assert findings.extent(Finding("mass", side="left")) == ""


def test_an_edit_that_changed_nothing_is_no_synthetic_ct():
    assert edit_facts.unchanged({"identity": {"changed_voxels": 0}})
    assert not edit_facts.unchanged({"identity": {"changed_voxels": 1}})
    assert not edit_facts.unchanged({"identity": {}}), "of an older edit nobody knows"
