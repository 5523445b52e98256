"""Half precision is used only where the processor has it."""

import pytest
import torch

from hnvlm.models import precision


@pytest.mark.parametrize(
    ("able", "fast"),
    [
        ({"avx2": True, "avx512_f": True}, False),
        ({"avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_only_with_its_instructions(able, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    precision.fast_bfloat16.cache_clear()
    try:
        with torch.inference_mode(), precision.mixed_precision():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
    finally:
        precision.fast_bfloat16.cache_clear()
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)
    assert product.float().eq(2).all()
