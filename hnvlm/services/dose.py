"""Doses of a case: the clinic's, a predicted one, and what-ifs of it. All are used in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.imaging.masks import PackedMask, PackedMasks
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.plan.dose_basis import SAME_GY
from hnvlm.services import target_levels
from hnvlm.services.analysis import NOTICE, analyse_case, part
from hnvlm.services.clinic_contours import drawn_id, is_planned
from hnvlm.services.context import App
from hnvlm.services.dose_told import told
from hnvlm.services.jobs import JobContext
from hnvlm.services.target_levels import prescriptions
from hnvlm.services.what_if import (
    WhatIf,
    changed_inputs,
    changes_of,
    factor_for,
    scaled_notes,
    untreated,
    with_kept,
    words,
)
from hnvlm.store import ResultRecord
from hnvlm.types import DosePrediction, Progress, no_progress

UPLOADED, PREDICTED, WHAT_IF = "", "predicted", "what-if"
CLINIC, AI = "clinic", "AI"
PREDICTED_LABEL = "Predicted dose (AI draft)"
# Stored in whole steps: half the disk of float32, wrong by 0.005 Gy at most.
STEP_GY = 0.01
KEPT_WHAT_IFS = 8
_ORGAN_ORDER = ("SpinalCord", "Brainstem", "Parotid_L", "Parotid_R", "Parotids", "Larynx", "Esophagus", "Bone_Mandible")
# A draft speaks for the fractions of a dose that nobody made from it only where their totals are the same.
SAME_TOTAL_GY = 0.01
TELL_IT = "State it beside the dose under Figures; until then nothing can be scaled."
_ANEW = (
    "predicted anew from the structures, not made from the uploaded dose: the change shows beside the predicted dose "
    "without it (Predict dose), not beside what was planned"
)


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
        version += [] if result is None else [drawn_id(result)]
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
    return tuple(drawn_id(r) for r in found if r is not None)


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


def top_prescription(app: App, result: ResultRecord, names: Iterable[str]) -> float | None:
    """Return 100 % of the isodose lines (Gy): what the dose was asked for, else the highest level in targets' names.

    A clinic's dose was planned on the clinic's targets, whatever a model guesses them to be: without these, or where
    one of them does not say its dose, the prescription is not known until somebody tells it.
    """
    stated = result.payload.get("prescriptions")
    if stated:
        return max(stated.values())
    if is_predicted(result):
        return max(prescriptions(names).values(), default=None)
    said = told(app, result).get("prescription_gy")
    return said if said is not None else target_levels.highest(_of_the_clinic(app, result.case_id, names))


def why_unknown(app: App, result: ResultRecord) -> str:
    """Return why 100 % of an uploaded dose is not known, in words; "" where it is."""
    names = structure_names(app, result.case_id)
    if top_prescription(app, result, names) is not None:
        return ""
    own = _of_the_clinic(app, result.case_id, names)
    silent = target_levels.without_level(own)
    if silent:
        return f"the name of {', '.join(silent)} says no dose, and it may be the highest level"
    guessed = any(prescriptions(names))
    return "no target of the clinic is named by its dose (PTV_7000)" + (
        "; those guessed by the AI say nothing of a dose that was not planned on them" if guessed else ""
    )


def _of_the_clinic(app: App, case_id: str, names: Iterable[str]) -> list[str]:
    drawn = app.store.latest_result(case_id, "structures")
    own = set() if drawn is None else set(app.store.arrays.mask_names(drawn.arrays["masks"]))
    return [name for name in names if name in own]


def stated_fractions(app: App, result: ResultRecord) -> int | None:
    """Return in how many fractions a dose is given where its files, a what-if or a clinician state it; else None."""
    number = result.payload.get("fractions") or told(app, result).get("fractions")
    return int(number) if number else None


def fractions(app: App, result: ResultRecord) -> int | None:
    """Return in how many fractions a dose is given: stated, else assumed to be those of the draft; None if unknown.

    The draft speaks for a dose only where it prescribes as much: its 35 fractions say nothing about an uploaded plan
    of 30 Gy or of 69.96 Gy in 33, or about one whose prescription nobody knows.
    """
    stated = stated_fractions(app, result)
    plan = app.store.latest_result(result.case_id, "plan") if stated is None else None
    if plan is None:
        return stated
    top = top_prescription(app, result, structure_names(app, result.case_id))
    same = SAME_GY if is_predicted(result) else SAME_TOTAL_GY + 1e-6
    for scheme in plan.payload["prescription"]["schemes"]:
        level = scheme["levels"][0]
        if top is not None and abs(top - level["dose_gy"]) < same:
            return int(level["fractions"])
    return None


def in_fractions(app: App, result: ResultRecord) -> str:
    """Return " in 35 fractions" for behind a prescription, and whether nobody stated it; "" where it is not known."""
    number = fractions(app, result)
    if not number:
        return ""
    said = f" in {number} {'fraction' if number == 1 else 'fractions'}"
    return said if stated_fractions(app, result) else f"{said} (assumed from the draft plan)"


def notes(app: App, result: ResultRecord) -> list[str]:
    """Return all that is to be known of a dose, what comes before any number first."""
    return list(dict.fromkeys([*doubts(app, result), *result.payload.get("notes", ())]))


def doubts(app: App, result: ResultRecord) -> list[str]:
    """Return what must be known before any number of a dose is read."""
    own = list(result.payload.get("doubts", ()))
    why = "" if is_predicted(result) else why_unknown(app, result)
    return own + ([f"prescription not known: {why}"] if why else [])


# ---- prediction ---------------------------------------------------------------------------------


def run(
    models: Models,
    volume: Volume,
    masks: Mapping[str, np.ndarray],
    *,
    possible_dose: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> DosePrediction:
    """Predict the dose without the store. What must be known before it is read stands first among the notes.

    Args:
        masks: Targets and organs at risk on the CT's grid, TG-263 names. All targets of one level are one.
        possible_dose: Where dose can be.

    Raises:
        InputRefusedError: No target says how much dose it gets.
        ModelPackError: The pack has no dose model.
    """
    one = target_levels.together(masks)
    made = _made(models, volume, one, possible_dose=possible_dose, progress=progress)
    first = [failed(made, one), *target_levels.not_planned(masks)]
    return replace(made, notes=(*filter(None, first), *target_levels.notes(masks), *made.notes))


def failed(made: DosePrediction, masks: Mapping[str, np.ndarray]) -> str:
    """Return why a prediction is not to be used, "" where its targets get what it was asked for."""
    return target_levels.missed(made.dose_gy.array, target_levels.together(masks), made.prescriptions)


def _made(
    models: Models, volume: Volume, masks: Mapping[str, np.ndarray], *, possible_dose: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> DosePrediction:  # fmt: skip
    """What the model answers for structures with one target a level."""
    wanted = {name: gy for name, gy in prescriptions(masks).items() if np.any(masks[name])}
    if not wanted:
        raise InputRefusedError(
            "There is no target with a dose among the structures (such as PTV_7000), so no dose can be predicted. "
            "Upload the targets with the CT, or contour the structures first.",
            code="no_target",
        )
    return models.dose(volume, masks, prescriptions=wanted, possible_dose=possible_dose, progress=progress)


def predict(
    app: App, case_id: str, *, what_if: WhatIf | None = None, base_id: int | None = None, who: str = "",
    progress: Progress = no_progress,
) -> ResultRecord:  # fmt: skip
    """Predict the dose of a case, with the clinic's structures where there are any, and store it.

    Args:
        what_if: Targets to leave out; a new prescription then scales the newly predicted dose.
        base_id: The dose that it is asked of. What was changed of that dose stays so, its prescription too.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
        InputRefusedError: No target.
        UsageError: The what-if asks for something that is not there.
    """
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.4))
    analysis.require_scope()
    progress(0.4, "predicting the dose")
    base = None if base_id is None else app.store.get_result(base_id)
    asked = what_if or WhatIf()
    asked = asked if base is None else with_kept(asked, kept(app, base))
    volume, found = app.store.load_volume(case_id), structures(app, case_id)
    before = target_levels.together(found.masks)
    masks = before if what_if is None else changed_inputs(before, volume, asked)
    top = max(prescriptions(masks).values(), default=None)
    factor = 1.0 if top is None else factor_for(asked.prescription_gy, top)
    made = _made(app.models, volume, masks, progress=part(progress, 0.4, 0.9))
    progress(0.9, "storing")
    stored = np.clip(np.rint(made.dose_gy.array * (factor / STEP_GY)), 0, 65535).astype(np.uint16)
    levels = {name: round(gy * factor, 3) for name, gy in made.prescriptions.items()}
    wrong = target_levels.missed(made.dose_gy.array * factor, masks, levels)
    asked = replace(asked, fractions=_fractions_of(app, what_if, asked, base, max(levels.values())))
    anew = base is not None and not is_predicted(base)
    doubtful = [*filter(None, [wrong]), *([_ANEW] if anew else []), *target_levels.not_planned(found.masks)]
    payload = {
        "source": "prediction" if what_if is None else "what-if", "unit": "Gy", "step_gy": STEP_GY,
        "max_gy": float(stored.max()) * STEP_GY, "from_ct": made.from_ct, "seconds": made.seconds,
        "prescriptions": levels, "inputs": _inputs(found, masks), "failed": wrong, "doubts": doubtful,
        "notes": [*doubtful, *target_levels.notes(found.masks), *untreated(asked, before, masks, levels),
                  *scaled_notes(made.notes, factor)],
        "fractions": asked.fractions, "changes": asdict(asked), "anew": anew,
        "label": ("predicted anew, " if anew else "") + words(asked), "notice": NOTICE,
        "structures_version": found.version,
    }  # fmt: skip
    slot = PREDICTED if what_if is None else WHAT_IF
    return app.store.save_result(
        case_id, "dose", payload, slot=slot, arrays={"dose": stored}, provenance=made.provenance, who=who or "model"
    )


def kept(app: App, base: ResultRecord) -> WhatIf:
    """Return what was changed of a dose before: a question about it changes it further."""
    root, _ = unscaled(app, base)
    before = changes_of(root.payload) if is_predicted(root) else WhatIf()
    scaled = base.id != root.id or (root.payload.get("changes") or {}).get("prescription_gy") is not None
    gy = max(base.payload["prescriptions"].values()) if scaled else None
    return replace(before, prescription_gy=gy, fractions=stated_fractions(app, base))


def _fractions_of(
    app: App, what_if: WhatIf | None, asked: WhatIf, base: ResultRecord | None, top_gy: float
) -> int | None:
    """In how many fractions a changed dose is given: in those of its base only where its total is that of the base."""
    if base is None or what_if is None or what_if.prescription_gy is not None:
        return asked.fractions
    before = top_prescription(app, base, structure_names(app, base.case_id))
    return asked.fractions if before is not None and abs(before - top_gy) < SAME_TOTAL_GY + 1e-6 else None


def _inputs(found: DoseStructures, masks: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Name -> who drew it, of what a prediction was made from; a level stands for all targets of it."""
    levels = target_levels.by_level(found.masks)
    used = (name for level in masks if np.any(masks[level]) for name in levels.get(level, (level,)))
    return {name: found.source[name] for name in used}


def start_predict(
    app: App, case_id: str, *, what_if: WhatIf | None = None, base_id: int | None = None, who: str = ""
) -> str:
    """Predict in the background; return the job id. Its result holds ``result_id``."""

    def work(job: JobContext) -> dict[str, Any]:
        app.load_models(job)
        job.progress(0.0, "checking the structures")
        made = predict(app, case_id, what_if=what_if, base_id=base_id, who=who, progress=job.progress)
        return {"result_id": made.id}

    return app.jobs.submit("dose", work, case_id=case_id, who=who)


# ---- what-if ------------------------------------------------------------------------------------


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
        raise UsageError(f"The prescription of this dose is not known: {why_unknown(app, base)}. {TELL_IT}")
    # Scaled in steps a dose is as far from what was planned as at once.
    root, so_far = unscaled(app, base)
    factor_for(
        what_if.prescription_gy, max(prescriptions(root.payload.get("inputs", ())).values(), default=top / so_far)
    )
    factor = what_if.prescription_gy / top
    stated = base.payload.get("prescriptions") or {"highest level": top}
    before = base.payload.get("label", "") if base.slot == WHAT_IF else ""
    payload = {
        "source": base.payload["source"], "unit": "Gy", "scale_of": base.id, "factor": factor,
        "max_gy": float(base.payload["max_gy"]) * factor,
        "prescriptions": {name: round(gy * factor, 3) for name, gy in stated.items()},
        "notes": [*base.payload.get("notes", []), *scaled_notes((), factor)], "fractions": what_if.fractions,
        "doubts": base.payload.get("doubts", []), "failed": base.payload.get("failed", ""),
        "part": base.payload.get("part", ""), "changes": asdict(what_if),
        "label": "; ".join(t for t in (before, words(what_if)) if t), "notice": NOTICE,
    }  # fmt: skip
    return app.store.save_result(
        base.case_id, "dose", payload, slot=WHAT_IF, provenance=base.provenance, who=who or "user"
    )
