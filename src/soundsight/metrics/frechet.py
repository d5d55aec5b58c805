"""Fréchet distance between two sets of feature vectors, each seen as a Gaussian.

‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½): Dowson & Landau, 1982; Heusel et al., 2017, with Inception's features as «FID».
Here the features are whatever is passed in, LeNet-5's in our reports: such numbers are not comparable with any FID.
It is biased: two samples of one distribution are not at distance 0. Its yardstick is the distance between real training
and real test pictures, as many of each as there are generated ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.sets import two_sets

__all__ = ["frechet_distance"]

Float64 = NDArray[np.float64]


def frechet_distance(features: ArrayLike, reference: ArrayLike) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets; symmetric, 0 for equal sets.

    Args:
        features: (N, D), N ≥ 2, any scale.
        reference: (M, D), M ≥ 2.

    Raises:
        ValueError: Wrong shapes, fewer than two vectors, or values that are not finite.

    >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])  # the means are 3 apart, the variances equal
    9.0
    """
    features_ND, reference_MD = two_sets(features, reference, least=2)
    step_D = features_ND.mean(axis=0) - reference_MD.mean(axis=0)
    covariance_DD, wanted_DD = _covariance(features_ND), _covariance(reference_MD)
    # Σ₁^½ Σ₂ Σ₁^½ has the eigenvalues of Σ₁Σ₂ and is symmetric: no complex roots, no failure on singular matrices.
    root_DD = _root(covariance_DD)
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root_DD @ wanted_DD @ root_DD), 0, None)).sum()
    distance = step_D @ step_D + np.trace(covariance_DD) + np.trace(wanted_DD) - 2 * shared
    return max(float(distance), 0.0)


def _covariance(features_ND: Float64) -> Float64:
    return np.atleast_2d(np.cov(features_ND, rowvar=False))


def _root(matrix_DD: Float64) -> Float64:
    """Square root of a symmetric matrix without negative eigenvalues but for rounding."""
    values_D, vectors_DD = np.linalg.eigh(matrix_DD)
    root_DD: Float64 = (vectors_DD * np.sqrt(np.clip(values_D, 0, None))) @ vectors_DD.T
    return root_DD
