"""Where to look first in a CT on which nothing was found, and how often that place was right."""

from __future__ import annotations

from collections.abc import Sequence

from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.models.registry import model_cards
from hnvlm.services.context import App
from hnvlm.types import Finding, Segmentation

DETECTOR = "tumour"
NOTHING_FOUND = (
    "No mass or node was found or is suspected here. If this patient has disease in the neck, the tumour detector "
    "would look here first."
)
NOT_MEASURED = "How often it is right was not measured for these weights."


def look_first(
    models: Models, volume: Volume, segmentation: Segmentation, findings: Sequence[Finding]
) -> Finding | None:
    """Return the place to look at first in a patient known to have disease; None where a mass or node was found."""
    if any(f.kind in ("mass", "node") and f.presence != "absent" for f in findings):
        return None
    return models.look_first(volume, segmentation)


def load(app: App, case_id: str) -> Finding | None:
    """Return the stored place of a case; None where something was found, or nobody looked."""
    result = app.store.latest_result(case_id, "findings")
    stored = None if result is None else result.payload.get("look_first")
    return None if stored is None else Finding.from_json(stored)


def meaning(app: App) -> str:
    """Say what the place is and how often it was right, by the figures on the detector's card."""
    measured = next((c["metrics"] for c in model_cards(app.settings.models_dir) if c["name"] == DETECTOR), {})
    figures = measured.get(DETECTOR, {}).get("metrics", {})
    right, usual = (figures.get(key) or {} for key in ("look_first_in_target", "usual_place_where_nothing_was_found"))
    if right.get("value") is None or usual.get("value") is None:
        return f"{NOTHING_FOUND} {NOT_MEASURED}"
    (count, as_usual), n = (round(f["value"] * f["n"]) for f in (right, usual)), right["n"]
    return (
        f"{NOTHING_FOUND} In {count} of {n} patients treated for cancer on whose CT nothing was found either, this "
        f"place lay in what was treated to the highest level. The place where tumours usually are, the same in "
        f"everybody, did in {as_usual}."
    )
