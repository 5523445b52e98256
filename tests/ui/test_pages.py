"""Every page through the entry script: empty store, a case, out of scope, errors, missing models. No browser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.errors import HnvlmError  # noqa: E402
from hnvlm.services import counterfactual, documents, planning, reporting, worklist, zeroshot  # noqa: E402
from hnvlm.services.context import App  # noqa: E402

REPO = HERE.parent.parent
PAGES = ("cases", "review", "plan", "counterfactual", "rate", "models")
PATIENCE_S = 240
BANNER = "AI draft · research use only · not a medical device"


pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def open_app(case_id: str | None = None) -> AppTest:
    at = AppTest.from_file(str(REPO / "app.py"), default_timeout=PATIENCE_S)
    if case_id is not None:
        at.session_state["case_id"] = case_id
    return at.run()


def go(at: AppTest, page: str) -> AppTest:
    at.switch_page(f"pages/{page}.py")
    at.run()
    assert not at.exception, [e.message for e in at.exception]
    assert any(BANNER in h.proto.body for h in at.get("html")), f"no banner on {page}"
    return at


def button(at: AppTest, key: str):
    return at.button(key=key)


def finish(app: App, at: AppTest, case_id: str) -> AppTest:
    """Wait for the background work of a case, then let the page see it."""
    for job in app.jobs.for_case(case_id):
        app.jobs.wait(job.id, PATIENCE_S)
    return at.run()


def test_an_empty_store_explains_what_to_do(services) -> None:
    services(fakes())
    at = open_app()
    assert "The worklist is empty" in texts(at)
    assert not button(at, "demo").disabled
    for page in ("review", "plan", "counterfactual"):
        go(at, page)
        assert "No cases yet" in texts(at)
        assert not at.button, f"{page} offers work without a case"
    go(at, "models")
    assert "What left this machine: nothing" in texts(at)


def test_the_whole_path_on_one_case(services) -> None:
    app = services(fakes())
    case_id = add_case(app, "neck phantom", meta={"warnings": ["gantry tilt of 12.0 degrees was corrected"]})
    at = open_app(case_id)
    assert f"**{case_id}**" in texts(at) and "neck phantom" in texts(at)

    go(at, "review")
    assert "gantry tilt of 12.0 degrees was corrected" in texts(at)
    button(at, "draft-report").click().run()
    finish(app, at, case_id)
    report = reporting.latest(app, case_id)
    assert report.payload["author"] == "model"
    assert "Node left level II, 22 mm, necrotic" in [b.label for b in at.button]
    assert "AI draft, not signed" in texts(at)

    save_and_sign_report(app, at, case_id)
    score_labels(app, at, case_id)
    draft_plan(app, at, case_id)
    draw(app, at, case_id)
    for page in PAGES:
        go(at, page)
        assert not at.error, (page, [e.value for e in at.error])
    assert worklist.results_of(app, case_id) == ("structures", "report, signed", "plan", "counterfactual")


def save_and_sign_report(app: App, at: AppTest, case_id: str) -> None:
    first = reporting.latest(app, case_id)
    at.session_state[f"report-mode-{case_id}-en"] = "Edit"
    at.run()
    wrong = first.payload["text"].replace("left", "right").replace("Left", "Right")
    at.text_area(key=f"report-text-{first.id}").set_value(wrong).run()
    # Typed, not saved: kept in the store, and no version yet.
    assert [k.text for k in documents.unsaved(app, first, writer="another browser")] == [wrong]
    assert len(reporting.versions(app, case_id)) == 1
    button(at, f"report-save-{case_id}-en").click().run()
    second = reporting.latest(app, case_id)
    assert (second.version, second.payload["text"], second.payload["author"]) == (2, wrong, "clinician")
    assert "Side: the text says right, measured left" in texts(at), "a disagreement must be said in words"

    at.session_state[f"report-mode-{case_id}-en"] = "Changes"
    at.run()
    assert "<del>" in texts(at) and "<ins>" in texts(at)
    at.session_state[f"report-mode-{case_id}-en"] = "History"
    at.run()
    button(at, f"restore-{first.id}").click().run()
    third = reporting.latest(app, case_id)
    assert (third.version, third.payload["text"]) == (3, first.payload["text"])

    assert button(at, f"report-approve-{case_id}-en").disabled, "nobody can sign without a name"
    at.text_input(key=f"report-name-{case_id}-en-").set_value("Dr Ada Nowak").run()
    button(at, f"report-approve-{case_id}-en").click().run()
    assert reporting.latest(app, case_id).signoffs[-1].clinician == "Dr Ada Nowak"
    assert "Signed by Dr Ada Nowak" in texts(at) and "AI-assisted draft" in texts(at)


def score_labels(app: App, at: AppTest, case_id: str) -> None:
    at.text_area(key=f"labels-{case_id}").set_value("left node\nno mass").run()
    button(at, "score").click().run()
    finish(app, at, case_id)
    assert zeroshot.latest(app, case_id).payload["labels"] == ["left node", "no mass"]
    assert "hn-bars" in texts(at)


def draft_plan(app: App, at: AppTest, case_id: str) -> None:
    go(at, "plan")
    at.selectbox(key=f"form-{case_id}-site").select("oropharynx").run()
    at.selectbox(key=f"form-{case_id}-p16").select("negative").run()
    at.text_input(key=f"form-{case_id}-icd10").set_value("nonsense").run()
    assert at.error[0].value.startswith("ICD-10 code: "), "a wrong answer is named beside its field"
    assert planning.load_form(app, case_id) == {"site": "oropharynx", "p16": "negative"}
    at.text_input(key=f"form-{case_id}-icd10").set_value(" c09.9 ").run()
    assert planning.load_form(app, case_id)["icd10"] == at.text_input(key=f"form-{case_id}-icd10").value == "C09.9"
    assert not at.error
    at.multiselect(key=f"form-{case_id}-invaded").set_value(["none"]).run()
    at.text_input(key=f"form-{case_id}-icd10").set_value("C10.9").run()
    assert planning.load_form(app, case_id)["invaded"] == ["none"], "kept when the next field is answered"
    at.multiselect(key=f"form-{case_id}-invaded").set_value(["none", "larynx"]).run()
    assert "none cannot stand beside larynx" in at.error[0].value
    offered = at.multiselect(key=f"form-{case_id}-invaded").options
    assert offered[0] == "None" and offered.index("Mandible (oropharynx)") < offered.index("Trachea"), "T4a comes first"
    at.multiselect(key=f"form-{case_id}-invaded").set_value([]).run()
    assert not at.error
    assert "invaded" not in planning.load_form(app, case_id)
    button(at, "draft-plan").click().run()
    finish(app, at, case_id)
    page = texts(at)
    for piece in ("Open questions", "PTV_7000", "D0.03cc", "provisional", "[S"):
        assert piece in page or any(piece in e.label for e in at.expander), piece
    at.selectbox(key=f"form-{case_id}-histology").select("squamous_cell_carcinoma").run()
    assert "Changed after this plan was drafted: the form. Press Draft plan" in texts(at)
    exported = documents.as_text(planning.latest(app, case_id))
    assert exported.startswith("AI DRAFT - RESEARCH USE ONLY") and case_id in exported


def draw(app: App, at: AppTest, case_id: str) -> None:
    go(at, "counterfactual")
    button(at, "run-edit").click().run()
    assert "Write what the CT should show" in texts(at), "an empty request is refused in words"
    at.text_area(key=f"wish-{case_id}").set_value("Node in left level II, 6 mm").run()
    assert "voxels of this CT" in texts(at), "a lesion too small to see is warned of"
    at.text_area(key=f"wish-{case_id}").set_value("Necrotic node in left level II, 22 mm").run()
    assert "voxels of this CT" not in texts(at)
    assert "Understood: add 22 mm node in the left level II (necrotic)." in texts(at)
    button(at, "run-edit").click().run()
    finish(app, at, case_id)
    assert len(counterfactual.list_for_case(app, case_id)) == 1
    page = texts(at)
    assert "SYNTHETIC" in page and "Largest change outside the edit" in page and "0 HU" in page
    assert "orange denser, blue less dense" in at.toggle(key="difference").label, "as the viewer draws it"


def test_out_of_scope_is_declined_with_the_reason(services) -> None:
    app = services(fakes(in_scope=False))
    case_id = add_case(app)
    at = go(open_app(case_id), "review")
    button(at, "draft-report").click().run()
    finish(app, at, case_id)
    for page, key in (("review", "draft-report"), ("plan", "draft-plan"), ("counterfactual", "run-edit")):
        go(at, page)
        assert button(at, key).disabled
        assert "lungs fill half of the field of view" in at.warning[0].value
    assert reporting.latest(app, case_id) is None


def test_missing_models_are_named_beside_the_disabled_button(services) -> None:
    app = services(None)  # the assets folder of the test holds no model pack
    case_id = add_case(app)
    at = open_app(case_id)
    for page, key in (("review", "draft-report"), ("plan", "draft-plan"), ("counterfactual", "run-edit")):
        go(at, page)
        assert button(at, key).disabled
        assert "model pack lacks segmenter" in texts(at)
    go(at, "models")
    assert "Not installed here: segmenter" in texts(at)


def test_errors_are_words_never_tracebacks(services) -> None:
    def fail(step: str) -> None:
        raise HnvlmError("The disk is full. Free some space and try again.")

    app = services(fakes(on_step=fail))
    case_id = add_case(app)
    at = go(open_app(case_id), "review")
    button(at, "draft-report").click().run()
    finish(app, at, case_id)
    assert [e.value for e in at.error] == ["The disk is full. Free some space and try again."]
    dismiss = next(b for b in at.button if b.label == "Dismiss")
    dismiss.click().run()
    assert not at.error


def test_delete_can_be_undone(services) -> None:
    app = services(fakes())
    case_id, other = add_case(app, "first"), add_case(app, "second", seed=1)
    at = open_app()
    button(at, f"delete-{case_id}").click().run()
    assert [r.case.id for r in worklist.rows(app)] == [other]
    button(at, "undo").click().run()
    assert {r.case.id for r in worklist.rows(app)} == {case_id, other}
    at.text_input(key="search").set_value("second").run()
    assert f"**{other}**" in texts(at) and f"**{case_id}**" not in texts(at)
