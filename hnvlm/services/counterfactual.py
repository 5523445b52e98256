"""Counterfactual CTs of stored cases: run, keep as a difference, show, export."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.report.request_parse import parse_commands
from hnvlm.services import export, reporting
from hnvlm.services.analysis import NOTICE, Analysis, analyse_case, part
from hnvlm.services.context import App
from hnvlm.services.edit_requests import both_ways, require_text, to_draw
from hnvlm.services.jobs import JobContext
from hnvlm.store import AUTOSAVE, ResultRecord, exports
from hnvlm.types import Counterfactual, Progress, no_progress


def known_sentences(app: App, case_id: str) -> frozenset[str]:
    """Return the sentences of a case's newest reports: who edits a report asks for what he changed."""
    reports = [reporting.latest(app, case_id, language) for language in reporting.LANGUAGES]
    return frozenset(c.text for report in reports if report is not None for c in parse_commands(report.payload["text"]))


def run(
    models: Models,
    volume: Volume,
    text: str,
    analysis: Analysis,
    *,
    known: Collection[str] = (),
    seed: int = 0,
    progress: Progress = no_progress,
) -> Counterfactual:
    """Draw what the text says into the CT: each command that ``understood`` lists, removals first.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
        UsageError: As ``to_draw``.
    """
    analysis.require_scope()
    asked = to_draw(text, known)
    return models.counterfactual(volume, asked, segmentation=analysis.segmentation, seed=seed, progress=progress)


def describe(edit: Counterfactual, text: str, known: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON facts of an edit (no arrays)."""
    return {
        "text": text, "both_ways": both_ways(text, known), "asked": edit.asked, "edit_box_mm": edit.edit_box_mm,
        "identity": edit.identity, "text_match": edit.text_match, "gflops": edit.gflops, "seconds": edit.seconds,
        "seed": edit.provenance.seed, "model": edit.provenance.model, "notice": NOTICE + "; SYNTHETIC",
    }  # fmt: skip


# ---- stored cases -----------------------------------------------------------------------------


def run_for_case(
    app: App, case_id: str, text: str, *, seed: int = 0, who: str = "", progress: Progress = no_progress
) -> ResultRecord:
    """Make a counterfactual and store it as a difference to the original."""
    text = require_text(text)
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.3))
    volume = app.store.load_volume(case_id)
    known = known_sentences(app, case_id)
    edit = run(app.models, volume, text, analysis, known=known, seed=seed, progress=part(progress, 0.3, 1.0))
    arrays, box = _difference(volume.array, edit.volume.array, np.asarray(edit.edit_mask, bool))
    where = {"box": box, "most_changed": most_changed(arrays["difference"], box) if box else None}
    return app.store.save_result(
        case_id, "counterfactual", describe(edit, text, known) | where, slot=uuid.uuid4().hex[:12], arrays=arrays,
        provenance=edit.provenance, who=who or "model",
    )  # fmt: skip


def start(app: App, case_id: str, text: str, *, seed: int = 0, who: str = "") -> str:
    """Run in the background; return the job id. Its result holds ``result_id``.

    Raises:
        UsageError: As ``to_draw``.
    """
    text = require_text(text)
    to_draw(text, known_sentences(app, case_id))

    def work(job: JobContext) -> dict[str, Any]:
        app.load_models(job)
        return {"result_id": run_for_case(app, case_id, text, seed=seed, who=who, progress=job.progress).id}

    return app.jobs.submit("counterfactual", work, case_id=case_id, who=who)


def most_changed(difference: np.ndarray, box: tuple[int, ...]) -> list[int]:
    """Return the voxel (z, y, x) of the CT around which most was changed.

    The middle of the box is no such place where several lesions were drawn: it lies between them.

    Args:
        difference: HU inside the box.
        box: (z0, y0, x0, z1, y1, x1).
    """
    around = ndimage.uniform_filter(np.abs(difference).astype(np.float32), 5, mode="constant")
    at = np.unravel_index(int(around.argmax()), around.shape)
    return [low + int(step) for low, step in zip(box[:3], at, strict=True)]


def list_for_case(app: App, case_id: str) -> list[ResultRecord]:
    """Return the counterfactuals of a case, newest first; texts that are still being typed are none."""
    return [r for r in app.store.history(case_id, "counterfactual")[::-1] if AUTOSAVE not in r.slot]


def load_volume(app: App, result_id: int) -> Volume:
    """Return the synthetic CT: the original plus the stored difference, int16 HU (z, y, x)."""
    result = app.store.get_result(result_id)
    original = app.store.load_volume(result.case_id)
    array = np.array(original.array)
    if result.payload["box"] is not None:
        z0, y0, x0, z1, y1, x1 = result.payload["box"]
        array[z0:z1, y0:y1, x0:x1] += app.store.load_array(result, "difference").astype(np.int16)
    return original.with_array(array)


def load_edit_mask(app: App, result_id: int) -> np.ndarray:
    """Return the region the edit was allowed to change, bool (z, y, x)."""
    return app.store.load_masks(app.store.get_result(result_id), "edit_mask")["edit"]


def export_result(app: App, result_id: int, out: Path, *, who: str = "") -> Mapping[str, Path]:
    """Write NIfTI, DICOM (marked SYNTHETIC) and PNG; return key -> path."""
    result = app.store.get_result(result_id)
    original, edited = app.store.load_volume(result.case_id), load_volume(app, result_id)
    files = export.write_counterfactual(original, edited, load_edit_mask(app, result_id), out)
    app.store.log(who, "counterfactual exported", result.case_id, {"result_id": result_id, "files": list(files)})
    return files


def archive_path(app: App, result_id: int) -> Path:
    """Return where the zip of an export lies or will lie."""
    return exports.of_counterfactual(app.settings.data_dir, result_id)


def start_export(app: App, result_id: int, *, who: str = "") -> str:
    """Write all files of a counterfactual into one zip in the background; return the job id."""
    case_id = app.store.get_result(result_id).case_id

    def work(job: JobContext) -> dict[str, Any]:
        job.progress(0.1, "writing NIfTI, DICOM marked SYNTHETIC, and PNG")
        app.sweep_exports()
        target = archive_path(app, result_id)
        export.write_zip(target, lambda folder: export_result(app, result_id, folder, who=who), job.progress)
        export.drop_if_deleted(app.store, case_id)
        return {"result_id": result_id}

    return app.jobs.submit("export", work, case_id=case_id, who=who, needs_models=False)


def _difference(
    original: np.ndarray, edited: np.ndarray, edit_mask: np.ndarray
) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """Return the arrays to store and the voxel box (z0, y0, x0, z1, y1, x1) of the change, None if nothing changed."""
    difference = np.rint(edited).astype(np.int32) - original.astype(np.int32)
    arrays: dict[str, Any] = {"edit_mask": {"edit": edit_mask}}
    where = np.argwhere(difference != 0)
    if where.size == 0:
        return arrays, None
    low, high = where.min(0), where.max(0) + 1
    crop = difference[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    # HU are int16, so a difference needs 17 bits at worst; wrap-around in int16 undoes itself on adding.
    arrays["difference"] = crop.astype(np.int16)
    return arrays, (*(int(v) for v in low), *(int(v) for v in high))
