"""Cutting a recording of a place into moments of one length."""

from __future__ import annotations

from itertools import pairwise

from soundsight.audio.clip import Clip

__all__ = ["split_evenly"]


def split_evenly(clip: Clip, length_s: float) -> list[Clip]:
    """Cut a recording into as many equal parts as it has room for.

    Args:
        clip: Any recording.
        length_s: What each part has at least; a shorter recording comes back as it is.

    Returns:
        The parts in their order, as views of the samples; all samples are in one of them.

    >>> import numpy as np
    >>> [len(part.samples) for part in split_evenly(Clip(np.zeros(25, np.float32), 10), 1.0)]
    [12, 13]
    """
    num = max(1, int(clip.duration_s / length_s + 1e-9))
    ends = [len(clip.samples) * i // num for i in range(num + 1)]
    return [Clip(clip.samples[a:b], clip.sample_rate_hz) for a, b in pairwise(ends)]
