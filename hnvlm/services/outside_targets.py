"""The part of an organ that lies outside the planned targets: some limits are about that part alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from hnvlm.imaging.target_names import NO_HELPER
from hnvlm.plan import Constraint
from hnvlm.plan.constraints import OUTSIDE

# What is planned for treatment: a gross tumour or a clinical target lies within it, a ring around it does not count.
_PLANNED = re.compile(rf"PTV{NO_HELPER}", re.IGNORECASE)


def is_planning_target(name: str) -> bool:
    """Whether a structure is a planning target volume by its name, and nothing made from one."""
    return _PLANNED.match(name) is not None


def parts(masks: Mapping[str, np.ndarray], rows: Iterable[Constraint]) -> dict[str, np.ndarray]:
    """Return what limits ask for and nobody drew: name (Cavity_Oral-PTV) -> bool (z, y, x).

    What lies wholly inside is left out. Without a planning target nothing is made: what lies outside is not known.

    Args:
        masks: Structures on one grid.
        rows: Limits; those of whole structures ask for nothing.
    """
    named = dict.fromkeys(row.structure for row in rows if row.structure.endswith(OUTSIDE))
    asked = [name for name in named if name not in masks and name.removesuffix(OUTSIDE) in masks]
    targets = [name for name in masks if is_planning_target(name)]
    if not asked or not targets:
        return {}
    treated = np.zeros_like(np.asarray(masks[targets[0]], bool))
    for name in targets:  # one at a time: each is unpacked to the whole grid
        treated |= np.asarray(masks[name], bool)
    made = {name: np.asarray(masks[name.removesuffix(OUTSIDE)], bool) & ~treated for name in asked}
    return {name: mask for name, mask in made.items() if mask.any()}
