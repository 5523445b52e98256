"""CTs of one patient: linked by a named clinician alone, proposed by the files, taken back, and erased with a case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from hnvlm.errors import HnvlmError, NotFoundError, UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series
from hnvlm.services import identity, intake, priors, reporting
from hnvlm.services.context import App
from hnvlm.store import CaseRecord, back_up, erase_case, known_as

WHO = "Dr A"


@pytest.fixture
def cases(app: App) -> list[CaseRecord]:
    return [app.store.add_case(phantom_of(n), description=f"CT {n}") for n in range(4)]


def phantom_of(seed: int) -> Volume:
    array = np.random.default_rng(seed).integers(-200, 200, (8, 20, 24)).astype(np.int16)
    return Volume(array, (3.0, 1.25, 1.5), (-12.0, 40.0, -30.0), f"1.2.826.0.1.{seed}")


def uploaded(app: App, folder: Path, seed: int, *, synthetic: bool = False, **tags: str) -> CaseRecord:
    """A case whose files give these tags."""
    for file in write_dicom_series(phantom_of(seed), folder / str(seed), "neck", synthetic=synthetic):
        dataset = pydicom.dcmread(file)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(file)
    return intake.create_case(app, intake.open_path(folder / str(seed)))


def ids(found) -> list[str]:
    return [o.case.id for o in found]


def test_a_link_holds_for_both_with_who_said_it_and_is_in_both_trails(app, cases):
    one, other, *_ = cases
    priors.link(app, one.id, other.id, who=WHO)
    for here, there in ((one, other), (other, one)):
        (seen,) = priors.view(app, here).linked
        assert (seen.case, seen.said.who, seen.through, seen.days) == (there, WHO, (), None)
        event = app.store.audit(here.id)[-1]
        assert (event.who, event.action, event.details) == (WHO, "linked as of the same patient", {"with": there.id})
    assert priors.groups(app) == {one.id: [other.id], other.id: [one.id]}
    priors.link(app, other.id, one.id, who="Dr B")
    assert priors.view(app, one).linked[0].said.who == WHO, "said once is enough"


def test_a_link_leads_on_and_taking_one_back_leaves_the_others(app, cases):
    a, b, c, d = cases
    priors.link(app, a.id, b.id, who=WHO)
    priors.link(app, c.id, b.id, who=WHO)
    assert {o.case.id: o.through for o in priors.view(app, a).linked} == {b.id: (), c.id: (b.id,)}
    assert [o.id for o in priors.view(app, a).candidates] == [d.id]
    priors.take_back(app, b.id, a.id, who="Dr B")
    assert (priors.view(app, a).linked, ids(priors.view(app, b).linked)) == ([], [c.id])
    assert app.store.audit(a.id)[-1].action == "link or denial taken back" and app.store.audit(a.id)[-1].who == "Dr B"
    priors.link(app, a.id, b.id, who=WHO)
    assert set(ids(priors.view(app, a).linked)) == {b.id, c.id}


def test_a_deleted_case_is_not_shown_and_still_leads_on(app, cases):
    a, b, c, _ = cases
    priors.link(app, a.id, b.id, who=WHO)
    priors.link(app, b.id, c.id, who=WHO)
    app.store.delete_case(b.id)
    assert ids(priors.view(app, a).linked) == [c.id] and priors.groups(app) == {a.id: [c.id], c.id: [a.id]}
    with pytest.raises(UsageError, match=f"{b.id} was deleted"):
        priors.link(app, b.id, a.id, who=WHO)


@pytest.mark.parametrize("who", ["", "  "])
def test_nobody_in_particular_links_nothing(app, cases, who):
    for act in (priors.link, priors.deny, priors.take_back):
        with pytest.raises(UsageError, match="Enter your name first"):
            act(app, cases[0].id, cases[1].id, who=who)
    assert priors.groups(app) == {}


def test_a_case_is_not_linked_with_itself_nor_with_one_that_is_not_there(app, cases):
    with pytest.raises(UsageError, match="cannot be linked with itself"):
        priors.link(app, cases[0].id, cases[0].id, who=WHO)
    with pytest.raises(NotFoundError, match="HN-9999"):
        priors.link(app, cases[0].id, "HN-9999", who=WHO)


def test_cts_of_which_somebody_said_that_they_are_not_one_patients_are_not_joined_through_a_third(app, cases):
    a, b, c, _ = cases
    priors.deny(app, a.id, b.id, who=WHO)
    assert ids(priors.view(app, a).denied) == [b.id] and ids(priors.view(app, b).denied) == [a.id]
    priors.link(app, b.id, c.id, who=WHO)
    for other in (b, c):
        with pytest.raises(HnvlmError, match=f"Dr A said that {a.id} and {b.id} are not") as caught:
            priors.link(app, a.id, other.id, who="Dr B")
        assert caught.value.code == "denied" and priors.view(app, a).linked == []
    with pytest.raises(HnvlmError, match="are linked"):
        priors.deny(app, b.id, c.id, who=WHO)
    priors.take_back(app, a.id, b.id, who=WHO)
    priors.link(app, a.id, c.id, who=WHO)
    assert set(ids(priors.view(app, a).linked)) == {b.id, c.id} and priors.view(app, a).denied == []


def test_two_who_decide_at_once_do_not_get_past_a_denial(app, cases, monkeypatch):
    a, b, *_ = cases
    read = priors.statements

    def another_is_faster(store):
        found = read(store)
        monkeypatch.setattr(priors, "statements", read)
        priors.deny(app, a.id, b.id, who="Dr B")
        return found

    monkeypatch.setattr(priors, "statements", another_is_faster)
    with pytest.raises(HnvlmError, match="Dr B said"):
        priors.link(app, a.id, b.id, who=WHO)
    assert priors.view(app, a).linked == []


def test_a_drawn_ct_is_linked_with_its_mark_and_never_proposed(app, tmp_path):
    tags = {"PatientID": "77", "PatientBirthDate": "19500101", "StudyInstanceUID": "1.2.3"}
    real, drawn = (uploaded(app, tmp_path, n, synthetic=bool(n), **tags) for n in (0, 1))
    assert (priors.view(app, real).proposed, priors.view(app, drawn).proposed) == ([], [])
    assert drawn.id not in known_as(app.store)
    priors.link(app, real.id, drawn.id, who=WHO)
    (seen,) = priors.view(app, real).linked
    assert seen.case.synthetic and priors.groups(app)[real.id] == [f"{drawn.id} (SYNTHETIC)"]


# ---- what the files say -------------------------------------------------------------------------

BEFORE = {"PatientID": "PESEL99", "PatientBirthDate": "19500101", "StudyDate": "20260110", "StudyInstanceUID": "1.5"}
AFTER = BEFORE | {"StudyDate": "20260412", "StudyInstanceUID": "1.6"}


def test_a_later_ct_of_the_same_number_and_birth_date_is_proposed_and_linked_by_nobody(app, tmp_path):
    first, stranger, later = (
        uploaded(app, tmp_path, n, **tags)
        for n, tags in enumerate((BEFORE, AFTER | {"PatientBirthDate": "19610202"}, AFTER))
    )
    (seen,) = priors.view(app, later).proposed
    assert (seen.case.id, seen.days, seen.why) == (first.id, -92, priors.BY_NUMBER)
    assert [o.days for o in priors.view(app, first).proposed] == [92]
    assert priors.view(app, stranger).proposed == [] and priors.groups(app) == {}
    priors.deny(app, later.id, first.id, who=WHO)
    assert priors.view(app, later).proposed == [] == priors.view(app, first).proposed
    priors.take_back(app, later.id, first.id, who=WHO)
    priors.link(app, later.id, first.id, who=WHO)
    assert priors.view(app, later).proposed == [] and priors.view(app, later).linked[0].days == -92


def test_another_series_of_the_study_is_proposed_without_a_number(app, tmp_path):
    one, other, third = (
        uploaded(app, tmp_path, n, StudyInstanceUID=study) for n, study in enumerate(("1.5", "1.5", "1.6"))
    )
    assert [(o.case.id, o.why) for o in priors.view(app, one).proposed] == [(other.id, priors.BY_STUDY)]
    assert priors.view(app, third).proposed == []


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientID": "PESEL99", "PatientBirthDate": ""},
        {"PatientID": "", "PatientBirthDate": "19500101"},
        {"PatientID": "ANONYMOUS", "PatientBirthDate": "19000101"},
        {"PatientID": "000", "PatientBirthDate": "19500101"},
        {"PatientID": "PESEL99", "PatientBirthDate": "19509999"},
    ],
)
def test_what_many_strangers_share_proposes_nothing(app, tmp_path, tags):
    one, _ = (uploaded(app, tmp_path, n, StudyInstanceUID=f"1.{n + 1}", **tags) for n in (0, 1))
    assert priors.view(app, one).proposed == [] and known_as(app.store) == {}


def test_a_clinic_that_wants_nobody_recognised_keeps_nothing_of_the_patient(app, tmp_path):
    app.settings = replace(app.settings, recognise_patients=False)
    one, _ = (uploaded(app, tmp_path, n, **tags) for n, tags in enumerate((BEFORE, AFTER)))
    assert priors.view(app, one).proposed == [] and known_as(app.store) == {}
    assert not (app.settings.data_dir / ".patient.key").exists()


def test_of_number_and_dates_nothing_can_be_read_in_the_data_folder(app, tmp_path):
    case = uploaded(app, tmp_path, 0, **BEFORE)
    stored = b"".join(p.read_bytes() for p in app.settings.data_dir.rglob("*") if p.is_file())
    for secret in (b"PESEL99", b"19500101", b"1950-01-01", b"20260110", b"2026-01-10"):
        assert secret not in stored, secret
    key, day = known_as(app.store)[case.id]
    assert len(key) == 48 and day is not None
    header = intake.open_path(tmp_path / "0").series[0].headers[0]
    assert identity.pseudonym(app, header) == (key, day)
    assert key not in repr(case) and "patient_key" not in repr(case.meta), "or an export could hold it"


def test_no_backup_holds_the_secret_by_which_numbers_could_be_tried(app, tmp_path):
    uploaded(app, tmp_path, 0, **BEFORE)
    (secret,) = [p for p in app.settings.data_dir.iterdir() if p.name == ".patient.key"]
    assert secret.stat().st_mode & 0o077 == 0
    back_up(app.store, tmp_path / "copy")
    assert (tmp_path / "copy" / "uid.key").is_file() and not (tmp_path / "copy" / ".patient.key").exists()


# ---- the store ----------------------------------------------------------------------------------


def test_what_was_said_is_not_rewritten_and_goes_with_an_erased_case(app, cases):
    a, b, c, _ = cases
    priors.link(app, a.id, b.id, who=WHO)
    priors.link(app, b.id, c.id, who=WHO)
    for verb in ("DELETE FROM same_patient", "UPDATE same_patient SET who = 'x'"):
        with pytest.raises(IntegrityError, match="append-only"), app.store.engine.begin() as conn:
            conn.execute(text(verb))
    app.store.delete_case(b.id)
    erase_case(app.store, b.id, who="command line")
    assert priors.view(app, a).linked == [] and app.store.verify().ok
    with pytest.raises(IntegrityError, match="append-only"), app.store.engine.begin() as conn:
        priors.link(app, a.id, c.id, who=WHO)
        conn.execute(text("DELETE FROM same_patient"))


def test_a_draft_takes_nothing_from_the_other_ct(app, cases):
    a, b, *_ = cases
    reporting.save_edit(app, b.id, "Necrotic node in left level II, 22 mm.", who=WHO)
    alone = reporting.draft_report(app, a.id)
    priors.link(app, a.id, b.id, who=WHO)
    linked = reporting.draft_report(app, a.id)
    assert linked.payload["text"] == alone.payload["text"] and b.id not in str(linked.payload)
