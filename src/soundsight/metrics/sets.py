"""Two sets of feature vectors, checked: what every comparison of sets starts from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["two_sets"]

Float64 = NDArray[np.float64]


def two_sets(features: ArrayLike, reference: ArrayLike, *, least: int) -> tuple[Float64, Float64]:
    """Both sets as float64, (N, D) and (M, D).

    Raises:
        ValueError: Wrong shapes, fewer than ``least`` vectors, or values that are not finite.
    """
    sets = np.asarray(features, np.float64), np.asarray(reference, np.float64)
    for name, array in zip(("features", "reference"), sets, strict=True):
        if array.ndim != 2 or not array.shape[1]:
            raise ValueError(f"{name} must be (N, D), not {array.shape}")
        if len(array) < least:
            raise ValueError(f"{name} must hold at least {least} vectors, not {len(array)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
    if sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(
            f"features of size {sets[0].shape[1]} cannot be compared with a reference of {sets[1].shape[1]}"
        )
    return sets
