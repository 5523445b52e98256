"""Realistic cases that several plan tests share: findings as the models draft them, and filled-in forms."""

from __future__ import annotations

from typing import Any

from hnvlm.types import Finding


def mass(site: str, side: str, size_mm: float, **more: Any) -> Finding:
    return Finding("mass", site=site, side=side, size_mm=size_mm, slice_index=61, **more)


def node(side: str | None, level: str, size_mm: float, **more: Any) -> Finding:
    return Finding("node", side=side, level=level, size_mm=size_mm, **more)


NO_NODES = Finding("node", presence="absent")
FIT: dict[str, Any] = {
    "ecog": 0, "age": 58, "crcl_ml_min": 85, "hearing_grade": 0, "neuropathy_grade": 0, "audiogram_done": True,
    "histology": "squamous_cell_carcinoma", "setting": "definitive", "distant": False, "prior_neck_rt": False,
    "dental_status": "assessed_fit", "invaded": ["none"], "ene_clinical": False, "resectable": True,
    "chemo_possible": True,
}  # fmt: skip
AIRWAY = Finding("airway", site="larynx", attributes={"narrowing_pct": 82, "min_area_mm2": 35})

CASES: dict[str, tuple[list[Finding], dict[str, Any]]] = {
    "all unknown": ([mass("palatine tonsil", "left", 31), node("left", "II", 24)], {}),
    "oropharynx p16 positive": (
        [mass("base of tongue", "right", 38), node("right", "II", 34), node("left", "III", 18)],
        {**FIT, "p16": "positive"},
    ),
    "hearing loss": (
        [mass("pyriform sinus", "left", 45), node("left", "III", 28)],
        {**FIT, "hearing_grade": 3, "cord_mobility": "fixed", "n_subsites": 2},
    ),
    "renal impairment": (
        [mass("palatine tonsil", "left", 31), node("left", "II", 24), node("left", "III", 15)],
        {**FIT, "p16": "positive", "crcl_ml_min": 42},
    ),
    "relative contraindication": (
        [mass("pyriform sinus", "left", 45), NO_NODES],
        {**FIT, "crcl_ml_min": 55, "cord_mobility": "normal", "n_subsites": 1},
    ),
    "larynx T4a": (
        [mass("supraglottis", "left", 42), NO_NODES, AIRWAY],
        {**FIT, "invaded": ["thyroid_cartilage_outer"], "cord_mobility": "fixed", "n_subsites": 3},
    ),
    "larynx from CT alone": ([mass("supraglottis", "left", 30), node("left", "II", 20)], {}),
    "parotid mass": ([mass("parotid gland", "right", 27)], {}),
    "no finding": ([], {}),
    "absent findings": ([Finding("mass", presence="absent"), NO_NODES], {}),
    "early oral tongue": (
        [mass("oral tongue", "left", 26), NO_NODES],
        {**FIT, "doi_mm": 8, "doi_source": "pathology"},
    ),
    "advanced oral tongue": ([mass("oral tongue", "left", 46), node("left", "IB", 22)], {**FIT, "doi_mm": 12}),
    "early glottis": (
        [],
        {**FIT, "site": "larynx_glottis", "cord_mobility": "normal", "cords_involved": "one", "nodes_n_pos": 0},
    ),
    "nasopharynx": (
        [node("left", "II", 25), node("right", "II", 22)],
        {
            **FIT, "site": "nasopharynx", "histology": "nasopharyngeal_carcinoma", "invaded": ["parapharyngeal_space"],
            "below_cricoid": False, "retropharyngeal_only": False,
        },
    ),
    "postoperative with ENE": (
        [],
        {
            **FIT, "site": "oral_cavity", "setting": "postoperative", "staging_kind": "pathological", "side": "left",
            "tumour_size_mm": 35, "doi_mm": 12, "nodes_n_pos": 3, "nodes_laterality": "ipsilateral",
            "nodes_max_mm": 25, "ene_path": True, "margin": "negative", "days_from_surgery": 50,
        },
    ),
    "metastatic": (
        [mass("palatine tonsil", "left", 31), node("left", "II", 24)],
        {**FIT, "p16": "negative", "distant": True, "cps": 10},
    ),
    "poor performance": (
        [mass("palatine tonsil", "left", 31), node("left", "II", 24)],
        {**FIT, "p16": "negative", "ecog": 3},
    ),
    "no chemotherapy": (
        [mass("palatine tonsil", "left", 31), node("left", "II", 24), node("left", "III", 15)],
        {**FIT, "p16": "negative", "chemo_possible": False},
    ),
    "unknown primary": ([node("left", "II", 34)], {"site": "unknown_primary"}),
    "previous radiotherapy": (
        [mass("palatine tonsil", "left", 31), NO_NODES],
        {**FIT, "p16": "positive", "prior_neck_rt": True},
    ),
    "nodes without primary": ([node("left", "II", 34)], {}),
}  # fmt: skip
