"""The services say the same of packed structures as of arrays."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from hnvlm.imaging.dvh import dose_volume
from hnvlm.imaging.masks import PackedMasks
from hnvlm.imaging.write import write_nifti, write_rtstruct
from hnvlm.services import analysis, dose, histograms, rt_objects, rt_upload


def drawn(phantom):
    """First and last slice, border, nothing; the parotids overlap by one column."""
    masks = {n: np.zeros(phantom.shape, bool) for n in ("Parotid_R", "Parotid_L", "PTV_7000", "GTVp", "gtvp", "Empty")}
    masks["Parotid_R"][2:5, 5:9, 0:6] = True
    masks["Parotid_L"][3:6, 6:10, 5:11] = True
    masks["PTV_7000"][0:3, 0:7, 20:24] = True
    masks["GTVp"][7, 19, 23] = True
    masks["gtvp"][0, 0, 0] = True
    return masks


@pytest.fixture
def gy(phantom):
    """A dose whose grid ends before the CT does."""
    values = np.random.default_rng(3).random(phantom.shape, np.float32) * 70
    values[6:], values[:, :1], values[:, :, 22:] = np.nan, np.nan, np.nan
    return phantom.with_array(values)


def test_histograms_are_those_of_whole_arrays(phantom, gy):
    masks = drawn(phantom)
    found = histograms.compute(gy, PackedMasks(masks))
    masks["Parotids"] = masks["Parotid_L"] | masks["Parotid_R"]
    known = np.isfinite(gy.array)
    assert known[:6, 1:, :22].all() and known.sum() == 6 * 19 * 22
    inner = type(gy)(
        np.ascontiguousarray(gy.array[:6, 1:, :22]), gy.spacing_mm, tuple(gy.index_to_mm(np.array([0, 1, 0]))),
        gy.frame_of_reference_uid,
    )  # fmt: skip
    plain = {name: dose_volume(inner, gy.with_array(masks[name])) for name in dose.in_order(masks)}
    assert list(found) == [name for name, dvh in plain.items() if dvh is not None] and "Empty" not in found
    for name, dvh in found.items():
        expected = plain[name].compact()
        np.testing.assert_array_equal(dvh.dose_gy, expected.dose_gy)
        np.testing.assert_array_equal(dvh.above_cc, expected.above_cc)
        assert dvh.outside_cc == expected.outside_cc
    assert found["GTVp"].outside_cc == pytest.approx(found["GTVp"].volume_cc) and found["gtvp"].partly_outside
    voxel_cc = 3.0 * 1.25 * 1.5 / 1000
    assert found["Parotids"].volume_cc == pytest.approx((3 * 4 * 6 + 3 * 4 * 6 - 2 * 3 * 1) * voxel_cc)
    notes = rt_objects.coverage_notes(gy, PackedMasks(masks))
    assert notes == rt_objects.coverage_notes(gy, masks) and "GTVp (100 % outside)" in notes[0]
    assert "PTV_7000 (57 % outside)" in notes[0], "1 of 7 rows and 2 of 4 columns: 1 - 6/7 * 2/4"


@pytest.mark.parametrize("pack", [dict, PackedMasks])
def test_a_structure_of_another_grid_has_no_histogram(gy, pack):
    with pytest.raises(ValueError, match="Larynx"):
        histograms.compute(gy, pack({"Larynx": np.ones((8, 24, 20), bool)}))


def test_stored_structures_are_unpacked_as_they_were_drawn(app, case_id, phantom):
    masks = drawn(phantom)
    app.store.save_result(case_id, "structures", {"structures": []}, arrays={"masks": masks})
    result = app.store.latest_result(case_id, "structures")
    loaded = app.store.load_masks(result)
    assert list(loaded) == sorted(masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(loaded[name], mask)
    shown = analysis.load_masks(app, case_id)
    np.testing.assert_array_equal(shown["uploaded: GTVp"], masks["GTVp"])
    assert app.store.arrays.put_masks(loaded) == result.arrays["masks"], "the same content has the same file"
    assert app.store.arrays.get_masks(app.store.arrays.put_masks({})) == {}


def test_masks_are_added_to_packed_structures_of_before(app, phantom):
    case_id = app.store.add_case(phantom).id
    first = {n: m for n, m in drawn(phantom).items() if n != "Empty"}
    files = io.BytesIO()
    folder = app.settings.data_dir
    files.write(write_rtstruct(first, phantom, folder / "rs.dcm").read_bytes())
    files.seek(0)
    saved, _ = rt_upload.attach(app, case_id, [("rs.dcm", files)])
    rows = {r["name"]: r["volume_ml"] for r in saved[0].payload["structures"]}
    assert rows["Parotid_R"] == round(72 * 0.005625, 3) and rows["gtvp"] == 0.006
    newer = np.zeros(phantom.shape, bool)
    newer[7, 0:2, 3] = True
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        for name in ("GTVp", "Larynx"):
            mask = write_nifti(phantom.with_array(newer), folder / "m.nii.gz")
            out.writestr(f"{name}.nii.gz", mask.read_bytes())
    packed.seek(0)
    saved, notes = rt_upload.attach(app, case_id, [("masks.zip", packed)])
    together = app.store.load_masks(saved[0])
    assert set(together) == {*first, "Larynx"} and any("replaced by the new ones: GTVp" in n for n in notes)
    for name, mask in together.items():
        np.testing.assert_array_equal(mask, newer if name in ("GTVp", "Larynx") else first[name])
