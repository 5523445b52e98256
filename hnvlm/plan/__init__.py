"""Staging, options, prescription, constraints and safety rules from cited tables; runs without torch."""

from hnvlm.plan.constraints import (
    Constraint,
    build_constraints,
    canonical_metric,
    evaluate,
    needed_metrics,
    templates,
)
from hnvlm.plan.draft import draft_plan
from hnvlm.plan.form import FORM_FIELDS, FormField, questions_asked, validate_form
from hnvlm.plan.own_templates import check_name, check_rows, template_rows
from hnvlm.plan.prescription import bed_gy, eqd2_gy
from hnvlm.plan.radiobiology import alpha_beta, eqd2_of_total
from hnvlm.plan.result import Plan
from hnvlm.plan.structures import structure_choices
from hnvlm.plan.textcheck import check_plan_text, figures

__all__ = [
    "FORM_FIELDS", "Constraint", "FormField", "Plan", "alpha_beta", "bed_gy", "build_constraints", "canonical_metric",
    "check_name", "check_plan_text", "check_rows", "draft_plan", "eqd2_gy", "eqd2_of_total", "evaluate", "figures",
    "needed_metrics", "questions_asked", "structure_choices", "template_rows", "templates", "validate_form",
]  # fmt: skip
