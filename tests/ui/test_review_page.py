"""The Review page keeps what was typed and not yet used."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.services import analysis, reporting, similar  # noqa: E402
from hnvlm.types import Finding  # noqa: E402
from hnvlm.ui import findings  # noqa: E402

PATIENCE_S = 240
TYPED = "necrotic node in left level III\nno mass"

pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def test_labels_typed_and_not_yet_scored_outlive_a_look_at_another_page(services) -> None:
    case_id, other = (add_case(app, seed=n) for app in [services(fakes())] for n in (0, 1))
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    at.text_area(key=f"labels-{case_id}").set_value(TYPED).run()
    at.switch_page("pages/plan.py").run()
    at.switch_page("pages/review.py").run()
    assert at.text_area(key=f"labels-{case_id}").value == TYPED
    at.session_state["case_id"] = other
    at.run()
    assert at.text_area(key=f"labels-{other}").value != TYPED, "each case has its own"


def test_a_button_that_does_nothing_now_says_why(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    go_on = threading.Event()
    app.jobs.submit("similar", lambda job: go_on.wait(PATIENCE_S) and {}, case_id=case_id)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    keys = {"pages/review.py": ("draft-report", "contour", "score", "similar"), "pages/plan.py": ("draft-plan",)}
    said = {}
    for page, buttons in keys.items():
        at.switch_page(page).run()
        said |= {key: (at.button(key=key).disabled, at.button(key=key).help) for key in buttons}
    go_on.set()
    assert said == {key: (True, "Another task of this case is running.") for page in keys.values() for key in page}


def test_work_of_another_page_is_shown_with_its_stop_and_the_other_tabs_name_it(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    go_on = threading.Event()
    ids = {
        kind: app.jobs.submit(kind, lambda job: go_on.wait(PATIENCE_S) and {}, case_id=case_id, needs_models=False)
        for kind in ("dose", "similar")
    }
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    waiting = [c.value for c in at.caption if c.value.startswith("Waiting")]
    stops = sorted(b.key for b in at.button if b.label == "Stop")
    go_on.set()
    assert not at.exception
    assert stops == sorted(f"stop-{job_id}" for job_id in ids.values()), "each once, whatever tab shows it"
    dose, similar = "Dose prediction (tab Report)", "Similar cases (tab Similar cases)"
    assert waiting == [
        f"Waiting for other work on this case: {names}." for names in (similar, f"{similar}, {dose}", dose)
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["draft-report", "contour", "score", "similar"])
def test_what_is_pressed_in_two_tabs_is_started_once(services, key) -> None:
    go_on = threading.Event()
    app = services(fakes(on_step=lambda step: go_on.wait(PATIENCE_S)))
    case_id = add_case(app)
    tabs = [AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S) for _ in range(2)]
    for at in tabs:
        at.session_state["case_id"] = case_id
        at.run()
        at.switch_page("pages/review.py").run()
    for at in tabs:  # both drawn before the first was pressed
        at.button(key=key).click().run()
    started, told = app.jobs.for_case(case_id), [[t.value for t in at.toast] for at in tabs]
    label = tabs[1].button(key=key).label
    go_on.set()
    assert [app.jobs.wait(job.id, PATIENCE_S).state for job in started] == ["done"]
    assert told == [[], [f"Not started: other work on this case is going on. Press {label} again when it has ended."]]


def test_embeddings_of_another_encoder_are_not_shown_as_similar_cases(services) -> None:
    app = services(fakes())
    case_id, other = (add_case(app, seed=n) for n in (0, 1))
    similar.index_all(app)
    vector = np.array(app.store.load_array(app.store.latest_result(other, "embedding"), "vector"))
    app.store.save_result(
        other, "embedding", {}, arrays={"vector": vector}, provenance={"model": "clip", "weights_sha256": "a" * 64}
    )
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    said = [c.value for c in at.caption]
    assert any("1 case is left out: read by another CT encoder" in words for words in said)
    assert "There is no other head-and-neck case in the worklist." not in said
    assert not any(b.label == f"Open {other}" for b in at.button)


def test_the_report_says_which_version_it_is_and_its_impression_is_set_apart(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    first = reporting.draft_report(app, case_id)
    text = "FINDINGS:\nPrimary site: 3 < 4 cm.\nIMPRESSION: No mass."
    reporting.save_edit(app, case_id, text, who="Dr A", based_on=first.id)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    assert any(c.value.startswith("Version 2, ") for c in at.caption)
    page = texts(at)
    assert "<strong>IMPRESSION:</strong> No mass." in page
    assert "<p>Primary site: 3 &lt; 4 cm.</p>" in page and "<h4>FINDINGS</h4>" in page


def test_findings_of_before_the_clinics_tumour_was_uploaded_are_measured_again(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    analysis.analyse_case(app, case_id)
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["case_id"] = case_id
    at.run()
    at.switch_page("pages/review.py").run()
    assert "measure" not in {button.key for button in at.button}
    mask = np.zeros(app.store.load_volume(case_id).shape, bool)
    mask[2:4, 3:9, 4:8] = True
    payload = {"structures": [{"name": "GTVp", "volume_ml": 1.5}], "source": "upload"}
    app.store.save_result(case_id, "structures", payload, arrays={"masks": {"GTVp": mask}}, who="Dr Ada Nowak")
    at.run()
    at.button(key="measure").click().run()
    for _ in range(50):
        if not app.jobs.active(case_id):
            break
        time.sleep(0.1)
    at.run()
    assert "measure" not in {button.key for button in at.button}
    assert any("clinic's GTVp" in caption.value for caption in at.caption)


def test_the_place_to_look_at_first_is_offered_and_drawn_until_a_text_names_a_lesion(services, monkeypatch) -> None:
    app = services(fakes())
    case_id = add_case(app)
    monkeypatch.setattr(analysis, "looks_for_disease", lambda app: True)
    place = Finding("node", "indeterminate", side="left", level="II", slice_index=4, box=(3, 1, 2, 6, 5, 7))
    analysis.save_findings(app, case_id, [Finding("mass", "absent")], 0, place)

    def offered() -> list[str]:
        at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
        at.session_state["case_id"] = case_id
        at.run()
        at.switch_page("pages/review.py").run()
        assert not at.exception
        return [b.label for b in at.button if b.key == "look-first"]

    assert offered() == ["The models found nothing; look here first: left level II"]
    (box,) = findings.look_first_box(place)
    assert box.box == place.box and findings.look_first_box(None) == []
    reporting.save_edit(app, case_id, "Left level II node, 18 mm.", who="Dr A")
    assert offered() == []
