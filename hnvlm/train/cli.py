"""Entry of ``hnvlm train``: the trainer of a name, with where it reads and writes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hnvlm.config import settings
from hnvlm.errors import UsageError
from hnvlm.evaluate.common import forget_metrics
from hnvlm.models.checkpoint import weights_sha256

TRAINERS = ("segmenter", "clip", "report", "dose", "diffusion", "judge")


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
        name: One of TRAINERS. ``clip`` trains the text reader too; ``report`` needs ``clip``; ``clip``, ``judge`` need
            ``segmenter``; ``diffusion`` needs the text reader.
        data: Folder with ``train/`` (and ``validation/``, which is never read).
        resume: Go on from the last checkpoint in ``work``.
        out: Folder that holds the model folders (default the model pack).
        options: ``steps`` or ``minutes``, ``batch``, ``threads``, ``device``, ``workers`` of the trainer.

    Returns:
        ``checkpoint`` and ``metrics``. What was measured of weights that are replaced is taken out of the model folder.
    """
    run = trainer(name)
    folder = (out or settings().models_dir) / name
    kept = {k: v for k, v in options.items() if v is not None}
    before = _weights(folder)
    made = run(Path(data), folder, Path(work), resume=resume, **kept)
    if before is not None and _weights(folder) != before:
        forget_metrics(folder)
    return made


def _weights(folder: Path) -> str | None:
    return weights_sha256(folder) if (folder / "model.safetensors").exists() else None
