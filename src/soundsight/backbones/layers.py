"""Several sounds in one picture, one after the other, and how loud they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, SoundsightError

__all__ = ["Turn", "guidance_of_level", "mix"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Another sound takes over while the picture is made.

    Attributes:
        conditioning: What it says.
        after: The share of the steps that belong to the first sound, 0 to 1. What comes early decides where things
            are, what comes late how they look.
    """

    conditioning: Conditioning
    after: float

    def __post_init__(self) -> None:
        if not 0 <= self.after <= 1:
            raise SoundsightError(f"the share of the first sound is {self.after!r}; expected a number from 0 to 1")


def mix(conditionings: Sequence[Conditioning], weights: Sequence[float]) -> Conditioning:
    """Σ wᵢ·cᵢ / Σ wᵢ, part by part: several sounds at once. Shorter rows of tokens are filled up with zeros.

    Args:
        conditionings: One or more, which say the same parts, of the same widths.
        weights: As many, each above 0.

    Raises:
        SoundsightError: A weight is not above 0, or their number is another.
        ModelError: They say different parts.
    """
    if not conditionings or len(weights) != len(conditionings):
        raise SoundsightError(f"a mixture needs a weight for each sound; got {len(conditionings)} and {len(weights)}")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise SoundsightError(f"weights are above 0; got {', '.join(f'{weight:g}' for weight in weights)}")
    shares = [weight / max(weights) for weight in weights]  # or the sum of large ones would be infinite
    shares = [share / sum(shares) for share in shares]
    names = set(conditionings[0].parts)
    mixed: dict[str, torch.Tensor] = {}
    for name in conditionings[0].parts:
        parts = [each.parts[name] for each in conditionings if set(each.parts) == names]
        if len(parts) < len(conditionings) or len({(len(part), part.shape[-1]) for part in parts}) > 1:
            told = "; ".join(", ".join(f"{n} {tuple(p.shape)}" for n, p in c.parts.items()) for c in conditionings)
            raise ModelError(f"sounds that say different things cannot be mixed: {told:.200}; use one adapter for all")
        if name != "pooled":
            longest = max(part.shape[1] for part in parts)
            parts = [pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
        mixed[name] = torch.stack([share * part for share, part in zip(shares, parts, strict=True)]).sum(dim=0)
    return Conditioning(**mixed)


def guidance_of_level(
    level_db: float,
    *,
    weakest: float = 2.0,
    strongest: float = 10.0,
    quiet_db: float = -60.0,
    loud_db: float = -10.0,
) -> float:
    """How strongly a picture follows a sound, by how loud the sound is: weakest + (strongest - weakest) · loudness.

    Loudness is 2^((level - loud) / 10): ten decibels more are heard as twice as loud (Stevens, *The measurement of
    loudness*, 1955). It is shifted so that a sound at ``quiet_db`` has 0 of it, and one at ``loud_db`` 1. That guidance
    should follow loudness is our choice; nobody has measured it.

    Args:
        level_db: RMS of the clip in dB of full scale; minus infinity is silence.
        weakest: Guidance of whatever is not louder than ``quiet_db``.
        strongest: Guidance of whatever is not quieter than ``loud_db``.
        quiet_db: Level of a sound that is hardly there.
        loud_db: Level of a loud one.

    Returns:
        A guidance weight from ``weakest`` to ``strongest``; it never falls as the level rises.

    Raises:
        SoundsightError: The level is NaN, or the bounds are not in order.

    >>> [round(guidance_of_level(level_db), 1) for level_db in (-90, -30, -20, -10, 0)]
    [2.0, 3.8, 5.9, 10.0, 10.0]
    """
    if math.isnan(level_db):
        raise SoundsightError("the level of the sound is NaN; expected dB of full scale")
    if not (0 <= weakest <= strongest < math.inf and -math.inf < quiet_db < loud_db < math.inf):
        raise SoundsightError(
            f"guidance from {weakest:g} to {strongest:g} over {quiet_db:g} to {loud_db:g} dB; expected rising bounds"
        )
    least = 2 ** ((quiet_db - loud_db) / 10)
    loudness = (2 ** ((min(level_db, loud_db) - loud_db) / 10) - least) / (1 - least)
    return weakest + (strongest - weakest) * max(0.0, loudness)
