"""Equivalent doses for organs and targets: alpha/beta of the tables, each with its source."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hnvlm.plan.kb import Document, KnowledgeBase, documents
from hnvlm.plan.prescription import TUMOUR_ALPHA_BETA_GY

# TG-263 base name -> tissue of radiotherapy.yaml (radiobiology.alpha_beta_gy). Late effects, except the target.
_TISSUES = {
    "SpinalCord": "spinal_cord", "Brainstem": "brainstem", "OpticNrv": "optic_nerve_chiasm",
    "OpticChiasm": "optic_nerve_chiasm", "BrachialPlex": "brachial_plexus", "Parotid": "parotid", "Parotids": "parotid",
    "Cochlea": "cochlea", "Larynx": "larynx", "Larynx_SG": "larynx", "Glottis": "larynx", "Bone_Mandible": "mandible",
    "Glnd_Thyroid": "thyroid", "Lens": "lens", "Esophagus": "oesophagus_late", "Esophagus_S": "oesophagus_late",
}  # fmt: skip


@dataclass(frozen=True)
class AlphaBeta:
    """Ratio for one tissue.

    Attributes:
        verified: Whether a graded source was read; an assumed value must be called assumed wherever it is shown.
    """

    gy: float
    verified: bool
    sources: tuple[Document, ...]

    @property
    def words(self) -> str:
        """How to name it: ``α/β 2 Gy`` or ``α/β 10 Gy assumed``."""
        return f"α/β {self.gy:g} Gy" + ("" if self.verified else " assumed")


def alpha_beta(kb: KnowledgeBase, structure: str) -> AlphaBeta | None:
    """Return the ratio for a structure: tumour for targets, the tissue for organs; None where the tables have none."""
    rows = {row["tissue"]: row for row in kb["radiotherapy"]["radiobiology"]["alpha_beta_gy"]}
    if re.match(r"(PTV|CTV|GTV)", structure, re.IGNORECASE):
        row = rows["tumour_hnscc"]
        return AlphaBeta(TUMOUR_ALPHA_BETA_GY, row["verified"], documents(row))
    base = re.sub(r"_PRV\d+$", "", structure)
    base = re.sub(r"_[LR]$", "", base)
    tissue = _TISSUES.get(base)
    if tissue is None:
        return None
    row = rows[tissue]
    return AlphaBeta(float(row["value"]), row["verified"], documents(row))


def eqd2_of_total(total_gy: float, fractions: float, alpha_beta_gy: float) -> float:
    """Return the equivalent dose in 2 Gy fractions of a total dose: D (D/n + a/b) / (2 + a/b)."""
    return total_gy * (total_gy / fractions + alpha_beta_gy) / (2 + alpha_beta_gy)
