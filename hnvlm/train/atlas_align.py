"""Groupwise alignment of a cohort: landmarks, affine, then demons against the evolving symmetric mean.

No member is the reference: after every step the cohort's mean deformation is taken out again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from hnvlm.imaging.atlas import LABELS
from hnvlm.imaging.volume import Volume
from hnvlm.train.data import read_case

COARSE_MM = 5.0
# Extent around the mandible's centre, (z, y, x) millimetres: mid-brain to lung apices, shoulder to shoulder.
LOW_MM = np.array([-167.5, -110.0, -237.5])
HIGH_MM = np.array([102.5, 195.0, 237.5])
LANDMARKS = ("Bone_Mandible", "Brainstem", "Parotid_R", "Parotid_L", "Cord")
OUTSIDE_HU = -1024.0
# Tone curve for alignment: air, fat, muscle and bone get comparable steps; metal does not count.
TONE_HU = np.array([-1024.0, -250.0, -120.0, 20.0, 90.0, 350.0, 900.0])
TONE = np.array([0.0, 0.10, 0.30, 0.60, 0.65, 0.90, 1.0])
# Structures that guide the alignment, and by how much they are raised on the tone curve.
GUIDES = (("Parotid_R", 0.25), ("Parotid_L", 0.25), ("SpinalCord", -0.2), ("Bone_Mandible", 0.1))


@dataclass
class Member:
    """One patient on the way into the atlas: ``linear`` and ``fields`` map atlas to patient millimetres."""

    name: str
    ct: sitk.Image
    masks: dict[str, sitk.Image]
    landmarks: np.ndarray
    linear: list[sitk.Transform] = field(default_factory=list)
    fields: list[sitk.Image] = field(default_factory=list)

    @property
    def transform(self) -> sitk.Transform:
        """Atlas to patient. Fields are kept in single precision and only widened for use."""
        steps = [sitk.DisplacementFieldTransform(sitk.Cast(f, sitk.sitkVectorFloat64)) for f in self.fields]
        return sitk.CompositeTransform([*self.linear, *steps])


def log(message: str) -> None:
    """Write progress to stderr."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def to_image(array: np.ndarray, like: Volume) -> sitk.Image:
    """Return a SimpleITK image (x, y, z) of an array (z, y, x) on the grid of ``like``."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(like.spacing_mm[::-1])
    image.SetOrigin(like.origin_mm[::-1])
    return image


def covers(ct: Volume, masks: dict[str, np.ndarray]) -> bool:
    """Whether a patient shows mid-brain to lung apices and both shoulders, with little dental metal."""
    if not {"Bone_Mandible", "SpinalCord", "Brainstem", "Parotid_L", "Parotid_R"} <= set(masks):
        return False
    body = ct.array > -500
    rows = np.flatnonzero(body.sum((1, 2)) * ct.spacing_mm[1] * ct.spacing_mm[2] > 6000.0)
    jaw = np.argwhere(masks["Bone_Mandible"])[:, 0].mean()
    above, below = (rows.max() - jaw) * ct.spacing_mm[0], (jaw - rows.min()) * ct.spacing_mm[0]
    width = np.ptp(np.flatnonzero(body[rows.min() : rows.min() + 8].any((0, 1)))) * ct.spacing_mm[2]
    metal_ml = (ct.array > 2500).sum() * ct.voxel_ml
    return bool(above >= 104 and below >= 178 and width >= 380 and metal_ml < 3.0)


def landmark_points(ct: Volume, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return (5, 3) LPS millimetres (x, y, z): structure centres, and the cord 90 mm below the mandible's centre."""
    points = []
    for name in LANDMARKS[:-1]:
        points.append(ct.index_to_mm(np.argwhere(masks[name]).mean(0))[::-1])
    cord = ct.index_to_mm(np.argwhere(masks["SpinalCord"]))
    level = points[0][2] - 90.0
    near = cord[np.abs(cord[:, 0] - level) <= np.abs(cord[:, 0] - level).min() + 2 * ct.spacing_mm[0]]
    points.append(near.mean(0)[::-1])
    return np.array(points)


def read_member(folder: Path) -> Member | None:
    """Read a patient's folder; None when it does not show what the atlas needs (``covers``)."""
    ct, masks = read_case(folder)
    if not covers(ct, masks):
        return None
    images = {name: to_image(masks[name].astype(np.float32), ct) for name in LABELS if name in masks}
    return Member(folder.name, to_image(ct.array.astype(np.float32), ct), images, landmark_points(ct, masks))


def atlas_grid(spacing_mm: float) -> sitk.Image:
    """Return an empty image that spans the atlas' extent."""
    size = np.round((HIGH_MM - LOW_MM) / spacing_mm).astype(int) + 1
    image = sitk.Image([int(n) for n in size[::-1]], sitk.sitkFloat32)
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin([float(v) for v in LOW_MM[::-1]])
    return image


def tone(image: sitk.Image) -> sitk.Image:
    """Map HU to the alignment's tone curve, 0 to 1."""
    out = sitk.GetImageFromArray(np.interp(sitk.GetArrayViewFromImage(image), TONE_HU, TONE).astype(np.float32))
    out.CopyInformation(image)
    return out


def guidance(member: Member, grid: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """Tone-mapped CT on ``grid`` with parotids and cord raised, so that structures guide the alignment."""
    out = tone(sitk.Resample(member.ct, grid, transform, sitk.sitkLinear, OUTSIDE_HU))
    for name, bump in GUIDES:
        out = out + bump * sitk.Resample(member.masks[name], grid, transform, sitk.sitkLinear, 0.0)
    return out


def mirrored(array: np.ndarray) -> np.ndarray:
    """Swap left and right of an array (..., x); the atlas grid is symmetric about x = 0."""
    return array[..., ::-1]


def symmetric_mean(images: list[sitk.Image]) -> sitk.Image:
    """Mean of the images and their mirror images."""
    total = np.mean([sitk.GetArrayViewFromImage(i) for i in images], axis=0)
    out = sitk.GetImageFromArray(((total + mirrored(total)) / 2).astype(np.float32))
    out.CopyInformation(images[0])
    return out


def superimpose(member: Member, target: np.ndarray) -> np.ndarray:
    """Place a member rigidly so that its landmarks meet ``target`` (5, 3); returns where they come to lie."""
    centre, goal = member.landmarks.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((member.landmarks - centre).T @ (target - goal))
    rotation = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T
    # Resampling asks for atlas -> patient, the inverse of what places the patient.
    translation = (centre - rotation.T @ goal).tolist()
    member.linear = [sitk.AffineTransform(rotation.T.ravel().tolist(), translation, [0.0, 0.0, 0.0])]
    return (member.landmarks - centre) @ rotation.T + goal


def place_by_landmarks(members: list[Member]) -> None:
    """Generalised Procrustes without scale: nobody is the reference; the mean shape is made symmetric."""
    mean = members[0].landmarks - members[0].landmarks[0]
    for _ in range(4):
        mean = np.mean([superimpose(member, mean) for member in members], axis=0)
        mean = (mean + mean[[0, 1, 3, 2, 4]] * [-1, 1, 1]) / 2
        mean -= mean[0]


def refine_affine(member: Member, template: sitk.Image) -> float:
    """Append the affine that brings a member closest to ``template``; returns its mean scale."""
    affine = sitk.AffineTransform(3)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.15, seed=7)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(affine, inPlace=True)
    method.Execute(template, guidance(member, template, member.transform))
    member.linear.append(affine)
    return float(np.linalg.det(np.array(affine.GetMatrix()).reshape(3, 3)) ** (1 / 3))


def align_affine(members: list[Member]) -> None:
    """Refine each placement by an affine against the symmetric mean of all."""
    grid = atlas_grid(COARSE_MM)
    template = symmetric_mean([guidance(m, grid, m.transform) for m in members])
    scales = [refine_affine(member, template) for member in members]
    log(f"affine: mean scale {np.mean(scales):.3f}")


def run_demons(template: sitk.Image, moving: sitk.Image, iterations: int, sigma_mm: float) -> np.ndarray:
    """Displacement in mm, float32 (z, y, x, 3), that brings ``moving`` onto ``template``."""
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(iterations)
    demons.SetStandardDeviations(sigma_mm / template.GetSpacing()[0])
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(1.0)
    return sitk.GetArrayFromImage(demons.Execute(template, moving)).astype(np.float32)


def add_field(member: Member, shift: np.ndarray, grid: sitk.Image) -> None:
    """Append a displacement (z, y, x, 3) in mm on ``grid``."""
    image = sitk.GetImageFromArray(shift, isVector=True)
    image.CopyInformation(grid)
    member.fields.append(image)


def align_demons(members: list[Member], spacing_mm: float, iterations: int, sigma_mm: float) -> None:
    """One round: each member's displacement against the current mean; the mean displacement is taken out."""
    grid = atlas_grid(spacing_mm)
    moving = [guidance(m, grid, m.transform) for m in members]
    template = symmetric_mean(moving)
    shifts = [run_demons(template, image, iterations, sigma_mm) for image in moving]
    mean = sum(shifts) / np.float32(len(shifts))
    # The mean of a field and its mirror image: x displacements change sign.
    mean = (mean + mean[:, :, ::-1] * np.array([-1, 1, 1], np.float32)) / 2
    for member in members:
        add_field(member, shifts.pop(0) - mean, grid)
    spread = np.mean([np.mean(sitk.GetArrayViewFromImage((i - template) ** 2)) for i in moving])
    log(f"demons at {spacing_mm} mm: mean square difference from the mean was {spread:.5f}")


def align_to(member: Member, volume: Volume, masks: dict[str, np.ndarray], spacing_mm: float) -> None:
    """Align somebody who is not in the atlas to the finished atlas (HU and masks on its grid)."""
    known = {name: to_image(mask.astype(np.float32), volume) for name, mask in masks.items()}
    finished = Member("", to_image(volume.array.astype(np.float32), volume), known, landmark_points(volume, masks))
    still = sitk.AffineTransform(3)
    superimpose(member, finished.landmarks)
    refine_affine(member, guidance(finished, atlas_grid(COARSE_MM), still))
    for mm, iterations, sigma_mm in ((COARSE_MM, 60, 7.0), (spacing_mm, 25, 4.0)):
        grid = atlas_grid(mm)
        template = guidance(finished, grid, still)
        add_field(member, run_demons(template, guidance(member, grid, member.transform), iterations, sigma_mm), grid)


def locate(member: Member, points: np.ndarray) -> np.ndarray:
    """Map (n, 3) atlas millimetres (x, y, z) to patient millimetres; the last field and the last affine come first."""
    points = points.astype(np.float32)
    for shift in reversed(member.fields):
        index = (points - np.float32(shift.GetOrigin())) / np.float32(shift.GetSpacing())
        vectors = sitk.GetArrayViewFromImage(shift)
        points = points + np.stack([at(vectors[..., i], index, 0.0, mode="nearest") for i in range(3)], -1)
    for affine in reversed(member.linear):
        matrix = np.array(affine.GetMatrix(), np.float32).reshape(3, 3)
        points = points @ matrix.T + np.float32(affine.GetTranslation())
    return points


def at(array: np.ndarray, index: np.ndarray, fill: float, mode: str = "constant") -> np.ndarray:
    """Linear samples of ``array`` (z, y, x) at (n, 3) indices in the order (x, y, z)."""
    return ndimage.map_coordinates(array, index.T[::-1], output=np.float32, order=1, mode=mode, cval=fill)


def sample(
    member: Member, points: np.ndarray, names: tuple[str, ...] = LABELS
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """HU (int16) and the share of each structure (float32) of a patient at (n, 3) atlas millimetres (x, y, z)."""
    index = (locate(member, points) - np.float32(member.ct.GetOrigin())) / np.float32(member.ct.GetSpacing())
    ct = at(sitk.GetArrayViewFromImage(member.ct), index, OUTSIDE_HU).astype(np.int16)
    found = {n: at(sitk.GetArrayViewFromImage(m), index, 0.0) for n, m in member.masks.items() if n in names}
    return ct, found


def grid_points(image: sitk.Image) -> np.ndarray:
    """(z, y, x, 3) millimetres (x, y, z) of an image's voxels."""
    axes = [
        o + s * np.arange(n) for o, s, n in zip(image.GetOrigin(), image.GetSpacing(), image.GetSize(), strict=True)
    ]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    return np.stack([x, y, z], -1).astype(np.float32)
