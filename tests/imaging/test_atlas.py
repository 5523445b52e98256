"""The cohort atlas and the synthetic necks drawn from it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy import ndimage

from hnvlm.config import PROJECT_DIR
from hnvlm.errors import ModelPackError
from hnvlm.imaging import atlas as module
from hnvlm.imaging.atlas import LABELS, Atlas, load_atlas, sample_neck, save_atlas
from hnvlm.imaging.volume import Volume

ATLAS = PROJECT_DIR / "assets" / "atlas"
# Coarse grid: the same map and texture, a tenth of the time.
COARSE = {"spacing_mm": (5.0, 4.0, 4.0), "size": 128}


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas(ATLAS)


@pytest.fixture(scope="module")
def necks(atlas):
    return [sample_neck(seed, atlas=atlas, **COARSE) for seed in (1, 2, 3)]


def test_save_and_load_give_the_same_atlas(tmp_path):
    rng = np.random.default_rng(0)
    ct = rng.integers(-1024, 2000, (5, 7, 9)).astype(np.int16)
    labels = rng.integers(0, len(LABELS) + 1, ct.shape).astype(np.uint8)
    save_atlas(Atlas(Volume(ct, (2.5, 2.0, 3.0), (-4.0, 1.0, 7.5)), labels, {"members": 3}), tmp_path)
    back = load_atlas(tmp_path)
    assert np.array_equal(back.volume.array, ct) and back.volume.array.dtype == np.int16
    assert np.array_equal(back.labels, labels)
    assert (back.volume.spacing_mm, back.volume.origin_mm) == ((2.5, 2.0, 3.0), (-4.0, 1.0, 7.5))
    assert back.meta["members"] == 3


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "labels"])
def test_a_damaged_atlas_is_refused(tmp_path, damage):
    folder = tmp_path / "atlas"
    shutil.copytree(ATLAS, folder)
    binary, config = folder / "atlas.bin", folder / "config.json"
    if damage == "missing":
        binary.unlink()
    elif damage == "cut":
        binary.write_bytes(binary.read_bytes()[:-100])
    elif damage == "changed":
        text = json.loads(config.read_text())
        config.write_text(json.dumps(text | {"spacing_mm": [2.0, 2.5, 2.5]}))
    else:
        text = json.loads(config.read_text())
        config.write_text(json.dumps(text | {"labels": text["labels"][::-1]}))
    with pytest.raises(ModelPackError, match="cohort atlas"):
        load_atlas(folder)


def test_the_shipped_atlas_is_small_and_says_how_it_was_made(atlas):
    assert sum(p.stat().st_size for p in ATLAS.iterdir()) < 4_000_000
    assert atlas.meta["members"] >= 20
    assert atlas.meta["samples_per_voxel"] == 2 * atlas.meta["members"]
    # Membership adds next to nothing to how much the atlas resembles a person.
    assert atlas.meta["privacy"]["gap_max"] < 0.03
    assert atlas.meta["privacy"]["equal_voxels_max"] < 0.05
    # People who were never in it resemble it as much as those who were.
    assert atlas.meta["privacy"]["outsiders_mean"] > atlas.meta["privacy"]["members_mean"] - 0.02
    assert "10.1002/mp.14845" in (ATLAS / "README.md").read_text(encoding="utf-8")


def test_the_atlas_is_symmetric_but_a_neck_is_not(atlas, necks):
    ct = atlas.volume.array.astype(float)
    assert np.mean(np.abs(ct - ct[..., ::-1])) < 1.0
    neck = necks[0].volume.array.astype(float)
    assert np.mean(np.abs(neck - neck[..., ::-1])) > 10.0


def test_equal_seeds_give_equal_necks_and_others_differ(atlas, necks):
    again = sample_neck(1, atlas=atlas, **COARSE)
    assert again.volume.content_hash() == necks[0].volume.content_hash()
    assert again.masks.keys() == necks[0].masks.keys()
    assert all(np.array_equal(again.masks[n], necks[0].masks[n]) for n in again.masks)
    assert len({n.volume.content_hash() for n in necks}) == 3


def test_hu_are_those_of_the_training_cts(necks):
    """As the public training CTs, which sit some 25 HU low (six measured: fat -82 to -114, muscle 16 to 30)."""
    for neck in necks:
        ct, masks = neck.volume.array, neck.masks
        assert ct.dtype == np.int16 and ct.min() >= -1024 and ct.max() < 3072
        corner = ct[:, :10, :10]
        assert corner.mean() < -950
        soft = ct[(ct > -200) & (ct < 200)]
        fat, muscle = soft[soft < -40], soft[(soft > 0) & (soft < 120)]
        assert -125 < np.median(fat) < -70 and 12 < np.median(muscle) < 45
        assert 0.15 < fat.size / soft.size < 0.5
        inside = {name: float(np.median(ct[mask])) for name, mask in masks.items()}
        assert -20 < inside["Brainstem"] < 45
        assert inside["Bone_Mandible"] > 300
        assert -60 < inside["Parotid_L"] < 60 and -60 < inside["Parotid_R"] < 60
        # An open airway runs through the neck below the mandible.
        jaw = np.argwhere(masks["Bone_Mandible"])[:, 0].min()
        cord = np.argwhere(masks["SpinalCord"]).mean(0).astype(int)
        front = ct[jaw - 8 : jaw, cord[1] - 22 : cord[1] - 4, cord[2] - 8 : cord[2] + 8]
        assert all((level < -500).sum() > 3 for level in front)


def test_structures_are_where_they_belong(necks):
    for neck in necks:
        centre = {name: np.argwhere(mask).mean(0) for name, mask in neck.masks.items()}
        assert set(centre) == set(LABELS)
        # x grows to the patient's left, z to the head, y to the back.
        assert centre["Parotid_L"][2] > centre["Brainstem"][2] + 8 > centre["Parotid_R"][2] + 16
        assert centre["Brainstem"][0] > centre["Bone_Mandible"][0] > centre["Larynx"][0] > centre["Esophagus"][0]
        assert centre["SpinalCord"][1] > centre["Larynx"][1]
        volume = {name: mask.sum() * neck.volume.voxel_ml for name, mask in neck.masks.items()}
        assert 10 < volume["Parotid_L"] < 60 and 15 < volume["Brainstem"] < 50 and 30 < volume["Bone_Mandible"] < 120


@pytest.mark.parametrize("seed", range(12))
def test_the_deformation_folds_nowhere(atlas, seed):
    bend = module._Deformation(np.random.default_rng(seed))
    low, high = bend.reach(atlas.volume)
    axes = (np.arange(low, high, 8.0), np.arange(-110.0, 160.0, 8.0), np.arange(-230.0, 230.0, 8.0))
    mapped = bend.to_atlas(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    jacobian = np.stack([np.stack(np.gradient(mapped[..., i], 8.0), -1) for i in range(3)], -2)
    determinant = np.linalg.det(jacobian)
    assert determinant.min() > 0.4 and determinant.max() < 2.0


def test_index_map_follows_the_deformation(atlas):
    """Interpolated every 10 mm, yet right to a fraction of a voxel; hand-picked voxels of an uneven grid."""
    bend = module._Deformation(np.random.default_rng(4))
    grid = Volume(np.zeros((11, 13, 17), np.int16), (3.0, 5.0, 7.0), (-40.0, -20.0, -55.0))
    index = bend.index_map(grid, atlas.volume)
    for voxel in ((0, 0, 0), (10, 12, 16), (3, 7, 5)):
        exact = atlas.volume.mm_to_index(bend.to_atlas(grid.index_to_mm(np.array(voxel))))
        assert np.allclose(index[(slice(None), *voxel)], exact, atol=0.25)


def test_grain_resembles_a_scanner(necks):
    """Residual noise in brain and muscle: a few HU to a little over ten, little of it shared between slices."""
    ct = necks[0].volume.array.astype(np.float32)
    flat = (ndimage.minimum_filter(ct, 3) > -20) & (ndimage.maximum_filter(ct, 3) < 130)
    residual = ct - ndimage.uniform_filter(ct, (1, 3, 3))
    assert 3.0 < residual[flat].std() < 20.0
    both = flat[1:] & flat[:-1]
    assert abs(np.corrcoef(residual[1:][both], residual[:-1][both])[0, 1]) < 0.3
