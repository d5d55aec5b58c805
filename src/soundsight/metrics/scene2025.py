"""Two scores as Vuruma, *Generating Images from Audio*, 2025, computed them: for its published column alone.

Both see pictures in [-1, 1]. SSIM is scikit-image's with its defaults and the range of values of the *generated*
picture in place of the possible one, so that a dull picture is judged more sharply than a bright one. HSS correlates
histograms over [0, 256): every value from 0 up lies in the first bin, those below in none, and any picture passes.

How SSIM was computed is not printed; this reading gives the numbers that were measured for the mean frame of a clip
(0.442) and for the nearest training frame (0.144) when the last quarter of each clip tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.fidelity import structure, two_pictures

__all__ = ["hss", "ssim_of_made_range"]

Float64 = NDArray[np.float64]
_SIZE = 7
_BINS = 256


def ssim_of_made_range(images: ArrayLike, targets: ArrayLike) -> Float64:
    """SSIM in an even window of 7, squares divided by one less, the generated picture's own range, (B,) in [-1, 1].

    Args:
        images: Generated pictures (B, C, H, W) in [0, 1].
        targets: Real ones.

    Raises:
        ValueError: The shapes differ, or a picture is smaller than the window.
    """
    scores = []
    for image_CHW, target_CHW in zip(*two_pictures(images, targets), strict=True):
        made, real = 2 * image_CHW - 1, 2 * target_CHW - 1
        # A picture of one value has no range; any other stands for it, as the limit is what a tiny one gives.
        own = max(float(made.max() - made.min()), 1e-6)
        scores.append(structure(made, real, own, _SIZE, "uniform", ddof=1)[0].mean())
    return np.array(scores, np.float64)


def hss(images: ArrayLike, targets: ArrayLike) -> Float64:
    """Correlation of the histograms of pictures in [-1, 1] over 256 bins of [0, 256), the mean over channels, (B,).

    Args:
        images: Generated pictures (B, C, H, W) in [0, 1].
        targets: Real ones.

    Raises:
        ValueError: The shapes differ.
    """
    images_BCHW, targets_BCHW = two_pictures(images, targets)
    scores = [
        np.mean([_correlation(_counts(made), _counts(real)) for made, real in zip(image_CHW, target_CHW, strict=True)])
        for image_CHW, target_CHW in zip(2 * images_BCHW - 1, 2 * targets_BCHW - 1, strict=True)
    ]
    return np.array(scores, np.float64)


def _counts(values_HW: Float64) -> Float64:
    return np.histogram(values_HW, bins=_BINS, range=(0, _BINS))[0].astype(np.float64)


def _correlation(first: Float64, second: Float64) -> float:
    first, second = first - first.mean(), second - second.mean()
    length = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / length) if length > 0 else 1.0
