"""NIfTI input: orientation, number types, refusals; checked against SimpleITK's own orientation filter."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import ORIGIN, SHAPE, SPACING, head

from hnvlm.errors import InputRefusedError, UnreadableFileError
from hnvlm.imaging import intake, nifti
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_nifti


def image(array, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    out = sitk.GetImageFromArray(array)
    out.SetSpacing(SPACING[::-1])
    out.SetOrigin(ORIGIN[::-1])
    out.SetDirection([float(v) for v in direction])
    return out


def save(tmp_path, *args, name="a.nii.gz"):
    sitk.WriteImage(image(*args), str(tmp_path / name))
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_written_and_read_volume_is_the_same(tmp_path, name):
    volume = Volume(head(), SPACING, ORIGIN)
    write_nifti(volume, tmp_path / name)
    result = intake.read_path(tmp_path / name)
    assert result.volume.same_grid(volume)
    np.testing.assert_array_equal(result.volume.array, head())
    assert result.volume.array.dtype == np.int16 and result.meta["source"] == "nifti"


@pytest.mark.parametrize("axes", ["RPI", "LAS", "RAS", "PIR", "SAL", "ASL"])
def test_every_axis_order_is_turned_to_lps(tmp_path, axes):
    """Reference: SimpleITK's DICOMOrient back to LPS."""
    turned = sitk.DICOMOrient(image(head()), axes)
    sitk.WriteImage(turned, str(tmp_path / "a.nii.gz"))
    volume = intake.read_path(tmp_path / "a.nii.gz").volume
    back = sitk.DICOMOrient(turned, "LPS")
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(back))
    np.testing.assert_allclose(volume.origin_mm, back.GetOrigin()[::-1], atol=1e-3)
    np.testing.assert_allclose(volume.spacing_mm, back.GetSpacing()[::-1], atol=1e-5)


def test_oblique_grid_is_resampled_with_a_warning(tmp_path):
    c, s = np.cos(0.3), np.sin(0.3)
    stack = np.full((5, 30, 40), -1000, np.int16)
    stack[1:4, 10:20, 10:30] = 60
    path = save(tmp_path, stack, (c, -s, 0, s, c, 0, 0, 0, 1))
    result = intake.read_path(path)
    assert any("oblique" in w for w in result.warnings)
    centre = np.array(image(stack, (c, -s, 0, s, c, 0, 0, 0, 1)).TransformIndexToPhysicalPoint((20, 15, 2)))
    index = np.rint(result.volume.mm_to_index(centre[::-1])).astype(int)
    assert result.volume.array[tuple(index)] == 60


def test_floats_are_rounded_and_not_numbers_become_air(tmp_path):
    array = head().astype(np.float32) + 0.4
    array[0, 0, 0], array[1, 1, 1] = np.nan, 9e9
    result = intake.read_path(save(tmp_path, array))
    assert result.volume.array[0, 0, 0] == -1024 and result.volume.array[1, 1, 1] == 32767
    assert result.volume.array[3, 5, 6] == head()[3, 5, 6]
    assert any("not numbers" in w for w in result.warnings)


def test_implausible_hu_is_said(tmp_path):
    result = intake.read_path(save(tmp_path, (head() + 1000).astype(np.uint16)))
    assert any("no air" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((2, *SHAPE), np.int16), "3-D volume"),
        (np.zeros((*SHAPE, 3), np.uint8), "colour"),
        (np.zeros((1, 10, 14), np.int16), "at least 3 slices"),
    ],
)
def test_other_shapes_are_refused(tmp_path, array, word):
    if array.shape[-1] == 3:
        out = sitk.GetImageFromArray(array, isVector=True)
    elif array.ndim == 4:
        out = sitk.JoinSeries([sitk.GetImageFromArray(a) for a in array])
    else:
        out = sitk.GetImageFromArray(array)
    sitk.WriteImage(out, str(tmp_path / "a.nii.gz"))
    info = intake.scan(tmp_path / "a.nii.gz")[0]
    assert not info.accepted and word in info.reasons[0]
    with pytest.raises(InputRefusedError, match=word):
        intake.read(info)


def test_no_orientation_in_the_header_is_said(tmp_path):
    path = tmp_path / "a.nii"
    write_nifti(Volume(head(), SPACING, ORIGIN), path)
    data = bytearray(path.read_bytes())
    data[252:256] = b"\0" * 4  # qform_code and sform_code
    path.write_bytes(bytes(data))
    assert any("states no orientation" in w for w in intake.scan(path)[0].warnings)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "text.nii").write_text("this is no image")
    with pytest.raises(UnreadableFileError, match=r"text\.nii"):
        intake.scan(tmp_path / "text.nii")
    good = write_nifti(Volume(head((40, 40, 40)), SPACING, ORIGIN), tmp_path / "good.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(gzip.decompress(good.read_bytes())[:5000]))
    info = intake.scan(tmp_path / "cut.nii.gz")[0]
    with pytest.raises(UnreadableFileError, match=r"cut\.nii\.gz"):
        intake.read(info)


def test_a_name_that_is_no_text_is_passed_over_by_name(tmp_path):
    """SimpleITK would end the process."""
    good = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "good.nii.gz")
    try:
        os.link(good, os.fsencode(tmp_path) + b"/bad\xff.nii.gz")
    except OSError:
        pytest.skip("this file system takes no such name")
    (series,) = intake.scan(tmp_path)
    assert series.accepted
    assert any("bad\ufffd.nii.gz" in warning and "rename" in warning for warning in series.warnings)


def test_uid_depends_on_content_alone(tmp_path):
    a = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    b = tmp_path / "b.nii"
    b.write_bytes(a.read_bytes())
    edited = head()
    edited[-1, -1, -1] += 1
    c = write_nifti(Volume(edited, SPACING, ORIGIN), tmp_path / "c.nii")
    uids = [intake.scan(p)[0].series_uid for p in (a, b, c)]
    assert uids[0] == uids[1] != uids[2] and uids[0].startswith("2.25.")


def with_sform(path, change):
    """Change the sform (RAS, a (3, 4) matrix) of an uncompressed NIfTI file that states both orientations."""
    data = bytearray(path.read_bytes())
    assert np.frombuffer(bytes(data[252:256]), "<i2").all(), "the writer states both"
    matrix = change(np.frombuffer(bytes(data[280:328]), "<f4").reshape(3, 4).copy())
    data[254:256] = (2).to_bytes(2, "little")  # aligned to something else: readers disagree which of the two counts
    data[280:328] = matrix.astype("<f4").tobytes()
    path.write_bytes(bytes(data))


def mirrored(matrix):
    matrix[0] *= -1
    return matrix


def moved(matrix):
    matrix[2, 3] += 4
    return matrix


@pytest.mark.parametrize("axes", ["RPI", "LAS", "RAS", "PIR", "SAL", "ASL"])
def test_two_orientations_that_agree_are_no_matter(tmp_path, axes):
    sitk.WriteImage(sitk.DICOMOrient(image(head()), axes), str(tmp_path / "a.nii"))
    with_sform(tmp_path / "a.nii", lambda matrix: matrix)
    info = intake.scan(tmp_path / "a.nii")[0]
    assert info.accepted and info.warnings == []


def test_two_orientations_that_contradict_each_other_are_refused(tmp_path):
    """Nibabel and ITK would show this patient mirrored to each other."""
    path = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    with_sform(path, mirrored)
    info = intake.scan(path)[0]
    assert not info.accepted and "contradict" in info.reasons[0]
    with pytest.raises(UnreadableFileError, match="contradict"):  # nor is a mask laid over a CT mirrored
        nifti.read_volume(path)


def test_two_positions_are_said(tmp_path):
    path = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    with_sform(path, moved)
    info = intake.scan(path)[0]
    assert info.accepted and any("4.0 mm apart" in w for w in info.warnings)


@pytest.mark.parametrize("unit", [1, 3], ids=["metres", "micrometres"])
def test_a_wrong_unit_of_length_is_no_volume_of_a_metre_a_voxel(tmp_path, unit):
    path = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[123] = unit
    path.write_bytes(bytes(data))
    info = intake.scan(path)[0]
    assert not info.accepted and "xyzt_units" in info.reasons[0]


def test_a_plain_file_called_gz_is_refused_by_name(tmp_path):
    plain = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    plain.rename(tmp_path / "a.nii.gz")
    with pytest.raises(UnreadableFileError, match=r"a\.nii\.gz"):
        intake.scan(tmp_path / "a.nii.gz")


def patched(tmp_path, at, kind, *values):
    path = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{kind}", data, at, *values)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("at", "kind", "values", "words"),
    [
        (80, "f", [np.nan], "voxels of nan x 0.7 x 2.5 mm"),  # ITK puts 1 mm in its place
        (84, "f", [0.0], "voxels of 1.1 x 0 x 2.5 mm"),
        (76, "4f", [1.0, 2.2, 1.4, 5.0], "two voxel sizes, 2.2 x 1.4 x 5 mm (pixdim) and 1.1 x 0.7 x 2.5 mm (sform)"),
        (112, "f", [-1.0], "scl_slope -1"),
        (112, "f", [np.inf], "scl_slope inf"),
        (112, "2f", [1.0, np.nan], "scl_inter nan"),
        (292, "f", [np.nan], "not stated in numbers"),
    ],
)
def test_a_header_of_impossible_numbers_is_refused(tmp_path, at, kind, values, words):
    info = intake.scan(patched(tmp_path, at, kind, *values))[0]
    assert not info.accepted and words in "; ".join(info.reasons)


def test_an_sform_to_a_template_has_sizes_of_its_own(tmp_path):
    """With a qform, the sform may go to an atlas (code 4), where the patient's sizes do not hold."""
    path = write_nifti(Volume(head(), SPACING, ORIGIN), tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    matrix = np.frombuffer(bytes(data[280:328]), "<f4") * 1.3
    data[254:256], data[280:328] = (4).to_bytes(2, "little"), matrix.astype("<f4").tobytes()
    path.write_bytes(bytes(data))
    assert intake.scan(path)[0].spacing_mm == pytest.approx(SPACING)


@pytest.mark.parametrize(
    ("at", "kind", "value", "words"),
    [
        (42, "h", 13, "70 more voxels than its header says"),  # read as it is, every row would begin a voxel too early
        (108, "f", 200.0, "begin inside its header"),
        (108, "f", np.inf, "incomplete"),
    ],
)
def test_voxels_that_lie_elsewhere_are_not_guessed(tmp_path, at, kind, value, words):
    path = patched(tmp_path, at, kind, value)
    with pytest.raises(UnreadableFileError, match=words):
        intake.read(intake.scan(path)[0])


def test_voxels_begin_behind_the_header_where_no_place_is_stated(tmp_path):
    """Offset 0 in a file in one piece: the header was read as the first voxels."""
    path = patched(tmp_path, 108, "f", 0.0)
    np.testing.assert_array_equal(intake.read(intake.scan(path)[0]).volume.array, head())


def test_a_refusal_names_the_file_and_not_the_folders(tmp_path):
    path = tmp_path / "KOWALSKI" / "a.nii"
    path.parent.mkdir()
    path.write_bytes(bytes(400))
    with pytest.raises(UnreadableFileError, match=r"a\.nii: not a readable NIfTI") as caught:
        intake.scan(path)
    assert "KOWALSKI" not in caught.value.message


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_a_file_says_of_itself_is_read_without_its_pixels(tmp_path, name):
    volume = Volume(np.zeros((2, 3, 4), np.int16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    path = write_nifti(volume, tmp_path / name, "AI draft, drawn by nobody")
    assert nifti.description(path).rstrip("\0 ") == "AI draft, drawn by nobody"
    for damaged in (b"", b"no NIfTI"):
        path.write_bytes(damaged)
        assert nifti.description(path) == ""
    path.unlink()
    assert nifti.description(path) == ""
