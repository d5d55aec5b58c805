"""Between several sounds: shares that sum to one, and ways from one noise to another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import SoundsightError

__all__ = ["shares_of", "turn"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def shares_of(weights: Sequence[float], num: int) -> Float64:
    """Weights divided by their sum.

    Raises:
        SoundsightError: They are no weights of this many sounds.
    """
    try:
        shares = np.asarray(weights, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise SoundsightError(f"weights are numbers, one for each sound; got {weights!r:.60}") from None
    if num < 2 or shares.shape != (num,):
        raise SoundsightError(f"a mixture needs two sounds or more, and a weight for each; got {num} and {shares.size}")
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.max() <= 0:
        raise SoundsightError(f"weights are 0 or more, and one above 0; got {', '.join(map(str, weights))}")
    shares = shares / shares.max()  # or the sum of large weights would be infinite
    divided: Float64 = shares / shares.sum()
    return divided


def turn(first_D: Float32, second_D: Float32, place: float) -> Float32:
    """From one vector to another along the arc between them, its length changing evenly; ``place`` from 0 to 1."""
    lengths = float(np.linalg.norm(first_D)), float(np.linalg.norm(second_D))
    cosine = float(np.dot(first_D, second_D)) / max(lengths[0] * lengths[1], 1e-30)
    angle = float(np.arccos(np.clip(cosine, -1, 1)))
    if min(lengths) == 0 or np.sin(angle) < 1e-3:  # no direction, or one line: there is no arc
        shares = (1 - place, place)
    else:
        length = (1 - place) * lengths[0] + place * lengths[1]
        sines = np.sin((1 - place) * angle), np.sin(place * angle)
        shares = tuple(length * sine / (np.sin(angle) * own) for sine, own in zip(sines, lengths, strict=True))
    turned_D: Float32 = (shares[0] * first_D + shares[1] * second_D).astype(np.float32)
    return turned_D
