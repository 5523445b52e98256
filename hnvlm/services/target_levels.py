"""The levels of a plan, as its targets' names state them: all targets of one level are treated together.

A level may have a target on each side, or one for the primary and one for nodes (PTV_7000_L, PTVp_7000). The dose
network takes one target a level, and whoever asks what 100 % is asks for a level.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from hnvlm.imaging.masks import PackedMasks, part_of
from hnvlm.imaging.target_names import is_ptv, level_gy, stands_for_ptv

# Not limits of treatment but of belief: a median (ICRU Report 83, D50) outside this share of a target's prescription is
# a phase's, a beam's, a fraction's, another plan's, no Gy, or a prediction that failed.
_LEAST, _MOST = 0.9, 1.15
# Of a dropped level: a share below this is the border of a drawing, not a part.
_A_PART = 0.005
# A target of this name is not the one of the highest dose.
_LOWEST = re.compile(r"low|elect", re.IGNORECASE)


def by_level(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return level (PTV_7000) -> the targets of it, highest first; helpers made from targets are none."""
    whole: dict[float, list[str]] = {}
    changed: dict[float, list[str]] = {}
    for name in names:
        gy = level_gy(name)
        if gy is not None and (is_ptv(name) or stands_for_ptv(name)):
            (whole if is_ptv(name) else changed).setdefault(gy, []).append(name)
    return {_level(gy): tuple(whole.get(gy) or changed[gy]) for gy in sorted({*whole, *changed}, reverse=True)}


def _level(gy: float) -> str:
    return f"PTV_{round(gy * 100):04d}"


def prescriptions(names: Iterable[str]) -> dict[str, float]:
    """Return target -> Gy as the names state it (PTV_7000 and PTVp_7000 are 70 Gy), highest first."""
    return {name: int(level[-4:]) / 100 for level, parts in by_level(names).items() for name in parts}


def without_level(names: Iterable[str]) -> tuple[str, ...]:
    """Return the planning targets in whose names no dose stands."""
    return tuple(name for name in names if is_ptv(name) and level_gy(name) is None)


def highest(names: Iterable[str]) -> float | None:
    """Return the highest level (Gy); None without any, or where a target without one may be of a higher one."""
    names = list(names)
    if any(not _LOWEST.search(name) for name in without_level(names)):
        return None
    return max(prescriptions(names).values(), default=None)


def together(masks: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return structures with one target a level (PTV_7000) in the place of all targets of that level."""
    return _merged(masks, {level: parts for level, parts in by_level(masks).items() if parts != (level,)})


def _merged(masks: Mapping[str, np.ndarray], levels: Mapping[str, tuple[str, ...]]) -> Mapping[str, np.ndarray]:
    """Put each level in the place of the structures that it is made of."""
    if not levels:
        return masks
    merged = {}
    for level, parts in levels.items():
        out = np.array(masks[parts[0]], bool)
        for name in parts[1:]:  # one at a time: each is unpacked to the whole grid
            out |= np.asarray(masks[name], bool)
        merged[level] = out
    gone = {*levels, *(name for parts in levels.values() for name in parts)}
    others = [name for name in masks if name not in gone]
    if isinstance(masks, PackedMasks):
        return masks.only(others) | merged
    return {name: masks[name] for name in others} | merged


def known_by_level(
    masks: Mapping[str, np.ndarray], known: Collection[str]
) -> tuple[Mapping[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Give the targets of a level that ``known`` has its name (PTV1_70 and PTV_70_L are PTV_7000), together.

    One that was cut or changed for a plan is not the target: it keeps its name.

    Returns:
        The structures, and level -> the names of what it is made of, where that is not itself alone.
    """
    whole = by_level(name for name in masks if is_ptv(name))
    levels = {level: parts for level, parts in whole.items() if level in known and parts != (level,)}
    return _merged(masks, levels), levels


def notes(names: Iterable[str]) -> list[str]:
    """Say which targets are treated as one level."""
    return [
        f"{level} is {' and '.join([', '.join(parts[:-1]), parts[-1]])} together"
        for level, parts in by_level(names).items()
        if len(parts) > 1
    ]


def not_planned(names: Iterable[str]) -> list[str]:
    """Say which targets no prediction treats, as nobody knows their dose."""
    names = list(names)
    unknown = without_level(names)
    if not unknown:
        return []
    verb = "carry" if len(unknown) > 1 else "carries"
    return [
        f"{', '.join(unknown)} {verb} no dose in the name and got none: this is a prediction for "
        f"{', '.join(by_level(names))} alone. Call the target by its dose (PTV_7000) and predict anew"
    ]


def off_level(median_gy: float, level: float, *, highest: bool) -> bool:
    """Whether a target's median dose is not that of a plan for its level (Gy).

    Args:
        highest: It is the plan's highest level. A lower one may reach around a higher one, so it may get more.
    """
    return median_gy < _LEAST * level or (highest and median_gy > _MOST * level)


def missed(gray: np.ndarray, masks: Mapping[str, np.ndarray], levels: Mapping[str, float]) -> str:
    """Say which of its own targets a prediction does not treat, "" where it treats all.

    The network has learned plans of three levels. Where it is asked for another it may answer with a hole.

    Args:
        gray: Predicted Gy (z, y, x). levels: Target -> Gy that it was predicted for.
    """
    odd = []
    for name, gy in levels.items():
        part = part_of(masks, name)
        if part is None:
            continue
        median = float(np.median(gray[part.place][part.inside]))
        if off_level(median, gy, highest=gy == max(levels.values())):
            odd.append(f"{name} {median:.1f} of {gy:g} Gy")
    return f"the prediction gives {', '.join(odd)} (median): do not use it" if odd else ""


def left_out(
    dropped: Iterable[str], before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], levels: Mapping[str, Any]
) -> list[str]:
    """Say what each level that was left out still gets: it may lie in another.

    Args:
        before: Structures with it. after: Structures that are treated. levels: Levels of these -> Gy, highest first.
    """
    out = []
    for name in dropped:
        rest = np.array(before[name], bool)
        whole, inside = int(rest.sum()), []
        for other, gy in levels.items():
            treated = np.asarray(after[other], bool)
            share = np.count_nonzero(rest & treated) / max(whole, 1)
            rest &= ~treated
            if share >= _A_PART:
                inside.append((share, f"{other}: {gy:g} Gy"))
        none = np.count_nonzero(rest) / max(whole, 1)
        if not inside:
            said = f"{name} not treated"
        elif len(inside) == 1 and none < _A_PART:
            said = f"{name} is no level of its own any more and lies in {inside[0][1]}"
        else:
            shares = [f"{100 * share:.0f} % of it in {where}" for share, where in inside]
            shares += [f"{100 * none:.0f} % not treated"] if none >= _A_PART else []
            said = f"{name} is no level of its own any more: {', '.join(shares)}"
        out.append(f"{said}; its histogram is shown all the same")
    return out
