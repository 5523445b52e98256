"""Upload -> case: spooled to disk, picked, without identity, with structures and dose that match."""

from __future__ import annotations

import copy
import dataclasses
import errno
import io
import os
import re
import shutil
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from hnvlm.errors import HnvlmError, InputRefusedError, NotFoundError, UnreadableFileError, UsageError
from hnvlm.imaging.write import write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.services import intake, rt_objects
from hnvlm.services.context import App
from hnvlm.services.identity import map_uid

NAME = "Kowalska^Maria"


@pytest.fixture
def identified(tmp_path, phantom) -> Path:
    """A series with the patient's name in tags and file names, and an RTSTRUCT of the same frame."""
    folder = tmp_path / "Kowalska_Maria"
    files = write_dicom_series(phantom, folder, "neck", synthetic=False)
    for i, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = NAME, "PESEL99", "19500101"
        dataset.SeriesDescription, dataset.InstitutionName = "neck of Maria", "Hospital X"
        dataset.save_as(folder / f"Kowalska_{i}.dcm")
        file.unlink()
    mask = np.zeros(phantom.shape, bool)
    mask[2:6, 6:12, 7:15] = True
    write_rtstruct({"Larynx": mask}, phantom, folder / "rs.dcm", label="clinic")
    return folder


def upload_of(folder: Path) -> list[tuple[str, io.BytesIO]]:
    return [(f"Maria/{p.name}", io.BytesIO(p.read_bytes())) for p in sorted(folder.iterdir())]


def all_bytes(root: Path) -> bytes:
    return b"".join(p.read_bytes() for p in root.rglob("*") if p.is_file())


def test_upload_becomes_a_case_without_identity(app, identified, phantom):
    upload = intake.receive(app, upload_of(identified))
    assert [s.modality for s in upload.series if s.accepted] == ["CT"]
    case = intake.create_case(app, upload, who="Dr A")
    intake.discard(app, upload)
    np.testing.assert_array_equal(app.store.load_volume(case.id).array, phantom.array)
    assert case.spacing_mm == phantom.spacing_mm
    assert case.frame_uid == map_uid(app, phantom.frame_of_reference_uid)
    assert case.frame_uid != phantom.frame_of_reference_uid
    stored = all_bytes(app.settings.data_dir)
    for secret in (
        b"Kowalska",
        b"PESEL99",
        b"19500101",
        b"Maria",
        b"Hospital",
        phantom.frame_of_reference_uid.encode(),
    ):
        assert secret not in stored, secret
    structures = app.store.latest_result(case.id, "structures")
    mask = app.store.load_masks(structures)["Larynx"]
    assert mask.sum() == 4 * 6 * 8
    assert mask[2:6, 6:12, 7:15].all()
    # 192 voxels of 3 x 1.25 x 1.5 mm
    assert structures.payload["structures"] == [{"name": "Larynx", "volume_ml": 1.08}]


@pytest.mark.parametrize(("kind", "highest"), [("BEAM", 30.0), ("PLAN", None)])
def test_beams_are_added_up_and_plans_are_not(app, identified, phantom, tmp_path, kind, highest):
    """Each file is a series of its own, as many planning systems export them."""
    for n, gray in enumerate((10.0, 20.0)):
        dose = phantom.with_array(np.full(phantom.shape, gray, np.float32))
        dataset = pydicom.dcmread(write_rtdose(dose, phantom, tmp_path / "rd.dcm", predicted=False))
        dataset.DoseSummationType, dataset.SeriesInstanceUID = kind, f"1.2.7.{n}"
        dataset.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = "1.2.8.1"
        dataset.save_as(identified / f"Kowalska_dose_{n}.dcm")
    case = intake.create_case(app, intake.open_path(identified))
    found = app.store.latest_result(case.id, "dose")
    said = [w for w in case.meta["warnings"] if "dose" in w]
    assert len(said) == 1 and "Kowalska" not in said[0]
    if highest is None:
        assert found is None and "RTDOSE left out: 2 doses of whole plans" in said[0]
    else:
        assert found.payload["max_gy"] == pytest.approx(highest, abs=0.01) and "2 beams were added up" in said[0]


def test_nested_zip_and_picking_a_series(app, identified, tmp_path, phantom):
    other = tmp_path / "second"
    smaller = phantom.with_array(phantom.array)
    write_dicom_series(
        type(phantom)(smaller.array[:5], phantom.spacing_mm, phantom.origin_mm, "1.9"), other, "b", synthetic=False
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for folder in (identified, other):
            for file in folder.iterdir():
                archive.write(file, f"deep/{folder.name}/{file.name}")
    buffer.seek(0)
    upload = intake.receive(app, [("all.zip", buffer)])
    assert len(upload.accepted) == 2
    again = intake.open_upload(app, upload.id)  # after a reload of the page
    assert {s.series_uid for s in again.accepted} == {s.series_uid for s in upload.accepted}
    small = next(s for s in again.accepted if s.n_slices == 5)
    case = intake.create_case(app, again, small.series_uid)
    assert case.shape == (5, 20, 24)
    assert any("another frame of reference" in w for w in case.meta["warnings"])
    assert app.store.latest_result(case.id, "structures") is None
    with pytest.raises(NotFoundError):
        again.find("1.2.3.4")
    intake.discard(app, upload)
    with pytest.raises(NotFoundError, match="again"):
        intake.open_upload(app, upload.id)


def test_the_same_upload_twice_is_noticed(app, identified):
    first = intake.create_case(app, intake.open_path(identified))
    second = intake.create_case(app, intake.open_path(identified))
    assert [c.id for c in intake.already_stored(app, second)] == [first.id]
    assert first.frame_uid == second.frame_uid
    assert identified.exists()


def test_intake_job_removes_the_upload(app, identified):
    upload = intake.receive(app, upload_of(identified))
    folder = app.uploads_dir / upload.id
    assert folder.is_dir()
    assert os.stat(folder).st_mode & 0o077 == 0
    job = app.jobs.wait(intake.start_intake(app, upload, description="my words"), 60)
    assert job.state == "done", job.error
    assert app.store.get_case(job.result["case_id"]).description == "my words"
    assert not folder.exists()


def test_unreadable_upload_leaves_nothing_behind(app):
    with pytest.raises(UnreadableFileError):
        intake.receive(app, [("a.txt", io.BytesIO(b"hello"))])
    with pytest.raises(UsageError, match="No file"):
        intake.receive(app, [])
    assert list(app.uploads_dir.iterdir()) == []
    assert app.store.list_cases() == []


def test_an_upload_of_structures_alone_is_refused_in_words(app, identified):
    upload = intake.receive(app, [("rs.dcm", io.BytesIO((identified / "rs.dcm").read_bytes()))])
    with pytest.raises(InputRefusedError, match="RTSTRUCT"):
        intake.create_case(app, upload)


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..\\..\\evil", "", "a/../../../x", "C:\\x\\y", "n\x00ul"]
)
def test_names_cannot_leave_the_upload_folder(app, name):
    path = intake.spool(app, [(name, io.BytesIO(b"x")), ("same", io.BytesIO(b"1")), ("same", io.BytesIO(b"2"))])
    files = [p for p in app.uploads_dir.rglob("*") if p.is_file()]
    assert len(files) == 3
    assert all(path in p.parents for p in files)


def test_a_file_used_as_a_folder_and_the_other_way_round(app):
    path = intake.spool(
        app, [("a", io.BytesIO(b"1")), ("a/b", io.BytesIO(b"2")), ("c/d", io.BytesIO(b"3")), ("c", io.BytesIO(b"4"))]
    )
    assert sorted(p.read_bytes() for p in path.rglob("*") if p.is_file()) == [b"1", b"2", b"3", b"4"]


def test_forgotten_uploads_are_swept(app, identified):
    upload = intake.receive(app, upload_of(identified))
    assert app.sweep_uploads() == 0
    folder = app.uploads_dir / upload.id
    os.utime(folder, (time.time() - 2 * 86400,) * 2)
    assert app.sweep_uploads() == 1
    assert not folder.exists()


def test_a_new_server_sweeps_what_the_last_one_left(app, identified):
    upload = intake.receive(app, upload_of(identified))
    os.utime(app.uploads_dir / upload.id, (0, 0))
    other = App(app.settings, models=app.models)
    assert list(app.uploads_dir.iterdir()) == []
    other.close()


def test_an_upload_that_is_being_read_is_not_swept(app, identified, monkeypatch):
    upload = intake.receive(app, upload_of(identified))
    os.utime(app.uploads_dir / upload.id, (0, 0))
    swept, real = [], intake.create_case
    monkeypatch.setattr(intake, "create_case", lambda *a, **k: (swept.append(app.sweep_uploads()), real(*a, **k))[1])
    assert app.jobs.wait(intake.start_intake(app, upload), 60).state == "done"
    assert swept == [0]


class FullDisk(io.BytesIO):
    def read(self, *args):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_upload_that_does_not_fit_on_the_disk_leaves_nothing(app):
    with pytest.raises(HnvlmError, match=r"No space left on device.*upload them again") as caught:
        intake.receive(app, [("Maria/1.dcm", io.BytesIO(b"x" * 1000)), ("Maria/2.dcm", FullDisk(b"1"))])
    assert caught.value.code == "storage"
    assert list(app.uploads_dir.iterdir()) == []


@pytest.fixture
def damaged(identified) -> Path:
    """The same series with a slice that breaks off: refused only when its pixels are read."""
    dataset = pydicom.dcmread(identified / "Kowalska_3.dcm")
    dataset.PixelData = dataset.PixelData[:100]
    dataset.save_as(identified / "Kowalska_3.dcm")
    return identified


def test_a_refused_upload_goes_and_its_message_names_nobody(app, damaged):
    upload = intake.receive(app, upload_of(damaged))
    job = app.jobs.wait(intake.start_intake(app, upload, upload.accepted[0].series_uid), 60)
    assert job.state == "failed"
    place = "slice 4 of 8 (z = -3.0 mm, instance number 4)"
    assert job.error.startswith(f"(file), {place}: pixel data cannot be decoded") and job.error_code == "unreadable"
    assert list(app.uploads_dir.iterdir()) == []
    stored = all_bytes(app.settings.data_dir)
    assert not [name for name in (b"Kowalska", b"Maria") if name in stored]


def test_an_upload_goes_with_a_fault_of_the_program_and_stays_after_stop(app, identified, monkeypatch):
    upload = intake.receive(app, upload_of(identified))
    with monkeypatch.context() as broken:
        broken.setattr(intake, "create_case", lambda *a, progress, **k: app.jobs.stop(job_ids[0]) or progress(0.1, "x"))
        go, job_ids = threading.Event(), []
        broken.setattr(app.jobs, "submit", held(app.jobs.submit, go))
        job_ids.append(intake.start_intake(app, upload))
        go.set()
        assert app.jobs.wait(job_ids[0], 60).state == "cancelled"
    assert intake.open_upload(app, upload.id).accepted
    monkeypatch.setattr(intake, "create_case", lambda *a, **k: 1 / 0)
    assert app.jobs.wait(intake.start_intake(app, upload), 60).error_code == "unexpected"
    assert list(app.uploads_dir.iterdir()) == []


def held(submit, go):
    """``submit`` whose work waits until ``go`` is set: by then its id is known."""
    return lambda kind, work, **options: submit(kind, lambda job: (go.wait(20), work(job))[1], **options)


def test_an_upload_that_another_tab_took_is_gone_in_words(app, identified):
    """No path of the server, whether it went before the click or while its files were read."""
    upload = intake.receive(app, upload_of(identified))
    again = intake.open_upload(app, upload.id)
    assert app.jobs.wait(intake.start_intake(app, upload), 60).state == "done"
    with pytest.raises(NotFoundError, match="no longer on the server"):
        intake.start_intake(app, again)
    upload = intake.receive(app, upload_of(identified))
    job_id = intake.start_intake(app, dataclasses.replace(upload, series=[Vanishing(app, upload)]), "uid")
    assert app.jobs.wait(job_id, 60).error == intake.GONE


class Vanishing:
    """A series whose files go when it is read."""

    def __init__(self, app, upload) -> None:
        self.app, self.upload, self.series_uid, self.files = app, upload, "uid", []

    @property
    def accepted(self):
        intake.discard(self.app, self.upload)
        return False

    modality, headers, reasons = "CT", [], ["/srv/uploads/Maria.dcm is missing"]


def test_a_second_look_at_a_zip_leaves_the_first_its_files(app, identified):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in identified.iterdir():
            archive.write(file, f"deep/{file.name}")
    buffer.seek(0)
    first = intake.receive(app, [("all.zip", buffer)])
    second = intake.open_upload(app, first.id)
    assert [s.series_uid for s in second.series] == [s.series_uid for s in first.series]
    assert all(f.is_file() for s in first.series for f in s.files)


def test_paths_below_an_upload_are_names_too(app, identified):
    upload = intake.receive(app, upload_of(identified))
    other = app.uploads_dir / upload.id / "files" / "Maria" / "notes of Maria.txt"
    text = intake.without_names(f"2 files: cannot read '{other}': broken", upload)
    assert text == "2 files: cannot read '(file)': broken"
    series = upload.accepted[0].files[0]
    assert intake.without_names(f"{series}: no such file or folder.", upload) == "(file): no such file or folder."


def test_files_called_by_a_word_of_the_message_leave_it_its_words(app, identified):
    (identified / "rs.dcm").rename(identified / "RTSTRUCT.dcm")
    upload = intake.receive(app, upload_of(identified))
    text = "RTSTRUCT left out: RTSTRUCT.dcm: damaged"
    assert intake.without_names(text, upload) == "RTSTRUCT left out: (file): damaged"


def test_uids_are_mapped_by_a_key_of_this_store(app, tmp_path):
    assert map_uid(app, "") == ""
    assert map_uid(app, "1.2.3") == map_uid(app, "1.2.3") != map_uid(app, "1.2.4")
    assert re.fullmatch(r"2\.25\.\d{1,39}", map_uid(app, "1.2.3"))
    key = app.settings.data_dir / "uid.key"
    before = map_uid(app, "1.2.3")
    shutil.copy(key, tmp_path / "k")
    key.unlink()
    assert map_uid(app, "1.2.3") != before


def test_structures_for_a_stored_case_match_by_the_mapped_uid(app, identified, phantom):
    case = intake.create_case(app, intake.open_path(identified))
    frame = rt_objects.original_frame_uid(app, case.frame_uid, identified / "rs.dcm")
    assert frame == phantom.frame_of_reference_uid
    masks, _ = rt_objects.read_structures(identified / "rs.dcm", app.store.load_volume(case.id), frame)
    assert masks["Larynx"].sum() == 192
    assert rt_objects.original_frame_uid(app, map_uid(app, "9.9"), identified / "rs.dcm") == ""


def test_structures_of_two_images_in_one_set_are_told_apart(app, identified, phantom):
    """The set names the frame of an MR first; the CT's structures still belong to the CT."""
    dataset = pydicom.dcmread(identified / "rs.dcm")
    foreign = copy.deepcopy(dataset.StructureSetROISequence[0])
    foreign.ROINumber, foreign.ROIName, foreign.ReferencedFrameOfReferenceUID = 2, "GTV_MR", "1.2.3.999"
    drawing = copy.deepcopy(dataset.ROIContourSequence[0])
    drawing.ReferencedROINumber = 2
    dataset.StructureSetROISequence = [foreign, dataset.StructureSetROISequence[0]]
    dataset.ROIContourSequence.append(drawing)
    dataset.FrameOfReferenceUID = "1.2.3.999"
    dataset.save_as(identified / "rs.dcm")
    case = intake.create_case(app, intake.open_path(identified))
    assert list(app.store.load_masks(app.store.latest_result(case.id, "structures"))) == ["Larynx"]
    assert [w for w in case.meta["warnings"] if "GTV_MR left out" in w and "another frame of reference" in w]
    frame = rt_objects.original_frame_uid(app, case.frame_uid, identified / "rs.dcm")
    assert frame == phantom.frame_of_reference_uid
    dataset.FrameOfReferenceUID = phantom.frame_of_reference_uid
    del dataset.StructureSetROISequence[0].ROINumber
    dataset.save_as(identified / "rs.dcm")
    case = intake.create_case(app, intake.open_path(identified))
    assert app.store.latest_result(case.id, "structures") is None
    assert [w for w in case.meta["warnings"] if w.startswith("RTSTRUCT left out") and "damaged" in w]


def test_real_series_with_structures_and_dose(app, shared_dir):
    upload = intake.open_path(shared_dir / "data" / "dicom" / "openkbp_dicom" / "pt_1")
    case = intake.create_case(app, upload)
    assert case.shape == (128, 128, 128)
    masks = app.store.load_masks(app.store.latest_result(case.id, "structures"))
    assert {"Brainstem", "Parotid_L"} <= set(masks)
    dose = app.store.latest_result(case.id, "dose")
    assert 60 < dose.payload["max_gy"] < 90
    assert app.store.load_array(dose, "dose").shape == (128, 128, 128)


BROKEN = b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\x04\0" + b"1.2\0" + b"\xff" * 9


def test_the_name_of_a_damaged_file_is_not_stored(app, identified):
    upload = intake.receive(app, [*upload_of(identified), ("Ewa/NOWAK_EWA.dcm", io.BytesIO(BROKEN))])
    assert any("NOWAK_EWA.dcm" in w for w in upload.accepted[0].warnings), "the user must find the file"
    case = intake.create_case(app, upload)
    intake.discard(app, upload)
    assert any(w.startswith("1 damaged file(s) were passed over: (file)") for w in case.meta["warnings"])
    assert b"NOWAK" not in all_bytes(app.settings.data_dir)


def test_ct_and_structures_in_a_zip_each(app, identified):
    def zipped(*files: Path) -> io.BytesIO:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for file in files:
                archive.write(file, file.name)
        buffer.seek(0)
        return buffer

    slices = sorted(identified.glob("Kowalska_*.dcm"))
    first = intake.receive(app, [("CT.zip", zipped(*slices)), ("RT.zip", zipped(identified / "rs.dcm"))])
    second = intake.open_upload(app, first.id)
    for upload in (first, second):
        assert [s.modality for s in upload.series] == ["CT", "RTSTRUCT"]
    case = intake.create_case(app, second)
    assert app.store.latest_result(case.id, "structures").payload["structures"][0]["name"] == "Larynx"
    inner = zipped(identified / "rs.dcm")
    (identified / "inner.zip").write_bytes(inner.getvalue())
    upload = intake.receive(app, [("all.zip", zipped(*slices, identified / "inner.zip"))])
    assert any("inner.zip" in w and "not opened" in w for w in upload.accepted[0].warnings)
    with pytest.raises(UnreadableFileError, match=r"cut\.zip"):
        intake.receive(app, [("cut.zip", io.BytesIO(inner.getvalue()[:-30])), ("CT.zip", zipped(*slices))])


def test_files_called_by_bare_numbers_may_come_twice(app):
    folder = intake.spool(app, [(name, io.BytesIO(name.encode() + b"x" * n)) for n, name in enumerate("1221")])
    assert sorted(f.stat().st_size for f in folder.rglob("*") if f.is_file()) == [1, 2, 3, 4]


def test_structures_under_the_series_uid_of_their_ct_are_no_slice_of_it(app, identified):
    dataset = pydicom.dcmread(identified / "rs.dcm")
    dataset.SeriesInstanceUID = pydicom.dcmread(identified / "Kowalska_0.dcm").SeriesInstanceUID
    dataset.save_as(identified / "rs.dcm")
    upload = intake.receive(app, upload_of(identified))
    assert [(s.modality, s.accepted) for s in upload.series] == [("CT", True), ("RTSTRUCT", False)]
    assert app.store.latest_result(intake.create_case(app, upload).id, "structures") is not None


def test_masks_beside_a_nifti_ct_are_not_dropped_in_silence(app, phantom, tmp_path):
    write_nifti(phantom, tmp_path / "nifti/ct.nii.gz")
    write_nifti(phantom.with_array(phantom.array > 0), tmp_path / "nifti/Larynx.nii.gz")
    upload = intake.receive(app, upload_of(tmp_path / "nifti"))
    ct, mask = (next(s for s in upload.series if s.description == n) for n in ("ct.nii.gz", "Larynx.nii.gz"))
    case = intake.create_case(app, upload, ct.series_uid)
    assert [w for w in case.meta["warnings"] if "1 other NIfTI" in w and "Treatment plan" in w]
    with pytest.raises(InputRefusedError, match="a mask, not a CT"):
        intake.create_case(app, upload, mask.series_uid)
