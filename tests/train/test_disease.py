"""A patient's own disease is taught by no trainer as healthy: where it is, and what is left out there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from train.cases import bank_patient, write_case, write_image

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.own_reports import OwnReport
from hnvlm.imaging.lesions import LesionSpec
from hnvlm.models.ct_encoder import LESION_CHANNELS
from hnvlm.models.lesion_net import LesionNet
from hnvlm.train import lesions as trainer
from hnvlm.train.bank import BankPatient, anatomy_of, load_bank, outside_disease
from hnvlm.train.compose import compose
from hnvlm.train.data import BIT, GTV_BIT, GTV_NODES_BIT, load_cached
from hnvlm.train.disease import MARGIN_MM, edge_of, inside_of, own_lesions, reported
from hnvlm.types import Finding

SPECS = (LesionSpec("node", "II", "left", 18.0, "necrotic"), LesionSpec("node", "III", "right", 14.0))
LEFT_II = Finding("node", side="left", level="II", size_mm=24.0)


@pytest.fixture(scope="module")
def bank() -> BankPatient:
    return bank_patient(SPECS)


@pytest.fixture(scope="module")
def anatomy(bank):
    return anatomy_of(bank.patient)


def with_gross(bank: BankPatient, lesion: int, *, bit: int = GTV_BIT) -> BankPatient:
    """The patient with a tumour of its own where a lesion of the bank would be put."""
    x, labels = bank.lesions[lesion], bank.patient.labels.copy()
    place = tuple(slice(a, a + n) for a, n in zip(x.start, x.mask.shape, strict=True))
    labels[place] |= (x.mask > 0.2).astype(np.uint16) << bit
    return replace(bank, patient=replace(bank.patient, labels=labels))


# ---- where ----------------------------------------------------------------------------------------------------------
def test_a_report_gives_the_region_of_the_level_and_half_the_size_around_it(anatomy):
    region = anatomy.candidates("node", "II", "left")
    found = reported(OwnReport((LEFT_II,)), anatomy)
    assert found[region].all() and found.sum() < 0.2 * found.size
    inside, last = np.argwhere(region), np.argwhere(found)
    reach = round((24.0 / 2 + MARGIN_MM) // 3)  # voxels of 3 mm
    assert (inside.min(0) - last.min(0)).tolist() == [reach] * 3
    right = anatomy.candidates("node", "II", "right")
    assert not found[right].any()
    both = reported(OwnReport((replace(LEFT_II, side=None),)), anatomy)
    assert both[right].all() and both[region].all()


@pytest.mark.parametrize(
    "report",
    [
        OwnReport(unclear="says nothing"),
        OwnReport((Finding("mass", side="left"),)),
        OwnReport((LEFT_II, Finding("node", side="left", level="VII"))),
    ],
)
def test_what_a_report_leaves_open_may_be_anywhere(anatomy, report):
    assert reported(report, anatomy).all()


def test_a_report_of_a_healthy_neck_and_none_leave_all_places(anatomy):
    assert reported(OwnReport(), anatomy) is None and reported(None, anatomy) is None


def test_the_bank_brings_contours_and_report_of_a_folder(tmp_path):
    ct, masks = write_case(tmp_path / "a1")
    gross = np.zeros(ct.shape, np.uint8)
    cord = np.argwhere(masks["SpinalCord"]).mean(0).astype(int)
    gross[cord[0] - 4 : cord[0] + 4, cord[1] - 12 : cord[1] - 5, cord[2] + 6 : cord[2] + 12] = 1
    write_image(tmp_path / "a1" / "GTV.nii.gz", ct, gross)
    (tmp_path / "a1" / "report.txt").write_text("Lymph node in left level II, 24 mm. No mass.", encoding="utf-8")
    [made] = load_bank([tmp_path / "a1"], tmp_path / "cache", per_patient=2, workers=1)
    contoured = (made.patient.labels >> GTV_BIT) & 1
    assert contoured.sum() * 27.0 == pytest.approx(gross.sum() * np.prod(ct.spacing_mm), rel=0.15)
    region = anatomy_of(made.patient).candidates("node", "II", "left")
    everything = made.diseased(np.zeros(3, int), made.patient.ct.shape)
    assert everything[region].all() and everything[contoured > 0].all() and not everything.all()


def test_a_report_that_is_no_text_is_told_before_lesions_are_made(tmp_path):
    write_case(tmp_path / "a1")
    (tmp_path / "a1" / "report.txt").write_bytes("Węzeł".encode("cp1250"))
    with pytest.raises(InputRefusedError, match=r"report\.txt is no UTF-8 text"):
        load_bank([tmp_path / "a1"], tmp_path / "cache", per_patient=2, workers=1)
    assert not (tmp_path / "cache").exists()


def test_a_gtv_on_another_grid_is_refused(tmp_path):
    ct, _ = write_case(tmp_path / "a1")
    write_image(tmp_path / "a1" / "GTV.nii.gz", ct, np.ones(np.add(ct.shape, (0, 1, 2)), np.uint8))
    with pytest.raises(InputRefusedError, match=r"GTV\.nii\.gz has shape"):
        load_cached(tmp_path / "a1", tmp_path / "cache")


# ---- what is taught there -------------------------------------------------------------------------------------------
def test_a_tumour_of_the_patients_own_is_no_place_without_a_lesion(bank):
    """The clean twin was taught as free of lesions where the clinic had contoured one."""
    ill = with_gross(bank, 0)
    sample = compose(ill, np.random.default_rng(1), augment=False, lesions=[ill.lesions[0]])
    assert sample.diseased[sample.owner == 1].all() and sample.diseased.sum() < 2 * (sample.owner == 1).sum() + 400
    rng = np.random.default_rng(3)
    pair = trainer.pair_of(ill, rng)
    around, own, _ = pair.unknown
    assert own.any() and not (around & (pair.lesions.amax(0) > 77)).any() and (own | ~around).all()
    well = trainer.pair_of(bank, np.random.default_rng(3))
    assert not well.unknown.any() and torch.equal(well.hu, pair.hu)


@pytest.mark.parametrize("name", ["PTV_7000", "PTV_5600"])
def test_planning_targets_count_as_healthy(bank, name):
    assert not with_gross(bank, 0, bit=BIT[name]).diseased(np.zeros(3, int), bank.patient.ct.shape).any()


def test_disease_is_mirrored_and_bent_with_the_sample(bank):
    ill = with_gross(bank, 1)
    for seed in range(20):
        sample = compose(ill, np.random.default_rng(seed), lesions=[ill.lesions[1]])
        if sample.flipped:
            break
    assert sample.flipped and sample.diseased[sample.owner == 1].mean() > 0.95
    bent, _ = trainer.warped(sample, sample.hu - sample.delta, np.random.default_rng(5))
    assert bent.diseased[bent.owner == 1].mean() > 0.9
    assert np.argwhere(bent.diseased).mean(0) == pytest.approx(np.argwhere(sample.diseased).mean(0), abs=6)


def test_the_loss_does_not_ask_what_is_in_the_unknown(bank):
    """An answer in the patient's own disease costs nothing, and outside it as much as before."""
    rng, ill = np.random.default_rng(3), with_gross(with_gross(bank, 0), 1)
    patches = trainer.pair_patches(trainer.pair_of(ill, rng), None, rng)
    torch.manual_seed(0)
    network = LesionNet((8, 8, 8)).eval()
    clean = next(p for p in patches if not p.lesions.any() and p.unknown[2:-2, 2:-2, 2:-2].any())
    hidden = replace(clean, unknown=torch.ones_like(clean.unknown))
    seen = replace(clean, unknown=torch.zeros_like(clean.unknown))
    losses = {name: trainer.patch_loss(network, [p])[1] for name, p in (("hidden", hidden), ("seen", seen))}
    assert float(losses["hidden"]["entropy"]) == 0.0 < float(losses["seen"]["entropy"])
    assert float(losses["hidden"]["peaks"]) < 1e-3 < float(losses["seen"]["peaks"])


def test_a_tumour_that_is_seen_is_no_false_alarm(bank, monkeypatch):
    ill = with_gross(bank, 0)
    pair = trainer.pair_of(ill, np.random.default_rng(3))
    asked = []
    monkeypatch.setattr(trainer, "lesion_maps", lambda network, x: torch.full((1, 3, 64, 64, 64), 0.7))
    monkeypatch.setattr(trainer, "false_alarms", lambda p, n: asked.append(p) or [])
    trainer.pair_patches(pair, LesionNet((8, 8, 8)), np.random.default_rng(3))
    assert (asked[0][pair.unknown[1]] == 0).all() and float(asked[0].amax()) == pytest.approx(0.7)


def test_thresholds_are_set_where_nobody_is_ill(bank):
    healthy = trainer.presence_scores(LesionNet((8, 8, 8)), [bank])
    ill = trainer.presence_scores(LesionNet((8, 8, 8)), [with_gross(bank, 0)])
    assert len(healthy.place) == 4 and len(ill.place) == 2 and len(ill.neck) == len(healthy.neck)
    unknown = replace(bank, reported=np.ones(bank.patient.ct.shape, bool))
    assert trainer.presence_scores(LesionNet((8, 8, 8)), [unknown]).neck == []
    with pytest.raises(InputRefusedError, match="surely free of disease"):
        trainer.detector_metrics(LesionNet((8, 8, 8)), [unknown] * 4)


def test_no_removal_is_taught_in_a_tumour(bank):
    """What lies below a lesion that was inserted into a tumour is no healthy neck."""
    [made] = outside_disease([with_gross(bank, 0)])
    assert made.lesions == bank.lesions[1:] and outside_disease([bank])[0].lesions == bank.lesions
    with pytest.raises(InputRefusedError, match="patient's own disease"):
        outside_disease([with_gross(with_gross(bank, 0), 1)])


# ---- and what it teaches --------------------------------------------------------------------------------------------
NODE, MASS = 1 + LESION_CHANNELS.index("node"), 1 + LESION_CHANNELS.index("mass")


def test_own_lesions_are_what_the_clinic_calls_them_or_what_their_place_says(bank, anatomy):
    left, right = (with_gross(bank, k).patient.labels for k in (0, 1))
    place = [labels >> GTV_BIT & 1 > 0 for labels in (left, right)]
    assert own_lesions(bank.patient.labels, anatomy) is None
    # Both lie among the nodes; where the clinic calls one of them nodes, the other is none.
    silent = own_lesions(left | right, anatomy)
    assert (silent[place[0]] == NODE).all() and (silent[place[1]] == NODE).all() and (silent > 0).sum() == np.sum(place)
    called = own_lesions(left | right | (place[1].astype(np.uint16) << GTV_NODES_BIT), anatomy)
    assert (called[place[0]] == MASS).all() and (called[place[1]] == NODE).all()
    assert (own_lesions(left, None)[place[0]] == MASS).all(), "without landmarks nothing tells nodes"


def test_a_folder_may_say_which_gross_disease_is_nodes(tmp_path):
    ct, masks = write_case(tmp_path / "a1")
    cord = np.argwhere(masks["SpinalCord"]).mean(0).astype(int)
    tumour, node = np.zeros(ct.shape, np.uint8), np.zeros(ct.shape, np.uint8)
    tumour[cord[0] : cord[0] + 6, cord[1] - 26 : cord[1] - 20, cord[2] - 3 : cord[2] + 5] = 1
    node[cord[0] - 4 : cord[0] + 4, cord[1] - 12 : cord[1] - 5, cord[2] + 10 : cord[2] + 17] = 1
    write_image(tmp_path / "a1" / "GTV.nii.gz", ct, tumour)
    write_image(tmp_path / "a1" / "GTVn.nii.gz", ct, node)
    [made] = load_bank([tmp_path / "a1"], tmp_path / "cache", per_patient=2, workers=1)
    for mask, kind in ((tumour, MASS), (node, NODE)):
        assert (made.own == kind).sum() * 27.0 == pytest.approx(mask.sum() * np.prod(ct.spacing_mm), rel=0.2)


def test_a_random_place_inside_each_lesion_is_looked_at_and_its_edge_stays_open():
    own = np.zeros((20, 22, 24), np.uint8)
    own[2:4, 3:6, 4:9] = MASS
    own[10:18, 10:14, 12:15] = NODE
    own[8, 20, 20] = NODE  # a speck
    large, small = zip(*(inside_of(own, np.random.default_rng(k)) for k in range(30)), strict=True)
    assert all(own[tuple(c)] == NODE for c in large) and all(own[tuple(c)] == MASS for c in small)
    assert len({tuple(c) for c in large}) > 15, "not always its middle"
    assert inside_of(np.zeros_like(own), np.random.default_rng(0)) == []
    edge = edge_of(own)
    assert not edge[own > 0].any() and edge.sum() == (4 * 5 * 7 - 2 * 3 * 5) + (10 * 6 * 5 - 8 * 4 * 3) + 26


def test_the_patients_own_tumour_is_taught_as_a_lesion(bank, anatomy):
    ill = with_gross(bank, 0)
    ill = replace(ill, own=own_lesions(ill.patient.labels, anatomy))
    rng = np.random.default_rng(3)
    pair = trainer.pair_of(ill, rng)
    # Nothing is drawn at random for who has none: the banks of before teach as before.
    well = trainer.pair_of(bank, np.random.default_rng(3))
    assert torch.equal(well.hu, pair.hu) and not well.own.any() and well.at_own == [] and len(pair.at_own) == 1
    tumour = pair.own.bool()
    assert tumour[NODE - 1].any() and not tumour[MASS - 1].any()
    assert not (pair.unknown[2] & tumour.any(0)).any() and pair.unknown[2].any(), "only its edge stays open"
    taught = trainer.pair_patches(pair, None, rng)
    before = trainer.pair_patches(replace(pair, at_own=[]), None, rng)
    (patch,) = taught[len(before) :]
    assert patch.lesions[NODE - 1].float().max() == 255 and not patch.said.any()
    assert not (patch.unknown & (patch.lesions.amax(0) > 0)).any()
    # It is learned: a network that misses it there is told so.
    torch.manual_seed(0)
    network = LesionNet((8, 8, 8)).eval()
    numbers = trainer.patch_loss(network, [patch])[1]
    nothing = trainer.patch_loss(network, [replace(patch, lesions=torch.zeros_like(patch.lesions))])[1]
    assert float(numbers["dice"]) > 0.5 and float(nothing["dice"]) == 0.0


def test_own_lesions_are_mirrored_and_bent_with_the_neck(bank, anatomy):
    ill = with_gross(bank, 1)
    ill = replace(ill, own=own_lesions(ill.patient.labels, anatomy))
    sides = set()
    for seed in range(20):
        sample = compose(ill, np.random.default_rng(seed), lesions=[ill.lesions[1]])
        assert ((sample.own > 0) == sample.diseased).all()
        sides.add(sample.flipped)
        bent, _ = trainer.warped(sample, sample.hu - sample.delta, np.random.default_rng(5))
        assert ((bent.own > 0) == bent.diseased).all() and set(np.unique(bent.own)) == {0, NODE}
    assert sides == {True, False}
