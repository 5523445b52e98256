"""Organ limits as rows with their sources, and their judgement on dose-volume metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from hnvlm.errors import UsageError
from hnvlm.imaging.target_names import ptv_gy
from hnvlm.plan.kb import OWN_TEMPLATE, Document, KnowledgeBase, documents, load_kb
from hnvlm.types import OAR_NAMES, OPENKBP_TO_TG263

Status = Literal["met", "not_met", "not_evaluable"]
DoseMetrics = Mapping[str, Mapping[str, float]]
# A larger volume of the hottest tissue gets a lower dose: each metric bounds the ones before it from below.
_NEAR_MAXIMUM = ("Dmax", "D0.03cc", "D0.1cc")
NO_DOSE = "no dose yet"
# Ends the name of that part of a structure which lies outside the planned targets: Cavity_Oral-PTV.
OUTSIDE = "-PTV"
# What every plan has: where it is not contoured, that its limit is not judged is said.
_ALWAYS_NAMED = ("External",)
_SPARED = " meets it, and at least one is asked for"
# The organ that carries the tumour is target, not organ at risk.
_TARGET_ORGANS = {
    "larynx_supraglottis": {"Larynx", "Larynx_SG", "Glottis"}, "larynx_glottis": {"Larynx", "Larynx_SG", "Glottis"},
    "larynx_subglottis": {"Larynx", "Larynx_SG", "Glottis"}, "hypopharynx": {"Larynx", "Larynx_SG", "Pharynx"},
    "oropharynx_p16_pos": {"Pharynx"}, "oropharynx_p16_neg": {"Pharynx"}, "nasopharynx": {"Pharynx"},
    "oral_cavity": {"Cavity_Oral"},
}  # fmt: skip


# Of a pair of glands only the one on the tumour's side is a target.
_TARGET_GLANDS = {"parotid": ("Parotid", "Parotids"), "submandibular_gland": ("Glnd_Submand", "Glnd_Submands")}


@dataclass(frozen=True)
class Constraint:
    """One limit for one structure.

    Attributes:
        structure: TG-263 name with its side.
        metric: As in constraints.yaml: ``D0.03cc``, ``Dmean``, ``V50Gy``, ``D2pct``, ``D99pct``.
        op: ``<``, ``<=`` or ``>=``.
        limit: In ``unit`` (Gy, % or cc).
        level: per_protocol, variation, tolerance or objective.
        priority: 1 hard limit, 2 strong, 3 as low as reasonably achievable.
        status: ``not_evaluable`` when no dose says what the value is.
        value: Measured value in ``unit``; None when unknown.
        margin: How far inside the limit, in ``unit``; negative when exceeded.
        reason: Why a row is not evaluable, or what else is to be known of its status; "" otherwise.
        edited: Who changed this row and what it was before, "" for a row of the tables.
        one_of_pair: The limit is asked of one of the two organs.
        with_drugs: The limit is one of radiotherapy with (True) or without drugs (False); None: of either.
    """

    id: str
    structure: str
    metric: str
    op: str
    limit: float
    unit: str
    endpoint: str
    risk: str
    level: str
    priority: int
    applies: str
    sources: tuple[Document, ...]
    status: Status = "not_evaluable"
    value: float | None = None
    margin: float | None = None
    reason: str = ""
    edited: str = ""
    one_of_pair: bool = False
    with_drugs: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return dict(vars(self), sources=[d.title for d in self.sources])


def templates() -> dict[str, tuple[str, ...]]:
    """Return the constraint templates: name to ids of rows, in order."""
    return {name: tuple(ids) for name, ids in load_kb()["templates"]["templates"].items()}


def build_constraints(
    kb: KnowledgeBase,
    structures: Iterable[str] | None = None,
    *,
    site: str | None = None,
    carrying: Iterable[str] = (),
    template: str = "default",
    own_rows: Iterable[Mapping[str, Any]] | None = None,
) -> tuple[Constraint, ...]:
    """Return the limits of a template for the structures that are there.

    Args:
        structures: TG-263 names; None stands for what is to be contoured: the core set, and the organs near the site.
        site: Staging site key: the organ that carries the tumour gets no limit as an organ at risk.
        carrying: Structures that carry the tumour (``glands_with_tumour``): they get none either.
        template: Name of a template (``templates()``).
        own_rows: Rows of a clinician's own template, as ``own_templates.check_rows`` returns them; they are used
            instead of ``template``'s.

    Returns:
        Verified rows only, one per structure and limit, none evaluated yet.

    Raises:
        UsageError: No such template.
    """
    if own_rows is None and template not in templates():
        raise UsageError(f"No constraint template {template!r}; choose {', '.join(templates())}.")
    near = kb["templates"]["near_organs"].get(site or "", ())
    drawn = [*OAR_NAMES, *near] if structures is None else list(structures)
    names = [name for name in drawn if name.removesuffix(OUTSIDE) not in set(carrying)]
    spared = _TARGET_ORGANS.get(site or "", set())
    rows = []
    entries = [kb.entry(i) for i in templates()[template]] if own_rows is None else _as_now(kb, own_rows)
    named = {organ_of(entry) for entry in entries}
    for entry in entries:
        organ = organ_of(entry)
        if entry["verified"] and "share_pct" in entry:
            rows += _share_rows(entry, [n for n in names if not any(_is_organ(n, target) for target in named)])
        if not entry["verified"] or entry["limit"] is None or organ.removesuffix(OUTSIDE) in spared:
            continue
        rows += [_row(entry, name) for name in _limited(organ, names)]
        if organ == "Parotids" and {"Parotid_L", "Parotid_R"} <= set(names) and "Parotids" not in names:
            rows.append(_row(entry, "Parotids"))
    order = {name: index for index, name in enumerate(names)}
    place = {row.structure: order.get(row.structure.removesuffix(OUTSIDE), len(order)) for row in rows}
    return tuple(sorted(rows, key=lambda r: (r.priority, place[r.structure], r.metric, r.limit)))


def _as_now(kb: KnowledgeBase, own_rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return own rows; one that nobody changed is about what its entry of the tables is about now."""
    own_rows = list(own_rows)
    kept = [None if row.get("edited") else kb.entries.get(row["id"]) for row in own_rows]
    return [
        row if entry is None else {**row, "organ": organ_of(entry)} for row, entry in zip(own_rows, kept, strict=True)
    ]


def glands_with_tumour(site: str | None, subsite: str | None, side: str | None) -> tuple[str, ...]:
    """Return the TG-263 names of the salivary glands that carry the primary, and of the pair with it.

    Args:
        site: Staging site key. subsite, side: As the form has them; without both no gland is named.
    """
    if site != "major_salivary" or subsite not in _TARGET_GLANDS:
        return ()
    gland, pair = _TARGET_GLANDS[subsite]
    sides = {"left": ("L",), "right": ("R",), "bilateral": ("L", "R")}.get(side or "", ())
    return (*(f"{gland}_{letter}" for letter in sides), *((pair,) if sides else ()))


def organ_of(entry: Mapping[str, Any]) -> str:
    """Return the TG-263 name, without side, that an entry of constraints.yaml limits."""
    if entry.get("organ"):
        return str(entry["organ"])
    return OPENKBP_TO_TG263.get(entry["structure"], str(entry["structure"]))


def _limited(organ: str, names: list[str]) -> list[str]:
    """Return the structures that a limit of an organ, or of its part outside the targets, is about."""
    whole = organ.removesuffix(OUTSIDE)
    if whole == organ:
        return [name for name in names if _is_organ(name, organ)]
    # The clinic may have drawn the part itself.
    found = [name.removesuffix(OUTSIDE) + OUTSIDE for name in names if _is_organ(name.removesuffix(OUTSIDE), whole)]
    return list(dict.fromkeys(found)) or [organ] * (whole in _ALWAYS_NAMED)


def _is_organ(name: str, organ: str) -> bool:
    return name == organ or re.fullmatch(re.escape(organ) + r"_[LR]", name) is not None


def _share_rows(entry: Mapping[str, Any], names: Iterable[str]) -> list[Constraint]:
    """A limit that is a share of a target's own dose, for the targets that no row of the template names."""
    found = ((name, ptv_gy(name)) for name in names)
    return [
        _row({**entry, "limit": round(gy * 100 * float(entry["share_pct"])) / 1e4}, name)
        for name, gy in found
        if gy is not None
    ]


def _row(entry: Mapping[str, Any], structure: str) -> Constraint:
    return Constraint(
        id=entry["id"], structure=structure, metric=canonical_metric(entry["metric"]), op=entry["op"],
        limit=float(entry["limit"]), unit=entry["unit"], endpoint=entry.get("endpoint", ""), risk=entry.get("risk", ""),
        level=entry.get("level", "objective"), priority=entry.get("priority", 2), applies=entry.get("applies", ""),
        sources=(OWN_TEMPLATE,) if entry.get("edited") else documents(entry), edited=entry.get("edited", ""),
        one_of_pair=entry.get("one_of_pair", False), with_drugs=entry.get("with_drugs"),
    )  # fmt: skip


def canonical_metric(name: str) -> str:
    """Bring a metric name to the spelling of constraints.yaml.

    ``mean``, ``dmean_gy`` become ``Dmean``; ``D_0.1_cc``, ``d0_1cc_gy`` become ``D0.1cc``; ``D_99``, ``d99_gy``,
    ``D99%`` become ``D99pct``; ``v20_pct`` becomes ``V20Gy``; ``V60Gy_cc`` keeps its volume unit. ``D0,03 ccm`` and
    ``D0.03cm3 [Gy]`` become ``D0.03cc``.
    """
    key = re.sub(r"[\s\[\]()]", "", name.lower()).replace("%", "pct").replace(",", ".")
    key = re.sub(r"cm\^?3|cm³|ccm", "cc", key)
    key = re.sub(r"_?gy$", "", key) if not key.startswith("v") else key
    if key in ("mean", "dmean", "d_mean"):
        return "Dmean"
    if key in ("max", "dmax", "d_max"):
        return "Dmax"
    if match := re.fullmatch(r"d_?(\d+(?:[._]\d+)?)_?cc", key):
        return f"D{match[1].replace('_', '.')}cc"
    match = re.fullmatch(r"d_?(\d+(?:\.\d+)?)(_?pct)?", key)
    if match and (match[2] or float(match[1]) >= 1):  # D0.03 without a unit may well be meant in cc
        return f"D{match[1]}pct"
    if match := re.fullmatch(r"v_?(\d+(?:\.\d+)?)(?:_?gy)?(?:_?(pct|cc))?", key):
        if key == f"v{match[1]}pct":
            return f"V{match[1]}pct"
        return f"V{match[1]}Gy" + ("_cc" if match[2] == "cc" else "")
    return name


def for_treatment(rows: Iterable[Constraint], with_drugs: bool | None) -> tuple[Constraint, ...]:
    """Leave out the limits of another treatment; none while it is open (None) whether drugs go with radiotherapy."""
    return tuple(row for row in rows if None in (row.with_drugs, with_drugs) or row.with_drugs == with_drugs)


def evaluate(rows: Iterable[Constraint], dose_metrics: DoseMetrics | None, reason: str = "") -> tuple[Constraint, ...]:
    """Judge rows on dose-volume metrics.

    Args:
        dose_metrics: Structure name to metric name (any spelling of ``canonical_metric``) to value: doses in
            Gy, ``V..Gy`` in percent of the structure, ``V..Gy_cc`` in cubic centimetres. None: no dose.
        reason: Why there is none, where that is known.

    Returns:
        The rows with status, value and margin. A near-maximum metric that was not computed is ``not_met`` when a
        larger volume already exceeds its limit, and ``not_evaluable`` otherwise: it is never guessed.

    Raises:
        UsageError: A metric's value is not a finite number.
    """
    if dose_metrics is None:
        bare = {"status": "not_evaluable", "value": None, "margin": None, "reason": reason or NO_DOSE}
        return tuple(replace(row, **bare) for row in rows)
    known = {name: _canonical_values(name, metrics) for name, metrics in dose_metrics.items()}
    return spared_opposite(_judge(row, known.get(row.structure)) for row in rows)


def spared_opposite(rows: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """Say of an exceeded limit that is asked of one organ of a pair that the other one meets it.

    Said anew of rows that were judged again: the other one may not meet it any more.
    """
    rows = tuple(rows)
    return tuple(_spared(row, rows) if row.one_of_pair and row.status == "not_met" else row for row in rows)


def _spared(row: Constraint, rows: tuple[Constraint, ...]) -> Constraint:
    met = [r.structure for r in rows if r.id == row.id and r.structure != row.structure and r.status == "met"]
    told = [f"{met[0]}{_SPARED}"] if met else []
    kept = [part for part in row.reason.split("; ") if part and not part.endswith(_SPARED)]
    return replace(row, reason="; ".join((*told, *kept)))


def needed_metrics(rows: Iterable[Constraint]) -> dict[str, tuple[str, ...]]:
    """Return the metrics that rows ask for: structure to metric names as ``Dvh.metric`` reads them."""
    needed: dict[str, dict[str, None]] = {}
    for row in rows:
        needed.setdefault(row.structure, {})[_measured(row)] = None
    return {structure: tuple(names) for structure, names in needed.items()}


def _measured(row: Constraint) -> str:
    """Name of the metric whose value a row compares: V60Gy in cc is another one than in percent."""
    return row.metric + "_cc" if row.unit == "cc" and row.metric.startswith("V") else row.metric


def _canonical_values(structure: str, metrics: Mapping[str, float]) -> dict[str, float]:
    values = {}
    for metric, value in metrics.items():
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or value != value
            or abs(value) == float("inf")
        ):
            raise UsageError(f"Dose metric {metric} of {structure} is {value!r}; it must be a finite number.")
        values[canonical_metric(metric)] = float(value)
    return values


def _judge(row: Constraint, values: Mapping[str, float] | None) -> Constraint:
    if values is None and row.structure.endswith(OUTSIDE):
        whole = row.structure.removesuffix(OUTSIDE)
        why = f"{whole} or a PTV is not contoured, or nothing of it lies outside"
        return replace(row, reason=f"no dose-volume figures of {whole} outside the PTV: {why}")
    if values is None:
        return replace(row, reason=f"no dose-volume figures of {row.structure}: it is not contoured")
    value = values.get(_measured(row))
    if value is None:
        return _bounded(row, values)
    if row.op == ">=":
        return replace(row, value=value, margin=value - row.limit, status="met" if value >= row.limit else "not_met")
    met = value < row.limit if row.op == "<" else value <= row.limit
    return replace(row, value=value, margin=row.limit - value, status="met" if met else "not_met")


def _bounded(row: Constraint, values: Mapping[str, float]) -> Constraint:
    if row.metric in _NEAR_MAXIMUM and row.op in ("<", "<="):
        for metric in _NEAR_MAXIMUM[_NEAR_MAXIMUM.index(row.metric) + 1 :]:
            if metric in values and values[metric] > row.limit:
                return replace(row, status="not_met", reason=f"{metric} already is {values[metric]:.1f} {row.unit}")
    return replace(row, reason=f"{_measured(row)} is not defined here or was not computed")
