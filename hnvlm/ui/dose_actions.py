"""What can be done with the dose of a case: predict one, add the clinic's files, ask what if."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from hnvlm.errors import HnvlmError
from hnvlm.services import CaseRecord, ResultRecord, dose, rt_upload, target_levels
from hnvlm.services.context import App
from hnvlm.services.what_if import SCALE_RANGE, WhatIf, why_not_dropped, words
from hnvlm.ui import casebar, html, jobs, state
from hnvlm.ui.errors import handled

# Remembered of a case: how often files were added, what became of them, how often something was asked.
_FILES_ROUND, _SAID, _ASKED_ROUND = "files-round", "files-said", "what-if-round"
SIDES = {"none": "no", "left": "left", "right": "right"}


def files_key(case_id: str) -> str:
    """Key of the menu and the upload in it: another one after each upload, which closes the menu."""
    return f"rt-{case_id}-{state.of_case(case_id).setdefault(_FILES_ROUND, 0)}"


def what_if_key(case_id: str) -> str:
    """Key of the what-if menu: another one after each question, so that it closes and the answer is seen."""
    return f"what-if-{case_id}-{state.of_case(case_id).get(_ASKED_ROUND, 0)}"


def add_files(app: App, case_id: str) -> None:
    """Take in structures and dose that were made on this CT."""
    st.caption("Structures (RTSTRUCT, SEG, <Structure>.nii.gz) and dose (RTDOSE, dose.nii.gz) made on this CT. An "
               "RTSTRUCT replaces the structures uploaded before; SEG and masks are added to them and replace those of "
               "the same name. The page then offers the way back.")  # fmt: skip
    files = st.file_uploader("Structures and dose", accept_multiple_files=True, key=f"{files_key(case_id)}-files",
                             label_visibility="collapsed")  # fmt: skip
    if not files:
        return
    memory = state.of_case(case_id)
    memory[_FILES_ROUND] += 1
    try:
        saved, notes = rt_upload.attach(app, case_id, [(f.name, f) for f in files], who=state.who())
        said = [f"Added: {' and '.join(r.kind for r in saved)}.", *notes]
        memory[_SAID] = ("", said)
    except HnvlmError as error:
        memory[_SAID] = (error.message, [])
    st.rerun()


def added(case_id: str) -> None:
    """Say what became of the files, once."""
    problem, said = state.of_case(case_id).pop(_SAID, ("", []))
    if problem:
        st.error(html.as_written(problem))
    for line in said:
        st.caption(html.as_written(line))


def predict(app: App, case_id: str) -> None:
    """Start a prediction."""
    if jobs.refused(app, case_id, "Predict dose"):
        return
    jobs.started(dose.start_predict(app, case_id, who=state.who()))


def what_if(app: App, case: CaseRecord, item: ResultRecord, blocked: str, busy: bool) -> None:
    """Show what can be changed about a dose."""
    names = dose.structure_names(app, case.id)
    levels, top = list(target_levels.by_level(names)), dose.top_prescription(app, item, names)
    kept = dose.kept(app, item)
    key = f"whatif-{case.id}-{item.id}"
    st.caption(f"Changes to: {dose.label(item)}")
    if kept.predicts:
        st.caption(f"Stays as it is in this dose: {words(replace(kept, prescription_gy=None))}.")
    if top is not None:
        low, high = (round(f * top, 1) for f in SCALE_RANGE)
        gy, number = st.columns(2, gap="small")
        gy.number_input("Highest level (Gy)", low, high, float(top), 0.5, key=f"{key}-gy", format="%g")
        # What the draft only makes likely for the clinic's dose is not put into anybody's mouth.
        known = dose.fractions(app, item) if dose.is_predicted(item) else dose.stated_fractions(app, item)
        number.number_input("Fractions", 1, 80, known, key=f"{key}-n", placeholder="not known")
    else:
        st.caption(f"The prescription of this dose is not known: {dose.why_unknown(app, item)}. {dose.TELL_IT}")
    lower = [name for name in levels[1:] if name not in kept.drop]
    st.multiselect(
        "Leave out target levels", lower, key=f"{key}-drop", placeholder="none", disabled=bool(blocked) or not lower
    )
    if levels:
        st.caption(f"{why_not_dropped(levels[0])}.")
    st.segmented_control(
        "Spare one side of the neck",
        list(SIDES),
        format_func=SIDES.get,
        default=kept.spare or "none",
        required=True,
        key=f"{key}-side",
        disabled=bool(blocked) or kept.spare is not None,
    )
    st.caption(
        "A new prescription scales this dose: the shape stays, so a plan made for it would differ. Leaving "
        "targets out, or cutting the lower target levels at the midline on one side, predicts the dose anew. Gross "
        "disease is never cut."
    )
    if not dose.is_predicted(item):
        st.caption(
            "This dose is the clinic's: what is predicted anew is not made from it. Compare it with a predicted dose "
            "(Predict dose), not with what was planned."
        )
    if blocked:
        st.caption(f"Only scaling is possible. {blocked}")
    st.button(
        "Show it beside this dose",
        type="primary",
        key=f"{key}-go",
        disabled=busy or (top is None and bool(blocked)),
        help=casebar.why_disabled(blocked if top is None else "", busy=busy),
        on_click=handled(_ask),
        args=(app, case.id, item.id, key, top),
    )


def _ask(app: App, case_id: str, base_id: int, key: str, top: float | None) -> None:
    if jobs.refused(app, case_id, "Show it beside this dose"):
        return
    value = st.session_state
    wanted, number = value.get(f"{key}-gy"), value.get(f"{key}-n")
    side = value.get(f"{key}-side")
    changed = wanted if top is None or wanted is None or abs(wanted - top) > 0.05 else None
    before = dose.kept(app, app.store.get_result(base_id)).spare
    spare = side if side in ("left", "right") and side != before else None
    what_if = WhatIf(changed, number, tuple(value.get(f"{key}-drop") or ()), spare)
    if what_if.predicts:
        jobs.started(dose.start_predict(app, case_id, what_if=what_if, base_id=base_id, who=state.who()))
    else:
        dose.scale(app, base_id, what_if, who=state.who())
    # Not reached by a question that is refused: what was entered stays open.
    memory = state.of_case(case_id)
    memory[_ASKED_ROUND] = memory.get(_ASKED_ROUND, 0) + 1
