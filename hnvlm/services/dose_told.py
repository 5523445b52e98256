"""What the clinic says of a dose it uploaded and its files do not: the prescription, and in how many fractions."""

from __future__ import annotations

from typing import Any

from hnvlm.errors import UsageError
from hnvlm.services.context import App
from hnvlm.store import ResultRecord

KIND = "dose_told"
# What can be meant, not what is sensible: a prescription of a course, and its fractions.
MOST_GY, MOST_FRACTIONS = 100.0, 80


def told(app: App, result: ResultRecord) -> dict[str, Any]:
    """Return what was said of a dose: ``prescription_gy`` of its highest level, ``fractions``; {} without any."""
    found = app.store.latest_result(result.case_id, KIND, str(result.id))
    return {} if found is None else {k: v for k, v in found.payload.items() if v is not None}


def tell(
    app: App, result_id: int, *, prescription_gy: float | None = None, fractions: int | None = None, who: str
) -> ResultRecord:
    """Keep what a clinician says of a dose; None takes it back.

    Raises:
        UsageError: It is no uploaded dose, or nothing that can be meant.
    """
    item = app.store.get_result(result_id)
    if item.kind != "dose" or item.payload.get("source") != "upload" or item.payload.get("scale_of") is not None:
        raise UsageError("Prescription and fractions are stated of an uploaded dose; ask What if of another one.")
    if prescription_gy is not None and not 1 <= prescription_gy <= MOST_GY:
        raise UsageError(f"The prescription is between 1 and {MOST_GY:g} Gy.")
    if fractions is not None and not 1 <= fractions <= MOST_FRACTIONS:
        raise UsageError(f"There are between 1 and {MOST_FRACTIONS} fractions.")
    payload = {"dose_id": item.id, "prescription_gy": prescription_gy, "fractions": fractions}
    return app.store.save_result(item.case_id, KIND, payload, slot=str(item.id), who=who)
