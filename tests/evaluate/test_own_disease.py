"""Whether a clinic's gross tumour is seen, counted by hand on the analytic neck."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.neck_phantom import CENTRE_MM, at, phantom

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.cases import Case
from hnvlm.evaluate.common import read_gross
from hnvlm.evaluate.own_disease import OwnDisease
from hnvlm.imaging.write import write_nifti
from hnvlm.models.neck import build_neck
from hnvlm.types import Provenance, Segmentation

SPACING = (2.5, 1.2, 1.0)


@pytest.fixture(scope="module")
def neck():
    ct, masks = phantom(SPACING)
    return ct, build_neck(ct, masks), Segmentation(masks, {}, Provenance("phantom", "1", "", 0), 0.0)


def ball(ct, wvu, radius_mm):
    axes = [
        np.arange(n) * s + o - c for n, s, o, c in zip(ct.shape, ct.spacing_mm, ct.origin_mm, CENTRE_MM, strict=True)
    ]
    w, v, u = np.meshgrid(*axes, indexing="ij", sparse=True)
    return (w - wvu[0]) ** 2 + (v - wvu[1]) ** 2 + (u - wvu[2]) ** 2 < radius_mm**2


def maps_at(neck, *places):
    out = np.zeros((3, 64, 64, 64), np.float32)
    for wvu in places:
        z, y, x = np.rint(neck.working.mm_to_index(at(*wvu)) - neck.start).astype(int)
        out[0, z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = 0.9
    return out


LEFT_II, RIGHT_III, LEFT_IV = (20.0, -20.0, 40.0), (-15.0, -20.0, -33.0), (-50.0, -20.0, 33.0)


def test_parts_that_a_finding_touches_are_seen_and_other_findings_are_counted(neck):
    ct, found, segmentation = neck
    gross = ball(ct, LEFT_II, 9.0) | ball(ct, RIGHT_III, 8.0) | ball(ct, (60.0, -20.0, 40.0), 1.5)  # a slip of the pen
    counted = OwnDisease()
    counted.add(Case("a", ct, segmentation, [], {}, None, gross), maps_at(found, LEFT_II, LEFT_IV), found, 0.5)
    told = counted.metrics()
    assert told["gross_tumour_seen"]["value"] == 0.5 and told["gross_tumour_seen"]["n"] == 2
    assert told["findings_elsewhere_per_ct"]["value"] == 1.0
    counted.add(
        Case("b", ct, segmentation, [], {}, None, ball(ct, RIGHT_III, 8.0)), maps_at(found, RIGHT_III), found, 0.5
    )
    told = counted.metrics()
    assert told["gross_tumour_seen"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert told["findings_elsewhere_per_ct"]["value"] == 0.5


def test_without_contours_nothing_is_told(neck):
    ct, found, segmentation = neck
    counted = OwnDisease()
    for gross in (None, np.zeros(ct.shape, bool)):
        counted.add(Case("a", ct, segmentation, [], {}, None, gross), maps_at(found, LEFT_II), found, 0.5)
    assert counted.metrics() == {}


def test_gross_tumour_of_a_folder_is_read_on_the_cts_grid_alone(neck, tmp_path):
    ct, _, _ = neck
    assert read_gross(tmp_path, ct) is None
    gross = ball(ct, LEFT_II, 9.0)
    write_nifti(ct.with_array(gross.astype(np.uint8)), tmp_path / "GTV.nii.gz")
    assert np.array_equal(read_gross(tmp_path, ct), gross)
    other, _ = phantom((3.0, 1.8, 1.5))
    with pytest.raises(InputRefusedError, match="GTV"):
        read_gross(tmp_path, other)
