"""Where in a recording something is said: runs of frames that stand out of the pauses.

Shared by trimming and by cutting at silences. Constants were chosen on the Free Spoken Digit Dataset, bare and between
half-seconds of the noises of Speech Commands at 20, 15 and 10 dB, so that what is cut away is noise and not the weak
end of a word: where noise and speech cannot be told apart, all is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soundsight.audio.clip import Clip, Float32

__all__ = ["FRAME_S", "frame_length", "levels", "runs", "threshold"]

FRAME_S = 0.01
_EMPHASIS = np.float32(0.5)
# Samples handled at once: a recording of hours needs no second copy of itself.
_BLOCK_SAMPLES = 1 << 18

# A noise floor is believed in if, for a quarter of a second, nothing is louder; if nothing anywhere is much quieter
# (noise fills every pause, the fade of a word does not); and if speech stands well out of it.
_FLOOR_FRAMES = 25
_FLOOR_SPREAD_DB = 7.0
_FLOOR_BELOW_PEAK_DB = 10.0


def frame_length(sample_rate_hz: int) -> int:
    """Samples per frame."""
    return max(1, round(sample_rate_hz * FRAME_S))


def levels(clip: Clip) -> Float32:
    """Level of each frame of 10 ms.

    Slight pre-emphasis keeps hum and rumble from hiding the weak consonants; a median over three frames removes clicks.

    Returns:
        (N,) float32 in dB; the last frame may be partly filled. N is at least 1.
    """
    size = frame_length(clip.sample_rate_hz)
    samples = clip.samples
    power = np.empty(-(-len(samples) // size), np.float32)
    step = max(1, _BLOCK_SAMPLES // size)
    for first in range(0, len(power), step):
        start, end = first * size, min((first + step) * size, len(samples))
        block = samples[start:end].copy()
        # The sample before the block; the very first one has itself, so that an offset makes no click.
        block[1:] -= _EMPHASIS * samples[start : end - 1]
        block[0] -= _EMPHASIS * samples[max(start - 1, 0)]
        whole = len(block) // size
        frames = block[: whole * size].reshape(whole, size)
        power[first : first + whole] = np.einsum("nt,nt->n", frames, frames) / size
        if whole * size < len(block):
            rest = block[whole * size :]
            power[first + whole] = np.dot(rest, rest) / len(rest)
    return _median3(10 * np.log10(np.maximum(power, np.float32(1e-20))))


def threshold(levels_db: Float32, range_db: float, above_floor_db: float) -> float:
    """Level above which a frame counts as said.

    Returns:
        In dB, ``range_db`` below the loudest frame or ``above_floor_db`` above steady noise, whichever is more.
    """
    peak_db = float(levels_db.max())
    limit_db = peak_db - range_db
    if len(levels_db) < _FLOOR_FRAMES:
        return limit_db
    floor_db = float(np.lib.stride_tricks.sliding_window_view(levels_db, _FLOOR_FRAMES).max(axis=1).min())
    is_noise = floor_db - _percentile(levels_db, 2) < _FLOOR_SPREAD_DB
    if is_noise and floor_db < peak_db - _FLOOR_BELOW_PEAK_DB:
        limit_db = max(limit_db, floor_db + above_floor_db)
    return limit_db


def _percentile(values_N: Float32, percent: float) -> float:
    """As ``numpy.percentile``, which first loads masked arrays: a twentieth of a cold start."""
    place = percent / 100 * (len(values_N) - 1)
    return float(np.interp(place, np.arange(len(values_N)), np.sort(values_N)))


def runs(active: NDArray[np.bool_], bridge: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Runs of active frames, pauses of up to ``bridge`` frames included.

    Args:
        active: (N,) which frames are active; at least one.
        bridge: The longest pause inside a run.

    Returns:
        For each run: its first frame, the frame after its last, and how many of its frames are active.

    >>> first, end, count = runs(np.array([0, 1, 0, 1, 0, 0, 1], bool), bridge=1)
    >>> first.tolist(), end.tolist(), count.tolist()
    ([1, 6], [4, 7], [2, 1])
    """
    index = np.flatnonzero(active)
    cuts = np.flatnonzero(np.diff(index) > bridge + 1)
    starts = np.concatenate([[0], cuts + 1])
    ends = np.concatenate([cuts, [len(index) - 1]])
    return index[starts], index[ends] + 1, ends - starts + 1


def _median3(values: Float32) -> Float32:
    if len(values) < 3:
        return values
    padded = np.concatenate([values[:1], values, values[-1:]])
    low, mid, high = padded[:-2], padded[1:-1], padded[2:]
    median: Float32 = np.maximum(np.minimum(low, mid), np.minimum(np.maximum(low, mid), high))
    return median
