"""Where a network trains, and samples that are made ahead of it.

Training needs no GPU; where there is one, the network waits for its samples unless other processes make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from hnvlm.errors import UsageError

Sample = TypeVar("Sample")
# Samples each process has ready or in work.
READY = 3
AUTO = "auto"


def training_device(name: str = AUTO) -> torch.device:
    """The device to train on: ``cpu``, ``cuda`` or, for ``auto``, a GPU if there is one.

    Raises:
        UsageError: No such device here.
    """
    able = torch.cuda.is_available()
    if name == AUTO:
        name = "cuda" if able else "cpu"
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not able):
        raise UsageError(f"There is no device '{name}' to train on here; choose --device cpu or leave it out.")
    return torch.device(name)


class _Steps(Dataset, Generic[Sample]):
    def __init__(self, make: Callable[[int], Sample], first: int, last: int) -> None:
        self.make, self.first, self.last = make, first, last

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, index: int) -> Sample:
        return self.make(self.first + index)


def _as_is(sample: Any) -> Any:
    return sample


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


class Ahead(Generic[Sample]):
    """The sample of each step, made by ``workers`` processes ahead of time, or here when that is 0.

    Args:
        make: Step to sample; the step is the only source of randomness, so the order of work does not matter.
        steps: Number of steps there will be at most.
    """

    def __init__(self, make: Callable[[int], Sample], steps: int, workers: int = 0) -> None:
        self.make, self.steps, self.workers = make, steps, workers
        self._next = -1
        self._samples: Iterator[Sample] = iter(())

    def stop(self) -> None:
        """End the processes; the next call starts them again."""
        self._samples, self._next = iter(()), -1

    def __call__(self, step: int) -> Sample:
        """The sample of ``step``; steps are asked for in order, from any first one."""
        if not self.workers:
            return self.make(step)
        if step != self._next:
            data = _Steps(self.make, step, self.steps)
            self._samples = iter(
                DataLoader(
                    data, batch_size=None, num_workers=self.workers, prefetch_factor=READY, collate_fn=_as_is,
                    worker_init_fn=_one_thread, multiprocessing_context="fork",
                )
            )  # fmt: skip
        self._next = step + 1
        return next(self._samples)
