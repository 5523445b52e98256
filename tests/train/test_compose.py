"""Training samples: what is added is what is labelled, mirrored samples swap sides, facts have a truth table."""

from __future__ import annotations

import random

import numpy as np
import pytest
from train.cases import bank_patient

from hnvlm.imaging.lesions import Lesion, LesionSpec
from hnvlm.models.ct_encoder import LESION_CHANNELS, cut, neck_crop
from hnvlm.models.diffusion import OPS, windowed
from hnvlm.models.facts import lesion_finding
from hnvlm.report.render import render_finding
from hnvlm.train import align, diffusion
from hnvlm.train.compose import add_lesions, compose, in_crop, mirrored, pick_lesions
from hnvlm.train.data import BIT, CHANNELS
from hnvlm.types import Finding

N = len(CHANNELS)
SPECS = (
    LesionSpec("node", "II", "left", 18.0),
    LesionSpec("node", "III", "right", 14.0),
    LesionSpec("mass", "parotid gland", "right", 12.0),
    LesionSpec("airway", "larynx", "left", narrowing_pct=50.0),
)


@pytest.fixture(scope="module")
def bank():
    return bank_patient(SPECS, unknown=("Parotid_L", "Larynx"))


def plain(bank):
    crop, start = neck_crop(bank.patient.ct, np.array(bank.patient.origin_mm), np.array(bank.centre_mm))
    return crop.astype(np.float32), start


def test_a_sample_is_the_ct_plus_the_differences(bank):
    node = bank.lesions[0]
    crop, start = plain(bank)
    sample = compose(bank, np.random.default_rng(0), augment=False, lesions=[node])
    at = np.array(node.start) - start
    part = tuple(slice(a, a + n) for a, n in zip(at, node.delta.shape, strict=True))
    want = crop.copy()
    want[part] += node.delta
    np.testing.assert_allclose(sample.hu, want, atol=1e-4)
    lesions = sample.targets[N:]
    np.testing.assert_allclose(lesions[LESION_CHANNELS.index("node")][part], node.mask)
    assert lesions[LESION_CHANNELS.index("node")].sum() == pytest.approx(node.mask.sum(), rel=1e-5)
    assert lesions[LESION_CHANNELS.index("mass")].sum() == 0
    assert sample.hu.shape == (64, 64, 64)
    assert sample.targets.shape == (N + 3, 64, 64, 64)
    assert sample.lesions == [node]
    assert not sample.flipped
    assert sample.known.tolist() == [*bank.patient.known.tolist(), True, True, True]


def test_targets_are_nested_as_the_segmenter_learns_them():
    shape = bank_patient().patient.ct.shape
    x = np.arange(shape[2])[None, None, :] * np.ones(shape)
    targets = {"PTV_7000": (x > 25) & (x < 30), "PTV_6300": (x >= 30) & (x < 35), "PTV_5600": (x >= 35) & (x < 37)}
    sample = compose(bank_patient(targets=targets), np.random.default_rng(0), augment=False, n_lesions=0)
    high, middle, low = (sample.targets[BIT[name]] for name in ("PTV_7000", "PTV_6300", "PTV_5600"))
    assert 0 < high.sum() < middle.sum() < low.sum()
    assert (middle >= high).all()
    assert (low >= middle).all()


def test_a_mirrored_sample_swaps_parotids_and_words(bank):
    """The phantom's left gland is the larger one, its left gland was not contoured, its node lies on the left."""
    node = bank.lesions[0]
    seen = set()
    for seed in range(8):
        sample = compose(bank, np.random.default_rng(seed), lesions=[node])
        left, right = sample.targets[BIT["Parotid_L"]], sample.targets[BIT["Parotid_R"]]
        place = np.argwhere(sample.targets[N + LESION_CHANNELS.index("node")] > 0.5).mean(0)
        column = {name: np.argwhere(m)[:, 2].mean() for name, m in (("left", left), ("right", right))}
        assert column["left"] > column["right"]  # left is at larger x, mirrored or not
        (lesion,) = sample.lesions
        sentence = render_finding(lesion_finding(lesion), "en", None)
        assert (left.sum() < right.sum()) == sample.flipped
        assert lesion.spec.side == ("right" if sample.flipped else "left")
        assert (place[2] < 32) == sample.flipped
        assert lesion.spec.side in sentence.lower()
        assert ("left" in sentence.lower()) != sample.flipped
        assert bool(sample.known[BIT["Parotid_L"]]) == sample.flipped
        assert bool(sample.known[BIT["Parotid_R"]]) != sample.flipped
        assert not sample.known[BIT["Larynx"]]
        seen.add(sample.flipped)
    assert seen == {True, False}


def test_one_seed_one_sample(bank):
    a, b, c = (compose(bank, np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.hu, b.hu)
    np.testing.assert_array_equal(a.targets, b.targets)
    assert not np.array_equal(a.hu, c.hu)


def test_chosen_lesions_do_not_touch_and_one_changes_the_airway(bank):
    for seed in range(20):
        chosen = pick_lesions(bank.lesions, 3, np.random.default_rng(seed))
        assert 1 <= len(chosen) <= 3
        assert sum(c.spec.kind in ("airway", "mass") for c in chosen) <= 1
    twin = [bank.lesions[0], bank.lesions[0]]
    assert len(pick_lesions(twin, 2, np.random.default_rng(0))) == 1
    assert pick_lesions([], 2, np.random.default_rng(0)) == []


def small_lesion(start: tuple[int, int, int]) -> Lesion:
    delta = np.full((2, 3, 4), 10.0, np.float32)
    return Lesion(
        LesionSpec("mass", "oral tongue", "left", 9.0), start, delta, np.full((2, 3, 4), 0.5, np.float32), (0,) * 3
    )


def test_lesions_half_outside_the_crop_by_hand():
    hu = np.zeros((6, 7, 8), np.float32)
    masks = add_lesions(hu, np.array([10, 10, 10]), [small_lesion((9, 15, 16))])
    # Starts at (-1, 5, 6): one slice, two rows and two columns lie inside.
    assert np.argwhere(hu).min(0).tolist() == [0, 5, 6]
    assert (hu > 0).sum() == 1 * 2 * 2
    assert masks[LESION_CHANNELS.index("mass")].sum() == 0.5 * 4
    assert masks.sum() == 0.5 * 4


def test_in_crop_needs_four_fifths():
    assert in_crop(small_lesion((10, 10, 10)), np.array([10, 10, 10]))
    assert not in_crop(small_lesion((9, 10, 10)), np.array([10, 10, 10]))  # half of it
    assert not in_crop(small_lesion((200, 10, 10)), np.array([10, 10, 10]))


def test_mirroring_twice_is_the_same(bank):
    node = bank.lesions[0]
    assert mirrored(node).spec.side == "right"
    assert mirrored(mirrored(node)).spec == node.spec


# ---- which sentence holds -------------------------------------------------------------------------------------------
NODE = Finding("node", side="left", level="II", size_mm=20.0, attributes={"texture": "necrotic"})
MASS = Finding("mass", side="right", site="oral tongue", size_mm=30.0, attributes={"texture": "solid"})


def said(**given):
    blank = dict.fromkeys(("kind", "place", "side", "size_mm", "texture"))
    return {"op": "add"} | blank | given


@pytest.mark.parametrize(
    ("labels", "findings", "true"),
    [
        (said(kind="node", place="II", side="left", size_mm=20.0, texture="necrotic"), [NODE], True),
        (said(kind="node", place="II", side="right"), [NODE], False),
        (said(kind="node", place="III", side="left"), [NODE], False),
        (said(kind="mass", side="left"), [NODE], False),
        (said(texture="solid"), [NODE], False),
        (said(texture="solid"), [NODE, MASS], True),
        (said(side="left"), [NODE], True),
        (said(kind="node"), [], False),
        (said(), [NODE], True),  # states nothing: holds of any lesion
        (said(), [], False),
        (said(), [Finding("airway", site="larynx", side="left")], False),  # "a lesion" is a node or a mass
        (said(kind="node", size_mm=26.0), [NODE], True),  # 6 of 26 mm is less than 30 %
        (said(kind="node", size_mm=15.0), [NODE], False),  # 5 of 15 mm is more
        (said(kind="node", size_mm=20.0, side="right"), [NODE, MASS], False),  # facts of two lesions are not mixed
        (said(kind="node", side="right", place="oral tongue"), [NODE, MASS], False),
        (said(kind="mass", size_mm=30.0), [Finding("mass", side="right", site="oral tongue")], False),
        ({"op": "none"}, [], True),
        ({"op": "none"}, [NODE], False),
    ],
)
def test_truth_of_a_sentence(labels, findings, true):
    assert align.is_true(labels, findings) is true


def facts_of(f: Finding) -> dict:
    return {"side": f.side, "place": f.level or f.site, "texture": f.attributes.get("texture"), "size": f.size_mm}


@pytest.mark.parametrize(
    "finding", [NODE, MASS, Finding("airway", site="larynx", side="left", attributes={"narrowing_pct": 40.0})]
)
def test_a_changed_finding_differs_in_one_fact(finding):
    rng = random.Random(3)
    counts: dict[str, int] = dict.fromkeys(facts_of(finding), 0)
    for _ in range(300):
        other = align.changed(finding, rng)
        assert other.kind == finding.kind
        different = [k for k, v in facts_of(other).items() if v != facts_of(finding)[k]]
        assert len(different) == 1
        for k in different:
            counts[k] += 1
    assert counts["side"] > 100
    assert counts["place"] > 30
    if finding.kind != "airway":
        assert counts["texture"] > 10
        assert counts["size"] > 10
        resized = {align.changed(finding, rng).size_mm for _ in range(200)} - {finding.size_mm}
        assert all(abs(v - finding.size_mm) > align.SIZE_TOLERANCE * v for v in resized)


def test_sentences_of_a_batch_know_their_own():
    texts, labels, own = align.sentences_for([[NODE, MASS], []], random.Random(1))
    # a CT without a lesion gets one sentence more: "there is one" must be wrong at times
    assert len(texts) == len(labels) == (2 + 4 + 1) + (1 + 0 + 1 + 1)
    assert labels[-1]["op"] == "add"
    assert labels[-1]["place"] is None
    assert not align.is_true(labels[-1], [])
    assert own == [[0, 1], [7]]
    assert align.is_true(labels[0], [NODE])
    assert align.is_true(labels[1], [MASS])
    assert labels[7]["op"] == "none"
    assert align.is_true(labels[7], [])
    assert all(isinstance(t, str) and t for t in texts)


# ---- pairs of the diffusion model -----------------------------------------------------------------------------------
def test_pairs_lead_from_source_to_target(bank):
    node = bank_patient(SPECS[:1])
    seen: dict[str, int] = dict.fromkeys(OPS, 0)
    lesion = node.lesions[0]
    for seed in range(60):
        pair = diffusion.make_pair(node, np.random.default_rng(seed), random.Random(seed))
        op = OPS[pair["op"]]
        seen[op] += 1
        assert pair["source"].shape == (32, 32, 32)
        target = windowed(pair["source"]) + pair["residual"]
        assert target.min() >= -2.5 - 1e-4
        assert target.max() <= 2.5 + 1e-4
        assert pair["weight"].min() >= 0
        assert pair["weight"].max() <= 1 + 1e-6
        core = pair["mask"] > 0.9
        if op == "none":
            assert not pair["residual"].any()
            assert not pair["mask"].any()
        else:
            if op == "add":
                assert pair["mask"].sum() == pytest.approx(lesion.mask.sum(), rel=0.02)
            change = float(pair["residual"][core].mean())  # a solid node in fat is brighter than what it replaces
            assert (change > 0.5) == (op == "add")
        # The plain edit is most of it, and is mirrored with it.
        left = float(((pair["residual"] - pair["plain"])[core] ** 2).sum())
        assert op == "none" or left < 0.5 * float((pair["residual"][core] ** 2).sum())
    assert seen["add"] > 15
    assert seen["remove"] > 15
    assert diffusion.make_pair(bank_patient(), np.random.default_rng(0), random.Random(0)) is None


def test_a_mask_as_a_detector_draws_it():
    z, y, x = np.indices((32, 32, 32)) - 15.5
    exact = ((z / 5) ** 2 + (y / 4) ** 2 + (x / 6) ** 2 < 1).astype(np.float32)
    overlaps, sizes = [], []
    for seed in range(40):
        found = diffusion.found_mask(exact, np.random.default_rng(seed))
        assert set(np.unique(found)) == {0.0, 1.0}
        sizes.append(found.sum() / exact.sum())
        overlaps.append(2 * (found * exact).sum() / (found.sum() + exact.sum()))
        assert np.linalg.norm(np.argwhere(found > 0).mean(0) - 15.5) < 3
    assert min(sizes) < 0.8
    assert max(sizes) > 1.4
    assert 0.4 < min(overlaps) < 0.85
    assert np.mean(overlaps) > 0.7
    nothing = np.zeros((8, 8, 8), np.float32)
    assert diffusion.found_mask(nothing, np.random.default_rng(0)) is nothing


def test_the_patch_of_a_pair_is_cut_around_its_lesion(bank):
    lesion = bank.lesions[0]
    middle = np.argwhere(lesion.mask > 0.2).mean(0) + lesion.start
    start = np.rint(middle).astype(int) - 16
    assert cut(lesion.mask, start - np.array(lesion.start), (32,) * 3, 0.0).sum() == pytest.approx(lesion.mask.sum())
