"""What the name of a target says of it: its dose, and whether it is a target at all or a helper made from one.

TG-263 (Mayo et al. 2018, doi 10.1016/j.ijrobp.2017.12.013) writes a type, a classifier with a number, words, and the
dose in cGy: PTV_7000, PTVp1_7000, PTV_Neck_5600. Clinics put a side behind it, and write Gy: PTV_5600_L, PTV70_L.
"""

from __future__ import annotations

import re

# What was made from a target to steer a plan (a ring around it, a margin) has its name and is none: nobody covers it.
NO_HELPER = r"(?!.*(?i:ring|shell|wall|exp|avoid|help|dummy|prv|[+]|\d\s*mm))"
# A target cut or changed for the optimiser or for a report: it stands for its target only where that is not there.
_CHANGED = re.compile(
    r"(?:^[pcg]tv|[^a-z])(?:eval|opt|sub|minus|crop|cropped|old|test)(?:$|[^a-z])|-\s*[pcgi]tv", re.IGNORECASE
)
_NEVER = re.compile(r"(?:^[pcg]tv|[^a-z])(?:old|test)(?:$|[^a-z])", re.IGNORECASE)
_TARGET = re.compile(rf"(?:PTV|CTV|GTV){NO_HELPER}", re.IGNORECASE)
# A dose times fractions (PTV_2000x3) may be the dose of one of them or of all.
_NO_TIMES = r"(?!\d|\s*x\s*\d)"
_CGY = re.compile(rf"(?<![\d.,])([1-9]\d{{3}}){_NO_TIMES}", re.IGNORECASE)
_GY = re.compile(rf"(?<![\d.,])([2-9]\d(?:[.,]\d{{1,2}})?){_NO_TIMES}(?![.,]\d|[\s_-]*\d|\s*%)", re.IGNORECASE)
# Before the dose stand words, with numbers (CT1), and the number of the target.
_BEFORE = re.compile(r"[a-z\d\s_-]*", re.IGNORECASE)
_ANOTHER_NUMBER = re.compile(r"(?<![a-z\d])[1-9]\d|\d{3}", re.IGNORECASE)
_YEAR = re.compile(r"20[0-4]\d")
# Before a dose in Gy stand only words that say which target it is: any number of two digits may follow others.
_WHICH = frozenset((
    "dp", "sb", "p", "n", "t", "ln", "lns", "node", "nodes", "nodal", "neck", "prim", "primary", "high", "hi", "mid",
    "med", "int", "low", "boost", "elect", "elective", "eval", "opt", "left", "right", "lt", "rt", "li", "re", "l", "r",
))  # fmt: skip
_PTV = re.compile(rf"PTV{NO_HELPER}", re.IGNORECASE)


def level_gy(name: str) -> float | None:
    """Return the dose (Gy) in the name of a target: PTV_5600, CTV_5600, PTVn_5600, PTV_5600_L and PTV56_L are 56 Gy.

    None without one. Below 10 Gy, and below 20 where the dose is in Gy, a number counts targets (``imaging.tg263``).
    """
    if not _TARGET.match(name):
        return None
    rest = name[3:]
    found = _CGY.search(rest)
    if found and (words := _words(rest[: found.start()])) is not None and not (words and _YEAR.fullmatch(found[1])):
        return int(found[1]) / 100
    found = _GY.search(rest)
    if found and (words := _words(rest[: found.start()])) is not None and set(words) <= _WHICH:
        return float(found[1].replace(",", "."))
    return None


def _words(before: str) -> list[str] | None:
    """Words between the type of a target and a number; None where something stands there that makes it no dose."""
    if not _BEFORE.fullmatch(before) or _ANOTHER_NUMBER.search(before):
        return None
    return re.findall(r"[a-z]+", before.lower())


def is_ptv(name: str) -> bool:
    """Whether a structure is a planning target volume by its name, and neither a helper nor one changed for a plan."""
    return _PTV.match(name) is not None and not _CHANGED.search(name)


def stands_for_ptv(name: str) -> bool:
    """Whether a structure is a PTV that was cut or changed (PTV_7000_Eval): a PTV where the whole one is not there."""
    return _PTV.match(name) is not None and _CHANGED.search(name) is not None and not _NEVER.search(name)


def is_target_volume(name: str) -> bool:
    """Whether a name begins as that of a target does, helpers made from targets included."""
    return name.upper().startswith(("PTV", "CTV", "GTV", "ITV"))


def ptv_gy(name: str) -> float | None:
    """Return the dose (Gy) in the name of a planning target volume, also of a cut one; None of anything else."""
    return level_gy(name) if name[:3].upper() == "PTV" else None
