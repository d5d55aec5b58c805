"""Edge sketches of pictures: white lines on black where brightness changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["sketch"]

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def sketch(images_NCHW: UInt8) -> UInt8:
    """Length of the gradient by Sobel's operator, each picture's 99th percentile white.

    Args:
        images_NCHW: (N, 1 or 3, H, W).

    Returns:
        (N, 1, H, W); a picture of one colour is black.

    Source:
        Sobel & Feldman, *A 3x3 Isotropic Gradient Operator for Image Processing*, 1968.
    """
    out_NCHW = np.empty((len(images_NCHW), 1, *images_NCHW.shape[2:]), np.uint8)
    for image_CHW, (out_HW,) in zip(images_NCHW, out_NCHW, strict=True):
        grey_HW = image_CHW[0] if len(image_CHW) == 1 else np.einsum("chw,c->hw", image_CHW, _LUMA)
        length_HW = _gradient(np.asarray(grey_HW, np.float32))
        white = max(float(np.percentile(length_HW, 99)), 1.0)
        out_HW[:] = np.clip(255 * length_HW / white + 0.5, 0, 255)
    return out_NCHW


def _gradient(grey_HW: Float32) -> Float32:
    """Length of the gradient, the border repeated."""
    around = np.pad(grey_HW, 1, mode="edge")
    smooth_down = around[:-2] + 2 * around[1:-1] + around[2:]
    smooth_across = around[:, :-2] + 2 * around[:, 1:-1] + around[:, 2:]
    return np.hypot(smooth_down[:, 2:] - smooth_down[:, :-2], smooth_across[2:] - smooth_across[:-2])
