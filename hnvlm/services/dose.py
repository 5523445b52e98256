"""Doses of a case: the clinic's, a predicted one, and what-ifs of it. All are used in the same way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from hnvlm.errors import InputRefusedError, ModelPackError, UsageError
from hnvlm.imaging.masks import PackedMask, PackedMasks
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.plan.dose_basis import SAME_GY
from hnvlm.services.analysis import NOTICE, analyse_case, part
from hnvlm.services.clinic_contours import is_planned, level_gy
from hnvlm.services.context import App
from hnvlm.services.jobs import JobContext
from hnvlm.store import ResultRecord
from hnvlm.types import DosePrediction, Progress, no_progress

UPLOADED, PREDICTED, WHAT_IF = "", "predicted", "what-if"
CLINIC, AI = "clinic", "AI"
PREDICTED_LABEL = "Predicted dose (AI draft)"
# Stored in whole steps: half the disk of float32, wrong by 0.005 Gy at most.
STEP_GY = 0.01
KEPT_WHAT_IFS = 8
# A dose distribution scaled further than this says nothing about a plan made for the new prescription.
SCALE_RANGE = (0.7, 1.2)
_ORGAN_ORDER = ("SpinalCord", "Brainstem", "Parotid_L", "Parotid_R", "Parotids", "Larynx", "Esophagus", "Bone_Mandible")
# cGy as TG-263 writes them; below 10 Gy the number counts targets (``imaging.tg263``).
_LEVEL = re.compile(r"PTV_([1-9]\d{3})")


@dataclass(frozen=True)
class DoseStructures:
    """Structures that histograms and predictions use.

    Attributes:
        masks: TG-263 name (or the clinic's own name) -> bool (z, y, x) on the CT's grid.
        source: Name -> ``clinic`` or ``AI``.
        version: Changes when the structures change.
    """

    masks: PackedMasks
    source: dict[str, str]
    version: tuple[int, ...]


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


# ---- what is there ------------------------------------------------------------------------------


def doses(app: App, case_id: str) -> list[ResultRecord]:
    """Return the doses of a case: uploaded, predicted, then what-ifs, newest first."""
    found = [app.store.latest_result(case_id, "dose", slot) for slot in (UPLOADED, PREDICTED)]
    what_ifs = app.store.history(case_id, "dose", WHAT_IF)[::-1][:KEPT_WHAT_IFS]
    return [r for r in found if r is not None] + what_ifs


def label(result: ResultRecord) -> str:
    """Return what a dose is, in words for lists and legends."""
    if result.slot == UPLOADED:
        of_part = result.payload.get("part")
        return f"Uploaded dose, {of_part}" if of_part else "Uploaded dose"
    if result.slot == PREDICTED:
        return PREDICTED_LABEL
    return f"What-if {result.version}: {result.payload['label']}"


def is_predicted(result: ResultRecord) -> bool:
    """Whether a model made the distribution (a what-if of an uploaded dose is that dose, scaled)."""
    return result.payload.get("source") != "upload"


def is_stale(app: App, result: ResultRecord) -> bool:
    """Whether the structures changed after a dose was predicted from them."""
    base, _ = unscaled(app, result)
    made_from = base.payload.get("structures_version")
    return made_from is not None and tuple(made_from) != structures_version(app, base.case_id)


def tags(app: App, result: ResultRecord) -> dict[str, str]:
    """Return DICOM tags in which an uploaded dose, or what was scaled from it, is not the physical dose of a plan."""
    return dict(unscaled(app, result)[0].payload.get("tags", {}))


def unscaled(app: App, result: ResultRecord) -> tuple[ResultRecord, float]:
    """Return the dose that a scaled one goes back to, through any number of steps, and the factor between them."""
    base, factor = result, 1.0
    while base.payload.get("scale_of") is not None:
        factor *= float(base.payload["factor"])
        base = app.store.get_result(base.payload["scale_of"])
    return base, factor


def load(app: App, result: ResultRecord, *, beyond: float = 0.0) -> Volume:
    """Return a dose as float32 Gy on the CT's grid.

    Args:
        beyond: Value where the grid of an uploaded dose does not reach. What was stored before this was remembered
            is 0 there, whatever is asked for.
    """
    case = app.store.get_case(result.case_id)
    base, factor = unscaled(app, result)
    array = np.asarray(app.store.load_array(base, "dose"))
    if array.dtype == np.uint16:
        factor *= float(base.payload["step_gy"])
    array = array.astype(np.float32, copy=False)
    if factor != 1.0:
        array = array * np.float32(factor)
    if beyond != 0 and "covered" in base.arrays:
        array = np.where(app.store.load_masks(base, "covered")["covered"], array, np.float32(beyond))
    return Volume(array, case.spacing_mm, case.origin_mm, case.frame_uid)


def structures(app: App, case_id: str) -> DoseStructures:
    """Return the structures of a case: the clinic's where it drew them, the models' for the rest.

    Targets are taken from one hand only: with a clinic's target, predicted targets are left out. A gross tumour
    volume says where disease is, not what is treated.
    """
    found: dict[str, Mapping[str, PackedMask]] = {}
    version = []
    for kind, who in (("structures", CLINIC), ("segmentation", AI)):
        result = app.store.latest_result(case_id, kind)
        packed = {} if result is None else app.store.load_masks(result).packed
        found[who] = {name: mask for name, mask in packed.items() if mask.box is not None}
        version += [] if result is None else [result.id]
    source = drawn_by(found[CLINIC], found[AI])
    masks = {name: found[source[name]][name] for name in in_order(source)}
    return DoseStructures(PackedMasks(masks), source, tuple(version))


def drawn_by(clinic: Iterable[str], models: Iterable[str]) -> dict[str, str]:
    """Return who draws each structure that a plan is made on, "clinic" or "AI", by the rule of ``structures``.

    Args:
        clinic: Names that the clinic contoured. models: Names that the models contoured.
    """
    own = dict.fromkeys(clinic, CLINIC)
    own_targets = any(map(is_planned, own))
    return own | {n: AI for n in models if n not in own and not (own_targets and is_target(n))}


def structures_version(app: App, case_id: str) -> tuple[int, ...]:
    """Return what ``DoseStructures.version`` would be, without loading any mask."""
    found = (app.store.latest_result(case_id, kind) for kind in ("structures", "segmentation"))
    return tuple(r.id for r in found if r is not None)


def structure_names(app: App, case_id: str) -> list[str]:
    """Return the names that ``structures`` would return, without unpacking any mask; empty ones are left out."""
    results = (app.store.latest_result(case_id, kind) for kind in ("structures", "segmentation"))
    return in_order(
        drawn_by(*(app.store.arrays.mask_names(r.arrays["masks"]) if r is not None else () for r in results))
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Return names as planners list them: targets from the highest dose, then organs, serial ones first."""
    names = list(names)
    levels = list(prescriptions(names))
    targets = levels + sorted(n for n in names if is_target(n) and n not in levels)
    organs = [n for n in _ORGAN_ORDER if n in names]
    return [*targets, *organs, *sorted(n for n in names if n not in targets and n not in organs)]


def is_target(name: str) -> bool:
    """Whether a structure is a target by its name."""
    return name[:3].upper() == "GTV" or is_planned(name)


def prescriptions(names: Any) -> dict[str, float]:
    """Return target -> Gy as TG-263 names state it (PTV_7000 is 70 Gy), highest first."""
    found = {n: int(m[1]) / 100 for n in names if (m := _LEVEL.fullmatch(n))}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def top_prescription(app: App, result: ResultRecord, names: Any) -> float | None:
    """Return 100 % of the isodose lines: what the dose was asked for, else the highest level of the targets' names."""
    stated = result.payload.get("prescriptions") or {
        name: gy for name in names if name[:3].upper() == "PTV" and (gy := level_gy(name))
    }
    return max(stated.values(), default=None)


def fractions(app: App, result: ResultRecord) -> int | None:
    """Return in how many fractions a dose is given: stated by a what-if, else by the drafted plan; None if unknown.

    The draft speaks for a dose only where it prescribes as much: its 35 fractions say nothing about an uploaded plan
    of 30 Gy, or about one whose prescription nobody knows.
    """
    if result.payload.get("fractions"):
        return int(result.payload["fractions"])
    plan = app.store.latest_result(result.case_id, "plan")
    if plan is None:
        return None
    top = top_prescription(app, result, structure_names(app, result.case_id))
    for scheme in plan.payload["prescription"]["schemes"]:
        level = scheme["levels"][0]
        if top is not None and abs(top - level["dose_gy"]) < SAME_GY:
            return int(level["fractions"])
    return None


# ---- prediction ---------------------------------------------------------------------------------


def run(
    models: Models,
    volume: Volume,
    masks: Mapping[str, np.ndarray],
    *,
    wanted: Mapping[str, float] | None = None,
    possible_dose: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> DosePrediction:
    """Predict the dose without the store.

    Args:
        masks: Targets and organs at risk on the CT's grid, TG-263 names.
        wanted: Target -> Gy; default what the names say.
        possible_dose: Where dose can be.

    Raises:
        InputRefusedError: No target says how much dose it gets.
        ModelPackError: The pack has no dose model.
    """
    method = getattr(models, "dose", None)
    if method is None:
        raise ModelPackError("This model pack has no dose model, so no dose can be predicted. A dose of your planning "
                             "system can be opened together with its CT.")  # fmt: skip
    wanted = dict(wanted) if wanted is not None else prescriptions(masks)
    wanted = {name: gy for name, gy in wanted.items() if name in masks and np.any(masks[name])}
    if not wanted:
        raise InputRefusedError(
            "There is no target with a dose among the structures (such as PTV_7000), so no dose can be predicted. "
            "Upload the targets with the CT, or contour the structures first.",
            code="no_target",
        )
    return method(volume, masks, prescriptions=wanted, possible_dose=possible_dose, progress=progress)


def predict(
    app: App, case_id: str, *, what_if: WhatIf | None = None, who: str = "", progress: Progress = no_progress
) -> ResultRecord:
    """Predict the dose of a case, with the clinic's structures where there are any, and store it.

    Args:
        what_if: Targets to leave out; a new prescription then scales the newly predicted dose.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
        InputRefusedError: No target.
        UsageError: The what-if asks for something that is not there.
    """
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.4))
    analysis.require_scope()
    progress(0.4, "predicting the dose")
    volume, found = app.store.load_volume(case_id), structures(app, case_id)
    masks, asked = found.masks, what_if or WhatIf()
    if what_if is not None:
        masks = changed_inputs(masks, volume, what_if)
    levels = prescriptions(masks)
    made = run(app.models, volume, masks, wanted=levels, progress=part(progress, 0.4, 0.9))
    factor = _factor(asked.prescription_gy, max(made.prescriptions.values()))
    progress(0.9, "storing")
    stored = np.clip(np.rint(made.dose_gy.array * (factor / STEP_GY)), 0, 65535).astype(np.uint16)
    payload = {
        "source": "prediction" if what_if is None else "what-if", "unit": "Gy", "step_gy": STEP_GY,
        "max_gy": float(stored.max()) * STEP_GY, "from_ct": made.from_ct, "seconds": made.seconds,
        "prescriptions": {n: round(gy * factor, 3) for n, gy in made.prescriptions.items()},
        "inputs": {n: found.source[n] for n in masks if np.any(masks[n])},
        "notes": [*_untreated(asked), *_notes(made.notes, factor)],
        "fractions": asked.fractions, "changes": asdict(asked), "label": words(asked), "notice": NOTICE,
        "structures_version": found.version,
    }  # fmt: skip
    slot = PREDICTED if what_if is None else WHAT_IF
    return app.store.save_result(
        case_id, "dose", payload, slot=slot, arrays={"dose": stored}, provenance=made.provenance, who=who or "model"
    )


def _untreated(what_if: WhatIf) -> list[str]:
    """Say what the histograms still count although it is not treated."""
    said = [f"{', '.join(what_if.drop)} not treated; its histogram is shown all the same"] if what_if.drop else []
    if what_if.spare:
        said.append(f"targets below the highest level are not treated on the {what_if.spare}; their histograms still "
                    "count the whole target")  # fmt: skip
    return said


def _notes(notes: tuple[str, ...], factor: float) -> list[str]:
    scaled = (
        []
        if factor == 1.0
        else [
            f"scaled by {factor:.3f}; a plan made for this prescription would differ; limits of targets "
            "stay those of the levels in their names"
        ]
    )
    return [*notes, *scaled]


def start_predict(app: App, case_id: str, *, what_if: WhatIf | None = None, who: str = "") -> str:
    """Predict in the background; return the job id. Its result holds ``result_id``."""

    def work(job: JobContext) -> dict[str, Any]:
        app.load_models(job)
        job.progress(0.0, "checking the structures")
        return {"result_id": predict(app, case_id, what_if=what_if, who=who, progress=job.progress).id}

    return app.jobs.submit("dose", work, case_id=case_id, who=who)


# ---- what-if ------------------------------------------------------------------------------------


def words(what_if: WhatIf) -> str:
    """Return what a what-if changes, in words."""
    said = [f"without {', '.join(what_if.drop)}"] if what_if.drop else []
    if what_if.spare:
        said.append(f"{what_if.spare} neck spared")
    if what_if.prescription_gy is not None:
        number = f" in {what_if.fractions} fractions" if what_if.fractions else ""
        said.append(f"{what_if.prescription_gy:g} Gy{number}, scaled")
    return "; ".join(said)


def changed_inputs(masks: Mapping[str, np.ndarray], volume: Volume, what_if: WhatIf) -> dict[str, np.ndarray]:
    """Return the structures a changed plan would have.

    Raises:
        UsageError: A level to drop is not there, none is left, or nothing lies on the side to spare.
    """
    levels = prescriptions(masks)
    unknown = [name for name in what_if.drop if name not in levels]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is no target level of this case; there are {', '.join(levels)}.")
    out = {name: mask for name, mask in masks.items() if name not in what_if.drop}
    left = prescriptions(out)
    if not left:
        raise UsageError("Every target level would be dropped; keep at least one.")
    if what_if.spare is not None:
        out |= _spared(out, list(left)[1:], volume, what_if.spare)
    return out


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


def _factor(wanted_gy: float | None, top_gy: float) -> float:
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


def scale(app: App, base_id: int, what_if: WhatIf, *, who: str = "") -> ResultRecord:
    """Store a dose scaled to another prescription; at once, because nothing is predicted.

    Raises:
        UsageError: No new prescription, one too far away, or the prescription of the dose is not known.
    """
    base = app.store.get_result(base_id)
    top = top_prescription(app, base, structures(app, base.case_id).masks)
    if what_if.prescription_gy is None or what_if.predicts:
        raise UsageError("Give the new prescription in Gy.")
    if top is None:
        raise UsageError("The prescription of this dose is not known: no target is named by its dose (PTV_7000).")
    # Scaled in steps a dose is as far from what was planned as at once.
    root, so_far = unscaled(app, base)
    _factor(what_if.prescription_gy, max(prescriptions(root.payload.get("inputs", ())).values(), default=top / so_far))
    factor = what_if.prescription_gy / top
    stated = base.payload.get("prescriptions") or {"highest level": top}
    before = base.payload.get("label", "") if base.slot == WHAT_IF else ""
    payload = {
        "source": base.payload["source"], "unit": "Gy", "scale_of": base.id, "factor": factor,
        "max_gy": float(base.payload["max_gy"]) * factor,
        "prescriptions": {name: round(gy * factor, 3) for name, gy in stated.items()},
        "notes": [*base.payload.get("notes", []), *_notes((), factor)], "fractions": what_if.fractions,
        "part": base.payload.get("part", ""), "changes": asdict(what_if),
        "label": "; ".join(t for t in (before, words(what_if)) if t), "notice": NOTICE,
    }  # fmt: skip
    return app.store.save_result(
        base.case_id, "dose", payload, slot=WHAT_IF, provenance=base.provenance, who=who or "user"
    )
