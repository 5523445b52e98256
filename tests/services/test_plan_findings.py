"""Findings that an edited plan text states are held against those that the plan was drafted from."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from plan.plan_cases import CASES, FIT, NO_NODES, mass, node
from test_plan_export import pdf_text

from hnvlm.plan.kb import load_kb
from hnvlm.services import case_sheet, plan_export, plan_findings, planning, reporting
from hnvlm.types import Finding

TONSIL = [mass("palatine tonsil", "left", 31), node("left", "II", 24)]
DENIED = [Finding("mass", presence="absent"), NO_NODES]
INDETERMINATE = [TONSIL[0], Finding("node", "indeterminate", side="left", level="II", size_mm=9, certainty="possible")]
POSSIBLE = [TONSIL[0], node("left", "II", 9, certainty="possible")]
EITHER_SIDE = [TONSIL[0], *(Finding("node", "absent", side=side) for side in ("right", "left"))]


def fired(findings: list[Finding], line: str, form: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """Rules that fire on a line added to the draft, each with the finding it names."""
    plan = planning.make_plan(findings, form)
    checks = planning.check_text(f"{plan['text']}\n{line}\n", plan)
    return [(c.id, c.details["finding"]) for c in checks if c.id in plan_findings.RULES and c.status != "pass"]


FIRES = [
    (TONSIL, "Enlarged right level III node, 15 mm.", "fid_unsupported", "node right III"),
    (TONSIL, "- Mass, right palatine tonsil, 31 mm, probable (slice 62). [S1]", "fid_unsupported",
     "mass right palatine tonsil"),
    (TONSIL, "Possible node in right level III.", "fid_unsupported", "node right III"),
    (TONSIL, "Contralateral level II node.", "fid_unsupported", "node right II"),
    (TONSIL, "Bilateral level II nodes.", "fid_unsupported", "node bilateral II"),
    (TONSIL, "Nasopharyngeal mass.", "fid_unsupported", "mass nasopharynx"),
    (TONSIL, "Enlarged node in the\nright level III, 15 mm.", "fid_unsupported", "node right III"),
    (TONSIL, "70 Gy in 35 fractions. There is a right level III node.", "fid_unsupported", "node right III"),
    (TONSIL, "Enlarged right level III node, 15 mm, so N2c.", "fid_unsupported", "node right III"),
    (TONSIL, "N2c: node in right level III.", "fid_unsupported", "node right III"),
    (TONSIL, "The tumour invades the right mandible.", "fid_unsupported", "mass right"),
    (DENIED, "Pathological node in left level II.", "fid_negated", "node left II"),
    (DENIED, "Pathological nodes are present.", "fid_negated", "node"),
    (DENIED, "Left tonsil cancer.", "fid_negated", "mass left palatine tonsil"),
    (EITHER_SIDE, "Pathological nodes are present.", "fid_negated", "node"),
    (INDETERMINATE, "Metastatic node in left level II.", "fid_hedged", "node left II"),
    (INDETERMINATE, "Metastatic nodes are present.", "fid_hedged", "node"),
    (POSSIBLE, "Metastatic node in left level II.", "fid_hedged", "node left II"),
]  # fmt: skip


@pytest.mark.parametrize(("findings", "line", "rule", "named"), FIRES, ids=[case[1] for case in FIRES])
def test_a_finding_that_the_case_does_not_hold_is_told(findings: list, line: str, rule: str, named: str) -> None:
    assert fired(findings, line) == [(rule, named)]


SUPPORTED = [
    (TONSIL, "Pathological node in left level II."),
    (TONSIL, "Pathological nodes are seen."),
    (TONSIL, "Left oropharyngeal tumour."),
    (TONSIL, "Ipsilateral level II node."),
    (TONSIL, "The tumour extends to the left soft palate."),
    (TONSIL, "Squamous cell carcinoma of the left tonsil, p16 positive."),
    (INDETERMINATE, "Possible metastatic node in left level II."),
    (INDETERMINATE, "Node, left level II, 9 mm, indeterminate."),
]


@pytest.mark.parametrize(("findings", "line"), SUPPORTED, ids=[case[1] for case in SUPPORTED])
def test_a_finding_of_the_case_in_less_or_other_words_is_not(findings: list, line: str) -> None:
    assert fired(findings, line) == []


def test_several_findings_of_a_line_are_told_one_by_one() -> None:
    told = fired(TONSIL, "Nodes in left levels II to IV.")
    assert told == [("fid_unsupported", "node left III"), ("fid_unsupported", "node left IV")]


def test_other_findings_that_are_denied_leave_the_reported_one() -> None:
    findings = [*TONSIL, Finding("node", "absent", attributes={"other_than_listed": True})]
    assert fired(findings, "Pathological node in left level II.") == []
    assert fired(findings, "Pathological node in right level II.") == [("fid_unsupported", "node right II")]


def test_the_primary_and_the_nodes_of_the_form_are_findings_too() -> None:
    findings, form = CASES["postoperative with ENE"]
    assert fired(findings, "Squamous cell carcinoma of the left floor of mouth.", form) == []
    assert fired(findings, "Left level II nodes, three involved.", form) == []
    assert fired(findings, "Right level II node.", form) == [("fid_unsupported", "node right II")]
    assert fired(findings, "Mass in the right oral cavity.", form) == [("fid_unsupported", "mass right oral cavity")]


def test_a_side_that_neither_ct_nor_form_states_is_open() -> None:
    """A cancer of the vocal cord that CT does not show, and the form has no side of."""
    _, form = CASES["early glottis"]
    assert fired(DENIED, "T1a cancer of the left vocal cord.", form) == []
    assert fired(DENIED, "Supraglottic mass.", form) == [("fid_negated", "mass supraglottis")]
    line = "T1a cancer of the left vocal cord."
    assert fired(DENIED, line, form | {"side": "right"}) == [("fid_negated", "mass left glottis")]
    assert fired([], "Right level II node.", {"nodes_n_pos": 1}) == []
    assert fired(TONSIL, "Right level II node.", {"nodes_n_pos": 1}) == [("fid_unsupported", "node right II")]


def test_nodes_of_the_form_lie_anywhere_only_where_it_counts_more_than_the_ct_shows() -> None:
    form = {**FIT, "p16": "negative", "side": "left", "nodes_laterality": "ipsilateral"}
    line = "Enlarged left level III node."
    assert fired(TONSIL, line, form | {"nodes_n_pos": 2}) == []
    assert fired(TONSIL, line, form | {"nodes_n_pos": 1}) == [("fid_unsupported", "node left III")]
    assert fired(TONSIL, "Enlarged right level III node.", form | {"nodes_n_pos": 2})
    assert fired(TONSIL, "Mass in the left base of tongue.", {"site": "oropharynx"})
    assert fired([], "Mass in the left base of tongue.", {"site": "oropharynx", "side": "left"}) == []


NO_FINDINGS = [
    "CTV 56 Gy: elective levels II to IV left",
    "Elective neck. Levels II to IV left.",
    "GTV-N: right level II node.",
    "Right level III node to be covered.",
    "Parotid constraint relaxed: node in right level II.",
    "Node dissection if PET incomplete",
    "Biopsy of the right level III node.",
    "If a node is found in left level II, boost.",
    "Sentinel node biopsy was offered.",
    "Is there a node in right level III?",
    "no distant metastasis",
    "No enlarged nodes.",
    "Involved nodes: none",
    "Lung nodule 8 mm.",
    "N2b by nodes on the left",
    "N2b: nodes on the left",
    "Stage IVA because of nodes on the right.",
    "Include right level Ib nodes.",
    "Nodal volumes right II-IV.",
    "Right levels II, III and IV nodes: low risk.",
    "Right neck nodes are not involved.",
    "Follow right level III node by ultrasound.",
    "Mother died of laryngeal cancer.",
    "Thyroid nodule 8 mm on the right.",
    "Presented at the tumour board.",
    "The primary is small.",
    "Mass effect on the airway.",
    "Ultrasound of the neck nodes in 3 months.",
    "[S99] Trial of right level III node, 15 mm",
    "WARN: enlarged right level III node, 15 mm.",
]


@pytest.mark.parametrize("case", CASES)
def test_neither_a_draft_nor_a_usual_edit_of_it_fires(case: str) -> None:
    """The whole draft is also read as if another had written it: it states nothing but its findings."""
    findings, form = CASES[case]
    plan = planning.make_plan(findings, form)
    text, form = plan["text"], plan["made_from"]["form"]
    lines = text.splitlines()
    dose_changed = re.sub(r"\b70 Gy", "66 Gy", text)
    edits = [f"{text}\n{line}\n" for line in NO_FINDINGS]
    edits += [text, dose_changed, "\n".join(lines[: len(lines) // 2] + lines[len(lines) // 2 + 1 :])]
    told = [c for edit in edits for c in plan_findings.check_findings(edit, text, findings, form)]
    told += plan_findings.check_findings(text, "", findings, form)
    assert [c.message for c in told if c.status != "pass"] == []


def test_lines_below_a_heading_of_targets_limits_and_questions_are_not_read() -> None:
    text = planning.make_plan(TONSIL, {})["text"]
    for heading in ("TARGET VOLUMES", "DOSE LIMITS: ORGANS AT RISK AND TARGETS", "SYSTEMIC TREATMENT", "FOLLOW-UP"):
        edited = text.replace(f"\n{heading}\n", f"\n{heading}\n- Right level III node.\n")
        assert edited != text and not plan_findings.statements(edited, text)
    edited = text.replace("\nFINDINGS ON CT\n", "\nFINDINGS ON CT\n- Right level III node.\n")
    (stated,) = plan_findings.statements(edited, text)
    assert (stated.key, stated.line, edited[stated.start : stated.end]) == (
        "node right III", edited.splitlines().index("- Right level III node.") + 1, "Right level III node.",
    )  # fmt: skip


def test_a_text_without_an_end_of_a_sentence_is_passed_over_at_once() -> None:
    started = time.monotonic()
    assert plan_findings.statements("x<b>&" * 40_000, "") == []
    assert time.monotonic() - started < 5


def test_every_fact_of_the_rules_is_filled() -> None:
    """By name, so that a rule that comes to read another fact is noticed."""
    rules = [rule for rule in load_kb()["safety"]["rules"] if rule["id"] in plan_findings.RULES]
    asked = {path for rule in rules for path in rule["when"]["f"]["args"]}
    (stated,) = plan_findings.statements("Enlarged right level III node.", "")
    assert len(rules) == 3 and asked == set(plan_findings._facts(stated, [], []))
    passed = plan_findings.check_findings("Left level II node.", "", TONSIL, {})
    assert {(c.id, c.status) for c in passed} == {(rule, "pass") for rule in plan_findings.RULES}


def test_whoever_reads_an_edited_plan_sees_the_finding_and_its_line(app, case_id, monkeypatch) -> None:
    """In the stored checks, in the case sheet and in the care plan, which then tells no activities."""
    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)  # built-in font: its text can be read back
    plan = planning.draft_case_plan(app, case_id)
    line = "Enlarged right level III node, 15 mm."
    text = f"{line}\n{plan.payload['text']}"
    edited = planning.save_edit(app, case_id, text, who="Dr A", based_on=plan.id)
    (told,) = [c for c in edited.payload["text_checks"] if c["id"] == "fid_unsupported"]
    assert told["status"] == "fail" and told["details"]["severity"] == "block"
    assert told["message"].startswith(f'Line 1: "{line}" (node right III). ')
    assert "not in the report" in told["message"] and "Node, left level II, 22 mm" in told["message"]
    assert text[told["details"]["start"] : told["details"]["end"]] == line
    assert planning.text_disagrees(edited.payload) and planning.FIGURES_OF_DRAFT in planning.notes(app, edited)
    sheet = " ".join(pdf_text(plan_export.pdf(app, edited, None)).split())
    assert 'FAIL: Line 1: "Enlarged right level III node, 15 mm." \\(node right III\\).' in sheet
    care = json.loads(plan_export.care_plan(app, edited, None))
    notes = json.dumps(care)
    assert "BLOCK: Line 1:" in notes and "(node right III)" in notes


def test_a_clinicians_corrected_report_is_told_in_the_plan_and_makes_it_outdated(app, case_id):
    plan = planning.draft_case_plan(app, case_id)
    assert planning.outdated(app, plan) == [] and "Clinician's report" not in plan.payload["text"]
    reporting.draft_report(app, case_id)
    assert planning.outdated(app, plan) == [], "an AI draft is no correction"
    corrected = "Right level III necrotic node, 24 mm. Mass in the left palatine tonsil, 31 mm."
    reporting.save_edit(app, case_id, corrected, who="Dr A")
    assert planning.outdated(app, plan) == ["the clinician's report"]
    again = planning.draft_case_plan(app, case_id)
    said = [c["message"] for c in again.payload["checks"] if c["id"] == "fid_report"]
    assert any("mass in the left palatine tonsil" in m for m in said)
    assert "Clinician's report, not taken over into this plan" in again.payload["text"]
    assert planning.outdated(app, again) == []
    assert planning.check_text(again.payload["text"], again.payload) is not None


def test_an_ai_draft_made_since_takes_nothing_back_of_what_a_clinician_reported(app, case_id):
    reporting.draft_report(app, case_id)
    reporting.save_edit(app, case_id, "Right level III necrotic node, 24 mm.", who="Dr A")
    plan = planning.draft_case_plan(app, case_id)
    assert "Clinician's report" in plan.payload["text"]
    for language in reporting.LANGUAGES:
        reporting.draft_report(app, case_id, language=language)
    assert reporting.latest(app, case_id).payload["author"] == "model"
    assert planning.outdated(app, plan) == []
    assert "Clinician's report" in planning.draft_case_plan(app, case_id).payload["text"]


def test_a_signed_report_without_nodes_is_told_where_the_form_counts_some(app, case_id):
    """A plan with cN2 stood beside a signed "no enlarged node", and nothing told it."""
    denial = "No pathologically enlarged node in the left neck."
    both = f"{denial} No pathologically enlarged node in the right neck."

    def told(text: str, **form) -> list[str]:
        reporting.save_edit(app, case_id, text, who="Dr A")
        planning.save_form(app, case_id, form, who="Dr A")
        checks = planning.draft_case_plan(app, case_id).payload["checks"]
        return [c["message"] for c in checks if c["id"] == "fid_report" and "no enlarged node" in c["message"]]

    (said,) = told(both, nodes_n_pos=4)
    assert "it reports no enlarged node in the left and right neck, the form states 4 involved" in said
    assert "in the left neck" in told(denial, nodes_n_pos=4, nodes_laterality="bilateral")[0]
    assert "N2b" in told(denial, side="left", nodes_laterality="ipsilateral", stated_n="N2b")[0]
    assert told(denial, side="right", nodes_laterality="ipsilateral", nodes_n_pos=1) == []
    assert told(denial, nodes_n_pos=1) == [], "it may lie on the other side"
    assert told(both, nodes_n_pos=0) == told(both, stated_n="N0") == told(both) == []
