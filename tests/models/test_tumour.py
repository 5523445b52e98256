"""Suspicions: what they are told as, and where there are none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from imaging.neck_phantom import at, phantom

from hnvlm.models import tumour
from hnvlm.models.checkpoint import save_model
from hnvlm.models.detect import Detection
from hnvlm.models.lesion_net import LesionNet
from hnvlm.models.neck import build_neck
from hnvlm.models.tumour import MOST, TumourDetector, suspected, suspicion

WIDTHS = (8, 8, 8)
LEFT_II, RIGHT_III, TONGUE = (20.0, -20.0, 40.0), (-15.0, -20.0, -33.0), (28.0, -80.0, -13.0)


@pytest.fixture(scope="module")
def neck():
    ct, masks = phantom((2.5, 1.2, 1.0))
    found = build_neck(ct, masks)
    assert found is not None
    return ct, found


@pytest.fixture
def detector(tmp_path) -> TumourDetector:
    torch.manual_seed(0)
    save_model(tmp_path, LesionNet(WIDTHS), {"version": "0", "widths": WIDTHS, "threshold": 0.6})
    return TumourDetector(tmp_path, lambda crop: np.ones_like(crop))


def maps(neck, *places: tuple[int, tuple[float, float, float], float]) -> np.ndarray:
    """Lesion maps with a cube of 15 mm of this probability at each place: (channel, (w, v, u), probability)."""
    out = np.zeros((3, 64, 64, 64), np.float32)
    for channel, wvu, p in places:
        z, y, x = np.rint(neck.working.mm_to_index(at(*wvu)) - neck.start).astype(int)
        out[channel, z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = p
    return out


def test_a_suspicion_has_a_place_and_neither_size_nor_texture(neck, detector, monkeypatch):
    ct, found = neck
    monkeypatch.setattr(detector, "probability", lambda _: maps(found, (0, LEFT_II, 0.9), (1, TONGUE, 0.7)))
    node, mass = detector.look(found)
    told = suspicion(node, ct, found)
    assert (told.kind, told.presence, told.level, told.side) == ("node", "indeterminate", "II", "left")
    assert (told.certainty, told.source, told.size_mm, told.attributes) == (
        "possible",
        "zero-shot",
        None,
        {"suspected": True},
    )
    assert told.box is not None and told.box[0] <= told.slice_index < told.box[3] and told.score == pytest.approx(0.9)
    assert suspected(mass) == replace(
        suspicion(mass, ct, found), slice_index=None, box=None, score=None, attributes={}, source="measured"
    )
    assert suspected(mass).site == "oral tongue"


def test_what_is_weak_known_or_an_airway_is_no_suspicion(neck, detector, monkeypatch):
    _, found = neck
    given = maps(found, (0, LEFT_II, 0.9), (0, RIGHT_III, 0.55), (2, TONGUE, 0.95))
    monkeypatch.setattr(detector, "probability", lambda _: given)
    (only,) = detector.look(found)
    assert (only.place, only.side) == ("II", "left")
    known = Detection("mass", only.mask, 0.9, only.centre_mm, 15.0, None, "left", 60.0)
    assert detector.look(found, [known]) == []


def test_the_surest_few_are_told(neck, detector, monkeypatch):
    _, found = neck
    many = [
        SimpleNamespace(kind="node", place="II", score=s, mask=np.zeros(1, bool)) for s in (0.9, 0.8, 0.7, 0.65, 0.61)
    ]
    monkeypatch.setattr(tumour, "detect", lambda *_, peak: [d for d in many if d.score >= peak])
    assert detector.look(found) == many[:MOST]


def test_the_place_to_look_at_first_is_the_strongest_evidence_of_a_mass_or_node(neck, detector, monkeypatch):
    ct, found = neck
    given = maps(found, (0, LEFT_II, 0.3), (1, TONGUE, 0.25), (2, RIGHT_III, 0.95))
    monkeypatch.setattr(detector, "probability", lambda _: given)
    kind, at_voxel, seen = detector.strongest(found)
    assert kind == "node" and seen == pytest.approx(0.3, abs=1e-4)
    where = found.working.index_to_mm(at_voxel + found.start)
    assert np.abs(where - at(*LEFT_II)).max() <= 6.0, "a corner of the cube at most"
    told = detector.look_first(ct, found)
    assert (told.kind, told.presence, told.side, told.level) == ("node", "indeterminate", "left", "II")
    assert (told.size_mm, told.score, told.attributes) == (None, None, {})
    index = ct.mm_to_index(where)
    assert all(lo <= i < hi for lo, i, hi in zip(told.box[:3], index, told.box[3:], strict=True))
    # Three voxels of 3 mm to both sides, on a grid of 2.5 x 1.2 x 1.0 mm.
    assert [hi - lo for lo, hi in zip(told.box[:3], told.box[3:], strict=True)] == pytest.approx(
        [21 / 2.5, 21 / 1.2, 21 / 1.0], abs=1.01
    )
    assert told.slice_index == pytest.approx(index[0], abs=0.5)


def test_both_networks_have_to_agree(neck, detector, monkeypatch):
    _, found = neck
    sure = maps(found, (0, LEFT_II, 0.9), (0, RIGHT_III, 0.9))
    monkeypatch.setattr(tumour, "lesion_probability", lambda *_: sure)
    assert len(detector.look(found)) == 2
    right = np.zeros((64, 64, 64), np.float32)
    right[..., :32] = 0.8  # what would be treated: the patient's right
    other = TumourDetector.__new__(TumourDetector)
    other.__dict__ |= detector.__dict__ | {"treated": lambda crop: right, "_last": None}
    (only,) = other.look(found)
    assert (only.side, only.place) == ("right", "III") and only.score == pytest.approx(0.72, abs=1e-3)


def test_an_untrained_detector_reads_a_neck(neck, detector):
    _, found = neck
    p = detector.probability(found)
    assert p.shape == (3, 64, 64, 64) and (p >= 0).all() and (p <= 1).all()
