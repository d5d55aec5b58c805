"""Share of pictures that a judge reads as what they should show, with its confusion matrix.

Equal to ``sklearn.metrics.accuracy_score`` and ``confusion_matrix`` over the judge's decisions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Metric", "accuracy", "confusion_matrix", "per_class"]

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


def confusion_matrix(labels: ArrayLike, decisions: ArrayLike, num_labels: int) -> Int64:
    """Count how often each label was read as each.

    Args:
        labels: (B,) whole numbers from 0, what the pictures should show.
        decisions: (B,) whole numbers from 0, what they were read as.
        num_labels: Number of labels L.

    Returns:
        (L, L) int64; row the label, column the decision.

    Raises:
        ValueError: Different lengths, or a number outside 0 to L - 1.

    >>> confusion_matrix([0, 1, 1], [0, 1, 0], 2).tolist()
    [[1, 0], [1, 1]]
    """
    labels_B, decisions_B = _whole(labels, num_labels, "labels"), _whole(decisions, num_labels, "decisions")
    if len(labels_B) != len(decisions_B):
        raise ValueError(f"{len(labels_B)} labels, but {len(decisions_B)} decisions")
    counts = np.bincount(labels_B * num_labels + decisions_B, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels).astype(np.int64, copy=False)


def accuracy(confusion_LL: Int64) -> float:
    """Share of all decisions that are right, 0 to 1.

    Raises:
        ValueError: The matrix counts nothing.
    """
    total = int(confusion_LL.sum())
    if total == 0:
        raise ValueError("no pictures to score")
    return int(np.trace(confusion_LL)) / total


def per_class(confusion_LL: Int64) -> Float64:
    """Share of right decisions for each label (recall), (L,) float64; NaN for a label that did not occur."""
    total_L = confusion_LL.sum(axis=1)
    right_L = np.diagonal(confusion_LL).astype(np.float64)
    recall_L = np.full(len(total_L), np.nan)
    np.divide(right_L, total_L, out=recall_L, where=total_L > 0)
    return recall_L


class Metric:
    """Accuracy of a judge's decisions, 0 to 1; chance is 1 / L for balanced labels."""

    inputs = ("logits", "labels")

    def __init__(self, num_labels: int) -> None:
        self.num_labels = num_labels
        self.confusion_LL: Int64 = np.zeros((num_labels, num_labels), np.int64)

    def update(self, logits: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch.

        Args:
            logits: (B, L), any scale; the largest is the decision.
            labels: (B,) int64, 0 to L - 1.

        Raises:
            ValueError: Wrong shape, a label out of range, or logits that are not numbers.
        """
        logits_BL = np.asarray(logits)
        if logits_BL.ndim != 2 or logits_BL.shape[1] != self.num_labels:
            raise ValueError(f"logits must be (B, {self.num_labels}), not {logits_BL.shape}")
        if np.isnan(logits_BL).any():
            raise ValueError("the judge's logits hold NaN")
        self.confusion_LL += confusion_matrix(labels, logits_BL.argmax(axis=1), self.num_labels)

    def compute(self) -> float:
        """The accuracy so far.

        Raises:
            ValueError: No batch was added.
        """
        return accuracy(self.confusion_LL)


def _whole(numbers: ArrayLike, num_labels: int, what: str) -> Int64:
    array = np.asarray(numbers)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{what} must be (B,) whole numbers, not {array.dtype} of shape {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < num_labels):
        raise ValueError(f"{what} must be 0 to {num_labels - 1}, not {array.min()} to {array.max()}")
    return array.astype(np.int64)
