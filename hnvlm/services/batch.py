"""A whole archive: report, plan and findings of every CT series, one folder each, without the case store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hnvlm.config import settings
from hnvlm.errors import CancelledError, HnvlmError
from hnvlm.imaging import intake as reader
from hnvlm.imaging.intake import SeriesInfo
from hnvlm.models.base import Models
from hnvlm.models.registry import made_by
from hnvlm.services.analysis import analyse, part
from hnvlm.services.export import make_folder
from hnvlm.services.intake import Upload, open_path, structures_beside, without_names
from hnvlm.services.planning import plan_without_store
from hnvlm.services.reporting import draft, require_language
from hnvlm.store import dumps
from hnvlm.types import Progress, no_progress

# File beside the drafts of a series that says what they were made with.
MADE_WITH = "made_with.json"
# Models that have a part in the drafts.
MODELS = ("segmenter", "clip", "report", "dose", "tumour")


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

    The folder keeps what its drafts were made with (``MADE_WITH``). A later run into the same ``out`` passes a series
    over only where that is what it would use itself; where language, seed or a model differ, or nobody knows, all of
    the series is made anew and takes the place of what was there. Drafts in two languages need two folders ``out``.
    Structures that came to a CT since are not looked for: whoever wants them used removes the series' folder.

    Returns:
        ``n_series``, ``n_done``, ``n_refused`` and ``cases``: uid, folder, state (done | made anew | stored before |
        refused), error, files; ``because`` says why it was made anew.
    """
    require_language(language)
    make_folder(out)
    made_with = {"language": language, "seed": seed, "models": _models()}
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
            elif target.is_dir() and not (because := _differs(_read(target / MADE_WITH), made_with)):
                entry |= {"state": "stored before", "files": _files(target)}
            else:
                anew = {"state": "made anew", "because": because} if target.is_dir() else {}
                models = models or load_models()
                entry |= _one(models, upload, info, target, made_with, step)
                if entry["state"] == "done":
                    entry |= anew
                elif anew:
                    entry["error"] += f" What lies in {name} is of an earlier run ({because})."
            cases.append(entry)
    progress(1.0, "archive done")
    refused = sum(c["state"] == "refused" for c in cases)
    return {"n_series": len(cases), "n_done": len(cases) - refused, "n_refused": refused, "cases": cases}


def _one(
    models: Models, upload: Upload, info: SeriesInfo, target: Path, made_with: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    temp = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
    try:
        read = reader.read(info, part(progress, 0.0, 0.2))
        structures, notes = structures_beside(upload, read.volume)
        real = not read.meta.get("synthetic")
        found = analyse(models, read.volume, structures=structures, of_patient=real, progress=part(progress, 0.2, 0.6))
        written, checked = draft(
            models, read.volume, found, language=made_with["language"], seed=made_with["seed"],
            progress=part(progress, 0.6, 0.9),
        )  # fmt: skip
        # What is written may be handed on; names of files and folders often are the patient's.
        warnings = [without_names(w, upload) for w in (*read.warnings, *notes)]
        plan = plan_without_store(models, read.volume, found, structures, progress=part(progress, 0.9, 1.0))
        plan["warnings"] = warnings
        report = checked.payload() | {"model": written.provenance.model, "warnings": warnings}
        (temp / "report.txt").write_text(f"{checked.text}\n\n({report['notice']})\n", encoding="utf-8")
        (temp / "report.json").write_text(dumps(report), encoding="utf-8")
        # Its limits are "not evaluable" then, and the text does not say why.
        no_dose = "" if plan["made_from"]["dose_metrics"] else f"\n({plan['dose_used']})\n"
        (temp / "plan.txt").write_text(f"{plan['text']}\n{no_dose}", encoding="utf-8")
        (temp / "plan.json").write_text(dumps(plan), encoding="utf-8")
        findings = {
            "findings": found.findings, "look_first": found.look_first, "scope": vars(found.scope),
            "notice": report["notice"],
        }  # fmt: skip
        (temp / "findings.json").write_text(dumps(findings), encoding="utf-8")
        (temp / MADE_WITH).write_text(dumps(made_with), encoding="utf-8")
        temp.chmod(0o755)
        _put(temp, target)
    except CancelledError:
        raise
    except HnvlmError as error:
        return {"state": "refused", "error": error.message, "code": error.code}
    finally:
        shutil.rmtree(temp, ignore_errors=True)  # where it was put in its place there is none any more
    return {"state": "done", "files": _files(target)}


def _put(made: Path, target: Path) -> None:
    """Let a complete folder take its place; one that is there goes only when the new one is in its place."""
    if not target.is_dir():
        os.replace(made, target)
        return
    before = made.with_name(f"{made.name}-before")
    os.replace(target, before)
    try:
        os.replace(made, target)
    except BaseException:
        os.replace(before, target)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _models() -> dict[str, dict[str, str]]:
    """Version and SHA-256 of the weights of every installed model that has a part in the drafts."""
    made = [made_by(settings().models_dir, name) for name in MODELS]
    return {m.model: {"version": m.version, "weights_sha256": m.weights_sha256} for m in made if m.weights_sha256}


def _read(file: Path) -> dict[str, Any] | None:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _differs(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    """Say what of what drafts were made with is another now; "" where nothing is."""
    if before is None or not isinstance(before.get("models"), dict):
        return "it is not known what it was made with"
    said = [
        f"{key} was {before.get(key)}, now {now[key]}" for key in ("language", "seed") if before.get(key) != now[key]
    ]
    models = [name for name in MODELS if before["models"].get(name) != now["models"].get(name)]
    return "; ".join(said + ([f"other models: {', '.join(models)}"] if models else []))


def _files(folder: Path) -> dict[str, str]:
    return {p.name: str(p) for p in sorted(folder.iterdir())}
