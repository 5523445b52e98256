"""Findings in words, and as buttons that send the viewer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from hnvlm.services import attention, documents
from hnvlm.services.attention import Suspicion, Verdict
from hnvlm.services.context import App
from hnvlm.types import Finding
from hnvlm.ui import casebar, html, state
from hnvlm.ui.errors import handled
from hnvlm.ui.viewer import Box, jump_to

_KINDS = {
    "node": "Node",
    "mass": "Mass",
    "airway": "Airway narrowing",
    "target": "Likely target region",
    "artefact": "Dental artefact",
    "coverage": "Field of view",
}
# Distinguishable without red and green.
_COLOURS = {"node": "#ffb454", "mass": "#e07ad0", "airway": "#6ec1e4", "target": "#b7a6ff"}
LOOK_FIRST = "The models found nothing; look here first"
_LOOK_FIRST_COLOUR = "#c9ced3"
_SOURCES = {"measured": "measured", "zero-shot": "detected", "vlm": "from the drafted text", "clinician": "clinician"}


def colour(finding: Finding) -> str:
    """Return the colour of a finding's box."""
    return _COLOURS.get(finding.kind, "#c9ced3")


def label(finding: Finding) -> str:
    """Name a finding: kind, side and place, size; and the clinic's contour where it was measured on one."""
    place = _place(finding)
    size = f"{finding.size_mm:.0f} mm" if finding.size_mm is not None else ""
    texture = str(finding.attributes.get("texture", ""))
    narrowing = finding.attributes.get("narrowing_pct")
    share = f"{narrowing:.0f} %" if narrowing is not None else ""
    comma = "," if finding.kind == "target" and place else ""  # a side, not a place
    head = f"{_KINDS[finding.kind]}{comma} {place}".strip()
    contour = finding.attributes.get("contour")
    whose = f"clinic's {contour}" if contour else "suspected" if finding.attributes.get("suspected") else ""
    if finding.source == "clinician":
        whose = "confirmed"
    return ", ".join(p for p in (head, size, share, texture, whose) if p)


def _place(finding: Finding) -> str:
    return " ".join(p for p in (finding.side, f"level {finding.level}" if finding.level else finding.site) if p)


def detail(finding: Finding) -> str:
    """Say how sure, who says so and where it is best seen."""
    if finding.attributes.get("suspected"):
        parts = ["suspicion of the models: look at it, then confirm it or reject it"]
    else:
        parts = [finding.certainty, _said_by(finding)]
    if finding.score is not None:
        parts.append(f"probability {100 * finding.score:.0f} %")
    if finding.slice_index is not None:
        # The viewer counts slices from 1.
        parts.append(f"axial slice {finding.slice_index + 1}")
    return ", ".join(parts)


def _said_by(finding: Finding) -> str:
    """Say where a finding is from; a target region is that of the models' contours, also beside the clinic's."""
    if contour := finding.attributes.get("contour"):
        return f"measured on the clinic's {contour}"
    own = finding.kind == "target" and finding.source == "measured"
    return "measured on the AI's contours" if own else _SOURCES[finding.source]


def target(finding: Finding) -> list[int] | int | None:
    """Return where to send the viewer for a finding: the middle of its box on its best slice, or its slice."""
    if finding.box is None:
        return finding.slice_index
    z0, y0, x0, z1, y1, x1 = finding.box
    z = finding.slice_index if finding.slice_index is not None else (z0 + z1) // 2
    return [int(z), (y0 + y1) // 2, (x0 + x1) // 2]


def extent(finding: Finding) -> str:
    """Say how far something reaches that has no place of its own: the field of view, the target region."""
    upper, lower = finding.attributes.get("superior"), finding.attributes.get("inferior")
    volume = finding.attributes.get("volume_ml")
    parts = [f"{upper} to {lower}" if upper and lower else "", f"{volume:.0f} ml" if volume is not None else ""]
    return ", ".join(part for part in parts if part)


def buttons(found: Sequence[Finding], viewer: str) -> None:
    """List what was found; a present finding is a button that sends ``viewer`` to it, without a place it is a line.

    Suspicions, also confirmed ones, are left to ``suspicions``.
    """
    own = [(n, f) for n, f in enumerate(found) if not f.attributes.get("suspected") and f.source != "clinician"]
    seen = [(n, f, target(f)) for n, f in own if f.presence != "absent"]
    for n, finding, place in seen:
        if place is not None:
            st.button(
                html.as_written(label(finding)), key=f"finding-{n}", icon=":material/my_location:", on_click=jump_to,
                args=(viewer, place), help=html.as_written(detail(finding)), width="stretch",
            )  # fmt: skip
    for _, finding, place in seen:
        if place is None:
            reach = extent(finding)
            st.caption(html.as_written(f"{label(finding)}{f': {reach}' if reach else ''} ({_said_by(finding)})"))
    denied = [label(f).lower() for f in found if f.presence == "absent"]
    if denied:
        st.caption(f"Not seen: {', '.join(denied)}.")
    if not found:
        st.caption("Nothing was found or measured on this CT.")


def suspicions(app: App, case_id: str, told: Sequence[Suspicion], viewer: str) -> None:
    """List what the models suspect, each to be confirmed or rejected, and what was decided with its way back."""
    if not told:
        return
    if any(s.verdict is None for s in told):
        html.note("The models suspect what follows. Look at it on the CT, then confirm or reject it; drafts follow.")
        casebar.name_box(f"decider-{case_id}")
    for n, suspicion in enumerate(told):
        _suspicion(app, case_id, n, suspicion, viewer)


def decided_since(told: Sequence[Suspicion], created: str) -> None:
    """Say that a text does not know yet what was decided after it was written."""
    if any(s.verdict is not None and s.at > created for s in told):
        html.note(
            "Decided since this text was written. Draft report writes one that follows; or correct this one in Edit."
        )


def _suspicion(app: App, case_id: str, n: int, suspicion: Suspicion, viewer: str) -> None:
    finding, verdict = suspicion.finding, suspicion.verdict
    shown = attention.confirmed(finding) if verdict == "confirmed" else finding
    name = f"{label(replace(finding, attributes={}))}, rejected" if verdict == "rejected" else label(shown)

    def choice(words: str, to: Verdict | None) -> None:
        st.button(words, key=f"suspicion-{n}-{words.lower()}", help=f"{words}: {label(finding)}",
                  on_click=handled(_decide), args=(app, case_id, finding, to))  # fmt: skip

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"suspicion-row-{n}"):
        st.button(name, key=f"finding-suspicion-{n}", icon=":material/my_location:", on_click=jump_to,
                  args=(viewer, target(finding)), help=detail(shown), width="stretch")  # fmt: skip
        if verdict is None:
            choice("Confirm", "confirmed")
            choice("Reject", "rejected")
        else:
            choice("Undo", None)
    if verdict is not None:
        html.note(f"{verdict.capitalize()} by {documents.named(suspicion.who)}, {casebar.when(suspicion.at)} UTC")


def _decide(app: App, case_id: str, finding: Finding, verdict: Verdict | None) -> None:
    attention.decide(app, case_id, finding, verdict, who=state.who())


def look_first_box(place: Finding | None) -> list[Box]:
    """Mark the place to look at first in the viewer; nothing where there is none."""
    return [] if place is None or place.box is None else [Box(place.box, "Look here first", _LOOK_FIRST_COLOUR)]


def look_first(place: Finding, meaning: str, viewer: str) -> None:
    """Offer the place to look at first where nothing was found: a button that sends ``viewer`` there."""
    st.button(
        f"{LOOK_FIRST}: {_place(place)}", key="look-first", icon=":material/search:", on_click=jump_to,
        args=(viewer, target(place)), help=meaning, width="stretch",
    )  # fmt: skip
