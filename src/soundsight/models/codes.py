"""Pictures of digits as short codes, and the network that a flow moves codes with.

As in latent diffusion (Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*, 2022, section
3.1) noise is carried to a code and not to pixels. Here the writer is told the label, too, so that the code has to say
the handwriting alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CodeNetwork", "Reader", "Writer"]

_SIDE = 7
_MOMENTUM = 0.03


class Reader(nn.Module):
    """Pictures (B, 1, 28, 28) in [0, 1] → codes (B, D), each element of mean 0 and variance 1 over pictures.

    Args:
        widths: Channels at 14 and at 7 pixels.
        hidden: Width of the layer before the code.
        code_size: D.
    """

    def __init__(self, widths: tuple[int, int], hidden: int, code_size: int) -> None:
        super().__init__()
        fine, coarse = widths
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, fine, 4, stride=2, padding=1),  # (B, fine, 14, 14)
            nn.SiLU(),
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1),  # (B, coarse, 7, 7)
            nn.SiLU(),
            nn.Conv2d(coarse, coarse, 3, padding=1),
            nn.SiLU(),
        )
        self.head = nn.Sequential(nn.Linear(coarse * _SIDE**2, hidden), nn.SiLU(), nn.Linear(hidden, code_size))
        # Else the jitter of training would be answered by ever larger codes.
        self.norm = nn.BatchNorm1d(code_size, affine=False, momentum=_MOMENTUM)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Codes (B, D)."""
        code_BD: Tensor = self.norm(self.head(self.convolutions(2 * image_BCHW - 1).flatten(1)).float())
        return code_BD


class Writer(nn.Module):
    """Codes (B, D) and label distributions (B, L) → logits of pictures (B, 1, 28, 28).

    Args:
        widths: Channels at 7, 14 and 28 pixels.
        hidden: Width of the layer behind the code.
        code_size: D.
        num_labels: L.
    """

    def __init__(self, widths: tuple[int, int, int], hidden: int, code_size: int, num_labels: int) -> None:
        super().__init__()
        coarse, middle, fine = widths
        self.head = nn.Sequential(
            nn.Linear(code_size + num_labels, hidden), nn.SiLU(), nn.Linear(hidden, coarse * _SIDE**2), nn.SiLU()
        )
        self.convolutions = nn.Sequential(
            _Residual(coarse),
            nn.ConvTranspose2d(coarse, middle, 4, stride=2, padding=1),
            nn.SiLU(),
            _Residual(middle),
            nn.ConvTranspose2d(middle, fine, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(fine, 1, 3, padding=1),
        )

    def forward(self, code_BD: Tensor, label_BL: Tensor) -> Tensor:
        """Logits of pictures (B, 1, 28, 28)."""
        maps_BCHW = self.head(torch.cat([code_BD, label_BL], dim=1)).unflatten(1, (-1, _SIDE, _SIDE))
        logits_BCHW: Tensor = self.convolutions(maps_BCHW)
        return logits_BCHW


class _Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, momentum=_MOMENTUM),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        return functional.silu(maps_BCHW + self.inner(maps_BCHW))


class CodeNetwork(nn.Module):
    """Codes (B, D, 1, 1) and steering (B, E) → (B, D, 1, 1): residual layers, each scaled and shifted by the steering.

    Args:
        code_size: D.
        hidden: Width of the layers.
        num_blocks: Their number.
        steering_size: E.
    """

    def __init__(self, code_size: int, hidden: int, num_blocks: int, steering_size: int) -> None:
        super().__init__()
        self.enter = nn.Linear(code_size, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, steering_size) for _ in range(num_blocks))
        self.leave = nn.Linear(hidden, code_size)
        # A new network answers next to nothing: what is known from the mixture alone is added outside.
        nn.init.normal_(self.leave.weight, std=1e-3)

    def forward(self, code_BD11: Tensor, steering_BE: Tensor) -> Tensor:
        """The answer (B, D, 1, 1)."""
        hidden_BH = self.enter(code_BD11.flatten(1))
        for block in self.blocks:
            hidden_BH = block(hidden_BH, steering_BE)
        answer_BD: Tensor = self.leave(functional.silu(hidden_BH))
        return answer_BD[:, :, None, None]


class _Block(nn.Module):
    """Layer norm and two linear layers around a shortcut; the first one's output is scaled and shifted."""

    def __init__(self, hidden: int, steering_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.first = nn.Linear(hidden, hidden)
        self.steer = nn.Linear(steering_size, 2 * hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, hidden_BH: Tensor, steering_BE: Tensor) -> Tensor:
        scale_BH, shift_BH = self.steer(steering_BE).chunk(2, dim=1)
        inner_BH: Tensor = self.second(functional.silu(self.first(self.norm(hidden_BH)) * (1 + scale_BH) + shift_BH))
        return hidden_BH + inner_BH
