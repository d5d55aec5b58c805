"""Mel-frequency cepstral coefficients of eight windows in one second: what Vuruma (2025) paints scenes from.

The data set (Bird et al., Look and Listen, 2020; github.com/jordan-bird/Scene-Classification-Images-and-Audio) has 104
numbers for each second of sound. Its README: «sliding windows 0.25s in length (ie frame size of 4K sampling points) and
an additional set of overlapping windows, thus producing 8 sliding windows, 8 frames/sec. From each audio-frame, we
extract 13 MFCC attributes». 4,000 samples in 0.25 s are 16 kHz. The rest is our reading: a window begins every 0.125 s,
and what is not said is as in ``librosa.feature.mfcc``: a Hann window, power, Slaney's mel filters of unit area,
decibels against 1 down to 80 below the clip's loudest cell, an orthonormal DCT-II.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import Clip, split_evenly
from soundsight.features import mel, options

__all__ = ["SILENCE", "Config", "as_row", "extract", "prepare", "split"]

Float32 = NDArray[np.float32]

SILENCE = None
"""No one number stands for nothing heard."""

# Frames per FFT call, for windows of about 4000 samples.
_BLOCK_FRAMES = 16
# Frames per logarithm and DCT: the DCT too stays below the size from which OpenBLAS starts threads.
_GROUP_FRAMES = 128
# Groups of filters that are multiplied alone: with 128 filters, an eighth of the work of the whole matrix.
_FILTER_GROUPS = 8
# The least power that has a level, -100 dB: librosa's ``amin``.
_LEAST_POWER = 1e-10


@dataclass(frozen=True, slots=True)
class Config:
    """Options of the cepstral front end; lengths in seconds are rounded to whole samples.

    Attributes:
        sample_rate_hz: Rate the clips must have. 16 kHz is the data set's, and 0.125 s of it are whole samples; of
            22,050 Hz, librosa's own, they are not.
        duration_s: How much of a clip is heard.
        windows: Number of windows N that begin within it, at equal distances.
        window_s: Length of a window and of its FFT.
        coefficients: Number of coefficients F.
        bands: Number of mel bands, from 0 Hz to half the sample rate.
        top_db: Dynamic range; everything lower than this below the clip's loudest cell is raised to it.
    """

    sample_rate_hz: int = 16_000
    duration_s: float = 1.0
    windows: int = 8
    window_s: float = 0.25
    coefficients: int = 13
    bands: int = 128
    top_db: float = 80.0

    def __post_init__(self) -> None:
        options.check_whole(self, "sample_rate_hz", "windows", "coefficients", "bands")
        options.check_positive(self, "duration_s", "window_s", "top_db")
        if self.coefficients > self.bands:
            raise ValueError(f"coefficients must be at most as many as the {self.bands} bands, not {self.coefficients}")
        if self.window < 2:
            rate = f"{self.sample_rate_hz} Hz"
            raise ValueError(f"window_s must be at least 2 samples at {rate}, not {self.window_s:g} s")
        if self.hop < 1:
            raise ValueError(f"windows must begin at least 1 sample apart, not {self.windows} in {self.duration_s:g} s")

    @property
    def window(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def hop(self) -> int:
        """Samples from the beginning of one window to that of the next."""
        return round(self.duration_s * self.sample_rate_hz / self.windows)


def prepare(clip: Clip) -> Clip:
    """A recording as it is: how loud and how empty a place is belongs to it."""
    return clip


def split(clip: Clip, config: Config) -> list[Clip]:
    """The moments of a long recording, one after the other."""
    return split_evenly(clip, config.duration_s)


def extract(clips: Sequence[Clip], config: Config) -> Float32:
    """Cepstral coefficients of the middle ``duration_s`` of each clip.

    Windows that reach beyond the middle hear the clip go on, and zeros where it has ended. A clip that is shorter than
    ``duration_s`` begins with the first window and ends in zeros.

    Args:
        clips: B clips at ``config.sample_rate_hz``.
        config: Options.

    Returns:
        (B, F, N) float32 in decibels, the first coefficient sqrt(``bands``) times the mean level of all bands (that of
        silence is -100 dB); F runs from the coarse shape of the spectrum to the fine, N from start to end.
    """
    assert all(clip.sample_rate_hz == config.sample_rate_hz for clip in clips), "resample before extracting"
    out_BFN = np.empty((len(clips), config.coefficients, config.windows), np.float32)
    bank = mel.FilterBank(
        mel.hann(config.window), _filter_groups(config), fft_length=config.window, block_frames=_BLOCK_FRAMES
    )
    size = max(1, _GROUP_FRAMES // config.windows)
    mel_XF = np.empty((min(size, len(clips)) * config.windows, config.bands), np.float32)
    for first in range(0, len(clips), size):
        group = clips[first : first + size]
        power_XF = mel_XF[: len(group) * config.windows]
        bank.analyse((_frames(clip.samples, config) for clip in group), power_XF)
        _to_levels(power_XF.reshape(len(group), -1), config)
        cepstra_XC = power_XF @ _dct(config.bands, config.coefficients)
        out_BFN[first : first + size] = cepstra_XC.reshape(len(group), config.windows, -1).transpose(0, 2, 1)
    return out_BFN


def as_row(features_BFN: Float32) -> Float32:
    """The coefficients as the columns ``mfcc_1``, ``mfcc_2``, … of the data set: window after window.

    The data set says «numbered in sequence», and not in which. We take all coefficients of the first window, then all
    of the one that begins next.

    Args:
        features_BFN: From ``extract``.

    Returns:
        (B, F * N) float32, 104 columns with the default options.

    >>> as_row(np.array([[[1, 3], [2, 4]]], np.float32)).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    num_clips, num_coefficients, num_windows = features_BFN.shape
    return features_BFN.transpose(0, 2, 1).reshape(num_clips, num_windows * num_coefficients)


def _frames(samples_T: Float32, config: Config) -> Float32:
    """Windows (N, window), the first at the beginning of what is heard; zeros beyond the clip's end."""
    heard = round(config.duration_s * config.sample_rate_hz)
    start = max(0, (len(samples_T) - heard) // 2)
    length = (config.windows - 1) * config.hop + config.window
    part_T = samples_T[start : start + length]
    if len(part_T) < length:
        part_T = np.concatenate([part_T, np.zeros(length - len(part_T), np.float32)])
    return mel.frames(part_T, config.windows, config.window, config.hop)


def _to_levels(power_BX: Float32, config: Config) -> None:
    """Natural logarithms of the power in each cell, at most ``top_db`` below the clip's loudest one, in place."""
    peak_B1 = power_BX.max(axis=1, keepdims=True)
    np.maximum(power_BX, peak_B1 * np.float32(10 ** (-config.top_db / 10)), out=power_BX)
    np.maximum(power_BX, np.float32(_LEAST_POWER), out=power_BX)
    np.log(power_BX, out=power_BX)  # NumPy vectorises this one, and not log10


@cache
def _dct(bands: int, coefficients: int) -> Float32:
    """Orthonormal DCT-II from natural logarithms of power to decibels, (bands, coefficients)."""
    angles_FC = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(coefficients))
    cosines_FC = np.sqrt(2 / bands) * np.cos(angles_FC)
    cosines_FC[:, 0] = np.sqrt(1 / bands)
    decibels_FC: Float32 = (10 / math.log(10) * cosines_FC).astype(np.float32)
    return decibels_FC


@cache
def _filter_groups(config: Config) -> list[mel.FilterGroup]:
    half_hz = config.sample_rate_hz / 2
    filters_FK = mel.slaney_filters(config.sample_rate_hz, config.window, config.bands, 0.0, half_hz)
    return mel.grouped(filters_FK, _FILTER_GROUPS)
