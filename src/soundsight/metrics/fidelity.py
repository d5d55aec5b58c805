"""How near a picture is to the real one of its pair: one number for each picture, none of which is a judgement alone.

Every function takes pictures (B, C, H, W) in [0, 1] and the real ones of the same shape, and returns (B,) float64. What
a constant picture reaches differs from data set to data set: beside its baselines only does a score say something.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Window",
    "histogram_similarity",
    "ms_ssim",
    "mse",
    "psnr",
    "ssim",
    "structure",
    "two_pictures",
]

Float64 = NDArray[np.float64]
Window = Literal["gaussian", "uniform"]

MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, finest first."""
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def mse(images: ArrayLike, targets: ArrayLike) -> Float64:
    """Mean squared error, (B,) in [0, 1].

    >>> mse(np.zeros((1, 1, 2, 2)), np.full((1, 1, 2, 2), 0.5)).tolist()
    [0.25]
    """
    images_BCHW, targets_BCHW = two_pictures(images, targets)
    error_B: Float64 = np.square(images_BCHW - targets_BCHW).mean(axis=(1, 2, 3))
    return error_B


def psnr(images: ArrayLike, targets: ArrayLike) -> Float64:
    """Peak signal-to-noise ratio −10 log₁₀ MSE, (B,) in dB; infinite for equal pictures."""
    with np.errstate(divide="ignore"):
        ratio_B: Float64 = -10 * np.log10(mse(images, targets))
    return ratio_B


def ssim(
    images: ArrayLike, targets: ArrayLike, *, data_range: float = 1.0, size: int = 11, window: Window = "gaussian"
) -> Float64:
    """Structural similarity, averaged over channels and the windows that lie in the picture whole, (B,) in [-1, 1].

    Args:
        images: Pictures.
        targets: Real ones.
        data_range: What the constants 0.01 and 0.03 are shares of.
        size: Side of the window, odd, up to the picture's.
        window: ``gaussian`` with σ = 1.5, as published, or ``uniform``.

    Raises:
        ValueError: The shapes differ, or the window does not fit.

    Source:
        Wang, Bovik, Sheikh & Simoncelli, *Image Quality Assessment: From Error Visibility to Structural Similarity*,
        2004, equation 13.
    """
    pairs = zip(*two_pictures(images, targets), strict=True)
    return np.array([structure(x, y, data_range, size, window)[0].mean() for x, y in pairs], np.float64)


def ms_ssim(images: ArrayLike, targets: ArrayLike, *, size: int = 11) -> Float64:
    """Multi-scale structural similarity over as many of five scales as the picture has room for, (B,) in [0, 1].

    Where there are fewer, the weights of those that are left are divided by their sum. Negative structure counts as 0.

    Args:
        images: Pictures.
        targets: Real ones.
        size: Side of the Gaussian window.

    Raises:
        ValueError: The shapes differ, or the window does not fit.

    Source:
        Wang, Simoncelli & Bovik, *Multi-Scale Structural Similarity for Image Quality Assessment*, 2003, equation 7.
    """
    images_BCHW, targets_BCHW = two_pictures(images, targets)
    num = min(len(MS_WEIGHTS), 1 + int(math.log2(max(min(images_BCHW.shape[2:]) / size, 1))))
    return np.array([_scales(x, y, num, size) for x, y in zip(images_BCHW, targets_BCHW, strict=True)], np.float64)


def _scales(image_CHW: Float64, target_CHW: Float64, num: int, size: int) -> float:
    product_C = np.ones(len(image_CHW))
    for i in range(num):
        whole_CHW, contrast_CHW = structure(image_CHW, target_CHW, 1.0, size, "gaussian")
        of_scale_C = (whole_CHW if i == num - 1 else contrast_CHW).mean(axis=(1, 2))
        product_C *= np.maximum(of_scale_C, 0) ** (MS_WEIGHTS[i] / sum(MS_WEIGHTS[:num]))
        if i < num - 1:
            image_CHW, target_CHW = _half(image_CHW), _half(target_CHW)
    return float(product_C.mean())


def histogram_similarity(images: ArrayLike, targets: ArrayLike) -> Float64:
    """How alike the histograms of two pictures are, of values, of hues and of neighbours, (B,) in [0, 1].

    √((1 − v)(1 − h)) · (1 − r)(1 − d), where each letter is an earth mover's distance of two histograms as a share of
    the longest possible, averaged over channels: in one dimension ∫ |P − Q| of the cumulative histograms. v is of the
    values of each channel; h of the differences of each two channels in a pixel, which are 0 in grey; r and d of the
    absolute differences of a pixel and its neighbour to the right, and of a pixel and its neighbour below.

    Noise has every value, and a picture that is broad in values or colours is nearer to it than to a mean picture,
    however bins are drawn. But the neighbours in noise differ by a third of the range, those in a picture by a few
    hundredths: uniform noise, and the pixels of the real picture in random order, score below the mean picture. What is
    as smooth as a picture and as broad, such as noise in squares of several pixels, does pass.

    1 where all histograms are the same, wherever in the picture the values lie; 0 of black and white.

    Args:
        images: Pictures; they are counted in 256 levels.
        targets: Real ones.

    Raises:
        ValueError: The shapes differ.

    Source:
        Werman, Peleg & Rosenfeld, *A Distance Metric for Multidimensional Histograms*, 1985, for the distance; which
        histograms are compared, and the product, are ours.
    """
    found, wanted = (_histograms(np.rint(255 * x).astype(np.int64)) for x in two_pictures(images, targets))
    values, hues, right, below = (1 - _moved(p, q) for p, q in zip(found, wanted, strict=True))
    similarity_B: Float64 = np.sqrt(values * hues) * right * below
    return similarity_B


def two_pictures(images: ArrayLike, targets: ArrayLike) -> tuple[Float64, Float64]:
    """Both as float64 (B, C, H, W).

    Raises:
        ValueError: They are no pictures in [0, 1], or their shapes differ.
    """
    pair = np.asarray(images, np.float64), np.asarray(targets, np.float64)
    if pair[0].ndim != 4 or pair[0].shape != pair[1].shape:
        raise ValueError(f"pictures must be (B, C, H, W) and alike, not {pair[0].shape} and {pair[1].shape}")
    for pictures in pair:
        if pictures.size and not (pictures.min() >= 0 and pictures.max() <= 1):
            raise ValueError(f"pictures must be in [0, 1], not {pictures.min():.3g} to {pictures.max():.3g}")
    return pair


def structure(
    image_CHW: Float64, target_CHW: Float64, data_range: float, size: int, window: Window, *, ddof: int = 0
) -> tuple[Float64, Float64]:
    """SSIM of each window, and its part without brightness, each (C, H - size + 1, W - size + 1).

    Args:
        image_CHW: A picture.
        target_CHW: The real one.
        data_range: As for ``ssim``; the others, too.
        size: Side of the window.
        window: Its kind.
        ddof: 1 divides squares by the number of pixels less one, as scikit-image does by default.

    Raises:
        ValueError: The window does not fit the picture.
    """
    if size % 2 == 0 or not 1 <= size <= min(image_CHW.shape[1:]):
        raise ValueError(f"the window is an odd number of pixels up to the picture's side, not {size}")
    line_T = _line(size, window)
    products = image_CHW, target_CHW, image_CHW**2, target_CHW**2, image_CHW * target_CHW
    mean_x, mean_y, square_x, square_y, both = (_average(values, line_T) for values in products)
    unbiased = size**2 / (size**2 - ddof)
    variances = unbiased * (square_x - mean_x**2 + square_y - mean_y**2)
    covariance = unbiased * (both - mean_x * mean_y)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    contrast_CHW = (2 * covariance + c2) / (variances + c2)
    return contrast_CHW * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1), contrast_CHW


def _line(size: int, window: Window) -> Float64:
    """The window along one direction, (size,), of sum 1."""
    if window == "uniform":
        return np.full(size, 1 / size)
    line_T = np.exp(-0.5 * ((np.arange(size) - size // 2) / _SIGMA) ** 2)
    return np.asarray(line_T / line_T.sum())


def _average(values_CHW: Float64, line_T: Float64) -> Float64:
    """Weighted mean in every window that lies in the picture, one direction after the other."""
    size = len(line_T)
    height, width = (side - size + 1 for side in values_CHW.shape[1:])
    down = sum(line_T[i] * values_CHW[:, i : i + height] for i in range(size))
    average_CHW: Float64 = sum(line_T[i] * down[:, :, i : i + width] for i in range(size))
    return average_CHW


def _half(image_CHW: Float64) -> Float64:
    """Means of squares of four pixels; an odd last row or column is left out."""
    channels, height, width = image_CHW.shape
    even = image_CHW[:, : height // 2 * 2, : width // 2 * 2]
    half_CHW: Float64 = even.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return half_CHW


def _histograms(levels_BCHW: NDArray[np.int64]) -> tuple[Float64, ...]:
    """Cumulative histograms of values, of channels' and of neighbours' differences, (B, C, bins) each; 0 to 255."""
    return (
        _cumulative(levels_BCHW, 256),
        _cumulative(levels_BCHW - np.roll(levels_BCHW, 1, axis=1) + 255, 511),
        _cumulative(np.abs(np.diff(levels_BCHW, axis=3)), 256),
        _cumulative(np.abs(np.diff(levels_BCHW, axis=2)), 256),
    )


def _cumulative(bins_BCHW: NDArray[np.int64], num_bins: int) -> Float64:
    """Share of the values up to each bin, (B, C, bins)."""
    size, channels, height, width = bins_BCHW.shape
    rows = np.arange(size * channels).reshape(size, channels, 1, 1) * num_bins
    counts = np.bincount((bins_BCHW + rows).ravel(), minlength=size * channels * num_bins)
    shares: Float64 = counts.reshape(size, channels, num_bins).cumsum(axis=2) / max(1, height * width)
    return shares


def _moved(first: Float64, second: Float64) -> Float64:
    """Mean way from one histogram to the other, a share of the longest, (B,), of cumulative ones (B, C, bins)."""
    way_B: Float64 = np.abs(first - second).sum(axis=2).mean(axis=1) / (first.shape[2] - 1)
    return way_B
