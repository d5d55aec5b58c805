"""Kullback–Leibler divergence of a diagonal Gaussian from the standard one, and its warm-up."""

from __future__ import annotations

from torch import Tensor

__all__ = ["free_bits", "kl_divergence", "warmup"]


def kl_divergence(mean_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)), summed over D and averaged over B, in nats.

    Args:
        mean_BD: (B, D).
        log_variance_BD: (B, D), the natural logarithm of the variance.

    Returns:
        A scalar, at least 0; 0 exactly when the mean is 0 and the log-variance is 0.

    Source:
        Kingma & Welling, *Auto-Encoding Variational Bayes*, 2014, appendix B; the second term of equation (3) of
        Żelaszczyk & Mańdziuk, 2021.
    """
    return _per_dimension(mean_BD, log_variance_BD).sum(dim=1).mean()


def free_bits(mean_BD: Tensor, log_variance_BD: Tensor, bits: float) -> Tensor:
    """The divergence where what a dimension says below a floor is free: Σ over D of max(λ, mean over B of its KL).

    A dimension that says less than λ is not pushed towards saying nothing, which keeps a posterior from collapsing.

    Args:
        mean_BD: (B, D).
        log_variance_BD: (B, D).
        bits: λ ≥ 0 of each dimension, in nats as published; 0 is ``kl_divergence``.

    Returns:
        A scalar ≥ λ D.

    Source:
        Kingma et al., *Improving Variational Inference with Inverse Autoregressive Flow*, 2016, appendix C.8, with
        groups of one dimension.
    """
    return _per_dimension(mean_BD, log_variance_BD).mean(dim=0).clamp(min=bits).sum()


def _per_dimension(mean_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    mean, log_variance = mean_BD.float(), log_variance_BD.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def warmup(step: int, num_steps: int) -> float:
    """Weight of the KL term: rises linearly from 0 to 1 over ``num_steps``, then stays 1.

    Without it the posterior of AIVAE collapses in the first steps at the paper's learning rate: KL → 0, chance.
    (Bowman et al., *Generating Sentences from a Continuous Space*, 2016, section 3.1.)
    """
    return 1.0 if num_steps <= 0 else min(1.0, step / num_steps)
