"""Packed structures are the same structures: against whole arrays, on a grid with three sizes and spacings."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from skimage.measure import find_contours

from hnvlm.imaging.contours import contours_from_mask, mask_from_contours
from hnvlm.imaging.dvh import dose_volume
from hnvlm.imaging.masks import PackedMask, PackedMasks, part_of, parts, shapes_of
from hnvlm.imaging.resample import mask_box, resample_like
from hnvlm.imaging.volume import Volume

SHAPE = (7, 11, 13)
GRID = Volume(np.zeros(SHAPE, np.int16), (3.0, 0.9, 1.3), (-20.0, 14.5, -33.0), "1.2.3")


def plain() -> dict[str, np.ndarray]:
    """First and last slice, borders, one voxel in the last corner, everything, nothing; two names by case alone."""
    made = {name: np.zeros(SHAPE, bool) for name in ("Top", "GTVp", "gtvp", "Corner", "Body", "Empty", "Ragged")}
    made["Top"][6, :, 2:4] = True
    made["GTVp"][0, 0:3, 0:2] = True
    made["gtvp"][0, 3, 12] = True
    made["Corner"][6, 10, 12] = True
    made["Body"][:] = True
    made["Ragged"][:] = np.random.default_rng(4).random(SHAPE) > 0.8
    return made


def test_every_mask_comes_back_as_it_was():
    packed, whole = PackedMasks(plain()), plain()
    assert list(packed) == list(whole) and len(packed) == 7 and packed.shape == SHAPE
    for name, mask in packed.items():
        assert mask.dtype == bool and mask.shape == SHAPE
        np.testing.assert_array_equal(mask, whole[name])
        assert packed.packed[name].voxels == whole[name].sum()
    assert {name: m.box for name, m in packed.packed.items()} == {name: mask_box(m) for name, m in whole.items()}
    assert packed.packed["Empty"].box is None and packed.packed["Corner"].box == (6, 10, 12, 7, 11, 13)
    assert shapes_of(packed) == shapes_of(whole) == dict.fromkeys(whole, SHAPE)


def test_what_was_unpacked_may_be_changed_without_changing_the_set():
    packed = PackedMasks(plain())
    packed["Top"][:] = True
    np.testing.assert_array_equal(packed["Top"], plain()["Top"])
    part = packed.part("Top")
    part.inside[:] = False
    np.testing.assert_array_equal(packed["Top"], plain()["Top"])


def test_parts_are_those_of_whole_arrays():
    packed, whole = PackedMasks(plain()), plain()
    for name, part in parts(packed):
        other = part_of(whole, name)
        if name == "Empty":
            assert part is None and other is None
            continue
        assert part.box == other.box
        np.testing.assert_array_equal(part.inside, other.inside)
        np.testing.assert_array_equal(part.inside, whole[name][part.place])


def test_it_reads_like_a_dict():
    packed = PackedMasks(plain())
    assert "gtvp" in packed and "GTVP" not in packed and packed.get("none") is None
    with pytest.raises(KeyError):
        packed["none"]
    assert not PackedMasks() and PackedMasks() == {} and PackedMasks().shape is None
    assert list(packed.only(["Body", "none", "Top"])) == ["Body", "Top"]
    # Counts of something else than bool are masks, too: whatever is not zero is inside.
    counts = PackedMask.of(plain()["Top"].astype(np.uint8) * 3)
    np.testing.assert_array_equal(counts.unpack(), plain()["Top"])


def test_two_sets_make_one_and_the_later_wins():
    whole = plain()
    packed = PackedMasks({"A": whole["Top"], "B": whole["GTVp"]})
    for both in (packed | {"B": whole["Body"], "C": whole["Empty"]},
                 packed | PackedMasks({"B": whole["Body"], "C": whole["Empty"]})):  # fmt: skip
        assert list(both) == ["A", "B", "C"] and both["B"].all() and not both["C"].any()
    first = {"B": whole["Body"]} | packed
    assert list(first) == ["B", "A"] and not first["B"].all()
    with pytest.raises(ValueError, match="one grid"):
        packed | {"C": np.zeros((7, 13, 11), bool)}


def test_a_large_set_takes_the_memory_of_its_boxes():
    shape = (40, 256, 250)
    tracemalloc.start()
    held = {}
    for n in range(20):
        mask = np.zeros(shape, bool)
        mask[n : n + 9, 5 * n : 5 * n + 30, 3 * n : 3 * n + 40] = True
        held[f"S{n}"] = PackedMask.of(mask)
    del mask
    kept = PackedMasks(held)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 200_000, "20 whole arrays would be 51 MB"
    assert kept["S19"].sum() == 9 * 30 * 40


@pytest.mark.parametrize("name", list(plain()))
def test_contours_are_the_very_numbers_of_whole_slices(name):
    mask = plain()[name]
    expected = []
    for k in range(SHAPE[0]):
        for contour in find_contours(np.pad(mask[k], 1).astype(np.float32), 0.5):
            points = contour[:-1] - 1.0
            turns = [
                p for before, p, after in zip(np.roll(points, 1, 0), points, np.roll(points, -1, 0), strict=True)
                if abs((p - before)[0] * (after - p)[1] - (p - before)[1] * (after - p)[0]) > 1e-9
            ]  # fmt: skip
            expected.append((k, [(-33.0 + 1.3 * x, 14.5 + 0.9 * y, -20.0 + 3.0 * k) for y, x in turns]))
    found = list(contours_from_mask(mask, GRID))
    assert [k for k, _ in found] == [k for k, _ in expected]
    for (_, points), (_, wanted) in zip(found, expected, strict=True):
        np.testing.assert_allclose(points, wanted, rtol=0, atol=1e-12)
    back, warnings = mask_from_contours([points for _, points in found], GRID)
    np.testing.assert_array_equal(back, mask)
    assert warnings == []


def plain_box(mask):
    low, high = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(hit[0]))
        high.append(int(hit[-1]) + 1)
    return (*low, *high)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_are_the_extents_along_each_axis(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    for _ in range(int(rng.integers(1, 5))):
        mask[tuple(int(rng.integers(0, n)) for n in SHAPE)] = True
    box = plain_box(mask)
    assert mask_box(mask) == box
    wide = tuple(max(0, v - 2) for v in box[:3]) + tuple(min(n, v + 2) for n, v in zip(SHAPE, box[3:], strict=True))
    assert mask_box(mask, 2) == wide


def whole_way(volume, target, order, fill):
    """Sampling axis by axis of the whole source, as it is written in a textbook."""
    array = volume.array if not order else volume.array.astype(np.float32)
    outside = []
    for axis in range(3):
        centres = target.origin_mm[axis] + target.spacing_mm[axis] * np.arange(target.shape[axis])
        index = (centres - volume.origin_mm[axis]) / volume.spacing_mm[axis]
        count = array.shape[axis]
        outside.append((index < -0.5 - 1e-6) | (index > count - 0.5 + 1e-6))
        index = np.clip(index, 0, count - 1)
        if not order:
            array = np.take(array, np.floor(index + 0.5).astype(int).clip(0, count - 1), axis=axis)
            continue
        low = np.floor(index).astype(int)
        weight = (index - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        below, above = np.take(array, low, axis=axis), np.take(array, np.minimum(low + 1, count - 1), axis=axis)
        array = below + (above - below) * weight
    for axis, gone in enumerate(outside):
        array[(slice(None),) * axis + (gone,)] = fill
    return array


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("origin", [(-11.3, 17.2, -30.1), (-40.0, 10.0, -50.0), (-2.0, 24.4, -17.4), (300.0, 0.0, 0.0)])
def test_sampling_a_corner_gives_the_very_bits_of_sampling_all(order, origin):
    rng = np.random.default_rng(6)
    dose = Volume(rng.random(SHAPE, np.float32) * 70, GRID.spacing_mm, GRID.origin_mm)
    target = Volume(np.zeros((5, 4, 6), bool), (1.1, 0.7, 2.3), origin)
    found = resample_like(dose, target, order=order, fill=-1.0)
    np.testing.assert_array_equal(found.array, whole_way(dose, target, order, -1.0))


def test_a_structure_cut_to_its_box_has_the_same_histogram():
    rng = np.random.default_rng(7)
    dose = Volume(rng.random((9, 8, 10), np.float32) * 70, (2.2, 1.7, 1.4), (-21.0, 13.0, -31.0), "1.2.3")
    for name, part in parts(PackedMasks(plain())):
        whole = dose_volume(dose, GRID.with_array(plain()[name]))
        if part is None:
            assert whole is None and name == "Empty"
            continue
        place = tuple(GRID.index_to_mm(np.array(part.box[:3])))
        cut = dose_volume(dose, Volume(part.inside, GRID.spacing_mm, place, "1.2.3"))
        np.testing.assert_array_equal(cut.dose_gy, whole.dose_gy)
        np.testing.assert_array_equal(cut.above_cc, whole.above_cc)
        assert cut.outside_cc == whole.outside_cc
        assert whole.volume_cc == pytest.approx(plain()[name].sum() * 3.0 * 0.9 * 1.3 / 1000)
