"""Samples made ahead of the training: the same ones in the same order, with processes and without."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from hnvlm.errors import UsageError
from hnvlm.train.ahead import Ahead, training_device


def made(step: int) -> dict[str, object]:
    rng = np.random.default_rng([4, step])
    return {"step": step, "values": torch.from_numpy(rng.standard_normal((2, 3, 5))), "process": os.getpid()}


def test_processes_make_the_same_samples_in_the_same_order():
    here, ahead = Ahead(made, 20), Ahead(made, 20, workers=2)
    for step in range(3, 9):  # a resumed run starts anywhere
        a, b = here(step), ahead(step)
        assert a["step"] == b["step"] == step
        assert torch.equal(a["values"], b["values"])
        assert a["process"] == os.getpid() != b["process"]
    ahead.stop()


def test_samples_can_be_asked_for_again_after_a_stop():
    ahead = Ahead(made, 6, workers=1)
    first = ahead(4)
    ahead.stop()
    again = ahead(4)
    assert torch.equal(first["values"], again["values"])
    assert ahead(5)["step"] == 5
    ahead.stop()


def test_none_is_a_sample_too():
    ahead = Ahead(lambda step: None if step % 2 else step, 4, workers=1)
    assert [ahead(k) for k in range(4)] == [0, None, 2, None]


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training_device() == training_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "tpu"):
        with pytest.raises(UsageError, match=f"'{name}'"):
            training_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training_device() == torch.device("cuda")
    assert training_device("cuda:1") == torch.device("cuda", 1)
