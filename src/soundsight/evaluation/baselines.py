"""Pictures that need no model: what a score is worth is what it adds to these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["images_of_labels", "mean_image", "nearest"]

UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

# Rows compared at once: distances to 60,000 images are then 60 MB.
_BLOCK = 256


def mean_image(images_NCHW: UInt8) -> UInt8:
    """The mean of all images, (C, H, W) uint8: the best constant answer in squared error."""
    mean_CHW: UInt8 = np.rint(images_NCHW.mean(axis=0)).astype(np.uint8)
    return mean_CHW


def nearest(queries: Float32, items: Float32) -> Int64:
    """For each query the item at the smallest Euclidean distance; the first of equals.

    Args:
        queries: (Q, …).
        items: (R, …), at least one.

    Returns:
        (Q,) int64 rows of ``items``.
    """
    assert len(items) > 0, "nothing to choose from"
    queries_QD = queries.reshape(len(queries), -1)
    items_RD = items.reshape(len(items), -1)
    # |q - i|² without |q|², which is the same for all items.
    squares_R = np.square(items_RD).sum(axis=1)
    rows = [
        (squares_R - 2 * queries_QD[start : start + _BLOCK] @ items_RD.T).argmin(axis=1)
        for start in range(0, len(queries_QD), _BLOCK)
    ]
    return np.concatenate(rows) if rows else np.empty(0, np.int64)


def images_of_labels(labels: Int64, image_labels: Int64, rng: np.random.Generator) -> Int64:
    """For each label a random image of it, drawn with replacement.

    Args:
        labels: (P,).
        image_labels: (N,), in which each of ``labels`` occurs.
        rng: Source of the draws.

    Returns:
        (P,) int64 rows of the images.
    """
    rows_P = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        here = labels == label
        rows_P[here] = rng.choice(np.flatnonzero(image_labels == label), int(here.sum()))
    return rows_P
