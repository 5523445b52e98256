"""The clinical form: what it accepts, what it refuses and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from plan.plan_cases import CASES

from hnvlm.errors import UsageError
from hnvlm.plan import FORM_FIELDS, draft_plan, questions_asked, validate_form


def test_fields_are_complete_and_unique() -> None:
    ids = [f.id for f in FORM_FIELDS]
    assert len(ids) == len(set(ids)) > 60
    assert len({f.path for f in FORM_FIELDS}) == len(ids)
    for field in FORM_FIELDS:
        assert field.label and field.group and field.changes, field.id
        assert field.type in ("choice", "multi", "number", "integer", "yes_no", "text"), field.id
        if field.type in ("choice", "multi", "yes_no"):
            assert "unknown" in field.choices, field.id
        if field.type in ("number", "integer"):
            assert field.minimum < field.maximum, field.id
        assert field.to_json()["id"] == field.id


@pytest.mark.parametrize("blank", [None, "", "unknown", " Unknown ", "n/a"])
def test_every_field_may_be_unknown(blank: Any) -> None:
    assert validate_form({f.id: blank for f in FORM_FIELDS}) == {}


def test_form_may_be_flat_nested_or_by_another_name() -> None:
    expected = {"crcl_ml_min": 62.5, "ecog": 1, "p16": "positive"}
    assert validate_form({"crcl_ml_min": "62,5", "ecog": "1", "p16": "pos"}) == expected
    assert validate_form({"patient.crcl_ml_min": 62.5, "patient.ecog": 1, "case.p16": "Positive"}) == expected
    assert validate_form({"patient": {"crcl_ml_min": 62.5, "ecog": 1}, "case": {"p16": "+"}}) == expected
    assert validate_form({"creatinine_clearance": 62.5, "performance_status": 1, "hpv": "positive"}) == expected
    assert validate_form(None) == {}


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ({"distant": "no"}, {"distant": False}),
        ({"distant": True}, {"distant": True}),
        ({"invaded": ["none"]}, {"invaded": ["none"]}),
        ({"invaded": "none"}, {"invaded": ["none"]}),
        ({"invaded": []}, {}),
        ({"invaded": "larynx, medial pterygoid"}, {"invaded": ["larynx", "medial_pterygoid"]}),
        ({"invaded": ["unknown"]}, {}),
        ({"site": "Oral cavity"}, {"site": "oral_cavity"}),
        ({"stated_group": 0}, {"stated_group": "0"}),
        ({"stated_t": "t4A"}, {"stated_t": "T4a"}),
        ({"icd10": "C09.9"}, {"icd10": "C09.9"}),
        ({"ecog": 2.0}, {"ecog": 2}),
    ],
)
def test_answers_are_brought_to_one_shape(raw: dict[str, Any], clean: dict[str, Any]) -> None:
    assert validate_form(raw) == clean
    assert validate_form(clean) == clean  # a stored form is validated again with every change and every draft


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"crcl_ml_min": 0.6}, r"Creatinine clearance .* outside 1 to 250 mL/min; check the value and its unit"),
        ({"crcl_ml_min": "high"}, r"'high' is not a number in mL/min"),
        ({"crcl_ml_min": float("nan")}, r"outside 1 to 250"),
        ({"crcl_ml_min": float("inf")}, r"outside 1 to 250"),
        ({"ecog": 5}, r"outside 0 to 4"),
        ({"ecog": 1.5}, r"whole number"),
        ({"ecog": True}, r"not yes or no"),
        ({"p16": "perhaps"}, r"Choose positive, negative, unknown"),
        ({"distant": "perhaps"}, r"answer yes, no or unknown"),
        ({"invaded": ["none", "larynx"]}, r"none cannot stand beside"),
        ({"invaded": 7}, r"give a list"),
        ({"icd10": "cancer"}, r"'cancer' is not valid"),
        ({"ecgo": 1}, r"no field 'ecgo'. Did you mean ecog"),
        ({"ecog": 1, "patient.ecog": 2}, r"answered twice: 1 and 2"),
        ([1], r"must be a mapping"),
    ],
)
def test_wrong_answers_are_refused_with_the_field_and_the_remedy(raw: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        validate_form(raw)
    assert refused.value.code == "usage"


def test_questions_of_other_sites_are_not_asked_but_an_answer_stays_on_the_form() -> None:
    every, nasopharynx_only = {f.id for f in FORM_FIELDS}, {"ib_omitted", "level2_ene", "anterior_nasal_cavity"}
    assert {f.id for f in questions_asked({})} == every
    tonsil = {f.id for f in questions_asked({"site": "oropharynx"})}
    assert not tonsil & (nasopharynx_only | {"doi_mm", "cord_mobility", "cords_involved"}) and "p16" in tonsil
    assert {f.id for f in questions_asked({"site": "oropharynx", "doi_mm": 4.0})} == tonsil | {"doi_mm"}
    assert nasopharynx_only < {f.id for f in questions_asked({"site": "nasopharynx"})}
    assert {"cord_mobility", "cords_involved"} <= {f.id for f in questions_asked({"site": "larynx_glottis"})}


def test_sites_of_a_question_are_choices_of_the_site_question() -> None:
    sites = next(f.choices for f in FORM_FIELDS if f.id == "site")
    assert {s for f in FORM_FIELDS for s in f.sites} <= set(sites)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("site", ["as it is", *next(f.choices for f in FORM_FIELDS if f.id == "site")])
def test_what_a_plan_asks_for_is_on_the_form(name: str, site: str) -> None:
    findings, form = CASES[name]
    form = validate_form(form if site == "as it is" else {"site": site})
    shown = {f.id for f in questions_asked(form)}
    asked = {need.id for need in draft_plan(findings, form).needs if need.id}
    assert asked <= shown
