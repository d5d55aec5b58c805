"""Latent noise from a seed: an input like the sound, the same in PyTorch and ONNX, whatever the batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_SEED", "draw"]

MAX_SEED = 2**64 - 1
# Philox makes so many raw numbers at once.
_BLOCK = 4


def draw(seed: int, num_images: int, latent_size: int, *, first: int = 0) -> NDArray[np.float32]:
    """Standard normal noise.

    Row i depends on the seed and i alone: asking for more pictures leaves the first ones as they are. The normals are
    made here from Philox' raw numbers (Box and Muller, 1958), because NumPy promises to keep that stream between its
    releases, and not the one of ``standard_normal``.

    Args:
        seed: 0 to 2**64 - 1.
        num_images: Number of rows.
        latent_size: Number of columns D.
        first: The row to begin with.

    Returns:
        (num_images, D) float32, rows ``first`` to ``first + num_images - 1``.

    Raises:
        ValueError: The seed is out of range.

    >>> bool((draw(7, 4, 16)[:2] == draw(7, 2, 16)).all())
    True
    >>> bool((draw(7, 4, 16)[2:] == draw(7, 2, 16, first=2)).all())
    True
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"a seed is a whole number from 0 to 2**64 - 1, not {seed}")
    pairs = (latent_size + 1) // 2
    blocks, begun = divmod(first * pairs * 2, _BLOCK)
    stream = np.random.Philox(key=seed).advance(blocks)
    raw = stream.random_raw(begun + num_images * pairs * 2)[begun:].reshape(num_images, pairs, 2)
    uniform = ((raw >> np.uint64(11)) + 0.5) * 2.0**-53  # 53 random bits, never 0 or 1
    radius, angle = np.sqrt(-2 * np.log(uniform[..., 0])), 2 * np.pi * uniform[..., 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return normal.reshape(num_images, pairs * 2)[:, :latent_size].astype(np.float32)
