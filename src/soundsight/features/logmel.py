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

from soundsight.audio import Clip

__all__ = ["Config", "extract", "mel_filters"]

Float32 = NDArray[np.float32]

# Frames per FFT call: the arrays of a block should about fit into the second-level cache, and its products with the
# filters stay below the size (64³ multiplications) from which OpenBLAS starts threads of its own, which get in the way.
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
        for name in ("sample_rate_hz", "window", "hop", "bins", "frames"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}")
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            band = f"{self.low_hz:g} to {self.high_hz:g}"
            raise ValueError(f"the band must lie within 0 and {self.sample_rate_hz / 2:g} Hz, not {band}")
        if not 0 < self.top_db < math.inf:
            raise ValueError(f"top_db must be above 0 and finite, not {self.top_db:g}")


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
    _mel_power(clips, config, workspace, mel_XF)
    _to_decibels(mel_XF, ends, config)
    for mel_NF, out_FN in zip(np.split(mel_XF, ends[:-1]), out_BFN, strict=True):
        _resize(mel_NF, out_FN)


class _Workspace:
    """Arrays that every block writes into: fresh ones of this size would cost more in page faults than the FFT."""

    def __init__(self, config: Config) -> None:
        num_bins = config.window // 2 + 1
        # NumPy's real FFT of single floats is 4 times slower than that of doubles (256 samples).
        self.windowed_XT = np.empty((_BLOCK_FRAMES, config.window), np.float64)
        self.spectrum_XK = np.empty((_BLOCK_FRAMES, num_bins), np.complex128)
        self.parts_XK2 = np.empty((_BLOCK_FRAMES, num_bins, 2), np.float32)
        self.power_XK = np.empty((_BLOCK_FRAMES, num_bins), np.float32)
        self._mel_XF = np.empty((0, config.bins), np.float32)

    def mel(self, num: int) -> Float32:
        """Room for the bands of ``num`` frames, (num, F)."""
        if num > len(self._mel_XF):
            self._mel_XF = np.empty((num, self._mel_XF.shape[1]), np.float32)
        return self._mel_XF[:num]

    def power(self, num: int) -> Float32:
        """Squared magnitude of the spectrum of the first ``num`` frames, (num, window // 2 + 1)."""
        spectrum_XK, parts_XK2, power_XK = self.spectrum_XK[:num], self.parts_XK2[:num], self.power_XK[:num]
        np.fft.rfft(self.windowed_XT[:num], axis=1, out=spectrum_XK)
        np.copyto(parts_XK2, spectrum_XK.view(np.float64).reshape(parts_XK2.shape), casting="same_kind")
        np.square(parts_XK2, out=parts_XK2)
        return np.add(parts_XK2[:, :, 0], parts_XK2[:, :, 1], out=power_XK)


def _mel_power(clips: Sequence[Clip], config: Config, workspace: _Workspace, mel_XF: Float32) -> None:
    """Write the mel power of the frames of all clips, one below the other, into ``mel_XF``."""
    filled, done = 0, 0
    for clip in clips:
        frames_NT = _frames(clip.samples, config)
        while len(frames_NT):
            taken = min(len(frames_NT), _BLOCK_FRAMES - filled)
            windowed_XT = workspace.windowed_XT[filled : filled + taken]
            np.multiply(frames_NT[:taken], _hann(config.window), out=windowed_XT)
            frames_NT, filled = frames_NT[taken:], filled + taken
            if filled == _BLOCK_FRAMES or done + filled == len(mel_XF):
                power_XK = workspace.power(filled)
                for bands, bins, filters_KF in _filter_groups(config):
                    np.matmul(power_XK[:, bins], filters_KF, out=mel_XF[done : done + filled, bands])
                filled, done = 0, done + filled


def _frames(samples_T: Float32, config: Config) -> Float32:
    """Overlapping windows (N, window), centred on multiples of the hop, zeros beyond the ends; a view, not a copy."""
    half = config.window // 2
    padded_T = np.zeros(len(samples_T) + config.window, np.float32)
    padded_T[half : half + len(samples_T)] = samples_T
    shape = (1 + len(samples_T) // config.hop, config.window)
    stride = padded_T.itemsize
    # The constructor checks that the view stays inside the buffer, and is quicker than sliding_window_view.
    return np.ndarray(shape, np.float32, buffer=padded_T.data, strides=(config.hop * stride, stride))


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
def _hann(window: int) -> Float32:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


@cache
def mel_filters(config: Config) -> Float32:
    """Triangular mel filters (F, window // 2 + 1), each of unit area (Slaney, Auditory Toolbox, 1998)."""
    edges_hz = _mel_to_hz(np.linspace(_hz_to_mel(config.low_hz), _hz_to_mel(config.high_hz), config.bins + 2))
    fft_hz = np.fft.rfftfreq(config.window, 1 / config.sample_rate_hz)
    rising = (fft_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - fft_hz) / np.diff(edges_hz)[1:, None]
    area = 2 / (edges_hz[2:] - edges_hz[:-2])
    return (np.maximum(0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)


@cache
def _filter_groups(config: Config) -> list[tuple[slice, slice, Float32]]:
    """Bands, FFT bins they touch, and their filters (K, F): thirds of the bands halve the work."""
    groups = []
    for bands in np.array_split(np.arange(config.bins), min(3, config.bins)):
        filters_FK = mel_filters(config)[bands]
        touched = np.flatnonzero(filters_FK.any(axis=0))
        first, last = (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 1)
        groups.append(
            (
                slice(int(bands[0]), int(bands[-1]) + 1),
                slice(first, last),
                np.ascontiguousarray(filters_FK[:, first:last].T),
            )
        )
    return groups


# Slaney's scale: linear below 1 kHz (3 mel per 200 Hz), logarithmic above (27 steps for a factor of 6.4).
_LINEAR = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR
_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR if hz < _BREAK_HZ else _BREAK_MEL + float(np.log(hz / _BREAK_HZ)) / _STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR, _BREAK_HZ * np.exp(_STEP * (mel - _BREAK_MEL)))
