"""Files for other programs say themselves what they are: a file is renamed more easily than rewritten."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from hnvlm.imaging.volume import Volume
from hnvlm.services import export


def described(path) -> str:
    return sitk.ReadImage(str(path)).GetMetaData("descrip")


@pytest.mark.parametrize(("synthetic", "words"), [(False, "AI draft"), (True, "SYNTHETIC CT: AI draft")])
def test_a_mask_says_that_a_model_drew_it(tmp_path, phantom, synthetic, words):
    mask = phantom.array > -500
    files = export.write_structures(phantom, {"Larynx": mask}, tmp_path, ["nifti"], synthetic=synthetic)
    assert described(files["nifti"]["Larynx"]) == f"{words}, research use only"


def test_every_part_of_a_counterfactual_says_synthetic(tmp_path, phantom):
    edited = Volume(phantom.array + np.int16(5), phantom.spacing_mm, phantom.origin_mm)
    files = export.write_counterfactual(phantom, edited, phantom.array > 0, tmp_path)
    for name in ("counterfactual", "difference", "edit_mask"):
        assert described(files[name]).startswith("SYNTHETIC"), name
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(files["difference"]))), 5)
