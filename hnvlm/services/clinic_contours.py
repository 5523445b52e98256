"""What the clinic's own contours say of disease: gross tumour volumes, and that there is a target to treat."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hnvlm.imaging.target_names import level_gy
from hnvlm.imaging.tg263 import is_gross_tumour
from hnvlm.imaging.volume import Volume
from hnvlm.services.context import App
from hnvlm.store import ResultRecord


def is_planned(name: str) -> bool:
    """Whether a structure is a target to treat by its name; a gross tumour volume alone is none."""
    return name[:3].upper() in ("PTV", "CTV")


def gross_of(structures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gross tumour volumes among a clinic's structures: name -> bool (z, y, x)."""
    return {name: np.asarray(structures[name], bool) for name in structures if is_gross_tumour(name)}


def treated_of(structures: Mapping[str, np.ndarray], volume: Volume) -> str:
    """``treated_words`` of masks on the CT's grid."""
    ml = {name: float(np.count_nonzero(structures[name])) * volume.voxel_ml for name in structures if is_planned(name)}
    return treated_words(ml)


def treated_words(volumes_ml: Mapping[str, float]) -> str:
    """Name the target of the highest level, with its volume: ``PTV_7000, 557 ml``; "" where nothing is planned."""
    planned = [name for name, ml in volumes_ml.items() if is_planned(name) and ml > 0]
    if not planned:
        return ""
    # Of names without a level, and of one level on two sides, the largest holds the most.
    first = max(planned, key=lambda name: (level_gy(name) or 0.0, volumes_ml[name]))
    return f"{first}, {volumes_ml[first]:.0f} ml"


def load_gross(app: App, case_id: str) -> dict[str, np.ndarray]:
    """Gross tumour volumes among the structures that were uploaded to a case."""
    result = app.store.latest_result(case_id, "structures")
    names = [name for name in _uploaded(app, case_id) if is_gross_tumour(name)]
    return gross_of(app.store.load_masks(result, only=names)) if result is not None and names else {}


def load_treated(app: App, case_id: str) -> str:
    """``treated_words`` of the structures that were uploaded to a case."""
    return treated_words(_uploaded(app, case_id))


def measured_on(app: App, case_id: str) -> int:
    """The id of the uploaded structures that findings of this case are measured on, 0 where they hold no gross tumour.

    Findings with another id are of before.
    """
    result = app.store.latest_result(case_id, "structures")
    return drawn_id(result) if result is not None and any(map(is_gross_tumour, _uploaded(app, case_id))) else 0


def drawn_id(result: ResultRecord) -> int:
    """The id under which the content of an uploaded version came in: its own, or that of the one taken again.

    What was made from structures that were replaced meanwhile, and are used again, is made from those used now.
    """
    return int(result.payload.get("same_as", result.id))


def _uploaded(app: App, case_id: str) -> dict[str, float]:
    result = app.store.latest_result(case_id, "structures")
    return {} if result is None else {row["name"]: row["volume_ml"] for row in result.payload.get("structures", ())}
