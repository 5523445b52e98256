"""Segment, judge the scope, find: what every draft starts from. Pure functions first, then the case store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hnvlm.errors import ScopeError
from hnvlm.imaging.masks import PackedMask, PackedMasks
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.models.registry import missing_models
from hnvlm.services import attention, clinic_contours
from hnvlm.services.context import App
from hnvlm.services.jobs import JobContext
from hnvlm.services.palette import UPLOADED_PREFIX
from hnvlm.store import ResultRecord
from hnvlm.types import Finding, Progress, Provenance, ScopeVerdict, Segmentation, no_progress

NOTICE = "AI draft, research use only"
# The models that contour and that find; the rest of an analysis follows from them.
CONTOURS, DETECTORS = "segmenter", ("clip", "tumour")


@dataclass(frozen=True)
class Analysis:
    """What is known about a CT before anything is written about it.

    Attributes:
        segmentation: Structures on the CT's own grid.
        scope: Whether the models accept the CT.
        findings: Empty when the CT is out of scope.
        treated: The clinic's target of the highest level, in words; "" where it contoured none.
        look_first: Where nothing was found, the place to look at first in a patient known to have disease.
    """

    segmentation: Segmentation
    scope: ScopeVerdict
    findings: list[Finding]
    treated: str = ""
    look_first: Finding | None = None

    def require_scope(self) -> None:
        """Refuse to draft on a CT that the models were not made for.

        Raises:
            ScopeError: With the reason; the viewer works all the same.
        """
        require_scope(self.scope)


def require_scope(verdict: ScopeVerdict) -> None:
    """Raise ScopeError, with the reason, when the models were not made for this CT."""
    if not verdict.in_scope:
        raise ScopeError(
            f"The models will not draft on this CT: {verdict.reason.rstrip('.')}. They were made for head-and-neck "
            "CT only. The viewer works; choose a head-and-neck series for drafts."
        )


def part(progress: Progress, start: float, end: float) -> Progress:
    """Return a progress function that maps 0..1 of one step to ``start``..``end`` of the whole."""
    return lambda fraction, message: progress(start + (end - start) * fraction, message)


def analyse(
    models: Models,
    volume: Volume,
    *,
    segmentation: Segmentation | None = None,
    structures: Mapping[str, np.ndarray] | None = None,
    of_patient: bool = True,
    progress: Progress = no_progress,
) -> Analysis:
    """Segment a CT, judge its scope and, if it is in scope, find.

    Args:
        volume: HU (z, y, x).
        segmentation: When known already.
        structures: The clinic's, name -> bool mask on the CT's grid; gross tumour volumes among them are findings.
        of_patient: Whether it is a patient's CT and no synthetic one.

    Raises:
        CancelledError: The user pressed Stop.
    """
    if segmentation is None:
        segmentation = models.segment(volume, progress=part(progress, 0.0, 0.6))
    structures = structures or {}
    segmentation = replace(segmentation, gross=clinic_contours.gross_of(structures), of_patient=of_patient)
    progress(0.6, "checking that this is a head-and-neck CT")
    scope = models.scope(volume, segmentation)
    findings: list[Finding] = []
    first = None
    if scope.in_scope:
        findings = models.findings(volume, segmentation, progress=part(progress, 0.65, 1.0))
        first = attention.look_first(models, volume, segmentation, findings)
    progress(1.0, "analysis done")
    return Analysis(segmentation, scope, findings, clinic_contours.treated_of(structures, volume), first)


def structure_rows(volume: Volume, segmentation: Segmentation) -> list[dict[str, Any]]:
    """Return one row per structure: TG-263 name, volume in ml, uncertainty 0..1 (None if unknown)."""
    return [
        {
            "name": name,
            "volume_ml": round(float(np.count_nonzero(mask)) * volume.voxel_ml, 3),
            "uncertainty": segmentation.uncertainty.get(name),
        }
        for name, mask in segmentation.masks.items()
    ]


# ---- the same for a stored case ---------------------------------------------------------------


def load_segmentation(app: App, case_id: str) -> Segmentation | None:
    """Return the stored structures of a case as the models made them, with the clinic's gross tumour, or None."""
    result = app.store.latest_result(case_id, "segmentation")
    if result is None:
        return None
    made = Segmentation(
        masks=app.store.load_masks(result),
        uncertainty=result.payload["uncertainty"],
        provenance=Provenance(**result.provenance),
        seconds=result.payload["seconds"],
    )
    return _of_case(app, case_id, made)


def _of_case(app: App, case_id: str, segmentation: Segmentation) -> Segmentation:
    """With what the case says besides: gross tumour that the clinic contoured, and whether it is a patient's CT."""
    gross, synthetic = clinic_contours.load_gross(app, case_id), app.store.get_case(case_id).synthetic
    return replace(segmentation, gross=gross, of_patient=not synthetic)


def load_masks(app: App, case_id: str, only: list[str] | None = None) -> PackedMasks:
    """Return the structures to draw, packed; none when there are none.

    The models' structures, and those uploaded with the CT (their names prefixed ``uploaded: ``).
    """
    masks: dict[str, PackedMask] = {}
    for kind, prefix in (("segmentation", ""), ("structures", UPLOADED_PREFIX)):
        result = app.store.latest_result(case_id, kind)
        if result is not None:
            wanted = None if only is None else [n.removeprefix(prefix) for n in only if n.startswith(prefix)]
            masks |= {prefix + n: mask for n, mask in app.store.load_masks(result, only=wanted).packed.items()}
    return PackedMasks(masks)


def load_findings(app: App, case_id: str) -> list[Finding] | None:
    """Return the stored findings of a case, or None when nobody looked yet."""
    result = app.store.latest_result(case_id, "findings")
    return None if result is None else [Finding.from_json(f) for f in result.payload["findings"]]


def load_scope(app: App, case_id: str) -> ScopeVerdict | None:
    """Return the stored scope verdict, or None when nobody looked yet."""
    result = app.store.latest_result(case_id, "scope")
    return None if result is None else ScopeVerdict(**result.payload)


def is_complete(app: App, case_id: str) -> bool:
    """Whether ``analyse_case`` has nothing left to compute, so that it needs no models."""
    scope = load_scope(app, case_id)
    if scope is None or app.store.latest_result(case_id, "segmentation") is None:
        return False
    return not scope.in_scope or load_current_findings(app, case_id) is not None


def load_current_findings(app: App, case_id: str) -> list[Finding] | None:
    """Return the stored findings, or None when the CT has to be measured again.

    That is so where gross tumour was uploaded or replaced since, or where the pack has a tumour detector now that did
    not look at this CT.
    """
    result = app.store.latest_result(case_id, "findings")
    if result is None or result.payload.get("measured_on", 0) != clinic_contours.measured_on(app, case_id):
        return None
    if looks_for_disease(app) and "look_first" not in result.payload and not app.store.get_case(case_id).synthetic:
        return None
    return [Finding.from_json(f) for f in result.payload["findings"]]


def of_earlier_models(app: App, case_id: str) -> bool:
    """Whether other weights than those installed now contoured or measured this case; False where nobody knows."""
    contoured, measured = (app.store.latest_result(case_id, kind) for kind in ("segmentation", "findings"))
    if contoured is None or not app.uses_pack:
        return False
    made_with = {CONTOURS: contoured.provenance.get("weights_sha256")}
    made_with |= {} if measured is None else measured.payload.get("made_with", {})
    now = {name: app.provenance(name).weights_sha256 for name in made_with}
    return any(now[name] and now[name] != weights for name, weights in made_with.items())


def looks_for_disease(app: App) -> bool:
    """Whether the model pack has a tumour detector."""
    return app.uses_pack and "tumour" not in missing_models(app.settings.models_dir)


def save_segmentation(
    app: App, case_id: str, volume: Volume, segmentation: Segmentation, who: str = ""
) -> ResultRecord:
    """Store structures; the payload has ``structures`` (name, volume_ml, uncertainty) and ``seconds``."""
    payload = {
        "structures": structure_rows(volume, segmentation),
        "uncertainty": segmentation.uncertainty,
        "seconds": segmentation.seconds,
        "notice": NOTICE,
    }
    return app.store.save_result(
        case_id, "segmentation", payload, arrays={"masks": segmentation.masks}, provenance=segmentation.provenance,
        who=who,
    )  # fmt: skip


def analyse_case(
    app: App, case_id: str, *, who: str = "", again: bool = False, progress: Progress = no_progress
) -> Analysis:
    """Return the analysis of a case: what is stored is loaded, what is missing is computed and stored.

    Args:
        again: Compute everything again, as new versions.

    Raises:
        NotFoundError: No such case.
        CancelledError: The user pressed Stop; finished steps are stored.
    """
    volume = app.store.load_volume(case_id)
    # Asked before the contours are loaded: if others are uploaded meanwhile, the findings count as out of date.
    measured_on = clinic_contours.measured_on(app, case_id)
    treated = clinic_contours.load_treated(app, case_id)
    segmentation = None if again else load_segmentation(app, case_id)
    if segmentation is None:
        segmentation = app.models.segment(volume, progress=part(progress, 0.0, 0.6))
        save_segmentation(app, case_id, volume, segmentation, who)
        segmentation = _of_case(app, case_id, segmentation)
    progress(0.6, "checking that this is a head-and-neck CT")
    scope = None if again else load_scope(app, case_id)
    if scope is None:
        scope = app.models.scope(volume, segmentation)
        app.store.save_result(case_id, "scope", vars(scope), provenance=segmentation.provenance, who=who)
        app.store.set_scope(case_id, scope.in_scope, scope.reason, who=who)
    if not scope.in_scope:
        return Analysis(segmentation, scope, [], treated)
    findings = None if again else load_current_findings(app, case_id)
    if findings is None:
        findings = app.models.findings(volume, segmentation, progress=part(progress, 0.65, 1.0))
        first = attention.look_first(app.models, volume, segmentation, findings)
        saved = save_findings(app, case_id, findings, measured_on, first, who=who)
        findings = [Finding.from_json(f) for f in saved.payload["findings"]]
    progress(1.0, "analysis done")
    return Analysis(segmentation, scope, findings, treated, attention.load(app, case_id))


def save_findings(
    app: App, case_id: str, findings: list[Finding], measured_on: int = 0, first: Finding | None = None, *,
    who: str = "",
) -> ResultRecord:  # fmt: skip
    """Store findings as a new version; of suspicions that were told before, with what clinicians decided on them.

    Args:
        measured_on: ``clinic_contours.measured_on`` of then.
        first: The place to look at first, where nothing was found.
    """
    payload = attention.carried_over(app, case_id, findings) | {"measured_on": measured_on, "notice": NOTICE}
    if app.uses_pack:
        payload["made_with"] = {name: app.provenance(name).weights_sha256 for name in DETECTORS}
    if looks_for_disease(app):
        payload["look_first"] = None if first is None else first.to_json()
    return app.store.save_result(case_id, "findings", payload, who=who)


def start_analysis(app: App, case_id: str, *, who: str = "", again: bool = False) -> str:
    """Analyse a case in the background; return the job id. The job's result says whether it is in scope."""

    def work(job: JobContext) -> dict[str, Any]:
        if again or not is_complete(app, case_id):
            app.load_models(job)
        analysis = analyse_case(app, case_id, who=who, again=again, progress=job.progress)
        return {"in_scope": analysis.scope.in_scope, "reason": analysis.scope.reason}

    return app.jobs.submit("analysis", work, case_id=case_id, who=who)
