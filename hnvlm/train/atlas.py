"""Cohort atlas of the head and neck: the material of the synthetic demo case.

``python -m hnvlm.train.atlas --data DIR --out assets/atlas`` takes training patients with full coverage, aligns
them groupwise (landmarks, affine, then demons against the evolving mean), mirrors each, and keeps the voxel-wise
median of the mirrored pairs. A median over more than twenty patients is nobody's image; ``check_privacy`` measures
that.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from hnvlm.imaging.atlas import LABELS, Atlas, save_atlas
from hnvlm.imaging.volume import Volume
from hnvlm.train.atlas_align import (
    COARSE_MM,
    LOW_MM,
    OUTSIDE_HU,
    Member,
    align_affine,
    align_demons,
    align_to,
    atlas_grid,
    grid_points,
    log,
    mirrored,
    place_by_landmarks,
    read_member,
    sample,
)
from hnvlm.train.data import case_folders, training_folders
from hnvlm.types import MIRRORED

GRID_MM = 2.5
MIN_MEMBERS = 20
MAX_MEMBERS = 26
PRIVACY_STEP = 6  # of the slices, for time's sake


def load_members(folders: list[Path], limit: int) -> list[Member]:
    """Read patients until ``limit`` of them show all that the atlas needs."""
    members: list[Member] = []
    for folder in folders:
        if len(members) < limit and (member := read_member(folder)) is not None:
            members.append(member)
    return members


def cohort_body(members: list[Member]) -> np.ndarray:
    """Where at least a sixth of the cohort has body, with a margin: bool on the atlas' grid, symmetric."""
    coarse = grid_points(atlas_grid(COARSE_MM))
    share = np.zeros(coarse.shape[:3], np.float32)
    for member in members:
        share += (sample(member, coarse.reshape(-1, 3), ())[0] > -700).reshape(share.shape)
    share = ndimage.gaussian_filter((share + mirrored(share)) / (2 * len(members)), 0.7)
    shape = atlas_grid(GRID_MM).GetSize()[::-1]
    index = np.indices(shape, np.float32) * (GRID_MM / COARSE_MM)
    body = ndimage.map_coordinates(share, index, order=1, mode="nearest") > 1 / 6
    return body | mirrored(body)


def build(members: list[Member]) -> tuple[Atlas, np.ndarray]:
    """Return the atlas and the members on its grid, HU (n, z, y, x), for the privacy check."""
    points = grid_points(atlas_grid(GRID_MM))
    body = cohort_body(members)
    stack = np.full((len(members), *body.shape), OUTSIDE_HU, np.int16)
    votes = {name: np.zeros(body.shape, np.float32) for name in LABELS}
    known = dict.fromkeys(LABELS, 0)
    for i, member in enumerate(members):
        stack[i][body], found = sample(member, points[body])
        for name, share in found.items():
            vote = np.zeros(body.shape, np.float32)
            vote[body] = share
            votes[name] += vote
            votes[MIRRORED.get(name, name)] += mirrored(vote)
            known[name] += 1
            known[MIRRORED.get(name, name)] += 1
    ct = match_tones(sharpen(pair_median(stack)), stack)
    ct[~body] = OUTSIDE_HU
    labels = np.zeros(ct.shape, np.uint8)
    best = np.full(ct.shape, 0.5, np.float32)
    for code, name in enumerate(LABELS, start=1):
        fraction = ndimage.gaussian_filter(votes[name] / max(known[name], 1), 0.5)
        take = fraction > best
        labels[take], best[take] = code, fraction[take]
    volume = Volume(np.clip(np.round(ct), -1024, 2000).astype(np.int16), (GRID_MM,) * 3, tuple(LOW_MM))
    return Atlas(volume, labels, {}), stack


def pair_median(stack: np.ndarray) -> np.ndarray:
    """Voxel-wise median over all members (n, z, y, x) and their mirror images; float32 (z, y, x), symmetric."""
    half = (stack.shape[-1] + 1) // 2
    right = np.empty((*stack.shape[1:3], half), np.float32)
    for z in range(stack.shape[1]):
        right[z] = np.median(np.concatenate([stack[:, z, :, :half], mirrored(stack[:, z])[..., :half]]), axis=0)
    return np.concatenate([right, mirrored(right)[..., stack.shape[-1] % 2 :]], axis=-1)


def sharpen(ct: np.ndarray) -> np.ndarray:
    """Unsharp mask for edges that averaging softened; overshoot is limited to the neighbourhood's range."""
    sharp = ct + (ct - ndimage.gaussian_filter(ct, sigma=1.2))
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


def check_privacy(stack: np.ndarray, outsiders: np.ndarray | None = None) -> dict[str, float]:
    """Measure whether any member shines through: likeness of fine detail to the median, with and without the member.

    Args:
        stack: Members on the atlas' grid, HU (n, z, y, x).
        outsiders: Patients that were never in the atlas, aligned to it afterwards, on the same grid.

    Returns:
        ``members_*``: correlation of each member's high-pass slices with the median's;
        ``left_out_*``: the same with the median of all others;
        ``outsiders_*``: the same for patients who were never in the atlas;
        ``gap_*``: members minus left out, which is what membership alone adds;
        ``equal_voxels_max``: largest share of body voxels in which a member's HU is exactly the median.
    """
    slices = stack[:, ::PRIVACY_STEP]
    median = pair_median(slices)
    body = median > -600
    target = _detail(median)[body]
    likeness: dict[str, list[float]] = {"members": [], "left_out": [], "outsiders": []}
    equal = 0.0
    for i, member in enumerate(slices):
        own = _detail(member)[body]
        others = pair_median(np.delete(slices, i, axis=0))
        likeness["members"].append(np.corrcoef(own, target)[0, 1])
        likeness["left_out"].append(np.corrcoef(own, _detail(others)[body])[0, 1])
        equal = max(equal, float((member == median)[body].mean()))
    for person in [] if outsiders is None else outsiders[:, ::PRIVACY_STEP]:
        likeness["outsiders"].append(np.corrcoef(_detail(person)[body], target)[0, 1])
    likeness["gap"] = np.subtract(likeness["members"], likeness["left_out"]).tolist()
    measured = {"equal_voxels_max": equal, "outsiders": float(len(likeness["outsiders"]))}
    for name, values in likeness.items():
        if values:
            measured |= {f"{name}_mean": np.mean(values), f"{name}_max": np.max(values), f"{name}_min": np.min(values)}
    return {name: round(float(value), 4) for name, value in measured.items()}


def align_outsiders(atlas: Atlas, data: Path, limit: int) -> np.ndarray | None:
    """Validation patients on the atlas' grid, HU (n, z, y, x); None when ``data`` has none."""
    if not (data / "validation").is_dir():
        return None
    people = load_members(case_folders(data / "validation"), limit)
    masks = {name: atlas.labels == code for code, name in enumerate(LABELS, start=1)}
    points = grid_points(atlas_grid(GRID_MM))
    out = []
    for person in people:
        align_to(person, atlas.volume, masks, GRID_MM)
        out.append(sample(person, points.reshape(-1, 3), ())[0].reshape(points.shape[:3]))
        person.fields.clear()
    return np.stack(out) if out else None


def _detail(image: np.ndarray) -> np.ndarray:
    """What is left of each slice (z, y, x) after its smooth part is taken away."""
    image = np.clip(image.astype(np.float32), -300, 600)
    return image - ndimage.gaussian_filter(image, (0.0, 2.0, 2.0))


def main(argv: list[str] | None = None) -> None:
    """Build the atlas and write it with what the privacy check measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of patients (train/ and validation/ below it)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--members", type=int, default=MAX_MEMBERS)
    parser.add_argument("--outsiders", type=int, default=5, help="validation patients for the privacy check")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(args.threads)
    start = time.monotonic()
    members = load_members(training_folders(args.data), args.members)
    if len(members) < MIN_MEMBERS:
        raise SystemExit(f"{args.data} has {len(members)} patients with full coverage; {MIN_MEMBERS} are needed.")
    log(f"{len(members)} members: {', '.join(m.name for m in members)}")
    place_by_landmarks(members)
    align_affine(members)
    for spacing, iterations, sigma in ((COARSE_MM, 40, 8.0), (COARSE_MM, 40, 6.0), (GRID_MM, 25, 4.0)):
        align_demons(members, spacing, iterations, sigma)
        log(f"{time.monotonic() - start:.0f} s")
    finish(members, args.data, args.out, args.outsiders)
    log(f"done in {time.monotonic() - start:.0f} s")


def finish(members: list[Member], data: Path, out: Path, outsiders: int) -> None:
    """Build from aligned members, measure, save."""
    atlas, stack = build(members)
    count = len(members)
    members.clear()
    privacy = check_privacy(stack, align_outsiders(atlas, data, outsiders))
    atlas.meta.update(
        members=count,
        samples_per_voxel=2 * count,
        privacy=privacy,
        source="OpenKBP training patients (MIT licence), doi 10.1002/mp.14845; images from The Cancer Imaging Archive",
        command="python -m hnvlm.train.atlas --data DIR --out assets/atlas",
    )
    save_atlas(atlas, out)
    log(json.dumps(privacy))


if __name__ == "__main__":
    main()
