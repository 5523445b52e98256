"""RTDOSE, RTSTRUCT and SEG of ours in readers that are not ours: SimpleITK, rt-utils, raw pydicom."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage
from skimage.draw import polygon2mask

from hnvlm.imaging import rt
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series, write_rtstruct
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.imaging.write_seg import write_seg

# Three different sizes, spacings and origins, and nothing symmetric.
CT = Volume(
    np.random.default_rng(2).integers(-100, 100, (9, 26, 34)).astype(np.int16), (2.5, 1.75, 0.9), (-40.5, 12.25, -61.0),
    "1.2.826.0.1.55",
)  # fmt: skip


def a_dose() -> Volume:
    z, y, x = np.indices(CT.shape)
    gy = 70.0 * np.exp(-(((z - 3) / 3) ** 2 + ((y - 9) / 7) ** 2 + ((x - 20) / 8) ** 2)) + 0.037 * x
    gy[:, :2], gy[:, :, 30:], gy[8] = 0, 0, 0
    return CT.with_array(gy.astype(np.float32))


def some_masks() -> dict[str, np.ndarray]:
    z, y, x = np.indices(CT.shape)
    ball = ((z - 4) / 3) ** 2 + ((y - 12) / 8) ** 2 + ((x - 22) / 9) ** 2 < 1
    ring = ball & ~(((z - 4) / 3) ** 2 + ((y - 12) / 4) ** 2 + ((x - 22) / 4) ** 2 < 1)
    bar = np.zeros(CT.shape, bool)
    bar[1:7, 3:6, 2:11] = True
    return {"PTV_7000": ring, "Parotid_R": bar}


def test_simpleitk_reads_the_same_dose_at_the_same_place(tmp_path):
    dose = a_dose()
    image = sitk.ReadImage(str(write_rtdose(dose, CT, tmp_path / "rd.dcm")))
    # SimpleITK gives stored values; the tag says what one of them is worth.
    stored = sitk.GetArrayFromImage(image).astype(np.float64)
    scaling = float(pydicom.dcmread(tmp_path / "rd.dcm").DoseGridScaling)
    if stored.max() > 1000:
        stored *= scaling
    spacing, origin = np.array(image.GetSpacing()[::-1]), np.array(image.GetOrigin()[::-1])
    np.testing.assert_allclose(spacing, CT.spacing_mm, atol=1e-5)
    first = np.rint((origin - CT.origin_mm) / CT.spacing_mm).astype(int)
    np.testing.assert_allclose(CT.index_to_mm(first), origin, atol=1e-4)
    back = np.zeros(CT.shape)
    back[tuple(slice(f, f + n) for f, n in zip(first, stored.shape, strict=True))] = stored
    assert np.abs(back - dose.array).max() < 0.01


@pytest.mark.parametrize(
    ("summation", "inside"),
    [
        ("PLAN", None),
        ("FRACTION", ()),
        ("BEAM", ("ReferencedBeamSequence",)),
        ("BRACHY", ("ReferencedBrachyApplicationSetupSequence",)),
        ("CONTROL_POINT", ("ReferencedBeamSequence", "ReferencedControlPointSequence")),
    ],
)
def test_a_dose_of_a_part_names_the_part_and_says_that_no_plan_lies_behind(tmp_path, summation, inside):
    """PS3.3 C.8.8.3 asks for fraction group and beam of what is not the dose of a whole plan."""
    ds = pydicom.dcmread(write_rtdose(a_dose(), CT, tmp_path / "rd.dcm", tags={"DoseSummationType": summation}))
    (plan,) = ds.ReferencedRTPlanSequence
    assert ds.DoseSummationType == summation
    told = "No plan lies behind" in ds.ImageComments
    assert ("ReferencedFractionGroupSequence" in plan, told) == (inside is not None,) * 2
    if inside is not None:
        node = plan.ReferencedFractionGroupSequence[0]
        assert node.ReferencedFractionGroupNumber == 1
        for name in inside:
            (node,) = node[name].value


def test_our_own_reader_gives_it_back(tmp_path):
    dose = a_dose()
    said = []
    back = rt.read_dose(write_rtdose(dose, CT, tmp_path / "rd.dcm"), CT, warn=said.append)
    assert said == [] and np.abs(back.array - dose.array).max() < 0.01


def test_a_prediction_says_so_in_its_tags(tmp_path):
    ds = pydicom.dcmread(write_rtdose(a_dose(), CT, tmp_path / "rd.dcm", note="scaled by 0.9", version="3"))
    assert "research use only" in ds.SeriesDescription and "PREDICTED" in ds.SeriesDescription
    assert ds.DoseComment == "AI draft, research use only: PREDICTED, not calculated" and len(ds.DoseComment) <= 64
    assert "PREDICTED by a model, not calculated" in ds.ImageComments and "scaled by 0.9" in ds.ImageComments
    assert (ds.ApprovalStatus, ds.DoseUnits, ds.DoseSummationType, ds.SoftwareVersions) == (
        "UNAPPROVED",
        "GY",
        "PLAN",
        "3",
    )
    assert ds.FrameOfReferenceUID == CT.frame_of_reference_uid and ds.PatientIdentityRemoved == "YES"
    ct = pydicom.dcmread(write_dicom_series(CT, tmp_path / "ct", "x", False)[0])
    assert ds.StudyInstanceUID == ct.StudyInstanceUID
    clinic = pydicom.dcmread(write_rtdose(a_dose(), CT, tmp_path / "c.dcm", predicted=False))
    assert "PREDICTED" not in clinic.DoseComment + clinic.ImageComments and clinic.SOPInstanceUID != ds.SOPInstanceUID


def test_a_dose_that_says_something_else_is_another_object(tmp_path):
    """An archive keeps the first object of a UID: after the contours were corrected, the dose there still referred to
    the structure set of before."""
    plain = {"predicted": False, "structure_set_uid": "1.2.3"}
    changes = ({}, {"structure_set_uid": "1.2.4"}, {"what_if": True}, {"version": "2"}, {"note": "scaled"}, {})
    read = [pydicom.dcmread(write_rtdose(a_dose(), CT, tmp_path / "rd.dcm", **plain | change)) for change in changes]
    uids = [str(ds.SOPInstanceUID) for ds in read]
    assert len(set(uids)) == len(changes) - 1 and uids[0] == uids[-1]
    assert [ds.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID for ds in read[:2]] == ["1.2.3", "1.2.4"]
    assert len({str(ds.SeriesInstanceUID) for ds in read}) == len(changes) - 1


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_scaled_dose_of_the_clinic_is_not_called_the_one_that_was_imported(tmp_path, synthetic):
    ds = pydicom.dcmread(
        write_rtdose(a_dose(), CT, tmp_path / "rd.dcm", predicted=False, what_if=True, synthetic=synthetic)
    )
    for words in (ds.SeriesDescription, ds.DoseComment, ds.ImageComments):
        assert "what-if" in words.lower() and "SCALED" in words and "PREDICTED" not in words
        assert words.endswith("research use only")
    assert len(ds.SeriesDescription) <= 64 and len(ds.DoseComment) <= 64
    assert ds.SeriesDescription.startswith("SYNTHETIC CT: ") == synthetic
    guess = pydicom.dcmread(write_rtdose(a_dose(), CT, tmp_path / "g.dcm", what_if=True, synthetic=synthetic))
    assert guess.SeriesDescription.endswith("what-if, PREDICTED") and "what-if, PREDICTED" in guess.DoseComment
    assert len(guess.SeriesDescription) <= 64 and len(guess.DoseComment) <= 64


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda a: -a, "not negative"), (lambda a: a * np.nan, "finite"), (lambda a: a * 0, "no dose to write")],
)
def test_what_is_no_dose_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_rtdose(CT.with_array(change(a_dose().array)), CT, tmp_path / "rd.dcm")
    with pytest.raises(ValueError, match="not on the grid"):
        write_rtdose(Volume(np.ones((2, 2, 2), np.float32), CT.spacing_mm), CT, tmp_path / "rd.dcm")


def polygon_mask(contour: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pixels whose centre is inside a polygon of (row, column) points, by scikit-image."""
    return polygon2mask((rows, columns), contour)


def test_rtstruct_by_pydicom_and_another_rasteriser(tmp_path):
    masks = some_masks()
    ds = pydicom.dcmread(write_rtstruct(masks, CT, tmp_path / "rs.dcm", clinic={"Parotid_R"}))
    names = {int(r.ROINumber): str(r.ROIName) for r in ds.StructureSetROISequence}
    assert [r.ROIGenerationAlgorithm for r in ds.StructureSetROISequence] == ["AUTOMATIC", ""]
    for roi in ds.ROIContourSequence:
        back = np.zeros(CT.shape, bool)
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            index = CT.mm_to_index(points[:, ::-1])
            k = round(index[0, 0])
            assert np.allclose(index[:, 0], k, atol=1e-3)
            back[k] ^= polygon_mask(index[:, 1:], *CT.shape[1:])
        wrong = back ^ masks[names[int(roi.ReferencedROINumber)]]
        assert wrong.sum() == 0


def test_rtstruct_by_rt_utils(tmp_path):
    pytest.importorskip("cv2", reason="rt-utils needs OpenCV")
    rt_utils = pytest.importorskip("rt_utils", reason="an independent reader of RTSTRUCT: pip install rt-utils")
    # rt-utils exchanges rows and columns, and their spacings, so in plane this image is square; the content is not.
    array = np.pad(CT.array, ((0, 0), (0, 8), (0, 0)))
    square = Volume(array, (2.5, 1.1, 1.1), CT.origin_mm, CT.frame_of_reference_uid)
    masks = {name: np.pad(mask, ((0, 0), (0, 8), (0, 0))) for name, mask in some_masks().items()}
    write_dicom_series(square, tmp_path / "ct", "x", False)
    path = write_rtstruct(masks, square, tmp_path / "rs.dcm")
    opened = rt_utils.RTStructBuilder.create_from(dicom_series_path=str(tmp_path / "ct"), rt_struct_path=str(path))
    assert opened.get_roi_names() == list(masks)
    for name, mask in masks.items():
        back = np.moveaxis(opened.get_roi_mask_by_name(name), 2, 0)  # (row, column, slice) there
        # OpenCV fills the border pixels of a polygon too, so at most one voxel more in plane.
        wide, narrow = (f(mask, np.ones((1, 3, 3))) for f in (ndimage.binary_dilation, ndimage.binary_erosion))
        assert not (back & ~wide).any() and not (narrow & ~back).any(), name
        assert np.flatnonzero(back.any((1, 2))).tolist() == np.flatnonzero(mask.any((1, 2))).tolist()


def test_seg_by_raw_pydicom(tmp_path):
    masks = some_masks()
    ds = pydicom.dcmread(write_seg(masks, CT, tmp_path / "seg.dcm"))
    frames = ds.pixel_array
    labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in ds.SegmentSequence}
    back = {name: np.zeros(CT.shape, bool) for name in masks}
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        index = CT.mm_to_index(position[::-1])
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        k, row, column = (round(v) for v in index)
        back[labels[number]][k, row : row + frame.shape[0], column : column + frame.shape[1]] |= frame.astype(bool)
    for name, mask in masks.items():
        np.testing.assert_array_equal(back[name], mask)


def test_codes_of_a_seg_tell_left_from_right_and_one_kind_of_target_from_another(tmp_path):
    """By their codes alone both parotids were one, and a GTV was a body structure."""
    mask = some_masks()["Parotid_R"]
    masks = dict.fromkeys(("Parotid_L", "Parotid_R", "Larynx", "GTV_7000", "CTV_5600_L"), mask)
    ds = pydicom.dcmread(write_seg(masks, CT, tmp_path / "seg.dcm"))
    told = {}
    for segment in ds.SegmentSequence:
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        sides = [m.CodeMeaning for m in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
        told[str(segment.SegmentLabel)] = (kind.CodeValue, *sides)
    assert told == {
        "Parotid_L": ("45289007", "Left"), "Parotid_R": ("45289007", "Right"), "Larynx": ("4596009",),
        "GTV_7000": ("228791009",), "CTV_5600_L": ("228792002",),
    }  # fmt: skip
