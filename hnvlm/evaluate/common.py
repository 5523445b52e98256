"""What every evaluation shares: validation folders, reading of cases, metrics files and model cards."""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hnvlm.errors import InputRefusedError, UnreadableFileError
from hnvlm.imaging.nifti import description, read_volume, to_int16_hu
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import AI_DRAFT
from hnvlm.models.pack import ModelPack
from hnvlm.report import drafting
from hnvlm.report.request_facts import request_facts
from hnvlm.types import OPENKBP_TO_TG263

Item = TypeVar("Item")
Result = TypeVar("Result")
# Who has this contoured is treated for gross disease.
TREATED = "PTV_7000"
# Headers of one grid differ by rounding.
GRID_TOLERANCE_MM = 0.05


def log(message: str) -> None:
    """One progress line to stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stderr.flush()


def read_case(folder: Path) -> tuple[Volume, dict[str, np.ndarray]]:
    """CT (int16 HU) and the clinic's masks (TG-263 names) of a case folder, LPS axes (z, y, x).

    Raises:
        InputRefusedError: A mask lies on another grid than the CT, or a file is damaged.
    """
    ct = read_file(folder / "ct.nii.gz", fill=-1024.0)
    ct = ct.with_array(to_int16_hu(ct.array))
    masks = {}
    for path in sorted(folder.glob("*.nii.gz")):
        stem = path.name.removesuffix(".nii.gz")
        name = OPENKBP_TO_TG263.get(stem, stem)
        if name in OPENKBP_TO_TG263.values():
            # Read as the CT is: a file may hold its axes the other way round.
            mask = read_file(path, order=0)
            require_grid(path, mask, ct, "CT")
            masks[name] = mask.array > 0
    return ct, masks


def read_gross(folder: Path, ct: Volume, name: str = "GTV") -> np.ndarray | None:
    """Gross tumour of a case folder, bool (z, y, x) on the CT's grid; None where there is no such file.

    Args:
        name: ``GTV`` is all of it, ``GTVn`` what of it is nodes.

    Raises:
        InputRefusedError: It lies on another grid than the CT, or is damaged.
    """
    path = folder / f"{name}.nii.gz"
    if not path.exists():
        return None
    mask = read_file(path, order=0)
    require_grid(path, mask, ct, "CT")
    return mask.array > 0


def drawn_by_model(folder: Path) -> set[str]:
    """TG-263 names of the contours of a case folder that a model drew: ``hnvlm segment`` says so in its files.

    Lesions and reports can be learned with them; a segmenter that learns from them, or is held against them, would
    agree with itself.
    """
    drawn = set()
    for path in folder.glob("*.nii.gz"):
        name = OPENKBP_TO_TG263.get(stem := path.name.removesuffix(".nii.gz"), stem)
        if name in OPENKBP_TO_TG263.values() and AI_DRAFT in description(path):
            drawn.add(name)
    return drawn


def read_file(path: Path, **options: Any) -> Volume:
    """``read_volume`` of a file of a case folder; a refusal says whose it is, as all patients' have one name."""
    try:
        return read_volume(path, **options)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{path.parent}: {error.message}", code=error.code) from error


def require_grid(path: Path, volume: Volume, other: Volume, what: str) -> None:
    """Refuse a file that does not share the grid of its patient's CT or dose.

    Raises:
        InputRefusedError: It does not; the message names it.
    """
    if not volume.same_grid(other, GRID_TOLERANCE_MM):
        raise InputRefusedError(
            f"{path} has shape {volume.shape}, voxels of {_mm(volume.spacing_mm)} from {_mm(volume.origin_mm)}; its "
            f"{what} has {other.shape}, {_mm(other.spacing_mm)} from {_mm(other.origin_mm)}. Both must share a grid."
        )


def _mm(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.5g}" for v in values) + " mm"


def with_rules(pack: ModelPack) -> ModelPack:
    """The pack as the product uses it: rules read a request before the learned reader."""
    pack.rules = request_facts
    pack.words = drafting
    return pack


def patient_folders(root: Path, file: str = "ct.nii.gz") -> list[Path]:
    """The patient folders right below ``root`` that hold ``file``, by name; not what a killed import left half done."""
    found = (p.parent for p in root.glob(f"*/{file}"))
    return sorted((f for f in found if not f.name.startswith(".")), key=lambda f: f.name)


def measured_folder(data: Path) -> Path:
    """The folder whose patients are measured: ``validation`` in ``data`` where there is one, else ``data`` itself."""
    inner = Path(data) / "validation"
    return inner if inner.is_dir() else Path(data)


def refuse_training_folder(folder: Path) -> None:
    """Refuse a folder by its name alone, whatever is known of whom the models were trained on.

    Raises:
        InputRefusedError: It is called ``train``.
    """
    if folder.resolve().name == "train":
        raise InputRefusedError(f"{folder} is a training folder; numbers are measured on patients never trained on.")


def evaluation_folders(data: Path, limit: int | None = None) -> list[Path]:
    """Patient folders to measure on: ``data`` itself, or its ``validation`` folder.

    Raises:
        InputRefusedError: It is the training folder, or holds no patient.
    """
    data = measured_folder(data)
    refuse_training_folder(data)
    folders = patient_folders(data)
    if not folders:
        raise InputRefusedError(f"{data} holds no patient folder with a ct.nii.gz.")
    return folders[:limit]


def each(
    work: Callable[[Item], Result], items: Sequence[Item], processes: int = 1, *,
    begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:  # fmt: skip
    """Yield the result of each item in order, from this process or dealt out to several.

    Args:
        work: For several processes a function of a module, as it is sent to them by name.
        begin: Called once with ``arguments`` in each of several processes.
    """
    if processes <= 1:
        yield from map(work, items)
        return
    # Spawned: a forked process hangs in the threads its parent's torch left behind.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=begin, initargs=arguments) as pool:
        yield from pool.map(work, items)


METRICS = "metrics.json"
MEASURED = "<!-- measured: written by hnvlm evaluate -->"
# Stays until a person writes the card anew.
OF_EARLIER_WEIGHTS = (
    "> The weights were trained anew after this card was written. What it says above of data, training, figures and "
    "limits is of the weights before."
)


def write_metrics(pack: ModelPack, model: str, evaluation: str, command: str, result: dict[str, Any]) -> None:
    """Record an evaluation in the model's metrics.json (other evaluations in it are kept) and in its card.

    ``counted`` of the result says what ``n_cases`` are where they are no patients (``sentences``).
    """
    path = pack.folder / model / METRICS
    known = read_metrics(path)
    known[evaluation] = {"command": command, **{k: finite(result[k]) for k in ("n_cases", "metrics")}}
    if "counted" in result:
        known[evaluation]["counted"] = result["counted"]
    if "patients" in result:
        known[evaluation]["patients"] = result["patients"]
    _replace(path, json.dumps(known, indent=1, allow_nan=False) + "\n")
    refresh_card(pack.folder / model, known)


def read_metrics(path: Path) -> dict[str, Any]:
    """Recorded evaluations by name; none where there is no file or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        log(f"{path} is damaged and begins anew; what it held of other evaluations is lost")
        return {}


def forget_metrics(folder: Path) -> None:
    """Take the measured numbers out of a model folder and its card, and mark the card: it tells of earlier weights."""
    if (folder / METRICS).exists():
        log(f"{folder / METRICS} is removed: it was measured on earlier weights; see hnvlm evaluate")
        (folder / METRICS).unlink()
    card = folder / "README.md"
    if card.exists():
        head, marker, rest = card.read_text(encoding="utf-8").partition(MEASURED)
        if OF_EARLIER_WEIGHTS not in head:
            _replace(card, f"{head.rstrip()}\n\n{OF_EARLIER_WEIGHTS}\n\n{marker}{rest}")
        refresh_card(folder, {})


def finite(value: Any) -> Any:
    """The same value, with None for what is not a number (JSON has no NaN)."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: a full disk must not cost what was measured before.

    Not by ``whole_file``, which makes the folder: a model that is gone from the pack gets no record.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def refresh_card(folder: Path, metrics: dict[str, Any]) -> None:
    """Rewrite the measured part of a model card (everything after its marker) from metrics.json."""
    card = folder / "README.md"
    if not card.exists():
        return
    head = card.read_text(encoding="utf-8").split(MEASURED)[0].rstrip()
    lines = [head, "", MEASURED]
    for result in metrics.values():
        counted = f"{result['n_cases']} {result.get('counted', 'cases')}"
        lines += ["", f"`{result['command']}` ({counted})", "", *_checked(result.get("patients"))]
        lines += ["| measure | value |", "|---|---|"]
        lines += [f"| {name} | {_shown(value)} |" for name, value in result["metrics"].items() if name != "per_label"]
    if not metrics:
        lines += ["", "These weights have not been measured yet; see `hnvlm evaluate`."]
    _replace(card, "\n".join(lines) + "\n")


def _checked(patients: dict[str, Any] | None) -> list[str]:
    """Lines of a card on whom the models were trained on; none for numbers from before it was kept."""
    if patients is None:
        return []
    said = []
    if patients["trained_on_known_for"]:
        said.append(f"None of these patients was trained on, by image: {', '.join(patients['trained_on_known_for'])}.")
    if patients["not_known_for"]:
        said.append(f"Not recorded whom they were trained on: {', '.join(patients['not_known_for'])}.")
    for key, words in (("same_image", "One and the same image"), ("named_as_kept_aside", "Named as kept aside")):
        if patients.get(key):
            said.append(f"{words}: {', '.join(patients[key])}.")
    return [" ".join(said), ""] if said else []


def _shown(value: Any) -> str:
    """One metric as a table cell: a share with n and interval, a mean with spread, or plain."""
    if not isinstance(value, dict):
        return str(value)
    if value.get("n") == 0:
        return "no case"
    if "value" in value and "n" in value:
        n = f"n {value['n']}" + (f" in {value['patients']} patients" if "patients" in value else "")
        told = "not measured" if value["value"] is None else value["value"]
        return f"{told} (95 % {value['low']}-{value['high']}, {n})" if "low" in value else f"{told} ({n})"
    if "mean" in value:
        middle = f", median {value['median']}" if "median" in value else ""
        return f"{value['mean']} +- {value['sd']} (n {value['n']}{middle})"
    return "; ".join(f"{k}: {_shown(v)}" for k, v in value.items())
