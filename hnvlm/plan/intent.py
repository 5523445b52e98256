"""Cure or palliation: what the form states, what else it suggests, and what only an answer can settle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnvlm.plan.case import Case
from hnvlm.plan.conditions import lookup
from hnvlm.plan.kb import APP_LOGIC, CLINICAL_FORM
from hnvlm.plan.options import POOR_ECOG
from hnvlm.plan.result import Intent
from hnvlm.plan.staging import Staging

_RECURRENT = "recurrent_metastatic"


def intent_of(case: Case, staging: Staging) -> Intent:
    """Take the stated intent; else metastasis, or poor performance with advanced disease, suggests palliation.

    The palliative schedules of the tables were studied in advanced cancer. A small tumour in a frail patient, and one
    that was resected, may be treated either way: there the intent is asked for.
    """
    stated, ecog = case.form.get("intent"), lookup(case.context, "patient.ecog")
    setting = case.form.get("setting")
    if stated:
        return Intent(stated, "as stated on the form", (CLINICAL_FORM,), provisional=False)
    if not (case.disease_seen or case.primary_site):
        return Intent(None, "no disease is known", (APP_LOGIC,))
    if staging.m.value == "M1":
        return Intent(
            "palliative",
            "distant metastasis is stated; oligometastatic disease may be an exception",
            (CLINICAL_FORM, APP_LOGIC),
        )
    frail = ecog is not None and ecog >= POOR_ECOG
    if frail and setting != "postoperative" and (setting == _RECURRENT or _advanced(case, staging)):
        return Intent(
            "palliative", f"ECOG {ecog} is stated; curative intent would need a reason", (CLINICAL_FORM, APP_LOGIC)
        )
    if setting == _RECURRENT:
        return Intent(
            None, "recurrent disease: curative salvage or palliation is for the multidisciplinary meeting", (APP_LOGIC,)
        )
    if frail:
        known = "after surgery" if setting == "postoperative" else "and the disease is not known to be advanced"
        return Intent(
            None, f"ECOG {ecog} is stated {known}: curative or palliative is to be stated", (CLINICAL_FORM, APP_LOGIC)
        )
    return Intent("curative", "no distant metastasis or poor performance is stated", (CLINICAL_FORM, APP_LOGIC))


def _advanced(case: Case, staging: Staging) -> bool:
    """Stage III or IV, as stated or else under every table and extent that is still open."""
    stated = lookup(case.context, "stated.stage_group")
    tables = [(stated,)] if stated else [
        (table.group,) if table.group else table.possible_groups for table in (staging, *staging.alternatives)
    ]  # fmt: skip
    return all(groups and all(group.startswith(("III", "IV")) for group in groups) for groups in tables)


def unsettled(context: Mapping[str, Any]) -> str:
    """Why the intent must be settled before a treatment is drafted, or "".

    Args:
        context: Nested facts of the case with its stage and intent.
    """
    intent, setting = lookup(context, "case.intent"), lookup(context, "case.setting")
    if intent == "curative" and lookup(context, "case.m") == "M1":
        return (
            "distant metastasis and curative intent are both stated: the drugs of the tables are not given for cure, "
            "and oligometastatic disease is for the multidisciplinary meeting"
        )
    if intent == "curative" and setting == _RECURRENT:
        # The drugs of recurrent disease are for what neither surgery nor radiotherapy can cure.
        courses = {True: "irradiating again", False: "a first course of radiotherapy", None: "radiotherapy"}
        radiotherapy = courses[lookup(context, "patient.prior_neck_rt")]
        return (
            f"recurrent disease is to be treated for cure: salvage surgery or {radiotherapy} is for the "
            "multidisciplinary meeting, and the tables hold no verified scheme for it"
        )
    if intent == "palliative" and setting == "postoperative":
        return (
            "palliative intent is stated after surgery: the doses after surgery are given for cure, and the palliative "
            "schedules treat gross disease"
        )
    if intent is None and setting != _RECURRENT:
        before = lookup(context, "patient.prior_neck_rt") is True
        return "whether the intent is curative or palliative is not stated" + (
            "; previous head and neck radiotherapy is, and cumulative organ doses come before any further course"
            if before
            else ""
        )
    return ""
