"""Files for other programs say themselves what they are: a file is renamed more easily than rewritten."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from hnvlm.imaging.volume import Volume
from hnvlm.services import export


def described(path) -> str:
    return sitk.ReadImage(str(path)).GetMetaData("descrip")


@pytest.mark.parametrize(("synthetic", "words"), [(False, "AI draft"), (True, "SYNTHETIC CT: AI draft")])
def test_a_mask_says_that_a_model_drew_it(tmp_path, phantom, synthetic, words):
    mask = phantom.array > -500
    files = export.write_structures(phantom, {"Larynx": mask}, tmp_path, ["nifti"], version="1", synthetic=synthetic)
    assert described(files["nifti"]["Larynx"]) == f"{words}, research use only"


def test_every_part_of_a_counterfactual_says_synthetic(tmp_path, phantom):
    edited = Volume(phantom.array + np.int16(5), phantom.spacing_mm, phantom.origin_mm)
    files = export.write_counterfactual(phantom, edited, phantom.array > 0, tmp_path)
    for name in ("counterfactual", "difference", "edit_mask"):
        assert described(files[name]).startswith("SYNTHETIC"), name
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(files["difference"]))), 5)


def test_each_picture_of_the_panel_names_itself_and_the_sides(tmp_path):
    air = Volume(np.full((4, 50, 60), -1000, np.int16), (2.5, 1.0, 1.0))
    panel = np.asarray(Image.open(export.write_panel(air, air, tmp_path / "panel.png"))).max(axis=2) > 100
    height, width = panel.shape[0] - 20, panel.shape[1] // 3
    for left in range(0, 3 * width, width):
        tile = panel[:height, left : left + width]
        side = tile[height // 2 - 10 : height // 2 + 10]
        assert tile[:20].any() and side[:, :20].any() and side[:, -20:].any()
        assert tile.sum() == tile[:20].sum() + side[:, :20].sum() + side[:, -20:].sum()


def test_the_difference_has_the_colours_of_the_viewer(tmp_path):
    """Orange is denser, blue less dense, as on the screen; a red-green colour-blind reader tells them apart."""
    original = np.full((3, 64, 80), -1000, np.int16)  # black in this window
    edited = original.copy()
    edited[1, 40:60, 10:30] += 400  # beyond the full colour
    edited[1, 40:60, 50:70] -= 20  # 10 of 190 HU beyond what is coloured at all
    edited[1, 5:20, 60:75] += 9  # too little to be coloured
    parts = [Volume(a, (2.5, 1.0, 1.0)) for a in (original, edited)]
    panel = np.asarray(Image.open(export.write_panel(*parts, tmp_path / "panel.png"))).astype(int)
    height, width = panel.shape[0] - 20, panel.shape[1] // 3
    tile = panel[:height, 2 * width :]

    def colour(y: float, x: float) -> list[int]:
        return tile[round(y * height / 64), round(x * width / 80)].tolist()

    assert colour(50, 20) == [255, 220, 130]
    share = 0.35 + 0.65 * 10 / 190
    np.testing.assert_allclose(colour(50, 60), [v * share for v in (40 + 110 / 19, 130 + 90 / 19, 255)], atol=1)
    assert colour(12, 67) == [0, 0, 0] and colour(10, 10) == [0, 0, 0]
