"""A whole archive: report, plan and findings of every CT series, one folder each, without the case store."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hnvlm.errors import CancelledError, HnvlmError
from hnvlm.imaging import intake as reader
from hnvlm.imaging.intake import SeriesInfo
from hnvlm.models.base import Models
from hnvlm.services.analysis import analyse, part
from hnvlm.services.export import make_folder
from hnvlm.services.intake import Upload, open_path, structures_beside, without_names
from hnvlm.services.planning import make_plan
from hnvlm.services.reporting import draft, require_language
from hnvlm.store import dumps
from hnvlm.types import Progress, no_progress


def run_batch(
    load_models: Callable[[], Models],
    archive: Path,
    out: Path,
    *,
    language: str = "en",
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Draft for every accepted CT series below ``archive``.

    A series' folder appears under ``out`` only when it is complete, so an interrupted run goes on where
    it stopped. A series that cannot be read or is out of scope is listed with its reason; the run goes on.

    Returns:
        ``n_series``, ``n_done``, ``n_refused`` and ``cases``: uid, folder, state (done | stored before |
        refused), error, files.
    """
    require_language(language)
    make_folder(out)
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hnvlm-") as workdir:
        upload = open_path(archive, Path(workdir))
        series = upload.series
        models: Models | None = None
        for number, info in enumerate(series):
            step = part(progress, number / len(series), (number + 1) / len(series))
            name = "series-" + hashlib.sha256(info.series_uid.encode()).hexdigest()[:12]
            target = out / name
            entry: dict[str, Any] = {"uid": info.series_uid, "modality": info.modality, "folder": name}
            if not info.accepted:
                entry |= {"state": "refused", "error": "; ".join(info.reasons)}
            elif target.is_dir():
                entry |= {"state": "stored before", "files": _files(target)}
            else:
                models = models or load_models()
                entry |= _one(models, upload, info, target, language, seed, step)
            cases.append(entry)
    progress(1.0, "archive done")
    refused = sum(c["state"] == "refused" for c in cases)
    return {"n_series": len(cases), "n_done": len(cases) - refused, "n_refused": refused, "cases": cases}


def _one(
    models: Models, upload: Upload, info: SeriesInfo, target: Path, language: str, seed: int, progress: Progress
) -> dict[str, Any]:
    temp = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
    try:
        read = reader.read(info, part(progress, 0.0, 0.2))
        structures, notes = structures_beside(upload, read.volume)
        real = not read.meta.get("synthetic")
        found = analyse(models, read.volume, structures=structures, of_patient=real, progress=part(progress, 0.2, 0.6))
        written, checked = draft(
            models, read.volume, found, language=language, seed=seed, progress=part(progress, 0.6, 0.95)
        )
        plan = make_plan(found.findings, {}, structures=list(found.segmentation.masks))
        # What is written may be handed on; names of files and folders often are the patient's.
        warnings = [without_names(w, upload) for w in (*read.warnings, *notes)]
        report = checked.payload() | {"model": written.provenance.model, "warnings": warnings}
        (temp / "report.txt").write_text(f"{checked.text}\n\n({report['notice']})\n", encoding="utf-8")
        (temp / "report.json").write_text(dumps(report), encoding="utf-8")
        (temp / "plan.txt").write_text(plan["text"] + "\n", encoding="utf-8")
        (temp / "plan.json").write_text(dumps(plan), encoding="utf-8")
        findings = {
            "findings": found.findings, "look_first": found.look_first, "scope": vars(found.scope),
            "notice": report["notice"],
        }  # fmt: skip
        (temp / "findings.json").write_text(dumps(findings), encoding="utf-8")
        temp.chmod(0o755)
        os.replace(temp, target)
    except CancelledError:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    except HnvlmError as error:
        shutil.rmtree(temp, ignore_errors=True)
        return {"state": "refused", "error": error.message, "code": error.code}
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    return {"state": "done", "files": _files(target)}


def _files(folder: Path) -> dict[str, str]:
    return {p.name: str(p) for p in sorted(folder.iterdir())}
