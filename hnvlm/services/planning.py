"""Draft, edit and sign treatment plans from findings and the clinical form."""

from __future__ import annotations

import importlib
from typing import Any

from hnvlm.errors import UsageError
from hnvlm.services.analysis import NOTICE, analyse_case, part
from hnvlm.services.context import App
from hnvlm.services.jobs import JobContext
from hnvlm.store import ResultRecord, jsonable
from hnvlm.types import Finding, Progress, no_progress


def make_plan(findings: list[Finding], form: dict[str, Any], dose: Any = None) -> dict[str, Any]:
    """Draft a plan without the store.

    Args:
        findings: Of the CT; a clinician's corrections included.
        form: Clinical form; a field that is missing or "unknown" becomes an open question.
        dose: DVH metrics of a dose on the same grid, when there is one.

    Returns:
        JSON with text, staging, prescription, constraints, checks, needs, sources.
    """
    draft_plan = importlib.import_module("hnvlm.plan.draft").draft_plan
    return jsonable(draft_plan(findings, form, dose=dose)) | {"notice": NOTICE}


def latest(app: App, case_id: str) -> ResultRecord | None:
    """Return the newest version of the plan, or None."""
    return app.store.latest_result(case_id, "plan")


def versions(app: App, case_id: str) -> list[ResultRecord]:
    """Return all versions, oldest first, with their signatures."""
    return app.store.history(case_id, "plan")


def load_form(app: App, case_id: str) -> dict[str, Any]:
    """Return the clinical form as last saved, {} when nobody filled it in."""
    result = app.store.latest_result(case_id, "form")
    return {} if result is None else result.payload


def save_form(app: App, case_id: str, form: dict[str, Any], *, who: str) -> ResultRecord | None:
    """Store the clinical form as a new version; None when nothing changed."""
    if jsonable(form) == load_form(app, case_id):
        return None
    return app.store.save_result(case_id, "form", form, who=who)


def draft_case_plan(
    app: App, case_id: str, *, form: dict[str, Any] | None = None, who: str = "", progress: Progress = no_progress
) -> ResultRecord:
    """Analyse the case where needed, draft a plan from findings and form, store it as a new version.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
    """
    if form is not None:
        save_form(app, case_id, form, who=who)
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.9))
    analysis.require_scope()
    progress(0.9, "staging and planning")
    dose = app.store.latest_result(case_id, "dose")
    plan = make_plan(analysis.findings, load_form(app, case_id), dose.payload.get("dvh_metrics") if dose else None)
    progress(1.0, "plan drafted")
    return app.store.save_result(
        case_id, "plan", plan | {"author": "rules"}, provenance=analysis.segmentation.provenance, who=who or "rules"
    )


def start_draft(app: App, case_id: str, *, form: dict[str, Any] | None = None, who: str = "") -> str:
    """Draft in the background; return the job id."""

    def work(job: JobContext) -> dict[str, Any]:
        result = draft_case_plan(app, case_id, form=form, who=who, progress=job.progress)
        return {"result_id": result.id, "version": result.version}

    return app.jobs.submit("plan", work, case_id=case_id, who=who)


def save_edit(app: App, case_id: str, text: str, *, who: str, based_on: int) -> ResultRecord:
    """Store a clinician's plan text as a new, unsigned version; staging and checks stay those of the draft.

    Raises:
        UsageError: The text is empty.
        HnvlmError: Code ``conflict``: somebody saved another version meanwhile.
    """
    if not text.strip():
        raise UsageError("The plan is empty; write at least one sentence before saving.")
    before = app.store.get_result(based_on)
    payload = before.payload | {"text": text, "author": "clinician"}
    return app.store.save_result(case_id, "plan", payload, who=who, based_on=based_on)


def sign(app: App, result_id: int, clinician: str) -> ResultRecord:
    """Sign the newest version by name."""
    return app.store.sign(result_id, clinician, statement="read and approved")
