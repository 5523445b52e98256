"""No name survives in what is kept of a file."""

from __future__ import annotations

import json

from phantoms import write_ct
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from hnvlm.imaging import intake

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
