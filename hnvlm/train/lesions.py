"""Train a lesion network on patches: lesions, the same places without them, and the network's own false alarms.

Shared by the CT encoder and by the judge, which train their own network on their own lesions.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.stats import auroc
from hnvlm.models.ct_encoder import CROP, GRID_MM, LESION_CHANNELS
from hnvlm.models.detect import EVIDENCE, evidence
from hnvlm.models.lesion_net import PLACES, SIZE_SCALE, LesionNet, lesion_probability, network_inputs
from hnvlm.models.precision import mixed_precision
from hnvlm.models.unet import FOLD
from hnvlm.train.ahead import Ahead
from hnvlm.train.aside import kept_aside
from hnvlm.train.bank import BankPatient
from hnvlm.train.compose import Sample, compose
from hnvlm.train.data import CHANNELS
from hnvlm.train.disease import edge_of, inside_of
from hnvlm.train.loop import ENDLESS, LoopOptions, Numbers, log, train_loop

GRID = 32
PATCH = 12  # cells of 6 mm: 72 mm
MARGIN = 2  # voxels of 3 mm at a patch's border whose surroundings are cut off
JITTER = 3  # cells by which a patch is moved off the middle of its lesion, at most
BATCH = 32
LEARNING_RATE = 2e-3
# Patches that are kept for use again, and pairs of which the first are made; then every step adds a pair's.
BUFFER, FIRST_PAIRS = 7000, 150
# Of each lesion-free crop: patches of what the network takes for lesions there, from this step on, and of any tissue.
FALSE_ALARMS, MINE_AFTER, ELSEWHERE = 4, 200, 2
PEAK_WEIGHT = 2.0  # in the loss: of the strongest evidence of each kind in a patch
# The voxels of a lesion with fewer of them (of 3 mm) weigh more, up to so many times.
FULL_WEIGHT_VOXELS, LARGEST_WEIGHT = 300.0, 4.0
# Random deformation: of so many pairs; by how much they are turned, stretched and bent at most.
WARP_SHARE, TURN_DEGREES, STRETCH, BEND_MM = 0.8, 6.0, 1.12, 7.0
# Crops of each patient kept aside; on them the detection threshold is set.
CROPS_PER_KEPT = 8
# With fewer crops in all, which are of about six patients, the threshold is left to chance.
FEW_CROPS = 50
THRESHOLD_SEED = 77


@dataclass(frozen=True, eq=False)
class Patch:
    """One training patch.

    Attributes:
        inputs: (INPUTS, 12, 12, 12) half precision.
        lesions: uint8 (3, 24, 24, 24), share of each voxel that is lesion, times 255.
        said: float32 (4, 12, 12, 12): size / SIZE_SCALE, necrotic 0/1, place index, 1 where there is a lesion to say
            this of.
        unknown: bool (24, 24, 24), where the patient's own disease may be and nothing was inserted: neither answer is
            taught there.
    """

    inputs: Tensor
    lesions: Tensor
    said: Tensor
    unknown: Tensor


Start = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Pair:
    """A crop with lesions and its twin without them, and where patches are cut.

    Attributes:
        hu: float32 (2, 64, 64, 64), with the lesions and without.
        lesions: uint8 (3, 64, 64, 64), share of each voxel that is lesion, times 255.
        said: float32 (4, 32, 32, 32), see ``Patch``.
        unknown: bool (3, 64, 64, 64), see ``Patch``; the last where the patient's own lesions are what is taught.
        own: uint8 (3, 64, 64, 64), as ``lesions``: the patient's own, which are in both.
        at_lesions, elsewhere, at_own: First cells of patches.
    """

    hu: Tensor
    lesions: Tensor
    said: Tensor
    unknown: Tensor
    at_lesions: list[Start]
    elsewhere: list[Start]
    own: Tensor
    at_own: list[Start]


def twin_pair(bank: BankPatient, rng: np.random.Generator) -> tuple[Sample, np.ndarray] | None:
    """A crop with lesions and the HU of the same crop without them; None when the patient has no room for any."""
    sample = compose(bank, rng, n_lesions=int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])))
    if not sample.lesions:
        return None
    clean = sample.hu - sample.delta
    return warped(sample, clean, rng) if rng.random() < WARP_SHARE else (sample, clean)


def warp_field(rng: np.random.Generator) -> Tensor:
    """Random smooth deformation of a crop, sampling positions (1, 64, 64, 64, 3) for ``grid_sample``.

    Turned, stretched and bent: there are few training necks, and a network that knows them by heart finds false alarms
    in every other one.
    """
    a, b, c = rng.uniform(-1, 1, 3) * np.radians(TURN_DEGREES)
    turn = np.eye(3)
    for i, j, angle in ((0, 1, a), (0, 2, b), (1, 2, c)):
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    matrix = turn * rng.uniform(1 / STRETCH, STRETCH, 3)
    theta = torch.from_numpy(np.hstack([matrix, np.zeros((3, 1))]).astype(np.float32))[None]
    grid = F.affine_grid(theta, [1, 1, CROP, CROP, CROP], align_corners=False)
    bends = rng.uniform(-1, 1, (1, 3, 6, 6, 6)).astype(np.float32) * BEND_MM / (0.5 * CROP * GRID_MM)
    bent = F.interpolate(torch.from_numpy(bends), size=(CROP,) * 3, mode="trilinear", align_corners=True)
    return grid + bent.permute(0, 2, 3, 4, 1)


def warped(sample: Sample, clean_hu: np.ndarray, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
    """A sample and its twin without the lesion under the same random deformation.

    The stated sizes stay those of before: a deformation changes them by a few percent.

    Args:
        clean_hu: HU (64, 64, 64) of the twin.
    """
    grid = warp_field(rng)
    hu = torch.from_numpy(np.stack([sample.hu, clean_hu])[None].astype(np.float32))
    hu = F.grid_sample(hu + 1024.0, grid, mode="bilinear", align_corners=False)[0].numpy() - 1024.0
    lesions = torch.from_numpy(sample.targets[None, len(CHANNELS) :])
    lesions = F.grid_sample(lesions, grid, mode="bilinear", align_corners=False)[0].numpy()
    owner = torch.from_numpy(sample.owner[None, None].astype(np.float32))
    owner = F.grid_sample(owner, grid, mode="nearest", align_corners=False)[0, 0].numpy().astype(np.uint8)
    diseased = torch.from_numpy(sample.diseased[None, None].astype(np.float32))
    diseased = F.grid_sample(diseased, grid, mode="nearest", align_corners=False)[0, 0].numpy() > 0
    own = torch.from_numpy(sample.own[None, None].astype(np.float32))
    own = F.grid_sample(own, grid, mode="nearest", align_corners=False)[0, 0].numpy().astype(np.uint8)
    # Interpolation smooths the noise away, which would tell a warped neck from a real one.
    grain = rng.standard_normal(clean_hu.shape, dtype=np.float32) * rng.uniform(0, 8)
    targets = np.concatenate([sample.targets[: len(CHANNELS)], lesions])
    return replace(sample, hu=hu[0] + grain, targets=targets, owner=owner, diseased=diseased, own=own), hu[1] + grain


def said_of(sample: Sample) -> np.ndarray:
    """What is said of the lesions of a sample, at 6 mm: (4, 32, 32, 32) float32, see ``Patch``."""
    said = np.zeros((4, GRID, GRID, GRID), np.float32)
    owner = sample.owner.reshape(GRID, FOLD, GRID, FOLD, GRID, FOLD).max(axis=(1, 3, 5))
    for k, lesion in enumerate(sample.lesions, start=1):
        spec = lesion.spec
        said[:, owner == k] = np.array(
            [spec.size_mm / SIZE_SCALE, spec.texture == "necrotic", PLACES.index(spec.place), 1.0], np.float32
        )[:, None]
    return said


def _start(centre: np.ndarray, rng: np.random.Generator) -> Start:
    """First cell of a patch about a centre (in cells), jittered and kept inside the crop."""
    start = np.rint(centre - PATCH / 2 + rng.uniform(-JITTER, JITTER, 3)).astype(int)
    return tuple(int(i) for i in np.clip(start, 0, GRID - PATCH))  # type: ignore[return-value]


def pair_of(bank: BankPatient, rng: np.random.Generator) -> Pair | None:
    """Compose a twin pair and choose where patches are cut: around every lesion, and elsewhere in soft tissue."""
    pair = twin_pair(bank, rng)
    if pair is None:
        return None
    sample, clean_hu = pair
    at_lesions = []
    for k in range(1, len(sample.lesions) + 1):
        where = np.argwhere(sample.owner == k)
        if len(where):
            at_lesions.append(_start(where.mean(0) / FOLD, rng))
    tissue = np.argwhere((clean_hu > -100) & (clean_hu < 200)) / FOLD
    elsewhere = [_start(tissue[int(rng.integers(len(tissue)))], rng) for _ in range(ELSEWHERE)]
    lesions = np.rint(sample.targets[len(CHANNELS) :] * 255).astype(np.uint8)
    hu = torch.from_numpy(np.stack([sample.hu, clean_hu]).astype(np.float32))
    beside = sample.diseased & (sample.own == 0) | edge_of(sample.own)
    unknown = torch.from_numpy(np.stack([sample.diseased & (sample.owner == 0), sample.diseased, beside]))
    said = torch.from_numpy(said_of(sample))
    own = np.stack([sample.own == k for k in range(1, len(LESION_CHANNELS) + 1)]).astype(np.uint8) * 255
    at_own = [_start(c / FOLD, rng) for c in inside_of(sample.own, rng)]
    return Pair(hu, torch.from_numpy(lesions), said, unknown, at_lesions, elsewhere, torch.from_numpy(own), at_own)


def cut_patch(inputs: Tensor, lesions: Tensor, said: Tensor, unknown: Tensor, start: Start) -> Patch:
    """Cut one patch out of a crop's inputs (INPUTS, 32, 32, 32) and targets."""
    cells = tuple(slice(s, s + PATCH) for s in start)
    voxels = tuple(slice(FOLD * s, FOLD * (s + PATCH)) for s in start)
    return Patch(
        inputs[(slice(None), *cells)].half(),
        lesions[(slice(None), *voxels)].clone(),
        said[(slice(None), *cells)].clone(),
        unknown[voxels].clone(),
    )


def false_alarms(probability: Tensor, n: int) -> list[np.ndarray]:
    """Cells of the ``n`` highest peaks of a lesion-free crop's map (64, 64, 64), at least 12 mm apart."""
    highest = F.max_pool3d(probability[None], 9, stride=1, padding=4)[0]
    order = torch.where(probability == highest, probability, -1.0).flatten().topk(n).indices
    return list(np.stack(np.unravel_index(order.cpu().numpy(), probability.shape), 1) / FOLD)


def pair_patches(
    pair: Pair, network: LesionNet | None, rng: np.random.Generator, device: torch.device | str = "cpu"
) -> list[Patch]:
    """Patches of one twin pair: every lesion, its place without it, false alarms of ``network``, other places."""
    lesions, said = pair.lesions.to(device), pair.said.to(device)
    nothing, silent = torch.zeros_like(lesions), torch.zeros_like(said)
    around, own, beside = pair.unknown.to(device)
    with torch.inference_mode():
        with_lesion, clean = network_inputs(pair.hu.to(device))
        patches = []
        for start in pair.at_lesions:
            patches.append(cut_patch(with_lesion, lesions, said, around, start))
            patches.append(cut_patch(clean, nothing, silent, own, start))
        elsewhere = list(pair.elsewhere)
        if network is not None:
            # What is seen in the patient's own disease is no false alarm.
            seen = lesion_maps(network, clean[None])[0].amax(0).masked_fill(own, 0.0)
            alarms = false_alarms(seen, FALSE_ALARMS)
            elsewhere += [_start(c, rng) for c in alarms]
        patches += [cut_patch(clean, nothing, silent, own, start) for start in elsewhere]
        # The patient's own disease is taught as lesions.
        patches += [cut_patch(clean, pair.own.to(device), silent, beside, start) for start in pair.at_own]
    return patches


def lesion_maps(network: LesionNet, inputs: Tensor) -> Tensor:
    """Probabilities (B, 3, 64, 64, 64) of whole crops' inputs, the network's mode left as it was."""
    training = network.training
    network.eval()
    with torch.inference_mode(), mixed_precision(inputs.device):
        logits, _, _ = network(inputs.float())
    network.train(training)
    return logits.sigmoid()


def patch_loss(network: LesionNet, batch: list[Patch]) -> tuple[Tensor, Numbers]:
    """Cross-entropy and Dice of the lesion maps, the strongest evidence of each kind, and the attributes of lesions.

    A small lesion's voxels weigh up to four times as much, so that it counts as much as a large one.
    """
    inputs = torch.stack([p.inputs for p in batch]).float().contiguous(memory_format=torch.channels_last_3d)
    targets = torch.stack([p.lesions for p in batch]).float() / 255.0
    said = torch.stack([p.said for p in batch])
    told_of = ~torch.stack([p.unknown for p in batch])[:, None]
    with mixed_precision(inputs.device):
        logits, attributes, _ = network(inputs)
    inner = (..., *[slice(MARGIN, -MARGIN)] * 3)
    logits, targets, told_of = logits[inner], targets[inner], told_of[inner].float()
    positive = targets.sum((2, 3, 4))
    weight = (FULL_WEIGHT_VOXELS / positive.clamp(min=1)).clamp(1, LARGEST_WEIGHT)[..., None, None, None]
    weight = torch.where(targets > 0.3, weight, 1.0)
    wrong = F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight * told_of
    entropy = wrong.sum() / (told_of.sum() * targets.shape[1]).clamp(min=1)
    p = logits.sigmoid() * told_of
    there = (positive > 4).float()
    overlap, total = (p * targets).sum((2, 3, 4)), p.sum((2, 3, 4)) + positive
    dice = ((1 - (2 * overlap + 1) / (total + 1)) * there).sum() / there.sum().clamp(min=1)
    told = attribute_loss(attributes, said)
    # A neck is judged by its strongest evidence, so that is what has to be right in a patch.
    peak = F.avg_pool3d(p, EVIDENCE, stride=1).amax((2, 3, 4)).clamp(1e-4, 1 - 1e-4)
    peaks = F.binary_cross_entropy(peak, there)
    with torch.no_grad():
        highest, has = peak.amax(1), there.amax(1)
        numbers: Numbers = {"entropy": entropy, "dice": dice, "attributes": told, "peaks": peaks}
        numbers = {k: v.detach() for k, v in numbers.items()}
        numbers["peak_with"] = (highest * has).sum() / has.sum().clamp(min=1)
        numbers["peak_without"] = (highest * (1 - has)).sum() / (1 - has).sum().clamp(min=1)
    return 20.0 * entropy + 0.5 * dice + 0.2 * told + PEAK_WEIGHT * peaks, numbers


def attribute_loss(attributes: Tensor, said: Tensor) -> Tensor:
    """Squared error of the size, cross-entropy of necrosis and place, over cells of lesions; 0 without any.

    Args:
        attributes: (B, ATTRIBUTES, Z, Y, X), as ``LesionNet`` returns them.
        said: (B, 4, Z, Y, X), as in ``Patch.said``.
    """
    size, necrotic, place, where = said.unbind(1)
    n = where.sum().clamp(min=1)
    sized = where * (size > 0)  # a narrowed airway has no size and no texture
    squared = ((attributes[:, 0] - size) ** 2 * sized).sum() / sized.sum().clamp(min=1)
    texture = F.binary_cross_entropy_with_logits(attributes[:, 1], necrotic, weight=sized, reduction="sum") / n
    placed = F.cross_entropy(attributes[:, 2:], place.long(), reduction="none")
    return squared + texture + (placed * where).sum() / n


@dataclass
class Scores:
    """Evidence of a node or mass on patients kept aside.

    Attributes:
        neck: Highest in each neck. lesioned: Whether it holds an inserted lesion.
        place: Highest at the place of a lesion. there: Whether the lesion is there, or its twin is looked at.
    """

    neck: list[float] = field(default_factory=list)
    lesioned: list[bool] = field(default_factory=list)
    place: list[float] = field(default_factory=list)
    there: list[bool] = field(default_factory=list)


def seen_in(network: LesionNet, hu: np.ndarray) -> np.ndarray:
    """Evidence of a node or mass (64, 64, 64) in a crop."""
    node, mass, _ = lesion_probability(network, hu)
    return np.maximum(evidence(node), evidence(mass))


def presence_scores(network: LesionNet, banks: list[BankPatient]) -> Scores:
    """Look at every kept-aside neck without a lesion and with each of some."""
    out = Scores()
    for k, bank in enumerate(banks):
        rng = np.random.default_rng([THRESHOLD_SEED, k])
        wanted = [b for b in bank.lesions if b.spec.kind != "airway"]
        if not wanted:
            continue  # the neck is not where its landmarks say
        if bank.reported is not None and bank.reported.all():
            continue  # nobody knows what is in this neck
        chosen = [wanted[int(i)] for i in rng.permutation(len(wanted))[:CROPS_PER_KEPT]]
        samples = [compose(bank, rng, augment=False, lesions=x) for x in ([], *[[c] for c in chosen])]
        with torch.inference_mode():
            maps = [np.where(s.diseased & (s.owner == 0), 0, seen_in(network, s.hu)) for s in samples]
        for sample, m in zip(samples, maps, strict=True):
            out.neck.append(float(m.max()))
            out.lesioned.append(bool(sample.lesions))
            if sample.lesions and sample.owner.any() and not sample.diseased[sample.owner > 0].any():
                out.place += [float(m[sample.owner > 0].max()), float(maps[0][sample.owner > 0].max())]
                out.there += [True, False]
    return out


def best_threshold(scores: list[float], labels: list[bool]) -> float:
    """The score that splits best (sensitivity + specificity), halfway to the next lower score."""
    s, y = np.array(scores), np.array(labels)
    order = np.unique(s)
    gain = [(s[y] >= t).mean() + (s[~y] < t).mean() for t in order]
    k = int(np.argmax(gain))
    return float(order[k] if k == 0 else 0.5 * (order[k] + order[k - 1]))


def detector_metrics(network: LesionNet, banks: list[BankPatient]) -> dict[str, float]:
    """How well nodes and masses are seen on the patients kept aside, in a neck and at a given place.

    Returns:
        AUROC and the threshold with the greatest sensitivity + specificity, for both questions; the highest evidence in
        a lesion-free neck (``clear_threshold``); number of necks.
    """
    s = presence_scores(network, kept_aside(banks)[1])
    if not s.neck or not s.there:
        raise InputRefusedError(
            "Of the patients kept aside to set the threshold of detection on, none has a place that is surely free of "
            "disease: the GTV or a report.txt that is not clear covers all. Add patients, or take "
            "reports out that say nothing readable of masses and nodes."
        )
    if len(s.neck) < FEW_CROPS:
        log(
            f"lesions: thresholds and AUROC come from {len(s.neck)} crops of patients kept aside. Below {FEW_CROPS} "
            "chance decides them: add patients (of 24 six are kept aside) before they are relied on"
        )
    return {
        "auroc": round(auroc(s.neck, s.lesioned), 4),
        "threshold": best_threshold(s.neck, s.lesioned),
        "place_auroc": round(auroc(s.place, s.there), 4),
        "place_threshold": best_threshold(s.place, s.there),
        "clear_threshold": max(x for x, lesioned in zip(s.neck, s.lesioned, strict=True) if not lesioned),
        "crops": len(s.neck),
    }


def train_lesion_net(
    network: LesionNet, banks: list[BankPatient], checkpoint: Path, *, resume: bool, steps: int, seed: int,
    batch: int = BATCH, learning_rate: float = LEARNING_RATE, device: torch.device | str = "cpu", workers: int = 0,
    minutes: float = 0.0,
) -> tuple[LesionNet, int]:  # fmt: skip
    """Train on the patients that are not kept aside; returns the averaged network and the steps taken.

    The patches wait in a buffer and are used several times while new ones keep coming in; after a resume the buffer
    is filled again.
    """
    train_on, _ = kept_aside(banks)
    if ill := sum(b.own is not None for b in train_on):
        log(f"lesions: {ill} of {len(train_on)} patients also teach the disease that the clinic contoured in them")
    buffer: deque[Patch] = deque(maxlen=BUFFER)
    network = network.to(device, memory_format=torch.channels_last_3d)

    def pair(step: int) -> Pair | None:
        rng = np.random.default_rng([seed, 1, step])
        return pair_of(train_on[int(rng.integers(len(train_on)))], rng)

    first = Ahead(lambda k: pair(k + ENDLESS), ENDLESS, workers)
    pairs = Ahead(pair, ENDLESS, workers)

    def refill(made: Pair | None, step: int, miner: LesionNet | None) -> None:
        if made is not None:
            buffer.extend(pair_patches(made, miner, np.random.default_rng([seed, 3, step]), device))

    def loss_of_step(step: int) -> tuple[Tensor, Numbers]:
        miner = network if step > MINE_AFTER else None
        if not buffer:
            log(f"lesions: filling the buffer with {FIRST_PAIRS} pairs")
            for k in range(step, step + FIRST_PAIRS):
                refill(first(k), k, miner)
            first.stop()
        refill(pairs(step), step, miner)
        chosen = np.random.default_rng([seed, 2, step]).integers(len(buffer), size=batch)
        return patch_loss(network, [buffer[int(i)] for i in chosen])

    def evaluate(averaged: nn.Module) -> dict[str, float]:
        return detector_metrics(averaged, banks)  # type: ignore[arg-type]

    options = LoopOptions(
        steps=steps, learning_rate=learning_rate, warmup=60, ema=0.995, weight_decay=5e-2, minutes=minutes
    )
    trained = train_loop(
        network,
        loss_of_step,
        options,
        checkpoint,
        resume=resume,
        evaluate=evaluate,
        evaluate_every=max(1000, steps // 5),
    )
    pairs.stop()
    return trained, options.taken  # type: ignore[return-value]
