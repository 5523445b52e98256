"""Baseline of the dose network: boosted trees on distances, voxel by voxel, without CT and without field geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.evaluate.common import log
from hnvlm.evaluate.dose_scores import DoseCase, read_dose_case
from hnvlm.imaging.resample import box_slices
from hnvlm.imaging.whole import whole_file
from hnvlm.models.dose_inputs import CHANNELS, LEVELS_GY, DoseInputs, prepare, prescription_map, treated_targets
from hnvlm.types import OAR_NAMES

GEOMETRY = ("prescription", *(f"distance_{g:g}" for g in LEVELS_GY), *(f"distance_{n}" for n in OAR_NAMES))
VOXELS_PER_PATIENT = 8000


def inputs_of(case: DoseCase) -> DoseInputs:
    """Network inputs of a challenge case on its own grid."""
    used = treated_targets(case.masks, None, case.dose.shape)
    gray = case.dose.with_array(prescription_map({n: case.masks[n] for n in used}, used))
    return prepare(gray, case.masks, case.possible)


def features(inputs: DoseInputs) -> np.ndarray:
    """(N, F) distances, the position relative to the targets, and how far to the skin of the slice (mm)."""
    place = tuple(inputs.fields.index.T)
    columns = [inputs.channels[CHANNELS.index(name)][place] for name in GEOMETRY]
    body = inputs.body
    offset = body.index_to_mm(inputs.fields.index) - inputs.fields.isocentre_mm
    target = body.index_to_mm(np.argwhere(inputs.channels[0] > 0)) - inputs.fields.isocentre_mm
    for axis in range(3):
        columns += [offset[:, axis] - target[:, axis].min(), target[:, axis].max() - offset[:, axis]]
    columns.append(np.abs(offset[:, 2]))
    return np.stack(columns, axis=1).astype(np.float32)


class DoseTrees:
    """Boosted trees fitted to a sample of voxels of the training patients.

    Args:
        folders: Case folders with a dose; never those it is measured on.
        cache: Folder for the sampled voxels.
    """

    def __init__(self, folders: Sequence[Path], cache: Path) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        x, y = self._voxels(folders, cache)
        log(f"boosted trees: {len(folders)} patients, {len(y)} voxels")
        self.model: Any = HistGradientBoostingRegressor(
            loss="absolute_error", max_iter=300, learning_rate=0.1, max_leaf_nodes=63, min_samples_leaf=40,
            random_state=0,
        ).fit(x, y)  # fmt: skip

    def _voxels(self, folders: Sequence[Path], cache: Path) -> tuple[np.ndarray, np.ndarray]:
        # A dose or a contour that was replaced under the same name makes other voxels.
        names = "|".join(f"{f.resolve()}:{_stamps(f)}" for f in folders)
        key = hashlib.sha256(f"v2|{VOXELS_PER_PATIENT}|{names}".encode()).hexdigest()[:12]
        path = cache / f"dose-trees-{key}.npz"
        if path.exists():
            with np.load(path) as z:
                return z["x"], z["y"]
        rng = np.random.default_rng(0)
        xs, ys = [], []
        for folder in folders:
            case = read_dose_case(folder)
            inputs = inputs_of(case)
            dose = inputs_crop(inputs, case.dose.array)[tuple(inputs.fields.index.T)]
            pick = rng.permutation(len(dose))[:VOXELS_PER_PATIENT]
            xs.append(features(inputs)[pick])
            ys.append(dose[pick])
        x, y = np.concatenate(xs), np.concatenate(ys)
        with whole_file(path) as partial:
            np.savez(partial, x=x, y=y)
        return x, y

    def predict(self, case: DoseCase) -> np.ndarray:
        """Dose (float32 Gy) on the case's grid."""
        inputs = inputs_of(case)
        crop = np.zeros(inputs.body.shape, np.float32)
        crop[tuple(inputs.fields.index.T)] = np.maximum(self.model.predict(features(inputs)), 0)
        return inputs.window.undo(crop)


def inputs_crop(inputs: DoseInputs, array: np.ndarray) -> np.ndarray:
    """The part of an array on the patient's grid that the inputs cover."""
    box = inputs.window.box
    return array[box_slices(box)]


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    files = sorted(folder.glob("*.nii.gz"))
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
