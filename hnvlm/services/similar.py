"""Similar cases: nearest neighbours by the CT embedding of the CT-text space, inside this store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hnvlm.errors import ModelPackError, ScopeError
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.services.analysis import Analysis, analyse_case, part
from hnvlm.services.context import App
from hnvlm.services.jobs import JobContext
from hnvlm.types import Progress, no_progress


@dataclass(frozen=True)
class SimilarCase:
    """A neighbour: cosine similarity (-1 to 1) and the impression of its newest report ("" if none)."""

    id: str
    score: float
    impression: str


def embed(models: Models, volume: Volume, analysis: Analysis) -> np.ndarray:
    """Return the unit-length embedding of a CT, float32 (d,).

    Raises:
        ModelPackError: The pack has no CT encoder.
        ScopeError: The CT is not a head-and-neck CT.
    """
    analysis.require_scope()
    if not hasattr(models, "embed"):
        raise ModelPackError("This model pack has no CT encoder, so similar cases cannot be found.")
    vector = np.asarray(models.embed(volume, segmentation=analysis.segmentation), np.float32).ravel()
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise ModelPackError("The CT encoder gave an empty embedding; the model pack is damaged.")
    return vector / length


def index_case(app: App, case_id: str, *, who: str = "", progress: Progress = no_progress) -> np.ndarray:
    """Return the stored embedding of a case; compute and store it when there is none."""
    stored = app.store.latest_result(case_id, "embedding")
    if stored is not None:
        return np.array(app.store.load_array(stored, "vector"))
    analysis = analyse_case(app, case_id, who=who, progress=progress)
    vector = embed(app.models, app.store.load_volume(case_id), analysis)
    app.store.save_result(
        case_id, "embedding", {"dimension": vector.size}, arrays={"vector": vector},
        provenance=analysis.segmentation.provenance, who=who or "model",
    )  # fmt: skip
    return vector


def index_all(app: App, *, progress: Progress = no_progress) -> list[str]:
    """Embed every case of the store that has no embedding yet; return the ids of those out of scope."""
    passed_over = []
    indexed = app.store.latest_of_all("embedding")
    todo = [c for c in app.store.list_cases(descending=False) if c.id not in indexed]
    for number, case in enumerate(todo):
        progress(number / len(todo), f"indexing {case.id}")
        try:
            index_case(app, case.id)
        except ScopeError:
            passed_over.append(case.id)
    return passed_over


def nearest(app: App, vector: np.ndarray, k: int = 5, *, exclude: str | None = None) -> list[SimilarCase]:
    """Return the ``k`` nearest indexed cases of the store, best first."""
    found = []
    for case_id, result in app.store.latest_of_all("embedding").items():
        other = app.store.load_array(result, "vector")
        if case_id != exclude and other.shape == vector.shape:
            found.append((float(other @ vector), case_id))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return [SimilarCase(case_id, round(score, 4), impression(app, case_id)) for score, case_id in found[: max(0, k)]]


def start(app: App, case_id: str, *, who: str = "") -> str:
    """Index this case and all others of the store in the background; return the job id."""

    def work(job: JobContext) -> dict[str, int]:
        index_case(app, case_id, who=who, progress=part(job.progress, 0.0, 0.3))
        passed_over = index_all(app, progress=part(job.progress, 0.3, 1.0))
        return {"out_of_scope": len(passed_over)}

    return app.jobs.submit("similar", work, case_id=case_id, who=who)


def stored(app: App, case_id: str, k: int = 5) -> list[SimilarCase] | None:
    """Return the nearest of the indexed cases without computing anything; None when this case is not indexed."""
    if app.store.latest_result(case_id, "embedding") is None:
        return None
    return nearest(app, index_case(app, case_id), k, exclude=case_id)


def impression(app: App, case_id: str) -> str:
    """Return the impression of the newest English report (or Polish, if there is no English one)."""
    for language in ("en", "pl"):
        result = app.store.latest_result(case_id, "report", language)
        if result is not None:
            return str(result.payload.get("sections", {}).get("impression", "")).strip()
    return ""
