"""What the dose network sees: a patient's structures, their distances and the geometry of the nine fields.

Everything is on one grid near that of the public challenge (2.7-5.4 mm in plane, 1.5-3.3 mm between slices).
Prescriptions are scaled so that the highest is 70 Gy (dose is linear in the fluence, so the answer is scaled back).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from hnvlm.errors import InputRefusedError
from hnvlm.imaging.fields import Fields, FieldSums, field_sums
from hnvlm.imaging.resample import Window, box_slices, mask_box
from hnvlm.imaging.volume import Volume
from hnvlm.types import MIRRORED, OAR_NAMES, TARGET_NAMES

HIGHEST_GY = 70.0
OWN_PRESCRIPTIONS = dict(zip(TARGET_NAMES, (70.0, 63.0, 56.0), strict=True))
# Levels of the network, lowest first; a scaled prescription belongs to the highest whose threshold it reaches.
LEVELS_GY = (56.0, 63.0, 70.0)
THRESHOLDS_GY = (0.0, 59.5, 66.5)
ORGAN_GROUPS = {
    "serial": ("SpinalCord", "Brainstem"),
    "parotids": ("Parotid_R", "Parotid_L"),
    "midline": ("Larynx", "Esophagus", "Bone_Mandible"),
}
# Coplanar fields reach hardly further than their penumbra beyond the targets' first and last slice.
BEYOND_MM = 40.0
TARGET_REACH_MM, ORGAN_REACH_MM = 60.0, 20.0

CHANNELS = (
    "prescription",
    *(f"distance_{g:g}" for g in LEVELS_GY),
    *(f"distance_{name}" for name in OAR_NAMES),
    "body",
    *(f"aperture_{g:g}" for g in LEVELS_GY),
    "entrance",
    "open_dose",
    *(f"shared_{name}" for name in ORGAN_GROUPS),
    "mean_depth",
    "least_depth",
)
# The CT comes after these, in the two windows of ``ct_channels``; zeros when there is none.
CT_CHANNELS = 2
# A left-right mirrored patient: fields at 0, 40, ..., 320 degrees mirror onto themselves, paired organs swap.
_MIRROR_CHANNEL = {f"distance_{a}": f"distance_{b}" for a, b in MIRRORED.items()}
FLIPPED = tuple(CHANNELS.index(_MIRROR_CHANNEL.get(name, name)) for name in CHANNELS)


@dataclass(frozen=True)
class DoseInputs:
    """One prepared patient.

    Attributes:
        channels: float32 (len(CHANNELS), z, y, x) on the crop's grid.
        body: bool crop where dose is predicted.
        window: Puts the crop back into the grid it was cut from.
        fields: The nine fields, for the voxels of ``body``.
    """

    channels: np.ndarray
    body: Volume
    window: Window
    fields: Fields


def treated_targets(
    masks: Mapping[str, np.ndarray], prescriptions: Mapping[str, float] | None, shape: tuple[int, int, int]
) -> dict[str, float]:
    """Prescribed Gy of each target that is there and not empty.

    Raises:
        InputRefusedError: No target with a prescription, a prescription that is no dose, or a mask on another grid.
    """
    wanted = dict(OWN_PRESCRIPTIONS if prescriptions is None else prescriptions)
    for name, mask in masks.items():
        if mask.shape != shape:
            raise InputRefusedError(f"{name} has shape {mask.shape}, its CT has {shape}; both must share a grid.")
    used: dict[str, float] = {}
    for name, gray in wanted.items():
        if not np.isfinite(gray) or gray <= 0:
            raise InputRefusedError(f"The prescription of {name} is {gray}; give a positive number of Gy.")
        if name in masks and np.any(masks[name]):
            used[name] = float(gray)
    if not used:
        raise InputRefusedError(
            f"No target to predict a dose for: none of {', '.join(wanted) or 'the prescriptions'} is among the "
            f"structures ({', '.join(masks) or 'none'})."
        )
    return used


def prescription_map(targets: Mapping[str, np.ndarray], prescriptions: Mapping[str, float]) -> np.ndarray:
    """Prescribed Gy of each voxel (float32 z, y, x), the highest where targets overlap; the highest level is 70."""
    highest = max(prescriptions.values())
    out = np.zeros(next(iter(targets.values())).shape, np.float32)
    for name, gray in prescriptions.items():
        np.maximum(out, np.where(targets[name], np.float32(gray * HIGHEST_GY / highest), 0), out=out)
    return out


def prepare(prescription: Volume, organs: Mapping[str, np.ndarray], body: np.ndarray) -> DoseInputs:
    """Build the network's inputs.

    Args:
        prescription: Gy per voxel, 0 outside the targets, highest 70.
        organs: TG-263 name -> bool mask on the same grid; those that are missing count as not contoured.
        body: bool, where dose can be.

    Raises:
        InputRefusedError: No target voxel lies inside ``body``.
    """
    inside = body & (prescription.array > 0)
    if not inside.any():
        raise InputRefusedError("No part of a target lies inside the body, so no dose can be predicted.")
    slices = np.flatnonzero(inside.any(axis=(1, 2)))
    beyond = int(np.ceil(BEYOND_MM / prescription.spacing_mm[0]))
    near = body.copy()
    near[: max(0, slices[0] - beyond)] = False
    near[slices[-1] + beyond + 1 :] = False
    box = mask_box(near)
    assert box is not None
    window = Window(box, prescription.shape)
    cut = box_slices(box)
    gray = prescription.array[cut]
    kept = Volume(np.ascontiguousarray(near[cut]), prescription.spacing_mm, tuple(prescription.index_to_mm(box[:3])))

    targets = {g: gray > t for g, t in zip(LEVELS_GY, THRESHOLDS_GY, strict=True)}
    cropped = {name: organs[name][cut] for name in OAR_NAMES if name in organs}
    empty = np.zeros(kept.shape, bool)
    groups = {
        group: np.any([cropped.get(name, empty) for name in names], axis=0) for group, names in ORGAN_GROUPS.items()
    }
    centre = kept.index_to_mm(np.argwhere(gray > 0).mean(axis=0))
    fields = Fields(kept, centre)
    sums = field_sums(fields, targets, groups)
    return DoseInputs(_channels(gray, targets, cropped, kept, fields, sums), kept, window, fields)


def _channels(
    gray: np.ndarray, targets: Mapping[float, np.ndarray], organs: Mapping[str, np.ndarray], body: Volume,
    fields: Fields, sums: FieldSums,
) -> np.ndarray:  # fmt: skip
    out = np.zeros((len(CHANNELS), *body.shape), np.float32)
    out[0] = gray / HIGHEST_GY
    before: np.ndarray | None = None
    for k, level in enumerate(LEVELS_GY):
        same = before is not None and int(before.sum()) == int(targets[level].sum())
        out[1 + k] = out[k] if same and k else signed_distance(targets[level], body, TARGET_REACH_MM)
        before = targets[level]
    for k, name in enumerate(OAR_NAMES):
        mask = organs.get(name)
        out[4 + k] = -1.0 if mask is None else signed_distance(mask, body, ORGAN_REACH_MM)
    out[CHANNELS.index("body")] = body.array
    place = (slice(None), *fields.index.T)
    rows = np.stack([
        *(sums.aperture[f"{g:g}"] for g in LEVELS_GY), sums.entrance, sums.open_dose / HIGHEST_GY,
        *(sums.shared[name] for name in ORGAN_GROUPS), sums.mean_depth_mm / 100.0, sums.least_depth_mm / 50.0,
    ])  # fmt: skip
    out[CHANNELS.index("body") + 1 :][place] = rows
    return out


def signed_distance(mask: np.ndarray, grid: Volume, reach_mm: float) -> np.ndarray:
    """Distance to the border of a mask in units of ``reach_mm``, positive inside, clipped to -1..1 (z, y, x)."""
    spacing = np.array(grid.spacing_mm)
    # Farther away than its reach every voxel is -1, so only the mask's surroundings are looked at.
    box = mask_box(mask, margin=tuple(int(np.ceil(reach_mm / s)) + 1 for s in spacing))  # type: ignore[arg-type]
    out = np.full(mask.shape, -1.0, np.float32)
    if box is None:
        return out
    near = box_slices(box)
    image = sitk.GetImageFromArray(mask[near].astype(np.uint8))
    image.SetSpacing(spacing[::-1].tolist())
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    out[near] = np.clip(sitk.GetArrayFromImage(distance) / np.float32(reach_mm), -1.0, 1.0)
    return out
