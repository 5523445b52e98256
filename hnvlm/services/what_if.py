"""What can be asked of a dose: another prescription, targets that are left out, a side of the neck that is spared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hnvlm.errors import UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.services.target_levels import left_out, prescriptions

# A dose distribution scaled further than this says nothing about a plan made for the new prescription.
SCALE_RANGE = (0.7, 1.2)


@dataclass(frozen=True)
class WhatIf:
    """A change to ask about.

    Attributes:
        prescription_gy: New dose of the highest level. The distribution is scaled, not planned anew.
        fractions: In how many fractions, for EQD2.
        drop: Target levels that are not treated.
        spare: Side of the neck whose targets below the highest level are not treated.
    """

    prescription_gy: float | None = None
    fractions: int | None = None
    drop: tuple[str, ...] = ()
    spare: Literal["left", "right"] | None = None

    @property
    def predicts(self) -> bool:
        """Whether inputs change, so that the dose has to be predicted anew."""
        return bool(self.drop) or self.spare is not None


def words(what_if: WhatIf) -> str:
    """Return what a what-if changes, in words."""
    said = [f"without {', '.join(what_if.drop)}"] if what_if.drop else []
    if what_if.spare:
        said.append(f"{what_if.spare} neck spared")
    if what_if.prescription_gy is not None:
        number = f" in {what_if.fractions} fractions" if what_if.fractions else ""
        said.append(f"{what_if.prescription_gy:g} Gy{number}, scaled")
    return "; ".join(said)


def changes_of(payload: Mapping[str, Any]) -> WhatIf:
    """Return what was changed about the targets of a predicted dose, nothing of one that was planned."""
    changes = payload.get("changes") or {}
    return WhatIf(drop=tuple(changes.get("drop") or ()), spare=changes.get("spare"))


def with_kept(asked: WhatIf, kept: WhatIf) -> WhatIf:
    """Return a question about a dose that was changed before: what was changed stays so.

    Raises:
        UsageError: The other side of the neck is spared already.
    """
    if asked.spare and kept.spare and asked.spare != kept.spare:
        raise UsageError(
            f"The {kept.spare} neck is spared already in this dose, and with the {asked.spare} one no neck would be "
            "treated. Ask it of a dose that spares neither side."
        )
    same = asked.prescription_gy is None
    return WhatIf(
        kept.prescription_gy if same else asked.prescription_gy,
        asked.fractions or (kept.fractions if same else None),
        (*kept.drop, *(name for name in asked.drop if name not in kept.drop)),
        asked.spare or kept.spare,
    )


def why_not_dropped(top: str) -> str:
    """Say why the highest level cannot be left out."""
    return f"{top} cannot be left out: it holds the gross disease, which would stay untreated"


def changed_inputs(masks: Mapping[str, np.ndarray], volume: Volume, what_if: WhatIf) -> dict[str, np.ndarray]:
    """Return the structures a changed plan would have.

    Raises:
        UsageError: A level to drop is not there or is the highest, or nothing lies on the side to spare.
    """
    levels = prescriptions(masks)
    unknown = [name for name in what_if.drop if name not in levels]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is no target level of this case; there are {', '.join(levels)}.")
    top = next(iter(levels), "")
    if top in what_if.drop:
        raise UsageError(f"{why_not_dropped(top)}. For less dose to it, ask for another prescription.")
    # Spared before anything is left out: a side that was spared stays so where what is left does not reach it.
    cut = {} if what_if.spare is None else _spared(masks, list(levels)[1:], volume, what_if.spare)
    return {name: cut.get(name, masks[name]) for name in masks if name not in what_if.drop}


def _spared(masks: Mapping[str, np.ndarray], lower: list[str], volume: Volume, side: str) -> dict[str, np.ndarray]:
    """Cut the targets below the highest level at the midline; gross disease is never cut."""
    if not lower:
        raise UsageError("There is only one target level. Gross disease is not cut, so no side can be spared.")
    beyond = _midline_mm(masks, volume)[:, None, None]
    x_mm = volume.origin_mm[2] + volume.spacing_mm[2] * np.arange(volume.shape[2])
    on_side = x_mm > beyond if side == "left" else x_mm < beyond  # x grows to the patient's left
    cut = {name: masks[name] & ~on_side for name in lower}
    if all(np.array_equal(cut[name], masks[name]) for name in lower):
        raise UsageError(f"No elective target lies on the {side} side, so there is nothing to spare.")
    return cut


def _midline_mm(masks: Mapping[str, np.ndarray], volume: Volume) -> np.ndarray:
    """Return x of the midline in every slice (z,): the middle of cord and brainstem, carried on where they end."""
    heights, middles = [], []
    for name in ("SpinalCord", "Brainstem"):
        if name in masks:
            per_slice = masks[name].sum(axis=(1, 2))
            hit = np.flatnonzero(per_slice)
            columns = masks[name][hit].sum(axis=1) @ np.arange(volume.shape[2])
            heights += hit.tolist()
            middles += (volume.origin_mm[2] + volume.spacing_mm[2] * columns / per_slice[hit]).tolist()
    if not heights:
        raise UsageError("Neither spinal cord nor brainstem is contoured, so the midline is not known.")
    order = np.argsort(heights, kind="stable")
    return np.interp(np.arange(volume.shape[0]), np.array(heights)[order], np.array(middles)[order])


def untreated(
    asked: WhatIf, before: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], levels: Mapping[str, float]
) -> list[str]:
    """Say what the histograms still count although it is not treated, or is as a part of another level."""
    said = left_out(asked.drop, before, masks, levels)
    if asked.spare:
        said.append(f"targets below the highest level are not treated on the {asked.spare}; their histograms still "
                    "count the whole target")  # fmt: skip
    return said


def scaled_notes(notes: tuple[str, ...], factor: float) -> list[str]:
    """Return notes of a dose and that it was scaled, where it was."""
    said = "a plan made for this prescription would differ; limits of targets stay those of the levels in their names"
    return [*notes, *([] if factor == 1.0 else [f"scaled by {factor:.3f}; {said}"])]


def factor_for(wanted_gy: float | None, top_gy: float) -> float:
    """Return what a dose of a prescription is multiplied with for another one.

    Raises:
        UsageError: It is too far away.
    """
    if wanted_gy is None:
        return 1.0
    factor = wanted_gy / top_gy
    low, high = SCALE_RANGE
    if not low <= factor <= high:
        raise UsageError(
            f"{wanted_gy:g} Gy is too far from the {top_gy:g} Gy of this dose: scaling is shown between "
            f"{low * top_gy:.0f} and {high * top_gy:.0f} Gy only."
        )
    return factor
