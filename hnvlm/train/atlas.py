"""Cohort atlas of the head and neck: the material of the synthetic demo case.

``python -m hnvlm.train.atlas --data DIR --out assets/atlas`` takes training patients with full coverage, aligns
them groupwise (landmarks, affine, then demons against the evolving mean), mirrors each, and keeps the voxel-wise
median of the mirrored pairs. A median over more than twenty patients is nobody's image; ``check_privacy`` measures
that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from hnvlm.imaging.atlas import LABELS, Atlas, save_atlas
from hnvlm.imaging.volume import Volume
from hnvlm.train.data import read_case, training_folders

GRID_MM = 2.5
COARSE_MM = 5.0
# Extent around the mandible's centre, (z, y, x) millimetres: mid-brain to lung apices, shoulder to shoulder.
LOW_MM = np.array([-167.5, -110.0, -237.5])
HIGH_MM = np.array([102.5, 160.0, 237.5])
LANDMARKS = ("Bone_Mandible", "Brainstem", "Parotid_R", "Parotid_L", "Cord")
MIRROR = {"Parotid_R": "Parotid_L", "Parotid_L": "Parotid_R"}
OUTSIDE_HU = -1024.0
# Tone curve for alignment: air, fat, muscle and bone get comparable steps; metal does not count.
TONE_HU = np.array([-1024.0, -250.0, -120.0, 20.0, 90.0, 350.0, 900.0])
TONE = np.array([0.0, 0.10, 0.30, 0.60, 0.65, 0.90, 1.0])
MIN_MEMBERS = 20
MAX_MEMBERS = 26


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


def load_members(data: Path, limit: int = MAX_MEMBERS) -> list[Member]:
    """Read the first ``limit`` training patients that ``covers`` accepts."""
    members = []
    for folder in training_folders(data):
        ct, masks = read_case(folder)
        if not covers(ct, masks):
            continue
        images = {name: to_image(masks[name].astype(np.float32), ct) for name in LABELS if name in masks}
        members.append(
            Member(folder.name, to_image(ct.array.astype(np.float32), ct), images, landmark_points(ct, masks))
        )
        if len(members) == limit:
            break
    if len(members) < MIN_MEMBERS:
        raise SystemExit(f"{data} has {len(members)} patients with full coverage; a median needs {MIN_MEMBERS}.")
    return members


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
    for name, bump in (("Parotid_R", 0.25), ("Parotid_L", 0.25), ("SpinalCord", -0.2), ("Bone_Mandible", 0.1)):
        out = out + bump * sitk.Resample(member.masks[name], grid, transform, sitk.sitkLinear, 0.0)
    return out


def mirrored(array: np.ndarray) -> np.ndarray:
    """Swap left and right; the atlas grid is symmetric about x = 0."""
    return array[..., ::-1]


def symmetric_mean(images: list[sitk.Image]) -> sitk.Image:
    """Mean of the images and their mirror images."""
    total = np.mean([sitk.GetArrayViewFromImage(i) for i in images], axis=0)
    out = sitk.GetImageFromArray(((total + mirrored(total)) / 2).astype(np.float32))
    out.CopyInformation(images[0])
    return out


def place_by_landmarks(members: list[Member]) -> None:
    """Generalised Procrustes with one scale: nobody is the reference; the mean shape is made symmetric."""
    mean = members[0].landmarks - members[0].landmarks[0]
    for _ in range(4):
        placed = []
        for member in members:
            centre, target = member.landmarks.mean(0), mean.mean(0)
            u, _, vt = np.linalg.svd((member.landmarks - centre).T @ (mean - target))
            rotation = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T
            placed.append((member.landmarks - centre) @ rotation.T + target)
            # Resampling asks for atlas -> patient, the inverse of what places the patient.
            member.linear = [
                sitk.AffineTransform(
                    rotation.T.ravel().tolist(), (centre - rotation.T @ target).tolist(), [0.0, 0.0, 0.0]
                )
            ]
        mean = np.mean(placed, axis=0)
        flip = mean[[0, 1, 3, 2, 4]] * [-1, 1, 1]
        mean = (mean + flip) / 2
        mean -= mean[0]


def align_affine(members: list[Member]) -> None:
    """Refine each placement by an affine against the symmetric mean, then remove the mean deformation."""
    grid = atlas_grid(COARSE_MM)
    template = symmetric_mean([guidance(m, grid, m.transform) for m in members])
    matrices = []
    for member in members:
        moving = guidance(member, grid, member.transform)
        start = sitk.AffineTransform(3)
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMeanSquares()
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(0.15, seed=7)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(start, inPlace=True)
        method.Execute(template, moving)
        member.linear.append(start)
        matrices.append(np.array(start.GetMatrix()).reshape(3, 3))
    log(f"affine: mean scale {np.mean([np.linalg.det(m) ** (1 / 3) for m in matrices]):.3f}")


def align_demons(members: list[Member], spacing_mm: float, iterations: int, sigma_mm: float) -> None:
    """One round: each member's displacement against the current mean; the mean displacement is taken out."""
    grid = atlas_grid(spacing_mm)
    moving = [guidance(m, grid, m.transform) for m in members]
    template = symmetric_mean(moving)
    fields = []
    before, after = [], []
    for image in moving:
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(sigma_mm / spacing_mm)
        demons.SetSmoothUpdateField(True)
        demons.SetUpdateFieldStandardDeviations(1.0)
        fields.append(sitk.GetArrayFromImage(demons.Execute(template, image)).astype(np.float32))
        before.append(float(np.mean((sitk.GetArrayViewFromImage(image) - sitk.GetArrayViewFromImage(template)) ** 2)))
        after.append(demons.GetMetric())
    mean = sum(fields) / np.float32(len(fields))
    # The mean of a field and its mirror image: x displacements change sign.
    mean = (mean + mean[:, :, ::-1] * np.array([-1, 1, 1], np.float32)) / 2
    for member in members:
        centred = sitk.GetImageFromArray(fields.pop(0) - mean, isVector=True)
        centred.CopyInformation(grid)
        member.fields.append(centred)
    log(f"demons at {spacing_mm} mm: mean square difference {np.mean(before):.5f}, then {np.mean(after):.5f}")


def build(members: list[Member]) -> tuple[Atlas, np.ndarray]:
    """Return the atlas and the members on its grid, HU (n, z, y, x), for the privacy check."""
    grid = atlas_grid(GRID_MM)
    warped, votes = [], {name: np.zeros(grid.GetSize()[::-1], np.float32) for name in LABELS}
    known = dict.fromkeys(LABELS, 0)
    for member in members:
        ct = sitk.Resample(member.ct, grid, member.transform, sitk.sitkLinear, OUTSIDE_HU)
        warped.append(sitk.GetArrayFromImage(ct).astype(np.int16))
        for name, mask in member.masks.items():
            vote = sitk.GetArrayFromImage(sitk.Resample(mask, grid, member.transform, sitk.sitkLinear, 0.0))
            votes[name] += vote
            votes[MIRROR.get(name, name)] += mirrored(vote)
            known[name] += 1
            known[MIRROR.get(name, name)] += 1
    stack = np.stack(warped)
    ct = np.empty(stack.shape[1:], np.float32)
    for z in range(ct.shape[0]):
        ct[z] = np.median(np.concatenate([stack[:, z], mirrored(stack[:, z])]), axis=0)
    ct = match_tones(sharpen(ct), stack)
    labels = np.zeros(ct.shape, np.uint8)
    share = np.full(ct.shape, 0.5, np.float32)
    for code, name in enumerate(LABELS, start=1):
        fraction = ndimage.gaussian_filter(votes[name] / max(known[name], 1), 0.5)
        take = fraction > share
        labels[take], share[take] = code, fraction[take]
    volume = Volume(np.clip(np.round(ct), -1024, 2000).astype(np.int16), (GRID_MM,) * 3, tuple(LOW_MM))
    return Atlas(volume, labels, {}), stack


def sharpen(ct: np.ndarray, amount: float = 1.0, sigma: float = 1.2) -> np.ndarray:
    """Unsharp mask for edges that averaging softened; overshoot is limited to the neighbourhood's range."""
    sharp = ct + amount * (ct - ndimage.gaussian_filter(ct, sigma))
    slack = 30.0
    low, high = ndimage.minimum_filter(ct, 3) - slack, ndimage.maximum_filter(ct, 3) + slack
    return np.clip(sharp, low, high)


def match_tones(ct: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Give the atlas the cohort's pooled HU distribution inside the body (one monotone curve, no positions)."""
    body = ct > -600
    pooled = stack[:, ::2, ::2, ::2]
    pooled = pooled[pooled > -600]
    quantiles = np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.905, 0.999, 40)])
    source, target = np.quantile(ct[body], quantiles), np.quantile(pooled, quantiles)
    source += np.arange(source.size) * 1e-4
    out = ct.copy()
    mapped = np.interp(ct[body], source, target)
    # Half of the way: the whole way exaggerates what averaging blurred.
    out[body] = 0.5 * ct[body] + 0.5 * mapped
    return out


def check_privacy(atlas: Atlas, stack: np.ndarray) -> dict[str, float]:
    """Measure whether any member dominates: correlation of fine detail with the atlas, member in and left out.

    Returns:
        ``detail_correlation_max``: largest correlation of one member's high-pass image with the atlas';
        ``detail_correlation_left_out_max``: the same against an atlas made without that member;
        ``gap_max``: largest difference of the two (what membership alone adds);
        ``equal_voxels_max``: largest share of body voxels in which a member's HU equals the median exactly.
    """
    inside = atlas.volume.array > -600
    with_all, without, equal = [], [], []
    small = stack[:, ::2]
    body = inside[::2]

    def detail(image: np.ndarray) -> np.ndarray:
        image = np.clip(image.astype(np.float32), -300, 600)
        return (image - ndimage.gaussian_filter(image, 2.0))[body]

    everyone = np.concatenate([small, mirrored(small)])
    whole = np.median(everyone, axis=0)
    reference = detail(whole)
    for i in range(len(small)):
        own = detail(small[i])
        others = np.median(np.delete(everyone, [i, i + len(small)], axis=0), axis=0)
        with_all.append(np.corrcoef(own, reference)[0, 1])
        without.append(np.corrcoef(own, detail(others))[0, 1])
        equal.append(float((small[i] == whole)[body].mean()))
    gap = np.array(with_all) - np.array(without)
    return {
        "detail_correlation_mean": round(float(np.mean(with_all)), 4),
        "detail_correlation_max": round(float(np.max(with_all)), 4),
        "detail_correlation_left_out_max": round(float(np.max(without)), 4),
        "gap_mean": round(float(gap.mean()), 4),
        "gap_max": round(float(gap.max()), 4),
        "equal_voxels_max": round(float(np.max(equal)), 4),
    }


def main(argv: list[str] | None = None) -> None:
    """Build the atlas and write it with its description."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of patients (train/ below it is used)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--members", type=int, default=MAX_MEMBERS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(args.threads)
    start = time.monotonic()
    members = load_members(args.data, args.members)
    log(f"{len(members)} members: {', '.join(m.name for m in members)}")
    place_by_landmarks(members)
    align_affine(members)
    for spacing, iterations, sigma in ((COARSE_MM, 40, 8.0), (COARSE_MM, 40, 6.0), (GRID_MM, 25, 4.0)):
        align_demons(members, spacing, iterations, sigma)
        log(f"{time.monotonic() - start:.0f} s")
    atlas, stack = build(members)
    privacy = check_privacy(atlas, stack)
    atlas.meta.update(
        members=len(members),
        samples_per_voxel=2 * len(members),
        grid_mm=GRID_MM,
        privacy=privacy,
        source="OpenKBP training patients (MIT licence), doi 10.1002/mp.14845; images from The Cancer Imaging Archive",
        command="python -m hnvlm.train.atlas --data DIR --out assets/atlas",
    )
    save_atlas(atlas, args.out)
    log(json.dumps(privacy))
    log(f"done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
