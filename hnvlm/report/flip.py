"""A finding of the mirrored patient: left becomes right and right becomes left."""

from __future__ import annotations

from dataclasses import replace

from hnvlm.types import Finding

_OTHER_SIDE = {"left": "right", "right": "left"}


def flip_finding(finding: Finding) -> Finding:
    """Return the finding of the mirrored patient. The voxel box, which needs the grid to mirror, is dropped."""
    return replace(finding, side=_OTHER_SIDE.get(finding.side or "", finding.side), box=None)  # type: ignore[arg-type]
