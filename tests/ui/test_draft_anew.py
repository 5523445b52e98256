"""Drafting again: the page follows work that ends while it is drawn, and says whose text a draft took the place of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from ui.page_text import PATIENCE_S, open_page, texts  # noqa: E402

from hnvlm.services import documents, planning, reporting  # noqa: E402
from hnvlm.services.jobs import JobManager  # noqa: E402

pytestmark = pytest.mark.usefixtures("through_the_entry_script")


@pytest.mark.parametrize(
    ("page", "button"), [("plan", "draft-plan"), ("review", "draft-report"), ("counterfactual", "run-edit")]
)
def test_work_that_ends_while_the_page_is_drawn_leaves_no_dead_button(services, monkeypatch, page, button) -> None:
    """The buttons were drawn as waiting, the panel found nothing to wait for, and nothing ran the page again."""
    app = services(fakes())
    case_id = add_case(app, "neck phantom")
    at = open_page(case_id, page)
    real, looks = JobManager.active, []

    def ends_after_the_first_look(self, case=None, kind=None):
        if kind is not None:  # of one kind only the panels ask
            return real(self, case, kind)
        looks.append(case)
        return ["a job that ends at once"] if len(looks) == 1 else real(self, case, kind)

    monkeypatch.setattr(JobManager, "active", ends_after_the_first_look)
    at.run()
    assert len(looks) > 1 and not at.exception
    assert not at.button(key=button).disabled


def test_a_plan_page_waits_for_the_work_of_other_pages(services, monkeypatch) -> None:
    """Its button is held back by it: without a panel nothing would give it back."""
    app = services(fakes())
    case_id = add_case(app, "neck phantom")
    reporting.start_draft(app, case_id)
    at = open_page(case_id, "plan")
    for job in app.jobs.for_case(case_id):
        app.jobs.wait(job.id, PATIENCE_S)
    at.run()
    assert not at.button(key="draft-plan").disabled


def test_a_draft_over_a_signed_text_says_so_and_leads_back(services) -> None:
    app = services(fakes())
    case_id = add_case(app, "neck phantom")
    reporting.draft_report(app, case_id)
    edited = reporting.save_edit(app, case_id, "Right level III node, 24 mm.", who="Dr Anna Nowak")
    assert documents.replaced(reporting.versions(app, case_id)) is None
    documents.sign(app, edited.id, "Dr Anna Nowak")
    assert "took the place of" not in texts(open_page(case_id, "review"))
    reporting.draft_report(app, case_id)
    assert documents.replaced(reporting.versions(app, case_id)).id == edited.id
    at = open_page(case_id, "review")
    assert "This AI draft took the place of version 2 (Signed by Dr Anna Nowak on" in texts(at)
    at.button(key=f"report-back-{case_id}-en").click().run()
    newest = reporting.latest(app, case_id)
    assert newest.version == 4 and newest.payload["text"] == "Right level III node, 24 mm." and not newest.signed
    assert "took the place of" not in texts(at)


def test_both_views_of_a_plan_say_which_version_it_is_and_who_signed(services) -> None:
    app = services(fakes())
    case_id = add_case(app, "neck phantom")
    plan = planning.draft_case_plan(app, case_id)
    badges = [badge.proto.body for badge in open_page(case_id, "plan").get("badge")] or [
        texts(open_page(case_id, "plan"))
    ]
    assert any("AI draft, not signed" in badge for badge in badges)
    documents.sign(app, plan.id, "Dr Anna Nowak")
    said = texts(open_page(case_id, "plan"))
    assert said.count("Signed by Dr Anna Nowak") >= 2 and said.count("Version 1,") >= 2
