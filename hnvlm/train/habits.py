"""Whose contours: a short vector per patient that takes up how a clinic draws, learned beside the network.

Clinics draw one organ wider, lower or shifted against another. Without a place for that, a network has to explain it by
the picture and remembers necks instead of learning anatomy. In use nobody's habit is given, and the network is the
plain one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.models.unet import FoldedUNet, unfold

# Length of a habit, and the share of samples without one, on which the network learns to do without.
HABIT = 12
WITHOUT = 0.35
# Weight of a habit's mean square in the loss: what is shared belongs to the network.
HABIT_PENALTY = 0.001


class WithHabits(nn.Module):
    """A U-Net whose decoder is scaled and shifted by a habit, level by level.

    Args:
        plain: The network that is used afterwards, without habits.
        patients: How many patients there are.
    """

    def __init__(self, plain: FoldedUNet, patients: int) -> None:
        super().__init__()
        self.plain = plain
        self.habit = nn.Embedding(patients, HABIT)
        nn.init.normal_(self.habit.weight, std=0.1)
        self.film = nn.ModuleList([nn.Linear(HABIT, 2 * w, bias=False) for w in reversed(plain.widths[:-1])])
        for level in self.film:
            nn.init.normal_(level.weight, std=0.02)

    def forward(self, x: Tensor, patients: Tensor, told: Tensor) -> Tensor:
        """Logits (B, C, Z, Y, X) of an input (B, in, Z, Y, X).

        Args:
            patients: Number of each sample's patient (B,). told: 1 where its habit is given, else 0, (B, 1).
        """
        habit = self.habit(patients) * told
        features = self.plain.encode(x)
        h = features[-1]
        for block, film, skip in zip(self.plain.up, self.film, reversed(features[:-1]), strict=True):
            h = F.interpolate(h, size=skip.shape[2:], mode="trilinear", align_corners=False)
            h = block(torch.cat([h, skip], dim=1))
            scale, shift = film(habit.to(h.dtype))[:, :, None, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return unfold(self.plain.head(h))

    def penalty(self, patients: Tensor) -> Tensor:
        """Loss (one number) that keeps the habit vectors of these patients, indices (B,), small."""
        return HABIT_PENALTY * self.habit(patients).square().mean()
