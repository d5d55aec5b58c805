"""Two sets of feature vectors, checked: what every comparison of sets starts from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["two_sets", "vectors"]

Float64 = NDArray[np.float64]


def two_sets(features: ArrayLike, reference: ArrayLike, *, least: int) -> tuple[Float64, Float64]:
    """Both sets as float64, (N, D) and (M, D).

    Raises:
        ValueError: Wrong shapes, fewer than ``least`` vectors, or values that are not finite.
    """
    reference_MD = vectors(reference, "reference", least=least)
    return vectors(features, "features", least=least, size=reference_MD.shape[1]), reference_MD


def vectors(array: ArrayLike, name: str, *, least: int, size: int | None = None) -> Float64:
    """A set as float64, (N, D).

    Args:
        array: (N, D).
        name: What to call it where it is wrong.
        least: Fewest vectors.
        size: D, where it is known.

    Raises:
        ValueError: A wrong shape, fewer than ``least`` vectors, or values that are not finite.
    """
    vectors_ND = np.asarray(array, np.float64)
    if vectors_ND.ndim != 2 or not vectors_ND.shape[1]:
        raise ValueError(f"{name} must be (N, D), not {vectors_ND.shape}")
    if size is not None and vectors_ND.shape[1] != size:
        raise ValueError(f"{name} of size {vectors_ND.shape[1]} cannot be compared with a reference of {size}")
    if len(vectors_ND) < least:
        raise ValueError(f"{name} must hold at least {least} vectors, not {len(vectors_ND)}")
    if not np.isfinite(vectors_ND).all():
        raise ValueError(f"{name} must be finite")
    return vectors_ND
