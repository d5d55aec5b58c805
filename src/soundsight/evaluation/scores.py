"""Decisions of a judge to numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soundsight.evaluation.report import Group
from soundsight.metrics import accuracy

__all__ = ["by_label", "by_name", "clustered_error", "mean_over_recordings"]

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def mean_over_recordings(right_P: Bool, rows_P: Int64) -> float:
    """Accuracy of each recording, averaged: each counts once, however many pictures were drawn from it.

    Args:
        right_P: (P,) whether each picture was read as its label; P at least 1.
        rows_P: (P,) its recording.
    """
    _, recording_P = np.unique(rows_P, return_inverse=True)
    return float((np.bincount(recording_P, right_P) / np.bincount(recording_P)).mean())


def clustered_error(right_P: Bool, rows_P: Int64) -> float | None:
    """Standard error of an accuracy whose pictures share recordings.

    Pictures of one recording succeed or fail together; counted one by one, they would promise a precision that is not
    there. Linearised variance of a ratio over clusters (Cochran, *Sampling Techniques*, 1977, section 9.8).

    Args:
        right_P: (P,) whether each picture was read as its label.
        rows_P: (P,) its recording.

    Returns:
        The standard error; None where there is but one recording.
    """
    _, cluster_P = np.unique(rows_P, return_inverse=True)
    residual_C = np.bincount(cluster_P, right_P - right_P.mean())
    num_clusters = len(residual_C)
    if num_clusters < 2:
        return None
    variance = np.square(residual_C).sum() * num_clusters / (num_clusters - 1)
    return float(np.sqrt(variance) / len(right_P))


def by_label(labels: tuple[str, ...], confusion_LL: Int64) -> tuple[Group, ...]:
    """Accuracy of each label."""
    recall_L = accuracy.per_class(confusion_LL)
    counts_L = confusion_LL.sum(axis=1)
    return tuple(Group(*row) for row in zip(labels, recall_L.tolist(), counts_L.tolist(), strict=True))


def by_name(names_P: NDArray[np.str_], right_P: Bool) -> tuple[Group, ...]:
    """Accuracy of each name (of a speaker), sorted by name."""
    names, group_P, counts = np.unique(names_P, return_inverse=True, return_counts=True)
    right = np.bincount(group_P, right_P, len(names)) / counts
    return tuple(Group(*row) for row in zip(names.tolist(), right.tolist(), counts.tolist(), strict=True))
