"""Sounds of any length as the same number of tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["resample"]


def resample(tokens_BLD: Tensor, num_patches: int) -> Tensor:
    """Tokens (B, L, D) as (B, num_patches, D), from a sound's start to its end.

    Patch i is the mean of the tokens from ⌊i L / n⌋ to ⌈(i + 1) L / n⌉: all are heard, those of a short sound more than
    once, and n tokens stay as they are, to the bit.
    """
    if tokens_BLD.shape[1] == num_patches:
        return tokens_BLD
    return functional.adaptive_avg_pool1d(tokens_BLD.transpose(1, 2), num_patches).transpose(1, 2)
