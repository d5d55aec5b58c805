"""Log-mel spectrogram resized to a fixed number of frames: the input of Table 1 (Żelaszczyk & Mańdziuk, 2021).

The mel scale is Slaney's with area-normalised triangles, as in librosa and the Auditory Toolbox. Levels are decibels
below the clip's own peak, cut at ``-top_db`` and mapped to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import Clip, condition, split_at_silences
from soundsight.features import mel, options

__all__ = ["SILENCE", "Config", "extract", "mel_filters", "prepare", "split"]

Float32 = NDArray[np.float32]

SILENCE = 0.0
"""What a cell holds where nothing is heard."""

# Frames per FFT call, for windows of about 256 samples.
_BLOCK_FRAMES = 192
# Clips are taken together until they have this many frames: short ones share the fixed cost of each NumPy call.
_GROUP_FRAMES = 4096
# Beyond this many frames (40 s) the resizing weights are not kept as one matrix: for an hour it would take 70 MB.
_DENSE_FRAMES = 4096


@dataclass(frozen=True, slots=True)
class Config:
    """Options of the log-mel front end.

    Attributes:
        sample_rate_hz: Rate the clips must have.
        window: Length of the Hann window and of the FFT, in samples.
        hop: Samples between frames.
        bins: Number of mel bands F.
        frames: Number of frames N after resizing along time.
        low_hz: Lower edge of the first band.
        high_hz: Upper edge of the last band.
        top_db: Dynamic range; everything lower than this below the peak becomes 0.
    """

    sample_rate_hz: int = 8000
    window: int = 256
    hop: int = 80
    bins: int = 48
    frames: int = 48
    low_hz: float = 60.0
    high_hz: float = 4000.0
    top_db: float = 80.0

    def __post_init__(self) -> None:
        options.check_whole(self, "sample_rate_hz", "window", "hop", "bins", "frames")
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            band = f"{self.low_hz:g} to {self.high_hz:g}"
            raise ValueError(f"the band must lie within 0 and {self.sample_rate_hz / 2:g} Hz, not {band}")
        options.check_positive(self, "top_db")


def prepare(clip: Clip) -> Clip:
    """A recording as this front end hears it: what is said, without the silence around it, at one level."""
    return condition(clip)


def split(clip: Clip, config: Config) -> list[Clip]:
    """The utterances of a recording of several."""
    return split_at_silences(clip)


def extract(clips: Sequence[Clip], config: Config) -> Float32:
    """Log-mel spectrograms of a batch of clips of any lengths.

    Args:
        clips: B clips at ``config.sample_rate_hz``.
        config: Options.

    Returns:
        (B, F, N) float32 in [0, 1]; F runs from low to high, N from start to end.
    """
    assert all(clip.sample_rate_hz == config.sample_rate_hz for clip in clips), "resample before extracting"
    out_BFN = np.empty((len(clips), config.bins, config.frames), np.float32)
    workspace = _Workspace(config)
    for group in _groups([_num_frames(clip, config) for clip in clips]):
        _extract_group(clips[group], config, workspace, out_BFN[group])
    # Rounding leaves levels some 1e-7 outside.
    return np.clip(out_BFN, 0, 1, out=out_BFN)


def _num_frames(clip: Clip, config: Config) -> int:
    return 1 + len(clip.samples) // config.hop


def _groups(counts: list[int]) -> list[slice]:
    """Runs of clips with ``_GROUP_FRAMES`` frames or a little more; the last one may have fewer."""
    groups, start, pending = [], 0, 0
    for i, count in enumerate(counts):
        pending += count
        if pending >= _GROUP_FRAMES or i == len(counts) - 1:
            groups.append(slice(start, i + 1))
            start, pending = i + 1, 0
    return groups


def _extract_group(clips: Sequence[Clip], config: Config, workspace: _Workspace, out_BFN: Float32) -> None:
    ends = np.cumsum([_num_frames(clip, config) for clip in clips])
    mel_XF = workspace.mel(int(ends[-1]))
    workspace.bank.analyse((_frames(clip.samples, config) for clip in clips), mel_XF)
    _to_decibels(mel_XF, ends, config)
    for mel_NF, out_FN in zip(np.split(mel_XF, ends[:-1]), out_BFN, strict=True):
        _resize(mel_NF, out_FN)


class _Workspace:
    """Arrays that every group of clips writes into."""

    def __init__(self, config: Config) -> None:
        self.bank = mel.FilterBank(
            mel.hann(config.window), _filter_groups(config), fft_length=config.window, block_frames=_BLOCK_FRAMES
        )
        self._mel_XF = np.empty((0, config.bins), np.float32)

    def mel(self, num: int) -> Float32:
        """Room for the bands of ``num`` frames, (num, F)."""
        if num > len(self._mel_XF):
            self._mel_XF = np.empty((num, self._mel_XF.shape[1]), np.float32)
        return self._mel_XF[:num]


def _frames(samples_T: Float32, config: Config) -> Float32:
    """Overlapping windows (N, window), centred on multiples of the hop, zeros beyond the ends; a view, not a copy."""
    half = config.window // 2
    padded_T = np.zeros(len(samples_T) + config.window, np.float32)
    padded_T[half : half + len(samples_T)] = samples_T
    return mel.frames(padded_T, 1 + len(samples_T) // config.hop, config.window, config.hop)


def _to_decibels(mel_XF: Float32, ends: NDArray[np.intp], config: Config) -> None:
    """Decibels below each clip's loudest cell, [-top_db, 0] mapped to [0, 1], in place; clips end before ``ends``."""
    starts = np.concatenate([[0], ends[:-1]])
    peaks = np.maximum(np.maximum.reduceat(mel_XF.reshape(-1), starts * config.bins), np.float32(1e-20))
    np.divide(mel_XF, np.repeat(peaks, ends - starts)[:, None], out=mel_XF)
    np.maximum(mel_XF, np.float32(10 ** (-config.top_db / 10)), out=mel_XF)
    np.log(mel_XF, out=mel_XF)  # NumPy vectorises this one, and not log10
    np.multiply(mel_XF, np.float32(10 / math.log(10) / config.top_db), out=mel_XF)
    np.add(mel_XF, np.float32(1), out=mel_XF)


def _resize(mel_NF: Float32, out_FN: Float32) -> None:
    """Linear interpolation along time, first and last frame kept; averages first when shrinking."""
    num, frames = len(mel_NF), out_FN.shape[1]
    if num <= _DENSE_FRAMES:
        np.matmul(mel_NF.T, _resize_weights(num, frames).T, out=out_FN)
        return
    for i, centre in enumerate(_centres(num, frames)):
        first, last, weights = _triangle(num, frames, centre)
        out_FN[:, i] = weights @ mel_NF[first:last]


@lru_cache(maxsize=1024)
def _resize_weights(num: int, frames: int) -> Float32:
    """(frames, num) rows of triangle weights: linear interpolation, widened when shrinking so that no frame is lost."""
    weights_NX = np.zeros((frames, num), np.float32)
    for row, centre in zip(weights_NX, _centres(num, frames), strict=True):
        first, last, row_weights = _triangle(num, frames, centre)
        row[first:last] = row_weights
    return weights_NX


def _centres(num: int, frames: int) -> list[float]:
    """Where each new frame lies among the ``num`` old ones."""
    return np.linspace(0, num - 1, frames).tolist() if frames > 1 else [(num - 1) / 2]


def _triangle(num: int, frames: int, centre: float) -> tuple[int, int, Float32]:
    """Weights of the old frames from the first to before the last; they sum to 1."""
    width = max(1.0, (num - 1) / max(frames - 1, 1))
    first, last = max(0, math.ceil(centre - width)), min(num, math.floor(centre + width) + 1)
    weights = np.maximum(0, 1 - np.abs(np.arange(first, last) - centre) / width)
    return first, last, (weights / weights.sum()).astype(np.float32)


@cache
def mel_filters(config: Config) -> Float32:
    """Triangular mel filters (F, window // 2 + 1), each of unit area (Slaney, Auditory Toolbox, 1998)."""
    return mel.slaney_filters(config.sample_rate_hz, config.window, config.bins, config.low_hz, config.high_hz)


@cache
def _filter_groups(config: Config) -> list[mel.FilterGroup]:
    """The filters in thirds, which halves the work."""
    return mel.grouped(mel_filters(config), 3)
