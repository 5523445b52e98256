"""The training loop: stopped at any moment and resumed, it ends where an uninterrupted run ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.models.checkpoint import save_model
from hnvlm.train import loop
from hnvlm.train.loop import LoopOptions, begin, rate_at, train_loop

OPTIONS = LoopOptions(steps=9, learning_rate=0.05, warmup=3, ema=0.8)


class Killed(Exception):
    """Stands for the machine going down."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def loss_for(net: nn.Module, *, die_at: int | None = None, seen: list[int] | None = None):
    def loss_of_step(step: int):
        if seen is not None:
            seen.append(step)
        if step == die_at:
            raise Killed
        rng = np.random.default_rng([9, step])
        x = torch.from_numpy(rng.standard_normal((8, 3))).float()
        loss = ((net(x)[:, 0] - x.sum(1)) ** 2).mean()
        return loss, {"seen": float(step)}

    return loss_of_step


def weights(net: nn.Module) -> list[torch.Tensor]:
    return list(net.state_dict().values())


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_a_checkpoint_that_cannot_be_resumed_is_named_and_kept(tmp_path, damage):
    file = tmp_path / "x.pt"
    net = network()
    train_loop(net, loss_for(net), OPTIONS, file, resume=False)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "text":
        file.write_text("no checkpoint")
    before = file.read_bytes()
    other = nn.Linear(3, 1) if damage == "other" else network()
    with pytest.raises(InputRefusedError, match=r"x\.pt cannot be resumed.*Move it away"):
        train_loop(other, loss_for(other), OPTIONS, file, resume=True)
    assert file.read_bytes() == before


@pytest.mark.parametrize("die_at", [1, 4, 8])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path, monkeypatch, die_at):
    whole = network()
    want = train_loop(whole, loss_for(whole), OPTIONS, tmp_path / "whole.pt", resume=False)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)  # a checkpoint after every step
    first = network()
    with pytest.raises(Killed):
        train_loop(first, loss_for(first, die_at=die_at), OPTIONS, tmp_path / "run.pt", resume=False)
    again, seen = network(), []
    got = train_loop(again, loss_for(again, seen=seen), OPTIONS, tmp_path / "run.pt", resume=True)
    assert seen == list(range(die_at, OPTIONS.steps))
    assert not got.training
    for a, b in zip(weights(got), weights(want), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(weights(again), weights(whole), strict=True):
        assert torch.equal(a, b)


def test_without_resume_a_run_starts_anew_and_a_finished_one_is_not_repeated(tmp_path):
    net, seen = network(), []
    done = train_loop(net, loss_for(net, seen=seen), OPTIONS, tmp_path / "run.pt", resume=False)
    assert seen == list(range(9))
    other, seen = network(), []
    again = train_loop(other, loss_for(other, seen=seen), OPTIONS, tmp_path / "run.pt", resume=True)
    assert seen == []
    for a, b in zip(weights(again), weights(done), strict=True):
        assert torch.equal(a, b)
    fresh, seen = network(), []
    train_loop(fresh, loss_for(fresh, seen=seen), OPTIONS, tmp_path / "run.pt", resume=False)
    assert seen == list(range(9))


def test_half_a_file_is_never_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    net = network()
    with pytest.raises(Killed):
        train_loop(net, loss_for(net, die_at=4), OPTIONS, tmp_path / "run.pt", resume=False)

    def torn(state, path):
        path.write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(torch, "save", torn)
    again = network()
    with pytest.raises(Killed):
        train_loop(again, loss_for(again), OPTIONS, tmp_path / "run.pt", resume=True)
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 4


def test_rate_by_hand():
    options = LoopOptions(steps=110, learning_rate=1e-3, warmup=10)
    want = {0: 1e-4, 4: 5e-4, 9: 1e-3, 10: 1e-3, 35: 1e-3 * (1 + 0.5**0.5) / 2, 60: 5e-4, 110: 0.0, 500: 0.0}
    for step, rate in want.items():
        assert rate_at(step, options) == pytest.approx(rate, abs=1e-12)


def test_rate_over_time_by_hand():
    """Half of ten minutes is half of the cosine, whatever the step; the warm-up still counts steps."""
    options = LoopOptions(steps=10**6, learning_rate=1e-3, warmup=10, minutes=10)
    assert rate_at(4, options, 1.0) == pytest.approx(5e-4)
    assert rate_at(11, options, 0.0) == pytest.approx(1e-3)
    assert rate_at(11, options, 300.0) == rate_at(900, options, 300.0) == pytest.approx(5e-4)
    assert rate_at(900, options, 600.0) == pytest.approx(0.0, abs=1e-12)


def test_a_run_ends_after_its_minutes_and_a_resumed_one_counts_those_before(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    options = LoopOptions(steps=1000, learning_rate=0.05, warmup=3, minutes=1)
    net, seen = network(), []
    counted = loss_for(net, seen=seen, die_at=2)

    def slow(step: int):
        clock[0] += 9.0
        return counted(step)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(Killed):
        train_loop(net, slow, options, tmp_path / "run.pt", resume=False)
    again, seen = network(), []
    counted = loss_for(again, seen=seen)
    train_loop(again, slow, options, tmp_path / "run.pt", resume=True)
    # Steps 0 and 1 began after 0 and 9 s; the later ones after 9, 18, ..., 54 s on the run's own clock.
    assert seen == [2, 3, 4, 5, 6, 7]
    assert options.taken == 8
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 8


def test_the_average_by_hand(tmp_path):
    """During warm-up the average is the network; then 0.8 of the old and 0.2 of the new weight a step."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    options = LoopOptions(steps=5, learning_rate=0.1, warmup=2, weight_decay=0.0, ema=0.8)
    path: list[float] = []

    def loss_of_step(step: int):
        path.append(float(net.weight.detach()))
        return (net.weight.sum() - 5) ** 2, {}

    average = train_loop(net, loss_of_step, options, tmp_path / "run.pt", resume=False)
    after = [*path[1:], float(net.weight.detach())]  # the weight after each step
    want = after[2]  # torch's average copies the network at its first update
    for value in after[3:]:
        want = 0.8 * want + 0.2 * value
    assert float(average.weight.detach()) == pytest.approx(want, abs=1e-6)
    assert after[-1] > want > 0


def test_validation_is_asked_on_the_average(tmp_path, capsys):
    asked: list[bool] = []
    net = network()

    def evaluate(average: nn.Module) -> dict[str, float]:
        asked.append(average.training)
        return {"dice": 0.5}

    train_loop(net, loss_for(net), OPTIONS, tmp_path / "run.pt", resume=False, evaluate=evaluate, evaluate_every=4)
    assert asked == [False, False]  # after steps 4 and 8
    streams = capsys.readouterr()
    assert streams.out == ""  # stdout is kept for JSON
    assert '"dice": 0.5' in streams.err
    assert "step 9/9" in streams.err


def test_training_begins_anew_or_with_the_shipped_weights(tmp_path):
    shipped = network()
    with torch.no_grad():
        for p in shipped.parameters():
            p.add_(0.5)
    save_model(tmp_path, shipped, {"steps": 340}, dtype=torch.float32)
    fresh, before = begin(network(), tmp_path, from_pack=False)
    assert before == 0
    assert torch.equal(fresh[0].weight, network()[0].weight)
    warm, before = begin(network(), tmp_path, from_pack=True)
    assert before == 340
    for a, b in zip(weights(warm), weights(shipped), strict=True):
        assert torch.equal(a, b)


def test_shipped_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ModelPackError, match=r"model\.safetensors"):
        begin(network(), tmp_path, from_pack=True)
