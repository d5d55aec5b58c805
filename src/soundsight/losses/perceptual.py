"""Perceptual distance: pictures are compared by what a network trained on real ones sees in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["perceptual"]


def perceptual(made_layers: Sequence[Tensor], real_layers: Sequence[Tensor]) -> Tensor:
    """Mean squared distance of the unit-length channel vectors of each place, averaged over places, then over layers.

    A blur is near every picture pixel by pixel; a network that tells pictures apart sees that its edges are gone.

    Args:
        made_layers: Activations (B, C, H, W) or (B, D) of some layers of a frozen network at generated pictures.
        real_layers: Those at the real ones; no gradient goes through them.

    Returns:
        A scalar in [0, 4], in [0, 2] for activations behind a ReLU; 0 where the network sees no difference.

    Raises:
        ValueError: There are no layers, or not as many on both sides.

    Source:
        Johnson, Alahi & Fei-Fei, *Perceptual Losses for Real-Time Style Transfer*, 2016, equation 2, with the unit
        length of Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*, 2018, equation
        1, whose learned weights are 1 here. With a network other than theirs it is not comparable with their LPIPS.
    """
    if not made_layers or len(made_layers) != len(real_layers):
        raise ValueError(
            f"layers must be as many on both sides, at least 1, not {len(made_layers)}, {len(real_layers)}"
        )
    distances = []
    for made, real in zip(made_layers, real_layers, strict=True):
        apart = functional.normalize(made.float(), dim=1) - functional.normalize(real.detach().float(), dim=1)
        distances.append(apart.square().sum(dim=1).mean())
    return torch.stack(distances).mean()
