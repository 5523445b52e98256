"""A drafted plan as a FHIR R4 CarePlan, marked as AI draft; it carries a pseudonym and no identity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from hnvlm import __version__
from hnvlm.services import documents, planning
from hnvlm.services.analysis import NOTICE
from hnvlm.store import ResultRecord

_SYSTEM = "urn:hnvlm"
_UCUM = {"Gy": "Gy", "%": "%", "cc": "cm3"}
_ACHIEVED = {"met": "achieved", "not_met": "not-achieved"}


def care_plan(
    plan: ResultRecord, constraints: list[dict[str, Any]] | None = None, *, dose: str = "", notes: Sequence[str] = (),
    with_activities: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Return the CarePlan as JSON.

    Args:
        plan: A stored version of a plan.
        constraints: Judged rows (``Constraint.to_json``) to state as goals; default those of the plan.
        dose: What the rows were judged on, in words.
        notes: What must be known before it is read (``planning.notes``).
        with_activities: False where the edited text differs from the drafted figures: they are left out then.

    Returns:
        A dict that ``fhir.resources`` (R4B) accepts: checked here, so that an invalid file is never written.

    Raises:
        ValueError: The plan cannot be put into a valid CarePlan.
    """
    payload = plan.payload
    rows = payload["constraints"] if constraints is None else constraints
    goals = [_goal(n, row, dose) for n, row in enumerate(rows, start=1)]
    text = str(payload["text"])
    resource = {
        "resourceType": "CarePlan",
        "id": f"{plan.case_id}-plan-v{plan.version}".lower(),
        "meta": {"tag": [{"system": _SYSTEM, "code": "ai-draft", "display": NOTICE}]},
        "language": "en",
        "text": {"status": "generated", "div": _narrative(text, documents.signature(plan), notes)},
        "contained": [_patient(plan.case_id), _software(), *_condition(payload), *goals],
        "identifier": [{"system": f"{_SYSTEM}:plan", "value": f"{plan.case_id}-v{plan.version}"}],
        # Whatever a clinician signed here is research: for a treatment it stays a proposal in draft.
        "status": "draft",
        "intent": "proposal",
        "category": [{"text": "Radiotherapy and systemic treatment of head and neck cancer"}],
        "title": f"{NOTICE}: draft treatment plan of case {plan.case_id}, version {plan.version}",
        "description": " ".join([f"{NOTICE}. {documents.signature(plan)}. Not medical advice.", *notes]),
        "subject": {"reference": "#patient"},
        "created": plan.created[:19] + "Z",
        "author": {"reference": "#software"},
        "activity": _activities(payload) if with_activities else [],
        "note": [{"text": f"URGENT: {line}"} for line in payload["urgent"]]
        + [{"text": f"No treatment drafted: {why}"} for why in [payload["modality"]["withheld"]] if why]
        + [{"text": f"{_severity(c)}: {c['message']}"} for c in _fired(payload, signed=plan.signed)]
        + [{"text": f"Open question: {need['question']}"} for need in payload["needs"]],
    }  # fmt: skip
    if _condition(payload):
        resource["addresses"] = [{"reference": "#condition"}]
    if goals:
        resource["goal"] = [{"reference": f"#{g['id']}"} for g in goals]
    return _checked({key: value for key, value in resource.items() if value != []})


def _checked(resource: dict[str, Any]) -> dict[str, Any]:
    from fhir.resources.R4B.careplan import CarePlan  # takes a second to import; only this export needs it

    return json.loads(CarePlan.model_validate(resource).model_dump_json())


def _narrative(text: str, signature: str, notes: Sequence[str]) -> str:
    lines = "".join(f"<p>{escape(line)}</p>" for line in map(_printable, text.splitlines()) if line.strip())
    head = "".join(f"<p><b>{escape(_printable(line))}</b></p>" for line in (f"{NOTICE}. {signature}.", *notes))
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{head}{lines}</div>'


def _printable(line: str) -> str:
    """XML knows no control characters; a text from the clipboard, or the name of a structure, may hold some."""
    return "".join(c if c.isprintable() else " " for c in line)


def _patient(case_id: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "patient", "identifier": [{"system": f"{_SYSTEM}:case", "value": case_id}]}


def _software() -> dict[str, Any]:
    return {
        "resourceType": "Device", "id": "software", "deviceName": [{"name": "hnvlm", "type": "manufacturer-name"}],
        "version": [{"value": __version__}], "note": [{"text": NOTICE}],
    }  # fmt: skip


def _condition(payload: dict[str, Any]) -> list[dict[str, Any]]:
    stage = payload["staging"]
    if stage["site"] is None:
        return []
    tables = planning.all_stages(stage)
    which = " or ".join(site for site, _ in tables)
    state = "provisional" if stage["provisional"] else "derived from what was stated"
    return [{
        "resourceType": "Condition", "id": "condition", "subject": {"reference": "#patient"},
        "verificationStatus": {"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "provisional",
        }]},
        "code": {"text": f"Head and neck cancer. {which}"},
        "stage": [
            {"summary": {"text": f"{staged} ({f'{site}, ' if len(tables) > 1 else ''}{state})"}}
            for site, staged in tables
        ],
    }]  # fmt: skip


def _goal(number: int, row: dict[str, Any], dose: str) -> dict[str, Any]:
    about = (row["endpoint"], row.get("applies"))
    goal: dict[str, Any] = {
        "resourceType": "Goal", "id": f"goal-{number}", "lifecycleStatus": "proposed",
        "subject": {"reference": "#patient"},
        "priority": {"text": f"priority {row['priority']}"},
        "description": {"text": f"{row['structure']} {row['metric']} {row['op']} {row['limit']:g} {row['unit']}"
                        + (f" ({words})" if (words := "; ".join(filter(None, about))) else "")},
        "target": [{"measure": {"text": f"{row['structure']} {row['metric']}"}, "detailQuantity": {
            "value": row["limit"], "comparator": row["op"], "unit": row["unit"], "system": "http://unitsofmeasure.org",
            "code": _UCUM[row["unit"]]}}],
        "note": [{"text": f"Source: {'; '.join(row['sources']) or row.get('edited') or 'not stated'}"}],
    }  # fmt: skip
    if row["status"] in _ACHIEVED:
        system = "http://terminology.hl7.org/CodeSystem/goal-achievement"
        goal["achievementStatus"] = {"coding": [{"system": system, "code": _ACHIEVED[row["status"]]}]}
        value = "" if row["value"] is None else f" {row['value']:.2f} {row['unit']}, margin {row['margin']:+.2f}"
        why = f"; {row['reason']}" if row.get("reason") else ""
        said = f"{row['status'].replace('_', ' ')}:{value} ({dose or 'dose of this case'}){why}"
        goal["note"].append({"text": said})
    else:
        goal["note"].append({"text": f"not evaluable: {row.get('reason') or 'no dose'}"})
    return goal


def _activities(payload: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    if payload["modality"]["drafted"]:
        words = f"{payload['modality']['drafted']}; intent {planning.intent_words(payload['intent'])}"
        found.append(("Treatment drafted", words))
    for scheme in payload["prescription"]["schemes"]:
        for level in scheme["levels"]:
            words = (
                f"{level['target']} {level['dose_gy']:g} Gy in {level['fractions']} fractions of "
                f"{level['per_fraction_gy']:g} Gy"
            )
            parts = (words, scheme["schedule"], scheme["condition"])
            found.append(("External beam radiotherapy", "; ".join(p for p in parts if p)))
    found += [
        (f"Systemic treatment: {s['agent']}", "; ".join(p for p in (s["dose"], s["status"], s["reason"]) if p))
        for s in payload["systemic"]
        if s["status"] in ("drafted", "conditional") or s.get("to_choose")
    ]
    return [
        {"detail": {"kind": "ServiceRequest", "code": {"text": what}, "status": "not-started", "doNotPerform": False,
                    "description": f"{NOTICE}: {words}"}}
        for what, words in found
    ]  # fmt: skip


def _severity(check: dict[str, Any]) -> str:
    """The word that the plan's text has for it."""
    return str(check["details"].get("severity", check["status"])).upper()


def _fired(payload: dict[str, Any], *, signed: bool) -> list[dict[str, Any]]:
    """Checks that found something; a signed plan was reviewed."""
    fired = [c for c in [*payload.get("text_checks", ()), *payload["checks"]] if c["status"] in ("fail", "warn")]
    return [c for c in fired if not (signed and c["id"] == "ov_review")]
