"""Cutting a recording of several utterances at its silences."""

from __future__ import annotations

import numpy as np

from soundsight.audio.activity import FRAME_S, frame_length, levels, runs, threshold
from soundsight.audio.clip import Clip

__all__ = ["split_at_silences"]

# Below the loudest frame of the recording, in dB; more than in trimming, as one utterance may be softer than the next.
_RANGE_DB = 46.0
_ABOVE_FLOOR_DB = 6.0
# Pauses inside a digit ("six", "eight") last up to 0.2 s, those between digits said one by one 0.3 s and more.
_BRIDGE_FRAMES = round(0.24 / FRAME_S)
# What is shorter, or much softer than the loudest, is a click, a breath or a bump.
_SHORTEST_FRAMES = round(0.08 / FRAME_S)
_SOFTEST_DB = 36.0
_MARGIN_FRAMES = round(0.1 / FRAME_S)


def split_at_silences(clip: Clip) -> list[Clip]:
    """Cut a recording of several utterances into one clip each.

    A pause of a quarter of a second or more separates two utterances. What is shorter than 0.1 s or 36 dB softer than
    the loudest utterance is left out.

    Returns:
        The utterances in their order, with up to 0.1 s around each, as views of the samples. A recording of one
        utterance, or of none that stands out, comes back as it is.
    """
    if len(clip.samples) == 0:
        return [clip]
    levels_db = levels(clip)
    first, end, active = runs(levels_db >= threshold(levels_db, _RANGE_DB, _ABOVE_FLOOR_DB), _BRIDGE_FRAMES)
    loudness_db = np.maximum.reduceat(levels_db, first)
    keep = (active >= _SHORTEST_FRAMES) & (loudness_db >= loudness_db.max() - _SOFTEST_DB)
    if keep.sum() < 2:
        return [clip]
    first, end = first[keep], end[keep]
    # The margin stops halfway to the neighbour, so that no sample is in two clips.
    middle = (end[:-1] + first[1:]) // 2
    starts = np.maximum(first - _MARGIN_FRAMES, np.concatenate([[0], middle]))
    ends = np.minimum(end + _MARGIN_FRAMES, np.concatenate([middle, [len(levels_db)]]))
    size = frame_length(clip.sample_rate_hz)
    return [Clip(clip.samples[a * size : b * size], clip.sample_rate_hz) for a, b in zip(starts, ends, strict=True)]
