"""Sliced Wasserstein distance of two sets of pictures, by patches at every scale: features that no network has learned.

Karras, Aila, Laine & Lehtinen, *Progressive Growing of GANs for Improved Quality, Stability, and Variation*, 2018,
section 5: patches of 7 by 7 pixels, 128 of each picture, from each level of a Laplacian pyramid (Burt & Adelson, *The
Laplacian Pyramid as a Compact Image Code*, 1983) down to 16 by 16; each set's patches of a level are normalised to mean
0 and variance 1 in each channel; both are projected on 512 random directions of length 1, and the distance is the mean
absolute difference of the sorted projections. The paper prints it times 1000, and of 16,384 pictures.

It is biased: two samples of one distribution are not at distance 0, the less so the fewer they are. Its yardstick is
the distance of as many real training pictures. What normalising takes away, brightness and contrast, it does not see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Reference", "laplacian_pyramid", "sliced_wasserstein"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PATCH, PER_PICTURE, DIRECTIONS, LEAST = 7, 128, 512, 16
"""Side of a patch, patches of a picture and level, directions, side of the coarsest level."""
_TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16
# Below it a channel is flat but for rounding: pictures of 256 levels that differ in a single pixel are far above.
_FLAT = 1e-6
_BATCH, _BLOCK = 16, 128


class Reference:
    """Real pictures, ready to be compared with several sets.

    Where patches lie, and the directions, are drawn once and are the same for all sets: equal sets are at distance 0.

    Args:
        reference: (N, C, H, W), N at least 1, H and W at least 7; in [0, 1], or uint8.
        rng: Source of the draws.

    Raises:
        ValueError: A wrong shape or range.
    """

    def __init__(self, reference: ArrayLike, rng: np.random.Generator) -> None:
        pictures_NCHW = _pictures(reference)
        self._shape = num, channels, *_ = pictures_NCHW.shape
        self._sides = _sides(*pictures_NCHW.shape[2:])
        self._corners = [
            tuple(rng.integers(side - PATCH + 1, size=(num, PER_PICTURE)) for side in sides) for sides in self._sides
        ]
        self._directions = [_directions(channels * PATCH**2, rng) for _ in self._sides]
        self._patches = self._patches_of(pictures_NCHW)

    def compare(self, images: ArrayLike) -> Float64:
        """Distance of as many other pictures at each level of the pyramid, (L,), finest first; symmetric, from 0 up.

        Raises:
            ValueError: A wrong range, or another shape than the reference's.
        """
        pictures_NCHW = _pictures(images)
        if pictures_NCHW.shape != self._shape:
            raise ValueError(f"pictures must be {self._shape} as the reference, not {pictures_NCHW.shape}")
        levels = zip(self._patches_of(pictures_NCHW), self._patches, self._directions, strict=True)
        return np.array([_distance(*level) for level in levels], np.float64)

    def _patches_of(self, pictures_NCHW: NDArray[np.generic]) -> list[Float32]:
        """Normalised patches of each level, (N · 128, C · 49)."""
        found: list[list[Float32]] = [[] for _ in self._sides]
        for start in range(0, len(pictures_NCHW), _BATCH):
            batch_BCHW = pictures_NCHW[start : start + _BATCH]
            # Normalised below: whether in 256 levels or in [0, 1] is all the same.
            pyramid = laplacian_pyramid(batch_BCHW.astype(np.float32), len(self._sides))
            for level_BCHW, corners, patches in zip(pyramid, self._corners, found, strict=True):
                patches.append(_cut(level_BCHW, *(places[start : start + _BATCH] for places in corners)))
        return [_normalised(np.concatenate(patches)) for patches in found]


def sliced_wasserstein(images: ArrayLike, reference: ArrayLike, rng: np.random.Generator) -> Float64:
    """Compare two sets of as many pictures; see ``Reference``.

    Args:
        images: (N, C, H, W), N at least 1, H and W at least 7; in [0, 1], or uint8.
        reference: Of the same shape.
        rng: Source of places and directions.

    Returns:
        (L,) float64, from 0 up: the distance at each level, finest first; their mean is the paper's average over 1000.

    Raises:
        ValueError: A wrong or another shape, or a wrong range.
    """
    return Reference(reference, rng).compare(images)


def laplacian_pyramid(images_BCHW: Float32, num_levels: int) -> list[Float32]:
    """What each halving of a picture loses, finest first, and last the picture that is left.

    Filtered by [1, 4, 6, 4, 1] / 16 either way, mirrored at the borders.

    Args:
        images_BCHW: Pictures (B, C, H, W).
        num_levels: At least 1; each level has half the side of the one before it, rounded up.
    """
    levels = [images_BCHW]
    for _ in range(num_levels - 1):
        fine_BCHW = levels[-1]
        coarse_BCHW = _filtered(fine_BCHW, step=2)
        spread_BCHW = np.zeros_like(fine_BCHW)
        spread_BCHW[:, :, ::2, ::2] = 4 * coarse_BCHW
        levels[-1:] = [fine_BCHW - _filtered(spread_BCHW), coarse_BCHW]
    return levels


def _sides(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each level: halved, rounded up, while both are at least 16."""
    sides = [(height, width)]
    while min(half := ((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2)) >= LEAST:
        sides.append(half)
    return sides


def _filtered(images_BCHW: Float32, step: int = 1) -> Float32:
    """Smoothed, every ``step``-th row and column."""
    for axis in (2, 3):
        around = [(2, 2) if i == axis else (0, 0) for i in range(4)]
        turned = np.pad(images_BCHW, around, mode="reflect").swapaxes(axis, 3)
        size = images_BCHW.shape[axis]
        images_BCHW = sum(tap * turned[..., i : i + size : step] for i, tap in enumerate(_TAPS)).swapaxes(axis, 3)
    return images_BCHW


def _cut(level_BCHW: Float32, top_BP: Int64, left_BP: Int64) -> Float32:
    """Patches (B · P, C, 7, 7) whose upper left corners are given."""
    windows = np.lib.stride_tricks.sliding_window_view(level_BCHW, (PATCH, PATCH), axis=(2, 3))
    patches_BPC77: Float32 = windows[np.arange(len(level_BCHW))[:, None], :, top_BP, left_BP]
    return patches_BPC77.reshape(-1, *patches_BPC77.shape[2:])


def _normalised(patches_PC77: Float32) -> Float32:
    """Patches (P, C · 49) of mean 0 and variance 1 in each channel; a channel that is flat is 0."""
    centred = patches_PC77 - patches_PC77.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    spread = np.sqrt(np.square(centred).mean(axis=(0, 2, 3), keepdims=True))
    normal = np.where(spread > _FLAT, centred / np.maximum(spread, _FLAT), 0)
    return normal.reshape(len(normal), -1).astype(np.float32)


def _directions(size: int, rng: np.random.Generator) -> Float32:
    """(512, size) of length 1, any way alike."""
    directions_KD = rng.standard_normal((DIRECTIONS, size))
    unit_KD: Float32 = (directions_KD / np.linalg.norm(directions_KD, axis=1, keepdims=True)).astype(np.float32)
    return unit_KD


def _distance(first_PD: Float32, second_PD: Float32, directions_KD: Float32) -> float:
    """Mean over directions of the Wasserstein distance of projections: of as many values, that of the sorted ones."""
    apart: list[Float32] = []
    for start in range(0, len(directions_KD), _BLOCK):
        block_KD = directions_KD[start : start + _BLOCK]
        first_KP, second_KP = (np.sort(block_KD @ patches_PD.T, axis=1) for patches_PD in (first_PD, second_PD))
        apart.append(np.abs(first_KP - second_KP).mean(axis=1))
    return float(np.concatenate(apart).mean(dtype=np.float64))


def _pictures(array: ArrayLike) -> NDArray[np.generic]:
    pictures_NCHW = np.asarray(array)
    if pictures_NCHW.ndim != 4 or not pictures_NCHW.size or min(pictures_NCHW.shape[2:]) < PATCH:
        raise ValueError(f"pictures must be (N, C, H, W), each side at least {PATCH}, not {pictures_NCHW.shape}")
    if pictures_NCHW.dtype != np.uint8 and not (pictures_NCHW.min() >= 0 and pictures_NCHW.max() <= 1):
        raise ValueError(f"pictures must be in [0, 1], not {pictures_NCHW.min():.3g} to {pictures_NCHW.max():.3g}")
    return pictures_NCHW
