"""A small conditional U-Net: a noisy picture and what steers it in, an answer of the picture's shape out.

The plan is Ho, Jain & Abbeel's (2020, appendix B) made small for a CPU: pictures enter as 2×2 patches, so that the
finest level works at half their size; one residual block a level and side; no attention. What steers it scales and
shifts each block (Dhariwal & Nichol, *Diffusion Models Beat GANs on Image Synthesis*, 2021, equation 7). Batch norm in
place of group norm: it costs nothing once it is exported. Every batch holds all times, and its statistics are averaged
over many batches, so that they are those of use.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UNet", "sinusoids"]

_MOMENTUM = 0.03


class UNet(nn.Module):
    """(B, C, H, W) and steering (B, E) → (B, C, H, W); H and W divisible by 2 to the number of levels.

    Args:
        channels: C.
        widths: Channels of each level, the finest first.
        steering_size: E.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], steering_size: int) -> None:
        super().__init__()
        self.patches = nn.PixelUnshuffle(2)
        self.enter = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(width, width, steering_size) for width in widths[:-1])
        self.shrink = nn.ModuleList(
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.middle = nn.ModuleList(Block(widths[-1], widths[-1], steering_size) for _ in range(2))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(Block(2 * width, width, steering_size) for width in widths[:-1])
        self.leave = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)
        self.pixels = nn.PixelShuffle(2)

    def forward(self, image_BCHW: Tensor, steering_BE: Tensor) -> Tensor:
        """The answer (B, C, H, W)."""
        hidden, kept = self.enter(self.patches(image_BCHW)), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            hidden = block(hidden, steering_BE)
            kept.append(hidden)
            hidden = shrink(hidden)
        for block in self.middle:
            hidden = block(hidden, steering_BE)
        for grow, block in zip(reversed(self.grow), reversed(self.up), strict=True):
            hidden = block(torch.cat([grow(hidden), kept.pop()], dim=1), steering_BE)
        answer: Tensor = self.pixels(self.leave(hidden))
        return answer


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut; the first one's output is scaled and shifted."""

    def __init__(self, channels_in: int, channels_out: int, steering_size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels_out, momentum=_MOMENTUM)
        self.steer = nn.Linear(steering_size, 2 * channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels_out, momentum=_MOMENTUM)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, hidden_BCHW: Tensor, steering_BE: Tensor) -> Tensor:
        scale_BC11, shift_BC11 = self.steer(steering_BE)[:, :, None, None].chunk(2, dim=1)
        inner = self.first_norm(self.first(hidden_BCHW)) * (1 + scale_BC11) + shift_BC11
        inner = self.second_norm(self.second(functional.silu(inner)))
        return functional.silu(self.shortcut(hidden_BCHW) + inner)


def sinusoids(values_B: Tensor, size: int, longest: float = 1.0, shortest: float = 1e-3) -> Tensor:
    """Sines and cosines of values, (B, ``size``), at wavelengths from ``longest`` to ``shortest`` in geometric steps.

    Source:
        Vaswani et al., *Attention Is All You Need*, 2017, section 3.5.
    """
    steps = torch.arange(size // 2, device=values_B.device, dtype=torch.float32) / (size // 2 - 1)
    waves = longest * (shortest / longest) ** steps
    angles_BW = 2 * math.pi * values_B[:, None].float() / waves
    return torch.cat([angles_BW.sin(), angles_BW.cos()], dim=1)
