"""Images and doses that are named like a mask."""

from __future__ import annotations

import numpy as np
import pytest
from test_rt import CT

from hnvlm.errors import InputRefusedError
from hnvlm.imaging import rt
from hnvlm.imaging.write import write_nifti


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.0, 66.6, "from 0 to 66.6: an image or a dose"), (-1000.0, 40.0, "from -1000 to 40"), (-1.0, 1.0, "from -1")],
)
def test_an_image_or_a_dose_is_no_mask(tmp_path, low, high, words):
    """plan_dose.nii.gz became a structure of that name as large as the patient."""
    array = np.full(CT.shape, low, np.float32)
    array[1:4, 4:8, 5:10] = high
    write_nifti(CT.with_array(array), tmp_path / "plan_dose.nii.gz")
    with pytest.raises(InputRefusedError, match=r"plan_dose\.nii\.gz holds values") as caught:
        rt.read_structures(tmp_path / "plan_dose.nii.gz", CT)
    assert words in caught.value.message and "dose.nii.gz" in caught.value.message


def test_a_map_of_labels_and_a_mask_of_255_are_taken_as_before(tmp_path):
    array = np.zeros(CT.shape, np.uint8)
    array[1:4, 4:8, 5:10] = 255
    write_nifti(CT.with_array(array), tmp_path / "Larynx.nii.gz")
    found = rt.read_structures(tmp_path / "Larynx.nii.gz", CT)
    assert found.masks["Larynx"].sum() == 60 and found.warnings == []
    array[1:4, 4:8, 5] = 3
    write_nifti(CT.with_array(array), tmp_path / "Larynx.nii.gz")
    found = rt.read_structures(tmp_path / "Larynx.nii.gz", CT)
    assert found.masks["Larynx"].sum() == 60 and any("more than two values" in w for w in found.warnings)
