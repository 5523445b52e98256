"""Shares, areas and means with 95 % intervals; the lesions of one patient are not independent of one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hnvlm.intervals import wilson

# Resampling is the same every time, so that one set of answers has one interval.
SEED = 9_173
DRAWS = 2000
# With fewer patients than these, resampling them gives no interval worth telling.
FEWEST_PATIENTS = 5
# An interval from fewer of the draws (the others lack one class, say) would be that of chosen draws.
LEAST_SHARE_OF_DRAWS = 0.9

Statistic = Callable[[np.ndarray], float]


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Area under the ROC curve; ties count one half (Mann-Whitney). NaN with one class, or where a score is NaN."""
    s, y = np.asarray(scores, float), np.asarray(labels, bool)
    if not y.size or y.all() or not y.any() or np.isnan(s).any():
        return float("nan")
    positive, negative = s[y], s[~y]
    wins = (positive[:, None] > negative[None]).mean() + 0.5 * (positive[:, None] == negative[None]).mean()
    return float(wins)


def median(values: Sequence[float]) -> float | None:
    """Median rounded to three places; None without values (JSON has no NaN)."""
    return round(float(np.median(values)), 3) if len(values) else None


def resampled(statistic: Statistic, patients: Sequence[str]) -> tuple[float, float] | None:
    """95 % percentile interval of a statistic when patients are drawn with replacement, all their values with them.

    Args:
        statistic: Takes the indices of the values drawn (with repetitions); NaN where it is undefined.
        patients: Whose each value is.

    Returns:
        None where it would tell nothing: of too few patients, where too many draws are undefined, or where all draws
        give the same (a statistic at its end, such as an area of 1).
    """
    names, owner = np.unique(np.asarray(patients, str), return_inverse=True)
    if len(names) < FEWEST_PATIENTS:
        return None
    members = [np.flatnonzero(owner == k) for k in range(len(names))]
    draws = np.random.default_rng(SEED).integers(len(names), size=(DRAWS, len(names)))
    found = np.array([statistic(np.concatenate([members[k] for k in draw])) for draw in draws], float)
    found = found[np.isfinite(found)]
    if len(found) < LEAST_SHARE_OF_DRAWS * DRAWS:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return (float(low), float(high)) if found.min() < found.max() else None


def share(values: Sequence[bool | float], patients: Sequence[str] | None = None) -> dict[str, Any]:
    """Share of yes/no values with n and its 95 % interval.

    One value a patient: Wilson's. Several: patients are resampled, and the interval is never narrower than Wilson's
    over the values; where all values are the same, resampling can tell nothing and Wilson's over the patients stands,
    as if each patient were one value.

    Args:
        patients: Whose each value is; left out where the values are independent.

    Returns:
        ``value``, ``n``, ``low``, ``high``; ``patients``, their number, where one has several values. Without values
        ``value`` is None, and of a few patients with several values there is no interval.
    """
    n = len(values)
    if n == 0:
        return {"value": None, "n": 0}
    x = np.asarray(values, float)
    p = float(x.mean())
    told: dict[str, Any] = {"value": round(p, 4), "n": n}
    several = 0 if patients is None else len(set(patients))
    if patients is None or several == n:
        bounds: tuple[float, float] | None = wilson(p, n)
    elif x.min() == x.max():
        bounds = wilson(p, several)
    else:
        bounds = None
        if several >= FEWEST_PATIENTS:
            plain = wilson(p, n)
            drawn = resampled(lambda index: float(x[index].mean()), patients) or plain
            bounds = min(drawn[0], plain[0]), max(drawn[1], plain[1])
    if bounds is not None:
        told |= {"low": round(bounds[0], 4), "high": round(bounds[1], 4)}
    return told | ({"patients": several} if several and several != n else {})


def estimate(statistic: Statistic, patients: Sequence[str], *, places: int = 4) -> dict[str, Any]:
    """Any statistic of values of patients with n and the 95 % interval of resampled patients.

    Args:
        statistic: As in ``resampled``.
        patients: Whose each value is.

    Returns:
        As ``share``; ``value`` is None where it is undefined, ``low`` and ``high`` are left out where resampling tells
        nothing.
    """
    count = len(patients)
    value = statistic(np.arange(count)) if count else float("nan")
    if not np.isfinite(value):
        return {"value": None, "n": count}
    told: dict[str, Any] = {"value": round(float(value), places), "n": count}
    bounds = resampled(statistic, patients)
    if bounds is not None:
        told |= {"low": round(bounds[0], places), "high": round(bounds[1], places)}
    several = len(set(patients))
    return told | ({"patients": several} if several != count else {})


def area(scores: Sequence[float], labels: Sequence[bool], patients: Sequence[str]) -> dict[str, Any]:
    """``auroc`` with the interval of resampled patients; n counts both classes."""
    s, y = np.asarray(scores, float), np.asarray(labels, bool)
    return estimate(lambda index: auroc(s[index], y[index]), patients)


def mean_of(values: Sequence[float], patients: Sequence[str], *, places: int = 4) -> dict[str, Any]:
    """Mean with the interval of resampled patients."""
    x = np.asarray(values, float)
    return estimate(lambda index: float(x[index].mean()), patients, places=places)


def finding_f1(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """F1 over findings, pooled over CTs, with its interval.

    Args:
        rows: One a CT: ``patient``, and ``compare`` (``hnvlm.report.compare.compare``).
    """
    counts = np.array([[r["compare"][key] for key in ("tp", "fp", "fn")] for r in rows], float).reshape(-1, 3)

    def f1(index: np.ndarray) -> float:
        tp, fp, fn = counts[index].sum(0)
        return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else float("nan")

    return estimate(f1, [r["patient"] for r in rows])
