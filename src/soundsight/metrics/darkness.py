"""Whether pictures are dark where the real ones of their pairs are, by more than chance.

How far a picture is in brightness where the real one is dark says little alone: uniform noise is darker than the mean
of bright scenes and comes nearer, and a black picture is never far. Counted together with what is dark and should not
be, noise, one grey and black all come to 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.fidelity import two_pictures

__all__ = ["DARK", "agreement", "dark_agreement", "pooled_kappa"]

Float64 = NDArray[np.float64]

DARK = 0.2
"""A pixel whose luma is lower is dark."""
_LUMA = (0.299, 0.587, 0.114)
# The weighted sum of three channels of 0.2 may be a hair less.
_HAIR = 1e-9


def dark_agreement(images: ArrayLike, targets: ArrayLike) -> float:
    """Pooled κ of the dark pixels of all pictures and of the real ones: (Σ o − Σ e) / (N − Σ e), in [-1, 1].

    Of each of N pictures o is the share of its pixels that are dark in both or in neither, and e the share that would
    be by chance, had its dark pixels, as many as they are, been scattered anyhow: p q + (1 − p)(1 − q), where p is the
    dark share of the real picture and q that of the picture. Dark is a luma (ITU-R BT.601) below 0.2.

    1 where the same pixels are dark. 0 for a picture of one value, black or grey or white, and on average for noise and
    for the real picture's own pixels in random order, as these do not know where it is dark. Below 0 where the wrong
    places are dark. Real pictures that are dark nowhere, or everywhere, can lower it and not raise it.

    Args:
        images: Pictures (N, C, H, W) in [0, 1].
        targets: The real ones.

    Returns:
        κ; NaN where no real picture has both dark pixels and others.

    Raises:
        ValueError: The shapes differ, or they are no pictures in [0, 1].

    Source:
        De Vries, Elliott, Kanouse & Teleki, *Using Pooled Kappa to Summarize Interrater Agreement across Many Items*,
        2008, of Cohen, *A Coefficient of Agreement for Nominal Scales*, 1960; what is compared is ours.

    >>> real = np.array([[[[0.0, 0.1, 0.6, 0.9]]]])
    >>> dark_agreement(real, real), dark_agreement(np.zeros_like(real), real)
    (1.0, 0.0)
    >>> dark_agreement(np.array([[[[0.0, 0.3, 0.6, 0.9]]]]), real)
    0.5
    """
    return pooled_kappa(agreement(images, targets))


def agreement(images: ArrayLike, targets: ArrayLike) -> Float64:
    """Of each picture o, e and p of ``dark_agreement``, (B, 3): whoever has many pictures can take them in batches."""
    made_BX, real_BX = (_luma(x).reshape(len(x), -1) < DARK - _HAIR for x in two_pictures(images, targets))
    real_B, made_B = real_BX.mean(axis=1), made_BX.mean(axis=1)
    by_chance_B = real_B * made_B + (1 - real_B) * (1 - made_B)
    return np.stack([(made_BX == real_BX).mean(axis=1), by_chance_B, real_B], axis=1)


def pooled_kappa(agreement_B3: Float64) -> float:
    """``dark_agreement`` of pictures whose ``agreement`` is known."""
    observed_B, by_chance_B, real_B = agreement_B3.T
    if not ((real_B > 0) & (real_B < 1)).any():
        return math.nan
    return float((observed_B - by_chance_B).sum() / (1 - by_chance_B).sum())


def _luma(images_BCHW: Float64) -> Float64:
    """Brightness as seen, (B, H, W): ITU-R BT.601 for three channels, the value itself for one."""
    if images_BCHW.shape[1] == 1:
        return images_BCHW[:, 0]
    luma_BHW: Float64 = np.einsum("bchw,c->bhw", images_BCHW, np.array(_LUMA))
    return luma_BHW
