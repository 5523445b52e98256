"""Whom a model was trained on, by the content of the images, and whether a measured patient is among them.

A folder's name tells little: a patient may come back under another one, and two clinics have a patient of one name.
What is kept with a model is a hash of each patient's image; it names nobody to those who do not have the image.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.evaluate.common import log, patient_folders, read_file
from hnvlm.imaging.nifti import to_int16_hu
from hnvlm.imaging.whole import whole_file
from hnvlm.models.checkpoint import read_config

RECORD = "patients.json"
# Where the config of a model names the patients that it did not learn from and whose thresholds it was given.
KEPT_NAMES = ("held_out", "kept_aside_patients")
WHAT = (
    "SHA-256 (first 32 hex digits) of shape and HU of the CT, or where there is none of the dose, of every patient "
    "trained on or kept aside to set thresholds"
)
# Learns from sentences alone.
WITHOUT_PATIENTS = ("text",)
NAMED = 5


@dataclass(frozen=True)
class Trained:
    """Patients of a model: content hashes, and whether they are all (not so after going on from unrecorded ones)."""

    content: frozenset[str]
    complete: bool

    def joined(self, other: Trained | None) -> Trained:
        """Of a model that saw both; not all are known where there is no record of the other."""
        if other is None:
            return Trained(self.content, False)
        return Trained(self.content | other.content, self.complete and other.complete)


def content_of(folder: Path) -> str:
    """Hash of a patient's image: the same however the file is named or compressed.

    Raises:
        UnreadableFileError: The image is damaged.
    """
    path = folder / "ct.nii.gz"
    if path.exists():
        array = to_int16_hu(read_file(path, fill=-1024.0).array)
    else:
        array = read_file(folder / "dose.nii.gz").array.astype(np.float32)
    digest = hashlib.sha256(repr((array.shape, str(array.dtype))).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def write_trained(path: Path, trained: Trained) -> None:
    """Keep whom a model was trained on, in its folder as ``RECORD``; a whole file or the one before."""
    told = {"what": WHAT, "complete": trained.complete, "content": sorted(trained.content)}
    with whole_file(path) as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read_trained(path: Path) -> Trained | None:
    """What ``write_trained`` kept; None where there is no such file.

    Raises:
        ModelPackError: The record is damaged.
    """
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Trained(frozenset(map(str, told["content"])), told["complete"] is True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelPackError(
            f"{path} is damaged, so nobody can say whom this model was trained on. Restore the model pack, or remove "
            "the file: then it counts as not recorded."
        ) from error


def training_beside(data: Path, file: str = "ct.nii.gz") -> list[Path]:
    """Patients with ``file`` of the ``train`` folder in or beside the measured one, by name; empty without one."""
    roots = (Path(data) / "train", Path(data).resolve().parent / "train")
    root = next((r for r in roots if r.is_dir()), None)
    return patient_folders(root, file) if root is not None else []


def check(pack_folder: Path, models: Sequence[str], data: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Refuse patients that a model was trained on, and say how far that could be checked.

    Args:
        models: Those the evaluation uses.
        folders: Patients to be measured.

    Returns:
        ``n``; ``content``, one hash of all measured images, by which two results are known to be of the same patients;
        ``trained_on_known_for`` and ``not_known_for``, the models; ``same_image`` and ``named_as_kept_aside`` where
        there are such patients.

    Raises:
        InputRefusedError: A measured patient was trained on, or has the image of one in the training folder beside.
    """
    own = {f.name: content_of(f) for f in folders}
    trained = {m: read_trained(pack_folder / m / RECORD) for m in models if m not in WITHOUT_PATIENTS}
    for model, record in trained.items():
        if record is not None:
            _refuse([name for name, c in own.items() if c in record.content], f"the {model} was trained on")
    measured = {f.resolve() for f in folders}
    beside = {_readable(f) for f in training_beside(data) if f.resolve() not in measured}
    _refuse([name for name, c in own.items() if c in beside], "the training folder beside them has the image of")
    whole = hashlib.sha256("".join(sorted(own.values())).encode()).hexdigest()[:16]
    told: dict[str, Any] = {
        "n": len(own),
        "content": whole,
        "trained_on_known_for": [m for m, record in trained.items() if record is not None and record.complete],
        "not_known_for": [m for m, record in trained.items() if record is None or not record.complete],
    }
    doubled = defaultdict(list)
    for name, content in own.items():
        doubled[content].append(name)
    same = [" = ".join(names) for names in doubled.values() if len(names) > 1]
    aside = {name for model in models for name in _kept_aside(pack_folder / model)}
    for key, found, words in (
        ("same_image", same, "have one and the same image and count as several patients"),
        ("named_as_kept_aside", [n for n in own if n in aside], "are named as patients that thresholds were set on"),
    ):
        if found:
            told[key] = found
            log(f"{_some(found)} {words}")
    if told["not_known_for"]:
        log(
            f"it is not (fully) recorded whom {', '.join(told['not_known_for'])} learned from: whether one of these "
            "patients is among them could not be checked"
        )
    return told


def _readable(folder: Path) -> str | None:
    try:
        return content_of(folder)
    except InputRefusedError as error:
        log(f"not compared with a training patient: {error.message}")
        return None


def _kept_aside(folder: Path) -> list[str]:
    try:
        config = read_config(folder)
        return [str(name) for key in KEPT_NAMES for name in config.get(key, [])]
    except ModelPackError:
        return []  # whoever needs the model says so


def _refuse(names: list[str], words: str) -> None:
    if names:
        raise InputRefusedError(
            f"Numbers are measured on patients never trained on: {words} {_some(names)}. Take them out of the folder."
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
