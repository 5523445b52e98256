"""RTDOSE of a beam, a session or a difference, given twice, and with a place that is none."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTPlanStorage
from test_rt import CT, FRAME, new, rtdose, stored

from hnvlm.errors import GeometryError, InputRefusedError, UnreadableFileError
from hnvlm.imaging import rt
from hnvlm.imaging.dose import fractions_of, of_one_plan, part_of_plan
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti

OFFSETS = 2.5 * np.arange(6)


def of_plan(uid, *beams):
    """The reference of a dose to a plan, and to beams of it."""
    plan, group = Dataset(), Dataset()
    plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = RTPlanStorage, uid
    group.ReferencedFractionGroupNumber, group.ReferencedBeamSequence = 1, []
    for number in beams:
        beam = Dataset()
        beam.ReferencedBeamNumber = number
        group.ReferencedBeamSequence.append(beam)
    plan.ReferencedFractionGroupSequence = [group]
    return [plan]


def beam(path, *numbers, kind="BEAM", plan="1.2.3.1"):
    return rtdose(
        path, stored(), OFFSETS, DoseSummationType=kind, ReferencedRTPlanSequence=of_plan(plan, *numbers)
    )  # fmt: skip


def test_a_beam_given_twice_counts_once(tmp_path):
    """A copy of a file doubled the dose of its beam."""
    one, two = beam(tmp_path / "one.dcm", 1), beam(tmp_path / "two.dcm", 2)
    copy = tmp_path / "one (1).dcm"
    copy.write_bytes(one.read_bytes())
    chosen, notes = of_one_plan([one, copy, two])
    assert chosen == [one, two] and notes[0] == "1 dose file(s) given twice were taken once" and "2 beams" in notes[1]
    chosen, notes = of_one_plan([copy, one])
    assert chosen == [copy] and "of one BEAM" in notes[1]


def test_a_plan_given_twice_is_one_plan(tmp_path):
    plan = beam(tmp_path / "plan.dcm", kind="PLAN")
    (tmp_path / "copy.dcm").write_bytes(plan.read_bytes())
    assert of_one_plan([plan, tmp_path / "copy.dcm"])[0] == [plan]


def test_two_doses_of_one_beam_are_not_added_up(tmp_path):
    """Calculated anew, the dose of beam 2 has another UID."""
    files = [beam(tmp_path / f"{n}.dcm", number) for n, number in enumerate((1, 2, 2))]
    with pytest.raises(InputRefusedError, match=r"0\.dcm, 1\.dcm, 2\.dcm: a beam is in two of these doses"):
        of_one_plan(files)


@pytest.mark.parametrize("kind", ["FRACTION_SESSION", "BEAM_SESSION", "CONTROL_POINT"])
def test_the_dose_of_one_session_is_refused(tmp_path, kind):
    """2 Gy meet every limit of an organ."""
    session = beam(tmp_path / "session.dcm", 1, kind=kind)
    with pytest.raises(InputRefusedError, match=rf"session\.dcm: .* one session \({kind}\).* whole plan"):
        of_one_plan([session])
    plan = beam(tmp_path / "plan.dcm", kind="PLAN")
    assert of_one_plan([session, plan])[0] == [plan]


def test_what_is_part_of_a_plan_is_told(tmp_path):
    assert part_of_plan([beam(tmp_path / "b.dcm", 1)]) == "of one BEAM, not of the whole plan"
    assert part_of_plan([beam(tmp_path / "f.dcm", 1, kind="FRACTION")]).startswith("of one FRACTION")
    two = [beam(tmp_path / f"{n}.dcm", n) for n in (3, 4)]
    assert part_of_plan(two) == part_of_plan([beam(tmp_path / "p.dcm", kind="PLAN")]) == part_of_plan([]) == ""


def test_a_difference_of_two_doses_is_refused(tmp_path):
    path = rtdose(tmp_path / "rd.dcm", stored(), OFFSETS, DoseType="ERROR")
    with pytest.raises(InputRefusedError, match=r"rd\.dcm: dose type ERROR.*difference of two doses"):
        rt.read_dose(path, CT)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.866, 0]}, "ImageOrientationPatient"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "ImageOrientationPatient"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing"),
        ({"PixelSpacing": [-2, 1]}, "PixelSpacing"),
        ({"PixelSpacing": [500, 1]}, "larger than any patient"),
    ],
)
def test_a_place_that_is_none_is_refused_by_file(tmp_path, given, word):
    path = rtdose(tmp_path / "rd.dcm", stored(), OFFSETS, **given)
    with pytest.raises(GeometryError, match=rf"rd\.dcm: .*{word}"):
        rt.read_dose(path, CT)


def test_an_rtdose_lies_where_it_says_also_where_the_ct_begins_at_0(tmp_path):
    """Three rows of 2 mm further back, it was laid voxel by voxel on a CT of the same shape."""
    ct = Volume(CT.array, CT.spacing_mm, (0.0, 0.0, 0.0), FRAME)
    path = rtdose(tmp_path / "rd.dcm", stored(), OFFSETS, origin=(0.0, 6.0, 0.0))
    dose = rt.read_dose(path, ct, beyond=np.nan).array
    assert np.isnan(dose[:, :3]).all() and dose[4, 10, 7] == pytest.approx(0.01 * (4000 + 10 * (10 - 3) + 7))
    # A NIfTI whose origin was lost says so, as before.
    said = []
    write_nifti(Volume(stored().astype(np.float32) / 100, CT.spacing_mm), tmp_path / "dose.nii.gz")
    assert rt.read_dose(tmp_path / "dose.nii.gz", CT, warn=said.append).array[4, 10, 7] == pytest.approx(41.07)
    assert "has no origin" in said[0]


def rtplan(path, uid, *fractions):
    ds = new(RTPlanStorage, "RTPLAN")
    ds.SOPInstanceUID, ds.FractionGroupSequence = uid, []
    for planned in fractions:
        group = Dataset()
        group.NumberOfFractionsPlanned = planned
        ds.FractionGroupSequence.append(group)
    ds.save_as(path)
    return path


def test_the_plan_of_a_dose_says_in_how_many_fractions(tmp_path):
    dose = beam(tmp_path / "rd.dcm", kind="PLAN", plan="1.2.3.7")
    plans = [rtplan(tmp_path / "a.dcm", "1.2.3.6", 35), rtplan(tmp_path / "b.dcm", "1.2.3.7", 33)]
    assert fractions_of([dose], plans) == 33
    assert fractions_of([dose], plans[:1]) is None and fractions_of([], plans) is None
    assert fractions_of([dose], [rtplan(tmp_path / "c.dcm", "1.2.3.7", 25, 10)]) is None
    assert fractions_of([dose], [rtplan(tmp_path / "d.dcm", "1.2.3.7", 0)]) is None
    total = of_plan("1.2.3.7") + of_plan("1.2.3.8")
    added = rtdose(
        tmp_path / "sum.dcm", stored(), OFFSETS, DoseSummationType="MULTI_PLAN", ReferencedRTPlanSequence=total
    )
    assert fractions_of([added], plans) is None


def test_a_peak_between_thick_slices_is_said_to_be_possible(tmp_path):
    """Planes every 2 mm, 70 Gy on the one at z 4 and 50 Gy elsewhere; slices of 5 mm at z 0, 5, 10 see 60 Gy."""
    stack = np.full((9, 20, 30), 5000)
    stack[2] = 7000  # z = 4
    path = rtdose(tmp_path / "rd.dcm", stack, 2.0 * np.arange(9), origin=(-7.0, 5.0, 0.0))
    said = []
    thick = Volume(np.zeros((3, 20, 30), np.int16), (5.0, 2.0, 1.0), (0.0, 5.0, -7.0), FRAME)
    assert rt.read_dose(path, thick, warn=said.append).array.max() == pytest.approx(60.0)
    assert said == ["rd.dcm: its planes lie 2.0 mm apart, the slices of this CT 5.0 mm: between them the dose is "
                    "interpolated, and maxima can be higher"]  # fmt: skip
    usual = Volume(np.zeros((7, 20, 30), np.int16), (2.5, 2.0, 1.0), (0.0, 5.0, -7.0), FRAME)
    said.clear()
    rt.read_dose(path, usual, warn=said.append)
    assert said == []


@pytest.mark.parametrize(
    ("given", "missing", "words"),
    [
        ({"Rows": 19}, "", "360 bytes more than the 6 frames of 19 x 30"),  # 6 x 30 voxels of 2 bytes
        ({"NumberOfFrames": 5, "GridFrameOffsetVector": [0, 2.5, 5, 7.5, 10]}, "", "1200 bytes more than the 5 frames"),
        ({}, "PixelData", "no dose grid, perhaps histograms alone"),
        ({}, "DoseGridScaling", "DoseGridScaling is missing"),
        ({}, "PixelRepresentation", "Pixel Representation"),
    ],
)
def test_a_dose_whose_voxels_are_not_those_of_its_header_is_refused(tmp_path, given, missing, words):
    """With a row too few in the header every frame begins a row earlier than the one before it: a sheared dose."""
    path = rtdose(tmp_path / "rd.dcm", stored(), OFFSETS, **given)
    if missing:
        dataset = pydicom.dcmread(path)
        delattr(dataset, missing)
        dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match=r"rd\.dcm: .*Export") as caught:
        rt.read_dose(path, CT)
    assert words in caught.value.message
