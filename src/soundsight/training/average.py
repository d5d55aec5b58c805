"""Exponential moving average of a module's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Average"]

_STATISTICS = ("running_mean", "running_var")


class Average:
    """A smoothed copy of a module: ``average ← decay·average + (1 − decay)·weights`` after every step.

    The decay rises from 0.1 as (1 + t) / (10 + t), so that the first steps are forgotten quickly. The statistics of
    batch norm are smoothed as the weights are: they belong together, and the latest would be those of later weights.
    Other buffers are copied. Source: Polyak & Juditsky, 1992; the ramp is TensorFlow's.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after step ``step`` (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        smoothed, latest = (
            [*each.parameters(), *(buffer for name, buffer in each.named_buffers() if name.endswith(_STATISTICS))]
            for each in (self.module, module)
        )
        torch._foreach_lerp_(smoothed, latest, 1 - decay)
        for ours, theirs in zip(_others(self.module), _others(module), strict=True):
            ours.copy_(theirs)


def _others(module: nn.Module) -> Iterable[Tensor]:
    return (buffer for name, buffer in module.named_buffers() if not name.endswith(_STATISTICS))
