"""Mel spectra of frames, for every front end: windows, frames, filters and a bank of them that works in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FilterBank", "FilterGroup", "frames", "grouped", "hann", "htk_filters", "slaney_filters"]

Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]


@cache
def hann(window: int) -> Float32:
    """Periodic Hann window (window,) in [0, 1]: one period of a cosine, so that shifts by half of it sum to 1."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


def frames(samples_T: Float32, num: int, window: int, hop: int) -> Float32:
    """The first ``num`` overlapping frames (num, window); a view, not a copy.

    Args:
        samples_T: At least ``(num - 1) * hop + window`` samples.
        num: How many frames.
        window: Samples in a frame.
        hop: Samples from the beginning of one to that of the next.
    """
    samples_T = np.ascontiguousarray(samples_T, np.float32)
    stride = samples_T.itemsize
    # The constructor checks that the view stays inside the buffer, and is quicker than sliding_window_view.
    return np.ndarray((num, window), np.float32, buffer=samples_T.data, strides=(hop * stride, stride))


def slaney_filters(sample_rate_hz: int, fft_length: int, bins: int, low_hz: float, high_hz: float) -> Float32:
    """Triangles over Hz between points of Slaney's scale, each of unit area, as in librosa.

    Returns:
        (F, fft_length // 2 + 1) float32, in 1 / Hz.

    Source:
        Slaney, Auditory Toolbox, 1998.
    """
    edges_hz = _slaney_to_hz(np.linspace(_hz_to_slaney(low_hz), _hz_to_slaney(high_hz), bins + 2))
    fft_hz = np.fft.rfftfreq(fft_length, 1 / sample_rate_hz)
    area = 2 / (edges_hz[2:] - edges_hz[:-2])
    return (_triangles(fft_hz, edges_hz) * area[:, None]).astype(np.float32)


def htk_filters(sample_rate_hz: int, fft_length: int, bins: int, low_hz: float, high_hz: float) -> Float32:
    """Triangles over mel between points of the HTK scale, each of height 1.

    They are not librosa's ``htk=True``: between the same points, those are triangles over Hz.

    Returns:
        (F, fft_length // 2 + 1) float32 in [0, 1]; the bin of 0 Hz, which HTK leaves out, is in none.

    Source:
        Young et al., The HTK Book, section 5.4.
    """
    edges_mel = np.linspace(_hz_to_htk(low_hz), _hz_to_htk(high_hz), bins + 2)
    fft_mel = _hz_to_htk(np.fft.rfftfreq(fft_length, 1 / sample_rate_hz))
    return _triangles(fft_mel, edges_mel).astype(np.float32)


def _triangles(points_K: Floats, edges: Floats) -> Floats:
    """Each rises from 0 at one edge to 1 at the next and falls to 0 at the one after: (F, K) for F + 2 edges."""
    rising = (points_K - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - points_K) / np.diff(edges)[1:, None]
    triangles_FK: Floats = np.maximum(0, np.minimum(rising, falling))
    return triangles_FK


class FilterGroup(NamedTuple):
    """Neighbouring filters without the FFT bins that none of them touches."""

    filters: slice
    bins: slice
    weights_KF: Float32


def grouped(filters_FK: Float32, num: int) -> list[FilterGroup]:
    """Cut filters into ``num`` groups, or into single ones if they are fewer: most of the whole matrix is zeros."""
    groups = []
    for rows in np.array_split(np.arange(len(filters_FK)), min(num, len(filters_FK))):
        touched = np.flatnonzero(filters_FK[rows].any(axis=0))
        first, last = (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 1)
        weights_KF = np.ascontiguousarray(filters_FK[rows, first:last].T)
        groups.append(FilterGroup(slice(int(rows[0]), int(rows[-1]) + 1), slice(first, last), weights_KF))
    return groups


class FilterBank:
    """Mel spectra of frames, block by block, in arrays that every block writes into.

    Fresh arrays of this size would cost more in page faults than the FFT. Not for two threads at once.

    Args:
        window_T: What each frame is multiplied with.
        groups: Filters for an FFT of ``fft_length``, from ``grouped``.
        fft_length: At least the window's length; frames are zero-padded at their end to it.
        block_frames: Frames per FFT call. The arrays of a block should about fit into the second-level cache, and its
            products with the groups stay below the size (64³ multiplications) from which OpenBLAS starts threads of its
            own, which get in the way.
        magnitude: Whether the filters weigh magnitudes; otherwise powers.
    """

    def __init__(
        self,
        window_T: Float32,
        groups: Sequence[FilterGroup],
        *,
        fft_length: int,
        block_frames: int,
        magnitude: bool = False,
    ) -> None:
        num_bins = fft_length // 2 + 1
        self._window_T, self._groups, self._magnitude = window_T, groups, magnitude
        # NumPy's real FFT of single floats is slower than that of doubles.
        self._windowed_XT = np.empty((block_frames, fft_length), np.float64)
        self._windowed_XT[:, len(window_T) :] = 0
        self._spectrum_XK = np.empty((block_frames, num_bins), np.complex128)
        self._parts_XK2 = np.empty((block_frames, num_bins, 2), np.float32)
        self._power_XK = np.empty((block_frames, num_bins), np.float32)

    def analyse(self, sounds: Iterable[Float32], out_XF: Float32) -> None:
        """Write the mel spectra of all frames, one below the other.

        Args:
            sounds: Frames (N, window) of one sound after the other; short ones share the fixed cost of each NumPy call.
            out_XF: Room for all their frames.
        """
        block_frames, window = len(self._windowed_XT), len(self._window_T)
        filled, done = 0, 0
        for frames_NT in sounds:
            while len(frames_NT):
                taken = min(len(frames_NT), block_frames - filled)
                windowed_XT = self._windowed_XT[filled : filled + taken, :window]
                np.multiply(frames_NT[:taken], self._window_T, out=windowed_XT)
                frames_NT, filled = frames_NT[taken:], filled + taken
                if filled == block_frames or done + filled == len(out_XF):
                    spectrum_XK = self._spectrum(filled)
                    for group in self._groups:
                        out_NF = out_XF[done : done + filled, group.filters]
                        np.matmul(spectrum_XK[:, group.bins], group.weights_KF, out=out_NF)
                    filled, done = 0, done + filled

    def _spectrum(self, num: int) -> Float32:
        """Power or magnitude of the spectrum of the first ``num`` frames, (num, fft_length // 2 + 1)."""
        spectrum_XK, parts_XK2, power_XK = self._spectrum_XK[:num], self._parts_XK2[:num], self._power_XK[:num]
        np.fft.rfft(self._windowed_XT[:num], axis=1, out=spectrum_XK)
        np.copyto(parts_XK2, spectrum_XK.view(np.float64).reshape(parts_XK2.shape), casting="same_kind")
        np.square(parts_XK2, out=parts_XK2)
        np.add(parts_XK2[:, :, 0], parts_XK2[:, :, 1], out=power_XK)
        return np.sqrt(power_XK, out=power_XK) if self._magnitude else power_XK


# Slaney's scale: linear below 1 kHz (3 mel per 200 Hz), logarithmic above (27 steps for a factor of 6.4).
_LINEAR = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR
_STEP = np.log(6.4) / 27


def _hz_to_slaney(hz: float) -> float:
    return hz / _LINEAR if hz < _BREAK_HZ else _BREAK_MEL + float(np.log(hz / _BREAK_HZ)) / _STEP


def _slaney_to_hz(mel: Floats) -> Floats:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR, _BREAK_HZ * np.exp(_STEP * (mel - _BREAK_MEL)))


def _hz_to_htk(hz: Floats | float) -> Floats:
    # In units of 1127 mel: the factor falls out of every triangle.
    return np.log1p(np.asarray(hz) / 700)
