"""Draft, check, edit, compare and sign reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hnvlm.errors import UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.report.parse import parse_report
from hnvlm.report.render import render
from hnvlm.services import attention, clinic_contours
from hnvlm.services.agreement import check_agreement, check_treated
from hnvlm.services.analysis import NOTICE, Analysis, analyse_case, load_findings, part
from hnvlm.services.context import App
from hnvlm.services.jobs import JobContext
from hnvlm.store import ResultRecord
from hnvlm.types import CheckResult, Finding, Progress, ReportDraft, Source, no_progress

LANGUAGES = ("en", "pl")


@dataclass(frozen=True)
class CheckedReport:
    """A report text with everything that can be said about it without reading it.

    Attributes:
        sections: ``examination``, ``technique``, ``findings``, ``impression`` -> text.
        findings: What the text says, parsed.
        checks: Text against what was measured on the CT.
    """

    text: str
    language: str
    sections: dict[str, str]
    findings: list[Finding]
    checks: list[CheckResult]

    def payload(self) -> dict[str, Any]:
        """Return the JSON form that is stored."""
        return {
            "text": self.text,
            "language": self.language,
            "sections": self.sections,
            "findings": [f.to_json() for f in self.findings],
            "checks": [vars(c) for c in self.checks],
            "notice": NOTICE,
        }


def require_language(language: str) -> str:
    """Return the language; UsageError when reports are not written in it."""
    if language not in LANGUAGES:
        raise UsageError(f"Reports are written in {' or '.join(LANGUAGES)}, not in '{language}'.")
    return language


def check(
    text: str, language: str, measured: list[Finding], *, source: Source = "clinician", treated: str = ""
) -> CheckedReport:
    """Parse a report text and hold it against the measured findings.

    A disagreement (side, level, size, presence) is a check result for the clinician; the text is
    never changed silently.

    Args:
        source: Who wrote the text; goes into every parsed finding.
        treated: The clinic's target of the highest level, in words, where it contoured one.
    """
    parsed = parse_report(text, require_language(language), source=source)
    checks = check_treated(parsed.findings, treated) + check_agreement(parsed.findings, measured)
    checks += [CheckResult("report.contradiction", "fail", c) for c in parsed.contradictions]
    checks += [
        CheckResult("report.unread", "warn", f"This sentence could not be checked: {s}")
        for s in parsed.unparsed_sentences
    ]
    sections = {name: body for name, body in parsed.sections.items() if name or body.strip()}
    return CheckedReport(text, language, sections, parsed.findings, checks)


def draft(
    models: Models,
    volume: Volume,
    analysis: Analysis,
    *,
    language: str = "en",
    seed: int = 0,
    decided: Sequence[attention.Suspicion] = (),
    on_text: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> tuple[ReportDraft, CheckedReport]:
    """Let the report model write, then check what it wrote.

    Args:
        decided: Suspicions; the text says of them what clinicians decided.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
    """
    require_language(language)
    analysis.require_scope()
    written = models.draft_report(
        volume, segmentation=analysis.segmentation, language=language, seed=seed, on_text=on_text, progress=progress
    )
    text = as_decided(written.text, language, decided)
    return written, check(text, language, analysis.findings, source="vlm", treated=analysis.treated)


def as_decided(text: str, language: str, suspicions: Sequence[attention.Suspicion]) -> str:
    """Return a draft in which a confirmed suspicion is told as certain, and a rejected one is not told.

    The model names each suspicion as indeterminate, whatever was decided on it. A text that is more than its findings
    in the grammar's words stays as it is; the checks then say what it tells otherwise.
    """
    read = parse_report(text, language, source="vlm").findings
    told = list(read)
    for suspicion in (s for s in suspicions if s.verdict is not None):
        claim = next((f for f in told if f.presence == "indeterminate" and f.where == suspicion.finding.where), None)
        if claim is not None:
            at = told.index(claim)
            told[at : at + 1] = [attention.confirmed(claim)] if suspicion.verdict == "confirmed" else []
    try:
        return render(told, language=language) if told != read and render(read, language=language) == text else text
    except UsageError:  # contradictions
        return text


# ---- the same for a stored case ---------------------------------------------------------------


def latest(app: App, case_id: str, language: str = "en") -> ResultRecord | None:
    """Return the newest version of the report, or None. ``payload['text']`` is the text."""
    return app.store.latest_result(case_id, "report", language)


def names_lesion(report: ResultRecord | None) -> bool:
    """Whether the text of a version tells of a mass or a node, certain or not."""
    told = () if report is None else report.payload.get("findings", ())
    return any(f["kind"] in ("mass", "node") and f["presence"] != "absent" for f in told)


def versions(app: App, case_id: str, language: str = "en") -> list[ResultRecord]:
    """Return all versions, oldest first, with their signatures."""
    return app.store.history(case_id, "report", language)


def draft_report(
    app: App,
    case_id: str,
    *,
    language: str = "en",
    seed: int = 0,
    who: str = "",
    on_text: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> ResultRecord:
    """Analyse the case where needed, draft the report and store it as a new version.

    Raises:
        ScopeError: The CT is not a head-and-neck CT.
        CancelledError: The user pressed Stop.
    """
    require_language(language)
    analysis = analyse_case(app, case_id, who=who, progress=part(progress, 0.0, 0.5))
    written, checked = draft(
        app.models, app.store.load_volume(case_id), analysis, language=language, seed=seed,
        decided=attention.suspicions(app, case_id), on_text=on_text, progress=part(progress, 0.5, 1.0),
    )  # fmt: skip
    payload = checked.payload() | {
        "author": "model",
        "model": written.provenance.model,
        "seconds": written.seconds,
        "first_token_seconds": written.first_token_seconds,
        "as_decided": checked.text != written.text,  # then not every word is the model's
    }
    return app.store.save_result(
        case_id, "report", payload, slot=language, provenance=written.provenance, who=who or "model"
    )


def start_draft(app: App, case_id: str, *, language: str = "en", seed: int = 0, who: str = "") -> str:
    """Draft in the background; return the job id. ``JobStatus.text`` grows while the model writes."""
    require_language(language)

    def work(job: JobContext) -> dict[str, Any]:
        app.load_models(job)
        result = draft_report(
            app, case_id, language=language, seed=seed, who=who, on_text=job.on_text, progress=job.progress
        )
        return {"result_id": result.id, "version": result.version}

    return app.jobs.submit("report", work, case_id=case_id, who=who)


def checks_of(app: App, report: ResultRecord) -> list[dict[str, Any]]:
    """Return the checks of a version: as stored with it, or made anew where the findings changed since."""
    found = app.store.latest_result(report.case_id, "findings")
    if found is None or found.id < report.id or "language" not in report.payload:
        return report.payload.get("checks", [])
    checked = check_text(app, report.case_id, str(report.payload["text"]), report.payload["language"])
    return [vars(c) for c in checked.checks]


def check_text(app: App, case_id: str, text: str, language: str = "en") -> CheckedReport:
    """Check a text that a clinician is typing, without storing it."""
    treated = clinic_contours.load_treated(app, case_id)
    return check(text, language, load_findings(app, case_id) or [], treated=treated)


def save_edit(
    app: App, case_id: str, text: str, *, language: str = "en", who: str, based_on: int | None = None
) -> ResultRecord:
    """Store a clinician's text as a new, unsigned version.

    Args:
        based_on: Id of the version that was edited; the save is refused (code ``conflict``) when
            somebody saved another one meanwhile.

    Raises:
        UsageError: The text is empty.
    """
    if not text.strip():
        raise UsageError("The report is empty; write at least one sentence before saving.")
    payload = check_text(app, case_id, text, language).payload() | {"author": "clinician"}
    return app.store.save_result(case_id, "report", payload, slot=language, who=who, based_on=based_on)
