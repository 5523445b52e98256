"""Names of structures that hold a person's name: left out where the file itself says whose it is, and only there."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from phantoms import FRAME
from pydicom.dataset import Dataset
from test_rt import BOX, CT, box, rtstruct

from hnvlm.errors import UnreadableFileError
from hnvlm.imaging import rt
from hnvlm.imaging.persons import is_replaced, persons_in, replaced
from hnvlm.imaging.tg263 import is_gross_tumour
from hnvlm.imaging.write_seg import write_seg

CONTOURS = [box(*BOX, -5.0), box(*BOX, -2.5)]
WARNING = "the name or number of a person was left out of the names of: "


def file_of(**tags) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def call(name: str, **tags) -> str:
    return replaced(name, 4, persons_in(file_of(**tags)))


def test_a_structure_set_that_names_its_patient_in_a_structure(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"ZZKowalczyk GTV": CONTOURS, "Lt Parotid": CONTOURS, "Bolus": CONTOURS})
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.PatientID = "Kowalczyk^Jan", "77010112345"
    dataset.save_as(path)
    masks, unmapped, warnings = rt.read_structures(path, CT, keep_unmapped=True)
    assert set(masks) == {"Parotid_L", "structure 11", "Bolus"} and unmapped == ["structure 11", "Bolus"]
    assert warnings == [WARNING + "structure 11"]
    assert masks["structure 11"].sum() == masks["Bolus"].sum() > 0


def test_no_message_of_such_a_set_names_the_patient(tmp_path):
    """What is odd about a structure is told with its name, and kept with the case."""
    path = rtstruct(tmp_path / "rs.dcm", {"Kowalczyk 1": CONTOURS, "Kowalczyk far": [box(90, 95, 90, 95, 90.0)]})
    dataset = pydicom.dcmread(path)
    dataset.PatientName = "KOWALCZYK^JAN"
    dataset.save_as(path)
    found = rt.read_structures(path, CT, keep_unmapped=True)
    assert any("structure 12" in w for w in found.warnings) and "owalczyk" not in str(found).casefold()
    dataset.StructureSetROISequence[1].ROINumber = 11
    dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match="structure 11 and structure 11 have the same number") as caught:
        rt.read_structures(path, CT)
    assert "owalczyk" not in caught.value.message


def test_labels_of_segments_are_names_too(tmp_path):
    mask = np.zeros(CT.shape, bool)
    mask[2:4, 3:7, 5:10] = True
    path = write_seg({"Larynx": mask, "Nowak boost": mask}, CT, tmp_path / "seg.dcm", version="1")
    dataset = pydicom.dcmread(path)
    dataset.OperatorsName = "Nowak^Ewa"
    dataset.save_as(path)
    found = rt.read_structures(path, CT, FRAME, keep_unmapped=True)
    assert set(found.masks) == {"Larynx", "structure 2"} and WARNING + "structure 2" in found.warnings


@pytest.mark.parametrize(
    ("name", "tags", "now"),
    [
        ("ZZKowalczyk GTV", {"PatientName": "ZZKowalczyk^Jan"}, "structure 4"),
        ("KOWALCZYK_boost", {"PatientName": "Kowalczyk^Jan"}, "structure 4"),
        ("boostKowalczyk2", {"OtherPatientNames": ["Kowalczyk^Jan", "Nowak^Jan"]}, "structure 4"),
        ("Łukaszewska boost", {"PatientName": "LUKASZEWSKA^ANNA"}, "structure 4"),
        ("Mueller boost", {"PatientName": "Müller^Anna"}, "structure 4"),
        ("boost Kowalc", {"PatientName": "Kowalczyk^Jan"}, "structure 4"),  # cut off by the planning system
        ("boost Nowak", {"ReferringPhysicianName": "Nowak^Ewa^^Dr"}, "structure 4"),
        ("boost 77010112345", {"PatientID": "77010112345"}, "structure 4"),
        ("boost AB12345", {"PatientID": "AB12345"}, "structure 4"),
        # The kind of a target stays: whatever else its name says, it is a gross tumour.
        ("GTV Kowalczyk", {"PatientName": "Kowalczyk^Jan"}, "GTV structure 4"),
        ("GTVn_Kowalczyk", {"PatientName": "Kowalczyk^Jan"}, "GTVn structure 4"),
        ("GTVKowalczyk", {"PatientName": "Kowalczyk^Jan"}, "GTV structure 4"),
        ("PTV 7000 Kowalczyk", {"PatientName": "Kowalczyk^Jan"}, "PTV structure 4"),
        ("GTV ring Kowalczyk", {"PatientName": "Kowalczyk^Jan"}, "structure 4"),
        # Words of the body, names that are surely known, and short or plain numbers are nobody's.
        ("Bone_Hyoid", {"PatientName": "Bone^Hyoid"}, "Bone_Hyoid"),
        ("Lt Parotid", {"PatientName": "Parotid^Lt"}, "Lt Parotid"),
        ("Skin 3mm", {"PatientName": "Skin^Ewa"}, "Skin 3mm"),
        ("GTV 1", {"PatientID": "1"}, "GTV 1"),
        ("PTV 5940", {"PatientID": "5940"}, "PTV 5940"),
        ("Larynx eval", {"PatientName": "Lar^Eva"}, "Larynx eval"),
        ("Li node", {"PatientName": "Li^Na"}, "Li node"),
        ("boost", {"PatientName": "ANONYMOUS^"}, "boost"),
        ("Kowalczyk boost", {}, "Kowalczyk boost"),
    ],
)
def test_what_is_a_name_and_what_is_none(name, tags, now):
    assert call(name, **tags) == now
    assert is_replaced(now) == (now != name)
    if now.startswith("GTV"):
        assert is_gross_tumour(now)


def test_a_header_that_cannot_be_read_does_not_end_the_reading(tmp_path):
    path = rtstruct(tmp_path / "rs.dcm", {"Kowalczyk": CONTOURS})
    dataset = pydicom.dcmread(path)
    observed = Dataset()
    observed.ROIInterpreter = "Nowak^Ewa"
    dataset.RTROIObservationsSequence = [observed]
    dataset.PatientName = "Kowalczyk^Jan"
    assert persons_in(dataset) == {"kowalczyk", "jan", "nowak", "ewa"}

    class Broken(Dataset):
        def get(self, key, default=None):
            if key == "OperatorsName":
                raise ValueError("damaged")
            return super().get(key, default)

    assert persons_in(Broken(dataset)) == {"kowalczyk", "jan", "nowak", "ewa"}
