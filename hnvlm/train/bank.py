"""Bank of inserted lesions: made at each CT's own resolution, kept as differences on the training grid.

Resampling is linear, so "resample(CT + lesion)" equals "resample(CT) + resample(difference)": a training
sample is a cached CT plus some stored patches, which costs nothing at training time.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.own_reports import own_report
from hnvlm.imaging.anatomy import Anatomy, build_anatomy
from hnvlm.imaging.lesions import Lesion, LesionSpec, insert, random_spec, to_coarse
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whole import whole_file
from hnvlm.models.ct_encoder import cut
from hnvlm.train.data import BIT, CHANNELS, GRID_MM, CachedPatient, fingerprint, is_current, load_cached, read_case
from hnvlm.train.disease import contoured, own_lesions, reported
from hnvlm.train.loop import log

# Contours from which the landmarks of a neck follow.
LANDMARKS = "spinal cord, and mandible or brainstem,"
NAMED = 5
# Share of a voxel from which a lesion counts as there.
INSIDE = 0.2


@dataclass(frozen=True, eq=False)
class BankPatient:
    """One patient with the lesions that can be put into it.

    Attributes:
        patient: CT and labels on the training grid.
        centre_mm: Origin of the neck frame, LPS (z, y, x).
        lesions: Differences on the training grid.
        source: Fingerprint of the patient's files; "" when the bank is from before it was noted.
        reported: Where the clinic's report says a lesion is (``hnvlm.train.disease``); None where it names none.
        own: The lesions that the clinic contoured, by kind (``own_lesions`` there); None where there is none.
    """

    patient: CachedPatient
    centre_mm: tuple[float, float, float]
    lesions: list[Lesion]
    source: str = ""
    reported: np.ndarray | None = None
    own: np.ndarray | None = None

    def diseased(self, start: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
        """Where the patient's own disease is or may be, in a box of the training grid: bool of ``size``."""
        found = contoured(cut(self.patient.labels, start, size, 0))
        return found if self.reported is None else found | cut(self.reported, start, size, False)


def anatomy_of(patient: CachedPatient) -> Anatomy | None:
    """Landmarks of a cached patient from its contours; None where those that give them are missing."""
    masks = {c: ((patient.labels >> BIT[c]) & 1) > 0 for c in CHANNELS if patient.known[BIT[c]]}
    return build_anatomy(Volume(patient.ct, (GRID_MM,) * 3, patient.origin_mm), masks)


def _save(path: Path, bank: list[Lesion], centre: tuple[float, float, float] | None, source: str) -> None:
    lesions = [
        {"spec": asdict(b.spec), "start": b.start, "shape": b.delta.shape, "centre_mm": b.centre_mm} for b in bank
    ]
    none = np.zeros(0, np.float32)  # of an empty bank
    delta = np.concatenate([none, *(b.delta.ravel() for b in bank)]).astype(np.float16)
    mask = np.concatenate([none, *(np.rint(b.mask * 255).ravel() for b in bank)]).astype(np.uint8)
    meta = json.dumps({"centre_mm": centre, "lesions": lesions})
    with whole_file(path) as partial:
        np.savez_compressed(partial, meta=meta, delta=delta, mask=mask, source=source)


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


def _build_one(args: tuple[Path, Path, int, int]) -> None:
    folder, cache, n, seed = args
    path = _path(folder, cache, n, seed)
    if is_current(path, folder):
        return
    patient = load_cached(folder, cache)
    anatomy = anatomy_of(patient)
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


def _path(folder: Path, cache: Path, n: int, seed: int) -> Path:
    # "None" has stood in the key since the first banks; without it all would be made anew.
    key = hashlib.sha256(f"b5|{folder.resolve()}|{n}|{seed}|None".encode()).hexdigest()[:12]
    return cache / f"bank-{folder.name}-{key}.npz"


def load_bank(
    folders: list[Path],
    cache: Path,
    *,
    per_patient: int = 40,
    seed: int = 0,
    workers: int = 2,
) -> list[BankPatient]:
    """Build (once, and anew when a file changed) and load the lesions of every folder.

    Patients without landmarks are left out, which the log says.

    Raises:
        InputRefusedError: No lesion can be put into any of them, or a report.txt is no text.
    """
    reports = {f: own_report(f) for f in folders}  # a file that is no text is to be told before an hour of work
    jobs = [(f, cache, per_patient, seed) for f in folders]
    todo = [j for j in jobs if not is_current(_path(*j), j[0])]
    if todo:
        log(f"lesion bank: inserting {per_patient} lesions into each of {len(todo)} patients")
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(_build_one, todo))
    out, without = [], []
    for job in jobs:
        lesions, centre, source = _load(_path(*job))
        if centre is None:
            without.append(job[0].name)
        else:
            patient, report = load_cached(job[0], cache), reports[job[0]]
            ill = contoured(patient.labels).any()
            anatomy = anatomy_of(patient) if report is not None or ill else None
            region = reported(report, anatomy) if anatomy is not None else None
            own = own_lesions(patient.labels, anatomy)
            out.append(BankPatient(patient, centre, lesions, source, region, own))
    if without:
        more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
        log(f"lesion bank: left out, as {LANDMARKS} are not contoured: {', '.join(without[:NAMED])}{more}")
    if not any(b.lesions for b in out):
        raise InputRefusedError(
            f"None of the {len(folders)} patients has the contours that tell where a lesion can lie ({LANDMARKS}), so "
            "there is nothing to learn lesions from. 'hnvlm segment FOLDER/ct.nii.gz --out FOLDER' puts the "
            "segmenter's own beside a CT (to learn lesions and reports with, not contours)."
        )
    return out


def outside_disease(banks: list[BankPatient]) -> list[BankPatient]:
    """The patients with those lesions that touch no disease of their own: what is left without them is a healthy neck.

    Raises:
        InputRefusedError: No lesion is left.
    """
    out = []
    for bank in banks:
        free = [x for x in bank.lesions if not bank.diseased(np.array(x.start), x.mask.shape)[x.mask > INSIDE].any()]
        if free:
            out.append(replace(bank, lesions=free))
    if not out:
        raise InputRefusedError(
            f"In all {len(banks)} patients every lesion would lie where the patient's own disease is or may be (GTV, "
            "report.txt), so nothing tells how a place without one looks. Add patients."
        )
    return out
