"""Long steps along the straight paths of a flow, learned from its own shorter ones.

A network that is told the length of the step is trained to go where two steps of half the length go (Frans, Hafner,
Levine & Abbeel, *One Step Diffusion via Shortcut Models*, 2024, equations 4 and 5).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["LENGTHS", "draw", "target", "told"]

LENGTHS = {1: 1, 1 / 2: 2, 1 / 4: 6, 1 / 8: 4, 1 / 16: 2, 1 / 32: 1}
"""Lengths of the steps that are trained, and how often: four steps are what is used. Half the shortest is the flow."""


def draw(num: int) -> tuple[Tensor, Tensor]:
    """Times at which steps begin and their lengths 2^−k, (num,) each.

    Every other begins at a multiple of its length, as in use with 4 or 8 steps; the others anywhere, as with 3 or 5.
    """
    lengths_K, shares_K = torch.tensor(list(LENGTHS)), torch.tensor(list(LENGTHS.values())).float()
    length_B = lengths_K[torch.multinomial(shares_K, num, replacement=True)]
    along_B = torch.rand(num)
    regular_B = length_B * (1 + torch.floor(along_B / length_B))
    anywhere_B = length_B + (1 - length_B) * along_B
    return torch.where(torch.arange(num) % 2 == 0, regular_B, anywhere_B), length_B


def told(length_S: Tensor) -> Tensor:
    """For each step (S,) the longest that was trained and is no longer; 0, the flow itself, below all of them."""
    lengths_K1 = torch.tensor(list(LENGTHS), device=length_S.device)[:, None]
    return (lengths_K1 * (lengths_K1 <= length_S + 1e-6)).amax(dim=0)


@torch.no_grad()
def target(
    teach: Callable[[Tensor, Tensor, Tensor], Tensor],
    mixed_BCHW: Tensor,
    time_B: Tensor,
    length_B: Tensor,
    limit: float = 1.0,
) -> Tensor:
    """What to answer for steps of a length: the mean of the answers along two half as long, (B, C, H, W).

    A step of any length goes straight towards a weighted mean of pictures, which is kept within their range: else what
    the teacher gets wrong would be learned, and taught in turn, without bound.

    Args:
        teach: Mixture (B, C, H, W), time and length of the step (B,) to the velocity (B, C, H, W).
        mixed_BCHW: Where the steps begin.
        time_B: When they do, in (0, 1].
        length_B: How long they are, of ``LENGTHS``.
        limit: Greatest absolute value of a picture.
    """
    half_B = length_B / 2
    # The shortest are the flow's own.
    told_B = torch.where(length_B > 1.5 * min(LENGTHS), half_B, torch.zeros_like(half_B))

    def velocity(mixed_BCHW: Tensor, time_B: Tensor) -> Tensor:
        time_B111 = time_B[:, None, None, None]
        picture_BCHW = mixed_BCHW - time_B111 * teach(mixed_BCHW, time_B, told_B)
        return (mixed_BCHW - picture_BCHW.clamp(-limit, limit)) / time_B111

    first_BCHW = velocity(mixed_BCHW, time_B)
    there_BCHW = mixed_BCHW - half_B[:, None, None, None] * first_BCHW
    return 0.5 * (first_BCHW + velocity(there_BCHW, time_B - half_B))
