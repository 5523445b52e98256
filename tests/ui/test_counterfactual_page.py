"""The page Counterfactual: its list of earlier edits, its warnings, what it shows of an edit that changed nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import open_page, texts  # noqa: E402

from hnvlm.services import counterfactual  # noqa: E402
from hnvlm.ui import edit_facts, viewer  # noqa: E402

WISH = "Remove the node in left level IV"
BOTH = "Necrotic node in left level II, 22 mm. No node in left level II."
pytestmark = pytest.mark.usefixtures("through_the_entry_script")


@pytest.fixture
def panes(monkeypatch) -> list[str]:
    """Names of the series that the page last gave to the viewer."""
    shown: list[str] = []

    def show(key, series, **options) -> None:
        shown[:] = [one.name for one in series]

    monkeypatch.setattr(viewer, "show", show)
    return shown


def choices(at: AppTest) -> list[str]:
    return next(s for s in at.selectbox if s.label.startswith("Counterfactuals of this case")).options


def test_in_the_list_of_edits_the_words_come_first_and_the_time_last(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    made = counterfactual.run_for_case(app, case_id, WISH)
    (choice,) = choices(open_page(case_id, "counterfactual"))
    assert choice.startswith(f"1. {WISH}  ") and choice.endswith(made.created[11:16])


def test_in_the_list_of_edits_no_mark_turns_the_time_around(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    made = counterfactual.run_for_case(app, case_id, f"{WISH}\n\N{RIGHT-TO-LEFT OVERRIDE}.")
    (choice,) = choices(open_page(case_id, "counterfactual"))
    assert choice.startswith(f"1. {WISH} .  ") and choice.endswith(made.created[11:16])


def test_of_an_edited_report_the_list_shows_what_was_asked_for(services, monkeypatch) -> None:
    app = services(models := fakes())
    case_id = add_case(app)
    draw = models.counterfactual

    def read(volume, text, **options):
        return replace(draw(volume, text, **options), text_match={"understood": text.splitlines()})

    monkeypatch.setattr(models, "counterfactual", read)
    counterfactual.run_for_case(app, case_id, "The airway is patent. " * 20 + WISH)
    (choice,) = choices(open_page(case_id, "counterfactual"))
    assert choice.startswith(f"1. {WISH}  ")


def test_a_lesion_both_added_and_denied_is_warned_of_before_and_beside_the_result(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    at = open_page(case_id, "counterfactual")
    at.text_area(key=f"wish-{case_id}").set_value(BOTH).run()
    assert "Both added and removed: 22 mm node in the left level II" in " ".join(c.value for c in at.caption)
    counterfactual.run_for_case(app, case_id, BOTH)
    at.run()
    assert "Both added and removed: 22 mm node in the left level II" in " ".join(m.value for m in at.markdown)


def test_an_edit_that_changed_nothing_has_no_synthetic_pane(services, monkeypatch, panes) -> None:
    app = services(models := fakes())
    case_id = add_case(app)
    counterfactual.run_for_case(app, case_id, WISH)
    at = open_page(case_id, "counterfactual")
    assert panes == ["Original", "Synthetic"] and [t.key for t in at.toggle] == ["difference"]
    draw = models.counterfactual

    def nothing(volume, text, **options):
        return replace(draw(volume, text, **options), volume=volume, identity={"changed_voxels": 0})

    monkeypatch.setattr(models, "counterfactual", nothing)
    counterfactual.run_for_case(app, case_id, WISH)
    at = open_page(case_id, "counterfactual")
    assert panes == ["Original"] and not at.toggle
    assert edit_facts.UNCHANGED in texts(at)


# ---- asked against measured ------------------------------------------------------------------

NODE = {"op": "add", "kind": "node", "place": "II", "side": "left", "size_mm": 30.0}
SEEN = {"kind": "node", "place": "II", "side": "left", "score": 0.9}


def test_the_size_asked_for_stands_beside_the_one_that_is_measured() -> None:
    match = {"lesions_before": [], "lesions_after": [SEEN | {"size_mm": 39}, SEEN | {"side": "right", "size_mm": 30}]}
    assert edit_facts.sizes(NODE, match) == [("Size of left node, level II", "30 mm asked, 39 mm measured")]
    assert edit_facts.sized_otherwise(NODE, match) == (
        "Not the size that was asked for, by more than 3 mm and 20 % of what is measured: left node, level II, "
        "30 mm asked, 39 mm measured."
    )
    near = {"lesions_after": [SEEN | {"size_mm": 36}]}
    assert edit_facts.sizes(NODE, near) and edit_facts.sized_otherwise(NODE, near) == ""


@pytest.mark.parametrize("where", ["lesions_before", "contoured"])
def test_a_lesion_that_was_there_before_may_be_what_is_measured(where) -> None:
    match = {where: [SEEN | {"size_mm": 24}], "lesions_after": [SEEN | {"size_mm": 39}]}
    assert edit_facts.sized_otherwise(NODE, match).endswith("that one or both may be what is measured.")
    gone = {"requests": [NODE | {"op": "remove", "size_mm": None}, NODE]}
    assert edit_facts.sized_otherwise(gone, match).endswith("39 mm measured."), "it was to be removed"


def test_of_several_lesions_at_one_place_nobody_knows_which_was_drawn() -> None:
    match = {"lesions_after": [SEEN | {"size_mm": 24}, SEEN | {"size_mm": 31}]}
    assert edit_facts.sizes(NODE, match) == [("Size of left node, level II", "30 mm asked, 24 and 31 mm measured")]
    assert edit_facts.sized_otherwise(NODE, match) == ""


@pytest.mark.parametrize(
    "asked",
    [
        NODE | {"size_mm": None},
        NODE | {"size_mm": 34.0, "text": "Large node in left level II"},
        NODE | {"op": "remove"},
        NODE | {"place": "III"},
        NODE | {"side": "right"},
        {"op": "none"},
    ],
)
def test_a_size_that_was_not_asked_or_is_not_measured_is_not_compared(asked) -> None:
    match = {
        "lesions_before": [],
        "lesions_after": [SEEN | {"size_mm": 39}, SEEN | {"kind": "airway", "size_mm": None}],
    }
    assert edit_facts.sizes(asked, match) == [] and edit_facts.sized_otherwise(asked, match) == ""
    assert edit_facts.sizes(asked, {"found": True}) == [], "an older edit does not know its lesions"
