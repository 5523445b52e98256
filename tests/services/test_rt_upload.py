"""RT objects added to a stored case: same masks and dose, other frames refused, nothing left on disk."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from hnvlm.errors import FrameOfReferenceError, InputRefusedError, UnreadableFileError
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.imaging.write_seg import write_seg
from hnvlm.services import dose, rt_upload
from hnvlm.services.identity import map_uid

FRAME = "1.2.826.0.1.77"


@pytest.fixture
def ct(app, phantom):
    """The phantom as intake stores it: its frame of reference replaced by a keyed hash."""
    stored = Volume(phantom.array, phantom.spacing_mm, phantom.origin_mm, map_uid(app, FRAME))
    return app.store.add_case(stored).id


@pytest.fixture
def files(phantom, tmp_path):
    """RTSTRUCT and RTDOSE of the clinic, in the CT's own frame of reference."""
    mask = np.zeros(phantom.shape, bool)
    mask[2:5, 6:12, 8:15] = True
    gy = phantom.with_array(np.where(mask, 66.6, 12.3).astype(np.float32))
    return (
        {
            "rs.dcm": write_rtstruct({"PTV_7000": mask}, phantom, tmp_path / "rs.dcm").read_bytes(),
            "rd.dcm": write_rtdose(gy, phantom, tmp_path / "rd.dcm", predicted=False).read_bytes(),
            "dose.nii.gz": write_nifti(gy, tmp_path / "dose.nii.gz").read_bytes(),
            "Larynx.nii.gz": write_nifti(phantom.with_array(mask), tmp_path / "Larynx.nii.gz").read_bytes(),
            "ct.nii.gz": write_nifti(phantom, tmp_path / "ct.nii.gz").read_bytes(),
        },
        mask,
        gy,
    )


def write_nifti_bytes(volume):
    with tempfile.TemporaryDirectory() as folder:
        return write_nifti(volume, Path(folder) / "mask.nii.gz").read_bytes()


def opened(contents, *names):
    return [(name, io.BytesIO(contents[name])) for name in names]


def test_dicom_is_added_to_the_case_of_its_frame(app, ct, files):
    contents, mask, gy = files
    saved, notes = rt_upload.attach(app, ct, opened(contents, "rs.dcm", "rd.dcm"), who="Dr A")
    assert [r.kind for r in saved] == ["structures", "dose"] and notes == [] and saved[0].who == "Dr A"
    np.testing.assert_array_equal(dose.structures(app, ct).masks["PTV_7000"], mask)
    found = dose.doses(app, ct)[0]
    assert dose.label(found) == "Uploaded dose" and not dose.is_predicted(found)
    assert np.abs(dose.load(app, found).array - gy.array).max() < 0.01
    assert not list(app.uploads_dir.iterdir()), "identified files must not stay on disk"


def test_a_zip_and_nifti_are_taken_too(app, ct, files):
    contents, mask, _ = files
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        for name in ("dose.nii.gz", "Larynx.nii.gz", "ct.nii.gz"):
            out.writestr(f"case/{name}", contents[name])
    packed.seek(0)
    saved, notes = rt_upload.attach(app, ct, [("case.zip", packed)])
    assert [r.kind for r in saved] == ["structures", "dose"] and "1 other file(s) were left out" in notes
    np.testing.assert_array_equal(dose.structures(app, ct).masks["Larynx"], mask)


def test_the_table_of_contents_of_a_disc_is_passed_over(app, ct, files):
    contents, mask, _ = files
    table = Path(get_testdata_file("DICOMDIR")).read_bytes()
    saved, notes = rt_upload.attach(app, ct, [*opened(contents, "rs.dcm"), ("DICOMDIR", io.BytesIO(table))])
    assert [r.kind for r in saved] == ["structures"] and notes == ["1 other file(s) were left out"]
    np.testing.assert_array_equal(dose.structures(app, ct).masks["PTV_7000"], mask)


def test_what_does_not_belong_is_refused_and_nothing_is_stored(app, ct, files, phantom):
    contents = files[0]
    other = app.store.add_case(Volume(phantom.array, phantom.spacing_mm, phantom.origin_mm, map_uid(app, "1.9.9"))).id
    with pytest.raises(FrameOfReferenceError, match="another frame of reference"):
        rt_upload.attach(app, other, opened(contents, "rs.dcm"))
    with pytest.raises(InputRefusedError, match="holds structures or dose"):
        rt_upload.attach(app, ct, [("notes.txt", io.BytesIO(b"hello")), *opened(contents, "ct.nii.gz")])
    with pytest.raises(UnreadableFileError):
        rt_upload.attach(app, ct, [*opened(contents, "rs.dcm"), ("dose.nii.gz", io.BytesIO(b"\x1f\x8b broken"))])
    assert dose.doses(app, ct) == [] and dose.structures(app, ct).masks == {}, "half an upload is no upload"
    assert not list(app.uploads_dir.iterdir())


def test_two_plans_are_not_added_up(app, ct, files, phantom, tmp_path):
    """140 Gy would be judged where two plans of 70 Gy were compared."""
    contents, _, gy = files
    again = write_rtdose(phantom.with_array(gy.array * 0.9), phantom, tmp_path / "other.dcm", predicted=False)
    two = [*opened(contents, "rd.dcm"), ("other.dcm", io.BytesIO(again.read_bytes()))]
    with pytest.raises(InputRefusedError, match=r"2 doses of whole plans \(.*other\.dcm.*\)"):
        rt_upload.attach(app, ct, two)
    with pytest.raises(InputRefusedError, match="count one treatment twice"):
        rt_upload.attach(app, ct, opened(contents, "rd.dcm", "dose.nii.gz"))
    assert dose.doses(app, ct) == []


def test_of_two_structure_sets_one_is_taken_and_segmentations_are_added_afterwards(app, ct, files, phantom, tmp_path):
    """Joined, they would mix two states of planning; by itself each can be had."""
    contents = files[0]
    larger = np.zeros(phantom.shape, bool)
    larger[2:5, 4:14, 6:17] = True
    contents["old.dcm"] = write_rtstruct({"Larynx": larger}, phantom, tmp_path / "old.dcm").read_bytes()
    with pytest.raises(InputRefusedError, match="neither a plan nor their dates"):
        rt_upload.attach(app, ct, opened(contents, "old.dcm", "rs.dcm"))
    for name, day in (("old.dcm", "20010203"), ("rs.dcm", "20010204")):
        dataset = pydicom.dcmread(tmp_path / name)
        dataset.StructureSetDate = day
        dataset.save_as(tmp_path / name)
        contents[name] = (tmp_path / name).read_bytes()
    write_seg({"Esophagus": larger}, phantom, tmp_path / "seg.dcm")
    contents["seg.dcm"] = (tmp_path / "seg.dcm").read_bytes()
    _, notes = rt_upload.attach(app, ct, opened(contents, "old.dcm", "seg.dcm", "rs.dcm"))
    assert list(dose.structures(app, ct).masks) == ["PTV_7000"]
    assert any("2 structure sets" in n and "newest" in n for n in notes) and any("1 SEG left out" in n for n in notes)
    _, notes = rt_upload.attach(app, ct, opened(contents, "old.dcm"))
    assert list(dose.structures(app, ct).masks) == ["Larynx"]
    assert notes == ["no longer used, for the structure set does not hold them: PTV_7000"]
    _, notes = rt_upload.attach(app, ct, opened(contents, "seg.dcm"))
    assert set(dose.structures(app, ct).masks) == {"Larynx", "Esophagus"}
    assert notes == ["added to the structures uploaded before, which stay: Larynx"]


def test_one_mask_more_leaves_the_clinics_targets_where_they_are(app, ct, files, phantom):
    """Added by itself it was the whole set: the AI's targets came in the place of the clinic's."""
    contents, mask, _ = files
    theirs = np.zeros(phantom.shape, bool)
    theirs[1:3, 9:14, 5:9] = True
    guessed = {"PTV_7000": ~mask, "PTV_5600": theirs, "Brainstem": theirs}
    app.store.save_result(ct, "segmentation", {"uncertainty": {}, "seconds": 0}, arrays={"masks": guessed})
    rt_upload.attach(app, ct, opened(contents, "rs.dcm"))
    saved, notes = rt_upload.attach(app, ct, opened(contents, "Larynx.nii.gz"))
    assert "added to the structures uploaded before, which stay: PTV_7000" in notes
    assert {s["name"]: s["volume_ml"] for s in saved[0].payload["structures"]} == {
        # 3 x 6 x 7 voxels of 3 x 1.25 x 1.5 mm
        "PTV_7000": pytest.approx(126 * 5.625 / 1000, abs=1e-3), "Larynx": pytest.approx(126 * 5.625 / 1000, abs=1e-3),
    }  # fmt: skip
    found = dose.structures(app, ct)
    assert found.source == {"PTV_7000": "clinic", "Larynx": "clinic", "Brainstem": "AI"}
    np.testing.assert_array_equal(found.masks["PTV_7000"], mask)
    contents["Larynx.nii.gz"] = write_nifti_bytes(phantom.with_array(theirs))
    _, notes = rt_upload.attach(app, ct, opened(contents, "Larynx.nii.gz"))
    assert "replaced by the new ones: Larynx" in notes
    found = dose.structures(app, ct)
    np.testing.assert_array_equal(found.masks["Larynx"], theirs)
    np.testing.assert_array_equal(found.masks["PTV_7000"], mask)


@pytest.mark.parametrize("name", ["dose.nii.gz", "rd.dcm"])
def test_a_dose_of_0_gy_everywhere_is_no_dose(app, ct, files, phantom, name):
    """It was stored, and every limit of an organ was met under it."""
    contents, _, gy = files
    if name == "rd.dcm":  # the file of a plan that was never calculated
        tags = pydicom.dcmread(io.BytesIO(contents[name]))
        tags.PixelData = bytes(len(tags.PixelData))
        written = io.BytesIO()
        tags.save_as(written)
        empty = written.getvalue()
    else:
        empty = write_nifti_bytes(gy.with_array(np.zeros(phantom.shape, np.float32)))
    with pytest.raises(InputRefusedError, match=r"0 Gy everywhere .* Calculate"):
        rt_upload.attach(app, ct, [*opened(contents, "rs.dcm"), (name, io.BytesIO(empty))])
    assert app.store.latest_result(ct, "dose") is None and app.store.latest_result(ct, "structures") is None


def test_two_uploads_at_once_keep_both(app, ct, files, phantom, monkeypatch):
    """The second comes after the first has read what is there, and before it has stored."""
    mask = files[1].astype(np.uint8)
    first, second = (write_nifti_bytes(phantom.with_array(m)) for m in (mask, np.roll(mask, 1, axis=0)))
    read = rt_upload._with_earlier
    late = [("GTVn.nii.gz", io.BytesIO(second))]

    def slowly(*args, **kwargs):
        merged = read(*args, **kwargs)
        if late:
            rt_upload.attach(app, ct, [late.pop()], who="Dr B")
        return merged

    monkeypatch.setattr(rt_upload, "_with_earlier", slowly)
    saved, notes = rt_upload.attach(app, ct, [("GTVp.nii.gz", io.BytesIO(first))], who="Dr A")
    kept = app.store.load_masks(app.store.latest_result(ct, "structures"))
    assert sorted(kept) == ["GTVn", "GTVp"] and saved[0].who == "Dr A"
    assert notes[-1] == "added to the structures uploaded before, which stay: GTVn"
    np.testing.assert_array_equal(kept["GTVp"], mask > 0)
