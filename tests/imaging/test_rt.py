"""Structures and dose on the CT's grid: areas and doses by hand, every refusal."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
from phantoms import FRAME, STUDY
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, RTPlanStorage, RTStructureSetStorage, generate_uid

from hnvlm.errors import FrameOfReferenceError, GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import rt
from hnvlm.imaging.contours import fill_even_odd
from hnvlm.imaging.dose import of_one_plan
from hnvlm.imaging.tg263 import to_tg263
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import ct_headers, write_nifti

CT = Volume(np.zeros((6, 20, 30), np.int16), (2.5, 2.0, 1.0), (-10.0, 5.0, -7.0), FRAME)


def new(storage, modality):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = storage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = storage, meta.MediaStorageSOPInstanceUID, modality
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, generate_uid()
    return ds


def rtstruct(path, rois, frame=FRAME, kind="CLOSED_PLANAR"):
    """rois: name -> list of contours, each an (n, 3) list of LPS (x, y, z)."""
    ds = new(RTStructureSetStorage, "RTSTRUCT")
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 11):
        roi, drawing = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawing.ReferencedROINumber, drawing.ContourSequence = number, []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType = kind
            item.NumberOfContourPoints = len(points)
            item.ContourData = [float(round(v, 4)) for p in points for v in p]
            drawing.ContourSequence.append(item)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawing)
    ds.save_as(path, enforce_file_format=True)
    return path


def box(x0, x1, y0, y1, z):
    return [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]


# Rows are 2 mm from y = 5, columns 1 mm from x = -7: this box holds columns 5..9 and rows 3..6 on any slice.
BOX = (-2.5, 2.5, 10.0, 18.0)


def test_box_covers_the_voxels_counted_by_hand(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Lt Parotid": [box(*BOX, -5.0), box(*BOX, -2.5)]})
    masks, unmapped, warnings = rt.read_structures(path, CT)
    assert list(masks) == ["Parotid_L"] and unmapped == [] and warnings == []
    expected = np.zeros(CT.shape, bool)
    expected[2:4, 3:7, 5:10] = True
    np.testing.assert_array_equal(masks["Parotid_L"], expected)


def test_hole_island_and_keyhole(tmp_path):
    outer, inner = box(-4.5, 4.5, 8.0, 22.0, 0.0), box(-1.5, 1.5, 12.0, 18.0, 0.0)
    keyhole = [*outer[:1], *inner[::-1], inner[-1], *outer]
    two = rtstruct(tmp_path / "a.dcm", {"Mandible": [outer, inner]})
    one = rtstruct(tmp_path / "b.dcm", {"Mandible": [keyhole]})
    a = rt.read_structures(two, CT).masks["Bone_Mandible"]
    b = rt.read_structures(one, CT).masks["Bone_Mandible"]
    assert a.sum() == 9 * 7 - 3 * 3
    assert not a[4, 5, 7] and a[4, 3, 4]
    assert (a ^ b).sum() <= 4  # the slit itself


def test_contours_between_slices_are_not_lost(tmp_path):
    """Planes 1 mm off the slices: each slice takes the nearest plane, the extent stays two slices."""
    path = rtstruct(tmp_path / "rs.dcm", {"Cord": [box(*BOX, z + 1.0) for z in (-5.0, -2.5)]})
    mask = rt.read_structures(path, CT).masks["SpinalCord"]
    assert mask.any(axis=(1, 2)).tolist() == [False, False, True, True, False, False]
    midway = rtstruct(tmp_path / "mid.dcm", {"Cord": [box(*BOX, z + 1.25) for z in (-5.0, -2.5)]})
    assert rt.read_structures(midway, CT).masks["SpinalCord"].any(axis=(1, 2)).sum() == 2


def test_planes_wider_than_slices_fill_the_slices_between(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Cord": [box(*BOX, z) for z in (-7.5, -2.5, 2.5)]})
    mask = rt.read_structures(path, CT).masks["SpinalCord"]
    assert mask.any(axis=(1, 2))[1:].all()


def test_sagittal_contours_are_turned(tmp_path):
    planes = [[(x, 10.0, -6.0), (x, 20.0, -6.0), (x, 20.0, 0.6), (x, 10.0, 0.6)] for x in (0.0, 1.0, 2.0, 3.0)]
    masks, _, warnings = rt.read_structures(rtstruct(tmp_path / "rs.dcm", {"Larynx": planes}), CT)
    assert any("not axial" in w for w in warnings)
    hit = np.argwhere(masks["Larynx"])
    low, high = CT.index_to_mm(hit.min(axis=0)), CT.index_to_mm(hit.max(axis=0))
    np.testing.assert_allclose(low, (-5.0, 11.0, 0.0), atol=1.01)
    np.testing.assert_allclose(high, (0.0, 19.0, 3.0), atol=1.01)


def test_other_frame_of_reference_is_refused(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Cord": [box(*BOX, -5.0)]}, frame="1.2.3")
    with pytest.raises(FrameOfReferenceError, match=r"rs\.dcm"):
        rt.read_structures(path, CT)
    # The case store replaces UIDs: then the original UID is given beside the volume.
    replaced = Volume(CT.array, CT.spacing_mm, CT.origin_mm, "2.25.99")
    assert rt.read_structures(path, replaced, "1.2.3").masks
    with pytest.raises(FrameOfReferenceError):
        rt.read_structures(path, replaced, FRAME)
    unknown = Volume(CT.array, CT.spacing_mm, CT.origin_mm)
    assert any("not checked" in w for w in rt.read_structures(path, unknown).warnings)


@pytest.mark.parametrize("foreign", [0, 1])
def test_only_structures_of_the_cts_frame_are_taken(tmp_path, foreign):
    """A set may hold structures drawn on an MR or a PET; their positions are not those of this CT."""
    names = ["Cord", "Larynx"]
    path = rtstruct(tmp_path / "rs.dcm", {n: [box(*BOX, z) for z in (-5.0, -2.5)] for n in names})
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[foreign].ReferencedFrameOfReferenceUID = "1.2.3.999"
    dataset.save_as(path)
    found = rt.read_structures(path, CT)
    assert list(found.masks) == [["SpinalCord", "Larynx"][1 - foreign]]
    assert found.warnings == [
        f"{names[foreign]} left out: it was drawn in another frame of reference than this CT's"
    ]  # fmt: skip
    dataset.StructureSetROISequence[1 - foreign].ReferencedFrameOfReferenceUID = "1.2.3.998"
    dataset.save_as(path)
    with pytest.raises(FrameOfReferenceError, match=r"rs\.dcm"):
        rt.read_structures(path, CT)
    del dataset.StructureSetROISequence[foreign].ReferencedFrameOfReferenceUID
    dataset.save_as(path)
    found = rt.read_structures(path, CT)
    assert list(found.masks) == [["SpinalCord", "Larynx"][foreign]]
    assert any("was not checked" in w for w in found.warnings)


def test_unmapped_point_and_conflicting_structures_are_said(tmp_path):
    rois = {"Cord": [box(*BOX, -5.0)], "SpinalCord": [box(*BOX, -2.5)], "Ring_PTV": [box(*BOX, 0.0)], "Lips": []}
    path = rtstruct(tmp_path / "rs.dcm", rois)
    found = rt.read_structures(path, CT)
    assert found.unmapped == ["Ring_PTV"] and list(found.masks) == ["SpinalCord"]
    assert found.masks["SpinalCord"][3].any() and not found.masks["SpinalCord"][2].any()
    assert any("both mean SpinalCord" in w for w in found.warnings)
    assert any("Lips has no contours" in w for w in found.warnings)
    assert "Ring_PTV" in rt.read_structures(path, CT, keep_unmapped=True).masks
    points = rtstruct(tmp_path / "p.dcm", {"Cord": [box(*BOX, -5.0)]}, kind="POINT")
    with pytest.raises(UnreadableFileError, match="no closed contours"):
        rt.read_structures(points, CT)


def test_structures_of_one_unknown_name_are_all_kept_and_empty_ones_said(tmp_path):
    """Three GTVp, one of them off the CT, and one that is called as the second would be."""
    far = [box(*BOX, 500.0)]
    rois = {"a": [box(*BOX, -5.0)], "b": [box(*BOX, -2.5), box(*BOX, 0.0)], "c": far, "GTVp (2)": [box(*BOX, 2.5)],
            "Helper": far}  # fmt: skip
    path = rtstruct(tmp_path / "rs.dcm", rois)
    dataset = pydicom.dcmread(path)
    for roi in dataset.StructureSetROISequence[:3]:
        roi.ROIName = "GTVp"
    dataset.save_as(path)
    found = rt.read_structures(path, CT, keep_unmapped=True)
    slices = {n: np.flatnonzero(m.any(axis=(1, 2))).tolist() for n, m in found.masks.items()}
    assert slices == {"GTVp": [2], "GTVp (2)": [3, 4], "GTVp (2) (2)": [5]}
    assert found.unmapped == list(slices)
    assert [w for w in found.warnings if "another structure is called GTVp, too; here it is called GTVp (2)" in w]
    assert [w for w in found.warnings if w.endswith("is empty on this CT")] == [
        "GTVp is empty on this CT", "Helper is empty on this CT",
    ]  # fmt: skip


def test_structures_outside_the_ct_are_refused(tmp_path):
    far = rtstruct(tmp_path / "rs.dcm", {"Cord": [box(*BOX, 500.0)]})
    with pytest.raises(GeometryError, match="another image"):
        rt.read_structures(far, CT)
    above = rtstruct(tmp_path / "b.dcm", {"Cord": [box(*BOX, z) for z in (0.0, 2.5, 5.0, 7.5)]})
    assert any("above or below" in w for w in rt.read_structures(above, CT).warnings)


def test_damaged_or_foreign_files_are_named(tmp_path):
    ds = pydicom.dcmread(rtstruct(tmp_path / "rs.dcm", {"Cord": [box(*BOX, -5.0)]}))
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = [1.0, 2.0, 3.0, 4.0]
    ds.save_as(tmp_path / "bad.dcm")
    with pytest.raises(UnreadableFileError, match=r"bad\.dcm"):
        rt.read_structures(tmp_path / "bad.dcm", CT)
    (tmp_path / "note.txt").write_text("no structures")
    with pytest.raises(UnreadableFileError, match="no structures"):
        rt.read_structures(tmp_path / "note.txt", CT)
    with pytest.raises(UnreadableFileError, match="no such file"):
        rt.read_structures(tmp_path / "absent", CT)


def test_even_odd_counts_by_hand():
    square = np.array([[0.5, 0.5], [0.5, 4.5], [4.5, 4.5], [4.5, 0.5]])
    assert fill_even_odd([square], 6, 7).sum() == 16
    assert fill_even_odd([square, square], 6, 7).sum() == 0
    assert fill_even_odd([square + 3], 6, 7).sum() == 2 * 3  # cut by the border
    assert fill_even_odd([square - 10], 6, 7).sum() == 0
    triangle = np.array([[-0.5, -0.5], [-0.5, 9.5], [9.5, -0.5]])
    assert fill_even_odd([triangle], 10, 10).sum() == 45  # below the diagonal: 9 + 8 + ... + 1


def test_folder_of_nifti_masks(tmp_path):
    mask = np.zeros(CT.shape, bool)
    mask[1:3, 4:9, 6:12] = True
    write_nifti(CT.with_array(mask), tmp_path / "LeftParotid.nii.gz")
    write_nifti(CT.with_array(mask), tmp_path / "Helper1.nii.gz")
    write_nifti(CT.with_array(np.zeros(CT.shape, bool)), tmp_path / "Larynx.nii.gz")
    write_nifti(CT.with_array(mask), tmp_path / "possible_dose_mask.nii.gz")
    write_nifti(CT, tmp_path / "ct.nii.gz")
    found = rt.read_structures(tmp_path, CT)
    assert found.unmapped == ["Helper1"] and list(found.masks) == ["Parotid_L"]
    np.testing.assert_array_equal(found.masks["Parotid_L"], mask)
    assert any("Larynx is empty" in w for w in found.warnings)
    # On another grid: brought over by position.
    finer = Volume(np.zeros((12, 40, 60), np.int16), (1.25, 1.0, 0.5), (-10.625, 4.5, -7.25), "")
    again = rt.read_structures(tmp_path, finer).masks["Parotid_L"]
    np.testing.assert_array_equal(again, mask.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def rtdose(path, array, offsets, *, origin=(-7.0, 5.0, -10.0), spacing=(2.0, 1.0), bits=16, **given):
    ds = new(RTDoseStorage, "RTDOSE")
    ds.FrameOfReferenceUID, ds.DoseUnits, ds.DoseType, ds.DoseSummationType = FRAME, "GY", "PHYSICAL", "PLAN"
    ds.DoseGridScaling = "0.01"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = list(origin), [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = list(spacing)
    ds.NumberOfFrames, ds.Rows, ds.Columns = array.shape
    ds.GridFrameOffsetVector = list(offsets)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelData = array.astype(f"<u{bits // 8}").tobytes()
    for name, value in given.items():
        setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def stored(shape=CT.shape):
    z, y, x = np.indices(shape)
    return 1000 * z + 10 * y + x


@pytest.mark.parametrize("bits", [16, 32])
def test_dose_on_the_same_grid(tmp_path, bits):
    path = rtdose(tmp_path / "rd.dcm", stored(), 2.5 * np.arange(6), bits=bits)
    dose = rt.read_dose(path, CT)
    assert dose.array.dtype == np.float32 and dose.same_grid(CT)
    np.testing.assert_allclose(dose.array, stored() * 0.01, atol=1e-4)


def test_falling_and_absolute_offsets(tmp_path):
    falling = rtdose(tmp_path / "a.dcm", stored()[::-1], -2.5 * np.arange(6), origin=(-7.0, 5.0, 2.5))
    absolute = rtdose(tmp_path / "b.dcm", stored(), -10 + 2.5 * np.arange(6))
    for path in (falling, absolute):
        np.testing.assert_allclose(rt.read_dose(path, CT).array, stored() * 0.01, atol=1e-4)


def test_dose_on_its_own_grid_is_interpolated_by_position(tmp_path):
    """Dose = z position in mm + 20, on a coarse grid that covers only part of the CT."""
    z = np.array([-8.0, -3.0, 2.0])
    array = np.broadcast_to(((z + 20) * 100)[:, None, None], (3, 6, 6)).astype(int)
    path = rtdose(tmp_path / "rd.dcm", array, [0, 5, 10], origin=(0.0, 9.0, -8.0), spacing=(3.0, 4.0))
    dose = rt.read_dose(path, CT)
    inside = dose.array[:, 5, 12]
    np.testing.assert_allclose(inside[1:5], [12.5, 15.0, 17.5, 20.0], atol=1e-3)
    assert dose.array[2, 0, 12] == 0 and dose.array[2, 5, 0] == 0


def test_uneven_frames_are_interpolated_and_said(tmp_path):
    array = np.broadcast_to(np.array([0, 250, 1000, 1250])[:, None, None], (4, 20, 30)).astype(int)
    said = []
    path = rtdose(tmp_path / "rd.dcm", array, [0, 2.5, 10.0, 12.5])
    dose = rt.read_dose(path, CT, warn=said.append)
    np.testing.assert_allclose(dose.array[:, 3, 3], [0, 2.5, 5.0, 7.5, 10.0, 12.5], atol=1e-3)
    assert any("unevenly spaced" in w for w in said)


@pytest.mark.parametrize(
    ("given", "error", "word"),
    [
        ({"DoseUnits": "RELATIVE"}, InputRefusedError, "not Gy"),
        ({"FrameOfReferenceUID": "1.9"}, FrameOfReferenceError, "another frame"),
        ({"GridFrameOffsetVector": [0, 1, 2]}, GeometryError, "do not fit"),
        ({"GridFrameOffsetVector": [0, 2.5, 5, 5, 10, 12.5]}, GeometryError, "same position"),
        ({"DoseGridScaling": "-1"}, UnreadableFileError, "positive"),
        ({"ImagePositionPatient": [900, 900, 900]}, GeometryError, "overlap"),
        ({"PixelData": b"\0" * 100}, UnreadableFileError, "damaged"),
        ({"Modality": "CT"}, UnreadableFileError, "not RTDOSE"),
    ],
)
def test_dose_refusals(tmp_path, given, error, word):
    path = rtdose(tmp_path / "rd.dcm", stored(), 2.5 * np.arange(6), **given)
    with pytest.raises(error, match=word) as caught:
        rt.read_dose(path, CT)
    assert "rd.dcm" in caught.value.message


def test_an_effective_dose_is_said(tmp_path):
    said = []
    rt.read_dose(rtdose(tmp_path / "rd.dcm", stored(), 2.5 * np.arange(6), DoseType="EFFECTIVE"), CT, warn=said.append)
    assert any("EFFECTIVE" in w for w in said)


@pytest.mark.parametrize(
    ("given", "taken", "word"),
    [
        ("PLAN:1", "0", ""),
        ("BEAM:1", "0", "one BEAM"),
        ("BEAM:1 BEAM:1 BEAM:1", "012", "3 beams"),
        ("BEAM:1 PLAN:1 BEAM:1", "1", "2 other dose"),
        ("PLAN:1 PLAN:2 MULTI_PLAN:1", "2", "sum of plans"),
        ("PLAN:1 PLAN:2", None, "count one treatment twice"),
        ("PLAN:1 BEAM:1 PLAN:1", None, r"2 doses of whole plans \(0.dcm, 2.dcm\)"),
        ("MULTI_PLAN:1 MULTI_PLAN:1", None, "2 doses of whole plans"),
        ("BEAM:1 BEAM:2", None, "not the beams of one plan"),
        ("FRACTION:1 FRACTION:1", None, "FRACTION"),
    ],
)
def test_which_doses_are_one_treatment(tmp_path, given, taken, word):
    files = []
    for n, text in enumerate(given.split()):
        kind, plan = text.split(":")
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = RTPlanStorage, f"1.2.3.{plan}"
        path = tmp_path / f"{n}.dcm"
        rtdose(path, stored(), 2.5 * np.arange(6), DoseSummationType=kind, ReferencedRTPlanSequence=[item])
        files.append(path)
    if taken is None:
        with pytest.raises(InputRefusedError, match=word):
            of_one_plan(files)
        return
    chosen, notes = of_one_plan(files)
    assert chosen == [files[int(n)] for n in taken]
    assert [word in note for note in notes] == ([True] if word else [])


def reference(dataset, sequence, uid):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = RTStructureSetStorage, uid
    setattr(dataset, sequence, [item])


def test_structures_of_the_set_that_was_planned_on_else_of_the_newest(tmp_path):
    """Three sets, each with a larynx of another size: by date the second, by the plan of the dose the first."""
    x0, _, y0, y1 = BOX
    widths, sets = (3.0, 4.0, 5.0), []
    days = (("20240105", ""), ("20240301", "0930"), ("20240301", "0845"))
    for n, (width, (date, time)) in enumerate(zip(widths, days, strict=True)):
        path = tmp_path / f"rs{n}.dcm"
        rtstruct(path, {"Larynx": [box(x0, x0 + width, y0, y1, z) for z in (-5.0, -2.5)]})
        dataset = pydicom.dcmread(path)
        dataset.StructureSetDate, dataset.StructureSetTime = date, time
        dataset.save_as(path)
        sets.append(path)
    sizes = [int(rt.read_structures(path, CT).masks["Larynx"].sum()) for path in sets]
    assert len(set(sizes)) == 3

    found = rt.read_structures(sets, CT)
    assert int(found.masks["Larynx"].sum()) == sizes[1]
    assert len(found.warnings) == 1 and "3 structure sets" in found.warnings[0] and "newest" in found.warnings[0]

    plan, other = new(RTPlanStorage, "RTPLAN"), new(RTPlanStorage, "RTPLAN")
    reference(plan, "ReferencedStructureSetSequence", pydicom.dcmread(sets[0]).SOPInstanceUID)
    reference(other, "ReferencedStructureSetSequence", pydicom.dcmread(sets[2]).SOPInstanceUID)
    plan.save_as(tmp_path / "plan.dcm", enforce_file_format=True)
    other.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = RTPlanStorage, plan.SOPInstanceUID
    dose = rtdose(tmp_path / "rd.dcm", stored(), 2.5 * np.arange(6), ReferencedRTPlanSequence=[item])
    # Both plans lie there; the dose says which of them is looked at.
    beside = [dose, tmp_path / "plan.dcm", tmp_path / "other.dcm"]
    for found in (rt.read_structures(sets, CT, beside=beside), rt.read_structures(tmp_path, CT)):
        assert int(found.masks["Larynx"].sum()) == sizes[0]
        assert len(found.warnings) == 1 and "the plan was made on" in found.warnings[0]
    # Two plans and no dose say nothing between the first and the third; the third is newer.
    found = rt.read_structures(sets, CT, beside=beside[1:])
    assert int(found.masks["Larynx"].sum()) == sizes[2] and "newest" in found.warnings[0]


def test_structure_sets_that_nothing_tells_apart_are_refused(tmp_path):
    files = [rtstruct(tmp_path / f"{n}.dcm", {"Larynx": [box(*BOX, -5.0)]}) for n in range(2)]
    with pytest.raises(InputRefusedError, match=r"2 structure sets \(0.dcm, 1.dcm\)"):
        rt.read_structures(files, CT)
    (tmp_path / "copy.dcm").write_bytes(files[0].read_bytes())
    found = rt.read_structures([files[0], tmp_path / "copy.dcm"], CT)
    assert found.masks["Larynx"].any() and not [w for w in found.warnings if "structure sets" in w]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Lt Parotid", "Parotid_L"), ("parotid_l", "Parotid_L"), ("RightParotid", "Parotid_R"),
        ("PAROTIDL", "Parotid_L"),
        ("Parotid (Left)", "Parotid_L"), ("Parotids", None), ("Parotid", None), ("Cord", "SpinalCord"),
        ("Spinal Cord", "SpinalCord"), ("SPINAL_CORD", "SpinalCord"), ("Spinal-Cord", "SpinalCord"),
        ("SpinalCord_PRV05", "SpinalCord_PRV05"),
        ("Cord+5mm", None), ("mandible", "Bone_Mandible"), ("BrainStem", "Brainstem"),
        ("Brainstem_PRV03", "Brainstem_PRV03"),
        ("Oesophagus", "Esophagus"), ("larynx", "Larynx"), ("PTV70", "PTV_7000"),
        ("ptv 63 Gy", "PTV_6300"), ("PTV_5600", "PTV_5600"), ("PTV59.4", "PTV_5940"), ("PTV_700", None),
        ("PTVHigh", None), ("GTV-1", None), ("Parotid_L-PTV", None), ("Oral_Cavity", "Cavity_Oral"), ("", None),
        ("L Lens R", None), ("Larynx_L", None), ("Spinal Canal", "SpinalCanal"), ("Medulla", None), ("Pharynx", None),
        ("Glottic larynx", None), ("PTV_01", None), ("PTV 02", None), ("CTV10", None), ("GTV_12", None),
        ("PTV 19", None),
        ("PTV 20", "PTV_2000"), ("PTV 08 Gy", "PTV_0800"), ("PTV_0054", None), ("PTV_0800", None),
        ("PTV_1000", "PTV_1000"), ("PTV 800cGy", "PTV_0800"), ("PTV_01.2", None), ("PTV 00", None),
    ],
)  # fmt: skip
def test_names(name, expected):
    assert to_tg263(name) == expected


@pytest.mark.parametrize(("kind", "said"), [("BINARY", False), ("LABELMAP", False), ("FRACTIONAL", True)])
def test_every_kind_of_segmentation_is_read(tmp_path, kind, said):
    """Written by highdicom; of shares of a voxel a half and more is inside."""
    share = np.zeros(CT.shape, np.float32)
    share[2:5, 3:8, 4:9] = 0.9
    share[2:5, 2, 4:9] = 0.1
    seg = hd.seg.Segmentation(
        source_images=ct_headers(CT, "", False),
        pixel_array=share if said else (share > 0.5).astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=[
            hd.seg.SegmentDescription(1, "Larynx", codes.SCT.AnatomicalStructure, codes.SCT.BodyStructure, "MANUAL")
        ],
        series_instance_uid=generate_uid(), series_number=3, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="x", manufacturer_model_name="y", software_versions="1", device_serial_number="0",
    )  # fmt: skip
    seg.save_as(tmp_path / "seg.dcm")
    found = rt.read_structures(tmp_path / "seg.dcm", CT)
    np.testing.assert_array_equal(found.masks["Larynx"], share > 0.5)
    assert any("a half and more" in w for w in found.warnings) == said
