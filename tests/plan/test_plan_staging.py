"""T, N, M and stage groups at every cut-off, and what a missing fact could change."""

from __future__ import annotations

from typing import Any

import pytest

from hnvlm.plan.conditions import nest
from hnvlm.plan.kb import load_kb
from hnvlm.plan.staging import Category, derive_group, derive_n, derive_t, group_row, stage

KB = load_kb()


def t_of(site: str, **tumour: Any) -> str | None:
    return derive_t(KB, nest({"case.site": site, "tumour": tumour}))


def n_of(site: str, kind: str = "clinical", **nodes: Any) -> str | None:
    return derive_n(KB, nest({"case.site": site, "case.staging_kind": kind, "nodes": nodes}))


@pytest.mark.parametrize(
    ("site", "tumour", "expected"),
    [
        # oral cavity: 2 and 4 cm; depth 5 and 10 mm
        ("oral_cavity", {"size_cm": 2.0, "doi_mm": 5.0}, "T1"),
        ("oral_cavity", {"size_cm": 2.0, "doi_mm": 5.1}, "T2"),
        ("oral_cavity", {"size_cm": 2.1, "doi_mm": 4.0}, "T2"),
        ("oral_cavity", {"size_cm": 4.0, "doi_mm": 10.0}, "T2"),
        ("oral_cavity", {"size_cm": 4.0, "doi_mm": 10.1}, "T3"),
        ("oral_cavity", {"size_cm": 4.1, "doi_mm": 10.0}, "T3"),
        ("oral_cavity", {"size_cm": 4.1, "doi_mm": 10.1}, "T4a"),
        ("oral_cavity", {"size_cm": 1.8, "doi_mm": 12}, "T2"),
        ("oral_cavity", {"size_cm": 1.0, "invaded": ["mandible_cortex"]}, "T4a"),
        ("oral_cavity", {"size_cm": 1.0, "invaded": ["superficial_tooth_socket_erosion"]}, "T1"),
        ("oral_cavity", {"size_cm": 1.0, "invaded": ["mandible_cortex", "masticator_space"]}, "T4b"),
        # oropharynx
        ("oropharynx_p16_neg", {"size_cm": 2.0}, "T1"),
        ("oropharynx_p16_neg", {"size_cm": 2.1}, "T2"),
        ("oropharynx_p16_neg", {"size_cm": 4.0}, "T2"),
        ("oropharynx_p16_neg", {"size_cm": 4.1}, "T3"),
        ("oropharynx_p16_neg", {"size_cm": 1.0, "invaded": ["epiglottis_lingual"]}, "T3"),
        ("oropharynx_p16_neg", {"size_cm": 1.0, "invaded": ["medial_pterygoid"]}, "T4a"),
        ("oropharynx_p16_neg", {"size_cm": 1.0, "invaded": ["lateral_pterygoid"]}, "T4b"),
        ("oropharynx_p16_pos", {"size_cm": 1.0, "invaded": ["lateral_pterygoid"]}, "T4"),
        ("oropharynx_p16_pos", {"size_cm": 4.0}, "T2"),
        ("oropharynx_p16_pos", {"size_cm": 4.1}, "T3"),
        ("oropharynx_p16_pos", {"primary_found": False}, "T0"),
        # hypopharynx: fixation and oesophagus beside size
        ("hypopharynx", {"size_cm": 2.0}, "T1"),
        ("hypopharynx", {"size_cm": 2.1}, "T2"),
        ("hypopharynx", {"size_cm": 1.5, "n_subsites": 2}, "T2"),
        ("hypopharynx", {"size_cm": 4.1}, "T3"),
        ("hypopharynx", {"size_cm": 3.0, "cord_mobility": "fixed"}, "T3"),
        ("hypopharynx", {"size_cm": 3.0, "invaded": ["hyoid_bone"]}, "T4a"),
        ("hypopharynx", {"size_cm": 3.0, "invaded": ["prevertebral"]}, "T4b"),
        # larynx: size alone says nothing
        ("larynx_supraglottis", {"size_cm": 3.0}, None),
        ("larynx_supraglottis", {"n_subsites": 1}, "T1"),
        ("larynx_supraglottis", {"n_subsites": 2}, "T2"),
        ("larynx_supraglottis", {"cord_mobility": "fixed"}, "T3"),
        ("larynx_supraglottis", {"invaded": ["preepiglottic_space"]}, "T3"),
        ("larynx_supraglottis", {"invaded": ["thyroid_cartilage_outer"]}, "T4a"),
        ("larynx_glottis", {"cord_mobility": "normal", "cords_involved": "one"}, "T1a"),
        ("larynx_glottis", {"cord_mobility": "normal", "cords_involved": "both"}, "T1b"),
        ("larynx_glottis", {"cord_mobility": "normal"}, "T1"),
        ("larynx_glottis", {"cord_mobility": "impaired", "cords_involved": "one"}, "T2"),
        ("larynx_glottis", {"cord_mobility": "fixed"}, "T3"),
        ("larynx_glottis", {"cord_mobility": "fixed", "invaded": ["cricoid_cartilage"]}, "T4a"),
        ("larynx_subglottis", {"cord_mobility": "normal"}, "T1"),
        ("larynx_subglottis", {"cord_mobility": "impaired", "invaded": ["glottis"]}, "T2"),
        ("larynx_subglottis", {"invaded": ["mediastinum"]}, "T4b"),
        # nasopharynx
        ("nasopharynx", {"size_cm": 3.0}, None),
        ("nasopharynx", {"invaded": []}, "T1"),
        ("nasopharynx", {"invaded": ["parapharyngeal_space"]}, "T2"),
        ("nasopharynx", {"invaded": ["pterygoid_structures"]}, "T3"),
        ("nasopharynx", {"invaded": ["cranial_nerve"]}, "T4"),
        # salivary glands
        ("major_salivary", {"size_cm": 2.0}, "T1"),
        ("major_salivary", {"size_cm": 4.0}, "T2"),
        ("major_salivary", {"size_cm": 4.1}, "T3"),
        ("major_salivary", {"size_cm": 1.0, "invaded": ["facial_nerve"]}, "T4a"),
        ("unknown_primary_neck", {"primary_found": False}, "T0"),
    ],
)  # fmt: skip
def test_t_category_at_its_cut_offs(site: str, tumour: dict[str, Any], expected: str | None) -> None:
    assert t_of(site, **tumour) == expected


def test_an_unknown_extent_leaves_the_lowest_category_open() -> None:
    def t_category(**tumour: Any) -> Category:
        return stage(KB, nest({"case.site": "nasopharynx", "tumour": tumour, "nodes.n_pos": 0})).t

    found = t_category(size_cm=3.0)
    assert (found.value, found.possible, found.needs) == (None, ("T1", "T2", "T3", "T4"), ("invaded",))
    found = t_category(invaded=[])
    assert (found.value, found.possible, found.provisional) == ("T1", ("T1",), False)


@pytest.mark.parametrize(
    ("site", "nodes", "expected"),
    [
        ("oral_cavity", {"n_pos": 0}, "N0"),
        ("oral_cavity", {"n_pos": 1, "max_node_cm": 3.0}, "N1"),
        ("oral_cavity", {"n_pos": 1, "max_node_cm": 3.1}, "N2a"),
        ("oral_cavity", {"n_pos": 1, "max_node_cm": 6.0}, "N2a"),
        ("oral_cavity", {"n_pos": 1, "max_node_cm": 6.1}, "N3a"),
        ("oral_cavity", {"n_pos": 2, "laterality": "ipsilateral", "max_node_cm": 2.0}, "N2b"),
        ("oral_cavity", {"n_pos": 2, "laterality": "bilateral", "max_node_cm": 2.0}, "N2c"),
        ("oral_cavity", {"n_pos": 1, "laterality": "contralateral", "max_node_cm": 2.0}, "N2c"),
        ("oral_cavity", {"n_pos": 1, "max_node_cm": 1.0, "ene_clinical": True}, "N3b"),
        ("oropharynx_p16_pos", {"n_pos": 4, "laterality": "ipsilateral", "max_node_cm": 6.0}, "N1"),
        ("oropharynx_p16_pos", {"n_pos": 1, "laterality": "ipsilateral", "max_node_cm": 6.1}, "N3"),
        ("oropharynx_p16_pos", {"n_pos": 2, "laterality": "bilateral", "max_node_cm": 2.0}, "N2"),
        ("oropharynx_p16_pos", {"n_pos": 1, "max_node_cm": 2.0, "ene_clinical": True}, "N1"),
        ("nasopharynx", {"n_pos": 2, "laterality": "ipsilateral", "max_node_cm": 6.0}, "N1"),
        ("nasopharynx", {"n_pos": 2, "laterality": "bilateral", "max_node_cm": 6.0}, "N2"),
        ("nasopharynx", {"n_pos": 2, "laterality": "bilateral", "retropharyngeal_only": True}, "N1"),
        ("nasopharynx", {"n_pos": 1, "laterality": "ipsilateral", "below_cricoid": True}, "N3"),
        ("nasopharynx", {"n_pos": 1, "laterality": "contralateral", "max_node_cm": 2.0}, "N1"),
        ("oral_cavity", {"max_node_cm": 2.0}, None),
    ],
)  # fmt: skip
def test_clinical_n_category_at_its_cut_offs(site: str, nodes: dict[str, Any], expected: str | None) -> None:
    assert n_of(site, **nodes) == expected


@pytest.mark.parametrize(
    ("site", "nodes", "expected"),
    [
        ("hypopharynx", {"n_pos": 1, "max_node_cm": 2.0, "ene_path": True}, "N2a"),
        ("hypopharynx", {"n_pos": 1, "max_node_cm": 3.1, "ene_path": True}, "N3b"),
        ("hypopharynx", {"n_pos": 2, "max_node_cm": 1.0, "ene_path": True}, "N3b"),
        ("hypopharynx", {"n_pos": 2, "max_node_cm": 1.0, "ene_path": False}, "N2b"),
        ("oropharynx_p16_pos", {"n_pos": 4, "max_node_cm": 1.0}, "N1"),
        ("oropharynx_p16_pos", {"n_pos": 5, "max_node_cm": 1.0}, "N2"),
    ],
)
def test_pathological_n_category(site: str, nodes: dict[str, Any], expected: str) -> None:
    assert n_of(site, "pathological", laterality="ipsilateral", **nodes) == expected


@pytest.mark.parametrize(
    ("site", "tnm", "kind", "expected"),
    [
        ("larynx_glottis", ("T1a", "N0", "M0"), "clinical", "I"),
        ("larynx_glottis", ("T3", "N0", "M0"), "clinical", "III"),
        ("oral_cavity", ("T2", "N0", "M0"), "clinical", "II"),
        ("oral_cavity", ("T1", "N1", "M0"), "clinical", "III"),
        ("oral_cavity", ("T1", "N2b", "M0"), "clinical", "IVA"),
        ("oral_cavity", ("T4a", "N0", "M0"), "clinical", "IVA"),
        ("oral_cavity", ("T4b", "N0", "M0"), "clinical", "IVB"),
        ("oral_cavity", ("T1", "N3b", "M0"), "clinical", "IVB"),
        ("oral_cavity", ("T1", "N0", "M1"), "clinical", "IVC"),
        ("oral_cavity", ("Tis", "N1", "M0"), "clinical", None),
        ("oropharynx_p16_pos", ("T2", "N1", "M0"), "clinical", "I"),
        ("oropharynx_p16_pos", ("T2", "N2", "M0"), "clinical", "II"),
        ("oropharynx_p16_pos", ("T3", "N0", "M0"), "clinical", "II"),
        ("oropharynx_p16_pos", ("T4", "N0", "M0"), "clinical", "III"),
        ("oropharynx_p16_pos", ("T4", "N1", "M0"), "pathological", "II"),
        ("oropharynx_p16_pos", ("T4", "N2", "M0"), "pathological", "III"),
        ("oropharynx_p16_pos", ("T1", "N0", "M1"), "clinical", "IV"),
        ("nasopharynx", ("T2", "N1", "M0"), "clinical", "II"),
        ("nasopharynx", ("T1", "N2", "M0"), "clinical", "III"),
        ("nasopharynx", ("T4", "N0", "M0"), "clinical", "IVA"),
        ("nasopharynx", ("T1", "N0", "M1"), "clinical", "IVB"),
        ("unknown_primary_neck", ("T0", "N2a", "M0"), "clinical", "IVA"),
    ],
)  # fmt: skip
def test_stage_group(site: str, tnm: tuple[str, str, str], kind: str, expected: str | None) -> None:
    t, n, m = tnm
    context = nest({"case.site": site, "case.t": t, "case.n": n, "case.m": m, "case.staging_kind": kind})
    assert derive_group(KB, context) == expected
    row = group_row(KB, site, t, n, m, pathological=kind == "pathological")
    assert (row["group"] if row else None) == expected


def test_every_t_and_n_of_a_table_has_a_group_with_m0() -> None:
    """No combination of categories that the tables themselves produce may fall through the group table."""
    for site in KB["staging"]["site_map"]:
        t_values = {r["cat"] for r in KB["staging"]["t_tables"][site["t"]]} - {"TX", "Tis", "T0"}
        n_values = {r["cat"] for r in KB["staging"]["n_tables"][site["n_clinical"]]} - {"NX"}
        for t in t_values:
            for n in n_values:
                assert group_row(KB, site["site"], t, n, "M0") is not None, (site["site"], t, n)


def test_missing_facts_name_what_the_category_could_become() -> None:
    staged = stage(KB, nest({"case.site": "oral_cavity", "tumour.size_cm": 3.0, "nodes.n_pos": 0}))
    assert (staged.t.value, staged.t.possible) == ("T2", ("T2", "T3", "T4a", "T4b"))
    assert staged.t.needs == ("doi_mm", "invaded")
    assert (staged.n.value, staged.n.provisional) == ("N0", False)
    assert (staged.group, staged.provisional) == ("II", True)
    assert staged.possible_groups == ("II", "III", "IVA", "IVB")
    assert staged.t.facts == "greatest dimension 3 cm"


def test_complete_facts_leave_nothing_provisional() -> None:
    facts = {
        "case.site": "oral_cavity", "tumour.size_cm": 3.0, "tumour.doi_mm": 7, "tumour.invaded": [],
        "nodes.n_pos": 1, "nodes.max_node_cm": 2.0, "nodes.ene_clinical": False, "metastasis.distant": False,
    }  # fmt: skip
    staged = stage(KB, nest(facts))
    assert (staged.t.value, staged.n.value, staged.m.value, staged.group) == ("T2", "N1", "M0", "III")
    assert (staged.provisional, staged.needs) == (False, ())


def test_conflicting_sources_are_shown() -> None:
    staged = stage(KB, nest({"case.site": "oral_cavity", "tumour.size_cm": 1.8, "tumour.doi_mm": 12}))
    assert (staged.t.value, staged.t.ambiguous) == ("T2", True)


def test_size_alone_leaves_the_larynx_open() -> None:
    staged = stage(KB, nest({"case.site": "larynx_supraglottis", "tumour.size_cm": 3.0, "nodes.n_pos": 0}))
    assert (staged.t.value, staged.group) == (None, None)
    assert staged.t.possible == ("T1", "T2", "T3", "T4a", "T4b")
    assert staged.t.needs == ("cord_mobility", "invaded", "n_subsites")
