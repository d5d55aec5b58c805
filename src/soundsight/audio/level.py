"""What every front end gets: no offset, no silence at the ends, one loudness."""

from __future__ import annotations

import numpy as np

from soundsight.audio.activity import frame_length, levels, runs, threshold
from soundsight.audio.clip import Clip, Float32, check_duration
from soundsight.errors import AudioError

__all__ = ["SILENCE_PEAK", "TARGET_RMS", "condition"]

# -20 dB of full scale: the peaks of speech, 4 to 6 times its RMS, still fit.
TARGET_RMS = 0.1
# -80 dB of full scale, three steps of 16 bits: below that are dither and rounding, not a sound.
SILENCE_PEAK = 1e-4

# Below the loudest frame, in dB: the weakest consonants of the digits lie about 30 below the vowel.
_RANGE_DB = 35.0
_ABOVE_FLOOR_DB = 2.0
# The stop in "eight" and "six" lasts up to 0.15 s; what is farther away and shorter than 60 ms is a click or a bump.
_BRIDGE_FRAMES = 15
_SHORTEST_FRAMES = 6
_MARGIN_FRAMES = 2


def condition(clip: Clip) -> Clip:
    """Remove the constant offset, trim silence and steady noise at both ends, bring to one level.

    The result does not depend on the gain of the recording. It keeps 20 ms around what is said.

    Returns:
        A clip with an RMS of 0.1, or less where the peak would leave [-1, 1].

    Raises:
        AudioError: The clip is silent, or too short to be a sound.
    """
    check_duration(len(clip.samples), clip.sample_rate_hz, float("inf"), "the sound")
    samples = clip.samples - _mean(clip.samples)
    if not _peak(samples) >= SILENCE_PEAK:
        raise AudioError("silent: nothing in it is louder than -80 dB of full scale; expected a sound")
    start, end = _said(Clip(samples, clip.sample_rate_hz))
    # A copy where little is left of much, so that the rest can be forgotten.
    samples = samples[start:end] if 2 * (end - start) > len(samples) else samples[start:end].copy()
    # The ends may have held another offset than what remains.
    samples -= _mean(samples)
    rms = float(np.sqrt(np.dot(samples, samples) / len(samples)))
    samples *= np.float32(min(TARGET_RMS / rms, 1 / _peak(samples)))
    # Rounding may leave the peak one step above 1.
    return Clip(np.clip(samples, -1, 1, out=samples), clip.sample_rate_hz)


def _said(clip: Clip) -> tuple[int, int]:
    """First sample and end of what is said, margin included."""
    levels_db = levels(clip)
    first, end, active = runs(levels_db >= threshold(levels_db, _RANGE_DB, _ABOVE_FLOOR_DB), _BRIDGE_FRAMES)
    long = np.flatnonzero(active >= _SHORTEST_FRAMES)
    if len(long) == 0:
        long = np.arange(len(active))
    size = frame_length(clip.sample_rate_hz)
    start = (int(first[long[0]]) - _MARGIN_FRAMES) * size
    return max(0, start), min(len(clip.samples), (int(end[long[-1]]) + _MARGIN_FRAMES) * size)


def _mean(samples: Float32) -> np.float32:
    return np.float32(samples.mean(dtype=np.float64))


def _peak(samples: Float32) -> float:
    return float(max(samples.max(), -samples.min()))
