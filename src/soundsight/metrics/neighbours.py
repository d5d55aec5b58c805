"""Precision, recall, density and coverage: fidelity and variety told apart, by nearest neighbours in feature space.

Each vector of a set stands for the ball that reaches to its k-th nearest neighbour in the same set.
Precision and recall: Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative Models*, 2019.
Density and coverage: Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, 2020, equations (3)
to (5), with their k = 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.sets import vectors

__all__ = ["Neighbours", "Reference", "neighbours"]

Float32 = NDArray[np.float32]
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


class Reference:
    """Real feature vectors, ready to be compared with several sets.

    Args:
        reference: (M, D), M > k.
        k: Which neighbour a ball reaches to.

    Raises:
        ValueError: A wrong shape, no more than k vectors, k below 1, or values that are not finite.
    """

    def __init__(self, reference: ArrayLike, k: int = 5) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        vectors_MD = vectors(reference, "reference", least=k + 1)
        self.k = k
        # Distances are differences of squares: the smaller the squares, the less is lost. In float32 they are good to a
        # millionth, and ten thousand vectors take half the time.
        self._centre_D = vectors_MD.mean(axis=0)
        self._vectors_MD = (vectors_MD - self._centre_D).astype(np.float32)
        self._reach_M = _reach(self._vectors_MD, k)

    def compare(self, features: ArrayLike) -> Neighbours:
        """How generated vectors (N, D), N > k, lie to the real ones.

        Raises:
            ValueError: As for the reference, or another D.
        """
        vectors_ND = vectors(features, "features", least=self.k + 1, size=len(self._centre_D))
        features_ND = (vectors_ND - self._centre_D).astype(np.float32)
        reach_N = _reach(features_ND, self.k)
        num_balls_N = np.zeros(len(features_ND), np.int64)
        reached_M, covered_M = np.zeros((2, len(self._vectors_MD)), bool)
        for start in range(0, len(features_ND), _BLOCK):
            rows = slice(start, start + _BLOCK)
            distances_BM = _squared_distances(features_ND[rows], self._vectors_MD)
            inside_BM = distances_BM < self._reach_M
            num_balls_N[rows] = inside_BM.sum(axis=1)
            covered_M |= inside_BM.any(axis=0)
            reached_M |= (distances_BM < reach_N[rows, None]).any(axis=0)
        return Neighbours(
            precision=float((num_balls_N > 0).mean()),
            recall=float(reached_M.mean()),
            density=float(num_balls_N.mean() / self.k),
            coverage=float(covered_M.mean()),
        )


def neighbours(features: ArrayLike, reference: ArrayLike, *, k: int = 5) -> Neighbours:
    """Compare generated with real feature vectors; see ``Reference``.

    Args:
        features: (N, D) of what was generated, N > k.
        reference: (M, D) of what is real, M > k.
        k: Which neighbour a ball reaches to.

    Raises:
        ValueError: Wrong shapes, no more than k vectors, k below 1, or values that are not finite.
    """
    return Reference(reference, k).compare(features)


def _reach(features_ND: Float32, k: int) -> Float32:
    """Squared distance of each vector to its k-th nearest other one, (N,)."""
    reach_N = np.empty(len(features_ND), np.float32)
    for start in range(0, len(features_ND), _BLOCK):
        distances_BN = _squared_distances(features_ND[start : start + _BLOCK], features_ND)
        np.put_along_axis(distances_BN, np.arange(start, start + len(distances_BN))[:, None], np.inf, axis=1)
        reach_N[start : start + _BLOCK] = _smallest(distances_BN, k)
    return reach_N


def _smallest(values_BN: Float32, k: int) -> Float32:
    """The k-th smallest of each row, (B,): they are all in the k runs of a row that begin lowest, or at its end.

    What is compared in full is then a fiftieth of a long row, in a fifth of the time.
    """
    size = math.isqrt(values_BN.shape[1])
    whole = values_BN.shape[1] // size * size
    runs_BRS = values_BN[:, :whole].reshape(len(values_BN), -1, size)
    if runs_BRS.shape[1] > k:
        lowest_BK = np.argpartition(runs_BRS.min(axis=2), k - 1, axis=1)[:, :k]
        chosen_BKS = np.take_along_axis(runs_BRS, lowest_BK[:, :, None], axis=1)
        values_BN = np.concatenate([chosen_BKS.reshape(len(values_BN), -1), values_BN[:, whole:]], axis=1)
    smallest_B: Float32 = np.partition(values_BN, k - 1, axis=1)[:, k - 1]
    return smallest_B


def _squared_distances(features_BD: Float32, reference_MD: Float32) -> Float32:
    """(B, M), by |a|² − 2ab + |b|²: one matrix product in place of B × M × D differences."""
    distances_BM: Float32 = (-2 * features_BD) @ reference_MD.T
    distances_BM += np.square(features_BD).sum(axis=1)[:, None]
    distances_BM += np.square(reference_MD).sum(axis=1)
    return np.maximum(distances_BM, 0, out=distances_BM)
