"""The loop every trainer shares: resumable at any moment, checkpoint by time, EMA weights, one log line a minute."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import log
from hnvlm.models.checkpoint import load_weights, read_config
from hnvlm.models.precision import device_of

Numbers = dict[str, float | torch.Tensor]
Network = TypeVar("Network", bound=nn.Module)

CHECKPOINT_SECONDS = 240
LOG_SECONDS = 30
# More steps than any training takes: the time ends it.
ENDLESS = 10**9


@dataclass
class LoopOptions:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps in all; the learning rate falls to zero over them as a cosine.
        learning_rate: Peak rate after ``warmup`` steps.
        ema: Decay of the averaged weights that are exported.
        minutes: Stop after this long (or after ``steps``, where that is sooner), over which the learning rate falls
            instead (0: after ``steps``).
        taken: Steps done, set by the loop.
        fast: Parameters whose name starts with one of these learn ``fast_factor`` times as fast (a new head on
            trained features).
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-2
    ema: float = 0.998
    grad_clip: float = 1.0
    minutes: float = 0.0
    taken: int = 0
    fast: tuple[str, ...] = ()
    fast_factor: float = 10.0


def begin(network: Network, folder: Path, from_pack: bool) -> tuple[Network, int]:
    """The network to train and how many steps its weights have behind them: new, or from the model folder ``folder``.

    Checkpoints may be lost while the shipped weights are not; training goes on from those with a fresh optimiser.
    """
    if not from_pack:
        return network, 0
    load_weights(folder, network)
    steps = int(read_config(folder)["steps"])
    log(f"begins with {folder}, trained for {steps} steps")
    return network, steps


def length(steps: int, minutes: float) -> str:
    """How long a training will take, for the log."""
    return f"{steps} steps" if steps < ENDLESS else f"{minutes:g} minutes"


def rate_at(step: int, options: LoopOptions, seconds: float = 0.0) -> float:
    """Learning rate of a step, ``seconds`` after the start: linear warm-up, then cosine to zero."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    if options.minutes:
        t = seconds / (60 * options.minutes)
    else:
        t = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, t)))


def optimiser_of(network: nn.Module, options: LoopOptions) -> torch.optim.Optimizer:
    """AdamW over what can be learned, in groups of their own rate (``scale``)."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    quick = {id(p) for name, p in network.named_parameters() if options.fast and name.startswith(options.fast)}
    groups = [
        {"params": [p for p in parameters if id(p) not in quick], "scale": 1.0},
        {"params": [p for p in parameters if id(p) in quick], "scale": options.fast_factor},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=options.learning_rate, weight_decay=options.weight_decay
    )


def _resume(
    checkpoint: Path, network: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Load a checkpoint into all three; return its step and the seconds behind it."""
    try:
        state = torch.load(checkpoint, map_location=device_of(network), weights_only=True)
        network.load_state_dict(state["network"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        return state["step"], state.get("seconds", 0.0)
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise InputRefusedError(
            f"{checkpoint} cannot be resumed: it is damaged, or of a network of another shape. "
            "Move it away to begin anew."
        ) from error


def train_loop(
    network: nn.Module,
    loss_of_step: Callable[[int], tuple[torch.Tensor, Numbers]],
    options: LoopOptions,
    checkpoint: Path,
    *,
    resume: bool,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    evaluate_every: int = 0,
) -> nn.Module:
    """Train ``network`` and return its averaged (EMA) copy.

    Args:
        loss_of_step: Called with the step number (the only source of randomness it should use, so that a
            resumed run continues the same sequence); returns the loss and numbers to log (as tensors where they are
            computed on a GPU: reading one makes the GPU wait).
        checkpoint: File that holds weights, optimiser, EMA and step; written at least every
            ``CHECKPOINT_SECONDS`` by write-then-rename, so a kill never leaves half a file.
        evaluate: Called with the EMA network every ``evaluate_every`` steps; logged.

    Raises:
        InputRefusedError: The checkpoint to resume is damaged or of another network.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = optimiser_of(network, options)
    ema = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(options.ema), use_buffers=True
    )
    start, before = 0, 0.0
    of = f"/{options.steps}" if options.steps < ENDLESS else ""
    if resume and checkpoint.exists():
        start, before = _resume(checkpoint, network, ema, optimiser)
        log(f"resumed {checkpoint.name} at step {start}{of}")

    def save(step: int) -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = checkpoint.with_suffix(".tmp")
        states = {"network": network, "ema": ema, "optimiser": optimiser}
        try:
            torch.save({k: v.state_dict() for k, v in states.items()} | {"step": step, "seconds": seconds}, temporary)
            temporary.replace(checkpoint)
        finally:
            temporary.unlink(missing_ok=True)  # half a file would keep the disk full

    began = saved = logged = time.monotonic()
    seconds = before
    options.taken = start
    sums: Numbers = {}
    count = 0
    for step in range(start, options.steps):
        seconds = before + time.monotonic() - began
        if options.minutes and seconds > 60 * options.minutes:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, options, seconds) * group.get("scale", 1.0)
        network.train()
        loss, numbers = loss_of_step(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, options.grad_clip)
        optimiser.step()
        # The average starts only after warm-up: before it the weights are mostly noise.
        if step < options.warmup:
            ema.module.load_state_dict(network.state_dict())
        else:
            ema.update_parameters(network)
        for key, value in {"loss": loss.detach(), **numbers}.items():
            sums[key] = sums.get(key, 0.0) + value
        count += 1
        options.taken = step + 1
        now = time.monotonic()
        if now - logged > LOG_SECONDS or step + 1 == options.steps:
            means = {k: round(float(v) / count, 4) for k, v in sums.items()}
            log(f"step {step + 1}{of} {(now - logged) / count:.2f} s/step {json.dumps(means)}")
            sums, count, logged = {}, 0, now
        if now - saved > CHECKPOINT_SECONDS:
            save(step + 1)
            saved = now
        if evaluate and evaluate_every and (step + 1) % evaluate_every == 0:
            ema.module.eval()
            log(f"step {step + 1} validation {json.dumps({k: round(v, 4) for k, v in evaluate(ema.module).items()})}")
    if start < options.taken:
        save(options.taken)
    ema.module.eval()
    return ema.module
