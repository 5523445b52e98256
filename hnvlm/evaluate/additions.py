"""Additions as a judge sees them: what is said of each, and the shares and means over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hnvlm.evaluate.stats import area, estimate, mean_of, share
from hnvlm.imaging.anatomy import LEVEL_BOX
from hnvlm.imaging.lesions import MIN_NECROTIC_MM
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import GRID_MM
from hnvlm.models.detect import NECROTIC_BELOW_HU, Detection
from hnvlm.models.judge import Judge
from hnvlm.models.neck import Neck

LEVEL_TOLERANCE_MM = 4.0
# From this size on a lesion is some voxels wide in these CTs (4 mm pixels).
CLEAR_MM = 15.0
# What becomes of a request for an addition.
DRAWN, NO_ROOM, NOT_UNDERSTOOD = "drawn", "no_room", "not_understood"


def place_right(found: Detection, labels: dict[str, Any], neck: Neck) -> bool:
    """Whether a detection lies at the asked level or site; a level's border may be missed by 4 mm."""
    if found.place == labels["place"]:
        return True
    if labels["kind"] == "node" and labels["place"] in LEVEL_BOX:
        w, u, v = neck.anatomy.neck_frame(found.centre_mm, labels["side"])
        return all(
            lo - LEVEL_TOLERANCE_MM <= x <= hi + LEVEL_TOLERANCE_MM
            for x, (lo, hi) in zip((w, u, v), LEVEL_BOX[labels["place"]], strict=True)
        )
    region = np.argwhere(neck.anatomy.candidates(labels["kind"], labels["place"], labels["side"]))
    if not len(region):
        return False
    index = neck.working.mm_to_index(found.centre_mm)
    return bool(np.sqrt(((region - index) ** 2).sum(1)).min() * GRID_MM <= LEVEL_TOLERANCE_MM)


def look_for(judge: Judge, after: Volume, edit_mask: np.ndarray, neck: Neck) -> Detection | None:
    """The judge's strongest lesion that overlaps what was edited."""
    detections, _, _ = judge.look(after, neck)
    working = neck.working
    changed = np.argwhere(edit_mask)
    if not len(changed):
        return None
    lo, hi = after.index_to_mm(changed.min(0)), after.index_to_mm(changed.max(0))
    best = None
    for d in detections:
        points = working.index_to_mm(np.argwhere(d.mask) + neck.start)
        inside = np.all((points >= lo - GRID_MM) & (points <= hi + GRID_MM), axis=1).mean()
        if inside > 0.5 and (best is None or d.score > best.score):
            best = d
    return best


def row_of(found: Detection | None, labels: dict[str, Any], neck: Neck) -> dict[str, Any]:
    """What the judge says of one addition."""
    asked = {"kind": labels["kind"], "at": labels["place"], "asked_mm": labels["size_mm"]}
    if found is None:
        return {"present": False, **asked}
    return {
        "present": True,
        **asked,
        "side": found.side == labels["side"],
        "place": place_right(found, labels, neck),
        "size_mm": found.size_mm,
        "texture": None
        if labels.get("texture") is None
        else (found.mean_core_hu < NECROTIC_BELOW_HU) == (labels["texture"] == "necrotic"),
        "necrotic": labels.get("texture") == "necrotic",
        "core_hu": found.mean_core_hu,
    }


def asked_of(bank: str, labels: dict[str, Any], outcome: str, present: bool = False) -> dict[str, Any]:
    """One request, drawn or not, and whether the judge sees what it asked for."""
    return {"bank": bank, "kind": labels["kind"], "outcome": outcome, "present": present}


def of_all_asked(rows: list[dict[str, Any]], patients: list[str]) -> dict[str, Any]:
    """Counts of what became of the requests, and the share that the judge sees of everything asked."""

    def seen(kind: str | None) -> dict[str, Any]:
        chosen = [k for k, r in enumerate(rows) if kind in (None, r["kind"])]
        return share([rows[k]["present"] for k in chosen], [patients[k] for k in chosen])

    counts = {name: sum(r["outcome"] == name for r in rows) for name in (DRAWN, NO_ROOM, NOT_UNDERSTOOD)}
    return {
        "requests": {"asked": len(rows), **counts},
        "present": seen(None),
        "present_nodes": seen("node"),
        "present_masses": seen("mass"),
    }


def summary(rows: list[dict[str, Any]], patients: list[str] | None = None) -> dict[str, Any]:
    """Shares and the size correlation of judged additions; side, place, texture and size count among the visible ones.

    Args:
        patients: Whose each addition is; left out where they are independent (necks that are no patient's).
    """
    whose = [str(k) for k in range(len(rows))] if patients is None else patients
    seen = [k for k, r in enumerate(rows) if r["present"]]
    sized = [k for k in seen if rows[k]["asked_mm"] is not None]
    asked = np.array([rows[k]["asked_mm"] for k in sized], float)
    measured = np.array([rows[k]["size_mm"] for k in sized], float)

    def told(key: str, chosen: list[int]) -> dict[str, Any]:
        return share([rows[k][key] for k in chosen], [whose[k] for k in chosen])

    def correlation(index: np.ndarray) -> float:
        a, m = asked[index], measured[index]
        return float(np.corrcoef(a, m)[0, 1]) if len(index) > 3 and a.std() * m.std() else float("nan")

    everyone = range(len(rows))
    # A smaller lesion asked to be necrotic is drawn solid.
    made = [k for k in seen if rows[k]["texture"] is not None and (rows[k]["asked_mm"] or 0) >= MIN_NECROTIC_MM]
    dark = [rows[k]["necrotic"] for k in made]
    core = [rows[k]["core_hu"] for k in made]
    owners = [whose[k] for k in made]

    def core_hu(necrotic: bool) -> dict[str, Any]:
        of = [j for j, d in enumerate(dark) if d == necrotic]
        return mean_of([core[j] for j in of], [owners[j] for j in of], places=1)

    return {
        "present": told("present", list(everyone)),
        "present_nodes": told("present", [k for k in everyone if rows[k]["kind"] == "node"]),
        "present_masses": told("present", [k for k in everyone if rows[k]["kind"] == "mass"]),
        "present_15_mm_and_more": told("present", [k for k in everyone if (rows[k]["asked_mm"] or 0) >= CLEAR_MM]),
        "side_right": told("side", seen),
        "place_right": told("place", seen),
        "texture_right": told("texture", [k for k in seen if rows[k]["texture"] is not None]),
        "core_hu_asked_solid": core_hu(False),
        "core_hu_asked_necrotic": core_hu(True),
        "core_hu_auroc": area([-hu for hu in core], dark, owners),
        "size_r": estimate(correlation, [whose[k] for k in sized], places=3),
        "size_mae_mm": mean_of(np.abs(asked - measured), [whose[k] for k in sized], places=1),
    }
