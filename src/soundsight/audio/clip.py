"""The clip, and the limits of what is taken as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import AudioError

__all__ = [
    "MAX_CHANNELS",
    "MAX_DURATION_S",
    "MAX_LEVEL",
    "MIN_DURATION_S",
    "Clip",
    "Float32",
    "check_duration",
    "check_format",
    "check_rate",
    "printable",
]

Float32 = NDArray[np.float32]

MAX_DURATION_S = 4 * 3600.0
# Shorter than one analysis window of any front end: a click, or the rest of a broken file.
MIN_DURATION_S = 0.02
MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000
# Seventh-order ambisonics has 64 channels; libsndfile would take 1,024.
MAX_CHANNELS = 64
# Floats above full scale are common, up to 32,768 where 16-bit numbers were stored unscaled and 2**31 for 32-bit ones.
# Beyond that the numbers are no waveform, and their squares would leave the range of float32.
MAX_LEVEL = 2.0**32


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One mono sound.

    Attributes:
        samples: (T,) float32, finite, nominally in [-1, 1]; peaks above full scale are kept, not clipped.
        sample_rate_hz: Samples per second.
    """

    samples: Float32
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


def printable(name: str) -> str:
    r"""``name`` with everything that a terminal would act on, or that would break the line, escaped.

    >>> printable("a\x1b[31m\nb.wav")
    'a\\x1b[31m\\nb.wav'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def check_rate(rate_hz: int, what: str) -> None:
    """Raise AudioError if a sample rate lies outside 1 kHz to 768 kHz; ``what`` starts the message."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{what}: a sample rate of {rate_hz:,} Hz; expected {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz")


def check_format(rate_hz: int, channels: int, what: str) -> None:
    """Raise AudioError if the sample rate or the number of channels is out of range."""
    check_rate(rate_hz, what)
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{what}: {channels:,} channels; expected 1 to {MAX_CHANNELS}")


def check_duration(num_samples: int, rate_hz: int, max_duration_s: float, what: str) -> None:
    """Raise AudioError if a sound is empty, too short to be one, or too long."""
    if num_samples == 0:
        raise AudioError(f"{what}: empty, there is no sound in it")
    duration_s = num_samples / rate_hz
    if duration_s < MIN_DURATION_S:
        raise AudioError(
            f"{what}: too short ({num_samples} samples, {duration_s * 1000:.2g} ms); "
            f"expected at least {MIN_DURATION_S * 1000:g} ms of sound"
        )
    if duration_s > max_duration_s:
        raise AudioError(f"{what}: longer than {_hours(max_duration_s)}, the most that is read at once; cut it first")


def _hours(duration_s: float) -> str:
    return f"{duration_s / 3600:g} hours" if duration_s >= 3600 else f"{duration_s:g} s"
