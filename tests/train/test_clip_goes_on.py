"""A CT encoder that goes on from the pack: its lesion network learns, what other models read it by stays."""

from __future__ import annotations

import pytest
import torch

from hnvlm.models.checkpoint import read_config, save_model
from hnvlm.models.clip import ClipNetwork
from hnvlm.train import clip
from hnvlm.train.data import CHANNELS
from hnvlm.train.segmenter import WIDTHS


@pytest.fixture
def shipped(tmp_path):
    """A model folder of a clip with weights of its own, trained for 5 steps."""
    torch.manual_seed(3)
    network = ClipNetwork(len(CHANNELS), WIDTHS)
    network.encoder.feature_mean.fill_(0.25)
    config = {"name": "clip", "structures": list(CHANNELS), "widths": list(WIDTHS), "steps": 5}
    save_model(tmp_path / "clip", network, config)
    return tmp_path / "clip"


def test_only_the_lesion_network_goes_on(tmp_path, shipped, monkeypatch):
    asked = {}

    def trained(network, banks, checkpoint, **options):
        asked.update(options, first=network.head.weight.clone())
        with torch.no_grad():
            network.head.weight.add_(1.0)
        return network, 7

    monkeypatch.setattr(clip, "train_lesion_net", trained)
    monkeypatch.setattr(clip, "detector_metrics", lambda network, banks: {"auroc": 0.5})
    before = clip.load_clip(shipped).encoder
    after = clip.train_encoder(
        [], tmp_path / "no segmenter", tmp_path / "encoder", tmp_path, resume=False, steps=7, batch=2,
        device=torch.device("cpu"), learning_rate=0.001, shipped=shipped,
    )  # fmt: skip
    # It begins with the shipped weights, at its own rate, and draws other samples than the 5 steps before.
    assert torch.equal(asked["first"], before.lesion_net.head.weight)
    assert asked["learning_rate"] == 0.001 and asked["seed"] == clip.SEED + 5
    assert torch.allclose(after.lesion_net.head.weight, before.lesion_net.head.weight + 1.0, atol=1e-2)
    assert torch.equal(after.feature_mean, before.feature_mean) and float(after.feature_mean[0]) == 0.25
    for name, weight in before.unet.state_dict().items():
        assert torch.equal(after.unet.state_dict()[name], weight), name
    assert read_config(tmp_path / "encoder")["steps"] == 12
