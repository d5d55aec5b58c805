"""How well a score tells two kinds of things apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["auroc"]

Float64 = NDArray[np.float64]


def auroc(inliers: ArrayLike, outliers: ArrayLike) -> float:
    """Area under the ROC curve: how likely a random outlier scores above a random inlier; ties count half.

    Args:
        inliers: (N,) scores of what is known.
        outliers: (M,) scores of what is not; higher is stranger.

    Returns:
        0 to 1; 0.5 for a score that says nothing.

    Raises:
        ValueError: Nothing to compare, or scores that are not finite.

    Source:
        Mann & Whitney, 1947; Hanley & McNeil, *The Meaning and Use of the Area under a ROC Curve*, 1982.
    """
    inliers_N, outliers_M = (np.asarray(scores, np.float64) for scores in (inliers, outliers))
    if inliers_N.ndim != 1 or outliers_M.ndim != 1 or not inliers_N.size or not outliers_M.size:
        raise ValueError("scores must be (N,) and (M,), at least one of each")
    if not (np.isfinite(inliers_N).all() and np.isfinite(outliers_M).all()):
        raise ValueError("scores must be finite")
    ordered_N = np.sort(inliers_N)
    below_M = np.searchsorted(ordered_N, outliers_M, "left")
    not_above_M = np.searchsorted(ordered_N, outliers_M, "right")
    return float((below_M + not_above_M).mean() / (2 * len(ordered_N)))
