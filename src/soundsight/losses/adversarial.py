"""Adversarial terms of Goodfellow et al., *Generative Adversarial Nets*, 2014, from a discriminator's logits.

A discriminator D answers with the logit of «this picture is real». All functions take logits of any shape and average
over everything; they return a scalar in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["discriminator", "gradient_penalty", "non_saturating", "saturating"]


def discriminator(real_logits: Tensor, made_logits: Tensor) -> Tensor:
    """−E log D(i) − E log(1 − D(G)): what the discriminator minimises (equation 1 there).

    Args:
        real_logits: Of real pictures.
        made_logits: Of generated ones, which the caller detached.

    Returns:
        A scalar ≥ 0; 2 log 2 ≈ 1.386 where the discriminator cannot tell them apart and says ½.
    """
    return functional.softplus(-real_logits.float()).mean() + functional.softplus(made_logits.float()).mean()


def saturating(made_logits: Tensor) -> Tensor:
    """E log(1 − D(G)): the generator's side of the minimax game, as in equation (4) of Żelaszczyk & Mańdziuk, 2021.

    Its gradient vanishes where the discriminator is sure, D(G) → 0.

    Returns:
        A scalar ≤ 0.
    """
    return -functional.softplus(made_logits.float()).mean()


def non_saturating(made_logits: Tensor) -> Tensor:
    """−E log D(G): the same fixed point, and a gradient that is strongest where the discriminator is sure (section 3).

    Returns:
        A scalar ≥ 0.
    """
    return functional.softplus(-made_logits.float()).mean()


def gradient_penalty(real_logits_B: Tensor, real_BCHW: Tensor) -> Tensor:
    """R1: ½ E ‖∇ᵢ log-odds D(i)‖² at real pictures, equation (9) of Mescheder, Geiger & Nowozin, *Which Training
    Methods for GANs do actually Converge?*, 2018, without its weight γ.

    Args:
        real_logits_B: (B,) or (B, 1, …), one logit per picture, computed from ``real_BCHW``.
        real_BCHW: (B, C, H, W), with ``requires_grad``.

    Returns:
        A scalar ≥ 0 that can be differentiated once more.
    """
    (gradient_BCHW,) = torch.autograd.grad(real_logits_B.float().sum(), real_BCHW, create_graph=True)
    return 0.5 * gradient_BCHW.float().square().flatten(1).sum(dim=1).mean()
