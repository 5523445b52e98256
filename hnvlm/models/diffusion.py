"""Appearance: a conditional diffusion model of the HU difference inside and around a lesion mask.

The layout (where, how large, which shape) is decided before (``hnvlm.models.layout``); this model draws what the
edit looks like. EDM preconditioning (Karras et al. 2022), so that it copies a nearly clean sample; sampled with
the EDM scheduler of diffusers. It works on 32^3 patches of 3 mm.

Values are windowed: W(HU) = clip(HU, -250, 250) / 100. An edit is r = W(edited) - W(source), and a plain one needs no
model: the lesion's place filled with soft tissue, or with what lies around it (``plain_edit``). The model draws what is
missing to that: the lesion's own density, its core, rim and grain, and the tissue it pushes aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from hnvlm.models.precision import mixed_precision
from hnvlm.models.unet import fold, unfold

PATCH = 32
GRID_MM = 3.0
# Spread of what the model draws (windowed units), and the noise levels it is taught and sampled at.
SIGMA_DATA = 0.25
SIGMA_MIN, SIGMA_MAX = 0.02, 4.0
OPS = ("add", "remove", "none")
WINDOW_HU = 250.0
SCALE_HU = 100.0
AIR_HU = -1000.0
# HU of what a plain addition is made of, border and core: nearest to lesions inserted into training patients.
PLAIN_HU = {"solid": (60.0, 60.0), "necrotic": (65.0, 22.0), None: (45.0, 45.0)}
# Voxels around a lesion that say what a plain removal fills in.
PLAIN_REACH = 1.5


def windowed(hu: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """W(HU): -2.5..2.5."""
    clip = torch.clamp if isinstance(hu, Tensor) else np.clip
    return clip(hu, -WINDOW_HU, WINDOW_HU) / SCALE_HU


def edited_hu(source_hu: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """HU after the edit.

    Between the windowed values -2.0 and -2.5 a voxel is read as partial volume with air (-200 to -1000 HU), so that a
    filled lumen becomes tissue and removed tissue becomes air; elsewhere one unit is 100 HU. Where the window hides the
    source (bone, air), a residual of half a unit or more replaces it, a smaller one only shifts it: no jump, and
    nothing asked is nothing changed. A push further out of the window means nothing and is ignored.
    """
    before = windowed(source_hu)
    after = np.clip(before + residual, -2.5, 2.5)
    shifted = source_hu + _hu_of(after) - _hu_of(before)
    hidden = np.abs(source_hu) > 200.0
    replace = np.where(hidden, np.clip((np.abs(after - before) - 0.15) / 0.35, 0.0, 1.0), 1.0)
    out = replace * _hu_of(after) + (1.0 - replace) * shifted
    return np.where(np.abs(residual) < 1e-3, source_hu, out)


def _hu_of(value: np.ndarray) -> np.ndarray:
    """HU of a windowed value (-2.5..2.5), continuous and rising."""
    air = -200.0 + (value + 2.0) / -0.5 * (AIR_HU + 200.0)
    return np.where(value < -2.0, air, SCALE_HU * value)


def plain_edit(
    source_hu: np.ndarray, mask: np.ndarray, op: str, texture: str | None = None, size_mm: float = 0.0
) -> np.ndarray:
    """The edit without a model: soft tissue where a lesion is to be, its surroundings where one is to go.

    Args:
        source_hu: HU (z, y, x) at ``GRID_MM``. mask: lesion share 0..1. op: of OPS.
        texture: Of a node or mass to add: ``solid``, or ``necrotic`` for a rim around a darker core.
        size_mm: Greatest dimension of the lesion to add; the rim's thickness follows it.

    Returns:
        float32 (z, y, x) in windowed units.
    """
    before = np.asarray(windowed(source_hu), np.float32)
    if op == "none":
        return np.zeros_like(before)
    if op == "add":
        border, core = PLAIN_HU[texture]
        depth_mm = (ndimage.distance_transform_edt(mask > 0.5) - 0.5) * GRID_MM
        share = np.clip((depth_mm - rim_mm(size_mm)) / GRID_MM + 0.5, 0.0, 1.0)
        wanted = border + share * (core - border)
    else:
        # Neither the lesion nor what the window hides (bone, air) says what lies around it.
        counts = (1.0 - np.clip(1.5 * mask, 0.0, 1.0)) * (np.abs(before) < 2.4)
        around = ndimage.gaussian_filter(before * counts, PLAIN_REACH)
        wanted = SCALE_HU * around / np.maximum(ndimage.gaussian_filter(counts, PLAIN_REACH), 1e-3)
    # In HU, not in windowed units: a voxel of air that is half filled is still far below the window.
    after = source_hu + mask * (wanted - source_hu)
    return np.asarray(windowed(after) - before, np.float32)


def rim_mm(size_mm: float) -> float:
    """Thickness of a necrotic lesion's rim, found together with ``PLAIN_HU``."""
    return 0.13 * size_mm + 0.8


class FilmBlock(nn.Module):
    """Residual block whose norms are shifted and scaled by the condition vector."""

    def __init__(self, in_channels: int, out_channels: int, condition: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.norm1 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.film = nn.Linear(condition, 2 * out_channels)
        self.skip = nn.Conv3d(in_channels, out_channels, 1, stride=stride)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, in, ...) under a condition (B, C) -> (B, out, ...)."""
        scale, shift = self.film(condition)[:, :, None, None, None].chunk(2, dim=1)
        h = F.silu(self.norm1(self.conv1(x)) * (1 + scale) + shift)
        return F.silu(self.norm2(self.conv2(h)) + self.skip(x))


class LesionDenoiser(nn.Module):
    """EDM denoiser D(x; sigma | source, mask, plain edit, text, op) of an edit less the plain edit.

    The plain edit is also a plane of the input and shows the texture asked for: from the text alone, which only shifts
    and scales channels, a network did not learn it (a solid node of 30 mm got a dark core, a necrotic one of 20 mm
    none).

    Args:
        text_width: Width of the text embedding.
        widths: Channels per level on the folded grid.
    """

    def __init__(self, text_width: int = 192, widths: tuple[int, ...] = (64, 128, 160), condition: int = 192) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.condition_width = condition
        self.text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, condition))
        self.op = nn.Embedding(len(OPS), condition)
        self.sigma = nn.Sequential(nn.Linear(64, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.merge = nn.Sequential(nn.SiLU(), nn.Linear(condition, condition), nn.SiLU())
        stem = 5 * 8
        self.down = nn.ModuleList(
            FilmBlock(stem if k == 0 else widths[k - 1], w, condition, stride=1 if k == 0 else 2)
            for k, w in enumerate(widths)
        )
        self.up = nn.ModuleList(
            FilmBlock(widths[k + 1] + widths[k], widths[k], condition) for k in range(len(widths) - 2, -1, -1)
        )
        self.head = nn.Conv3d(widths[0], 8, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def condition(self, sigma: Tensor, text: Tensor, op: Tensor) -> Tensor:
        """Condition vector (B, C) of noise level (B,), text embedding (B, W) and op index (B,)."""
        frequency = torch.exp(torch.linspace(0, math.log(100.0), 32, device=sigma.device))
        angle = (sigma.log() / 4)[:, None] * frequency
        return self.merge(self.sigma(torch.cat([angle.sin(), angle.cos()], 1)) + self.text(text) + self.op(op))

    def forward(
        self, x: Tensor, sigma: Tensor, source: Tensor, mask: Tensor, plain: Tensor, text: Tensor, op: Tensor
    ) -> Tensor:
        """Denoised edit less the plain one (B, 1, 32, 32, 32).

        Args:
            x: Noisy edit less the plain one (B, 1, ...). sigma: (B,). source: HU (B, ...). mask: share 0..1 (B, ...).
            plain: ``plain_edit`` (B, ...). text: (B, W). op: index into OPS (B,).
        """
        s = sigma.view(-1, 1, 1, 1, 1)
        c_in = 1 / (s**2 + SIGMA_DATA**2).sqrt()
        c_skip = SIGMA_DATA**2 / (s**2 + SIGMA_DATA**2)
        c_out = s * SIGMA_DATA / (s**2 + SIGMA_DATA**2).sqrt()
        planes = torch.stack(
            [windowed(source) / 1.5, (source.clamp(-1024, 1500) + 100) / 700.0, 2 * mask - 1, plain / 1.5], dim=1
        )
        h = fold(torch.cat([x * c_in, planes], dim=1)).contiguous(memory_format=torch.channels_last_3d)
        condition = self.condition(sigma, text, op)
        features = []
        for block in self.down:
            h = block(h, condition)
            features.append(h)
        for block, skip in zip(self.up, reversed(features[:-1]), strict=True):
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0, mode="nearest"), skip], 1), condition)
        return c_skip * x + c_out * unfold(self.head(h)).float()


def sample_residual(
    model: LesionDenoiser,
    source: Tensor,
    mask: Tensor,
    plain: Tensor,
    text: Tensor,
    op: Tensor,
    *,
    support: Tensor,
    seed: int,
    steps: int = 12,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Draw residuals (B, 32, 32, 32) for source HU, mask, plain edit and support patches (B, 32, 32, 32).

    Noise and residual live where ``support`` is above zero; outside, the edit is zero by construction.
    Uses the EDM DPM-Solver++ scheduler of diffusers; the same seed gives the same result.
    """
    from diffusers import EDMDPMSolverMultistepScheduler

    scheduler = EDMDPMSolverMultistepScheduler(
        sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, sigma_data=SIGMA_DATA, solver_order=2
    )
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    inside = (support > 0)[:, None].float()
    x = torch.randn(source.shape[0], 1, *source.shape[1:], generator=generator) * scheduler.init_noise_sigma * inside
    with torch.inference_mode(), mixed_precision():
        for k, t in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[k].float().clamp(min=1e-4)
            denoised = model(x, sigma.expand(len(x)), source, mask, plain, text, op)
            # The scheduler preconditions a raw network output; it is undone here because D is already preconditioned.
            raw = unprecondition(denoised, x, sigma)
            x = scheduler.step(raw, t, x, generator=generator).prev_sample.float() * inside
            if on_step is not None:
                on_step(k + 1, steps)
    return x[:, 0] + plain * inside[:, 0]


def unprecondition(denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Raw network output F with c_skip x + c_out F = denoised (what the scheduler expects)."""
    c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
    c_out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2).sqrt()
    return (denoised - c_skip * x) / c_out


def support_of(mask: np.ndarray, size_mm: float) -> np.ndarray:
    """Soft region an edit may change (0..1): the lesion and the tissue it displaces around it.

    Args:
        mask: Lesion share on the 3 mm grid. size_mm: Its greatest dimension.
    """
    distance = ndimage.distance_transform_edt(mask < 0.05, (GRID_MM,) * 3)
    reach = 0.35 * size_mm + 3.0
    return np.clip(1.0 - (distance - reach) / 6.0, 0.0, 1.0).astype(np.float32)


def step_gflops(denoiser: LesionDenoiser) -> float:
    """Billions of floating-point operations of one denoising step of one patch, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    patch = torch.zeros(1, PATCH, PATCH, PATCH)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        denoiser(patch[None], torch.ones(1), patch, patch, patch, torch.zeros(1, 192), torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops() / 1e9
