"""Figure 8: how accuracy falls when elements of the latent are set to zero.

Żelaszczyk & Mańdziuk (2021): k of 64 latent elements, chosen at random, are set to 0, for k = 0 … 64. The paper shows
one curve; here the elements are drawn many times for each k, and the band holds nine tenths of the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsight import noise
from soundsight.evaluation.networks import Judge
from soundsight.models.layers import reparameterise

__all__ = ["Curve", "curve_of", "zeroing"]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy by number of zeroed elements.

    Attributes:
        num_zeroed: K values of k.
        mean: (K,) accuracy, mean over draws.
        low: (K,) 5th percentile over draws.
        high: (K,) 95th percentile.
        num_draws: Draws of elements for each k.
        num_pictures: Pictures in each draw.
    """

    num_zeroed: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    num_draws: int
    num_pictures: int


def curve_of(table: dict[str, Any]) -> Curve:
    """A curve from its JSON values.

    Raises:
        KeyError, TypeError, ValueError: It lacks something, or holds what is no accuracy.
    """
    curve = Curve(
        num_zeroed=tuple(int(k) for k in table["num_zeroed"]),
        **{name: tuple(float(value) for value in table[name]) for name in ("mean", "low", "high")},
        num_draws=int(table["num_draws"]),
        num_pictures=int(table["num_pictures"]),
    )
    for values in (curve.mean, curve.low, curve.high):
        if len(values) != len(curve.num_zeroed) or not all(0 <= value <= 1 for value in values):
            raise ValueError("a curve has an accuracy from 0 to 1 for each number of zeroed elements")
    return curve


def zeroing(
    module: Any,
    judge: Judge,
    features_RFN: Float32,
    labels_R: Int64,
    *,
    num_zeroed: Sequence[int],
    num_draws: int,
    seed: int,
    watch: Callable[[int, int], None] | None = None,
) -> Curve:
    """Measure the curve on one picture for each recording.

    Args:
        module: A system with ``encoder`` and ``decoder``, in evaluation mode: AIVAE or AIVAEGAN.
        judge: What reads the pictures.
        features_RFN: (R, F, N) features of test recordings.
        labels_R: (R,) what they say.
        num_zeroed: Values of k, each 0 to the size of the latent.
        num_draws: How often the elements are drawn for each k; each draw has its own noise too.
        seed: Of the elements and the noise.
        watch: Told how many values of k of how many are done.
    """
    size = module.latent_size
    assert all(0 <= k <= size for k in num_zeroed), f"k is 0 to {size}"
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 8])))
    noise_XD = noise.draw(seed, num_draws * len(labels_R), size).reshape(num_draws, len(labels_R), size)
    accuracy_KX = np.empty((len(num_zeroed), num_draws))
    with torch.inference_mode():
        mean_RD, log_variance_RD = module.encoder(torch.from_numpy(features_RFN))
        for row, k in enumerate(num_zeroed):
            for draw in range(num_draws):
                latent_RD = reparameterise(mean_RD, log_variance_RD, torch.from_numpy(noise_XD[draw]))
                latent_RD[:, torch.from_numpy(rng.permutation(size)[:k])] = 0
                accuracy_KX[row, draw] = (_read(module.decoder, judge, latent_RD) == labels_R).mean()
            if watch is not None:
                watch(row + 1, len(num_zeroed))
    low_K, high_K = np.percentile(accuracy_KX, [5, 95], axis=1)
    return Curve(
        num_zeroed=tuple(num_zeroed),
        mean=tuple(accuracy_KX.mean(axis=1).tolist()),
        low=tuple(low_K.tolist()),
        high=tuple(high_K.tolist()),
        num_draws=num_draws,
        num_pictures=len(labels_R),
    )


def _read(decoder: nn.Module, judge: Judge, latent_RD: Tensor) -> Int64:
    """What the judge reads in the pictures of latents (R, D), in 256 levels as they would be saved."""
    decisions = []
    for part_BD in torch.split(latent_RD, _BATCH):
        images_BCHW = torch.sigmoid(decoder(part_BD)).numpy()
        decisions.append(judge((images_BCHW * np.float32(255) + np.float32(0.5)).astype(np.uint8))[0].argmax(axis=1))
    return np.concatenate(decisions)
