"""A plan as text: headings, one statement a line, each line ending with the tags of its sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hnvlm.errors import KnowledgeBaseError
from hnvlm.plan.case import NOT_P16, Line
from hnvlm.plan.constraints import NO_DOSE, Constraint
from hnvlm.plan.decimals import margin_text, value_text
from hnvlm.plan.fraction_size import too_large
from hnvlm.plan.kb import APP_LOGIC, CLINICAL_FORM, CT_FINDINGS, DOSE_METRICS, Document, documents, load_kb
from hnvlm.plan.options import Option
from hnvlm.plan.prescription import Scheme
from hnvlm.plan.result import HEADER, Plan
from hnvlm.plan.staging import Category, Staging
from hnvlm.plan.systemic import SystemicOption
from hnvlm.plan.words import STATUS_MEANING, STRENGTH_MEANING, label, sentence, words
from hnvlm.types import CheckResult

NOT_VERIFIED_HEADING = "NOT VERIFIED: CHECK BEFORE USE"
SOURCES_HEADING = "SOURCES"
# Of this version nobody can tell before it is signed, and its text is then the same: HEADER says what a reader does.
_NOT_IN_TEXT = ("ov_review",)
_STATUS_WORDS = {"met": "met", "not_met": "NOT MET", "not_evaluable": "not evaluable"}


class SourceBook:
    """Numbers documents in the order of their first use."""

    def __init__(self) -> None:
        self.documents: list[Document] = []

    def tags(self, sources: Iterable[Document]) -> str:
        """Return ``[S1][S4]`` for the documents, one per title; without any, the program itself is the source."""
        found = []
        for document in dict.fromkeys(sources or (APP_LOGIC,)):
            if document not in self.documents:
                self.documents.append(document)
            found.append(f"[S{self.documents.index(document) + 1}]")
        return "".join(found)


def render(plan: Plan) -> tuple[str, tuple[Document, ...]]:
    """Return the text of a plan and its documents in the order of their tags."""
    book = SourceBook()
    out = [HEADER]
    for heading, lines in _sections(plan):
        rendered = [f"- {_ended(sentence(line.text))} {book.tags(line.sources)}" for line in lines]
        if rendered:
            out += ["", heading, *rendered]
    out += ["", SOURCES_HEADING]
    out += [f"[S{i}] {reference(d)}" for i, d in enumerate(book.documents, start=1)]
    return "\n".join(out) + "\n", tuple(book.documents)


def uncited(plan: Plan) -> int:
    """Return how many statements of a plan name no source; in the text the program itself stands in for one."""
    return sum(not line.sources for _, lines in _sections(plan) for line in lines)


def _ended(text: str) -> str:
    return text if text.endswith("?") else f"{text.rstrip('.')}."


def reference(document: Document) -> str:
    """Return a document as a list of sources names it: title, year, DOI or address, grade."""
    parts = [document.title]
    if document.year and str(document.year) not in document.title:
        parts.append(str(document.year))
    if document.doi:
        parts.append(f"doi {document.doi}")
    elif document.url:
        parts.append(document.url)
    grade = f" (grade {document.grade})" if document.grade else ""
    return ", ".join(parts) + grade


def _sections(plan: Plan) -> Iterator[tuple[str, list[Line]]]:
    yield "URGENT", list(plan.urgent)
    yield "FINDINGS ON CT", list(plan.facts) or [Line("No finding was drafted from this CT", (CT_FINDINGS,))]
    yield "STAGING", list(_staging_lines(plan))
    yield "INTENT AND TREATMENT", list(_treatment_lines(plan))
    yield "RADIOTHERAPY PRESCRIPTION", list(_prescription_lines(plan))
    yield "TARGET VOLUMES", list(plan.targets)
    judged = [plan.dose_line] if plan.dose_line else []
    told = plan.dose_line.text if plan.dose_line else ""
    if plan.staging.site == "nasopharynx" and plan.constraints:
        guide = load_kb().entry("npc_order")
        judged.append(Line(guide["applies"], documents(guide)))
    judged += _fraction_size(plan) if plan.constraints else []
    judged += [_constraint_line(row, told) for row in plan.constraints]
    yield "DOSE LIMITS: ORGANS AT RISK AND TARGETS", judged
    yield "SYSTEMIC TREATMENT", list(_systemic_lines(plan))
    yield "SUPPORTIVE CARE", list(plan.supportive)
    yield "FOLLOW-UP", list(plan.follow_up)
    yield "OPEN QUESTIONS (NOT DETERMINABLE FROM CT UNLESS SAID)", [_need_line(plan, i) for i in range(len(plan.needs))]
    yield "CONTRADICTIONS AND CHECKS", list(_check_lines(plan))
    yield NOT_VERIFIED_HEADING, [Line(text, (APP_LOGIC,)) for text in plan.not_verified]


# ---------------------------------------------------------------- staging
def _staging_lines(plan: Plan) -> Iterator[Line]:
    if plan.staging.site is None:
        text = "No disease was found on this CT and no primary site is stated: nothing to stage"
        if plan.disease_seen:
            stated = all(need.id != "site" for need in plan.needs)
            why = "No table for this primary site" if stated else "Primary site not stated"
            text = f"{why}: stage cannot be derived"
        yield Line(text, (APP_LOGIC,))
        return
    yield from _one_stage(plan.staging)
    for other in plan.staging.alternatives:
        yield from _one_stage(other)
    yield from _staging_caveats(plan)


def _staging_caveats(plan: Plan) -> Iterator[Line]:
    """What a reader of the stage must know beside it."""
    if plan.staging.site is None:
        return
    if plan.staging.alternatives and plan.modality.drafted:
        table = words(plan.staging.site or "")
        yield Line(f"Tables stay open until the missing marker is known; below is drafted for {table}", (APP_LOGIC,))
    if plan.nodes_from_ct:
        yield Line(
            "Nodes drafted from CT are counted as involved; none is proven by cytology here", (CT_FINDINGS, APP_LOGIC)
        )
    if any(need.id == "histology" for need in plan.needs):
        yield Line("The stage holds only if biopsy shows carcinoma: histology is not stated", (APP_LOGIC,))
    if plan.recurrent:
        yield Line(
            "Recurrent disease: these categories describe what is there now, not the first disease", (APP_LOGIC,)
        )
    if plan.histology == "other":
        text = (
            "The stage holds for carcinoma only: lymphoma, melanoma, sarcoma and thyroid cancer have their own tables"
        )
        yield Line(text, (APP_LOGIC,))
    if plan.histology in NOT_P16 and plan.staging.site == "oropharynx_p16_neg":
        yield Line(
            "p16 is read in squamous cell carcinoma only: the table for p16-negative disease is used", (APP_LOGIC,)
        )


def _one_stage(staging: Staging) -> Iterator[Line]:
    t, n, m = (c.value or f"{name}?" for c, name in ((staging.t, "T"), (staging.n, "N"), (staging.m, "M")))
    prefix = "p" if staging.kind == "pathological" else "c"
    state = " (provisional)" if staging.provisional else ""
    sources = staging.sources or staging.t.sources or (APP_LOGIC,)
    yield Line(
        f"{sentence(words(staging.site or ''))}: {prefix}{t} {prefix}{n} c{m}, {_group(staging)}, "
        f"{staging.edition}{state}",
        sources,
    )
    for name, category in (("T", staging.t), ("N", staging.n), ("M", staging.m)):
        yield _category_line(name, category)


def _possible(staging: Staging) -> str:
    return f" (possible: {', '.join(staging.possible_groups)})" if staging.possible_groups else ""


def _group(staging: Staging) -> str:
    if staging.stated_group:
        return f"stage {staging.group or 'not determinable'}, stated is {staging.stated_group}, which options follow"
    if staging.group:
        return f"stage {staging.group}"
    if len(staging.possible_groups) == 1:
        return f"stage {staging.possible_groups[0]} (the only one possible)"
    return f"stage not determinable{_possible(staging)}"


def _category_line(name: str, category: Category) -> Line:
    needs = ", ".join(label(fact) for fact in category.needs)
    if category.value is None:
        possible = f"; possible {', '.join(category.possible)}" if category.possible else ""
        return Line(f"{name} cannot be derived: {needs or 'nothing is known of it'}{possible}", (APP_LOGIC,))
    text = f"{category.value}: {category.basis}" if category.basis else category.value
    if category.facts:
        text += f" (here {category.facts})"
    if category.ambiguous:
        text += "; sources disagree on this combination, a person decides"
    others = [c for c in category.possible if c != category.value]
    if category.provisional and others:
        text += f"; could become {', '.join(others)} (not stated: {needs})"
    return Line(text, category.sources)


# ---------------------------------------------------------------- treatment
def _treatment_lines(plan: Plan) -> Iterator[Line]:
    intent, modality = plan.intent, plan.modality
    state = " (to be confirmed)" if intent.provisional and intent.value else ""
    yield Line(f"Intent: {intent.value or 'not decided'}{state}: {intent.reason}", intent.sources)
    yield from _treatment_caveats(plan)
    if modality.withheld:
        yield Line(f"No treatment drafted: {modality.withheld}", (APP_LOGIC,))
    if modality.lead is not None:
        # Around what the form rules out the tables know other ways, which the entry itself does not name.
        instead = modality.drafted not in modality.lead.actions
        yield Line(
            f"Drafted below: {modality.label}", _stand_in(modality.drafted) if instead else modality.lead.sources
        )
        yield _option_line(
            modality.lead, "Named for this stage, what is drafted stands in for it" if instead else "Basis"
        )
    for option in modality.options.applies:
        if option is not modality.lead and not option.id.startswith("fu_"):
            fits = "Also fits" if modality.lead is not None else "Named for this stage"
            yield _option_line(option, "Named here, ruled out by the form" if option.ruled_out else fits)
    yield from modality.branches
    for option in modality.options.depends:
        facts = [f for f in option.depends_on if not f.startswith("case.t") and f not in ("case.n", "case.stage_group")]
        if facts:
            asked = ", ".join(_option_fact(f) for f in facts)
            yield _option_line(option, f"Depends on {asked}")
    for option in modality.options.avoid:
        yield _option_line(option, "Advised against")
    strengths = {o.strength for o in (*modality.options.applies, *modality.options.depends)}
    meanings = [f"{name}: {text}" for name, text in STRENGTH_MEANING.items() if name in strengths]
    if meanings:
        yield Line(f"Words in brackets: {'; '.join(meanings)}", (APP_LOGIC,))


def _treatment_caveats(plan: Plan) -> Iterator[Line]:
    """What a reader of the drafted treatment must know beside it."""
    if plan.modality.options.without_surgery:
        yield Line("Judged not resectable: options with an operation are left out", (CLINICAL_FORM,))
    if plan.histology in (None, "none_yet") and (plan.modality.drafted or plan.prescription.schemes):
        yield Line("No histology is stated: all below holds only if biopsy shows carcinoma", (APP_LOGIC,))


def caveats(plan: Plan) -> dict[str, tuple[str, ...]]:
    """What stands beside stage, treatment and limits in the text, for a page that shows those as tables."""
    parts = {
        "staging": _staging_caveats(plan), "treatment": _treatment_caveats(plan),
        "limits": _fraction_size(plan) if plan.constraints else (),
    }  # fmt: skip
    return {name: tuple(sentence(line.text) for line in lines) for name, lines in parts.items()}


def _stand_in(token: str | None) -> tuple[Document, ...]:
    """Sources of a treatment that its entry does not name: those of its drugs, or none but the form's exclusion."""
    kb = load_kb()
    agents = kb["actions"]["actions"][token].get("agents", ()) if token else ()
    return tuple(dict.fromkeys((CLINICAL_FORM, *(d for agent in agents for d in documents(kb.entry(agent))))))


def _option_fact(fact: str) -> str:
    return "whether systemic treatment is possible" if fact == "plan.concurrent_systemic" else label(fact)


def _option_line(option: Option, lead: str) -> Line:
    strength = f" ({option.strength})" if option.strength else ""
    principle = f": {option.principle}" if option.principle else ""
    return Line(f"{lead}{strength}: {option.in_words}{principle}", option.sources)


def _prescription_lines(plan: Plan) -> Iterator[Line]:
    prescription = plan.prescription
    if prescription.withheld:
        yield Line(f"No dose drafted: {prescription.withheld}", (APP_LOGIC,))
    for scheme in prescription.schemes:
        yield from _scheme_lines(scheme)
    if prescription.alternatives:
        yield Line("An alternative takes the place of the scheme drafted above; it is not added to it", (APP_LOGIC,))
    for scheme in prescription.alternatives:
        what = f" ({scheme.condition})" if scheme.condition else ""
        yield Line(f"Alternative{what}: {_doses(scheme)}, {scheme.schedule}", scheme.sources)


def _fraction_size(plan: Plan) -> list[Line]:
    """Say that the limits are not for the fractions drafted; with a dose the rule of that name says it."""
    rule = load_kb().entry("dvh_fraction_size")
    if any(check.id == rule["id"] and check.status == "warn" for check in plan.checks):
        return []
    sizes = {level.per_fraction_gy for level in plan.prescription.levels}
    large = sorted(filter(too_large, sizes))
    if not large:
        return []
    drafted = " or ".join(f"{size:g}" for size in large)
    text = (
        f"Limits are for about 2 Gy per fraction, drafted are {drafted} Gy: convert the dose to EQD2 before judging it"
    )
    return [Line(text, documents(rule))]


def _doses(scheme: Scheme) -> str:
    if len({level.fractions for level in scheme.levels}) > 1:
        return " or ".join(f"{level.dose_gy:g} Gy in {level.fractions} fractions" for level in scheme.levels)
    doses = " / ".join(f"{level.dose_gy:g}" for level in scheme.levels)
    return f"{doses} Gy in {scheme.levels[0].fractions} fractions"


def _scheme_lines(scheme: Scheme) -> Iterator[Line]:
    for level in scheme.levels:
        details = "; ".join(part for part in (level.purpose, scheme.condition) if part)
        purpose = f" ({details})" if details else ""
        schedule = f", {scheme.schedule}" if len(scheme.levels) == 1 else ""
        course = "of one course " if load_kb().entry(scheme.id).get("repeat") else ""
        text = (
            f"{level.target}{purpose}: {level.dose_gy:g} Gy in {level.fractions} fractions of "
            f"{level.per_fraction_gy:g} Gy{schedule}; computed EQD2 {course}{level.eqd2_10_gy:.1f} Gy, "
            f"BED {level.bed10_gy:.1f} Gy (alpha/beta 10 Gy assumed, no time factor)"
        )
        yield Line(text, (*level.sources, *documents(load_kb().entry("eqd2"))))
    if len(scheme.levels) > 1:
        yield Line(f"Schedule: {scheme.schedule}", scheme.sources)


def _constraint_line(row: Constraint, told: str) -> Line:
    """One limit; ``told``: what stands above all of them and need not be said of each."""
    unit = row.unit if row.unit == "%" else f" {row.unit}"
    details = [
        row.level.replace("_", " "),
        f"priority {row.priority}",
        row.endpoint,
        f"risk {row.risk}" if row.risk else "",
        row.applies,
        row.edited,
    ]
    limit = f"{row.structure} {row.metric} {row.op} {row.limit:g}{unit}"
    text = f"{limit} ({'; '.join(d for d in details if d)}): {_STATUS_WORDS[row.status]}"
    sources = row.sources
    if row.value is not None:
        text += f", {value_text(row.value, row.limit)}{unit}"
        text += f", margin {margin_text(row.margin or 0.0, row.value, row.limit)}{unit}"
    if row.reason and row.reason != NO_DOSE and row.reason not in told:
        text += f"; {row.reason}"
    if row.status != "not_evaluable":
        sources = (*sources, DOSE_METRICS)
    return Line(text, sources)


def _systemic_lines(plan: Plan) -> Iterator[Line]:
    if plan.eligibility is not None:
        yield from _eligibility_lines(plan)
    lead = {
        "drafted": "Drafted", "conditional": "Conditional", "addition": "Addition", "alternative": "Alternative",
        "not_eligible": "Not suitable", "avoid": "Advised against",
    }  # fmt: skip
    shown = {"to_choose" if row.to_choose else row.status for row in plan.systemic}
    for status in ("addition", "alternative"):
        if status in shown:
            yield Line(f"{status.capitalize()}: {STATUS_MEANING[status]}", (APP_LOGIC,))
    if plan.drug_cautions:
        text = f"Read for cisplatin alone, to be checked for every other drug here: {'; '.join(plan.drug_cautions)}"
        yield Line(text, (CLINICAL_FORM, APP_LOGIC))
    order = list(lead)
    for row in sorted(plan.systemic, key=lambda r: order.index(r.status)):
        yield _agent_line(row, "To choose from" if row.to_choose else lead[row.status])


def _agent_line(row: SystemicOption, lead: str) -> Line:
    text = f"{lead}: {row.agent}" + (f", {row.dose}" if row.dose else "")
    tail = "; ".join(part for part in (row.reason, row.evidence) if part)
    return Line(f"{text} ({tail})" if tail else text, row.sources)


def _eligibility_lines(plan: Plan) -> Iterator[Line]:
    verdict = plan.eligibility.verdict if plan.eligibility else "undetermined"
    # The consensus speaks of cisplatin with radiotherapy.
    with_rt = not plan.systemic or any(s.id == "cis_weekly40" for s in plan.systemic)
    weekly = "; weekly dosing is the usual answer" if with_rt else ""
    text = {
        "contraindicated": "Cisplatin is contraindicated on the form's facts",
        "relative": "Cisplatin: relative contraindication, weigh it" + weekly,
        "eligible": "Cisplatin: no contraindication among the facts that were stated",
        "undetermined": "Cisplatin eligibility is not determined: see the open questions",
    }[verdict]
    kb = load_kb()
    consensus = documents(kb.entry("ce_apac")) if verdict in ("contraindicated", "relative") else ()
    yield Line(text, (CLINICAL_FORM, *consensus))
    for criterion in plan.eligibility.criteria if plan.eligibility else ():
        yield Line(f"{sentence(criterion.kind)} criterion: {criterion.text}", (CLINICAL_FORM, *criterion.sources))
    if verdict in ("relative", "eligible", "undetermined") and any(s.id.startswith("cis_") for s in plan.systemic):
        entry = kb.entry("cis_min_cum")
        yield Line(f"Cisplatin: {entry['rule']}", documents(entry))


# ---------------------------------------------------------------- questions and checks
def _need_line(plan: Plan, index: int) -> Line:
    need = plan.needs[index]
    where = " (indeterminate on CT)" if need.from_ct else ""
    decides = f": {need.why}" if need.why else ""
    return Line(need.question + where + decides, need.sources or (APP_LOGIC,))


def _check_lines(plan: Plan) -> Iterator[Line]:
    for check in plan.checks:
        if check.status in ("fail", "warn") and check.id not in _NOT_IN_TEXT:
            yield Line(
                f"{check.details.get('severity', check.status).upper()}: {check.message}", check_documents(check)
            )
    passed = sum(c.status == "pass" for c in plan.checks)
    silent = [c for c in plan.checks if c.status == "not_evaluated"]
    itself = sum("reason" in c.details for c in silent)
    text = f"{passed} rules passed, {len(silent) - itself} could not be evaluated because facts are missing"
    if itself:
        text += f", {itself} are not counted because they would compare this draft with itself"
    yield Line(text, (APP_LOGIC,))


def check_documents(check: CheckResult) -> tuple[Document, ...]:
    """Return the documents of a fired rule; the program itself where the rule has none."""
    try:
        entry = load_kb().entry(check.id)
    except KnowledgeBaseError:
        return (APP_LOGIC,)
    return documents(entry) or (APP_LOGIC,)
