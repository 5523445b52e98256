"""The page Cases with an upload: who opened it, two tabs on the same one, Stop, and the source's own words."""

from __future__ import annotations

import io
import os
import sys
import threading
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pydicom
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import add_case, fakes  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.errors import HnvlmError  # noqa: E402
from hnvlm.imaging.volume import Volume  # noqa: E402
from hnvlm.imaging.write import write_dicom_series  # noqa: E402
from hnvlm.services import demo, intake  # noqa: E402
from hnvlm.services.context import App  # noqa: E402
from hnvlm.services.intake import Upload  # noqa: E402
from hnvlm.ui import state  # noqa: E402

PATIENCE_S = 240

pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def uploaded(app: App, folder: Path, description: str = "neck") -> Upload:
    hu = np.random.default_rng(1).integers(-200, 200, (8, 20, 24)).astype(np.int16)
    files = write_dicom_series(Volume(hu, (3.0, 1.25, 1.5), (0.0, 0.0, 0.0), "1.2.3"), folder, description, False)
    return intake.receive(app, [(f.name, io.BytesIO(f.read_bytes())) for f in files])


def look_at(upload: Upload, who: str = "") -> AppTest:
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["clinician_name"] = who
    at.query_params["upload"] = upload.id
    return at.run()


def finish(app: App) -> None:
    for job in app.jobs.active():
        app.jobs.wait(job.id, PATIENCE_S)


def test_the_trail_says_who_opened_an_upload_and_who_made_the_demo_case(services, tmp_path, monkeypatch) -> None:
    app = services(fakes())
    at = look_at(uploaded(app, tmp_path / "ct"), "Dr A")
    at.button(key="open-series-0").click().run()
    finish(app)
    made = []
    monkeypatch.setattr(demo, "create_demo", lambda app, **given: made.append(given["who"]) or 1 / 0)
    at.run()
    at.button(key="demo").click().run()
    finish(app)
    assert [(e.who, e.action) for e in app.store.audit()] == [("Dr A", "case added")] and made == ["Dr A"]


def test_a_tab_whose_upload_another_one_opened_says_so(services, tmp_path) -> None:
    """Both ways: it is looked at again, and its button is pressed."""
    app = services(fakes())
    upload = uploaded(app, tmp_path / "ct")
    first, looks, presses = look_at(upload), look_at(upload), look_at(upload)
    first.button(key="open-series-0").click().run()
    finish(app)
    looks.run()
    presses.button(key="open-series-0").click().run()
    for at in (looks, presses):
        assert [e.value for e in at.error] == [intake.GONE]
        assert not [b for b in at.button if b.key and b.key.startswith("open-series")]
        assert not at.run().error, "said once"
    assert len(app.store.list_cases()) == 1
    assert [e.value for e in look_at(upload).error] == [intake.GONE], "an address with an upload of yesterday"


def test_a_description_that_is_too_long_is_said_and_none_is_lost(services, tmp_path) -> None:
    app = services(fakes())
    at = look_at(uploaded(app, tmp_path / "ct"))
    box = at.text_input(key="upload-description")
    assert box.proto.max_chars == 0, "a box with a limit drops what is pasted, in silence"
    box.set_value("portal venous " * 9).run()
    told = "The description has 126 characters; at most 120 are kept. Shorten it."
    assert any(told in c.value for c in at.caption)
    at.button(key="open-series-0").click().run()
    assert [e.value for e in at.error] == [told] and not app.jobs.active()
    at.text_input(key="upload-description").set_value("portal venous").run()
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/cases.py").run()
    assert at.text_input(key="upload-description").value == "portal venous"
    at.button(key="open-series-0").click().run()
    finish(app)
    assert [c.description for c in app.store.list_cases()] == ["portal venous"]
    assert look_at(uploaded(app, tmp_path / "other")).text_input(key="upload-description").value == ""


def test_a_stopped_reading_shows_its_upload_again(services, tmp_path, monkeypatch) -> None:
    app = services(fakes())
    at = look_at(uploaded(app, tmp_path / "ct"))
    go, real = threading.Event(), intake.create_case

    def slow(app, upload, uid, *, progress, **given):
        assert go.wait(20)
        return real(app, upload, uid, progress=progress, **given)

    monkeypatch.setattr(intake, "create_case", slow)
    at.button(key="open-series-0").click().run()
    assert not [b for b in at.button if b.key == "open-series-0"]
    app.jobs.stop(app.jobs.active()[0].id)
    go.set()
    finish(app)
    at.run()
    assert "Stopped. No case was made." in texts(at)
    at.button(key="open-series-0").click().run()
    finish(app)
    assert len(app.store.list_cases()) == 1 and list(app.uploads_dir.iterdir()) == []


def reload(at: AppTest) -> AppTest:
    """Open the same address in a session that remembers nothing."""
    again = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    again.query_params.update(at.query_params)
    return again.run()


def test_a_reload_while_a_series_is_read_still_tells_how_it_ended(services, tmp_path, monkeypatch) -> None:
    app = services(fakes())
    stored = intake.create_case(app, first := uploaded(app, tmp_path / "first"), first.accepted[0].series_uid)
    at = look_at(uploaded(app, tmp_path / "ct"))
    go, real = threading.Event(), intake.create_case

    def slow(app, upload, uid, *, progress, **given):
        assert go.wait(PATIENCE_S)
        return real(app, upload, uid, progress=progress, **given)

    monkeypatch.setattr(intake, "create_case", slow)
    at.button(key="open-series-0").click().run()
    again = reload(at)
    assert not again.exception and "is ready" not in texts(again)
    go.set()
    finish(app)
    again.run()
    for at in (again, reload(again)):
        assert "**HN-0002 is ready**" in texts(at)
        assert f"The same CT is already stored as {stored.id}." in texts(at)
        assert f"Perhaps of the same patient: {stored.id}." in texts(at), "its files gave the same study"
    again.button(key="review-new").click().run()
    again.switch_page("pages/cases.py").run()
    assert "is ready" not in texts(again) and "is ready" not in texts(reload(again))


def test_a_failed_reading_is_told_until_it_is_dismissed(services, tmp_path, monkeypatch) -> None:
    def full(*_, **__):
        raise HnvlmError("The disk is full.")

    app = services(fakes())
    at = look_at(uploaded(app, tmp_path / "ct"))
    monkeypatch.setattr(intake, "create_case", full)
    at.button(key="open-series-0").click().run()
    finish(app)
    again = reload(at.run())
    assert [e.value for e in again.error] == ["The disk is full."]
    again.button(key="dismiss-reading").click().run()
    assert not again.error and not reload(again).error


@pytest.mark.parametrize("kind", ["report", None])
def test_an_address_with_work_that_makes_no_case_is_an_ordinary_one(services, kind) -> None:
    app = services(fakes())
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.query_params["reading"] = app.jobs.submit(kind, lambda job: {"result_id": 1}) if kind else "unknown"
    finish(app)
    at.run()
    assert not at.exception and not at.error and "worklist is empty" in texts(at)


@pytest.mark.parametrize("count", [1, 2])
def test_of_several_series_it_is_said_that_the_upload_goes_with_the_first_that_is_opened(services, tmp_path, count):
    app = services(fakes())
    files = []
    for n in range(count):
        hu = np.full((8, 20, 24), 40 + n, np.int16)
        made = write_dicom_series(Volume(hu, (3.0, 1.25, 1.5), (0.0, 0.0, 0.0)), tmp_path / str(n), "neck", False)
        files += [(f"{n}-{f.name}", io.BytesIO(f.read_bytes())) for f in made]
    page = texts(look_at(intake.receive(app, files)))
    assert f"{count} series can be opened" in page
    assert ("for another series, upload again" in page) == (count > 1)


def of_two(app: App, folder: Path, persons: tuple[str, str]) -> Upload:
    """Two CTs that differ in nothing that was shown: patients, study dates and folders alone."""
    files = []
    for n, person in enumerate(persons):
        hu = np.full((8, 20, 24), 40 + n, np.int16)
        hu[0] = -1000
        made = write_dicom_series(Volume(hu, (3.0, 1.25, 1.5), (0.0, 0.0, 0.0)), folder / str(n), "neck", False)
        for file in made:
            ds = pydicom.dcmread(file)
            ds.PatientID, ds.PatientName, ds.StudyDate = person, f"Name^{person}", f"2026031{n + 1}"
            ds.save_as(file)
            files.append((f"up*load*/scan{n}/{file.name}", io.BytesIO(file.read_bytes())))
    return intake.receive(app, files)


def test_two_patients_of_an_upload_are_told_apart_and_neither_is_kept(services, tmp_path) -> None:
    app = services(fakes())
    upload = of_two(app, tmp_path / "source", ("PESEL1", "PESEL2"))
    dates = [s.whose.date for s in upload.accepted]
    at = look_at(upload)
    assert [w.value for w in at.warning] == ["This upload holds CTs of 2 patients: open the right one."]
    lines = [h.proto.body for h in at.get("html") if "of this upload" in h.proto.body]
    assert lines == [
        f'<p class="hn-note">Patient {letter} of this upload, study {n} of {date}, '
        f"folder up_load_/scan{int(date[-1]) - 1} (not stored)</p>"
        for n, (letter, date) in enumerate(zip("AB", dates, strict=True), 1)
    ]
    assert "PESEL" not in texts(at)
    at.button(key="open-series-1").click().run()
    finish(app)
    (case,) = app.store.list_cases()
    assert app.store.load_volume(case.id).array[1, 0, 0] == 40 + int(dates[1][-1]) - 1, "the one whose button it was"
    stored = b"".join(p.read_bytes() for p in app.settings.data_dir.rglob("*") if p.is_file())
    for secret in ("PESEL", "2026-03-1", "2026031", "scan0", "scan1", "of this upload"):
        assert secret.encode() not in stored, secret


def test_two_studies_of_one_patient_are_told_apart(services, tmp_path) -> None:
    app = services(fakes())
    at = look_at(of_two(app, tmp_path / "source", ("PESEL1", "PESEL1")))
    assert [w.value for w in at.warning] == ["This upload holds CTs of 2 studies: open the right one."]
    page = texts(at)
    assert "Study 1 of 2026-03-1" in page and "Study 2 of 2026-03-1" in page and "patient A" not in page.lower()


def test_of_one_study_nothing_more_is_shown(services, tmp_path) -> None:
    app = services(fakes())
    at = look_at(uploaded(app, tmp_path / "ct"))
    assert not at.warning and "Study 1" not in texts(at)


def test_structures_and_doses_of_a_ct_are_not_listed_as_refused(services, tmp_path) -> None:
    app = services(fakes())
    upload = uploaded(app, tmp_path / "ct")
    (ct,) = upload.series
    # Two series that come with a CT and one that is nothing for this app.
    for modality, reason in (("RTSTRUCT", "opened together with its CT"), ("RTDOSE", "opened together with its CT"),
                             ("MR", "not a CT")):  # fmt: skip
        upload.series.append(replace(ct, modality=modality, series_uid=f"1.{modality}", accepted=False, n_slices=1,
                                     reasons=[reason]))  # fmt: skip
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["_upload"] = upload
    at.run()
    assert not at.exception
    assert [e.label for e in at.expander] == ["Structures and doses (2)", "Refused (1)"]
    assert "Refused: not a CT" in texts(at) and "Refused: opened together" not in texts(at)


def test_structures_without_their_ct_lead_to_where_they_are_added(services, tmp_path) -> None:
    app = services(fakes())
    case_id = add_case(app)
    upload = uploaded(app, tmp_path / "ct")
    alone = replace(upload.series[0], modality="RTSTRUCT", accepted=False, n_slices=1, reasons=["not an image"])
    at = look_at(upload)
    where = "open it, go to Treatment plan, choose Dose there and press Add files"
    assert where not in texts(at), "a CT of its own is opened with them"
    upload.series[:] = [alone]
    at.session_state["_upload"] = upload
    at.run()
    assert where in texts(at) and any(link.proto.label == "Go to Treatment plan" for link in at.get("page_link"))
    # The words are those of the controls.
    at.session_state["case_id"] = case_id
    at.switch_page("pages/plan.py").run()
    assert "Dose" in at.get("button_group")[0].options
    at.session_state["plan-view"] = at.session_state["_plan_view"] = "Dose"
    at.run()
    assert "Add files" in [p.proto.popover.label for p in at.get("popover")]


def test_a_reading_is_found_again_after_a_reload_of_another_page(services, tmp_path, monkeypatch) -> None:
    app = services(fakes())
    monkeypatch.setattr(state, "browser", lambda: "one browser")
    at = look_at(uploaded(app, tmp_path / "ct"))
    at.button(key="open-series-0").click().run()
    finish(app)

    def after_a_reload_of_another_page(browser: str) -> AppTest:
        monkeypatch.setattr(state, "browser", lambda: browser)
        again = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S).run()
        again.switch_page("pages/models.py").run()
        return again.switch_page("pages/cases.py").run()

    assert "is ready" not in texts(after_a_reload_of_another_page("another browser"))
    again = after_a_reload_of_another_page("one browser")
    assert "**HN-0001 is ready**" in texts(again)
    again.button(key="review-new").click().run()
    assert "is ready" not in texts(after_a_reload_of_another_page("one browser")), "told once"


def test_while_the_demo_case_is_made_its_button_says_so(services, monkeypatch) -> None:
    app = services(fakes())
    go_on = threading.Event()
    monkeypatch.setattr(demo, "create_demo", lambda *_, **__: go_on.wait(PATIENCE_S))
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S).run()
    assert at.button(key="demo").help == ""
    demo.start_demo(app, who="Dr A")
    at.run()
    assert at.button(key="demo").disabled and at.button(key="demo").help == "It is being made."
    assert "It is being made." in texts(at), "also without a pointer over it"
    go_on.set()


def test_opening_the_page_sweeps_forgotten_uploads(services, tmp_path) -> None:
    app = services(fakes())
    add_case(app)
    upload = uploaded(app, tmp_path / "ct")
    os.utime(app.uploads_dir / upload.id, (0, 0))
    assert [e.value for e in look_at(upload).error] == [intake.GONE]
    assert list(app.uploads_dir.iterdir()) == []


MARKUP = "T2*N1*M0 :red[x] [open](http://evil.example) `c` $5$ # <b> ![](http://evil.example/p.png)"


def test_words_of_the_source_and_of_users_are_shown_as_written(services, tmp_path) -> None:
    app = services(fakes())
    case_id = add_case(app, MARKUP)
    at = look_at(uploaded(app, tmp_path / "ct", MARKUP[:64]))
    shown = [h.proto.body for h in at.get("html") if "evil" in h.proto.body]
    assert shown == [f'<p class="hn-note">Named “{escape(MARKUP[:64])}” by the source (not stored)</p>',
                     f'<p class="hn-note">{escape(MARKUP)}</p>']  # fmt: skip
    assert not [e for e in (*at.caption, *at.markdown) if "evil" in e.value], case_id


def test_names_of_files_in_an_error_are_no_markup(services) -> None:
    services(fakes())
    at = AppTest.from_file(str(HERE.parent.parent / "app.py"), default_timeout=PATIENCE_S)
    at.session_state["_upload_error"] = f"{MARKUP}.dcm: damaged _file_ of Parotid_L"
    at.run()
    assert at.error[0].value == (
        r"T2\*N1\*M0 \:red\[x\] \[open\](http\:/|/evil.example) \`c\` \$5\$ # \<b> "
        r"!\[\](http\:/|/evil.example/p.png).dcm: damaged \_file\_ of Parotid_L"
    ).replace("|", "\N{WORD JOINER}")
