"""Limits made for about 2 Gy a fraction, and a dose that is given in larger ones: what looks met is not met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hnvlm.imaging.target_names import is_target_volume, ptv_gy
from hnvlm.plan.conditions import holds
from hnvlm.plan.constraints import Constraint, spared_opposite
from hnvlm.plan.dose_basis import SAME_GY
from hnvlm.plan.kb import load_kb
from hnvlm.plan.prescription import Scheme


def too_large(per_fraction_gy: float | None) -> bool:
    """Whether the limits of organs are not made for fractions of this size: rule ``dvh_fraction_size`` has the size."""
    rule = load_kb().entry("dvh_fraction_size")
    return holds(rule["when"], {"plan": {"dvh": [], "dvh_fraction_gy": per_fraction_gy}})


def per_fraction(fractions: int | None, top_gy: float | None) -> float | None:
    """Return the dose of one fraction to the highest level; None where one of the two is not known."""
    return top_gy / fractions if fractions and top_gy else None


def top_level(names: Iterable[str]) -> float | None:
    """Return the highest level (Gy) in the names of targets, None where none carries one."""
    return max((gy for name in names if (gy := ptv_gy(name)) is not None), default=None)


def drafted_size(schemes: Iterable[Scheme], top_gy: float | None) -> float | None:
    """Return the fraction size of the drafted scheme whose highest level a dose has; None where there is none."""
    return next(
        (
            scheme.levels[0].per_fraction_gy
            for scheme in schemes
            if top_gy is not None and abs(scheme.levels[0].dose_gy - top_gy) < SAME_GY
        ),
        None,
    )


def judged_for(
    rows: Iterable[Constraint], per_fraction_gy: float | None, *, at_most: bool = False
) -> tuple[Constraint, ...]:
    """Take back what large fractions make of judged rows: a limit of an organ that looks met is not evaluable.

    A dose in large fractions harms more than the same dose in small ones, so what is exceeded stays exceeded. What a
    target gets is asked in Gy of its own level, whatever the fractions.

    Args:
        rows: Judged limits.
        per_fraction_gy: Of the dose judged; None: not known, and the rows stay as they are.
        at_most: It is the size at the point of the highest dose, as no level is known.
    """
    rows = tuple(rows)
    if not too_large(per_fraction_gy):
        return rows
    has = f"this dose has {'up to ' if at_most else ''}{per_fraction_gy:.1f} Gy"
    return spared_opposite(_taken_back(row, has) for row in rows)


def _taken_back(row: Constraint, has: str) -> Constraint:
    if row.status != "met" or is_target_volume(row.structure):
        return row
    made_for = "its editor did not say for which fractions" if row.edited else "limits are for about 2 Gy a fraction"
    return replace(row, status="not_evaluable", value=None, margin=None, reason=f"{made_for}, {has}")
