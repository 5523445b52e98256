"""Entry of ``hnvlm evaluate``: measure one thing and record it in the model's metrics.json."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from hnvlm.errors import ModelPackError, UsageError
from hnvlm.evaluate.common import (
    METRICS,
    log,
    measured_folder,
    patient_folders,
    read_metrics,
    refuse_training_folder,
    with_rules,
    write_metrics,
)
from hnvlm.evaluate.patients import WITHOUT_PATIENTS, check
from hnvlm.models.pack import load
from hnvlm.models.registry import missing_models

# evaluation -> models it needs
EVALUATIONS = {
    "segmentation": ("segmenter",),
    "dose": ("segmenter", "dose"),
    "zeroshot": ("segmenter", "text", "clip"),
    "retrieval": ("segmenter", "text", "clip"),
    "report": ("segmenter", "clip", "report"),
    "counterfactual": ("segmenter", "text", "clip", "diffusion", "judge"),
    "tumour": ("segmenter", "clip", "tumour"),
    "generation": ("text", "clip", "diffusion", "judge"),
}
# Evaluations that read patients.
ON_PATIENTS = tuple(name for name in EVALUATIONS if name != "generation")
# Evaluations that take the better part of an hour on one core.
IN_PROCESSES = ("counterfactual",)


def evaluate(
    name: str, data: Path, *, limit: int | None = None, record: bool = True, processes: int = 1
) -> dict[str, Any]:
    """Run one evaluation.

    Args:
        data: Folder with ``validation/``, or a folder of patients never trained on.
        limit: Use only the first patients (nothing is recorded then).
        record: Write the result into ``metrics.json`` of the model.
        processes: Share the patients out to so many processes (the longest evaluations only).

    Returns:
        ``metrics``, ``n_cases``, ``model``, ``seconds``; ``patients``, how far it is known that no model saw them in
        training; ``not_recorded``, the reason, where nothing could be written.

    Raises:
        InputRefusedError: A patient was trained on.
    """
    if name not in EVALUATIONS:
        raise UsageError(f"There is no evaluation '{name}'. Choose one of {', '.join(EVALUATIONS)}.")
    if processes < 1 or (processes > 1 and name not in IN_PROCESSES):
        raise UsageError(f"--processes is a number from 1; more than 1 only for {', '.join(IN_PROCESSES)}.")
    shared_out = {"processes": processes} if processes > 1 else {}
    pack = with_rules(load())
    absent = [m for m in EVALUATIONS[name] if m in missing_models(pack.folder)]
    if absent:
        raise ModelPackError(f"The evaluation '{name}' needs {', '.join(absent)}, which the pack lacks; train first.")
    patients: dict[str, Any] = {}
    if name in ON_PATIENTS:
        # Before the first patient is measured, not after an hour.
        measured = measured_folder(Path(data))
        refuse_training_folder(measured)
        patients = {"patients": check(pack.folder, EVALUATIONS[name], measured, patient_folders(measured)[:limit])}
    started = time.perf_counter()
    result = importlib.import_module(f"hnvlm.evaluate.{name}").run(pack, Path(data), limit=limit, **shared_out)
    result["seconds"] = round(time.perf_counter() - started, 1)
    result |= patients
    # What an evaluation measures of other models on the way goes into their cards.
    parts = {result["model"]: result, **result.pop("parts", {})}
    if record and limit is None:
        recorded = read_metrics(pack.folder / result["model"] / METRICS).get(name, {}).get("patients", {})
        own = patients["patients"]["content"] if patients else None
        others = recorded.get("content", own) != own
        try:
            for model, part in parts.items():
                whose = {} if model in WITHOUT_PATIENTS else patients
                write_metrics(pack, model, *named(name, Path(data), others=others), part | whose)
        except OSError as error:
            # An hour of measuring must not be lost with the place to write it down.
            result["not_recorded"] = f"{error.filename}: {error.strerror}"
            log(f"measured, but not written down: {result['not_recorded']}")
    return result


def named(name: str, data: Path, *, others: bool = False) -> tuple[str, str]:
    """Under which name an evaluation is recorded, and the command that repeats it.

    Only a ``validation`` folder counts as the model card's numbers, and not where those are of ``others`` than its
    patients (a hospital's own, beside the public ones of the card); numbers of other patients stand beside.
    """
    folder = measured_folder(data).resolve()
    if name not in ON_PATIENTS or (folder.name == "validation" and not others):
        return name, f"hnvlm evaluate {name} --data DATA"
    place = folder.parent.name if folder.name == "validation" else folder.name
    return f"{name} on {place}", f"hnvlm evaluate {name} --data {place}"
