"""The waveform itself, for networks that learn what to listen for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import Clip, split_evenly
from soundsight.features import options

__all__ = ["SILENCE", "Config", "extract", "prepare", "split"]

Float32 = NDArray[np.float32]

SILENCE = 0.0
"""What a sample holds where nothing is heard."""


@dataclass(frozen=True, slots=True)
class Config:
    """Options of the waveform.

    Attributes:
        sample_rate_hz: Rate the clips must have.
        duration_s: How much of a clip is heard.
    """

    sample_rate_hz: int = 16_000
    duration_s: float = 1.0

    def __post_init__(self) -> None:
        options.check_whole(self, "sample_rate_hz")
        options.check_positive(self, "duration_s")


def prepare(clip: Clip) -> Clip:
    """A recording as it is."""
    return clip


def split(clip: Clip, config: Config) -> list[Clip]:
    """The moments of a long recording, one after the other."""
    return split_evenly(clip, config.duration_s)


def extract(clips: Sequence[Clip], config: Config) -> Float32:
    """The middle ``duration_s`` of each clip; one that is shorter lies in the middle of zeros.

    Args:
        clips: B clips at ``config.sample_rate_hz``.
        config: Options.

    Returns:
        (B, 1, T) float32, nominally in [-1, 1].
    """
    assert all(clip.sample_rate_hz == config.sample_rate_hz for clip in clips), "resample before extracting"
    num = max(1, round(config.duration_s * config.sample_rate_hz))
    out_B1T = np.zeros((len(clips), 1, num), np.float32)
    for clip, (out_T,) in zip(clips, out_B1T, strict=True):
        start = (len(clip.samples) - num) // 2
        part_T = clip.samples[max(0, start) :][:num]
        first = max(0, -start)
        out_T[first : first + len(part_T)] = part_T
    return out_B1T
