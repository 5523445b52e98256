"""Segmentations that are damaged or say nothing are refused by name; labels are read as they are written."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from test_rt import CT

from hnvlm.errors import UnreadableFileError
from hnvlm.imaging import rt
from hnvlm.imaging.write_seg import write_seg


@pytest.fixture
def seg(tmp_path):
    """Two segments of 2 x 3 x 4 and 1 x 2 x 5 voxels, and what saves a change of their file."""
    first, second = np.zeros(CT.shape, bool), np.zeros(CT.shape, bool)
    first[1:3, 4:7, 6:10], second[3:4, 10:12, 20:25] = True, True
    path = write_seg({"Larynx": first, "Brain": second}, CT, tmp_path / "seg.dcm")

    def changed(change):
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
        return path

    return changed


def position_of_nothing(dataset):
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    frame.PlanePositionSequence[0].ImagePositionPatient = ["nan"] * 3


def frame_of_nothing(dataset):
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = None


@pytest.mark.parametrize(
    "change",
    [position_of_nothing, frame_of_nothing, lambda dataset: setattr(dataset, "DimensionIndexSequence", None)],
    ids=["position", "segment", "index"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_segmentation_is_refused_by_name(seg, change):
    """The library that reads it keeps its frames in a database, whose error ended in a traceback."""
    with pytest.raises(UnreadableFileError, match=r"^seg\.dcm: damaged or irregular segmentation .*\. Export it again"):
        rt.read_structures(seg(change), CT)


def test_a_segmentation_without_segments_is_no_set_of_structures(seg):
    with pytest.raises(UnreadableFileError, match=r"^seg\.dcm: the segmentation holds no segments"):
        rt.read_structures(seg(lambda dataset: setattr(dataset, "SegmentSequence", [])), CT)


def test_a_backslash_in_a_label_is_part_of_it(seg):
    def rename(dataset):
        dataset.SegmentSequence[0].SegmentLabel = "GTV\\boost"

    found = rt.read_structures(seg(rename), CT, keep_unmapped=True)
    assert {name: int(mask.sum()) for name, mask in found.masks.items()} == {"Brain": 10, "GTV\\boost": 24}
