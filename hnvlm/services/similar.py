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
from hnvlm.store import ResultRecord
from hnvlm.types import Progress, no_progress

# Folder of the CT encoder in the model pack.
ENCODER = "clip"
SYNTHETIC = "SYNTHETIC, not a patient"


@dataclass(frozen=True)
class SimilarCase:
    """A neighbour: cosine similarity (-1 to 1) and the impression of its newest report ("" if none).

    Of a demo case the words say first that it is SYNTHETIC: it stands among patients.
    """

    id: str
    score: float
    impression: str


def embed(models: Models, volume: Volume, analysis: Analysis) -> np.ndarray:
    """Return the unit-length embedding of a CT, float32 (d,).

    Raises:
        ModelPackError: The pack has no CT encoder, or a damaged one.
        ScopeError: The CT is not a head-and-neck CT.
    """
    analysis.require_scope()
    vector = np.asarray(models.embed(volume, segmentation=analysis.segmentation), np.float32).ravel()
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise ModelPackError("The CT encoder gave an empty embedding; the model pack is damaged.")
    return vector / length


def index_case(app: App, case_id: str, *, who: str = "", progress: Progress = no_progress) -> np.ndarray:
    """Return the stored embedding of a case; compute and store it when there is none of the encoder's weights."""
    stored = app.store.latest_result(case_id, "embedding")
    if stored is not None and _weights(stored) == encoder_weights(app):
        return np.array(app.store.load_array(stored, "vector"))
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.8))
    progress(0.8, "embedding the CT")
    vector = embed(app.models, app.store.load_volume(case_id), analysis)
    app.store.save_result(
        case_id, "embedding", {"dimension": vector.size}, arrays={"vector": vector},
        provenance=app.provenance(ENCODER), who=who or "model",
    )  # fmt: skip
    return vector


def index_all(app: App, *, progress: Progress = no_progress) -> list[str]:
    """Embed every case of the store that has no embedding of the encoder; return the ids of those out of scope."""
    passed_over = []
    indexed = _of(app, encoder_weights(app))
    todo = [c for c in app.store.list_cases(descending=False) if c.id not in indexed]
    for number, case in enumerate(todo):
        step = part(progress, number / len(todo), (number + 1) / len(todo))
        step(0.0, f"indexing {case.id}")
        try:
            index_case(app, case.id, progress=step)
        except ScopeError:
            passed_over.append(case.id)
    return passed_over


def nearest(
    app: App, vector: np.ndarray, k: int = 5, *, exclude: str | None = None, weights: str | None = None
) -> list[SimilarCase]:
    """Return the ``k`` nearest indexed cases of the store, best first.

    Args:
        weights: SHA-256 of the encoder that made ``vector``, default the installed one: vectors of two encoders lie in
            two spaces, so those of another one are left out.
    """
    found = []
    for case_id, result in _of(app, encoder_weights(app) if weights is None else weights).items():
        other = app.store.load_array(result, "vector")
        if case_id != exclude and other.shape == vector.shape:
            found.append((float(other @ vector), case_id))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return [SimilarCase(case_id, round(score, 4), _words_of(app, case_id)) for score, case_id in found[: max(0, k)]]


def _words_of(app: App, case_id: str) -> str:
    said = impression(app, case_id)
    return f"{SYNTHETIC}. {said or 'No report yet.'}" if app.store.get_case(case_id).synthetic else said


def start(app: App, case_id: str, *, who: str = "") -> str:
    """Index this case and all others of the store in the background; return the job id."""

    def work(job: JobContext) -> dict[str, int]:
        app.load_models(job)
        index_case(app, case_id, who=who, progress=part(job.progress, 0.0, 0.3))
        passed_over = index_all(app, progress=part(job.progress, 0.3, 1.0))
        return {"out_of_scope": len(passed_over)}

    return app.jobs.submit("similar", work, case_id=case_id, who=who)


def stored(app: App, case_id: str, k: int = 5) -> list[SimilarCase] | None:
    """Return the nearest of the indexed cases without computing anything; None when this case is not indexed."""
    own = app.store.latest_result(case_id, "embedding")
    if own is None or _weights(own) != _comparable(app, own):
        return None
    return nearest(app, app.store.load_array(own, "vector"), k, exclude=case_id, weights=_weights(own))


def left_out(app: App, case_id: str) -> str:
    """Say which embeddings are not compared because another encoder made them; "" when there is none."""
    own = app.store.latest_result(case_id, "embedding")
    if own is None:
        return ""
    if _weights(own) != _comparable(app, own):
        return (
            "The CT encoder that read this case is not the one installed, or not known. Press Find similar cases to "
            "read it anew."
        )
    others = len(app.store.latest_of_all("embedding")) - len(_of(app, _weights(own)))
    if not others:
        return ""
    cases = "1 case is" if others == 1 else f"{others} cases are"
    return f"{cases} left out: read by another CT encoder. Press Find similar cases to read anew what was left out."


def encoder_weights(app: App) -> str:
    """Return the SHA-256 of the CT encoder's weights, "" where there is none."""
    return app.provenance(ENCODER).weights_sha256


def _comparable(app: App, own: ResultRecord) -> str:
    """Weights whose vectors are compared: the installed encoder's; without one, those of the case's own vector."""
    return encoder_weights(app) or _weights(own)


def _weights(result: ResultRecord) -> str:
    # Of another model than the encoder: stored before the encoder was remembered, so by weights nobody knows.
    made_by = result.provenance or {}
    return str(made_by.get("weights_sha256", "")) if made_by.get("model") == ENCODER else "unknown"


def _of(app: App, weights: str) -> dict[str, ResultRecord]:
    """Case id -> newest embedding, of those that the encoder with these weights made."""
    newest = app.store.latest_of_all("embedding")
    return {case_id: result for case_id, result in newest.items() if _weights(result) == weights}


def impression(app: App, case_id: str) -> str:
    """Return the impression of the newest English report (or Polish, if there is no English one)."""
    for language in ("en", "pl"):
        result = app.store.latest_result(case_id, "report", language)
        if result is not None:
            return str(result.payload.get("sections", {}).get("impression", "")).strip()
    return ""
