"""Half precision where the processor has it. Elsewhere it is emulated, one hundred times slower than float32."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

# Names in ``torch.cpu.get_capabilities()`` of instructions that multiply bfloat16 matrices.
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


@cache
def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices by itself."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def mixed_precision(device: torch.device | str = "cpu") -> torch.autocast:
    """Context in which networks run: bfloat16 on GPUs and on processors that have it, else float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=computes_half(device))


def computes_half(device: torch.device | str = "cpu") -> bool:
    """Whether ``mixed_precision`` computes in bfloat16 on a device."""
    return torch.device(device).type != "cpu" or fast_bfloat16()


def device_of(network: nn.Module) -> torch.device:
    """Where the weights of a network lie (the processor, when it has none)."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device
