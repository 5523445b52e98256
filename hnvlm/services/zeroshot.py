"""Zero-shot: how well free texts fit a CT, from the CT-text space."""

from __future__ import annotations

from collections.abc import Sequence

from hnvlm.errors import UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.services.analysis import NOTICE, Analysis, analyse_case, part
from hnvlm.services.context import App
from hnvlm.services.jobs import JobContext
from hnvlm.store import ResultRecord
from hnvlm.types import Progress, no_progress

MAX_LABELS = 64


def parse_labels(text: str) -> list[str]:
    """Split ``"a; b; c"`` into labels, without empty ones and repeats, in the order given.

    Raises:
        UsageError: No label, or too many.
    """
    labels = list(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))
    if not labels:
        raise UsageError('Give at least one label, several separated by semicolons: "left neck node; no mass".')
    if len(labels) > MAX_LABELS:
        raise UsageError(f"{len(labels)} labels are too many; give at most {MAX_LABELS}.")
    return labels


def score(models: Models, volume: Volume, labels: Sequence[str], analysis: Analysis) -> dict[str, float]:
    """Return label -> probability.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
    """
    analysis.require_scope()
    return models.zeroshot(volume, labels, segmentation=analysis.segmentation)


def score_case(
    app: App, case_id: str, labels: Sequence[str], *, who: str = "", progress: Progress = no_progress
) -> ResultRecord:
    """Score labels on a stored case and keep the scores; ``payload['scores']`` is label -> probability.

    Raises:
        CancelledError: The user pressed Stop; no scores are kept.
    """
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.8))
    progress(0.8, "comparing the labels with the CT")
    scores = score(app.models, app.store.load_volume(case_id), labels, analysis)
    progress(1.0, "scored")
    return app.store.save_result(
        case_id, "zeroshot", {"scores": scores, "labels": list(labels), "notice": NOTICE},
        provenance=app.provenance("clip"), who=who or "model",
    )  # fmt: skip


def start(app: App, case_id: str, labels: Sequence[str], *, who: str = "") -> str:
    """Score labels in the background; return the job id."""

    def work(job: JobContext) -> dict[str, int]:
        app.load_models(job)
        return {"result_id": score_case(app, case_id, labels, who=who, progress=job.progress).id}

    return app.jobs.submit("zeroshot", work, case_id=case_id, who=who)


def latest(app: App, case_id: str) -> ResultRecord | None:
    """Return the newest scores of a case, or None."""
    return app.store.latest_result(case_id, "zeroshot")


def model_name(models: Models) -> str:
    """Return name and version of the model behind the scores, from the model cards."""
    for card in models.cards():
        if "clip" in str(card.get("name", "")).lower():
            return f"{card['name']} {card.get('version', '')}".strip()
    return type(models).__name__
