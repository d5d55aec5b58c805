"""Adversarial games from a discriminator's answers, and what keeps them stable.

A discriminator D answers with a number for each picture, or for each patch of it: the logit of «this is real», or for
least squares and Wasserstein a plain score. Where not said otherwise, functions take answers of any shape, average over
all of them and return a scalar.

Sources: Goodfellow et al., *Generative Adversarial Nets*, 2014 (saturating, non-saturating); Lim & Ye, *Geometric GAN*,
2017, as in Miyato et al., *Spectral Normalization for GANs*, 2018, equations 16 and 17 (hinge); Mao et al., *Least
Squares GANs*, 2017, equation 9 (targets 0 and 1); Arjovsky, Chintala & Bottou, *Wasserstein GAN*, 2017, equation 2;
Gulrajani et al., *Improved Training of Wasserstein GANs*, 2017, equation 3; Salimans et al., *Improved Techniques for
Training GANs*, 2016, section 3.1, layer by layer as in Wang et al., *pix2pixHD*, 2018, equation 4 (feature matching).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "GAMES",
    "Game",
    "Sides",
    "discriminator",
    "feature_matching",
    "gradient_penalty",
    "hinge_discriminator",
    "interpolation_penalty",
    "least_squares_discriminator",
    "least_squares_generator",
    "non_saturating",
    "saturating",
    "wasserstein_discriminator",
    "wasserstein_generator",
]

Game = Literal["saturating", "non-saturating", "hinge", "least-squares", "wasserstein"]


def discriminator(real_logits: Tensor, made_logits: Tensor) -> Tensor:
    """−E log D(i) − E log(1 − D(G)), in nats: what the discriminator minimises (Goodfellow et al., equation 1).

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


def hinge_discriminator(real_logits: Tensor, made_logits: Tensor) -> Tensor:
    """E max(0, 1 − D(i)) + E max(0, 1 + D(G)); arguments as for ``discriminator``.

    Returns:
        A scalar ≥ 0; 0 where both are told apart by a margin of 1 on either side, 2 where D says 0.
    """
    return functional.relu(1 - real_logits.float()).mean() + functional.relu(1 + made_logits.float()).mean()


def least_squares_discriminator(real_scores: Tensor, made_scores: Tensor) -> Tensor:
    """½ E (D(i) − 1)² + ½ E D(G)²; arguments as for ``discriminator``.

    Returns:
        A scalar ≥ 0; ¼ where D says ½.
    """
    return 0.5 * ((real_scores.float() - 1).square().mean() + made_scores.float().square().mean())


def least_squares_generator(made_scores: Tensor) -> Tensor:
    """½ E (D(G) − 1)²: a scalar ≥ 0."""
    return 0.5 * (made_scores.float() - 1).square().mean()


def wasserstein_discriminator(real_scores: Tensor, made_scores: Tensor) -> Tensor:
    """−E D(i) + E D(G): minus an estimate of the distance, where D is kept 1-Lipschitz.

    Returns:
        A scalar of any sign; without a bound on D (``interpolation_penalty``, spectral norm) it has no minimum.
    """
    return made_scores.float().mean() - real_scores.float().mean()


def wasserstein_generator(made_scores: Tensor) -> Tensor:
    """−E D(G): a scalar of any sign; the generator's side of hinge and Wasserstein."""
    return -made_scores.float().mean()


@dataclass(frozen=True, slots=True)
class Sides:
    """What each side of a game minimises.

    Attributes:
        discriminator: Of the answers to real and to generated pictures.
        generator: Of the answers to generated pictures.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


GAMES: dict[Game, Sides] = {
    "saturating": Sides(discriminator, saturating),
    "non-saturating": Sides(discriminator, non_saturating),
    "hinge": Sides(hinge_discriminator, wasserstein_generator),
    "least-squares": Sides(least_squares_discriminator, least_squares_generator),
    "wasserstein": Sides(wasserstein_discriminator, wasserstein_generator),
}
"""Both sides of each game, by its name in a recipe."""


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


def interpolation_penalty(
    answer: Callable[[Tensor], Tensor], real_BCHW: Tensor, made_BCHW: Tensor, share_B: Tensor
) -> Tensor:
    """E (‖∇ₓ D(x)‖ − 1)² at points between real and generated pictures, without its weight λ (10 there).

    Args:
        answer: The discriminator, (B, C, H, W) → (B, …); the answers of a picture's patches are averaged.
        real_BCHW: Real pictures.
        made_BCHW: As many generated ones; no gradient reaches them.
        share_B: (B,) in [0, 1], drawn uniformly: how much of each point is real.

    Returns:
        A scalar ≥ 0 that can be differentiated once more; 0 for a discriminator whose gradient has length 1.
    """
    share_B111 = share_B.view(-1, 1, 1, 1)
    between_BCHW = (share_B111 * real_BCHW + (1 - share_B111) * made_BCHW).detach().requires_grad_(True)
    answers_BX = answer(between_BCHW).float()
    answers_B = answers_BX.reshape(len(answers_BX), -1).mean(dim=1)
    (gradient_BCHW,) = torch.autograd.grad(answers_B.sum(), between_BCHW, create_graph=True)
    length_B = torch.linalg.vector_norm(gradient_BCHW.float().flatten(1), dim=1)
    penalty: Tensor = (length_B - 1).square().mean()
    return penalty


def feature_matching(real_layers: Sequence[Tensor], made_layers: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's activations at real and generated pictures, averaged over layers.

    Args:
        real_layers: Activations (B, …) of each layer at real pictures; no gradient goes through them.
        made_layers: Those at the generated pictures of the same pairs.

    Returns:
        A scalar ≥ 0; 0 where no layer sees a difference.

    Raises:
        ValueError: There are no layers, or not as many on both sides.
    """
    if not real_layers or len(real_layers) != len(made_layers):
        raise ValueError(
            f"layers must be as many on both sides, at least 1, not {len(real_layers)}, {len(made_layers)}"
        )
    differences = [
        (made.float() - real.detach().float()).abs().mean() for real, made in zip(real_layers, made_layers, strict=True)
    ]
    return torch.stack(differences).mean()
