"""Kernel distance between two sets of feature vectors: the squared maximum mean discrepancy, without bias.

With the kernel (x·y / D + 1)³ of Bińkowski et al., *Demystifying MMD GANs*, 2018, where Inception's features make it
«KID»; here the features are whatever is passed in. Two samples of one distribution are at 0 on average, so that a value
may be negative. All pairs are compared, not subsets of them: same expectation, less noise, nothing drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.sets import two_sets

__all__ = ["kernel_distance"]

Float64 = NDArray[np.float64]
_BLOCK = 1024


def kernel_distance(features: ArrayLike, reference: ArrayLike) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy; symmetric, about 0 for samples of one distribution.

    Args:
        features: (N, D), N ≥ 2, any scale.
        reference: (M, D), M ≥ 2.

    Raises:
        ValueError: Wrong shapes, fewer than two vectors, or values that are not finite.

    >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]])  # 1³ + 2³ − 2 · 1³
    7.0
    """
    features_ND, reference_MD = two_sets(features, reference, least=2)
    across = _sum(features_ND, reference_MD) / (len(features_ND) * len(reference_MD))
    return float(_within(features_ND) + _within(reference_MD) - 2 * across)


def _within(features_ND: Float64) -> float:
    """Mean of the kernel over pairs of different vectors."""
    num, size = features_ND.shape
    themselves = float(_kernel(np.square(features_ND).sum(axis=1), size).sum())
    return float((_sum(features_ND, features_ND) - themselves) / (num * (num - 1)))


def _sum(features_ND: Float64, reference_MD: Float64) -> float:
    """Sum of the kernel over all pairs, a block of rows at a time."""
    size = features_ND.shape[1]
    return sum(
        float(_kernel(features_ND[start : start + _BLOCK] @ reference_MD.T, size).sum())
        for start in range(0, len(features_ND), _BLOCK)
    )


def _kernel(products: Float64, size: int) -> Float64:
    shifted: Float64 = products / size + 1
    return shifted * shifted * shifted  # several times as fast as a power
