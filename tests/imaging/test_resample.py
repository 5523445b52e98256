"""Resampling by hand-computed numbers; a crop undoes itself exactly."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from hnvlm.errors import FrameOfReferenceError
from hnvlm.imaging.resample import crop, mask_box, resample_like, resample_to
from hnvlm.imaging.volume import Volume


def ramp(shape=(6, 8, 10), spacing=(3.0, 2.0, 1.0), origin=(-9.0, 4.0, 7.0), dtype=np.float32):
    """Value = 100 + 2 z + 3 y + 5 x in millimetres: linear interpolation reproduces it exactly."""
    grid = Volume(np.zeros(shape, dtype), spacing, origin)
    z, y, x = (grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(shape[a]) for a in range(3))
    values = 100 + 2 * z[:, None, None] + 3 * y[None, :, None] + 5 * x[None, None, :]
    return grid.with_array(values.astype(dtype))


def test_extent_stays_and_values_follow_position():
    source = ramp()
    out = resample_to(source, (1.5, 4.0, 2.5))
    assert out.shape == (12, 4, 4) and out.spacing_mm == pytest.approx((1.5, 4.0, 2.5))
    # The outer border is at -9 - 1.5 = -10.5; the first centre of 1.5 mm voxels lies 0.75 mm inside.
    assert out.origin_mm == pytest.approx((-9.75, 5.0, 7.75))
    expected = ramp((12, 4, 4), out.spacing_mm, out.origin_mm)
    inside = slice(1, -1)
    np.testing.assert_allclose(out.array[inside, inside, inside], expected.array[inside, inside, inside], rtol=1e-6)


def test_resample_like_matches_simpleitk():
    rng = np.random.default_rng(5)
    source = ramp().with_array(rng.normal(0, 100, (6, 8, 10)).astype(np.float32))
    like = Volume(np.zeros((9, 7, 5), bool), (1.7, 1.9, 2.3), (-8.0, 5.0, 6.9))
    out = resample_like(source, like, fill=-1024)
    image = sitk.GetImageFromArray(source.array)
    image.SetSpacing(source.spacing_mm[::-1])
    image.SetOrigin(source.origin_mm[::-1])
    other = sitk.Resample(
        image, like.shape[::-1], sitk.Transform(), sitk.sitkLinear, like.origin_mm[::-1], like.spacing_mm[::-1],
        (1, 0, 0, 0, 1, 0, 0, 0, 1), -1024.0,
    )  # fmt: skip
    np.testing.assert_allclose(out.array, sitk.GetArrayFromImage(other), atol=1e-3)


def test_outside_is_filled_and_types_are_kept():
    source = Volume(np.full((3, 4, 5), 7, np.int16), (1, 1, 1))
    like = Volume(np.zeros((5, 4, 5), bool), (1, 1, 1), (-1, 0, 0))
    out = resample_like(source, like, fill=-1024)
    assert out.array.dtype == np.int16
    assert out.array[:, 0, 0].tolist() == [-1024, 7, 7, 7, -1024]
    mask = resample_to(Volume(np.ones((3, 4, 5), bool), (1, 1, 1)), (0.5, 0.5, 0.5))
    assert mask.array.dtype == bool and mask.array.all()


def test_nearest_keeps_labels():
    labels = Volume(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), (2, 2, 2))
    out = resample_to(labels, (1, 1, 1), order=0)
    np.testing.assert_array_equal(out.array[::2, ::2, ::2], labels.array)
    np.testing.assert_array_equal(out.array[1::2, 1::2, 1::2], labels.array)


def test_antialias_keeps_the_mean_of_fine_detail():
    stripes = np.zeros((4, 4, 64), np.float32)
    stripes[:, :, ::2] = 100
    volume = Volume(stripes, (1, 1, 1))
    smooth = resample_to(volume, (1, 1, 4), antialias=True).array
    np.testing.assert_allclose(smooth[:, :, 2:-2], 50, atol=3)


def test_frames_of_reference_must_agree():
    a, b = (
        Volume(np.zeros((3, 3, 3)), (1, 1, 1), (0, 0, 0), "1.2"),
        Volume(np.zeros((3, 3, 3)), (1, 1, 1), (0, 0, 0), "1.3"),
    )
    with pytest.raises(FrameOfReferenceError):
        resample_like(a, b)
    unknown = Volume(np.zeros((3, 3, 3)), (1, 1, 1))
    assert resample_like(a, unknown).frame_of_reference_uid == "1.2"


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan"))])
def test_impossible_spacing_is_refused(spacing):
    with pytest.raises(ValueError, match="positive"):
        resample_to(ramp(), spacing)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 12), min_size=6, max_size=6))
def test_crop_and_undo(numbers):
    low, high = numbers[:3], [max(a + 1, b) for a, b in zip(numbers[:3], numbers[3:], strict=True)]
    source = ramp(dtype=np.int16)
    part, window = crop(source, (*low, *high))
    assert part.shape == tuple(h - a for a, h in zip(low, high, strict=True))
    assert part.origin_mm == pytest.approx(tuple(source.index_to_mm(np.array(low))))
    back = window.undo(part.array + 1)
    inside = np.zeros(source.shape, bool)
    inside[tuple(slice(max(0, a), max(0, h)) for a, h in zip(low, high, strict=True))] = True
    np.testing.assert_array_equal(back[inside], source.array[inside] + 1)
    assert (back[~inside] == 0).all()


def test_mask_box():
    mask = np.zeros((6, 8, 10), bool)
    assert mask_box(mask) is None
    mask[2, 3:5, 9] = True
    assert mask_box(mask) == (2, 3, 9, 3, 5, 10)
    assert mask_box(mask, (1, 2, 3)) == (1, 1, 6, 4, 7, 10)


@pytest.mark.parametrize("spacing", [(2.5, 0.9, 1.3), (3.0, 1.0, 0.8), (1.1, 2.9, 6.0)])
def test_smoothing_first_is_a_gaussian_and_then_linear(spacing):
    """Against SciPy's filter and interpolator; axes that do not become coarser are not smoothed."""
    array = np.random.default_rng(2).normal(0, 300, (17, 40, 29))
    volume = Volume(array, spacing, (4.0, -9.0, 2.0))
    got = resample_to(volume, (3.0, 3.0, 3.0), antialias=True)
    ratio = np.array(got.spacing_mm) / spacing
    sigma = np.where(ratio > 1.01, np.sqrt(np.maximum(ratio**2 - 1, 0) / 12), 0)
    assert (sigma > 0).any()
    smooth = ndimage.gaussian_filter(array, sigma, mode="nearest")
    axes = [o + s * np.arange(n) for o, s, n in zip(volume.origin_mm, spacing, array.shape, strict=True)]
    wanted = [o + s * np.arange(n) for o, s, n in zip(got.origin_mm, got.spacing_mm, got.shape, strict=True)]
    wanted = [np.clip(w, a[0], a[-1]) for w, a in zip(wanted, axes, strict=True)]
    want = RegularGridInterpolator(axes, smooth)(np.stack(np.meshgrid(*wanted, indexing="ij"), -1))
    np.testing.assert_allclose(got.array, want, atol=1e-6)
    # The same voxels, asked for as a part of a larger grid.
    part = Volume(np.zeros((3, 4, 2)), got.spacing_mm, tuple(got.index_to_mm(np.array([1, 2, 3]))))
    np.testing.assert_allclose(resample_like(volume, part, antialias=True).array, want[1:4, 2:6, 3:5], atol=1e-6)
