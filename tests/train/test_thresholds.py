"""The probability from which a voxel belongs to a structure: chosen by Dice, applied by its odds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hnvlm.models.checkpoint import read_config, save_model
from hnvlm.models.segmenter import about
from hnvlm.models.unet import FoldedUNet
from hnvlm.train import segmenter
from hnvlm.train.data import BIT, CHANNELS, CachedPatient


def test_odds_are_scaled_so_that_the_threshold_becomes_one_half():
    p = np.array([0.0, 0.1, 0.25, 0.6, 1.0], np.float32)
    # odds 1/9, 1/3, 3/2 times 3
    np.testing.assert_allclose(about(p, 0.25), [0, 1 / 4, 1 / 2, 9 / 11, 1], rtol=1e-6)
    np.testing.assert_array_equal(about(p, 0.5), p)


def test_the_threshold_of_the_highest_mean_dice():
    """The larynx is seen faintly (0.32 inside, 0.1 outside), the cord too widely (0.9 inside, 0.52 around it)."""
    labels = np.zeros((4, 5, 6), np.uint16)
    labels[1, 1:4, 1:3] |= 1 << BIT["Larynx"]
    labels[2, 2, 2:5] |= 1 << BIT["SpinalCord"]
    labels[3, 0, 0:2] |= 1 << BIT["PTV_7000"]
    labels[3, 1, 0:2] |= 1 << BIT["PTV_6300"]
    patient = CachedPatient("p", np.zeros((4, 5, 6), np.int16), labels, np.ones(len(CHANNELS), bool), (0.0, 0.0, 0.0))

    class Faint:
        def probabilities(self, working):
            assert working.spacing_mm == (3.0, 3.0, 3.0)
            out = np.zeros((len(CHANNELS), *working.shape), np.float32)
            out[BIT["Larynx"]] = np.where((labels >> BIT["Larynx"]) & 1, 0.32, 0.1)
            out[BIT["SpinalCord"]] = 0.52
            out[BIT["SpinalCord"]][((labels >> BIT["SpinalCord"]) & 1) > 0] = 0.9
            out[BIT["PTV_7000"], 3, 0, 0:2] = 0.22
            # The 63 Gy channel holds the 70 Gy target too.
            out[BIT["PTV_6300"], 3, 0:2, 0:2] = 0.45
            out[BIT["PTV_6300"], 0] = 0.35
            return out

    chosen = segmenter.best_thresholds(Faint(), [patient])
    assert chosen == pytest.approx(
        {"Larynx": 0.2, "SpinalCord": 0.55, "PTV_7000": 0.2, "PTV_6300": 0.35, "PTV_5600": 0.2}
    )


@pytest.mark.parametrize(
    ("hold_out", "expected"), [(0, {"Larynx": 0.3, "PTV_7000": 0.25}), (1, {"Larynx": 0.6, "PTV_7000": 0.25})]
)
def test_going_on_from_the_pack_keeps_the_thresholds_that_nobody_kept_aside_can_set(
    tmp_path, monkeypatch, hold_out, expected
):
    """Ten patients of a hospital without targets put every threshold of the shipped weights back to one half."""
    folders = [tmp_path / str(k) for k in range(10)]
    out = tmp_path / "segmenter"
    monkeypatch.setattr(segmenter, "training_folders", lambda data: folders)
    monkeypatch.setattr(segmenter, "load_cached", lambda folder, cache: folder)
    known = torch.ones(len(CHANNELS))
    monkeypatch.setattr(segmenter, "loaded", lambda patient, where: SimpleNamespace(known=known))
    monkeypatch.setattr(segmenter, "train_loop", lambda network, *args, **options: network)
    monkeypatch.setattr(segmenter, "Segmenter", lambda folder: None)
    monkeypatch.setattr(segmenter, "best_thresholds", lambda network, held: {"Larynx": 0.6})
    config = {"steps": 5, "thresholds": {"Larynx": 0.3, "PTV_7000": 0.25}}
    save_model(out, FoldedUNet(2, len(CHANNELS), segmenter.WIDTHS), config)
    segmenter.train(tmp_path, out, tmp_path, steps=1, threads=1, device="cpu", from_pack=True, hold_out=hold_out)
    assert read_config(out)["thresholds"] == expected
    segmenter.train(tmp_path, out, tmp_path, steps=1, threads=1, device="cpu", hold_out=hold_out)
    assert read_config(out)["thresholds"] == ({"Larynx": 0.6} if hold_out else {})
