"""Files for other programs: NIfTI, DICOM (SEG, RTSTRUCT, SYNTHETIC CT), PNG. Everything says what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hnvlm.errors import HnvlmError, UsageError
from hnvlm.imaging.volume import Volume

FORMATS = ("nifti", "seg", "rtstruct")
SYNTHETIC_NOTICE = "SYNTHETIC - AI generated, research use only, not a patient's image"
# Soft-tissue window of neck CT; the difference is shown from -200 (blue) to +200 HU (red).
_WINDOW_CENTRE_HU, _WINDOW_WIDTH_HU, _DIFFERENCE_HU = 50.0, 350.0, 200.0


def parse_formats(text: str) -> list[str]:
    """Split ``"nifti,seg"``; UsageError for a format that is not written."""
    formats = list(dict.fromkeys(p.strip().lower() for p in text.split(",") if p.strip()))
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"Unknown format '{', '.join(unknown) or text}'; choose from {', '.join(FORMATS)}.")
    return formats


def make_folder(out: Path) -> Path:
    """Create the output folder.

    Raises:
        HnvlmError: Code ``output``: it cannot be created or is a file.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HnvlmError(f"{out}: the output folder cannot be created ({error.strerror}).", code="output") from error
    return out


def write_structures(
    volume: Volume, masks: Mapping[str, np.ndarray], out: Path, formats: Sequence[str]
) -> dict[str, dict[str, Path]]:
    """Write structures; return format -> {structure or "all": path}.

    NIfTI is one ``<Name>.nii.gz`` a structure on the CT's own grid; SEG and RTSTRUCT are one file for all.
    """
    from hnvlm.imaging import write

    make_folder(out)
    files: dict[str, dict[str, Path]] = {}
    if "nifti" in formats:
        files["nifti"] = {}
        for name, mask in masks.items():
            path = out / f"{name}.nii.gz"
            write.write_nifti(volume.with_array(np.asarray(mask, np.uint8)), path)
            files["nifti"][name] = path
    if "seg" in formats or "rtstruct" in formats:
        ct_files = write.write_ct_series(volume, out / "ct")
        if "seg" in formats:
            files["seg"] = {"all": write.write_seg(volume, masks, ct_files, out / "structures.seg.dcm")}
        if "rtstruct" in formats:
            files["rtstruct"] = {"all": write.write_rtstruct(volume, masks, ct_files, out / "structures.rtstruct.dcm")}
    return files


def write_counterfactual(
    original: Volume | None, edited: Volume, edit_mask: np.ndarray, out: Path, *, text: str
) -> dict[str, Path]:
    """Write a synthetic CT; return key -> path.

    Keys: ``counterfactual_nifti`` (the edited CT on the input's own grid), ``difference_nifti``,
    ``edit_mask_nifti``, ``counterfactual_dicom`` (folder, marked SYNTHETIC), ``png``. Without an original
    (text-only generation) there is no difference.
    """
    from hnvlm.imaging import write

    make_folder(out)
    files = {"counterfactual_nifti": out / "counterfactual.nii.gz"}
    write.write_nifti(edited, files["counterfactual_nifti"])
    if original is not None:
        files |= {"difference_nifti": out / "difference.nii.gz", "edit_mask_nifti": out / "edit_mask.nii.gz"}
        difference = edited.array.astype(np.int32) - original.array.astype(np.int32)
        write.write_nifti(
            edited.with_array(np.clip(difference, -32768, 32767).astype(np.int16)), files["difference_nifti"]
        )
        write.write_nifti(edited.with_array(edit_mask.astype(np.uint8)), files["edit_mask_nifti"])
    files["counterfactual_dicom"] = out / "counterfactual_dicom"
    write.write_ct_series(edited, files["counterfactual_dicom"], synthetic=True, description=text[:64])
    files["png"] = write_panel(original, edited, out / "counterfactual.png")
    return files


def write_panel(original: Volume | None, edited: Volume, path: Path) -> Path:
    """Write one axial slice, where the change is greatest: original | synthetic | difference, square pixels."""
    if original is None:
        index = edited.shape[0] // 2
        tiles = [_grey(edited.array[index])]
    else:
        difference = edited.array.astype(np.int32) - original.array.astype(np.int32)
        index = int(np.abs(difference).sum(axis=(1, 2)).argmax())
        tiles = [_grey(original.array[index]), _grey(edited.array[index]), _red_blue(difference[index])]
    height = round(edited.shape[1] * edited.spacing_mm[1])
    width = round(edited.shape[2] * edited.spacing_mm[2])
    scale = 512.0 / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    panel = Image.new("RGB", (size[0] * len(tiles), size[1] + 20))
    for i, tile in enumerate(tiles):
        panel.paste(Image.fromarray(tile).resize(size, Image.Resampling.BILINEAR), (i * size[0], 0))
    ImageDraw.Draw(panel).text((4, size[1] + 4), f"slice {index + 1}. {SYNTHETIC_NOTICE}", fill=(255, 190, 60))
    panel.save(path)
    return path


def _grey(hu: np.ndarray) -> np.ndarray:
    """Window HU (y, x) to RGB uint8 (y, x, 3)."""
    low = _WINDOW_CENTRE_HU - _WINDOW_WIDTH_HU / 2
    grey = np.clip((hu.astype(np.float32) - low) / _WINDOW_WIDTH_HU, 0, 1) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _red_blue(difference_hu: np.ndarray) -> np.ndarray:
    """Difference (y, x): more dense red, less dense blue, no change black."""
    scaled = np.clip(difference_hu / _DIFFERENCE_HU, -1, 1) * 255
    zero = np.zeros_like(scaled)
    return np.stack([np.maximum(scaled, zero), zero, np.maximum(-scaled, zero)], axis=2).astype(np.uint8)
