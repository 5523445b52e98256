"""A neck of cylinders with targets and organs: asymmetric, three different sizes and spacings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from hnvlm.imaging.volume import Volume

SHAPE, SPACING, ORIGIN = (20, 26, 32), (3.0, 4.5, 4.0), (-12.0, 7.0, -61.0)
FILES = {
    "PTV_7000": "PTV70", "PTV_5600": "PTV56", "SpinalCord": "SpinalCord", "Parotid_R": "RightParotid",
    "Parotid_L": "LeftParotid",
}  # fmt: skip


def dose_phantom() -> tuple[Volume, Volume, dict[str, np.ndarray], np.ndarray]:
    """CT (int16 HU), dose (Gy), masks (TG-263 names) and body. The target lies on the patient's left (large x)."""
    z, y, x = np.indices(SHAPE).astype(float)
    body = ((y - 12.5) / 11.0) ** 2 + ((x - 15.5) / 14.0) ** 2 <= 1
    high = (np.abs(z - 9) <= 4) & (np.abs(y - 11) <= 3) & (np.abs(x - 20) <= 3)
    low = (np.abs(z - 8) <= 6) & (np.abs(y - 12) <= 4) & (np.abs(x - 17) <= 8) & ~high
    masks = {
        "PTV_7000": high,
        "PTV_5600": low,
        "SpinalCord": (np.abs(y - 19) <= 1) & (np.abs(x - 16) <= 1),
        "Parotid_R": (z > 10) & (np.abs(y - 9) <= 2) & (np.abs(x - 5) <= 1),
        "Parotid_L": (z > 12) & (np.abs(y - 9) <= 2) & (np.abs(x - 27) <= 1),
    }
    hu = np.where(body, 30, -1000).astype(np.int16)
    away = np.sqrt(((z - 9) * 3.0) ** 2 + ((y - 11) * 4.5) ** 2 + ((x - 20) * 4.0) ** 2)
    gray = np.where(body, 72.0 * np.exp(-np.maximum(away - 14, 0) / 35.0), 0).astype(np.float32)
    return Volume(hu, SPACING, ORIGIN), Volume(gray, SPACING, ORIGIN), masks, body


def write_dose_case(folder: Path, *, ct: bool = True, without: tuple[str, ...] = ()) -> None:
    """Write the phantom as a case folder of the challenge."""
    folder.mkdir(parents=True)
    hu, dose, masks, body = dose_phantom()
    arrays = {"dose": dose.array, "possible_dose_mask": body.astype(np.uint8)}
    arrays |= {FILES[n]: m.astype(np.uint8) for n, m in masks.items() if n not in without}
    if ct:
        arrays["ct"] = hu.array
    for name, array in arrays.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(SPACING[::-1])
        image.SetOrigin(ORIGIN[::-1])
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
