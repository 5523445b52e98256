"""Layout: what a request asks for and where in this neck it goes, before anything is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hnvlm.errors import UsageError
from hnvlm.imaging.anatomy import AIRWAY_RANGE, LEVEL_BOX
from hnvlm.imaging.lesions import Lesion, LesionSpec, insert
from hnvlm.models.detect import Detection
from hnvlm.models.neck import Neck
from hnvlm.types import MASS_SITES

DEFAULT_SIZE_MM = 20.0
DEFAULT_NARROWING_PCT = 50.0
# What the inserter and the denoiser were taught; a request beyond is drawn at the end of the range.
SIZES_MM = (6.0, 45.0)
NARROWINGS_PCT = (20.0, 80.0)
SENTENCE = re.compile(r"(?<=[.;!?])\s+|\n+")
# Headings that say nothing of the lesion. "Right level II:" and "Nodes left:" say where it is and stay.
HEADING = re.compile(
    r"^(?:examination|technique|comparison|findings?|impression|conclusion|summary|report|primary site|primary tumou?r"
    r"|badanie|technika|opis|wnioski|ognisko pierwotne)\s*:\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Layout:
    """One edit to draw.

    Attributes:
        op: ``add`` or ``remove``.
        mask: float32 (z, y, x) lesion share on the working grid patch that starts at ``start``.
        size_mm: Extent that decides how far the edit reaches.
        reference: For ``add``, the inserter's own version of the same layout (the baseline).
        texture: For a node or mass to add, ``solid`` or ``necrotic``.
    """

    op: str
    kind: str
    mask: np.ndarray
    start: np.ndarray
    size_mm: float
    reference: Lesion | None
    texture: str | None = None


def sentences_of(text: str) -> list[str]:
    """Split a request into sentences, section headings and empty lines left out.

    The app cuts a request into commands before (``report.commands``) and hands them over one a line.
    """
    out = []
    for part in SENTENCE.split(text):
        part = HEADING.sub("", part.strip()).strip()
        if len(part) > 3:
            out.append(part)
    return out or [text.strip()]


def spec_of(asked: dict[str, Any], rng: np.random.Generator) -> LesionSpec:
    """The lesion a request asks for; what it leaves open is drawn or takes a usual value.

    Raises:
        UsageError: The place or side is not stated.
    """
    kind, place = asked["kind"], asked["place"]
    if kind is None or place is None:
        raise UsageError(
            "The request does not say where. Name the side and a nodal level (IB, II, III, IV, V), a site "
            "(base of tongue, oral tongue, "
            "palatine tonsil, supraglottis, pyriform sinus, parotid gland) or an airway level, and the side."
        )
    side = asked["side"] or str(rng.choice(["left", "right"]))
    if kind == "airway":
        pct = float(np.clip(asked["narrowing_pct"] or DEFAULT_NARROWING_PCT, *NARROWINGS_PCT))
        return LesionSpec("airway", place if place in AIRWAY_RANGE else "oropharynx", side, narrowing_pct=pct)
    # The words for the lesion and for its place are read apart: "a node in the parotid" lies at a primary site.
    kind = "node" if place in LEVEL_BOX else "mass"
    if kind == "mass" and place not in MASS_SITES:
        raise UsageError(
            f"A lesion cannot be drawn at '{place}', which is a level of the airway: ask for a narrowing there, or "
            "name a nodal level or a site (for example supraglottis or pyriform sinus)."
        )
    size = float(np.clip(asked["size_mm"] or DEFAULT_SIZE_MM, *SIZES_MM))
    return LesionSpec(kind, place, side, size, asked["texture"] or "solid")


def lay_out_addition(asked: dict[str, Any], neck: Neck, rng: np.random.Generator) -> Layout:
    """Choose place and shape of a lesion to add.

    Raises:
        UsageError: There is no room for it in this neck, or the place is outside the scan.
    """
    spec = spec_of(asked, rng)
    lesion = insert(neck.working, neck.anatomy, spec, rng)
    if lesion is None:
        size = f"{spec.size_mm:.0f} mm " if spec.size_mm else ""
        raise UsageError(
            f"There is no room for a {size}{spec.kind} at {spec.side} {spec.place} in this scan (the region is outside "
            "the field of view, or bone, skin and air leave too little space). Ask for a smaller one or another place."
        )
    extent = (
        spec.size_mm or float(np.ptp(np.argwhere(lesion.mask > 0.2), axis=0).max() + 1) * neck.working.spacing_mm[0]
    )
    # The inserter makes a node too small for a core a solid one.
    texture = None if spec.kind == "airway" else lesion.spec.texture
    return Layout("add", spec.kind, lesion.mask, np.array(lesion.start), extent, lesion, texture)


def tries_of(request: dict[str, Any], first: Layout, neck: Neck, seed: int, tries: int) -> Iterator[Layout]:
    """A layout and others of the same request, ``tries`` in all as far as there is room for them."""
    yield first
    for attempt in range(1, tries):
        try:
            yield lay_out_addition(request, neck, np.random.default_rng([seed, attempt]))
        except UsageError:
            return


def lay_out_removals(asked: dict[str, Any], detections: list[Detection], neck: Neck) -> list[Layout]:
    """Masks of the detected lesions a removal means; an empty list when there is none to remove.

    A lesion may straddle the border of its place, so one next door is meant where none lies at the place itself.
    """
    if asked["op"] == "none":
        return [_removal(found, neck) for found in detections]
    kind, side, place = asked["kind"], asked["side"], asked["place"]
    alike = [
        found for found in detections
        if side in (None, found.side)
        and (kind in (None, found.kind) or ({kind, found.kind} == {"node", "mass"} and place == found.place))
    ]  # fmt: skip
    there = [found for found in alike if place in (None, found.place)]
    return [_removal(found, neck) for found in there or [f for f in alike if _are_neighbours(place, f.place)]]


def _removal(found: Detection, neck: Neck) -> Layout:
    hit = np.argwhere(found.mask)
    lo, hi = hit.min(0), hit.max(0) + 1
    mask = found.mask[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))].astype(np.float32)
    return Layout("remove", found.kind, mask, neck.start + lo, found.size_mm, None)


def _are_neighbours(a: str | None, b: str | None) -> bool:
    """Whether these levels or sites have a border that a lesion may straddle."""
    pairs = {
        ("II", "III"),
        ("III", "IV"),
        ("II", "V"),
        ("III", "V"),
        ("IV", "V"),
        ("IB", "II"),
        ("supraglottis", "pyriform sinus"),
        ("base of tongue", "palatine tonsil"),
        ("base of tongue", "oral tongue"),
        ("parotid gland", "II"),
    }
    return (a, b) in pairs or (b, a) in pairs
