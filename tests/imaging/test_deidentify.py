"""No name survives: neither in kept facts nor in de-identified datasets; UIDs still match each other."""

from __future__ import annotations

import json

import phantoms
import pydicom
from phantoms import write_ct
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from hnvlm.imaging import intake
from hnvlm.imaging.deidentify import deidentify_datasets, stable_uid

NAME = "Kowalska"
TEXT_VALUES = {
    "AE": "KOWALSKA_AE", "LO": "Kowalska Zofia", "LT": "Kowalska Zofia", "SH": "Kowalska", "ST": "Kowalska Zofia",
    "UC": "Kowalska Zofia", "UR": "http://Kowalska", "UT": "Kowalska Zofia", "PN": "Kowalska^Zofia",
}  # fmt: skip


def stuff(ds):
    """Put the name into every kind of text element, nested, private and in overlays."""
    from pydicom.datadict import DicomDictionary

    group_wanted = {0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x4008}
    for tag, (vr, _, _, retired, _keyword) in DicomDictionary.items():
        if vr in TEXT_VALUES and tag >> 16 in group_wanted and not retired:
            ds.add_new(tag, vr, TEXT_VALUES[vr])
    ds.PatientBirthDate, ds.PatientAge = "19510203", "074Y"
    block = ds.private_block(0x0009, "KOWALSKA PRIVATE", create=True)
    block.add_new(0x01, "LO", "Kowalska Zofia")
    nested = Dataset()
    nested.PatientName, nested.PatientComments = "Kowalska^Zofia", "Kowalska Zofia"
    nested.private_block(0x0011, "X", create=True).add_new(0x02, "LT", "Kowalska Zofia")
    ds.ReferencedImageSequence = Sequence([nested])
    ds.add_new(0x60004000, "LT", "Kowalska Zofia")
    return ds


def test_facts_kept_from_reading_hold_no_identity(tmp_path):
    def identify(ds, k):
        keep = {n: ds.get(n) for n in ("Modality", "ContrastBolusAgent")}
        stuff(ds)
        ds.Modality = keep["Modality"]
        ds.BodyPartExamined, ds.PatientPosition = "KOWALSKA", "KOWALSKA"
        ds.KVP, ds.SliceThickness = "120", "2.5"
        ds.file_meta.SourceApplicationEntityTitle = "KOWALSKA"

    write_ct(tmp_path, modify=identify)
    result = intake.read(intake.scan(tmp_path)[0])
    text = json.dumps(result.meta).upper()
    assert "KOWALSKA" not in text and "1951" not in text
    assert result.meta["kvp"] == 120.0 and result.meta["contrast"] is True
    assert result.meta["body_part"] == "" and result.meta["patient_position"] == ""
    assert not any("KOWALSKA" in w.upper() for w in result.warnings)


def test_every_text_element_is_replaced_or_removed(tmp_path):
    ds = stuff(phantoms.dataset(phantoms.head()[0], (0, 0, 0), 1, "1.2.3"))
    ds.file_meta.SourceApplicationEntityTitle = "KOWALSKA"
    ds.preamble = b"Kowalska" + b"\0" * 120
    (out,) = deidentify_datasets([ds], "seed")
    path = tmp_path / "out.dcm"
    out.save_as(path, enforce_file_format=True)
    data = path.read_bytes().upper()
    assert b"KOWALSKA" not in data and b"ZOFIA" not in data and b"19510203" not in data
    assert not any(e.tag.is_private for e in out)
    assert out.PatientIdentityRemoved == "YES"
    assert out.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    # The copy still is an image; the original was not touched.
    assert out.pixel_array.tolist() == ds.pixel_array.tolist()
    assert ds.PatientName == "Kowalska^Zofia"


def test_ct_structures_and_dose_still_match(tmp_path):
    ct = phantoms.dataset(phantoms.head()[0], (0, 0, 0), 1, "1.2.3")
    structures, dose = (pydicom.dcmread(get_testdata_file(n), force=True) for n in ("rtstruct.dcm", "rtdose.dcm"))
    ct.FrameOfReferenceUID = dose.FrameOfReferenceUID
    ct.StudyInstanceUID = dose.StudyInstanceUID
    one = deidentify_datasets([ct, dose], "case 7")
    (later,) = deidentify_datasets([dose], "case 7")
    (other,) = deidentify_datasets([dose], "case 8")
    assert one[0].FrameOfReferenceUID == one[1].FrameOfReferenceUID == later.FrameOfReferenceUID
    assert one[0].StudyInstanceUID == one[1].StudyInstanceUID
    assert one[0].FrameOfReferenceUID != ct.FrameOfReferenceUID
    assert other.FrameOfReferenceUID != later.FrameOfReferenceUID
    assert one[1].SOPClassUID == dose.SOPClassUID
    (rs,) = deidentify_datasets([structures], "case 7")
    assert [r.ROIName for r in rs.StructureSetROISequence] == [r.ROIName for r in structures.StructureSetROISequence]
    assert rs.ROIContourSequence[0].ContourSequence[0].ContourData == (
        structures.ROIContourSequence[0].ContourSequence[0].ContourData
    )


def test_stable_uid():
    a = stable_uid("1.2.840.1", "salt")
    assert a == stable_uid("1.2.840.1", "salt") and a.startswith("2.25.") and len(a) <= 64
    assert pydicom.uid.UID(a).is_valid
    assert len({a, stable_uid("1.2.840.1", "other"), stable_uid("1.2.840.2", "salt")}) == 3
    assert stable_uid("", "salt") == ""
