"""Layers and initialisation that more than one system uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Listener", "SpectrogramEncoder", "count_parameters", "reparameterise", "shifted"]


def reparameterise(mean_BD: Tensor, log_variance_BD: Tensor, noise_BD: Tensor) -> Tensor:
    """A draw from N(mean, exp(log_variance)): mean + σ·noise, (B, D) (Kingma & Welling, 2014, equation 4)."""
    return mean_BD + torch.exp(0.5 * log_variance_BD) * noise_BD


def count_parameters(module: nn.Module, *, in_use: bool = False) -> int:
    """Number of scalars that training changes, or changed: frozen copies count as their originals do.

    ``in_use`` leaves out the parts that a system names in ``for_training``: no picture needs them.
    """
    every = sum(parameter.numel() for parameter in module.parameters())
    helpers = (getattr(module, name, None) for name in getattr(module, "for_training", ()))
    return every - sum(count_parameters(part) for part in helpers if part is not None) if in_use else every


class Listener(nn.Module):
    """Log-mel (B, 48, 48) → logits of the label (B, L)."""

    def __init__(self, widths: tuple[int, int, int, int], dropout: float, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, kernel = 1, 5
        for width, stride in zip(widths, (2, 2, 2, 1), strict=True):  # 48 → 24 → 12 → 6 → 6
            layers += [
                nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels, kernel = width, 3
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(6 * channels, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, num_labels)
        )

    def forward(self, features_BFN: Tensor) -> Tensor:
        """Logits (B, L) of features (B, 48, 48)."""
        maps_BCFN = self.convolutions(features_BFN[:, None])  # (B, C, 6, 6)
        # The mean over frequency keeps what was when, and forgets how long the speaker's vocal tract is.
        logits: Tensor = self.head(maps_BCFN.mean(dim=2).flatten(1))
        return logits


class SpectrogramEncoder(nn.Module):
    """Spectrogram (B, F, N) of any size from 8×8 on → code (B, K): four convolutions and the mean over time.

    What was when is forgotten: a bark is one wherever it lies in the second. Batch norm makes the scale of the features
    of no account.
    """

    def __init__(self, widths: tuple[int, int, int, int], bins: int, code_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm2d(1)]
        for before, after in zip((1, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
        self.convolutions = nn.Sequential(*layers)
        left = bins
        for _ in widths:
            left = (left + 1) // 2
        self.head = nn.Linear(widths[-1] * left, code_size)

    def forward(self, features_BFN: Tensor) -> Tensor:
        """Codes (B, K)."""
        maps_BCFN = self.convolutions(features_BFN[:, None])
        code_BK: Tensor = self.head(maps_BCFN.mean(dim=3).flatten(1))
        return code_BK


def shifted(image_BCHW: Tensor, most: int) -> Tensor:
    """Each picture moved by up to ``most`` pixels either way, both ways; what comes in is black."""
    size, _, height, width = image_BCHW.shape
    padded_BHWC = functional.pad(image_BCHW, (most,) * 4).permute(0, 2, 3, 1)
    # Drawn on the CPU, so that a resumed training draws the same wherever it runs.
    rows_BH, columns_BW = (
        (torch.randint(2 * most + 1, (size, 1)) + torch.arange(side)).to(image_BCHW.device) for side in (height, width)
    )
    items_B = torch.arange(size, device=image_BCHW.device)
    return padded_BHWC[items_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)
