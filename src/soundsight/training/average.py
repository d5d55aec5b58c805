"""Exponential moving average of a module's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["Average"]


class Average:
    """A smoothed copy of a module: ``average ← decay·average + (1 − decay)·weights`` after every step.

    The decay rises from 0.1 as (1 + t) / (10 + t), so that the first steps are forgotten quickly. Buffers (batch-norm
    statistics) are copied, being averages already. Source: Polyak & Juditsky, 1992; the ramp is TensorFlow's.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after step ``step`` (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)
        for ours, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            ours.copy_(theirs)
