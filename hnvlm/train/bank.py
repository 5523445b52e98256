"""Bank of inserted lesions: made at each CT's own resolution, kept as differences on the training grid.

Resampling is linear, so "resample(CT + lesion)" equals "resample(CT) + resample(difference)": a training
sample is a cached CT plus some stored patches, which costs nothing at training time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hnvlm.errors import InputRefusedError
from hnvlm.imaging.anatomy import Anatomy, build_anatomy
from hnvlm.imaging.lesions import Lesion, LesionSpec, insert, random_spec, to_coarse
from hnvlm.imaging.volume import Volume
from hnvlm.train.data import BIT, CHANNELS, GRID_MM, CachedPatient, fingerprint, is_current, load_cached, read_case
from hnvlm.train.loop import log


@dataclass(frozen=True, eq=False)
class BankPatient:
    """One patient with the lesions that can be put into it.

    Attributes:
        patient: CT and labels on the training grid.
        centre_mm: Origin of the neck frame, LPS (z, y, x).
        lesions: Differences on the training grid.
        source: Fingerprint of the patient's files; "" when the bank is from before it was noted.
    """

    patient: CachedPatient
    centre_mm: tuple[float, float, float]
    lesions: list[Lesion]
    source: str = ""


def anatomy_of(patient: CachedPatient, masks: dict[str, np.ndarray] | None = None) -> Anatomy | None:
    """Landmarks of a cached patient from its contours, or from ``masks`` on the same grid where given."""
    if masks is None:
        masks = {c: ((patient.labels >> BIT[c]) & 1) > 0 for c in CHANNELS if patient.known[BIT[c]]}
    return build_anatomy(Volume(patient.ct, (GRID_MM,) * 3, patient.origin_mm), masks)


def _save(path: Path, bank: list[Lesion], centre: tuple[float, float, float] | None, source: str) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        meta=json.dumps(
            {
                "centre_mm": centre,
                "lesions": [
                    {"spec": asdict(b.spec), "start": b.start, "shape": b.delta.shape, "centre_mm": b.centre_mm}
                    for b in bank
                ],
            }
        ),
        delta=np.concatenate([b.delta.ravel() for b in bank]).astype(np.float16) if bank else np.zeros(0, np.float16),
        mask=np.concatenate([np.rint(b.mask * 255).ravel() for b in bank]).astype(np.uint8)
        if bank
        else np.zeros(0, np.uint8),
        source=source,
    )
    temporary.replace(path)


def _load(path: Path) -> tuple[list[Lesion], tuple[float, float, float] | None, str]:
    with np.load(path) as z:
        source = str(z["source"]) if "source" in z.files else ""
        meta = json.loads(str(z["meta"]))
        delta, mask = z["delta"].astype(np.float32), z["mask"].astype(np.float32) / 255.0
    lesions, at = [], 0
    for item in meta["lesions"]:
        n = int(np.prod(item["shape"]))
        lesions.append(
            Lesion(
                LesionSpec(**item["spec"]),
                tuple(item["start"]),
                delta[at : at + n].reshape(item["shape"]),
                mask[at : at + n].reshape(item["shape"]),
                tuple(item["centre_mm"]),
            )
        )
        at += n
    return lesions, tuple(meta["centre_mm"]) if meta["centre_mm"] else None, source


def _build_one(args: tuple[Path, Path, int, int, Path | None]) -> None:
    folder, cache, n, seed, masks_file = args
    path = _path(folder, cache, n, seed, masks_file)
    if is_current(path, folder):
        return
    patient = load_cached(folder, cache)
    masks = None
    if masks_file is not None:
        with np.load(masks_file) as z:
            masks = {k: z[k] for k in z.files}
    anatomy = anatomy_of(patient, masks)
    if anatomy is None:
        _save(path, [], None, fingerprint(folder))
        return
    ct, _ = read_case(folder)
    rng = np.random.default_rng([seed, int(hashlib.sha256(folder.name.encode()).hexdigest()[:8], 16)])
    bank: list[Lesion] = []
    for _ in range(n):
        lesion = insert(ct, anatomy, random_spec(rng), rng)
        coarse = to_coarse(lesion, ct, anatomy.ct) if lesion else None
        if coarse is not None:
            bank.append(coarse)
    _save(path, bank, anatomy.neck_centre_mm(), fingerprint(folder))


def _path(folder: Path, cache: Path, n: int, seed: int, masks_file: Path | None) -> Path:
    key = hashlib.sha256(f"b5|{folder.resolve()}|{n}|{seed}|{masks_file}".encode()).hexdigest()[:12]
    return cache / f"bank-{folder.name}-{key}.npz"


def load_bank(
    folders: list[Path],
    cache: Path,
    *,
    per_patient: int = 40,
    seed: int = 0,
    masks_of: Callable[[Path], Path | None] = lambda folder: None,
    workers: int = 2,
) -> list[BankPatient]:
    """Build (once, and anew when a file changed) and load the lesions of every folder.

    Patients without landmarks are left out.

    Args:
        masks_of: Returns an .npz of predicted structures on the training grid for a folder, or None to use the
            clinic's contours.

    Raises:
        InputRefusedError: No lesion can be put into any of them.
    """
    jobs = [(f, cache, per_patient, seed, masks_of(f)) for f in folders]
    todo = [j for j in jobs if not is_current(_path(*j), j[0])]
    if todo:
        log(f"lesion bank: inserting {per_patient} lesions into each of {len(todo)} patients")
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(_build_one, todo))
    out = []
    for job in jobs:
        lesions, centre, source = _load(_path(*job))
        if centre is not None:
            out.append(BankPatient(load_cached(job[0], cache), centre, lesions, source))
    if not any(b.lesions for b in out):
        raise InputRefusedError(
            f"None of the {len(folders)} patients has the contours that tell where a lesion can lie (spinal cord, and "
            "mandible or brainstem), so there is nothing to learn lesions from."
        )
    return out
