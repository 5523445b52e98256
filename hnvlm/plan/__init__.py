"""Staging, options, prescription, constraints and safety rules from cited tables; runs without torch."""

from hnvlm.plan.constraints import Constraint, build_constraints, canonical_metric, evaluate, templates
from hnvlm.plan.draft import draft_plan
from hnvlm.plan.form import FORM_FIELDS, FormField, validate_form
from hnvlm.plan.prescription import bed_gy, eqd2_gy
from hnvlm.plan.result import Need, Plan
from hnvlm.plan.safety import run_rules
from hnvlm.plan.textcheck import check_plan_text, figures

__all__ = [
    "FORM_FIELDS", "Constraint", "FormField", "Need", "Plan", "bed_gy", "build_constraints", "canonical_metric",
    "check_plan_text", "draft_plan", "eqd2_gy", "evaluate", "figures", "run_rules", "templates", "validate_form",
]  # fmt: skip
