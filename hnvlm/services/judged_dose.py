"""What a plan must know of a stored dose before its limits are judged on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hnvlm.plan.dose_basis import DoseBasis
from hnvlm.services import dose, histograms
from hnvlm.services.clinic_contours import drawn_id
from hnvlm.services.context import App
from hnvlm.store import ResultRecord


def basis_of(app: App, item: ResultRecord, source: Mapping[str, str], drawn_by_model: tuple[str, ...]) -> DoseBasis:
    """Return what is known of a dose; of the clinic's own, that is what the clinic drew and told.

    Args:
        source: Structure -> who drew it. drawn_by_model: Organs that a model contoured.
    """
    beyond = tuple(sorted(name for name, dvh in histograms.histograms(app, item).items() if dvh.partly_outside))
    cut = histograms.cut_off(dose.structures(app, item.case_id))
    basis = replace(basis_without_structures(item), beyond=beyond, drawn_by_model=drawn_by_model, cut_off=cut)
    if dose.is_predicted(item):
        return basis
    top = dose.top_prescription(app, item, source)
    levels = basis.levels_gy or ({} if top is None else {"highest level": top})
    return replace(basis, levels_gy=levels, guessed_targets=bool(histograms.unplanned_targets(item, source)))


def basis_without_structures(item: ResultRecord) -> DoseBasis:
    """Return what a dose itself tells: what it was planned or predicted for, and on whose targets."""
    targets = [who for name, who in item.payload.get("inputs", {}).items() if dose.is_target(name)]
    return DoseBasis(
        dose.label(item), item.payload.get("prescriptions") or {}, dose.is_predicted(item), dose.AI in targets,
        failed=item.payload.get("failed", ""),
    )  # fmt: skip


def told_apart(app: App, item: ResultRecord) -> str:
    """Return what a dose is, with what tells it from others of that name: when it came in, and its maximum."""
    came = app.store.get_result(drawn_id(item)).created[:16].replace("T", " ")
    return f"{dose.label(item)} of {came} UTC with a maximum of {item.payload['max_gy']:.1f} Gy"
