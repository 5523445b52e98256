"""Files for other programs: NIfTI, DICOM (SEG, RTSTRUCT, SYNTHETIC CT), PNG. Everything says what it is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hnvlm.errors import HnvlmError, InputRefusedError, UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import AI_DRAFT, MARK, write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_seg import write_seg
from hnvlm.services.slice_picture import in_window
from hnvlm.store import CaseStore
from hnvlm.types import Progress

FORMATS = ("nifti", "seg", "rtstruct")
SYNTHETIC_NOTICE = "SYNTHETIC - AI generated, research use only, not a patient's image"
SERIES_DESCRIPTION = "counterfactual CT, AI generated"
# A difference (blue less dense, orange denser) below the first is not coloured, from the second on in full; the viewer
# (render.js) draws it the same.
_DIFFERENCE_FLOOR_HU, _DIFFERENCE_HU = 10, 200
_UNDER = 0.45  # how bright the CT shines through

_INK = (255, 190, 60)


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


def write_zip(target: Path, write: Callable[[Path], Mapping[str, Path]], progress: Progress) -> Mapping[str, Path]:
    """Let ``write`` fill a folder, pack it as ``target``, which is there whole or not at all, and return its answer."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        files = Path(folder) / "files"
        written = write(files)
        progress(0.7, "packing")
        os.replace(shutil.make_archive(str(Path(folder) / "packed"), "zip", files), target)
    return written


def drop_if_deleted(store: CaseStore, case_id: str) -> None:
    """Remove the exports of a case that was deleted while one of them was written."""
    if store.get_case(case_id).deleted is not None:
        store.remove_exports(case_id)


def write_structures(
    volume: Volume, masks: Mapping[str, np.ndarray], out: Path, formats: Sequence[str], *, version: str,
    synthetic: bool = False,
) -> dict[str, dict[str, Path]]:  # fmt: skip
    """Write structures; return format -> {structure or "all": path}.

    NIfTI is one ``<Name>.nii.gz`` a structure on the CT's own grid; SEG and RTSTRUCT are one file for all,
    beside the CT they refer to (format ``ct``).

    Args:
        version: Version of the model that drew them, as a SEG states it.
        synthetic: The CT is no patient's: its copy is marked, and what refers to it refers to the marked one.

    Raises:
        InputRefusedError: All structures are empty.
    """
    if not any(np.any(mask) for mask in masks.values()):
        raise InputRefusedError(
            "No structure was found on this CT, so there is nothing to write.", code="no_structures"
        )
    make_folder(out)
    files: dict[str, dict[str, Path]] = {}
    if "nifti" in formats:
        files["nifti"] = {}
        note = f"{MARK} CT: {AI_DRAFT}" if synthetic else AI_DRAFT
        for name, mask in masks.items():
            path = out / f"{name}.nii.gz"
            write_nifti(volume.with_array(np.asarray(mask, np.uint8)), path, note)
            files["nifti"][name] = path
    if "seg" in formats or "rtstruct" in formats:
        # Both refer to the instances of this series; without it no viewer could show them.
        files["ct"] = {"all": out / "ct"}
        write_dicom_series(volume, files["ct"]["all"], "CT for structures", synthetic)
    if "seg" in formats:
        path = out / "structures.seg.dcm"
        files["seg"] = {"all": write_seg(masks, volume, path, version=version, synthetic=synthetic)}
    if "rtstruct" in formats:
        path = out / "structures.rtstruct.dcm"
        files["rtstruct"] = {"all": write_rtstruct(masks, volume, path, synthetic=synthetic)}
    return files


def write_counterfactual(original: Volume | None, edited: Volume, edit_mask: np.ndarray, out: Path) -> dict[str, Path]:
    """Write a synthetic CT; return key -> path.

    Keys: ``counterfactual`` (NIfTI, the edited CT on the input's own grid), ``difference``, ``edit_mask``
    (NIfTI), ``dicom_series`` (folder, marked SYNTHETIC), ``png``. Without an original (text-only
    generation) there is no difference. What was asked for is in none of them: people type names.
    """
    make_folder(out)
    files = {"counterfactual": write_synthetic_nifti(edited, out / "counterfactual-SYNTHETIC.nii.gz")}
    if original is not None:
        files |= {"difference": out / "difference.nii.gz", "edit_mask": out / "edit_mask.nii.gz"}
        difference = edited.array.astype(np.int32) - original.array.astype(np.int32)
        changed = edited.with_array(np.clip(difference, -32768, 32767).astype(np.int16))
        write_nifti(changed, files["difference"], SYNTHETIC_NOTICE)
        write_nifti(edited.with_array(edit_mask.astype(np.uint8)), files["edit_mask"], SYNTHETIC_NOTICE)
    files["dicom_series"] = out / "counterfactual_dicom"
    write_dicom_series(edited, files["dicom_series"], SERIES_DESCRIPTION, synthetic=True)
    files["png"] = write_panel(original, edited, out / "counterfactual.png")
    return files


def write_synthetic_nifti(volume: Volume, path: Path) -> Path:
    """Write a CT as ``.nii.gz`` whose header says SYNTHETIC: a file is renamed more easily than rewritten."""
    return write_nifti(volume, path, SYNTHETIC_NOTICE)


def write_panel(original: Volume | None, edited: Volume, path: Path) -> Path:
    """Write one axial slice, where the change is greatest: original | synthetic | difference, square pixels.

    Each picture says what it is and where the patient's right is, for it may be cut out.
    """
    if original is None:
        index = edited.shape[0] // 2
        tiles = {MARK: _grey(edited.array[index])}
    else:
        difference = edited.array.astype(np.int32) - original.array.astype(np.int32)
        index = int(np.abs(difference).sum(axis=(1, 2)).argmax())
        tiles = {
            "Original": _grey(original.array[index]),
            MARK: _grey(edited.array[index]),
            f"Difference: orange denser, blue less ({_DIFFERENCE_HU} HU)": _orange_blue(
                difference[index], original.array[index]
            ),
        }
    height = round(edited.shape[1] * edited.spacing_mm[1])
    width = round(edited.shape[2] * edited.spacing_mm[2])
    scale = 512.0 / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    panel = Image.new("RGB", (size[0] * len(tiles), size[1] + 20))
    pen = ImageDraw.Draw(panel)
    for i, (title, tile) in enumerate(tiles.items()):
        left = i * size[0]
        panel.paste(Image.fromarray(tile).resize(size, Image.Resampling.BILINEAR), (left, 0))
        for place, anchor, text in (
            ((left + 4, 4), "la", title), ((left + 4, size[1] // 2), "lm", "R"),
            ((left + size[0] - 4, size[1] // 2), "rm", "L"),
        ):  # fmt: skip
            pen.text(place, text, fill=_INK, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    pen.text((4, size[1] + 4), f"slice {index + 1}. {SYNTHETIC_NOTICE}", fill=_INK)
    panel.save(path)
    return path


def _grey(hu: np.ndarray) -> np.ndarray:
    """Window HU (y, x) to RGB uint8 (y, x, 3)."""
    return in_window(hu).astype(np.uint8)


def _orange_blue(difference_hu: np.ndarray, original_hu: np.ndarray) -> np.ndarray:
    """Difference (y, x) over the dimmed CT (y, x): denser orange, less dense blue; RGB uint8 (y, x, 3).

    The viewer's colours, which a red-green colour-blind reader tells apart.
    """
    size = np.abs(difference_hu).astype(np.float32)
    t = np.clip((size - _DIFFERENCE_FLOOR_HU) / (_DIFFERENCE_HU - _DIFFERENCE_FLOOR_HU), 0, 1)[..., None]
    ink = np.where(difference_hu[..., None] > 0,
                   np.concatenate([255 + 0 * t, 120 + 100 * t, 20 + 110 * t], axis=2),
                   np.concatenate([40 + 110 * t, 130 + 90 * t, 255 + 0 * t], axis=2))  # fmt: skip
    alpha = np.where(size[..., None] < _DIFFERENCE_FLOOR_HU, 0, 0.35 + 0.65 * t)
    return (ink * alpha + _grey(original_hu) * _UNDER * (1 - alpha)).astype(np.uint8)
