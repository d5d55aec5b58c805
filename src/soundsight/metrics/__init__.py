"""Scores over arrays, never over a model: update with batches, compute once.

A component is a module with a class ``Metric``:

- ``Metric(num_labels)`` starts empty;
- ``inputs`` names the arrays that ``update`` takes, in its order and as its keywords: ``images`` (B, C, H, W) in
  [0, 1], ``labels`` (B,) int64, a judge's ``logits`` (B, L) and ``features`` (B, D);
- ``update(...)`` adds a batch; how the pictures are cut into batches, and their order, changes nothing;
- ``compute()`` returns the score as a float, or raises ``ValueError`` where there is nothing to score.

Comparisons of two whole sets are plain functions of ``features`` (N, D) and ``reference`` (M, D): ``frechet``,
``kernel``, ``neighbours``; ``sliced_wasserstein`` is one of pictures, (N, C, H, W) both.
"""
