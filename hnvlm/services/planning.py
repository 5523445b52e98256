"""Draft, edit and sign treatment plans from findings and the clinical form."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hnvlm.errors import InputRefusedError, ModelPackError, UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.plan import (
    FORM_FIELDS,
    FormField,
    Plan,
    build_constraints,
    check_plan_text,
    draft_plan,
    questions_asked,
    structure_choices,
    validate_form,
)
from hnvlm.plan.constraints import Constraint, for_treatment
from hnvlm.plan.dose_basis import DoseBasis, off_prescription
from hnvlm.plan.kb import load_kb
from hnvlm.plan.options import drugs_with_radiotherapy
from hnvlm.plan.words import sentence
from hnvlm.services import constraint_templates, dose, histograms, outside_targets
from hnvlm.services.analysis import NOTICE, Analysis, analyse_case, is_complete, load_findings, part
from hnvlm.services.clinic_contours import drawn_id, is_planned
from hnvlm.services.conflicts import again_on_conflict
from hnvlm.services.context import App
from hnvlm.services.dose_told import told
from hnvlm.services.jobs import JobContext
from hnvlm.services.judged_dose import basis_of, basis_without_structures, told_apart
from hnvlm.services.plan_findings import check_findings
from hnvlm.services.report_says import told_otherwise
from hnvlm.store import FIRST, ResultRecord, jsonable
from hnvlm.types import CheckResult, Finding, Progress, no_progress

SYNTHETIC_CASE = "SYNTHETIC case, not a patient."
FIGURES_OF_DRAFT = (
    "The edited text differs from the structured plan: staging, prescription and limits beside it are those of the AI "
    "draft, NOT of the text."
)
# What ``outdated`` says of it: a plan tells what a report corrects, and does not take it over.
REPORT_CHANGED = "the clinician's report"


def form_fields() -> list[FormField]:
    """Return the questions of the clinical form, in order: id, label, type, choices, unit, help, group."""
    return list(FORM_FIELDS)


def form_questions(form: Mapping[str, Any]) -> list[FormField]:
    """Return the questions that a case with these answers is asked: those of other sites are left out."""
    return list(questions_asked(form))


def structures_to_tick(form: Mapping[str, Any]) -> dict[str, str]:
    """Return what a tumour may invade, token to words; what decides T at the form's site comes first."""
    return structure_choices(form)


def clean_form(form: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check a filled-in form; return the answered fields in one shape.

    Raises:
        UsageError: An unknown field or an answer outside its choices or bounds; the message names it.
    """
    return validate_form(form)


def make_plan(
    findings: Sequence[Finding],
    form: Mapping[str, Any] | None,
    *,
    structures: Collection[str] | None = None,
    dose_metrics: Mapping[str, Mapping[str, float]] | None = None,
    template: str = "default",
    own_rows: Sequence[Mapping[str, Any]] | None = None,
    dose_used: str = "",
    dose_basis: DoseBasis | None = None,
    dose_fraction_gy: float | None = None,
    report_says: Sequence[str] = (),
) -> dict[str, Any]:
    """Draft a plan without the store.

    Args:
        findings: Of the CT; a clinician's corrections included.
        form: Clinical form; a field that is missing or "unknown" becomes an open question.
        structures: Names that are contoured.
        dose_metrics: Structure -> metric -> value of a dose on this CT, when there is one.
        template: Constraint template; ``own_rows`` are used instead where there are any.
        dose_used: Which dose the figures are of, or why there is none; kept under ``dose_used``.
        dose_basis: That dose, as the plan must know it.
        dose_fraction_gy: Dose of one of its fractions to its highest level, where it is stated in how many it is given.
        report_says: What a clinician's report of this CT tells otherwise than the findings.

    Returns:
        JSON with text, staging, prescription, constraints, checks, needs, sources, and under ``made_from``
        what it was made from, so that an edited text can be checked against the same plan.
    """
    answers = clean_form(form)
    made_from = {
        "findings": [f.to_json() for f in findings], "form": answers,
        "structures": sorted(structures) if structures is not None else None, "dose_metrics": dose_metrics,
        "template": template, "own_rows": own_rows, "dose_basis": dose_basis.to_json() if dose_basis else None,
        "report_says": list(report_says), "dose_fraction_gy": dose_fraction_gy,
    }  # fmt: skip
    plan = _draft(findings, made_from)
    return jsonable(plan.to_json() | {"notice": NOTICE, "dose_used": dose_used, "made_from": made_from})


def _draft(findings: Sequence[Finding], made_from: Mapping[str, Any]) -> Plan:
    named = made_from["structures"]
    return draft_plan(
        findings, made_from["form"], structures=None if named is None else dict.fromkeys(named),
        dose_metrics=made_from["dose_metrics"], template=made_from.get("template", "default"),
        own_rows=made_from.get("own_rows"), dose_basis=DoseBasis.from_json(made_from.get("dose_basis")),
        report_says=made_from.get("report_says", ()), dose_fraction_gy=made_from.get("dose_fraction_gy"),
    )  # fmt: skip


def check_text(text: str, plan: Mapping[str, Any]) -> list[CheckResult]:
    """Compare the figures (dose, fractions, stage) and the findings of an edited plan text with the drafted plan.

    Args:
        plan: Payload of the version that was edited.
    """
    made = plan["made_from"]
    findings = [Finding.from_json(f) for f in made["findings"]]
    drafted = _draft(findings, made)
    return [*check_plan_text(text, drafted), *check_findings(text, drafted.text, findings, made["form"])]


def outdated(app: App, plan: ResultRecord) -> list[str]:
    """Return what changed since a version was made, in words: neither its figures nor a signature speak of that."""
    made, now = plan.payload["made_from"], _sources(app, plan.case_id)
    names = {
        "form": "the form", "findings": "the findings", "structures_version": "the structures",
        "dose_id": "the dose", "dose_told": "what was stated of the dose", "limits": "the constraint template",
        "report_says": REPORT_CHANGED,
    }  # fmt: skip
    changed = {key: words for key, words in names.items() if key in made and _unlike(made[key], now[key])}
    if "dose_id" in changed:
        other = _another_dose(app, made["dose_id"], now["dose_id"])
        if other:
            changed["dose_id"] += other
        else:  # the very same dose, taken again
            del changed["dose_id"]
    return list(changed.values())


def _unlike(made: Any, now: Any) -> bool:
    """Whether a source changed; what was stated of a dose is stated anew where that is taken again."""
    made, now = ({k: v for k, v in of.items() if k != "dose_id"} if isinstance(of, dict) else of for of in (made, now))
    return made != now


def _another_dose(app: App, made: int | None, now: int | None) -> str:
    """Return on which dose a plan was judged and which one it would be judged on now; "" where it is the same."""
    before, after = (None if n is None else app.store.get_result(n) for n in (made, now))
    if (before and drawn_id(before)) == (after and drawn_id(after)):
        return ""
    again = " again" if after is not None and "same_as" in after.payload else ""
    judged, used = ("none" if item is None else told_apart(app, item) for item in (before, after))
    return f" (judged on: {judged}; now{again}: {used})"


def _sources(app: App, case_id: str) -> dict[str, Any]:
    """What a plan of this case would be made from now, as far as a change of it is to be told."""
    findings = load_findings(app, case_id) or []
    found, form = _usable_doses(app, case_id), load_form(app, case_id)
    return jsonable({
        "form": form, "findings": [f.to_json() for f in findings],
        "structures_version": dose.structures_version(app, case_id), "dose_id": found[0].id if found else None,
        "dose_told": told(app, found[0]) if found else {},
        "limits": constraint_templates.fingerprint(app, case_id),
        "report_says": told_otherwise(app, case_id, form),
    })  # fmt: skip


def notes(app: App, plan: ResultRecord, item: ResultRecord | None = None) -> list[str]:
    """Return what must be known before a plan is read outside the program.

    Args:
        item: The dose printed beside it.
    """
    out = []
    if app.store.get_case(plan.case_id).synthetic:
        out.append(SYNTHETIC_CASE)
    changed = outdated(app, plan)
    if changed:
        signed = " and signed" if plan.signed else ""
        out.append(f"Changed after this version was written{signed}: {', '.join(changed)}. Its text is that of before.")
    judged_on = plan.payload["made_from"].get("dose_id")
    if item is not None and judged_on is not None and _another_dose(app, judged_on, item.id):
        out.append(f"The dose shown beside it ({dose.label(item)}) is not the one that the text was judged on.")
    if text_disagrees(plan.payload):
        out.append(FIGURES_OF_DRAFT)
    return out


def stage_words(staging: Mapping[str, Any]) -> tuple[str, str]:
    """Return site and stage of a plan's payload as a clinician writes them: ``Hypopharynx``, ``cT2 cN0 cM0, ...``."""
    site = sentence(staging.get("site_name") or staging["site"] or "primary site not stated or without a table")
    prefix = "p" if staging["kind"] == "pathological" else "c"
    t, n, m = (staging[k] or f"{k.upper()}?" for k in "tnm")
    group = staging["group"] or " or ".join(staging["possible_groups"]) or "open"
    return site, f"{prefix}{t} {prefix}{n} c{m}, stage {group}, {staging['edition']}"


def all_stages(staging: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return ``stage_words`` of every table that a missing marker (p16, EBV) leaves open, the drafted one first."""
    return [stage_words(one) for one in (staging, *staging["alternatives"])]


def intent_words(intent: Mapping[str, Any]) -> str:
    """Return the intent of a plan's payload: ``curative``, ``palliative (to be confirmed)`` or ``not decided``."""
    return (
        f"{intent['value']}{' (to be confirmed)' if intent['provisional'] else ''}"
        if intent["value"]
        else "not decided"
    )


def text_disagrees(plan: Mapping[str, Any]) -> bool:
    """Whether a clinician's text holds figures or findings that are not those of the structured plan."""
    return any(c["status"] == "fail" for c in plan.get("text_checks", ()))


def latest(app: App, case_id: str) -> ResultRecord | None:
    """Return the newest version of the plan, or None."""
    return app.store.latest_result(case_id, "plan")


def versions(app: App, case_id: str) -> list[ResultRecord]:
    """Return all versions, oldest first, with their signatures."""
    return app.store.history(case_id, "plan", "")


def load_form(app: App, case_id: str) -> dict[str, Any]:
    """Return the clinical form as last saved, {} when nobody filled it in."""
    result = app.store.latest_result(case_id, "form")
    return {} if result is None else result.payload


def answer(app: App, case_id: str, field: str, value: Any, *, who: str) -> None:
    """Store the answer to one question; answers that others give to other questions at the same moment stay.

    Raises:
        UsageError: The answer is not valid; the message names the field.
    """

    def add() -> None:
        before = app.store.latest_result(case_id, "form")
        form = {k: v for k, v in (before.payload if before else {}).items() if k != field}
        answers = jsonable(clean_form(form | {field: value}))
        if before is None or answers != before.payload:
            app.store.save_result(case_id, "form", answers, who=who, based_on=before.id if before else FIRST)

    again_on_conflict(add)


def save_form(app: App, case_id: str, form: dict[str, Any], *, who: str) -> ResultRecord | None:
    """Store the clinical form as a new version; None when nothing changed.

    Raises:
        UsageError: An answer is not valid; the message names the field.
    """
    answers = jsonable(clean_form(form))
    if answers == load_form(app, case_id):
        return None
    return app.store.save_result(case_id, "form", answers, who=who)


def draft_case_plan(
    app: App, case_id: str, *, form: dict[str, Any] | None = None, who: str = "", progress: Progress = no_progress
) -> ResultRecord:
    """Analyse the case where needed, draft a plan from findings and form, store it as a new version.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
    """
    if form is not None:
        save_form(app, case_id, form, who=who)
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.8))
    analysis.require_scope()
    judged = judged_on(app, case_id, who=who, progress=part(progress, 0.8, 0.95))
    progress(0.95, "staging and planning")
    sources = _sources(app, case_id)
    plan = make_plan(analysis.findings, sources["form"], report_says=sources["report_says"], **judged)
    plan["made_from"] |= {key: sources[key] for key in ("structures_version", "dose_id", "dose_told", "limits")}
    progress(1.0, "plan drafted")
    return app.store.save_result(
        case_id, "plan", plan | {"author": "rules"}, provenance=analysis.segmentation.provenance, who=who or "rules"
    )


def judged_on(app: App, case_id: str, *, who: str = "", progress: Progress = no_progress) -> dict[str, Any]:
    """Return structures, template and dose figures that a draft of a case is judged on, as ``make_plan`` takes them.

    The clinic's dose comes before a predicted one. Without any, or when the structures changed since, the dose is
    predicted and stored; where that cannot be done, ``dose_used`` says why.
    """
    template = constraint_templates.chosen(app, case_id)
    own = constraint_templates.own_rows(app, template)
    found = _usable_doses(app, case_id)
    used = ""
    if not found:
        try:
            found = [dose.predict(app, case_id, who=who, progress=progress)]
        except (InputRefusedError, ModelPackError) as error:
            used = f"no dose: {error.message}"
    source = dose.structures(app, case_id).source
    judged = histograms.judge(app, found[0]) if found else None
    return {
        "structures": dose.in_order(source), "own_rows": own,
        "dose_metrics": judged.metrics if judged else None,
        "dose_fraction_gy": judged.stated_fraction_gy if judged else None,
        "dose_basis": basis_of(app, found[0], source, _by_model(source)) if found else None,
        "dose_used": dose.label(found[0]) if found else used, "template": "default" if own is not None else template,
    }  # fmt: skip


def _usable_doses(app: App, case_id: str) -> list[ResultRecord]:
    """Doses a plan may be judged on, the clinic's before a predicted one."""
    return [d for d in dose.doses(app, case_id) if d.slot != dose.WHAT_IF and not dose.is_stale(app, d)]


def _by_model(source: Mapping[str, str]) -> tuple[str, ...]:
    """Organs that a model contoured, of ``dose.drawn_by``; in one word where it contoured them all."""
    organs = [name for name in source if not dose.is_target(name)]
    own = dose.in_order(name for name in organs if source[name] == dose.AI)
    return ("all organs",) if len(own) == len(organs) > 1 else tuple(own)


def rows_on(plan: Mapping[str, Any], item: ResultRecord, judged: histograms.Judged) -> tuple[Sequence[Constraint], str]:
    """Return the limits of a chosen dose as a plan shows them, and why it judges none on it ("" where it does).

    Args:
        plan: Payload of the plan. judged: The dose's own judgement.
    """
    basis = basis_without_structures(item)
    misfit = basis.misfit(
        (scheme["levels"][0]["dose_gy"] for scheme in plan["prescription"]["schemes"]),
        irradiated=plan["made_from"]["form"].get("prior_neck_rt") is True,
    )
    strange = off_prescription(
        (row.structure for row in judged.rows), (level["dose_gy"] for level in plan["prescription"]["levels"]),
        open_below=plan["prescription"].get("lower_levels_open", False),
    )  # fmt: skip
    rows = for_treatment(
        (row for row in judged.rows if row.structure not in strange),
        drugs_with_radiotherapy(load_kb(), plan["modality"].get("token")),
    )
    return (basis.judge(rows, None, misfit), misfit) if misfit else (rows, "")


def judged_without_store(
    models: Models, volume: Volume, masks: Mapping[str, np.ndarray], *, guessed: bool = True,
    drawn_by_model: tuple[str, ...] = (), progress: Progress = no_progress,
) -> dict[str, Any]:  # fmt: skip
    """Return the same for a CT that is not a stored case: its dose is predicted where that can be done.

    Args:
        guessed: The targets are the models', not the clinic's.
        drawn_by_model: Organs that are the models'.
    """
    out: dict[str, Any] = {"structures": list(masks)}
    try:
        made = dose.run(models, volume, masks, progress=progress)
    except (InputRefusedError, ModelPackError) as error:
        return out | {"dose_used": f"no dose: {error.message}"}
    rows = build_constraints(load_kb(), list(masks))
    curves = histograms.compute(made.dose_gy, masks)
    curves |= histograms.compute(made.dose_gy, outside_targets.parts(masks, rows))
    metrics = histograms.figures(curves, rows, max(made.prescriptions.values()))
    basis = DoseBasis(
        dose.PREDICTED_LABEL, made.prescriptions, predicted=True, guessed_targets=guessed,
        drawn_by_model=drawn_by_model, failed=dose.failed(made, masks),
    )  # fmt: skip
    return out | {"dose_metrics": metrics, "dose_used": basis.label, "dose_basis": basis}


def plan_without_store(
    models: Models, volume: Volume, analysis: Analysis, clinic: Mapping[str, np.ndarray],
    form: Mapping[str, Any] | None = None, *, progress: Progress = no_progress,
) -> dict[str, Any]:  # fmt: skip
    """Draft a plan for a CT that is no stored case, on the same structures as a case's: ``dose.drawn_by``.

    Args:
        clinic: The clinic's structures, name -> bool mask on the CT's grid; {} where there are none.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
    """
    analysis.require_scope()
    own = {name: clinic[name] for name in clinic if np.any(clinic[name])}
    drawn = dose.drawn_by(own, analysis.segmentation.masks)
    masks = {name: (own if who == dose.CLINIC else analysis.segmentation.masks)[name] for name, who in drawn.items()}
    judged = judged_without_store(
        models, volume, masks, guessed=not any(map(is_planned, own)), drawn_by_model=_by_model(drawn), progress=progress
    )
    return make_plan(analysis.findings, form, **judged)


def start_draft(app: App, case_id: str, *, form: dict[str, Any] | None = None, who: str = "") -> str:
    """Draft in the background; return the job id."""

    def work(job: JobContext) -> dict[str, Any]:
        if not (is_complete(app, case_id) and _usable_doses(app, case_id)):
            app.load_models(job)
        result = draft_case_plan(app, case_id, form=form, who=who, progress=job.progress)
        return {"result_id": result.id, "version": result.version}

    return app.jobs.submit("plan", work, case_id=case_id, who=who)


def save_edit(app: App, case_id: str, text: str, *, who: str, based_on: int) -> ResultRecord:
    """Store a clinician's plan text as a new, unsigned version; staging and rule checks stay those of the draft.

    ``text_checks`` of the payload says which figures and findings of the text disagree with the drafted plan.

    Raises:
        UsageError: The text is empty.
        HnvlmError: Code ``conflict``: somebody saved another version meanwhile.
    """
    if not text.strip():
        raise UsageError("The plan is empty; write at least one sentence before saving.")
    before = app.store.get_result(based_on)
    checks = [vars(c) for c in check_text(text, before.payload)]
    payload = before.payload | {"text": text, "author": "clinician", "text_checks": checks}
    return app.store.save_result(case_id, "plan", payload, who=who, based_on=based_on)
