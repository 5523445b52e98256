"""Counterfactual edits of validation CTs, judged by a detector that never trained the generator.

For every patient: lesions asked for in held-out wordings (``mid``: unseen sentences, known words; ``held``: unseen
sentences and unseen words), a removal of an inserted lesion, and "no mass" on the patient's own CT. The baseline
"text -> parameters -> inserter" draws the same layouts and is judged the same way.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from hnvlm.errors import UsageError
from hnvlm.evaluate.cases import rng_of
from hnvlm.evaluate.common import each, evaluation_folders, log, median, read_case, share, with_rules
from hnvlm.imaging.anatomy import LEVEL_BOX
from hnvlm.imaging.lesions import Lesion, LesionSpec, apply, insert, random_spec, to_coarse
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import GRID_MM, cut
from hnvlm.models.detect import Detection, edge_of, evidence
from hnvlm.models.facts import lesion_finding
from hnvlm.models.judge import Judge
from hnvlm.models.neck import Neck
from hnvlm.models.pack import ModelPack, load
from hnvlm.models.text_tower import read_facts
from hnvlm.report.requests import sample_spec
from hnvlm.types import Counterfactual, Finding, Segmentation

LEVEL_TOLERANCE_MM = 4.0
# From this size on a lesion is some voxels wide in these CTs (4 mm pixels).
CLEAR_MM = 15.0
READER_SENTENCES = 300
# What is counted, patient by patient.
ROWS = ("mid", "held", "baseline", "control", "removal", "none", "outside", "seconds", "not_understood")


def finding_of(spec: LesionSpec) -> Finding:
    """The finding that a specification would be described by."""
    empty = np.zeros((1, 1, 1), np.float32)
    return lesion_finding(Lesion(spec, (0, 0, 0), empty, empty, (0.0, 0.0, 0.0)))


def stated_request(op: str, finding: Finding, words: random.Random, bank: str) -> tuple[str, dict[str, Any]]:
    """A request that names side and place (a sentence that leaves them open cannot be judged right or wrong)."""
    for _ in range(40):
        spec = sample_spec(op, finding, words, bank)
        labels = spec.labels()
        if labels["side"] and labels["place"] and labels["kind"] and (op != "add" or labels["size_mm"]):
            return spec.text, labels
    raise UsageError(f"the bank '{bank}' has no sentence that names side, place and size of {finding}")


def place_right(found: Detection, labels: dict[str, Any], neck: Neck) -> bool:
    """Whether a detection lies at the asked level or site; a level's border may be missed by 4 mm."""
    if found.place == labels["place"]:
        return True
    if labels["kind"] == "node" and labels["place"] in LEVEL_BOX:
        w, u, v = neck.anatomy.neck_frame(found.centre_mm, labels["side"])
        return all(
            lo - LEVEL_TOLERANCE_MM <= x <= hi + LEVEL_TOLERANCE_MM
            for x, (lo, hi) in zip((w, u, v), LEVEL_BOX[labels["place"]], strict=True)
        )
    region = np.argwhere(neck.anatomy.candidates(labels["kind"], labels["place"], labels["side"]))
    if not len(region):
        return False
    index = neck.working.mm_to_index(found.centre_mm)
    return bool(np.sqrt(((region - index) ** 2).sum(1)).min() * GRID_MM <= LEVEL_TOLERANCE_MM)


def look_for(judge: Judge, after: Volume, edit_mask: np.ndarray, neck: Neck) -> Detection | None:
    """The judge's strongest lesion that overlaps what was edited."""
    detections, _, _ = judge.look(after, neck)
    working = neck.working
    changed = np.argwhere(edit_mask)
    if not len(changed):
        return None
    lo, hi = after.index_to_mm(changed.min(0)), after.index_to_mm(changed.max(0))
    best = None
    for d in detections:
        points = working.index_to_mm(np.argwhere(d.mask) + neck.start)
        inside = np.all((points >= lo - GRID_MM) & (points <= hi + GRID_MM), axis=1).mean()
        if inside > 0.5 and (best is None or d.score > best.score):
            best = d
    return best


def row_of(found: Detection | None, labels: dict[str, Any], neck: Neck) -> dict[str, Any]:
    """What the judge says of one addition."""
    asked = {"kind": labels["kind"], "at": labels["place"], "asked_mm": labels["size_mm"]}
    if found is None:
        return {"present": False, **asked}
    return {
        "present": True,
        **asked,
        "side": found.side == labels["side"],
        "place": place_right(found, labels, neck),
        "size_mm": found.size_mm,
        "texture": None
        if labels.get("texture") is None
        else (found.mean_core_hu < 45) == (labels["texture"] == "necrotic"),
    }


def judge_additions(
    pack: ModelPack, judge: Judge, ct: Volume, segmentation: Segmentation, patient: str, rows: dict[str, list]
) -> None:
    """Ask for two nodes and a mass and judge the diffusion's and the inserter's version of each."""
    neck = pack.neck(ct, segmentation)
    words = random.Random(patient)
    rng = rng_of(patient, 31)
    plan = [("mid", ("node",)), ("held", ("node",)), ("mid", ("mass",))]
    for k, (bank, kinds) in enumerate(plan):
        for attempt in range(6):
            spec = random_spec(rng, kinds=kinds)
            text, labels = stated_request("add", finding_of(spec), words, bank)
            try:
                result = pack.counterfactual(ct, text, segmentation=segmentation, seed=100 * k + attempt)
            except UsageError as error:
                if "no room" not in str(error):
                    rows["not_understood"].append(text)
                    rows[bank].append(row_of(None, labels, neck))
                    break
                continue
            rows[bank].append(row_of(look_for(judge, result.volume, result.edit_mask, neck), labels, neck))
            # The judge must be able to say no: the same place before the edit.
            rows["control"].append(look_for(judge, ct, result.edit_mask, neck) is not None)
            rows["outside"].append(outside_change(ct, result))
            rows["seconds"].append(result.seconds)
            _baseline(pack, judge, ct, neck, result, labels, rows)
            break


def _baseline(
    pack: ModelPack,
    judge: Judge,
    ct: Volume,
    neck: Neck,
    result: Counterfactual,
    labels: dict[str, Any],
    rows: dict[str, list],
) -> None:
    """The inserter draws what the text reader understood, with the same seed."""
    from hnvlm.models.layout import spec_of

    rng = np.random.default_rng(result.provenance.seed)
    lesion = insert(ct, neck.anatomy, spec_of(result.asked["requests"][0], rng), rng)
    if lesion is None:
        rows["baseline"].append(row_of(None, labels, neck))
        return
    after = apply(ct, [lesion])
    rows["baseline"].append(row_of(look_for(judge, after, after.array != ct.array, neck), labels, neck))


def outside_change(ct: Volume, result: Counterfactual) -> int:
    """Largest |HU| change outside the edit mask and outside the box the model reports."""
    difference = np.abs(result.volume.array.astype(np.int32) - ct.array)
    return int(difference[~np.asarray(result.edit_mask)].max(initial=0))


def judge_removal(
    pack: ModelPack, judge: Judge, ct: Volume, segmentation: Segmentation, patient: str, rows: dict[str, list]
) -> None:
    """Insert a lesion, ask for its removal, and measure what is left of it."""
    anatomy = pack.neck(ct, segmentation).anatomy
    rng, words = rng_of(patient, 47), random.Random(patient + "r")
    lesion = None
    for _ in range(10):
        lesion = insert(ct, anatomy, random_spec(rng, kinds=("node", "mass")), rng)
        if lesion is not None:
            break
    if lesion is None:
        return
    with_lesion = apply(ct, [lesion])
    neck = pack.neck(with_lesion, segmentation)
    text, _ = stated_request("remove", lesion_finding(lesion), words, "mid")
    result = pack.counterfactual(with_lesion, text, segmentation=segmentation, seed=1)
    _, before, _ = judge.look(with_lesion, neck)
    _, after, _ = judge.look(result.volume, neck)
    zone = lesion_zone(lesion, ct, neck)
    seen, left = judged_left(before, after, zone, judge.threshold)
    whole = np.abs(lesion.delta).sum()
    rest = np.abs(result.volume.array[lesion.slices].astype(np.float32) - ct.array[lesion.slices]).sum()
    rows["removal"].append(
        {
            "seen": seen,
            "left": left if seen else float(rest / whole),
            "hu_left": float(rest / whole),
            "changed": bool(result.edit_mask.any()),
        }
    )
    rows["outside"].append(outside_change(with_lesion, result))


def judged_left(before: np.ndarray, after: np.ndarray, zone: np.ndarray, threshold: float) -> tuple[bool, float]:
    """Whether a judge sees the lesion before its removal, and what share of the voxels it saw is left.

    Args:
        before, after: Lesion probabilities (3, Z, Y, X). zone: bool (Z, Y, X), where the lesion was.
        threshold: Evidence from which the judge says there is one.
    """
    was = (before.max(0) > edge_of(threshold)) & zone
    seen = bool(was.any() and max(evidence(m)[zone].max(initial=0.0) for m in before) >= threshold)
    return seen, float(((after.max(0) > edge_of(threshold)) & zone).sum() / max(1, was.sum()))


def lesion_zone(lesion: Lesion, ct: Volume, neck: Neck) -> np.ndarray:
    """The lesion's mask, two voxels wider, on the judge's crop."""
    coarse = to_coarse(lesion, ct, neck.working)
    zone = np.zeros((64, 64, 64), bool)
    if coarse is not None:
        zone = cut((coarse.mask > 0.2).astype(np.uint8), neck.start - np.array(coarse.start), (64, 64, 64), 0) > 0
    return ndimage.binary_dilation(zone, iterations=2)


def rows_of(pack: ModelPack, judge: Judge, folder: Path) -> dict[str, list]:
    """Every addition, the removal and "no mass" of one patient; draws depend on the patient's name alone."""
    rows: dict[str, list] = {name: [] for name in ROWS}
    ct, _ = read_case(folder)
    segmentation = pack.segment(ct)
    judge_additions(pack, judge, ct, segmentation, folder.name, rows)
    judge_removal(pack, judge, ct, segmentation, folder.name, rows)
    words = random.Random(folder.name + "n")
    result = pack.counterfactual(ct, sample_spec("none", None, words, "mid").text, segmentation=segmentation, seed=2)
    rows["none"].append(not result.edit_mask.any())
    return rows


_own: dict[str, Any] = {}


def _begin_process(threads: int) -> None:
    """Load the models in a process of its own."""
    torch.set_num_threads(threads)
    pack = with_rules(load())
    pack.threads = threads
    _own.update(pack=pack, judge=Judge(pack.folder / "judge"))


def _rows_in_process(folder: Path) -> dict[str, list]:
    return rows_of(_own["pack"], _own["judge"], folder)


def run(pack: ModelPack, data: Path, *, limit: int | None = None, processes: int = 1) -> dict[str, Any]:
    """Measure additions, removals and "no mass" on validation patients, dealt out to so many processes."""
    judge = Judge(pack.folder / "judge")
    folders = evaluation_folders(data, limit)
    if processes > 1:
        threads = max(1, pack.threads // processes)
        parts = each(_rows_in_process, folders, processes, begin=_begin_process, arguments=(threads,))
    else:
        parts = each(partial(rows_of, pack, judge), folders)
    rows: dict[str, list] = {name: [] for name in ROWS}
    for k, part in enumerate(parts):
        for name, values in part.items():
            rows[name] += values
        log(f"{folders[k].name} {k + 1}/{len(folders)}")
    additions = [*rows["mid"], *rows["held"]]
    metrics = {
        "additions": summary(additions),
        "additions_unseen_sentences": summary(rows["mid"]),
        "additions_unseen_sentences_and_words": summary(rows["held"]),
        "baseline_inserter": summary(rows["baseline"]),
        "judge_sees_a_lesion_there_before_the_edit": share(rows["control"]),
        "judge_on_inserted_lesions_of_patients_kept_aside": judge.kept_aside,
        "text_reader_alone": reader_alone(pack),
        "requests_not_understood": len(rows["not_understood"]),
        "removal_less_than_half_left": share([r["left"] < 0.5 for r in rows["removal"]]),
        "removal_lesion_seen_by_the_judge_before": share([r["seen"] for r in rows["removal"]]),
        "removal_changed_something": share([r["changed"] for r in rows["removal"]]),
        "removal_median_left": median([r["left"] for r in rows["removal"]]),
        "removal_median_hu_left": median([r["hu_left"] for r in rows["removal"]]),
        "no_mass_changes_nothing": share(rows["none"]),
        "max_abs_change_outside_edit_hu": int(max(rows["outside"], default=0)),
        "median_seconds": median(rows["seconds"]),
    }
    judge_metrics = {
        "inserted_lesions": metrics["baseline_inserter"],
        "sees_a_lesion_there_before_the_edit": metrics["judge_sees_a_lesion_there_before_the_edit"],
    }
    parts = {
        "judge": {"metrics": judge_metrics, "n_cases": len(folders)},
        "text": {"metrics": metrics["text_reader_alone"], "n_cases": 2 * READER_SENTENCES},
    }
    return {"metrics": metrics, "n_cases": len(folders), "model": "diffusion", "parts": parts}


def reader_alone(pack: ModelPack, n: int = READER_SENTENCES) -> dict[str, float]:
    """Share of requests whose side and place the learned reader gets right without the rules, per bank."""
    out = {}
    for bank in ("mid", "held"):
        words, rng = random.Random(bank), np.random.default_rng(3)
        pairs = [
            stated_request("add", finding_of(random_spec(rng, kinds=("node", "mass"))), words, bank) for _ in range(n)
        ]
        facts = read_facts(pack.reader, [text for text, _ in pairs])
        for key in ("side", "place"):
            right = [f[key] == labels[key] for f, (_, labels) in zip(facts, pairs, strict=True)]
            out[f"{bank}_{key}"] = round(float(np.mean(right)), 3)
    return out


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares and the size correlation of judged additions; side, place and texture count among the visible ones."""
    seen = [r for r in rows if r["present"]]
    asked = np.array([r["asked_mm"] for r in seen], float)
    measured = np.array([r["size_mm"] for r in seen], float)
    r = round(float(np.corrcoef(asked, measured)[0, 1]), 3) if len(seen) > 3 and asked.std() * measured.std() else None
    return {
        "present": share([x["present"] for x in rows]),
        "present_nodes": share([x["present"] for x in rows if x["kind"] == "node"]),
        "present_masses": share([x["present"] for x in rows if x["kind"] == "mass"]),
        "present_15_mm_and_more": share([x["present"] for x in rows if (x["asked_mm"] or 0) >= CLEAR_MM]),
        "side_right": share([x["side"] for x in seen]),
        "place_right": share([x["place"] for x in seen]),
        "texture_right": share([x["texture"] for x in seen if x["texture"] is not None]),
        "size_r": r,
        "size_mae_mm": round(float(np.abs(asked - measured).mean()), 1) if len(seen) else None,
    }
