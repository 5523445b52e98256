"""Dose of a case: CT with wash and isodose lines beside histogram, judged constraints, what-if and provenance."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from hnvlm.services import CaseRecord, ResultRecord, availability, dose, dose_told, histograms, planning
from hnvlm.services.context import App
from hnvlm.services.histograms import Judged
from hnvlm.types import TARGET_NAMES
from hnvlm.ui import (
    casebar,
    dose_actions,
    dose_tables,
    dvh_plot,
    earlier_uploads,
    frame,
    html,
    jobs,
    picture,
    state,
    template_editor,
)
from hnvlm.ui.errors import guard, handled
from hnvlm.ui.viewer import jump_to
from hnvlm.ui.viewer import show as show_viewer

VIEWER = "dose"
_KEPT_PLOTS = 16
# Remembered of a case, by id: the dose that is shown, the one it is compared with, the newest there was.
_SHOWN, _COMPARED, _NEWEST = "dose-shown", "dose-compared", "dose-newest"


def show(app: App, case: CaseRecord) -> None:
    """Show the pictures on the left and what they mean on the right."""
    items = dose.doses(app, case.id)
    _take_newest(case.id, items)
    left, right = st.columns([6, 5], gap="small")
    with right, frame.column("dose-panel"), guard():
        chosen, other = _controls(app, case, items)
        if chosen is not None:
            _meaning(app, case, chosen, other)
    with left, guard():
        masks = picture.plan_structures(app, case)
        if masks is not None and "dose-aimed" not in state.of_case(case.id):
            _aim(case, masks.masks)
        show_viewer(
            VIEWER,
            [picture.original(app, case)],
            masks=masks,
            dose=picture.dose_of(app, case, chosen) if chosen is not None else None,
            window=picture.window(case),
            height=frame.PLAN_HEIGHT,
            case=case.id,
        )


def selected(app: App, case_id: str) -> ResultRecord | None:
    """Return the dose that is shown now, else the first there is: exports go with it."""
    items = dose.doses(app, case_id)
    wanted = state.of_case(case_id).get(_SHOWN)
    return next((i for i in items if i.id == wanted), items[0] if items else None)


def _aim(case: CaseRecord, masks: dict) -> None:
    """Open on the middle of the highest target, where the dose is."""
    levels = dose.prescriptions(masks)
    if levels:
        hit = masks[next(iter(levels))].any(axis=(1, 2)).nonzero()[0]
        jump_to(VIEWER, int(hit[len(hit) // 2]))
    state.of_case(case.id)["dose-aimed"] = True


def _take_newest(case_id: str, items: Sequence[ResultRecord]) -> None:
    """Select a dose that was made since the last run, and compare it with the one that was shown."""
    newest = max((i.id for i in items), default=0)
    memory = state.of_case(case_id)
    seen = memory.get(_NEWEST)
    if seen is not None and newest > seen:
        made = next(i for i in items if i.id == newest)
        # What was predicted anew from a clinic's dose says nothing beside that dose.
        predicted = next((i.id for i in items if i.slot == dose.PREDICTED), 0)
        memory[_COMPARED] = predicted if made.payload.get("anew") else memory.get(_SHOWN)
        memory[_SHOWN] = newest
    memory[_NEWEST] = newest
    # What stands above the choice, the what-if menu first of all, is about the dose that was chosen just now.
    chosen = st.session_state.get(f"dose-choice-{case_id}-{newest}")
    if chosen in [i.id for i in items]:
        memory[_SHOWN] = chosen


def _controls(
    app: App, case: CaseRecord, items: Sequence[ResultRecord]
) -> tuple[ResultRecord | None, ResultRecord | None]:
    """Show the buttons and which dose is shown; return it and the one to compare with."""
    in_scope = casebar.scope_notice(case)
    reason = availability.why_not(app, "dose")
    busy = bool(app.jobs.active(case.id))
    blocked = reason or ("" if in_scope else "Not a head-and-neck CT: no dose is predicted.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Predict dose",
            key="predict-dose",
            type="secondary" if items else "primary",
            disabled=bool(blocked) or busy,
            on_click=handled(dose_actions.predict),
            args=(app, case.id),
            help=casebar.why_disabled(blocked, busy=busy)
            or "From the contours and the CT; contours the structures first where there are none.",
        )
        with st.popover(
            "What if", disabled=not items, help=None if items else "There is no dose to change yet.",
            key=dose_actions.what_if_key(case.id),
        ):  # fmt: skip
            if items:
                with guard():
                    dose_actions.what_if(app, case, selected(app, case.id) or items[0], blocked, busy)
        with (
            st.popover(
                "Add files",
                help="RTSTRUCT, SEG, RTDOSE or NIfTI of the clinic, made on this CT",
                key=dose_actions.files_key(case.id),
            ),
            guard(),
        ):
            dose_actions.add_files(app, case.id)
    dose_actions.added(case.id)
    earlier_uploads.show(app, case.id)
    if reason:
        st.caption(reason)
    jobs.panel(app, case.id, ["dose"], busy=busy, others=True, elsewhere=["export"])
    if not items:
        if not busy:
            st.caption(
                "No dose yet. Predict dose makes an AI draft from the targets and organs of this case. A dose of your "
                "planning system is shown and judged in the same way: upload RTDOSE and RTSTRUCT together with the CT "
                "on the page Cases, or here with Add files."
            )
        return None, None
    return _pick(case.id, items)


def _pick(case_id: str, items: Sequence[ResultRecord]) -> tuple[ResultRecord, ResultRecord | None]:
    by_id = {i.id: i for i in items}
    memory = state.of_case(case_id)
    if len(items) == 1:
        memory[_SHOWN] = items[0].id
        return items[0], None
    first, second = st.columns(2, gap="small")
    current = memory.get(_SHOWN)
    # Keys with the newest id: a new dose gives new widgets, which take the remembered choice as their start.
    newest = max(by_id)
    ids = list(by_id)
    chosen = first.selectbox(
        "Dose shown",
        ids,
        index=ids.index(current) if current in by_id else 0,
        format_func=lambda i: f"Shown: {dose.label(by_id[i])}",
        key=f"dose-choice-{case_id}-{newest}",
        label_visibility="collapsed",
    )
    memory[_SHOWN] = chosen
    others = [0, *(i for i in ids if i != chosen)]
    before = memory.get(_COMPARED)
    other = second.selectbox(
        "Compared with (dashed)",
        others,
        index=others.index(before) if before in others else 0,
        format_func=lambda i: "Compare with…" if i == 0 else f"Dashed: {dose.label(by_id[i])}",
        key=f"dose-compare-{case_id}-{newest}-{chosen}",
        label_visibility="collapsed",
    )
    memory[_COMPARED] = other
    return by_id[chosen], by_id.get(other)


# ---- what it means --------------------------------------------------------------------------------


def _meaning(app: App, case: CaseRecord, item: ResultRecord, other: ResultRecord | None) -> None:
    judged = histograms.judge(app, item)
    against = histograms.judge(app, other) if other is not None else None
    _marks(app, item, judged)
    if not judged.histograms:
        st.caption(
            "There are no structures, so the dose cannot be judged. Contour them on the page Review, or upload "
            "RTSTRUCT with the CT."
        )
        return
    _plot(app, item, judged, other, against)
    limits, figures, basis = st.tabs(["Constraints", "Figures", "What it rests on"])
    with limits, guard():
        template_editor.choose(app, case.id)
        if planning.load_form(app, case.id).get("prior_neck_rt"):
            st.warning(
                "Previous radiotherapy is stated: these limits are those of a first course, and the dose of the "
                "earlier course is not in these figures."
            )
        dose_tables.constraints(judged, against)
    with figures, guard():
        dose_tables.figures(judged, _fractions(app, item))
    with basis, guard():
        _basis(item, judged)


def _marks(app: App, item: ResultRecord, judged: Judged) -> None:
    """Say what the dose is before any number."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if dose.is_predicted(item):
            st.badge("AI draft, research use only: predicted, not calculated", color="orange")
        else:
            st.badge("Uploaded dose of the clinic", color="gray")
        if item.payload.get("scale_of") is not None or "scaled" in item.payload.get("label", ""):
            st.badge("scaled, not planned anew", color="orange")
        given = dose.in_fractions(app, item)
        unknown = f"prescription not known{given.replace(' in', ',', 1)}"
        full = f"100 % = {judged.prescription_gy:g} Gy{given}" if judged.prescription_gy else unknown
        st.caption(f"{full}; maximum {item.payload['max_gy']:.1f} Gy")
    if dose.is_stale(app, item):
        st.info("The structures were changed after this dose was predicted. Press Predict dose to follow the changes.")
    doubts = dose.doubts(app, item)
    for doubt in doubts:
        (st.error if doubt == item.payload.get("failed") else st.warning)(f"{html.as_written(_sentence(doubt))}.")
    # Of a predicted dose they stand under About; of another they are doubts that come before any number.
    for note in item.payload.get("notes", []) if item.slot == dose.WHAT_IF or not dose.is_predicted(item) else ():
        if note not in doubts:
            st.caption(html.as_written(_sentence(note)))
    mine = sorted(n for n, who in judged.source.items() if who == dose.AI and n in judged.histograms)
    # The structures may be others now: it is told of those that the dose was made from.
    inputs = dose.unscaled(app, item)[0].payload.get("inputs")
    guessed = [n for n in (mine if inputs is None else sorted(n for n, who in inputs.items() if who == dose.AI))
               if n in TARGET_NAMES]  # fmt: skip
    if dose.is_predicted(item) and guessed:
        names = ", ".join(n.replace("_", " ") for n in guessed)
        st.warning(
            f"Targets guessed by the AI from the CT alone ({names}): such a dose is far from what the clinic's targets "
            "give (figures on the page Models). Correct them or upload the clinic's before reading it."
        )
    beyond = [f"{n.replace('_', ' ')} ({histograms.outside(d)})" for n, d in judged.histograms.items()
              if d.partly_outside]  # fmt: skip
    if beyond:
        names = html.as_written("; ".join(beyond))
        st.warning(
            f"The dose grid does not cover all of {names}. What lies outside is drawn as 0 Gy; these structures' "
            "limits are not judged, except where one is exceeded already."
        )
    if mine and not dose.is_predicted(item):
        st.caption(f"Contoured by the AI, not by the clinic: {', '.join(n.replace('_', ' ') for n in mine)}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


@st.cache_resource(max_entries=_KEPT_PLOTS, show_spinner=False)
def _figure(_judged: Judged, _against: Judged | None, made_from: tuple, names: tuple[str, str]) -> go.Figure:
    """Return the plot of one or two doses, kept by what it is made from: making it took a third of a run."""
    return dvh_plot.figure(
        _judged.histograms,
        _against.histograms if _against else None,
        name=names[0],
        other_name=names[1],
        prescription_gy=_judged.prescription_gy,
    )


def _plot(app: App, item: ResultRecord, judged: Judged, other: ResultRecord | None, against: Judged | None) -> None:
    names = (dose.label(item), dose.label(other) if other else "")
    made_from = (str(app.store.path), item.id, other.id if other else 0, dose.structures_version(app, item.case_id),
                 judged.prescription_gy)  # fmt: skip
    st.plotly_chart(
        _figure(judged, against, made_from, names),
        theme=None,
        key=f"dvh-{item.id}-{other.id if other else 0}",
        config={"displayModeBar": False},
    )
    if other is not None:
        st.caption(f"Solid: {dose.label(item)}. Dashed: {dose.label(other)}.")


def _fractions(app: App, item: ResultRecord) -> int | None:
    """Ask what nobody stated of a dose, and return in how many fractions it is given."""
    known = dose.fractions(app, item)
    if item.slot == dose.UPLOADED:
        _ask_the_clinic(app, item, known)
        return known
    if known is not None:
        return known
    return st.number_input(
        "Fractions (for EQD2; not stated with this dose)",
        1,
        80,
        None,
        key=f"dose-fractions-{item.id}",
        placeholder="not known",
        width=260,
    )


def _ask_the_clinic(app: App, item: ResultRecord, assumed: int | None) -> None:
    """Fields for what the files of the clinic's dose do not say; they are kept with the dose."""
    said = dose_told.told(app, item)
    key = f"dose-told-{item.id}"
    gy, number = st.columns(2, gap="small")
    names = dose.structure_names(app, item.case_id)
    if "prescription_gy" in said or dose.top_prescription(app, item, names) is None:
        gy.number_input(
            "Prescription to the highest level (Gy)", 1.0, dose_told.MOST_GY, said.get("prescription_gy"), 0.5,
            key=f"{key}-gy", placeholder="not known", format="%g", on_change=handled(_tell), args=(app, item.id, key),
        )  # fmt: skip
    if item.payload.get("fractions"):
        return
    number.number_input(
        "Fractions (not in the files of this dose)", 1, dose_told.MOST_FRACTIONS, said.get("fractions"),
        key=f"{key}-n", on_change=handled(_tell), args=(app, item.id, key),
        placeholder=f"{assumed}, assumed" if assumed else "not known",
    )  # fmt: skip
    if assumed and "fractions" not in said:
        st.caption(f"{assumed} fractions are those of the draft plan, which prescribes as much. Correct them here.")


def _tell(app: App, item_id: int, key: str) -> None:
    value = st.session_state
    gy, number = value.get(f"{key}-gy"), value.get(f"{key}-n")
    dose_told.tell(app, item_id, prescription_gy=gy, fractions=number, who=state.who())


def _made(item: ResultRecord) -> tuple[str, str]:
    by = f" by {item.who}" if item.who else ""
    return "Made" if dose.is_predicted(item) else "Added", f"{casebar.when(item.created)} UTC{by}"


def _basis(item: ResultRecord, judged: Judged) -> None:
    made = item.provenance or {}
    pairs = [("Dose", dose.label(item)), _made(item)]
    if made.get("model"):
        pairs.append(
            ("Model", f"{made['model']}, version {made['version']}, weights {str(made['weights_sha256'])[:12]}")
        )
    if dose.is_predicted(item):
        pairs.append(("From", "CT and contours" if item.payload.get("from_ct", True) else "contours alone"))
    stated = item.payload.get("prescriptions") or {}
    if stated:
        pairs.append(
            (
                "Targets",
                ", ".join(f"{n.replace('_', ' ')} {gy:g} Gy" for n, gy in sorted(stated.items(), key=lambda v: -v[1])),
            )
        )
    for who, words in ((dose.CLINIC, "Drawn by the clinic"), (dose.AI, "Drawn by the AI")):
        names = [n.replace("_", " ") for n in judged.histograms if judged.source.get(n) == who]
        if names:
            pairs.append((words, ", ".join(names)))
    html.facts(pairs)
    if item.payload.get("notes"):
        html.items(item.payload["notes"])
    st.caption(
        "Each voxel is divided into parts of at most 1.5 mm; the dose is interpolated at the middle of each part."
    )
