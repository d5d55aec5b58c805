"""How weights are changed: Adam as a recipe has it, for every trainer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from soundsight.config import Optimizer

__all__ = ["adam", "learning_rate"]


def adam(parameters: list[nn.Parameter], options: Optimizer) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay, its update fused into one pass over the weights.

    Biases and the gains of norms do not decay: they are scales, not weights of many inputs.
    """
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if options.weight_decay:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, weight_decay=options.weight_decay, fused=True)


def learning_rate(options: Optimizer, step: int, num_steps: int) -> float:
    """The rate at a step, counted from 0: rising over the warm-up, and falling to 0 where the schedule is a cosine."""
    rising = min(1.0, (step + 1) / (options.warmup_steps + 1))
    falling = 0.5 * (1 + math.cos(math.pi * step / num_steps)) if options.schedule == "cosine" else 1.0
    return options.lr * rising * falling
