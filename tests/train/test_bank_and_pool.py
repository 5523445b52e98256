"""What training keeps on disk: the lesion bank, the pool of encoded samples, the contact sheets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from train.cases import bank_patient, write_case, write_image

from hnvlm.errors import InputRefusedError
from hnvlm.imaging.lesions import LesionSpec
from hnvlm.models.checkpoint import load_weights, save_model
from hnvlm.models.facts import lesion_finding
from hnvlm.report.flip import flip_finding
from hnvlm.report.parse import parse
from hnvlm.train import pool
from hnvlm.train.bank import anatomy_of, load_bank
from hnvlm.train.compose import compose
from hnvlm.train.data import read_case
from hnvlm.train.supervision import contact_sheets


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_case(root / "train" / "pt_1")
    write_case(root / "train" / "pt_2", mirrored=True)
    write_case(root / "train" / "pt_3", without=("SpinalCord",))
    return root


@pytest.fixture(scope="module")
def built(data, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    folders = sorted((data / "train").iterdir())
    return folders, cache, load_bank(folders, cache, per_patient=3, seed=4, workers=1)


def test_the_bank_comes_back_from_disk_as_it_was(built):
    folders, cache, first = built
    files = {p: p.stat().st_mtime_ns for p in cache.glob("bank-*.npz")}
    again = load_bank(folders, cache, per_patient=3, seed=4, workers=1)
    assert {p: p.stat().st_mtime_ns for p in cache.glob("bank-*.npz")} == files
    assert [b.patient.patient_id for b in again] == ["pt_1", "pt_2"]  # no cord, no landmarks, no lesions
    assert sum(len(b.lesions) for b in again) >= 3
    for a, b in zip(first, again, strict=True):
        assert a.centre_mm == b.centre_mm
        assert len(a.lesions) == len(b.lesions)
        for x, y in zip(a.lesions, b.lesions, strict=True):
            assert (x.spec, x.start, x.centre_mm) == (y.spec, y.start, y.centre_mm)
            np.testing.assert_array_equal(x.delta, y.delta)
            np.testing.assert_array_equal(x.mask, y.mask)


def test_lesions_lie_where_their_sentence_says(built):
    _, _, banks = built
    for b in banks:
        anatomy = anatomy_of(b.patient)
        for lesion in b.lesions:
            middle = np.argwhere(lesion.mask > 0.5).mean(0) + lesion.start
            mm = anatomy.ct.index_to_mm(middle)
            np.testing.assert_allclose(mm, lesion.centre_mm, atol=16.0)
            if lesion.spec.kind != "airway":
                assert anatomy.place_of(lesion.spec.kind, mm)[1] == lesion.spec.side
            assert min(lesion.start) >= 0
            assert np.all(np.add(lesion.start, lesion.delta.shape) <= b.patient.ct.shape)


def test_a_bank_lost_is_built_again_alike_and_another_seed_is_another_bank(built):
    folders, cache, first = built
    lost = next(p for p in cache.glob("bank-pt_1-*.npz"))
    lost.unlink()
    again = load_bank(folders, cache, per_patient=3, seed=4, workers=1)
    for x, y in zip(first[0].lesions, again[0].lesions, strict=True):
        assert x.spec == y.spec
        np.testing.assert_array_equal(x.delta, y.delta)
    other = load_bank(folders[:1], cache, per_patient=3, seed=5, workers=1)
    assert [x.spec for x in other[0].lesions] != [x.spec for x in first[0].lesions]


def test_a_bank_of_changed_files_is_built_again(tmp_path):
    folder = tmp_path / "pt_1"
    write_case(folder)
    (first,) = load_bank([folder], tmp_path / "cache", per_patient=2, seed=4, workers=1)
    ct, _ = read_case(folder)
    write_image(folder / "ct.nii.gz", ct, ct.array + np.int16(5))
    (second,) = load_bank([folder], tmp_path / "cache", per_patient=2, seed=4, workers=1)
    assert first.source != second.source
    assert second.patient.ct.max() == first.patient.ct.max() + 5
    torch.manual_seed(0)
    save_model(tmp_path / "m", torch.nn.Linear(2, 2), {})
    assert pool.pool_folder(tmp_path, tmp_path / "m", [first]) != pool.pool_folder(tmp_path, tmp_path / "m", [second])


def test_patients_without_landmarks_are_refused(data, tmp_path):
    with pytest.raises(InputRefusedError, match=r"spinal cord.*hnvlm segment"):
        load_bank([data / "train" / "pt_3"], tmp_path, per_patient=1, workers=1)


def test_who_is_left_out_of_the_bank_is_said(built, capsys):
    folders, cache, _ = built
    load_bank(folders, cache, per_patient=3, seed=4, workers=1)
    said = capsys.readouterr().err
    assert "left out, as spinal cord, and mandible or brainstem, are not contoured: pt_3" in said


# ---- pool -----------------------------------------------------------------------------------------------------------
class Means(torch.nn.Module):
    """Stands for the encoder: a token is the mean HU of its cell."""

    calls = 0

    def both_ways(self, hu):
        Means.calls += 1
        own, other = (F.avg_pool3d(x[:, None] / 1000.0, 8).flatten(2).transpose(1, 2) for x in (hu, hu.flip(-1)))
        return own, other, torch.zeros(len(hu), 3, *hu.shape[1:])


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(pool, "CHUNK", 8)
    Means.calls = 0


@pytest.fixture(scope="module")
def banks():
    nodes = bank_patient((LesionSpec("node", "II", "left", 18.0), LesionSpec("node", "III", "right", 14.0)))
    return [nodes, bank_patient((LesionSpec("mass", "parotid gland", "left", 14.0),))]


def same(a: list[pool.Encoded], b: list[pool.Encoded]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x.tokens, y.tokens) and (x.patient, x.flipped, x.findings) == (y.patient, y.flipped, y.findings)
        for x, y in zip(a, b, strict=True)
    )


def test_chunks_survive_a_kill(small_chunks, banks, tmp_path):
    whole = pool.build_pool(Means(), banks, tmp_path / "p", 14)
    assert len(whole) == 14
    assert Means.calls == 2  # two chunks of one batch and its mirror images
    assert same(pool.build_pool(Means(), banks, tmp_path / "p", 14), whole)
    assert Means.calls == 2
    (tmp_path / "p" / "0001.npz").unlink()
    (tmp_path / "p" / "0001.tmp.npz").write_bytes(b"half a chunk")
    assert same(pool.build_pool(Means(), banks, tmp_path / "p", 14), whole)
    assert Means.calls == 3
    # A larger pool goes on where the smaller one ended.
    more = pool.build_pool(Means(), banks, tmp_path / "p", 20)
    assert same(more[:14], whole)
    assert Means.calls == 4


def test_every_sample_has_its_mirror_image(small_chunks, banks, tmp_path):
    encoded = pool.build_pool(Means(), banks, tmp_path, 16)
    pairs = [(encoded[8 * k + i], encoded[8 * k + 4 + i]) for k in range(2) for i in range(4)]
    for one, other in pairs:
        grid, mirrored = (e.tokens.reshape(8, 8, 8) for e in (one, other))
        torch.testing.assert_close(mirrored, grid.flip(-1))
        assert one.patient == other.patient
        assert one.flipped != other.flipped
        assert [(f.kind, f.size_mm) for f in one.findings] == [(f.kind, f.size_mm) for f in other.findings]
        assert all(f.side != g.side for f, g in zip(one.findings, other.findings, strict=True))
    assert any(one.findings for one, _ in pairs)


def test_an_encoded_sample_knows_its_lesions(small_chunks, banks, tmp_path):
    encoded = pool.build_pool(Means(), banks, tmp_path, 16)
    assert encoded[0].tokens.dtype == torch.float16
    assert encoded[0].tokens.shape == (512, 1)
    assert any(e.findings for e in encoded)
    for e in encoded:
        possible = [lesion_finding(x) for x in banks[e.patient].lesions]
        for f in e.findings:
            own = [p for p in possible if (p.kind, p.size_mm) == (f.kind, f.size_mm)]
            assert len(own) == 1
            assert (own[0].side == f.side) != e.flipped


@pytest.mark.parametrize("flipped", [False, True])
def test_what_the_maps_show_is_told_where_the_patient_has_it(banks, flipped):
    """Lesion maps drawn by hand: the inserted node, too weak a spot, and a spot that nobody inserted."""
    rng = np.random.default_rng(2)
    sample = compose(banks[0], rng, augment=False, lesions=list(banks[0].lesions[:1]))
    node = lesion_finding(sample.lesions[0])
    anatomy = anatomy_of(banks[0].patient)
    maps = np.zeros((3, 64, 64, 64), np.float32)
    maps[0][sample.owner == 1] = 0.9
    z, y, x = np.argwhere(sample.owner == 1).mean(0).astype(int)
    other_side = 63 - x
    maps[0, z - 3 : z + 3, y - 3 : y + 3, other_side - 3 : other_side + 3] = 0.6
    hu, owner, known = sample.hu, sample.owner, {"flipped": flipped, "findings": [node.to_json()]}
    if flipped:
        maps, hu, owner = maps[..., ::-1], hu[..., ::-1], owner[..., ::-1]
        known["findings"] = [flip_finding(node).to_json()]
    seen = pool.seen_in(maps, hu, known, (sample.start, owner), anatomy)
    (first, of), *others = seen
    side = {"left": "right", "right": "left"}[node.side] if flipped else node.side
    assert of == 0 and (first["kind"], first["side"], first["level"]) == ("node", side, node.level)
    assert abs(first["size_mm"] - node.size_mm) <= 5
    assert [of for _, of in others] == [None] and others[0][0]["side"] != side
    again = pool.mirror_image({**known, "seen": seen})["seen"]
    assert [f["side"] for f, _ in again] == [others[0][0]["side"], side]
    assert (
        pool.seen_in(np.where(maps > 0.1, 0.15, 0).astype(np.float32), hu, known, (sample.start, owner), anatomy) == []
    )
    assert pool.seen_in(maps, hu, known, (sample.start, owner), None) == []


def test_another_encoder_or_other_patients_have_another_pool(tmp_path, banks):
    for k in range(2):
        torch.manual_seed(k)
        save_model(tmp_path / f"m{k}", torch.nn.Linear(2, 2), {})
    a, b = (pool.pool_folder(tmp_path, tmp_path / f"m{k}", banks) for k in range(2))
    assert a != b
    assert a == pool.pool_folder(tmp_path, tmp_path / "m0", banks)
    assert a != pool.pool_folder(tmp_path, tmp_path / "m0", banks[:-1])
    assert a.parent == tmp_path / "pool-seen"
    # Weights that go on have a pool of their own; those that begin share that of the alignment.
    assert pool.pool_folder(tmp_path, tmp_path / "m0", banks, 70) == a / "70"
    assert pool.pool_folder(tmp_path, tmp_path / "m0", banks, 0) == a


def test_the_alignments_pool_is_used_for_its_own_encoder_only(tmp_path):
    for k in range(2):
        torch.manual_seed(k)
        save_model(tmp_path / f"m{k}", torch.nn.Linear(2, 2), {})
    again = load_weights(tmp_path / "m0", torch.nn.Linear(2, 2))
    assert pool.holds(tmp_path / "m0", again)
    assert not pool.holds(tmp_path / "m1", again)
    assert not pool.holds(tmp_path / "none", again)


# ---- contact sheets -------------------------------------------------------------------------------------------------
def test_contact_sheets_show_lesion_and_sentences(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = contact_sheets(data, tmp_path / "sheets", n=2)
    pictures = [f for f in told["files"] if f.endswith(".png")]
    assert 1 <= len(pictures) <= 2
    assert told["files"][-1].endswith("measured.txt")
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width >= 3 * 260
            assert picture.height > 260
            assert len(set(np.asarray(picture.convert("L")).ravel().tolist())) > 30
    lines = (tmp_path / "sheets" / "measured.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(pictures)
    name, text = lines[0].split(": ", 1)
    assert name in ("pt_1", "pt_2")
    assert {"coverage", "artefact"} <= {f.kind for f in parse(text)}
    assert json.dumps(told)  # the command line prints it


def test_contact_sheets_refuse_the_validation_folder(data, tmp_path):
    (data / "validation").mkdir(exist_ok=True)
    with pytest.raises(InputRefusedError, match="validation folder"):
        contact_sheets(data / "validation", tmp_path / "s")
