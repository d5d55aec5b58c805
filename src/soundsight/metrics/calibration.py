"""Whether what is said with a confidence of 90 % is right nine times of ten."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["expected_calibration_error"]


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, num_bins: int = 15) -> float:
    """Mean difference between confidence and accuracy over bins of equal width, weighted by their size.

    Args:
        confidence: (N,) in [0, 1].
        right: (N,) bool.
        num_bins: 15 is usual.

    Returns:
        0 to 1; 0 for perfect calibration, up to what chance leaves in a bin.

    Raises:
        ValueError: Wrong shapes or values.

    Source:
        Guo, Pleiss, Sun & Weinberger, *On Calibration of Modern Neural Networks*, 2017, equation 3.
    """
    confidence_N, right_N = np.asarray(confidence, np.float64), np.asarray(right)
    if confidence_N.ndim != 1 or not confidence_N.size or confidence_N.shape != right_N.shape or num_bins < 1:
        raise ValueError("confidence and right must be (N,), with N and the number of bins at least 1")
    if right_N.dtype != np.bool_ or not ((confidence_N >= 0) & (confidence_N <= 1)).all():
        raise ValueError("confidence must be in [0, 1], and right of bools")
    # Bins are open below and closed above, as in the source.
    bin_N = np.clip(np.ceil(confidence_N * num_bins).astype(int) - 1, 0, num_bins - 1)
    gap_K = np.bincount(bin_N, confidence_N - right_N, num_bins)
    return float(np.abs(gap_K).sum() / len(confidence_N))
