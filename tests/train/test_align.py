"""Sentences aligned with CT tokens: the two losses by hand, and a space that learns what a toy pool shows."""

from __future__ import annotations

import math
import random

import pytest
import torch

from hnvlm.models.checkpoint import read_config, save_model
from hnvlm.models.clip import ClipNetwork, CTTextSpace, load_clip
from hnvlm.train import align, clip
from hnvlm.train.data import CHANNELS
from hnvlm.train.pool import Encoded
from hnvlm.train.segmenter import WIDTHS
from hnvlm.types import Finding

NODE = Finding(kind="node", side="left", level="II", size_mm=20.0, attributes={"texture": "solid"})
WIDTH = 192


def encoded(findings, value=0.0):
    tokens = torch.zeros(512, 4, dtype=torch.float16)
    tokens[:, 0] = value
    return Encoded(tokens, 0, False, findings)


def told(facts, own=(0,)):
    return align.Told(torch.randn(len(facts), WIDTH), facts, list(own))


class Fixed(CTTextSpace):
    """A space whose scores are given."""

    def __init__(self, scores):
        super().__init__(4)
        self.scores = scores

    def logits(self, keys, sentences):
        assert sentences.shape == (self.scores.shape[1], WIDTH)
        return self.scores


def test_true_and_false_pairs_weigh_the_same():
    right = {"op": "add", "kind": "node", "side": "left", "place": NODE.place}
    wrong = {**right, "side": "right"}
    batch = [encoded([NODE]), encoded([])]
    # Of 2 x 4 pairs one is true: the first CT, the first sentence.
    scores = torch.tensor([[2.0, -1.0, -1.0, -1.0], [-1.0, -1.0, -1.0, -1.0]])
    loss, numbers = align.pair_loss(Fixed(scores), batch, [told([right, wrong]), told([wrong, wrong])])
    false, true = math.log1p(math.exp(-1.0)), math.log1p(math.exp(-2.0))
    assert float(loss) == pytest.approx(0.5 * true + 0.5 * false, rel=1e-5)
    assert float(numbers["true_found"]) == 1.0 and float(numbers["false_refused"]) == 1.0


def test_reports_that_cannot_be_told_apart_cost_a_guess(monkeypatch):
    monkeypatch.setattr(align, "SENTENCE_NOISE", 0.0)
    space = CTTextSpace(4)
    same = align.Told(torch.ones(1, WIDTH), [{"op": "none"}], [0])
    batch = [encoded([]) for _ in range(5)]
    loss = align.report_loss(space, batch, [same] * 5)
    assert float(loss.detach()) == pytest.approx(math.log(5), rel=1e-5)


def test_the_space_learns_what_a_pool_shows(tmp_path, monkeypatch):
    torch.manual_seed(1)
    monkeypatch.setattr(align, "BATCH", 4)
    vectors: dict[str, torch.Tensor] = {}

    def embed(reader, texts):
        return torch.stack([vectors.setdefault(text, torch.randn(WIDTH)) for text in texts])

    monkeypatch.setattr(align, "embed_sentences", embed)
    pool = [encoded([NODE], 1.0), encoded([], -1.0)]
    start = CTTextSpace(4)
    sentences = align._tell(torch.nn.Identity(), pool, random.Random(17))
    torch.manual_seed(2)
    before = float(align.pair_loss(start, pool, sentences)[0].detach())
    space = align.train_alignment(start, torch.nn.Identity(), pool, tmp_path, resume=False, steps=60)
    after = float(align.pair_loss(space, pool, sentences)[0].detach())
    assert after < 0.6 * before


def test_the_alignment_alone_is_learned_anew(tmp_path, monkeypatch):
    torch.manual_seed(3)
    network = ClipNetwork(len(CHANNELS), WIDTHS)
    metrics = {"threshold": 0.5, "crops": 99}
    config = {
        "name": "clip", "structures": list(CHANNELS), "widths": list(WIDTHS), "steps": 5, "batch": 48,
        "train_patients": 9, "align_steps": 70, "align_patients": 12, "pool": 4, "kept_aside": metrics,
    }  # fmt: skip
    save_model(tmp_path / "clip", network, config)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "model.safetensors").write_bytes(b"")
    asked = {}

    def trained(space, reader, pool, work, *, resume, steps):
        asked.update(start=space.report_out.weight.detach().clone(), steps=steps)
        with torch.no_grad():
            space.report_out.weight.add_(1.0)
        return space

    monkeypatch.setattr(clip, "train_alignment", trained)
    monkeypatch.setattr(clip, "build_pool", lambda *args, **options: [])
    monkeypatch.setattr(clip, "load_bank", lambda *args, **options: [])
    monkeypatch.setattr(clip, "aside_last", lambda banks, folders, pack: banks)
    monkeypatch.setattr(clip, "training_folders", lambda data: [])
    load = clip.load_weights
    monkeypatch.setattr(clip, "load_weights", lambda f, n: n if f.name == "text" else load(f, n))
    before = load_clip(tmp_path / "clip")
    clip.train(
        tmp_path, tmp_path / "clip", tmp_path / "work", threads=1, device="cpu", from_pack=True, align_only=True,
        align_steps=30, pool_size=8,
    )  # fmt: skip
    after = load_clip(tmp_path / "clip")
    assert asked["steps"] == 30 and not torch.equal(asked["start"], before.space.report_out.weight)
    assert torch.allclose(after.space.report_out.weight, asked["start"] + 1.0, atol=1e-2)
    for name, weight in before.encoder.state_dict().items():
        assert torch.equal(after.encoder.state_dict()[name], weight), name
    kept = read_config(tmp_path / "clip")
    assert (kept["steps"], kept["batch"], kept["train_patients"], kept["kept_aside"]) == (5, 48, 9, metrics)
    assert (kept["align_steps"], kept["align_patients"], kept["pool"]) == (30, 0, 8)


def test_the_alignment_alone_needs_a_pack():
    with pytest.raises(clip.UsageError, match="--from-pack"):
        clip.train(None, None, None, align_only=True)
