"""What is written is read back the same, and says what it is."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays
from phantoms import FRAME, ORIGIN, SPACING, head
from pydicom.uid import CTImageStorage

from hnvlm.imaging import intake, rt, write
from hnvlm.imaging.contours import contours_from_mask, mask_from_contours
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import MARK, write_dicom_series, write_nifti, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.imaging.write_seg import write_seg

SHAPE = (5, 60, 90)
CT = Volume(head(SHAPE), SPACING, ORIGIN, FRAME)
META = {"window_centre": 35.0, "window_width": 100.0, "kvp": 120.0, "body_part": "NECK", "patient_position": "HFS"}


def masks():
    left = np.zeros(SHAPE, bool)
    left[1:4, 10:30, 50:80] = True
    left[2, 15:20, 60:70] = False  # a hole
    left[3, 40:44, 5:9] = True  # an island
    tip = np.zeros(SHAPE, bool)
    tip[4, 59, 89] = True  # one voxel in the last corner
    return {"Parotid_L": left, "PTV_7000": tip, "Larynx": np.zeros(SHAPE, bool)}


def test_ct_is_read_back_voxel_by_voxel(tmp_path):
    files = write_dicom_series(CT, tmp_path, "CT of the case", False, META)
    assert len(files) == 5
    result = intake.read_path(tmp_path)
    assert result.volume.same_grid(CT) and result.volume.frame_of_reference_uid == FRAME
    np.testing.assert_array_equal(result.volume.array, CT.array)
    assert result.warnings == []
    assert {k: result.meta[k] for k in META} == META and result.meta["synthetic"] is False
    ds = pydicom.dcmread(files[0])
    assert "BurnedInAnnotation" not in ds, "nobody looked at the patient's pixels"
    assert ds.PatientIdentityRemoved == "YES" and ds.PatientID == "ANONYMOUS"


@pytest.mark.parametrize(("meta", "window"), [({"window_centre": 0, "window_width": 80}, (0, 80)), ({}, (40, 400))])
def test_a_window_around_water_is_kept(tmp_path, meta, window):
    ds = pydicom.dcmread(write_dicom_series(CT, tmp_path, "CT", False, meta)[0])
    assert (ds.WindowCenter, ds.WindowWidth) == window


def test_synthetic_ct_says_so_in_header_and_pixels(tmp_path):
    files = write_dicom_series(CT, tmp_path, "with a node", True, META)
    for file in files:
        ds = pydicom.dcmread(file)
        assert list(ds.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert ds.BurnedInAnnotation == "YES"
        assert ds.SeriesDescription.startswith(MARK)
        assert MARK in ds.ImageComments and "research use only" in ds.ImageComments
    result = intake.read_path(tmp_path)
    assert result.meta["synthetic"] is True
    changed = result.volume.array != CT.array
    assert changed.any(axis=(1, 2)).all()  # in every slice
    rows, columns = np.nonzero(changed.any(axis=0))
    assert rows.min() >= 0.7 * SHAPE[1] and columns.max() <= 0.55 * SHAPE[2]  # in the corner only
    bright = result.volume.array[0] == 1500
    assert bright.sum() > 40
    # Letters, not a bar: the mark has lit and dark columns within its width.
    lit = bright.any(axis=0)[: columns.max() + 1]
    assert np.abs(np.diff(lit.astype(int))).sum() > 3


def test_synthetic_and_real_series_never_share_uids(tmp_path):
    real = pydicom.dcmread(write_dicom_series(CT, tmp_path / "a", "x", False)[0])
    made = pydicom.dcmread(write_dicom_series(CT, tmp_path / "b", "x", True)[0])
    again = pydicom.dcmread(write_dicom_series(CT, tmp_path / "c", "x", False)[0])
    assert real.SeriesInstanceUID != made.SeriesInstanceUID and real.SOPInstanceUID != made.SOPInstanceUID
    assert real.SOPInstanceUID == again.SOPInstanceUID
    assert all(len(u) <= 64 for u in (real.SOPInstanceUID, real.SeriesInstanceUID, real.StudyInstanceUID))


def test_two_patients_of_one_image_share_no_uid(tmp_path):
    """An archive takes the same study, series or instance under two patient IDs for a mix-up of patients."""
    dose = CT.with_array(np.where(masks()["Parotid_L"], 50.0, 1.0).astype(np.float32))
    uids, instances = [], []
    for patient in ("A1", "B2", ""):
        out, meta = tmp_path / f"of{patient}", {"patient_id": patient}
        files = [
            *write_dicom_series(CT, out, "CT", False, meta),
            write_rtstruct(masks(), CT, out / "rs.dcm", meta=meta),
            write_seg(masks(), CT, out / "seg.dcm", meta=meta),
            write_rtdose(dose, CT, out / "rd.dcm", meta=meta),
        ]
        read = [pydicom.dcmread(f) for f in files]
        assert {str(ds.PatientID) for ds in read} == {patient or "ANONYMOUS"}
        assert len({str(ds.StudyInstanceUID) for ds in read}) == 1, "all of one patient in one study"
        uids.append({str(ds[k].value) for ds in read for k in ("StudyInstanceUID", "SeriesInstanceUID")})
        instances.append({str(ds.SOPInstanceUID) for ds in read})
        rs, seg = read[5], read[6]
        series = rs.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        assert (
            series.SeriesInstanceUID == seg.ReferencedSeriesSequence[0].SeriesInstanceUID == read[0].SeriesInstanceUID
        )
        assert {str(i.ReferencedSOPInstanceUID) for i in series.ContourImageSequence} <= instances[-1]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not uids[one] & uids[other] and not instances[one] & instances[other]


def test_rtstruct_round_trip_is_exact(tmp_path):
    path = write_rtstruct(masks(), CT, tmp_path / "rs.dcm")
    found = rt.read_structures(path, CT)
    assert set(found.masks) == {"Parotid_L", "PTV_7000"} and found.warnings == []
    for name, mask in found.masks.items():
        np.testing.assert_array_equal(mask, masks()[name])


def test_a_contour_of_any_length_keeps_its_type(tmp_path):
    """Of an element beyond 64 kB explicit encoding says only that it is bytes (PS3.5 6.2.2)."""
    rng = np.random.default_rng(3)
    volume = Volume(np.zeros((3, 420, 420), np.int16), (2.5, 0.7, 0.7), (-100.5, -101.25, -99.75), "1.2.3")
    mask = np.zeros(volume.shape, bool)
    mask[1, 10:-10, 10:-10] = rng.random((400, 400)) > 0.35
    path = write_rtstruct({"External": mask}, volume, tmp_path / "rs.dcm")
    contours = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    raw = [c.get_item("ContourData") for c in contours]
    assert max(len(item.value) for item in raw) > 65534
    assert all(c["ContourData"].VR == "DS" for c in contours)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_implicit_VR
    np.testing.assert_array_equal(rt.read_structures(path, volume).masks["External"], mask)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_says_what_it_is(tmp_path, name):
    volume = Volume(np.zeros((3, 4, 5), np.int16), (1.0, 1.0, 1.0))
    image = sitk.ReadImage(str(write_nifti(volume, tmp_path / name, "x" * 100)))
    assert image.GetMetaData("descrip") == "x" * 79


def test_rtstruct_refers_to_the_exported_ct_and_is_marked(tmp_path):
    files = write_dicom_series(CT, tmp_path / "ct", "CT", False)
    instances = {str(pydicom.dcmread(f).SOPInstanceUID) for f in files}
    ds = pydicom.dcmread(write_rtstruct(masks(), CT, tmp_path / "rs.dcm"))
    assert ds.StructureSetLabel == "AI DRAFT" and "research use only" in ds.SeriesDescription
    assert ds.ApprovalStatus == "UNAPPROVED"
    assert {r.ROIGenerationAlgorithm for r in ds.StructureSetROISequence} == {"AUTOMATIC"}
    used = {
        str(c.ContourImageSequence[0].ReferencedSOPInstanceUID)
        for roi in ds.ROIContourSequence
        for c in roi.ContourSequence
    }
    assert used and used <= instances
    assert ds.StudyInstanceUID == pydicom.dcmread(files[0]).StudyInstanceUID
    z = {float(c.ContourData[2]) for c in ds.ROIContourSequence[0].ContourSequence}
    assert z == {ORIGIN[0] + 2.5 * k for k in (1, 2, 3)}
    assert [o.RTROIInterpretedType for o in ds.RTROIObservationsSequence] == ["ORGAN", "PTV"]


def test_an_object_that_refers_to_a_ct_builds_one_header_of_it(tmp_path, monkeypatch):
    """A full header of every slice was built to refer to them: half a minute for a CT of thousands of slices."""
    made, build = [], write.new_dataset
    monkeypatch.setattr(write, "new_dataset", lambda *args: made.append(args[0]) or build(*args))
    write_rtstruct(masks(), CT, tmp_path / "rs.dcm")
    write_rtdose(CT.with_array(np.full(SHAPE, 2.0, np.float32)), CT, tmp_path / "rd.dcm")
    assert made.count(CTImageStorage) == 2
    ct = [pydicom.dcmread(f) for f in write_dicom_series(CT, tmp_path / "ct", "CT", False)]
    rs = pydicom.dcmread(tmp_path / "rs.dcm")
    series = rs.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    named = [str(i.ReferencedSOPInstanceUID) for i in series.ContourImageSequence]
    assert named == [str(ds.SOPInstanceUID) for ds in ct] == write.instance_uids(CT, False)
    for roi in rs.ROIContourSequence:
        for contour in roi.ContourSequence:
            slice_index = named.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
            assert float(contour.ContourData[2]) == float(ct[slice_index].ImagePositionPatient[2])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PTV_7000", "PTV"),
        ("ctv boost", "CTV"),
        ("PTV_5600-PTV_7000", "PTV"),
        ("PTV_7000_Ring", "CONTROL"),
        ("PTV_7000+5mm", "CONTROL"),
        ("PTV_7000_opt", "CONTROL"),
        ("PTV_avoid", "AVOIDANCE"),
        ("External", "EXTERNAL"),
        ("Bolus", "BOLUS"),
        ("Bolus_05", "BOLUS"),
        ("CouchSurface", "SUPPORT"),
        ("Isocenter", "ISOCENTER"),
        ("Larynx", "ORGAN"),
    ],
)
def test_what_is_no_organ_and_no_target_says_so(tmp_path, name, kind):
    """A ring called itself a PTV, and bolus and couch organs."""
    ds = pydicom.dcmread(write_rtstruct({name: masks()["Parotid_L"]}, CT, tmp_path / "rs.dcm"))
    assert ds.RTROIObservationsSequence[0].RTROIInterpretedType == kind


def test_rt_objects_have_the_operators_name_that_their_series_asks_for(tmp_path):
    """Of type 2 (PS3.3 C.8.8.1): there and empty."""
    files = (
        write_rtstruct(masks(), CT, tmp_path / "rs.dcm"),
        write_rtdose(CT.with_array(np.full(SHAPE, 2.0, np.float32)), CT, tmp_path / "rd.dcm"),
    )
    for file in files:
        ds = pydicom.dcmread(file)
        assert "OperatorsName" in ds and str(ds.OperatorsName or "") == ""


def test_a_backslash_makes_no_second_name(tmp_path):
    ds = pydicom.dcmread(write_rtstruct({"Node\\left": masks()["Parotid_L"]}, CT, tmp_path / "rs.dcm"))
    assert ds.StructureSetROISequence[0].ROIName == "Node/left"


def test_who_drew_a_set_and_what_a_structure_is_are_said(tmp_path):
    """A set that the clinic drew called itself an AI draft; a target in small letters and the skin were organs."""
    box = np.zeros(SHAPE, bool)
    box[1:3, 4:9, 7:20] = True
    drawn = {"External": box, "ptv boost": box, "Larynx": box}
    for clinic, words in (
        ((), "AI draft"),
        (("Larynx",), "AI draft"),
        (tuple(drawn), "Structures drawn by the clinic"),
    ):
        ds = pydicom.dcmread(write_rtstruct(drawn, CT, tmp_path / "rs.dcm", clinic=clinic))
        assert ds.SeriesDescription.startswith(words) and "research use only" in ds.SeriesDescription
        assert (ds.StructureSetLabel == "AI DRAFT") == (words == "AI draft")
        assert [o.RTROIInterpretedType for o in ds.RTROIObservationsSequence] == ["EXTERNAL", "PTV", "ORGAN"]
        assert [r.ROIGenerationAlgorithm == "" for r in ds.StructureSetROISequence] == [n in clinic for n in drawn]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays(bool, (2, 7, 9)))
def test_any_mask_survives_contours(mask):
    """Also with voxels that touch by their corners and voxels on the border."""
    volume = Volume(np.zeros((2, 7, 9), np.int16), (2.5, 0.7, 1.1), (-3.0, 100.0, -40.0))
    contours = [points for _, points in contours_from_mask(mask, volume)]
    back, _ = mask_from_contours(contours, volume)
    np.testing.assert_array_equal(back, mask)


def test_seg_round_trip_is_exact_and_marked(tmp_path):
    path = write_seg(masks(), CT, tmp_path / "seg.dcm")
    found = rt.read_structures(path, CT)
    assert set(found.masks) == {"Parotid_L", "PTV_7000"}
    for name, mask in found.masks.items():
        np.testing.assert_array_equal(mask, masks()[name])
    ds = pydicom.dcmread(path)
    assert "research use only" in ds.ContentDescription and ds.SeriesDescription == ds.ContentDescription
    assert {s.SegmentAlgorithmType for s in ds.SegmentSequence} == {"AUTOMATIC"}
    info = next(s for s in intake.scan(path) if s.modality == "SEG")
    assert not info.accepted and info.frame_of_reference_uid == FRAME


def test_another_mask_of_the_same_name_is_another_segmentation(tmp_path):
    """An archive keeps the first object of a UID, so a corrected contour would be lost there."""
    volume = Volume(head(), SPACING, ORIGIN, FRAME)
    mask = np.zeros(volume.shape, bool)
    mask[2:4, 3:7, 4:9] = True
    larger = mask.copy()
    larger[4, 3:5, 4:6] = True
    files = [write_seg({"Parotid_L": m}, volume, tmp_path / f"{n}.dcm") for n, m in enumerate((mask, larger, mask))]
    first, second, again = (pydicom.dcmread(f, stop_before_pixels=True) for f in files)
    for tag in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[tag].value == again[tag].value != second[tag].value
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID == FRAME


def test_masks_off_the_grid_are_refused(tmp_path):
    wrong = {"Larynx": np.ones((2, 2, 2), bool)}
    with pytest.raises(ValueError, match="not on the grid"):
        write_rtstruct(wrong, CT, tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="not on the grid"):
        write_seg(wrong, CT, tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="no structure"):
        write_seg({}, CT, tmp_path / "a.dcm")


@pytest.mark.parametrize("synthetic", [False, True])
def test_what_goes_with_a_synthetic_ct_says_so_too(tmp_path, synthetic):
    dose = CT.with_array(np.where(masks()["PTV_7000"], 70.0, 1.0).astype(np.float32))
    written = (
        write_rtstruct(masks(), CT, tmp_path / "rs.dcm", synthetic=synthetic),
        write_seg(masks(), CT, tmp_path / "seg.dcm", synthetic=synthetic),
        write_rtdose(dose, CT, tmp_path / "rd.dcm", synthetic=synthetic),
    )
    for path in written:
        description = pydicom.dcmread(path).SeriesDescription
        assert description.startswith("SYNTHETIC CT: ") == synthetic, path.name
        assert "research use only" in description or "PREDICTED" in description, path.name
