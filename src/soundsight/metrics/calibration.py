"""Whether what is said with a confidence of 90 % is right nine times of ten, and how to get there."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["expected_calibration_error", "temperature"]

_TEMPERATURES = np.geomspace(0.02, 50, 400)


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


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """What to divide logits by, so that their softmax is as sure as it is right.

    Args:
        logits: (N, L), finite.
        labels: (N,) int, the right ones.

    Returns:
        0.02 to 50, to within 2 %.

    Raises:
        ValueError: Wrong shapes or values.

    Source:
        Guo, Pleiss, Sun & Weinberger, *On Calibration of Modern Neural Networks*, 2017, section 4.2: the temperature of
        the least negative log-likelihood. One item in N + 1 is taken to be labelled at random: else a hundred without a
        mistake would say that there never is one.
    """
    logits_NL, labels_N = np.asarray(logits, np.float64), np.asarray(labels)
    if logits_NL.ndim != 2 or not logits_NL.size or labels_N.shape != logits_NL.shape[:1]:
        raise ValueError("logits must be (N, L) and labels (N,), with N and L at least 1")
    if not np.isfinite(logits_NL).all():
        raise ValueError("logits must be finite")
    if labels_N.dtype.kind not in "iu" or not ((labels_N >= 0) & (labels_N < logits_NL.shape[1])).all():
        raise ValueError("labels must be columns of the logits")
    # By how much each label is behind the right one; the likelihood needs no more.
    behind_NL = logits_NL - np.take_along_axis(logits_NL, labels_N[:, None], axis=1)
    by_chance = behind_NL.mean() / (len(behind_NL) + 1)
    costs = [(np.logaddexp.reduce(behind_NL / t, axis=1).mean() - by_chance / t) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(costs))])
