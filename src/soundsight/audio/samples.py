"""Samples that are already in memory to a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from soundsight.audio.clip import MAX_CHANNELS, MAX_DURATION_S, Clip, Float32, check_rate
from soundsight.audio.mixer import Mixer
from soundsight.errors import AudioError

__all__ = ["from_array"]

_WHAT = "the given samples"
# Frames per block; keeps the float copy of a long integer array small.
_BLOCK_FRAMES = 1 << 18


def from_array(samples: ArrayLike, sample_rate_hz: int, *, target_rate_hz: int | None = None) -> Clip:
    """Make a clip of samples in memory.

    Args:
        samples: (T,) or (T, channels). Integers of 8, 16 or 32 bits are scaled by their full scale (unsigned 8-bit ones
            around 128, as in WAV files); floats are taken as they are, nominally in [-1, 1].
        sample_rate_hz: Their rate.
        target_rate_hz: The rate wanted; the same if None.

    Returns:
        The mean of the channels, or the loudest one where they cancel. The samples are copied.

    Raises:
        AudioError: Another shape or type, numbers that are not finite, an impossible rate, too short or too long.
    """
    rate_hz = _whole(sample_rate_hz)
    target_hz = rate_hz if target_rate_hz is None else _whole(target_rate_hz)
    check_rate(target_hz, "the rate asked for")
    array_TC = _frames(samples)
    mono = _mix(array_TC, rate_hz, target_hz, None)
    return Clip(mono, target_hz)


def _mix(array_TC: np.ndarray, rate_hz: int, target_hz: int, channel: int | None) -> Float32:
    mixer = Mixer(
        rate_hz, array_TC.shape[1], target_rate_hz=target_hz, max_duration_s=MAX_DURATION_S, what=_WHAT, channel=channel
    )
    for start in range(0, len(array_TC), _BLOCK_FRAMES):
        mixer.add(_as_float(array_TC[start : start + _BLOCK_FRAMES]))
    mono = mixer.finish()
    loudest = mixer.loudest_if_cancelled()
    return mono if loudest is None else _mix(array_TC, rate_hz, target_hz, loudest)


def _whole(rate_hz: float) -> int:
    if isinstance(rate_hz, (int, np.integer)):
        return int(rate_hz)
    if not isinstance(rate_hz, (float, np.floating)) or not float(rate_hz).is_integer():
        raise AudioError(f"{_WHAT}: a sample rate of {rate_hz!r}; expected a whole number of Hz")
    return int(rate_hz)


def _frames(samples: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"{_WHAT}: not an array ({error}); expected (T,) or (T, channels)") from error
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise AudioError(f"{_WHAT}: shape {array.shape}; expected (T,) or (T, channels)")
    if array.shape[1] > max(len(array), 1) or array.shape[1] > MAX_CHANNELS:
        raise AudioError(f"{_WHAT}: shape {array.shape} looks like (channels, T); expected (T, channels), transpose it")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" or (kind == "i" and size <= 4) or (kind == "u" and size == 1):
        return array
    raise AudioError(f"{_WHAT}: type {array.dtype}; expected floats, or integers of 8, 16 or 32 bits")


def _as_float(block_TC: np.ndarray) -> Float32:
    """(T, C) float32, always a copy."""
    if block_TC.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is refused with its place by the mixer
            return np.array(block_TC, np.float32, order="C")
    scale = np.float32(2.0 ** (1 - 8 * block_TC.dtype.itemsize))
    if block_TC.dtype == np.uint8:
        return (block_TC.astype(np.float32) - np.float32(128)) * scale
    return block_TC.astype(np.float32) * scale
