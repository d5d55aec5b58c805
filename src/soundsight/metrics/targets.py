"""How near what an adapter says is to its target, and whether the nearest class prompt is the right one.

A part is (N, W), one vector for a sound, or (N, L, W), a vector for each token; cosines are taken of the W numbers and
averaged over tokens. Text embeddings of «an image of …» resemble each other: a constant reaches a cosine of 0.6 to
0.8, so that errors stand beside those of the mean target, and retrieval beside chance and beside what the embeddings
themselves tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.retrieval import cosines

__all__ = ["errors", "nearest_class_mean", "prompt_cosines"]

Float64 = NDArray[np.float64]


def errors(
    said: ArrayLike, wanted: ArrayLike, *, mse_weight: float = 0.3, cosine_weight: float = 0.7
) -> dict[str, float]:
    """Mean squared error, mean cosine and the combined loss of N sounds.

    Args:
        said: (N, W) or (N, L, W), any scale.
        wanted: Of the same shape.
        mse_weight: Of the squared error in the combined loss.
        cosine_weight: Of 1 − cosine in it. Both are the ones that the numbers of V2D's main model fit.

    Returns:
        ``mse`` ≥ 0; ``cosine`` in [-1, 1], 1 is best; ``combined`` ≥ 0.

    Raises:
        ValueError: Wrong shapes, nothing to score, values that are not finite, or a vector of length 0.

    >>> errors([[1.0, 0.0]], [[0.0, 2.0]], mse_weight=1, cosine_weight=1)
    {'mse': 2.5, 'cosine': 0.0, 'combined': 3.5}
    """
    said_NLW, wanted_NLW = _part(said, "said"), _part(wanted, "wanted")
    if said_NLW.shape != wanted_NLW.shape:
        raise ValueError(f"said and wanted must be of one shape, not {said_NLW.shape} and {wanted_NLW.shape}")
    mse = float(np.square(said_NLW - wanted_NLW).mean())
    cosine = float((_unit(said_NLW) * _unit(wanted_NLW)).sum(axis=2).mean())
    return {"mse": mse, "cosine": cosine, "combined": mse_weight * mse + cosine_weight * (1 - cosine)}


def prompt_cosines(said: ArrayLike, prompts: ArrayLike) -> Float64:
    """The cosine of what each of N sounds says with each of C class prompts: (N, C) in [-1, 1].

    Args:
        said: (N, W) or (N, L, W).
        prompts: (C, W) or (C, L, W).

    Raises:
        ValueError: As for ``errors``.
    """
    said_NLW, prompts_CLW = _part(said, "said"), _part(prompts, "prompts")
    if said_NLW.shape[1:] != prompts_CLW.shape[1:]:
        raise ValueError(f"said {said_NLW.shape} and prompts {prompts_CLW.shape} differ in more than their number")
    near_NC: Float64 = np.tensordot(_unit(said_NLW), _unit(prompts_CLW), axes=((1, 2), (1, 2))) / said_NLW.shape[1]
    return near_NC


def nearest_class_mean(train: ArrayLike, train_labels: ArrayLike, test: ArrayLike, num_labels: int) -> Float64:
    """What embeddings tell without an adapter: the cosine of each test item with each class's mean, (N, C).

    Embeddings are brought to mean 0 and deviation 1, as they are in training.

    Args:
        train: (M, D).
        train_labels: (M,) whole numbers from 0 to C − 1; each at least once.
        test: (N, D).
        num_labels: C.

    Raises:
        ValueError: Wrong shapes, values that are not finite, or a class without a training item.
    """
    train_MD, test_ND = np.asarray(train, np.float64), np.asarray(test, np.float64)
    labels_M = np.asarray(train_labels)
    if missing := sorted(set(range(num_labels)) - set(labels_M.tolist())):
        raise ValueError(f"class {missing[0]} has no training item")
    mean_D, deviation_D = train_MD.mean(axis=0), train_MD.std(axis=0)
    deviation_D[deviation_D == 0] = 1
    train_MD, test_ND = (train_MD - mean_D) / deviation_D, (test_ND - mean_D) / deviation_D
    means_CD = np.stack([train_MD[labels_M == label].mean(axis=0) for label in range(num_labels)])
    return cosines(test_ND, means_CD)


def _part(part: ArrayLike, what: str) -> Float64:
    """A part as (N, L, W) float64, L being 1 where it has no tokens."""
    part_NLW = np.asarray(part, np.float64)
    if part_NLW.ndim == 2:
        part_NLW = part_NLW[:, None]
    if part_NLW.ndim != 3 or 0 in part_NLW.shape:
        raise ValueError(f"{what} must be (N, W) or (N, L, W) with something in it, not {np.shape(part)}")
    if not np.isfinite(part_NLW).all():
        raise ValueError(f"{what} must be finite")
    return part_NLW


def _unit(part_NLW: Float64) -> Float64:
    length_NL1 = np.linalg.norm(part_NLW, axis=2, keepdims=True)
    if not length_NL1.all():
        raise ValueError("a vector of length 0 has no direction")
    return np.asarray(part_NLW / length_NL1)
