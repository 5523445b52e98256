"""Dose-volume histograms of a case's doses, and its constraints judged on them."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hnvlm.imaging.dvh import Dvh, dose_volume, is_metric
from hnvlm.imaging.masks import Part, part_of, shapes_of
from hnvlm.imaging.resample import crop, mask_box
from hnvlm.imaging.target_names import NO_HELPER, level_gy
from hnvlm.imaging.volume import Volume
from hnvlm.plan import Constraint, alpha_beta, build_constraints, eqd2_of_total, evaluate, needed_metrics
from hnvlm.plan.constraints import OUTSIDE, spared_opposite
from hnvlm.plan.dose_basis import GUESSED
from hnvlm.plan.fraction_size import judged_for, per_fraction
from hnvlm.plan.kb import load_kb
from hnvlm.services import constraint_templates, dose, outside_targets
from hnvlm.services.analysis import NOTICE
from hnvlm.services.context import App
from hnvlm.services.dose import DoseStructures
from hnvlm.store import ResultRecord

TARGET_METRICS = ("D98pct", "D95pct", "D50pct", "D2pct", "D0.03cc", "Dmean")
ORGAN_METRICS = ("Dmean", "D0.03cc", "D0.1cc", "D1cc", "D2pct", "Dmax")
# What the dose is to cover; a ring around a target has its name, too.
_COVERED = re.compile(rf"(?:PTV|CTV|GTV){NO_HELPER}", re.IGNORECASE)
_STATES = ("not_met", "not_evaluable")
# Longer than any CT of the neck.
_ENDLESS = ("SpinalCord", "Esophagus")
CUT_OFF = "the CT ends inside it: of the part shown"
_KEEP = 16
_cache: OrderedDict[tuple[Any, ...], dict[str, Dvh]] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Judged:
    """A dose of a case with what it means.

    Attributes:
        rows: Constraints with status, value and margin.
        histograms: Structure -> DVH.
        metrics: Structure -> metric -> value, as a plan draft takes them; of a structure partly beyond the dose grid
            only what exceeds its limit all the same.
        source: Structure -> ``clinic`` or ``AI``: who drew it.
        prescription_gy: Highest level, None when not known.
        stated_fraction_gy: Dose of one fraction where the dose itself states in how many it is given: of the highest
            level, or of the hottest point where no level is known.
    """

    rows: tuple[Constraint, ...]
    histograms: dict[str, Dvh]
    metrics: dict[str, dict[str, float]]
    source: dict[str, str]
    prescription_gy: float | None
    stated_fraction_gy: float | None = None


def histograms(app: App, result: ResultRecord, found: DoseStructures | None = None) -> dict[str, Dvh]:
    """Return the DVH of every structure of a case under one dose; kept in memory, so that a page may ask again.

    Both parotids together are ``Parotids``. A scaled dose takes the DVHs of the dose it was scaled from.
    """
    if result.payload.get("scale_of") is not None:
        base = histograms(app, app.store.get_result(result.payload["scale_of"]), found)
        return {name: dvh.scaled(float(result.payload["factor"])) for name, dvh in base.items()}
    found = found or dose.structures(app, result.case_id)
    key = (str(app.store.path), result.id, found.version)
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    made = compute(dose.load(app, result, beyond=np.nan), found.masks)
    _keep(key, made)
    return made


def _keep(key: tuple[Any, ...], made: dict[str, Dvh]) -> None:
    with _lock:
        _cache[key] = made
        _cache.move_to_end(key)
        while len(_cache) > _KEEP:
            _cache.popitem(last=False)


def compute(volume: Volume, masks: Mapping[str, Any]) -> dict[str, Dvh]:
    """Return the DVH of each structure that has a volume, and of both parotids together.

    Args:
        volume: Gy, not-a-number where the dose grid does not reach.
        masks: Name -> bool (z, y, x) on the same grid.
    """
    for name, shape in shapes_of(masks).items():
        if shape != volume.shape:
            raise ValueError(f"structure {name} {shape} is not on the grid {volume.shape}")
    names = list(masks)
    if {"Parotid_L", "Parotid_R"} <= set(names) and "Parotids" not in masks:
        names.append("Parotids")
    # Cut to the grid of the dose, so that a voxel at its edge is not interpolated with what is not known.
    known = np.isfinite(volume.array)
    box = None if known.all() else mask_box(known)
    inner = volume if box is None else crop(volume, box)[0]
    made: dict[str, Dvh] = {}
    for name in dose.in_order(names):
        part = part_of(masks, name) if name in masks else _both(masks, "Parotid_L", "Parotid_R")
        if part is None:
            continue
        origin = tuple(volume.index_to_mm(np.array(part.box[:3])))
        dvh = dose_volume(inner, Volume(part.inside, volume.spacing_mm, origin, volume.frame_of_reference_uid))
        if dvh is not None:
            made[name] = dvh.compact()  # at once: a whole body has millions of samples
    return made


def _both(masks: Mapping[str, Any], one: str, other: str) -> Part | None:
    """Return two structures together."""
    return part_of({"": np.asarray(masks[one], bool) | np.asarray(masks[other], bool)}, "")


def outside(dvh: Dvh) -> str:
    """Return why the figures of a structure are not known under a dose, "" where they are."""
    if not dvh.partly_outside:
        return ""
    return f"{_cc(dvh.outside_cc)} of {_cc(dvh.volume_cc)} cc lie outside the dose grid"


def _cc(volume: float) -> str:
    return f"{volume:.1f}" if volume >= 1 else f"{volume:.2g}"


def figures(
    curves: Mapping[str, Dvh], rows: Iterable[Constraint] = (), prescription_gy: float | None = None
) -> dict[str, dict[str, float]]:
    """Return the metrics of every structure: the usual ones and those that constraint rows ask for.

    Args:
        rows: Unjudged limits.
        prescription_gy: Highest level; what V95pct refers to where ``full_dose_gy`` says so.
    """
    asked = needed_metrics(rows)
    out = {}
    for name, dvh in curves.items():
        usual = TARGET_METRICS if dose.is_target(name) else ORGAN_METRICS
        covered = ("V95pct",) if _COVERED.match(name) else ()
        names = [*usual, *covered, *(m for m in asked.get(name, ()) if is_metric(m))]
        full_gy = full_dose_gy(name, curves, prescription_gy)
        out[name] = {k: round(v, 4) for k, v in dvh.metrics(dict.fromkeys(names), full_gy).items()}
    return out


def full_dose_gy(name: str, names: Iterable[str], prescription_gy: float | None) -> float | None:
    """Return 100 % for a structure (Gy): of a target the level in its name, of all else the highest prescription.

    A target without a level is of the highest one where there is no other, or where it is gross tumour; of several
    levels nobody knows which is meant for it (PTV_Low).
    """
    own = level_gy(name)
    if own is not None or not dose.is_target(name) or name[:3].upper() == "GTV":
        return own or prescription_gy
    return prescription_gy if len({level_gy(n) for n in names} - {None}) < 2 else None


def judge(app: App, result: ResultRecord, *, template: str | None = None, site: str | None = None) -> Judged:
    """Judge the constraints of a template on a dose.

    Args:
        template: Built-in or own template; default the one chosen for the case.
        site: Staging site key; default that of the newest plan draft.
    """
    found = dose.structures(app, result.case_id)
    template = template or constraint_templates.chosen(app, result.case_id)
    own = constraint_templates.own_rows(app, template)
    curves = histograms(app, result, found)
    names = [name for name in curves if name != "Parotids"]
    rows = build_constraints(
        load_kb(), names, site=site or drafted_site(app, result.case_id), own_rows=own,
        carrying=carrying_tumour(app, result.case_id),
        template="default" if own is not None else template,
    )  # fmt: skip
    prescription = dose.top_prescription(app, result, found.masks)
    parts = _outside_targets(app, result, found, rows)
    metrics = figures({**curves, **parts}, rows, prescription)
    part = f"the dose is {result.payload['part']}" if result.payload.get("part") else ""
    why = {name: part or outside(dvh) for name, dvh in {**curves, **parts}.items()}
    guessed = unplanned_targets(result, found.source)
    rows = (_unplanned(row, guessed) for row in evaluate(rows, metrics))
    cut = cut_off(found)
    certain = spared_opposite(_of_the_part(_certain(row, why.get(row.structure, "")), cut) for row in rows)
    highest = prescription or result.payload.get("max_gy")
    size = per_fraction(dose.fractions(app, result), highest)
    judged = judged_for(certain, size, at_most=prescription is None)
    metrics = {name: values for name, values in metrics.items() if name not in guessed}
    metrics = {name: _known(values, judged, name) if why[name] else values for name, values in metrics.items()}
    source = dict(found.source)
    if "Parotids" in curves and "Parotids" not in source:
        source["Parotids"] = dose.CLINIC if {source["Parotid_L"], source["Parotid_R"]} == {dose.CLINIC} else dose.AI
    source |= {name: source[name.removesuffix(OUTSIDE)] for name in parts}
    stated = per_fraction(dose.stated_fractions(app, result), highest)
    return Judged(judged, curves, metrics, source, prescription, stated)


def _outside_targets(
    app: App, result: ResultRecord, found: DoseStructures, rows: Iterable[Constraint]
) -> dict[str, Dvh]:
    """Return the DVHs of what limits ask for outside the planned targets; kept in memory as those of structures are."""
    base, factor = dose.unscaled(app, result)
    asked = tuple(sorted({row.structure for row in rows if row.structure.endswith(OUTSIDE)}))
    key = (str(app.store.path), base.id, found.version, asked)
    with _lock:
        made = _cache.get(key)
    if made is None:
        masks = outside_targets.parts(found.masks, rows)
        made = compute(dose.load(app, base, beyond=np.nan), masks) if masks else {}
        _keep(key, made)
    return made if factor == 1.0 else {name: dvh.scaled(factor) for name, dvh in made.items()}


def unplanned_targets(result: ResultRecord, source: Mapping[str, str]) -> tuple[str, ...]:
    """Return the targets that a dose was not planned on: those which a model guessed, of a dose of the clinic.

    Args:
        source: Structure -> who drew it.
    """
    if dose.is_predicted(result):
        return ()
    return tuple(name for name, who in source.items() if who == dose.AI and dose.is_target(name))


def _unplanned(row: Constraint, guessed: Iterable[str]) -> Constraint:
    if row.structure not in guessed:
        return row
    return replace(row, status="not_evaluable", value=None, margin=None, reason=GUESSED)


def _certain(row: Constraint, why: str) -> Constraint:
    """Judge nothing where a dose is only a lower bound, but for a limit that is exceeded already.

    Args:
        why: A dose grid that ends inside the structure (what lies outside counts as 0 Gy), or a dose that is part of a
            plan's; "" where every figure is what it says.
    """
    if not why:
        return row
    if row.status == "not_met" and row.op != ">=":
        return replace(row, reason="; ".join(text for text in (row.reason, why) if text))
    return replace(row, status="not_evaluable", value=None, margin=None, reason=why)


def cut_off(found: DoseStructures) -> tuple[str, ...]:
    """Return the structures that reach the first or last slice of the CT; what lies beyond it is in no figure.

    Cord and esophagus, which are longer than any CT of the neck, are left out.
    """
    packed = found.masks.packed.items()
    ends = [name for name, m in packed if m.box is not None and (m.box[0] == 0 or m.box[3] == m.shape[0])]
    both = ["Parotids"] if {"Parotid_L", "Parotid_R"} & set(ends) else []
    return tuple(name for name in (*ends, *both) if name not in _ENDLESS)


def _of_the_part(row: Constraint, cut: Iterable[str]) -> Constraint:
    """Say of a judged limit that the CT does not show all of its structure."""
    if row.value is None or row.structure.removesuffix(OUTSIDE) not in cut:
        return row
    return replace(row, reason="; ".join(text for text in (row.reason, CUT_OFF) if text))


def _known(values: dict[str, float], rows: Iterable[Constraint], name: str) -> dict[str, float]:
    """Leave only those figures of a structure that judge the same limits as ``rows`` wherever they are taken to."""
    mine = [row for row in rows if row.structure == name]
    shut, open_ = (set(needed_metrics(r for r in mine if r.status == s).get(name, ())) for s in _STATES)
    return {metric: value for metric, value in values.items() if metric in shut - open_}


def drafted_site(app: App, case_id: str) -> str | None:
    """Return the staging site of the newest plan draft: the organ that carries the tumour is no organ at risk."""
    plan = app.store.latest_result(case_id, "plan")
    return plan.payload["staging"]["site"] if plan is not None else None


def carrying_tumour(app: App, case_id: str) -> list[str]:
    """Return the glands that carry the primary by the newest plan draft: they are no organs at risk either."""
    plan = app.store.latest_result(case_id, "plan")
    return list(plan.payload.get("carries_tumour", ())) if plan is not None else []


def table(judged: Judged, fractions: int | None) -> list[dict[str, Any]]:
    """Return one dict a structure: name, drawn_by, volume_cc, the usual metrics, homogeneity and EQD2 where known.

    ``eqd2`` is of D0.03cc (or Dmax of what is smaller) for organs with a near-maximum limit in mind and ``eqd2_mean``
    of the mean dose, sample by sample; both None while fractions or alpha/beta are not known. ``outside`` says why
    there is no figure of a structure that the dose grid does not cover.
    """
    out = []
    for name, dvh in judged.histograms.items():
        ratio = alpha_beta(load_kb(), name)
        near_max = dvh.metric("D0.03cc") or dvh.max_gy
        row: dict[str, Any] = {
            "name": name, "drawn_by": judged.source.get(name, ""), "volume_cc": dvh.volume_cc,
            "outside_cc": dvh.outside_cc, "outside": outside(dvh), "target": dose.is_target(name), "homogeneity": None,
            "alpha_beta": ratio.words if ratio else "", "eqd2": None, "eqd2_mean": None,
        }  # fmt: skip
        out.append(row)
        if dvh.partly_outside:
            continue
        row |= judged.metrics.get(name, {})
        full_gy = full_dose_gy(name, judged.histograms, judged.prescription_gy)
        # In a lower target the dose of the boost makes D2, so its homogeneity says nothing.
        row["homogeneity"] = dvh.homogeneity if _is_highest(name, judged.histograms, full_gy) else None
        if judged.prescription_gy and full_gy and dose.is_target(name):
            row["v95_pct"] = dvh.percent_at_gy(0.95 * full_gy)
        if ratio is not None and fractions:
            row["eqd2"] = eqd2_of_total(near_max, fractions, ratio.gy)
            row["eqd2_mean"] = dvh.mapped_eqd2(fractions, ratio.gy).mean_gy
    return out


def _is_highest(name: str, names: Iterable[str], full_gy: float | None) -> bool:
    """Whether a target is of the highest level; of several levels one without a number may be any."""
    levels = {gy for n in names if (gy := level_gy(n)) is not None}
    own = level_gy(name)
    return full_gy is not None or not levels if own is None else own >= max(levels)


def csv_text(app: App, result: ResultRecord, step_gy: float = 0.1) -> str:
    """Return the DVHs of a dose as CSV: dose in Gy, then the volume of each structure in percent.

    Structures keep the names that the clinic gave them; one that a spreadsheet would run as a formula begins with '.
    """
    curves = histograms(app, result)
    end = max((dvh.max_gy for dvh in curves.values()), default=0.0)
    columns = {_heading(name, dvh): dvh.curve(step_gy, end) for name, dvh in curves.items()}
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow([f"# {NOTICE}; {dose.label(result)}; case {result.case_id}"])
    out.writerow(["Dose (Gy)", *columns])
    for n, gy in enumerate(next(iter(columns.values()))[0] if columns else ()):
        out.writerow([f"{gy:.2f}", *(f"{volume[n]:.3f}" for _, volume in columns.values())])
    return text.getvalue()


def _heading(name: str, dvh: Dvh) -> str:
    beyond = f"; {dvh.outside_cc:.3f} cc outside the dose grid counted as 0 Gy" if dvh.outside_cc > 0 else ""
    safe = f"'{name}" if name.lstrip().startswith(("=", "+", "-", "@")) else name
    return f"{safe} (% of {dvh.volume_cc:.3f} cc{beyond})"
