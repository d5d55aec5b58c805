"""Structural similarity of pictures as an objective, differentiable; its score over arrays is ``metrics.ssim``.

Wang, Bovik, Sheikh & Simoncelli, *Image Quality Assessment: From Error Visibility to Structural Similarity*, 2004,
equation 13; Wang, Simoncelli & Bovik, *Multi-Scale Structural Similarity for Image Quality Assessment*, 2003, equation
7.

Means, variances and the covariance are taken in a Gaussian window of σ = 1.5 and 11 pixels, as published, or an even
one; only windows that lie in the picture whole count. Constants are K₁ = 0.01 and K₂ = 0.03 of the range.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["MS_WEIGHTS", "Window", "ms_ssim", "ssim", "structure"]

Window = Literal["gaussian", "uniform"]
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, finest first (Wang et al., 2003, section 3.2)."""
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def ssim(
    image_BCHW: Tensor, target_BCHW: Tensor, data_range: float = 1.0, size: int = 11, window: Window = "gaussian"
) -> Tensor:
    """1 − SSIM, averaged over pictures, channels and windows.

    SSIM = (2 μₓμᵧ + C₁)(2 σₓᵧ + C₂) / ((μₓ² + μᵧ² + C₁)(σₓ² + σᵧ² + C₂)), Cᵢ = (Kᵢ · range)².

    Args:
        image_BCHW: Generated pictures, (B, C, H, W).
        target_BCHW: Real ones of the same shape.
        data_range: Largest less smallest possible value: 1 for [0, 1], 2 for [-1, 1].
        size: Side of the window, odd; no larger than the picture.
        window: ``gaussian`` with σ = 1.5, or ``uniform``.

    Returns:
        A scalar in [0, 2]; 0 for equal pictures.

    Raises:
        ValueError: The window does not fit the picture.
    """
    return 1 - structure(image_BCHW, target_BCHW, data_range, size, window)[0].mean()


def ms_ssim(image_BCHW: Tensor, target_BCHW: Tensor, data_range: float = 1.0, size: int = 11) -> Tensor:
    """1 − MS-SSIM over as many of the five published scales as the picture has room for, averaged over pictures.

    MS-SSIM = l_M^(w_M) Πⱼ (cs)ⱼ^(wⱼ), l = (2 μₓμᵧ + C₁) / (μₓ² + μᵧ² + C₁), cs = (2 σₓᵧ + C₂) / (σₓ² + σᵧ² + C₂):
    contrast and structure of every scale, the brightness of the coarsest alone, each to the power of its weight; where
    there are fewer scales, the weights of those that are left are divided by their sum. Negative structure counts as 0,
    as a power of it is no number.

    Args:
        image_BCHW: Generated pictures, (B, C, H, W).
        target_BCHW: Real ones of the same shape.
        data_range: As for ``ssim``.
        size: As for ``ssim``.

    Returns:
        A scalar in [0, 1]; 0 for equal pictures.

    Raises:
        ValueError: The window does not fit the picture.
    """
    side = min(image_BCHW.shape[-2:])
    num = min(len(MS_WEIGHTS), 1 + int(math.log2(max(side / size, 1))))
    weights = [weight / sum(MS_WEIGHTS[:num]) for weight in MS_WEIGHTS[:num]]
    product_BC = torch.ones((), device=image_BCHW.device)
    for i, weight in enumerate(weights):
        whole_BCHW, contrast_BCHW = structure(image_BCHW, target_BCHW, data_range, size, "gaussian")
        of_scale_BCHW = whole_BCHW if i == num - 1 else contrast_BCHW
        # A power below 1 has no finite slope at 0.
        product_BC = product_BC * of_scale_BCHW.mean(dim=(2, 3)).clamp(min=1e-6) ** weight
        if i < num - 1:
            image_BCHW, target_BCHW = (functional.avg_pool2d(x.float(), 2) for x in (image_BCHW, target_BCHW))
    return 1 - product_BC.mean()


def structure(
    image_BCHW: Tensor, target_BCHW: Tensor, data_range: float, size: int, window: Window
) -> tuple[Tensor, Tensor]:
    """SSIM of each window, and its part without brightness, each (B, C, H - size + 1, W - size + 1) in [-1, 1].

    Raises:
        ValueError: The window does not fit the picture, or the shapes differ.
    """
    if image_BCHW.shape != target_BCHW.shape:
        raise ValueError(f"pictures of {tuple(image_BCHW.shape)} cannot be compared with {tuple(target_BCHW.shape)}")
    if size % 2 == 0 or not 1 <= size <= min(image_BCHW.shape[-2:]):
        raise ValueError(f"the window is an odd number of pixels up to the picture's side, not {size}")
    channels = image_BCHW.shape[1]
    line_T = _line(size, window).to(image_BCHW.device)

    def average(values_BCHW: Tensor) -> Tensor:
        # One direction after the other: 2 size products a pixel where a square window needs size².
        across = functional.conv2d(values_BCHW, line_T.expand(channels, 1, 1, size), groups=channels)
        return functional.conv2d(across, line_T.view(1, 1, size, 1).expand(channels, 1, size, 1), groups=channels)

    # Half precision would lose what is left of two nearly equal squares.
    with torch.autocast(image_BCHW.device.type, enabled=False):
        x, y = image_BCHW.float(), target_BCHW.float()
        mean_x, mean_y = average(x), average(y)
        variance_x, variance_y = average(x * x) - mean_x**2, average(y * y) - mean_y**2
        covariance = average(x * y) - mean_x * mean_y
        c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
        contrast_BCHW = (2 * covariance + c2) / (variance_x + variance_y + c2)
        brightness_BCHW = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        return brightness_BCHW * contrast_BCHW, contrast_BCHW


def _line(size: int, window: Window) -> Tensor:
    """The window along one direction, (size,), of sum 1."""
    if window == "uniform":
        return torch.full((size,), 1 / size)
    places_T = torch.arange(size, dtype=torch.float32) - size // 2
    line_T = torch.exp(-0.5 * (places_T / _SIGMA) ** 2)
    return line_T / line_T.sum()
