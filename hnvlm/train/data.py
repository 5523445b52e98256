"""Case folders to training tensors: one cached file a patient, on an isotropic grid.

Layout of a case folder: ``ct.nii.gz`` and one ``<Name>.nii.gz`` mask a structure (OpenKBP or TG-263
names); a mask that is missing was not contoured, which is not the same as empty.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import log, patient_folders, read_case, read_gross
from hnvlm.evaluate.patients import RECORD, Trained, content_of, read_trained, write_trained
from hnvlm.imaging.tg263 import NOT_STRUCTURES, to_tg263
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whole import whole_file
from hnvlm.types import OAR_NAMES, OPENKBP_TO_TG263, TARGET_NAMES

GRID_MM = 3.0
NAMED = 5
CHANNELS = OAR_NAMES + TARGET_NAMES
# Bit of the packed label map for each channel.
BIT = {name: i for i, name in enumerate(CHANNELS)}
# Gross disease of the clinic's (all gross tumour volumes together), which no network draws; above the bits of
# ``hnvlm.train.segmenter``.
GTV, GTV_BIT = "GTV", 12
# The part of it that the clinic says is nodes.
GTV_NODES, GTV_NODES_BIT = "GTVn", 13


@dataclass(frozen=True)
class CachedPatient:
    """One patient on the training grid.

    Attributes:
        ct: int16 HU (z, y, x) at ``GRID_MM`` isotropic, cropped to the body.
        labels: uint16 (z, y, x), one bit a channel (``BIT``), ``GTV_BIT`` and ``GTV_NODES_BIT``.
        known: bool per channel: whether the clinic contoured it. Of the targets all are known where one is contoured:
            a level without a contour was not treated.
        origin_mm: LPS position of voxel (0, 0, 0), (z, y, x).
    """

    patient_id: str
    ct: np.ndarray
    labels: np.ndarray
    known: np.ndarray
    origin_mm: tuple[float, float, float]


def case_folders(data: Path) -> list[Path]:
    """Return the patient folders under ``data`` that hold a CT, sorted by name.

    Raises:
        InputRefusedError: ``data`` has no patient folder.
    """
    folders = patient_folders(Path(data))
    if not folders:
        raise InputRefusedError(
            f"{data} holds no patient folder with a ct.nii.gz; see the case-folder layout in the README "
            "(hnvlm import-case makes one of DICOM, hnvlm import-openkbp of the public challenge's files)."
        )
    others = {p.name for p in Path(data).iterdir() if p.is_dir()} - {f.name for f in folders} - {"validation"}
    passed_over = sorted(name for name in others if not name.startswith("."))
    if passed_over:
        more = f" and {len(passed_over) - NAMED} more" if len(passed_over) > NAMED else ""
        log(f"{data}: passed over, as there is no ct.nii.gz: {', '.join(passed_over[:NAMED])}{more}")
    return folders


def refuse_validation_folder(data: Path) -> None:
    """Refuse to train on a folder called ``validation``.

    Raises:
        InputRefusedError: It is called so.
    """
    if data.resolve().name == "validation":
        raise InputRefusedError(f"{data} is the validation folder; models are never trained on it. Give its parent.")


def training_folders(data: Path) -> list[Path]:
    """Return the folders to train on: ``data/train`` when it exists, else ``data``; never ``validation``."""
    data = Path(data)
    refuse_validation_folder(data)
    folders = case_folders(data / "train" if (data / "train").is_dir() else data)
    tell_unread(folders)
    return folders


def tell_unread(folders: list[Path]) -> None:
    """Say in the log which masks have names that no trainer reads, and what to call those whose name is understood."""
    where: dict[str, int] = {}
    for path in (p for f in folders for p in f.glob("*.nii.gz")):
        stem = path.name.removesuffix(".nii.gz")
        if stem not in (*OPENKBP_TO_TG263, *CHANNELS, *NOT_STRUCTURES, GTV, GTV_NODES) and not stem.startswith("."):
            where[stem] = where.get(stem, 0) + 1
    told = []
    for stem, n in sorted(where.items(), key=lambda item: (to_tg263(item[0]) not in CHANNELS, -item[1], item[0])):
        meant = to_tg263(stem)
        told.append(f"{stem} ({n} patients{f'; call it {meant}' if meant in CHANNELS else ''})")
    if told:
        more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
        log(f"masks that are not read, as no model has a structure of that name: {', '.join(told[:NAMED])}{more}")


def patients_of_run(
    data: Path, note: Path, model: Path, *, resume: bool = False, from_pack: bool = False
) -> Trained | None:
    """Whom a training run shows to a model, by content: to be kept with it, so that nobody measures it on them.

    Everyone under ``data`` that a trainer may read counts, those kept aside to set thresholds on as well.

    Args:
        note: File of the run (beside its checkpoints); what an interrupted run saw counts when it is resumed.
        model: Model folder; whom its weights saw counts when the run begins with them (``from_pack``).

    Returns:
        None where ``data`` has no patient (the trainer says so); else what is to be written to the model's ``RECORD``.
    """
    data = Path(data)
    roots = [data / "train", data / "without_ct" / "train"] if (data / "train").is_dir() else [data]
    folders = {f for root in roots for file in ("ct.nii.gz", "dose.nii.gz") for f in patient_folders(root, file)}
    if not folders:
        return None
    seen = Trained(frozenset(content_of(f) for f in folders), True)
    # A checkpoint without a note is from before notes were taken.
    if resume and (note.exists() or any(note.parent.glob("*.pt"))):
        seen = seen.joined(read_trained(note))
    if from_pack:
        seen = seen.joined(read_trained(model / RECORD))
    write_trained(note, seen)
    return seen


def body_box(hu: np.ndarray, threshold: float = -500.0) -> tuple[slice, slice, slice]:
    """Smallest box (z, y, x slices) that holds every voxel above ``threshold`` HU; the whole array if none."""
    inside = hu > threshold
    out = []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        out.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, hu.shape[axis]))
    return tuple(out)  # type: ignore[return-value]


def to_grid(ct: Volume, masks: dict[str, np.ndarray], patient_id: str) -> CachedPatient:
    """Resample one case to the training grid (linear for HU, linear > 0.5 for masks), cropped to the body."""
    box = body_box(ct.array)
    start = np.array([b.start for b in box])
    stop = np.array([b.stop for b in box])
    lo = ct.index_to_mm(start - 1.0)
    hi = ct.index_to_mm(stop * 1.0)
    size = np.ceil((hi - lo) / GRID_MM).astype(int) + 1

    reference = sitk.Image([int(s) for s in size[::-1]], sitk.sitkFloat32)
    reference.SetSpacing((GRID_MM,) * 3)
    reference.SetOrigin([float(v) for v in lo[::-1]])

    def resample(array: np.ndarray, outside: float) -> np.ndarray:
        image = sitk.GetImageFromArray(array.astype(np.float32))
        image.SetSpacing(ct.spacing_mm[::-1])
        image.SetOrigin(ct.origin_mm[::-1])
        return sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside))

    hu = np.rint(resample(ct.array, -1024.0)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint16)
    known = np.zeros(len(CHANNELS), bool)
    # A CT that was never planned on says nothing of targets; taught as "none" it would unteach them.
    planned = any(name in masks for name in TARGET_NAMES)
    for name, bit in BIT.items():
        if name in masks:
            labels |= (resample(masks[name], 0.0) > 0.5).astype(np.uint16) << bit
        known[bit] = name in masks or (planned and name in TARGET_NAMES)
    for name, bit in ((GTV, GTV_BIT), (GTV_NODES, GTV_NODES_BIT)):
        if name in masks:
            labels |= (resample(masks[name], 0.0) > 0.5).astype(np.uint16) << bit
    return CachedPatient(patient_id, hu, labels, known, tuple(float(v) for v in lo))  # type: ignore[arg-type]


def fingerprint(folder: Path) -> str:
    """Of the files of a case folder; another contour or CT under the same name has another."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.nii.gz")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def is_current(path: Path, folder: Path) -> bool:
    """Whether the .npz at ``path`` was made from the files in ``folder`` as they are now.

    One from before this was noted does not say (it has no ``source``) and counts as current.
    """
    if not path.exists():
        return False
    with np.load(path) as z:
        return "source" not in z.files or str(z["source"]) == fingerprint(folder)


def load_cached(folder: Path, cache: Path) -> CachedPatient:
    """Return the patient on the training grid, from ``cache`` or computed and saved there; anew when a file changed."""
    key = hashlib.sha256(f"v1|{GRID_MM}|{folder.resolve()}".encode()).hexdigest()[:12]
    path = cache / f"{folder.name}-{key}.npz"
    if is_current(path, folder):
        with np.load(path) as z:
            return CachedPatient(folder.name, z["ct"], z["labels"], z["known"], tuple(z["origin_mm"].tolist()))
    ct, masks = read_case(folder)
    for name in (GTV, GTV_NODES):
        gross = read_gross(folder, ct, name)
        if gross is not None:
            masks[name] = gross
            masks[GTV] = masks.get(GTV, gross) | gross
    patient = to_grid(ct, masks, folder.name)
    with whole_file(path) as partial:
        np.savez(
            partial, ct=patient.ct, labels=patient.labels, known=patient.known, origin_mm=np.array(patient.origin_mm),
            source=fingerprint(folder),
        )  # fmt: skip
    return patient
