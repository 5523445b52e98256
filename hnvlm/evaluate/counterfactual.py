"""Counterfactual edits of validation CTs, judged by a detector that never trained the generator.

For every patient: lesions asked for in held-out wordings (``mid``: unseen sentences, known words; ``held``: unseen
sentences and unseen words), a removal of an inserted lesion, and "no mass" on the patient's own CT. The baseline
"text -> parameters -> inserter" draws the same layouts and is judged the same way.

The number of record is the share among the edits that were made, as the field's flip rates are (they judge edited
images); beside it stands the share of everything that was asked, in which a refusal counts as a failure.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from hnvlm.errors import InputRefusedError, ScopeError, UsageError
from hnvlm.evaluate.additions import DRAWN, NO_ROOM, NOT_UNDERSTOOD, asked_of, look_for, of_all_asked, row_of, summary
from hnvlm.evaluate.cases import rng_of
from hnvlm.evaluate.common import each, evaluation_folders, log, read_case, with_rules
from hnvlm.evaluate.stats import median, share
from hnvlm.imaging.lesions import Lesion, LesionSpec, apply, insert, random_spec, to_coarse
from hnvlm.imaging.volume import Volume
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import edge_of, evidence
from hnvlm.models.facts import lesion_finding
from hnvlm.models.judge import Judge
from hnvlm.models.neck import Neck
from hnvlm.models.pack import ModelPack, load
from hnvlm.models.text_tower import read_facts
from hnvlm.report.requests import sample_spec
from hnvlm.types import Counterfactual, Finding, Segmentation

READER_SENTENCES = 300
# What is counted, patient by patient.
ROWS = (
    "mid", "held", "baseline", "control", "removal", "none", "outside", "seconds", "not_understood", "asked",
    "removal_asked", "out_of_scope", "reach",
)  # fmt: skip


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
                    rows["asked"].append(asked_of(bank, labels, NOT_UNDERSTOOD))
                    rows["not_understood"].append(text)
                    rows[bank].append(row_of(None, labels, neck))
                    break
                rows["asked"].append(asked_of(bank, labels, NO_ROOM))
                continue
            rows[bank].append(row_of(look_for(judge, result.volume, result.edit_mask, neck), labels, neck))
            rows["asked"].append(asked_of(bank, labels, DRAWN, rows[bank][-1]["present"]))
            # The judge must be able to say no: the same place before the edit.
            rows["control"].append(look_for(judge, ct, result.edit_mask, neck) is not None)
            rows["outside"].append(outside_change(ct, result))
            rows["reach"].append(reach_mm(ct, result, labels["size_mm"]))
            rows["seconds"].append(result.seconds)
            _baseline(judge, ct, neck, result, labels, rows)
            break


def _baseline(
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
    """Largest |HU| change outside the edit mask.

    The mask is of the voxels that changed, so this says that the mask hides nothing; how far the edit goes is
    ``reach_mm``.
    """
    difference = np.abs(result.volume.array.astype(np.int32) - ct.array)
    return int(difference[~np.asarray(result.edit_mask)].max(initial=0))


def reach_mm(ct: Volume, result: Counterfactual, size_mm: float) -> float | None:
    """How far beyond the asked lesion's radius the farthest changed voxel lies; None where nothing changed.

    Measured from the middle of the change (voxels weighted with their |HU|): negative where the edit is smaller.
    """
    difference = np.abs(result.volume.array.astype(np.int32) - ct.array)
    at = np.argwhere(difference > 0)
    if not len(at):
        return None
    mm = at * np.array(ct.spacing_mm)
    middle = np.average(mm, axis=0, weights=difference[tuple(at.T)])
    return float(np.sqrt(((mm - middle) ** 2).sum(1)).max() - size_mm / 2)


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
    rows["removal_asked"].append(lesion is not None)
    if lesion is None:
        return
    with_lesion = apply(ct, [lesion])
    neck = pack.neck(with_lesion, segmentation)
    text, _ = stated_request("remove", lesion_finding(lesion), words, "mid")
    _, before, _ = judge.look(with_lesion, neck)
    zone = lesion_zone(lesion, ct, neck)
    try:
        result = pack.counterfactual(with_lesion, text, segmentation=segmentation, seed=1)
    except UsageError:
        # A removal that is refused leaves everything.
        rows["not_understood"].append(text)
        seen, _ = judged_left(before, before, zone, judge.threshold)
        rows["removal"].append({"seen": seen, "left": 1.0, "hu_left": 1.0, "changed": False})
        return
    _, after, _ = judge.look(result.volume, neck)
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
    try:
        pack.neck(ct, segmentation)
    except ScopeError as error:
        # One CT that is not of a neck must not cost the others' numbers.
        log(f"{folder.name} is left out: {error.message}")
        rows["out_of_scope"].append(folder.name)
        return rows
    judge_additions(pack, judge, ct, segmentation, folder.name, rows)
    judge_removal(pack, judge, ct, segmentation, folder.name, rows)
    words = random.Random(folder.name + "n")
    text = sample_spec("none", None, words, "mid").text
    try:
        result = pack.counterfactual(ct, text, segmentation=segmentation, seed=2)
        rows["none"].append(not result.edit_mask.any())
        rows["outside"].append(outside_change(ct, result))
    except UsageError:
        rows["not_understood"].append(text)
        rows["none"].append(False)
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
    whose: dict[str, list[str]] = {name: [] for name in ROWS}
    for k, part in enumerate(parts):
        for name, values in part.items():
            rows[name] += values
            whose[name] += [folders[k].name] * len(values)
        log(f"{folders[k].name} {k + 1}/{len(folders)}")
    measured = len(folders) - len(rows["out_of_scope"])
    if not measured:
        raise InputRefusedError(f"No patient in {data} has a neck that the models would draft on.")
    metrics = metrics_of(rows, whose) | {
        "judge_on_inserted_lesions_of_patients_kept_aside": judge.kept_aside,
        "text_reader_alone": reader_alone(pack),
    }
    judge_metrics = {
        "inserted_lesions": metrics["baseline_inserter"],
        "sees_a_lesion_there_before_the_edit": metrics["judge_sees_a_lesion_there_before_the_edit"],
    }
    parts = {
        "judge": {"metrics": judge_metrics, "n_cases": measured},
        "text": {"metrics": metrics["text_reader_alone"], "n_cases": 2 * READER_SENTENCES, "counted": "sentences"},
    }
    return {"metrics": metrics, "n_cases": measured, "model": "diffusion", "parts": parts}


def metrics_of(rows: dict[str, list], whose: dict[str, list[str]]) -> dict[str, Any]:
    """Everything that is counted over the patients.

    Args:
        rows: By ``ROWS``. whose: The patient of each row.
    """
    removal = rows["removal"]
    seen = [k for k, r in enumerate(removal) if r["seen"]]
    owners = [whose["removal"][k] for k in seen]
    return {
        "additions": summary([*rows["mid"], *rows["held"]], [*whose["mid"], *whose["held"]]),
        "additions_of_all_asked": of_all_asked(rows["asked"], whose["asked"]),
        "additions_unseen_sentences": summary(rows["mid"], whose["mid"]),
        "additions_unseen_sentences_and_words": summary(rows["held"], whose["held"]),
        "baseline_inserter": summary(rows["baseline"], whose["baseline"]),
        "judge_sees_a_lesion_there_before_the_edit": share(rows["control"], whose["control"]),
        "requests_not_understood": len(rows["not_understood"]),
        "patients_out_of_scope": len(rows["out_of_scope"]),
        "removals": {"patients": len(rows["removal_asked"]), "lesion_inserted_and_asked": len(removal)},
        "removal_less_than_half_left": share([r["left"] < 0.5 for r in removal], whose["removal"]),
        "removal_less_than_half_left_of_those_seen_before": share([removal[k]["left"] < 0.5 for k in seen], owners),
        "removal_lesion_seen_by_the_judge_before": share([r["seen"] for r in removal], whose["removal"]),
        "removal_changed_something": share([r["changed"] for r in removal], whose["removal"]),
        "removal_median_left": median([r["left"] for r in removal]),
        "removal_median_hu_left": median([r["hu_left"] for r in removal]),
        "no_mass_changes_nothing": share(rows["none"], whose["none"]),
        "max_abs_change_outside_edit_hu": int(max(rows["outside"])) if rows["outside"] else None,
        "edits_compared_outside": len(rows["outside"]),
        "farthest_change_beyond_asked_radius_mm": reached(rows["reach"]),
        "median_seconds": median(rows["seconds"]),
    }


def reached(reach: list[float | None]) -> dict[str, Any]:
    """Median and largest of ``reach_mm`` over the edits that changed something."""
    far = [r for r in reach if r is not None]
    largest = round(max(far), 1) if far else None
    return {"median": median(far), "largest": largest, "edits": len(far), "changed_nothing": len(reach) - len(far)}


def reader_alone(pack: ModelPack) -> dict[str, Any]:
    """Share of requests whose side and place the learned reader gets right without the rules, per bank."""
    out = {}
    for bank in ("mid", "held"):
        words, rng = random.Random(bank), np.random.default_rng(3)
        pairs = [
            stated_request("add", finding_of(random_spec(rng, kinds=("node", "mass"))), words, bank)
            for _ in range(READER_SENTENCES)
        ]
        facts = read_facts(pack.reader, [text for text, _ in pairs])
        for key in ("side", "place"):
            right = [f[key] == labels[key] for f, (_, labels) in zip(facts, pairs, strict=True)]
            out[f"{bank}_{key}"] = share(right)
    return out
