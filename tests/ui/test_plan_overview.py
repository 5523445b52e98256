"""The overview of a drafted plan says what the plan text says: nothing left out, nothing without its meaning."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from ui.page_text import texts

from hnvlm.plan import draft_plan
from hnvlm.types import Finding

FORM = {
    "site": "oropharynx", "p16": "positive", "side": "left", "tumour_size_mm": 38, "nodes_n_pos": 1,
    "nodes_laterality": "ipsilateral", "nodes_max_mm": 22, "histology": "squamous_cell_carcinoma",
    "setting": "definitive", "distant": False,
}  # fmt: skip
NODE = Finding("node", side="left", level="II", size_mm=22.0, certainty="probable", slice_index=3)
# Gy; the mandible and one parotid are above their limits, the brainstem is not.
DOSE = {
    "Brainstem": {"Dmax": 46.7}, "SpinalCord": {"Dmax": 38.3, "D0.03cc": 35.9},
    "Bone_Mandible": {"D0.03cc": 73.8, "Dmax": 73.9}, "Parotid_L": {"Dmean": 61.0}, "Parotid_R": {"Dmean": 21.5},
}  # fmt: skip


def overview(plan: dict, signed: bool) -> None:
    from hnvlm.ui import plan_view

    plan_view.show(plan, signed=signed)


def drafted(form: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return draft_plan([NODE], FORM if form is None else form, **options).to_json()


def shown(plan: dict[str, Any], *, signed: bool = False) -> AppTest:
    at = AppTest.from_function(overview, kwargs={"plan": plan, "signed": signed}, default_timeout=240).run()
    assert not at.exception, [e.message for e in at.exception]
    return at


def test_status_of_a_regimen_is_explained_below_the_table() -> None:
    plan = drafted()
    assert {s["status"] for s in plan["systemic"]} == {"alternative"}
    page = texts(shown(plan))
    assert "Alternative: belongs to another way to treat, instead of the one drafted and not added to it." in page
    assert "Conditional:" not in page, "only what stands in the table is explained"
    plan["systemic"][0]["to_choose"] = True
    page = texts(shown(plan))
    assert ">to choose from<" in page and "the drafted treatment takes one of these" in page


def test_alternative_schemes_and_findings_are_in_the_overview_too() -> None:
    plan = drafted()
    (other,) = plan["prescription"]["alternatives"]
    assert [v["dose_gy"] for v in other["levels"]] == [70, 61.25, 56]
    page = texts(shown(plan))
    assert "70 / 61.25 / 56 Gy in 35 fractions, 5 fractions a week" in page
    assert "Node, left level II, 22 mm, probable (slice 4)" in page
    assert "PTV 7000" in page and "PTV_7000" not in page


def test_a_category_that_may_change_and_where_the_form_asks_for_it() -> None:
    page = texts(shown(drafted()))
    assert "could become T3, T4, see the open questions" in page
    assert "Structures invaded (form: Primary): T2 could become T3, T4" in page
    assert "ECOG performance status (form: Patient): decides" in page


@pytest.mark.parametrize(
    ("form", "words"), [({}, "no table yet: the primary site is not known"), (None, "table of oro")]
)
def test_without_a_site_the_staging_says_so(form, words) -> None:
    page = texts(shown(drafted(form)))
    assert words in page and "no site yet" not in page


def test_limits_not_met_come_first_and_what_is_not_judged_gives_its_reason() -> None:
    at = shown(drafted(dose_metrics=DOSE, structures=dict.fromkeys([*DOSE, "Larynx"])))
    (table,) = [h.proto.body for h in at.get("html") if "Protects from" in h.proto.body and "Status" in h.proto.body]
    rows = [row for row in table.split("<tr")[2:] if "<td" in row]
    states = ["NOT met" in row for row in rows]
    assert any(states) and not all(states) and states == sorted(states, reverse=True)
    assert "at least one gland" in table


def test_without_a_dose_the_limits_stand_without_empty_columns() -> None:
    at = shown(drafted())
    bodies = [h.proto.body for h in at.get("html") if "Protects from" in h.proto.body]
    assert bodies and all("<th class=keep>Status" not in b and "not evaluable" not in b for b in bodies)


def test_a_note_is_no_warning_and_a_signed_plan_was_reviewed() -> None:
    plan = drafted()
    said = "Draft not reviewed by a clinician"
    at = shown(plan)
    assert said in texts(at)
    order = [m.value for m in at.markdown]
    assert any("Note" in m for m in order)
    assert said not in texts(shown(plan, signed=True))


def test_a_rule_that_the_text_broke_does_not_count_as_agreeing() -> None:
    plan = drafted()
    silent = [c for c in plan["checks"] if c["status"] == "not_evaluated"]
    itself = sum("reason" in c["details"] for c in silent)
    waiting, agree = len(silent) - itself, sum(c["status"] == "pass" for c in plan["checks"])
    said = f"{waiting} could not be checked because facts are missing"
    # What an edited text states is not asked of a draft, so three rules agree or disagree only once it is edited.
    assert {"fid_negated", "fid_hedged", "fid_unsupported"} <= {c["id"] for c in silent if "reason" in c["details"]}
    assert f"{agree} rules agree; {said}; {itself} would compare the draft with itself." in texts(shown(plan))
    plan["text_checks"] = [
        {"id": "fid_negated", "status": "pass", "message": "", "details": {}},
        {"id": "fid_unsupported", "status": "fail", "message": "Line 3 states it", "details": {"severity": "block"}},
    ]
    page = texts(shown(plan))
    assert f"{agree + 1} rules agree; {said}; {itself - 2} would compare" in page and "Line 3 states it" in page
