"""What the viewer shows of a stored case. Structures and synthetic volumes are kept between runs."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from hnvlm.imaging.volume import Volume
from hnvlm.services import CaseRecord, ResultRecord, analysis, counterfactual
from hnvlm.services import dose as dose_service
from hnvlm.services.context import App
from hnvlm.services.palette import UPLOADED_PREFIX
from hnvlm.types import Finding
from hnvlm.ui import findings as finding_words
from hnvlm.ui.viewer import Box, Dose, Overlay, Series

# One large CT has about 100 MB; more than a few must not stay in memory.
_KEEP = 3


def window(case: CaseRecord) -> tuple[float, float] | None:
    """Return the window the scanner stored (centre, width), or None."""
    centre, width = case.meta.get("window_centre"), case.meta.get("window_width")
    return (float(centre), float(width)) if centre is not None and width else None


def original(app: App, case: CaseRecord, name: str = "CT") -> Series:
    """Return the CT of a case for the viewer; the file stays on disk until the viewer wants it."""
    # Said in the picture too: what is burnt into it lies outside of what is shown first.
    state = "SYNTHETIC" if case.synthetic else None
    return Series(app.store.load_volume(case.id), name, state=state, content_id=case.content_hash)


def structures(app: App, case: CaseRecord) -> Overlay | None:
    """Return the structures of a case (the models' and uploaded ones), or None when there are none."""
    ids = [
        result.id
        for kind in ("segmentation", "structures")
        if (result := app.store.latest_result(case.id, kind)) is not None
    ]
    if not ids:
        return None
    overlay = _overlay(app, str(app.store.path), case.id, tuple(ids))
    return overlay if overlay.masks else None


@st.cache_resource(max_entries=_KEEP, show_spinner=False)
def _overlay(_app: App, store: str, case_id: str, result_ids: tuple[int, ...]) -> Overlay:
    masks = analysis.load_masks(_app, case_id)
    sources = {name: dose_service.CLINIC if name.startswith(UPLOADED_PREFIX) else dose_service.AI for name in masks}
    return Overlay(masks, content_id=f"{store}:{result_ids}", sources=sources)


def dose(app: App, case: CaseRecord) -> Dose | None:
    """Return the dose of a case: the clinic's, else the predicted one; None without any."""
    found = [d for d in dose_service.doses(app, case.id) if d.slot != dose_service.WHAT_IF]
    return dose_of(app, case, found[0]) if found else None


def dose_of(app: App, case: CaseRecord, result: ResultRecord) -> Dose:
    """Return one dose of a case for the viewer, 100 % at its highest prescription."""
    names = dose_service.structure_names(app, case.id)
    state = "AI draft, predicted" if dose_service.is_predicted(result) else "uploaded"
    if result.slot == dose_service.WHAT_IF:
        state = f"what-if, {'scaled' if state == 'uploaded' else state}"
    volume = _dose(app, str(app.store.path), result.id)
    return Dose(volume, dose_service.top_prescription(app, result, names), state)


@st.cache_resource(max_entries=_KEEP, show_spinner=False)
def _dose(_app: App, store: str, result_id: int) -> Volume:
    return dose_service.load(_app, _app.store.get_result(result_id))


def plan_structures(app: App, case: CaseRecord) -> Overlay | None:
    """Return the structures that histograms are made of: the clinic's first, each only once."""
    version = dose_service.structures_version(app, case.id)
    overlay = _plan_overlay(app, str(app.store.path), case.id, version)
    return overlay if overlay.masks else None


@st.cache_resource(max_entries=_KEEP, show_spinner=False)
def _plan_overlay(_app: App, store: str, case_id: str, version: tuple[int, ...]) -> Overlay:
    found = dose_service.structures(_app, case_id)
    return Overlay(found.masks, content_id=f"{store}:plan:{version}", sources=found.source)


def synthetic(app: App, case: CaseRecord, result: ResultRecord) -> Series:
    """Return the synthetic CT of a counterfactual for the viewer."""
    volume = _synthetic(app, str(app.store.path), result.id)
    return Series(volume, "Synthetic", "synthetic", content_id=f"{case.content_hash}:{result.id}")


@st.cache_resource(max_entries=_KEEP, show_spinner=False)
def _synthetic(_app: App, store: str, result_id: int) -> Volume:
    return counterfactual.load_volume(_app, result_id)


def boxes(found: Sequence[Finding]) -> list[Box]:
    """Return the boxes of the findings that have one."""
    return [
        Box(f.box, finding_words.label(f), finding_words.colour(f))
        for f in found
        if f.box is not None and f.presence != "absent"
    ]
