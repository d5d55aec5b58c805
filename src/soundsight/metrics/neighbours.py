"""Precision, recall, density and coverage: fidelity and variety told apart, by nearest neighbours in feature space.

Each vector of a set stands for the ball that reaches to its k-th nearest neighbour in the same set.
Precision and recall: Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative Models*, 2019.
Density and coverage: Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, 2020, equations (3)
to (5), with their k = 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.sets import two_sets

__all__ = ["Neighbours", "neighbours"]

Float64 = NDArray[np.float64]
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How two sets lie to each other.

    Attributes:
        precision: Share of the vectors that lie in some ball of the reference, 0 to 1: are they plausible?
        recall: Share of the reference that lies in some ball of the vectors, 0 to 1: is all of it reached?
        density: Number of balls of the reference in which a vector lies, divided by k, on average; 1 for samples of one
            distribution, no upper bound.
        coverage: Share of the reference whose ball holds a vector, 0 to 1; steadier than recall, which outliers among
            the vectors raise.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(features: ArrayLike, reference: ArrayLike, *, k: int = 5) -> Neighbours:
    """Compare generated with real feature vectors.

    Args:
        features: (N, D) of what was generated, N > k.
        reference: (M, D) of what is real, M > k.
        k: Which neighbour a ball reaches to.

    Raises:
        ValueError: Wrong shapes, no more than k vectors, k below 1, or values that are not finite.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    features_ND, reference_MD = two_sets(features, reference, least=k + 1)
    # Distances are differences of squares: the smaller the squares, the less is lost.
    features_ND, reference_MD = features_ND - reference_MD.mean(axis=0), reference_MD - reference_MD.mean(axis=0)
    reach_N, reach_M = _reach(features_ND, k), _reach(reference_MD, k)
    num_balls_N = np.zeros(len(features_ND), np.int64)
    reached_M, covered_M = np.zeros(len(reference_MD), bool), np.zeros(len(reference_MD), bool)
    for start in range(0, len(features_ND), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distances_BM = _squared_distances(features_ND[rows], reference_MD)
        inside_BM = distances_BM < reach_M
        num_balls_N[rows] = inside_BM.sum(axis=1)
        covered_M |= inside_BM.any(axis=0)
        reached_M |= (distances_BM < reach_N[rows, None]).any(axis=0)
    return Neighbours(
        precision=float((num_balls_N > 0).mean()),
        recall=float(reached_M.mean()),
        density=float(num_balls_N.mean() / k),
        coverage=float(covered_M.mean()),
    )


def _reach(features_ND: Float64, k: int) -> Float64:
    """Squared distance of each vector to its k-th nearest other one, (N,)."""
    reach_N = np.empty(len(features_ND))
    for start in range(0, len(features_ND), _BLOCK):
        distances_BN = _squared_distances(features_ND[start : start + _BLOCK], features_ND)
        np.put_along_axis(distances_BN, np.arange(start, start + len(distances_BN))[:, None], np.inf, axis=1)
        reach_N[start : start + _BLOCK] = np.partition(distances_BN, k - 1, axis=1)[:, k - 1]
    return reach_N


def _squared_distances(features_BD: Float64, reference_MD: Float64) -> Float64:
    """(B, M), by |a|² − 2ab + |b|²: one matrix product in place of B × M × D differences."""
    products_BM = features_BD @ reference_MD.T
    squares_BM = np.square(features_BD).sum(axis=1)[:, None] + np.square(reference_MD).sum(axis=1)
    distances_BM: Float64 = np.maximum(squares_BM - 2 * products_BM, 0)
    return distances_BM
