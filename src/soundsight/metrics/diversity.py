"""How much the pictures of one label differ from each other: within-class pixel spread.

The standard deviation of each pixel over the pictures of a label, averaged over pixels, then over labels. Its yardstick
is the same number for real test pictures (0.156 for MNIST): a model that draws one picture per label scores 0. Noise
scores high, so that the number says something only beside the accuracy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Metric", "spread"]

Float64 = NDArray[np.float64]


def spread(images: ArrayLike, labels: ArrayLike) -> float:
    """Within-class pixel spread of one batch; see ``Metric``.

    >>> spread(np.array([0.0, 1.0, 0.5, 0.5]).reshape(4, 1, 1, 1), [0, 0, 1, 1])
    0.25
    """
    labels_B = np.asarray(labels)
    metric = Metric(int(labels_B.max()) + 1 if labels_B.size else 1)
    metric.update(images, labels_B)
    return metric.compute()


class Metric:
    """Within-class pixel spread: 0 for one picture per label, 0.5 where each pixel is black as often as white."""

    inputs = ("images", "labels")

    def __init__(self, num_labels: int) -> None:
        self.counts_L = np.zeros(num_labels, np.int64)
        # Means and sums of squared deviations, joined as batches come (Chan, Golub & LeVeque, 1983): squares summed
        # first and subtracted later would lose what is left of nearly equal pictures.
        self._mean_LCHW: Float64 | None = None
        self._squares_LCHW: Float64 | None = None

    def update(self, images: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch.

        Args:
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64, 0 to L - 1.

        Raises:
            ValueError: Wrong shape or range, or a size other than before.
        """
        images_BCHW, labels_B = np.asarray(images), np.asarray(labels)
        num_labels = len(self.counts_L)
        if images_BCHW.ndim != 4 or labels_B.shape != images_BCHW.shape[:1]:
            raise ValueError(f"images must be (B, C, H, W) and labels (B,), not {images_BCHW.shape}, {labels_B.shape}")
        if not len(labels_B):
            return
        if not (images_BCHW.min() >= 0 and images_BCHW.max() <= 1):
            raise ValueError(f"images must be in [0, 1], not {images_BCHW.min():.3g} to {images_BCHW.max():.3g}")
        if not np.issubdtype(labels_B.dtype, np.integer) or labels_B.min() < 0 or labels_B.max() >= num_labels:
            raise ValueError(f"labels must be whole numbers from 0 to {num_labels - 1}")
        if self._mean_LCHW is None or self._squares_LCHW is None:
            self._mean_LCHW = np.zeros((num_labels, *images_BCHW.shape[1:]))
            self._squares_LCHW = np.zeros_like(self._mean_LCHW)
        if images_BCHW.shape[1:] != self._mean_LCHW.shape[1:]:
            raise ValueError(f"images of {images_BCHW.shape[1:]} after images of {self._mean_LCHW.shape[1:]}")
        for label in np.unique(labels_B):
            self._join(self._mean_LCHW, self._squares_LCHW, label, images_BCHW[labels_B == label].astype(np.float64))

    def _join(self, mean_LCHW: Float64, squares_LCHW: Float64, label: int, images_BCHW: Float64) -> None:
        """Add pictures of one label."""
        before, new = int(self.counts_L[label]), len(images_BCHW)
        mean_CHW = images_BCHW.mean(axis=0)
        step_CHW = mean_CHW - mean_LCHW[label]
        squares_LCHW[label] += np.square(images_BCHW - mean_CHW).sum(axis=0)
        squares_LCHW[label] += np.square(step_CHW) * (before * new / (before + new))
        mean_LCHW[label] += step_CHW * (new / (before + new))
        self.counts_L[label] = before + new

    def compute(self) -> float:
        """The spread so far, over the labels with at least two pictures.

        Raises:
            ValueError: No label has two pictures.
        """
        several_L = self.counts_L >= 2
        if self._squares_LCHW is None or not several_L.any():
            raise ValueError("no label has two pictures to compare")
        counts_L111 = self.counts_L[several_L][:, None, None, None]
        return float(np.sqrt(self._squares_LCHW[several_L] / counts_L111).mean())
