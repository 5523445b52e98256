"""What the clinic has decided already, as the form states it: in the words of the rules and of the plan text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnvlm.plan.case import Line
from hnvlm.plan.conditions import lookup
from hnvlm.plan.kb import CLINICAL_FORM
from hnvlm.plan.prescription import Prescription, Scheme

_NECK = {"unilateral": "one side only", "bilateral": "both sides", "none": "not irradiated"}


def decided(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``plan.*`` as the form states it; ``rt`` holds what belongs to radiotherapy."""
    plan = dict(lookup(context, "plan") or {})
    return {k: v for k, v in plan.items() if k != "concurrent_systemic"}


def scheme_decided(context: Mapping[str, Any], prescription: Prescription) -> Scheme:
    """The scheme that the rules judge: the first one drafted, or QUAD shot where the form counts its courses."""
    quad = [s for s in prescription.schemes if s.id.startswith("pall_quadshot")]
    counted = any(lookup(context, f"plan.rt.{key}") is not None for key in ("courses", "weeks_between_courses"))
    return quad[0] if quad and counted else prescription.schemes[0]


def target_lines(context: Mapping[str, Any]) -> list[Line]:
    """What the form states of the neck that is irradiated."""
    neck, ib = (lookup(context, f"plan.rt.{key}") for key in ("neck_side", "ib_omitted"))
    lines = [f"Neck, as stated on the form: {_NECK[neck]}"] if neck else []
    if ib is not None:
        lines.append(f"Level Ib, as stated on the form: {'left out' if ib else 'treated'}")
    return [Line(text, (CLINICAL_FORM,)) for text in lines]


def follow_up_lines(context: Mapping[str, Any]) -> list[Line]:
    """What the form states of the response and of what is planned after radiotherapy."""
    weeks, response = lookup(context, "plan.pet_weeks_after_rt"), lookup(context, "case.pet_response")
    dissection = lookup(context, "plan.neck_dissection_planned_after_crt")
    lines = [f"Response PET-CT planned {weeks} weeks after radiotherapy, as stated on the form"] if weeks else []
    lines += [f"Response PET-CT, as stated on the form: {response}"] if response else []
    if dissection is not None:
        state = "planned" if dissection else "not planned"
        lines.append(f"Neck dissection after chemoradiotherapy, as stated on the form: {state}")
    return [Line(text, (CLINICAL_FORM,)) for text in lines]
