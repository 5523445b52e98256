"""Import the public OpenKBP challenge's own CSV folders into the case-folder layout that training reads.

The challenge (A. Babier et al., Medical Physics 48 (2021) 5549, repository ababier/open-kbp, MIT licence)
ships one folder per patient with sparse CSV files: a header line, then ``index,value`` for CT and dose and
``index,`` for masks. The index is flat, C order, into a 128 x 128 x 128 array; voxels that are not listed
are 0.

Axes. The challenge does not document them. Here: array axis 0 runs to the patient's back (DICOM +y), axis 1
to the patient's left (+x), and axis 2 runs to the feet, against DICOM's z. So the case-folder array is
``out[z, y, x] = challenge[y, x, 127 - z]``. This was decided by comparing the challenge's CSV of training
patient pt_1 with the same patient's DICOM-oriented volume: of the eight combinations of flips only this one
reproduces the left parotid and the CT numbers voxel by voxel. ``voxel_dimensions.csv`` lists millimetres in
the order of the array axes, (y, x, z). CT values are HU + 1024, so air that is not listed becomes -1024.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError, UnreadableFileError
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti
from hnvlm.types import OPENKBP_TO_TG263, Progress, no_progress

SHAPE = (128, 128, 128)
HU_OFFSET = 1024
MASKS = (*OPENKBP_TO_TG263, "possible_dose_mask")
# Folder names of the challenge -> split of the case-folder layout.
SPLITS = {"train-pats": "train", "valid-pats": "validation", "validation-pats": "validation", "test-pats": "test"}
# Names that count only for the folder the patients lie in: a path may hold a "test" for other reasons.
PLAIN_SPLITS = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
_MAX_DOSE_GY = 200.0


def import_openkbp(src: Path | str, dst: Path | str, *, progress: Progress = no_progress) -> dict[str, Any]:
    """Turn the challenge's CSV folders into case folders; the split by patient is kept.

    Patients that are already complete in ``dst`` are passed over, so an interrupted import goes on where it
    stopped. A patient without ``ct.csv`` goes below ``without_ct/``.

    Args:
        src: The repository, its ``provided-data`` folder, one ``*-pats`` folder, or a folder of ``pt_*``.
        dst: New data folder; gets ``train/``, ``validation/``, ``test/`` (patients in no folder named after a split:
            ``train/``).
        progress: Called with (fraction, message).

    Returns:
        ``n_patients`` (in ``dst`` from this source), ``n_new``, ``splits`` {split: number}, ``without_ct``,
        ``path``.

    Raises:
        InputRefusedError: No patient folder is there.
        UnreadableFileError: A CSV file is damaged; the message names it. Earlier patients stay imported.
    """
    src, dst = Path(src), Path(dst)
    patients = find_patients(src)
    if not patients:
        raise InputRefusedError(
            f"{src}: no OpenKBP patient found. Give the folder of the challenge that holds train-pats and valid-pats "
            "(each with pt_*/ct.csv, dose.csv, ...)."
        )
    splits: dict[str, int] = {}
    new = without_ct = 0
    for number, (split, folder) in enumerate(patients):
        progress(number / len(patients), f"{split} {folder.name}")
        has_ct = (folder / "ct.csv").is_file()
        target = (dst if has_ct else dst / "without_ct") / split / folder.name
        without_ct += not has_ct
        splits[split] = splits.get(split, 0) + 1
        if not target.is_dir():
            import_patient(folder, target)
            new += 1
    progress(1.0, f"{len(patients)} patients")
    return {"n_patients": len(patients), "n_new": new, "splits": splits, "without_ct": without_ct, "path": str(dst)}


def find_patients(src: Path) -> list[tuple[str, Path]]:
    """Return (split, patient folder), sorted by split and patient number.

    Raises:
        InputRefusedError: No such folder, or some patients are split and others are not: a copy of a validation folder
            under another name must not become training data.
    """
    if not src.is_dir():
        raise InputRefusedError(f"{src}: no such folder.")
    # Resolved, because the name of the split may stand above the folder that was given ("." inside valid-pats).
    folders = {p.parent for p in src.resolve().rglob("voxel_dimensions.csv")}
    found = [(split_of(folder), folder) for folder in folders]
    loose = sorted(folder for split, folder in found if split is None)
    if loose and len(loose) < len(found):
        raise InputRefusedError(
            f"{loose[0]}: in none of the challenge's folders ({', '.join(SPLITS)}), while other patients are, so it "
            "cannot be told whether it may be trained on. Move it into one, or import the folders one by one."
        )
    return sorted(
        ((s or "train", f) for s, f in found), key=lambda pair: (pair[0], _number(pair[1].name), pair[1].name)
    )


def split_of(folder: Path) -> str | None:
    """The split of a patient's folder (an absolute path), or None when no folder above it names one."""
    named = next((SPLITS[part] for part in reversed(folder.parts) if part in SPLITS), None)
    return named or PLAIN_SPLITS.get(folder.parent.name)


def import_patient(folder: Path, target: Path) -> None:
    """Write one patient; ``target`` appears only when it is complete.

    Raises:
        UnreadableFileError: A file is damaged; nothing is left behind.
    """
    y, x, z = read_dimensions(folder / "voxel_dimensions.csv")
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for csv in sorted(folder.glob("*.csv")):
            convert = _CONVERTERS.get(csv.stem)
            if convert is not None:
                write_nifti(Volume(convert(csv), (z, y, x)), temp / f"{csv.stem}.nii.gz")
        temp.chmod(0o755)  # mkdtemp makes it private
        os.replace(temp, target)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise


def read_dimensions(path: Path) -> tuple[float, float, float]:
    """Return the voxel size in mm, order of the challenge's array axes: (y, x, z)."""
    try:
        values = [float(v) for v in path.read_text().replace(",", " ").split()]
    except ValueError as error:
        raise UnreadableFileError(f"{path}: not a list of three numbers.") from error
    if len(values) != 3 or not all(0.1 < v < 50 for v in values):
        raise UnreadableFileError(f"{path}: three voxel sizes in millimetres expected, found {values}.")
    return values[0], values[1], values[2]


def read_sparse(path: Path, *, values: bool) -> tuple[np.ndarray, np.ndarray]:
    """Read one sparse CSV.

    Args:
        values: Whether a second column holds numbers (CT, dose) or the file lists indices alone (masks).

    Returns:
        Flat C-order indices (int64) and values (float64; ones for a mask).

    Raises:
        UnreadableFileError: A line is no number, a value is missing, the header line is, or an index is outside the
            grid or listed twice.
    """
    try:
        header, _, body = path.read_text(encoding="utf-8-sig").partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path}: cannot be read as text ({error}).") from error
    if header.partition(",")[0].strip().isdigit():
        raise UnreadableFileError(f"{path}: the first line is the header of the challenge's files, found '{header}'.")
    try:
        if values:
            # A line without its value would shift every number after it.
            pairs = [line.strip().split(",") for line in body.splitlines() if line.strip()]
            if any(len(pair) != 2 or not pair[1] for pair in pairs):
                raise ValueError("a value is missing or there is one too many")
            table = np.array(pairs, np.float64).reshape(-1, 2)
            index, data = table[:, 0], table[:, 1]
        else:
            index = np.array([line.partition(",")[0] for line in body.split()], np.float64)
            data = np.ones(index.size)
    except ValueError as error:
        what = "index,value" if values else "index"
        raise UnreadableFileError(f"{path}: every line after the first must read '{what}' ({error}).") from error
    whole = index.astype(np.int64)
    size = int(np.prod(SHAPE))
    if whole.size and (whole.min() < 0 or whole.max() >= size or (whole != index).any()):
        raise UnreadableFileError(f"{path}: an index is outside the grid of {size} voxels, or no whole number.")
    if np.unique(whole).size != whole.size:
        raise UnreadableFileError(f"{path}: a voxel is listed twice.")
    if not np.isfinite(data).all():
        raise UnreadableFileError(f"{path}: a value is missing or not a number.")
    return whole, data


def to_lps(challenge: np.ndarray) -> np.ndarray:
    """Reorder the challenge's array (y, x, z to the feet) to (z to the head, y, x); see the module's text."""
    return np.ascontiguousarray(challenge[:, :, ::-1].transpose(2, 0, 1))


def _dense(path: Path, *, values: bool) -> np.ndarray:
    index, data = read_sparse(path, values=values)
    out = np.zeros(int(np.prod(SHAPE)))
    out[index] = data
    return to_lps(out.reshape(SHAPE))


def _ct(path: Path) -> np.ndarray:
    stored = _dense(path, values=True)
    if stored.max() <= 0:
        raise UnreadableFileError(f"{path}: the CT is empty.")
    return np.clip(np.rint(stored) - HU_OFFSET, -HU_OFFSET, 32767).astype(np.int16)


def _dose(path: Path) -> np.ndarray:
    dose = _dense(path, values=True)
    if dose.min() < 0 or dose.max() > _MAX_DOSE_GY:
        raise UnreadableFileError(f"{path}: dose from {dose.min():.1f} to {dose.max():.1f} is not in Gy.")
    return dose.astype(np.float32)


def _mask(path: Path) -> np.ndarray:
    return _dense(path, values=False).astype(np.uint8)


_CONVERTERS: dict[str, Callable[[Path], np.ndarray]] = {"ct": _ct, "dose": _dose} | dict.fromkeys(MASKS, _mask)


def _number(name: str) -> int:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits) if digits else 0
