"""The CT-text space: does this CT show what this sentence says?

A sentence's embedding is a query over the CT's tokens (late interaction: each sentence looks at its own place in
the neck, which one pooled vector per CT cannot do); the attended tokens and the sentence give one logit. A
global embedding of CT and report, trained contrastively, serves the search for similar cases.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.models.checkpoint import load_weights, read_config
from hnvlm.models.ct_encoder import TOKENS_PER_AXIS, CTEncoder


class CTTextSpace(nn.Module):
    """Scores between CT tokens and sentence embeddings.

    Args:
        tokens: Channels of a CT token.
        width: Channels of the space and of the text embeddings.
        heads: Attention heads of the sentence query.
    """

    def __init__(self, tokens: int, width: int = 192, heads: int = 6) -> None:
        super().__init__()
        self.token_proj = nn.Linear(tokens, width)
        self.position = nn.Parameter(0.1 * torch.randn(TOKENS_PER_AXIS**3, width))
        self.text = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.score = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 1))
        self.global_query = nn.Parameter(0.1 * torch.randn(4, width))
        self.image_out = nn.Linear(4 * width, width)
        self.report_out = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def project(self, tokens: Tensor) -> Tensor:
        """CT tokens (B, 512, C) into the space (B, 512, W)."""
        return self.norm(self.token_proj(tokens) + self.position)

    def logits(self, keys: Tensor, sentences: Tensor) -> Tensor:
        """(B, S) logits that each CT shows what each sentence says.

        Args:
            keys: Projected tokens (B, T, W). sentences: (S, W) for all CTs, or (B, S, W) for each its own.
        """
        q = self.text(sentences)
        q = q if q.ndim == 3 else q.expand(len(keys), -1, -1)
        seen, _ = self.attend(q, keys, keys, need_weights=False)
        return self.score(torch.cat([seen, q, seen * q], -1))[..., 0]

    def image_embedding(self, keys: Tensor) -> Tensor:
        """Unit vectors (B, W) for retrieval, from projected tokens (B, T, W)."""
        seen, _ = self.attend(self.global_query.expand(len(keys), -1, -1), keys, keys, need_weights=False)
        return F.normalize(self.image_out(seen.flatten(1)), dim=-1)

    def report_embedding(self, sentences: list[Tensor]) -> Tensor:
        """Unit vectors (B, W); each report is the mean of its sentences' (n, W) embeddings."""
        return F.normalize(self.report_out(torch.stack([self.text(s).mean(0) for s in sentences])), dim=-1)


class ClipNetwork(nn.Module):
    """CT encoder and CT-text space, trained and shipped together.

    Args:
        n_structures: Structure channels of the encoder.
        widths: Channels per level of its U-Net.
    """

    def __init__(self, n_structures: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = CTEncoder(n_structures, widths)
        self.space = CTTextSpace(self.encoder.token_width)


def load_clip(folder: Path) -> ClipNetwork:
    """The CT encoder and CT-text space of a model folder.

    Raises:
        ModelPackError: As ``load_weights``.
    """
    config = read_config(folder)
    network = ClipNetwork(len(config["structures"]), tuple(config["widths"]))
    return load_weights(folder, network)  # type: ignore[return-value]
