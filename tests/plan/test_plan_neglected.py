"""Kinds of cases that a meeting sees rarely, and combinations of answers that few patients have."""

from __future__ import annotations

from typing import Any

import pytest
from plan_cases import FIT, NO_NODES, mass, node

from hnvlm.plan import draft_plan

TONSIL = [mass("palatine tonsil", "left", 31), node("left", "II", 24)]
SPECIMEN: dict[str, Any] = {
    **FIT, "setting": "postoperative", "site": "oropharynx", "subsite": "tonsil", "side": "left", "p16": "positive",
    "tumour_size_mm": 18, "nodes_n_pos": 1, "nodes_laterality": "ipsilateral", "nodes_max_mm": 25, "ene_path": False,
    "margin": "negative",
}  # fmt: skip


@pytest.mark.parametrize("more", [{"ene_path": True}, {"margin": "positive"}])
def test_radiotherapy_alone_does_not_fit_a_p16_positive_specimen_with_high_risk(more: dict[str, Any]) -> None:
    """po_high and opx_pos_postop: node-positive, but extranodal extension or a positive margin asks for cisplatin."""
    plan = draft_plan([], {**SPECIMEN, **more})
    assert [o.id for o in plan.modality.options.applies if not o.id.startswith("fu_")] == ["po_high"]
    assert plan.modality.drafted == "postop_crt_cisplatin"
    refused = draft_plan([], {**SPECIMEN, **more, "chemo_possible": False})
    assert refused.modality.drafted == "postop_rt", "what is left where no drug is wanted"
    assert draft_plan([], SPECIMEN).modality.lead.id == "opx_pos_postop"
