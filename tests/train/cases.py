"""Case folders and bank patients made from the analytic neck."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from imaging.neck_phantom import COARSE, phantom

from hnvlm.imaging.anatomy import build_anatomy
from hnvlm.imaging.lesions import Lesion, LesionSpec, insert
from hnvlm.imaging.volume import Volume
from hnvlm.train.bank import BankPatient
from hnvlm.train.data import BIT, CHANNELS, GTV, GTV_BIT, CachedPatient
from hnvlm.types import OPENKBP_TO_TG263

FILE_NAMES = {tg263: name for name, tg263 in OPENKBP_TO_TG263.items()}
CT_SPACING = (3.0, 2.5, 2.5)


def write_image(path: Path, volume: Volume, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(volume.spacing_mm[::-1])
    image.SetOrigin(volume.origin_mm[::-1])
    sitk.WriteImage(image, str(path))


def write_case(
    folder: Path, *, mirrored: bool = False, without: tuple[str, ...] = (), tg263_names: bool = False
) -> tuple[Volume, dict[str, np.ndarray]]:
    """Write the phantom as a case folder; returns what was written."""
    folder.mkdir(parents=True)
    ct, masks = phantom(CT_SPACING, mirrored=mirrored, noise_hu=6.0)
    masks = {k: m for k, m in masks.items() if k not in without}
    write_image(folder / "ct.nii.gz", ct, ct.array)
    for name, mask in masks.items():
        stem = name if tg263_names else FILE_NAMES[name]
        write_image(folder / f"{stem}.nii.gz", ct, mask.astype(np.uint8))
    return ct, masks


def bank_patient(
    specs: tuple[LesionSpec, ...] = (), *, unknown: tuple[str, ...] = (), targets: dict[str, np.ndarray] | None = None
) -> BankPatient:
    """The phantom on the training grid with these lesions inserted."""
    ct, masks = phantom(COARSE)
    masks = masks | (targets or {})
    labels = np.zeros(ct.shape, np.uint16)
    for name, mask in masks.items():
        labels |= mask.astype(np.uint16) << (GTV_BIT if name == GTV else BIT[name])
    known = np.array([name not in unknown for name in CHANNELS])
    anatomy = build_anatomy(ct, masks)
    rng = np.random.default_rng(0)
    lesions: list[Lesion] = []
    for spec in specs:
        lesion = insert(ct, anatomy, spec, rng)
        assert lesion is not None, spec
        lesions.append(lesion)
    patient = CachedPatient("phantom", ct.array, labels, known, ct.origin_mm)
    return BankPatient(patient, anatomy.neck_centre_mm(), lesions)
