"""Changed copies of recordings, so that a model hears more voices, rooms and microphones than the data holds.

Used in training only. Every function takes and returns samples (T,) float32; a generator is passed, nothing is global.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from soundsight.audio import Clip, condition
from soundsight.config import Augment
from soundsight.datasets import non_speech
from soundsight.errors import AudioError

__all__ = ["change", "copies", "reverberate", "stretch", "tilt"]

Float32 = NDArray[np.float32]


def copies(
    clips: Sequence[Clip], config: Augment, rng: np.random.Generator, prepare: Callable[[Clip], Clip] = condition
) -> list[list[Clip]]:
    """``config.copies`` changed versions of each clip, prepared like every clip; the original when that is 0."""
    if config.copies == 0:
        return [[clip] for clip in clips]
    return [[_changed(clip, config, rng, prepare) for _ in range(config.copies)] for clip in clips]


def _changed(clip: Clip, config: Augment, rng: np.random.Generator, prepare: Callable[[Clip], Clip]) -> Clip:
    samples_T = change(clip.samples, clip.sample_rate_hz, config, rng)
    try:
        return prepare(Clip(samples_T, clip.sample_rate_hz))
    except AudioError:  # a clip cut down to nothing: keep the original rather than fail after minutes of work
        return clip


def change(samples_T: Float32, sample_rate_hz: int, config: Augment, rng: np.random.Generator) -> Float32:
    """One draw of every change that ``config`` switches on."""
    if config.formant:
        samples_T = stretch(samples_T, float(np.exp(rng.uniform(-1, 1) * np.log1p(config.formant))))
    if config.tempo:
        samples_T = change_tempo(samples_T, sample_rate_hz, float(np.exp(rng.uniform(-1, 1) * np.log1p(config.tempo))))
    if config.tilt_db:
        samples_T = tilt(samples_T, config.tilt_db * float(rng.uniform(-1, 1)))
    if config.reverb_s and rng.random() < 0.5:
        samples_T = reverberate(samples_T, sample_rate_hz, config.reverb_s * float(rng.uniform(0.2, 1)), rng)
    if config.time_warp:
        samples_T = _shift_ends(samples_T, config.time_warp, rng)
    if config.noise_snr_db is not None and rng.random() < 0.5:
        snr_db = float(rng.uniform(*config.noise_snr_db))
        gain = float(np.sqrt(np.mean(samples_T**2)) * 10 ** (-snr_db / 20))
        if config.margin_s:
            pauses = rng.uniform(0, config.margin_s * sample_rate_hz, 2).astype(int)
            samples_T = np.pad(samples_T, (int(pauses[0]), int(pauses[1])))
        if config.events and rng.random() < config.events:
            noise_T = non_speech.draw(len(samples_T), sample_rate_hz, rng)
            noise_T /= max(float(np.sqrt(np.mean(noise_T**2))), 1e-9)
        else:
            noise_T = non_speech.coloured_noise(len(samples_T), float(rng.uniform(0, 2)), rng)
        samples_T = samples_T + gain * noise_T
    return samples_T.astype(np.float32, copy=False)


def stretch(samples_T: Float32, factor: float) -> Float32:
    """Resample so that the sound is ``factor`` times as long: pitch and formants fall by the same factor."""
    grid = 1000
    return np.asarray(soxr.resample(samples_T, grid, max(1, round(grid * factor)), quality="LQ"), np.float32)


def change_tempo(samples_T: Float32, sample_rate_hz: int, factor: float) -> Float32:
    """``factor`` times as long at the same pitch, by overlap-add of windows placed where they fit best (WSOLA).

    Source: Verhelst & Roelands, *An overlap-add technique based on waveform similarity*, 1993.
    """
    half, reach = sample_rate_hz * 15 // 1000, sample_rate_hz * 6 // 1000
    window = 2 * half
    if len(samples_T) < 2 * window:
        return samples_T
    padded = np.pad(samples_T, (reach, window + 2 * reach))
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    num = int(len(samples_T) * factor) // half
    out = np.zeros(num * half + window, np.float32)
    previous = 0
    for i in range(num):
        start = min(round(i * half / factor), len(samples_T) - 1)
        if i:  # choose the offset at which the window continues the one before
            wanted = padded[previous + half : previous + half + half]
            candidates = np.lib.stride_tricks.sliding_window_view(padded[start : start + 2 * reach + half], half)
            start += int(np.argmax(candidates @ wanted))
        else:
            start += reach
        out[i * half : i * half + window] += hann * padded[start : start + window]
        previous = start
    return out[: int(len(samples_T) * factor)]


def tilt(samples_T: Float32, slope_db: float) -> Float32:
    """Raise the highest frequency by ``slope_db`` against the lowest, linearly over the spectrum."""
    spectrum = np.fft.rfft(samples_T)
    gain = 10 ** (np.linspace(-slope_db / 2, slope_db / 2, len(spectrum)) / 20)
    return np.fft.irfft(spectrum * gain, len(samples_T)).astype(np.float32)


def reverberate(samples_T: Float32, sample_rate_hz: int, decay_s: float, rng: np.random.Generator) -> Float32:
    """A room: convolution with noise that falls by 60 dB within ``decay_s``, the direct sound on top."""
    length = max(2, int(decay_s * sample_rate_hz))
    tail = rng.standard_normal(length).astype(np.float32) * np.exp(-6.9 * np.arange(length) / length)
    tail *= 0.5 / max(float(np.sqrt((tail**2).sum())), 1e-9)
    tail[0] = 1
    size = len(samples_T) + length - 1
    return np.fft.irfft(np.fft.rfft(samples_T, size) * np.fft.rfft(tail, size), size).astype(np.float32)


def _shift_ends(samples_T: Float32, share: float, rng: np.random.Generator) -> Float32:
    """Cut or lengthen each end by up to ``share`` of the clip, with a faint noise floor where lengthened."""
    first, last = (int(x * len(samples_T)) for x in rng.uniform(-share, share, 2))
    cut = samples_T[max(first, 0) : len(samples_T) - max(last, 0)]
    floor = 1e-3 * float(np.abs(samples_T).max())
    before, after = (floor * rng.standard_normal(max(-x, 0)).astype(np.float32) for x in (first, last))
    return np.concatenate([before, cut, after]).astype(np.float32)
