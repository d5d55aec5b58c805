"""Gradient-norm balancing: weights that say how hard each term pulls, whatever its scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["balanced"]


def balanced(terms: Mapping[str, Tensor], weights: Mapping[str, float], picture: Tensor) -> dict[str, Tensor]:
    """Scale terms so that their gradients at the picture have lengths in the ratio of their weights.

    Term i becomes wᵢ / Σw / ‖∂ lossᵢ / ∂ picture‖ · lossᵢ, times the mean length of the gradients as they were:
    Σ wᵢ ‖gᵢ‖ / Σw. Weights are shares, so that all of them doubled change nothing: terms beside these, which are not
    balanced, pull Σw times as hard as without. The factor is taken as constant. A term whose gradient is 0 is weighted
    only.

    Args:
        terms: Scalars that depend on ``picture``, by name.
        weights: Above 0, one for each term.
        picture: What they all depend on, of any shape; the generator's output.

    Returns:
        The scaled terms, in the same order; their sum is what is minimised.

    Source:
        Défossez et al., *High Fidelity Neural Audio Compression*, 2022, section 3.4 (the balancer), without its moving
        average: the lengths are those of this batch.
    """
    lengths = {name: _length(term, picture) for name, term in terms.items()}
    total = sum(weights[name] for name in terms)
    mean = sum((weights[name] * lengths[name] for name in terms), torch.zeros((), device=picture.device)) / total
    # No gradient at all is no pull to be scaled; dividing by it would make a number that is none.
    factors = {
        name: torch.where(length > 0, weights[name] / total * mean / length.clamp(min=1e-30), weights[name])
        for name, length in lengths.items()
    }
    return {name: factors[name] * term for name, term in terms.items()}


def _length(term: Tensor, picture: Tensor) -> Tensor:
    gradient: Tensor | None = torch.autograd.grad(term, picture, retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        return torch.zeros((), device=picture.device)
    length: Tensor = torch.linalg.vector_norm(gradient.detach().float())
    return length
