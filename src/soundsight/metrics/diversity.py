"""How much the pictures of one label differ from each other: within-class pixel spread.

The standard deviation of each pixel over the pictures of a label, averaged over pixels, then over labels. Its yardstick
is the same number for real test pictures (0.156 for MNIST): a model that draws one picture per label scores 0. Noise
scores high, so that the number says something only beside the accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Metric", "Spread", "spread"]

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


class Spread:
    """Standard deviation of each element over the items of a label, averaged over elements, then over labels.

    Args:
        num_labels: Number of labels L.
        of: What the items are called where something is wrong with them.
    """

    def __init__(self, num_labels: int, of: str) -> None:
        self.counts_L = np.zeros(num_labels, np.int64)
        self._of = of
        # Means and sums of squared deviations, joined as batches come (Chan, Golub & LeVeque, 1983): squares summed
        # first and subtracted later would lose what is left of nearly equal items.
        self._mean_LX: Float64 | None = None
        self._squares_LX: Float64 | None = None

    def add(self, items_BX: NDArray[Any], labels: ArrayLike) -> None:
        """Add items (B, …) and their labels (B,), whole numbers from 0 to L - 1.

        Raises:
            ValueError: A wrong shape, a label out of range, or a size other than before.
        """
        labels_B, num_labels = np.asarray(labels), len(self.counts_L)
        if labels_B.shape != items_BX.shape[:1]:
            raise ValueError(f"labels must be (B,) for {self._of} (B, …), not {labels_B.shape}, {items_BX.shape}")
        if not len(labels_B):
            return
        if not np.issubdtype(labels_B.dtype, np.integer) or labels_B.min() < 0 or labels_B.max() >= num_labels:
            raise ValueError(f"labels must be whole numbers from 0 to {num_labels - 1}")
        if self._mean_LX is None or self._squares_LX is None:
            self._mean_LX = np.zeros((num_labels, *items_BX.shape[1:]))
            self._squares_LX = np.zeros_like(self._mean_LX)
        if items_BX.shape[1:] != self._mean_LX.shape[1:]:
            raise ValueError(f"{self._of} of {items_BX.shape[1:]} after {self._of} of {self._mean_LX.shape[1:]}")
        for label in np.unique(labels_B):
            self._join(self._mean_LX, self._squares_LX, label, items_BX[labels_B == label].astype(np.float64))

    def _join(self, mean_LX: Float64, squares_LX: Float64, label: int, items_BX: Float64) -> None:
        """Add items of one label."""
        before, new = int(self.counts_L[label]), len(items_BX)
        mean_X = items_BX.mean(axis=0)
        step_X = mean_X - mean_LX[label]
        squares_LX[label] += np.square(items_BX - mean_X).sum(axis=0)
        squares_LX[label] += np.square(step_X) * (before * new / (before + new))
        mean_LX[label] += step_X * (new / (before + new))
        self.counts_L[label] = before + new

    def compute(self) -> float:
        """The spread so far, over the labels with at least two items.

        Raises:
            ValueError: No label has two items.
        """
        several_L = self.counts_L >= 2
        if self._squares_LX is None or not several_L.any():
            raise ValueError(f"no label has two {self._of} to compare")
        squares_LX = self._squares_LX[several_L]
        counts_LX = self.counts_L[several_L].reshape(-1, *[1] * (squares_LX.ndim - 1))
        return float(np.sqrt(squares_LX / counts_LX).mean())


class Metric(Spread):
    """Within-class pixel spread: 0 for one picture per label, 0.5 where each pixel is black as often as white."""

    inputs = ("images", "labels")

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels, "pictures")

    def update(self, images: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch.

        Args:
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64, 0 to L - 1.

        Raises:
            ValueError: Wrong shape or range, or a size other than before.
        """
        images_BCHW = np.asarray(images)
        if images_BCHW.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W), not {images_BCHW.shape}")
        if images_BCHW.size and not (images_BCHW.min() >= 0 and images_BCHW.max() <= 1):
            raise ValueError(f"images must be in [0, 1], not {images_BCHW.min():.3g} to {images_BCHW.max():.3g}")
        self.add(images_BCHW, labels)
