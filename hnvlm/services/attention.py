"""What a clinician is asked to look at: suspicions to confirm or reject, or where to look first on a clear CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hnvlm.errors import HnvlmError
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.models.registry import model_cards
from hnvlm.services.conflicts import again_on_conflict
from hnvlm.services.context import App
from hnvlm.store import utc_now
from hnvlm.types import Finding, Segmentation

DETECTOR = "tumour"
NOTHING_FOUND = (
    "No mass or node was found or is suspected here. If this patient has disease in the neck, the tumour detector "
    "would look here first."
)
NOT_MEASURED = "How often it is right was not measured for these weights."
Verdict = Literal["confirmed", "rejected"]


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


# ---- suspicions of the models, and what clinicians decided on them ------------------------------


@dataclass(frozen=True)
class Suspicion:
    """What the models suspect, and what a clinician made of it.

    Attributes:
        finding: As the models told it.
        verdict: None while nobody decided.
        who: Who decided, "" where no name was given.
        at: When, UTC.
    """

    finding: Finding
    verdict: Verdict | None = None
    who: str = ""
    at: str = ""


def suspicions(app: App, case_id: str) -> list[Suspicion]:
    """Return what the models suspected on the CT of a case, decided or not."""
    result = app.store.latest_result(case_id, "findings")
    if result is None:
        return []
    decided = {entry["number"]: entry for entry in result.payload.get("decided", ())}
    out = []
    for number, stored in enumerate(_told(result.payload)):
        if stored["attributes"].get("suspected"):
            entry = decided.get(number, {})
            finding = Finding.from_json(stored)
            out.append(Suspicion(finding, entry.get("verdict"), entry.get("who", ""), entry.get("at", "")))
    return out


def decide(app: App, case_id: str, finding: Finding, verdict: Verdict | None, *, who: str = "") -> None:
    """Confirm or reject a suspicion, or take that back (None); findings are stored as a new version.

    A confirmed one is a clinician's finding from then on, a rejected one is none: drafts and plans follow.

    Raises:
        HnvlmError: Code ``gone``: the findings were measured anew, and it is not among them.
    """

    def add() -> None:
        before = app.store.latest_result(case_id, "findings")
        told = [] if before is None else _told(before.payload)
        findings = [Finding.from_json(stored) for stored in told]
        if before is None or finding not in findings:
            raise HnvlmError(
                "This CT was measured anew, and this suspicion is not there any more. Look at the findings again.",
                code="gone",
            )
        number = findings.index(finding)
        decided = [entry for entry in before.payload.get("decided", ()) if entry["number"] != number]
        if verdict is not None:
            decided.append({"number": number, "verdict": verdict, "who": who, "at": utc_now()})
        payload = before.payload | {"findings": _settled(told, decided), "told": told, "decided": decided}
        app.store.save_result(case_id, "findings", payload, who=who, based_on=before.id)

    again_on_conflict(add)


def carried_over(app: App, case_id: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings that were measured anew as they are stored: what was decided of a place holds for it still."""
    told, decided = [f.to_json() for f in findings], []
    suspected = [f.where if f.attributes.get("suspected") else None for f in findings]
    for old in suspicions(app, case_id):
        if old.verdict is not None and old.finding.where in suspected:
            number = suspected.index(old.finding.where)
            decided.append({"number": number, "verdict": old.verdict, "who": old.who, "at": old.at})
    return {"findings": _settled(told, decided), "told": told, "decided": decided} if decided else {"findings": told}


def _told(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings as the models told them."""
    return payload.get("told", payload["findings"])


def _settled(told: list[dict[str, Any]], decided: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Findings after what clinicians decided: a confirmed suspicion is theirs, a rejected one is left out."""
    verdicts = {entry["number"]: entry["verdict"] for entry in decided}
    out = []
    for number, stored in enumerate(told):
        if verdicts.get(number) == "confirmed":
            out.append(confirmed(Finding.from_json(stored)).to_json())
        elif verdicts.get(number) != "rejected":
            out.append(stored)
    return out


def confirmed(finding: Finding) -> Finding:
    """A suspicion as the finding of the clinician who confirmed it; nobody measured it."""
    return replace(finding, presence="present", certainty="definite", source="clinician", score=None, attributes={})
