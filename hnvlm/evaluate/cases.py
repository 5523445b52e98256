"""Validation cases with inserted lesions: made at the CT's own resolution, the same ones every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from hnvlm.errors import InputRefusedError, ScopeError
from hnvlm.evaluate.common import evaluation_folders, log, read_case, read_gross
from hnvlm.evaluate.own_reports import OwnReport, own_reports
from hnvlm.imaging.lesions import Lesion, apply, insert, random_spec
from hnvlm.imaging.volume import Volume
from hnvlm.models.pack import ModelPack
from hnvlm.types import Segmentation

SEED = 20_001


@dataclass(frozen=True, eq=False)
class Case:
    """One validation CT, with or without inserted lesions.

    Attributes:
        ct: As the models see it.
        segmentation: Predicted contours of the CT before a lesion was inserted.
        lesions: What was inserted (empty for the patient's own CT).
        masks: The clinic's contours, TG-263 names, on the CT's grid.
        report: What the clinic's own report says of the patient; None where there is none.
        gross: Gross tumour that the clinic contoured, bool on the CT's grid; None where there is no ``GTV.nii.gz``.
    """

    patient: str
    ct: Volume
    segmentation: Segmentation
    lesions: list[Lesion]
    masks: dict[str, np.ndarray]
    report: OwnReport | None = None
    gross: np.ndarray | None = None


@dataclass
class Tally:
    """Of whom and of how many lesions numbers are, beside what was asked for."""

    measured: int = 0
    out_of_scope: list[str] = field(default_factory=list)
    wanted: int = 0
    inserted: int = 0

    def told(self) -> dict[str, int]:
        """As metrics."""
        return {
            "patients_out_of_scope": len(self.out_of_scope),
            "lesions_wanted": self.wanted,
            "lesions_inserted": self.inserted,
        }


def rng_of(patient: str, seed: int = SEED) -> np.random.Generator:
    """Generator that depends on the patient's name and the seed alone."""
    return np.random.default_rng([seed, int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16)])


def lesion_cases(
    pack: ModelPack,
    data: Path,
    *,
    per_patient: int = 2,
    limit: int | None = None,
    tally: Tally | None = None,
) -> Iterator[Case]:
    """Yield each patient's own CT first (no lesion), then ``per_patient`` versions with one lesion each.

    A patient whose landmarks are not found is left out: the models would not draft on that CT either.

    Args:
        tally: Takes down who was left out, and how many lesions were asked for and could be inserted.

    Raises:
        InputRefusedError: There is no patient, or none with a neck; or a report.txt cannot be read.
    """
    tally = Tally() if tally is None else tally
    folders = evaluation_folders(data, limit)
    reports = own_reports(folders)  # all at first: a file that is no text is to be told before an hour of work
    for folder in folders:
        ct, masks = read_case(folder)
        segmentation = pack.segment(ct)
        try:
            anatomy = pack.neck(ct, segmentation).anatomy
        except ScopeError as error:
            log(f"{folder.name} is left out: {error.message}")
            tally.out_of_scope.append(folder.name)
            continue
        report, gross = reports.get(folder.name), read_gross(folder, ct)
        yield Case(folder.name, ct, segmentation, [], masks, report, gross)
        tally.measured += 1
        tally.wanted += per_patient
        rng = rng_of(folder.name)
        made = 0
        for _ in range(8 * per_patient):
            if made == per_patient:
                break
            lesion = insert(ct, anatomy, random_spec(rng, kinds=("node", "mass")), rng)
            if lesion is not None:
                made += 1
                tally.inserted += 1
                yield Case(folder.name, apply(ct, [lesion]), segmentation, [lesion], masks, report)
    if not tally.measured:
        raise InputRefusedError(f"No patient in {data} has a neck that the models would draft on.")


def tokens_of(pack: ModelPack, case: Case) -> Tensor | None:
    """CT tokens (1, 512, W) as the product makes them: contours and landmarks of the CT as it is, lesion and all.

    None where the product would not look at the CT.
    """
    segmentation = pack.segment(case.ct) if case.lesions else case.segmentation
    try:
        return pack.encode(pack.neck(case.ct, segmentation))[1]
    except ScopeError as error:
        log(f"{case.patient} with a lesion: {error.message}")
        return None
