"""Kernel distance between two sets of feature vectors: the squared maximum mean discrepancy, without bias.

With the kernel (x·y / D + 1)³ of Bińkowski et al., *Demystifying MMD GANs*, 2018, where Inception's features make it
«KID»; here the features are whatever is passed in. Two samples of one distribution are at 0 on average, so that a value
may be negative. All pairs are compared, not subsets of them: same expectation, less noise, nothing drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.sets import two_sets

__all__ = ["kernel_distance"]

Float32 = NDArray[np.float32]
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
    features_ND, reference_MD = (x.astype(np.float32) for x in two_sets(features, reference, least=2))
    across = sum(_blocks(features_ND, reference_MD)) / (len(features_ND) * len(reference_MD))
    return _within(features_ND) + _within(reference_MD) - 2 * across


def _within(features_ND: Float32) -> float:
    """Mean of the kernel over pairs of different vectors."""
    num, size = features_ND.shape
    total = 0.0
    for start in range(0, num, _BLOCK):
        block_BD = features_ND[start : start + _BLOCK]
        themselves = _sum(np.square(block_BD).sum(axis=1), size)
        # Each pair with a later block counts twice: the kernel is symmetric.
        total += _sum(block_BD @ block_BD.T, size) - themselves
        total += 2 * sum(_blocks(block_BD, features_ND[start + _BLOCK :]))
    return float(total / (num * (num - 1)))


def _blocks(features_ND: Float32, reference_MD: Float32) -> Iterator[float]:
    """Sums of the kernel over all pairs, a block of rows at a time."""
    for start in range(0, len(features_ND), _BLOCK):
        yield _sum(features_ND[start : start + _BLOCK] @ reference_MD.T, features_ND.shape[1])


def _sum(products: Float32, size: int) -> float:
    """Sum of (product / D + 1)³."""
    shifted = products / np.float32(size) + np.float32(1)
    return float((shifted * shifted * shifted).sum(dtype=np.float64))  # several times as fast as a power
