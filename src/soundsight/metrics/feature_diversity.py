"""How much the pictures of one label differ from each other to a judge: within-class spread of its features.

The standard deviation of each feature over the pictures of a label, averaged over features, then over labels: as
``diversity``, but in what the judge sees (LeNet-5's 84 features before its last layer), where a shifted stroke counts
little and another way of writing a 7 counts much. Its yardstick is the same number for real test pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from soundsight.metrics.diversity import Spread

__all__ = ["Metric"]


class Metric(Spread):
    """Within-class feature spread: 0 for one picture per label; no upper bound."""

    inputs = ("features", "labels")

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels, "features")

    def update(self, features: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch.

        Args:
            features: (B, D), any scale.
            labels: (B,) int64, 0 to L - 1.

        Raises:
            ValueError: Wrong shape, values that are not finite, or a size other than before.
        """
        features_BD = np.asarray(features)
        if features_BD.ndim != 2:
            raise ValueError(f"features must be (B, D), not {features_BD.shape}")
        if not np.isfinite(features_BD).all():
            raise ValueError("features must be finite")
        self.add(features_BD, labels)
