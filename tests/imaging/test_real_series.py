"""Real series beside the repository: voxels, contours and dose against an independent copy of the same patient."""

from __future__ import annotations

import time

import numpy as np
import pytest
import SimpleITK as sitk

from hnvlm.errors import FrameOfReferenceError
from hnvlm.imaging import intake, nifti, rt


@pytest.fixture(scope="module")
def dicom_dir(shared_dir):
    return shared_dir / "data" / "dicom"


@pytest.fixture(scope="module", params=["pt_1", "pt_2"])
def patient(request, dicom_dir, shared_dir):
    """(DICOM folder, NIfTI folder, CT volume) of one patient."""
    reference = shared_dir / "data" / "openkbp" / "train" / request.param
    if not reference.is_dir():
        pytest.skip(f"{reference} is not there")
    folder = dicom_dir / "openkbp_dicom" / request.param
    result = intake.read_path(folder / "CT")
    assert result.warnings == []
    return folder, reference, result.volume


def test_hu_equal_the_nifti_copy(patient):
    _, reference, volume = patient
    copy = nifti.read_volume(reference / "ct.nii.gz")
    assert volume.spacing_mm == pytest.approx(copy.spacing_mm, abs=1e-4)
    np.testing.assert_array_equal(volume.array, copy.array)


def test_structures_equal_the_nifti_masks(patient):
    folder, reference, volume = patient
    drawn = rt.read_structures(folder / "RTSTRUCT.dcm", volume)
    masks = rt.read_structures(reference, volume)
    assert drawn.unmapped == [] and set(drawn.masks) == set(masks.masks) and len(masks.masks) >= 6
    for name, mask in masks.masks.items():
        assert np.count_nonzero(drawn.masks[name] ^ mask) <= 0.01 * mask.sum(), name


def test_dose_equals_the_nifti_dose(patient):
    folder, reference, volume = patient
    said = []
    dose = rt.read_dose(folder / "RTDOSE.dcm", volume, warn=said.append)
    copy = rt.read_dose(reference / "dose.nii.gz", volume)
    assert said == []
    assert dose.array.max() > 60
    np.testing.assert_allclose(dose.array, copy.array, atol=0.05)


def test_other_patients_structures_are_refused(dicom_dir):
    volume = intake.read_path(dicom_dir / "openkbp_dicom" / "pt_1" / "CT").volume
    with pytest.raises(FrameOfReferenceError):
        rt.read_structures(dicom_dir / "openkbp_dicom" / "pt_2" / "RTSTRUCT.dcm", volume)


def test_tilted_head_names_tilt_and_every_spacing(dicom_dir):
    info = intake.scan(dicom_dir / "ge_head_tilted")[0]
    text = " ".join(info.warnings)
    assert info.accepted and info.n_slices == 28
    assert "gantry tilt of 18.5 degrees corrected" in text
    assert all(f"{mm} mm" in text for mm in ("1.14", "4.22", "7.38")) and "14.dcm" in text
    volume = intake.read(info).volume
    assert volume.shape == info.shape
    # Voxels of the source at their own positions, by an independent reader, must be found again in the volume.
    for name in ("05.dcm", "10.dcm"):
        source = sitk.ReadImage(str(dicom_dir / "ge_head_tilted" / name))
        hits = []
        for row in range(150, 360, 30):
            for column in range(150, 360, 30):
                point = source.TransformIndexToPhysicalPoint((column, row, 0))
                index = np.rint(volume.mm_to_index(np.array(point[::-1]))).astype(int)
                hits.append((source.GetPixel(column, row, 0), volume.array[tuple(index)]))
        a, b = np.clip(np.array(hits, float).T, -200, 300)
        assert np.corrcoef(a, b)[0, 1] > 0.9


def test_tiny_head_without_offset_is_read_and_doubted(dicom_dir):
    result = intake.read_path(dicom_dir / "slicer_ctheadaxial_64")
    assert result.volume.shape == (93, 64, 64) and result.volume.spacing_mm == pytest.approx((1.5, 3.2, 3.2))
    assert any("no air" in w for w in result.warnings)


def test_chest_ct_is_read_like_simpleitk_and_fast(dicom_dir):
    folder = dicom_dir / "lung1-001_ct_rtstruct"
    found = intake.scan(folder)
    assert [(s.modality, s.accepted) for s in found] == [("CT", True), ("RTSTRUCT", False)]
    assert found[0].frame_of_reference_uid == found[1].frame_of_reference_uid
    start = time.process_time()
    volume = intake.read(found[0]).volume
    assert time.process_time() - start < 4
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "LUNG1-001" / "image")))
    other = reader.Execute()
    np.testing.assert_array_equal(volume.array[::9], np.maximum(sitk.GetArrayViewFromImage(other)[::9], -1024))
    np.testing.assert_allclose(volume.origin_mm, other.GetOrigin()[::-1], atol=1e-3)
    structures = rt.read_structures(folder, volume)
    assert structures.unmapped == ["GTV-1"] and set(structures.masks) == {"SpinalCord", "Lung_L", "Lung_R"}
    # Lungs are air and lie on their own side of the cord: x grows to the patient's left.
    x = {name: np.argwhere(m).mean(axis=0)[2] for name, m in structures.masks.items()}
    assert x["Lung_R"] < x["SpinalCord"] < x["Lung_L"]
    assert all(np.median(volume.array[structures.masks[n]]) < -600 for n in ("Lung_L", "Lung_R"))
