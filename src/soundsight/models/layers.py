"""Layers and initialisation that more than one system uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["count_parameters", "reparameterise"]


def reparameterise(mean_BD: Tensor, log_variance_BD: Tensor, noise_BD: Tensor) -> Tensor:
    """A draw from N(mean, exp(log_variance)): mean + σ·noise, (B, D) (Kingma & Welling, 2014, equation 4)."""
    return mean_BD + torch.exp(0.5 * log_variance_BD) * noise_BD


def count_parameters(module: nn.Module) -> int:
    """Number of scalars that training changes, or changed: frozen copies count as their originals do."""
    return sum(parameter.numel() for parameter in module.parameters())
