"""Which file of a folder is the CT, where doses and masks lie beside it."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import head, write_ct

from hnvlm.errors import InputRefusedError
from hnvlm.imaging import intake
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti

SPACING, ORIGIN = (2.5, 0.7, 1.1), (-30.0, 12.0, -55.0)


@pytest.mark.parametrize("dose", ["dose.nii.gz", "Dose.nii", "dose-PREDICTED.nii.gz"])
def test_a_dose_is_no_ct(tmp_path, dose):
    """Of a CT and a dose of as many slices, the first by a hash of the content was opened as the CT."""
    gray = np.arange(head().size, dtype=np.float32).reshape(head().shape) / 20
    write_nifti(Volume(gray, SPACING, ORIGIN), tmp_path / dose)
    with pytest.raises(InputRefusedError, match=r"(?i)dose.* is a dose by its name, not a CT.*Add files"):
        intake.read(intake.scan(tmp_path)[0])
    write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "neck.nii.gz")
    found = intake.scan(tmp_path)
    assert [(s.files[0].name, s.accepted) for s in found] == [("neck.nii.gz", True), (dose, False)]
    np.testing.assert_array_equal(intake.read(found[0]).volume.array, head())


def test_a_dicom_ct_comes_before_nifti_and_ct_nii_before_other_nifti(tmp_path):
    """More slices do not make a mask the CT."""
    tall = np.zeros((30, 10, 14), np.uint8)
    tall[4:9, 2:5, 3:9] = 1
    for n in range(3):
        write_nifti(Volume(np.roll(tall, n, axis=0), SPACING, ORIGIN), tmp_path / f"mask{n}.nii.gz")
    write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "ct.nii.gz")
    assert intake.scan(tmp_path)[0].files[0].name == "ct.nii.gz"
    write_ct(tmp_path / "dicom")
    assert [s.kind for s in intake.scan(tmp_path)] == ["dicom"] + ["nifti"] * 4
