"""Entry of ``hnvlm train``: the trainer of a name, with where it reads and writes."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from hnvlm.config import settings
from hnvlm.errors import CancelledError, HnvlmError, UsageError
from hnvlm.evaluate.common import forget_metrics, log
from hnvlm.evaluate.patients import RECORD, read_trained, write_trained
from hnvlm.models.checkpoint import weights_sha256
from hnvlm.train.data import patients_of_run
from hnvlm.train.loop import CHECKPOINT_SECONDS, ENDLESS

# What a run is made of; the others say how long and on what it runs.
KEPT_SETTINGS = ("batch", "learning_rate", "hold_out", "pool_size", "per_patient", "from_pack")
# Models whose weights become part of another: whom they saw, it saw.
PARTS = {"clip": ("segmenter",), "tumour": ("clip",)}
# What torch and safetensors say of a disk that is full.
DISK_FULL = ("No space left", "os error 28", "PytorchStreamWriter failed writing", "file write failed")
TRAINERS = ("segmenter", "clip", "report", "dose", "diffusion", "judge", "tumour")


def trainer(name: str) -> Callable[..., dict[str, Any]]:
    """The function that trains the model of this name; its keyword arguments are the options of ``hnvlm train``."""
    if name not in TRAINERS:
        raise UsageError(f"There is no trainer '{name}'. Choose one of {', '.join(TRAINERS)}.")
    return importlib.import_module(f"hnvlm.train.{name}").train


def train(
    name: str, data: Path, resume: bool = False, *, out: Path | None = None, work: Path = Path("runs"), **options: Any
) -> dict[str, Any]:
    """Train one model.

    Args:
        name: One of TRAINERS. ``clip`` needs ``segmenter`` and trains the text reader where there is none; ``report``
            needs ``clip``; ``tumour`` needs ``clip`` and ``segmenter``; ``diffusion`` needs the text reader; the others
            need none.
        data: Folder with ``train/`` (and ``validation/``, which is never read).
        resume: Go on from the last checkpoint in ``work``.
        out: Folder that holds the model folders (default the model pack).
        options: ``steps`` or ``minutes``, ``batch``, ``threads``, ``device``, ``workers`` of the trainer.

    Returns:
        ``checkpoint`` and ``metrics``; where weights are replaced, ``replaced``: a copy of the model folder as it was.
        What was measured of those is taken out of the model folder.

    Raises:
        UsageError: No such trainer, or a run is resumed with another of the ``KEPT_SETTINGS`` than it began with.
        CancelledError: Ctrl-C.
    """
    run = trainer(name)
    folder = (out or settings().models_dir) / name
    kept = {k: v for k, v in options.items() if v is not None}
    _require_same_settings(run, Path(work) / f"{name}-settings.json", resume, kept)
    if kept.get("minutes"):
        kept.setdefault("steps", ENDLESS)  # the time ends the run, not a number of steps that nobody gave
    before = _weights(folder)
    copy = None if before is None else _copied(folder, Path(work) / "replaced" / f"{name}-{before[:12]}")
    note, from_pack = Path(work) / f"{name}-patients.json", bool(kept.get("from_pack"))
    seen = patients_of_run(Path(data), note, folder, resume=resume, from_pack=from_pack)
    try:
        made = run(Path(data), folder, Path(work), resume=resume, **kept)
    except KeyboardInterrupt:
        raise CancelledError(
            "Stopped. The same command with --resume goes on from the last checkpoint (one is written every "
            f"{CHECKPOINT_SECONDS // 60} minutes)."
        ) from None
    except (RuntimeError, SafetensorError) as error:
        # Neither library raises an OSError for a full disk.
        if not any(words in str(error) for words in DISK_FULL):
            raise
        raise HnvlmError(
            f"There is no room left for the checkpoint in {work} or for the weights in {folder}; the model there is "
            "as it was. Make room; the same command with --resume goes on from the last checkpoint.",
            code="output",
        ) from error
    if seen is not None:
        # Who was learned from is kept with the model, so that nobody measures it on them.
        for part in PARTS.get(name, ()):
            seen = seen.joined(read_trained(folder.parent / part / RECORD))
        write_trained(folder / RECORD, seen)
    if before is not None and _weights(folder) != before:
        forget_metrics(folder)
        log(f"the {name} as it was is kept in {copy}; copy it over {folder} to go back")
        made["replaced"] = str(copy)
    return made


def _copied(folder: Path, copy: Path) -> Path:
    """Copy a model folder that a training will write to; once, as ``copy`` is named after its weights."""
    if not copy.exists():
        part = copy.with_name(f".{copy.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            shutil.copytree(folder, part)
            part.rename(copy)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise HnvlmError(
                f"{copy}: the model as it is cannot be kept there, so nothing was trained. Is the disk full, or "
                "read-only? Make room, or name another place with --work.",
                code="output",
            ) from error
    return copy


def _require_same_settings(run: Callable[..., Any], note: Path, resume: bool, options: dict[str, Any]) -> None:
    """Refuse to resume a run as another one, of which the model folder would then tell; ``note`` lies beside it."""
    takes = inspect.signature(run).parameters
    now = {key: options.get(key, takes[key].default) for key in KEPT_SETTINGS if key in takes}
    if resume and note.exists():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{note} is damaged. Remove it to resume the run with the settings you give.") from error
        changed = [key for key in now if key in before and before[key] != now[key]]
        if changed:
            was, asked = (", ".join(f"--{k.replace('_', '-')} {v[k]}" for k in changed) for v in (before, now))
            raise UsageError(
                f"This run began with {was} and cannot go on with {asked}. Give the same again, or begin anew without "
                "--resume."
            )
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(now), encoding="utf-8")


def _weights(folder: Path) -> str | None:
    return weights_sha256(folder) if (folder / "model.safetensors").exists() else None
