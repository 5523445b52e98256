"""Names as Polish, German and vendors' systems write them: letters with marks, P for the right side, doses in cGy."""

from __future__ import annotations

import unicodedata

import pytest

from hnvlm.imaging.tg263 import gross_kind, is_gross_tumour, to_tg263


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Rdzeń kręgowy", "SpinalCord"), ("RDZEŃ", "SpinalCord"), ("Pień mózgu", "Brainstem"),
        ("Żuchwa", "Bone_Mandible"), ("KRTAŃ", "Larynx"), ("Przełyk", "Esophagus"), ("PRZEŁYK", "Esophagus"),
        ("Mózg", "Brain"), ("Jama ustna", "Cavity_Oral"), ("Skrzyżowanie wzrokowe", "OpticChiasm"),
        ("Rückenmark", "SpinalCord"), ("SPEISERÖHRE", "Esophagus"), ("Mundhöhle", "Cavity_Oral"),
        ("Ohrspeicheldrüse links", "Parotid_L"), ("Parotide D", None),
    ],
)  # fmt: skip
def test_letters_with_marks_are_read_as_without(name, expected):
    """Rdzen was the cord and Rdzeń nothing known, so no limit of the cord was judged; either way of storing a mark."""
    assert to_tg263(name) == expected
    assert to_tg263(unicodedata.normalize("NFD", name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ślinianka przyuszna L", "Parotid_L"), ("Ślinianka przyuszna P", "Parotid_R"), ("przyusznica_P", "Parotid_R"),
        ("PRZYUSZNICA P", "Parotid_R"), ("PRZYUSZNICAP", "Parotid_R"), ("P przyusznica", "Parotid_R"),
        ("przyusznica prawa", "Parotid_R"), ("Ślinianka podżuchwowa P", "Glnd_Submand_R"), ("Oko lewe", "Eye_L"),
        ("Oko P", "Eye_R"), ("Ślimak P", "Cochlea_R"), ("Ślimak L", "Cochlea_L"), ("Płuco P", "Lung_R"),
        ("przyusznica", None), ("przyusznica L P", None), ("PRV przyusznica P", None), ("Parotid P", None), ("P", None),
        ("Lens P", None),
    ],
)  # fmt: skip
def test_a_p_is_the_right_side_of_a_polish_name_alone(name, expected):
    """Of a pair the left gland was known and the right one was not."""
    assert to_tg263(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Wargi", "Lips"), ("Obrys", "External"), ("Ciało", "External"), ("Obrys ciała", "External"),
        ("śl. przyuszna L", "Parotid_L"), ("śl. przyuszna P", "Parotid_R"), ("śl. podżuchwowa P", "Glnd_Submand_R"),
        ("n. wzrokowy L", "OpticNrv_L"), ("n. wzrokowy P", "OpticNrv_R"), ("Skrzyżowanie", "OpticChiasm"),
        ("Ucho wewn. L", "Cochlea_L"), ("Usta", None),
    ],
)  # fmt: skip
def test_short_polish_names(name, expected):
    assert to_tg263(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Gl. parotis li", "Parotid_L"), ("Gl.parotis re", "Parotid_R"), ("Glandula parotis links", "Parotid_L"),
        ("Glandula parotidea dextra", "Parotid_R"), ("Gl. submandibularis li.", "Glnd_Submand_L"),
        ("Unterkieferspeicheldrüse re", "Glnd_Submand_R"), ("Stammhirn", "Brainstem"), ("Spinalkanal", "SpinalCanal"),
        ("Wirbelkanal", "SpinalCanal"), ("Augenlinse re", "Lens_R"), ("Innenohr li", "Cochlea_L"),
        ("rdzeń kr.", "SpinalCord"), ("rdzen_kr", "SpinalCord"), ("Gl. parotis", None), ("Glandula", None),
        ("Gl. parotis li PRV", None), ("Spinalkanal li", None),
    ],
)  # fmt: skip
def test_latin_and_german_names_of_glands_and_canals(name, expected):
    """The whole left gland of a German clinic was left out of training as a structure that no model knows."""
    assert to_tg263(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Constrictor_S", "Musc_Constrict_S"), ("ConstrictorS", "Musc_Constrict_S"), ("PCM_inf", "Musc_Constrict_I"),
        ("Superior constrictor", "Musc_Constrict_S"), ("Constrictor M", "Musc_Constrict_M"),
        ("Musc_Constrict_I", "Musc_Constrict_I"), ("Constrictors", "Musc_Constrict"), ("Constrictor_L", None),
    ],
)  # fmt: skip
def test_a_part_of_the_constrictor_is_not_the_whole(name, expected):
    """Constrictor_S was read as the plural, and the limits of the whole muscle were judged on its upper part."""
    assert to_tg263(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SpinalCord_PRV5", "SpinalCord_PRV05"), ("Cord PRV 5 mm", "SpinalCord_PRV05"), ("Cord_PRV_5mm",
        "SpinalCord_PRV05"), ("rdzeń PRV05", "SpinalCord_PRV05"), ("Brainstem_PRV3", "Brainstem_PRV03"),
        ("Cord PRV", None), ("Cord PRV 1", None), ("SpinalCord_PRV0.5cm", None), ("SpinalCord_PRV50", None),
        ("Cord_opt_PRV5", None), ("Parotid_L_PRV5", None), ("PTV70 PRV5", None),
    ],
)  # fmt: skip
def test_a_margin_is_taken_only_where_it_is_stated_in_mm(name, expected):
    assert to_tg263(name) == expected


def test_the_skin_is_not_the_outline():
    """Skin came first among the names and took the place of BODY: the outline of the patient was its shell."""
    assert (to_tg263("Skin"), to_tg263("skóra"), to_tg263("BODY")) == (None, None, "External")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PTV 5940.0 cGy", "PTV_5940"), ("PTV_7000.00", "PTV_7000"), ("PTV 6996 cGy", "PTV_6996"),
        ("PTV 59,4 Gy", "PTV_5940"), ("PTV_69.96", "PTV_6996"), ("PTV 5940.5", None), ("PTV 66.5 cGy", None),
        ("PTV 700.5", None), ("CTV 54.12", "CTV_5412"),
    ],
)  # fmt: skip
def test_a_dose_in_cgy_stays_one_with_decimals(name, expected):
    """59.4 Gy as 5940.0 cGy became a target of 5940 Gy."""
    assert to_tg263(name) == expected


@pytest.mark.parametrize(("kind", "names"), [
    ("mass", ["GTVp", "GTV-T", "GTV_P", "GTVp1", "GTVp_7000", "gtv t", "GTV Primary", "iGTVp", "GTV tumor", "GTV guz"]),
    ("node", ["GTVn", "GTV-N1", "GTV_N_L", "GTVnd", "GTV LN re", "GTV_nodes", "GTV węzeł", "GTV węzły", "igtvn"]),
    (None, ["GTV", "GTV_7000", "GTV-1", "iGTV", "GTVpet", "GTVnp", "GTV_pre", "GTV boost"]),
])  # fmt: skip
def test_a_gross_tumour_volume_is_the_primarys_or_of_nodes_where_its_name_says_so(kind, names):
    assert {name: gross_kind(name) for name in names} == dict.fromkeys(names, kind)
    assert all(is_gross_tumour(name) for name in names)


@pytest.mark.parametrize(
    "name", ["GTVp+5mm", "GTV 5mm", "GTV_ring", "GTV_opt", "GTV_old", "CTV_7000", "PTV-GTV", "Brainstem", "notGTV", ""]
)
def test_what_was_made_from_a_gross_tumour_volume_is_none(name):
    assert not is_gross_tumour(name)
