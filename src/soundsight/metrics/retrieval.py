"""Retrieval: is what belongs to a query among the first k that it finds? R@k.

Ties count against the model: one embedding for everything finds nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsight.metrics.sets import two_sets

__all__ = ["chance", "cosines", "recall_at"]

Float64 = NDArray[np.float64]


def cosines(queries: ArrayLike, items: ArrayLike) -> Float64:
    """Cosine of the angle between each query (Q, D) and each item (N, D): (Q, N) in [-1, 1].

    Raises:
        ValueError: Wrong shapes, values that are not finite, or a vector of length 0, which has no direction.
    """
    queries_QD, items_ND = two_sets(queries, items, least=1)
    lengths = [np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (queries_QD, items_ND)]
    if not all(length.all() for length in lengths):
        raise ValueError("a vector of length 0 has no direction")
    similarity_QN: Float64 = (queries_QD / lengths[0]) @ (items_ND / lengths[1]).T
    return similarity_QN.clip(-1, 1)


def recall_at(similarity: ArrayLike, relevant: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """Share of the queries that find something relevant among their first k items.

    Args:
        similarity: (Q, N), higher is nearer.
        relevant: (Q, N) bool, at least one item for each query.
        ks: How far to look, each at least 1.

    Returns:
        R@k for each k, 0 to 1.

    Raises:
        ValueError: Wrong shapes, a k below 1, values that are not finite, or a query without anything relevant.

    >>> recall_at([[0.9, 0.5, 0.1], [0.2, 0.7, 0.3]], [[True, False, False], [True, False, False]], ks=(1, 3))
    {1: 0.5, 3: 1.0}
    """
    similarity_QN, relevant_QN = np.asarray(similarity, np.float64), np.asarray(relevant)
    if similarity_QN.ndim != 2 or not similarity_QN.size or similarity_QN.shape != relevant_QN.shape:
        raise ValueError(f"similarity and relevant must be (Q, N), not {similarity_QN.shape} and {relevant_QN.shape}")
    if relevant_QN.dtype != np.bool_ or not relevant_QN.any(axis=1).all():
        raise ValueError("each query needs something relevant: (Q, N) bool with a True in each row")
    if not np.isfinite(similarity_QN).all() or min(ks) < 1:
        raise ValueError("similarities must be finite, and each k at least 1")
    best_Q1 = np.where(relevant_QN, similarity_QN, -np.inf).max(axis=1, keepdims=True)
    before_Q = (~relevant_QN & (similarity_QN >= best_Q1)).sum(axis=1)
    return {k: float((before_Q < k).mean()) for k in ks}


def chance(relevant: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """R@k of items in random order, exactly: 1 − C(N − r, k) / C(N, k), averaged over queries with r relevant of N.

    In whole numbers and rounded once, so that who finds as much as chance does has the very same score.
    """
    relevant_QN = np.asarray(relevant, bool)
    num_queries, num_items = relevant_QN.shape
    counts = Counter(relevant_QN.sum(axis=1).tolist())
    found = {}
    for k in ks:
        ways = math.comb(num_items, min(k, num_items))
        hits = sum(num * (ways - math.comb(num_items - r, min(k, num_items))) for r, num in counts.items())
        found[k] = hits / (ways * num_queries)
    return found
